package session

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mailtest"
)

func variables(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestNotify(t *testing.T) {
	for _, name := range []string{t.TempDir() + "/notify", "@mailx-test-" + strings.ReplaceAll(t.TempDir(), "/", "-")} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := Notify(variables("NOTIFY_SOCKET", name), "READY=1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 100)
		if n, err := l.Read(buf); string(buf[:n]) != "READY=1" || err != nil {
			t.Errorf("%s: got %q, %v", name, buf[:n], err)
		}
	}
	if err := Notify(variables(), "READY=1"); err != nil {
		t.Errorf("nobody wants to know: %v", err)
	}
	if err := Notify(variables("NOTIFY_SOCKET", "/nowhere/at/all"), "READY=1"); err == nil {
		t.Error("no error for a socket that is not there")
	}
}

func TestWatchdogInterval(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"20000000", "", 10 * time.Second},
		{"20000000", "7", 10 * time.Second},
		{"20000000", "8", 0},
		{"x", "7", 0},
		{"-1", "7", 0},
	} {
		if got := WatchdogInterval(variables("WATCHDOG_USEC", c.usec, "WATCHDOG_PID", c.pid), 7); got != c.want {
			t.Errorf("WATCHDOG_USEC=%s WATCHDOG_PID=%s: got %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}

// Servers of one protocol share their places.
func TestServersShareLimits(t *testing.T) {
	first := &Server{MaxConns: 1, Refuse: func(nc net.Conn) { nc.Write([]byte("full\r\n")) }}
	second := &Server{Among: first, MaxConns: 100, Refuse: first.Refuse}
	one := mailtest.DialTCP(startToy(t, first))
	two := mailtest.DialTCP(startToy(t, second))
	nc := one(t)
	readUntil(t, nc, "hello")
	if got := readUntil(t, two(t), "\x00"); got != "full\r\n" {
		t.Errorf("the second server: %q", got)
	}
	nc.Write([]byte("QUIT\r\n"))
	readUntil(t, nc, "\x00")
	for deadline := time.Now().Add(10 * time.Second); ; {
		if got := readUntil(t, two(t), "\n"); got == "hello\r\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the place was not given back")
		}
	}
}

// A listener that dies ends its server with the error.
func TestDeadListener(t *testing.T) {
	l := mailtest.Listen(t)
	srv := &Server{Handle: func(context.Context, net.Conn) {}}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(context.Background(), l) }()
	l.Close()
	if err := <-done; err == nil {
		t.Error("no error")
	}
}
