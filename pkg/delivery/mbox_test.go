package delivery

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

func testFiles(fsys vfs.FS) *Files {
	return &Files{FS: fsys, Now: func() time.Time { return time.Unix(1700000000, 0) }, Sleep: func(time.Duration) {}, Root: func() bool { return false }}
}

var mboxSender = mail.Address{Local: "a b", Domain: "x.example"}

const mboxHead = "From \"a_b\"@x.example Tue Nov 14 22:13:20 2023\nReturn-Path: <\"a b\"@x.example>\n"

func TestFiles(t *testing.T) {
	tests := []struct{ before, text, want string }{
		{"", "Subject: x\n\nhello\n", mboxHead + "Subject: x\n\nhello\n\n"},
		{"From x\n\nold\n\n", "a\n", "From x\n\nold\n\n" + mboxHead + "a\n\n"},
		{"From x\n\nold\n", "a\n", "From x\n\nold\n\n" + mboxHead + "a\n\n"},
		{"From x\n\nto", "a\n", "From x\n\nto\n\n" + mboxHead + "a\n\n"},
		{"\n", "a\n", "\n\n" + mboxHead + "a\n\n"},
		{"", "", mboxHead + "\n"},
		{"", "no end", mboxHead + "no end\n\n"},
		{"", "From me\nfrom\n>From x\n>>From \n>Fro\n> From \nFrom: x\n>>", mboxHead + ">From me\nfrom\n>>From x\n>>>From \n>Fro\n> From \nFrom: x\n>>\n\n"},
		{"", "Fro", mboxHead + "Fro\n\n"},
		{"", "\n\nFrom \n", mboxHead + "\n\n>From \n\n"},
	}
	for _, tt := range tests {
		for _, cut := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			m := vfs.NewMem()
			if tt.before != "" {
				f, _ := m.Create("box")
				io.WriteString(f, tt.before)
				f.Close()
			}
			err := testFiles(m).deliver("box", mboxSender, cut(strings.NewReader(tt.text)))
			got, rerr := vfs.ReadFile(m, "box", 1<<20)
			if string(got) != tt.want || err != nil || rerr != nil {
				t.Errorf("%q behind %q: got %q %v, want %q", tt.text, tt.before, got, err, tt.want)
			}
			if _, err := m.Lstat("box.lock"); err == nil {
				t.Error("the lock file stays")
			}
		}
	}
}

