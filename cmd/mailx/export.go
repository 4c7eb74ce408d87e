package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mbox"
)

func newExport(e *env) *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write messages into an mbox, into files, or into a Maildir",
		ArgsUsage: "[folder | directory | path | - ...]",
		Description: "Writes the messages that list would list, or that options choose as they do for search, into one mbox on\n" +
			"standard output, or where an option says. mailx import reads them again, octet for octet.",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "mbox", Usage: "into the new `FILE`, which is there when it is whole; - is standard output"},
			&cli.BoolFlag{Name: "append", Usage: "add to the mbox if it is there"},
			&cli.StringFlag{Name: "eml", Usage: "each into a file of its own in the directory `DIR`, and print the paths"},
			&cli.StringFlag{Name: "maildir", Usage: "into the Maildir at `PATH`, and print the paths"},
			&cli.BoolFlag{Name: "create", Usage: "make the Maildir if it is not there"},
		}, placeFlags()...), append(criteriaFlags(),
			&cli.IntFlag{Name: "limit", Usage: "at most `N` messages", DefaultText: "all"},
			&cli.BoolFlag{Name: "reverse", Usage: "the latest first"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths, printed and on standard input, end in NUL"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print no paths"},
		)...),
		Action: func(c *cli.Context) error {
			x, err := e.newExporter(c)
			if err != nil {
				return err
			}
			return x.run(c)
		},
	}
}

// exporter is one run of export. It takes the messages that a lister finds.
type exporter struct {
	env      *env
	list     *lister
	ctx      context.Context
	stop     context.CancelFunc
	progress *progress
	told     func(done, all int)
	count    int

	isMbox bool
	text   []byte // see whole
	add    func(r *record, f openFile) error
	finish func() error // all that was added is to stay
	drop   func()       // something went wrong
}

func (e *env) newExporter(c *cli.Context) (*exporter, error) {
	l, err := e.newLister(c)
	if err != nil {
		return nil, err
	}
	s, err := e.newSearch(c, nil)
	if err != nil {
		return nil, err
	}
	l.searchFor(c, s)
	if s.isEmpty() {
		l.search = nil
	}
	if !c.IsSet("limit") {
		l.limit = -1 // --quiet is about paths
	}
	l.mustMatch = false
	x := &exporter{env: e, list: l}
	l.out = recordPrinter{need: needTime, print: x.take, flush: func() error { return nil }}
	targets := 0
	for _, name := range []string{"mbox", "eml", "maildir"} {
		if c.IsSet(name) {
			if targets++; c.String(name) == "" {
				return nil, usagef("--%s wants a path", name)
			}
		}
	}
	switch {
	case targets > 1:
		return nil, usagef("one of --mbox, --eml and --maildir")
	case c.Bool("append") && (!c.IsSet("mbox") || c.String("mbox") == "-"):
		return nil, usagef("--append is for --mbox FILE")
	case c.Bool("create") && !c.IsSet("maildir"):
		return nil, usagef("--create is for --maildir")
	case targets == 0 && e.stdoutIsTerminal(), c.String("mbox") == "-" && e.stdoutIsTerminal():
		return nil, usagef("an mbox is not for a terminal; name a file with --mbox")
	}
	return x, nil
}

func (x *exporter) run(c *cli.Context) error {
	x.ctx, x.stop = x.env.untilSignal(context.Background())
	defer x.stop()
	x.progress = x.env.newProgress("no message was written yet", false)
	defer x.progress.start()()
	x.told = x.progress.of("messages")
	if err := x.open(c); err != nil {
		return err
	}
	places := append(c.Args().Slice(), c.StringSlice("in")...)
	err := x.list.run(places)
	if x.list.err != nil { // of the output, or of a signal
		x.drop()
		return err
	}
	if ferr := x.finish(); ferr != nil {
		return ferr
	}
	return err
}

// open makes ready what messages go into.
func (x *exporter) open(c *cli.Context) error {
	switch {
	case c.IsSet("eml"):
		return x.toFiles(c.String("eml"), c.Bool("null"), c.Bool("quiet"))
	case c.IsSet("maildir"):
		return x.toMaildir(c)
	case c.Bool("append"):
		return x.appendTo(c.String("mbox"))
	case c.IsSet("mbox") && c.String("mbox") != "-":
		return x.toMbox(c.String("mbox"))
	}
	w := mbox.NewWriter(x.env.stdout)
	x.addTo(w)
	x.finish, x.drop = w.Flush, func() {}
	return nil
}

// take adds one message. One that can't be read is told of; an error of the output ends the run.
func (x *exporter) take(r *record) error {
	if x.ctx.Err() != nil {
		return errInterrupted
	}
	f, err := r.open()
	if isGone(err) {
		return nil
	}
	if err != nil {
		x.list.failed.add(readError(err))
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		x.list.failed.add(readError(err))
		return nil
	}
	r.size, r.stored = fi.Size(), fi.ModTime()
	if x.isMbox {
		if f, err = x.whole(r, f); err != nil {
			x.list.failed.add(readError(err))
			return nil
		}
	}
	in := &stickyFile{openFile: f}
	err = x.add(r, in)
	switch {
	case in.err != nil && x.isMbox: // it has changed since: half of it stands there
		return readError(in.err)
	case in.err != nil:
		x.list.failed.add(readError(in.err))
		return nil
	case err == nil:
		x.count++
		x.told(x.count, x.count)
	}
	return err
}

// wholeInMemory is the largest message that is kept in memory while it goes into an mbox.
const wholeInMemory = 1 << 20

// whole reads a message once before anything of it stands in an mbox, where it could not be taken back.
func (x *exporter) whole(r *record, f openFile) (openFile, error) {
	var n int64
	var err error
	if r.size > wholeInMemory {
		n, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, r.size))
	} else {
		x.text = slices.Grow(x.text[:0], int(r.size))[:r.size]
		var got int
		got, err = f.ReadAt(x.text, 0)
		n, f = int64(got), memoryFile{f, bytes.NewReader(x.text)}
	}
	switch {
	case n == r.size:
		return f, nil
	case err == nil, errors.Is(err, io.EOF):
		return nil, exitWith(exIOErr, fmt.Errorf("%s: another program is writing to it", r.path()))
	}
	return nil, err
}

// memoryFile is a file that was read.
type memoryFile struct {
	openFile
	text *bytes.Reader
}

// ReadAt reads from memory.
func (m memoryFile) ReadAt(p []byte, at int64) (int, error) { return m.text.ReadAt(p, at) }

// stickyFile tells errors of reading from those of writing.
type stickyFile struct {
	openFile
	err error
}

// ReadAt keeps an error.
func (s *stickyFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := s.openFile.ReadAt(p, at)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
