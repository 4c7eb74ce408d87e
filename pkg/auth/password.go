package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds of a new password, in octets.
const (
	MinPassword = 8
	MaxPassword = 1024
)

// masked is what a secret looks like wherever it is printed.
const masked = "[masked]"

// CheckPassword says what is wrong with a new password; the error never has the password in it.
func CheckPassword(password string) error {
	switch {
	case len(password) < MinPassword:
		return errors.New("password is shorter than 8 octets")
	case len(password) > MaxPassword:
		return errors.New("password is longer than 1024 octets")
	case !utf8.ValidString(password):
		return errors.New("password is not UTF-8")
	case strings.ContainsFunc(password, unicode.IsControl):
		return errors.New("password has a control character in it")
	}
	return nil
}

// prepare is SASLprep (RFC 4013) as far as it matters for matching: the same password typed on two systems gives the
// same octets. ASCII, and what is not UTF-8, stays as it is.
func prepare(password string) string {
	if isASCII(password) || !utf8.ValidString(password) {
		return password
	}
	return norm.NFKC.String(strings.Map(func(r rune) rune {
		switch {
		case r == 0xad, r == 0x34f, r == 0x1806, r >= 0x180b && r <= 0x180d, r >= 0x200b && r <= 0x200d, r == 0x2060,
			r >= 0xfe00 && r <= 0xfe0f, r == 0xfeff: // RFC 3454 B.1
			return -1
		case unicode.Is(unicode.Zs, r): // RFC 3454 C.1.2
			return ' '
		}
		return r
	}, password))
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// equal compares in a time that tells neither content nor length.
func equal(a, b []byte) bool {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
