package message

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestDamage(t *testing.T) {
	for _, tt := range []struct{ encoding, body, want, damage string }{
		{"base64", "aGVsbG8=", "hello", ""},
		{"base64", "aGVs\r\nbG8=\n", "hello", ""},
		{"base64", "aGVs\n bG8=", "hello", ""},
		{"base64", "aGVsbG8", "hello", "base64 that was cut short"},
		{"base64", "aGVsb", "hel", "base64 that was cut short"},
		{"base64", "aGVsbG8=aGVsbG8=", "hellohello", ""}, // QUIRK: two pieces in one
		{"base64", "aGVs*bG8=!", "hello", "base64 with 2 octets in it that are none"},
		{"base64", "", "", ""},
		{"quoted-printable", "a=3D=\nb", "a=b", ""},
		{"quoted-printable", "a=zz", "a=zz", "quoted-printable with 1 escapes in it that are none"},
		{"quoted-printable", "a=4", "a=4", "quoted-printable with 1 escapes in it that are none"},
		{"8bit", "\xff", "\xff", ""},
		{"x-uuencode", "begin", "begin", "unknown encoding x-uuencode, not decoded"},
	} {
		p := &Part{Encoding: tt.encoding, End: int64(len(tt.body))}
		for name, read := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "octets": iotest.OneByteReader} {
			d := p.Decode(strings.NewReader(tt.body))
			got, err := io.ReadAll(read(d))
			if string(got) != tt.want || err != nil || d.Damage() != tt.damage {
				t.Errorf("%s %q, %s: %q, %v, damage %q; want %q, damage %q", tt.encoding, tt.body, name, got, err, d.Damage(), tt.want, tt.damage)
			}
		}
	}
}

func TestInCharset(t *testing.T) {
	for _, tt := range []struct{ from, text, to, want string }{
		{"iso-8859-1", "Gr\xf6\xdfe", "utf-8", "Größe"},
		{"utf-8", "Größe", "iso-8859-1", "Gr\xf6\xdfe"},
		{"utf-8", "Größe €", "us-ascii", "Gr??e ?"},
		{"", "x", "UTF8", "x"},
		{"iso-2022-jp", "\x1b$B$3\x1b(B", "utf-8", "こ"},
	} {
		p := &Part{Params: map[string]string{"charset": tt.from}}
		for _, r := range []io.Reader{strings.NewReader(tt.text), iotest.OneByteReader(strings.NewReader(tt.text))} {
			text, ok := p.InCharset(r, tt.to)
			if !ok {
				t.Fatalf("%s is unknown", tt.to)
			}
			if got, err := io.ReadAll(text); string(got) != tt.want || err != nil {
				t.Errorf("%q from %q to %s: %q, %v; want %q", tt.text, tt.from, tt.to, got, err, tt.want)
			}
		}
	}
	if _, ok := (&Part{}).InCharset(strings.NewReader(""), "x-none"); ok {
		t.Error("x-none is known")
	}
}

func TestFileName(t *testing.T) {
	for _, tt := range []struct{ header, want string }{
		{"Content-Type: message/rfc822\n", "part-1.eml"},
		{"Content-Type: message/rfc822; name=\"Re: hello\"\n", "Re: hello.eml"},
		{"Content-Type: application/pdf; name=../../etc/passwd\n", "passwd"},
		{"Content-Type: application/pdf; name=\"..\"\n", "part-1.pdf"},
		{"Content-Type: application/pdf; name=\".bashrc\"\n", "bashrc"},
		{"Content-Type: application/pdf; name=\"a\\\\b\\\\c.pdf\"\n", "c.pdf"},
		{"Content-Disposition: attachment; filename*0*=utf-8''Gr%C3%B6; filename*1*=%C3%9Fe; filename*2=.pdf\n", "Größe.pdf"},
		{"Content-Disposition: attachment; filename=\"=?utf-8?q?a=1B=0A_b?=\"\n", "a_  b"},
		{"Content-Disposition: attachment; filename=\"" + strings.Repeat("x", 500) + ".tar\"\n", strings.Repeat("x", 196) + ".tar"},
	} {
		root, err := Parse(strings.NewReader(tt.header + "\nx\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := root.FileName(); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.header, got, tt.want)
		}
	}
}
