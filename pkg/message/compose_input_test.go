package message

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// composed is a text part that has been written and read again.
type composed struct{ charset, encoding, text string }

func readText(t *testing.T, p *Part, msg string) composed {
	t.Helper()
	b, err := io.ReadAll(p.Open(strings.NewReader(msg)))
	if err != nil {
		t.Fatal(err)
	}
	return composed{p.Params["charset"], p.Encoding, strings.ReplaceAll(string(b), "\r\n", "\n")}
}

func encoded(t *testing.T, enc interface{ String(string) (string, error) }, s string) string {
	t.Helper()
	out, err := enc.String(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestComposeCharsets: what a text is in is found in this order: what was named, a byte order mark, UTF-8, what HTML says
// of itself, the locale. What nobody knows stays octet for octet.
func TestComposeCharsets(t *testing.T) {
	const text = "Gr\u00fc\u00dfe an alle Leute\n"
	latin := encoded(t, charmap.ISO8859_1.NewEncoder(), text)
	koi := encoded(t, charmap.KOI8R.NewEncoder(), "Привет\n")
	utf16 := func(e unicode.Endianness) string {
		return encoded(t, unicode.UTF16(e, unicode.UseBOM).NewEncoder(), strings.ReplaceAll(text, "\n", "\r\n"))
	}
	html := `<html><META content="text/html; charset=KOI8-R" http-equiv=x><p>` + koi
	utf8, qp, b64 := "utf-8", encQP, encBase64
	for _, c := range []struct {
		name string
		d    Draft
		in   string
		want composed
	}{
		{"UTF-8 mark", Draft{}, "\ufeff" + text, composed{utf8, qp, text}},
		{"UTF-8 mark before ASCII", Draft{}, "\ufeffa\n", composed{"us-ascii", "7bit", "a\n"}},
		{"UTF-8 mark and name", Draft{Charset: "UTF-8"}, "\ufeff" + text, composed{utf8, qp, text}},
		{"UTF-16 little", Draft{}, utf16(unicode.LittleEndian), composed{utf8, qp, text}},
		{"UTF-16 big", Draft{}, utf16(unicode.BigEndian), composed{utf8, qp, text}},
		{"UTF-16 mark and no ASCII", Draft{}, "\xff\xfe\xe9\xe9\n", composed{"unknown-8bit", b64, "\xff\xfe\xe9\xe9\n"}},
		{"named", Draft{Charset: "iso-8859-1"}, latin, composed{utf8, qp, text}},
		{"named, and valid UTF-8", Draft{Charset: "iso-8859-1"}, "\u00fc", composed{utf8, b64, "\u00c3\u00bc"}},
		{"named, stateful", Draft{Charset: "iso-2022-jp"}, "\x1b$BF|\x1b(B desu, and some more text\n", composed{utf8, qp, "日 desu, and some more text\n"}},
		{"named, unknown here", Draft{Charset: "x-foo"}, latin, composed{"x-foo", qp, latin}},
		{"locale", Draft{Locale: "ISO-8859-1"}, latin, composed{utf8, qp, text}},
		{"locale, but UTF-8", Draft{Locale: "ISO-8859-1"}, text, composed{utf8, qp, text}},
		{"locale of UTF-8", Draft{Locale: "UTF-8"}, latin, composed{"unknown-8bit", qp, latin}},
		{"locale and mark", Draft{Locale: "ISO-8859-1"}, "\ufeff" + text, composed{utf8, qp, text}},
		{"field", Draft{Headers: []HeaderField{{"Content-Type", "text/plain; charset=ISO-8859-1"}}}, latin, composed{utf8, qp, text}},
		{"field of ASCII", Draft{Locale: "latin1", Headers: []HeaderField{{"Content-Type", "text/plain; charset=us-ascii"}}}, latin, composed{utf8, qp, text}},
		{"field, unknown here", Draft{Headers: []HeaderField{{"Content-Type", "text/plain; charset=x-foo"}}}, latin, composed{"x-foo", qp, latin}},
		{"field and name", Draft{Charset: "koi8-r", Headers: []HeaderField{{"Content-Type", "text/plain; charset=latin1"}}}, koi, composed{utf8, b64, "Привет\n"}},
		{"HTML as text", Draft{Locale: "latin1", Headers: []HeaderField{{"Content-Type", "text/html"}}}, html,
			composed{utf8, qp, strings.Replace(html, koi, "Привет\n", 1)}},
		{"no HTML", Draft{}, html, composed{"unknown-8bit", qp, html}},
	} {
		c.d.From, c.d.Text, c.d.Date = []Mailbox{box("", "a", "b")}, strings.NewReader(c.in), day
		msg := compose(t, c.d)
		checkWire(t, msg)
		if got := readText(t, parse(t, msg), msg); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	d := plainDraft()
	d.Text, d.HTML, d.Locale = nil, strings.NewReader(html), "latin1"
	msg := compose(t, d)
	if got := readText(t, parse(t, msg), msg); !strings.HasSuffix(got.text, "Привет\n") {
		t.Errorf("HTML: got %q", got)
	}
}

func TestDecodeInput(t *testing.T) {
	for _, c := range []struct{ charset, in, want string }{
		{"iso-8859-1", "Gr\xfc\xdfe", "Gr\u00fc\u00dfe"}, {"iso-8859-1", "Gr\u00fc\u00dfe", "Gr\u00fc\u00dfe"}, {"", "\xfc", "\xfc"},
		{"UTF-8", "\xfc", "\xfc"}, {"ANSI_X3.4-1968", "\xfc", "\xfc"},
	} {
		if got := DecodeInput(c.charset, c.in); got != c.want {
			t.Errorf("%q in %q: got %q, want %q", c.in, c.charset, got, c.want)
		}
	}
}

func TestComposeEncodings(t *testing.T) {
	long := strings.Repeat("x", 998) + "\n"
	for _, c := range []struct{ name, asked, text, charset, encoding string }{
		{"8bit", "8bit", "Gr\u00fc\u00dfe\n", "utf-8", "8bit"},
		{"8bit of ASCII, to be edited", "8bit", "a\n", "utf-8", "8bit"},
		{"8bit of nothing known", "8bit", "\xfc\xfc\n", "unknown-8bit", "8bit"},
		{"8bit, long line", "8bit", long, "utf-8", "8bit"},
		{"8bit, too long line", "8bit", "x" + long, "us-ascii", encQP},
		{"8bit, NUL", "8bit", "a\x00bc\n", "us-ascii", encQP},
		{"8bit, too large to be looked at", "8bit", strings.Repeat("line of ascii\n", 80_000), "utf-8", encQP},
		{"quoted-printable", encQP, "Привет\n", "utf-8", encQP},
		{"quoted-printable of ASCII", encQP, "a\n", "us-ascii", encQP},
		{"base64", encBase64, "a\n", "us-ascii", encBase64},
	} {
		d := plainDraft()
		d.Text, d.Encoding = strings.NewReader(c.text), c.asked
		msg := compose(t, d)
		if got, want := readText(t, parse(t, msg), msg), (composed{c.charset, c.encoding, c.text}); got != want {
			t.Errorf("%s: got %.200q, want %.200q", c.name, got, want)
		}
	}
}

// TestComposeSaysEightBit: each multipart around 8-bit data says so (RFC 2045 §6.4), and only those.
func TestComposeSaysEightBit(t *testing.T) {
	d := plainDraft()
	d.HTML, d.Encoding = strings.NewReader("<p>\u00fc\n"), "8bit"
	d.Attachments = []Attachment{{Name: "a.png", Inline: true, ContentID: "a", Open: content("x")}, {Name: "b", Open: content("y")},
		{Name: "c.eml", Open: content("Subject: c\r\n\r\n\u00fc\r\n")}}
	msg := compose(t, d)
	for path, want := range map[string]string{"": "8bit", "1": "8bit", "1.1": "8bit", "1.2": "8bit", "1.2.1": "8bit", "1.2.2": encBase64,
		"2": encBase64, "3": "8bit"} {
		parse(t, msg).Walk(func(p *Part) bool {
			if p.Path == path && p.Encoding != want {
				t.Errorf("part %s: got %s, want %s", p, p.Encoding, want)
			}
			return p.Type != "message"
		})
	}
	var seven bytes.Buffer
	if err := SevenBit(&seven, strings.NewReader(msg), int64(len(msg))); err != nil || !isASCII(seven.String()) {
		t.Errorf("for a server without 8BITMIME: %v\n%s", err, seven.String())
	}
	if msg := compose(t, fullDraft()); strings.Contains(msg, "8bit") {
		t.Errorf("8bit in a message without:\n%s", msg)
	}
}

// TestComposeTypes: a Content-Type of the caller keeps its parameters.
func TestComposeTypes(t *testing.T) {
	d := plainDraft()
	d.Headers = []HeaderField{{"Content-Type", "text/calendar; method=REQUEST; charset=utf-8; x=\"a b\""}}
	if got, want := parse(t, compose(t, d)).Header.Get("Content-Type"), `text/calendar; charset=us-ascii; method=REQUEST; x="a b"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d = plainDraft()
	d.Headers = []HeaderField{{"Content-Type", "text/html"}}
	d.Attachments = []Attachment{{Name: "a.png", Inline: true, ContentID: "logo", Open: content("x")}}
	msg := compose(t, d)
	p := parse(t, msg)
	if p.MediaType() != "multipart/related" || p.Params["type"] != "text/html" || p.Parts[1].Header.Get("Content-ID") != "<logo>" {
		t.Errorf("HTML as text, with an image: got\n%s", msg)
	}
}

func TestComposeTextAttachments(t *testing.T) {
	long := strings.Repeat("0123456\n", sniffed/8)
	for _, c := range []struct{ name, mediaType, in, want string }{
		{"a.txt", "", "a\r\n", "text/plain; charset=us-ascii"},
		{"a.txt", "", "\u00fc", "text/plain; charset=utf-8"},
		{"a.txt", "", "\xfc", "text/plain"},
		{"a.txt", "", "\xff\xfea\x00", "text/plain; charset=utf-16"},
		{"a.txt", "text/plain; charset=koi8-r", "\u00fc", "text/plain; charset=koi8-r"},
		{"a.csv", "", long + "\u00fc", "text/csv; charset=utf-8"},
		{"a.csv", "", long[1:] + "\u00fc", "text/csv; charset=utf-8"},
		{"a.bin", "text/x-y; a=b", "", "text/x-y; charset=us-ascii; a=b"},
		{"a.bin", "", "\u00fc", "application/octet-stream"},
	} {
		d := plainDraft()
		d.Attachments = []Attachment{{Name: c.name, Type: c.mediaType, Open: content(c.in)}}
		msg := compose(t, d)
		p := parse(t, msg).Parts[1]
		b, err := io.ReadAll(p.Open(strings.NewReader(msg)))
		if got := p.Header.Get("Content-Type"); got != c.want || string(b) != c.in || err != nil {
			t.Errorf("%s %s of %.20q: got %s and %.20q, %v; want %s", c.name, c.mediaType, c.in, got, b, err, c.want)
		}
	}
}

// TestComposeMessages: messages inside are never encoded where that is forbidden.
func TestComposeMessages(t *testing.T) {
	const status = "Reporting-MTA: dns; x\n\nAction: failed\n"
	for _, c := range []struct{ mediaType, in, want, encoding string }{
		{"", "Subject: x\r\n\r\ny\r\n", "message/rfc822", "7bit"},
		{"message/rfc822", "Subject: x\n\n\u00fc\n", "message/rfc822", "8bit"},
		{"message/rfc822", "Subject: x\n\n\x00\n", "message/global", encBase64},
		{"message/delivery-status", status, "message/delivery-status", "7bit"},
		{"message/delivery-status", status + "\u00fc", "application/octet-stream", encBase64},
		{"message/global", "Subject: \u00fc\n\n", "message/global", encBase64},
		{"", "Subject: x\n\nx", "message/rfc822", "7bit"},
		{"", "From a@b Mon Nov 23 04:00:00 2026\nSubject: x\n\nx", "application/octet-stream", encBase64}, // an mbox file
		{"", "no message", "application/octet-stream", encBase64},
		{"", "", "application/octet-stream", encBase64},
		{"", "\x00\xff", "application/octet-stream", encBase64},
	} {
		d := plainDraft()
		d.Attachments = []Attachment{{Name: "a.eml", Type: c.mediaType, Open: content(c.in)}}
		msg := compose(t, d)
		p := parse(t, msg).Parts[1]
		b, _ := io.ReadAll(p.Open(strings.NewReader(msg)))
		want := c.in
		if c.encoding != encBase64 {
			want = strings.TrimSuffix(strings.ReplaceAll(c.in, "\r\n", "\n"), "")
		}
		if p.MediaType() != c.want || p.Encoding != c.encoding || string(b) != want {
			t.Errorf("%s %q: got %s %q, want %s %s %q", c.mediaType, c.in, p, b, c.want, c.encoding, want)
		}
	}
}

// TestComposeNests: with the same randomness again and again, as in reproducible runs, a message in a message in a message
// still has boundaries of its own, and so has a text that looks like one.
func TestComposeNests(t *testing.T) {
	inner := ""
	for range 4 {
		d := plainDraft()
		d.Text = strings.NewReader("depth\n" + inner)
		d.Encoding = "8bit"
		d.Attachments = []Attachment{{Name: "a.eml", Open: content("Subject: x\n\n" + inner)}, {Name: "b", Open: content(inner)}}
		if inner != "" {
			d.Attachments = append(d.Attachments, Attachment{Name: "c.eml", Open: content(inner)})
		}
		msg := compose(t, d)
		p := parse(t, msg)
		if len(p.Parts) != len(d.Attachments)+1 {
			t.Fatalf("got %d parts, want %d:\n%s", len(p.Parts), len(d.Attachments)+1, msg)
		}
		if got := readText(t, p.Parts[0], msg); got.text != "depth\n"+inner {
			t.Errorf("text: got %q, want %q", got.text, "depth\n"+inner)
		}
		last, want := p.Parts[len(p.Parts)-1], inner
		b, _ := io.ReadAll(last.Open(strings.NewReader(msg)))
		if string(b) != want {
			t.Errorf("message inside: got %q, want %q", b, want)
		}
		inner = msg
	}
}

// TestComposeKeepsBcc: for a pipe into a program that reads the recipients from the header.
func TestComposeKeepsBcc(t *testing.T) {
	d := plainDraft()
	d.To, d.KeepBcc, d.Bcc = nil, true, []Mailbox{box("J\u00f6rg", "j", "b.example")}
	got := compose(t, d)
	if !strings.Contains(got, "\nBcc: =?utf-8?q?J=C3=B6rg?= <j@b.example>\n") || strings.Contains(got, "\nTo:") {
		t.Errorf("got\n%s", got)
	}
	d = plainDraft()
	d.Headers, d.KeepBcc = []HeaderField{{"Bcc", "a@b.example"}}, true
	if err := d.Write(io.Discard); err == nil {
		t.Error("a Bcc among the fields was taken")
	}
}

// TestComposeURLs: a URL of a list stays what it is, and is never encoded.
func TestComposeURLs(t *testing.T) {
	d := plainDraft()
	long := "<mailto:leave@list.example?subject=" + strings.Repeat("x", 100) + ">"
	d.Headers = []HeaderField{{"List-Unsubscribe", long + ", <https://list.example/leave>"}, {"List-Post", "NO (gr\u00fcn)"}}
	got := compose(t, d)
	for _, want := range []string{"\nList-Unsubscribe: " + long + ",\n <https://list.example/leave>\n", "\nList-Post: =?utf-8?"} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant %q", got, want)
		}
	}
}
