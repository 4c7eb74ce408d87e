package session

import "golang.org/x/sys/unix"

// syslogSocket is where syslog(3) sends.
const syslogSocket = "/dev/log"

// DivertStderr takes descriptor 2 off the connection where it is the same socket as descriptor 0, as it is under inetd(8)
// and xinetd(8): a line of the log would be a reply to the peer, and the end of TLS. What is written to it goes to syslogd
// then, each write as one message, or nowhere if there is none. Otherwise it does nothing.
//
// A socket alone is no sign: standard error of a service of systemd is one, and its log.
func DivertStderr() { divert(0, 2, syslogSocket) }

func divert(conn, stderr int, syslog string) {
	if !sameSocket(conn, stderr) {
		return
	}
	fd, err := openSyslog(syslog)
	if err != nil {
		fd, err = unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return
	}
	unix.Dup2(fd, stderr)
	unix.Close(fd)
}

func sameSocket(a, b int) bool {
	var sa, sb unix.Stat_t
	return unix.Fstat(a, &sa) == nil && unix.Fstat(b, &sb) == nil && sa.Mode&unix.S_IFMT == unix.S_IFSOCK &&
		sa.Dev == sb.Dev && sa.Ino == sb.Ino
}

// openSyslog gives a datagram socket. A syslogd that doesn't keep up loses lines, and never holds up a session.
func openSyslog(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
