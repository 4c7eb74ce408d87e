package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// The verbs that change mail take paths, as show does, and print where each message is then, so that they stand in pipes:
//
//	mailx list --paths --unseen | mailx flag --seen - | mailx move --to Archive -
//
// They work in batches: a path is printed when what was done is durable.

// change is what becomes of one message.
type change struct {
	word  string       // its path, as it was given
	inbox *maildir.Dir // of the mailbox that it is in
	dir   *maildir.Dir
	msg   maildir.Message

	nowIn *maildir.Dir // where it is then; nil: nowhere
	now   maildir.Message
	err   error
}

// changer is one run of such a verb.
type changer struct {
	env    *env
	finder *pathFinder
	failed failures
	nul    bool
	parts  map[string]part
	adopt  func(inbox *maildir.Dir) // gives a mailbox its settings; nil: none are needed
	links  bool                     // symbolic links count as messages
	apply  func(context.Context, []*change) error
	print  func(*change) error
	flush  func() error
	batch  []*change

	asked, done int
	past        string // "moved", of what was done
}

// part is a Maildir, in its mailbox.
type part struct{ inbox, dir *maildir.Dir }

// batchOfChanges is how many messages share the syncs of directories.
const batchOfChanges = 500

func (e *env) newChanger(c *cli.Context, past string) *changer {
	ch := &changer{env: e, finder: newPathFinder(), failed: failures{env: e}, nul: c.Bool("null"), parts: map[string]part{},
		past: past}
	ch.print, ch.flush = e.changePrinter(c)
	return ch
}

// changeFlags are those of every verb that changes messages.
func changeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths, on standard input too, end in NUL"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print no paths"},
		jsonFlag(),
	}
}

// changePrinter reads --null, --quiet and --json.
func (e *env) changePrinter(c *cli.Context) (print func(*change) error, flush func() error) {
	if c.Bool("json") {
		p := e.newPrinter([]column{{name: "source"}, {name: "path"}, {name: "flags"}}, true)
		return func(ch *change) error {
			p.row(ch.word, ch.path(), ch.flagWords())
			return p.err
		}, p.flush
	}
	if c.Bool("quiet") {
		q := quietPrinter()
		return func(*change) error { return nil }, q.flush
	}
	p := e.pathPrinter(c.Bool("null"))
	return func(ch *change) error {
		return p.print(&record{mailFile: mailFile{dir: ch.nowIn, msg: ch.now}})
	}, p.flush
}

// path is where the message is now; "" for nowhere.
func (ch *change) path() string {
	if ch.nowIn == nil {
		return ""
	}
	return path.Join(ch.nowIn.Path(), ch.now.File)
}

func (ch *change) flagWords() []string {
	r := record{mailFile: mailFile{msg: ch.now}, isNew: ch.now.New}
	return r.flagWords()
}

// checkChangeWords refuses a command line without messages, and two forms of output.
func checkChangeWords(c *cli.Context) error {
	switch {
	case c.NArg() == 0:
		return usagef("which messages? Give their paths, or - to read them from standard input")
	case c.Bool("json") && c.Bool("quiet"):
		return usagef("one of --quiet and --json")
	}
	return nil
}

// run changes what the words lead to. One that can't be changed is told of, and the others are changed.
func (c *changer) run(ctx context.Context, words []string) error {
	var stop error
	err := c.env.eachPath(words, c.nul, func(word string) {
		if stop != nil {
			return
		}
		c.batch = append(c.batch, c.find(word))
		if len(c.batch) == batchOfChanges {
			stop = c.finish(ctx)
		}
	})
	if stop == nil {
		stop = c.finish(ctx)
	}
	if ferr := c.flush(); stop == nil {
		stop = ferr
	}
	if stop != nil {
		return stop
	}
	c.failed.add(readError(err))
	if c.done < c.asked && c.asked > 1 {
		c.env.note("%d of %d messages were %s", c.done, c.asked, c.past)
	}
	return c.failed.err()
}

// finish does a batch. The error ends the run: nothing could be done for anybody.
func (c *changer) finish(ctx context.Context) error {
	batch := c.batch
	c.batch = nil
	ready := slices.DeleteFunc(slices.Clone(batch), func(ch *change) bool { return ch.err != nil })
	if len(ready) > 0 {
		if err := c.apply(ctx, ready); err != nil {
			return err
		}
	}
	for _, ch := range batch {
		c.asked++
		if ch.err != nil {
			if ch.err != errToldAlready {
				c.failed.add(ch.trouble())
			}
			continue
		}
		c.done++
		if err := c.print(ch); err != nil {
			return err
		}
	}
	return nil
}

