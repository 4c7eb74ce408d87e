package message

import (
	"errors"
	"path"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzCompose: what is composed is read back as it was, or refused before anything is written.
func FuzzCompose(f *testing.F) {
	f.Add("Gr\u00fc\u00dfe =?x?= ", "Doe, \"J\"", "text \n.\n--=_x\n", "a\"\u00fc b.txt", "logo", uint8(1))
	f.Add("\t", " x ", "\ufeff\r\n\r\x00", "../..", "a@b", uint8(6))
	f.Add("\xff\xfe", "\xfc", "\xff\xfea\x00", ".eml", "\u00fc", uint8(3))
	f.Fuzz(func(t *testing.T, subject, name, text, file, id string, choice uint8) {
		d := plainDraft()
		d.From, d.Subject, d.Text, d.Random = []Mailbox{box(name, "a", "b.example")}, subject, strings.NewReader(text), nil
		d.Encoding = []string{"", enc8bit, encQP, encBase64}[choice%4]
		if choice&4 != 0 {
			d.HTML = strings.NewReader(text)
		}
		d.Attachments = []Attachment{{Name: file, Type: "application/x-y", ContentID: id, Inline: choice&8 != 0, Open: content(text)}}
		var out strings.Builder
		if err := d.Write(&out); err != nil {
			var refused *FieldError
			if !errors.As(err, &refused) || out.Len() > 0 {
				t.Fatalf("%v after %d octets", err, out.Len())
			}
			return
		}
		msg := out.String()
		if d.Encoding != enc8bit {
			checkSevenBitLines(t, msg)
		}
		checkHeaderBack(t, parse(t, msg).Header, subject, name)
		var leaves []*Part
		parse(t, msg).Walk(func(p *Part) bool {
			if p.Type != "multipart" {
				leaves = append(leaves, p)
			}
			return true
		})
		last := leaves[len(leaves)-1]
		if got := readTextOf(t, last, msg); got != text || last.DispParams["filename"] != baseName(file) && utf8.ValidString(file) {
			t.Fatalf("file: got %q %q, want %q %q", last.DispParams["filename"], got, baseName(file), text)
		}
		if strings.HasPrefix(text, "\ufeff") || isUTF16([]byte(text)) {
			return // becomes UTF-8 without a mark
		}
		for _, p := range leaves[:len(leaves)-1] {
			if got, want := lines(readTextOf(t, p, msg)), lines(text); got != want {
				t.Fatalf("text as %s: got %q, want %q", p.Encoding, got, want)
			}
		}
	})
}

func baseName(name string) string {
	if name = path.Base("/" + name); name == "/" {
		return ""
	}
	return name
}

// lines is text with LF at its line ends and its end. A CR that stands before a line end stays when a text is composed, and looks
// like half of the line end to who reads it again; so it goes.
func lines(s string) string {
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	for strings.Contains(s, "\r\n") {
		s = strings.ReplaceAll(s, "\r\n", "\n")
	}
	return s
}

func checkSevenBitLines(t *testing.T, msg string) {
	t.Helper()
	for line := range strings.Lines(msg) {
		if !isASCII(line) || len(line) > 77 && !strings.Contains(line, "://") && !strings.Contains(line, "<") {
			t.Fatalf("line of %d octets, or not 7 bit: %q", len(line)-1, line)
		}
	}
}

func checkHeaderBack(t *testing.T, h *Header, subject, name string) {
	t.Helper()
	if got := DecodeText(h.Get("Subject")); subject == Printable(subject) && utf8.ValidString(subject) && got != subject {
		t.Fatalf("subject %q: got %q from %q", subject, got, h.Get("Subject"))
	}
	from, err := ParseMailbox(h.Get("From"))
	if err != nil || name == Printable(name) && utf8.ValidString(name) && from.Name != name {
		t.Fatalf("name %q: got %q, %v from %q", name, from.Name, err, h.Get("From"))
	}
}
