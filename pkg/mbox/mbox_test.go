package mbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseFrom(t *testing.T) {
	nov14 := time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)
	for _, tt := range []struct {
		line, sender string
		date         time.Time
		ok, inOrder  bool
	}{
		{"From a@b Tue Nov 14 22:13:20 2023", "a@b", nov14, true, true},
		{"From a@b  Tue Nov 14 22:13:20 2023\r", "a@b", nov14, true, true},
		{"From a@b Tue Nov 14 22:13:20 CET 2023", "a@b", nov14, true, true},
		{"From a@b Tue Nov 14 22:13:20 2023 remote from uucp", "a@b", nov14, true, true},
		{"From 123@xxx Tue Nov 14 23:13:20 +0100 2023", "123@xxx", nov14, true, true}, // Google
		{"From - Tue Nov 14 22:13:20 2023", "-", nov14, true, true},                   // Thunderbird
		{"From a at b.org  Tue Nov 14 22:13:20 2023", "a", nov14, true, true},         // Mailman
		{"From a@b Tue, 14 Nov 2023 22:13:20 +0000", "a@b", nov14, true, false},
		{"From a@b Tue Nov 14 22:13 2023", "a@b", nov14.Truncate(time.Minute), true, true},
		{"From what I hear in Nov 2023", "what", time.Time{}, false, false},
		{"From", "", time.Time{}, false, false},
		{"From ", "", time.Time{}, false, false},
		{"From a@b", "a@b", time.Time{}, false, false},
		{">From a@b Tue Nov 14 22:13:20 2023", "", time.Time{}, false, false},
		{"From a@b Tue Nov 14 25:13:20 2023", "a@b", time.Time{}, false, false},
		{"From a@b Tue Nov 14 22:13:20 " + strings.Repeat("x", maxFrom) + " 2023", "", time.Time{}, false, false},
	} {
		sender, date, ok, inOrder := parseFrom([]byte(tt.line))
		if sender != tt.sender || !date.Equal(tt.date) || ok != tt.ok || inOrder != tt.inOrder {
			t.Errorf("%q: %q, %s, %v, %v; want %q, %s, %v, %v", tt.line, sender, date, ok, inOrder, tt.sender, tt.date, tt.ok, tt.inOrder)
		}
	}
	for _, sender := range []string{"", "a b@c", "x\r\nFrom y", "\xff\x00", "ä@ö", strings.Repeat("a", 254)} {
		line := AppendFrom(nil, sender, nov14)
		if _, date, ok, inOrder := parseFrom(bytes.TrimRight(line, "\n")); !ok || !inOrder || !date.Equal(nov14) || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("%q is written as %q, which is read as %s, %v, %v", sender, line, date, ok, inOrder)
		}
	}
}

// read gives the texts and states in a file.
func read(t testing.TB, file string, form Form) (texts []string, states []State, messages []*Message) {
	t.Helper()
	s := NewScanner(strings.NewReader(file), int64(len(file)), form)
	for {
		m, err := s.Next()
		if errors.Is(err, io.EOF) {
			return texts, states, messages
		}
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		st, internal, err := s.Copy(&text, m)
		if err != nil {
			t.Fatal(err)
		}
		if !internal {
			texts, states, messages = append(texts, text.String()), append(states, st), append(messages, m)
		}
	}
}

const from = "From a@b Tue Nov 14 22:13:20 2023\n"

