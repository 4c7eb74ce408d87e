package mailbox

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64UTF7 is that of RFC 3501 §5.1.3: "," for "/", no padding.
func base64UTF7() *base64.Encoding {
	return base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
		WithPadding(base64.NoPadding).Strict()
}

// EncodeUTF7 gives text, which is valid UTF-8, in modified UTF-7 (RFC 3501 §5.1.3).
func EncodeUTF7(text string) string {
	var b strings.Builder
	for text != "" {
		i := strings.IndexFunc(text, func(r rune) bool { return r == '&' || !isDirect(r) })
		if i < 0 {
			i = len(text)
		}
		b.WriteString(text[:i])
		text = text[i:]
		if strings.HasPrefix(text, "&") {
			b.WriteString("&-")
			text = text[1:]
			continue
		}
		i = strings.IndexFunc(text, isDirect)
		if i < 0 {
			i = len(text)
		}
		encodeShift(&b, text[:i])
		text = text[i:]
	}
	return b.String()
}

func isDirect(r rune) bool { return r >= 0x20 && r <= 0x7e }

func encodeShift(b *strings.Builder, text string) {
	if text == "" {
		return
	}
	units := utf16.Encode([]rune(text))
	octets := make([]byte, 0, 2*len(units))
	for _, u := range units {
		octets = append(octets, byte(u>>8), byte(u))
	}
	b.WriteByte('&')
	b.WriteString(base64UTF7().EncodeToString(octets))
	b.WriteByte('-')
}

// DecodeUTF7 reads modified UTF-7; ok is false for anything that EncodeUTF7 does not write, so that a name has one form.
func DecodeUTF7(s string) (text string, ok bool) {
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			i = len(s)
		}
		for j := 0; j < i; j++ {
			if !isDirect(rune(s[j])) {
				return "", false
			}
		}
		b.WriteString(s[:i])
		if s = s[i:]; s == "" {
			break
		}
		shift, rest, found := strings.Cut(s[1:], "-")
		if !found || !decodeShift(&b, shift) {
			return "", false
		}
		if s = rest; strings.HasPrefix(s, "&") && !strings.HasPrefix(s, "&-") && shift != "" {
			return "", false // two shifts in a row are one
		}
	}
	return b.String(), true
}

func decodeShift(b *strings.Builder, shift string) bool {
	if shift == "" {
		b.WriteByte('&')
		return true
	}
	if strings.ContainsAny(shift, "\r\n") { // the decoder overlooks them
		return false
	}
	octets, err := base64UTF7().DecodeString(shift)
	if err != nil || len(octets)%2 != 0 || len(octets) == 0 {
		return false
	}
	units := make([]uint16, len(octets)/2)
	for i := range units {
		units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
	}
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i+1 == len(units) {
				return false
			}
			i++
			if r = utf16.DecodeRune(r, rune(units[i])); r == utf8.RuneError {
				return false
			}
		}
		if isDirect(r) {
			return false
		}
		b.WriteRune(r)
	}
	return true
}
