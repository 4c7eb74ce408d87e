package message

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"unicode/utf8"
)

// textSample is how much of a text is looked at to choose its encoding. A longer text is written as UTF-8 in
// quoted-printable or base64, by its sample, so that memory stays bounded.
const textSample = 1 << 20

// The transfer encodings that we write (RFC 2045 §6).
const (
	enc7bit   = "7bit"
	encQP     = "quoted-printable"
	encBase64 = "base64"
)

// textTraits is what choosing an encoding needs to know.
type textTraits struct {
	octets   int
	high     int  // octets above 0x7f
	escapes  int  // octets that quoted-printable has to write as three
	longest  int  // line, in octets
	control  bool // NUL, or CR that is not part of a line end
	utf8     bool // valid as a whole
	someUTF8 bool // has a valid character above U+007F
	lf       bool // ends in LF
}

// inspect looks at a text in local form.
func inspect(b []byte) textTraits {
	t := textTraits{octets: len(b), utf8: utf8.Valid(b), lf: bytes.HasSuffix(b, []byte("\n"))}
	line := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\n':
			line = -1
		case c >= 0x80:
			t.high++
			t.escapes++
			if r, _ := utf8.DecodeRune(b[i:]); r != utf8.RuneError && utf8.RuneStart(c) {
				t.someUTF8 = true
			}
		case c == 0 || c == '\r':
			t.control = true
			t.escapes++
		case c == '=' || c < ' ' && c != '\t' || c == 0x7f:
			t.escapes++
		}
		line++
		t.longest = max(t.longest, line)
	}
	return t
}

// encoding chooses: 7bit where it can be, base64 where more than half of the octets would be escaped, else
// quoted-printable, which people can still read and grep in the spool.
func (t textTraits) encoding(whole bool) string {
	switch {
	case whole && t.high == 0 && !t.control && t.longest <= foldAt:
		return enc7bit
	case 2*t.escapes > t.octets:
		return encBase64
	}
	return encQP
}

// charset labels the text. Octets that are not UTF-8 never fail and are never changed: a text with some characters in
// UTF-8 is labelled utf-8 in spite of them, one with none is unknown-8bit (RFC 1428).
func (t textTraits) charset(whole bool) string {
	switch {
	case whole && t.high == 0:
		return "us-ascii"
	case t.high == 0 || t.utf8 || t.someUTF8:
		return "utf-8"
	}
	return "unknown-8bit"
}

// textBody is a text with its label and encoding chosen.
type textBody struct {
	charset, encoding string
	src               io.Reader // in local form
}

// newTextBody reads the sample of r and chooses. CRLF becomes LF first. A read error comes back at once.
func newTextBody(r io.Reader) (*textBody, error) {
	br := bufio.NewReader(&crlfReader{br: bufio.NewReader(r)})
	sample, err := io.ReadAll(io.LimitReader(br, textSample+1))
	if err != nil {
		return nil, err
	}
	whole := len(sample) <= textSample
	t := inspect(sample)
	if !whole && !t.utf8 { // the sample may end inside a character
		t = inspect(sample[:bytes.LastIndexFunc(sample, func(r rune) bool { return r < 0x80 })+1])
	}
	return &textBody{
		charset: t.charset(whole), encoding: t.encoding(whole),
		src: io.MultiReader(bytes.NewReader(sample), br),
	}, nil
}

// writeTo writes the encoded text; it always ends in LF.
func (t *textBody) writeTo(w io.Writer) error {
	switch t.encoding {
	case encQP:
		return writeQP(w, t.src)
	case encBase64:
		return writeBase64(w, &lfReader{br: bufio.NewReader(t.src)})
	}
	last := &lastOctet{w: w}
	if _, err := io.Copy(last, t.src); err != nil {
		return err
	}
	if last.n > 0 && last.c != '\n' {
		_, err := io.WriteString(w, "\n")
		return err
	}
	return nil
}

// writeQP writes quoted-printable line by line, so that CR inside a line is escaped and kept (mime/quotedprintable takes a
// lone CR for a line end), and a text without a last LF keeps that too.
func writeQP(w io.Writer, r io.Reader) error {
	br := bufio.NewReaderSize(r, 4096)
	w = lfWriter{w} // soft breaks come with CRLF
	qp := quotedprintable.NewWriter(w)
	qp.Binary = true
	for {
		part, err := br.ReadSlice('\n')
		line, ended := bytes.CutSuffix(part, []byte("\n"))
		if _, werr := qp.Write(line); werr != nil {
			return werr
		}
		switch {
		case ended:
			if err := endQPLine(w, qp, "\n"); err != nil {
				return err
			}
			qp = quotedprintable.NewWriter(w)
			qp.Binary = true
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(line) > 0:
			return endQPLine(w, qp, "=\n")
		case err == io.EOF:
			return qp.Close()
		case err != nil:
			return err
		}
	}
}

func endQPLine(w io.Writer, qp *quotedprintable.Writer, end string) error {
	if err := qp.Close(); err != nil {
		return err
	}
	_, err := io.WriteString(w, end)
	return err
}

// writeBase64 streams r as lines of 76 (RFC 2045 §6.8).
func writeBase64(w io.Writer, r io.Reader) error {
	const perLine = foldAt / 4 * 3
	in := make([]byte, perLine*64)
	out := make([]byte, 0, 64*(foldAt+1))
	for {
		n, err := io.ReadFull(r, in)
		out = out[:0]
		for b := in[:n]; len(b) > 0; b = b[min(perLine, len(b)):] {
			out = append(base64.StdEncoding.AppendEncode(out, b[:min(perLine, len(b))]), '\n')
		}
		if _, werr := w.Write(out); werr != nil {
			return werr
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lfWriter drops every CR: the way to get local form from a writer of wire form. QUIRK: go-message writes CRLF; nothing
// that we give it has CR.
type lfWriter struct{ w io.Writer }

func (l lfWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\r')
		if i < 0 {
			i = len(rest)
		}
		if _, err := l.w.Write(rest[:i]); err != nil {
			return 0, err
		}
		rest = rest[min(i+1, len(rest)):]
	}
	return len(p), nil
}

// crlfReader gives LF for CRLF; a lone CR stays.
type crlfReader struct{ br *bufio.Reader }

func (c *crlfReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := c.br.Peek(1); err != nil {
		return 0, err
	}
	b, _ := c.br.Peek(min(len(p), c.br.Buffered()))
	i := bytes.IndexByte(b, '\r')
	if i < 0 {
		return c.br.Read(p[:len(b)])
	}
	if i > 0 {
		return c.br.Read(p[:i])
	}
	if two, _ := c.br.Peek(2); len(two) == 2 && two[1] == '\n' {
		c.br.Discard(1)
	}
	return c.br.Read(p[:1])
}

// lfReader gives CRLF for LF: text is in wire form before it is encoded as base64 (RFC 2045 §6.8).
type lfReader struct {
	br *bufio.Reader
	lf bool // an LF is due
}

func (l *lfReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if l.lf {
			p[n], l.lf = '\n', false
			n++
			continue
		}
		c, err := l.br.ReadByte()
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if c == '\n' {
			c, l.lf = '\r', true
		}
		p[n] = c
		n++
	}
	return n, nil
}

// lastOctet remembers the last octet written.
type lastOctet struct {
	w io.Writer
	n int64
	c byte
}

func (l *lastOctet) Write(p []byte) (int, error) {
	n, err := l.w.Write(p)
	if n > 0 {
		l.n += int64(n)
		l.c = p[n-1]
	}
	return n, err
}
