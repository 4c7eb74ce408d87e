package delivery

import (
	"errors"
	"fmt"
	"strings"
)

// What keeps a text from being a command.
var (
	errNoCommand    = errors.New("no command")
	errOpenQuote    = errors.New("a quote is not closed")
	errLastSlash    = errors.New("a backslash at the end")
	errNotPrintable = errors.New("control characters")
)

// SplitCommand cuts a command into its words as a shell would, without being one:
//
//	blank words are cut at blanks and tabs
//	'text'      stands for itself
//	"text"      stands for itself, but for \" and \\
//	\c          is c, whatever it is
//	"a"'b'c     pieces without a blank between them are one word; "" is an empty one
//
// What means something else to a shell is refused rather than taken for itself, so that nobody is surprised: variables,
// patterns, redirections, pipes, lists of commands, "~" and "#" at the start of a word. Whoever needs them writes
// a script, or names the shell: sh -c '...'.
func SplitCommand(s string) ([]string, error) {
	sp := splitter{rest: s}
	for {
		sp.rest = strings.TrimLeft(sp.rest, " \t")
		if sp.rest == "" {
			break
		}
		word, err := sp.word()
		if err != nil {
			return nil, err
		}
		sp.words = append(sp.words, word)
	}
	if len(sp.words) == 0 || sp.words[0] == "" {
		return nil, errNoCommand
	}
	return sp.words, nil
}

type splitter struct {
	rest  string
	words []string
}

// word takes one word, at whose start rest is.
func (sp *splitter) word() (string, error) {
	var b strings.Builder
	for at := 0; sp.rest != ""; at++ {
		c := sp.rest[0]
		var err error
		switch {
		case c == ' ' || c == '\t':
			return b.String(), nil
		case c < ' ' || c == 0x7f:
			err = errNotPrintable
		case c == '\'':
			err = sp.single(&b)
		case c == '"':
			err = sp.double(&b)
		case c == '\\':
			err = sp.escaped(&b)
		case strings.IndexByte("|&;<>()$`*?[]{}", c) >= 0, at == 0 && (c == '~' || c == '#'):
			err = shellError(c)
		default:
			b.WriteByte(c)
			sp.rest = sp.rest[1:]
		}
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func shellError(c byte) error {
	return fmt.Errorf("%q is for a shell, and there is none: quote it, or write a script", c)
}

func (sp *splitter) single(b *strings.Builder) error {
	text, rest, ok := strings.Cut(sp.rest[1:], "'")
	if !ok {
		return errOpenQuote
	}
	if hasControl(text) {
		return errNotPrintable
	}
	b.WriteString(text)
	sp.rest = rest
	return nil
}

// hasControl reports control characters other than tabs.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (sp *splitter) double(b *strings.Builder) error {
	for i := 1; i < len(sp.rest); i++ {
		switch c := sp.rest[i]; {
		case c == '"':
			sp.rest = sp.rest[i+1:]
			return nil
		case c == '$' || c == '`':
			return shellError(c)
		case c < ' ' && c != '\t' || c == 0x7f:
			return errNotPrintable
		case c == '\\' && i+1 < len(sp.rest) && (sp.rest[i+1] == '"' || sp.rest[i+1] == '\\'):
			i++
		}
		b.WriteByte(sp.rest[i])
	}
	return errOpenQuote
}

func (sp *splitter) escaped(b *strings.Builder) error {
	if len(sp.rest) < 2 {
		return errLastSlash
	}
	if c := sp.rest[1]; c < ' ' || c == 0x7f {
		return errNotPrintable
	}
	b.WriteByte(sp.rest[1])
	sp.rest = sp.rest[2:]
	return nil
}
