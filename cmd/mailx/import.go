package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mail"
	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/mbox"
)

func newImport(e *env) *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "take messages in from an mbox, files, MH or another Maildir",
		ArgsUsage: "file | directory | - ...",
		Description: "Copies messages into a folder, with the flags and the times that they have where they come from, and prints\n" +
			"their paths in a pipe. A file is an mbox or one message, a directory is a Maildir, an MH folder, or has *.eml\n" +
			"files. \"-\" is an mbox or one message on standard input. What it comes from is never changed.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "into `FOLDER` of the inbox, or the Maildir at this path", DefaultText: "the inbox"},
			&cli.StringFlag{Name: "user", Usage: "into the mailbox of user `NAME`"},
			&cli.BoolFlag{Name: "create", Usage: "make the folder if it is not there"},
			&cli.BoolFlag{Name: "skip-known", Usage: "leave out what is there already, octet for octet: to go on after an interruption"},
			&cli.StringFlag{Name: "mbox", Value: "rd", Usage: "how an mbox is quoted: `FORM` rd, o, cl or cl2"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "print paths that end in NUL"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print no paths"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			im, err := e.newImporter(c)
			if err != nil {
				return err
			}
			return im.run(c.Args().Slice())
		},
	}
}

// importer is one run of import. Messages are committed in batches, which share the syncs of directories; a path is printed when
// its message is durable.
type importer struct {
	env      *env
	ch       *changer // prints
	to       *maildir.Dir
	form     mbox.Form
	known    *knownTexts  // nil: all is taken
	box      *mailbox.Box // of to; nil: no message had keywords yet
	ctx      context.Context
	progress *progress
	failed   failures

	batch                 []*incoming
	octets                int64
	imported, left, wrong int
}

// incoming is a message that is in tmp/, whole.
type incoming struct {
	source string
	w      *maildir.Delivery
	words  []string
}

// A batch holds as much as a loss of power may undo. Each of its messages is an open file.
const (
	importBatch  = 200
	importOctets = 32 << 20
)

func (e *env) newImporter(c *cli.Context) (*importer, error) {
	form, ok := mbox.ParseForm(c.String("mbox"))
	switch {
	case !ok:
		return nil, usagef("--mbox is rd, o, cl or cl2, not %q", c.String("mbox"))
	case c.NArg() == 0:
		return nil, usagef("import what? Name an mbox, a message, a directory, or - for standard input")
	case c.Bool("json") && c.Bool("quiet"):
		return nil, usagef("one of --quiet and --json")
	}
	sys, err := e.system()
	if err != nil {
		return nil, err
	}
	word := c.String("to")
	if word == "" {
		word = "inbox"
	}
	im := &importer{env: e, form: form, failed: failures{env: e}, progress: e.newProgress("nothing was imported yet", true)}
	if im.ch, im.to, err = e.openTarget(c, sys, word, c.String("user"), "imported"); err != nil {
		return nil, err
	}
	if e.stdoutIsTerminal() && !c.Bool("null") && !c.Bool("json") {
		im.ch.print = func(*change) error { return nil }
	}
	if c.Bool("skip-known") {
		im.known, err = newKnownTexts(im.to)
	}
	return im, readError(err)
}

func (im *importer) run(sources []string) (err error) {
	ctx, stop := im.env.untilSignal(context.Background())
	defer stop()
	im.ctx = ctx
	defer im.progress.start()()
	for _, source := range sources {
		if err = im.source(source); err != nil {
			break
		}
	}
	if cerr := im.commit(); err == nil {
		err = cerr
	}
	if im.box != nil {
		im.box.Close()
	}
	im.progress.clear()
	if ferr := im.ch.flush(); err == nil {
		err = ferr
	}
	im.summary(err)
	switch {
	case err == nil:
		return im.failed.err()
	case mail.StatusOf(err).Subject == 2: // the mailbox is full
		return err
	}
	return readError(err)
}

// summary is for people, and for who has to know that it was not all.
func (im *importer) summary(err error) {
	if err == nil && im.left+im.wrong == 0 && !im.env.stderrIsTerminal() {
		return
	}
	text := fmt.Sprintf("%s imported into %s", messagesOf(im.imported), im.to.Path())
	if im.left > 0 {
		text += fmt.Sprintf(", %d known already", im.left)
	}
	if im.wrong > 0 {
		text += fmt.Sprintf(", %d not", im.wrong)
	}
	if err != nil {
		text += "; to go on, run it again with --skip-known"
	}
	im.env.note("%s", text)
}

