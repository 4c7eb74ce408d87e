package session

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/wire"
)

const (
	locked State = 1 << iota
	open
)

// toy is the smallest dialect that uses every part of the loop.
type toy struct {
	c     *wire.Conn
	state State
	after bool
}

func toyDialect() *Dialect[*toy] {
	return &Dialect[*toy]{
		State: func(s *toy) State { return s.state },
		Greet: func(s *toy, _ context.Context) error { return s.c.WriteLine("hello") },
		Reply: func(s *toy, tag, verb string, err error) error {
			if err != nil {
				return s.c.WriteLine("no " + mail.StatusOf(err).String())
			}
			return s.c.WriteLine("yes " + strings.ToUpper(verb))
		},
		Commands: []Command[*toy]{
			{"OPEN", locked, Secret, func(s *toy, _ context.Context, a *wire.Args) error { s.state = open; return nil }},
			{"ECHO", open, 0, func(s *toy, _ context.Context, a *wire.Args) error { return s.c.WriteLine(a.Rest()) }},
			{"BARE", Any, NoArgs, func(*toy, context.Context, *wire.Args) error { return nil }},
			{"FAIL", Any, 0, func(*toy, context.Context, *wire.Args) error { return io.ErrShortWrite }},
			{"PANIC", Any, 0, func(*toy, context.Context, *wire.Args) error { panic("in a handler") }},
			{"CLOSE", Any, 0, func(*toy, context.Context, *wire.Args) error { return &ClosingError{ErrBusy} }},
			{"LATER", Any, 0, func(s *toy, _ context.Context, _ *wire.Args) error {
				return Then(func(context.Context) error { s.after = true; return nil })
			}},
			{"SEEN", Any, 0, func(s *toy, _ context.Context, _ *wire.Args) error { return s.c.WriteLine(fmt.Sprint(s.after)) }},
			{"QUIT", Any, NoArgs, func(*toy, context.Context, *wire.Args) error { return Quit() }},
		},
	}
}

func converse(t *testing.T, input string, lim Limits) (string, error) {
	t.Helper()
	client, server := mailtest.Pipe(t)
	client.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(client, input); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	c := wire.NewConn(server)
	err := Run(context.Background(), toyDialect(), &toy{c: c, state: locked}, c, lim)
	out, rerr := io.ReadAll(client)
	if rerr != nil {
		t.Fatal(rerr)
	}
	return strings.ReplaceAll(strings.TrimSuffix(string(out), "\r\n"), "\r\n", "|"), err
}

func TestRun(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"verbs in any case", "open sesame\r\necho a  b\r\nquit\r\n", "hello|yes OPEN|a  b|yes ECHO|yes QUIT"},
		{"unknown", "WHAT\r\n", "hello|no 5.5.1"},
		{"wrong state", "ECHO\r\nOPEN\r\nOPEN\r\n", "hello|no 5.5.1|yes OPEN|no 5.5.1"},
		{"arguments", "BARE x\r\nBARE  \r\n", "hello|no 5.5.4|yes BARE"},
		{"unclassified error is temporary", "FAIL\r\n", "hello|no 4.0.0"},
		{"bad line", "a\nBARE\r\n", "hello|no 5.5.2|yes BARE"},
		{"after the reply", "LATER\r\nSEEN\r\n", "hello|yes LATER|true|yes SEEN"},
		{"nothing after quit", "QUIT\r\nBARE\r\n", "hello|yes QUIT"},
		{"closing error", "CLOSE\r\nBARE\r\n", "hello|no 4.3.2"},
		{"three mistakes", "X\r\nX\r\nX\r\nBARE\r\n", "hello|no 5.5.1|no 5.5.1|no 5.5.1|no 4.7.0"},
		{"a success forgives", "X\r\nX\r\nBARE\r\nX\r\nX\r\n", "hello|no 5.5.1|no 5.5.1|yes BARE|no 5.5.1|no 5.5.1"},
		{"three bad lines", "\n\n\nBARE\r\n", "hello|no 5.5.2|no 5.5.2|no 5.5.2|no 4.7.0"},
	} {
		got, err := converse(t, c.in, Limits{Mistakes: 3, Command: 5 * time.Second})
		if got != c.want || err != nil {
			t.Errorf("%s: %q gives %q, %v; want %q", c.name, c.in, got, err, c.want)
		}
	}
}

