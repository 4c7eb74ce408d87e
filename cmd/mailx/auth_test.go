package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

// submissionHost is serve-smtp with TLS and a user file.
type submissionHost struct {
	*mailtest.Process
	t      *testing.T
	client *tls.Config
	users  string
}

func startSubmission(t *testing.T, users string) *submissionHost {
	t.Helper()
	home := t.TempDir()
	ca := mailtest.NewCA(t)
	cert, key := mailtest.WritePEM(t, home, "server", ca.Server("hamburger.edu"))
	h := &submissionHost{t: t, client: ca.ClientConfig("hamburger.edu"), users: filepath.Join(home, "users")}
	h.write(users)
	h.Process = mailtest.Command{
		Bin: mailtest.Binary(t), Home: home, Ready: "listening",
		Args: []string{"serve-smtp", "--listen", "127.0.0.1:0", "--hostname", "hamburger.edu", "--tls-cert", cert, "--tls-key", key,
			"--set", "users=" + h.users},
	}.Start(t)
	return h
}

func (h *submissionHost) write(users string) {
	h.t.Helper()
	if err := os.WriteFile(h.users, []byte(users), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// login gives the mechanism that was chosen, and how it went.
func (h *submissionHost) login(name, password, only string) (mech string, err error) {
	c, err := smtp.Dial(h.t.Context(), "tcp", h.Addr(),
		smtp.ClientOptions{Server: "hamburger.edu", TLS: smtp.TLSVerified, TLSConfig: h.client})
	if err != nil {
		return "", err
	}
	defer c.Quit()
	m, err := auth.NewClient(auth.Credentials{User: name, Password: password},
		auth.Choice{Offered: c.Extensions().Mechanisms(), Secure: true, TLS: c.TLS(), Only: only})
	if err != nil {
		return "", err
	}
	mech, _, _ = m.Start()
	return mech, c.Auth(h.t.Context(), m)
}

// user runs "mailx user".
func (h *submissionHost) user(stdin string, args ...string) {
	h.t.Helper()
	cmd := exec.Command(mailtest.Binary(h.t), append([]string{"user", "--set", "users=" + h.users}, args...)...)
	cmd.Env, cmd.Stdin = mailtest.Env(h.Home), strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("user %q: %v\n%s", args, err, out)
	}
}

// What "mailx user" does to the file is seen by a server that runs, at once; and a user of ours has keys for the strongest
// mechanism, bound to the connection.
func TestUserChangesAreSeenAtOnce(t *testing.T) {
	h := startSubmission(t, "bob:{PLAIN}hungry\n")
	expect := func(name, password, mech, status string) {
		t.Helper()
		got, err := h.login(name, password, "")
		if (err == nil) != (status == "") || err != nil && mail.StatusOf(err).String() != status || got != mech {
			t.Errorf("%s %s: %s, %v; want %s, %q", name, password, got, err, mech, status)
		}
	}
	expect("bob", "hungry", auth.MechScramSHA256Plus, "")
	h.user("first password\n", "add", "joe")
	expect("joe", "first password", auth.MechScramSHA256Plus, "")
	h.user("second password\n", "passwd", "joe")
	expect("joe", "second password", auth.MechScramSHA256Plus, "")
	h.user("", "remove", "joe")
	expect("joe", "second password", auth.MechScramSHA256Plus, "5.7.8")
	h.write("carl:{BLF-CRYPT}$2b$04$abcdefghijklmnopqrstuu1Zbm2zGLePX9VTooeg0fAVe2y9a/dMu:1000:1000::/home/carl:/bin/sh\n")
	expect("carl", "secret pass", auth.MechPlain, "")
}

// Fifty clients that log in at once are hashed two at a time: the server stays small.
func TestMemoryOfLogins(t *testing.T) {
	const clients, password = 50, "correct horse"
	var users strings.Builder
	secret := auth.NewSecret(password).Encode()
	for i := range clients {
		fmt.Fprintf(&users, "user%d:%s\n", i, secret)
	}
	h := startSubmission(t, users.String())
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			if _, err := h.login(fmt.Sprintf("user%d", i), password, auth.MechPlain); err != nil {
				t.Errorf("user%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Pid()))
	if err != nil {
		t.Skip(err)
	}
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(status))
	if kib, err := strconv.Atoi(peak[1]); err != nil || kib > 50<<10 {
		t.Errorf("peak of %d KiB, want at most 50 MiB", kib)
	} else {
		t.Logf("peak %d KiB", kib)
	}
}

// Processes of one connection each share what they know about who guesses.
func TestThrottleIsSharedByProcesses(t *testing.T) {
	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}hungry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	guess := func(address string) (time.Duration, string) {
		t.Helper()
		cmd := exec.Command(mailtest.Binary(t), "serve-pop3", "--inetd", "--set", "users="+users)
		cmd.Env = mailtest.Env(home, "TCPREMOTEIP="+address)
		cmd.Stdin = strings.NewReader("USER bob\r\nPASS wrong\r\nQUIT\r\n")
		start := time.Now()
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(start), string(out)
	}
	for i, least := range []time.Duration{500 * time.Millisecond, time.Second} {
		took, out := guess("127.0.0.9")
		if !strings.Contains(out, "-ERR [AUTH]") || took < least {
			t.Errorf("guess %d: answered after %v, want at least %v:\n%s", i+1, took, least, out)
		}
	}
	throttle := auth.Throttle{FS: vfs.OS(), Dir: filepath.Join(home, "spool/state/throttle")}
	if wait, err := throttle.Check(netip.MustParseAddr("127.0.0.10")); wait != 0 || err != nil {
		t.Errorf("another client waits for %v, %v", wait, err)
	}
	if files, _ := filepath.Glob(filepath.Join(home, "spool/state/throttle/*")); len(files) == 0 {
		t.Error("nothing is on disk")
	}
}
