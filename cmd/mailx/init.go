package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/vfs"
)

func newInit(e *env) *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "write a commented configuration file",
		ArgsUsage: "[file]",
		Description: "The file is $XDG_CONFIG_HOME/mailx/config.toml, for root /etc/mailx/config.toml. It has every key\n" +
			"with its default, commented out. A file that is there already is left alone. \"-\" prints it.",
		Action: func(c *cli.Context) error { return e.initConfig(c.Args().Slice()) },
	}
}

func (e *env) initConfig(words []string) error {
	name, err := e.initTarget(words)
	if err != nil {
		return err
	}
	text := configTemplate()
	if name == "-" {
		_, err := e.stdout.WriteString(text)
		return err
	}
	perm := fs.FileMode(0o600)
	if name == config.Standard().System { // for every user of the host
		perm = 0o644
	}
	switch err := createDurably(name, []byte(text), perm); {
	case errors.Is(err, fs.ErrExist):
		return exitWith(exCantCreate, fmt.Errorf("%s is there already; edit it, or see `mailx init -`", name))
	case err != nil:
		return exitWith(exCantCreate, err)
	}
	e.note("wrote %s", name)
	return nil
}

func (e *env) initTarget(words []string) (string, error) {
	switch {
	case len(words) > 1:
		return "", usagef("one file at most")
	case len(words) == 1:
		return words[0], nil
	case e.configFile != "":
		return e.configFile, nil
	}
	src := config.Standard()
	if src.Root {
		return src.System, nil
	}
	if src.User == "" {
		return "", usagef("no HOME and no XDG_CONFIG_HOME; name a file")
	}
	return src.User, nil
}

// createDurably makes a file that did not exist, whole or not at all: a name that is taken by a link cannot be
// replaced, and a crash leaves at most a temporary file.
func createDurably(name string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, perm|0o700|perm>>2&0o111); err != nil {
		return err
	}
	fsys := vfs.OS()
	tmp := name + "." + strconv.Itoa(os.Getpid()) + ".tmp"
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	defer fsys.Remove(tmp)
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(tmp, perm)
	}
	if err == nil {
		err = fsys.Link(tmp, name)
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// configTemplate has every key with its default, commented out, in the order of the manual.
func configTemplate() string {
	var b strings.Builder
	b.WriteString("# mailx configuration. Everything is optional; what is commented out shows the default.\n" +
		"# The manual: mailx man mailx-config.5. After editing: mailx config check.\n")
	table := ""
	for _, k := range config.Keys() {
		name := k.Name
		if t, rest, ok := strings.Cut(name, "."); ok {
			if t != table {
				fmt.Fprintf(&b, "\n[%s]\n", t)
				table = t
			}
			name = rest
		}
		fmt.Fprintf(&b, "# %s\n#%s = %s\n", k.Doc, name, k.Example())
	}
	b.WriteString("\n# Accounts on other servers: mailboxes for mailx fetch, and servers to send by.\n#[account.NAME]\n")
	for _, k := range config.AccountKeys() {
		fmt.Fprintf(&b, "#%s = %s # %s\n", k.Name, k.Example(), k.Doc)
	}
	b.WriteString("\n# The way of mail for a domain, for all below it (\".example.org\"), or for every other (\"*\").\n#[route.\"example.org\"]\n")
	for _, k := range config.RouteKeys() {
		fmt.Fprintf(&b, "#%s = %s # %s\n", k.Name, k.Example(), k.Doc)
	}
	return b.String()
}
