package message

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestQuoteText(t *testing.T) {
	long := strings.Repeat("word ", 20)
	for _, c := range []struct {
		name, in    string
		flowed, del bool
		want, fixed string
	}{
		{"plain", "a\n\n> b\n  c \n", false, false, "> a\n>\n> > b\n>   c \n", "a\n\n> b\n  c \n"},
		{"long lines stay", long + "\n", false, false, "> " + long + "\n", long + "\n"},
		{"no last line end", "a", false, false, "> a\n", "a"},
		{"signature", "a\n-- \nb\n-- \nc\n", false, false, "> a\n> -- \n> b\n", "a\n-- \nb\n-- \nc\n"},
		{"quoted signature stays", "> a\n> -- \n> b\n", false, false, "> > a\n> > -- \n> > b\n", "> a\n> -- \n> b\n"},
		{"blank ends", "\n \na\n\n\n", false, false, "> a\n", "\n \na\n\n\n"},
		{"nothing", "", false, false, "", ""},
		{"only a signature", "-- \nx\n", false, false, "", "-- \nx\n"},
		{"flowed", "one \ntwo\nthree\n", true, false, "> one two\n> three\n", "one two\nthree\n"},
		{"flowed, stuffed", " From \n me\n >no quote\n", true, false, "> From me\n> >no quote\n", "From me\n>no quote\n"},
		{"flowed, quoted", ">one \n>two\n>>x \n>y\nz\n", true, false, "> > one two\n> > > x \n> > y\n> z\n", "> one two\n> > x \n> y\nz\n"},
		{"flowed, quoted with a blank", "> a \n> b\n", true, false, "> > a b\n", "> a b\n"},
		{"flowed, DelSp", "日本 \n語\n", true, true, "> 日本語\n", "日本語\n"},
		{"flowed, signature", "a \n-- \nb \nc\n", true, false, "> a \n", "a \n-- \nb c\n"},
		{"flowed, no last line end", "a \nb", true, false, "> a b\n", "a b\n"},
		{"flowed, wide", long + "\nend\n", true, false, "> " + strings.TrimSpace(long[:70]) + "\n> " + strings.TrimSpace(long[70:]) + " end\n",
			strings.TrimSpace(long[:75]) + "\n" + strings.TrimSpace(long[75:]) + " end\n"},
		{"flowed, fixed line", long + "x\n", true, false, "> " + long + "x\n", long + "x\n"},
		{"flowed, a word that does not fit", "a \n" + strings.Repeat("x", 100) + "\n", true, false, "> a\n> " + strings.Repeat("x", 100) + "\n",
			"a\n" + strings.Repeat("x", 100) + "\n"},
	} {
		if got := QuoteText(c.in, c.flowed, c.del); got != c.want {
			t.Errorf("%s: quoted: got %q, want %q", c.name, got, c.want)
		}
		if got := FixText(c.in, c.flowed, c.del); got != c.fixed {
			t.Errorf("%s: fixed: got %q, want %q", c.name, got, c.fixed)
		}
	}
}

func TestIsFlowed(t *testing.T) {
	for in, want := range map[string][2]bool{
		"text/plain; format=Flowed": {true, false}, "text/plain; FORMAT=flowed; delsp=YES": {true, true}, "text/plain": {false, false},
		"text/html; format=flowed": {false, false}, "text/plain; delsp=yes": {false, false}, "text/plain; format=fixed": {false, false},
	} {
		p := parse(t, "Content-Type: "+in+"\n\n")
		if flowed, delSp := p.IsFlowed(); flowed != want[0] || delSp != want[1] {
			t.Errorf("%s: got %v, %v, want %v", in, flowed, delSp, want)
		}
	}
}

// FuzzQuote: every line of what is quoted is marked, and no word is lost in flowed text.
func FuzzQuote(f *testing.F) {
	f.Add("a \n>b \n-- \nsig", true, true)
	f.Add(strings.Repeat("word ", 30)+"\n \n>>> x", true, false)
	f.Fuzz(func(t *testing.T, s string, flowed, delSp bool) {
		if !utf8.ValidString(s) {
			return
		}
		got := QuoteText(s, flowed, delSp)
		for line := range strings.Lines(got) {
			if !strings.HasPrefix(line, ">") || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%q: got %q", s, got)
			}
		}
		strip := func(s string) string { return strings.NewReplacer(" ", "", "\n", "", ">", "").Replace(s) }
		if fixed := FixText(s, flowed, delSp); strip(fixed) != strip(s) {
			t.Fatalf("%q: got %q", s, fixed)
		}
	})
}
