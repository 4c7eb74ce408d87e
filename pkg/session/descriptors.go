package session

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// spareDescriptors are kept for the files that sessions work with, and the pipes of their commands: a quarter of what there may
// be, and never more than these. Without them the connections that come first would have every descriptor, and none of them
// could do anything with it, until one went away.
const spareDescriptors = 256

// maxDescriptor is the first descriptor that is no place for a connection, where so many may be open; 0 if there is no limit
// that matters.
func maxDescriptor(limit uint64) int {
	if limit > 1<<30 {
		return 0
	}
	return int(limit) - min(int(limit)/4, spareDescriptors)
}

func descriptorLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return unix.RLIM_INFINITY
	}
	return limit.Cur
}

// minDescriptors is what a process needs to get anywhere: two for the poller of the Go runtime, which ends the process with a
// stack trace and exit 2 where it can't have them; one for the connection; and one for a file.
const minDescriptors = 4

// CheckDescriptors says whether there are descriptors enough to begin: an error (EMFILE) is a reason to try again later.
func CheckDescriptors() error {
	free, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		unix.Close(free)
		if uint64(free)+minDescriptors > descriptorLimit() {
			err = unix.EMFILE
		}
	}
	if err == nil || err == unix.EBADF { // without a standard input
		return nil
	}
	return fmt.Errorf("only %d descriptors are allowed (ulimit -n, LimitNOFILE=), and too few are left: %w", descriptorLimit(), err)
}

// descriptorOf gives the number of a connection's descriptor, -1 if it has none. The kernel gives the lowest number that is free,
// so that it says how many are in use.
func descriptorOf(nc net.Conn) int {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return -1
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	raw.Control(func(fd uintptr) { n = int(fd) })
	return n
}
