package message

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// Decoded is the content of a part as it is read: see Part.Decode.
type Decoded struct {
	io.Reader
	encoding string
	base64   *base64Reader
	qp       *qpReader
}

// Decode is Open for who wants to know whether the content is what was sent.
func (p *Part) Decode(msg io.ReaderAt) *Decoded {
	c := &Decoded{Reader: p.Open(msg), encoding: p.Encoding}
	switch r := c.Reader.(type) {
	case *base64Reader:
		c.base64 = r
	case *qpReader:
		c.qp = r
	}
	return c
}

// Damage says, once all has been read, what was wrong with the encoding; "" if nothing was. What is said is fit for people.
func (c *Decoded) Damage() string {
	switch {
	case c.base64 != nil && c.base64.foreign > 0:
		return fmt.Sprintf("base64 with %d octets in it that are none", c.base64.foreign)
	case c.base64 != nil && c.base64.cut:
		return "base64 that was cut short"
	case c.qp != nil && c.qp.bad > 0:
		return fmt.Sprintf("quoted-printable with %d escapes in it that are none", c.qp.bad)
	case !knownEncoding(c.encoding):
		return "unknown encoding " + Printable(c.encoding) + ", not decoded"
	}
	return ""
}

func knownEncoding(name string) bool {
	switch name {
	case encBase64, encQP, enc7bit, enc8bit, "binary":
		return true
	}
	return false
}

// InCharset converts text from the charset of the part. What the new charset does not have becomes "?" or what stands for that in
// it. ok is false for a charset that is not known.
func (p *Part) InCharset(r io.Reader, charset string) (text io.Reader, ok bool) {
	if !KnownCharset(charset) {
		return nil, false
	}
	text = utf8Reader(p.Params["charset"], r)
	switch enc := encodingOf(charset); {
	case enc != nil:
		return transform.NewReader(text, encoding.ReplaceUnsupported(enc.NewEncoder())), true
	case strings.EqualFold(charset, "utf-8"), strings.EqualFold(charset, "utf8"):
		return text, true
	}
	return transform.NewReader(text, toASCII{}), true
}

// toASCII puts "?" for what is not ASCII.
type toASCII struct{ transform.NopResetter }

// Transform takes whole characters.
func (toASCII) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if nDst == len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, n := utf8.DecodeRune(src[nSrc:])
		dst[nDst] = '?'
		if r < utf8.RuneSelf {
			dst[nDst] = byte(r)
		}
		nDst, nSrc = nDst+1, nSrc+n
	}
	return nDst, nSrc, nil
}
