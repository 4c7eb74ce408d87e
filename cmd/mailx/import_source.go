package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/mbox"
	"mailx/pkg/message"
	"mailx/pkg/wire"
)

// source takes all that there is in a source. One that can't be read is told of; an error ends the run.
func (im *importer) source(name string) error {
	var err error
	switch fi, serr := os.Stat(name); {
	case name == "-":
		err = im.stdin()
	case serr != nil:
		im.fail(name, serr)
		im.wrong-- // it is no message
		return nil
	case fi.IsDir():
		err = im.directory(name)
	default:
		err = im.namedFile(name)
	}
	var about *sourceError
	if errors.As(err, &about) {
		im.progress.clear()
		im.failed.add(readError(about.err))
		return nil
	}
	return err
}

// sourceError is about a source and not about where messages go.
type sourceError struct{ err error }

func (s *sourceError) Error() string { return s.err.Error() }
func (s *sourceError) Unwrap() error { return s.err }

func (im *importer) stdin() error {
	if im.env.stdinIsTerminal() {
		return usagef("standard input is a terminal; name a file, or pipe an mbox or a message into it")
	}
	fi, err := im.env.stdin.Stat()
	if err != nil {
		return err
	}
	f := im.env.stdin
	if !fi.Mode().IsRegular() {
		if f, err = copyAside(f, anySize); err != nil {
			return err
		}
		defer f.Close()
	}
	return im.file("standard input", f, false)
}

func (im *importer) namedFile(name string) error {
	f, err := mailFile{name: name}.open()
	if err != nil {
		return &sourceError{err}
	}
	defer f.Close()
	return im.file(name, f, true)
}

// file is an mbox or a message. Only a file has a time that says anything.
func (im *importer) file(name string, f openFile, hasTime bool) error {
	fi, err := f.Stat()
	if err != nil {
		return &sourceError{err}
	}
	head := make([]byte, 1<<10)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return &sourceError{err}
	}
	head = head[:n]
	switch {
	case n == 0:
		return nil // an mbox without a message
	case mbox.IsStart(head):
		return im.mbox(name, f, fi.Size())
	}
	m := found{source: name, state: mbox.State{New: true}}
	if hasTime {
		m.date = fi.ModTime()
	}
	return im.text(m, f, fi.Size(), head)
}

// mbox takes the messages of an mbox, whose place in the file stands for their names.
func (im *importer) mbox(name string, f openFile, size int64) error {
	const mib = 1 << 20
	told := im.progress.of(name + ", MiB")
	s := mbox.NewScanner(f, size, im.form)
	for n := 1; ; n++ {
		m, err := s.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &sourceError{fmt.Errorf("%s: %w", name, err)}
		}
		told(int(m.At/mib), int(size/mib))
		if err := im.add(im.fromMbox(s, m, f, fmt.Sprintf("%s, message %d", name, n))); err != nil && !errors.Is(err, errInternal) {
			return err
		}
	}
}

// errInternal is for what is no message.
var errInternal = errors.New("no message")

func (im *importer) fromMbox(s *mbox.Scanner, m *mbox.Message, f openFile, source string) found {
	in := found{source: source, date: m.Date}
	if m.Date.IsZero() {
		in.date = headerDate(io.NewSectionReader(f, m.TextAt, m.End-m.TextAt))
	}
	in.fill = func(w io.Writer) (*mbox.State, error) {
		st, internal, err := s.Copy(w, m)
		if err == nil && internal {
			err = errInternal
		}
		return &st, err
	}
	return in
}

// headerDate is that of the header, or none.
func headerDate(r io.Reader) (t time.Time) {
	h, _ := message.ReadHeader(bufio.NewReader(r), message.Limits{})
	t, _ = message.ParseDate(h.Get("Date"))
	return t
}

// text takes one message. A file that does not begin as a message does is no message, and CRLF becomes LF.
func (im *importer) text(m found, f io.ReaderAt, size int64, head []byte) error {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if i := bytes.IndexByte(line, ':'); i <= 0 || bytes.ContainsFunc(line[:i], func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		im.fail(m.source, exitWith(exDataErr, errors.New("this is no message and no mbox: it begins with no header field")))
		return nil
	}
	m.fill = func(w io.Writer) (*mbox.State, error) {
		in := io.Reader(io.NewSectionReader(f, 0, size))
		if bytes.HasSuffix(line, []byte("\r")) {
			in = wire.LocalForm(in)
		}
		_, err := io.Copy(w, in)
		return nil, err
	}
	return im.add(m)
}

// directory is a Maildir, an MH folder, or has files that end in .eml.
func (im *importer) directory(name string) error {
	d, err := im.ch.finder.maildir(name)
	switch {
	case err == nil && d.Path() == im.to.Path():
		return &sourceError{usagef("%s is where the messages go", name)}
	case err == nil:
		return im.maildir(d)
	case !errors.Is(err, fs.ErrNotExist):
		return &sourceError{err}
	}
	names, err := im.ch.fileSystem().ReadDirNames(name)
	if err != nil {
		return &sourceError{err}
	}
	numbers := slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, ok := mhNumber(n); return !ok })
	if len(numbers) > 0 || slices.Contains(names, mhSequences) {
		return im.mh(name, numbers)
	}
	files := slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(strings.ToLower(n), ".eml") || n[0] == '.' })
	if len(files) == 0 {
		return &sourceError{exitWith(exNoInput, fmt.Errorf("%s is no Maildir and no MH folder, and has no .eml file", name))}
	}
	slices.Sort(files)
	return im.files(name, files, func(string) mbox.State { return mbox.State{New: true} })
}

