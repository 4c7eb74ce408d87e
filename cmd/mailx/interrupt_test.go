package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mailx/pkg/mailtest"
)

// ignoring is the command line of a program that begins with signals ignored, as those do that a shell puts in the background
// (SIGINT) or that nohup(1) starts (SIGHUP).
func ignoring(signals string, argv ...string) []string {
	return append([]string{"sh", "-c", "trap '' " + signals + `; exec "$0" "$@"`}, argv...)
}

// TestInterruptedInput: a signal in the middle of a message ends the program, unless it was started to ignore it.
func TestInterruptedInput(t *testing.T) {
	dontInheritIgnored(t, syscall.SIGHUP, syscall.SIGINT)
	bin := mailtest.Binary(t)
	for _, tt := range []struct {
		argv    []string
		signals []syscall.Signal
		code    int
		stored  int
	}{
		{[]string{bin}, []syscall.Signal{syscall.SIGINT}, exTempFail, 0},
		{ignoring("HUP", bin), []syscall.Signal{syscall.SIGINT}, exTempFail, 0},
		{ignoring("INT HUP", bin), []syscall.Signal{syscall.SIGINT, syscall.SIGHUP}, 0, 1},
		{ignoring("INT HUP", bin), []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, exTempFail, 0},
	} {
		home := t.TempDir()
		argv := append(tt.argv, "send", "-t", "--queue", "--spool", home+"/spool", "b@b.example")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = mailtest.Env(home)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(stdin, "\n"+strings.Repeat("text\n", 100000))
		await(t, "a part of the message on the disk", func() bool {
			names, _ := filepath.Glob(home + "/spool/queue/tmp/*")
			return len(names) > 0
		})
		for _, s := range tt.signals {
			cmd.Process.Signal(s)
		}
		if tt.code == 0 {
			stdin.Close()
		}
		cmd.Wait()
		names, _ := filepath.Glob(home + "/spool/queue/new/*")
		if code := cmd.ProcessState.ExitCode(); code != tt.code || len(names) != tt.stored {
			t.Errorf("%q, %v: exit code %d, %d stored; want %d, %d", tt.argv, tt.signals, code, len(names), tt.code, tt.stored)
		}
	}
}

// TestServerIgnores: a server in the background of a script goes on at a Ctrl-C, and ends at SIGTERM.
func TestServerIgnores(t *testing.T) {
	argv := ignoring("INT", mailtest.Binary(t), "serve-smtp", "--set", "smtp.listen=127.0.0.1:0")
	p := mailtest.Command{Bin: argv[0], Args: argv[1:], Ready: "listening"}.Start(t)
	greets := func() error {
		c, err := net.Dial("tcp", p.Addrs[0])
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.ReadFull(c, make([]byte, 4))
		return err
	}
	for range 3 {
		p.Signal(os.Interrupt)
		if err := greets(); err != nil {
			t.Fatal(err)
		}
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, p.Stderr())
	}
}
