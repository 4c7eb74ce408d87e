package main

import (
	"strings"
	"testing"

	"mailx/man"
)

func muttText(args string) string {
	got, err := muttWords(words(args))
	if err != nil {
		return err.Error()
	}
	return strings.Join(got, "|")
}

func TestMuttWords(t *testing.T) {
	for _, tt := range []struct{ args, want string }{ // words are separated by |
		{"-s|S|to@x", "--subject=S|--|to@x"},
		{"-s|S|-a|f1|f2|--|to@x", "--subject=S|--attach=f1|--attach=f2|--|to@x"},
		{"-a|f1|-a|f2|-s|S|--|to@x", "--attach=f1|--attach=f2|--subject=S|--|to@x"},
		{"-a|f1|-s|S|to@x", "--attach=f1|--subject=S|--|to@x"},
		{"-a|f1|to@x|-s|S", "--attach=f1|--subject=S|--|to@x"},
		{"-n|-x|-F|/dev/null|-d|2|-c|c@x|-b|b@x|-i|body|to@x", "--cc=c@x|--bcc=b@x|--body-file=body|--|to@x"},
		{"-b|b@x", "--bcc=b@x|--"},
		{"-e|my_hdr From: Me <me@x>|to@x", "--header=From: Me <me@x>|--|to@x"},
		{"-e|set from=me@x; set realname=\"Me, \\\"I\\\"\"|to@x", `--from="Me, \"I\"" <me@x>|--|to@x`},
		{"-e|set from='me@x'|to@x", "--from=me@x|--|to@x"},
		{"-e|set envelope_from_address = b@x; set crypt_autosign; source x|to@x", "--envelope-from=b@x|--|to@x"},
		{"-e|set content_type=text/html|to@x", "--html=/dev/stdin|--body=|--|to@x"},
		{"-e|set content_type=text/html|-i|p.html|to@x", "--html=p.html|--body=|--|to@x"},
		{"--|-odd@x", "--|-odd@x"},
		{"-s|S", "no recipients"},
		{"-s", "option -s needs a value"},
		{"-f|=x", "-f: mutt sends with -a, -b, -c, -e, -i and -s, and all else it does is not here"},
		{"-H|draft|to@x", "-H: mutt sends with -a, -b, -c, -e, -i and -s, and all else it does is not here"},
	} {
		if got := muttText(tt.args); got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.args, got, tt.want)
		}
	}
}

// FuzzMuttWords: what comes out is a command line of send with a recipient.
func FuzzMuttWords(f *testing.F) {
	f.Add("-s|S|-a|f1|f2|--|to@x")
	f.Add("-e|set from=a; my_hdr X: y; set content_type=text/html|-i|f|-bx")
	send := newSend(testEnv())
	f.Fuzz(func(t *testing.T, line string) {
		got, err := muttWords(strings.Split(line, "|"))
		if err != nil {
			if exitCode(err) != exUsage {
				t.Fatalf("%q: %v", line, err)
			}
			return
		}
		c, err := permute(got, optionsOf(send.Flags))
		if err != nil || len(c.words) == 0 && !c.has("cc") && !c.has("bcc") {
			t.Fatalf("%q becomes %q: %v", line, got, err)
		}
	})
}

func TestMuttPage(t *testing.T) {
	roff, _, _ := man.Page("mutt-compat")
	mentioned := optionsIn(plainRoff(roff))
	for _, letter := range "abcdeFinsx" {
		if !mentioned["-"+string(letter)] {
			t.Errorf("man/mailx-mutt-compat.1 does not mention -%c", letter)
		}
	}
}
