package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
)

func newCopy(e *env) *cli.Command {
	return &cli.Command{
		Name:      "copy",
		Usage:     "copy messages to another folder or Maildir",
		ArgsUsage: "path | - ...",
		Description: "Copies messages with their flags and times, and prints the paths of the copies. \"-\" reads paths from\n" +
			"standard input.",
		Flags:  append(targetFlags(), changeFlags()...),
		Action: func(c *cli.Context) error { return e.carry(c, "copied", (*mailbox.Carrier).Copy) },
	}
}

func newMove(e *env) *cli.Command {
	return &cli.Command{
		Name:      "move",
		Usage:     "move messages to another folder or Maildir",
		ArgsUsage: "path | - ...",
		Description: "Moves messages with their flags and times, and prints their new paths. \"-\" reads paths from standard\n" +
			"input.",
		Flags:  append(targetFlags(), changeFlags()...),
		Action: func(c *cli.Context) error { return e.carry(c, "moved", (*mailbox.Carrier).Move) },
	}
}

func targetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "into `FOLDER`, of the mailbox that a message is in, or the Maildir at this path"},
		&cli.StringFlag{Name: "user", Usage: "into the folder of user `NAME`"},
		&cli.BoolFlag{Name: "create", Usage: "make it if it is not there"},
	}
}

// carry is copy or move.
func (e *env) carry(c *cli.Context, past string, do func(*mailbox.Carrier, context.Context, []*mailbox.Parcel)) error {
	if !c.IsSet("to") || c.String("to") == "" {
		return usagef("where to? --to names a folder, or the path of a Maildir")
	}
	if err := checkChangeWords(c); err != nil {
		return err
	}
	sys, err := e.system()
	if err != nil {
		return err
	}
	ch := e.newChanger(c, past)
	ch.adopt = sys.configure
	to := ch.target(c.String("to"), c.Bool("create"))
	if err := to.prepare(c.String("user")); err != nil {
		return readError(err)
	}
	carrier := mailbox.NewCarrier(ch.fileSystem())
	defer carrier.Close()
	ch.apply = to.carry(func(ctx context.Context, parcels []*mailbox.Parcel) { do(carrier, ctx, parcels) })
	return ch.run(c.Context, c.Args().Slice())
}

// configure gives a mailbox that mail comes into what the configuration says.
func (s *system) configure(inbox *maildir.Dir) {
	name := inbox.Path()
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	inbox.Host, inbox.Reserve, inbox.Quota = s.cfg.Hostname, uint64(s.cfg.Reserve), s.quotas.ofMaildir(name)
}

// target is where messages go: one Maildir for all, or a folder of the mailbox that each is in.
type target struct {
	changer *changer
	word    string
	create  bool
	inbox   *maildir.Dir // of --user
	fixed   *maildir.Dir // nil: see inbox
	folders map[*maildir.Dir]*maildir.Dir
	none    map[*maildir.Dir]bool // mailboxes that have no such folder
}

func (c *changer) target(word string, create bool) *target {
	return &target{changer: c, word: word, create: create, folders: map[*maildir.Dir]*maildir.Dir{}, none: map[*maildir.Dir]bool{}}
}

// carry gives what a changer does to copy or move messages there.
func (t *target) carry(do func(context.Context, []*mailbox.Parcel)) func(context.Context, []*change) error {
	return func(ctx context.Context, changes []*change) error {
		var going []*change
		var parcels []*mailbox.Parcel
		for _, ch := range changes {
			d, err := t.dirOnce(ch.inbox)
			if err != nil {
				ch.err = err
				continue
			}
			going, parcels = append(going, ch), append(parcels, &mailbox.Parcel{From: ch.dir, To: d, Message: ch.msg})
		}
		do(ctx, parcels)
		for i, p := range parcels {
			going[i].nowIn, going[i].now, going[i].err = p.To, p.Now, p.Err
		}
		return nil
	}
}

// dirOnce is dir, and says once of a mailbox that its messages can't go.
func (t *target) dirOnce(inbox *maildir.Dir) (*maildir.Dir, error) {
	if t.none[inbox] {
		return nil, errToldAlready
	}
	d, err := t.dir(inbox)
	t.none[inbox] = err != nil
	return d, readError(err)
}

// prepare opens what does not depend on messages.
func (t *target) prepare(user string) (err error) {
	switch {
	case user != "" && isPath(t.word):
		return usagef("--user is for a folder; %s is a path", t.word)
	case user != "":
		if t.inbox, err = t.changer.env.inbox(t.changer.finder, user); err != nil {
			return err
		}
		t.changer.settle(t.inbox)
		_, err = t.dir(t.inbox)
	case isPath(t.word):
		t.fixed, err = t.maildir()
	}
	return err
}

// isPath reports a word that can't be a folder.
func isPath(word string) bool {
	return word == "." || word == ".." || strings.HasPrefix(word, "/") || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../")
}

// maildir opens the target by its path.
func (t *target) maildir() (*maildir.Dir, error) {
	d, err := t.changer.finder.maildir(t.word)
	if errors.Is(err, fs.ErrNotExist) && t.create {
		if d, err = maildir.Create(t.changer.fileSystem(), path.Clean(t.word)); err == nil {
			d, err = t.changer.finder.maildir(t.word)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = exitWith(exNoInput, fmt.Errorf("%s is not a Maildir; --create makes it", t.word))
	}
	if err != nil {
		return nil, err
	}
	p, err := t.changer.part(d)
	return p.dir, err
}

// dir gives the Maildir for messages of a mailbox.
func (t *target) dir(inbox *maildir.Dir) (*maildir.Dir, error) {
	if t.fixed != nil {
		return t.fixed, nil
	}
	if t.inbox != nil {
		inbox = t.inbox
	}
	if d := t.folders[inbox]; d != nil {
		return d, nil
	}
	d, err := openFolder(mailbox.NewStore(t.changer.fileSystem(), inbox), t.word, t.create)
	if err != nil && strings.Contains(t.word, "/") && t.inbox == nil {
		if there, merr := t.changer.finder.maildir(t.word); merr == nil {
			p, err := t.changer.part(there)
			if err == nil {
				t.folders[inbox] = p.dir
			}
			return p.dir, err
		}
	}
	if errors.Is(err, mailbox.ErrNoFolder) {
		err = exitWith(exNoInput, fmt.Errorf("there is no folder %s in %s; --create makes it", t.word, inbox.Path()))
	}
	if err != nil {
		return nil, err
	}
	t.folders[inbox] = d
	return d, nil
}

// openFolder opens a folder, and makes it if it may.
func openFolder(store *mailbox.Store, word string, create bool) (*maildir.Dir, error) {
	name, err := folderName(word)
	if err != nil {
		return nil, err
	}
	d, err := store.Folder(name)
	if !create || !errors.Is(err, mailbox.ErrNoFolder) {
		return d, err
	}
	if err := store.Create(name); err != nil && !errors.Is(err, mailbox.ErrFolderExists) {
		return nil, err
	}
	return store.Folder(name)
}

// folderName is the name of a folder as servers know it: "Archive/2026", which may be written with dots. One that can't be a
// name is exit 65.
func folderName(word string) (string, error) {
	elems := folderElements(word)
	if len(elems) == 0 && word != "" {
		return mailbox.Inbox, nil
	}
	name := strings.Join(elems, "/")
	if _, err := mailbox.SplitName(name); err != nil {
		return "", exitWith(exDataErr, fmt.Errorf("%q can't be the name of a folder", word))
	}
	return name, nil
}
