package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailx/pkg/config"
	"mailx/pkg/imap"
	"mailx/pkg/mailtest"
)

// fetchWorld is a server's home with bob's mail, and a reader's.
type fetchWorld struct {
	t         *testing.T
	bin       string
	far, near string // homes
}

func newFetchWorld(t *testing.T) *fetchWorld {
	t.Helper()
	w := &fetchWorld{t: t, bin: mailtest.Binary(t), far: t.TempDir(), near: t.TempDir()}
	w.write(w.far, "users", "bob:{PLAIN}x\n")
	return w
}

func (w *fetchWorld) write(home, name, text string) string {
	w.t.Helper()
	name = filepath.Join(home, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return name
}

func (w *fetchWorld) command(home string) mailtest.Command {
	return mailtest.Command{Bin: w.bin, Home: home, Env: []string{"MAILX_CONFIG=" + os.DevNull, "MAILX_USERS=" + filepath.Join(home, "users"),
		"MAILX_HOSTNAME=fetch.test", "MAILX_ALIASES=" + os.DevNull, "MAILX_DOMAINS=fetch.test"}}
}

func (w *fetchWorld) serve(home string, args ...string) *mailtest.Process {
	w.t.Helper()
	c := w.command(home)
	c.Args, c.Ready = append(args, "--listen", "127.0.0.1:0", "--log-level", "info"), "listening"
	return c.Start(w.t)
}

// run gives the exit code and what was printed.
func (w *fetchWorld) run(home, stdin string, args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	cmd := exec.Command(w.bin, args...)
	var out, errs bytes.Buffer
	cmd.Env = mailtest.Env(home, w.command(home).Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = strings.NewReader(stdin), &out, &errs, home
	cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func (w *fetchWorld) must(home, stdin string, args ...string) string {
	w.t.Helper()
	code, stdout, stderr := w.run(home, stdin, args...)
	if code != 0 {
		w.t.Fatalf("%q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

// put gives bob a message in a folder.
func (w *fetchWorld) put(folder, subject string) {
	w.t.Helper()
	w.must(w.far, "Return-Path: <alice@far.example>\nSubject: "+subject+"\n\nhello\n", "deliver", "--folder", folder, "bob")
}

// count is how many messages are in a Maildir.
func count(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Error(err)
		}
		n += len(entries)
	}
	return n
}

func TestFetchFolders(t *testing.T) {
	w := newFetchWorld(t)
	for _, folder := range []string{"", "Archive.2026", "Entwürfe"} {
		w.put(folder, "in "+folder)
	}
	url := "imap://bob@" + w.serve(w.far, "serve-imap").Addr()
	into := filepath.Join(w.near, "box")
	fetch := func(args ...string) string {
		return w.must(w.near, "x\n", append([]string{"fetch", "--password-fd", "0", "--into", into, "--json", "--url"}, args...)...)
	}
	if out := fetch(url); !strings.Contains(out, `"fetched":1`) {
		t.Errorf("INBOX: %s", out)
	}
	if out := fetch(url + "/Archive/2026"); !strings.Contains(out, `"fetched":1`) || count(t, into+"/.Archive.2026") != 1 {
		t.Errorf("Archive/2026: %s", out)
	}
	if out := fetch(url, "--folder", "Entwürfe", "--folder", "inbox"); !strings.Contains(out, `"fetched":1`) || count(t, into+"/.Entwürfe") != 1 {
		t.Errorf("Entwürfe: %s", out)
	}
	if out := fetch(url, "--all-folders", "--delete"); !strings.Contains(out, `"fetched":0`) || !strings.Contains(out, `"deleted":3`) {
		t.Errorf("all: %s", out)
	}
	if code, _, stderr := w.run(w.near, "x\n", "fetch", "--password-fd", "0", "--url", url, "--folder", "nosuch"); code != exNoUser ||
		!strings.Contains(stderr, "no folder nosuch; it has INBOX") {
		t.Errorf("a folder that is not there: %d, %s", code, stderr)
	}
}

// TestFetchTargets: a message counts when somebody has taken it.
func TestFetchTargets(t *testing.T) {
	w := newFetchWorld(t)
	url := "pop3://bob@" + w.serve(w.far, "serve-pop3").Addr()
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	w.write(w.near, "users", "bob:{PLAIN}x\n")
	lmtp := w.serve(w.near, "serve-lmtp").Addr()
	hooks := 0
	hook := func(text string) []string {
		hooks++
		name := w.write(w.near, fmt.Sprintf("hook%d", hooks), text)
		os.Chmod(name, 0o700)
		return []string{"--set", "hooks.deliver=" + name}
	}
	tests := []struct {
		name  string
		args  []string
		code  int
		taken bool
	}{
		{"later", []string{"--exec", w.write(w.near, "later", "#!/bin/sh\nexit 75\n")}, exTempFail, false},
		{"never", []string{"--exec", "false"}, exTempFail, false},
		{"no such command", []string{"--exec", "/nosuch"}, exTempFail, false},
		{"cat", []string{"--exec", "tee " + filepath.Join(w.near, "taken")}, 0, true},
		{"smtp", []string{"--smtp", "smtp://" + sink.Addr, "--recipient", "me@here.example"}, 0, true},
		{"lmtp", []string{"--lmtp", lmtp, "--recipient", "bob@fetch.test"}, 0, true},
		{"deliver", []string{"--deliver", "bob"}, 0, true},
		{"deliver with a hook that wants it later", append(hook("#!/bin/sh\nexit 75\n"), "--deliver", "bob"), exTempFail, false},
		{"deliver with a hook that never wants it", append(hook("#!/bin/sh\nexit 65\n"), "--deliver", "bob"), exTempFail, false},
		{"deliver with a hook that tells", append(hook("#!/bin/sh\ncat >/dev/null\necho $MAILX_SENDER $MAILX_RECIPIENTS >\"$(dirname \"$0\")/told\"\n"),
			"--deliver", "bob"), 0, true},
		{"deliver to nobody", []string{"--deliver", "nobody-at-all"}, exNoUser, false},
		{"deliver and a command", []string{"--deliver", "bob", "--exec", "cat"}, exUsage, false},
		{"deliver and recipients", []string{"--deliver", "bob", "--recipient", "bob@fetch.test"}, exUsage, false},
		{"nobody listens", []string{"--smtp", "smtp://127.0.0.1:1", "--recipient", "me@here.example"}, exTempFail, false},
		{"no recipient", []string{"--lmtp", lmtp}, exUsage, false},
		{"two places", []string{"--lmtp", lmtp, "--exec", "cat"}, exUsage, false},
	}
	os.Chmod(filepath.Join(w.near, "later"), 0o700)
	for _, test := range tests {
		w.put("", test.name)
		args := append([]string{"fetch", "--url", url, "--password-fd", "0", "--delete"}, test.args...)
		code, _, stderr := w.run(w.near, "x\n", args...)
		left := count(t, filepath.Join(w.far, "spool/mail/bob"))
		if code != test.code || (left == 0) != test.taken {
			t.Errorf("%s: exit code %d, %d left, want %d, taken %v; %s", test.name, code, left, test.code, test.taken, stderr)
		}
		os.RemoveAll(filepath.Join(w.far, "spool/mail/bob"))
	}
	if b, _ := os.ReadFile(filepath.Join(w.near, "taken")); !strings.HasSuffix(string(b), "Subject: cat\n\nhello\n") {
		t.Errorf("the command got %q", b)
	}
	if got := sink.Messages(); len(got) != 1 || !strings.Contains(got[0].Data, "Subject: smtp") || strings.Contains(got[0].Data, "Return-Path") ||
		got[0].From != "alice@far.example" {
		t.Errorf("smtp got %+v", got)
	}
	if n := count(t, filepath.Join(w.near, "spool/mail/bob")); n != 3 {
		t.Errorf("lmtp and deliver got %d messages", n)
	}
	if b, _ := os.ReadFile(filepath.Join(w.near, "told")); string(b) != "alice@far.example bob\n" {
		t.Errorf("the hook was told %q", b)
	}
}

// TestFetchAccounts: one that fails stops no other, and the worst exit code stands.
func TestFetchAccounts(t *testing.T) {
	w := newFetchWorld(t)
	w.put("", "one")
	pop, mailboxes := w.serve(w.far, "serve-pop3").Addr(), w.serve(w.far, "serve-imap").Addr()
	config := w.write(w.near, "config.toml", fmt.Sprintf(`
[account.a-dead]
url = "pop3://bob@127.0.0.1:1"
password = "x"
[account.b-wrong]
url = "imap://bob@%[2]s"
password = "wrong"
[account.c-pop]
url = "pop3://bob@%[1]s"
password = "x"
into = "./pop"
[account.d-imap]
url = "imap://bob@%[2]s"
password_command = ["echo", "x"]
into = "./imap"
max_age = "1h"
`, pop, mailboxes))
	for _, parallel := range []string{"1", "4"} {
		code, out, stderr := w.run(w.near, "", "fetch", "--config", config, "--json", "--parallel", parallel)
		if code != exNoPerm || strings.Count(out, `"account"`) != 2 || !strings.Contains(stderr, "a-dead") || !strings.Contains(stderr, "b-wrong") {
			t.Errorf("--parallel %s: exit code %d\n%s%s", parallel, code, out, stderr)
		}
	}
	for _, box := range []string{"pop", "imap"} {
		if n := count(t, filepath.Join(w.near, box)); n != 1 {
			t.Errorf("%d messages in %s", n, box)
		}
	}
}

// awaitText waits until a process has written something.
func awaitText(t *testing.T, what string, output func() string) {
	t.Helper()
	deadline := time.After(mailtest.DefaultTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(output(), what) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %q in %q", what, output())
		}
	}
}

// TestFetchIdle: it stays, fetches what comes, survives a server that goes, tells when asked, and ends when told.
func TestFetchIdle(t *testing.T) {
	w := newFetchWorld(t)
	w.put("", "first")
	server := w.serve(w.far, "serve-imap")
	address := server.Addr()
	c := w.command(w.near)
	config := w.write(w.near, "c.toml", "[account.work]\nurl = \"imap://bob@"+address+"\"\npassword_command = [\"sh\", \"-c\", \"echo >>logins; echo x\"]\n")
	c.Args = []string{"fetch", "--config", config, "--idle", "--json", "--into", filepath.Join(w.near, "box")}
	p := c.Start(t)
	awaitText(t, `"listed":1`, p.Stdout)
	w.put("", "second")
	awaitText(t, `"listed":2`, p.Stdout)
	server.Kill()
	awaitText(t, "again in 1s", p.Stderr)
	again := w.command(w.far)
	again.Args, again.Ready = []string{"serve-imap", "--listen", address, "--log-level", "info"}, "listening"
	again.Start(t)
	w.put("", "third")
	awaitText(t, `"listed":3`, p.Stdout)
	p.Signal(syscall.SIGUSR1)
	awaitText(t, "work/INBOX: 1 of 1", p.Stderr)
	if code := p.Stop(); code != 0 {
		t.Errorf("SIGTERM: exit code %d", code)
	}
	if n := count(t, filepath.Join(w.near, "box")); n != 3 {
		t.Errorf("%d messages", n)
	}
	if b, _ := os.ReadFile(filepath.Join(w.near, "logins")); len(b) < 2 {
		t.Errorf("the command for the password ran %d times", len(b))
	}
}

// TestFetchIdleToken: tokens expire. After a break the command is asked for another one, and a token that is refused does not end it.
func TestFetchIdleToken(t *testing.T) {
	t.Parallel()
	w := newFetchWorld(t)
	w.put("", "first")
	check := w.write(w.far, "check", "#!/bin/sh\ntest \"$(tr '\\0' '|' <&3 | sed 's/|[0-9]*|$//')\" = \"bob|$(cat \"${0%/*}\"/valid)\"\n")
	os.Chmod(check, 0o700)
	w.write(w.far, "valid", "token1")
	// The second token has expired already.
	command := w.write(w.near, "token", "#!/bin/sh\ncd \"${0%/*}\"\necho >>logins\necho token$(wc -l <logins)\n")
	os.Chmod(command, 0o700)
	server := w.serve(w.far, "serve-imap", "--auth-token-command", check)
	c := w.command(w.near)
	c.Args = []string{"fetch", "--url", "imap://bob@" + server.Addr(), "--token-command", command, "--idle", "--json", "--into", filepath.Join(w.near, "box")}
	p := c.Start(t)
	awaitText(t, `"listed":1`, p.Stdout)
	w.write(w.far, "valid", "token3")
	server.Kill()
	again := w.command(w.far)
	again.Args, again.Ready = []string{"serve-imap", "--listen", server.Addr(), "--auth-token-command", check, "--log-level", "info"}, "listening"
	again.Start(t)
	awaitText(t, "again in 2s", p.Stderr)
	w.put("", "second")
	awaitText(t, `"listed":2`, p.Stdout)
	if code := p.Stop(); code != 0 || strings.Contains(p.Stderr(), "token1") {
		t.Errorf("exit code %d, %s", code, p.Stderr())
	}
}

// TestFetchToken: OAuth by POP3, with the token of a command.
func TestFetchToken(t *testing.T) {
	w := newFetchWorld(t)
	server := mailtest.ScriptServer(t, mailtest.Reply("+OK"), mailtest.Exchange("CAPA", "+OK", "SASL XOAUTH2", "."),
		mailtest.Exchange("AUTH XOAUTH2 dXNlcj1ib2IBYXV0aD1CZWFyZXIgdG9rAQE=", "+OK"), mailtest.Exchange("CAPA", "-ERR"),
		mailtest.Exchange("UIDL", "+OK", "."), mailtest.Exchange("QUIT", "+OK"))
	code, _, stderr := w.run(w.near, "", "fetch", "--url", "pop3://bob@"+server.Addr, "--token-command", "echo tok", "--trace")
	if code != 0 || strings.Contains(stderr, "dXNlc") || !strings.Contains(stderr, "AUTH XOAUTH2 ***") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestFetchOptions(t *testing.T) {
	w := newFetchWorld(t)
	for _, args := range [][]string{
		{"--url", "pop3://bob@127.0.0.1:1", "--folder", "x"},
		{"--url", "imap://bob@127.0.0.1:1", "--delete-after", "soon"},
		{"--url", "imap://bob@127.0.0.1:1", "--max-age", "-1"},
		{"--url", "imap://bob@127.0.0.1:1", "--poll", "0s"},
		{"--url", "imap://bob@127.0.0.1:1", "--parallel", "0"},
		{"--url", "imap://bob@127.0.0.1:1", "--smtp", "pop3://x", "--recipient", "a@b.example"},
		{"--url", "imap://bob@127.0.0.1:1", "--lmtp", "/run/x", "--recipient", "nobody at all"},
		{"--url", "http://bob@127.0.0.1:1"},
		{"--url", "imap://127.0.0.1:1"},
	} {
		if code, _, stderr := w.run(w.near, "x\n", append([]string{"fetch", "--password-fd", "0"}, args...)...); code != exUsage {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
	for text, want := range map[string]time.Duration{"30": 30 * 24 * time.Hour, "12h": 12 * time.Hour, "2d": 48 * time.Hour} {
		if got, err := parseDays(text); got != want || err != nil {
			t.Errorf("parseDays(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	url, err := config.ParseAccountURL("imaps://me%40x.example@imap.example/A/B")
	if err != nil || url.User != "me@x.example" || url.Port != 993 || url.Folder != "A/B" || url.String() != "imaps://me%40x.example@imap.example:993/A/B" {
		t.Errorf("%+v, %v", url, err)
	}
}

func TestProgressLine(t *testing.T) {
	p := &progress{e: &env{now: time.Now}, state: map[string]progressCount{}}
	p.of("work")(5, 10)
	if got, want := p.line(80), "[##########          ] work 5/10"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.of("ho\x1bme")(0, 30)
	p.of("done")(10, 10)
	if got := p.line(80); strings.Contains(got, "\x1b") || strings.Contains(got, "done") || !strings.HasPrefix(got, "[######     ") {
		t.Errorf("%q", got)
	}
	if got := p.line(12); len([]rune(got)) > 12 {
		t.Errorf("%q is too wide", got)
	}
}

// openTerminal gives both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { ours.Close() })
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// TestProgressOnTerminal: where standard error is a terminal it shows a bar, and takes it away in the end. A dumb one can't.
func TestProgressOnTerminal(t *testing.T) {
	w := newFetchWorld(t)
	for i := range 3 {
		w.put("", fmt.Sprint(i))
	}
	pop := w.serve(w.far, "serve-pop3").Addr()
	for term, isDrawn := range map[string]bool{"xterm": true, "dumb": false} {
		ours, theirs := openTerminal(t)
		cmd := exec.Command(w.bin, "fetch", "--url", "pop3://bob@"+pop, "--password-fd", "0", "--into", "./"+term, "--spool", filepath.Join(w.near, term+".spool"))
		cmd.Env = mailtest.Env(w.near, append(w.command(w.near).Env, "TERM="+term)...)
		cmd.Dir, cmd.Stdin, cmd.Stderr = w.near, strings.NewReader("x\n"), theirs
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(theirs, "END")
		shown := ""
		for block := make([]byte, 4096); !strings.HasSuffix(shown, "END"); {
			n, err := ours.Read(block)
			if err != nil {
				t.Fatal(err)
			}
			shown += string(block[:n])
		}
		bar := fmt.Sprintf("\r\x1b[K[######              ] bob@%s 1/3", strings.Replace(pop, ":", "_", 1))
		switch {
		case isDrawn && (!strings.HasPrefix(shown, bar) || !strings.HasSuffix(shown, "\r\x1b[KEND")), !isDrawn && shown != "END":
			t.Errorf("TERM=%s: %q", term, shown)
		}
		if n := count(t, filepath.Join(w.near, term)); n != 3 {
			t.Errorf("TERM=%s: %d messages", term, n)
		}
	}
}

func TestFindFolder(t *testing.T) {
	all := []imap.Folder{{Name: "INBOX", Delim: "."}, {Name: "INBOX.Entw&APw-rfe", Delim: "."}}
	for name, want := range map[string]string{"inbox": "INBOX", "INBOX.Entwürfe": "INBOX.Entw&APw-rfe", "INBOX/Entwürfe": "INBOX.Entw&APw-rfe",
		"INBOX.Entw&APw-rfe": "INBOX.Entw&APw-rfe", "Entwürfe": "", "": ""} {
		if got, ok := findFolder(all, name); got.Name != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", name, got.Name, ok, want)
		}
	}
}
