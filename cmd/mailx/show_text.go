package main

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"mailx/pkg/message"
)

// maxText is how much of a text is shown, in octets of UTF-8. The rest is in --part.
const maxText = 8 << 20

// attachment is what is told about a part that is a file.
type attachment struct {
	Part string `json:"part"` // for --part
	Name string `json:"name"`
	Type string `json:"type"`
	Size int64  `json:"size"` // octets, decoded
}

// text prints a message for people: the fields that matter, a line for each attachment, an empty line, the text.
func (s *shower) text(_ *record, f openFile) error {
	root, err := message.Parse(f)
	if err != nil {
		return err
	}
	files, err := attachments(root, f)
	if err != nil {
		return err
	}
	text, cut, err := s.body(root, f)
	if err != nil {
		return err
	}
	s.fields(root.Header)
	for _, a := range files {
		s.field("Attachment", a.Part+" "+a.Name+" ("+a.Type+", "+strconv.FormatInt(a.Size, 10)+" octets)")
	}
	if text != "" {
		s.print("\n" + text)
		if !strings.HasSuffix(text, "\n") {
			s.print("\n")
		}
	}
	if cut {
		s.env.note("the text is longer than %d octets; the rest is in --part %s", maxText, partNumber(root.TextPart()))
	}
	return nil
}

// fields prints what people look at first.
func (s *shower) fields(h *message.Header) {
	for _, name := range []string{"From", "Reply-To", "To", "Cc"} {
		if h.Has(name) {
			s.field(name, message.DisplayAddresses(strings.Join(h.Values(name), ", ")))
		}
	}
	for _, name := range []string{"Date", "Subject"} {
		if h.Has(name) {
			s.field(name, message.DecodeText(h.Get(name)))
		}
	}
}

func (s *shower) field(name, value string) {
	if s.color {
		name = "\x1b[1m" + name + ":\x1b[0m "
	} else {
		name += ": "
	}
	s.print(name + escapeControl(value) + "\n")
}

// body gives the best text of a message, safe for a terminal; "" if there is none.
func (s *shower) body(root *message.Part, f openFile) (text string, cut bool, err error) {
	p := root.TextPart()
	switch {
	case p == nil:
		return "", false, nil
	case p.Subtype == "html" && !s.html:
		s.env.note("there is only HTML, in --part %s", partNumber(p))
		return "", false, nil
	}
	return p.Text(f, maxText)
}

func (s *shower) json(p *printer, r *record, f openFile) error {
	root, err := message.Parse(f)
	if err != nil {
		return err
	}
	files, err := attachments(root, f)
	if err != nil {
		return err
	}
	text, cut, err := s.body(root, f)
	if err != nil {
		return err
	}
	r.Summary = message.Summarize(root.Header)
	s.words.look()
	if r.keywords, err = s.words.of(r.mailFile); err != nil {
		s.failed.add(readError(err))
	}
	cc := message.DisplayAddresses(strings.Join(root.Header.Values("Cc"), ", "))
	p.row(append(r.values(), cc, text, cut, files)...)
	s.err = p.err
	return nil
}

// attachments lists the files in a message. Their sizes are found by decoding them.
func attachments(root *message.Part, f openFile) ([]attachment, error) {
	list := []attachment{}
	for _, a := range root.Attachments() {
		in := &stickyReader{r: a.Part.Open(f)}
		size, _ := io.Copy(io.Discard, in)
		if in.err != nil {
			return nil, in.err
		}
		list = append(list, attachment{partNumber(a.Part), a.Name, message.Printable(a.Part.MediaType()), size})
	}
	return list, nil
}

// partNumber is what --part takes. A message that has no parts is its part 1 (RFC 9051 §6.4.5).
func partNumber(p *message.Part) string {
	if p.Path == "" {
		return "1"
	}
	return p.Path
}

// findPart finds a part by its number; nil if there is none.
func findPart(root *message.Part, number string) *message.Part {
	if p := partAt(root, number); p != nil || number == "" {
		return p
	}
	above, ok := strings.CutSuffix("."+number, ".1")
	if !ok {
		return nil
	}
	p := partAt(root, strings.TrimPrefix(above, "."))
	switch {
	case p != nil && p.Type == "message" && len(p.Parts) == 1 && p.Parts[0].Type != "multipart":
		return p.Parts[0]
	case p == root && p.Type != "multipart":
		return p
	}
	return nil
}

func partAt(root *message.Part, number string) (found *message.Part) {
	root.Walk(func(p *message.Part) bool {
		if p.Path == number {
			found = p
		}
		return found == nil
	})
	return found
}

// escapeText is escapeControl for text of many lines: line ends and tabs stay.
func escapeText(s string) string {
	if isPlainText(s) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "\n\t")
		if i < 0 {
			b.WriteString(escapeControl(s))
			return b.String()
		}
		b.WriteString(escapeControl(s[:i]))
		b.WriteByte(s[i])
		s = s[i+1:]
	}
}

func isPlainText(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// escapeLines copies text line by line through escapeText. Lines may be of any length.
func escapeLines(w io.Writer, r io.Reader) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var left []byte // the start of a character that did not fit
	for {
		line, err := br.ReadSlice('\n')
		part := append(left, line...)
		left = nil
		if errors.Is(err, bufio.ErrBufferFull) {
			part, left = cutCharacter(part)
		}
		if _, werr := io.WriteString(w, escapeText(string(part))); werr != nil {
			return werr
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// cutCharacter takes an unfinished character of UTF-8 off the end.
func cutCharacter(b []byte) (whole, left []byte) {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return b[:len(b)-n], b[len(b)-n:]
			}
			break
		}
	}
	return b, nil
}
