package main

import (
	"os"
	"os/signal"
	"syscall"
)

// stdoutAtStart is negative if standard output was closed when the program began, as with >&- in a shell. The runtime of Go
// opens /dev/null in its place before anything of ours runs, and what is printed then is lost in silence. So the code in
// entry_*.s looks first; it runs where the Makefile names it as the entry of the program. Without it a closed standard output
// is /dev/null.
var stdoutAtStart int32

// quitAtStart is what the kernel was to do at SIGQUIT when the program began, as struct sigaction has it: the handler comes first.
// The runtime of Go lets SIGHUP and SIGINT be ignored, but puts a handler of its own in the place of this one, which a shell gives
// to what it starts in the background.
var quitAtStart [4]uint64

// keepIgnored has SIGQUIT ignored if it was.
func keepIgnored() {
	const ignore = 1 // SIG_IGN
	if quitAtStart[0] == ignore {
		signal.Ignore(syscall.SIGQUIT)
	}
}

// openedStreams are the three descriptors that a process is born with. A standard output that was closed takes nothing: EBADF.
func openedStreams() streams {
	s := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if stdoutAtStart >= 0 {
		return s
	}
	if fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
		s.out = os.NewFile(uintptr(fd), os.Stdout.Name())
	}
	return s
}
