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
	"unicode/utf8"

	"mailx/pkg/wire"
)

// Attachment is a file that goes with a message. It is streamed, never held in memory.
type Attachment struct {
	Name      string // file name for the receiver; only what follows the last "/" is used
	Type      string // media type, perhaps with parameters; empty: by the name
	Inline    bool   // for the HTML that names its ContentID; else it is shown by itself
	ContentID string // without angle brackets: what HTML means by "cid:"
	// Open gives the octets; it is called once, for messages twice.
	Open func() (io.ReadCloser, error)
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
	switch {
	case strings.HasPrefix(mediaType, "message/") && !strings.HasPrefix(mediaType, "message/global"):
		mediaType, encoding, err = a.unencoded(p, mediaType)
	case strings.HasPrefix(mediaType, "text/") && !slices.Contains(params, "charset"):
		params, err = a.withCharset(p, params)
	}
	if err != nil {
		return nil, err
	}
	return p, a.addFields(p, name, mediaType, encoding, params)
}

func (a Attachment) addFields(p *part, name, mediaType, encoding string, params []string) error {
	disposition := "attachment"
	if a.Inline {
		disposition = "inline"
	}
	dispositionParams := []string{}
	if name != "" {
		dispositionParams = []string{"filename", name}
	}
	err := p.addFields(
		"Content-Type", paramTokens(mediaType, params...),
		"Content-Transfer-Encoding", []string{" " + encoding},
		"Content-Disposition", paramTokens(disposition, dispositionParams...),
	)
	switch {
	case err != nil || a.ContentID == "":
		return err
	case !ValidContentID(a.ContentID):
		return &FieldError{Field: "Content-ID", Reason: "bad content id"}
	}
	return p.addFields("Content-ID", []string{" <" + a.ContentID + ">"})
}

// ValidContentID reports what may stand between the angle brackets of a Content-ID. It is kept as it is given, because HTML
// names it so. QUIRK: RFC 2045 §7 wants an "@" in it; hardly any program makes one, and all readers do without.
func ValidContentID(id string) bool {
	return id != "" && len(id) <= maxLine/2 && isASCII(id) && badControl(id, false) == "" && !strings.ContainsAny(id, " <>")
}

// mediaType gives the type and its parameters as name, value pairs.
func (a Attachment) mediaType() (string, []string, error) {
	if a.Type == "" {
		return TypeByName(a.Name), nil, nil
	}
	t, params, err := mime.ParseMediaType(a.Type)
	if err != nil || strings.Count(t, "/") != 1 || strings.HasPrefix(t, "multipart/") {
		return "", nil, &FieldError{Field: "Content-Type", Reason: fmt.Sprintf("bad media type %.60q", a.Type)}
	}
	return t, sortedParams(params), nil
}

// sniffed is how much of a text is looked at for its charset.
const sniffed = 64 << 10

// withCharset opens a text to see what it is in. The octets stay as they are.
func (a Attachment) withCharset(p *part, params []string) ([]string, error) {
	f, err := a.Open()
	if err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(f, sniffed)
	p.body = func(w io.Writer) error { return writeAndClose(w, br, f) }
	start, err := br.Peek(sniffed)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	if charset := sniffCharset(start, err == io.EOF); charset != "" {
		params = append([]string{"charset", charset}, params...)
	}
	return params, nil
}

// sniffCharset is "" for what nobody can tell.
func sniffCharset(start []byte, whole bool) string {
	switch {
	case isUTF16(start):
		return "utf-16"
	case isASCII(string(start)) && whole:
		return "us-ascii"
	}
	if !whole {
		start = start[:bytes.LastIndexFunc(start, func(r rune) bool { return r < 0x80 })+1]
	}
	if !utf8.Valid(start) {
		return ""
	}
	return "utf-8"
}

