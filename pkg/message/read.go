package message

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Summary is what a list shows of a message: decoded, and safe for a terminal.
type Summary struct {
	From, To  string // mailboxes as people read them, ", " between them
	Subject   string
	Date      time.Time // zero if there is none that can be read
	MessageID string    // with its angle brackets, as it stands
}

// Summarize reads a header for a list.
func Summarize(h *Header) Summary {
	date, _ := ParseDate(h.Get("Date"))
	return Summary{
		From: DisplayAddresses(h.Get("From")), To: DisplayAddresses(strings.Join(h.Values("To"), ", ")),
		Subject: DecodeText(h.Get("Subject")), Date: date, MessageID: Printable(h.Get("Message-ID")),
	}
}

// DisplayAddresses gives an address list as people read it. A list that can't be parsed is decoded as text.
func DisplayAddresses(value string) string {
	list, err := ParseMailboxes(Printable(strings.ToValidUTF8(value, "\ufffd")))
	if err != nil || len(list) == 0 {
		return DecodeText(value)
	}
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = Printable(m.String())
	}
	return strings.Join(names, ", ")
}

// Open gives the body of a part decoded from its transfer encoding, from the stored message. It never fails on the
// content: what is no base64 or quoted-printable is passed over or taken as it is.
func (p *Part) Open(msg io.ReaderAt) io.Reader {
	r := io.NewSectionReader(msg, p.BodyAt, p.Size())
	switch p.Encoding {
	case encBase64:
		return &base64Reader{br: bufio.NewReader(r)}
	case encQP:
		return &qpReader{br: bufio.NewReader(r)}
	}
	return r
}

// TextPart chooses what to show: the first text that is no attachment, plain rather than HTML among alternatives; nil if
// there is none.
func (p *Part) TextPart() *Part {
	var html *Part
	var plain *Part
	p.Walk(func(q *Part) bool {
		switch {
		case q.Type != "text" || q.Disposition == "attachment":
		case q.Subtype == "html":
			if html == nil {
				html = q
			}
		default:
			plain = q
			return false
		}
		return true
	})
	if plain == nil {
		return html
	}
	return plain
}

// Text gives a text part as UTF-8 that is safe for a terminal, HTML as plain text. At most max octets are read; cut says
// that there was more. Unknown charsets are read as UTF-8.
func (p *Part) Text(msg io.ReaderAt, max int64) (text string, cut bool, err error) {
	r := utf8Reader(p.Params["charset"], p.Open(msg))
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return "", false, err
	}
	if cut = int64(len(b)) > max; cut {
		b = b[:max]
		for len(b) > 0 && !utf8.Valid(b[len(b)-min(len(b), utf8.UTFMax):]) && max-int64(len(b)) < utf8.UTFMax {
			b = b[:len(b)-1]
		}
	}
	if p.Subtype == "html" {
		b = []byte(htmlText(string(b)))
	}
	return PrintableText(b), cut, nil
}

// Attached is a part that is offered as a file.
type Attached struct {
	Part *Part
	Name string // safe as a file name; never empty
}

// Attachments lists the leaves that are files: what has a file name, is an attachment by its disposition, or is not text. A
// message inside the message is one file.
func (p *Part) Attachments() []Attached {
	var list []Attached
	text := p.TextPart()
	p.files(text, &list)
	return list
}

func (p *Part) files(text *Part, list *[]Attached) {
	if p.Type == "multipart" {
		for _, c := range p.Parts {
			c.files(text, list)
		}
		return
	}
	name := p.fileName()
	if p == text || p.Type == "text" && name == "" && p.Disposition != "attachment" {
		return
	}
	*list = append(*list, Attached{Part: p, Name: p.safeName(name)})
}

func (p *Part) fileName() string {
	if name := p.DispParams["filename"]; name != "" {
		return DecodeText(name) // QUIRK: many programs put encoded words here
	}
	return DecodeText(p.Params["name"])
}

// FileName is a name for the part as a file: see SafeName; one that is made up if it has none. That of a message ends in .eml.
func (p *Part) FileName() string {
	name := p.safeName(p.fileName())
	if p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global") && !strings.HasSuffix(strings.ToLower(name), ".eml") {
		name += ".eml"
	}
	return name
}

func (p *Part) safeName(name string) string {
	if name = SafeName(name); name != "" {
		return name
	}
	path := p.Path
	if path == "" {
		path = "1"
	}
	return "part-" + path + extension(p.MediaType())
}

