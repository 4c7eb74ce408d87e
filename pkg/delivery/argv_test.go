package delivery

import (
	"slices"
	"strings"
	"testing"
)

func TestSplitCommand(t *testing.T) {
	tests := []struct {
		in   string
		want string // words with bars between them; "!" for an error
	}{
		{"/usr/bin/vacation alice", "/usr/bin/vacation|alice"},
		{"  cmd\t a  b ", "cmd|a|b"},
		{`cmd 'a b' "c d" e\ f`, "cmd|a b|c d|e f"},
		{`cmd a'b'"c"d`, "cmd|abcd"},
		{`cmd '' ""`, "cmd||"},
		{`cmd "a\"b\\c\d"`, `cmd|a"b\c\d`},
		{`cmd 'a$b*"c' \$x \|`, `cmd|a$b*"c|$x||`},
		{"cmd a~b a#b x=1", "cmd|a~b|a#b|x=1"},
		{"sh -c 'exec cat >/tmp/x'", "sh|-c|exec cat >/tmp/x"},
		{"", "!"}, {"  ", "!"}, {"''", "!"},
		{"cmd 'a", "!"}, {`cmd "a`, "!"}, {`cmd "a\"`, "!"}, {`cmd \`, "!"},
		{"cmd > x", "!"}, {"cmd < x", "!"}, {"a | b", "!"}, {"a; b", "!"}, {"a && b", "!"}, {"cmd $x", "!"}, {"cmd `x`", "!"},
		{`cmd "$x"`, "!"}, {"cmd \"`x`\"", "!"}, {"cmd *", "!"}, {"cmd a?", "!"}, {"cmd [a]", "!"}, {"cmd {a,b}", "!"}, {"(cmd)", "!"},
		{"cmd ~/x", "!"}, {"cmd #x", "!"}, {"cmd \x00", "!"}, {"cmd '\n'", "!"}, {"cmd \"\x7f\"", "!"}, {"cmd \\\n", "!"},
	}
	for _, tt := range tests {
		words, err := SplitCommand(tt.in)
		got := strings.Join(words, "|")
		if err != nil {
			got = "!"
		}
		if got != tt.want {
			t.Errorf("%q: got %s (%v), want %s", tt.in, got, err, tt.want)
		}
	}
}

// FuzzSplitCommand: words quoted and split are the words again, and whatever is split can be quoted.
func FuzzSplitCommand(f *testing.F) {
	f.Add(`/usr/bin/x -f 'a b' "c\"d" \e`)
	f.Add(`a''b "" ~`)
	f.Fuzz(func(t *testing.T, in string) {
		words, err := SplitCommand(in)
		if err != nil {
			return
		}
		var quoted []string
		for _, w := range words {
			if hasControl(w) {
				t.Fatalf("%q: word %q", in, w)
			}
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		if again, err := SplitCommand(strings.Join(quoted, " ")); err != nil || !slices.Equal(again, words) {
			t.Fatalf("%q: words %q, again %q %v", in, words, again, err)
		}
	})
}
