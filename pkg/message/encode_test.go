package message

import (
	"mime"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMessageLook(t *testing.T) {
	const as7bit, as8bit, other = "7bit", "8bit", ""
	for in, want := range map[string]string{
		"": as7bit, "a\n": as7bit, "a\r\nb": as7bit, "a\rb": other, "a\x00": other, "\n\n\x80": as8bit, "\u00fc": as8bit, "a\r": other,
		strings.Repeat("x", 998) + "\n" + strings.Repeat("x", 998): as7bit, strings.Repeat("x", 999): other,
		"\n" + strings.Repeat("x", 999) + "\n": other, "a: \u00fc\n\nb": other, "a: b\n\n\u00fc": as8bit,
		"Content-Type: message/rfc822\n\na: \u00fc\n\nb": other,
	} {
		a := Attachment{Open: content(in)}
		l, err := a.look()
		got := other
		switch {
		case l.is7bit():
			got = as7bit
		case l.is8bit():
			got = as8bit
		}
		if got != want || err != nil {
			t.Errorf("%.20q (%d octets): got %q, %v; want %q", in, len(in), got, err, want)
		}
	}
	in := "--=_a\r\n --=_b\n--=c\n-=_d\n--=_\n--=_e"
	if l, err := (Attachment{Open: content(in)}).look(); err != nil || strings.Join(l.delims, " ") != "--=_a --=_e" {
		t.Errorf("%q: got %q, %v", in, l.delims, err)
	}
}

func TestAppendText(t *testing.T) {
	word := strings.Repeat("w", 80)
	for in, want := range map[string]string{
		"":                                  "S: \n",
		"a  b\tc":                           "S: a  b\tc\n",
		"a =?x?= b":                         "S: =?utf-8?q?a_=3D=3Fx=3F=3D_b?=\n",
		word:                                "S: =?utf-8?q?" + word[:51] + "?=\n =?utf-8?q?" + word[51:] + "?=\n",
		"https://e.example/" + word:         "S: https://e.example/" + word + "\n",
		strings.Repeat("word ", 20) + "end": "S:" + strings.Repeat(" word", 14) + "\n" + strings.Repeat(" word", 6) + " end\n",
		"\xff latin":                        "S: =?unknown-8bit?q?=FF_latin?=\n",
		"Привет":                            "S: =?utf-8?b?0J/RgNC40LLQtdGC?=\n",
	} {
		got, err := appendText(nil, "S", in)
		if string(got) != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParams(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "x/y; name=a.txt", "a b": `x/y; name="a b"`, `a"\b`: `x/y; name="a\"\\b"`, "": `x/y; name=""`,
		"ü.txt": "x/y; name*=utf-8''%C3%BC.txt", "=?q?x": "x/y; name*=utf-8''%3D%3Fq%3Fx",
		"it's": `x/y; name="it's"`, "a*": `x/y; name="a*"`, "5%": `x/y; name="5%"`, "utf-8''x": `x/y; name="utf-8''x"`,
	} {
		if got := strings.Join(paramTokens("x/y", "name", in), ""); got != " "+want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzText2047 prints a text as a header field and reads it again.
func FuzzText2047(f *testing.F) {
	for _, s := range []string{"Grüße  an alle", " x ", "=?utf-8?q?x?=", strings.Repeat("long", 30), strings.Repeat("Ж", 90), "a\tb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := appendText(nil, "Subject", s)
		if err != nil || !utf8.ValidString(s) || len(s) > 5000 {
			return
		}
		for line := range strings.Lines(string(raw)) {
			if len(line) > foldAt+1 && !strings.Contains(line, "://") || !isASCII(line) {
				t.Fatalf("%q: bad line %q", s, line)
			}
		}
		h, body := readHeader(t, strings.NewReader(string(raw)))
		if got := DecodeText(h.Get("Subject")); got != Printable(s) || body != "" || h.Len() != 1 {
			t.Fatalf("printed %q: got %q, want %q", raw, got, Printable(s))
		}
	})
}

// FuzzParam prints a parameter and reads it with another parser.
func FuzzParam(f *testing.F) {
	for _, s := range []string{"a b.txt", strings.Repeat("ü", 100), `"\`, "100%", "a'b*c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || badControl(s, false) != "" || len(s) > 2000 {
			return
		}
		value := strings.Join(paramTokens("attachment", "filename", s), "")
		if _, params, err := mime.ParseMediaType(value); err != nil || params["filename"] != s {
			t.Fatalf("%q: printed %q, got %q, %v", s, value, params["filename"], err)
		}
	})
}
