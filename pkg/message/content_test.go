package message

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// shaped writes a message: "alternative(plain html)", each leaf with a body that is its name; "name:plain" has a file name,
// "-plain" is an attachment.
func shaped(shape string) string {
	shape = strings.TrimSpace(shape)
	subtype, inner, ok := strings.Cut(shape, "(")
	if !ok {
		return leafOf(shape)
	}
	boundary := fmt.Sprintf("b%d", len(shape))
	var b strings.Builder
	b.WriteString("Content-Type: multipart/" + subtype + "; boundary=" + boundary + "\n\n")
	for depth, start, i := 0, 0, 0; i < len(inner); i++ {
		switch inner[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 && (inner[i] == ' ' || i+1 == len(inner)-1 || inner[i] == ')' && i+1 < len(inner)) || depth < 0 {
			part := strings.TrimSpace(inner[start:min(i+1, len(inner)-1)])
			if part != "" {
				b.WriteString("--" + boundary + "\n" + shaped(part) + "\n")
			}
			start = i + 1
		}
	}
	b.WriteString("--" + boundary + "--\n")
	return b.String()
}

func leafOf(name string) string {
	attached := strings.HasPrefix(name, "-")
	file, subtype, named := strings.Cut(strings.TrimPrefix(name, "-"), ":")
	if !named {
		file, subtype = "", file
	}
	kind := map[string]string{"pdf": "application/pdf", "png": "image/png", "rfc822": "message/rfc822", "sig": "application/pgp-signature"}[subtype]
	if kind == "" {
		kind = "text/" + subtype
	}
	h := "Content-Type: " + kind + "\n"
	if attached || named {
		h += "Content-Disposition: " + map[bool]string{true: "attachment", false: "inline"}[attached]
		if named {
			h += "; filename=" + file
		}
		h += "\n"
	}
	return h + "\n" + strings.TrimPrefix(name, "-")
}

func TestContent(t *testing.T) {
	for _, c := range []struct{ shape, texts, files string }{
		{"plain", "plain", ""},
		{"html", "html", ""},
		{"pdf", "", "part-1.pdf"},
		{"-plain", "", "part-1.txt"},
		{"a.txt:plain", "a.txt:plain", ""},
		{"alternative(plain html)", "plain", ""},
		{"alternative(html plain)", "plain", ""},
		{"alternative(enriched html)", "html", ""},
		{"alternative(enriched rtf)", "rtf", ""},
		{"alternative(plain html calendar)", "plain", "part-3.ics"},
		{"mixed(alternative(plain html) pdf)", "plain", "part-2.pdf"},
		{"alternative(plain mixed(html a.pdf:pdf html))", "plain", "a.pdf"},
		{"alternative(plain related(html l.png:png))", "plain", "l.png"},
		{"related(alternative(plain html) l.png:png)", "plain", "l.png"},
		{"mixed(plain png plain html)", "plain plain html", "part-2.png"},
		{"mixed(plain a.patch:x-diff -plain)", "plain", "a.patch part-3.txt"},
		{"mixed(pdf a.txt:plain)", "a.txt:plain", "part-1.pdf"},
		{"signed(mixed(plain pdf) sig)", "plain", "part-1.2.pdf"},
		{"report(plain x-status rfc822)", "plain x-status", "part-3.eml"},
		{"mixed(rfc822 plain)", "plain", "part-1.eml"},
	} {
		msg := shaped(c.shape)
		texts, files := parse(t, msg).Content()
		var gotTexts, gotFiles []string
		for _, p := range texts {
			gotTexts = append(gotTexts, strings.TrimSpace(readTextOf(t, p, msg)))
		}
		for _, f := range files {
			gotFiles = append(gotFiles, f.Name)
		}
		if a, b := strings.Join(gotTexts, " "), strings.Join(gotFiles, " "); a != c.texts || b != c.files {
			t.Errorf("%s: got texts %q, files %q; want %q, %q\n%s", c.shape, a, b, c.texts, c.files, msg)
		}
	}
}

// TestAgain: what was attached can be attached again, whatever its header says.
func TestAgain(t *testing.T) {
	for _, c := range []struct{ name, header, body, wantHeader, wantBody string }{
		{"usual", "Content-Type: application/pdf; name=old.pdf\nContent-Disposition: attachment; filename=\"a b.pdf\"\nContent-Transfer-Encoding: base64\n",
			"AAEC\n", "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"a b.pdf\"\n", "\x00\x01\x02"},
		{"name in the type", "Content-Type: text/csv; charset=iso-8859-1; header=present; name=a.csv\n", "\xfc,1\n",
			"Content-Type: text/csv; charset=iso-8859-1; header=present\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=a.csv\n", "\xfc,1\n"},
		{"inline with id", "Content-Type: image/png\nContent-Disposition: inline\nContent-ID: <a@b>\n", "x",
			"Content-Type: image/png\nContent-Transfer-Encoding: base64\nContent-Disposition: inline; filename=part-1.png\nContent-ID: <a@b>\n", "x"},
		{"message", "Content-Type: message/rfc822\n", "Subject: \u00fc\n\nx", "Content-Type: message/global\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=part-1.eml\n", "Subject: \u00fc\n\nx"},
		{"nonsense", "Content-Type: image/p\x01ng; a=\"\x02\"\nContent-ID: <a b>\nContent-Disposition: attachment; filename=\"../../etc/pass\x03wd\"\n", "x",
			"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=pass_wd\n", "x"},
		{"hidden", "Content-Type: text/plain\nContent-Disposition: attachment; filename=.gitignore\n", "x",
			"Content-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=.gitignore\n", "x"},
		{"hidden elsewhere", "Content-Type: image/png\nContent-Disposition: attachment; filename=\"../.x\\.png\"\n", "x",
			"Content-Type: image/png\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=png\n", "x"},
		{"endless type", "Content-Type: image/" + strings.Repeat("x", 1000) + "\n", "x",
			"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=part-1.bin\n", "x"},
		{"endless parameter", "Content-Type: image/png; " + strings.Repeat("x", 1000) + "=y\n", "x",
			"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=part-1.png\n", "x"},
		{"empty multipart", "Content-Type: multipart/mixed\n", "x", "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=part-1.bin\n", "x"},
	} {
		msg := c.header + "\n" + c.body
		p := parse(t, msg)
		d := plainDraft()
		d.Attachments = []Attachment{Attached{Part: p, Name: p.safeName(p.fileName())}.Again(strings.NewReader(msg))}
		out := compose(t, d)
		q := parse(t, out).Parts[1]
		b, err := io.ReadAll(q.Open(strings.NewReader(out)))
		if got := out[q.HeaderAt : q.BodyAt-1]; got != c.wantHeader || string(b) != c.wantBody || err != nil {
			t.Errorf("%s: got\n%s\n%q, %v\nwant\n%s\n%q", c.name, got, b, err, c.wantHeader, c.wantBody)
		}
	}
}

// FuzzContent: whatever a message is, all its content can be sent on.
func FuzzContent(f *testing.F) {
	for _, shape := range []string{"alternative(plain mixed(html a.pdf:pdf))", "signed(mixed(plain rfc822) sig)", "related(html l.png:png)"} {
		f.Add(shaped(shape))
	}
	f.Add("Content-Type: message/delivery-status\n\nx: \x80\n")
	for _, inner := range []string{"", "\n", "\n\n", "A: b", "A: b\n", "A: b\n\n", "A: b\n\n\n", "Content-Type: message/rfc822\n\n\n"} {
		f.Add("Content-Type: message/rfc822\n\n" + inner)
	}
	f.Fuzz(func(t *testing.T, msg string) {
		root := parse(t, msg)
		texts, files := root.Content()
		d := plainDraft()
		d.Random = nil
		for _, a := range files {
			d.Attachments = append(d.Attachments, a.Again(strings.NewReader(msg)))
		}
		for _, p := range texts {
			d.Attachments = append(d.Attachments, Attached{Part: p, Name: "text"}.Again(strings.NewReader(msg)))
		}
		out := compose(t, d)
		back := parse(t, out)
		if len(d.Attachments) == 0 {
			return
		}
		if len(back.Parts) != len(d.Attachments)+1 {
			t.Fatalf("%d files and texts became %d parts:\n%s", len(d.Attachments), len(back.Parts)-1, out)
		}
		for i, a := range d.Attachments {
			r, err := a.Open()
			if err != nil {
				t.Fatal(err)
			}
			want, _ := io.ReadAll(r)
			got := readTextOf(t, back.Parts[i+1], out)
			if back.Parts[i+1].Encoding != encBase64 { // a message, in local form
				want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
			}
			if got != string(want) {
				t.Fatalf("part %d: got %q, want %q", i+1, got, want)
			}
		}
	})
}
