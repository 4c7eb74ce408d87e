package mbox

import (
	"bytes"
	"slices"
	"strings"
)

// isState reports the fields in which programs that keep mail in an mbox write down what they know of a message, by their names
// in lower case. They are no part of the message.
func isState(name string) bool {
	switch name {
	case "status", "x-status", "x-keywords", "x-uid", "x-imap", "x-imapbase", "content-length":
		return true
	}
	return false
}

// markField says what other programs do not know.
const markField = "X-Mailx-Mbox"

// fields takes the fields of state out of a header that comes in any cut, and passes on all else.
type fields struct {
	to sink

	past    bool // the header is over
	passing bool // the rest of this line is passed on, or dropped
	inRest  bool // the line is longer than what is looked at
	field   string
	others  bool   // a field was passed on
	line    []byte // the start of a line
	dropped int

	values  map[string]string // of the fields of state, in lower case
	mark    string            // value of markField
	subject string            // its start
	unended bool              // the last line end is not of the message
	lf      bool              // an LF is held back for that
}

// maxLook is what is looked at of a line.
const maxLook = 1 << 10

// maxValue bounds what is kept of a field.
const maxValue = 64 << 10

// Write takes the next piece.
func (f *fields) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if f.past {
			if err := f.pass(rest); err != nil {
				return 0, err
			}
			break
		}
		n := bytes.IndexByte(rest, '\n') + 1
		ended := n > 0
		if !ended {
			n = len(rest)
		}
		if !f.inRest {
			n = min(n, maxLook-len(f.line))
			ended = ended && rest[n-1] == '\n'
		}
		if err := f.take(rest[:n], ended); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// take takes a piece of one line.
func (f *fields) take(p []byte, ended bool) (err error) {
	if f.inRest {
		f.inRest = !ended
		if f.passing {
			return f.pass(p)
		}
		f.keep(p)
		return nil
	}
	f.line = append(f.line, p...)
	if !ended && len(f.line) < maxLook {
		return nil
	}
	line := f.line
	f.line, f.inRest = f.line[:0], !ended
	f.decide(line)
	if f.past {
		f.inRest = false
	}
	if f.passing {
		return f.pass(line)
	}
	return nil
}

// decide looks at the start of a line.
func (f *fields) decide(line []byte) {
	name, value, isField := fieldOf(line)
	switch {
	case len(line) > 0 && (line[0] == ' ' || line[0] == '\t') && f.field != "":
		if !f.passing {
			f.keep(line)
		}
		return
	case !isField:
		f.past, f.passing = true, true
	case isState(name):
		f.field, f.passing = name, false
		f.dropped++
		f.remember(name, value)
	case name == strings.ToLower(markField) && !f.others && isMark(value):
		f.mark, f.passing, f.past = string(bytes.TrimSpace(value)), false, true
		f.unended = strings.HasPrefix(f.mark, "1 unended")
		f.dropped++
	default:
		f.field, f.passing, f.others = name, true, true
		if name == "subject" {
			f.subject = string(bytes.TrimSpace(value))
		}
	}
}

// fieldOf takes a line apart; name is in lower case.
func fieldOf(line []byte) (name string, value []byte, ok bool) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || slices.ContainsFunc(line[:i], func(c byte) bool { return c <= ' ' || c >= 0x7f }) {
		return "", nil, false
	}
	return strings.ToLower(string(line[:i])), line[i+1:], true
}

func isMark(value []byte) bool {
	words := strings.Fields(string(value))
	return len(words) >= 2 && len(words) <= 3 && words[0] == "1" && (words[1] == "ended" || words[1] == "unended") &&
		bytes.HasSuffix(value, []byte("\n"))
}

func (f *fields) remember(name string, value []byte) {
	if f.values == nil {
		f.values = map[string]string{}
	}
	f.values[name] += " " + strings.TrimSpace(string(value))
}

// keep adds a continuation to the field that is being dropped.
func (f *fields) keep(p []byte) {
	if len(f.values[f.field])+len(p) < maxValue {
		f.values[f.field] += " " + strings.TrimSpace(string(p))
	}
}

func (f *fields) pass(p []byte) error {
	if !f.unended || len(p) == 0 {
		_, err := f.to.Write(p)
		return err
	}
	if f.lf {
		if _, err := f.to.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
	if f.lf = p[len(p)-1] == '\n'; f.lf {
		p = p[:len(p)-1]
	}
	_, err := f.to.Write(p)
	return err
}

// end is for a header without an end.
func (f *fields) end() error {
	if len(f.line) == 0 {
		return nil
	}
	line := f.line
	f.line = nil
	if f.decide(line); f.passing {
		return f.pass(line)
	}
	return nil
}

// isInternal reports the message on top of a file in which some programs keep what they know of the whole file.
func (f *fields) isInternal() bool {
	_, base := f.values["x-imapbase"]
	_, old := f.values["x-imap"]
	return (base || old) && strings.HasPrefix(f.subject, "DON'T DELETE THIS MESSAGE")
}

// state is what the fields say.
func (f *fields) state() State {
	var s State
	add := func(letter byte) {
		if strings.IndexByte(s.Flags, letter) < 0 {
			s.Flags += string(letter)
		}
	}
	old := false
	for _, c := range f.values["status"] + f.values["x-status"] {
		switch c {
		case 'O':
			old = true
		case 'R':
			add('S')
		case 'A':
			add('R')
		case 'F':
			add('F')
		case 'D':
			add('T')
		case 'T':
			add('D')
		}
	}
	for _, word := range strings.Fields(f.values["x-keywords"]) {
		if strings.EqualFold(word, forwarded) {
			add('P')
		} else {
			s.Keywords = append(s.Keywords, word)
		}
	}
	if words := strings.Fields(f.mark); len(words) == 3 {
		for i := range len(words[2]) {
			add(words[2][i])
		}
	}
	s.Flags = sorted(s.Flags)
	s.New = !old && s.Flags == ""
	return s
}

// forwarded is the keyword for what has been passed on (RFC 5788).
const forwarded = "$Forwarded"

func sorted(flags string) string {
	b := []byte(flags)
	slices.Sort(b)
	return string(slices.Compact(b))
}
