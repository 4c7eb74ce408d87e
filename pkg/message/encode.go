package message

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Lengths of the header lines that we write, in octets without the line end.
const (
	foldAt      = 76  // RFC 2047 §2 where encoded words are; RFC 5322 §2.1.1 asks for 78
	maxLine     = 998 // RFC 5322 §2.1.1
	encodedWord = 63  // of one encoded word, so that it still fits after "Subject: "; RFC 2047 allows 75
)

// appendField appends a field made of tokens. Each token starts with the white space that separates it from the one
// before; a line break goes before a token that does not fit any more.
func appendField(b []byte, name string, tokens []string) ([]byte, error) {
	start := len(b)
	b = append(b, name...)
	b = append(b, ':')
	for i, t := range tokens {
		room := foldAt - (len(b) - start)
		if i > 0 && len(t) > room || i == 0 && len(t) > room && len(t) <= foldAt {
			b = append(b, '\n')
			start = len(b)
		}
		if b = append(b, t...); len(b)-start > maxLine {
			return nil, &FieldError{Field: name, Reason: "word is too long for a header line"}
		}
	}
	return append(b, '\n'), nil
}

// appendText appends an unstructured field (RFC 5322 §2.2.1): as it is if it can stand so, else in encoded words.
func appendText(b []byte, name, value string) ([]byte, error) {
	if !validName(name) {
		return nil, &FieldError{Field: fmt.Sprintf("%.76q", name), Reason: "is no name of a header field"}
	}
	if reason := badControl(value, true); reason != "" {
		return nil, &FieldError{Field: name, Reason: reason}
	}
	return appendField(b, name, textTokens(value))
}

func textTokens(s string) []string {
	if !plainText(s) {
		return encodedTokens(s)
	}
	tokens := wordTokens(s)
	for _, t := range tokens {
		// Nothing but encoded words can break inside a word, and a long one must be a URL to stay whole.
		if len(t) > foldAt && !strings.Contains(t, "://") || len(t) > maxLine-validNameMax {
			return encodedTokens(s)
		}
	}
	return tokens
}

const validNameMax = 78

// plainText reports whether s can stand in a header without encoding, and keep its white space when it is folded.
func plainText(s string) bool {
	return isASCII(s) && !strings.Contains(s, "=?") && strings.TrimSpace(s) == s
}

// wordTokens cuts s into words, each with the white space before it; the first one gets a space.
func wordTokens(s string) []string {
	var tokens []string
	s = " " + s
	for len(s) > 0 {
		end := 0
		for end < len(s) && isWSP(s[end]) {
			end++
		}
		for end < len(s) && !isWSP(s[end]) {
			end++
		}
		tokens = append(tokens, s[:end])
		s = s[end:]
	}
	return tokens
}

// encodedTokens writes s as encoded words (RFC 2047), quoted-printable unless it is much longer than base64. All octets
// are escaped that some place in a header does not take (RFC 2047 §5 (3)). What is not UTF-8 is labelled unknown-8bit (RFC 1428).
func encodedTokens(s string) []string {
	charset := "utf-8"
	if !utf8.ValidString(s) {
		charset = "unknown-8bit"
	}
	qLen := 0
	for i := 0; i < len(s); i++ {
		qLen += qWidth(s[i])
	}
	if qLen <= len(s)*2 { // the rule of textTraits.encoding
		return cutEncoded(s, " =?"+charset+"?q?", qWidth, appendQ)
	}
	return cutEncoded(s, " =?"+charset+"?b?", nil, appendB)
}

// cutEncoded makes encoded words of whole characters. width is of one octet in the encoding; nil is base64.
func cutEncoded(s, prefix string, width func(byte) int, encode func([]byte, string) []byte) []string {
	room := encodedWord - (len(prefix) - 1) - len("?=")
	var words []string
	for len(s) > 0 {
		end, used := 0, 0
		for end < len(s) {
			_, size := utf8.DecodeRuneInString(s[end:])
			w := 0
			for _, c := range []byte(s[end : end+size]) {
				if width != nil {
					w += width(c)
				}
			}
			if width == nil {
				used = (end + size + 2) / 3 * 4
			}
			if used+w > room {
				break
			}
			used, end = used+w, end+size
		}
		words = append(words, string(encode([]byte(prefix), s[:end]))+"?=")
		s = s[end:]
	}
	return words
}

