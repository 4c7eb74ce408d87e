package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mailx/pkg/mailtest"
)

// Root may be led astray by whoever owns a part of a path.
func TestRootsAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	for _, name := range []string{"roots/box", "joes/box"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "roots/box"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"joes", "link"} {
		if err := os.Lchown(filepath.Join(dir, name), 1234, 1234); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"roots/box": true, "roots/new": true, "joes/box": false, "joes": false, "link": false, "joes/new": false} {
		if err := rootsAlone(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: got %v, want %t", name, err, want)
		}
	}
}

// TestRootsMail: what root does in the spool of another user, who the servers run as, is left to that user.
func TestRootsMail(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const owner = 1234
	home := t.TempDir()
	spool := filepath.Join(home, "spool")
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(spool, owner, owner); err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, args ...string) {
		t.Helper()
		args = append(args, "--spool", spool, "--set", "domains=here.example", "--set", "aliases=", "--set", "hostname=here.example")
		cmd := exec.Command(mailtest.Binary(t), args...)
		cmd.Env, cmd.Stdin = mailtest.Env(home), strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	run("a long enough secret\n", "user", "add", "bob")
	run("", "send", "--from", "root@here.example", "--body", "x", "bob@here.example")
	run("", "send", "--queue", "--from", "root@here.example", "--body", "x", "a@y.example", "b@y.example")
	run("", "queue", "flush", "--server", "smtp://127.0.0.1:1")
	run("", "queue", "hold", "--sender", "root@here.example")
	run("", "queue", "list")
	run("", "list", filepath.Join(spool, "mail/bob"))
	count := 0
	err := filepath.WalkDir(spool, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if uid := fi.Sys().(*syscall.Stat_t).Uid; uid != owner {
			t.Errorf("%s belongs to %d", name, uid)
		}
		count++
		return nil
	})
	if err != nil || count < 15 {
		t.Errorf("%d files, %v", count, err)
	}
}
