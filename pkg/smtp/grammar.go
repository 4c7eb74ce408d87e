package smtp

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// This file is the grammar of RFC 5321 §4.1.2 and its extensions: pure functions, no I/O, shared by server and client.

// Limits in octets.
const (
	maxPath  = 256 + 64 // RFC 5321 §4.5.3.1.3, and room for quoting
	maxParam = 500 + 10 // of any parameter's value: the longest, ORCPT, and a little
	maxOrig  = 500      // ORCPT, RFC 3461 §4.2
	maxEnvID = 100      // RFC 3461 §4.4
	maxDigit = 9        // of a number of seconds in HOLDFOR (RFC 4865 §3) and BY (RFC 2852 §4)
)

func errSyntax(text string) error { return mail.Permanentf(5, 2, "%s", text) }

// MailArgs is what stands behind MAIL: "FROM:" Reverse-path [SP Mail-parameters].
type MailArgs struct {
	Sender mail.Address
	Size   int64 // SIZE, RFC 1870; 0 if not given
	Body   mail.Body
	UTF8   bool
	Ret    mail.Ret
	EnvID  string
	// Auth is the AUTH parameter (RFC 4954 §5), decoded; "<>" or an address. It is read and not believed.
	Auth string

	RequireTLS bool      // REQUIRETLS, RFC 8689 §2
	HoldFor    int64     // HOLDFOR in seconds, RFC 4865 §3; 0 if not given
	HoldUntil  time.Time // HOLDUNTIL in UTC; zero if not given. Never beside HoldFor
	By         By
}

// By is the BY parameter (RFC 2852 §4). The zero value is none.
type By struct {
	Seconds int64 // from now on; with Mode 'N' it may have passed already
	Mode    byte  // 'R': return the message after that time; 'N': tell the sender of the delay; 0: no BY
	Trace   bool  // tell the sender of each relay, too
}

// ParseMail reads the arguments of MAIL. Blanks before and behind "FROM:" are taken, as the classic dialogs print them, and so is a
// path without angle brackets.
func ParseMail(a *wire.Args) (*MailArgs, error) {
	if a.SkipBlanks(); !a.Keyword("FROM:") {
		return nil, errSyntax("Syntax: MAIL FROM:<address>")
	}
	m := &MailArgs{}
	var err error
	if m.Sender, err = parsePath(a, true); err != nil {
		return nil, err
	}
	if err = parseParams(a, m.set); err != nil {
		return nil, err
	}
	if m.HoldFor != 0 && !m.HoldUntil.IsZero() {
		return nil, mail.Permanentf(5, 4, "HOLDFOR and HOLDUNTIL exclude each other") // RFC 4865 §4.1
	}
	return m, nil
}

func (m *MailArgs) set(name, value string) (err error) {
	var found bool
	switch name {
	case "SIZE": // RFC 1870 §6.1: up to 20 digits
		m.Size, found = parseOctets(value)
	case "BODY":
		m.Body, found = bodyOf(value)
	case "SMTPUTF8": // RFC 6531 §3.4: no value
		m.UTF8, found = true, value == ""
	case "RET":
		m.Ret, found = retOf(value)
	case "ENVID":
		m.EnvID, found = unxtext(value)
		found = found && len(value) <= maxEnvID && value != "" && isPrintable(m.EnvID)
	case "AUTH":
		m.Auth, found = unxtext(value)
	case "REQUIRETLS": // RFC 8689 §2: no value
		m.RequireTLS, found = true, value == ""
	case "HOLDFOR":
		m.HoldFor, found = parseSeconds(value)
		found = found && m.HoldFor > 0
	case "HOLDUNTIL":
		m.HoldUntil, found = parseDateTime(value)
	case "BY":
		m.By, found = parseBy(value)
	default:
		return errParam()
	}
	if !found {
		return errParamValue(name)
	}
	return nil
}

// parseOctets reads a number of up to 20 digits; what is more than an int64 holds is its largest value.
func parseOctets(v string) (int64, bool) {
	if len(v) > 20 || strings.Trim(v, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, true
	}
	return n, err == nil
}

func bodyOf(v string) (mail.Body, bool) {
	switch strings.ToUpper(v) {
	case "7BIT":
		return mail.Body7Bit, true
	case "8BITMIME":
		return mail.Body8BitMIME, true
	case "BINARYMIME":
		return mail.BodyBinaryMIME, true
	}
	return 0, false
}

// parseSeconds reads 1*9DIGIT.
func parseSeconds(v string) (int64, bool) {
	if v == "" || len(v) > maxDigit || strings.Trim(v, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return n, err == nil
}

// parseDateTime reads a date-time of RFC 3339 §5.6, in any zone.
func parseDateTime(v string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, strings.ToUpper(v))
	t = t.UTC()
	return t, err == nil && t.Year() >= 1970 && t.Year() <= 9999
}

