package imap

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
)

// parser reads a command with the names of the grammar in RFC 3501 §9. The text is a command line without its CRLF; where
// a literal was, "{n}", CRLF and the n octets stand in it. The first error sticks, and everything read after it is zero.
type parser struct {
	s   string
	err error
}

// Bounds of one command.
const (
	maxSets     = 10_000 // ranges in a sequence set
	maxKeys     = 500    // of SEARCH
	maxNesting  = 20     // of SEARCH
	maxFields   = 200    // of BODY[HEADER.FIELDS (...)]
	maxItems    = 200    // of FETCH
	maxPath     = 100    // numbers of a section
	maxFlags    = 64
	maxKeyword  = 100 // octets
	maxPatterns = 1000
)

func badSyntax(what string) error { return mail.Permanentf(5, 2, "Syntax: %s expected", what) }

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = badSyntax(what)
	}
	p.s = ""
}

func (p *parser) at(b byte) bool { return p.s != "" && p.s[0] == b }

// take reads b if it comes next.
func (p *parser) take(b byte) bool {
	if !p.at(b) {
		return false
	}
	p.s = p.s[1:]
	return true
}

func (p *parser) want(b byte) {
	if !p.take(b) {
		p.fail(strconv.Quote(string(b)))
	}
}

func (p *parser) sp() { p.want(' ') }

// end gives the first error; anything left is one.
func (p *parser) end() error {
	if p.err == nil && p.s != "" {
		p.fail("end of command")
	}
	return p.err
}

func (p *parser) while(ok func(byte) bool) string {
	i := 0
	for i < len(p.s) && ok(p.s[i]) {
		i++
	}
	run := p.s[:i]
	p.s = p.s[i:]
	return run
}

func isAtomChar(b byte) bool {
	return b > ' ' && b < 0x7f && strings.IndexByte(`(){%*"\]`, b) < 0
}

// isAstringChar takes UTF-8 too: QUIRK, clients send names and passwords in it unquoted.
func isAstringChar(b byte) bool { return isAtomChar(b) || b == ']' || b >= 0x80 }

func (p *parser) atom() string {
	s := p.while(isAtomChar)
	if s == "" {
		p.fail("word")
	}
	return s
}

// word is an atom in upper case.
func (p *parser) word() string { return strings.ToUpper(p.atom()) }

// keyword reads a fixed word, in any letter case, if it comes next.
func (p *parser) keyword(w string) bool {
	if len(p.s) < len(w) || !strings.EqualFold(p.s[:len(w)], w) {
		return false
	}
	p.s = p.s[len(w):]
	return true
}

func (p *parser) astring() string {
	if p.at('"') || p.at('{') {
		return p.string()
	}
	s := p.while(isAstringChar)
	if s == "" {
		p.fail("string")
	}
	return s
}

func (p *parser) string() string {
	switch {
	case p.at('"'):
		return p.quoted()
	case p.at('{'):
		return p.literal()
	}
	p.fail("string")
	return ""
}

func (p *parser) quoted() string {
	var b strings.Builder
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.s = p.s[i+1:]
			return b.String()
		case c == '\\' && i+1 < len(p.s) && (p.s[i+1] == '\\' || p.s[i+1] == '"'):
			i++
			b.WriteByte(p.s[i])
		case c == '\\' || c < ' ' && c != '\t':
			p.fail("quoted string")
			return ""
		default:
			b.WriteByte(c)
		}
	}
	p.fail("end of quoted string")
	return ""
}

// literalHead reads "{n}" or "{n+}".
func (p *parser) literalHead() (n int64, ok bool) {
	digits, rest, found := strings.Cut(strings.TrimPrefix(p.s, "{"), "}")
	v, err := strconv.ParseUint(strings.TrimSuffix(digits, "+"), 10, 62)
	if !p.at('{') || !found || err != nil {
		return 0, false
	}
	p.s = rest
	return int64(v), true
}

func (p *parser) literal() string {
	n, ok := p.literalHead()
	if !ok || !strings.HasPrefix(p.s, "\r\n") || int64(len(p.s)-2) < n {
		p.fail("literal")
		return ""
	}
	s := p.s[2 : 2+n]
	p.s = p.s[2+n:]
	if strings.IndexByte(s, 0) >= 0 {
		p.fail("literal without NUL")
		return ""
	}
	return s
}

// number is 32 bits without a sign.
func (p *parser) number() uint32 {
	n, err := strconv.ParseUint(p.while(isDigit), 10, 32)
	if err != nil {
		p.fail("number")
	}
	return uint32(n)
}

