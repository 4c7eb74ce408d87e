package message

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func parse(t testing.TB, msg string) *Part {
	t.Helper()
	p, err := Parse(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func outline(p *Part, msg string) string {
	var b strings.Builder
	p.Walk(func(q *Part) bool {
		fmt.Fprintf(&b, "[%s %s %d %q]", q.Path, q.MediaType(), q.Lines, msg[q.BodyAt:q.End])
		return true
	})
	return b.String()
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", `[ text/plain 0 ""]`},
		{"no header", "Do you like ketchup?\n", `[ text/plain 1 "Do you like ketchup?\n"]`},
		{"simple", "Subject: x\n\na\nb\n", `[ text/plain 2 "a\nb\n"]`},
		{"no last LF", "Subject: x\n\na\nb", `[ text/plain 1 "a\nb"]`},
		{"multipart", "Content-Type: multipart/mixed; boundary=x\n\npre\n--x\n\na\n--x \nContent-Type: text/html\n\nb\n\n--x--\npost\n",
			`[ multipart/mixed 11 "pre\n--x\n\na\n--x \nContent-Type: text/html\n\nb\n\n--x--\npost\n"][1 text/plain 0 "a"][2 text/html 1 "b\n"]`},
		{"crlf", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\nb\r\n--x--\r\n",
			`[ multipart/mixed 5 "--x\r\n\r\na\r\nb\r\n--x--\r\n"][1 text/plain 1 "a\r\nb"]`},
		{"boundary that does not end", "Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n",
			`[ multipart/mixed 3 "--x\n\na\n"][1 text/plain 1 "a\n"]`},
		{"prefixes of each other", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=xx\n\n" +
			"--xx\n\na\n--xx--\n--x\n\nb\n--xx\n--x--\n",
			`[ multipart/mixed 12 "--x\nContent-Type: multipart/mixed; boundary=xx\n\n--xx\n\na\n--xx--\n--x\n\nb\n--xx\n--x--\n"]` +
				`[1 multipart/mixed 3 "--xx\n\na\n--xx--"][1.1 text/plain 0 "a"][2 text/plain 1 "b\n--xx"]`},
		{"inner one does not end", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=y\n\n" +
			"--y\n\na\n--x\n\nb\n--x--\n",
			`[ multipart/mixed 10 "--x\nContent-Type: multipart/mixed; boundary=y\n\n--y\n\na\n--x\n\nb\n--x--\n"]` +
				`[1 multipart/mixed 2 "--y\n\na"][1.1 text/plain 0 "a"][2 text/plain 0 "b"]`},
		{"empty part", "Content-Type: multipart/mixed; boundary=\"a:b\"\n\n--a:b\n--a:b\n\n--a:b--\n",
			`[ multipart/mixed 4 "--a:b\n--a:b\n\n--a:b--\n"][1 text/plain 0 ""][2 text/plain 0 ""]`},
		{"digest", "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: q\n\nbody\n--x--\n",
			`[ multipart/digest 6 "--x\n\nSubject: q\n\nbody\n--x--\n"][1 message/rfc822 2 "Subject: q\n\nbody"][1 text/plain 0 "body"]`},
		{"message that is empty", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\n\n--x--\n",
			`[ multipart/mixed 5 "--x\nContent-Type: message/rfc822\n\n\n--x--\n"][1 message/rfc822 0 ""][1 text/plain 0 ""]`},
		{"message of a header, crlf", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\n--x--\r\n",
			`[ multipart/mixed 6 "--x\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\n--x--\r\n"][1 message/rfc822 1 "A: b\r\n"][1 text/plain 0 ""]`},
		{"message of a header without its end", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\nA: b\n--x--\n",
			`[ multipart/mixed 5 "--x\nContent-Type: message/rfc822\n\nA: b\n--x--\n"][1 message/rfc822 0 "A: b"][1 text/plain 0 ""]`},
		{"message that is not there", "Content-Type: multipart/digest; boundary=x\n\n--x\n\n--x--\n",
			`[ multipart/digest 3 "--x\n\n--x--\n"][1 message/rfc822 0 ""][1 text/plain 0 ""]`},
		{"message of an empty line", "Content-Type: multipart/digest; boundary=x\n\n--x\n\n\n\n--x--\n",
			`[ multipart/digest 5 "--x\n\n\n\n--x--\n"][1 message/rfc822 1 "\n"][1 text/plain 0 ""]`},
		{"message in a message, both empty", "Content-Type: multipart/digest; boundary=x\n\n--x\n\nContent-Type: message/rfc822\n\n\n--x--\n",
			`[ multipart/digest 6 "--x\n\nContent-Type: message/rfc822\n\n\n--x--\n"][1 message/rfc822 2 "Content-Type: message/rfc822\n\n"]` +
				`[1 message/rfc822 0 ""][1 text/plain 0 ""]`},
		{"no boundary", "Content-Type: multipart/mixed\n\n--\nb\n", `[ multipart/mixed 2 "--\nb\n"]`},
		{"broken type", "Content-Type: text; foo=\n\nb\n", `[ text/plain 1 "b\n"]`},
		{"broken parameters", "Content-Type: multipart/mixed; a=(; boundary=\"x;\"; b\n\n--x;\n\nb\n--x;--\n",
			`[ multipart/mixed 4 "--x;\n\nb\n--x;--\n"][1 text/plain 0 "b"]`},
	} {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "octets": iotest.OneByteReader(strings.NewReader(c.in)),
		} {
			p, err := Parse(r)
			if got := outline(p, c.in); err != nil || got != c.want {
				t.Errorf("%s, %s: %v\ngot  %s\nwant %s", c.name, name, err, got, c.want)
			}
		}
	}
}