// errToldAlready is for a message that fails for a reason that was told with another one.
var errToldAlready = errors.New("told already")

// trouble says what went wrong with which message.
func (ch *change) trouble() error {
	var chosen *codeError
	switch err := ch.err; {
	case errors.As(err, &chosen):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return exitWith(exNoInput, fmt.Errorf("%s: %s", ch.word, ch.goneText()))
	case mail.StatusOf(err).Subject == 2: // the mailbox is full
		return fmt.Errorf("%s: %w", ch.word, err)
	default:
		err = readError(err)
		return exitWith(exitCode(err), fmt.Errorf("%s: %w", ch.word, err))
	}
}

// goneText: who comes second to a message that two want is told so.
func (ch *change) goneText() string {
	if ch.msg.File != "" {
		return "it is gone: another program has just moved or removed it"
	}
	return "there is no such message"
}

// find says what a path leads to: a message in a Maildir, and a regular file.
func (c *changer) find(word string) *change {
	ch := &change{word: word}
	m := c.finder.find(word)
	if m.dir == nil {
		ch.err = notInMaildir(word)
		return ch
	}
	p, err := c.part(m.dir)
	if err != nil {
		ch.err = err
		return ch
	}
	ch.inbox, ch.dir = p.inbox, p.dir
	now, fi, err := p.dir.Stat(m.msg)
	switch {
	case err != nil:
		ch.err = err
	case fi.Mode().IsRegular() || c.links && fi.Mode()&fs.ModeSymlink != 0:
		ch.msg = now
	default:
		ch.err = exitWith(exNoInput, fmt.Errorf("%s is not a regular file", word))
	}
	return ch
}

func notInMaildir(word string) error {
	fi, err := os.Lstat(word)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%s: there is no such message", word)
	case err != nil:
		return err
	case fi.IsDir():
		err = fmt.Errorf("%s is a directory; mailx list --paths %s names the messages in it", word, word)
	default:
		err = fmt.Errorf("%s is not in the new or cur of a Maildir", word)
	}
	return exitWith(exNoInput, err)
}

// part finds out which mailbox a Maildir belongs to: the one that has it as a folder, or it is one itself. A folder that is
// a symbolic link is not followed: it is not one for servers either.
func (c *changer) part(d *maildir.Dir) (part, error) {
	if p, ok := c.parts[d.Path()]; ok {
		return p, nil
	}
	name := d.Path()
	if wd, err := os.Getwd(); err == nil && (name == "." || strings.HasPrefix(path.Base(name), "..")) {
		name = path.Join(wd, name)
	}
	p, err := c.folderPart(name)
	if err == nil && p.dir == nil {
		c.settle(d)
		p = part{inbox: d, dir: d}
	}
	if err == nil {
		c.parts[d.Path()] = p
	}
	return p, err
}

// folderPart is part for a folder by its path; the zero value says that it is none.
func (c *changer) folderPart(name string) (part, error) {
	folder, isFolder := strings.CutPrefix(path.Base(name), ".")
	if !isFolder {
		return part{}, nil
	}
	inbox, err := c.finder.maildir(path.Dir(name))
	if err != nil {
		return part{}, nil
	}
	c.settle(inbox)
	f, err := inbox.Folder(strings.Split(folder, ".")...)
	switch {
	case err == nil:
		return part{inbox: inbox, dir: f}, nil
	case errors.Is(err, fs.ErrNotExist):
		return part{}, exitWith(exNoInput, fmt.Errorf("%s is not a folder of %s: it leads out of it", name, inbox.Path()))
	}
	return part{}, nil
}

func (c *changer) settle(inbox *maildir.Dir) {
	if c.adopt != nil {
		c.adopt(inbox)
	}
}

// byDir gives the Maildirs of changes, each once, with the changes in it.
func byDir(changes []*change) (dirs []*maildir.Dir, in map[*maildir.Dir][]*change) {
	in = map[*maildir.Dir][]*change{}
	for _, ch := range changes {
		if in[ch.dir] == nil {
			dirs = append(dirs, ch.dir)
		}
		in[ch.dir] = append(in[ch.dir], ch)
	}
	return dirs, in
}

// syncDirs makes changes durable that were made in their Maildirs.
func syncDirs(changes []*change) {
	dirs, in := byDir(changes)
	for _, d := range dirs {
		err := d.Sync()
		for _, ch := range in[d] {
			if ch.err == nil && err != nil {
				ch.err = err
			}
		}
	}
}

// fileSystem is that of the paths.
func (c *changer) fileSystem() vfs.FS { return c.finder.fsys }
