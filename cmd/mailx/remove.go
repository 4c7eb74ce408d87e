package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mailbox"
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
				carrier := mailbox.NewCarrier(ch.fileSystem())
				defer carrier.Close()
				ch.links, ch.apply = false, ch.target(trashFolder, true).carry(carrier.Move)
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

// trashFolder is the name that mail programs agree on. What is there stays there.
const trashFolder = "Trash"
