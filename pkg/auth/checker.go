package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mailx/pkg/program"
)

// Bounds of a Checker.
const (
	checkTime    = 10 * time.Second // of one question, the wait for other ones included
	maxChecks    = 8                // commands that run at a time; others wait
	maxComplaint = 500              // octets of standard error that are kept for the log
)

// Checker asks a command whether a password or a token is right, by the interface of checkpassword
// (cr.yp.to/checkpwd/interface.html). The command reads
//
//	name NUL secret NUL timestamp NUL
//
// from descriptor 3 to its end and exits with 0 for a right secret (or runs the program that its last word names, which
// is true(1)), 1 for a wrong one, 2 for misuse, 111 for trouble. Everything but 0 and 1 is temporary, as are a signal
// and more than ten seconds, after which its process group is killed. The name is canonical; the timestamp is that of
// Unix. Passwords are short, but tokens may be longer than the 512 octets of the interface.
//
// There is no shell. Standard input is empty, standard output goes nowhere, and the environment has PATH, PROTOCOL,
// TCPREMOTEIP if there is one, and MAILX_MECHANISM. It is safe for concurrent use; make it with NewChecker.
type Checker struct {
	// Report is told why the command could not say, for the log; nil: nobody is. Set it before the first question.
	Report func(error)

	command []string
	limit   time.Duration
	running chan struct{}
}

// NewChecker makes a Checker of the words of a command. The first word is an absolute path.
func NewChecker(command []string) *Checker {
	return &Checker{command: command, limit: checkTime, running: make(chan struct{}, maxChecks)}
}

// check asks. A wrong secret is 5.7.8, all trouble 4.7.0. An empty secret is wrong whatever the command would say: some
// directories take it for an anonymous visitor, who is welcome.
func (c *Checker) check(ctx context.Context, name, secret string) error {
	if name == "" || secret == "" || strings.Contains(name+secret, "\x00") {
		return errCredentials()
	}
	code, err := c.run(ctx, name+"\x00"+secret+"\x00"+strconv.FormatInt(time.Now().Unix(), 10)+"\x00")
	switch {
	case err == nil && code == 0:
		return nil
	case err == nil && code == 1:
		return errCredentials()
	case err == nil:
		err = fmt.Errorf("exit code %d", code)
	}
	err = fmt.Errorf("auth command %s: %w", c.command[0], err)
	if c.Report != nil {
		c.Report(err)
	}
	return errUnavailable(err)
}

// run gives the exit code; an error if there is none, or a code that says something on standard error.
func (c *Checker) run(ctx context.Context, message string) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	select {
	case c.running <- struct{}{}:
		defer func() { <-c.running }()
	case <-ctx.Done():
		return 0, fmt.Errorf("too many are running: %w", ctx.Err())
	}
	complaint := &program.Head{Max: maxComplaint}
	cmd := c.prepare(ctx)
	cmd.Stderr = complaint
	err = startWith(ctx, cmd, message)
	if err != nil {
		return 0, err
	}
	err = cmd.Wait()
	code = cmd.ProcessState.ExitCode()
	switch {
	case code == 0 || code == 1:
		return code, nil
	case ctx.Err() != nil:
		return 0, fmt.Errorf("killed: %w", ctx.Err())
	case len(complaint.Bytes()) > 0:
		return 0, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(complaint.Bytes())))
	}
	return code, nil
}

func (c *Checker) prepare(ctx context.Context) *exec.Cmd {
	words := append(slices.Clone(c.command), trueProgram())
	return program.Command(ctx, words, attemptOf(ctx).environment())
}

// trueProgram is what a command runs that runs another one upon success.
func trueProgram() string {
	if path, err := exec.LookPath("true"); err == nil {
		return path
	}
	return "/bin/true"
}

// environment is all that the command gets of ours. Nothing of it was written by the peer.
func (a attempt) environment() []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	env := []string{"PATH=" + path, "PROTOCOL=" + a.Protocol, "MAILX_MECHANISM=" + a.mech}
	if a.Remote.IsValid() {
		env = append(env, "TCPREMOTEIP="+a.Remote.Unmap().String())
	}
	return env
}

// startWith starts a command with a message on descriptor 3. A command that does not read all of it has its reasons.
func startWith(ctx context.Context, cmd *exec.Cmd, message string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	cmd.ExtraFiles = []*os.File{r}
	err = cmd.Start()
	r.Close()
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		w.SetWriteDeadline(deadline)
	}
	_, err = io.WriteString(w, message)
	if err == nil || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return errors.Join(err, cmd.Cancel(), cmd.Wait())
}
