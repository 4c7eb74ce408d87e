package message

import (
	"bytes"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// encodingOf finds a charset by the names that mail uses; nil for UTF-8, ASCII and unknown ones, which are all read as
// UTF-8. A switch and not x/text's htmlindex: that one builds its tables at start-up in every process that links it.
func encodingOf(charset string) encoding.Encoding {
	name := strings.ToLower(strings.Trim(charset, " \t\"'"))
	name = strings.ReplaceAll(name, "_", "-")
	part := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(name, "iso-8859-"), "iso8859-"), "iso8859")
	if enc := isoEncoding(part, name); enc != nil {
		return enc
	}
	if enc := windowsEncoding(name); enc != nil {
		return enc
	}
	switch name {
	case "koi8-r", "koi8r":
		return charmap.KOI8R
	case "koi8-u":
		return charmap.KOI8U
	case "macintosh", "mac", "x-mac-roman":
		return charmap.Macintosh
	case "ibm437", "cp437", "437":
		return charmap.CodePage437
	case "ibm850", "cp850", "850":
		return charmap.CodePage850
	case "ibm852", "cp852":
		return charmap.CodePage852
	case "ibm866", "cp866":
		return charmap.CodePage866
	case "iso-2022-jp", "csiso2022jp", "iso-2022-jp-1", "iso-2022-jp-2":
		return japanese.ISO2022JP
	case "shift-jis", "shift-jisx0213", "sjis", "x-sjis", "ms-kanji", "windows-31j", "cp932":
		return japanese.ShiftJIS
	case "euc-jp", "eucjp", "x-euc-jp":
		return japanese.EUCJP
	case "euc-kr", "euckr", "ks-c-5601-1987", "ks-c-5601", "ksc5601", "cp949", "uhc":
		return korean.EUCKR
	case "gb2312", "gbk", "cp936", "x-gbk", "csgb2312":
		return simplifiedchinese.GBK
	case "gb18030":
		return simplifiedchinese.GB18030
	case "hz-gb-2312":
		return simplifiedchinese.HZGB2312
	case "big5", "big5-hkscs", "cp950", "x-x-big5":
		return traditionalchinese.Big5
	case "utf-16", "utf16":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-16le":
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case "utf-16be":
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	}
	return nil
}

// isoEncoding knows ISO 8859; Latin-1 is read as windows-1252, which is what its users mean.
func isoEncoding(part, name string) encoding.Encoding {
	if name == "latin1" || name == "latin-1" || name == "l1" {
		part = "1"
	} else if name == "latin2" || name == "latin-2" {
		part = "2"
	} else if part == name {
		return nil
	}
	switch part {
	case "1":
		return charmap.Windows1252
	case "2":
		return charmap.ISO8859_2
	case "3":
		return charmap.ISO8859_3
	case "4":
		return charmap.ISO8859_4
	case "5":
		return charmap.ISO8859_5
	case "6", "6-i", "6-e":
		return charmap.ISO8859_6
	case "7":
		return charmap.ISO8859_7
	case "8", "8-i", "8-e":
		return charmap.ISO8859_8
	case "9":
		return charmap.ISO8859_9
	case "10":
		return charmap.ISO8859_10
	case "11":
		return charmap.Windows874
	case "13":
		return charmap.ISO8859_13
	case "14":
		return charmap.ISO8859_14
	case "15":
		return charmap.ISO8859_15
	case "16":
		return charmap.ISO8859_16
	}
	return nil
}

func windowsEncoding(name string) encoding.Encoding {
	page := strings.TrimPrefix(strings.TrimPrefix(name, "windows-"), "cp")
	if page == name && name != "tis-620" {
		return nil
	}
	switch page {
	case "874", "tis-620":
		return charmap.Windows874
	case "1250":
		return charmap.Windows1250
	case "1251":
		return charmap.Windows1251
	case "1252":
		return charmap.Windows1252
	case "1253":
		return charmap.Windows1253
	case "1254":
		return charmap.Windows1254
	case "1255":
		return charmap.Windows1255
	case "1256":
		return charmap.Windows1256
	case "1257":
		return charmap.Windows1257
	case "1258":
		return charmap.Windows1258
	}
	return nil
}

// KnownCharset reports a charset that texts can be converted from, UTF-8 and ASCII among them.
func KnownCharset(name string) bool {
	switch strings.ToLower(name) {
	case "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968":
		return true
	}
	return encodingOf(name) != nil
}

// DecodeInput gives a word that was typed in a charset as UTF-8. It stays as it is if it is that already, or the charset
// is not known.
func DecodeInput(charset, s string) string {
	enc := encodingOf(charset)
	if enc == nil || utf8.ValidString(s) {
		return s
	}
	if text, err := enc.NewDecoder().String(s); err == nil {
		return text
	}
	return s
}

// utf8Reader converts r from a charset. What has no meaning becomes U+FFFD; it never fails by itself.
func utf8Reader(charset string, r io.Reader) io.Reader {
	if enc := encodingOf(charset); enc != nil {
		return transform.NewReader(r, enc.NewDecoder())
	}
	return transform.NewReader(r, encoding.Replacement.NewEncoder()) // UTF-8 to valid UTF-8
}

// DecodeText gives a header value as text for people: encoded words decoded (RFC 2047), valid UTF-8, one line, and no
// control characters or direction overrides in it: each of these becomes U+FFFD, white space a space. Unknown charsets
// are read as UTF-8. It is safe to print on a terminal.
func DecodeText(s string) string {
	if !strings.Contains(s, "=?") {
		return Printable(s)
	}
	dec := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		return utf8Reader(charset, r), nil
	}}
	if text, err := dec.DecodeHeader(s); err == nil {
		s = text
	}
	return Printable(s)
}

// Printable makes one line of text safe for a terminal: see DecodeText.
func Printable(s string) string {
	if plainASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case unsafeRune(r):
			return utf8.RuneError
		}
		return r
	}, s)
}

// PrintableText is Printable for text of many lines: LF and TAB stay, CRLF becomes LF.
func PrintableText(b []byte) string {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return string(bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unsafeRune(r) {
			return utf8.RuneError
		}
		return r
	}, b))
}

func plainASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// unsafeRune reports control characters (C0, DEL, C1) and the ones that change the direction of writing.
func unsafeRune(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 ||
		r == 0x2028 || r == 0x2029
}
