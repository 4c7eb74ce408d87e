package auth

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// entry is what a line says. With err the line is malformed, and nobody can log in or get mail by it.
type entry struct {
	secret Secret
	scram  *ScramKeys
	passwd []string // uid, gid, gecos, home and shell of a line of Dovecot's; nil: it is none
	fields map[string]string
	err    error
}

// passwdFields is the number of fields between the secret and the extra fields in a line of Dovecot's.
const passwdFields = 5

// parseUsers reads the file; of two lines for a name the first holds. Decoy becomes the first good secret, so that an
// unknown user costs what a known one does.
func parseUsers(data []byte, decoy *Secret) map[string]entry {
	entries, first := map[string]entry{}, true
	number := 0
	for line := range bytes.Lines(data) {
		number++
		name := nameOf(line)
		if _, twice := entries[name]; name == "" || twice {
			continue
		}
		e := parseLine(line)
		if e.err != nil {
			e.err = fmt.Errorf("user file, line %d: %w", number, e.err)
		} else if first && e.secret.check != nil {
			*decoy, first = e.secret, false
		}
		entries[name] = e
	}
	return entries
}

// nameOf gives the name whose line this is; "" for a comment, an empty line, and a line that has no name.
func nameOf(line []byte) string {
	text, _, ok := strings.Cut(trimLine(line), ":")
	if !ok {
		return ""
	}
	if text == Wildcard {
		return text
	}
	name, err := CanonicalName(text)
	if err != nil {
		return ""
	}
	return name
}

func trimLine(line []byte) string { return strings.TrimRight(string(line), "\r\n") }

// parseLine reads a line that has a name. Errors don't have the secret in them. With errFields the line has something
// in it that can't be kept when it is printed again. A line without a secret is good: a Checker may know more.
func parseLine(line []byte) (e entry) {
	parts := strings.Split(trimLine(line), ":")
	if parts[1] != "" {
		e.secret, e.err = ParseSecret(parts[1])
	}
	fields := parts[2:]
	if isPasswd(fields) {
		n := min(passwdFields, len(fields))
		e.passwd = append(slices.Clone(fields[:n]), make([]string, passwdFields-n)...)
		fields = strings.Fields(strings.Join(fields[n:], ":"))
	}
	for _, field := range fields {
		e.take(field)
	}
	if e.scram == nil {
		e.scram = e.secret.scram
	}
	return e
}

// take is one key=value.
func (e *entry) take(field string) {
	key, value, ok := strings.Cut(field, "=")
	switch {
	case !ok || key == "":
		e.err = errFields
	case key == "scram":
		keys, err := ParseScramKeys(value)
		if err != nil && e.err == nil {
			e.err = err
		}
		e.scram = &keys
	case e.passwd != nil && !strings.HasPrefix(key, "userdb_"):
		e.err = errRule
	default:
		if e.fields == nil {
			e.fields = map[string]string{}
		}
		e.fields[key] = value
	}
}

// isPasswd reports the fields of a line of passwd(5) or of Dovecot's passwd-file: the first two are numbers or nothing.
func isPasswd(fields []string) bool {
	isNumber := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	return len(fields) > 0 && isNumber(fields[0]) && (len(fields) == 1 || isNumber(fields[1]))
}

var (
	errFields = errors.New("a field behind the secret is not key=value")
	errRule   = errors.New("a field behind the shell may forbid something to the user (nologin, allow_nets), and is not understood")
)

// printLine is the line for a name, with a line end; keys are sorted.
func printLine(name string, e entry) string {
	var words []string
	if e.scram != nil && e.scram != e.secret.scram {
		words = append(words, "scram="+e.scram.Encode())
	}
	for _, key := range slices.Sorted(maps.Keys(e.fields)) {
		words = append(words, key+"="+e.fields[key])
	}
	line := name + ":" + e.secret.Encode()
	switch {
	case e.passwd != nil:
		line += ":" + strings.Join(e.passwd, ":") + ":" + strings.Join(words, " ")
	case len(words) > 0:
		line += ":" + strings.Join(words, ":")
	}
	return line + "\n"
}

// replaceLine gives data with the first line for name replaced, or with line at the end if there is none. An empty
// line removes all lines for name. Everything else stays octet for octet.
func replaceLine(data []byte, name, line string) []byte {
	var out bytes.Buffer
	done := false
	for old := range bytes.Lines(data) {
		switch {
		case nameOf(old) != name:
			out.Write(old)
		case line != "" && !done:
			out.WriteString(line)
			done = true
		case line != "":
			out.Write(old)
		}
	}
	if line == "" || done {
		return out.Bytes()
	}
	if b := out.Bytes(); len(b) > 0 && b[len(b)-1] != '\n' {
		out.WriteByte('\n')
	}
	out.WriteString(line)
	return out.Bytes()
}
