package delivery

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
)

// asNobody makes commands run as somebody who is not root, and gives a directory where that one may write.
func asNobody(t *testing.T) (*Commands, string) {
	t.Helper()
	dir := t.TempDir()
	c := &Commands{Owner: os.Geteuid(), Group: os.Getegid(), Now: func() time.Time { return time.Unix(1700000000, 0) }}
	if os.Geteuid() == 0 {
		c.Owner, c.Group = 65534, 65534
		for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(dir, c.Owner, c.Group); err != nil {
			t.Fatal(err)
		}
	}
	return c, dir
}

func runLine(t *testing.T, c *Commands, line, text string) error {
	t.Helper()
	argv, err := SplitCommand(line)
	if err != nil {
		t.Fatal(err)
	}
	rcpt := mail.Recipient{Address: mail.Address{Local: "list+ext|0123456789ab", Domain: "here.example"}, Orig: "rfc822;other@here.example"}
	return c.run(t.Context(), command{argv, 0, mail.Address{Local: "me", Domain: "x.example"}, rcpt}, strings.NewReader(text))
}

func TestCommand(t *testing.T) {
	t.Setenv("MAILX_PASSWORD", "secret")
	c, dir := asNobody(t)
	out := filepath.Join(dir, "out")
	if err := runLine(t, c, "sh -c 'cat >$1; env >$1.env; pwd >>$1.env' sh "+out, "Subject: x\n\nhello\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if want := "From me@x.example Tue Nov 14 22:13:20 2023\nReturn-Path: <me@x.example>\nSubject: x\n\nhello\n"; string(got) != want || err != nil {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
	env, _ := os.ReadFile(out + ".env")
	for _, want := range []string{"SENDER=me@x.example", "RECIPIENT=list+ext@here.example", "USER=list", "LOGNAME=list", "EXTENSION=ext",
		"LOCAL=list+ext", "DOMAIN=here.example", "ORIGINAL_RECIPIENT=other@here.example", "/"} {
		if !strings.Contains("\n"+string(env), "\n"+want+"\n") {
			t.Errorf("no %s in %q", want, env)
		}
	}
	if strings.Contains(string(env), "secret") {
		t.Errorf("our environment is the command's: %q", env)
	}
}

// TestExitCodes is the whole table.
func TestExitCodes(t *testing.T) {
	want := map[int]string{64: "5.3.0", 65: "5.6.0", 66: "5.3.0", 67: "5.1.1", 68: "5.1.2", 69: "5.3.0", 70: "5.3.0", 73: "5.2.0", 74: "5.3.0",
		76: "5.5.0", 77: "5.7.0", 78: "5.3.5"}
	for code := -1; code < 256; code++ {
		status := want[code]
		if status == "" {
			status = "4.3.0"
		}
		if got := statusOfExit(code).String(); got != status {
			t.Errorf("%d: got %s, want %s", code, got, status)
		}
	}
}

func TestCommandVerdict(t *testing.T) {
	c, dir := asNobody(t)
	tests := []struct{ line, status, text string }{
		{"true", "2.0.0", ""},
		{"/bin/true", "2.0.0", ""},
		{"sh -c 'exit 0'", "2.0.0", ""}, // reads nothing of a message that is longer than a pipe
		{"sh -c 'exit 67'", "5.1.1", "Command sh failed with code 67"},
		{"sh -c 'echo no; echo such >&2; exit 69'", "5.3.0", "Command sh failed with code 69: no such"},
		{"sh -c 'printf \"a\\033[1m\\000b\\377\"; exit 75'", "4.3.0", "Command sh failed with code 75: a [1m b?"},
		{"sh -c 'exit 1'", "4.3.0", "Command sh failed with code 1"},
		{"sh -c 'kill -9 $$'", "4.3.0", "Command sh was ended by a signal (killed)"},
		{"/no/such/program", "4.3.5", "Local configuration error"},
		{"no-such-program", "4.3.5", "Local configuration error"},
		{"a/relative", "4.3.5", "Local configuration error"},
	}
	for _, tt := range tests {
		err := runLine(t, c, tt.line, strings.Repeat("0123456789\n", 20000))
		if got := mail.StatusOf(err).String(); got != tt.status || err != nil && mail.TextOf(err) != tt.text {
			t.Errorf("%s: got %s %v, want %s %s", tt.line, got, err, tt.status, tt.text)
		}
		if err != nil && tt.status != "4.3.5" && err.Error() != tt.status+" "+tt.text {
			t.Errorf("%s: got %q, which says it twice", tt.line, err)
		}
	}
	err := runLine(t, c, "sh -c 'yes | head -c 1000000; exit 69'", "")
	if len(mail.TextOf(err)) > maxCommandText+50 {
		t.Errorf("text of %d octets", len(mail.TextOf(err)))
	}
	// One that takes too long is killed with its children; what it left in the background does not keep us.
	c.Time = 50 * time.Millisecond
	begin := time.Now()
	err = runLine(t, c, "sh -c 'sleep 30; touch "+dir+"/late'", "")
	if got := mail.StatusOf(err).String(); got != "4.3.0" || mail.TextOf(err) != "Command sh took too long" || time.Since(begin) > 10*time.Second {
		t.Errorf("too long: got %s %v after %v", got, err, time.Since(begin))
	}
	c.Time = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = c.run(ctx, command{[]string{"sleep", "30"}, 0, mail.Address{}, mail.Recipient{}}, strings.NewReader(""))
	if !mail.StatusOf(err).IsTemporary() {
		t.Errorf("ended by us: %v", err)
	}
}

// Root runs nothing as root.
func TestCommandAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
	dir := t.TempDir()
	argv := []string{"touch", filepath.Join(dir, "ran")}
	for _, c := range []*Commands{{}, {Owner: 0}} {
		for _, owner := range []int{0, 1234} {
			err := c.run(t.Context(), command{argv, owner, mail.Address{}, mail.Recipient{}}, strings.NewReader(""))
			if got := mail.StatusOf(err).String(); got != "4.3.5" {
				t.Errorf("owner %d, file of %d: got %s %v", c.Owner, owner, got, err)
			}
		}
	}
	if _, err := os.Lstat(argv[1]); err == nil {
		t.Error("it ran")
	}
}

// A command does not inherit that a runner of the queue ignores SIGPIPE, which a shell could not undo.
func TestCommandHeedsSIGPIPE(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	c, _ := asNobody(t)
	if err := runLine(t, c, `sh -c 'grep -q "^SigIgn:.*[02468ace]...$" /proc/self/status'`, text); err != nil {
		t.Error(err)
	}
}
