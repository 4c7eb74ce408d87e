package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mailx/pkg/mail"
)

// MaxBlock bounds the envelope block of an entry, in octets. With addresses of usual length it is room for more than
// ten thousand recipients; Enqueue refuses an envelope that needs more (4.5.3), as a server does with its RCPT limit.
const MaxBlock = 1 << 20

// The first line of an entry always has this length, so that it can be read, and its number written, without looking
// at the rest.
const (
	headFormat = "X-Mailx-Envelope: v=1 octets=%07d\n"
	headLen    = len("X-Mailx-Envelope: v=1 octets=0000000\n")
)

// The fields of an envelope block. What the parser does not know it does not guess: the entry is damaged.
const (
	fieldID      = "X-Mailx-Id"
	fieldArrived = "X-Mailx-Arrived"
	fieldSender  = "X-Mailx-Sender"
	fieldFlags   = "X-Mailx-Flags"
	fieldRcpt    = "X-Mailx-Recipient"
)

// ErrDamaged says that a file in the queue is not a whole entry. It is never sent and never deleted.
var ErrDamaged = errors.New("damaged queue entry")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// checkEnvelope refuses what can't be delivered and what no client may ever see on its wire: an envelope for nobody,
// and control characters, bare or in UTF-8, in anything that becomes part of an SMTP command.
func checkEnvelope(env *mail.Envelope) error {
	if len(env.Rcpts) == 0 {
		return mail.Permanentf(5, 4, "No recipients")
	}
	if !isClean(env.Sender.Local) || !isClean(env.Sender.Domain) || !isClean(env.EnvID) || !isClean(env.ID) ||
		!isClean(env.Account) {
		return mail.Permanentf(1, 7, "Control character in the envelope")
	}
	for i := range env.Rcpts {
		r := &env.Rcpts[i]
		if r.IsNull() || !isClean(r.Local) || !isClean(r.Domain) || !isClean(r.Orig) {
			return mail.Permanentf(1, 3, "Bad recipient address")
		}
	}
	return nil
}

func isClean(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// printBlock gives the envelope as header fields, the first of which counts the octets of all.
func printBlock(env *mail.Envelope) ([]byte, error) {
	b := make([]byte, headLen, headLen+256+64*len(env.Rcpts))
	if env.ID != "" {
		b = appendField(b, fieldID, encode(env.ID))
	}
	b = appendField(b, fieldArrived, printTime(env.Arrived))
	b = appendField(b, fieldSender, encodePath(env.Sender))
	if flags := printFlags(env); flags != "" {
		b = appendField(b, fieldFlags, flags)
	}
	for i := range env.Rcpts {
		b = appendField(b, fieldRcpt, printRcpt(&env.Rcpts[i]))
	}
	if len(b) >= MaxBlock { // one octet is left for closeBlock
		return nil, mail.Temporaryf(5, 3, "Too many recipients for one message")
	}
	return count(b), nil
}

// closeBlock ends a block with an empty line: for a message that has no header of its own, so that the whole file is
// a well-formed message anyway.
func closeBlock(b []byte) []byte { return count(append(b, '\n')) }

// count writes the first line of a block.
func count(b []byte) []byte {
	copy(b, fmt.Sprintf(headFormat, len(b)))
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, '\n')
}

func printFlags(env *mail.Envelope) string {
	var words []string
	if env.UTF8 {
		words = append(words, "utf8")
	}
	switch env.Body {
	case mail.Body8BitMIME:
		words = append(words, "body=8bitmime")
	case mail.BodyBinaryMIME:
		words = append(words, "body=binarymime")
	}
	switch env.Ret {
	case mail.RetFull:
		words = append(words, "ret=full")
	case mail.RetHeaders:
		words = append(words, "ret=hdrs")
	}
	if env.EnvID != "" {
		words = append(words, "envid="+encode(env.EnvID))
	}
	if env.Account != "" {
		words = append(words, "account="+encode(env.Account))
	}
	if env.RequireTLS {
		words = append(words, "requiretls")
	}
	if !env.HoldUntil.IsZero() {
		words = append(words, "hold="+printTime(env.HoldUntil))
	}
	if env.By.IsSet() {
		words = append(words, "by="+printBy(env.By))
	}
	return strings.Join(words, " ")
}

func printTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// printBy writes "2026-11-23T10:00:00Z;RT": the time, the mode and T for the trace (RFC 2852 §4).
func printBy(by mail.DeliverBy) string {
	s := printTime(by.At) + ";R"
	if by.Notify {
		s = printTime(by.At) + ";N"
	}
	if by.Trace {
		s += "T"
	}
	return s
}

