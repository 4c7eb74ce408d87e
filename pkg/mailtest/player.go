package mailtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// player runs the steps of a transcript over connections.
type player struct {
	script *transcript
	mode   mode
	opt    *Options
	dial   func() net.Conn
	vars   map[string]string
	conns  map[string]*lineConn
	name   string    // of the current connection; "" until the file names one
	sent   int       // send steps before this index are on their way
	said   []string  // the dialogue so far
	last   []mention // what a failure says beside the line
}

// mention is one "word: text" line of a failure.
type mention struct{ word, text string }

func (p *player) play() error {
	for i := range p.script.steps {
		if err := p.step(i); err != nil {
			return p.report(p.script.steps[i], err)
		}
	}
	for name, c := range p.conns {
		if err := c.finish(); err != nil {
			return p.report(step{pos: "end of the file, connection " + strconv.Quote(name)}, err)
		}
	}
	return nil
}

func (p *player) step(i int) error {
	s := p.script.steps[i]
	switch s.kind {
	case stepOpen:
		return p.open(s.text)
	case stepClose:
		return p.close(s.text)
	case stepSkip, stepSync:
		return nil
	}
	c, err := p.current()
	if err != nil {
		return err
	}
	switch s.kind {
	case stepSend:
		return p.send(c, i)
	case stepTLS:
		p.note(p.name, "---", "TLS")
		return c.startTLS(p.opt.TLS)
	case stepEOF:
		return p.expectEOF(c, i)
	default:
		return p.expect(c, i)
	}
}

// current is the connection in use; the first one needs no >>>.
func (p *player) current() (*lineConn, error) {
	if c := p.conns[p.name]; c != nil {
		return c, nil
	}
	if p.name != "" {
		return nil, fmt.Errorf("connection %q is closed", p.name)
	}
	if err := p.open(""); err != nil {
		return nil, err
	}
	return p.conns[""], nil
}

func (p *player) open(name string) error {
	p.name = name
	if p.conns[name] != nil {
		return nil
	}
	c := newLineConn(p.dial(), p.opt.timeout())
	p.conns[name] = c
	if p.mode.tls {
		return c.startTLS(p.opt.TLS)
	}
	return nil
}

func (p *player) close(name string) error {
	c := p.conns[name]
	if c == nil {
		return fmt.Errorf("connection %q is not open", name)
	}
	delete(p.conns, name)
	p.note(name, "---", "closed by the client")
	return c.close()
}

func (p *player) closeAll() {
	for _, c := range p.conns {
		c.close()
	}
}

// send writes the send steps from i on that belong together, unless they are on their way already.
func (p *player) send(c *lineConn, i int) error {
	if i < p.sent {
		return nil
	}
	chunks, next, err := p.gather(i)
	if err != nil {
		return err
	}
	p.sent = next
	c.send(chunks, p.mode.octet)
	return nil
}

// gather collects what is sent without waiting, from step i on, and the index of the first step that is not in it. In
// one-write mode it looks past replies, up to a sync point, and makes one chunk of it.
func (p *player) gather(i int) (chunks [][]byte, next int, err error) {
	var set []string // variables of replies that are yet to come
	steps := p.script.steps
	for next = i; next < len(steps); next++ {
		s := steps[next]
		if !p.goesAlong(s, set) {
			break
		}
		if s.kind == stepMatch {
			set = append(set, groupNames(s.text)...)
		}
		if s.kind != stepSend {
			continue
		}
		more, err := p.render(s)
		if err != nil {
			return nil, next, fmt.Errorf("%s: %w", s.pos, err)
		}
		chunks = append(chunks, more...)
	}
	if p.mode.batch {
		chunks = [][]byte{slices.Concat(chunks...)}
	}
	return chunks, next, nil
}

// goesAlong reports that the group being sent may reach to this step or past it. Variables in set are not known yet.
func (p *player) goesAlong(s step, set []string) bool {
	switch s.kind {
	case stepSend:
		names, _ := references(s)
		return !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(set, n) })
	case stepExact, stepMatch, stepSkip:
		return p.mode.batch
	default:
		return false
	}
}

// groupNames gives the variables that a S~ line sets.
func groupNames(template string) []string {
	plain, err := expand(template, anyValue, false)
	if err != nil {
		return nil
	}
	re, err := compileWhole(plain)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(re.SubexpNames(), func(n string) bool { return n == "" })
}

// render gives the octets of a send step, one chunk a line.
func (p *player) render(s step) ([][]byte, error) {
	if s.octets > 0 {
		p.note(p.name, "C-", fmt.Sprintf("(%d octets)", s.octets))
		return [][]byte{filling(s.octets)}, nil
	}
	chunks := make([][]byte, 0, s.count)
	for n := 1; n <= s.count; n++ {
		text, err := expand(s.text, func(name string) (string, bool) {
			if name == "i" && s.bulk {
				return strconv.Itoa(n), true
			}
			return p.value(name)
		}, true)
		if err != nil {
			return nil, err
		}
		p.note(p.name, "C:", text)
		if !s.bare {
			text += "\r\n"
		}
		chunks = append(chunks, []byte(text))
	}
	return chunks, nil
}

func (p *player) value(name string) (string, bool) {
	v, ok := p.vars[name]
	return v, ok
}

