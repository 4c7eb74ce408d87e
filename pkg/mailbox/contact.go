package mailbox

import (
	"strings"

	"mailx/pkg/message"
)

// Contact is one element of an address list (RFC 3501 §7.4.2). The start of a group has its name in Local and no Host, the
// end of one has neither.
type Contact struct {
	Name  string `json:"n,omitempty"` // as it stands: encoded words are not decoded
	Route string `json:"r,omitempty"` // source route, obsolete
	Local string `json:"l,omitempty"`
	Host  string `json:"h,omitempty"`
}

// IsGroupStart tells the mark at the start of a group.
func (c Contact) IsGroupStart() bool { return c.Host == "" && c.Local != "" }

// IsGroupEnd tells the mark at the end of a group.
func (c Contact) IsGroupEnd() bool { return c.Host == "" && c.Local == "" }

// maxContacts bounds one field.
const maxContacts = 10_000

// missingHost stands for the domain of an address that has none, since NIL there would make it a group.
const missingHost = "MISSING_DOMAIN"

// parseContacts reads all fields of that name. What can't be read is passed over; nothing fails.
func parseContacts(h *message.Header, field string) []Contact {
	var all []Contact
	for _, value := range h.Values(field) {
		p := contactParser{s: value, list: all}
		p.run()
		all = p.list
		if len(all) >= maxContacts {
			break
		}
	}
	return all
}

// contactParser is a tokenizer over one value (RFC 5322 §3.4): it collects words until a "," ";" or the end says that an
// element is complete.
type contactParser struct {
	s       string
	list    []Contact
	inGroup bool

	words   []string // of a phrase, or of an address without angle brackets
	angle   string   // between "<" and ">"
	isAngle bool
	comment string // the last one
}

func (p *contactParser) run() {
	for p.s != "" && len(p.list) < maxContacts {
		p.step()
	}
	p.end()
	if p.inGroup {
		p.list = append(p.list, Contact{})
	}
}

func (p *contactParser) step() {
	switch c := p.s[0]; c {
	case ' ', '\t', '\r', '\n':
		p.s = p.s[1:]
	case ',':
		p.s = p.s[1:]
		p.end()
	case ';':
		p.s = p.s[1:]
		p.end()
		if p.inGroup {
			p.list = append(p.list, Contact{})
			p.inGroup = false
		}
	case ':':
		p.s = p.s[1:]
		p.startGroup()
	case '(':
		p.comment = p.delimited(')', true)
	case '"':
		p.words = append(p.words, p.delimited('"', false))
	case '<':
		p.angle, p.isAngle = p.delimited('>', false), true
	default:
		i := strings.IndexAny(p.s, " \t\r\n,;:(\"<")
		if i < 0 {
			i = len(p.s)
		}
		if p.s[0] == '[' {
			i = max(strings.IndexByte(p.s, ']')+1, 1)
		}
		p.words = append(p.words, p.s[:i])
		p.s = p.s[i:]
	}
}

// delimited reads up to the closing octet, which may be missing, and takes backslashes away. Comments nest.
func (p *contactParser) delimited(end byte, nests bool) string {
	open := p.s[0]
	depth := 1
	var b strings.Builder
	i := 1
	for ; i < len(p.s); i++ {
		c := p.s[i]
		switch {
		case c == '\\' && end != '>' && i+1 < len(p.s):
			i++
			c = p.s[i]
		case c == end:
			depth--
		case nests && c == open:
			depth++
		}
		if depth == 0 {
			i++
			break
		}
		b.WriteByte(c)
	}
	p.s = p.s[i:]
	return b.String()
}

func (p *contactParser) startGroup() {
	name := strings.Join(p.words, " ")
	p.clear()
	if name == "" || p.inGroup {
		return
	}
	p.inGroup = true
	p.list = append(p.list, Contact{Local: name})
}

func (p *contactParser) clear() { p.words, p.angle, p.isAngle, p.comment = nil, "", false, "" }

// end completes an element.
func (p *contactParser) end() {
	defer p.clear()
	c := Contact{Name: p.comment}
	spec := strings.Join(p.words, "")
	if p.isAngle {
		spec, c.Name = strings.TrimSpace(p.angle), strings.Join(p.words, " ")
	}
	if spec == "" {
		return
	}
	if strings.HasPrefix(spec, "@") {
		if route, rest, ok := strings.Cut(spec, ":"); ok {
			c.Route, spec = route, rest
		}
	}
	c.Local, c.Host = spec, missingHost
	if at := strings.LastIndexByte(spec, '@'); at >= 0 {
		c.Local, c.Host = unquote(spec[:at]), spec[at+1:]
	}
	if c.Host == "" {
		c.Host = missingHost
	}
	if c.Local != "" {
		p.list = append(p.list, c)
	}
}

func unquote(local string) string {
	if len(local) < 2 || local[0] != '"' || local[len(local)-1] != '"' {
		return local
	}
	q := contactParser{s: local}
	return q.delimited('"', false)
}