func (p *parser) nzNumber() uint32 {
	n := p.number()
	if n == 0 {
		p.fail("number above 0")
	}
	return n
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// list reads "(" item *(SP item) ")", or "()" where that is allowed.
func (p *parser) list(max int, mayBeEmpty bool, item func()) {
	p.want('(')
	if mayBeEmpty && p.take(')') {
		return
	}
	for n := 1; p.err == nil; n++ {
		if n > max {
			p.fail("shorter list")
			return
		}
		item()
		if p.take(')') {
			return
		}
		p.sp()
	}
}

// numRange is lo:hi; star stands for "*".
type numRange struct{ lo, hi uint32 }

const star = 0

// numSet is a sequence-set as it was sent.
type numSet []numRange

func (p *parser) seqNumber() uint32 {
	if p.take('*') {
		return star
	}
	return p.nzNumber()
}

func (p *parser) numSet() numSet {
	var set numSet
	for p.err == nil {
		r := numRange{lo: p.seqNumber()}
		r.hi = r.lo
		if p.take(':') {
			r.hi = p.seqNumber()
		}
		set = append(set, r)
		if len(set) > maxSets {
			p.fail("shorter set of numbers")
		}
		if !p.take(',') {
			break
		}
	}
	return set
}

// atNumSet reports that what comes next can only be a set.
func (p *parser) atNumSet() bool { return p.s != "" && (isDigit(p.s[0]) || p.s[0] == '*') }

// resolve gives the ranges in order, without overlap, with last for "*".
func (s numSet) resolve(last uint32) numSet {
	out := make(numSet, 0, len(s))
	for _, r := range s {
		if r.lo == star {
			r.lo = last
		}
		if r.hi == star {
			r.hi = last
		}
		if r.lo > r.hi {
			r.lo, r.hi = r.hi, r.lo
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b numRange) int {
		if a.lo < b.lo {
			return -1
		} else if a.lo > b.lo {
			return 1
		}
		return 0
	})
	merged := out[:0]
	for _, r := range out {
		if n := len(merged); n > 0 && r.lo <= merged[n-1].hi {
			merged[n-1].hi = max(merged[n-1].hi, r.hi)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// has looks into a resolved set.
func (s numSet) has(n uint32) bool {
	_, ok := slices.BinarySearchFunc(s, n, func(r numRange, n uint32) int {
		switch {
		case r.hi < n:
			return -1
		case r.lo > n:
			return 1
		}
		return 0
	})
	return ok
}

// date is "d-Mon-yyyy", quoted or not.
func (p *parser) date() time.Time {
	text := ""
	if p.at('"') {
		text = p.quoted()
	} else {
		text = p.while(func(b byte) bool { return isAtomChar(b) })
	}
	t, err := time.Parse("2-Jan-2006", text)
	if err != nil {
		p.fail("date such as 1-Feb-2026")
	}
	return t
}

// dateTime is "dd-Mon-yyyy hh:mm:ss +zzzz" in quotes.
func (p *parser) dateTime() time.Time {
	t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", p.quotedOnly())
	if err != nil {
		p.fail("date and time")
	}
	return t
}

func (p *parser) quotedOnly() string {
	if !p.at('"') {
		p.fail("quoted string")
		return ""
	}
	return p.quoted()
}

// flagSet is flags by the letters of the Maildir, and keywords.
type flagSet struct {
	letters  string
	keywords []string
}

// flagLetters are the flags that the names of files have. $Forwarded is a keyword on the wire (RFC 5788) and the flag
// "passed" on disk.
var flagLetters = [...]struct {
	letter byte
	name   string
}{
	{'R', `\Answered`}, {'F', `\Flagged`}, {'T', `\Deleted`}, {'S', `\Seen`}, {'D', `\Draft`}, {'P', "$Forwarded"},
}

func letterOf(name string) (byte, bool) {
	for _, f := range flagLetters {
		if strings.EqualFold(f.name, name) {
			return f.letter, true
		}
	}
	return 0, false
}

// flag is one flag that a client may set.
func (p *parser) flag(set *flagSet) {
	name := ""
	if p.take('\\') {
		name = `\`
	}
	if name += p.atom(); p.err != nil {
		return
	}
	if letter, ok := letterOf(name); ok {
		if strings.IndexByte(set.letters, letter) < 0 {
			set.letters += string(letter)
		}
		return
	}
	if name[0] == '\\' || len(name) > maxKeyword {
		p.fail("flag that can be set")
		return
	}
	if !slices.Contains(set.keywords, name) {
		set.keywords = append(set.keywords, name)
	}
}

func (p *parser) flagList() (set flagSet) {
	p.list(maxFlags, true, func() { p.flag(&set) })
	return set
}
