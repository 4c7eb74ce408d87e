package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mailx/pkg/mailtest"
	"mailx/pkg/wire"
)

// certificateCommand is for scripts: `certificate NAME` writes cert.pem and key.pem for that name.
func certificateCommand(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: certificate NAME")
		}
		cert, key := mailtest.WritePEM(t, ts.MkAbs("."), "test", mailtest.NewCA(t).Server(args[0]))
		ts.Check(os.Rename(cert, ts.MkAbs("cert.pem")))
		ts.Check(os.Rename(key, ts.MkAbs("key.pem")))
	}
}

// hall is a running `mailx serve`, with bob and alice, and the addresses of its roles.
type hall struct {
	*mailtest.Process
	t     *testing.T
	ca    *mailtest.CA
	addrs map[string]string
}

// startHall starts one with a certificate for here.example, ready when it has said so.
func startHall(t *testing.T, c mailtest.Command, args ...string) *hall {
	t.Helper()
	ca := mailtest.NewCA(t)
	if c.Home == "" {
		c.Home = t.TempDir()
	}
	users := filepath.Join(c.Home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}hungry\nalice:{PLAIN}hungry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := mailtest.WritePEM(t, c.Home, "server", ca.Server("here.example"))
	c.Bin, c.Ready = mailtest.Binary(t), "ready"
	c.Env = append(c.Env, "MAILX_CONFIG=/dev/null", "MAILX_HOSTNAME=here.example", "MAILX_DOMAINS=here.example", "MAILX_USERS="+users,
		"MAILX_TLS_CERT="+cert, "MAILX_TLS_KEY="+key, "MAILX_ALIASES=/dev/null")
	c.Args = append([]string{"serve"}, args...)
	h := &hall{Process: c.Start(t), t: t, ca: ca, addrs: map[string]string{}}
	for _, m := range regexp.MustCompile(`mailx serve: (\w+) listening on (\S+)`).FindAllStringSubmatch(h.Stderr(), -1) {
		h.addrs[m[1]] = m[2]
	}
	return h
}

// submit sends a message as bob.
func (h *hall) submit(to string) error {
	h.t.Helper()
	c := h.dial("submission")
	defer c.Close()
	if err := c.StartTLS(h.ca.ClientConfig("here.example")); err != nil {
		return err
	}
	if err := c.Auth(smtp.PlainAuth("", "bob", "hungry", "127.0.0.1")); err != nil {
		return err
	}
	return sendOver(c, "bob@here.example", to)
}

func (h *hall) dial(role string) *smtp.Client {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addrs[role])
	if err != nil {
		h.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(mailtest.DefaultTimeout))
	c, err := smtp.NewClient(nc, "127.0.0.1")
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func sendOver(c *smtp.Client, from, to string) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprint(w, "Subject: ketchup\r\n\r\nDo you like ketchup?\r\n")
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// await waits until something is true.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(mailtest.ProcessTimeout); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// All roles in one process: mail comes in from outside and from users, leaves through the queue at once, and is read.
func TestServeAll(t *testing.T) {
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	home := t.TempDir()
	sock := filepath.Join(home, "lmtp.sock")
	any := "127.0.0.1:0"
	h := startHall(t, mailtest.Command{Home: home, Env: []string{"MAILX_SMARTHOST=smtp://" + sink.Addr}},
		"--mx", any, "--submission", any, "--submissions", any, "--smtp", any, "--lmtp", sock, "--pop3", any, "--pop3s", any,
		"--imap", any, "--imaps", any, "--socket-mode", "0660")
	for _, role := range []string{"mx", "submission", "submissions", "smtp", "lmtp", "pop3", "pop3s", "imap", "imaps"} {
		if h.addrs[role] == "" {
			t.Errorf("%s does not listen", role)
		}
	}
	if fi, err := os.Stat(sock); err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v, %v", fi, err)
	}
	h.Signal(syscall.SIGHUP) // it goes on
	if err := sendOver(h.dial("mx"), "a@far.example", "bob@here.example"); err != nil {
		t.Errorf("mx: %v", err)
	}
	if err := sendOver(h.dial("mx"), "a@far.example", "x@elsewhere.example"); err == nil || !strings.Contains(err.Error(), "Relaying denied") {
		t.Errorf("mx relays: %v", err)
	}
	if err := sendOver(h.dial("submission"), "bob@here.example", "alice@here.example"); err == nil || !strings.Contains(err.Error(), "STARTTLS") {
		t.Errorf("submission in clear: %v", err)
	}
	for range 3 {
		if err := h.submit("x@elsewhere.example"); err != nil {
			t.Errorf("submission: %v", err)
		}
	}
	await(t, "three messages through the queue", func() bool { return len(sink.Messages()) == 3 })
	for role, greeting := range map[string]string{"submissions": "220 ", "pop3s": "+OK", "imaps": "* OK"} {
		nc, err := tls.Dial("tcp", h.addrs[role], h.ca.ClientConfig("here.example"))
		if err != nil {
			t.Errorf("%s: %v", role, err)
			continue
		}
		c := wire.NewConn(nc)
		if line, err := c.ReadLine(); !strings.HasPrefix(line, greeting) || err != nil {
			t.Errorf("%s greets with %q, %v", role, line, err)
		}
		nc.Close()
	}
	if code := h.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left, _ := filepath.Glob(h.Spool + "/queue/[nc]*/*"); len(left) != 0 {
		t.Errorf("left in the queue: %v", left)
	}
	if got, _ := filepath.Glob(h.Spool + "/mail/bob/new/*"); len(got) != 1 {
		t.Errorf("bob got %v", got)
	}
}

