package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/fsnotify/fsnotify"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// TestKilledImport kills an import again and again, each time when some more messages are there, and runs it to its end. Every
// message is there then, once and whole, with its keywords, and in the order of the file.
func TestKilledImport(t *testing.T) {
	const messages, kills = 1500, 4
	home := t.TempDir()
	box, file := filepath.Join(home, "box"), filepath.Join(home, "file.mbox")
	if _, err := maildir.Create(vfs.OS(), box); err != nil {
		t.Fatal(err)
	}
	var mbox bytes.Buffer
	for i := range messages {
		fmt.Fprintf(&mbox, "From a@b Tue Nov 14 22:13:20 2023\nX-Keywords: k%d\nSubject: %d\n\n>From %d\n\n", i%3, i, i)
	}
	if err := os.WriteFile(file, mbox.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() *exec.Cmd {
		cmd := exec.Command(mailtest.Binary(t), "import", "-q", "--skip-known", "--to", box, file)
		cmd.Env = mailtest.Env(home)
		return cmd
	}
	arrivals, err := fsnotify.NewWatcher()
	if err == nil {
		err = arrivals.Add(filepath.Join(box, "new"))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer arrivals.Close()
	came := 0
	for range kills {
		cmd := run()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		for n, over := 0, false; !over && n < messages/(kills+2); {
			select {
			case e := <-arrivals.Events:
				if e.Has(fsnotify.Create) {
					n, came = n+1, came+1
				}
			case <-ended:
				over = true
			}
		}
		cmd.Process.Kill()
		<-ended
	}
	t.Logf("%d messages before the last kill", came)
	if out, err := run().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checkImported(t, box, messages)
}

func checkImported(t *testing.T, box string, messages int) {
	t.Helper()
	d, err := maildir.Open(vfs.OS(), box)
	if err != nil {
		t.Fatal(err)
	}
	list, err := d.List()
	if err != nil || len(list) != messages {
		t.Fatalf("%d messages, %v; want %d", len(list), err, messages)
	}
	words, err := mailbox.KeywordsOf(vfs.OS(), d)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range list {
		if got, want := words[m.Base], fmt.Sprint("k", i%3); len(got) != 1 || got[0] != want {
			t.Errorf("message %d has the keywords %q, want %s", i, got, want)
		}
		text, err := os.ReadFile(filepath.Join(box, m.File))
		if want := fmt.Sprintf("Subject: %d\n\nFrom %d\n", i, i); err != nil || string(text) != want {
			t.Fatalf("message %d is %q, %v; want %q", i, text, err, want)
		}
	}
}
