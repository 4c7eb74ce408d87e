package message

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"mailx/pkg/wire"
)

// textSample is how much of a text is looked at to choose its encoding. A longer text is written as UTF-8 in
// quoted-printable or base64, by its sample, so that memory stays bounded.
const textSample = 1 << 20

// The transfer encodings that we write (RFC 2045 §6).
const (
	enc7bit   = "7bit"
	enc8bit   = "8bit"
	encQP     = "quoted-printable"
	encBase64 = "base64"
)

// textOptions say what is known about a text and how it is to be written. The zero value lets all be found out.
type textOptions struct {
	charset  string // that it is in; one we don't know is its label
	locale   string // the charset of what is not UTF-8; empty: such octets stay as they are
	encoding string // "8bit", "quoted-printable", "base64"; empty: by the content
	isHTML   bool   // it may say itself what it is in
}

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
// quoted-printable, which people can still read and grep in the spool. What was asked for is done where it can be.
func (t textTraits) encoding(whole bool, asked string) string {
	isClean := whole && !t.control
	switch {
	case asked == encQP, asked == encBase64:
		return asked
	case asked == enc8bit && isClean && t.longest <= maxLine:
		return enc8bit
	case asked != enc8bit && isClean && t.high == 0 && t.longest <= foldAt:
		return enc7bit
	case 2*t.escapes > t.octets:
		return encBase64
	}
	return encQP
}

// charset labels the text. Octets that are not UTF-8 never fail and are never changed: a text with some characters in
// UTF-8 is labelled utf-8 in spite of them, one with none is unknown-8bit (RFC 1428). What is written in 8bit may yet be
// edited by somebody who knows other characters than ASCII.
func (t textTraits) charset(whole bool, encoding string) string {
	switch {
	case whole && t.high == 0 && encoding != enc8bit:
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
	delims            []string  // lines that look like a boundary of ours, if it is written as it is
}

// newTextBody reads the sample of r and chooses. What is in another charset becomes UTF-8, and CRLF becomes LF. A read
// error comes back at once.
func newTextBody(r io.Reader, o textOptions) (*textBody, error) {
	r, err := o.toUTF8(r)
	if err != nil {
		return nil, err
	}
	br := bufio.NewReader(wire.FromCRLF(r))
	sample, whole, err := readSample(br)
	if err != nil {
		return nil, err
	}
	t := inspect(sample)
	if !whole && !t.utf8 { // the sample may end inside a character
		t = inspect(sample[:bytes.LastIndexFunc(sample, func(r rune) bool { return r < 0x80 })+1])
	}
	b := &textBody{encoding: t.encoding(whole, o.encoding), src: io.MultiReader(bytes.NewReader(sample), br)}
	if b.charset = t.charset(whole, b.encoding); o.charset != "" && !KnownCharset(o.charset) {
		b.charset = o.charset
	}
	if b.encoding == enc7bit || b.encoding == enc8bit {
		b.delims = delimsIn(sample)
	}
	return b, nil
}

// delimsIn finds the lines of a text that look like a boundary of ours.
func delimsIn(text []byte) []string {
	if !bytes.Contains(text, []byte(ourDelim)) {
		return nil
	}
	var found []string
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte(ourDelim)) {
			found = append(found, string(line))
		}
	}
	return found
}

func readSample(r io.Reader) (sample []byte, whole bool, err error) {
	sample, err = io.ReadAll(io.LimitReader(r, textSample+1))
	return sample, len(sample) <= textSample, err
}

// ToUTF8 gives a text in UTF-8 by the rules of Draft for a Charset and a Locale.
func ToUTF8(r io.Reader, charset, locale string) (io.Reader, error) {
	return textOptions{charset: charset, locale: locale}.toUTF8(r)
}

// toUTF8 gives the text in UTF-8, without a byte order mark. The charset is the one that was named, else that of the mark,
// else UTF-8 if the text is that, else what the text says itself, else that of the locale. Where none of these is known
// the octets stay as they are.
func (o textOptions) toUTF8(r io.Reader) (io.Reader, error) {
	sample, whole, err := readSample(r)
	if err != nil {
		return nil, err
	}
	if !whole {
		r = io.MultiReader(bytes.NewReader(sample), r)
	} else {
		r = bytes.NewReader(sample)
	}
	if enc := o.decoder(sample, whole); enc != nil {
		return transform.NewReader(r, enc.NewDecoder()), nil
	}
	if mark := []byte("\ufeff"); bytes.HasPrefix(sample, mark) {
		_, err = io.CopyN(io.Discard, r, int64(len(mark)))
	}
	return r, err
}

// decoder is nil for UTF-8, and for octets that nobody knows.
func (o textOptions) decoder(sample []byte, whole bool) encoding.Encoding {
	if o.charset != "" {
		return encodingOf(o.charset)
	}
	if isUTF16(sample) {
		return unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM)
	}
	if !whole {
		sample = sample[:bytes.LastIndexFunc(sample, func(r rune) bool { return r < 0x80 })+1]
	}
	if utf8.Valid(sample) {
		return nil
	}
	if o.isHTML {
		if enc := encodingOf(metaCharset(sample)); enc != nil {
			return enc
		}
	}
	return encodingOf(o.locale)
}

// isUTF16 reports a text that begins with the byte order mark of UTF-16, and has some ASCII in that form.
func isUTF16(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	high := 1 // the octet of a character that is 0 in ASCII
	switch {
	case b[0] == 0xfe && b[1] == 0xff:
		high = 0
	case b[0] != 0xff || b[1] != 0xfe:
		return false
	}
	for i := 2; i+1 < len(b); i += 2 {
		if b[i+high] == 0 && b[i+1-high] != 0 {
			return true
		}
	}
	return false
}

// metaCharset finds the charset that HTML names near its start: <meta charset=...>, or charset= in the Content-Type that
// one stands for.
func metaCharset(b []byte) string {
	b = bytes.ToLower(b[:min(len(b), 1024)])
	for {
		_, rest, ok := bytes.Cut(b, []byte("<meta"))
		if !ok {
			return ""
		}
		tag, _, _ := bytes.Cut(rest, []byte(">"))
		if _, name, ok := bytes.Cut(tag, []byte("charset=")); ok {
			name = bytes.TrimLeft(name, `"' `)
			return string(name[:len(name)-len(bytes.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz0123456789-_"))])
		}
		b = rest
	}
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