// With nothing configured, the servers are on their own addresses, and that is said.
func TestServeDefaults(t *testing.T) {
	h := startHall(t, mailtest.Command{}, "--set", "smtp.listen=127.0.0.1:0", "--set", "pop3.listen=127.0.0.1:0", "--set", "imap.listen=127.0.0.1:0")
	if len(h.addrs) != 3 || h.addrs["smtp"] == "" || h.addrs["pop3"] == "" || h.addrs["imap"] == "" {
		t.Errorf("serves %v", h.addrs)
	}
	if !strings.Contains(h.Stderr(), "no listener is configured (serve.mx,") {
		t.Errorf("says %s", h.Stderr())
	}
}

// The limits of a protocol hold for its roles together.
func TestServeSharesLimits(t *testing.T) {
	h := startHall(t, mailtest.Command{}, "--mx", "127.0.0.1:0", "--submission", "127.0.0.1:0", "--set", "smtp.max_connections=1")
	c := h.dial("mx")
	defer c.Close()
	nc, err := net.Dial("tcp", h.addrs["submission"])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if line, err := wire.NewConn(nc).ReadLine(); !strings.HasPrefix(line, "421 4.3.2") {
		t.Errorf("the second connection: %q, %v", line, err)
	}
}

// A changed certificate is used at once; one that is broken is not, which is said once.
func TestServeFollowsCertificates(t *testing.T) {
	h := startHall(t, mailtest.Command{}, "--submissions", "127.0.0.1:0")
	shown := func(name string) *x509.Certificate {
		t.Helper()
		nc, err := tls.Dial("tcp", h.addrs["submissions"], &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		return nc.ConnectionState().PeerCertificates[0]
	}
	first := shown("here.example")
	mailtest.WritePEM(t, h.Home, "server", h.ca.Server("new.example"))
	if cert := shown("here.example"); cert.Equal(first) || cert.VerifyHostname("new.example") != nil {
		t.Errorf("after a change: %v", cert.DNSNames)
	}
	if err := os.WriteFile(filepath.Join(h.Home, "server.pem"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if cert := shown("here.example"); cert.VerifyHostname("new.example") != nil {
			t.Errorf("after it broke: %v", cert.DNSNames)
		}
	}
	if n := strings.Count(h.Stderr(), "going on with the certificate that was read before"); n != 1 {
		t.Errorf("said %d times:\n%s", n, h.Stderr())
	}
	old := tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	if nc, err := tls.Dial("tcp", h.addrs["submissions"], &old); err == nil {
		nc.Close()
		t.Error("TLS 1.1 is taken")
	}
}

// tls.more has certificates for other names.
func TestServeSeveralCertificates(t *testing.T) {
	home := t.TempDir()
	other, key := mailtest.WritePEM(t, home, "other", mailtest.NewCA(t).Server("mail.other.example"))
	h := startHall(t, mailtest.Command{Home: home}, "--imaps", "127.0.0.1:0", "--set", "tls.more="+other+":"+key)
	for name, want := range map[string]string{"here.example": "here.example", "mail.other.example": "mail.other.example",
		"unknown.example": "here.example", "": "here.example"} {
		nc, err := tls.Dial("tcp", h.addrs["imaps"], &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if got := nc.ConnectionState().PeerCertificates[0]; got.VerifyHostname(want) != nil {
			t.Errorf("asked for %q, got %v", name, got.DNSNames)
		}
		nc.Close()
	}
}

// Certificates come from an ACME server; before there are any, one of our own is shown. Another process uses them from the
// cache, for one connection too.
func TestServeACME(t *testing.T) {
	for _, kind := range []string{"http-01", "tls-alpn-01"} {
		t.Run(kind, func(t *testing.T) {
			a := mailtest.NewAuthority(t)
			a.Kind = kind
			listen, listenTLS := "127.0.0.1:0", ""
			if kind == "tls-alpn-01" {
				listen, listenTLS = "", "127.0.0.1:0"
			}
			home := t.TempDir()
			vars := []string{"MAILX_CONFIG=/dev/null", "MAILX_HOSTNAME=mx.here.example", "MAILX_ACME_ENABLED=yes", "MAILX_ACME_DIRECTORY=" + a.Directory}
			p := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Ready: "ready", Env: vars, Args: []string{"serve", "--submissions", "127.0.0.1:0",
				"--set", "acme.listen=" + listen, "--set", "acme.listen_tls=" + listenTLS}}.Start(t)
			shown := func() error {
				nc, err := tls.Dial("tcp", p.Addrs[0], a.CA.ClientConfig("mx.here.example"))
				if err == nil {
					nc.Close()
				}
				return err
			}
			var unknown x509.UnknownAuthorityError
			if err := shown(); err == nil || !strings.Contains(err.Error(), unknown.Error()) {
				t.Errorf("before there is one: %v", err)
			}
			a.AskAt(p.Addrs[1])
			await(t, "a certificate", func() bool { return shown() == nil })
			if code := p.Stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			cmd := exec.Command(mailtest.Binary(t), "serve-smtp", "--inetd", "--role", "submissions")
			cmd.Env = mailtest.Env(home, vars...)
			client, server := net.Pipe()
			cmd.Stdin, cmd.Stdout = server, server
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			tc := tls.Client(client, a.CA.ClientConfig("mx.here.example"))
			tc.SetDeadline(time.Now().Add(mailtest.DefaultTimeout))
			if err := tc.Handshake(); err != nil {
				t.Errorf("one connection: %v", err)
			}
			client.Close()
			cmd.Wait()
		})
	}
}

// The service manager is told, and passes sockets by name.
func TestServeUnderAServiceManager(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	told := func() string {
		l.SetReadDeadline(time.Now().Add(mailtest.DefaultTimeout))
		buf := make([]byte, 100)
		n, err := l.Read(buf)
		if err != nil {
			t.Error(err)
		}
		return string(buf[:n])
	}
	start := func(names string) (*exec.Cmd, net.Addr) {
		socket := mailtest.Listen(t)
		file, err := socket.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd := exec.Command(mailtest.Binary(t), "serve")
		cmd.Env = mailtest.Env(dir, "MAILX_CONFIG=/dev/null", "NOTIFY_SOCKET="+dir+"/notify", "LISTEN_FDS=1", "LISTEN_FDNAMES="+names, "WATCHDOG_USEC=20000")
		cmd.ExtraFiles = []*os.File{file}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, socket.Addr()
	}
	cmd, addr := start("mx")
	if got := told(); got != "READY=1" {
		t.Errorf("told %q", got)
	}
	if got := told(); got != "WATCHDOG=1" {
		t.Errorf("told %q", got)
	}
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := wire.NewConn(nc)
	c.ReadLine()
	c.WriteLine("AUTH PLAIN")
	c.Flush()
	if line, err := c.ReadLine(); !strings.HasPrefix(line, "503 ") && !strings.HasPrefix(line, "502 ") || err != nil {
		t.Errorf("AUTH at the mx: %q, %v", line, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	for got := ""; got != "STOPPING=1"; {
		if got = told(); got != "STOPPING=1" && got != "WATCHDOG=1" {
			t.Fatalf("told %q", got)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	cmd, _ = start("postbox")
	if cmd.Wait(); cmd.ProcessState.ExitCode() != exConfig {
		t.Errorf("an unknown name: exit code %d", cmd.ProcessState.ExitCode())
	}
}

// Root gives up its rights after it has listened, and does not serve from somebody else's spool.
func TestServeRunAs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const nobody = 65534
	if u, err := lookUpUser("nobody"); err != nil || u.uid != nobody {
		t.Skip("no user nobody")
	}
	home, err := os.MkdirTemp("/tmp", "mailx-run-as-") // a directory that nobody can reach
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	h := startHallFor(t, home, nobody)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`(?m)^Uid:\t65534\t65534\t65534\t65534$`, `(?m)^Gid:\t65534\t65534\t65534\t65534$`, `(?m)^CapEff:\t0+$`} {
		if !regexp.MustCompile(want).Match(status) {
			t.Errorf("no %s in\n%s", want, status)
		}
	}
	if err := sendOver(h.dial("mx"), "a@far.example", "bob@here.example"); err != nil {
		t.Error(err)
	}
	h.Stop()
	fi, err := os.Stat(h.Spool + "/mail/bob/new")
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Errorf("the mailbox: %v, %v", fi, err)
	}
	cmd := exec.Command(mailtest.Binary(t), "serve", "--mx", "127.0.0.1:0")
	cmd.Env = mailtest.Env(home, "MAILX_CONFIG=/dev/null")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exConfig || !strings.Contains(string(out), "--run-as nobody") {
		t.Errorf("root in the spool of nobody: %v, %s", err, out)
	}
}

// startHallFor is a hall that gives up its rights; the user file is its user's.
func startHallFor(t *testing.T, home string, uid int) *hall {
	t.Helper()
	users := filepath.Join(home, "users-of-nobody")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}hungry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(users, uid, uid); err != nil {
		t.Fatal(err)
	}
	return startHall(t, mailtest.Command{Home: home}, "--mx", "127.0.0.1:0", "--run-as", "nobody", "--set", "users="+users)
}

// queue run takes what comes from other processes at once, and ends after what is under way.
func TestQueueRun(t *testing.T) {
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	home := t.TempDir()
	p := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Env: []string{"MAILX_CONFIG=/dev/null", "MAILX_SMARTHOST=smtp://" + sink.Addr},
		Args: []string{"queue", "run", "--json"}}.Start(t)
	for n := 1; n <= 3; n++ {
		cmd := exec.Command(mailtest.Binary(t), "send", "--queue", "-s", "x", "--from", "a@b.example", "x@far.example")
		cmd.Env = mailtest.Env(home, "MAILX_CONFIG=/dev/null")
		cmd.Stdin = strings.NewReader("hello\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		await(t, "a message from another process", func() bool { return len(sink.Messages()) == n })
	}
	if code := p.Stop(); code != 0 || p.Stdout() != `{"v":1,"tried":3,"delivered":3,"deferred":0,"failed":0,"notices":0}`+"\n" {
		t.Errorf("exit code %d, %q", code, p.Stdout())
	}
}

const (
	runnerKills    = 10
	runnerMessages = 60
)

// TestKilledRunner is TestKilledFlush for queue run: nothing may be lost, and a kill may cost one message that goes out twice.
func TestKilledRunner(t *testing.T) {
	random := rand.New(rand.NewPCG(killSeed(t), 0))
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	home := t.TempDir()
	fillQueue(t, filepath.Join(home, "spool/queue"), runnerMessages, random)
	run := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Args: []string{"queue", "run", "--parallel", "1",
		"--server", "smtp://" + sink.Addr, "--log-level", "error"}}
	for range runnerKills {
		p := run.Start(t)
		awaitCommands(p, sink, sink.CommandCount()+random.IntN(4*runnerMessages/runnerKills))
		p.Kill()
	}
	last := run.Start(t)
	await(t, "an empty queue", func() bool {
		left, err := filepath.Glob(filepath.Join(home, "spool/queue/[nc]*/*"))
		return err == nil && len(left) == 0
	})
	if code := last.Stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, last.Stderr())
	}
	checkFlushed(t, sink, runnerMessages, runnerKills)
}

