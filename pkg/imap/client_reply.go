package imap

import (
	"io"
	"strings"
)

// replyLine is a cursor over an answer of the server, of which a line is in memory at a time: strings that come as literals
// are read when the cursor comes to them.
type replyLine struct {
	c    *Client
	tag  string
	rest string
}

// word reads up to the next blank, and over it.
func (r *replyLine) word() string {
	word, rest, _ := strings.Cut(r.rest, " ")
	r.rest = rest
	return word
}

func (r *replyLine) octet(b byte) bool {
	if r.rest == "" || r.rest[0] != b {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *replyLine) blank() { r.rest = strings.TrimLeft(r.rest, " ") }

// atom reads up to a blank or parenthesis; it may be empty.
func (r *replyLine) atom() string {
	i := strings.IndexAny(r.rest, ` ()"{`)
	if i < 0 {
		i = len(r.rest)
	}
	atom := r.rest[:i]
	r.rest = r.rest[i:]
	return atom
}

// itemName reads the name of an item of FETCH; in brackets it may have blanks and lists.
func (r *replyLine) itemName() string {
	depth := 0
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case depth == 0 && (c == ' ' || c == '(' || c == ')' || c == '"' || c == '{'):
			name := r.rest[:i]
			r.rest = r.rest[i:]
			return name
		}
	}
	return ""
}

// literal reads "{n}" at the end of the line (RFC 9051 §4.3), or "~{n}". The octets follow on the connection; then nextLine.
func (r *replyLine) literal() (octets int64, ok bool, err error) {
	inner, ok := strings.CutPrefix(strings.TrimPrefix(r.rest, "~"), "{")
	if !ok {
		return 0, false, nil
	}
	digits, ok := strings.CutSuffix(inner, "}")
	n, err := parseOctets(strings.TrimSuffix(digits, "+"))
	if !ok || err != nil || n > maxLiteral {
		return 0, false, errServer("length of a literal")
	}
	r.rest = ""
	return n, true, nil
}

// nextLine goes on behind a literal.
func (r *replyLine) nextLine() (err error) {
	r.rest, err = r.c.line(r.c.opt.ReplyTime)
	return err
}

// str reads an nstring or astring, in whatever form; NIL is empty. It is bounded: no message is read by it.
func (r *replyLine) str() (string, error) {
	n, isLiteral, err := r.literal()
	switch {
	case err != nil:
		return "", err
	case isLiteral:
		return r.shortLiteral(n)
	case r.octet('"'):
		return r.quoted()
	}
	atom := r.atom()
	switch {
	case atom == "":
		return "", errServer("a string is missing")
	case strings.EqualFold(atom, "NIL"):
		return "", nil
	}
	return atom, nil
}

func (r *replyLine) shortLiteral(n int64) (string, error) {
	if n > maxReplyString {
		return "", errServer("a literal that is too long")
	}
	b := make([]byte, n)
	r.c.c.Within(r.c.opt.ReplyTime)
	if _, err := io.ReadFull(r.c.c.Literal(n), b); err != nil {
		return "", r.c.broken(err)
	}
	return string(b), r.nextLine()
}

// quoted reads up to the closing quote.
func (r *replyLine) quoted() (string, error) {
	var b strings.Builder
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			r.rest = r.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(r.rest):
			i++
			b.WriteByte(r.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", errServer("a quoted string without end")
}

// words reads a list of atoms.
func (r *replyLine) words() ([]string, error) {
	if !r.octet('(') {
		return nil, errServer("a list is missing")
	}
	words := []string{}
	for !r.octet(')') {
		r.blank()
		word := r.atom()
		if word == "" {
			return nil, errServer("a list that is none")
		}
		words = append(words, word)
		r.blank()
	}
	return words, nil
}

// skipValue reads over a value of any kind.
func (r *replyLine) skipValue(depth int) error {
	if depth > maxReplyDepth {
		return r.c.broken(errServer("lists in lists without end"))
	}
	if !r.octet('(') {
		_, err := r.str()
		return r.c.broken(err)
	}
	for values := 0; ; values++ {
		r.blank()
		if r.octet(')') {
			return nil
		}
		if values > maxReplyString {
			return r.c.broken(errServer("a list without end"))
		}
		if err := r.skipValue(depth + 1); err != nil {
			return err
		}
	}
}

// skip reads what is left of an answer, with the literals in it.
func (r *replyLine) skip() error {
	for range maxReplyString {
		i := strings.LastIndexByte(r.rest, '{')
		if i < 0 || !strings.HasSuffix(r.rest, "}") {
			return nil
		}
		r.rest = r.rest[i:]
		n, ok, err := r.literal()
		if err != nil || !ok {
			return nil // text that only looks like it
		}
		if n > maxSkip {
			return r.c.broken(errServer("a literal that is too long"))
		}
		if _, err := io.Copy(io.Discard, r.c.c.Literal(n)); err != nil {
			return r.c.broken(err)
		}
		if err := r.nextLine(); err != nil {
			return err
		}
	}
	return r.c.broken(errServer("literals without end"))
}
