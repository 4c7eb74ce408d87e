package imap

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// talk has a client talk to a server in fake time, and says how the session ended and when.
func talk(t *testing.T, client func(t *testing.T, nc net.Conn)) (after time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		done := make(chan bool)
		go func() { client(t, ours); ours.Close(); close(done) }()
		start := time.Now()
		err = testServer(testSpool(t)).ServeConn(context.Background(), theirs)
		after = time.Since(start)
		<-done
	})
	return after, err
}

// ask sends a command and reads until a line begins with want.
func ask(t *testing.T, nc net.Conn, command, want string) {
	t.Helper()
	if command != "" {
		go io.WriteString(nc, command)
	}
	buf := make([]byte, 4096)
	for all := "\n"; !strings.Contains(all, "\n"+want); {
		n, err := nc.Read(buf)
		if all += string(buf[:n]); err != nil {
			t.Errorf("%q: %q, %v", command, all, err)
			return
		}
	}
}

// drip sends text octet by octet.
func drip(nc net.Conn, text string, every time.Duration) {
	for i := range len(text) {
		if _, err := nc.Write([]byte(text[i : i+1])); err != nil {
			return
		}
		time.Sleep(every)
	}
}

// Whoever drips or does not read is sent away in bounded time: n octets at a pace that no network has.
func TestSlowPeers(t *testing.T) {
	for _, c := range []struct {
		name   string
		client func(t *testing.T, nc net.Conn)
		max    time.Duration
	}{
		{"a message that drips", func(t *testing.T, nc net.Conn) {
			ask(t, nc, "", "* OK")
			ask(t, nc, "1 LOGIN alice {11}\r\n", "+ ")
			ask(t, nc, "open sesame\r\n", "1 OK")
			ask(t, nc, "2 APPEND inbox {5000}\r\n", "+ ")
			drip(nc, strings.Repeat("x", 5000), time.Second)
		}, literalTime + time.Minute},
		{"a literal that drips", func(t *testing.T, nc net.Conn) {
			ask(t, nc, "", "* OK")
			ask(t, nc, "1 LOGIN {4000}\r\n", "+ ")
			drip(nc, strings.Repeat("x", 4000), time.Second)
		}, DefaultTimeout + time.Minute},
		{"nobody reads", func(t *testing.T, nc net.Conn) {
			ask(t, nc, "", "* OK")
			ask(t, nc, "1 LOGIN alice \"open sesame\"\r\n", "1 OK")
			ask(t, nc, "2 SELECT inbox\r\n", "2 OK")
			for range 20_000 {
				if _, err := io.WriteString(nc, "3 FETCH 1:* BODY[]\r\n"); err != nil {
					return
				}
			}
			t.Error("20,000 commands were taken without a reader")
		}, 10 * time.Minute},
	} {
		after, err := talk(t, c.client)
		if after > c.max || after < time.Minute || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v after %v, want at most %v", c.name, err, after, c.max)
		}
	}
}
