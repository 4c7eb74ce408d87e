package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

// startHost starts a server of hamburger.edu as a process, with bob, whose password is hungry.
func startHost(t testing.TB, verb string) *mailtest.Process {
	t.Helper()
	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}hungry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return mailtest.Command{
		Bin: mailtest.Binary(t), Home: home, Ready: "listening",
		Args: []string{verb, "--listen", "127.0.0.1:0", "--hostname", "hamburger.edu", "--set", "domains=hamburger.edu", "--set", "users=" + users},
	}.Start(t)
}

// files gives what a directory of bob's has, by name.
func files(t testing.TB, p *mailtest.Process, sub string) map[string]string {
	t.Helper()
	dir := filepath.Join(p.Spool, "mail/bob", sub)
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts[e.Name()] = string(b)
	}
	return texts
}

// The SMTP dialog that started the project, against the program: the message without any header is in bob's mailbox, and it
// is the envelope that brought it there.
func TestSpecSMTP(t *testing.T) {
	p := startHost(t, "serve-smtp")
	mailtest.RunTranscript(t, "../../testdata/dialogs/spec-smtp.txt", mailtest.DialTCP(p.Addr()), mailtest.Options{})
	got := files(t, p, "new")
	if len(got) == 0 {
		t.Fatal("nothing was delivered")
	}
	for name, text := range got {
		if !strings.HasPrefix(text, "Return-Path: <alice@crepes.fr>\nReceived: from crepes.fr ([127.0.0.1])\n\tby hamburger.edu with SMTP") ||
			!strings.HasSuffix(text, "\n\nDo you like ketchup?\nHow about pickles?\n") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// The POP3 dialog, against the program: what it deletes is gone afterwards.
func TestSpecPOP3(t *testing.T) {
	p := startHost(t, "serve-pop3")
	fill := func(t testing.TB, _ map[string]string) {
		for _, sub := range []string{"tmp", "new", "cur"} {
			if err := os.MkdirAll(filepath.Join(p.Spool, "mail/bob", sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for i, text := range mailtest.SpecPOP3Messages() {
			name := filepath.Join(p.Spool, "mail/bob/new", []string{"1700000001.M1P1.host", "1700000002.M1P1.host"}[i])
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	mailtest.RunTranscript(t, "../../testdata/dialogs/spec-pop3.txt", mailtest.DialTCP(p.Addr()), mailtest.Options{Setup: fill})
	for _, sub := range []string{"new", "cur"} {
		if got := files(t, p, sub); len(got) != 0 {
			t.Errorf("%s still has %v", sub, got)
		}
	}
}
