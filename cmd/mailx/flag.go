package main

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// markWords are the flags that flag sets, and the option that takes each away again. Letters are those of the name of a file;
// as options, as in mflag(1), the capital sets and the small one takes away.
func markWords() []struct{ letter, set, unset string } {
	return []struct{ letter, set, unset string }{
		{"S", "seen", "unseen"}, {"R", "replied", "unreplied"}, {"F", "flagged", "unflagged"},
		{"D", "draft", "undraft"}, {"P", "passed", "unpassed"}, {"T", "trashed", "untrashed"},
	}
}

func newFlag(e *env) *cli.Command {
	var flags []cli.Flag
	for _, w := range markWords() {
		flags = append(flags,
			&cli.BoolFlag{Name: w.set, Aliases: []string{w.letter}, Usage: "set the flag " + w.letter},
			&cli.BoolFlag{Name: w.unset, Aliases: []string{strings.ToLower(w.letter)}, Usage: "take " + w.letter + " away"})
	}
	flags = append(flags,
		&cli.StringSliceFlag{Name: "keyword", Usage: "set the IMAP keyword `WORD`; may be repeated"},
		&cli.StringSliceFlag{Name: "no-keyword", Usage: "take the IMAP keyword `WORD` away; may be repeated"})
	return &cli.Command{
		Name:      "flag",
		Usage:     "mark messages as seen, replied, flagged ...",
		ArgsUsage: "path | - ...",
		Description: "Changes the flags of messages and prints their new paths. \"-\" reads paths from standard input.\n" +
			"A message in new/ goes to cur/.",
		Flags: append(flags, changeFlags()...),
		Action: func(c *cli.Context) error {
			m, err := readMarks(c)
			if err == nil {
				err = checkChangeWords(c)
			}
			if err != nil {
				return err
			}
			ch := e.newChanger(c, "marked")
			ch.apply = func(ctx context.Context, changes []*change) error {
				m.apply(ctx, ch.fileSystem(), changes)
				return nil
			}
			return ch.run(c.Context, c.Args().Slice())
		},
	}
}

// marks are what flag changes.
type marks struct{ mailbox.Change }

func readMarks(c *cli.Context) (m marks, err error) {
	for _, w := range markWords() {
		switch set, unset := c.Bool(w.set), c.Bool(w.unset); {
		case set && unset:
			return m, usagef("--%s and --%s contradict each other", w.set, w.unset)
		case set:
			m.Add += w.letter
		case unset:
			m.Remove += w.letter
		}
	}
	m.AddKeywords, m.RemoveKeywords = c.StringSlice("keyword"), c.StringSlice("no-keyword")
	for _, name := range []string{"keyword", "no-keyword"} {
		for _, word := range c.StringSlice(name) {
			if err := checkKeyword(name, word); err != nil {
				return m, err
			}
			if name == "no-keyword" && containsFold(m.AddKeywords, word) {
				return m, usagef("--keyword and --no-keyword contradict each other")
			}
		}
	}
	if m.Add == "" && m.Remove == "" && !m.hasKeywords() {
		return m, usagef("what is to be changed? For example --seen")
	}
	return m, nil
}

func (m marks) hasKeywords() bool { return len(m.AddKeywords)+len(m.RemoveKeywords) > 0 }

// containsFold is how keywords are compared: letter case does not matter.
func containsFold(words []string, word string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, word) })
}

// checkKeyword wants what IMAP clients can be told of: an atom (RFC 3501 §9, flag-keyword).
func checkKeyword(option, word string) error {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) }
	if word == "" || len(word) > 100 || strings.ContainsFunc(word, bad) {
		return exitWith(exDataErr, fmt.Errorf("--%s: %q can't be a keyword; it has letters, digits and marks such as $ - _ in it", option, word))
	}
	return nil
}

// apply changes messages. Keywords are in the index of the Maildir, which is made if it is not there; flags need none.
func (m marks) apply(ctx context.Context, fsys vfs.FS, changes []*change) {
	for _, ch := range changes {
		ch.nowIn = ch.dir
		ch.now, ch.err = ch.dir.ChangeFlags(ch.msg, m.Add, m.Remove)
	}
	syncDirs(changes)
	if !m.hasKeywords() {
		return
	}
	dirs, in := byDir(changes)
	for _, d := range dirs {
		if err := m.keywords(ctx, fsys, d, in[d]); err != nil {
			for _, ch := range in[d] {
				ch.err = err
			}
		}
	}
}

// keywords changes those of messages in one Maildir.
func (m marks) keywords(ctx context.Context, fsys vfs.FS, d *maildir.Dir, changes []*change) error {
	box, err := mailbox.Open(ctx, fsys, d)
	if err != nil {
		return err
	}
	defer box.Close()
	uids := map[string]uint32{}
	for _, msg := range box.Messages() {
		uids[msg.Base] = msg.UID
	}
	var wanted []uint32
	for _, ch := range changes {
		uid, ok := uids[ch.msg.Base]
		if !ok && ch.err == nil {
			ch.err = fs.ErrNotExist
		}
		if ch.err == nil {
			wanted = append(wanted, uid)
		}
	}
	return box.Change(ctx, wanted, mailbox.Change{AddKeywords: m.AddKeywords, RemoveKeywords: m.RemoveKeywords})
}
