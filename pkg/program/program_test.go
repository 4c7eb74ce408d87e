package program

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// run gives the standard output of a text for sh.
func run(t *testing.T, text string) string {
	t.Helper()
	cmd := Command(t.Context(), []string{"/bin/sh", "-c", text}, []string{"PATH=/usr/bin:/bin", "ONE=1"})
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return string(out)
}

func TestSurroundings(t *testing.T) {
	t.Setenv("MAILX_SECRET", "x")
	if got := run(t, `pwd; echo "$ONE$MAILX_SECRET"`); got != "/\n1\n" {
		t.Errorf("got %q", got)
	}
	if got := run(t, `test "$(ps -o pgid= -p $$ | tr -d ' ')" = $$ && echo own`); got != "own\n" {
		t.Errorf("the process group: got %q", got)
	}
}

// A server ignores SIGPIPE; what it starts must not.
func TestSIGPIPEIsHeeded(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	for range 2 { // a server may ignore it again
		if got := run(t, `sed -n 's/^SigIgn:.*\(....\)$/\1/p' /proc/self/status`); got != "0000\n" {
			t.Errorf("ignored signals: %q, want none", got)
		}
		signal.Ignore(syscall.SIGPIPE)
	}
}

// The end of the context ends what the program has started, too: nobody is left to write into the fifo.
func TestContextKillsTheGroup(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := Command(ctx, []string{"/bin/sh", "-c", "exec >" + fifo + "; (echo child; sleep 1000) & echo parent; sleep 1000"},
		[]string{"PATH=/usr/bin:/bin"})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan string)
	f, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	go func() {
		var all strings.Builder
		buf := make([]byte, 100)
		for {
			n, err := f.Read(buf)
			all.Write(buf[:n])
			if strings.Count(all.String(), "\n") == 2 {
				cancel()
			}
			if err != nil {
				ended <- all.String()
				return
			}
		}
	}()
	if got := <-ended; got != "child\nparent\n" && got != "parent\nchild\n" {
		t.Errorf("got %q", got)
	}
	if _, isExit := cmd.Wait().(*exec.ExitError); !isExit {
		t.Errorf("the program was not killed")
	}
}

func TestHead(t *testing.T) {
	h := &Head{Max: 5}
	for _, s := range []string{"ab", "", "cd", "efg", "h"} {
		if n, err := h.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("%q: %d %v", s, n, err)
		}
	}
	if string(h.Bytes()) != "abcde" {
		t.Errorf("got %q", h.Bytes())
	}
}
