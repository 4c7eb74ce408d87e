package main

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// escapeControl makes text safe for a terminal and for line-based output: control characters (C0, DEL, C1), line and
// paragraph separators, direction overrides and invisible marks become \n, \t, \x1b or \u202e, octets that are not
// UTF-8 become \xff. Everything else stays as it is. It is one line, whatever went in.
func escapeControl(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + strconv.FormatUint(0x100|uint64(s[i]), 16)[1:])
		case isUnsafe(r):
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// isUnsafe reports characters that move the cursor, change direction, break lines or can't be seen.
func isUnsafe(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0: // C0, DEL, C1
		return true
	case r == 0x61c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // bidi
		return true
	case r == 0x2028, r == 0x2029, r == 0x200b, r == 0xfeff, r >= 0xfff9 && r <= 0xfffb: // breaks, invisible marks
		return true
	case r >= 0xe0000 && r <= 0xe007f: // tags
		return true
	}
	return false
}
