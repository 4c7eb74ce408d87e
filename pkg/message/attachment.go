package message

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"path"
	"slices"
	"strings"
)

// Attachment is a file that goes with a message. It is streamed, never held in memory.
type Attachment struct {
	Name      string // file name for the receiver; only what follows the last "/" is used
	Type      string // media type, perhaps with parameters; empty: by the name
	Inline    bool
	ContentID string // without angle brackets: what HTML means by "cid:"
	// Open gives the octets; it is called once, for message/rfc822 twice.
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
