package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"mailx/pkg/maildir"
)

// mailboxes looks at what stands where those of users are.
func (d *doctor) mailboxes(ctx context.Context) {
	entries, err := os.ReadDir(d.cfg.MailRoot)
	if err != nil {
		return
	}
	known := d.knownUsers()
	for _, entry := range entries {
		name := path.Join(d.cfg.MailRoot, entry.Name())
		switch {
		case ctx.Err() != nil:
			return
		case strings.HasPrefix(entry.Name(), ".removed."):
			d.add(finding{severity: severityWarning, check: "leftovers", path: name, code: exTempFail,
				text: "the removal of a mailbox was cut short: " + name, fix: "rm -r " + shellWord(name)})
		case entry.Name()[0] == '.', entry.Name() == "lost+found":
		default:
			d.mailbox(name, known)
		}
	}
}

// knownUsers says who is in the user file; nil: everybody may be.
func (d *doctor) knownUsers() func(name string) bool {
	names, err := d.sys.users().List()
	if err != nil || len(d.cfg.Auth.Command) > 0 || slices.Contains(names, "*") {
		return nil
	}
	return func(name string) bool { return slices.Contains(names, name) }
}

func (d *doctor) mailbox(name string, known func(string) bool) {
	f := finding{severity: severityWarning, check: "mailboxes", path: name, code: exDataErr}
	if _, err := maildir.Open(d.fs, name); err != nil {
		f.text = fmt.Sprintf("%s is no Maildir", name)
		f.fix = "mkdir -m 700 " + shellWord(name+"/tmp") + " " + shellWord(name+"/new") + " " + shellWord(name+"/cur")
		if fi, err := os.Stat(name); err == nil && !fi.IsDir() {
			f.fix = "mv " + shellWord(name) + " " + shellWord(d.cfg.Spool)
		}
		d.add(f)
		return
	}
	if known != nil && !known(path.Base(name)) {
		d.add(finding{severity: severityNote, check: "mailboxes", path: name, text: name + " is the mailbox of nobody who is in " + d.cfg.Users,
			fix: d.command("user", "add", shellWord(path.Base(name)))})
	}
	if !d.readsMessages {
		return
	}
	for _, p := range maildir.Check(d.fs, name) {
		if strings.HasPrefix(p.Text, "others may write") {
			continue // files has told of it
		}
		f.severity, f.path = severityError, path.Join(name, p.File)
		f.text, f.fix = path.Join(name, p.String()), mendMessage(f.path)
		d.add(f)
	}
}

// mendMessage takes sizes out of a name, so that they are counted again.
func mendMessage(name string) string {
	base, flags, hasFlags := strings.Cut(path.Base(name), ":2,")
	unique, _, hasSize := strings.Cut(base, ",S=")
	if !hasSize {
		return ""
	}
	if hasFlags {
		unique += ":2," + flags
	}
	return "mv " + shellWord(name) + " " + shellWord(path.Join(path.Dir(name), unique))
}
