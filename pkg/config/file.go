package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile is the most octets of a configuration file.
const maxFile = 1 << 20

// file reads one TOML file over what is there. Nothing is parsed when it does not exist.
func (l *loader) file(name string, must bool) {
	f, err := os.Open(name)
	if err != nil {
		if must || !errors.Is(err, fs.ErrNotExist) {
			l.failFile(name, err)
		}
		return
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		l.failFile(name, err)
		return
	case len(data) > maxFile:
		l.fail("", "", name, "larger than 1 MiB")
		return
	}
	info, err := f.Stat()
	private := err == nil && (info.Mode().Perm()&0o077 == 0 || !info.Mode().IsRegular())
	l.parse(name, string(data), private)
}

// reason is the error without its path, which the origin has already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// parse applies the text of a file. private says that nobody else can read it.
func (l *loader) parse(name, data string, private bool) {
	var tree map[string]any
	if _, err := toml.Decode(data, &tree); err != nil {
		l.fail("", "", name, err.Error())
		var p toml.ParseError
		if errors.As(err, &p) {
			last := l.errs[len(l.errs)-1]
			last.Origin, last.Text = name+":"+strconv.Itoa(p.Position.Line), p.Message
		}
		return
	}
	doc := document{name: name, lines: indexLines(data), private: private}
	l.table(doc, "", tree)
}

type document struct {
	name    string
	lines   map[string]int
	private bool
}

// origin is file:line of a key, or of the closest table above it.
func (d document) origin(key string) string {
	for k := key; k != ""; k = parentKey(k) {
		if n := d.lines[k]; n > 0 {
			return d.name + ":" + strconv.Itoa(n)
		}
	}
	return d.name
}

// parentKey drops the last element of a dotted key.
func parentKey(key string) string {
	before, _, ok := cutLast(key, '.')
	if !ok {
		return ""
	}
	return before
}

// table walks a TOML table; keys are sorted so that errors come in the same order every time.
func (l *loader) table(doc document, prefix string, tree map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		full := prefix + name
		if sub, ok := tree[name].(map[string]any); ok {
			l.table(doc, full+".", sub)
			continue
		}
		l.entry(doc, full, tree[name])
	}
}

func (l *loader) entry(doc document, name string, v any) {
	origin := doc.origin(name)
	k, ok := l.key(name)
	if !ok {
		l.fail(name, "", origin, "unknown key"+suggest(name, l.keys))
		return
	}
	texts, err := textsOf(v)
	switch {
	case err != nil:
		l.fail(name, "", origin, err.Error())
	case k.Secret && !doc.private && !slices.Equal(texts, []string{""}):
		l.fail(name, "(secret)", origin, "other people can read this file; fix: chmod 600 "+doc.name)
	default:
		l.apply(k, texts, origin)
	}
}

// textsOf gives the texts of a TOML value: one, or one for each element of an array.
func textsOf(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		text, err := textOf(v)
		return []string{text}, err
	}
	texts := make([]string, 0, len(list))
	for _, e := range list {
		text, err := textOf(e)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case bool:
		return strconv.FormatBool(v), nil
	default:
		return "", fmt.Errorf("a TOML value of this type (%T) is not allowed here", v)
	}
}

// indexLines finds the line of every key and table header. It is for messages only: where it is too simple (an inline
// table, a key with escapes) the line of the table is given, or none.
func indexLines(data string) map[string]int {
	lines := map[string]int{}
	table, until := "", ""
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimSpace(line)
		if until != "" {
			if strings.Contains(line, until) {
				until = ""
			}
			continue
		}
		if strings.HasPrefix(line, "[") {
			header, _, _ := strings.Cut(strings.Trim(line, "["), "]")
			table = bareKey(header) + "."
			note(lines, bareKey(header), n)
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		note(lines, strings.TrimPrefix(table+bareKey(key), "."), n)
		until = openString(value)
	}
	return lines
}

func note(lines map[string]int, key string, n int) {
	if lines[key] == 0 {
		lines[key] = n
	}
}

// bareKey undoes blanks and quotes around the parts of a dotted key.
func bareKey(s string) string {
	parts := strings.Split(s, ".")
	for i, p := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(p), `"'`)
	}
	return strings.Join(parts, ".")
}

// openString gives the delimiter of a multi-line string that starts on this line and does not end on it.
func openString(value string) string {
	for _, q := range []string{`"""`, "'''"} {
		if strings.Count(value, q) == 1 {
			return q
		}
	}
	return ""
}
