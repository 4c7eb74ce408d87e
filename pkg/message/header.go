package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"mailx/pkg/mail"
)

// Limits bounds what ReadHeader takes. A zero value stands for the default.
type Limits struct {
	Octets int // of the whole header; default DefaultHeaderOctets
	Fields int // default DefaultHeaderFields
}

// The limits of a header where the caller sets none.
const (
	DefaultHeaderOctets = 256 << 10
	DefaultHeaderFields = 10_000
)

// maxFieldName is how many octets may come before the colon; a line without a colon in them is no field.
const maxFieldName = 255

// Field is one header field as it stands in the message: name, colon, value with its folding, final LF.
type Field struct{ raw []byte }

// Raw is the whole field, LF included. It must not be changed.
func (f Field) Raw() []byte { return f.raw }

// Name is the field name in the letter case of the message.
func (f Field) Name() string { return string(f.name()) }

func (f Field) name() []byte {
	i := 0
	for i < len(f.raw) && isFtext(f.raw[i]) {
		i++
	}
	return f.raw[:i]
}

// Value is the value unfolded (RFC 5322 §2.2.3), without white space around it. Encoded words are not decoded: see
// DecodeText.
func (f Field) Value() string {
	_, v, _ := bytes.Cut(f.raw, []byte(":"))
	v = bytes.Trim(v, " \t\r\n")
	if bytes.IndexByte(v, '\n') < 0 {
		return string(v)
	}
	return string(bytes.ReplaceAll(v, []byte("\n"), nil))
}

// Is reports whether the field has this name, in any letter case.
func (f Field) Is(name string) bool { return equalFold(f.name(), name) }

// equalFold compares ASCII letters without case, and does not allocate.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Header is the header of a message or part: fields in their order, each kept octet for octet. The zero value is empty.
type Header struct{ fields []Field }

// ReadHeader reads a header and the empty line after it; what br gives next is the body. CRLF becomes LF, nothing else
// is changed. A line that is no field ends the header and belongs to the body, so a message that starts with such a
// line has an empty header and is all body. br must have a buffer of at least 256 octets.
//
// The error is permanent, 5.6.0, if a limit is reached, or the one of br; the fields read until then are returned too.
func ReadHeader(br *bufio.Reader, lim Limits) (*Header, error) {
	if lim.Octets == 0 {
		lim.Octets = DefaultHeaderOctets
	}
	if lim.Fields == 0 {
		lim.Fields = DefaultHeaderFields
	}
	r := headerReader{br: br, lim: lim}
	err := r.read()
	return &Header{fields: r.split()}, err
}

// headerReader collects the lines of a header in one buffer and remembers where fields start.
type headerReader struct {
	br     *bufio.Reader
	lim    Limits
	buf    []byte
	starts []int
	lines  int   // with the empty one
	ending int64 // octets of the line end that was read last
	inPart bool  // inside a multipart, where a line that starts with "--" is a boundary and never a field
}

func (r *headerReader) read() error {
	for {
		kind, err := peekLine(r.br)
		if b, _ := r.br.Peek(2); r.inPart && string(b) == "--" {
			return nil
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case kind == lineEmpty:
			r.lines++
			line, err := r.br.ReadSlice('\n')
			r.ending = lineEndOf(line)
			return err
		case kind == lineOther, kind == lineFolded && len(r.starts) == 0:
			return nil
		case kind == lineField && len(r.starts) == r.lim.Fields:
			return mail.Permanentf(6, 0, "Header has more than %d fields", r.lim.Fields)
		case kind == lineField:
			r.starts = append(r.starts, len(r.buf))
		}
		if err := r.line(); err != nil {
			return err
		}
	}
}

// line takes one line into the buffer, ending it in LF. A field that does not fit is left out.
func (r *headerReader) line() error {
	for {
		part, err := r.br.ReadSlice('\n')
		if len(r.buf)+len(part) > r.lim.Octets {
			r.buf = r.buf[:r.starts[len(r.starts)-1]]
			r.starts = r.starts[:len(r.starts)-1]
			return mail.Permanentf(6, 0, "Header is larger than %d octets", r.lim.Octets)
		}
		r.buf = append(r.buf, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF:
			r.endLine()
			return nil
		case err != nil:
			r.endLine()
			return err
		}
		r.endLine()
		r.lines++
		r.ending = lineEndOf(part)
		return nil
	}
}

// endLine makes the buffer end in exactly one LF, without CR before it.
func (r *headerReader) endLine() {
	r.buf = append(bytes.TrimRight(bytes.TrimSuffix(r.buf, []byte("\n")), "\r"), '\n')
}

