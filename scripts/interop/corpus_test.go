//go:build interop

package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// letter is a message in local form that something has gone wrong with somewhere.
type letter struct {
	name string
	text string
}

const header = "From: Alice <alice@example.net>\nTo: Bob <bob@example.org>\nSubject: interop\n" +
	"Date: Mon, 02 Mar 2026 08:00:00 +0000\nMessage-ID: <1@example.net>\n\n"

// letters are what every client has to bring over unchanged.
func letters() []letter {
	return []letter{
		{"plain", header + "Hello.\n"},
		{"dots", header + ".\n..\n...\n.hidden\n..twice\n . \n.\n\n.\n"},
		{"eight bit", header + "Grüße, 日本, \xff\xfe\xe9 latin-1\n"},
		{"blanks", header + "\n\n trailing blank \n\ttab\t\n\n\n"},
		{"no body", strings.TrimSuffix(header, "\n")},
		{"no header", "Just a line, with a colon: here.\nAnd one more.\n"},
		{"long line", header + strings.Repeat("x", 900) + "\n"},
		{"From line", header + "From the start of a line\n>From quoted\n"},
		{"1 MiB", header + noise(1<<20)},
	}
}

// noise is text of at least that many octets that is the same every time, with dots and 8 bit in it.
func noise(octets int) string {
	random := rand.New(rand.NewPCG(1, uint64(octets)))
	var b strings.Builder
	for line := 0; b.Len() < octets; line++ {
		b.WriteString([]string{"", ".", "..", "é"}[random.IntN(4)])
		fmt.Fprintf(&b, "%d %s\n", line, strings.Repeat("-", random.IntN(70)))
	}
	return b.String()
}

// crlf is the form that a message has on the wire.
func crlf(local string) string { return strings.ReplaceAll(local, "\n", "\r\n") }

// stored is a delivered message taken apart.
type stored struct {
	returnPath string
	received   string // unfolded
	rest       string // the message as it came, after the blank line that one without a header gets
}

// parseStored takes off what final delivery puts in front: RFC 5321 §4.4.
func parseStored(t testing.TB, text string) stored {
	t.Helper()
	path, rest, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(path, "Return-Path: <") {
		t.Fatalf("no Return-Path at the start of %.200q", text)
	}
	received, rest, ok := strings.Cut(rest, "\n")
	if !ok || !strings.HasPrefix(received, "Received: ") {
		t.Fatalf("no Received below Return-Path in %.200q", text)
	}
	for strings.HasPrefix(rest, "\t") || strings.HasPrefix(rest, " ") {
		var more string
		more, rest, _ = strings.Cut(rest, "\n")
		received += " " + strings.TrimSpace(more)
	}
	return stored{strings.TrimPrefix(path, "Return-Path: "), received, rest}
}

// checkStored compares a message on disk with what was sent. One without a header has a blank line in front.
func checkStored(t testing.TB, text, from, want string) stored {
	t.Helper()
	s := parseStored(t, text)
	if s.returnPath != "<"+from+">" {
		t.Errorf("got Return-Path %s, want <%s>", s.returnPath, from)
	}
	if !hasHeader(want) {
		want = "\n" + want
	}
	diff(t, s.rest, want)
	return s
}

// hasHeader reports that the first line is a header field.
func hasHeader(text string) bool {
	line, _, _ := strings.Cut(text, "\n")
	name, _, ok := strings.Cut(line, ":")
	return ok && !strings.ContainsAny(name, " \t")
}

// diff fails the test where two messages part.
func diff(t testing.TB, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	from := max(0, at-40)
	t.Errorf("%d octets, want %d; they part at octet %d:\n got %q\nwant %q", len(got), len(want), at,
		got[from:min(len(got), at+60)], want[from:min(len(want), at+60)])
}
