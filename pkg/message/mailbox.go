package message

import (
	"strings"

	"mailx/pkg/mail"
)

// Mailbox is a name for people and an address (RFC 5322 §3.4). Name is decoded text, without quotes.
type Mailbox struct {
	Name    string
	Address mail.Address
}

// String is "Name <local@domain>", or the address alone; for people, not for a header.
func (m Mailbox) String() string {
	if m.Name == "" {
		return m.Address.String()
	}
	return m.Name + " " + m.Address.Path()
}

// ParseMailbox reads one mailbox: `j@x`, `Jörg <j@x>`, `"Doe, J" <j@x>`, `j@x (Jörg)`, `root`. The error is permanent,
// 5.1.3, and names the part that is wrong.
func ParseMailbox(s string) (Mailbox, error) {
	list, err := ParseMailboxes(s)
	switch {
	case err != nil:
		return Mailbox{}, err
	case len(list) != 1:
		return Mailbox{}, badMailbox("One address wanted", s)
	}
	return list[0], nil
}

// ParseMailboxes reads an address list with its groups (RFC 5322 §3.4) as people and programs write it: names in UTF-8
// or with dots and without quotes, encoded words, comments, source routes, empty places between commas, names of
// this host without a domain, semicolons for commas. The members of a group are given, its name is not.
func ParseMailboxes(s string) ([]Mailbox, error) {
	if reason := badControl(s, true); reason != "" {
		return nil, badMailbox("Control character in the address", s)
	}
	p := &addressParser{rest: s}
	var list []Mailbox
	for {
		m, found, err := p.next()
		if err != nil {
			return nil, err
		}
		if !found {
			return list, nil
		}
		if m != nil {
			list = append(list, *m)
		}
	}
}

// badMailbox quotes what was given: it came from our own side, and is free of control characters or escaped.
func badMailbox(text, part string) error {
	part = strings.TrimSpace(part)
	if len(part) > 100 {
		part = part[:100] + "..."
	}
	return mail.Permanentf(1, 3, "%s: %q", text, part)
}

// addressParser walks over a list. One element is: words, perhaps `<address>`, comments anywhere.
type addressParser struct {
	rest    string
	inGroup bool
}

// element is what was seen since the last comma.
type element struct {
	words   []string // decoded words of the phrase
	raw     strings.Builder
	comment string
	angle   string
	hasPath bool
}

// next gives the next mailbox; found with a nil mailbox means an empty place or the name of a group.
func (p *addressParser) next() (m *Mailbox, found bool, err error) {
	if strings.TrimSpace(p.rest) == "" { // QUIRK: "undisclosed-recipients:" without its semicolon is common
		return nil, false, nil
	}
	var e element
	for p.rest != "" {
		c := p.rest[0]
		switch c {
		case ',', ';':
			p.rest = p.rest[1:]
			p.inGroup = p.inGroup && c != ';'
			m, err = e.mailbox()
			return m, true, err
		case ':':
			if !e.hasPath && !p.inGroup {
				p.rest, p.inGroup = p.rest[1:], true
				return nil, true, nil
			}
		}
		if err := p.piece(&e); err != nil {
			return nil, true, err
		}
	}
	m, err = e.mailbox()
	return m, true, err
}

// piece takes one comment, quoted string, angle address, white space or word.
func (p *addressParser) piece(e *element) error {
	switch c := p.rest[0]; {
	case isWSP(c):
		p.rest = p.rest[1:]
		e.raw.WriteByte(' ')
		return nil
	case c == '(':
		text, ok := p.delimited('(', ')')
		e.comment = strings.TrimSpace(text)
		return orError(ok, "Comment does not end", p.rest)
	case c == '<':
		return p.angle(e)
	case c == '"':
		before := p.rest
		text, ok := p.quoted()
		e.words = append(e.words, text)
		e.raw.WriteString(before[:len(before)-len(p.rest)])
		return orError(ok, "Quoted name does not end", before)
	case e.hasPath:
		return badMailbox("Text after the address", p.rest)
	}
	end := wordEnd(p.rest)
	e.words = append(e.words, p.rest[:end])
	e.raw.WriteString(p.rest[:end])
	p.rest = p.rest[end:]
	return nil
}

// wordEnd is the length of the word at the start of s, at least 1. An address literal may have colons.
func wordEnd(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '[':
			if n := strings.IndexByte(s[i:], ']'); n > 0 {
				i += n
			}
		case ' ', '\t', ',', ';', ':', '<', '(', '"':
			return max(i, 1)
		}
	}
	return len(s)
}

func orError(ok bool, text, part string) error {
	if ok {
		return nil
	}
	return badMailbox(text, part)
}

func (p *addressParser) angle(e *element) error {
	if e.hasPath {
		return badMailbox("Two addresses without a comma", p.rest)
	}
	end, quoted := 1, false
	for ; end < len(p.rest); end++ {
		switch c := p.rest[end]; {
		case c == '\\' && quoted:
			end++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			e.angle, e.hasPath = p.rest[1:end], true
			p.rest = p.rest[end+1:]
			return nil
		}
	}
	return badMailbox("Missing > after the address", p.rest)
}

// quoted takes a quoted string and gives its text.
func (p *addressParser) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	p.rest = ""
	return b.String(), false
}

// delimited takes a nested comment and gives its text.
func (p *addressParser) delimited(open, end byte) (string, bool) {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == '\\' && i+1 < len(p.rest):
			i++
			c = p.rest[i]
		case c == open:
			if depth++; depth == 1 {
				continue
			}
		case c == end:
			if depth--; depth == 0 {
				p.rest = p.rest[i+1:]
				return b.String(), true
			}
		}
		b.WriteByte(c)
	}
	return "", false
}

// mailbox makes a mailbox of what was collected; nil if there was nothing.
func (e *element) mailbox() (*Mailbox, error) {
	raw := strings.TrimSpace(e.raw.String())
	spec, name := raw, e.comment
	if e.hasPath {
		spec, name = e.angle, e.name()
	}
	if !e.hasPath && raw == "" {
		return nil, nil
	}
	spec = tightenAddress(spec)
	if strings.HasPrefix(spec, "@") { // RFC 5322 §4.4 source route: only its end counts
		if _, last, ok := strings.Cut(spec, ":"); ok {
			spec = last
		}
	}
	a, err := mail.ParseAddress(spec)
	if err != nil {
		return nil, badMailbox(mail.TextOf(err), raw+pathOf(e))
	}
	return &Mailbox{Name: DecodeText(name), Address: a}, nil
}

func pathOf(e *element) string {
	if !e.hasPath {
		return ""
	}
	return " <" + e.angle + ">"
}

func (e *element) name() string {
	name := strings.Join(e.words, " ")
	if name == "" {
		return e.comment
	}
	return name
}

// tightenAddress removes the white space that RFC 5322 §4.4 allows around "." and "@".
func tightenAddress(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, `"`) || !strings.ContainsAny(s, " \t") {
		return s
	}
	for _, sep := range []string{"@", "."} {
		parts := strings.Split(s, sep)
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		s = strings.Join(parts, sep)
	}
	return s
}
