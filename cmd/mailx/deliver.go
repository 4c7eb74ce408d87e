package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"mailx/pkg/auth"
	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/hook"
	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/message"
	"mailx/pkg/vfs"
	"mailx/pkg/wire"
)

func newDeliver(e *env) *cli.Command {
	return &cli.Command{
		Name:      "deliver",
		Usage:     "deliver a message into Maildirs",
		ArgsUsage: "[user ...]",
		Description: "The message is on standard input. Without a user it is for the one who runs this. For the lines of other\n" +
			"programs: mailbox_command of Postfix, --mda of fetchmail.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "sender", Aliases: []string{"f"},
				Usage: "the reverse-path is `ADDRESS`, for Return-Path; empty or <> is the null one"},
			&cli.StringFlag{Name: "to", Usage: "into the Maildir `DIR` rather than a user's"},
			&cli.StringFlag{Name: "folder", Usage: "into the folder `NAME` of each mailbox"},
		},
		Action: func(c *cli.Context) error { return deferred(e.deliver(c)) },
	}
}

// deferred leaves the MTA that called us three reasons to bounce a message: a wrong command line, a bad message, an
// unknown user. Everything else is trouble of ours, and the message is tried again.
func deferred(err error) error {
	switch exitCode(err) {
	case exOK, exUsage, exDataErr, exNoUser, exTempFail:
		return err
	}
	return exitWith(exTempFail, err)
}

func (e *env) deliver(c *cli.Context) error {
	users := c.Args().Slice()
	if c.IsSet("to") && (len(users) > 0 || c.String("to") == "") {
		return usagef("either --to DIR or users")
	}
	sender, trace, err := e.returnPath(c)
	if err != nil {
		return err
	}
	cfg, err := e.store()
	if err != nil {
		return err
	}
	known := auth.NewUsers(vfs.OS(), cfg.Users)
	t := targets{env: e, cfg: cfg, fsys: mailFS(""), users: known, quotas: newQuotas(cfg, func() *auth.Users { return known })}
	t.folder = folderElements(c.String("folder"))
	switch {
	case c.IsSet("to"):
		err = t.open(c.String("to"))
	case len(users) == 0:
		err = t.user(loginName())
	}
	for _, name := range users {
		if err == nil {
			err = t.user(name)
		}
	}
	if err != nil {
		return err
	}
	if e.stdinIsTerminal() {
		e.note("type the message, header first; end it with Ctrl-D")
	}
	if set := hooks(cfg, e.note); set.Has(hook.DeliverFilter, hook.Deliver) {
		return t.storeFiltered(e.input(), trace, deliverHooks{set, sender, users})
	}
	return t.store(e.input(), trace)
}

// returnPath is the field for the sender that we were told of: by -f, else in the environment, as programs that call an
// MDA do it. It is empty if nobody told; then a Return-Path in the message stays.
func (e *env) returnPath(c *cli.Context) (sender mail.Address, trace []byte, err error) {
	text, told := c.String("sender"), c.IsSet("sender")
	for _, variable := range []string{"RETURN_PATH", "SENDER"} {
		if !told && os.Getenv(variable) != "" {
			text, told = os.Getenv(variable), true
		}
	}
	if !told {
		return sender, nil, nil
	}
	if sender, err = senderAddress(text); err != nil {
		return sender, nil, err
	}
	return sender, message.AppendReturnPath(nil, sender), nil
}

// senderAddress reads a reverse-path. QUIRK: what is no address by the book ("a..b@docomo.example") is quoted rather than
// refused: somebody has accepted the mail, and it would be lost. Control characters are refused, 65.
func senderAddress(s string) (mail.Address, error) {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return mail.Address{}, exitWith(exDataErr, fmt.Errorf("the sender %q has characters that no address has", s))
	}
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		s = strings.TrimSuffix(inner, ">")
	}
	if s == "" {
		return mail.Address{}, nil
	}
	if a, err := mail.ParseAddress(s); err == nil {
		return a, nil
	}
	if i := strings.LastIndexByte(s, '@'); i > 0 {
		if domain, err := mail.ParseDomain(s[i+1:]); err == nil {
			return mail.Address{Local: s[:i], Domain: domain}, nil
		}
	}
	return mail.Address{Local: s}, nil
}

// targets are the Maildirs that a message is for.
type targets struct {
	env    *env
	cfg    *config.Config
	fsys   vfs.FS
	users  *auth.Users
	quotas quotas
	folder []string
	dirs   []*maildir.Dir
}

// open opens a Maildir, or its folder, and makes it if it is not there.
func (t *targets) open(name string) error {
	d, err := maildir.Create(t.fsys, name)
	if err == nil {
		d.Host, d.Reserve, d.Quota = t.cfg.Hostname, uint64(t.cfg.Reserve), t.quotas.ofMaildir(name)
		if len(t.folder) > 0 {
			d, err = d.CreateFolder(t.folder...)
		}
	}
	if err != nil {
		return err
	}
	t.dirs = append(t.dirs, d)
	return nil
}

// user opens the mailbox of a user:
//
//   - of the user file: the one in the mail root;
//   - where there is no user file that we may read: the one in the mail root, if it is there;
//   - else, for the name of who runs this: ~/Maildir;
//   - all others are unknown, 5.1.1.
func (t *targets) user(name string) error {
	canonical, err := auth.CanonicalName(name)
	if err != nil {
		return mail.Permanentf(1, 1, "No such user: %s", name)
	}
	found, err := t.findUser(canonical)
	box := path.Join(t.cfg.MailRoot, canonical)
	noFile := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
	self := strings.EqualFold(name, loginName())
	switch {
	case found != "" && err == nil:
		return t.open(path.Join(t.cfg.MailRoot, found))
	case noFile && isMaildir(box):
		return t.open(box)
	case self && (err == nil || noFile) && homeMaildir() != "":
		return t.open(homeMaildir())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return mail.Permanentf(1, 1, "No such user: %s", name)
}

// findUser looks into the user file, as the servers do: for the name without the detail, then for the whole name.
func (t *targets) findUser(name string) (found string, err error) {
	local, domain := name, ""
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		local, domain = name[:at], name[at:]
	}
	for _, candidate := range []string{delivery.WithoutDetail(local, t.cfg.Delimiter) + domain, name} {
		ok, err := t.users.Exists(candidate)
		if ok || err != nil {
			return candidate, err
		}
	}
	return "", nil
}

func isMaildir(name string) bool {
	_, err := maildir.Open(vfs.OS(), name)
	return err == nil
}

// store delivers the message: one file, with a link for each other Maildir. It is durable after nil; after an error
// nothing of it is left.
func (t *targets) store(from io.Reader, trace []byte) error {
	return t.deliver(func(w io.Writer) error { return t.fill(w, from, trace) })
}

func (t *targets) fill(w io.Writer, from io.Reader, trace []byte) error {
	return fillDelivery(w, limited(wire.LocalForm(from), t.cfg.SMTP.MaxSize), trace)
}

func (t *targets) deliver(fill func(io.Writer) error) error {
	d, err := storeWhole(t.env, t.dirs[0].Deliver, fill)
	if err != nil {
		return err
	}
	for _, other := range t.dirs[1:] {
		d.Also(other)
	}
	return d.Commit()
}
