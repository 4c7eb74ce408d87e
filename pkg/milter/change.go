package milter

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"mailx/pkg/filter"
	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// changes is what a milter wants of a message. Those of the envelope are made at once.
type changes struct {
	header   [][]byte // fields in local form, with their final LF
	spaced   bool     // values come with the blank behind the colon
	edited   bool     // the header is another than the message's
	body     [][]byte
	replaced bool
}

func rawFields(h *message.Header) [][]byte {
	var raw [][]byte
	for _, f := range h.Fields() {
		raw = append(raw, f.Raw())
	}
	return raw
}

// take adds a wish. An error means that the milter talks nonsense.
func (c *changes) take(w gomilter.ModifyAction, m *filter.Message) error {
	switch w.Code {
	case gomilter.ActAddHeader:
		return c.insert(len(c.header), w)
	case gomilter.ActInsertHeader:
		return c.insert(int(min(uint64(w.HeaderIndex), uint64(len(c.header)))), w)
	case gomilter.ActChangeHeader:
		return c.change(w)
	case gomilter.ActReplBody:
		c.replaced = true
		c.body = append(c.body, w.Body)
		return nil
	case gomilter.ActAddRcpt, gomilter.ActDelRcpt, gomilter.ActChangeFrom:
		return changeEnvelope(w, &m.Env)
	case gomilter.ActQuarantine:
		m.Quarantine = clean(w.Reason)
		if m.Quarantine == "" {
			m.Quarantine = "by a milter"
		}
		return nil
	}
	return fmt.Errorf("unknown change %q", w.Code)
}

// insert puts a field at a place, counted from 0. The first field is the Received of this host.
func (c *changes) insert(at int, w gomilter.ModifyAction) error {
	field, err := c.field(w)
	if err != nil {
		return err
	}
	c.header, c.edited = slices.Insert(c.header, at, field), true
	return nil
}

// change replaces or, without a value, removes the n-th field of a name, counted from 1. Without such a field one is added.
func (c *changes) change(w gomilter.ModifyAction) error {
	n := max(w.HeaderIndex, 1)
	at := slices.IndexFunc(c.header, func(raw []byte) bool {
		if strings.EqualFold(nameOf(raw), w.HeaderName) {
			n--
		}
		return n == 0
	})
	switch {
	case w.HeaderValue == "" && at < 0:
		return nil
	case w.HeaderValue == "":
		c.header, c.edited = slices.Delete(c.header, at, at+1), true
		return nil
	case at < 0:
		return c.insert(len(c.header), w)
	}
	field, err := c.field(w)
	if err == nil {
		c.header[at], c.edited = field, true
	}
	return err
}

func nameOf(raw []byte) string {
	name, _, _ := bytes.Cut(raw, []byte(":"))
	return string(bytes.TrimRight(name, " \t"))
}

// field prints a field. A value of several lines has to be folded as a header is; then it can't end the header.
func (c *changes) field(w gomilter.ModifyAction) ([]byte, error) {
	value := strings.TrimRight(strings.ReplaceAll(w.HeaderValue, "\r\n", "\n"), "\n")
	if !c.spaced {
		value = " " + value
	}
	raw := []byte(w.HeaderName + ":" + value + "\n")
	h, err := message.ReadHeader(bufio.NewReader(bytes.NewReader(append(raw, '\n'))), message.Limits{})
	if err != nil || h.Len() != 1 || !bytes.Equal(h.Fields()[0].Raw(), raw) || bytes.IndexByte(raw, 0) >= 0 ||
		bytes.IndexByte(raw, '\r') >= 0 || !strings.EqualFold(nameOf(raw), w.HeaderName) {
		return nil, fmt.Errorf("%q: %q is no header field", w.HeaderName, w.HeaderValue)
	}
	return raw, nil
}

func changeEnvelope(w gomilter.ModifyAction, env *mail.Envelope) error {
	text := w.Rcpt
	if w.Code == gomilter.ActChangeFrom {
		text = w.From
	}
	a, err := parsePath(text)
	if err != nil || a.IsNull() && w.Code != gomilter.ActChangeFrom {
		return fmt.Errorf("%q is no address", text)
	}
	same := func(r mail.Recipient) bool { return r.Address == a }
	switch {
	case w.Code == gomilter.ActChangeFrom:
		env.Sender = a
	case w.Code == gomilter.ActDelRcpt:
		env.Rcpts = slices.DeleteFunc(env.Rcpts, same)
	case !slices.ContainsFunc(env.Rcpts, same):
		env.Rcpts = append(env.Rcpts, mail.Recipient{Address: a})
	}
	return nil
}

// parsePath reads an address with or without its angle brackets.
func parsePath(s string) (mail.Address, error) {
	s = strings.TrimSpace(s)
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		s = strings.TrimSuffix(inner, ">")
	}
	if s == "" {
		return mail.Address{}, nil
	}
	return mail.ParseAddress(s)
}

// apply writes the message anew, if it is another one.
func (c *changes) apply(m *filter.Message) error {
	if !c.edited && !c.replaced {
		return nil
	}
	out := m.NewText()
	for _, raw := range c.header {
		if _, err := out.Write(raw); err != nil {
			return err
		}
	}
	if _, err := out.Write([]byte{'\n'}); err != nil {
		return err
	}
	if err := c.writeBody(out, m.Text); err != nil {
		return err
	}
	m.Text = out
	return nil
}

func (c *changes) writeBody(out io.Writer, old *filter.Text) error {
	if c.replaced {
		body := localForm(bytes.Join(c.body, nil))
		_, err := out.Write(body)
		return err
	}
	br := bufio.NewReaderSize(old.Reader(), 64<<10)
	if _, err := message.ReadHeader(br, message.Limits{}); err != nil {
		return err
	}
	_, err := io.Copy(out, br)
	return err
}

// localForm ends lines in LF, whatever the milter ends them in, and the last one too.
func localForm(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	b = bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return b
}

// replyLines takes the lines of a reply apart: all but the first may repeat the code.
func replyLines(s string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
		if len(lines) > 0 && len(line) >= 4 && strings.Trim(line[:3], "0123456789") == "" && (line[3] == ' ' || line[3] == '-') {
			line = line[4:]
		}
		if line = clean(line); line != "" && len(lines) < maxReplyLines {
			lines = append(lines, line)
		}
	}
	if lines == nil {
		return []string{"Refused by a filter"}
	}
	return lines
}

// maxReplyLines is how many lines of a milter a peer has to read.
const maxReplyLines = 20

// cutStatus takes an enhanced status of this class off a line; zero if there is none.
func cutStatus(line string, class int) (mail.Status, string) {
	word, rest, _ := strings.Cut(line, " ")
	if s, ok := mail.ParseStatus(word); ok && int(s.Class) == class {
		return s, rest
	}
	return mail.Status{}, line
}

// clean replaces control characters, which would end a string or a line where the other side does not expect it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
