package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
)

func newFolder(e *env) *cli.Command {
	user := func() cli.Flag { return &cli.StringFlag{Name: "user", Usage: "in the mailbox of user `NAME`"} }
	return &cli.Command{
		Name:  "folder",
		Usage: "list, make, rename and delete folders",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list folders, with what is in them", ArgsUsage: "[folder ...]",
				Flags: []cli.Flag{user(), &cli.BoolFlag{Name: "paths", Usage: "print the paths of the Maildirs and nothing else"},
					&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths, each ended by NUL"}, jsonFlag()},
				Action: e.folderAction(0, -1, (*folders).list)},
			{Name: "create", Usage: "make folders", ArgsUsage: "folder ...",
				Flags:  []cli.Flag{user(), &cli.BoolFlag{Name: "subscribe", Usage: "subscribe to them too"}},
				Action: e.folderAction(1, -1, (*folders).create)},
			{Name: "rename", Usage: "rename a folder and those below it", ArgsUsage: "old new", Flags: []cli.Flag{user()},
				Action: e.folderAction(2, 2, (*folders).rename)},
			{Name: "delete", Usage: "delete folders that are empty", ArgsUsage: "folder ...",
				Flags: []cli.Flag{user(), &cli.BoolFlag{Name: "force", Usage: "with the messages in them"},
					&cli.BoolFlag{Name: "recursive", Usage: "and the folders below them"}},
				Action: e.folderAction(1, -1, (*folders).delete)},
			{Name: "subscribe", Usage: "have IMAP clients show folders", ArgsUsage: "folder ...", Flags: []cli.Flag{user()},
				Action: e.folderAction(1, -1, (*folders).subscribe)},
			{Name: "unsubscribe", Usage: "have IMAP clients hide folders", ArgsUsage: "folder ...", Flags: []cli.Flag{user()},
				Action: e.folderAction(1, -1, (*folders).unsubscribe)},
		},
	}
}

// folders is one run of a subcommand of folder.
type folders struct {
	env    *env
	cli    *cli.Context
	finder *pathFinder
	inbox  *maildir.Dir
	store  *mailbox.Store
	failed failures
}

// folderAction wants so many words at least, and at most (-1: any number), all of them names of folders.
func (e *env) folderAction(least, most int, do func(f *folders, names []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		words := c.Args().Slice()
		switch {
		case least == 2 && len(words) != 2:
			return usagef("which folder, and what is its new name?")
		case len(words) < least:
			return usagef("which folder?")
		}
		names := make([]string, len(words))
		for i, word := range words {
			name, err := folderName(word)
			if err != nil {
				return err
			}
			names[i] = name
		}
		f := &folders{env: e, cli: c, finder: newPathFinder(), failed: failures{env: e}}
		inbox, err := e.inbox(f.finder, c.String("user"))
		if err != nil {
			return readError(err)
		}
		f.inbox, f.store = inbox, mailbox.NewStore(f.finder.fsys, inbox)
		if err := do(f, names); err != nil {
			return readError(err)
		}
		return f.failed.err()
	}
}

// each does one folder after the other; the first failure decides about the exit code.
func (f *folders) each(names []string, do func(name string) error) error {
	for _, name := range names {
		f.failed.add(f.trouble(name, do(name)))
	}
	return nil
}

// trouble gives errors of folders their exit codes and the name of the folder.
func (f *folders) trouble(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mailbox.ErrNoFolder), errors.Is(err, fs.ErrNotExist):
		return exitWith(exNoInput, fmt.Errorf("there is no folder %s in %s", name, f.inbox.Path()))
	case errors.Is(err, mailbox.ErrFolderExists):
		return exitWith(exCantCreate, fmt.Errorf("%s is there already", name))
	case errors.Is(err, mailbox.ErrInbox):
		return exitWith(exUnavailable, errors.New("the inbox stays; mailx remove and mailx move take the messages out of it"))
	case errors.Is(err, maildir.ErrNotEmpty):
		return exitWith(exUnavailable, fmt.Errorf("%s: %w; --force removes them too", name, err))
	}
	code := exitCode(readError(err))
	return exitWith(code, fmt.Errorf("%s: %w", name, readError(err)))
}

// list prints the inbox and all folders, or those that are named with what is below them.
func (f *folders) list(names []string) error {
	paths := f.cli.Bool("paths") || f.cli.Bool("null")
	if paths && f.cli.Bool("json") {
		return usagef("one of --paths and --json")
	}
	all, err := f.store.Folders()
	if err != nil {
		return err
	}
	all = append([]string{mailbox.Inbox}, all...)
	wanted := all
	if len(names) > 0 {
		wanted = f.withBelow(names, all)
		slices.Sort(wanted)
		wanted = slices.Compact(wanted)
	}
	if paths {
		return f.listPaths(wanted, f.cli.Bool("null"))
	}
	return f.table(wanted)
}

