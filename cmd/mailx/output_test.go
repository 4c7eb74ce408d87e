package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))

// rendered prints rows in one form, 40 cells wide.
func rendered(t *testing.T, f form, color bool, rows ...[]any) string {
	t.Helper()
	var b strings.Builder
	p := &printer{w: bufio.NewWriter(&b), form: f, width: 40, color: color, now: noon, columns: []column{
		{name: "id"}, {name: "queue_time", color: "1"}, {name: "size", right: true}, {name: "subject", flexible: true},
	}}
	for _, r := range rows {
		p.row(r...)
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrinter(t *testing.T) {
	rows := [][]any{
		{"a1", noon.Add(-3 * time.Minute), 12345, "Größe: 日本語の件名がここにあります。長い"},
		{"b22", time.Time{}, 7, "evil\x1b[2J\ttab\nline"},
	}
	for _, tt := range []struct {
		name  string
		form  form
		color bool
		want  string
	}{
		{"pipe", formPipe, false, "a1\t2026-03-01T10:57:00Z\t12345\tGröße: 日本語の件名がここにあります。長い\n" +
			"b22\t\t7\tevil\\x1b[2J\\ttab\\nline\n"},
		{"json", formJSON, false, `{"v":1,"id":"a1","queue_time":"2026-03-01T10:57:00Z","size":12345,` +
			`"subject":"Größe: 日本語の件名がここにあります。長い"}` + "\n" +
			`{"v":1,"id":"b22","queue_time":null,"size":7,"subject":"evil\u001b[2J\ttab\nline"}` + "\n"},
		{"terminal", formTerminal, false, "" +
			"ID   QUEUE TIME   SIZE  SUBJECT\n" +
			"a1   3m ago      12345  Größe: 日本語の…\n" +
			"b22                  7  evil\\x1b[2J\\tta…\n"},
		{"colour", formTerminal, true, "" +
			"\x1b[2mID \x1b[0m  \x1b[2mQUEUE TIME\x1b[0m  \x1b[2m SIZE\x1b[0m  \x1b[2mSUBJECT\x1b[0m\n" +
			"a1   \x1b[1m3m ago    \x1b[0m  12345  Größe: 日本語の…\n" +
			"b22                  7  evil\\x1b[2J\\tta…\n"},
	} {
		if got := rendered(t, tt.form, tt.color, rows...); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestNothingToPrint(t *testing.T) {
	for _, f := range []form{formPipe, formTerminal, formJSON} {
		if got := rendered(t, f, false); got != "" {
			t.Errorf("form %d: got %q", f, got)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no") }

func TestPrinterKeepsTheError(t *testing.T) {
	p := &printer{w: bufio.NewWriterSize(brokenWriter{}, 16), columns: []column{{name: "a"}}}
	for range 10 {
		p.row("0123456789")
	}
	if p.flush() == nil {
		t.Error("no error")
	}
}

func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		ago  time.Duration
		want string
	}{
		{0, "now"}, {-time.Millisecond, "now"}, {45 * time.Second, "45s ago"}, {89 * time.Second, "89s ago"},
		{90 * time.Second, "1m ago"}, {3 * time.Hour, "3h ago"}, {47 * time.Hour, "47h ago"}, {48 * time.Hour, "2d ago"},
		{-2 * time.Hour, "in 2h"},
	} {
		if got := relativeTime(noon.Add(-tt.ago), noon); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.ago, got, tt.want)
		}
	}
}

func TestJSONValues(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  string
	}{
		{"<a@b> & c", `"<a@b> & c"`},
		{"\u009b31m \u202e \U000e0041 \x7f", `"\u009b31m \u202e \udb40\udc41 \u007f"`},
		{"\xff", `"\ufffd"`},
		{[]string(nil), `[]`},
		{[]string{"a"}, `["a"]`},
		{90 * time.Second, `90`},
		{true, `true`},
		{int64(1) << 60, `1152921504606846976`},
	} {
		got, err := jsonText(tt.value)
		if got != tt.want || err != nil || !json.Valid([]byte(got)) {
			t.Errorf("%#v: got %s, %v; want %s", tt.value, got, err, tt.want)
		}
	}
}

func TestWantColor(t *testing.T) {
	for _, tt := range []struct {
		term, noColor string
		want          bool
	}{{"xterm", "", true}, {"xterm", "1", false}, {"dumb", "", false}, {"", "", false}} {
		got := wantColor(func(name string) string { return map[string]string{"TERM": tt.term, "NO_COLOR": tt.noColor}[name] })
		if got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

func TestPrintPaths(t *testing.T) {
	for nul, want := range map[bool]string{false: "a\nb c\n", true: "a\x00b c\x00"} {
		var b strings.Builder
		if err := printPaths(&b, []string{"a", "b c"}, nul); err != nil || b.String() != want {
			t.Errorf("%v: got %q, %v", nul, b.String(), err)
		}
	}
}

func TestEscapeControl(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                        "plain",
		"Grüße 日本":                     "Grüße 日本",
		"a\x1b[31mb":                   `a\x1b[31mb`,
		"a\r\n\tb\x00\x7f":             `a\r\n\tb\x00\x7f`,
		"c1 \u009b2J":                  `c1 \u009b2J`,
		"raw c1 \x9b2J":                `raw c1 \x9b2J`,
		"bidi \u202e\u2066\u200f":      `bidi \u202e\u2066\u200f`,
		"lines \u2028\u2029\u0085":     `lines \u2028\u2029\u0085`,
		"tags \U000e0041":              `tags \U000e0041`,
		"bad \xff\xc3":                 `bad \xff\xc3`,
		"family 👨\u200d👩":              "family 👨\u200d👩", // the joiner is part of words and of emoji
		"a real replacement \ufffd ok": "a real replacement \ufffd ok",
	} {
		if got := escapeControl(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzEscapeControl(f *testing.F) {
	f.Add("a\x1b\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := escapeControl(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, isUnsafe) || runewidth.StringWidth(got) < 0 {
			t.Errorf("%q: got %q", s, got)
		}
	})
}

func TestPagerCommand(t *testing.T) {
	for _, tt := range []struct{ mailx, pager, want string }{
		{"most -s", "less", "most -s"}, {"", "less -R", "less -R"}, {"cat", "less", ""}, {"", "cat", ""},
	} {
		got := pagerCommand(func(name string) string {
			return map[string]string{"MAILX_PAGER": tt.mailx, "PAGER": tt.pager}[name]
		})
		if got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

// TestPagerIsForLongListings: a listing that fits does not start one.
func TestPagerIsForLongListings(t *testing.T) {
	for rows, want := range map[int]bool{3: false, 7: false, 8: true, batch + 1: true} {
		started := 0
		p := &printer{w: bufio.NewWriter(&strings.Builder{}), form: formTerminal, width: 40, height: 10,
			columns: []column{{name: "n"}}, start: func() *pager { started++; return nil }}
		for i := range rows {
			p.row(i)
		}
		if err := p.flush(); err != nil || (started == 1) != want || started > 1 {
			t.Errorf("%d rows: %d pagers, %v", rows, started, err)
		}
	}
}

// TestNarrowTerminal: no line is wider than the terminal, however narrow that is.
func TestNarrowTerminal(t *testing.T) {
	for width := 1; width < 60; width++ {
		var b strings.Builder
		p := &printer{w: bufio.NewWriter(&b), form: formTerminal, width: width, columns: []column{
			{name: "flags"}, {name: "date", right: true}, {name: "from", flexible: true}, {name: "subject", flexible: true}}}
		p.row("S", "3m ago", "日本語 <somebody@x.example>", "a subject of some length")
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d cells in %d: %q", n, width, line)
			}
		}
	}
}
