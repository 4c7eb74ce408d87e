package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

// runHere runs a command line in this process, with an empty standard input, and gives its exit code and what it said on stderr.
func runHere(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{"HOME": home, "MAILX_SPOOL": filepath.Join(home, "spool"), "MAILX_CONFIG": os.DevNull} {
		t.Setenv(name, value)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	said, err := os.Create(filepath.Join(home, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	code = run(append([]string{"mailx"}, args...), streams{in: null, out: said, err: said})
	text, err := os.ReadFile(said.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(text)
}

// msmtp #80: OAuth tokens of more than 500 characters. They go over the wire whole, and into no trace.
func TestComplaintMsmtp80LongTokens(t *testing.T) {
	for _, size := range []int{501, 2000, 8000} {
		token := strings.Repeat("abcdefgh", size/8+1)[:size]
		s := mailtest.ScriptServer(t, mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-hi", "250 AUTH XOAUTH2 PLAIN"),
			mailtest.Exchange("AUTH XOAUTH2 ", "235 2.7.0 Welcome"), mailtest.Exchange("MAIL FROM:", "250 ok"), mailtest.Exchange("RCPT TO:", "250 ok"),
			mailtest.Exchange("DATA", "354 go on"), mailtest.ExpectTo("."), mailtest.Reply("250 2.0.0 ok"))
		code, stderr := runHere(t, "send", "--now", "--trace", "--server", "smtp://me@"+s.Addr, "--set", "token_command=echo "+token,
			"--from", "a@a.example", "--body", "x", "b@b.example")
		if code != exOK || strings.Contains(stderr, token[:8]) {
			t.Errorf("%d characters: exit code %d, %s", size, code, stderr)
		}
		var sent string
		for _, line := range s.Said() {
			if initial, ok := strings.CutPrefix(line, "AUTH XOAUTH2 "); ok {
				b, _ := base64.StdEncoding.DecodeString(initial)
				sent = string(b)
			}
		}
		if want := "user=me\x01auth=Bearer " + token + "\x01\x01"; sent != want {
			t.Errorf("%d characters: %d octets came, want %d", size, len(sent), len(want))
		}
	}
}