// TestHostileMIME is CVE-2020-12100 and its kin: linear time, bounded depth.
func TestHostileMIME(t *testing.T) {
	var deep, rfc822 strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
		rfc822.WriteString("Content-Type: message/rfc822\n\n")
	}
	for name, msg := range map[string]string{
		"deep": deep.String(), "rfc822": rfc822.String(),
		"wide":   "Content-Type: multipart/mixed; boundary=x\n\n" + strings.Repeat("--x\n\na\n", 100_000),
		"params": "Content-Type: text/plain" + strings.Repeat("; a=b", 40_000) + "\n\n",
		"fields": strings.Repeat("Content-Type: x/y\n", 100_000) + "\n",
		"line":   "Content-Type: multipart/mixed; boundary=x\n\n" + strings.Repeat("--", 500_000),
	} {
		start := time.Now()
		p := parse(t, msg)
		parts, depth := 0, 0
		p.Walk(func(q *Part) bool {
			parts++
			depth = max(depth, strings.Count(q.Path, "."))
			return true
		})
		if parts > MaxParts || depth > MaxDepth || time.Since(start) > 20*time.Second {
			t.Errorf("%s: %d parts, depth %d, %v", name, parts, depth, time.Since(start))
		}
		p.TextPart()
		p.Attachments()
	}
	broken := errors.New("broken disk")
	if _, err := Parse(io.MultiReader(strings.NewReader("A: b\n\nx"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("broken reader: got %v", err)
	}
	if _, err := Parse(io.MultiReader(strings.NewReader("A: b\nB"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("broken reader in the header: got %v", err)
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"latin-1", "Content-Type: text/plain; charset=ISO-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe =80\n", "Grüße €\n"},
		{"koi8", "Content-Type: text/plain; charset=koi8-r\n\n\xf0\xd2\xc9\xd7\xc5\xd4\n", "Привет\n"},
		{"jis", "Content-Type: text/plain; charset=iso-2022-jp\n\n\x1b$B$\"\x1b(B\n", "あ\n"},
		{"unknown charset", "Content-Type: text/plain; charset=klingon\n\na\xffb ü\n", "a\ufffdb ü\n"},
		{"terminal escapes", "Subject: x\n\na\x1b[2Jb\tc\u009b\u202ed\r\n", "a\ufffd[2Jb\tc\ufffd\ufffdd\n"},
		{"broken base64", "Content-Transfer-Encoding: base64\n\nYW*\nJj!ZGU=Zmc==\nZ", "abcdefg"},
		{"broken qp", "Content-Transfer-Encoding: quoted-printable\n\na=ZZb=\n c= \nd=3", "a=ZZb cd=3"},
		{"unknown encoding", "Content-Transfer-Encoding: x-uue\n\nabc\n", "abc\n"},
		{"html only", "Content-Type: text/html\n\n<html><head><title>no</title></head><style>p{}</style><p>Hello &amp; <b>you</b>" +
			"</p><ul><li>one<li>two</ul><script>x()</script><a href=\"https://e.org/?a=1&amp;b\">link</a><!-- no -->", "Hello & you\n\n- one\n- two\nlink <https://e.org/?a=1&b>\n"},
		{"alternative", "Content-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/html\n\n<p>h\n--x\n\nplain\n--x--\n", "plain"},
		{"after an attachment", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Disposition: attachment\n\nno\n--x\n\nyes\n--x--\n", "yes"},
	} {
		p := parse(t, c.in)
		got, cut, err := p.TextPart().Text(strings.NewReader(c.in), 1<<20)
		if got != c.want || cut || err != nil {
			t.Errorf("%s: got %q, %v, %v; want %q", c.name, got, cut, err, c.want)
		}
	}
	msg := "\naüü"
	if got, cut, _ := parse(t, msg).Text(strings.NewReader(msg), 4); got != "aü" || !cut {
		t.Errorf("cut text: got %q, %v", got, cut)
	}
}

func TestAttachments(t *testing.T) {
	msg := compose(t, fullDraft())
	var got []string
	for _, a := range parse(t, msg).Attachments() {
		got = append(got, a.Name)
	}
	want := "logo.png|Prüfbericht mit einem sehr langen Namen, der nicht in eine Zeile passt (März).pdf|mail.eml|acht.eml|a_b.txt"
	if g := strings.ReplaceAll(strings.Join(got, "|"), `"`, "_"); g != want {
		t.Errorf("got %q, want %q", g, want)
	}
	plain := "Subject: x\n\nbody\n"
	if list := parse(t, plain).Attachments(); len(list) != 0 {
		t.Errorf("plain message: got %v", list)
	}
	image := "Content-Type: image/png\n\nx"
	if list := parse(t, image).Attachments(); len(list) != 1 || list[0].Name != "part-1.png" {
		t.Errorf("image: got %v", list)
	}
}

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "a.txt", "../../etc/passwd": "passwd", `C:\x\y.exe`: "y.exe", "..": "", ".": "", "": "", "/": "", ".bashrc": "bashrc",
		"a\nb\x00\x1bc": "a_b__c", "a\u202egpj.exe": "a_gpj.exe", " -rf ": "rf", "a/": "",
		strings.Repeat("ü", 300) + ".pdf": strings.Repeat("ü", 98) + ".pdf",
	} {
		if got := SafeName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	h, _ := readHeader(t, strings.NewReader("From: =?utf-8?q?J=C3=B6rg=1B?= <j@x.example>\nTo: a@b, \"C, D\" <e@f>\nTo: g@h\n"+
		"Subject: =?iso-8859-1?q?Gr=FC=DFe?=\n =?utf-8?b?4oKs?= \x1b[31m =?x?q?broken\nDate: Sun, 01 Mar 2026 09:05:07 +0100\n"+
		"Message-ID: <1@x>\n\n"))
	got := Summarize(h)
	want := Summary{From: "Jörg\ufffd <j@x.example>", To: "a@b, C, D <e@f>, g@h", Subject: "Grüße€ \ufffd[31m =?x?q?broken",
		MessageID: "<1@x>", Date: got.Date}
	if got != want || !got.Date.Equal(day) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := DisplayAddresses("not \xff an <address"); got != "not \ufffd an <address" {
		t.Errorf("got %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=x\n\npre\n--x\n\na\n--x--\n")
	f.Add("Content-Type: message/rfc822\n\nContent-Type: text/html\n\n<a href='x'>&amp;<script>")
	f.Add("Content-Transfer-Encoding: base64\n\nYWJ=j")
	f.Add("Content-Type: multipart/digest; boundary=\"\r\n\n--\n")
	f.Fuzz(func(t *testing.T, msg string) {
		p := parse(t, msg)
		q, err := Parse(iotest.OneByteReader(strings.NewReader(msg)))
		if err != nil || outline(p, msg) != outline(q, msg) {
			t.Fatalf("%q: whole %s, by octets %s, %v", msg, outline(p, msg), outline(q, msg), err)
		}
		p.Walk(func(q *Part) bool {
			if q.HeaderAt > q.BodyAt || q.BodyAt > q.End || q.End > int64(len(msg)) || q.Lines != int64(strings.Count(msg[q.BodyAt:q.End], "\n")) {
				t.Fatalf("%q: bad bounds %+v", msg, q)
			}
			if _, _, err := q.Text(strings.NewReader(msg), 1000); err != nil {
				t.Fatalf("%q: %v", msg, err)
			}
			return true
		})
		for _, a := range p.Attachments() {
			if a.Name == "" || a.Name[0] == '.' || strings.ContainsAny(a.Name, "/\\\x00\n\x1b") {
				t.Fatalf("%q: unsafe name %q", msg, a.Name)
			}
		}
		Summarize(p.Header)
	})
}

func FuzzHTML(f *testing.F) {
	f.Add("<p>a<br><a href='x'>b</a><!-- c --><script>d</script>&lt;<")
	f.Fuzz(func(t *testing.T, s string) { htmlText(s) })
}
