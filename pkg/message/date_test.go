package message

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"Sun, 01 Mar 2026 09:05:07 +0100":           "2026-03-01T08:05:07Z",
		"1 Mar 2026 09:05 GMT":                      "2026-03-01T09:05:00Z",
		"Sun,  1 Mar 2026 09:05:07 +0100 (CET (x))": "2026-03-01T08:05:07Z",
		"Mon, 01 Mar 2026 09:05:07 -0500":           "2026-03-01T14:05:07Z",
		"Sun Mar  1 09:05:07 2026":                  "2026-03-01T09:05:07Z",
		"Sun Mar  1 09:05:07 EST 2026":              "2026-03-01T14:05:07Z",
		"Sun, 1 Mar 2026 09:05:07":                  "2026-03-01T09:05:07Z",
		"2026-03-01T09:05:07+01:00":                 "2026-03-01T08:05:07Z",
		"2026-03-01 09:05:07 +0100":                 "2026-03-01T08:05:07Z",
		"Sunday, 1 Mar 26 09:05:07 +0000":           "2026-03-01T09:05:07Z",
		"Sun, 01-Mar-2026 09:05:07 +0000":           "2026-03-01T09:05:07Z",
		"Sun,\n 01 Mar 2026 09:05:07 PST":           "2026-03-01T17:05:07Z",
		"":                                          "",
		"yesterday":                                 "",
		"Sun, 99 Mar 2026 09:05:07 +0100":           "",
		"((((" + strings.Repeat("(", 5000):          "",
		strings.Repeat("1", 5000):                   "",
	} {
		got := ""
		if d, err := ParseDate(in); err == nil {
			got = d.UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%.60q: got %q, want %q", in, got, want)
		}
	}
	if got := FormatDate(day); got != "Sun, 01 Mar 2026 09:05:07 +0100" {
		t.Errorf("FormatDate: got %q", got)
	}
}

func FuzzParseDate(f *testing.F) {
	f.Add("Sun, 01 Mar 2026 09:05:07 +0100 (x)")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDate(s)
		if err != nil || d.Year() < 0 || d.Year() > 9999 {
			return
		}
		if _, offset := d.Zone(); offset%60 != 0 { // RFC 5322 has no seconds in zones
			return
		}
		again, err := ParseDate(FormatDate(d))
		if d.Year() >= 1900 && (err != nil || again.Unix() != d.Unix()) {
			t.Fatalf("%q: %v, printed and read %v, %v", s, d, again, err)
		}
	})
}

func TestMessageID(t *testing.T) {
	fixed := func() *bytes.Reader { return bytes.NewReader(make([]byte, 10)) }
	for host, want := range map[string]string{
		"Host.Example": "<e07gtdgauo.00000000000000000000@host.example>", "": "<e07gtdgauo.00000000000000000000@localhost>",
		"bad host": "<e07gtdgauo.00000000000000000000@localhost>",
	} {
		got, err := NewMessageID(host, day, fixed())
		if err != nil || !strings.HasSuffix(got, want[strings.IndexByte(want, '.'):]) || !validMsgID(got) {
			t.Errorf("%q: got %q, %v; want %q", host, got, err, want)
		}
	}
	if _, err := NewMessageID("x", day, strings.NewReader("short")); err == nil {
		t.Error("short randomness: no error")
	}
	a, _ := NewMessageID("x", day, nil)
	b, _ := NewMessageID("x", day, nil)
	if a == b {
		t.Errorf("twice the same id: %q", a)
	}
}
