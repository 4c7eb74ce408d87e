package config

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Check looks at what Load does not: the spool and the files that the configuration names. Nothing is changed.
func (c *Config) Check(now time.Time) Errors {
	var errs Errors
	add := func(key, value, text string) {
		errs = append(errs, &Error{Key: key, Value: value, Origin: c.Origin(key), Text: text})
	}
	if err := c.CheckSpool(); err != nil {
		errs = append(errs, err.(*Error))
	}
	for _, f := range []struct{ key, name string }{{"aliases", c.Aliases}, {"virtual", c.Virtual}, {"users", c.Users}, {"tls.ca", c.TLS.CA}} {
		if f.name == "" || !c.IsSet(f.key) {
			continue
		}
		if _, err := os.Stat(f.name); err != nil {
			add(f.key, f.name, reason(err))
		}
	}
	for key, words := range map[string][]string{"auth.command": c.Auth.Command, "auth.token_command": c.Auth.TokenCommand} {
		if len(words) == 0 {
			continue
		}
		if text := checkExecutable(words[0]); text != "" {
			add(key, words[0], text)
		}
	}
	c.Hooks.check(add)
	for name, a := range c.Accounts {
		if text := checkSecretFile(a.Password.File); text != "" {
			add("account."+name+".password_file", a.Password.File, text)
		}
	}
	for name, r := range c.Routes {
		if text := checkSecretFile(r.Password.File); text != "" {
			add("route."+name+".password_file", r.Password.File, text)
		}
		if text := checkClientCertificate(r.ClientCert, r.ClientKey, now); text != "" {
			add("route."+name+".client_cert", r.ClientCert, text)
		}
	}
	if text := checkClientCertificate(c.TLS.ClientCert, c.TLS.ClientKey, now); text != "" {
		add("tls.client_cert", c.TLS.ClientCert, text)
	}
	if text := checkSecretFile(c.Password.File); text != "" {
		add("password_file", c.Password.File, text)
	}
	if c.TLS.Cert != "" && c.TLS.Key != "" {
		if text := checkCertificate(c.TLS.Cert, c.TLS.Key, now); text != "" {
			add("tls.cert", c.TLS.Cert, text)
		}
	}
	for _, pair := range c.TLS.More {
		cert, key, _ := strings.Cut(pair, ":")
		if text := checkCertificate(cert, key, now); text != "" {
			add("tls.more", pair, text)
		}
	}
	return errs
}

// checkSecretFile says what is wrong with a file that has a password; "" for nothing. One in $CREDENTIALS_DIRECTORY is seen
// by its service only.
func checkSecretFile(name string) string {
	if !filepath.IsAbs(name) {
		return ""
	}
	fi, err := os.Stat(name)
	switch {
	case err != nil:
		return reason(err)
	case fi.Mode().Perm()&0o077 != 0:
		return "others may read it; make it safe with: chmod 600 " + name
	}
	return ""
}

// checkExecutable says why a program can't be run; "" for nothing.
func checkExecutable(name string) string {
	fi, err := os.Stat(name)
	switch {
	case err != nil:
		return reason(err)
	case fi.IsDir() || fi.Mode().Perm()&0o111 == 0:
		return "is not a program"
	}
	return ""
}

func checkClientCertificate(cert, key string, now time.Time) string {
	if cert == "" || key == "" {
		return ""
	}
	return checkCertificate(cert, key, now)
}

// checkCertificate says what is wrong with the certificate or its key; "" for nothing.
func checkCertificate(cert, key string, now time.Time) string {
	pair, err := tls.LoadX509KeyPair(Credential(cert, os.Getenv), Credential(key, os.Getenv))
	switch {
	case err != nil:
		return err.Error()
	case pair.Leaf != nil && now.After(pair.Leaf.NotAfter):
		return "expired on " + pair.Leaf.NotAfter.UTC().Format(time.DateOnly)
	}
	return ""
}
