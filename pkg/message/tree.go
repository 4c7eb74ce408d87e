package message

import (
	"bufio"
	"bytes"
	"io"
	"maps"
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
	is8bit   bool                  // has 8-bit data
	delims   []string              // lines of the content that look like a boundary of ours
}

// tree builds mixed(alternative(text, related(html, inline...)), attached...), leaving out what has one child.
func (d *Draft) tree() (*part, error) {
	var inline, mixed []*part
	for _, a := range d.Attachments {
		p, err := a.part()
		if err != nil {
			return nil, err
		}
		if a.Inline && a.ContentID != "" && d.hasHTML() {
			inline = append(inline, p)
		} else {
			mixed = append(mixed, p)
		}
	}
	body, err := d.bodyPart(inline)
	if err != nil || len(mixed) == 0 {
		return body, err
	}
	if d.Text != nil || d.HTML != nil {
		mixed = append([]*part{body}, mixed...)
	}
	return d.group("mixed", mixed)
}

// hasHTML reports that something may show the files that are inline.
func (d *Draft) hasHTML() bool {
	mediaType, _, _ := d.textType()
	return d.HTML != nil || d.Text != nil && mediaType == "text/html"
}

// bodyPart is the text, the HTML with what is inline, or both as alternatives.
func (d *Draft) bodyPart(inline []*part) (*part, error) {
	var parts []*part
	text := d.Text
	if text == nil && d.HTML == nil {
		text = strings.NewReader("")
	}
	if text != nil {
		p, err := d.plainPart(text)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if d.HTML != nil {
		p, err := textPart("text/html", nil, d.HTML, d.textOptions(true))
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if last := len(parts) - 1; len(inline) > 0 {
		p, err := d.group("related", append([]*part{parts[last]}, inline...), "type", "text/html") // RFC 2387 §3.1
		if err != nil {
			return nil, err
		}
		parts[last] = p
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return d.group("alternative", parts)
}

// plainPart is the text, which a Content-Type of the caller may make something else.
func (d *Draft) plainPart(r io.Reader) (*part, error) {
	mediaType, params, charset := d.textType()
	o := d.textOptions(mediaType == "text/html")
	if o.charset == "" && !isUnicode(charset) {
		o.charset = charset
	}
	return textPart(mediaType, params, r, o)
}

// isUnicode reports the charsets that need no conversion, and those that say no more than no charset does.
func isUnicode(charset string) bool { return KnownCharset(charset) && encodingOf(charset) == nil }

func (d *Draft) textOptions(isHTML bool) textOptions {
	return textOptions{charset: d.Charset, locale: d.Locale, encoding: d.Encoding, isHTML: isHTML}
}

// textType reads the Content-Type of the caller: what is no text is ignored. params has no charset.
func (d *Draft) textType() (mediaType string, params []string, charset string) {
	i := slices.IndexFunc(d.Headers, isNamed("Content-Type"))
	if i < 0 {
		return "text/plain", nil, ""
	}
	mediaType, all, err := mime.ParseMediaType(d.Headers[i].Value)
	if err != nil || !strings.HasPrefix(mediaType, "text/") {
		return "text/plain", nil, ""
	}
	charset = all["charset"]
	delete(all, "charset")
	return mediaType, sortedParams(all), charset
}

// sortedParams gives parameters as name, value pairs in the order of their names.
func sortedParams(params map[string]string) []string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		pairs = append(pairs, name, params[name])
	}
	return pairs
}

// group makes a multipart. Its boundary is in none of its parts, not even where ids come again because they have to be
// reproducible.
func (d *Draft) group(subtype string, children []*part, params ...string) (*part, error) {
	for {
		boundary, err := newBoundary(d.Random)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(children, func(p *part) bool { return p.hasDelimiter(boundary) }) {
			return newGroup("multipart/"+subtype, boundary, children, params...)
		}
	}
}

func (p *part) hasDelimiter(boundary string) bool {
	isOurs := func(line string) bool { return strings.HasPrefix(line, "--"+boundary) }
	return slices.ContainsFunc(p.delims, isOurs) ||
		slices.ContainsFunc(p.children, func(c *part) bool { return c.hasDelimiter(boundary) })
}

func newGroup(mediaType, boundary string, children []*part, params ...string) (*part, error) {
	p := &part{boundary: boundary, children: children}
	p.is8bit = slices.ContainsFunc(children, func(c *part) bool { return c.is8bit })
	err := p.addFields("Content-Type", paramTokens(mediaType, append(params, "boundary", boundary)...))
	if err == nil && p.is8bit { // RFC 2045 §6.4
		err = p.addFields("Content-Transfer-Encoding", []string{" " + enc8bit})
	}
	return p, err
}

func textPart(mediaType string, params []string, r io.Reader, o textOptions) (*part, error) {
	t, err := newTextBody(r, o)
	if err != nil {
		return nil, err
	}
	p := &part{body: t.writeTo, is8bit: t.encoding == enc8bit, delims: t.delims}
	return p, p.addFields(
		"Content-Type", paramTokens(mediaType, append([]string{"charset", t.charset}, params...)...),
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
