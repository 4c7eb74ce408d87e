package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/text/unicode/norm"
)

func TestContaining(t *testing.T) {
	for _, tt := range []struct {
		want, text string
		found      bool
	}{
		{"", "", true},
		{"", "x", true},
		{"größe", "GRÖSSE", true},
		{"GRÖẞE", "die Größe\n", true},
		{"Σίσυφος", "ΣΊΣΥΦΟΣ", true},
		{"e\u0301tat", "état", true},
		{"état", "E\u0301TAT", true},
		{"disk full", "disk\r\n  full", true},
		{"disk full", "disk\u00a0full", true},
		{"disk  full", "disk full", true},
		{"disk full", "diskfull", false},
		{"Donaudampf", "Donau\u00addampf", true},
		{"K", "\u212a", true}, // Kelvin
		{"a", "b", false},
		{"groesse", "größe", false},
		{"\xff", "x\xffy", true},
	} {
		if got := Containing(tt.want).In(tt.text); got != tt.found {
			t.Errorf("%q in %q: %v, want %v", tt.want, tt.text, got, tt.found)
		}
	}
}

func TestMatching(t *testing.T) {
	p := Matching(regexp.MustCompile(`(?i)^b(a|o)d$`).MatchString)
	for text, want := range map[string]bool{"bad": true, "a\nBOD\r\nc": true, "bad idea": false, "": false} {
		if p.In(text) != want {
			t.Errorf("in %q: %v", text, !want)
		}
	}
	if !Matching(regexp.MustCompile(`^$`).MatchString).In("") {
		t.Error("the empty text has no empty line")
	}
}

// findIn looks into the body of a message.
func findIn(t *testing.T, p *Pattern, msg string, header bool) bool {
	t.Helper()
	root, err := Parse(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	found, err := p.InBody(root, strings.NewReader(msg), header)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const latin1Base64 = "Subject: =?utf-8?q?L=C3=A4nge?=\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: base64\n\n" +
	"RGllIEdy9t9lIGlzdA==\n"

const manyParts = `Subject: outside
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>Gr=C3=B6=C3=9F<b>en</b> &amp; <a href=3D"http://x.example/">L=C3=A4ngen</a><script>hidden()</script>
--b
Content-Type: application/octet-stream; name*=utf-8''Ma%C3%9Fe.bin
Content-Transfer-Encoding: base64

UmVjaG51bmc=
--b
Content-Type: message/rfc822

Subject: =?iso-8859-1?q?Inh=E4lt?=

inner text
--b--
`

func TestInBody(t *testing.T) {
	for _, tt := range []struct {
		want, msg     string
		header, found bool
	}{
		{"größe", latin1Base64, false, true},
		{"länge", latin1Base64, false, false},
		{"länge", latin1Base64, true, true},
		{"subject: LÄNGE", latin1Base64, true, true},
		{"Größen & Längen", manyParts, false, true},
		{"hidden", manyParts, false, false},
		{"<p>", manyParts, false, false},
		{"Rechnung", manyParts, false, false}, // only texts are looked into
		{"inhält", manyParts, false, true},
		{"inner text", manyParts, false, true},
		{"outside", manyParts, false, false},
		{"outside", manyParts, true, true},
		{"preamble", manyParts, true, false},
		{"Maße.bin", manyParts, false, false}, // as it stands it is Ma%C3%9Fe
	} {
		if got := findIn(t, Containing(tt.want), tt.msg, tt.header); got != tt.found {
			t.Errorf("%q with header %v: %v, want %v in\n%s", tt.want, tt.header, got, tt.found, tt.msg)
		}
	}
	if !findIn(t, Matching(regexp.MustCompile(`^Größen & L`).MatchString), manyParts, false) {
		t.Error("no match in HTML")
	}
	if !findIn(t, Matching(regexp.MustCompile(`^Die Größe`).MatchString), latin1Base64, false) {
		t.Error("no match in a text")
	}
}

// What stands at the seam of two pieces is found, wherever the seam is.
func TestFoundAcrossPieces(t *testing.T) {
	for at := range 100 {
		text := strings.Repeat("ä", at) + " Nadel\nim Heu" + strings.Repeat("ö", 100)
		for _, size := range []int64{8, 9, 16, 31} {
			for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "octets": iotest.OneByteReader(strings.NewReader(text))} {
				if found, err := Containing("nadel IM heu").inReader(r, size); !found || err != nil {
					t.Fatalf("at %d, pieces of %d, %s: %v, %v", at, size, name, found, err)
				}
			}
		}
	}
}

// A part of 64 MiB takes no more memory than a small one, and a line of it is no trouble.
func TestGiantPart(t *testing.T) {
	for _, mediaType := range []string{"text/plain", "text/html"} {
		header := "Content-Type: " + mediaType + "\n\n"
		size := int64(64 << 20)
		giant := &giantText{header: header, size: size, end: " needle"}
		part := &Part{Type: "text", Subtype: strings.TrimPrefix(mediaType, "text/"), End: size}
		if found, err := Containing("needle").InText(part, giant); !found || err != nil {
			t.Errorf("%s: %v, %v", mediaType, found, err)
		}
		if found, err := Matching(func(s string) bool { return strings.Contains(s, "needle") }).InText(part, giant); !found || err != nil {
			t.Errorf("%s, lines: %v, %v", mediaType, found, err)
		}
	}
}

// giantText is one line of "a" with an end.
type giantText struct {
	header, end string
	size        int64
}

func (g *giantText) ReadAt(p []byte, at int64) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	n := min(int64(len(p)), g.size-at)
	if from := g.size - int64(len(g.end)); at+n > from {
		for i := max(at, from); i < at+n; i++ {
			p[i-at] = g.end[i-from]
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// An error of the file comes back.
func TestFindReadError(t *testing.T) {
	msg := "Subject: x\n\n" + strings.Repeat("text\n", 100)
	root, err := Parse(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Pattern{Containing("none"), Matching(func(string) bool { return false })} {
		if found, err := p.InBody(root, failingAt{}, true); found || err == nil {
			t.Errorf("%v, %v", found, err)
		}
	}
}

type failingAt struct{}

func (failingAt) ReadAt([]byte, int64) (int, error) { return 0, fmt.Errorf("no disk") }

// FuzzPattern: a text that is read piece by piece has what it has as a whole, and an encoded one what it has in the clear.
func FuzzPattern(f *testing.F) {
	f.Add("die Größe", "Größe")
	f.Add("a b\r\nc\u00add", "b cd")
	f.Add(strings.Repeat("x ", 40)+"Y", "y")
	f.Fuzz(func(t *testing.T, text, want string) {
		text, want = strings.ToValidUTF8(text, "?"), strings.ToValidUTF8(want, "?")
		p := Containing(want)
		if !norm.NFC.IsNormalString(text) {
			t.Skip("what a seam does to a character that is not composed is no matter")
		}
		whole := p.In(text)
		found, err := p.inReader(strings.NewReader(text), 16)
		if err != nil || found != whole {
			t.Fatalf("%q in %q: %v as a whole, in pieces %v, %v", want, text, whole, found, err)
		}
		var msg bytes.Buffer
		msg.WriteString("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n")
		msg.WriteString(base64.StdEncoding.EncodeToString([]byte(text)) + "\n")
		root, err := Parse(bytes.NewReader(msg.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if found, err := p.InBody(root, bytes.NewReader(msg.Bytes()), false); err != nil || found != whole {
			t.Fatalf("%q in %q: %v as it is, encoded %v, %v", want, text, whole, found, err)
		}
	})
}
