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
	fields map[string]string
	err    error
}

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
		} else if first {
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
// in it that can't be kept when it is printed again.
func parseLine(line []byte) (e entry) {
	parts := strings.Split(trimLine(line), ":")
	e.secret, e.err = ParseSecret(parts[1])
	for _, field := range parts[2:] {
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
		default:
			if e.fields == nil {
				e.fields = map[string]string{}
			}
			e.fields[key] = value
		}
	}
	return e
}

var errFields = errors.New("a field behind the secret is not key=value")

// printLine is the line for a name, with a line end; keys are sorted.
func printLine(name string, e entry) string {
	var b strings.Builder
	b.WriteString(name + ":" + e.secret.Encode())
	if e.scram != nil {
		b.WriteString(":scram=" + e.scram.Encode())
	}
	for _, key := range slices.Sorted(maps.Keys(e.fields)) {
		b.WriteString(":" + key + "=" + e.fields[key])
	}
	b.WriteString("\n")
	return b.String()
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