func (f *folders) listPaths(names []string, nul bool) error {
	var paths []string
	for _, name := range names {
		d, err := f.store.Folder(name)
		if err != nil {
			f.failed.add(f.trouble(name, err))
			continue
		}
		p := d.Path()
		if f.env.stdoutIsTerminal() {
			p = escapeControl(p)
		}
		paths = append(paths, p)
	}
	return printPaths(f.env.stdout, paths, nul)
}

// table prints a row for each folder: what a terminal has no room for is its path.
func (f *folders) table(names []string) error {
	columns := []column{{name: "name", flexible: true}, {name: "messages", right: true}, {name: "new", right: true}, {name: "unseen", right: true},
		{name: "size", right: true}, {name: "path"}, {name: "subscribed"}}
	subscribed, err := f.store.Subscribed()
	if err != nil {
		return err
	}
	asJSON := f.cli.Bool("json")
	if !asJSON {
		columns = columns[:6]
	}
	short := !asJSON && f.env.stdoutIsTerminal()
	if short {
		columns = columns[:5]
	}
	p := f.env.newPrinter(columns, asJSON)
	for _, name := range names {
		n, err := f.count(name)
		if err != nil {
			f.failed.add(f.trouble(name, err))
			continue
		}
		row := []any{name, n.messages, n.fresh, n.unseen, n.size, n.path, slices.Contains(subscribed, name)}
		p.row(row[:len(columns)]...)
	}
	return p.flush()
}

// counts are of one folder.
type counts struct {
	messages, fresh, unseen int
	size                    int64 // octets on disk
	path                    string
}

// count looks at names only, unless one does not say its size.
func (f *folders) count(name string) (n counts, err error) {
	d, err := f.store.Folder(name)
	if err != nil {
		return n, err
	}
	list, err := d.List()
	if err != nil {
		return n, err
	}
	n.path = d.Path()
	for _, m := range list {
		n.messages++
		if m.New {
			n.fresh++
		}
		if !m.Has('S') {
			n.unseen++
		}
		size := m.Size
		if size < 0 {
			if fi, err := f.finder.fsys.Lstat(path.Join(n.path, m.File)); err == nil {
				size = fi.Size()
			}
		}
		n.size += max(size, 0)
	}
	return n, nil
}

func (f *folders) create(names []string) error {
	return f.each(names, func(name string) error {
		err := f.store.Create(name)
		if err == nil && f.cli.Bool("subscribe") {
			err = f.store.Subscribe(f.context(), name, true)
		}
		return err
	})
}

func (f *folders) context() context.Context { return f.cli.Context }

// rename takes the subscriptions along, which IMAP leaves to the client.
func (f *folders) rename(names []string) error {
	from, to := names[0], names[1]
	if from == mailbox.Inbox {
		return f.trouble(from, mailbox.ErrInbox)
	}
	subscribed, err := f.store.Subscribed()
	if err != nil {
		return err
	}
	if err := f.store.Rename(f.context(), from, to); err != nil {
		name := from
		if errors.Is(err, mailbox.ErrFolderExists) {
			name = to
		}
		return f.trouble(name, err)
	}
	for _, name := range subscribed {
		below, ok := strings.CutPrefix(name+"/", from+"/")
		if !ok {
			continue
		}
		renamed := strings.TrimSuffix(to+"/"+below, "/")
		if err := errors.Join(f.store.Subscribe(f.context(), renamed, true), f.store.Subscribe(f.context(), name, false)); err != nil {
			return err
		}
	}
	return nil
}

// delete removes folders, the lowest first. A folder that goes is subscribed to no more.
func (f *folders) delete(names []string) error {
	if f.cli.Bool("recursive") {
		all, err := f.store.Folders()
		if err != nil {
			return err
		}
		names = f.withBelow(names, append([]string{mailbox.Inbox}, all...))
		slices.Reverse(names)
	}
	remove := f.store.DeleteEmpty
	if f.cli.Bool("force") {
		remove = f.store.Delete
	}
	return f.each(names, func(name string) error {
		err := remove(name)
		if err == nil {
			err = f.store.Subscribe(f.context(), name, false)
		}
		return err
	})
}

// withBelow gives those of all that are named or below one that is. A name that leads to nothing is reported.
func (f *folders) withBelow(names, all []string) (list []string) {
	for _, name := range names {
		found := false
		for _, other := range all {
			if other == name || strings.HasPrefix(other, name+"/") {
				list, found = append(list, other), true
			}
		}
		if !found {
			f.failed.add(f.trouble(name, mailbox.ErrNoFolder))
		}
	}
	return list
}

func (f *folders) subscribe(names []string) error {
	return f.each(names, func(name string) error {
		found, err := f.store.Exists(name)
		if err == nil && !found {
			err = mailbox.ErrNoFolder
		}
		if err == nil {
			err = f.store.Subscribe(f.context(), name, true)
		}
		return err
	})
}

func (f *folders) unsubscribe(names []string) error {
	return f.each(names, func(name string) error { return f.store.Subscribe(f.context(), name, false) })
}
