package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

// recode runs a message through a Recoder in pieces of that many octets.
func recode(msg string, piece int) (string, error) {
	var out strings.Builder
	r := NewRecoder(&out)
	for rest := msg; rest != ""; {
		n := min(piece, len(rest))
		if _, err := io.WriteString(r, rest[:n]); err != nil {
			return out.String(), err
		}
		rest = rest[n:]
	}
	err := r.Close()
	return out.String(), err
}

// recodeAll wants the same from each way of cutting.
func recodeAll(t testing.TB, msg string) (string, error) {
	t.Helper()
	want, wantErr := recode(msg, len(msg)+1)
	for _, piece := range []int{1, 2, 3, 7} {
		got, err := recode(msg, piece)
		if (err == nil) != (wantErr == nil) || err == nil && got != want || mail.StatusOf(err) != mail.StatusOf(wantErr) {
			t.Fatalf("%.300q in pieces of %d:\ngot  %.600q, %v\nwant %.600q, %v", msg, piece, got, err, want, wantErr)
		}
	}
	return want, wantErr
}

func TestRecoder(t *testing.T) {
	long := strings.Repeat("\x00\xff\r\n\n", 12) // 60 octets
	longText := base64.StdEncoding.EncodeToString([]byte(long[:57])) + "\n" + base64.StdEncoding.EncodeToString([]byte(long[57:])) + "\n"
	multi := func(cte, parts string) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n" + cte + "\r\npreamble\r\n" + parts + "--b--\r\nepilogue\r\n"
	}
	multiOut := func(cte, parts string) string {
		return "Content-Type: multipart/mixed; boundary=b\n" + cte + "\npreamble\n" + parts + "--b--\nepilogue\n"
	}
	const bin, b64 = "Content-Transfer-Encoding: binary\r\n", "Content-Transfer-Encoding: base64\n"
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"no header", "Do you like ketchup?\r\n", "Do you like ketchup?\n"},
		{"text", "Subject: x\r\n\r\na\r\n\r\nb\r\n", "Subject: x\n\na\n\nb\n"},
		{"no last line end", "Subject: x\r\n\r\na", "Subject: x\n\na\n"},
		{"header without body", "Subject: x\r\n", "Subject: x\n"},
		{"header without line end", "Subject: x", "Subject: x\n"},
		{"text of all octets but line ends", "\r\n\x00\x80\xff\t\r\n", "\n\x00\x80\xff\t\n"},
		{"the message is binary", "A: b\r\n" + bin + "C: d\r\n\r\n" + long, "A: b\n" + b64 + "C: d\n\n" + longText},
		{"binary keeps its last line end", bin + "\r\na\r\n", b64 + "\nYQ0K\n"},
		{"binary without line end", bin + "\r\na", b64 + "\nYQ==\n"},
		{"binary ends in CR", bin + "\r\na\r", b64 + "\nYQ0=\n"},
		{"binary ends in CR CRLF", bin + "\r\na\r\r\n", b64 + "\nYQ0NCg==\n"},
		{"binary header without body", bin, b64 + "\n"},
		{"binary header without line end", bin[:len(bin)-2], b64 + "\n"},
		{"binary body without an empty line", bin + "no field\r\n", b64 + "\nbm8gZmllbGQNCg==\n"},
		{"names in any case, comments", "CONTENT-TRANSFER-ENCODING: (so) Binary\r\n\r\na", b64 + "\nYQ==\n"},
		{"folded field", "Content-Transfer-Encoding:\r\n\tbinary\r\nA: b\r\n\r\na", b64 + "A: b\n\nYQ==\n"},
		{"the field twice", bin + "Content-Transfer-Encoding: 8bit\r\n\r\na", b64 + "\nYQ==\n"},
		{"two parts", multi("", "--b\r\n"+bin+"\r\n\n\r\n--b\r\n\r\ntext\r\n"), multiOut("", "--b\n"+b64+"\nCg==\n--b\n\ntext\n")},
		{"empty part", multi("", "--b\r\n"+bin+"\r\n--b\r\n"+bin+"\r\n\r\n"), multiOut("", "--b\n"+b64+"\n--b\n"+b64+"\n")},
		{"part without body", multi("", "--b\r\n"+bin), multiOut("", "--b\n"+b64+"\n")},
		{"binary multipart", multi(bin, "--b\r\n\r\ntext\r\n"), multiOut("Content-Transfer-Encoding: 8bit\n", "--b\n\ntext\n")},
		{"boundary after LF is data", multi("", "--b\r\n"+bin+"\r\nx\n--b\r\n\n--b--\n\r\n"),
			multiOut("", "--b\n"+b64+"\n"+base64.StdEncoding.EncodeToString([]byte("x\n--b\r\n\n--b--\n"))+"\n")},
		{"boundary with bare ends is data", multi("", "--b\r\n"+bin+"\r\n\r\n--b\n\r\n--b\r\r\n--bc\r\n--\r\n"),
			multiOut("", "--b\n"+b64+"\n"+base64.StdEncoding.EncodeToString([]byte("\r\n--b\n\r\n--b\r\r\n--bc\r\n--"))+"\n")},
		{"boundary with blanks", multi("", "--b \t\r\n"+bin+"\r\nx\r\n--b\t\r\n\r\n"), multiOut("", "--b \t\n"+b64+"\neA==\n--b\t\n\n")},
		{"no final boundary", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + bin + "\r\nx", "Content-Type: multipart/mixed; boundary=b\n\n--b\n" + b64 + "\neA==\n"},
		{"final boundary without line end", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + bin + "\r\nx\r\n--b--",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + b64 + "\neA==\n--b--\n"},
		{"multipart without boundary", "Content-Type: multipart/mixed\r\n" + bin + "\r\n\n", "Content-Type: multipart/mixed\n" + b64 + "\nCg==\n"},
		{"embedded message", "Content-Type: message/rfc822\r\n" + bin + "\r\n" + bin + "\r\n\r\n", "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n" + b64 + "\nDQo=\n"},
		{"encoded message stays shut", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + bin + "\r\n", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nContent-Transfer-Encoding: binary\n\n"},
		{"digest", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n" + bin + "\r\n\n\r\n--b--\r\n", "Content-Type: multipart/digest; boundary=b\n\n--b\n\n" + b64 + "\nCg==\n--b--\n"},
		{"outer boundary ends inner parts", multi("", "--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n"+bin+"\r\nx\r\n--b\r\n\r\n"),
			multiOut("", "--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n"+b64+"\neA==\n--b\n\n")},
		{"other encodings are text", "Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n", "Content-Transfer-Encoding: base64\n\nYQ==\n"},
		{"longest text line", strings.Repeat("x", MaxTextLine-2) + "\r\n", strings.Repeat("x", MaxTextLine-2) + "\n"},
		{"binary lines have no limit", bin + "\r\n" + strings.Repeat("x", 57_000), b64 + "\n" + strings.Repeat(strings.Repeat("eHh4", 19)+"\n", 1000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := recodeAll(t, c.in)
			if err != nil || got != c.want {
				t.Errorf("%.600q:\ngot  %.900q, %v\nwant %.900q", c.in, got, err, c.want)
			}
		})
	}
}

