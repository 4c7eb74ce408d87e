package mailtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Bounds of a transcript file: what one line may send, and how deep files include each other.
const (
	maxBulk    = 10_000_000
	maxInclude = 8
)

type stepKind uint8

const (
	stepSend  stepKind = iota // C: C- C*N: @repeat @literal
	stepExact                 // S:
	stepMatch                 // S~
	stepSkip                  // S*
	stepEOF                   // S=
	stepOpen                  // >>>
	stepClose                 // <<<
	stepTLS                   // @tls
	stepSync                  // @sync
)

// step is one line of a transcript that does something.
type step struct {
	kind   stepKind
	pos    string // file:line
	source string // the line itself, for failures
	text   string // template of what is sent or expected; name of a connection
	count  int    // stepSend: how many times
	bulk   bool   // stepSend: ${i} counts
	bare   bool   // stepSend: no CRLF
	octets int    // stepSend: that many octets of filling instead of text
	codes  bool   // stepExact: compare the code only
}

func (s step) isReply() bool {
	return s.kind == stepExact || s.kind == stepMatch || s.kind == stepEOF
}

// transcript is a parsed file with its includes.
type transcript struct {
	steps           []step
	lockstep, plain bool
}

func (t *transcript) usesTLS() bool {
	for _, s := range t.steps {
		if s.kind == stepTLS {
			return true
		}
	}
	return false
}

// parser reads one file into a transcript that it shares with the parsers of included files.
type parser struct {
	out   *transcript
	path  string
	depth int
	codes bool
	at    step // position and source of the line being read
}

func parseTranscript(path string) (*transcript, error) {
	p := parser{out: new(transcript), path: path}
	if err := p.file(); err != nil {
		return nil, err
	}
	if err := p.out.check(); err != nil {
		return nil, err
	}
	return p.out, nil
}

func (p *parser) file() error {
	data, err := os.ReadFile(p.path)
	if err != nil {
		return err
	}
	return p.lines(string(data))
}

func (p *parser) lines(text string) error {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		p.at = step{pos: fmt.Sprintf("%s:%d", p.path, n), source: line}
		if err := p.line(line); err != nil {
			return fmt.Errorf("%s:%d: %w", p.path, n, err)
		}
	}
	return nil
}

func (p *parser) line(text string) error {
	if strings.TrimSpace(text) == "" || text[0] == '#' {
		return nil
	}
	mark, rest, _ := strings.Cut(text, " ")
	switch {
	case mark == "C:":
		return p.send(step{text: rest, count: 1})
	case mark == "C-":
		return p.send(step{text: rest, count: 1, bare: true})
	case strings.HasPrefix(mark, "C*") && strings.HasSuffix(mark, ":"):
		return p.bulk(mark[2:len(mark)-1], rest)
	case strings.HasPrefix(mark, "S"):
		return p.reply(mark, rest)
	case mark == ">>>":
		return p.connection(stepOpen, rest)
	case mark == "<<<":
		return p.connection(stepClose, rest)
	case strings.HasPrefix(mark, "@"):
		return p.directive(mark, rest)
	}
	return fmt.Errorf("unknown line %q", text)
}

func (p *parser) add(kind stepKind, s step) {
	s.kind, s.pos, s.source = kind, p.at.pos, p.at.source
	p.out.steps = append(p.out.steps, s)
}

func (p *parser) send(s step) error {
	if _, err := references(s); err != nil {
		return err
	}
	p.add(stepSend, s)
	return nil
}

func (p *parser) bulk(number, text string) error {
	n, err := parseCount(number)
	if err != nil {
		return err
	}
	return p.send(step{text: text, count: n, bulk: true})
}

func (p *parser) reply(mark, text string) error {
	switch mark {
	case "S:":
		return p.exact(text)
	case "S~":
		return p.match(text)
	case "S*":
		p.add(stepSkip, step{})
		return wantEmpty(mark, text)
	case "S=":
		p.add(stepEOF, step{})
		if text != "EOF" {
			return fmt.Errorf("only EOF may follow S=, not %q", text)
		}
		return nil
	}
	return fmt.Errorf("unknown line %q", mark+" "+text)
}

func (p *parser) exact(text string) error {
	s := step{text: text, codes: p.codes}
	if _, err := expand(text, anyValue, false); err != nil {
		return err
	}
	p.add(stepExact, s)
	return nil
}

