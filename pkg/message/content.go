package message

import (
	"io"
	"mime"
	"slices"
	"strings"
)

// Content takes a message apart into what people read and what they keep: the texts in their order, plain rather than HTML
// among alternatives, and the files. Alternatives that are not chosen are left out, but for files inside of them; so is the
// signature of what is signed. All is there somewhere: what is neither text nor left out is a file.
func (p *Part) Content() (texts []*Part, files []Attached) {
	var c contentWalk
	c.part(p)
	if len(c.texts) > 0 {
		return c.texts, c.files
	}
	text := p.TextPart() // one that has the name of a file
	if text == nil {
		return nil, c.files
	}
	return []*Part{text}, slices.DeleteFunc(c.files, func(a Attached) bool { return a.Part == text })
}

type contentWalk struct {
	texts []*Part
	files []Attached
}

func (c *contentWalk) part(p *Part) {
	switch {
	case p.Type == "multipart" && len(p.Parts) > 0 && p.Subtype == "alternative":
		chosen := chooseAlternative(p.Parts)
		c.part(chosen)
		for _, other := range p.Parts {
			if other != chosen {
				c.filesOnly(other)
			}
		}
	case p.Type == "multipart" && len(p.Parts) > 0 && p.Subtype == "signed": // RFC 1847 §2.1
		c.part(p.Parts[0])
	case p.Type == "multipart" && len(p.Parts) > 0:
		for _, child := range p.Parts {
			c.part(child)
		}
	case p.isReadable():
		c.texts = append(c.texts, p)
	default:
		c.files = append(c.files, Attached{Part: p, Name: p.safeName(p.fileName())})
	}
}

// filesOnly keeps the files inside of an alternative that is not shown. QUIRK: Apple Mail puts what is attached beside the
// HTML.
func (c *contentWalk) filesOnly(p *Part) {
	before := len(c.texts)
	c.part(p)
	c.texts = c.texts[:before]
}

// chooseAlternative prefers plain text, then HTML, then the last, which is said to be the best (RFC 2046 §5.1.4).
func chooseAlternative(parts []*Part) *Part {
	for _, subtype := range []string{"plain", "html"} {
		for _, p := range parts {
			found := false
			p.Walk(func(q *Part) bool {
				found = found || q.isReadable() && q.Subtype == subtype
				return !found && q.Type != "message"
			})
			if found {
				return p
			}
		}
	}
	return parts[len(parts)-1]
}

// isReadable reports text that is part of what is said, and no file.
func (p *Part) isReadable() bool {
	switch {
	case p.Type != "text" || p.Disposition == "attachment" || p.fileName() != "":
		return false
	case p.Subtype == "calendar", p.Subtype == "vcard", p.Subtype == "x-vcard", p.Subtype == "directory":
		return false
	}
	return true
}

// Again makes an attachment of a part of another message, with its type, its name and its content. What its header says
// wrongly is left out or made harmless, so that the attachment can always be written. msg is the message it is in.
func (a Attached) Again(msg io.ReaderAt) Attachment {
	b := Attachment{Name: a.nameAgain(), Type: a.Part.contentType(), Inline: a.Part.Disposition == "inline",
		Open: func() (io.ReadCloser, error) { return io.NopCloser(a.Part.Open(msg)), nil }}
	id := strings.TrimSpace(a.Part.Header.Get("Content-ID"))
	if id = strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">"); ValidContentID(id) {
		b.ContentID = id
	}
	if !b.hasWritableType() {
		b.Type = "application/octet-stream"
	}
	return b
}

// nameAgain is the name as the message has it if all that makes it unsafe is that it is hidden, as .gitignore is.
func (a Attached) nameAgain() string {
	name := a.Part.fileName()
	if hidden, ok := strings.CutSuffix(name, a.Name); ok && strings.Trim(hidden, ".-") == "" {
		return name
	}
	return a.Name
}

// hasWritableType reports a media type that fits into a header.
func (a Attachment) hasWritableType() bool {
	mediaType, params, err := a.mediaType()
	if err == nil {
		_, err = appendField(nil, "Content-Type", paramTokens(mediaType, params...))
	}
	return err == nil
}

// contentType prints the type with its parameters, but for those that are said elsewhere.
func (p *Part) contentType() string {
	params := map[string]string{}
	for name, value := range p.Params {
		if name != "name" && name != "boundary" && badControl(value, false) == "" {
			params[name] = value
		}
	}
	if value := mime.FormatMediaType(p.MediaType(), params); value != "" {
		return value
	}
	return p.MediaType()
}
