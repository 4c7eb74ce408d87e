package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// demoServer is a server of the play.
type demoServer struct {
	cmd  *exec.Cmd
	done chan error
}

// command is mailx on a host of the play: nothing of the real configuration, and nothing outside of the throwaway
// directory, has a part in it. The clock of composing stands still, so that a message can be looked at before it is sent.
func (d *demo) command(host string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.ctx, d.exe, args...)
	cmd.Args[0] = "mailx"
	home := filepath.Join(d.dir, host)
	cmd.Env = []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "USER=demo", "LOGNAME=demo", "LANG=C.UTF-8",
		"MAILX_CONFIG=" + filepath.Join(d.dir, "config.toml"), "MAILX_SPOOL=" + filepath.Join(home, "spool"),
		"MAILX_HOSTNAME=" + host, "MAILX_DOMAINS=" + host, "MAILX_LOG_LEVEL=warn",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", d.started.Unix()),
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// serve starts a server and waits for the address that it prints.
func (d *demo) serve(host string, args ...string) (address string, err error) {
	fmt.Fprintf(d.e.stdout, "\n%s$ mailx %s &\n", host, typed(args))
	cmd := d.command(host, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ready := make(chan string, 1)
	s := &demoServer{cmd: cmd, done: make(chan error, 1)}
	d.servers = append(d.servers, s)
	go func() {
		d.follow(stderr, ready)
		s.done <- cmd.Wait()
	}()
	select {
	case address = <-ready:
	case <-time.After(20 * time.Second):
	case <-d.ctx.Done():
		return "", context.Cause(d.ctx)
	}
	if address == "" {
		return "", fmt.Errorf("%s does not listen", args[0])
	}
	return address, nil
}

// follow shows what a server prints and picks its address from it.
func (d *demo) follow(r io.Reader, ready chan<- string) {
	defer close(ready)
	screen := indent(d.e.stdout)
	told := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fmt.Fprintln(screen, lines.Text())
		if _, address, found := strings.Cut(lines.Text(), "listening on "); found && !told {
			ready <- address
			told = true
		}
	}
}

// stop ends the servers, politely, and waits for them.
func (d *demo) stop() {
	for _, s := range d.servers {
		s.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, s := range d.servers {
		select {
		case <-s.done:
		case <-time.After(5 * time.Second):
			s.cmd.Process.Kill()
		}
	}
}

// typed is a command line as a person would type it in a shell.
func typed(args []string) string {
	var words []string
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>()*?[]#~`!{}") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// indent sets off what commands print.
func indent(w io.Writer) io.Writer { return &indenter{w: w, start: true} }

type indenter struct {
	w     io.Writer
	start bool
}

func (in *indenter) Write(p []byte) (int, error) {
	var b bytes.Buffer
	for _, c := range p {
		if in.start && c != '\n' {
			b.WriteString("   ")
		}
		in.start = c == '\n'
		b.WriteByte(c)
	}
	_, err := in.w.Write(b.Bytes())
	return len(p), err
}