func TestRecoderRefuses(t *testing.T) {
	field := func(n int) string { return "A: " + strings.Repeat("x", n-5) + "\r\n" }
	deep := func(n int) string {
		return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", n) + "Content-Transfer-Encoding: binary\r\n\r\n\n"
	}
	parts := func(n int) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", n) + "--b--\r\n"
	}
	header := strings.Repeat(field(1000), maxRecodeHeader/999) // in local form each has 999
	left := maxRecodeHeader - len(header)/1000*999
	for _, c := range []struct{ name, in, want string }{
		{"LF in the header", "A: b\nC: d\r\n\r\n", "5.6.11"},
		{"CR in the header", "A: b\rC: d\r\n\r\n", "5.6.11"},
		{"LF in text", "A: b\r\n\r\nx\ny\r\n", "5.6.11"},
		{"CR in text", "A: b\r\n\r\nx\ry\r\n", "5.6.11"},
		{"CR CRLF in text", "A: b\r\n\r\nx\r\r\n", "5.6.11"},
		{"CR at the end", "A: b\r\n\r\nx\r", "5.6.11"},
		{"LF in a preamble", "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n\n--b--\r\n", "5.6.11"},
		{"smuggled dot", "A: b\r\n\r\nx\n.\r\n", "5.6.11"},
		{"text line n+1", strings.Repeat("x", MaxTextLine-1) + "\r\n", "5.6.0"},
		{"endless text line", strings.Repeat("x", 1<<20), "5.6.0"},
		{"header n", header + field(left+1) + "\r\n", "2.0.0"},
		{"header n+1", header + field(left+2) + "\r\n", "5.3.4"},
		{"fields n", strings.Repeat("A:\r\n", DefaultHeaderFields), "2.0.0"},
		{"fields n+1", strings.Repeat("A:\r\n", DefaultHeaderFields+1), "5.3.4"},
		{"depth n", deep(MaxDepth), "2.0.0"},
		{"depth n+1", deep(MaxDepth + 1), "5.6.5"},
		{"parts n", parts(MaxParts - 2), "2.0.0"},
		{"parts n+1", parts(MaxParts - 1), "5.6.5"},
		{"boundary beyond every line", "Content-Type: multipart/mixed;\r\n boundary=\"" + strings.Repeat("b", 4000) + "\r\n " + strings.Repeat("b", 200) + "\"\r\n\r\n", "5.6.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := recodeAll(t, c.in)
			got := "2.0.0"
			if err != nil {
				got = mail.StatusOf(err).String()
			}
			if got != c.want {
				t.Errorf("%.200q: got %s (%v), want %s", c.in, got, err, c.want)
			}
			if strings.Contains(out, "\r") {
				t.Errorf("%.200q: CR in %.200q", c.in, out)
			}
		})
	}
}