// extension is the usual ending of the names of files of a media type.
func extension(mediaType string) string {
	if mediaType == "message/global" {
		return ".eml"
	}
	for _, t := range knownTypes() {
		if t.mediaType == mediaType {
			first, _, _ := strings.Cut(t.endings, " ")
			return first
		}
	}
	return ".bin"
}

// SafeName makes a file name of what a message says: its last element by "/" and "\", without control characters, not
// hidden, not "." or "..", at most 200 octets with its extension kept; "" if nothing is left.
func SafeName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if unsafeRune(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	name = strings.TrimLeft(strings.TrimSpace(name), ".-")
	name = strings.TrimSpace(name)
	const most = 200
	if len(name) <= most {
		return name
	}
	ext := ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 16 {
		ext = name[i:]
	}
	return strings.ToValidUTF8(name[:most-len(ext)], "") + ext
}

// base64Reader decodes base64 and passes over everything that is none (RFC 2045 §6.8), padding in the middle included.
type base64Reader struct {
	br   *bufio.Reader
	out  []byte
	quad [4]byte
	n    int
	buf  [3]byte

	foreign int  // octets passed over that are neither base64, white space nor padding
	cut     bool // the end came in the middle of a group
}

func (d *base64Reader) Read(p []byte) (int, error) {
	total := 0
	for total < len(p) {
		if len(d.out) == 0 {
			if err := d.fill(); err != nil {
				if total > 0 && errors.Is(err, io.EOF) {
					return total, nil
				}
				return total, err
			}
		}
		n := copy(p[total:], d.out)
		d.out = d.out[n:]
		total += n
	}
	return total, nil
}

// fill decodes the next group of four, or what there is of it before padding or the end.
func (d *base64Reader) fill() error {
	for {
		c, err := d.br.ReadByte()
		if err != nil {
			d.cut = d.cut || d.n > 0
			if err != io.EOF || d.n < 2 {
				return err
			}
		}
		switch {
		case err == nil && isBase64(c):
			d.quad[d.n] = c
			if d.n++; d.n < 4 {
				continue
			}
		case err == nil && c != '=':
			if c > ' ' || c < '\t' {
				d.foreign++
			}
			continue
		case d.n < 2:
			d.cut = d.cut || d.n > 0
			d.n = 0
			continue
		}
		n, _ := base64.RawStdEncoding.Decode(d.buf[:], d.quad[:d.n])
		d.n = 0
		if n > 0 {
			d.out = d.buf[:n]
			return nil
		}
	}
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// qpReader decodes quoted-printable (RFC 2045 §6.7); an "=" that escapes nothing stays as it is.
type qpReader struct {
	br  *bufio.Reader
	bad int // "=" that escape nothing
}

func (d *qpReader) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		c, err := d.br.ReadByte()
		if err != nil {
			if n > 0 && err == io.EOF {
				return n, nil
			}
			return n, err
		}
		if c == '=' {
			soft := d.softBreak()
			if soft {
				continue
			}
			c = d.escaped()
		}
		p[n] = c
		if n++; n == len(p) {
			return n, nil
		}
	}
	return 0, nil
}

// softBreak takes white space and a line end after "=", or nothing.
func (d *qpReader) softBreak() bool {
	for i := 1; i <= 80; i++ {
		b, err := d.br.Peek(i)
		switch {
		case err != nil && len(b) < i:
			if err == io.EOF && i > 1 || err == io.EOF && len(b) == 0 {
				d.br.Discard(len(b))
				return true // "=" and nothing but white space at the end
			}
			return false
		case b[i-1] == '\n':
			d.br.Discard(i)
			return true
		case !isWSP(b[i-1]) && b[i-1] != '\r':
			return false
		}
	}
	return false
}

func (d *qpReader) escaped() byte {
	b, _ := d.br.Peek(2)
	if len(b) < 2 {
		d.bad++
		return '='
	}
	hi, ok1 := unhex(b[0])
	lo, ok2 := unhex(b[1])
	if !ok1 || !ok2 {
		d.bad++
		return '='
	}
	d.br.Discard(2)
	return hi<<4 | lo
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// String is for logs and tests: "1.2 text/plain base64 120".
func (p *Part) String() string {
	return fmt.Sprintf("%s %s %s %d", p.Path, p.MediaType(), p.Encoding, p.Size())
}
