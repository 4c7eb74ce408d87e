package message

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

func fit(t testing.TB, in string) string {
	t.Helper()
	var out bytes.Buffer
	if err := Fit(&out, strings.NewReader(in), int64(len(in))); err != nil {
		t.Fatalf("%.200q: %v", in, err)
	}
	return out.String()
}

// TestFit: what SMTP has no room for is encoded or folded, and nothing else changes.
func TestFit(t *testing.T) {
	x, long := strings.Repeat("x", 998), strings.Repeat("x", 999)
	soft := strings.Repeat(strings.Repeat("x", 75)+"=\n", 13) + strings.Repeat("x", 24)
	wrapped := strings.Repeat(strings.Repeat("x", 76)+"\n", 13) + strings.Repeat("x", 11)
	signature := "DKIM-Signature: v=1\n"
	for name, c := range map[string]struct{ in, want string }{
		"998 stay":  {"Subject: x\n\n" + x + "\n" + x, "Subject: x\n\n" + x + "\n" + x},
		"8 bit too": {"Subject: ü\n\nü\n", "Subject: ü\n\nü\n"},
		"999": {"Subject: x\n\n" + long + "\n",
			"Subject: x\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n" + soft + "\n"},
		"NUL": {"Subject: x\n\na\x00b = \n",
			"Subject: x\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\na=00b =3D=20\n"},
		"8 bit and long": {"MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nü" + long,
			"MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC" +
				strings.Repeat("x", 69) + "=\n" + strings.Repeat(strings.Repeat("x", 75)+"=\n", 12) + strings.Repeat("x", 30)},
		"one part of many": {
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: binary\n\nprä\n--b\n\nü\n--b\nContent-Transfer-Encoding: binary\n\n" + long + "\n--b\nContent-Type: application/x\n\n\x00\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\nprä\n--b\n\nü\n--b\nContent-Transfer-Encoding: quoted-printable\n\n" + soft + "\n--b\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\nAA==\n--b--\n"},
		"base64 in one line": {"Content-Transfer-Encoding: base64\n\n" + long + "\n\nAA==\n",
			"Content-Transfer-Encoding: base64\n\n" + wrapped + "\n\nAA==\n"},
		"quoted-printable in one line": {"Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("=C3=BC", 200) + "=\nx\n",
			"Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat(strings.Repeat("=C3=BC", 12)+"=\n", 16) + strings.Repeat("=C3=BC", 8) + "=\nx\n"},
		"other encodings stay": {"Content-Transfer-Encoding: x-uuencode\n\n" + long, "Content-Transfer-Encoding: x-uuencode\n\n" + long},
		"a header": {"To: a@x.example" + strings.Repeat(", b@x.example", 100) + "\nSubject: x\n\nx\n",
			"To: a@x.example" + strings.Repeat(strings.Repeat(", b@x.example", 4)+",\n b@x.example", 1) + strings.Repeat(strings.Repeat(", b@x.example", 4)+",\n b@x.example", 19) + "\nSubject: x\n\nx\n"},
		"signed": {signature + "\n" + long, signature + "\n" + long},
		"signed by MIME": {"Content-Type: multipart/signed; boundary=s\n\n--s\n\n" + long + "\n--s--\n",
			"Content-Type: multipart/signed; boundary=s\n\n--s\n\n" + long + "\n--s--\n"},
		"beside what is signed": {"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n" + signature + "\n" + long + "\n--b\n\n" + long + "\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n" + signature + "\n" + long + "\n--b\nContent-Transfer-Encoding: quoted-printable\n\n" + soft + "\n--b--\n"},
		"a message inside":         {"Content-Type: message/rfc822\n\nSubject: y\n\n" + long, "Content-Type: message/rfc822\n\nSubject: y\nContent-Transfer-Encoding: quoted-printable\n\n" + soft},
		"what must not be encoded": {"Content-Type: message/partial\n\n" + long, "Content-Type: message/partial\n\n" + long},
	} {
		if got := fit(t, c.in); got != c.want {
			t.Errorf("%s: got\n%q\nwant\n%q", name, got, c.want)
		}
	}
	if err := Fit(&bytes.Buffer{}, brokenAt{}, 100); err != iotest.ErrTimeout {
		t.Errorf("a message that can't be read: %v", err)
	}
}

// TestFold: where a field may be folded, and where not.
func TestFold(t *testing.T) {
	a30 := strings.Repeat("a", 30)
	for _, tt := range []struct{ line, want string }{
		{"Subject: " + a30 + " " + a30 + " " + a30 + "\n", "Subject: " + a30 + " " + a30 + "\n " + a30 + "\n"},
		{"Subject: " + a30 + a30 + a30 + "\t" + a30 + "\n", "Subject:\n " + a30 + a30 + a30 + "\n\t" + a30 + "\n"},
		{"Subject: " + a30 + a30 + a30 + "   \n", "Subject:\n " + a30 + a30 + a30 + "   \n"},
		{"Subject:" + a30 + a30 + a30 + ",b\n", "Subject:" + a30 + a30 + a30 + ",b\n"},
		{"To:" + a30 + "@x,b@x," + a30 + a30 + "@y\n", "To:" + a30 + "@x,b@x,\n " + a30 + a30 + "@y\n"},
		{"Cc:" + a30 + `@x,"b,` + a30 + `\",c"@x,` + a30 + "@y\n", "Cc:" + a30 + "@x,\n" + ` "b,` + a30 + `\",c"@x,` + a30 + "@y\n"},
		{"Resent-To:" + a30 + a30 + a30 + "@x (a,b),c@x\n", "Resent-To:" + a30 + a30 + a30 + "@x\n (a,b),c@x\n"},
		{" continued " + a30 + a30 + a30 + "\n", " continued\n " + a30 + a30 + a30 + "\n"},
	} {
		isList := !strings.HasPrefix(tt.line, "Subject") && !strings.HasPrefix(tt.line, " ")
		if got := string((&folder{isList: isList}).append(nil, []byte(tt.line), 0)); got != tt.want {
			t.Errorf("%q: got\n%q\nwant\n%q", tt.line, got, tt.want)
		}
	}
}

// TestOddities: whatever the cuts are, a line is too long from 999 octets on, and not before.
func TestOddities(t *testing.T) {
	for _, n := range []int{0, 1, 997, 998, 999, 2500} {
		for _, end := range []string{"", "\n", "\nx\n"} {
			for _, before := range []string{"", "\n", "ab\n", strings.Repeat("y", 998) + "\n"} {
				text := before + strings.Repeat("x", n) + end
				for _, cut := range []int{1, 2, 7, 998, 999, 1000, 5000} {
					var o Oddities
					for rest := []byte(text); len(rest) > 0; rest = rest[min(cut, len(rest)):] {
						o.See(rest[:min(cut, len(rest))])
					}
					if o.long != (n > 998) {
						t.Errorf("%d octets behind %d, in cuts of %d: got %v", n, len(before), cut, o.long)
					}
				}
			}
		}
	}
}

// FuzzFit: parts keep what is in them, fields what they say, nothing is longer than before that need not be, and what fits
// is not touched.
func FuzzFit(f *testing.F) {
	long := strings.Repeat("x", 1200)
	f.Add("Subject: x\n\n"+long+"\n", 0)
	f.Add("Content-Type: multipart/mixed; boundary=b\n\n\xff\n--b\n\nü\x00\n--b\nContent-Type: message/rfc822\n\n\nü\n--b--\n\xff\n", 1)
	f.Add("To: a, b\nContent-Transfer-Encoding: base64\n\nAAAA\n", 2000)
	f.Add("Content-Type: multipart/mixed; boundary=\"xx\"\n\n--xx\nContent-Transfer-Encoding: quoted-printable\n\n=3D--xx\n--xx--", 900)
	f.Add("Content-Type: multipart/signed; boundary=s\n\n--s\n\nx\n--s--\n", 999)
	f.Fuzz(func(t *testing.T, in string, n int) {
		in = strings.ReplaceAll(in, "\r", "")
		if i := strings.LastIndexAny(in, "x,= a"); i >= 0 && n > 0 { // lines that are too long are rare
			in = in[:i] + strings.Repeat(in[i:i+1], min(n, 3000)) + in[i:]
		}
		out := fit(t, in)
		var odd Oddities
		if !odd.Unfit([]byte(in)) && out != in {
			t.Fatalf("%q\nbecomes %q without need", in, out)
		}
		if strings.Contains(strings.ToLower(in), "global") {
			return
		}
		before, after := leafBodies(t, in), leafBodies(t, out)
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("%q\nbecomes %q:\nparts %q\nare %q", in, out, before, after)
		}
		if a, b := fieldsOf(t, in), fieldsOf(t, out); !strings.HasPrefix(b, a) {
			t.Fatalf("%q\nbecomes %q:\nfields\n%s\nare\n%s", in, out, a, b)
		}
		if twice := fit(t, out); twice != out {
			t.Fatalf("%q\nbecomes %q\nand that %q", in, out, twice)
		}
	})
}

// fieldsOf are the fields of a message without white space, and without those that are about encoding.
func fieldsOf(t testing.TB, msg string) string {
	t.Helper()
	h, err := ReadHeader(bufio.NewReader(strings.NewReader(msg)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range h.Fields() {
		if !f.Is("Content-Transfer-Encoding") && !f.Is("MIME-Version") {
			b.WriteString(strings.Join(strings.Fields(string(f.Raw())), "") + "\n")
		}
	}
	return b.String()
}
