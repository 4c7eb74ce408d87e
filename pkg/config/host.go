package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// hostname gives a fully qualified name without asking the network: the name of the host if it has a dot, else with
// ".localdomain" behind it. It never fails.
func hostname() string {
	name, err := os.Hostname()
	return qualify(name, err)
}

func qualify(name string, err error) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if err != nil || name == "" || checkDomain(name) != nil {
		name = "localhost"
	}
	if !strings.Contains(name, ".") {
		name += ".localdomain"
	}
	return name
}

// localDomains are the names under which this host is known to itself.
func localDomains(host string) []string {
	domains := []string{host}
	if short, _, ok := strings.Cut(host, "."); ok && short != "localhost" {
		domains = append(domains, short)
	}
	return append(domains, "localhost")
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// CheckSpool refuses a spool directory into which others can put files, with the command that mends it. One that does
// not exist yet is fine.
func (c *Config) CheckSpool() error {
	info, err := os.Stat(c.Spool)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return c.spoolError(reason(err))
	case !info.IsDir():
		return c.spoolError("not a directory")
	case info.Mode().Perm()&0o022 != 0:
		return c.spoolError(fmt.Sprintf("mode %04o lets other people write in it; fix: chmod go-w %s",
			info.Mode().Perm(), c.Spool))
	}
	return nil
}

func (c *Config) spoolError(text string) error {
	return &Error{Key: "spool", Value: c.Spool, Origin: c.Origin("spool"), Text: text}
}
