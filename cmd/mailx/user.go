package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/urfave/cli/v2"

	"mailx/pkg/auth"
	"mailx/pkg/config"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

func newUser(e *env) *cli.Command {
	fd := func() cli.Flag {
		return &cli.IntFlag{Name: "password-fd", Value: -1, Usage: "read the password from descriptor `N`",
			DefaultText: "ask, or standard input"}
	}
	return &cli.Command{
		Name:  "user",
		Usage: "the people the servers know",
		Subcommands: []*cli.Command{
			{Name: "add", Usage: "make a user and a mailbox", ArgsUsage: "name",
				Flags: []cli.Flag{fd(), &cli.BoolFlag{Name: "no-mailbox", Usage: "make no mailbox: the first message will"},
					&cli.BoolFlag{Name: "no-password", Usage: "keep no password: auth.command knows it"}},
				Action: e.userAction(func(a *accounts, name string, c *cli.Context) error {
					o := newAccount{c.Int("password-fd"), c.Bool("no-password"), c.Bool("no-mailbox")}
					return a.add(name, o)
				})},
			{Name: "list", Usage: "print the names of all users", Flags: []cli.Flag{jsonFlag()},
				Action: func(c *cli.Context) error { return e.userList(c.Args().Slice(), c.Bool("json")) }},
			{Name: "remove", Usage: "remove a user; the mail stays", ArgsUsage: "name",
				Flags: []cli.Flag{&cli.BoolFlag{Name: "purge", Usage: "remove the mail too, for good"}},
				Action: e.userAction(func(a *accounts, name string, c *cli.Context) error {
					return a.remove(name, c.Bool("purge"))
				})},
			{Name: "passwd", Usage: "give a user another password", ArgsUsage: "name", Flags: []cli.Flag{fd()},
				Action: e.userAction(func(a *accounts, name string, c *cli.Context) error {
					return a.passwd(name, c.Int("password-fd"))
				})},
		},
	}
}

// accounts is the user file with the mailboxes that belong to it.
type accounts struct {
	env   *env
	cfg   *config.Config
	users *auth.Users
}

func (e *env) accounts() (*accounts, error) {
	cfg, err := e.store()
	if err != nil {
		return nil, err
	}
	return &accounts{env: e, cfg: cfg, users: auth.NewUsers(mailFS(cfg.Users), cfg.Users)}, nil
}

// userAction is what add, remove and passwd have in common: one word, which is a name.
func (e *env) userAction(do func(a *accounts, name string, c *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() != 1 {
			return usagef("one user name is needed")
		}
		name, err := userName(c.Args().First())
		if err != nil {
			return err
		}
		a, err := e.accounts()
		if err != nil {
			return err
		}
		return userError(do(a, name, c))
	}
}

func userName(word string) (string, error) {
	if word == auth.Wildcard {
		return word, nil
	}
	name, err := auth.CanonicalName(word)
	if err != nil {
		return "", exitWith(exDataErr, fmt.Errorf("%q: %w", word, err))
	}
	return name, nil
}

// userError gives the errors of the user file their exit codes.
func userError(err error) error {
	switch {
	case errors.Is(err, auth.ErrNoUser):
		return exitWith(exNoUser, err)
	case errors.Is(err, auth.ErrExists):
		return exitWith(exCantCreate, fmt.Errorf("%w; mailx user passwd gives another password", err))
	case errors.Is(err, auth.ErrMode):
		return exitWith(exConfig, err)
	}
	return err
}

// names lists the users; a file that is not there has none.
func (a *accounts) names() ([]string, error) {
	names, err := a.users.List()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// mailbox is the Maildir of a user; "" for the wildcard, which has none.
func (a *accounts) mailbox(name string) string {
	if name == auth.Wildcard {
		return ""
	}
	return path.Join(a.cfg.MailRoot, name)
}

// newAccount is how to make a user.
type newAccount struct {
	fd                    int // with the password; negative: ask, or standard input
	noPassword, noMailbox bool
}

// add makes the mailbox before the user, so that a user who is there can get mail.
func (a *accounts) add(name string, o newAccount) error {
	if o.noPassword && o.fd >= 0 {
		return usagef("--no-password and --password-fd do not go together")
	}
	names, err := a.names()
	if err != nil {
		return err
	}
	if slices.Contains(names, name) {
		return fmt.Errorf("%s: %w", name, auth.ErrExists)
	}
	save := a.users.AddWithoutSecret
	if !o.noPassword {
		password, err := a.env.newPassword(name, o.fd)
		if err != nil {
			return err
		}
		save = func(name string) error { return a.users.Add(name, password) }
	}
	if !o.noMailbox && name != auth.Wildcard {
		if err := a.makeMailbox(name); err != nil {
			return err
		}
	}
	if err := vfs.MkdirAll(mailFS(""), path.Dir(a.cfg.Users)); err != nil {
		return err
	}
	return save(name)
}

// makeMailbox makes a Maildir durably. Mail that is there already was somebody else's, perhaps: it is told of.
func (a *accounts) makeMailbox(name string) error {
	d, err := maildir.Create(mailFS(""), a.mailbox(name))
	if err != nil {
		return readError(err)
	}
	messages, err := d.List()
	if err == nil && len(messages) > 0 {
		a.env.note("%s has %d messages already", d.Path(), len(messages))
	}
	return readError(err)
}

func (a *accounts) passwd(name string, fd int) error {
	names, err := a.names()
	if err != nil {
		return err
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("%s: %w", name, auth.ErrNoUser)
	}
	password, err := a.env.newPassword(name, fd)
	if err != nil {
		return err
	}
	return a.users.SetPassword(name, password)
}

// remove takes the user out first, so that no more mail comes, and then the mail, if that is wanted. A purge that was
// cut short can be done again when the user has gone.
func (a *accounts) remove(name string, purge bool) error {
	names, err := a.names()
	if err != nil {
		return err
	}
	box := a.mailbox(name)
	_, missing := os.Lstat(box)
	hasMail := box != "" && missing == nil
	known := slices.Contains(names, name)
	if !known && !(purge && (hasMail || len(leftovers(box)) > 0)) {
		return fmt.Errorf("%s: %w", name, auth.ErrNoUser)
	}
	if known {
		if err := a.users.Remove(name); err != nil {
			return err
		}
	}
	switch {
	case purge:
		return purgeMailbox(box, hasMail)
	case hasMail:
		a.env.note("the mail of %s stays in %s", name, box)
	}
	return nil
}

// userList prints the names; with --json also where their mail is and how they log in.
func (e *env) userList(words []string, asJSON bool) error {
	if len(words) > 0 {
		return usagef("%q is not needed here", words[0])
	}
	a, err := e.accounts()
	if err != nil {
		return err
	}
	names, err := a.names()
	if err != nil {
		return userError(err)
	}
	columns := []column{{name: "name"}}
	if asJSON {
		columns = append(columns, column{name: "mailbox"}, column{name: "proof"})
	}
	p := e.newPrinter(columns, asJSON)
	for _, name := range names {
		row := []any{name}
		if asJSON {
			proof, err := a.users.Proof(name)
			if err != nil {
				return userError(err)
			}
			row = append(row, a.mailbox(name), string(proof))
		}
		p.row(row...)
	}
	return p.flush()
}
