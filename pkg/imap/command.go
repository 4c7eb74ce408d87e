package imap

import (
	"io"
	"strconv"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/session"
)

var (
	errTag      = mail.Permanentf(5, 2, "Syntax: tag and command expected")
	errLiteral  = mail.Permanentf(5, 6, "Literals are too long")
	errFlooding = mail.Permanentf(5, 6, "A literal is far too long, closing connection")
)

// split is the dialect's: tag SP command (RFC 3501 §2.2). It reads the literals of the command too, so that whatever is
// wrong with it, the next line is a command. rest is what stands behind the verb in the first line; d.text has all.
func (d *dialog) split(line string) (tag, verb, rest string, err error) {
	tag, rest, _ = strings.Cut(line, " ")
	verb, rest, _ = strings.Cut(rest, " ")
	if strings.EqualFold(verb, "UID") {
		second, more, _ := strings.Cut(rest, " ")
		verb, rest = "UID "+strings.ToUpper(second), more
	}
	if !isTag(tag) {
		d.text, err = d.gather(line)
		return "", "", "", firstOf(err, errTag)
	}
	if strings.EqualFold(verb, "APPEND") && d.state&stateIn != 0 {
		d.text = rest
		return tag, verb, rest, nil
	}
	d.text, err = d.gather(rest)
	if err == nil && verb == "" {
		err = errTag
	}
	return tag, verb, rest, err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// isTag is 1*<any ASTRING-CHAR except "+">, not too long.
func isTag(tag string) bool {
	if tag == "" || len(tag) > 100 {
		return false
	}
	for i := 0; i < len(tag); i++ {
		if !(isAtomChar(tag[i]) || tag[i] == ']') || tag[i] == '+' {
			return false
		}
	}
	return true
}

// literalAtEnd reads the "{n}" or "{n+}" that a line ends in. A literal whose number can't be read is larger than any.
func literalAtEnd(line string) (n int64, unasked, ok bool) {
	if !strings.HasSuffix(line, "}") {
		return 0, false, false
	}
	i := strings.LastIndexByte(line, '{')
	if i < 0 {
		return 0, false, false
	}
	digits := line[i+1 : len(line)-1]
	digits, unasked = strings.CutSuffix(digits, "+")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, false
	}
	n, err := strconv.ParseInt(digits, 10, 62)
	if err != nil {
		n = 1 << 62
	}
	return n, unasked, true
}

// gather adds the literals that a command asks for, and the lines after them.
func (d *dialog) gather(text string) (string, error) {
	n, unasked, ok := literalAtEnd(text)
	if !ok {
		return text, nil
	}
	limit := int64(literalsBeforeLogin)
	if d.state&stateIn != 0 {
		limit = literalsAfterLogin
	}
	b := []byte(text)
	for ok {
		if n > limit {
			return "", d.refuseLiteral(n, unasked, errLiteral)
		}
		limit -= n
		line, err := d.takeLiteral(&b, n, unasked)
		if err != nil {
			return "", err
		}
		limit -= int64(len(line))
		n, unasked, ok = literalAtEnd(line)
	}
	return string(b), nil
}

// takeLiteral adds CRLF, the literal, and the line behind it to a command. It gives the line.
func (d *dialog) takeLiteral(b *[]byte, n int64, unasked bool) (line string, err error) {
	if err := d.invite(unasked); err != nil {
		return "", err
	}
	*b = append(*b, '\r', '\n')
	start := len(*b)
	*b = append(*b, make([]byte, n)...)
	if _, err := io.ReadFull(d.c.Literal(n), (*b)[start:]); err != nil {
		return "", err
	}
	if line, err = d.c.ReadLine(); err != nil {
		return "", err
	}
	*b = append(*b, line...)
	return line, nil
}

// invite asks for a literal that does not come by itself (RFC 3501 §7.5).
func (d *dialog) invite(unasked bool) error {
	if unasked {
		return nil
	}
	if err := d.c.WriteLine("+ Ready"); err != nil {
		return err
	}
	return d.c.Flush()
}

// refuseLiteral gives err with the session in step: a literal that was announced with "+" comes all the same and is read
// (RFC 7888 §4), with whatever follows it. The session ends if that would take too long.
func (d *dialog) refuseLiteral(n int64, unasked bool, err error) error {
	for unasked {
		if n > 2*d.srv.maxSize() {
			return &session.ClosingError{Err: errFlooding}
		}
		if _, cerr := io.Copy(io.Discard, d.c.Literal(n)); cerr != nil {
			return cerr
		}
		line, lerr := d.c.ReadLine()
		if lerr != nil {
			return lerr
		}
		n, unasked, _ = literalAtEnd(line)
	}
	return err
}

// refuse is refuseLiteral for a command line of which no literal was read yet.
func (d *dialog) refuse(line string, err error) error {
	n, unasked, _ := literalAtEnd(line)
	return d.refuseLiteral(n, unasked, err)
}

// args starts to parse the command under way. Handlers use it instead of the wire.Args of the loop, which has only the first
// line.
func (d *dialog) args() *parser { return &parser{s: d.text} }
