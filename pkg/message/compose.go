package message

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message/textproto"

	"mailx/pkg/mail"
)

// HeaderField is a field that the caller adds: one line of text, not folded and not encoded.
type HeaderField struct{ Name, Value string }

// Draft is a message to be written, once: its readers are used up. Only From is needed.
type Draft struct {
	From, ReplyTo []Mailbox
	Sender        *Mailbox
	To, Cc        []Mailbox
	Bcc           []Mailbox // never written: recipients belong to the envelope
	Subject       string
	Date          time.Time // zero: now
	MessageID     string    // with its angle brackets; empty: a new one at the domain of From
	InReplyTo     string    // message ids with their angle brackets, separated by spaces
	References    string
	AutoSubmitted string // "auto-generated", "auto-replied" (RFC 3834 §5); empty: not automatic

	// Headers are written after the rest. A name that Draft has too replaces it. Content-Type gives the type of Text ("text/html");
	// MIME-Version and Content-Transfer-Encoding are ignored, because they are ours to say. Bcc is refused.
	Headers []HeaderField

	Text, HTML  io.Reader // nil: none. UTF-8 is expected, anything is taken
	Attachments []Attachment

	Random io.Reader // for boundaries and ids; nil: crypto/rand
}

// Attachment is a file that goes with a message. It is streamed, never held in memory.
type Attachment struct {
	Name      string // file name for the receiver; only what follows the last "/" is used
	Type      string // media type, perhaps with parameters; empty: by the name
	Inline    bool
	ContentID string // without angle brackets: what HTML means by "cid:"
	// Open gives the octets; it is called once, for message/rfc822 twice.
	Open func() (io.ReadCloser, error)
}

// Write writes the message in local form, all of it 7 bit but for addresses that are UTF-8 themselves (RFC 6532), in
// lines of at most 76 octets (a URL or an address that is longer stays whole). It stops at the first error: a
// *FieldError for a value that can't go into a header (then nothing has been written), or the one of a reader or of w.
func (d *Draft) Write(w io.Writer) error {
	d2 := *d
	d2.Headers = slices.Clone(d.Headers)
	fields, err := d2.fields()
	if err != nil {
		return err
	}
	root, err := d2.tree()
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(w)
	bw.Write(fields)
	bw.WriteString("MIME-Version: 1.0\n")
	if err := root.write(bw); err != nil {
		return err
	}
	return bw.Flush()
}

// NeedsUTF8 says that an address in the header is UTF-8, so that the message can only be sent with SMTPUTF8.
func (d *Draft) NeedsUTF8() bool {
	lists := slices.Concat(d.From, d.ReplyTo, d.To, d.Cc)
	if d.Sender != nil {
		lists = append(lists, *d.Sender)
	}
	return slices.ContainsFunc(lists, func(m Mailbox) bool { return !m.Address.IsASCII() })
}

// fields prints all fields but those of MIME.
func (d *Draft) fields() ([]byte, error) {
	if err := d.fillIn(); err != nil {
		return nil, err
	}
	p := fieldPrinter{over: d.Headers}
	p.text("Date", FormatDate(d.Date))
	p.mailboxes("From", d.From)
	if d.Sender != nil {
		p.mailboxes("Sender", []Mailbox{*d.Sender})
	}
	p.mailboxes("Reply-To", d.ReplyTo)
	if len(d.To) == 0 && len(d.Cc) == 0 && !p.overrides("Cc") {
		p.raw("To", []string{" undisclosed-recipients:;"}) // RFC 5322 §3.6.3 needs none, some receivers do
	}
	p.mailboxes("To", d.To)
	p.mailboxes("Cc", d.Cc)
	p.check("Bcc", d.Bcc)
	if d.Subject != "" {
		p.text("Subject", d.Subject)
	}
	p.ids("Message-ID", d.MessageID)
	p.ids("In-Reply-To", d.InReplyTo)
	p.ids("References", d.References)
	if d.AutoSubmitted != "" {
		p.text("Auto-Submitted", d.AutoSubmitted)
	}
	for _, h := range d.Headers {
		p.extra(h)
	}
	return p.b, p.err
}

