package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/term"
)

// pagerCommand is MAILX_PAGER, PAGER or less, as the shell takes it; "" for none.
func pagerCommand(getenv func(string) string) string {
	for _, name := range []string{"MAILX_PAGER", "PAGER"} {
		if command := getenv(name); command != "" {
			if command == "cat" {
				return ""
			}
			return command
		}
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return "less"
}

// pager is a running pager; what is written to it is seen on the terminal.
type pager struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// startPager gives a writer behind which a person can scroll, or nil where there is no terminal or no pager. Text for
// it has no control characters but colours and line breaks.
func (e *env) startPager() *pager {
	command := pagerCommand(os.Getenv)
	if command == "" || !e.stdoutIsTerminal() {
		return nil
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Stdout, cmd.Stderr = e.stdout, e.stderr
	cmd.Env = os.Environ()
	if os.Getenv("LESS") == "" {
		cmd.Env = append(cmd.Env, "LESS=FRX") // end after one screen, show colours, leave the screen as it is
	}
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	return &pager{cmd, in}
}

// Write takes a person who has seen enough for a reader who has seen all.
func (p *pager) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		return len(b), nil
	}
	return n, err
}

// Close waits until the person has gone. How the pager ended is not our outcome.
func (p *pager) Close() error {
	p.in.Close()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// terminalHeight is in lines; 24 where nobody knows.
func terminalHeight(f *os.File) int {
	if _, h, err := term.GetSize(int(f.Fd())); err == nil && h > 0 {
		return h
	}
	return 24
}
