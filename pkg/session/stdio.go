package session

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Stdio makes a connection of standard input and output, for one session under a super-server (inetd, tcpserver, systemd
// with Accept=yes) or at the end of a pipe (ssh, `sendmail -bs`).
//
// A connected socket that a service manager has passed as descriptor 3 goes before (systemd with Accept=yes and without
// StandardInput=socket; LISTEN_FDS, LISTEN_PID); its peer is the socket's, whatever REMOTE_ADDR says.
//
// A socket on standard input is used directly, in both directions. The peer's address is the socket's, or what tcpserver
// says in TCPREMOTEIP and TCPREMOTEPORT; a pipe without them has no address (RemoteAddr is nil). Deadlines work on sockets
// and pipes; on terminals and files they are ignored. Standard error is taken off the connection.
func Stdio(getenv func(string) string) (net.Conn, error) {
	if n, err := passedSockets(getenv); err == nil && n == 1 && isConnected(firstPassed) {
		return passedConn(firstPassed)
	}
	DivertStderr()
	remote, err := remoteFromEnv(getenv)
	if err != nil {
		return nil, err
	}
	if nc, ok, err := stdinSocket(); ok || err != nil {
		if err == nil && remote != nil {
			nc = &renamed{nc, remote}
		}
		return nc, err
	}
	return &stdio{in: pollable(0, "stdin"), out: pollable(1, "stdout"), remote: remote}, nil
}

func stdinSocket() (net.Conn, bool, error) {
	if _, err := unix.GetsockoptInt(0, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, false, nil // not a socket
	}
	f := os.NewFile(0, "stdin")
	nc, err := net.FileConn(f) // a duplicate: descriptor 0 stays open behind it
	if err != nil {
		return nil, false, fmt.Errorf("standard input: %w", err)
	}
	f.Close()
	releaseStdout()
	return nc, true, nil
}

// isConnected reports a socket with a peer; one that listens has none.
func isConnected(fd int) bool {
	_, err := unix.Getpeername(fd)
	return err == nil
}

func passedConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close() // the connection is a duplicate
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("passed descriptor %d: %w", fd, err)
	}
	return nc, nil
}

// releaseStdout drops our second handle of the socket, so that closing the connection closes it. Descriptors 0 and 1 are
// kept occupied, lest a message file becomes standard output.
func releaseStdout() {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	if null == 0 {
		null, _ = unix.Dup(0)
	}
	if _, err := unix.GetsockoptInt(1, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		unix.Dup2(null, 1)
	}
	if null > 2 {
		unix.Close(null)
	}
}

// pollable makes a file that obeys deadlines if the descriptor is a pipe.
func pollable(fd int, name string) *os.File {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
		unix.SetNonblock(fd, true)
	}
	return os.NewFile(uintptr(fd), name)
}

// remoteFromEnv is what tcpserver says. An address that is none is an error: taken for a pipe, it would have the rights of
// this host.
func remoteFromEnv(getenv func(string) string) (net.Addr, error) {
	text := getenv("TCPREMOTEIP")
	if text == "" {
		return nil, nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return nil, fmt.Errorf("TCPREMOTEIP is not an IP address: %q", text)
	}
	port, _ := strconv.ParseUint(getenv("TCPREMOTEPORT"), 10, 16)
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port))), nil
}

type renamed struct {
	net.Conn
	remote net.Addr
}

func (r *renamed) RemoteAddr() net.Addr { return r.remote }

type stdio struct {
	in, out *os.File
	remote  net.Addr
}

func (s *stdio) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *stdio) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *stdio) LocalAddr() net.Addr         { return nil }
func (s *stdio) RemoteAddr() net.Addr        { return s.remote }

// Close gives the pipes back as they came: their other users may not expect non-blocking ones.
func (s *stdio) Close() error {
	unix.SetNonblock(0, false)
	unix.SetNonblock(1, false)
	ierr := s.in.Close()
	if err := s.out.Close(); err != nil {
		return err
	}
	return ierr
}

func (s *stdio) SetReadDeadline(t time.Time) error { return ignoreNoDeadline(s.in.SetReadDeadline(t)) }
func (s *stdio) SetWriteDeadline(t time.Time) error {
	return ignoreNoDeadline(s.out.SetWriteDeadline(t))
}

func (s *stdio) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func ignoreNoDeadline(err error) error {
	if errors.Is(err, os.ErrNoDeadline) {
		return nil
	}
	return err
}

// firstPassed is the first descriptor of socket activation (sd_listen_fds(3)).
const firstPassed = 3

// Activated reports that a service manager passed sockets to this process (LISTEN_FDS, LISTEN_PID).
func Activated(getenv func(string) string) bool {
	n, err := passedSockets(getenv)
	return n > 0 || err != nil
}

// Passed gives the listeners that a service manager passed to this process; none is no error.
func Passed(getenv func(string) string) ([]net.Listener, error) {
	n, err := passedSockets(getenv)
	if err != nil {
		return nil, err
	}
	var ls []net.Listener
	for fd := firstPassed; fd < firstPassed+n; fd++ {
		if isConnected(fd) {
			return nil, fmt.Errorf("passed descriptor %d is a connection, not a socket that listens: use --inetd, or Accept=no", fd)
		}
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "listener")
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("passed descriptor %d: %w", fd, err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// Apologize says a line to the peer of a process that can't serve it, before Stdio has given the connection away. Then the peer
// knows that it has to try again, and need not guess.
func Apologize(getenv func(string) string, line string) {
	conn := 1
	if n, err := passedSockets(getenv); err == nil && n == 1 && isConnected(firstPassed) {
		conn = firstPassed
	} else if _, err := unix.GetsockoptInt(0, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		conn = 0
	}
	unix.Write(conn, []byte(line+"\r\n"))
}

// passedSockets is how many descriptors were passed to this process, from firstPassed on.
func passedSockets(getenv func(string) string) (int, error) {
	pid := getenv("LISTEN_PID")
	if getenv("LISTEN_FDS") == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 64 {
		return 0, errors.New("LISTEN_FDS is not a number from 0 to 64")
	}
	return n, nil
}

// Listen opens one address: "host:port", ":port", or "unix:/path" (also "/path"). A stale unix socket, to which nobody
// listens, is replaced; nothing else is.
func Listen(address string) (net.Listener, error) {
	path, isUnix := unixPath(address)
	if !isUnix {
		return net.Listen("tcp", address)
	}
	defer lockDir(path)()
	l, err := net.Listen("unix", path)
	if !errors.Is(err, unix.EADDRINUSE) || !isStale(path) {
		return l, err
	}
	if rerr := os.Remove(path); rerr != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// unixPath is the path of an address of Listen that is a unix socket.
func unixPath(address string) (path string, ok bool) {
	path, ok = strings.CutPrefix(address, "unix:")
	return path, ok || strings.HasPrefix(address, "/")
}

// isStale reports a socket without a server. What else may be there is somebody's file.
func isStale(path string) bool {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Type() != os.ModeSocket {
		return false
	}
	nc, err := net.Dial("unix", path)
	if err == nil {
		nc.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// lockDir keeps other processes out that look for a stale socket: else each of two that start at once might remove the one on
// which the other has just begun to listen. Where that lock can't be had, for a second, it does without.
func lockDir(path string) (unlock func()) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return func() {}
	}
	for range 100 {
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return func() { dir.Close() }
}
