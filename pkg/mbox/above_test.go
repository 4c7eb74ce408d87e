package mbox

import (
	"bytes"
	"strings"
	"testing"
)

func TestAbove(t *testing.T) {
	const (
		dated = "From a@b Tue Nov 14 22:13:20 2023\n"
		field = "Subject: x\n"
	)
	for _, tt := range []struct{ above, below string }{
		{"", ""},
		{"", field + "\nx\n"},
		{"", "From: a@b\n"},
		{dated, ""},
		{dated, field},
		{dated, "\ntext\n"},
		{dated, "text\n"},
		{strings.TrimSuffix(dated, "\n"), ""},
		{strings.Replace(dated, "\n", "\r\n", 1), "Subject: x\r\n"},
		{"From - Tue, 14 Nov 2023 23:13:22 +0100\n", field}, // Thunderbird
		{"From a@b Mon\n", field},
		{"From a@b\n", "Subject : x\n"},
		{"From " + strings.Repeat("a", 2000) + "\n", field},
		{dated + ">" + dated, field},
		{dated + ">From a@b\n", field},
		{"From a@b\n>From c@d\n", field},
		{">" + dated, field},
		{">" + dated, ""},
		{dated, dated + field}, // only one
		{">" + dated, ">" + dated + field},
		{"", ">>" + dated + field},
		{"", "From here on it is text.\n"},
		{"", "From here on it is text.\nAnd goes on: so.\n"},
		{"", "From us:\nhttp://x.example/\n"},
		{"", ">From here on it is quoted.\n\n"},
		{"", "From " + strings.Repeat("a", MaxAbove) + "\n" + field},
	} {
		msg := tt.above + tt.below
		if got := Above([]byte(msg[:min(len(msg), MaxAbove)])); got != len(tt.above) {
			t.Errorf("%.200q: got %d octets, want %d", msg, got, len(tt.above))
		}
	}
}

// FuzzAbove: what stands above are lines, at most two, and behind them there is no other but one of its kind.
func FuzzAbove(f *testing.F) {
	f.Add([]byte("From a@b Tue Nov 14 22:13:20 2023\r\n>From c@d\nSubject: x\n\n"))
	f.Add([]byte(">From x\n:"))
	f.Fuzz(func(t *testing.T, head []byte) {
		head = head[:min(len(head), MaxAbove)]
		above := head[:Above(head)]
		if len(above) > 0 && len(above) < len(head) && above[len(above)-1] != '\n' || bytes.Count(above, []byte("\n")) > 2 {
			t.Fatalf("%q: got %q", head, above)
		}
		if len(above) > 0 && !bytes.HasPrefix(bytes.TrimPrefix(above, []byte(">")), []byte(fromMark)) {
			t.Fatalf("%q: got %q", head, above)
		}
	})
}
