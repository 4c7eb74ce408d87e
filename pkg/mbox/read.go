package mbox

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"

	"mailx/pkg/wire"
)

// Message is where a message is in a file.
type Message struct {
	Sender string    // as the line that begins it says
	Date   time.Time // zero if that has none
	At     int64     // of the line that begins it
	TextAt int64
	End    int64 // of the text, without the empty line behind it
	crlf   bool  // all lines of the file end so
}

// Scanner finds the messages of a file, reading it once.
type Scanner struct {
	file io.ReaderAt
	size int64
	form Form

	br    *bufio.Reader
	at    int64 // of what br gives next
	line  []byte
	start int64 // of line
	whole bool  // line is not cut
	blank int64 // octets of the line before, if that was empty
	fresh bool  // line begins a line
	err   error
}

// NewScanner reads a file of that many octets.
func NewScanner(file io.ReaderAt, size int64, form Form) *Scanner {
	s := &Scanner{file: file, size: size, form: form, fresh: true}
	s.seek(0)
	return s
}

// lineBuffer is what is seen of a line at a time.
const lineBuffer = 64 << 10

func (s *Scanner) seek(at int64) {
	s.at = at
	r := io.NewSectionReader(s.file, at, s.size-at)
	if s.br == nil {
		s.br = bufio.NewReaderSize(r, lineBuffer)
	} else {
		s.br.Reset(r)
	}
}

// ErrNotMbox says that a file does not begin with a message.
var ErrNotMbox = errors.New("this is no mbox: it does not begin with \"From \"")

// next reads a line, or a piece of a long one.
func (s *Scanner) next() bool {
	if s.err != nil {
		return false
	}
	s.fresh = s.line == nil || s.whole
	if s.fresh && s.line != nil && len(bytes.TrimRight(s.line, "\r\n")) == 0 {
		s.blank = int64(len(s.line))
	} else {
		s.blank = 0
	}
	line, err := s.br.ReadSlice('\n')
	s.start = s.at
	s.at += int64(len(line))
	if len(line) == 0 {
		s.line, s.whole = []byte{}, true
		s.err = err
		return false
	}
	s.line, s.whole = line, line[len(line)-1] == '\n'
	if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		s.err = err
		return false
	}
	return true
}

// Next gives the next message, io.EOF behind the last.
func (s *Scanner) Next() (*Message, error) {
	if s.at == 0 {
		if !s.next() {
			return nil, s.err
		}
		if !IsStart(s.line) {
			return nil, ErrNotMbox
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	m := &Message{At: s.start, crlf: bytes.HasSuffix(s.line, []byte("\r\n"))}
	m.Sender, m.Date, _, _ = parseFrom(s.line)
	for !s.whole && s.next() { // an endless first line
	}
	m.TextAt = s.at
	s.line = nil // the line behind this one is not behind an empty one
	if s.form == CL || s.form == CL2 {
		s.skipByLength()
	}
	for s.next() {
		if s.fresh && s.isSeparator() {
			m.End = max(s.start-s.blank, m.TextAt)
			return m, nil
		}
	}
	if s.err != io.EOF {
		return nil, s.err
	}
	m.End = max(s.at-s.blank, m.TextAt)
	return m, nil
}

func (s *Scanner) isSeparator() bool {
	if !IsStart(s.line) {
		return false
	}
	_, _, ok, inOrder := parseFrom(s.line)
	return ok && (s.blank > 0 || inOrder)
}

// skipByLength passes over the text if Content-Length leads to its end: the end of the file, or another message, behind an empty
// line or without one. A length that leads elsewhere is wrong, and is of no use.
func (s *Scanner) skipByLength() {
	length := int64(-1)
	for s.next() {
		if s.fresh && len(bytes.TrimRight(s.line, "\r\n")) == 0 {
			break
		}
		name, value, ok := fieldOf(s.line[:min(len(s.line), maxLook)])
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); s.fresh && ok && name == "content-length" && err == nil {
			length = n
		}
		if s.fresh && s.isSeparator() {
			s.again()
			return
		}
	}
	if length <= 0 || length > s.size-s.at {
		return
	}
	to := s.at + length
	var after [maxFrom]byte
	n, err := s.file.ReadAt(after[:], to-1)
	if err != nil && err != io.EOF || n == 0 || after[0] != '\n' {
		return
	}
	rest := bytes.TrimLeft(after[1:n], "\r\n")
	if len(rest) > 0 {
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if _, _, ok, _ := parseFrom(line); !ok {
			return
		}
	}
	s.seek(to)
	s.line = nil
}

// again has the line that was read be read once more.
func (s *Scanner) again() {
	blank := s.blank
	s.seek(s.start)
	s.line, s.whole, s.blank = nil, true, 0
	if blank > 0 {
		s.line = []byte("\n")
	}
}

// Copy writes the text of a message, as it was before it was put into the file, and tells its state. internal says that it is no
// message, but what a program has put on top of the file for itself.
func (s *Scanner) Copy(w io.Writer, m *Message) (st State, internal bool, err error) {
	out := bufio.NewWriterSize(w, 32<<10)
	f := &fields{to: out}
	q := &quoter{to: f, undo: true, one: s.form == O}
	in := io.Reader(io.NewSectionReader(s.file, m.TextAt, m.End-m.TextAt))
	if m.crlf {
		in = wire.FromCRLF(in)
	}
	if s.form == CL2 {
		_, err = io.Copy(struct{ io.Writer }{f}, in)
	} else {
		_, err = io.Copy(struct{ io.Writer }{q}, in)
		q.end()
	}
	if eerr := f.end(); err == nil {
		err = eerr
	}
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	return f.state(), f.isInternal(), err
}
