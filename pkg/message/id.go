package message

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
)

// Random gives r, or the randomness of the operating system if r is nil. Tests and reproducible runs give their own.
func Random(r io.Reader) io.Reader {
	if r == nil {
		return rand.Reader
	}
	return r
}

// NewMessageID makes a unique identification, `<time.random@host>` (RFC 5322 §3.6.4), with its angle brackets. A nil
// random is crypto/rand. An empty or unusable host becomes "localhost".
func NewMessageID(host string, now time.Time, random io.Reader) (string, error) {
	token, err := randomToken(random)
	if err != nil {
		return "", err
	}
	if d, err := mail.ParseDomain(host); err == nil && isASCII(d) {
		host = d
	} else {
		host = "localhost"
	}
	return "<" + strconv.FormatInt(now.UnixMicro(), 36) + "." + token + "@" + host + ">", nil
}

// newBoundary makes a boundary (RFC 2046 §5.1.1). "=_" can't occur in quoted-printable or base64, and 80 random bits are
// in no 7 bit text by chance.
func newBoundary(random io.Reader) (string, error) {
	token, err := randomToken(random)
	return "=_" + token, err
}

// randomToken is 80 random bits in hexadecimal.
func randomToken(random io.Reader) (string, error) {
	var b [10]byte
	if _, err := io.ReadFull(Random(random), b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

// isMsgID reports what other programs may have made as a message id, with angle brackets: `<anything in one piece>`.
func isMsgID(s string) bool {
	inner, ok := strings.CutPrefix(s, "<")
	if !ok || len(s) < 3 || len(s) > 900 || !strings.HasSuffix(inner, ">") {
		return false
	}
	inner = inner[:len(inner)-1]
	return isASCII(inner) && badControl(inner, false) == "" && !strings.ContainsAny(inner, " <>")
}

// validMsgID reports whether s is `<left@right>` in one piece, without white space.
func validMsgID(s string) bool {
	at := strings.IndexByte(s, '@')
	return isMsgID(s) && at > 1 && at < len(s)-2
}

// ourDelim is how the delimiter lines of our multiparts start.
const ourDelim = "--=_"