// filling is n octets of text in lines of 78 with their CRLF. It never ends in a CR.
func filling(n int) []byte {
	const line = 78
	b := make([]byte, n)
	for i := range b {
		switch {
		case i%line == line-2 && i+1 < n:
			b[i] = '\r'
		case i%line == line-1:
			b[i] = '\n'
		default:
			b[i] = 'x'
		}
	}
	return b
}

// verdict is what a server line means to the reply that is expected.
type verdict uint8

const (
	differs verdict = iota
	matches
	continues // a line of the reply, but not its last
)

// expect reads one reply, or with S* before it as many lines as it takes.
func (p *player) expect(c *lineConn, i int) error {
	s := p.script.steps[i]
	judge, err := p.judge(s)
	if err != nil {
		return err
	}
	skip := i > 0 && p.script.steps[i-1].kind == stepSkip
	for {
		line, err := c.readLine()
		if err != nil {
			p.got(line, err)
			return errors.New("the server did not send the line")
		}
		p.note(p.name, "S:", line)
		switch v := judge(line); {
		case v == matches:
			return nil
		case v == differs && !skip:
			p.got(line, nil)
			return errors.New("the server sent another line")
		}
	}
}

func (p *player) expectEOF(c *lineConn, i int) error {
	p.last = []mention{{"want", "(the end of the connection)"}}
	skip := i > 0 && p.script.steps[i-1].kind == stepSkip
	for {
		line, err := c.readLine()
		switch {
		case err == nil && skip:
			p.note(p.name, "S:", line)
		case err == nil:
			p.note(p.name, "S:", line)
			p.got(line, nil)
			return errors.New("the server did not close the connection")
		case isClosed(err) && line == "":
			p.note(p.name, "---", "closed by the server")
			c.eof = true
			return nil
		default:
			p.got(line, err)
			return errors.New("the server did not close the connection between two lines")
		}
	}
}

func (p *player) judge(s step) (func(string) verdict, error) {
	if s.kind == stepMatch {
		return p.judgeMatch(s.text)
	}
	want, err := expand(s.text, p.value, false)
	if err != nil {
		return nil, err
	}
	p.last = []mention{{"want", visible(want)}}
	if s.codes {
		return func(line string) verdict { return judgeCode(want, line) }, nil
	}
	return func(line string) verdict { return verdictOf(line == want) }, nil
}

// judgeMatch also sets the variables of a line that matches.
func (p *player) judgeMatch(template string) (func(string) verdict, error) {
	pattern, err := expand(template, func(name string) (string, bool) {
		v, ok := p.value(name)
		return regexp.QuoteMeta(v), ok
	}, false)
	if err != nil {
		return nil, err
	}
	re, err := compileWhole(pattern)
	if err != nil {
		return nil, err
	}
	p.last = []mention{{"want", "/" + pattern + "/"}}
	return func(line string) verdict {
		groups := re.FindStringSubmatch(line)
		for i, name := range re.SubexpNames() {
			if groups != nil && name != "" {
				p.vars[name] = groups[i]
			}
		}
		return verdictOf(groups != nil)
	}, nil
}

func verdictOf(same bool) verdict {
	if same {
		return matches
	}
	return differs
}

// judgeCode compares by reply code (RFC 5321 §4.2) or status indicator (RFC 1939 §3), and other lines as they are.
func judgeCode(want, line string) verdict {
	code, more := replyCode(want)
	if code == "" {
		return verdictOf(line == want)
	}
	got, gotMore := replyCode(line)
	switch {
	case got != code:
		return differs
	case gotMore && !more:
		return continues
	default:
		return verdictOf(gotMore == more)
	}
}

// replyCode gives the code, "+OK" or "-ERR" that a line begins with, and whether more lines of the reply follow it.
func replyCode(line string) (code string, more bool) {
	word, _, _ := strings.Cut(line, " ")
	if word == "+OK" || word == "-ERR" {
		return word, false
	}
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return "", false
	}
	switch {
	case len(line) == 3 || line[3] == ' ':
		return line[:3], false
	case line[3] == '-':
		return line[:3], true
	}
	return "", false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (p *player) note(name, mark, text string) {
	if name != "" {
		mark = name + " " + mark
	}
	p.said = append(p.said, mark+" "+visible(text))
}

func (p *player) got(line string, err error) {
	text := visible(line)
	switch {
	case errors.Is(err, io.EOF):
		text += " (then the connection was closed)"
	case err != nil:
		text += fmt.Sprintf(" (then: %v)", err)
	}
	p.last = append(p.last, mention{"got ", text})
}

// report is the failure as a person reads it: where, what, and the dialogue so far.
func (p *player) report(s step, err error) error {
	const shown = 100
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s.pos, s.source)
	fmt.Fprintf(&b, "  mode %s: %v\n", p.mode.name, err)
	if s.isReply() {
		for _, m := range p.last {
			fmt.Fprintf(&b, "  %s %s\n", m.word, m.text)
		}
	}
	b.WriteString("the dialogue so far:\n")
	said := p.said
	if len(said) > shown {
		fmt.Fprintf(&b, "  (%d lines before)\n", len(said)-shown)
		said = said[len(said)-shown:]
	}
	for _, line := range said {
		b.WriteString("  " + line + "\n")
	}
	return errors.New(strings.TrimSuffix(b.String(), "\n"))
}

// visible makes control characters readable and cuts what is too long to read.
func visible(s string) string {
	const longest = 300
	cut := ""
	if len(s) > longest {
		cut = fmt.Sprintf("… (%d octets)", len(s))
		s = s[:longest]
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + cut
}
