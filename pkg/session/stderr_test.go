package session

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// socketPair gives two sockets that are connected.
func socketPair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// duplicate is what inetd makes of the connection.
func duplicate(t *testing.T, fd int) int {
	t.Helper()
	fd, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func write(t *testing.T, fd int, text string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// pending is what can be read without waiting.
func pending(fd int) string {
	buf := make([]byte, 1000)
	n, _ := unix.Read(fd, buf)
	return string(buf[:max(0, n)])
}

func TestDivertStderr(t *testing.T) {
	t.Run("to syslog", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "log") // the path of a socket has to be short
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "log")
		syslogd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(syslogd)
		if err := unix.Bind(syslogd, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		conn, peer := socketPair(t)
		stderr := duplicate(t, conn)
		divert(conn, stderr, path)
		write(t, stderr, "a line\n")
		if got := pending(syslogd); got != "a line\n" {
			t.Errorf("syslogd got %q", got)
		}
		if got := pending(peer); got != "" {
			t.Errorf("the peer got %q", got)
		}
	})
	t.Run("nowhere", func(t *testing.T) {
		conn, peer := socketPair(t)
		stderr := duplicate(t, conn)
		divert(conn, stderr, filepath.Join(t.TempDir(), "none"))
		write(t, stderr, "a line\n")
		if got := pending(peer); got != "" {
			t.Errorf("the peer got %q", got)
		}
	})
	t.Run("another socket", func(t *testing.T) {
		conn, _ := socketPair(t)
		stderr, journal := socketPair(t)
		divert(conn, stderr, filepath.Join(t.TempDir(), "none"))
		write(t, stderr, "a line\n")
		if got := pending(journal); got != "a line\n" {
			t.Errorf("the journal got %q", got)
		}
	})
	t.Run("a pipe for both", func(t *testing.T) {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(p[0])
		defer unix.Close(p[1])
		stderr := duplicate(t, p[1])
		divert(p[1], stderr, filepath.Join(t.TempDir(), "none"))
		write(t, stderr, "a line\n")
		if got := pending(p[0]); got != "a line\n" {
			t.Errorf("the pipe has %q", got)
		}
	})
}

func TestActivated(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		fds, pid string
		want     bool
	}{{"", "", false}, {"1", "", true}, {"1", own, true}, {"1", "1" + own, false}, {"", own, false}} {
		got := Activated(func(name string) string { return map[string]string{"LISTEN_FDS": tt.fds, "LISTEN_PID": tt.pid}[name] })
		if got != tt.want {
			t.Errorf("LISTEN_FDS=%q LISTEN_PID=%q: got %v", tt.fds, tt.pid, got)
		}
	}
}