// parseBy reads by-time ";" by-mode [by-trace], where by-time is [-/+]1*9DIGIT. A message that is to be returned after no
// time at all makes no sense (RFC 2852 §4).
func parseBy(v string) (By, bool) {
	number, mode, _ := strings.Cut(strings.ToUpper(v), ";")
	mode, isTraced := strings.CutSuffix(mode, "T")
	if mode != "R" && mode != "N" {
		return By{}, false
	}
	digits := strings.TrimPrefix(number, "-")
	sign := int64(1)
	if len(digits) < len(number) {
		sign = -1
	} else {
		digits = strings.TrimPrefix(number, "+")
	}
	n, ok := parseSeconds(digits)
	by := By{Seconds: sign * n, Mode: mode[0], Trace: isTraced}
	return by, ok && (by.Mode == 'N' || by.Seconds > 0)
}

func retOf(v string) (mail.Ret, bool) {
	switch strings.ToUpper(v) {
	case "FULL":
		return mail.RetFull, true
	case "HDRS":
		return mail.RetHeaders, true
	}
	return 0, false
}

// ParseRcpt reads the arguments of RCPT: "TO:" Forward-path [SP Rcpt-parameters].
func ParseRcpt(a *wire.Args) (mail.Recipient, error) {
	var r mail.Recipient
	if a.SkipBlanks(); !a.Keyword("TO:") {
		return r, errSyntax("Syntax: RCPT TO:<address>")
	}
	var err error
	if r.Address, err = parsePath(a, false); err != nil {
		return r, err
	}
	err = parseParams(a, func(name, value string) error { return setRcpt(&r, name, value) })
	return r, err
}

func setRcpt(r *mail.Recipient, name, value string) error {
	var found bool
	switch name {
	case "NOTIFY":
		r.Notify, found = ParseNotify(value)
	case "ORCPT":
		r.Orig, found = parseOrig(value)
	default:
		return errParam()
	}
	if !found {
		return errParamValue(name)
	}
	return nil
}

// parseOrig reads addr-type ";" xtext (RFC 3461 §4.2), and the form of RFC 6533 §3 if the type is utf-8. What it gives is
// decoded, addr-type in lower case.
func parseOrig(v string) (string, bool) {
	kind, address, ok := strings.Cut(v, ";")
	if !ok || len(v) > maxOrig || address == "" || !isAddrType(kind) {
		return "", false
	}
	kind = strings.ToLower(kind)
	if kind == utf8Type {
		address, ok = unescapeUTF8(address)
		return kind + ";" + address, ok
	}
	address, ok = unxtext(address)
	return kind + ";" + address, ok && isPrintable(address)
}

// utf8Type is the addr-type of RFC 6533.
const utf8Type = "utf-8"

// isAddrType reports an atom that needs no encoding in a parameter.
func isAddrType(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return s != ""
}

// isPrintable reports text of printable ASCII and spaces, as all that xtext may hide has to be (RFC 3461 §4.2, §4.4).
func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// ParseNotify reads a list like "SUCCESS,FAILURE" or "NEVER" (RFC 3461 §4.1).
func ParseNotify(v string) (n mail.Notify, ok bool) {
	for word := range strings.SplitSeq(strings.ToUpper(v), ",") {
		bit := map[string]mail.Notify{"NEVER": mail.NotifyNever, "SUCCESS": mail.NotifySuccess,
			"FAILURE": mail.NotifyFailure, "DELAY": mail.NotifyDelay}[word]
		if bit == 0 {
			return 0, false
		}
		n |= bit
	}
	return n, n&mail.NotifyNever == 0 || n == mail.NotifyNever
}

// FormatNotify is the inverse of ParseNotify; "" for the empty set.
func FormatNotify(n mail.Notify) string {
	var words []string
	for i, w := range []string{"NEVER", "SUCCESS", "FAILURE", "DELAY"} {
		if n&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, ",")
}

func errParam() error {
	return reply(555, mail.Status{Class: 5, Subject: 5, Detail: 4}, "Parameter not recognized")
}

func errParamValue(name string) error { return mail.Permanentf(5, 4, "Bad value of %s", name) }

