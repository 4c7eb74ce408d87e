package mailtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeScript(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"a": "1", "raw": `\r${a}`}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	for _, c := range []struct {
		in, plain, escaped string
		bad                string // part of the error; "" for none
	}{
		{in: "", plain: "", escaped: ""},
		{in: "x ${a} y", plain: "x 1 y", escaped: "x 1 y"},
		{in: "${raw}", plain: `\r${a}`, escaped: `\r${a}`},
		{in: `a\r\n\t\0\\b`, plain: `a\r\n\t\0\\b`, escaped: "a\r\n\t\x00\\b"},
		{in: `\x41\xfFz`, plain: `\x41\xfFz`, escaped: "A\xffz"},
		{in: `FLAGS (\Seen)`, plain: `FLAGS (\Seen)`, escaped: `FLAGS (\Seen)`},
		{in: `end\`, plain: `end\`, escaped: `end\`},
		{in: `\x24{a}`, plain: `\x24{a}`, escaped: "${a}"},
		{in: "$a $", plain: "$a $", escaped: "$a $"},
		{in: "${b}", bad: "no variable"},
		{in: "${a", bad: "without }"},
	} {
		for _, escapes := range []bool{false, true} {
			want := c.plain
			if escapes {
				want = c.escaped
			}
			got, err := expand(c.in, lookup, escapes)
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("expand(%q, %v) error %v, want %q", c.in, escapes, err, c.bad)
				}
			} else if err != nil || got != want {
				t.Errorf("expand(%q, %v) = %q, %v, want %q", c.in, escapes, got, err, want)
			}
		}
	}
	for _, in := range []string{`\x`, `\x4`, `\xzz`} {
		if got, err := expand(in, lookup, true); err == nil {
			t.Errorf("expand(%q) = %q, want an error", in, got)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "checks nothing",
		"C: only\n":                "checks nothing",
		"S: a\nX: b\n":             ":2: unknown line",
		" S: a\n":                  "unknown line",
		"S:a\n":                    "unknown line",
		"S! a\n":                   "unknown line",
		"S~ (\n":                   ":1: error parsing regexp",
		"S~ (?P<a b>x)\n":          "invalid named capture",
		"S= END\n":                 "only EOF",
		"S* 250\nS: a\n":           "S* takes nothing",
		"S*\nC: a\nS: b\n":         "S* without an S line",
		"S: a\nS*\n":               "S* without an S line",
		"S: ${a\n":                 "without }",
		"C: \\xq0\nS: a\n":         ":1: \\x wants",
		"C*x: a\nS: a\n":           "bad number",
		"C*-1: a\nS: a\n":          "bad number",
		"@repeat 10000001 a\nS: a": "bad number",
		"@literal\nS: a\n":         "bad number",
		"@tls now\nS: a\n":         "@tls takes nothing",
		"@what\nS: a\n":            "unknown directive",
		">>> \nS: a\n":             "bad connection name",
		"<<< a b\nS: a\n":          "bad connection name",
		"@include nowhere.txt\n":   "no such file",
		"@include bad.txt\n":       "more than 8 deep",
	} {
		_, err := parseTranscript(writeScript(t, "bad.txt", in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parse %q: error %v, want %q", in, err, want)
		}
	}
}

func TestParseInclude(t *testing.T) {
	path := writeScript(t, "outer.txt", "S: one\r\n@include inner/in.txt\nS: three\n")
	inner := filepath.Join(filepath.Dir(path), "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inner, "in.txt"), []byte("# two\n\n@codes\nS: two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := parseTranscript(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range got.steps {
		codes := ""
		if s.codes {
			codes = " by code"
		}
		lines = append(lines, filepath.Base(s.pos)+" "+s.text+codes)
	}
	want := "outer.txt:1 one\nin.txt:4 two by code\nouter.txt:3 three"
	if s := strings.Join(lines, "\n"); s != want {
		t.Errorf("steps differ:\n%s", Diff(want, s))
	}
}

func TestReplyCode(t *testing.T) {
	for _, c := range []struct {
		line, code string
		more       bool
	}{
		{"250 ok", "250", false}, {"250", "250", false}, {"250-ok", "250", true}, {"250 ", "250", false},
		{"+OK", "+OK", false}, {"+OK x", "+OK", false}, {"-ERR [AUTH] x", "-ERR", false}, {"+OKAY", "", false},
		{"2 912", "", false}, {"1 498", "", false}, {"2500 x", "", false}, {"150 x", "", false}, {"600 x", "", false},
		{"", "", false}, {"25", "", false}, {".", "", false}, {"25x a", "", false}, {"250+a", "", false},
	} {
		if code, more := replyCode(c.line); code != c.code || more != c.more {
			t.Errorf("replyCode(%q) = %q, %v, want %q, %v", c.line, code, more, c.code, c.more)
		}
	}
}

func TestFilling(t *testing.T) {
	for n := range 400 {
		b := filling(n)
		s := strings.ReplaceAll(string(b), "\r\n", "")
		if len(b) != n || strings.ContainsAny(s, "\r\n") {
			t.Fatalf("filling(%d) = %q", n, b)
		}
	}
}

func FuzzParseTranscript(f *testing.F) {
	f.Add("S: 250 ok\nC: x${a}\\x41\nS~ (?P<a>.*)\nS*\nS= EOF\n")
	f.Add("@codes\n>>> a\nC*3: ${i}\n@literal 9\n@sync\n@tls\n<<< a\nC- x\nS: .")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "@include") {
			return
		}
		p := parser{out: new(transcript), path: "fuzz"}
		if p.lines(text) != nil || p.out.check() != nil {
			return
		}
		for _, s := range p.out.steps {
			if s.kind == stepSend && s.count*len(s.text) < 1000 && s.octets < 1000 {
				pl := player{vars: map[string]string{}}
				pl.render(s)
			}
			if s.kind == stepExact || s.kind == stepMatch {
				pl := player{vars: map[string]string{}}
				if judge, err := pl.judge(s); err == nil {
					judge("250 ok")
				}
			}
		}
	})
}
