package message

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"slices"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// part is a node of the message to be written.
type part struct {
	fields   []byte // printed, LF
	boundary string // of children
	children []*part
	body     func(io.Writer) error // of a leaf
}

// tree builds mixed(related(alternative(text, html), inline...), attached...), leaving out what has one child.
func (d *Draft) tree() (*part, error) {
	body, err := d.bodyPart()
	if err != nil {
		return nil, err
	}
	var related, mixed []*part
	for _, a := range d.Attachments {
		p, err := a.part()
		if err != nil {
			return nil, err
		}
		if a.Inline && a.ContentID != "" && d.HTML != nil {
			related = append(related, p)
		} else {
			mixed = append(mixed, p)
		}
	}
	if len(related) > 0 {
		if body, err = d.group("related", append([]*part{body}, related...)); err != nil {
			return nil, err
		}
	}
	if len(mixed) == 0 {
		return body, nil
	}
	if d.Text != nil || d.HTML != nil {
		mixed = append([]*part{body}, mixed...)
	}
	return d.group("mixed", mixed)
}

// bodyPart is the text, the HTML, or both as alternatives.
func (d *Draft) bodyPart() (*part, error) {
	text := d.Text
	if text == nil && d.HTML == nil {
		text = strings.NewReader("")
	}
	var parts []*part
	if text != nil {
		p, err := textPart(d.textType(), text)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if d.HTML != nil {
		p, err := textPart("text/html", d.HTML)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return d.group("alternative", parts)
}

func (d *Draft) textType() string {
	i := slices.IndexFunc(d.Headers, isNamed("Content-Type"))
	if i < 0 {
		return "text/plain"
	}
	t, _, err := mime.ParseMediaType(d.Headers[i].Value)
	if err != nil || !strings.HasPrefix(t, "text/") {
		return "text/plain"
	}
	return t
}

func (d *Draft) group(subtype string, children []*part) (*part, error) {
	boundary, err := newBoundary(d.Random)
	if err != nil {
		return nil, err
	}
	return newGroup("multipart/"+subtype, boundary, children)
}

func newGroup(mediaType, boundary string, children []*part, params ...string) (*part, error) {
	params = append(params, "boundary", boundary)
	fields, err := appendField(nil, "Content-Type", paramTokens(mediaType, params...))
	return &part{fields: fields, boundary: boundary, children: children}, err
}

func textPart(mediaType string, r io.Reader) (*part, error) {
	t, err := newTextBody(r)
	if err != nil {
		return nil, err
	}
	p := &part{body: t.writeTo}
	return p, p.addFields(
		"Content-Type", paramTokens(mediaType, "charset", t.charset),
		"Content-Transfer-Encoding", []string{" " + t.encoding},
	)
}

// addFields prints name, tokens pairs.
func (p *part) addFields(pairs ...any) (err error) {
	for i := 0; i+1 < len(pairs) && err == nil; i += 2 {
		p.fields, err = appendField(p.fields, pairs[i].(string), pairs[i+1].([]string))
	}
	return err
}

// write writes the fields, the empty line and the body.
func (p *part) write(w io.Writer) error {
	if _, err := w.Write(append(bytes.Clone(p.fields), '\n')); err != nil {
		return err
	}
	return p.writeBody(w)
}

func (p *part) writeBody(w io.Writer) error {
	if p.children == nil {
		return p.body(w)
	}
	mw := textproto.NewMultipartWriter(lfWriter{w})
	if err := mw.SetBoundary(p.boundary); err != nil {
		return err
	}
	for _, c := range p.children {
		pw, err := mw.CreatePart(rawHeader(c.fields))
		if err != nil {
			return err
		}
		if err := c.writeBody(pw); err != nil {
			return err
		}
	}
	return mw.Close()
}

// rawHeader gives go-message our own fields. QUIRK: left to itself it changes the letter case of names, folds inside words and
// lets parameters grow beyond a line.
func rawHeader(fields []byte) textproto.Header {
	var h textproto.Header
	list := []Field{}
	if parsed, err := ReadHeader(bufio.NewReader(bytes.NewReader(fields)), Limits{}); err == nil {
		list = parsed.fields
	}
	for _, f := range slices.Backward(list) { // it adds at the top
		h.AddRaw(f.raw)
	}
	return h
}
