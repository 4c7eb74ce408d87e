package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
)

func newRemove(e *env) *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "remove messages, for good or to the trash",
		ArgsUsage: "path | - ...",
		Description: "Removes messages from their Maildirs, for good as rm does, or with --trash into the folder Trash. \"-\"\n" +
			"reads paths from standard input.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "trash", Usage: "move them to the folder Trash, which is made if it is not there"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths on standard input end in NUL"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := checkChangeWords(c); err != nil {
				return err
			}
			ch := e.newChanger(c, "removed")
			if !c.Bool("json") {
				ch.print = func(*change) error { return nil }
			}
			ch.links, ch.apply = true, removeAll
			if c.Bool("trash") {
				t := &trash{changer: ch, folders: map[*maildir.Dir]*maildir.Dir{}, carrier: mailbox.NewCarrier(ch.fileSystem())}
				defer t.carrier.Close()
				ch.links, ch.apply = false, t.apply
			}
			return ch.run(c.Context, c.Args().Slice())
		},
	}
}

// removeAll removes messages for good.
func removeAll(_ context.Context, changes []*change) error {
	for _, ch := range changes {
		ch.err = ch.dir.Remove(ch.msg)
	}
	syncDirs(changes)
	return nil
}

// trashFolder is the name that mail programs agree on.
const trashFolder = "Trash"

// trash moves messages to the folder Trash of the mailbox that each is in. Those that are there stay there.
type trash struct {
	changer *changer
	folders map[*maildir.Dir]*maildir.Dir
	carrier *mailbox.Carrier
}

func (t *trash) apply(ctx context.Context, changes []*change) error {
	var going []*change
	var parcels []*mailbox.Parcel
	for _, ch := range changes {
		d, err := t.folder(ch.inbox)
		if err != nil {
			ch.err = err
			continue
		}
		going, parcels = append(going, ch), append(parcels, &mailbox.Parcel{From: ch.dir, To: d, Message: ch.msg})
	}
	t.carrier.Move(ctx, parcels)
	for i, p := range parcels {
		going[i].nowIn, going[i].now, going[i].err = p.To, p.Now, p.Err
	}
	return nil
}

func (t *trash) folder(inbox *maildir.Dir) (*maildir.Dir, error) {
	if d := t.folders[inbox]; d != nil {
		return d, nil
	}
	d, err := openFolder(mailbox.NewStore(t.changer.fileSystem(), inbox), trashFolder, true)
	if err == nil {
		t.folders[inbox] = d
	}
	return d, err
}