// parseBy takes nothing that printBy would not have written.
func parseBy(s string) (by mail.DeliverBy, err error) {
	at, mode, _ := strings.Cut(s, ";")
	if by.At, err = parseExact(at); err != nil {
		return by, err
	}
	by.Notify, by.Trace = strings.HasPrefix(mode, "N"), strings.HasSuffix(mode, "T")
	if printBy(by) != s {
		return mail.DeliverBy{}, damaged("by=%q", s)
	}
	return by, nil
}

// parseExact is parseTime for a time that is there and stands as we write it.
func parseExact(s string) (time.Time, error) {
	t, err := parseTime(s)
	if err == nil && (t.IsZero() || printTime(t) != s) {
		err = damaged("time %q", s)
	}
	return t, err
}

func printRcpt(r *mail.Recipient) string {
	s := encodePath(r.Address)
	if r.Notify != 0 {
		s += " notify=" + printNotify(r.Notify)
	}
	if r.Orig != "" {
		s += " orcpt=" + encode(r.Orig)
	}
	return s
}

// notifyNames are the values of NOTIFY (RFC 3461 §4.1) in the order they are printed.
func notifyNames() [4]struct {
	bit  mail.Notify
	name string
} {
	return [...]struct {
		bit  mail.Notify
		name string
	}{
		{mail.NotifyNever, "never"}, {mail.NotifySuccess, "success"},
		{mail.NotifyFailure, "failure"}, {mail.NotifyDelay, "delay"},
	}
}

func printNotify(n mail.Notify) string {
	var words []string
	for _, v := range notifyNames() {
		if n&v.bit != 0 {
			words = append(words, v.name)
		}
	}
	return strings.Join(words, ",")
}

func parseNotify(s string) (n mail.Notify, err error) {
	for word := range strings.SplitSeq(s, ",") {
		var bit mail.Notify
		for _, v := range notifyNames() {
			if v.name == word {
				bit = v.bit
			}
		}
		if bit == 0 || n&bit != 0 {
			return 0, damaged("notify=%q", s)
		}
		n |= bit
	}
	return n, nil
}

// readEnvelope reads the envelope block, and not an octet more: after it r stands at the message. Errors other than
// those of r are ErrDamaged.
func readEnvelope(r io.Reader) (env *mail.Envelope, octets int64, err error) {
	var head [headLen]byte
	if err := readFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n, err := parseHead(string(head[:]))
	if err != nil {
		return nil, 0, err
	}
	rest := make([]byte, n-headLen)
	if err := readFull(r, rest); err != nil {
		return nil, 0, err
	}
	env, err = parseFields(string(rest))
	return env, int64(n), err
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("file ends within the envelope")
	}
	return err
}

func parseHead(line string) (octets int, err error) {
	digits := line[headLen-8 : headLen-1]
	octets, err = strconv.Atoi(digits)
	if err != nil || octets < headLen || octets > MaxBlock || line != fmt.Sprintf(headFormat, octets) {
		return 0, damaged("no envelope at the start")
	}
	return octets, nil
}

// parseFields reads all of a block but its first line. Arrived and Sender stand once, Recipient at least once.
func parseFields(s string) (*mail.Envelope, error) {
	if s == "" || s[len(s)-1] != '\n' {
		return nil, damaged("envelope does not end at a line end")
	}
	if strings.HasSuffix(s, "\n\n") {
		s = s[:len(s)-1]
	}
	env := &mail.Envelope{Rcpts: make([]mail.Recipient, 0, strings.Count(s, "\n"+fieldRcpt+":"))}
	seen := map[string]bool{}
	for line := range strings.Lines(s) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok || (seen[name] && name != fieldRcpt) {
			return nil, damaged("bad line %q", line)
		}
		seen[name] = true
		if err := parseField(env, name, value); err != nil {
			return nil, err
		}
	}
	if !seen[fieldArrived] || !seen[fieldSender] || !seen[fieldRcpt] {
		return nil, damaged("envelope lacks a field")
	}
	return env, nil
}

func parseField(env *mail.Envelope, name, value string) (err error) {
	switch name {
	case fieldID:
		env.ID, err = decode(value)
	case fieldArrived:
		env.Arrived, err = parseTime(value)
	case fieldSender:
		env.Sender, err = decodePath(value)
	case fieldFlags:
		err = parseFlags(env, value)
	case fieldRcpt:
		var r mail.Recipient
		r, err = parseRcpt(value)
		env.Rcpts = append(env.Rcpts, r)
	default:
		err = damaged("unknown field %q", name)
	}
	return err
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, damaged("time %q", s)
	}
	return t.UTC(), nil
}