func (r *headerReader) split() []Field {
	fields := make([]Field, len(r.starts))
	for i, from := range r.starts {
		to := len(r.buf)
		if i+1 < len(r.starts) {
			to = r.starts[i+1]
		}
		fields[i] = Field{raw: r.buf[from:to:to]}
	}
	return fields
}

// lineKind is what the first octets of a line say about it.
type lineKind uint8

const (
	lineUnknown lineKind = iota // more octets are needed
	lineField
	lineFolded // starts with white space
	lineEmpty
	lineOther
)

// kindOf classifies a line by its start. It answers lineUnknown only for less than maxFieldName+1 octets, all of which
// could begin a field.
func kindOf(b []byte) lineKind {
	i := 0
	for i < len(b) && isFtext(b[i]) {
		i++
	}
	named := i > 0
	for named && i < len(b) && isWSP(b[i]) { // RFC 5322 §4.5.1: white space before the colon
		i++
	}
	switch {
	case i > maxFieldName:
		return lineOther
	case i == len(b), i == 0 && len(b) == 1 && b[0] == '\r':
		return lineUnknown
	case named && b[i] == ':':
		return lineField
	case named:
		return lineOther
	case isWSP(b[0]):
		return lineFolded
	case b[0] == '\n', b[0] == '\r' && b[1] == '\n':
		return lineEmpty
	}
	return lineOther
}

// peekLine classifies the next line without taking anything. io.EOF says that there is no line.
func peekLine(br *bufio.Reader) (lineKind, error) {
	for n := 1; ; n++ {
		b, err := br.Peek(max(n, min(br.Buffered(), maxFieldName+1)))
		if kind := kindOf(b); kind != lineUnknown {
			return kind, nil
		}
		if err == io.EOF && len(b) == 0 {
			return lineUnknown, io.EOF
		}
		if err == io.EOF {
			return lineOther, nil
		}
		if err != nil {
			return lineUnknown, err
		}
		n = len(b)
	}
}

// Len is the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// Fields gives all fields in their order. The slice must not be changed.
func (h *Header) Fields() []Field { return h.fields }

// Has reports whether there is a field with this name, in any letter case.
func (h *Header) Has(name string) bool {
	return slices.ContainsFunc(h.fields, func(f Field) bool { return f.Is(name) })
}

// Get gives the unfolded value of the first field with this name, "" if there is none.
func (h *Header) Get(name string) string {
	for _, f := range h.fields {
		if f.Is(name) {
			return f.Value()
		}
	}
	return ""
}

// Values gives the unfolded values of all fields with this name, in their order.
func (h *Header) Values(name string) []string {
	var values []string
	for _, f := range h.fields {
		if f.Is(name) {
			values = append(values, f.Value())
		}
	}
	return values
}

// Count is the number of fields with this name.
func (h *Header) Count(name string) int {
	n := 0
	for _, f := range h.fields {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// Add puts a field on top. The value is one line of text, folded and encoded as needed (RFC 5322 §2.2.3, RFC 2047). The
// error is a *FieldError.
func (h *Header) Add(name, value string) error {
	raw, err := appendText(nil, name, value)
	if err != nil {
		return err
	}
	h.insert(Field{raw: raw})
	return nil
}

// AddRaw puts fields that are already printed on top, in their order: what Received.Append gives, for example. They must be
// well-formed and end in LF.
func (h *Header) AddRaw(raw []byte) error {
	added, err := ReadHeader(bufio.NewReader(bytes.NewReader(raw)), Limits{Octets: len(raw) + 1})
	if err != nil {
		return err
	}
	var got int
	for _, f := range added.fields {
		got += len(f.raw)
	}
	if got != len(raw) {
		return &FieldError{Field: "(raw)", Reason: "is no well-formed header field"}
	}
	h.insert(added.fields...)
	return nil
}

func (h *Header) insert(f ...Field) { h.fields = slices.Insert(h.fields, 0, f...) }

// Del removes all fields with this name and says how many there were.
func (h *Header) Del(name string) int {
	before := len(h.fields)
	h.fields = slices.DeleteFunc(h.fields, func(f Field) bool { return f.Is(name) })
	return before - len(h.fields)
}

// WriteTo writes the fields, as they were read, and the empty line that ends a header.
func (h *Header) WriteTo(w io.Writer) (int64, error) {
	size := 1
	for _, f := range h.fields {
		size += len(f.raw)
	}
	b := make([]byte, 0, size)
	for _, f := range h.fields {
		b = append(b, f.raw...)
	}
	n, err := w.Write(append(b, '\n'))
	return int64(n), err
}

// validName reports whether s can be the name of a field that we write.
func validName(s string) bool {
	if s == "" || len(s) > 76 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x7f || !isFtext(byte(r)) }) < 0
}