func qWidth(c byte) int {
	if qPlain(c) || c == ' ' {
		return 1
	}
	return 3
}

func qPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
}

func appendQ(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ':
			b = append(b, '_')
		case qPlain(c):
			b = append(b, c)
		default:
			b = append(b, '=', hex[c>>4], hex[c&15])
		}
	}
	return b
}

func appendB(b []byte, s string) []byte { return base64.StdEncoding.AppendEncode(b, []byte(s)) }

// phraseTokens writes a display name (RFC 5322 §3.2.5): words, a quoted string, or encoded words.
func phraseTokens(name string) []string {
	if !plainText(name) || len(name) > foldAt-2 && longWord(name) {
		return encodedTokens(name)
	}
	if strings.IndexFunc(name, func(r rune) bool { return r != ' ' && !isAtext(byte(r)) }) < 0 &&
		!strings.Contains(name, "  ") {
		return wordTokens(name)
	}
	if len(name) > foldAt-10 {
		return encodedTokens(name)
	}
	r := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return []string{` "` + r.Replace(name) + `"`}
}

func longWord(s string) bool {
	for w := range strings.FieldsSeq(s) {
		if len(w) >= foldAt {
			return true
		}
	}
	return false
}

// mailboxTokens writes a list of mailboxes, a comma after each but the last.
func mailboxTokens(list []Mailbox) []string {
	var tokens []string
	for i, m := range list {
		address, _ := m.Address.ToASCII()
		path := " " + address.String()
		if m.Name != "" {
			tokens = append(tokens, phraseTokens(m.Name)...)
			path = " " + address.Path()
		}
		if i+1 < len(list) {
			path += ","
		}
		tokens = append(tokens, path)
	}
	return tokens
}

// paramTokens writes the value of Content-Type or Content-Disposition with its parameters, given as name, value pairs
// (RFC 2045 §5.1); what is not ASCII or too long for a line is written as RFC 2231 says.
func paramTokens(value string, params ...string) []string {
	tokens := []string{" " + value}
	for i := 0; i+1 < len(params); i += 2 {
		tokens[len(tokens)-1] += ";"
		tokens = append(tokens, oneParam(params[i], params[i+1])...)
	}
	return tokens
}

func oneParam(name, value string) []string {
	isPlain := isASCII(value) && badControl(value, false) == "" && !strings.Contains(value, "=?") // or readers decode it (RFC 2047)
	if isPlain && len(name)+len(value) < foldAt-8 {
		if isToken(value) && !strings.ContainsAny(value, "'*%") { // QUIRK: Python drops a bare value with what RFC 2231 §7 has a use for
			return []string{" " + name + "=" + value}
		}
		r := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
		if quoted := r.Replace(value); len(name)+len(quoted) < foldAt-8 {
			return []string{" " + name + `="` + quoted + `"`}
		}
	}
	return extendedParam(name, value)
}

// extendedParam writes a parameter percent-encoded (RFC 2231 §4), in pieces if it needs more than a line (§3).
func extendedParam(name, value string) []string {
	const hex = "0123456789ABCDEF"
	charset := "utf-8''"
	if !utf8.ValidString(value) {
		charset = "unknown-8bit''"
	}
	var pieces []string
	cur := charset
	for _, c := range []byte(value) {
		next := string(c)
		if !qPlain(c) && c != '.' && c != '_' || c == '*' || c == '/' { // RFC 2231 §7, attribute-char
			next = string([]byte{'%', hex[c>>4], hex[c&15]})
		}
		if len(cur)+len(next)+len(name)+len(" *000*=;") > foldAt {
			pieces, cur = append(pieces, cur), ""
		}
		cur += next
	}
	pieces = append(pieces, cur)
	if len(pieces) == 1 {
		return []string{" " + name + "*=" + pieces[0]}
	}
	for i, p := range pieces {
		pieces[i] = fmt.Sprintf(" %s*%d*=%s", name, i, p)
		if i+1 < len(pieces) {
			pieces[i] += ";"
		}
	}
	return pieces
}

// isToken reports an RFC 2045 §5.1 token.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