// Where descriptors are few, those who connect first can go on working, and the others hear that there is no place for them.
func TestFewDescriptors(t *testing.T) {
	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := mailtest.Command{Bin: "/bin/sh", Home: home, Ready: "listening", Args: []string{"-c", `ulimit -n 32; exec "$0" "$@"`, mailtest.Binary(t),
		"serve-smtp", "--listen", "127.0.0.1:0", "--hostname", "here.example", "--domain", "here.example", "--set", "users=" + users, "--set", "aliases="}}.Start(t)
	said := map[string]int{}
	var places []net.Conn
	for range 40 {
		nc, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		line, err := wire.NewConn(nc).ReadLine()
		if err != nil {
			t.Fatalf("no greeting: %v", err)
		}
		if said[line[:4]]++; line[:4] == "220 " {
			places = append(places, nc)
		}
	}
	if said["220 "] < 8 || said["421 "] < 8 || len(said) != 2 {
		t.Errorf("greetings: %v", said)
	}
	for _, nc := range places {
		c, err := smtp.NewClient(&greeted{Conn: nc}, "here.example")
		if err != nil {
			t.Fatal(err)
		}
		if err := sendOver(c, "a@x.example", "bob@here.example"); err != nil {
			t.Errorf("with all places taken: %v", err)
		}
	}
}

// greeted gives a client the greeting that has been read already.
type greeted struct {
	net.Conn
	said bool
}

func (g *greeted) Read(p []byte) (int, error) {
	if g.said {
		return g.Conn.Read(p)
	}
	g.said = true
	return copy(p, "220 here.example\r\n"), nil
}
