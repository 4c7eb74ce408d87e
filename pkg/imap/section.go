package imap

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"

	"mailx/pkg/mailbox"
	"mailx/pkg/message"
)

// section is what stands in BODY[...] (RFC 3501 §6.4.5).
type section struct {
	path   []int
	spec   string // "", HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, MIME
	fields []string
}

// section reads up to the "]".
func (p *parser) section() (s section) {
	for p.s != "" && isDigit(p.s[0]) {
		n := p.nzNumber()
		if len(s.path) >= maxPath || n > 1<<30 {
			p.fail("shorter section")
			return s
		}
		s.path = append(s.path, int(n))
		if !p.take('.') {
			p.want(']')
			return s
		}
	}
	for _, spec := range []string{"HEADER.FIELDS.NOT", "HEADER.FIELDS", "HEADER", "TEXT", "MIME"} {
		if p.keyword(spec) {
			s.spec = spec
			break
		}
	}
	if s.spec == "" && len(s.path) > 0 || s.spec == "MIME" && len(s.path) == 0 {
		p.fail("section")
	}
	if strings.HasPrefix(s.spec, "HEADER.FIELDS") {
		p.sp()
		p.list(maxFields, false, func() { s.fields = append(s.fields, p.astring()) })
	}
	p.want(']')
	return s
}