func writeAndClose(w io.Writer, r io.Reader, c io.Closer) error {
	err := writeBase64(w, r)
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// TypeByName knows the usual endings of file names; the first name that has one decides. It reads no files, so the answer is
// the same on every host.
func TypeByName(names ...string) string {
	for _, name := range names {
		if t := typeOfEnding(strings.ToLower(path.Ext(name))); t != "" {
			return t
		}
	}
	return "application/octet-stream"
}

func typeOfEnding(ending string) string {
	if ending == "" {
		return ""
	}
	for _, t := range knownTypes() {
		if strings.Contains(t.endings, ending+" ") {
			return t.mediaType
		}
	}
	return ""
}

// knownType is a media type with the endings of its files, the usual one first, each with a blank behind it.
type knownType struct{ endings, mediaType string }

func knownTypes() []knownType {
	return []knownType{
		{".txt .log .text .conf .md ", "text/plain"},
		{".vcf ", "text/vcard"},
		{".html .htm ", "text/html"},
		{".csv ", "text/csv"},
		{".ics ", "text/calendar"},
		{".diff .patch ", "text/x-diff"},
		{".pdf ", "application/pdf"},
		{".json ", "application/json"},
		{".xml ", "application/xml"},
		{".zip ", "application/zip"},
		{".tar ", "application/x-tar"},
		{".docx ", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
		{".xlsx ", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
		{".pptx ", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
		{".odt ", "application/vnd.oasis.opendocument.text"},
		{".ods ", "application/vnd.oasis.opendocument.spreadsheet"},
		{".gz .tgz ", "application/gzip"},
		{".png ", "image/png"},
		{".jpg .jpeg ", "image/jpeg"},
		{".gif ", "image/gif"},
		{".svg ", "image/svg+xml"},
		{".webp ", "image/webp"},
		{".mp3 ", "audio/mpeg"},
		{".mp4 ", "video/mp4"},
		{".eml ", "message/rfc822"},
	}
}

func (a Attachment) write(w io.Writer) error {
	return a.with(func(r io.Reader) error { return writeBase64(w, r) })
}

func (a Attachment) copy(w io.Writer) error {
	return a.with(func(r io.Reader) error {
		_, err := io.Copy(w, wire.FromCRLF(r))
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

// unencoded says how a message goes into another, where neither base64 nor quoted-printable is allowed (RFC 2046 §5.2): as
// it is, 7 bit or 8 bit. What can't be that is message/global, which may be encoded (RFC 6532 §3.7), or no message any more.
// What is called a message by its name alone, and has no header, never was one.
func (a Attachment) unencoded(p *part, mediaType string) (newType, encoding string, err error) {
	l, err := a.look()
	switch {
	case err != nil:
		return "", "", err
	case a.Type == "" && !l.hasHeader:
		return "application/octet-stream", encBase64, nil
	case l.is7bit():
		encoding = enc7bit
	case l.is8bit() && mediaType == "message/rfc822":
		encoding, p.is8bit = enc8bit, true
	case mediaType == "message/rfc822":
		return "message/global", encBase64, nil
	default:
		return "application/octet-stream", encBase64, nil
	}
	p.body, p.delims = a.copy, l.delims
	return mediaType, encoding, nil
}

// embedded says how a message goes into a report: as it is if it is 7 bit, else as message/global, so that every server
// takes the report.
func (a Attachment) embedded() (mediaType, encoding string, err error) {
	l, err := a.look()
	if err != nil || l.is7bit() {
		return "message/rfc822", enc7bit, err
	}
	return "message/global", encBase64, nil
}

// messageLook is what has been seen of a message that is to go into another.
type messageLook struct {
	line       []byte // its start
	length     int    // of the line
	lastCR     bool   // a CR that may be part of a line end
	isTooLong  bool   // a line is longer than 998 octets
	isBinary   bool   // NUL, or CR that is not part of a line end
	high       bool   // 8-bit data
	highHeader bool   // 8-bit data in a header, its own or one inside
	hasHeader  bool
	delims     []string
}

// is7bit reports RFC 2045 §2.7 data, is8bit that of §2.8 which a server without 8BITMIME can be given converted.
func (l *messageLook) is7bit() bool { return !l.isTooLong && !l.isBinary && !l.high }
func (l *messageLook) is8bit() bool { return !l.isTooLong && !l.isBinary && !l.highHeader }

// look reads the message once.
func (a Attachment) look() (l *messageLook, err error) {
	l = &messageLook{}
	err = a.with(func(r io.Reader) error {
		root, err := Parse(io.TeeReader(r, l))
		if err != nil {
			return err
		}
		l.endLine()
		l.hasHeader = root.Header.Len() > 0
		root.Walk(func(p *Part) bool {
			for _, f := range p.Header.Fields() {
				l.highHeader = l.highHeader || !isASCII(string(f.Raw()))
			}
			return !l.highHeader
		})
		return nil
	})
	return l, err
}

// Write looks at a piece.
func (l *messageLook) Write(b []byte) (int, error) {
	for _, c := range b {
		if l.lastCR && c != '\n' {
			l.isBinary = true
		}
		if l.lastCR = c == '\r'; l.lastCR {
			continue
		}
		if c == '\n' {
			l.endLine()
			continue
		}
		l.high = l.high || c >= 0x80
		l.isBinary = l.isBinary || c == 0
		if l.length++; l.length <= maxLine && (l.length > len(ourDelim) || c == ourDelim[l.length-1]) && len(l.line) == l.length-1 {
			l.line = append(l.line, c)
		}
	}
	return len(b), nil
}

// maxDelims bounds what a hostile message makes us remember.
const maxDelims = 10_000

// endLine keeps a line that looks like a boundary of ours.
func (l *messageLook) endLine() {
	if len(l.line) > len(ourDelim) && len(l.delims) < maxDelims {
		l.delims = append(l.delims, string(l.line))
	}
	l.isBinary = l.isBinary || l.lastCR
	l.isTooLong = l.isTooLong || l.length > maxLine
	l.line, l.length, l.lastCR = l.line[:0], 0, false
}