func TestRunTellsOfACutLine(t *testing.T) {
	if got, err := converse(t, "BAR", Limits{}); got != "hello" || err != io.ErrUnexpectedEOF {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRunTimesOut(t *testing.T) {
	client, server := mailtest.Pipe(t)
	c := wire.NewConn(server)
	err := Run(context.Background(), toyDialect(), &toy{c: c, state: locked}, c, Limits{Command: time.Millisecond})
	out, _ := io.ReadAll(client)
	if string(out) != "hello\r\nno 4.4.2\r\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
}

// Replies to commands that came together go out together (RFC 2920 §3.2).
func TestRunHoldsReplies(t *testing.T) {
	client, server := mailtest.Pipe(t)
	counter := &countWrites{Conn: server}
	c := wire.NewConn(counter)
	io.WriteString(client, strings.Repeat("BARE\r\n", 50)+"QUIT\r\n")
	if err := Run(context.Background(), toyDialect(), &toy{c: c, state: locked}, c, Limits{}); err != nil {
		t.Fatal(err)
	}
	if n := counter.n.Load(); n > 4 {
		t.Errorf("%d writes for 51 commands in one packet", n)
	}
}

type countWrites struct {
	net.Conn
	n atomic.Int32
}

func (c *countWrites) Write(p []byte) (int, error) { c.n.Add(1); return c.Conn.Write(p) }

func startToy(t *testing.T, srv *Server) string {
	l := mailtest.Listen(t)
	srv.Handle = func(ctx context.Context, nc net.Conn) {
		c := wire.NewConn(nc)
		Run(ctx, toyDialect(), &toy{c: c, state: locked}, c, Limits{})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// readUntil reads until the text has come or the server closed.
func readUntil(t *testing.T, nc net.Conn, text string) string {
	t.Helper()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	var got []byte
	for buf := make([]byte, 100); !strings.Contains(string(got), text); {
		n, err := nc.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			break
		}
	}
	return string(got)
}

func TestPanicEndsOneSession(t *testing.T) {
	reports := make(chan error, 1)
	addr := startToy(t, &Server{Report: func(err error) { reports <- err }})
	dial := mailtest.DialTCP(addr)
	other := dial(t)
	bad := dial(t)
	io.WriteString(bad, "PANIC\r\n")
	if got := readUntil(t, bad, "\x00"); strings.Contains(got, "yes") {
		t.Errorf("answered %q", got)
	}
	if err := <-reports; !strings.Contains(err.Error(), "in a handler") {
		t.Errorf("report %v", err)
	}
	io.WriteString(other, "BARE\r\n")
	if got := readUntil(t, other, "yes"); !strings.Contains(got, "yes BARE") {
		t.Errorf("the other session: %q", got)
	}
}

func TestConnectionLimits(t *testing.T) {
	mailtest.CheckLeaks(t)
	addr := startToy(t, &Server{MaxPerAddress: 2, Refuse: func(nc net.Conn) { io.WriteString(nc, "full\r\n") }})
	dial := mailtest.DialTCP(addr)
	first, second := dial(t), dial(t)
	readUntil(t, first, "hello")
	readUntil(t, second, "hello")
	if got := readUntil(t, dial(t), "\x00"); got != "full\r\n" {
		t.Errorf("third connection: %q", got)
	}
	io.WriteString(first, "QUIT\r\n")
	readUntil(t, first, "\x00")
	for deadline := time.Now().Add(10 * time.Second); ; {
		nc := dial(t)
		got := readUntil(t, nc, "\n")
		if got == "hello\r\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place was not given back: %q", got)
		}
	}
}

// A command under way at shutdown is finished and answered.
func TestShutdownFinishesTheReply(t *testing.T) {
	client, server := mailtest.Pipe(t)
	c := wire.NewConn(server)
	ctx, cancel := context.WithCancel(context.Background())
	d := toyDialect()
	d.Commands = append(d.Commands, Command[*toy]{"SLOW", Any, 0, func(s *toy, _ context.Context, _ *wire.Args) error {
		cancel()
		_, err := s.c.ReadLine() // more input of the same command
		return err
	}})
	done := make(chan error, 1)
	go func() { done <- Run(ctx, d, &toy{c: c, state: locked}, c, Limits{}) }()
	io.WriteString(client, "SLOW\r\n")
	<-ctx.Done()
	io.WriteString(client, "the rest\r\n")
	if got := readUntil(t, client, "\x00"); got != "hello\r\nyes SLOW\r\nno 4.3.2\r\n" {
		t.Errorf("got %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("took a socket that is in use")
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = Listen(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	l.Close()
}

// What is at the path of a socket and is none stays, even if nobody listens there.
func TestListenLeavesFilesAlone(t *testing.T) {
	dir := t.TempDir()
	file, link := dir+"/file", dir+"/link"
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, "unix:" + file, dir} {
		if l, err := Listen(path); err == nil {
			l.Close()
			t.Errorf("%s: taken", path)
		}
	}
	if text, err := os.ReadFile(link); err != nil || string(text) != "precious" {
		t.Errorf("the file behind the link: %q, %v", text, err)
	}
}

// Of many that find a stale socket one gets it, and is there for those who connect.
func TestListenRace(t *testing.T) {
	path := t.TempDir() + "/s"
	for range 20 {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
		var got [8]net.Listener
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() { got[i], _ = Listen(path) })
		}
		all.Wait()
		won := 0
		for _, l := range got {
			if l != nil {
				won++
				defer l.Close()
			}
		}
		nc, err := net.Dial("unix", path)
		if won != 1 || err != nil {
			t.Fatalf("%d listen, and a client has %v", won, err)
		}
		nc.Close()
		os.Remove(path)
	}
}

func TestPassed(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	if ls, err := Passed(env(nil)); len(ls) != 0 || err != nil {
		t.Errorf("nothing passed: %v, %v", ls, err)
	}
	if ls, err := Passed(env(map[string]string{"LISTEN_FDS": "1", "LISTEN_PID": "1"})); len(ls) != 0 || err != nil {
		t.Errorf("passed to another process: %v, %v", ls, err)
	}
	for _, bad := range []string{"x", "-1", "65"} {
		if _, err := Passed(env(map[string]string{"LISTEN_FDS": bad})); err == nil {
			t.Errorf("LISTEN_FDS=%s taken", bad)
		}
	}
}

func TestStdioAddressFromTcpserver(t *testing.T) {
	env := func(ip string) func(string) string {
		return func(k string) string { return map[string]string{"TCPREMOTEIP": ip, "TCPREMOTEPORT": "2525"}[k] }
	}
	if got, err := remoteFromEnv(env("::ffff:192.0.2.1")); err != nil || got.String() != "192.0.2.1:2525" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := remoteFromEnv(env("")); got != nil || err != nil {
		t.Errorf("without tcpserver: %v, %v", got, err)
	}
	for _, ip := range []string{"256.1.1.1", "evil", "127.0.0.1 x", " "} {
		if got, err := remoteFromEnv(env(ip)); err == nil {
			t.Errorf("TCPREMOTEIP=%q taken for %v", ip, got)
		}
	}
}
