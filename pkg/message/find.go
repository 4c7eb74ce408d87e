package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Pattern is what is looked for in mail. It sees text as people read it: decoded from its transfer encoding, its charset and
// its encoded words, HTML without its tags. It is safe for concurrent use.
type Pattern struct {
	want []byte            // folded; for Containing
	line func(string) bool // for Matching; nil: want
}

// Containing finds a text in any letter case, in either form of Unicode, and with any white space where it has white space:
// lines of mail are broken anywhere. The empty text is everywhere.
func Containing(text string) *Pattern { return &Pattern{want: appendFolded(nil, []byte(text))} }

// Matching finds what is a match in one line.
func Matching(line func(string) bool) *Pattern { return &Pattern{line: line} }

// In looks into a short text.
func (p *Pattern) In(text string) bool {
	if p.line == nil {
		return bytes.Contains(appendFolded(nil, []byte(text)), p.want)
	}
	for line := range strings.Lines(text) {
		if p.line(strings.TrimRight(line, "\r\n")) {
			return true
		}
	}
	return text == "" && p.line("")
}

// InField looks into all fields of that name, decoded and as they stand. Without such a field there is nothing to be found,
// not even the empty text.
func (p *Pattern) InField(h *Header, name string) bool {
	return slices.ContainsFunc(h.Values(name), func(v string) bool {
		text := DecodeText(v)
		return p.In(text) || text != v && p.In(v)
	})
}

// InHeader looks into all fields, names included: "Subject: text".
func (p *Pattern) InHeader(h *Header) bool {
	return slices.ContainsFunc(h.Fields(), func(f Field) bool { return p.In(f.Name() + ": " + DecodeText(f.Value())) })
}

// InBody looks into the texts of a message, and into the headers of its parts and of the messages in it. With header, it
// looks into its own header too. msg is the whole message, of which root is the structure. It takes time in the octets of the
// message and little memory, however large a part is. The error is the one of msg.
func (p *Pattern) InBody(root *Part, msg io.ReaderAt, header bool) (found bool, err error) {
	root.Walk(func(part *Part) bool {
		found = (header || part != root) && p.InHeader(part.Header)
		if !found && part.Type == "text" {
			found, err = p.InText(part, msg)
		}
		return !found && err == nil
	})
	return found, err
}

// InTexts looks into the texts of a message alone.
func (p *Pattern) InTexts(root *Part, msg io.ReaderAt) (found bool, err error) {
	root.Walk(func(part *Part) bool {
		if part.Type == "text" {
			found, err = p.InText(part, msg)
		}
		return !found && err == nil
	})
	return found, err
}

// InText looks into one text.
func (p *Pattern) InText(part *Part, msg io.ReaderAt) (bool, error) {
	r := utf8Reader(part.Params["charset"], part.Open(msg))
	switch {
	case part.Subtype == "html":
		return p.inHTML(r, pieceSize(part, htmlPiece))
	case p.line != nil:
		return p.inLines(r)
	}
	return p.inReader(r, pieceSize(part, textPiece))
}

// pieceSize is enough for the whole part, in UTF-8, or most.
func pieceSize(part *Part, most int64) int64 { return max(1<<10, min(3*part.Size()+1, most)) }

// htmlPiece is how much of HTML is made text at a time. What stands across two pieces is not found.
const htmlPiece = 1 << 20

func (p *Pattern) inHTML(r io.Reader, size int64) (bool, error) {
	return pieces(r, size, '<', func(piece []byte) bool { return p.In(htmlText(string(piece))) })
}

// pieces gives a text piece by piece until do is true. A piece ends before an octet, if it has that in its second half, so that
// it cuts no tag and no word; the octet is ASCII.
func pieces(r io.Reader, size int64, before byte, do func([]byte) bool) (bool, error) {
	buf := make([]byte, size)
	left := 0
	for {
		n, err := io.ReadFull(r, buf[left:])
		n += left
		if isEOF := err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF); isEOF || err != nil {
			if !isEOF {
				return false, err
			}
			return n > 0 && do(buf[:n]), nil
		}
		end := bytes.LastIndexByte(buf[n/2:], before)
		if end >= 0 {
			end += n / 2
		} else {
			whole, _ := cutRune(buf)
			end = len(whole)
		}
		if do(buf[:end]) {
			return true, nil
		}
		left = copy(buf, buf[end:])
	}
}

// cutRune takes an unfinished character off the end.
func cutRune(b []byte) (whole, rest []byte) {
	for n := 1; n < utf8.UTFMax && n < len(b); n++ {
		if c := b[len(b)-n:]; utf8.RuneStart(c[0]) {
			if !utf8.FullRune(c) {
				return b[:len(b)-n], c
			}
			break
		}
	}
	return b, nil
}

// textPiece is how much of a text is folded at a time.
const textPiece = 32 << 10

// inReader finds want in a stream, also across two pieces of it.
func (p *Pattern) inReader(r io.Reader, size int64) (bool, error) {
	if len(p.want) == 0 {
		return true, nil // also in nothing
	}
	var folded []byte
	return pieces(r, size, ' ', func(piece []byte) bool {
		folded = appendFolded(folded, piece)
		if bytes.Contains(folded, p.want) {
			return true
		}
		tail := folded[len(folded)-min(len(folded), max(len(p.want)-1, 1)):]
		folded = append(folded[:0], tail...)
		return false
	})
}

// longestLine is what a line is cut at.
const longestLine = 64 << 10

func (p *Pattern) inLines(r io.Reader) (bool, error) {
	br := bufio.NewReaderSize(r, longestLine)
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 && p.line(string(bytes.TrimRight(line, "\r\n"))) {
			return true, nil
		}
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return false, err
		}
	}
}

// appendFolded appends a text in the form in which texts are compared: composed (NFC), in lower case, with one space for any white
// space, without soft hyphens and zero-width spaces. Appending piece by piece gives what appending all at once does, if no
// character is cut.
func appendFolded(dst, text []byte) []byte {
	if !norm.NFC.IsNormal(text) {
		text = norm.NFC.Bytes(text)
	}
	for i := 0; i < len(text); {
		c := text[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(text[i:])
			dst = appendFoldedRune(dst, r)
			i += n
			continue
		}
		i++
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == ' ' || c >= '\t' && c <= '\r':
			dst = appendSpace(dst)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

func appendFoldedRune(dst []byte, r rune) []byte {
	switch {
	case unicode.IsSpace(r):
		return appendSpace(dst)
	case r == 0xad, r == 0x200b, r == 0xfeff:
		return dst
	case r == 'ß', r == 'ẞ':
		return append(dst, "ss"...)
	}
	return utf8.AppendRune(dst, unicode.ToLower(unicode.ToUpper(r)))
}

func appendSpace(dst []byte) []byte {
	if len(dst) > 0 && dst[len(dst)-1] == ' ' {
		return dst
	}
	return append(dst, ' ')
}
