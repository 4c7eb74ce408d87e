package main

import (
	"os"
	"syscall"
)

// stdoutAtStart is negative if standard output was closed when the program began, as with >&- in a shell. The runtime of Go
// opens /dev/null in its place before anything of ours runs, and what is printed then is lost in silence. So the code in
// closed_*.s looks first; it runs where the Makefile names it as the entry of the program. Without it a closed standard output
// is /dev/null.
var stdoutAtStart int32

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
