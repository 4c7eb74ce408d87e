package auth

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell is a Checker that runs a line of shell; "$0" there is the program that checkpassword would run.
func shell(line string) *Checker { return NewChecker([]string{"/bin/sh", "-c", line}) }

func TestCheckerCodes(t *testing.T) {
	for _, tt := range []struct{ line, status, report string }{
		{"exit 0", "", ""},
		{`exec "$0"`, "", ""},
		{"exit 1", "5.7.8", ""},
		{"echo wrong >&2; exit 1", "5.7.8", ""},
		{"exit 2", "4.7.0", "exit code 2"},
		{"exit 111", "4.7.0", "exit code 111"},
		{"echo no database >&2; exit 111", "4.7.0", "no database"},
		{"kill -9 $$", "4.7.0", "exit code -1"},
		{`head -c 1000000 /dev/zero | tr '\0' y >&2; exit 3`, "4.7.0", "exit status 3: y"},
		{"yes | head -c 1000000; cat; exit 0", "", ""},
	} {
		c, told := shell(tt.line), ""
		c.Report = func(err error) { told += err.Error() }
		err := c.check(t.Context(), "joe", "secret")
		if statusOf(err) != tt.status || !strings.Contains(told, tt.report) || (told == "") != (tt.report == "") ||
			len(told) > maxComplaint+200 || strings.Contains(told, "secret") {
			t.Errorf("%s: got %v, told %.200q; want %s, %q", tt.line, err, told, tt.status, tt.report)
		}
	}
	if err := NewChecker([]string{"/nonexistent/checker"}).check(t.Context(), "joe", "x"); statusOf(err) != "4.7.0" ||
		!errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

// What the command is told, and what it is not asked at all.
func TestCheckerInput(t *testing.T) {
	t.Setenv("MAILX_PASSWORD", "not for others")
	out := filepath.Join(t.TempDir(), "out")
	c := shell(`{ tr '\0' '|' <&3 | sed 's/|[0-9]*|$/|N|/'; echo; cat; pwd; env | sort | grep -v -e ^PWD -e ^SHLVL -e ^_ -e ^OLDPWD; } >` + out)
	ch := Channel{Protocol: "IMAP", Remote: netip.MustParseAddr("::ffff:192.0.2.7")}
	t.Setenv("PATH", "/usr/bin:/bin")
	if err := c.check(ch.Attempt(t.Context(), MechPlain), "joe", "pass word|x"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	const want = "joe|pass word|x|N|\n/\nMAILX_MECHANISM=PLAIN\nPATH=/usr/bin:/bin\nPROTOCOL=IMAP\nTCPREMOTEIP=192.0.2.7\n"
	if string(got) != want || err != nil {
		t.Errorf("got %q, want %q (%v)", got, want, err)
	}
	yes := shell("exit 0")
	for _, tt := range [][2]string{{"", "x"}, {"joe", ""}, {"joe", "a\x00b"}, {"j\x00e", "x"}} {
		if err := yes.check(t.Context(), tt[0], tt[1]); statusOf(err) != "5.7.8" {
			t.Errorf("%q: %v", tt, err)
		}
	}
}

// A command does not inherit that a server ignores SIGPIPE, which a shell could not undo.
func TestCheckerHeedsSIGPIPE(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	if err := shell(`grep -q '^SigIgn:.*0000$' /proc/self/status`).check(t.Context(), "joe", "x"); err != nil {
		t.Error(err)
	}
}

// A long token arrives whole, and a command that does not read it says no or yes all the same.
func TestCheckerLongTokens(t *testing.T) {
	long := strings.Repeat("t", maxResponse)
	if err := shell(`test $(wc -c <&3) -gt 12288`).check(t.Context(), "joe", long); err != nil {
		t.Error(err)
	}
	if err := shell(`exec 3<&-; exit 1`).check(t.Context(), "joe", strings.Repeat("t", 1<<20)); statusOf(err) != "5.7.8" {
		t.Error(err)
	}
	c := shell(`sleep 60`)
	c.limit = 50 * time.Millisecond
	if err := c.check(t.Context(), "joe", strings.Repeat("t", 1<<20)); statusOf(err) != "4.7.0" {
		t.Error(err)
	}
}

// A command that hangs is killed with all its children: nobody has the other end of the FIFO any more.
func TestCheckerIsKilled(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		f, err := os.Open(fifo)
		cancel()
		if err == nil {
			_, err = io.ReadAll(f)
			f.Close()
		}
		ended <- err
	}()
	err := shell(`exec 4>"`+fifo+`"; sleep 600 & sleep 600`).check(ctx, "joe", "x")
	if statusOf(err) != "4.7.0" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// At most maxChecks run at a time, and the wait for the others counts.
func TestCheckerIsBounded(t *testing.T) {
	c := shell("exit 0")
	for range maxChecks {
		c.running <- struct{}{}
	}
	c.limit = time.Millisecond
	if err := c.check(t.Context(), "joe", "x"); statusOf(err) != "4.7.0" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-c.running
	c.limit = time.Minute
	if err := c.check(t.Context(), "joe", "x"); err != nil || len(c.running) != maxChecks-1 {
		t.Errorf("got %v, %d running", err, len(c.running))
	}
}

// The file decides about those who have a secret there, the command about all others; refusals come late and alike.
func TestCheckerBesideTheFile(t *testing.T) {
	_, users := newMem(t, "joe:{PLAIN}joespass\nann::quota=1G\nbad:{SSHA}x\n")
	users.Checker = shell(`case $(tr '\0' ' ' <&3) in *" good "*) exit 0;; *" trouble "*) exit 111;; esac; exit 1`)
	waits := 0
	users.after = func(d time.Duration) <-chan time.Time {
		if waits++; d <= 0 || d > refusalTime {
			t.Errorf("waits for %v", d)
		}
		now := make(chan time.Time, 1)
		now <- time.Time{}
		return now
	}
	for _, tt := range []struct {
		name, password, want, status string
		waits                        int
	}{
		{"joe", "joespass", "joe", "", 0},
		{"joe", "good", "", "5.7.8", 1},
		{"Ann", "good", "ann", "", 0},
		{"ann", "bad", "", "5.7.8", 1},
		{"ann", "", "", "5.7.8", 1},
		{"carl", "good", "carl", "", 0},
		{"carl", "trouble", "", "4.7.0", 0},
		{"nobody", "bad", "", "5.7.8", 1},
		{"a/b", "good", "", "5.7.8", 1},
		{"bad", "good", "", "4.7.0", 0},
	} {
		waits = 0
		user, err := users.Authenticate(t.Context(), tt.name, tt.password)
		if user.Name != tt.want || statusOf(err) != tt.status || waits != tt.waits {
			t.Errorf("Authenticate(%q, %q) = %q, %v after %d waits; want %q %s, %d", tt.name, tt.password, user.Name, err, waits,
				tt.want, tt.status, tt.waits)
		}
	}
	if ann, err := users.Lookup("ann"); err != nil || ann.Fields["quota"] != "1G" {
		t.Errorf("ann gets no mail: %+v, %v", ann, err)
	}
	if got := Mechanisms(Channel{Secure: true}, users); strings.Join(got, " ") != "PLAIN LOGIN" {
		t.Errorf("offered: %q", got)
	}
}

// A line without a secret lets nobody in where there is no command.
func TestNoSecretNoLogin(t *testing.T) {
	_, users := newMem(t, "ann:\n*:\n")
	for _, name := range []string{"ann", "carl"} {
		for _, password := range []string{"", "x"} {
			if _, err := users.Authenticate(t.Context(), name, password); statusOf(err) != "5.7.8" {
				t.Errorf("%s %q: %v", name, password, err)
			}
		}
		if ok, err := users.Exists(name); !ok || err != nil {
			t.Errorf("%s gets no mail: %v", name, err)
		}
	}
}