// files takes the files of a directory, in order.
func (im *importer) files(dir string, names []string, state func(string) mbox.State) error {
	told := im.progress.of(dir)
	for i, n := range names {
		told(i, len(names))
		if err := im.fileIn(path.Join(dir, n), state(n)); err != nil {
			return err
		}
	}
	told(len(names), len(names))
	return nil
}

// fileIn takes a file of a directory: no symbolic link, and nothing else that is no file.
func (im *importer) fileIn(name string, st mbox.State) error {
	f, err := im.ch.fileSystem().Open(name)
	if err != nil {
		im.fail(name, err)
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	head := make([]byte, 1<<10)
	n := 0
	if err == nil {
		n, err = f.ReadAt(head, 0)
	}
	if err != nil && err != io.EOF {
		im.fail(name, err)
		return nil
	}
	return im.text(found{source: name, date: fi.ModTime(), state: st}, f, fi.Size(), head[:n])
}

// maildir takes the messages of another Maildir as they are.
func (im *importer) maildir(d *maildir.Dir) error {
	messages, err := d.List()
	if err != nil {
		return &sourceError{err}
	}
	words, err := mailbox.KeywordsOf(im.ch.fileSystem(), d)
	if err != nil {
		return &sourceError{err}
	}
	told := im.progress.of(d.Path())
	for i, m := range messages {
		told(i, len(messages))
		if err := im.fromMaildir(d, m, words[m.Base]); err != nil {
			return err
		}
	}
	told(len(messages), len(messages))
	return nil
}

func (im *importer) fromMaildir(d *maildir.Dir, m maildir.Message, words []string) error {
	name := path.Join(d.Path(), m.File)
	f, err := d.OpenMessage(m)
	if isGone(err) {
		return nil
	}
	if err != nil {
		im.fail(name, err)
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		im.fail(name, err)
		return nil
	}
	return im.add(found{source: name, date: fi.ModTime(), state: mbox.State{Flags: m.Flags, New: m.New, Keywords: words},
		fill: func(w io.Writer) (*mbox.State, error) {
			_, err := io.Copy(w, struct{ io.Reader }{f})
			return nil, err
		}})
}

// mhSequences says which messages of an MH folder are what: "unseen: 3 7-9".
const mhSequences = ".mh_sequences"

// maxSequences bounds that file.
const maxSequences = 1 << 20

// mhNumber reads the name of a message in an MH folder.
func mhNumber(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && n > 0 && strconv.Itoa(n) == name
}

func (im *importer) mh(dir string, names []string) error {
	slices.SortFunc(names, func(a, b string) int {
		x, _ := mhNumber(a)
		y, _ := mhNumber(b)
		return cmp.Compare(x, y)
	})
	var sequences map[string]func(int) bool
	f, err := im.ch.fileSystem().Open(path.Join(dir, mhSequences))
	if err == nil {
		var text []byte
		text, err = io.ReadAll(io.LimitReader(f, maxSequences))
		f.Close()
		sequences = parseSequences(string(text))
	}
	if err != nil && !isGone(err) {
		return &sourceError{err}
	}
	return im.files(dir, names, func(name string) mbox.State {
		n, _ := mhNumber(name)
		return mhState(sequences, n)
	})
}

// mhState: where nobody kept sequences, nobody can tell what was seen.
func mhState(sequences map[string]func(int) bool, n int) mbox.State {
	if sequences == nil {
		return mbox.State{New: true}
	}
	flags := ""
	for _, s := range []struct{ name, letter string }{{"flagged", "F"}, {"replied", "R"}} {
		if in := sequences[s.name]; in != nil && in(n) {
			flags += s.letter
		}
	}
	if unseen := sequences["unseen"]; unseen == nil || !unseen(n) {
		flags += "S"
	}
	return mbox.State{Flags: flags, New: flags == ""}
}

// parseSequences passes over what it can't read.
func parseSequences(text string) map[string]func(int) bool {
	sequences := map[string]func(int) bool{}
	for line := range strings.Lines(text) {
		name, list, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		type span struct{ from, to int }
		var spans []span
		for word := range strings.FieldsSeq(list) {
			a, b, isRange := strings.Cut(word, "-")
			from, err := strconv.Atoi(a)
			to, terr := from, error(nil)
			if isRange {
				to, terr = strconv.Atoi(b)
			}
			if err == nil && terr == nil {
				spans = append(spans, span{from, to})
			}
		}
		slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
		sequences[strings.TrimSpace(name)] = func(n int) bool {
			return slices.ContainsFunc(spans, func(s span) bool { return s.from <= n && n <= s.to })
		}
	}
	return sequences
}