func (d *Draft) fillIn() (err error) {
	if len(d.From) == 0 && !slices.ContainsFunc(d.Headers, isNamed("From")) {
		return &FieldError{Field: "From", Reason: "missing"}
	}
	if d.Date.IsZero() {
		d.Date = time.Now()
	}
	if d.MessageID == "" {
		host := ""
		if len(d.From) > 0 {
			host = d.From[0].Address.Domain
		}
		d.MessageID, err = NewMessageID(host, d.Date, d.Random)
	}
	return err
}

func isNamed(name string) func(HeaderField) bool {
	return func(h HeaderField) bool { return strings.EqualFold(h.Name, name) }
}

// fieldPrinter prints fields; the first error sticks.
type fieldPrinter struct {
	b    []byte
	over []HeaderField // replace what has the same name
	err  error
}

func (p *fieldPrinter) overrides(name string) bool { return slices.ContainsFunc(p.over, isNamed(name)) }

func (p *fieldPrinter) raw(name string, tokens []string) {
	if p.err != nil || p.overrides(name) {
		return
	}
	p.keep(appendField(p.b, name, tokens))
}

func (p *fieldPrinter) keep(b []byte, err error) {
	if err != nil && p.err == nil {
		p.err = err
		return
	}
	if p.err == nil {
		p.b = b
	}
}

func (p *fieldPrinter) text(name, value string) {
	if p.err == nil && !p.overrides(name) {
		p.keep(appendText(p.b, name, value))
	}
}

// check refuses mailboxes that can't be written.
func (p *fieldPrinter) check(name string, list []Mailbox) {
	for _, m := range list {
		reason := badControl(m.Name, false)
		if reason == "" {
			reason = badControl(m.Address.Local+m.Address.Domain, false)
		}
		if reason == "" {
			if back, err := mail.ParseAddress(m.Address.String()); err != nil || back != m.Address {
				reason = "bad address"
			}
		}
		if reason != "" && p.err == nil {
			p.err = &FieldError{Field: name, Reason: reason}
		}
	}
}

func (p *fieldPrinter) mailboxes(name string, list []Mailbox) {
	if p.check(name, list); len(list) > 0 {
		p.raw(name, mailboxTokens(list))
	}
}

func (p *fieldPrinter) ids(name, value string) {
	if p.err != nil || value == "" {
		return
	}
	if reason := badControl(value, false); reason != "" {
		p.err = &FieldError{Field: name, Reason: reason}
		return
	}
	var tokens []string
	for id := range strings.FieldsSeq(value) {
		if !validMsgID(id) {
			p.err = &FieldError{Field: name, Reason: "bad message id"}
			return
		}
		tokens = append(tokens, " "+id)
	}
	p.raw(name, tokens)
}

// extra prints a field of the caller: addresses and ids as such, everything else as text.
func (p *fieldPrinter) extra(h HeaderField) {
	over := p.over
	p.over = nil
	defer func() { p.over = over }()
	switch strings.ToLower(h.Name) {
	case "mime-version", "content-type", "content-transfer-encoding":
		if reason := badControl(h.Value, true); reason != "" && p.err == nil {
			p.err = &FieldError{Field: h.Name, Reason: reason}
		}
	case "bcc", "resent-bcc":
		if p.err == nil {
			p.err = &FieldError{Field: h.Name, Reason: "is never written; give recipients instead"}
		}
	case "from", "sender", "reply-to", "to", "cc":
		p.extraMailboxes(h)
	case "message-id", "in-reply-to", "references":
		p.ids(h.Name, h.Value)
	default:
		p.text(h.Name, h.Value)
	}
}

func (p *fieldPrinter) extraMailboxes(h HeaderField) {
	list, err := ParseMailboxes(h.Value)
	switch {
	case p.err != nil:
	case badControl(h.Value, true) != "":
		p.err = &FieldError{Field: h.Name, Reason: badControl(h.Value, true)}
	case err != nil:
		p.err = &FieldError{Field: h.Name, Reason: mail.TextOf(err)}
	default:
		p.mailboxes(h.Name, list)
	}
}

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

