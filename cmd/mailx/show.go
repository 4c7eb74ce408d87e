package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"mailx/pkg/maildir"
	"mailx/pkg/message"
)

func newShow(e *env) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show messages",
		ArgsUsage: "path | - ...",
		Description: "Prints the main header fields and the text of messages, decoded. \"-\" reads paths from standard input,\n" +
			"for example from mailx list --paths.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "raw", Usage: "print the octets of the file"},
			&cli.BoolFlag{Name: "headers", Usage: "print the whole header"},
			&cli.StringFlag{Name: "part", Usage: "print the decoded content of part `N`, such as 2 or 1.2"},
			&cli.StringFlag{Name: "html", Value: "auto",
				Usage: "`WHEN` HTML is shown as text: auto, if there is no plain text; or no"},
			&cli.BoolFlag{Name: "mark", Usage: "mark the messages as seen"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths on standard input end in NUL"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			s, err := e.newShower(c)
			if err != nil {
				return err
			}
			return s.run(c.Args().Slice(), c.Bool("null"))
		},
	}
}

// shower is one run of show.
type shower struct {
	env    *env
	finder *pathFinder
	words  *keywordReader
	failed failures
	show   func(r *record, f openFile) error
	mark   bool
	marked map[*maildir.Dir]bool // to be synced
	html   bool                  // show HTML where there is no plain text
	isRaw  bool                  // show the file as it is
	titles bool                  // a line with the path before each message
	shown  int

	w     *bufio.Writer
	color bool
	flush func() error
	err   error // of the output
}

func (e *env) newShower(c *cli.Context) (*shower, error) {
	s := &shower{env: e, finder: newPathFinder(), failed: failures{env: e}, mark: c.Bool("mark"),
		words: newKeywordReader(mailFS("")), marked: map[*maildir.Dir]bool{}, html: c.String("html") != "no"}
	if when := c.String("html"); when != "auto" && when != "no" {
		return nil, usagef("--html is auto or no, not %q", when)
	}
	forms := 0
	for _, name := range []string{"raw", "headers", "part", "json"} {
		if c.IsSet(name) {
			forms++
		}
	}
	switch words := c.Args().Slice(); {
	case forms > 1:
		return nil, usagef("one of --raw, --headers, --part and --json")
	case len(words) == 0:
		return nil, usagef("which messages? Give their paths, or - to read them from standard input")
	default:
		s.titles = len(words) > 1 || words[0] == "-"
	}
	s.choose(c)
	return s, nil
}

// choose sets how a message is shown and where it goes.
func (s *shower) choose(c *cli.Context) {
	s.choosePlain()
	switch {
	case c.Bool("raw"):
		s.show, s.isRaw, s.titles = s.raw, true, false
	case c.IsSet("part"):
		s.show, s.titles = func(_ *record, f openFile) error { return s.part(f, c.String("part")) }, false
	case c.Bool("json"):
		p := s.env.newPrinter(append(recordColumns(), column{name: "cc"}, column{name: "text"}, column{name: "text_cut"},
			column{name: "attachments"}), true)
		s.show, s.flush, s.titles = func(r *record, f openFile) error { return s.json(p, r, f) }, p.flush, false
	case c.Bool("headers"):
		s.show = func(_ *record, f openFile) error { return s.headers(f) }
		s.page()
	default:
		s.show = s.text
		s.page()
	}
}

// choosePlain has what is shown go to standard output.
func (s *shower) choosePlain() {
	s.w = bufio.NewWriterSize(s.env.stdout, 32<<10)
	s.flush = s.w.Flush
}

// page sends text through a pager, where a person reads it.
func (s *shower) page() {
	if !s.env.stdoutIsTerminal() {
		return
	}
	s.color = wantColor(os.Getenv)
	p := s.env.startPager()
	if p == nil {
		return
	}
	s.w.Reset(p)
	s.flush = func() error {
		err := s.w.Flush()
		if cerr := p.Close(); err == nil {
			err = cerr
		}
		return err
	}
}

func (s *shower) run(words []string, nul bool) error {
	err := s.env.eachPath(words, nul, func(name string) {
		if s.err == nil {
			s.message(name)
		}
	})
	for d := range s.marked {
		s.failed.add(readError(d.Sync()))
	}
	if ferr := s.flush(); s.err == nil {
		s.err = ferr
	}
	if s.err != nil {
		return s.err
	}
	s.failed.add(readError(err))
	return s.failed.err()
}

// message shows one message. Errors are reported, after what was shown before them, and the next one is shown.
func (s *shower) message(name string) {
	m := s.finder.find(name).locate()
	open := m.openMessage
	if s.isRaw {
		open = m.open
	}
	f, err := open()
	if err == nil {
		defer f.Close()
		s.title(name)
		r := &record{mailFile: m, isNew: m.msg.New}
		if err = s.stat(r, f); err == nil {
			err = s.show(r, f)
		}
	}
	if err == nil && s.mark && m.dir != nil {
		_, err = m.dir.ChangeFlags(m.msg, "S", "")
		s.marked[m.dir] = true
	}
	if err != nil && s.err == nil {
		s.w.Flush()
		s.failed.add(readError(err))
	}
}

func (s *shower) stat(r *record, f openFile) error {
	fi, err := f.Stat()
	if err == nil {
		r.size, r.stored = fi.Size(), fi.ModTime()
	}
	return err
}

// title separates messages, where there are several, by lines such as head(1) prints.
func (s *shower) title(name string) {
	if !s.titles {
		return
	}
	if s.shown > 0 {
		s.print("\n")
	}
	s.shown++
	s.print("==> " + escapeControl(name) + " <==\n")
}

// print writes text; an error of the output sticks and ends the run.
func (s *shower) print(text string) {
	if s.err == nil {
		_, s.err = s.w.WriteString(text)
	}
}

// raw copies the file: exactly, unless a terminal is the reader.
func (s *shower) raw(_ *record, f openFile) error { return s.copy(f) }

func (s *shower) copy(from io.Reader) error {
	in := &stickyReader{r: from}
	if !s.env.stdoutIsTerminal() {
		_, s.err = io.Copy(s.w, in)
	} else {
		s.err = escapeLines(s.w, in)
	}
	if in.err != nil {
		s.err = nil
	}
	return in.err
}

// stickyReader tells errors of reading from those of writing.
type stickyReader struct {
	r   io.Reader
	err error
}

func (s *stickyReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// headers prints all fields as they stand, folding and all, but without control characters.
func (s *shower) headers(f openFile) error {
	h, err := readHeader(f)
	if err != nil {
		return err
	}
	for _, field := range h.Fields() {
		s.print(escapeText(string(field.Raw())))
	}
	return nil
}

// readHeader reads the header of a message; of one that is too large, the start.
func readHeader(f io.Reader) (*message.Header, error) {
	in := &stickyReader{r: f}
	h, _ := message.ReadHeader(bufio.NewReaderSize(in, headerBuf), message.Limits{})
	return h, in.err
}

// part prints the content of one part, decoded from its transfer encoding.
func (s *shower) part(f openFile, number string) error {
	root, err := message.Parse(f)
	if err != nil {
		return err
	}
	p := findPart(root, number)
	if p == nil {
		return exitWith(exNoInput, fmt.Errorf("there is no part %s", escapeControl(number)))
	}
	return s.copy(p.Open(f))
}
