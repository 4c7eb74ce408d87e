package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

func TestParseRouteCommand(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/uux - -r hub!rmail {recipients}": "/usr/bin/uux|-|-r|hub!rmail|{recipients}",
		"/x -f{sender} -- {recipient}":             "/x|-f{sender}|--|{recipient}",
		`/x "-f {sender}" 'a b'`:                   "/x|-f {sender}|a b",
		"/x":                                       "/x",
		"x {recipients}":                           "",
		"":                                         "",
		"/x -r{recipients}":                        "",
		"/x {recipients},":                         "",
		"/{sender}":                                "",
		"/x {other}":                               "",
		"/x | y":                                   "",
		"/x $HOME":                                 "",
		"/x \ue000":                                "",
		"/x 'open":                                 "",
		"/x a\x00b":                                "",
	} {
		argv, err := ParseRouteCommand(in)
		if got := strings.Join(argv, "|"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
}

// execRoute is a Relay whose mail all goes to a script, which writes down what it is given: "words|SENDER|RECIPIENT|RECIPIENTS|message".
func execRoute(t *testing.T, script string, words ...string) (r *Relay, taken func() []string) {
	t.Helper()
	commands, dir := asNobody(t)
	out := filepath.Join(dir, "out")
	path := filepath.Join(dir, "take")
	text := "#!/bin/sh\n" + script + "\n{ printf '%s,' \"$@\"; printf '|%s|%s|%s|' \"$SENDER\" \"$RECIPIENT\" \"$RECIPIENTS\"; cat; printf '\\0'; } >>" + out + "\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	r = &Relay{Commands: commands}
	r.Via = func(string) Route { return Route{Name: "x", Command: append([]string{path}, words...)} }
	t.Cleanup(r.Close)
	return r, func() []string {
		data, err := os.ReadFile(out)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all := strings.Split(string(data), "\x00")
		return all[:len(all)-1]
	}
}

func TestExec(t *testing.T) {
	for _, c := range []struct {
		words, from, to string
		want            string // status
		taken           []string
	}{
		{"{recipients}", "s@x", "a@y b@z", "2.0.0 2.0.0", []string{"a@y,b@z,|s@x||a@y\nb@z|" + text}},
		{"-f {sender} {recipient}", "s@x", "a@y b@z", "2.0.0 2.0.0",
			[]string{"-f,s@x,a@y,|s@x|a@y|a@y|" + text, "-f,s@x,b@z,|s@x|b@z|b@z|" + text}},
		{"", "", "a@y", "2.0.0", []string{",||a@y|a@y|" + text}},
		{"{recipients}", "s@x", "-oQ/tmp@y b@z", "5.1.3 2.0.0", []string{"b@z,|s@x|b@z|b@z|" + text}},
		{"-r{recipient}", "s@x", "-oQ/tmp@y", "2.0.0", []string{"-r-oQ/tmp@y,|s@x|-oQ/tmp@y|-oQ/tmp@y|" + text}},
		{"{sender} {recipients}", "-s@x", "b@z", "5.1.3", []string{}},
		{"x", "-s@x", "-b@z", "2.0.0", []string{"x,|-s@x|-b@z|-b@z|" + text}},
		{"{recipients}", `"$(id)"@x`, "`id`@y", "2.0.0", []string{"`id`@y,|\"$(id)\"@x|`id`@y|`id`@y|" + text}},
	} {
		r, taken := execRoute(t, "", strings.Fields(c.words)...)
		if got := deliver(t, r, envelope(t, c.from, strings.Fields(c.to)...)); got != c.want {
			t.Errorf("%s from %s to %s: got %s, want %s", c.words, c.from, c.to, got, c.want)
		}
		if got := taken(); !slices.Equal(got, c.taken) {
			t.Errorf("%s from %s to %s: taken %q, want %q", c.words, c.from, c.to, got, c.taken)
		}
	}
}

// Where a command runs for each recipient, one who has the message is told of before it runs for the next.
func TestExecTells(t *testing.T) {
	r, taken := execRoute(t, "case $RECIPIENT in b@*) exit 75;; esac", "{recipient}")
	var told []string
	env := envelope(t, "s@x", "a@y", "b@y", "c@y", "d@y")
	r.deliver(t.Context(), env, strings.NewReader(text), int64(len(text)), func(index []int, results []mail.Result) {
		for n, i := range index {
			told = append(told, fmt.Sprint(env.Rcpts[i].Local, len(taken()), results[n].Err == nil))
		}
	})
	if want := []string{"a1 true", "b1 false", "c2 true"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// What the command says is what becomes of the recipients of its run; nobody else is told that they have it.
func TestExecVerdicts(t *testing.T) {
	for script, want := range map[string]string{
		"exit 67": "5.1.1 5.1.1", "exit 75": "4.3.0 4.3.0", "exit 1": "4.3.0 4.3.0", "kill $$": "4.3.0 4.3.0",
		"case $RECIPIENT in a@y) exit 67;; esac": "5.1.1 2.0.0",
	} {
		r, _ := execRoute(t, script, "{recipient}")
		if got := deliver(t, r, envelope(t, "s@x", "a@y", "b@y")); got != want {
			t.Errorf("%s: got %s, want %s", script, got, want)
		}
	}
	r, _ := execRoute(t, "", "{recipients}")
	results := r.Deliver(t.Context(), envelope(t, "s@x", "a@y"), strings.NewReader(text), int64(len(text)))
	if !results[0].Relayed {
		t.Error("what a command takes is relayed: nobody else tells of success")
	}
	r.Via = func(string) Route { return Route{Command: []string{"/nonexistent/program"}} }
	if got := deliver(t, r, envelope(t, "s@x", "a@y")); got != "4.3.5" {
		t.Errorf("no such program: got %s", got)
	}
	r.Commands = nil
	if got := deliver(t, r, envelope(t, "s@x", "a@y")); got != "4.3.5" {
		t.Errorf("no commands: got %s", got)
	}
}

// A run is for so many recipients that its variables and words have room, n-1, n and n+1.
func TestExecRuns(t *testing.T) {
	for _, c := range []struct{ n, octets, runs int }{
		{1, 64, 1}, {999, 20, 1}, {1000, 20, 1}, {1001, 20, 2}, {2001, 20, 3}, {512, 128, 1}, {513, 128, 2},
	} {
		var to []mail.Recipient
		var todo []int
		for i := range c.n {
			name := fmt.Sprintf("%0*d", c.octets-len("@y.example\n"), i)
			to = append(to, mail.Recipient{Address: mail.Address{Local: name, Domain: "y.example"}})
			todo = append(todo, i)
		}
		runs := 0
		for len(todo) > 0 {
			n := runLength(to, todo, 1000)
			todo = todo[n:]
			runs++
		}
		if runs != c.runs {
			t.Errorf("%d recipients of %d octets: %d runs, want %d", c.n, c.octets, runs, c.runs)
		}
	}
}

func FuzzParseRouteCommand(f *testing.F) {
	f.Add("/usr/bin/uux - -r hub!rmail {recipients}")
	f.Add(`/x "-f {sender}" '{recipient}' \{`)
	f.Fuzz(func(t *testing.T, s string) {
		argv, err := ParseRouteCommand(s)
		if err != nil {
			return
		}
		got := expandCommand(argv, "s@x", []string{"a@y"})
		if len(got) != len(argv) || got[0] != argv[0] {
			t.Errorf("%q: %q became %q", s, argv, got)
		}
		for _, word := range got {
			if strings.ContainsAny(word, "\x00\n\r") {
				t.Errorf("%q: %q", s, got)
			}
		}
	})
}
