package delivery

import (
	"os"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
)

func TestParseAliases(t *testing.T) {
	tests := []struct {
		in       string
		want     string // name=members separated by bars
		problems int
	}{
		{"a: b", "a=b", 0},
		{"A : B , c@D.example\r\n", "a=B|c@D.example", 0},
		{"a: b,\n c,\n\td\n", "a=b|c|d", 0},
		{"a: b\n# note\n  # note\n\n c: d", "a=b c: d", 1},
		{"a:\n b", "a=b", 0},
		{"# only", "", 0},
		{"a: b # c", "a=b", 0},
		{"a: b#c", "a=b#c", 0},
		{`"a b": "c, d"@x.example`, `a b="c, d"@x.example`, 0},
		{`"a:b": c`, "a:b=c", 0},
		{`a: "|cmd \"x, y\"", b`, `a="|cmd \"x, y\""|b`, 0},
		{`a: |"cmd 'x, y'", b`, `a=|"cmd 'x, y'"|b`, 0},
		{"a: |cmd > /tmp/x", "a=|cmd > /tmp/x", 1},
		{"a: |", "a=|", 1},
		{"a: /dev/null, /x/, /x", "a=/dev/null|/x/|/x", 0},
		{"a: /", "a=/", 1},
		{"a: //", "a=//", 1},
		{"a: :include:/x", "a=:include:/x", 0},
		{`a: ":INCLUDE: /x"`, `a=":INCLUDE: /x"`, 0},
		{"a: :include:x", "a=:include:x", 1},
		{"*: b", "*=b", 0},
		{"a: b\na: c", "a=b", 1},
		{"a b: c", "", 1},
		{"a@x.example: c", "", 1},
		{"no colon", "", 1},
		{" continues nothing\na: b", "a=b", 1},
		{"a: \\b", "a=\\b", 0},
		{"a: \\b@x.example", "a=\\b@x.example", 1},
		{"a: b@@c", "a=b@@c", 1},
		{"a:", "a=", 1},
	}
	for _, test := range tests {
		entries, problems := ParseAliases([]byte(test.in))
		var words []string
		for _, e := range entries {
			words = append(words, e.Name+"="+strings.ReplaceAll(joinMembers(e.Members), ", ", "|"))
		}
		got := strings.Join(words, " ")
		want := strings.ReplaceAll(test.want, ", ", "|") // inside of quotes too
		if got != want || len(problems) != test.problems {
			t.Errorf("%q: got %s with %q, want %s with %d problems", test.in, got, problems, want, test.problems)
		}
	}
}

func TestAliasesAreReadAgain(t *testing.T) {
	a := aliasFile(t, "a: b\n")
	look := func(want string) {
		t.Helper()
		members, found, err := a.Lookup("A")
		if got := joinMembers(members); got != want || found != (want != "") || err != nil {
			t.Errorf("got %q %v %v, want %q", got, found, err, want)
		}
	}
	look("b")
	before, err := os.Stat(a.file.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file.path, []byte("a: c\n"), 0o600); err != nil { // same file, same size, same time
		t.Fatal(err)
	}
	if err := os.Chtimes(a.file.path, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	look("c")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(a.file.path, past, past); err != nil {
		t.Fatal(err)
	}
	look("c")
	if err := os.Remove(a.file.path); err != nil {
		t.Fatal(err)
	}
	look("")
	if err := os.Mkdir(a.file.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Lookup("a"); err == nil || !mail.StatusOf(err).IsTemporary() {
		t.Errorf("a directory: got %v, want temporary", err)
	}
}

func FuzzParseAliases(f *testing.F) {
	f.Add("a: b, \"|c\", :include:/d # e\n f@g\n\"x y\": \\z")
	f.Add(" \n#\n:\n\":,\\\"")
	f.Fuzz(func(t *testing.T, in string) {
		entries, _ := ParseAliases([]byte(in))
		list, _ := ParseList([]byte(in))
		for _, e := range append(entries, Alias{"list", 1, list}) {
			if e.Name == "" || e.Name != strings.ToLower(e.Name) || e.Line < 1 {
				t.Fatalf("%q: name %q, line %d", in, e.Name, e.Line)
			}
			for _, m := range e.Members {
				if m.Err == nil && (m.isPrivileged() || m.Path != "") {
					continue
				}
				back, err := mail.ParseAddress(m.Address.String())
				if m.Err == nil && (err != nil || back != m.Address) {
					t.Fatalf("%q: member %q is %q", in, m, m.Address)
				}
				if m.Err != nil && !mail.StatusOf(m.Err).IsPermanent() {
					t.Fatalf("%q: member %q: %v", in, m, m.Err)
				}
			}
		}
	})
}
