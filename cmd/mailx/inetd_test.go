package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailx/pkg/mailtest"
)

// socketPair gives our end of a connection and the file of the other.
func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	nc, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); theirs.Close() })
	nc.SetDeadline(time.Now().Add(mailtest.DefaultTimeout))
	return nc, theirs
}

// inetd is mailx for one connection; the first line that it says comes with it.
type inetd struct {
	cmd  *exec.Cmd
	nc   net.Conn // nil if the connection is not ours
	said string
}

// startInetd runs "exec mailx …" in a shell, which alone knows the number of the process in time for LISTEN_PID.
func startInetd(t *testing.T, home string, prepare func(cmd *exec.Cmd, theirs *os.File), env []string, args string) *inetd {
	t.Helper()
	bin := mailtest.Binary(t) // which may take a while
	nc, theirs := socketPair(t)
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=${LISTEN_FDS:+$$} exec "$0" `+args, bin)
	cmd.Env, cmd.Dir, cmd.Stderr = mailtest.Env(home, env...), home, os.Stderr
	prepare(cmd, theirs)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() { nc.Close(); cmd.Process.Kill(); cmd.Wait() })
	said, _ := bufio.NewReader(nc).ReadString('\n')
	return &inetd{cmd, nc, said}
}

func onStdin(cmd *exec.Cmd, theirs *os.File) { cmd.Stdin, cmd.Stdout = theirs, theirs }

func onDescriptor3(cmd *exec.Cmd, theirs *os.File) { cmd.ExtraFiles = []*os.File{theirs} }

// TestInetdFindsItsConnection: systemd with Accept=yes gives the socket on standard input, or on descriptor 3.
func TestInetdFindsItsConnection(t *testing.T) {
	listening, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	listener, err := listening.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, c := range []struct {
		name    string
		prepare func(*exec.Cmd, *os.File)
		env     []string
	}{
		{"standard input", onStdin, nil},
		{"descriptor 3", onDescriptor3, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=connection", "REMOTE_ADDR=127.0.0.1", "REMOTE_PORT=1"}},
		{"descriptor 3 is a listener", func(cmd *exec.Cmd, theirs *os.File) {
			onStdin(cmd, theirs)
			cmd.ExtraFiles = []*os.File{listener}
		}, []string{"LISTEN_FDS=1"}},
		{"descriptor 3 is something else", func(cmd *exec.Cmd, theirs *os.File) {
			onStdin(cmd, theirs)
			cmd.ExtraFiles = []*os.File{os.Stderr}
		}, nil},
	} {
		p := startInetd(t, t.TempDir(), c.prepare, c.env, "serve-smtp --inetd --hostname h.example")
		if p.said != "220 h.example ESMTP mailx\r\n" {
			t.Errorf("%s: %q", c.name, p.said)
			continue
		}
		io.WriteString(p.nc, "QUIT\r\n")
		if rest, err := io.ReadAll(p.nc); !strings.HasPrefix(string(rest), "221 ") || err != nil {
			t.Errorf("%s: %q, %v", c.name, rest, err)
		}
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestInetdProcessesCountTogether: the limits hold for all processes of a service, and a place is free as soon as its
// process is gone, however it went.
func TestInetdProcessesCountTogether(t *testing.T) {
	for verb, said := range map[string][2]string{
		"serve-smtp": {"220 ", "421 4.3.2 "}, "serve-pop3": {"+OK ", "-ERR [SYS/TEMP] "}, "serve-imap": {"* OK ", "* BYE [UNAVAILABLE] "},
	} {
		home, key := t.TempDir(), strings.TrimPrefix(verb, "serve-")
		connect := func(ip, want string) *inetd {
			t.Helper()
			p := startInetd(t, home, onStdin, []string{"TCPREMOTEIP=" + ip, "MAILX_LOG_LEVEL=error"},
				fmt.Sprintf("%s --inetd --set %s.max_per_address=2 --set %s.max_connections=4", verb, key, key))
			if !strings.HasPrefix(p.said, want) {
				t.Errorf("%s from %s: %q, want %q", verb, ip, p.said, want)
			}
			return p
		}
		first := connect("192.0.2.1", said[0])
		connect("192.0.2.1", said[0])
		connect("192.0.2.1", said[1]).cmd.Wait()
		connect("2001:db8::1", said[0])
		connect("2001:db8::2", said[0])
		connect("192.0.2.9", said[1]).cmd.Wait()
		first.cmd.Process.Kill()
		first.cmd.Wait()
		connect("192.0.2.1", said[0])
	}
}

// TestInetdBehindAProxy: the header comes first, and says who is counted and who stands in Received.
func TestInetdBehindAProxy(t *testing.T) {
	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}hungry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := mailtest.Binary(t)
	nc, theirs := socketPair(t)
	cmd := exec.Command(bin, "serve-smtp", "--inetd", "--set", "smtp.proxy_from=10.0.0.0/8", "--set", "users="+users,
		"--domain", "here.example", "--allow-insecure-auth", "yes")
	cmd.Env = mailtest.Env(home, "TCPREMOTEIP=10.0.0.1")
	onStdin(cmd, theirs)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	io.WriteString(nc, "PROXY TCP4 192.0.2.7 127.0.0.1 40000 25\r\nEHLO x\r\nMAIL FROM:<a@far.example>\r\nRCPT TO:<bob@here.example>\r\n"+
		"DATA\r\n\r\nhello\r\n.\r\nQUIT\r\n")
	out, err := io.ReadAll(nc)
	if werr := cmd.Wait(); err != nil || werr != nil || !strings.Contains(string(out), "250 2.0.0 ") || strings.Contains(string(out), "AUTH") {
		t.Errorf("%v, %v, dialog\n%s", err, werr, out)
	}
	names, _ := filepath.Glob(home + "/spool/mail/bob/new/*")
	if len(names) != 1 {
		t.Fatalf("%d messages", len(names))
	}
	text, err := os.ReadFile(names[0])
	if err != nil || !strings.Contains(string(text), "[192.0.2.7]") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestConnectionIsNoListener: a unit with Accept=yes and without --inetd would never serve anybody, and say so once a second.
func TestConnectionIsNoListener(t *testing.T) {
	p := startInetd(t, t.TempDir(), onDescriptor3, []string{"LISTEN_FDS=1"}, "serve-smtp --hostname h.example 2>$MAILX_SPOOL.said")
	p.cmd.Wait()
	said, err := os.ReadFile(filepath.Join(p.cmd.Dir, "spool.said"))
	if code := p.cmd.ProcessState.ExitCode(); code != exConfig || !strings.Contains(string(said), "use --inetd") {
		t.Errorf("exit %d, %q, %v", code, said, err)
	}
}

// TestInetdFewDescriptors: a want of descriptors is temporary, however bad it is. The peer hears so, the exit code says so, nothing
// is half done, and the Go runtime, which can't live without its poller, leaves no stack trace.
func TestInetdFewDescriptors(t *testing.T) {
	home, bin := t.TempDir(), mailtest.Binary(t)
	conf := filepath.Join(home, "config.toml")
	if err := os.WriteFile(conf, []byte("hostname = 'h.example'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const dialog = "EHLO x\r\nMAIL FROM:<a@far.example>\r\nRCPT TO:<postmaster@h.example>\r\nQUIT\r\n"
	for verb, sorry := range map[string]string{"serve-smtp --inetd": "421 4.3.0 ", "sendmail -bs": "421 4.3.0 ",
		"serve-pop3 --inetd": "-ERR [SYS/TEMP] ", "serve-imap --inetd": "* BYE [UNAVAILABLE] "} {
		served := false
		for limit := 4; limit <= 30; limit++ {
			var stdout, stderr strings.Builder
			cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" %s`, limit, verb), bin)
			cmd.Env, cmd.Dir = mailtest.Env(home, "MAILX_CONFIG="+conf), home
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(dialog), &stdout, &stderr
			cmd.Run()
			out, code := stdout.String(), cmd.ProcessState.ExitCode()
			switch {
			case strings.HasPrefix(out, sorry) && code == exTempFail && strings.Contains(stderr.String(), "too many open files"):
			case code != 0 || strings.Contains(out, "\n5") && !strings.Contains(out, "\n4"):
				t.Errorf("%s with %d descriptors: exit %d, stdout %q, stderr\n%s", verb, limit, code, out, stderr.String())
			default:
				served = true
			}
		}
		if !served {
			t.Errorf("%s: never served", verb)
		}
	}
}

// TestInetdSaysSorry: trouble with the configuration is ours, and a reason for the peer to come back.
func TestInetdSaysSorry(t *testing.T) {
	p := startInetd(t, t.TempDir(), onStdin, nil, "serve-smtp --inetd --set smtp.role=wrong 2>/dev/null")
	p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); p.said != sorrySMTP+"\r\n" || code != exConfig {
		t.Errorf("exit %d, %q", code, p.said)
	}
	p = startInetd(t, t.TempDir(), onDescriptor3, []string{"LISTEN_FDS=1"}, "serve-smtp --inetd --set smtp.role=wrong 2>/dev/null")
	p.cmd.Wait()
	if p.said != sorrySMTP+"\r\n" {
		t.Errorf("on descriptor 3: %q", p.said)
	}
}
