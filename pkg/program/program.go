// Package program starts the programs that an administrator has named: hooks, judges of passwords, commands of aliases. What
// they have in common is here; what they are told, how long they may take, and what their exit codes mean is their users'.
package program

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// Grace is how long what a program has started may hold the ends of its pipes open after it is over.
const Grace = time.Second

// Command prepares a program; argv[0] is its path, and no shell looks at the words. It runs in "/", with the variables of
// environ and none of ours, in a process group of its own, which is killed as a whole when ctx ends. Streams and SysProcAttr may
// be added to before it is started.
func Command(ctx context.Context, argv, environ []string) *exec.Cmd {
	heedSIGPIPE()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", environ, Grace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return Kill(cmd) }
	return cmd
}

// heedSIGPIPE keeps programs from inheriting that a server ignores SIGPIPE: what writes without end into a pipe whose reader has
// gone would do so for good, and a shell has no way to heed the signal again. A handler is not inherited.
func heedSIGPIPE() {
	if signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
}

// Kill kills what is left of the process group of a program that was started.
func Kill(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if err == syscall.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// Head takes everything that is written to it, and keeps the first Max octets.
type Head struct {
	Max  int
	text []byte
}

// Write never fails.
func (h *Head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), h.Max-len(h.text))]...)
	return len(p), nil
}

// Bytes are what was kept.
func (h *Head) Bytes() []byte { return h.text }
