package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/config"
)

// configErrors are what `config check` says, too.
func (d *doctor) configErrors(errs config.Errors) {
	for _, err := range errs {
		f := finding{severity: severityError, check: "config", code: exConfig}
		f.text, f.fix = cutFix(err.Error())
		switch {
		case err.Key == "spool":
			f.check, f.path = "spool", err.Value
		case strings.HasPrefix(err.Key, "tls.") || strings.HasSuffix(err.Key, "client_cert"):
			f.check, f.path = "certificates", err.Value
		}
		if f.fix == "" {
			f.fix = d.mendOrigin(err)
		}
		d.add(f)
	}
}

// cutFix parts what is wrong from the command that mends it, where a text has both.
func cutFix(text string) (what, fix string) {
	for _, between := range []string{"; fix: ", "; make it safe with: "} {
		if what, fix, ok := strings.Cut(text, between); ok {
			return what, fix
		}
	}
	if i := strings.Index(text, ": chmod "); i >= 0 {
		return text[:i], text[i+2:]
	}
	return text, ""
}

// mendOrigin leads to where a value was given.
func (d *doctor) mendOrigin(err *config.Error) string {
	if name, ok := strings.CutPrefix(err.Origin, "$"); ok {
		return "unset " + name
	}
	if i := strings.LastIndexByte(err.Origin, ':'); i > 0 {
		if _, nerr := strconv.Atoi(err.Origin[i+1:]); nerr == nil {
			return editLine(err.Origin[:i], err.Origin[i+1:])
		}
	}
	if err.Origin == "default" && err.Key != "" {
		return d.command("config", "show", "--origin", err.Key)
	}
	return ""
}

func editLine(file, line string) string { return "${EDITOR:-vi} +" + line + " " + shellWord(file) }

// people are the user file and the files of aliases.
func (d *doctor) people() {
	_, err := d.sys.users().List()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.noUsers()
	case err != nil:
		f := finding{severity: severityError, check: "users", path: d.cfg.Users, code: exConfig}
		if f.text, f.fix = cutFix(reasonOf(err)); f.fix == "" {
			f.fix = editLine(d.cfg.Users, "1")
		}
		d.add(f)
	}
	router := d.sys.names(d.sys.localUsers())
	for _, p := range append(router.CheckAliases(), router.CheckVirtual()...) {
		d.add(finding{severity: severityError, check: "aliases", path: p.File, text: p.String(), fix: editLine(p.File, fmt.Sprint(max(p.Line, 1))),
			code: exDataErr})
	}
}

// noUsers matters where servers are configured, or were at work.
func (d *doctor) noUsers() {
	f := finding{severity: severityNote, check: "users", path: d.cfg.Users, code: exConfig,
		text: "there is no user file " + d.cfg.Users + " yet, so servers know nobody", fix: d.command("user", "add", "NAME")}
	if d.serves() {
		f.severity = severityWarning
	}
	if d.serves() || exists(d.cfg.MailRoot) {
		d.add(f)
	}
}

// serves reports that the configuration names something to listen on.
func (d *doctor) serves() bool {
	return slices.ContainsFunc([]string{"mx", "submission", "submissions", "smtp", "lmtp", "pop3", "pop3s", "imap", "imaps"},
		func(role string) bool { return d.cfg.IsSet("serve." + role) })
}

// endsSoon is how long before its end a certificate should have been renewed.
const endsSoon = 14 * 24 * time.Hour

// doctored is a certificate of our servers.
type doctored struct {
	key, file, keyFile string
	isACME             bool
}

// certificates looks at those that can be read and have not expired: config.Check tells of the others.
func (d *doctor) certificates() {
	var all []doctored
	if t := d.cfg.TLS; t.Cert != "" {
		all = append(all, doctored{key: "tls.cert", file: t.Cert, keyFile: t.Key})
	}
	for _, pair := range d.cfg.TLS.More {
		cert, key, _ := strings.Cut(pair, ":")
		all = append(all, doctored{key: "tls.more", file: cert, keyFile: key})
	}
	for _, domain := range d.sys.acmeDomains() {
		file := path.Join(d.sys.acmeCache(), domain)
		all = append(all, doctored{key: domain + " by ACME", file: file, keyFile: file, isACME: true})
	}
	isServed, seen := false, 0
	for _, c := range all {
		c.file, c.keyFile = config.Credential(c.file, os.Getenv), config.Credential(c.keyFile, os.Getenv)
		pair, err := tls.LoadX509KeyPair(c.file, c.keyFile)
		if err != nil || pair.Leaf == nil {
			d.noCertificate(c, err)
			continue
		}
		seen++
		d.certificate(c, pair.Leaf)
		isServed = isServed || pair.Leaf.VerifyHostname(d.cfg.Hostname) == nil
	}
	if seen > 0 && seen == len(all) && !isServed {
		d.add(finding{severity: severityWarning, check: "certificates", code: exConfig, path: all[0].file,
			text: fmt.Sprintf("no certificate is good for the name of this host, %s", d.cfg.Hostname),
			fix:  "openssl x509 -noout -ext subjectAltName -in " + shellWord(all[0].file)})
	}
}

// noCertificate tells of those of ACME; config.Check has told of the others.
func (d *doctor) noCertificate(c doctored, err error) {
	if !c.isACME {
		return
	}
	f := finding{severity: severityWarning, check: "certificates", path: c.file, code: exTempFail, fix: d.command("serve")}
	f.text = c.key + ": there is no certificate yet; serve gets it"
	if !errors.Is(err, fs.ErrNotExist) {
		f.text = fmt.Sprintf("%s: %v", c.key, err)
	}
	d.add(f)
}

func (d *doctor) certificate(c doctored, leaf *x509.Certificate) {
	f := finding{severity: severityError, check: "certificates", path: c.file, code: exConfig,
		fix: "renew " + shellWord(c.file) + "; running servers take the new one by themselves"}
	if c.isACME {
		f.fix = d.command("serve")
	}
	left := leaf.NotAfter.Sub(d.now)
	switch {
	case d.now.Before(leaf.NotBefore):
		f.text, f.fix = fmt.Sprintf("%s: not valid before %s", c.key, leaf.NotBefore.UTC().Format(time.RFC3339)), "date"
		d.add(f)
	case left < 0 && c.isACME:
		f.text = fmt.Sprintf("%s: expired on %s", c.key, leaf.NotAfter.UTC().Format(time.DateOnly))
		d.add(f)
	case left >= 0 && left < min(endsSoon, leaf.NotAfter.Sub(leaf.NotBefore)/4):
		f.severity = severityWarning
		f.text = fmt.Sprintf("%s: ends in %s, on %s", c.key, shortDuration(left), leaf.NotAfter.UTC().Format(time.DateOnly))
		d.add(f)
	}
	if fi, err := os.Stat(c.keyFile); err == nil && fi.Mode().Perm()&0o007 != 0 {
		d.add(finding{severity: severityError, check: "certificates", path: c.keyFile, code: exNoPerm,
			text: fmt.Sprintf("%s: everybody may use the key %s, mode %04o", c.key, c.keyFile, fi.Mode().Perm()), fix: "chmod o= " + shellWord(c.keyFile)})
	}
}