func messagesOf(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// found is a message where it comes from.
type found struct {
	source string // for people
	date   time.Time
	state  mbox.State
	// fill writes the text; it may tell a state that is known only then. Its error is about this message.
	fill func(io.Writer) (*mbox.State, error)
}

// add takes one message. What is wrong with the message is told, and others may be good; an error ends the run.
func (im *importer) add(f found) error {
	if im.ctx.Err() != nil {
		return errInterrupted
	}
	w, err := im.to.Deliver()
	if err != nil {
		return err
	}
	out := &hashingWriter{w: w}
	if im.known != nil {
		out.hash = sha256.New()
	}
	state, err := f.fill(out)
	if err != nil {
		w.Abort()
		if out.err != nil || errors.Is(err, errInternal) {
			return cmp.Or(out.err, err)
		}
		im.fail(f.source, err)
		return nil
	}
	if im.known != nil {
		if is, err := im.known.has(w.Size(), out.hash); is || err != nil {
			w.Abort()
			im.left++
			return err
		}
	}
	if state == nil {
		state = &f.state
	}
	return im.keep(f, w, *state)
}

// keep puts a message into the batch.
func (im *importer) keep(f found, w *maildir.Delivery, st mbox.State) error {
	if !st.New {
		w.Keep(goodFlags(st.Flags))
	}
	if !f.date.IsZero() {
		w.SetTime(f.date)
	}
	if err := w.Flush(); err != nil {
		w.Abort()
		return err
	}
	words, bad := mailbox.CleanKeywords(st.Keywords)
	if len(bad) > 0 {
		im.env.note("%s: %d keywords that IMAP can't have are left out, such as %q", f.source, len(bad), bad[0])
	}
	im.batch = append(im.batch, &incoming{f.source, w, words})
	if im.octets += w.Size(); len(im.batch) < importBatch && im.octets < importOctets {
		return nil
	}
	return im.commit()
}

// goodFlags leaves out what can't stand in a name.
func goodFlags(flags string) string {
	good := ""
	for i := range len(flags) {
		if c := flags[i]; c > ' ' && c < 0x7f && c != '/' && c != ',' && c != ':' {
			good += string(c)
		}
	}
	return good
}

// fail tells of a message that was left out.
func (im *importer) fail(source string, err error) {
	im.progress.clear()
	im.wrong++
	err = readError(err)
	im.failed.add(exitWith(exitCode(err), fmt.Errorf("%s: %w", source, err)))
}

// commit makes the batch durable. A message that is larger than the mailbox may be is told of; a mailbox that is full, or a disk,
// ends the run.
func (im *importer) commit() error {
	batch := im.batch
	im.batch, im.octets = nil, 0
	deliveries := make([]*maildir.Delivery, len(batch))
	for i, in := range batch {
		deliveries[i] = in.w
	}
	finishTogether(deliveries)
	errs, stop := im.commitAll(batch, deliveries)
	for i, err := range errs {
		in := batch[i]
		switch {
		case err != nil && mail.StatusOf(err).IsPermanent():
			im.fail(in.source, err)
		case err != nil:
			im.wrong++
			if stop == nil {
				stop = fmt.Errorf("%s: %w", in.source, err)
			}
		default:
			im.imported++
			if err := im.ch.print(&change{word: in.source, nowIn: im.to, now: in.w.Message()}); err != nil && stop == nil {
				stop = err
			}
		}
	}
	return stop
}

// importParallel is how many files are made durable at a time: one transaction of the file system serves many.
const importParallel = 8

// finishTogether leaves it to Commit to tell of errors, which stick.
func finishTogether(all []*maildir.Delivery) {
	var wg sync.WaitGroup
	for i := range min(importParallel, len(all)) {
		wg.Go(func() {
			for j := i; j < len(all); j += importParallel {
				all[j].Finish()
			}
		})
	}
	wg.Wait()
}

// commitAll is maildir.CommitAll. The index knows of keywords before the messages are there: whoever kills us leaves no message
// without those that it had.
func (im *importer) commitAll(batch []*incoming, deliveries []*maildir.Delivery) (errs []error, stop error) {
	var arrivals []*mailbox.Arrival
	for _, in := range batch {
		if len(in.words) > 0 {
			arrivals = append(arrivals, &mailbox.Arrival{Name: in.w.Message().Name, Keywords: in.words})
		}
	}
	bring := func() error {
		errs = maildir.CommitAll(deliveries)
		return nil
	}
	if len(arrivals) == 0 {
		stop = bring() // which sets errs, and so comes before they are given
		return errs, stop
	}
	ctx := context.WithoutCancel(im.ctx)
	err := im.openBox(ctx)
	if err == nil {
		err = im.box.Await(ctx, arrivals, bring)
	}
	if err != nil && errs == nil {
		for _, w := range deliveries {
			w.Abort()
		}
		im.wrong += len(deliveries)
	}
	return errs, err
}

// openBox opens the index of the folder.
func (im *importer) openBox(ctx context.Context) (err error) {
	if im.box != nil {
		return nil
	}
	im.box, err = mailbox.Open(ctx, im.ch.fileSystem(), im.to)
	return err
}

// hashingWriter tells errors of writing from those of reading, and sums up.
type hashingWriter struct {
	w    io.Writer
	hash hash.Hash // nil: none
	err  error
}

// Write keeps an error.
func (h *hashingWriter) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	if err != nil {
		h.err = err
	}
	if h.hash != nil {
		h.hash.Write(p[:n])
	}
	return n, err
}

// knownTexts are the messages of a Maildir by their octets. One is read only when another of the same size comes along.
type knownTexts struct {
	dir    *maildir.Dir
	bySize map[int64][]maildir.Message // not read yet
	sums   map[[sha256.Size]byte]bool
}

func newKnownTexts(d *maildir.Dir) (*knownTexts, error) {
	messages, err := d.List()
	if err != nil {
		return nil, err
	}
	k := &knownTexts{dir: d, bySize: map[int64][]maildir.Message{}, sums: map[[sha256.Size]byte]bool{}}
	for _, m := range messages {
		size := m.Size
		if size < 0 {
			_, fi, err := d.Stat(m)
			if isGone(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			size = fi.Size()
		}
		k.bySize[size] = append(k.bySize[size], m)
	}
	return k, nil
}

// has reports a text that is there, or has been asked for before.
func (k *knownTexts) has(size int64, text hash.Hash) (bool, error) {
	for _, m := range k.bySize[size] {
		f, err := k.dir.OpenMessage(m)
		if isGone(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return false, err
		}
		k.sums[[sha256.Size]byte(h.Sum(nil))] = true
	}
	delete(k.bySize, size)
	sum := [sha256.Size]byte(text.Sum(nil))
	is := k.sums[sum]
	k.sums[sum] = true
	return is, nil
}
