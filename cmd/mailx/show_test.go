package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"mailx/pkg/message"
)

func TestEscapeText(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"a\tb\nc\n", "a\tb\nc\n"},
		{"crêpes\n", "crêpes\n"},
		{"\x1b[2J\n\u202ex\r\n", "\\x1b[2J\n\\u202ex\\r\n"},
		{"\xff\n\x00", "\\xff\n\\x00"},
		{"\n\t\n\x7f", "\n\t\n\\x7f"},
	} {
		if got := escapeText(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// TestEscapeLines: lines longer than the buffer come out as one, and no character is cut apart.
func TestEscapeLines(t *testing.T) {
	for shift := range 5 {
		in := strings.Repeat("x", shift) + strings.Repeat("€", 100_000) + "\x1b\xe2\x82\n\u202eend\xe2"
		want := escapeText(in)
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(in), "by octet": iotest.OneByteReader(strings.NewReader(in))} {
			var got bytes.Buffer
			if err := escapeLines(&got, r); err != nil || got.String() != want {
				t.Errorf("shift %d, %s: differs (%d octets, want %d), %v", shift, how, got.Len(), len(want), err)
			}
		}
	}
}

func FuzzEscapeLines(f *testing.F) {
	for _, s := range []string{"a\tb\n", "\x1b[31m", "\xe2\x80", "\u202e\n\n", "\r\n\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var got bytes.Buffer
		if err := escapeLines(&got, bytes.NewReader(in)); err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(got.Bytes()) {
			t.Errorf("%q: not UTF-8: %q", in, got.String())
		}
		bad := func(r rune) bool { return isUnsafe(r) && r != '\n' && r != '\t' }
		if i := strings.IndexFunc(got.String(), bad); i >= 0 {
			t.Errorf("%q: %q has something unsafe at %d", in, got.String(), i)
		}
		if bytes.Count(in, []byte("\n")) != bytes.Count(got.Bytes(), []byte("\n")) {
			t.Errorf("%q: lines differ in %q", in, got.String())
		}
	})
}

func TestFindPart(t *testing.T) {
	const msg = "Content-Type: multipart/mixed; boundary=a\n\n--a\n\ntext\n--a\nContent-Type: message/rfc822\n\nSubject: x\n\ninner\n" +
		"--a\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ndeep\n--b--\n--a--\n"
	root, err := message.Parse(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ number, want string }{
		{"1", "text"}, {"2", "Subject: x\n\ninner"}, {"2.1", "inner"}, {"3.1", "deep"},
		{"1.1", ""}, {"4", ""}, {"0", ""}, {"x", ""}, {"2.2", ""}, {"2.1.1", ""}, {".1", ""},
	} {
		p := findPart(root, tt.number)
		if p == nil {
			if tt.want != "" {
				t.Errorf("%s: not found", tt.number)
			}
			continue
		}
		got, _ := io.ReadAll(p.Open(strings.NewReader(msg)))
		if string(got) != tt.want {
			t.Errorf("%s: got %q, want %q", tt.number, got, tt.want)
		}
	}
	single, _ := message.Parse(strings.NewReader("A: b\n\ntext\n"))
	if p := findPart(single, "1"); p != single {
		t.Errorf("part 1 of a message without parts: got %v", p)
	}
}

func TestUnescapeFormat(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{{.From}}\t{{.To}}\n`, "{{.From}}\t{{.To}}\n"},
		{`\0\\t\x`, "\x00\\t\\x"},
		{`{{printf "%s\n" .From}}\n`, "{{printf \"%s\\n\" .From}}\n"},
		{`{{`, `{{`}, {`a{{b\t`, `a{{b\t`}, {`}}\t`, "}}\t"}, {`\`, `\`}, {``, ``},
	} {
		if got := unescapeFormat(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestEachLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		nul  bool
		want []string
	}{
		{"", false, nil},
		{"a\nb\n", false, []string{"a", "b"}},
		{"a\n\nb", false, []string{"a", "b"}},
		{"a b\x00c\n", false, []string{"a b\x00c"}},
		{"a\nb\x00c\x00\x00", true, []string{"a\nb", "c"}},
	} {
		var got []string
		err := eachLine(iotest.OneByteReader(strings.NewReader(tt.in)), tt.nul, func(s string) { got = append(got, s) })
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestFolderElements(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"", nil}, {"inbox", nil}, {"INBOX", nil}, {"Sent", []string{"Sent"}}, {"Archive.2026", []string{"Archive", "2026"}},
		{"Archive/2026/", []string{"Archive", "2026"}}, {"../x", []string{"", "", "", "x"}}, {"a//b", []string{"a", "", "b"}},
	} {
		if got := folderElements(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}