// parsePath reads a path in angle brackets, or bare. A source route is dropped (RFC 5321 §4.1.1.3, appendix F.2).
func parsePath(a *wire.Args, nullAllowed bool) (mail.Address, error) {
	a.SkipBlanks()
	if !a.Octet('<') {
		return parseBarePath(a)
	}
	text, found := cutPath(a.Rest())
	if !found {
		return mail.Address{}, errSyntax("Address does not end in >")
	}
	a.Keyword(text + ">")
	if !a.Empty() && a.Rest()[0] != ' ' && a.Rest()[0] != '\t' {
		return mail.Address{}, errSyntax("Parameters must be separated by a space")
	}
	switch {
	case text == "" && nullAllowed:
		return mail.Address{}, nil
	case text == "":
		return mail.Address{}, mail.Permanentf(1, 3, "The null address is no recipient")
	case len(text) > maxPath:
		return mail.Address{}, mail.Permanentf(1, 3, "Address too long")
	}
	return mail.ParseAddress(cutRoute(text))
}

func parseBarePath(a *wire.Args) (mail.Address, error) {
	text := a.While(func(b byte) bool { return b != ' ' && b != '\t' })
	if text == "" || len(text) > maxPath || strings.ContainsAny(text, "<>") {
		return mail.Address{}, errSyntax("An address in angle brackets is needed")
	}
	return mail.ParseAddress(text)
}

// cutPath finds the closing bracket outside of a quoted local part.
func cutPath(s string) (text string, found bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return s[:i], true
		}
	}
	return "", false
}

// cutRoute drops "@a,@b:" before the mailbox.
func cutRoute(s string) string {
	if !strings.HasPrefix(s, "@") {
		return s
	}
	if i := strings.IndexByte(s, ':'); i > 0 && !strings.Contains(s[:i], `"`) {
		return s[i+1:]
	}
	return s
}

// parseParams reads esmtp-params up to the end (RFC 5321 §4.1.2); a name twice is an error.
func parseParams(a *wire.Args, set func(name, value string) error) error {
	var seen [12]string
	for n := 0; ; n++ {
		a.SkipBlanks()
		word := a.Word()
		if word == "" {
			return nil
		}
		name, value, hasValue := strings.Cut(word, "=")
		name = strings.ToUpper(name)
		if !isParamName(name) || hasValue && !isParamValue(value) {
			return errSyntax("Bad parameter syntax")
		}
		for _, s := range seen {
			if s == name {
				return errSyntax("Parameter given twice")
			}
		}
		if n == len(seen) {
			return errSyntax("Too many parameters")
		}
		seen[n] = name
		if err := set(name, value); err != nil {
			return err
		}
	}
}

// isParamName reports esmtp-keyword; the name is in upper case.
func isParamName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

// isParamValue reports esmtp-value, UTF-8 included (RFC 6531 §3.3).
func isParamValue(s string) bool {
	if s == "" || len(s) > maxParam {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '=' || c == 0x7f {
			return false
		}
	}
	return true
}

// xtext encodes for ENVID, ORCPT and AUTH (RFC 3461 §4): what is no printable ASCII, "+" and "=" become "+XX".
func xtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'+', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// unxtext undoes xtext. It refuses control characters, hidden or not: what it gives goes into headers and files.
func unxtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(n), i+2
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// escapeUTF8 writes an address as utf-8-addr-xtext (RFC 6533 §3), which is safe with and without SMTPUTF8: what is no printable
// ASCII, and backslash, plus and equals sign, become \x{HEX}.
func escapeUTF8(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > ' ' && r < 0x7f && r != '\\' && r != '+' && r != '=' {
			b.WriteRune(r)
		} else {
			b.WriteString(`\x{` + strings.ToUpper(strconv.FormatInt(int64(r), 16)) + `}`)
		}
	}
	return b.String()
}

// unescapeUTF8 reads utf-8-addr-xtext, utf-8-addr-unitext, and mixtures of both. It refuses control characters, as unxtext does.
func unescapeUTF8(s string) (string, bool) {
	var b strings.Builder
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size <= 1, r == '+', r == '=':
			return "", false
		case r == '\\':
			hex, rest, ok := strings.Cut(strings.TrimPrefix(s[1:], "x{"), "}")
			n, err := strconv.ParseUint(hex, 16, 32)
			if !ok || !strings.HasPrefix(s, `\x{`) || err != nil || len(hex) < 2 || len(hex) > 6 || !utf8.ValidRune(rune(n)) {
				return "", false
			}
			r, s = rune(n), rest
		default:
			s = s[size:]
		}
		if unicode.IsControl(r) {
			return "", false
		}
		b.WriteRune(r)
	}
	return b.String(), true
}

// parseHello reads the domain or address literal of HELO and EHLO (RFC 5321 §4.1.1.1). Names that are wrong but harmless are
// taken: many clients send them, and nothing is decided by them.
func parseHello(a *wire.Args) (string, error) {
	a.SkipBlanks()
	name := a.Word()
	if name == "" || len(name) > mail.MaxDomain {
		return "", errSyntax("Syntax: HELO hostname")
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`<>()"\,;`, c) >= 0 {
			return "", errSyntax("Bad character in the hostname")
		}
	}
	return name, a.End()
}