func parseFlags(env *mail.Envelope, s string) (err error) {
	for word := range strings.SplitSeq(s, " ") {
		name, value, _ := strings.Cut(word, "=")
		switch {
		case word == "utf8":
			env.UTF8 = true
		case word == "body=8bitmime":
			env.Body = mail.Body8BitMIME
		case word == "body=binarymime":
			env.Body = mail.BodyBinaryMIME
		case word == "ret=full":
			env.Ret = mail.RetFull
		case word == "ret=hdrs":
			env.Ret = mail.RetHeaders
		case word == "requiretls":
			env.RequireTLS = true
		case name == "envid":
			env.EnvID, err = decode(value)
		case name == "account":
			env.Account, err = decode(value)
		case name == "hold":
			env.HoldUntil, err = parseExact(value)
		case name == "by":
			env.By, err = parseBy(value)
		default:
			err = damaged("unknown flag %q", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseRcpt(s string) (r mail.Recipient, err error) {
	path, params, _ := strings.Cut(s, " ")
	if r.Address, err = decodePath(path); err != nil || params == "" {
		return r, err
	}
	for word := range strings.SplitSeq(params, " ") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "notify":
			r.Notify, err = parseNotify(value)
		case "orcpt":
			r.Orig, err = decode(value)
		default:
			err = damaged("unknown parameter %q", word)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// encode makes any string one printable word: everything but visible characters becomes "%" and two hexadecimal
// digits per octet, and so do the characters that have a meaning around it.
func encode(s string) string {
	if isPlain(s) {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		plain := isPlainRune(r) && (r != utf8.RuneError || n > 1)
		for ; n > 0; n, i = n-1, i+1 {
			if plain {
				b.WriteByte(s[i])
			} else {
				b.WriteString("%" + string(hex[s[i]>>4]) + string(hex[s[i]&15]))
			}
		}
	}
	return b.String()
}

// isPlain is the quick look for the usual case: printable ASCII.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf || !isPlainRune(rune(s[i])) {
			return false
		}
	}
	return true
}

func isPlainRune(r rune) bool {
	switch r {
	case '%', '<', '>', '@', ' ':
		return false
	}
	return r > ' ' && r < 0x7f || r >= utf8.RuneSelf && unicode.IsPrint(r)
}

// decode undoes encode, and takes nothing that encode would not have written.
func decode(s string) (string, error) {
	if isPlain(s) {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", damaged("bad value %q", s)
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", damaged("bad value %q", s)
		}
		b = append(b, byte(c))
		i += 2
	}
	if encode(string(b)) != s {
		return "", damaged("bad value %q", s)
	}
	return string(b), nil
}

// encodePath is encode for an address: the at sign between the two parts is the only one, and there is none where
// there is no domain. It is also the key of a recipient in the progress file.
func encodePath(a mail.Address) string {
	if a.Domain == "" {
		return "<" + encode(a.Local) + ">"
	}
	return "<" + encode(a.Local) + "@" + encode(a.Domain) + ">"
}

func decodePath(s string) (a mail.Address, err error) {
	if len(s) < 2 || s[0] != '<' || s[len(s)-1] != '>' {
		return a, damaged("bad address %q", s)
	}
	local, domain, at := strings.Cut(s[1:len(s)-1], "@")
	if at && domain == "" {
		return a, damaged("bad address %q", s)
	}
	if a.Local, err = decode(local); err != nil {
		return a, err
	}
	a.Domain, err = decode(domain)
	return a, err
}

// maxFieldName is how many octets a line may have before its colon and still count as a header field. The limit of a
// whole line is 998 (RFC 5322 §2.1.1).
const maxFieldName = 998

// startsWithHeader looks at the first octets of a message: does it begin with a header field, or with the empty line
// that ends a header of no fields? known is false as long as more octets are needed.
func startsWithHeader(b []byte) (header, known bool) {
	i := bytes.IndexFunc(b, func(r rune) bool { return r <= ' ' || r == ':' || r >= 0x7f })
	switch {
	case i < 0 && len(b) > maxFieldName:
		return false, true
	case i < 0:
		return false, false
	case b[i] == '\n':
		return i == 0, true
	default:
		return b[i] == ':' && i > 0, true
	}
}
