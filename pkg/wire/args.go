package wire

import (
	"strconv"
	"strings"

	"mailx/pkg/mail"
)

// Args is a cursor over what stands behind the verb of a command. It reads from left to right; methods that do not find
// what they look for leave the cursor where it was.
type Args struct {
	c    *Conn
	rest string
}

// NewArgs starts at the beginning of s. The connection is where the lines behind a literal come from; nil if there can be none.
func NewArgs(c *Conn, s string) *Args { return &Args{c, s} }

// Rest is everything that has not been read.
func (a *Args) Rest() string { return a.rest }

// Empty reports that nothing is left.
func (a *Args) Empty() bool { return a.rest == "" }

// End is an error (5.5.4) if anything but blanks is left.
func (a *Args) End() error {
	if strings.Trim(a.rest, " \t") != "" {
		return mail.Permanentf(5, 4, "Too many arguments")
	}
	return nil
}

// SkipBlanks moves over spaces and tabs.
func (a *Args) SkipBlanks() { a.rest = strings.TrimLeft(a.rest, " \t") }

// Word reads up to the next blank and over the blanks behind it; "" at the end.
func (a *Args) Word() string {
	i := strings.IndexAny(a.rest, " \t")
	if i < 0 {
		i = len(a.rest)
	}
	word := a.rest[:i]
	a.rest = a.rest[i:]
	a.SkipBlanks()
	return word
}

// Octet reads the octet b if it comes next.
func (a *Args) Octet(b byte) bool {
	if a.rest == "" || a.rest[0] != b {
		return false
	}
	a.rest = a.rest[1:]
	return true
}

// Keyword reads a fixed word in any letter case, such as "FROM:".
func (a *Args) Keyword(word string) bool {
	if len(a.rest) < len(word) || !strings.EqualFold(a.rest[:len(word)], word) {
		return false
	}
	a.rest = a.rest[len(word):]
	return true
}

// While reads the longest run of octets that are wanted; it may be empty.
func (a *Args) While(want func(byte) bool) string {
	i := 0
	for i < len(a.rest) && want(a.rest[i]) {
		i++
	}
	run := a.rest[:i]
	a.rest = a.rest[i:]
	return run
}

// Number reads decimal digits up to max; ok is false if there are none or they say more.
func (a *Args) Number(max uint64) (n uint64, ok bool) {
	before := a.rest
	digits := a.While(func(b byte) bool { return b >= '0' && b <= '9' })
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > max {
		a.rest = before
		return 0, false
	}
	return n, true
}

// Literal reads "{n}" or "{n+}" at the end of the line (RFC 9051 §4.3, RFC 7888). The caller asks for the octets
// ("+ ") unless the peer sends them unasked, takes them with Conn.Literal, and goes on with NextLine.
func (a *Args) Literal() (n int64, unasked, ok bool) {
	before := a.rest
	if !a.Octet('{') {
		return 0, false, false
	}
	u, isNumber := a.Number(1<<63 - 1)
	unasked = a.Octet('+')
	if !isNumber || a.rest != "}" {
		a.rest = before
		return 0, false, false
	}
	a.rest = ""
	return int64(u), unasked, true
}

// NextLine puts the cursor at the start of the line that follows a literal.
func (a *Args) NextLine() error {
	line, err := a.c.ReadLine()
	if err == nil {
		a.rest = line
	}
	return err
}