func TestRecoderErrorSticks(t *testing.T) {
	full := errors.New("disk full")
	r := NewRecoder(writerFunc(func(p []byte) (int, error) { return 0, full }))
	io.WriteString(r, "A: b\r\n\r\nx\r\n")
	if _, err := io.WriteString(r, "y\r\n"); err != full {
		t.Errorf("Write: %v", err)
	}
	if err := r.Close(); err != full {
		t.Errorf("Close: %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A hostile message costs what its octets cost: no quadratic search for boundaries, no more memory than a header.
func TestRecoderHostile(t *testing.T) {
	var b strings.Builder
	for i := range MaxDepth - 1 {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"%s%d\"\r\n\r\n--%[1]s%[2]d\r\n", strings.Repeat("b", 60), i)
	}
	b.WriteString("Content-Transfer-Encoding: binary\r\n\r\n")
	head := b.String()
	line := "--" + strings.Repeat("b", 3000) + "\r\n"
	r := NewRecoder(io.Discard)
	if _, err := io.WriteString(r, head); err != nil {
		t.Fatal(err)
	}
	for range 2000 { // 6 MB
		if _, err := io.WriteString(r, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := cap(r.out) + cap(r.line) + cap(r.head); n > 256<<10 {
		t.Errorf("holds %d octets", n)
	}
}

// leaf is what a reader sees of one part.
type leaf struct{ path, kind, body string }

func leaves(t testing.TB, msg string) []leaf {
	root, err := Parse(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	var list []leaf
	root.Walk(func(p *Part) bool {
		if len(p.Parts) == 0 {
			body, err := io.ReadAll(p.Open(strings.NewReader(msg)))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, leaf{p.Path, p.MediaType() + ";" + p.Encoding, string(body)})
		}
		return true
	})
	return list
}

// grow makes a message tree of what a random source says: its octets on the wire, and its leaves.
func grow(r *rand.Rand, path string, depth int, leaves *[]leaf) string {
	encoding := []string{"", "Content-Transfer-Encoding: binary\r\n", "Content-Transfer-Encoding: 8bit\r\n"}[r.IntN(3)]
	kind := r.IntN(4)
	if depth == 0 {
		kind = 0
	}
	switch kind {
	case 1:
		return "Content-Type: message/rfc822\r\n" + encoding + "\r\n" + grow(r, path, depth-1, leaves)
	case 2, 3:
		boundary := fmt.Sprintf("b%d", depth)
		s := "Content-Type: multipart/mixed; boundary=" + boundary + "\r\n" + encoding + "\r\n" + []string{"", "preamble\r\n", "\r\n"}[r.IntN(3)]
		for i := range 1 + r.IntN(3) {
			child := fmt.Sprint(i + 1)
			if path != "" {
				child = path + "." + child
			}
			s += "--" + boundary + "\r\n" + grow(r, child, depth-1, leaves) + "\r\n"
		}
		return s + "--" + boundary + "--\r\n" + []string{"", "epilogue\r\n"}[r.IntN(2)]
	}
	body := make([]byte, r.IntN(200))
	const letters = "\r\n\r\n\r\n-b-1--23 \x00\xff."
	for i := range body {
		body[i] = letters[r.IntN(len(letters))]
	}
	text := strings.ReplaceAll(string(body), "\r\n--b", "\r\n--c") // no boundary by chance
	if strings.HasPrefix(text, "--b") {
		text = "c" + text
	}
	if !strings.Contains(encoding, "binary") {
		text = strings.NewReplacer("\r", "", "\n", "", "-", "", "\x00", "\r\n").Replace(text)
		*leaves = append(*leaves, leaf{path, "text/plain", strings.ReplaceAll(text, "\r\n", "\n")})
		return encoding + "\r\n" + text
	}
	*leaves = append(*leaves, leaf{path, "text/plain;base64", text})
	return encoding + "\r\n" + text
}

// What comes out has the parts that went in, whatever is in them.
func TestRecoderKeepsParts(t *testing.T) {
	for seed := range uint64(2000) {
		var want []leaf
		msg := grow(rand.New(rand.NewPCG(seed, 1)), "", 4, &want)
		out, err := recode(msg, 1+int(seed%40))
		if err != nil {
			t.Fatalf("seed %d, %q: %v", seed, msg, err)
		}
		got := leaves(t, out)
		if len(got) != len(want) {
			t.Fatalf("seed %d, %q: %d leaves, want %d:\n%s", seed, msg, len(got), len(want), out)
		}
		for i, w := range want {
			g := got[i]
			if i == len(want)-1 && g.kind != "text/plain;base64" && !strings.HasSuffix(w.body, "\n") && g.body == w.body+"\n" {
				continue // the last line of the message got its end
			}
			if g.path != w.path || g.body != w.body || !strings.HasPrefix(g.kind, w.kind) {
				t.Fatalf("seed %d, %q:\ngot  %q\nwant %q", seed, msg, g, w)
			}
		}
	}
}

// Any octets give the same in any cuts; nothing binary and no CR comes out. A message whose line ends are all CRLF means the
// same to Parse before and after, part by part.
func FuzzRecoder(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\n--b--\r\n", uint8(1))
	f.Add("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\nx\ry\nz", uint8(3))
	f.Add("Content-Type: multipart/digest; boundary=\"a b\"\r\n\r\n--a b\r\n\r\nA: b\r\n\r\n--a b--", uint8(7))
	f.Add("Content-Transfer-Encoding: binary\r\nx\r\n", uint8(2))
	f.Fuzz(func(t *testing.T, msg string, piece uint8) {
		out, err := recode(msg, len(msg)+1)
		again, againErr := recode(msg, int(piece)+1)
		if mail.StatusOf(err) != mail.StatusOf(againErr) || (err == nil) != (againErr == nil) || err == nil && out != again {
			t.Fatalf("%q: whole %q, %v; in pieces of %d %q, %v", msg, out, err, int(piece)+1, again, againErr)
		}
		if strings.Contains(out, "\r") {
			t.Fatalf("%q: CR in %q", msg, out)
		}
		var refused *mail.Error
		if err != nil {
			if !errors.As(err, &refused) {
				t.Fatalf("%q: %v", msg, err)
			}
			return
		}
		after := leaves(t, out)
		for _, l := range after {
			if _, encoding, _ := strings.Cut(l.kind, ";"); encoding == "binary" {
				t.Fatalf("%q: binary part in %q", msg, out)
			}
		}
		if rest := strings.ReplaceAll(msg, "\r\n", ""); strings.ContainsAny(rest, "\r\n") {
			return
		}
		before := leaves(t, msg)
		if len(before) != len(after) {
			t.Fatalf("%q: %q became %q", msg, before, after)
		}
		for i, b := range before {
			a := after[i]
			kind, encoding, _ := strings.Cut(b.kind, ";")
			isBinary := encoding == "binary"
			if isBinary && strings.HasPrefix(kind, "multipart/") && a.kind == kind+";8bit" { // with a boundary, but without parts
				isBinary, b.kind = false, a.kind
			}
			if isBinary && a.kind != kind+";base64" || !isBinary && a.kind != b.kind || a.path != b.path {
				t.Fatalf("%q: %q became %q", msg, b, a)
			}
			if encoding == encBase64 || encoding == encQP {
				continue // decoders are not asked about line ends here
			}
			if !isBinary {
				b.body = strings.ReplaceAll(b.body, "\r\n", "\n")
			}
			if a.body != b.body && !(i == len(before)-1 && !isBinary && a.body == b.body+"\n") {
				t.Fatalf("%q: %q became %q", msg, b, a)
			}
		}
	})
}

func BenchmarkRecoder(b *testing.B) {
	part := bytes.Repeat([]byte("0123456789\r\n-abcdef"), 50_000)
	head := []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n")
	b.SetBytes(int64(len(head) + len(part)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewRecoder(io.Discard)
		r.Write(head)
		for rest := part; len(rest) > 0; {
			n := min(32<<10, len(rest))
			r.Write(rest[:n])
			rest = rest[n:]
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