func TestRead(t *testing.T) {
	for name, tt := range map[string]struct {
		file  string
		form  Form
		texts []string
	}{
		"nothing":             {"", RD, nil},
		"one":                 {from + "Subject: x\n\ntext\n\n", RD, []string{"Subject: x\n\ntext\n"}},
		"no empty line":       {from + "Subject: x\n\ntext\n", RD, []string{"Subject: x\n\ntext\n"}},
		"no end":              {from + "Subject: x\n\ntext", RD, []string{"Subject: x\n\ntext"}},
		"empty":               {from + "\n" + from + "\n", RD, []string{"", ""}},
		"nothing between":     {from + "a: b\n\nx\n" + from + "c: d\n\n", RD, []string{"a: b\n\nx\n", "c: d\n"}},
		"rd":                  {from + "a: b\n\n>From x\n>>From y\n> From z\n\n", RD, []string{"a: b\n\nFrom x\n>From y\n> From z\n"}},
		"o":                   {from + "a: b\n\n>From x\n>>From y\n\n", O, []string{"a: b\n\nFrom x\n>>From y\n"}},
		"cl2":                 {from + "Content-Length: 14\n\n" + ">From x\nFrom y\n\n" + from + "\n", CL2, []string{"\n>From x\nFrom y\n", ""}},
		"From in a text":      {from + "a: b\n\nx\n\nFrom what I hear\n\n", RD, []string{"a: b\n\nx\n\nFrom what I hear\n"}},
		"no date at first":    {"From a@b\na: b\n\nx\n\n" + from + "\n", RD, []string{"a: b\n\nx\n", ""}},
		"crlf":                {"From a@b Tue Nov 14 22:13:20 2023\r\na: b\r\n\r\nx\r\n\r\n", RD, []string{"a: b\n\nx\n"}},
		"state is taken out":  {from + "a: b\nStatus: RO\nX-UID: 5\nX-Keywords: a\n b\nc: d\n\nStatus: x\n\n", RD, []string{"a: b\nc: d\n\nStatus: x\n"}},
		"internal":            {from + "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nx\n\n" + from + "a: b\n\n", RD, []string{"a: b\n"}},
		"hostile length":      {from + "Content-Length: 9999\n\nx\n\n" + from + "a: b\n\n", CL, []string{"\nx\n", "a: b\n"}},
		"length into a text":  {from + "Content-Length: 2\n\nxyz\nabc\n\n", CL, []string{"\nxyz\nabc\n"}},
		"length of a foreign": {from + "Content-Length: 5\n\nabcd\n\n" + from + "\n", RD, []string{"\nabcd\n", ""}},
		"no header":           {from + "text\nStatus: R\n\n", RD, []string{"text\nStatus: R\n"}},
		"long line":           {from + "a: " + strings.Repeat("x", 3*lineBuffer) + "\n\nb\n\n" + from + "\n", RD, []string{"a: " + strings.Repeat("x", 3*lineBuffer) + "\n\nb\n", ""}},
		"long line of From":   {from + "a: b\n\n\n" + strings.TrimSpace(from) + strings.Repeat(" ", lineBuffer) + "\n\n", RD, []string{"a: b\n\n\n" + strings.TrimSpace(from) + strings.Repeat(" ", lineBuffer) + "\n"}},
		"long line of >":      {from + "a: b\n\n" + strings.Repeat(">", 2*lineBuffer) + "From x\n\n", RD, []string{"a: b\n\n" + strings.Repeat(">", 2*lineBuffer-1) + "From x\n"}},
	} {
		texts, _, _ := read(t, tt.file, tt.form)
		if !slices.Equal(texts, tt.texts) {
			t.Errorf("%s: %.300q, want %.300q", name, texts, tt.texts)
		}
	}
	if _, err := NewScanner(strings.NewReader("Subject: x\n"), 11, RD).Next(); !errors.Is(err, ErrNotMbox) {
		t.Errorf("no mbox: %v", err)
	}
}

func TestState(t *testing.T) {
	for fields, want := range map[string]State{
		"":                                {New: true},
		"Status: O\n":                     {},
		"Status: RO\n":                    {Flags: "S"},
		"Status: R\nX-Status: AFDT\n":     {Flags: "DFRST"},
		"x-status: A\n":                   {Flags: "R"},
		"X-Keywords: $Forwarded x $y\n":   {Flags: "P", Keywords: []string{"x", "$y"}},
		"X-Mailx-Mbox: 1 ended ab\n":      {Flags: "ab"},
		"a: b\nX-Mailx-Mbox: 1 ended a\n": {New: true}, // only on top
		"X-Mailx-Mbox: 2 ended a\n":       {New: true},
	} {
		_, states, _ := read(t, from+fields+"z: y\n\nx\n\n", RD)
		if len(states) != 1 || fmt.Sprint(states[0]) != fmt.Sprint(want) {
			t.Errorf("%q: %+v, want %+v", fields, states, want)
		}
	}
}

type entry struct {
	text  string
	state State
}