// append prints the section with its brackets.
func (s section) append(b []byte) []byte {
	b = append(b, '[')
	for i, n := range s.path {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	if len(s.path) > 0 && s.spec != "" {
		b = append(b, '.')
	}
	b = append(b, s.spec...)
	for i, f := range s.fields {
		if i == 0 {
			b = append(b, " ("...)
		} else {
			b = append(b, ' ')
		}
		b = appendString(b, f)
	}
	if len(s.fields) > 0 {
		b = append(b, ')')
	}
	return append(b, ']')
}

// find gives the part that a path leads to; nil if there is none.
func (s section) find(root *mailbox.Entity) *mailbox.Entity {
	cur, isMessage := root, true // isMessage: "1" may mean its only part, which is cur itself
	for i, n := range s.path {
		if i > 0 {
			isMessage = false
			if inner := innerMessage(cur); inner != nil {
				cur, isMessage = inner, true
			}
		}
		switch {
		case cur.Type == "multipart" && len(cur.Parts) > 0:
			if n > len(cur.Parts) {
				return nil
			}
			cur = cur.Parts[n-1]
		case n != 1 || !isMessage:
			return nil
		}
	}
	return cur
}

func innerMessage(e *mailbox.Entity) *mailbox.Entity {
	if e.Type == "message" && len(e.Parts) == 1 {
		return e.Parts[0]
	}
	return nil
}

// extent is a range of octets in the file of a message.
type extent struct{ at, end int64 }

// extent gives what the section is in the file, without regard to its fields; ok is false if there is no such thing.
func (s section) extent(root *mailbox.Entity) (x extent, ok bool) {
	e := s.find(root)
	if e == nil {
		return x, false
	}
	if len(s.path) == 0 {
		switch s.spec {
		case "":
			return extent{e.HeaderAt, e.End}, true
		case "TEXT":
			return extent{e.BodyAt, e.End}, true
		}
		return extent{e.HeaderAt, e.BodyAt}, true
	}
	switch s.spec {
	case "":
		return extent{e.BodyAt, e.End}, true
	case "MIME":
		return extent{e.HeaderAt, e.BodyAt}, true
	}
	inner := innerMessage(e)
	if inner == nil {
		return x, false
	}
	if s.spec == "TEXT" {
		return extent{inner.BodyAt, inner.End}, true
	}
	return extent{inner.HeaderAt, inner.BodyAt}, true
}

// pick gives the fields of a header that the section asks for, with CRLF line ends and the empty line.
func (s section) pick(header io.Reader) ([]byte, error) {
	h, err := message.ReadHeader(bufio.NewReader(header), message.Limits{})
	if h == nil {
		return nil, err
	}
	not := s.spec == "HEADER.FIELDS.NOT"
	var b []byte
	for _, f := range h.Fields() {
		if slices.ContainsFunc(s.fields, f.Is) != not {
			b = append(b, f.Raw()...)
		}
	}
	b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	return append(b, "\r\n"...), nil // an oversized header: the fields until there
}

// chunk is how many octets of a file are read at a time.
const chunk = 32 << 10

// wireText reads a range of a file with CRLF line ends and without NUL (0x80 stands for it, RFC 3501 §4.3 has no way to
// send one).
type wireText struct {
	f       io.ReaderAt
	at, end int64
	wire    int64 // octets that came out of what is before at
	cr      bool  // the octet before at is CR
	in      [chunk]byte
}

// next reads the next piece: as it is in the file, and how many octets it makes.
func (w *wireText) next() (piece []byte, octets int64, err error) {
	n := min(int64(chunk), w.end-w.at)
	if n <= 0 {
		return nil, 0, io.EOF
	}
	got, err := w.f.ReadAt(w.in[:n], w.at)
	if got == 0 {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, err
	}
	piece = w.in[:got]
	octets = int64(got + bytes.Count(piece, []byte{'\n'}))
	if bytes.IndexByte(piece, '\r') >= 0 {
		octets -= int64(bytes.Count(piece, []byte("\r\n")))
	}
	if w.cr && piece[0] == '\n' {
		octets--
	}
	return piece, octets, nil
}

// advance goes on behind a piece.
func (w *wireText) advance(piece []byte, octets int64) {
	w.at += int64(len(piece))
	w.wire += octets
	w.cr = piece[len(piece)-1] == '\r'
}

// convert gives a piece as it goes on the wire.
func (w *wireText) convert(piece []byte) []byte {
	out := make([]byte, 0, len(piece)+len(piece)/16+16)
	for cr := w.cr; len(piece) > 0; cr = false {
		i := bytes.IndexByte(piece, '\n')
		if i < 0 {
			out = append(out, piece...)
			break
		}
		out = append(out, piece[:i]...)
		if i > 0 {
			cr = piece[i-1] == '\r'
		}
		if !cr {
			out = append(out, '\r')
		}
		out = append(out, '\n')
		piece = piece[i+1:]
	}
	if bytes.IndexByte(out, 0) >= 0 {
		out = bytes.ReplaceAll(out, []byte{0}, []byte{0x80})
	}
	return out
}

// wireLength counts the octets of a range on the wire.
func wireLength(f io.ReaderAt, x extent) (int64, error) {
	w := wireText{f: f, at: x.at, end: x.end}
	for {
		piece, octets, err := w.next()
		if err == io.EOF {
			return w.wire, nil
		}
		if err != nil {
			return 0, err
		}
		w.advance(piece, octets)
	}
}

// copyWire writes the octets [from, from+n) of what w makes, and then blanks up to n if there are fewer: the count was
// given to the client already. It leaves w before the piece in which it ended.
func copyWire(to io.Writer, w *wireText, from, n int64) error {
	for n > 0 {
		piece, octets, err := w.next()
		if err != nil {
			return pad(to, n, err)
		}
		if w.wire+octets <= from {
			w.advance(piece, octets)
			continue
		}
		out := w.convert(piece)[from-w.wire:]
		out = out[:min(int64(len(out)), n)]
		if _, err := to.Write(out); err != nil {
			return err
		}
		from += int64(len(out))
		n -= int64(len(out))
		if from == w.wire+octets {
			w.advance(piece, octets)
		}
	}
	return nil
}

func pad(to io.Writer, n int64, cause error) error {
	blanks := bytes.Repeat([]byte{' '}, 1024)
	for n > 0 {
		m := min(n, int64(len(blanks)))
		if _, err := to.Write(blanks[:m]); err != nil {
			return err
		}
		n -= m
	}
	if cause == io.EOF {
		return nil
	}
	return cause
}

// position is where the last partial FETCH ended, since clients read large messages piece by piece.
type position struct {
	uid      uint32
	x        extent
	at, wire int64
	cr       bool
}

// reader gives the converter for a range, placed as near before an octet as is known.
func (d *dialog) reader(f io.ReaderAt, uid uint32, x extent, from int64) *wireText {
	w := &wireText{f: f, at: x.at, end: x.end}
	if r := d.resume; r.uid == uid && r.x == x && r.wire <= from {
		w.at, w.wire, w.cr = r.at, r.wire, r.cr
	}
	return w
}