// part prints the fields of an attachment.
func (a Attachment) part() (*part, error) {
	if a.Open == nil {
		return nil, &FieldError{Field: "Attachment", Reason: "has no content"}
	}
	name := path.Base("/" + a.Name)
	if name == "/" {
		name = ""
	}
	if reason := badControl(name+a.Type+a.ContentID, false); reason != "" {
		return nil, &FieldError{Field: "Content-Disposition", Reason: reason}
	}
	mediaType, params, err := a.mediaType()
	if err != nil {
		return nil, err
	}
	p := &part{body: a.write}
	encoding := encBase64
	if mediaType == "message/rfc822" { // base64 is not allowed there (RFC 2046 §5.2.1)
		if mediaType, encoding, err = a.embedded(); err != nil {
			return nil, err
		}
		if encoding == enc7bit {
			p.body = a.copy
		}
	}
	disposition := "attachment"
	if a.Inline {
		disposition = "inline"
	}
	dispositionParams := []string{}
	if name != "" {
		dispositionParams = []string{"filename", name}
	}
	err = p.addFields(
		"Content-Type", paramTokens(mediaType, params...),
		"Content-Transfer-Encoding", []string{" " + encoding},
		"Content-Disposition", paramTokens(disposition, dispositionParams...),
	)
	if err == nil && a.ContentID != "" {
		err = p.addID(a.ContentID)
	}
	return p, err
}

func (p *part) addID(id string) error {
	if !strings.Contains(id, "@") {
		id += "@localhost"
	}
	if !validMsgID("<" + id + ">") {
		return &FieldError{Field: "Content-ID", Reason: "bad content id"}
	}
	return p.addFields("Content-ID", []string{" <" + id + ">"})
}

// mediaType gives the type and its parameters as name, value pairs.
func (a Attachment) mediaType() (string, []string, error) {
	if a.Type == "" {
		return typeByName(a.Name), nil, nil
	}
	t, params, err := mime.ParseMediaType(a.Type)
	if err != nil || strings.Count(t, "/") != 1 || strings.HasPrefix(t, "multipart/") {
		return "", nil, &FieldError{Field: "Content-Type", Reason: fmt.Sprintf("bad media type %.60q", a.Type)}
	}
	var list []string
	for k, v := range params {
		list = append(list, k+"\x00"+v)
	}
	slices.Sort(list)
	var pairs []string
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "\x00")
		pairs = append(pairs, k, v)
	}
	return t, pairs, nil
}

// typeByName knows the usual endings; it reads no files, so the answer is the same on every host.
func typeByName(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".txt", ".log", ".text", ".conf", ".md":
		return "text/plain"
	case ".html", ".htm":
		return "text/html"
	case ".csv":
		return "text/csv"
	case ".ics":
		return "text/calendar"
	case ".diff", ".patch":
		return "text/x-diff"
	case ".pdf":
		return "application/pdf"
	case ".json":
		return "application/json"
	case ".xml":
		return "application/xml"
	case ".zip":
		return "application/zip"
	case ".gz", ".tgz":
		return "application/gzip"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".svg":
		return "image/svg+xml"
	case ".eml":
		return "message/rfc822"
	}
	return "application/octet-stream"
}

func (a Attachment) write(w io.Writer) error {
	return a.with(func(r io.Reader) error { return writeBase64(w, r) })
}

func (a Attachment) copy(w io.Writer) error {
	return a.with(func(r io.Reader) error {
		_, err := io.Copy(w, &crlfReader{br: bufio.NewReader(r)})
		return err
	})
}

func (a Attachment) with(do func(io.Reader) error) error {
	r, err := a.Open()
	if err != nil {
		return err
	}
	err = do(r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// embedded says how a whole message goes into another: as it is if it is 7 bit, else as message/global, which may be
// encoded (RFC 6532 §3.7).
func (a Attachment) embedded() (mediaType, encoding string, err error) {
	mediaType, encoding = "message/rfc822", enc7bit
	err = a.with(func(r io.Reader) error {
		ok, err := is7bit(r)
		if !ok {
			mediaType, encoding = "message/global", encBase64
		}
		return err
	})
	return mediaType, encoding, err
}

// is7bit reports RFC 2045 §2.7 data: ASCII without NUL or lone CR, lines of at most 998 octets.
func is7bit(r io.Reader) (bool, error) {
	br := bufio.NewReader(&crlfReader{br: bufio.NewReader(r)})
	line := 0
	for {
		c, err := br.ReadByte()
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		case c == '\n':
			line = -1
		case c == 0 || c == '\r' || c >= 0x80 || line >= maxLine:
			return false, nil
		}
		line++
	}
}