func TestFilesRefuse(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	f := testFiles(vfs.OS())
	deliver := func(name string) string {
		err := f.deliver(name, mail.Address{}, strings.NewReader("x\n"))
		return mail.StatusOf(err).String()
	}
	writeFile(t, in("target"), "", 0o600)
	writeFile(t, in("twin"), "", 0o600)
	for _, err := range []error{os.Symlink(in("target"), in("link")), os.Link(in("twin"), in("twin2")), os.Mkdir(in("dir"), 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"link", "twin", "dir", "no/such", "/dev/zero"} {
		if name[0] != '/' {
			name = in(name)
		}
		if got := deliver(name); got[0] != '4' {
			t.Errorf("%s: got %s, want a temporary error", name, got)
		}
	}
	for _, name := range []string{"target", "twin"} {
		if fi, err := os.Stat(in(name)); err != nil || fi.Size() != 0 {
			t.Errorf("%s was written to: %v", name, err)
		}
	}
	if got := deliver(in("new")); got != "2.0.0" {
		t.Errorf("a new file: %s", got)
	}
	if fi, err := os.Stat(in("new")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("a new file: %v %v", fi.Mode(), err)
	}
	f.Root = func() bool { return true }
	if got := deliver(in("new")); got != "4.3.5" {
		t.Errorf("as root: %s", got)
	}
}

// Whoever holds a lock is waited for, for a while; a lock file of somebody who was killed is taken away.
func TestFilesLocks(t *testing.T) {
	m := vfs.NewMem()
	f := testFiles(m)
	give := func() string {
		return mail.StatusOf(f.deliver("box", mail.Address{}, strings.NewReader("x\n"))).String()
	}
	holder, err := m.OpenAppend("box")
	if err == nil {
		err = holder.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := give(); got != "4.2.0" {
		t.Errorf("flock: got %s", got)
	}
	naps := 0
	f.Sleep = func(time.Duration) {
		if naps++; naps == 3 {
			holder.Close()
		}
	}
	if got := give(); got != "2.0.0" || naps != 3 {
		t.Errorf("flock given back: got %s after %d naps", got, naps)
	}
	lock, err := m.Create("box.lock")
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	f.Now = time.Now
	if got := give(); got != "4.2.0" {
		t.Errorf("lock file: got %s", got)
	}
	f.Now = func() time.Time { return time.Now().Add(time.Hour) }
	if got := give(); got != "2.0.0" {
		t.Errorf("old lock file: got %s", got)
	}
}

// TestFilesTrials: what was there stays there whatever happens, and an acknowledged message is behind it, whole. Without a
// loss of power, and unless nothing works any more, a failure leaves nothing.
func TestFilesTrials(t *testing.T) {
	const old = "From x\n\nold\n\n"
	text := strings.Repeat("From here on it is long\n", 800) // two writes
	want := mboxHead + strings.ReplaceAll(text, "From ", ">From ") + "\n"
	for _, before := range []string{old, ""} {
		base := vfs.NewMem()
		if err := base.Mkdir("/d"); err != nil {
			t.Fatal(err)
		}
		if before != "" {
			f, err := base.Create("/d/box")
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(f, before)
			f.Close()
		}
		base.SyncAll()
		op := func(fsys vfs.FS) error {
			return testFiles(fsys).deliver("/d/box", mboxSender, strings.NewReader(text))
		}
		for trial := range vfs.Trials(base, op) {
			b, _ := vfs.ReadFile(trial.Mem, "/d/box", 1<<20)
			got := string(b)
			switch {
			case !strings.HasPrefix(got, before):
				t.Errorf("old mail is gone: %q: %s", got, trial)
			case trial.Err == nil && got != before+want:
				t.Errorf("acknowledged, and there are %d octets: %s", len(got), trial)
			case trial.Err != nil && !trial.Crashed && !trial.Lasting && got != before && got != before+want:
				t.Errorf("half of it is there: %s", trial)
			}
			if trial.Err != nil && !trial.Crashed && !mail.StatusOf(trial.Err).IsTemporary() {
				t.Errorf("not temporary: %s", trial)
			}
			if left := trial.Mem.OpenFiles(); left != nil {
				t.Errorf("left open %q: %s", left, trial)
			}
			later := testFiles(trial.Mem) // the next delivery works, after a crash too
			later.Now = func() time.Time { return time.Now().Add(time.Hour) }
			if err := later.deliver("/d/box", mail.Address{}, strings.NewReader("next\n")); err != nil {
				t.Errorf("the next delivery: %v: %s", err, trial)
			}
			if b, _ := vfs.ReadFile(trial.Mem, "/d/box", 1<<20); !strings.HasPrefix(string(b), before) || !strings.Contains("\n\n"+string(b), "\n\nFrom MAILER-DAEMON ") {
				t.Errorf("the next delivery is not a message of its own: %s", trial)
			}
			if t.Failed() {
				return
			}
		}
	}
}

var errReading = errors.New("can't be read")

func TestFilesBadMessage(t *testing.T) {
	m := vfs.NewMem()
	err := testFiles(m).deliver("box", mail.Address{}, iotest.ErrReader(errReading))
	if fi, serr := m.Lstat("box"); !errors.Is(err, errReading) && !mail.StatusOf(err).IsTemporary() || serr != nil || fi.Size() != 0 {
		t.Errorf("got %v, %v", err, serr)
	}
}