func (p *parser) match(text string) error {
	plain, err := expand(text, anyValue, false)
	if err != nil {
		return err
	}
	if _, err := compileWhole(plain); err != nil {
		return err
	}
	p.add(stepMatch, step{text: text})
	return nil
}

func (p *parser) connection(kind stepKind, name string) error {
	if name == "" || strings.ContainsAny(name, " \t") {
		return fmt.Errorf("bad connection name %q", name)
	}
	p.add(kind, step{text: name})
	return nil
}

func (p *parser) directive(mark, rest string) error {
	switch mark {
	case "@include":
		return p.include(rest)
	case "@repeat":
		number, text, _ := strings.Cut(rest, " ")
		return p.bulk(number, text)
	case "@literal":
		n, err := parseCount(rest)
		p.add(stepSend, step{octets: n, count: 1, bare: true})
		return err
	case "@tls":
		p.add(stepTLS, step{})
	case "@sync":
		p.add(stepSync, step{})
	case "@lockstep":
		p.out.lockstep = true
	case "@plain":
		p.out.plain = true
	case "@codes":
		p.codes = true
	default:
		return fmt.Errorf("unknown directive %q", mark)
	}
	return wantEmpty(mark, rest)
}

// include reads another file; its @codes does not reach back into this one.
func (p *parser) include(name string) error {
	if p.depth >= maxInclude {
		return fmt.Errorf("files include each other more than %d deep", maxInclude)
	}
	path := filepath.Join(filepath.Dir(p.path), name)
	inner := parser{out: p.out, path: path, depth: p.depth + 1, codes: p.codes}
	return inner.file()
}

// check refuses what could only fail, or could never fail.
func (t *transcript) check() error {
	replies := 0
	for i, s := range t.steps {
		if s.isReply() {
			replies++
		}
		if s.kind == stepSkip && (i+1 == len(t.steps) || !t.steps[i+1].isReply()) {
			return fmt.Errorf("%s: S* without an S line directly after it", s.pos)
		}
	}
	if replies == 0 {
		return fmt.Errorf("a transcript without S lines checks nothing")
	}
	return nil
}

func wantEmpty(mark, rest string) error {
	if strings.TrimSpace(rest) != "" {
		return fmt.Errorf("%s takes nothing, not %q", mark, rest)
	}
	return nil
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxBulk {
		return 0, fmt.Errorf("bad number %q: 0 to %d", s, maxBulk)
	}
	return n, nil
}

func compileWhole(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

func anyValue(string) (string, bool) { return "x", true }

// references gives the variables that a send step uses.
func references(s step) ([]string, error) {
	var names []string
	_, err := expand(s.text, func(name string) (string, bool) {
		names = append(names, name)
		return "", true
	}, true)
	return names, err
}

// expand replaces ${name} by its value and, if asked, undoes the escapes of C lines. A value is taken as it is: neither
// variables nor escapes are looked for in it.
func expand(template string, value func(name string) (string, bool), escapes bool) (string, error) {
	var b strings.Builder
	for rest := template; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "${"):
			name, after, ok := strings.Cut(rest[2:], "}")
			if !ok {
				return "", fmt.Errorf("${ without } in %q", template)
			}
			v, known := value(name)
			if !known {
				return "", fmt.Errorf("no variable %q", name)
			}
			b.WriteString(v)
			rest = after
		case escapes && rest[0] == '\\':
			octets, n, err := unescape(rest)
			if err != nil {
				return "", err
			}
			b.WriteString(octets)
			rest = rest[n:]
		default:
			b.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	return b.String(), nil
}

// unescape reads the escape at the start of s and gives what it stands for and its length.
func unescape(s string) (octets string, n int, err error) {
	if len(s) < 2 {
		return `\`, 1, nil
	}
	switch s[1] {
	case 'r':
		return "\r", 2, nil
	case 'n':
		return "\n", 2, nil
	case 't':
		return "\t", 2, nil
	case '0':
		return "\x00", 2, nil
	case '\\':
		return `\`, 2, nil
	case 'x':
		if len(s) < 4 {
			return "", 0, fmt.Errorf(`\x wants two hexadecimal digits`)
		}
		v, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			return "", 0, fmt.Errorf(`\x wants two hexadecimal digits, not %q`, s[2:4])
		}
		return string([]byte{byte(v)}), 4, nil
	}
	return `\`, 1, nil
}
