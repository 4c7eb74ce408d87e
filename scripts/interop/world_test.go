//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// patience is how long a peer may take for one job, on a machine that has other things to do.
const patience = 60 * time.Second

// world is one host with mailx: a home, a spool, a certificate, and users whose password is secret.
type world struct {
	t        *testing.T
	bin      string
	home     string
	spool    string
	caFile   string
	certFile string
	keyFile  string
	env      []string // of mailx
}

const (
	domain = "example.org"
	host   = "mx.example.org"
	user   = "bob"
	rcpt   = user + "@" + domain
	sender = "alice@example.net"
	secret = "correct horse, battery"
)

// newWorld makes a host where bob lives. Settings are "NAME=value", for all programs of mailx on it.
func newWorld(t *testing.T, settings ...string) *world {
	t.Helper()
	w := &world{t: t, bin: mailtest.Binary(t), home: t.TempDir()}
	w.spool = filepath.Join(w.home, "spool")
	ca := mailtest.NewCA(t)
	w.caFile = ca.WriteCA(w.home)
	w.certFile, w.keyFile = mailtest.WritePEM(t, w.home, "server", ca.Server("localhost", "127.0.0.1", host))
	w.env = append([]string{
		"MAILX_CONFIG=" + os.DevNull, // not what this host has in /etc/mailx
		"MAILX_HOSTNAME=" + host,
		"MAILX_DOMAINS=" + domain,
		"MAILX_ALIASES=" + os.DevNull,
		"MAILX_SMTP_ANY_SENDER=yes", // bob submits letters of alice
		"MAILX_TLS_CERT=" + w.certFile,
		"MAILX_TLS_KEY=" + w.keyFile,
		"MAILX_TLS_CA=" + w.caFile,
	}, settings...)
	w.mustMailx(secret+"\n", "user", "add", user)
	return w
}

// serve starts a server of mailx on a free port and gives its address.
func (w *world) serve(args ...string) string {
	w.t.Helper()
	return w.start(append(args, "--listen", "127.0.0.1:0")...).Addr()
}

// start starts a server of mailx, which its arguments tell where to listen.
func (w *world) start(args ...string) *mailtest.Process {
	w.t.Helper()
	return mailtest.Command{Bin: w.bin, Args: args, Home: w.home, Env: w.env, Ready: "listening"}.Start(w.t)
}

// mailx runs a command of mailx to its end.
func (w *world) mailx(stdin string, args ...string) result {
	w.t.Helper()
	return job{args: append([]string{w.bin}, args...), stdin: stdin, env: w.environ(), dir: w.home}.run(w.t)
}

// mustMailx runs a command of mailx that has to end with exit code 0, and gives what it wrote to stdout.
func (w *world) mustMailx(stdin string, args ...string) string {
	w.t.Helper()
	return w.mailx(stdin, args...).must(w.t, 0)
}

// environ is the environment of mailx on this host.
func (w *world) environ() []string { return mailtest.Env(w.home, w.env...) }

// job is a program to be run to its end.
type job struct {
	args  []string
	stdin string
	env   []string // nil: that of the test, with another home
	dir   string   // working directory, and home
	// nobody runs the program without the rights of root, if the test has them. It owns dir then.
	nobody bool
}

// result is what became of a job.
type result struct {
	args           []string
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("%s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// must fails the test unless the job ended with that code.
func (r result) must(t testing.TB, code int) string {
	t.Helper()
	if r.code != code {
		t.Fatalf("want exit code %d of\n%v", code, r)
	}
	return r.stdout
}

func (j job) run(t testing.TB) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, j.args[0], j.args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdin = j.env, j.dir, strings.NewReader(j.stdin)
	if cmd.Env == nil {
		cmd.Env = peerEnv(j.dir)
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if j.nobody && os.Getuid() == 0 {
		giveToNobody(t, j.dir)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	r := result{j.args, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%v\n%v", errors.Join(err, ctx.Err()), r)
	}
	return r
}

// nobody is a user without rights. The number is the same on all systems that the peers are installed on.
const nobody = 65534

// nobodysDir is a directory like t.TempDir, which others can reach.
func nobodysDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func giveToNobody(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// peerEnv is the environment of somebody else's program, with a home where it finds nothing.
func peerEnv(home string) []string {
	var env []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "MAILX") && !strings.HasSuffix(strings.ToLower(name), "_proxy") && name != "HOME" {
			env = append(env, entry)
		}
	}
	return append(env, "HOME="+home, "LC_ALL=C.UTF-8")
}

// peer finds somebody else's program, or skips the test, loudly.
func peer(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// startPeer starts somebody else's server on a free port and waits until it answers. argv makes its arguments from the
// port; env nil is that of a peer. Where another program takes the port first, another port is tried.
func startPeer(t *testing.T, env []string, argv func(port string) []string) (addr string) {
	t.Helper()
	addr, _ = startPeerProcess(t, env, argv)
	return addr
}

// startPeerProcess is startPeer that gives the process too.
func startPeerProcess(t *testing.T, env []string, argv func(port string) []string) (addr string, pid int) {
	t.Helper()
	var last string
	for range 5 {
		addr = freeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		args := argv(port)
		var out bytes.Buffer
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env, cmd.Dir = env, t.TempDir()
		if env == nil {
			cmd.Env = peerEnv(cmd.Dir)
		}
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		stop := func() {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				<-ended
			}
		}
		if answers(addr, ended) {
			t.Cleanup(stop)
			return addr, cmd.Process.Pid
		}
		stop()
		last = strings.Join(args, " ") + ": " + out.String()
	}
	t.Fatalf("does not come up: %s", last)
	return "", 0
}

// answers waits until something listens at the address, or the program has ended.
func answers(addr string, ended <-chan struct{}) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			select {
			case <-ended: // it was not the program that answered
				return false
			case <-time.After(20 * time.Millisecond):
				return true
			}
		}
		select {
		case <-ended:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return false
}

// freeAddr is an address on loopback where nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// mailbox is the path of a user's Maildir.
func (w *world) mailbox(name string) string { return filepath.Join(w.spool, "mail", name) }

// messages reads all messages of a Maildir in order of delivery, and checks it. One that is not there has none.
func messages(t testing.TB, dir string) []string {
	t.Helper()
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, p := range maildir.Check(vfs.OS(), dir) {
		t.Errorf("%s: %v", dir, p)
	}
	d, err := maildir.Open(vfs.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range list {
		data, err := os.ReadFile(filepath.Join(dir, m.File))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	return all
}

// takeOne gives the only message of a Maildir and removes it.
func takeOne(t testing.TB, dir string) string {
	t.Helper()
	all := messages(t, dir)
	if len(all) != 1 {
		t.Fatalf("%s has %d messages, want 1", dir, len(all))
	}
	clear(t, dir)
	return all[0]
}

// clear removes all messages of a Maildir.
func clear(t testing.TB, dir string) {
	t.Helper()
	for _, sub := range []string{"new", "cur"} {
		names, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