// checkRoundTrip writes messages and reads them again.
func checkRoundTrip(t *testing.T, entries []entry, date time.Time) {
	t.Helper()
	var file bytes.Buffer
	w := NewWriter(&file)
	for _, e := range entries {
		if err := w.Add(strings.NewReader(e.text), int64(len(e.text)), "a@b", date, e.state); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	texts, states, messages := read(t, file.String(), RD)
	if len(texts) != len(entries) {
		t.Fatalf("%d messages of %d in %q", len(texts), len(entries), file.String())
	}
	for i, e := range entries {
		want := e.state
		want.New = want.New && want.Flags == "" && len(want.Keywords) == 0 || want.New && want.Flags == ""
		if texts[i] != e.text {
			t.Errorf("%q is read as %q in %q", e.text, texts[i], file.String())
		}
		if fmt.Sprint(states[i]) != fmt.Sprint(want) {
			t.Errorf("%q: %+v is read as %+v in %q", e.text, want, states[i], file.String())
		}
		if !messages[i].Date.Equal(date) {
			t.Errorf("%s is read as %s", date, messages[i].Date)
		}
	}
}

var hardTexts = []string{
	"", "\n", "\n\n", "x", "x\n", "\n\n\n", " folded\n", "From x\n", ">From x\n", ">>From", "From ", ">", "F", "\r\n", "a\r\n\r\n", "a: b\r\n\r\n\r",
	"Subject: x\n\nFrom a@b Tue Nov 14 22:13:20 2023\n\nFrom a@b Tue Nov 14 22:13:20 2023\n", "Status: New\nSubject: x\n\n",
	"Subject: x\n\tStatus: R\n\nStatus: R\n", "X-Mailx-Mbox: 1 unended S\n\nx", "X-Mailx-Mbox: 1 ended\n", "a: b\nContent-Length: 3\n\nabc\n",
	strings.Repeat(">", 70_000) + "From x\n", "a: " + strings.Repeat("x", 5000) + "\nStatus: R", "\x00\xff\n", "Status: R", "Status", "X-Keywords:",
	"Subject: DON'T DELETE THIS MESSAGE\nX-IMAP: 1\n\n",
}

func TestRoundTrip(t *testing.T) {
	var entries []entry
	for _, text := range hardTexts {
		for _, st := range []State{{New: true}, {}, {Flags: "S"}, {Flags: "DFPRST"}, {Flags: "Sab"}, {Flags: "F", Keywords: []string{"x"}}} {
			entries = append(entries, entry{text, st})
			checkRoundTrip(t, []entry{{text, st}}, time.Unix(1_700_000_000, 0))
		}
	}
	checkRoundTrip(t, entries, time.Unix(0, 0))
}

// FuzzMboxRoundTrip: what is written is read again, octet for octet, with its flags.
func FuzzMboxRoundTrip(f *testing.F) {
	for i, text := range hardTexts {
		f.Add(text, hardTexts[len(hardTexts)-1-i], uint16(i), int64(i)*1e8)
	}
	f.Fuzz(func(t *testing.T, a, b string, bits uint16, at int64) {
		flags := ""
		for i, letter := range "DFPRSTa;z" {
			if bits>>i&1 == 1 {
				flags += string(letter)
			}
		}
		flags = sorted(flags)
		at = max(0, at%(250*365*24*3600))
		entries := []entry{{a, State{Flags: flags, New: bits&0x8000 != 0 && flags == ""}}, {b, State{New: true}}, {a + b, State{}}}
		checkRoundTrip(t, entries, time.Unix(at, 0))
	})
}

// FuzzMboxRead: any file is read to its end, in any form, without a text that is larger than the file; and the pieces in which
// it is read do not matter.
func FuzzMboxRead(f *testing.F) {
	f.Add(from+"a: b\n\nx\n\n"+from+"Content-Length: 5\n\nabcd\n\n", uint8(2))
	f.Add("From x\r\nStatus: RO\r\n\r\n>From y\r\n\r\n", uint8(0))
	f.Fuzz(func(t *testing.T, file string, form uint8) {
		if !strings.HasPrefix(file, "From ") {
			file = from + file
		}
		texts, states, messages := read(t, file, Form(form%4))
		total, at := 0, int64(0)
		for i, m := range messages {
			total += len(texts[i])
			if m.At < at || m.TextAt < m.At || m.End < m.TextAt || m.End > int64(len(file)) {
				t.Fatalf("message %d at %d, %d to %d, behind %d", i, m.At, m.TextAt, m.End, at)
			}
			at = m.End
			var piecewise bytes.Buffer
			fs := &fields{to: &piecewise}
			q := &quoter{to: fs, undo: true, one: Form(form%4) == O}
			if Form(form%4) != CL2 && !m.crlf {
				for j := m.TextAt; j < m.End; j++ {
					q.Write([]byte{file[j]})
				}
				q.end()
				fs.end()
				if piecewise.String() != texts[i] || fmt.Sprint(fs.state()) != fmt.Sprint(states[i]) {
					t.Fatalf("octet by octet %q, as a whole %q", piecewise.String(), texts[i])
				}
			}
		}
		if total > len(file) {
			t.Fatalf("%d octets of text in %d", total, len(file))
		}
	})
}

// FuzzQuote: what is quoted has no line that begins a message, and unquoting gives the message again.
func FuzzQuote(f *testing.F) {
	f.Add("From x\n>From y\n>>Fro\n")
	f.Add(">>>")
	f.Add("x\x00")
	f.Fuzz(func(t *testing.T, in string) {
		var b strings.Builder
		bw := bufio.NewWriter(&b)
		w := NewQuoter(bw)
		for i := range len(in) {
			w.Write([]byte{in[i]})
		}
		w.Close()
		bw.Flush()
		var back strings.Builder
		for line := range strings.Lines(strings.TrimSuffix(b.String(), "\n")) {
			if strings.HasPrefix(line, "From ") {
				t.Fatalf("%q: %q", in, line)
			}
			if rest := strings.TrimLeft(line, ">"); line[0] == '>' && strings.HasPrefix(rest, "From ") {
				line = line[1:]
			}
			back.WriteString(line)
		}
		if got := back.String(); got != in && (got != in+"\n" || strings.HasSuffix(in, "\n")) {
			t.Fatalf("%q became %q", in, got)
		}
	})
}
