package smtp

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// This file is the grammar of RFC 5321 §4.1.2 and its extensions: pure functions, no I/O, shared by server and client.

// Limits in octets.
const (
	maxPath  = 256 + 64 // RFC 5321 §4.5.3.1.3, and room for quoting
	maxParam = 500 + 10 // RFC 3461 §4.2 ORCPT, the longest
	maxEnvID = 100      // RFC 3461 §4.4
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
}

// ParseMail reads the arguments of MAIL. A blank behind "FROM:" is taken, as the classic dialogs print it, and so is a path
// without angle brackets.
func ParseMail(a *wire.Args) (*MailArgs, error) {
	if !a.Keyword("FROM:") {
		return nil, errSyntax("Syntax: MAIL FROM:<address>")
	}
	m := &MailArgs{}
	var err error
	if m.Sender, err = parsePath(a, true); err != nil {
		return nil, err
	}
	err = parseParams(a, m.set)
	return m, err
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
		found = found && len(value) <= maxEnvID && value != ""
	case "AUTH":
		m.Auth, found = unxtext(value)
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
	}
	return 0, false
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
	if !a.Keyword("TO:") {
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
		r.Orig, found = unxtext(value)
		found = found && strings.IndexByte(value, ';') > 0
	default:
		return errParam()
	}
	if !found {
		return errParamValue(name)
	}
	return nil
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
	var seen [8]string
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
