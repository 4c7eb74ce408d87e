package config

import (
	"strings"
)

// Error is one thing that is wrong with the configuration.
type Error struct {
	Key    string // "" when it is the file
	Value  string // as it was given; never a secret
	Origin string // "file:line", "$VARIABLE" or "--flag"
	Text   string // what is wrong and what is allowed
	Err    error  // why a file can't be read; nil if its text is wrong
}

func (e *Error) Unwrap() error { return e.Err }

// Error is one line: origin, key, value, what is wrong.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Origin + ": ")
	if e.Key != "" {
		b.WriteString(e.Key)
		if e.Value != "" {
			b.WriteString(" = " + e.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Text)
	return b.String()
}

// Errors is everything that is wrong, in the order it was found; never empty.
type Errors []*Error

// Error has one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// suggest names the key that was probably meant: the same last word under another table, or one that differs in "-",
// "_" or letter case only.
func suggest(name string, keys []Key) string {
	fold := strings.NewReplacer("-", "_", ".", "_")
	_, last, _ := cutLast("."+name, '.')
	for _, k := range keys {
		if fold.Replace(strings.ToLower(name)) == fold.Replace(k.Name) {
			return "; did you mean " + k.Name + "?"
		}
	}
	for _, k := range keys {
		if _, l, _ := cutLast("."+k.Name, '.'); l == last {
			return "; did you mean " + k.Name + "?"
		}
	}
	return ""
}
