package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mailx/pkg/mailtest"
)

// TestEachInterrupted: who is told to stop in the middle says who has his message and who has not.
func TestEachInterrupted(t *testing.T) {
	home := t.TempDir()
	var rows strings.Builder
	rows.WriteString("email\n")
	for i := range 5000 {
		fmt.Fprintf(&rows, "u%d@y.example\n", i)
	}
	table := filepath.Join(home, "rows.csv")
	if err := os.WriteFile(table, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(mailtest.Binary(t), "send", "--queue", "--json", "--merge", table, "--body", "x", "--from", "a@x.example", "--spool", home+"/spool")
	cmd.Env, cmd.Stdout = mailtest.Env(home), &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	queued := func() []string { names, _ := filepath.Glob(home + "/spool/queue/new/*"); return names }
	await(t, "a message in the queue", func() bool { return len(queued()) > 0 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	said, n := strings.Count(out.String(), `"outcome":"queued"`), len(queued())
	if code := cmd.ProcessState.ExitCode(); code != exTempFail || said != n || n == 5000 || strings.Count(out.String(), "\n") != 5000 {
		t.Errorf("exit code %d; %d in the queue, %d said to be, %d lines", code, n, said, strings.Count(out.String(), "\n"))
	}
	if tmp, _ := filepath.Glob(home + "/spool/queue/tmp/*"); len(tmp) > 0 {
		t.Errorf("left behind: %q", tmp)
	}
}
