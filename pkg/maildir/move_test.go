package maildir

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/vfs"
)

func TestMoveTo(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		f, err := d.CreateFolder("Archive")
		must(t, err)
		m := deliver(t, d, "x\n")
		moved, err := d.MoveTo(f, m, "")
		must(t, err)
		if !moved.New || moved.Base != m.Base {
			t.Errorf("new: got %+v", moved)
		}
		seen, err := f.SetFlags(moved, "FS")
		must(t, err)
		back, err := f.MoveTo(d, moved, "") // its path is an old one
		must(t, err)
		if back.File != seen.File {
			t.Errorf("seen: got %q, want %q", back.File, seen.File)
		}
		put(t, f, back.File, "other\n")
		if _, err := d.MoveTo(f, back, ""); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a name that is taken: %v", err)
		}
		last, err := d.MoveTo(f, back, d.NewBase(back))
		must(t, err)
		if last.Base == back.Base || last.Flags != "FS" || last.Size != 2 || last.Wire != 3 || arrivalOf(last.Base).sec != arrivalOf(m.Base).sec {
			t.Errorf("another name: %+v", last)
		}
		if _, err := d.MoveTo(f, back, ""); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("gone: %v", err)
		}
		if got := list(t, f); len(got) != 2 || read(t, f, last) != "x\n" {
			t.Errorf("got %v", got)
		}
		must(t, f.Remove(Message{Name: back.Name, File: back.File}))
	})
}

// TestMoveKeepsCount: within a mailbox a move changes no sum, out of it it does.
func TestMoveKeepsCount(t *testing.T) {
	mem := vfs.NewMem()
	d, err := Create(mem, "a")
	must(t, err)
	d.Quota = func() Quota { return Quota{Count: 9} }
	f, err := d.CreateFolder("x")
	must(t, err)
	other, err := Create(mem, "b")
	must(t, err)
	m := deliver(t, d, "12345\n")
	must(t, d.Room(0))
	m, err = d.MoveTo(f, m, "")
	must(t, err)
	must(t, f.Sync())
	if u, err := d.Usage(); err != nil || u != (Usage{6, 1}) {
		t.Errorf("moved: %v, %v", u, err)
	}
	if !d.SharesMailbox(f) || !f.SharesMailbox(d) || f.SharesMailbox(other) {
		t.Error("SharesMailbox")
	}
	_, err = f.MoveTo(other, m, "")
	must(t, err)
	must(t, f.Sync())
	if u, err := d.Usage(); err != nil || u != (Usage{}) {
		t.Errorf("moved away: %v, %v", u, err)
	}
}

// TestMoveTrials: wherever it stops, the message is in one of the two Maildirs, once and whole, and under no name of another.
func TestMoveTrials(t *testing.T) {
	base := baseWithFolders(t, "x", "y")
	op := onInbox(func(d *Dir) error {
		from, err := d.Folder("x")
		if err != nil {
			return err
		}
		to, err := d.Folder("y")
		if err != nil {
			return err
		}
		l, err := from.List()
		if err != nil {
			return err
		}
		if _, err := from.MoveTo(to, l[0], ""); err != nil {
			return err
		}
		if err := to.Sync(); err != nil {
			return err
		}
		return from.Sync()
	})
	const before, after = "x=x y=y", "x= y=x\n+y"
	for trial := range vfs.Trials(base, op) {
		tidy(t, trial)
		switch got := folderTexts(t, trial); {
		case got != before && got != after:
			t.Fatalf("R2: got %q: %s", got, trial)
		case got == before && trial.Err == nil:
			t.Errorf("R1: not moved: %s", trial)
		}
	}
}

func TestRemoveEmptyFolder(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		f, err := d.CreateFolder("x")
		must(t, err)
		_, err = d.CreateFolder("x", "sub")
		must(t, err)
		m := deliver(t, f, "x\n")
		if err := d.RemoveEmptyFolder("x"); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("new: %v", err)
		}
		m, err = f.ToCur(m)
		must(t, err)
		if err := d.RemoveEmptyFolder("x"); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("cur: %v", err)
		}
		must(t, f.Remove(m))
		must(t, d.RemoveEmptyFolder("x"))
		if got, err := d.Folders(); err != nil || !slices.Equal(got, []string{"x.sub"}) {
			t.Errorf("folders %q, %v", got, err)
		}
		if err := d.RemoveEmptyFolder("x"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("again: %v", err)
		}
		if err := d.RemoveEmptyFolder("..", "x"); err == nil {
			t.Error("a bad name")
		}
	})
}

// lateFS has a message come in after somebody has looked whether there are any.
type lateFS struct {
	vfs.FS
	do func()
}

func (l *lateFS) Remove(name string) error {
	if do := l.do; do != nil && strings.HasSuffix(name, "/new") {
		l.do = nil
		do()
	}
	return l.FS.Remove(name)
}

func TestRemoveEmptyFolderInARace(t *testing.T) {
	mem := vfs.NewMem()
	late := &lateFS{FS: mem}
	d, err := Create(late, "a")
	must(t, err)
	f, err := d.CreateFolder("x")
	must(t, err)
	for _, where := range []string{"new", "cur"} {
		late.do = func() { put(t, f, where+"/1.a.b", "x\n") }
		if err := d.RemoveEmptyFolder("x"); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("%s: %v", where, err)
		}
		if got := list(t, f); len(got) != 1 {
			t.Errorf("%s: %v", where, got)
		}
		must(t, f.Remove(list(t, f)[0]))
	}
	must(t, d.RemoveEmptyFolder("x"))
}

func TestRemoveEmptyFolderTrials(t *testing.T) {
	base := baseWithFolders(t, "x", "y")
	d, err := Open(base, "a")
	must(t, err)
	f, err := d.Folder("x")
	must(t, err)
	must(t, f.Remove(list(t, f)[0]))
	base.SyncAll()
	op := onInbox(func(d *Dir) error { return d.RemoveEmptyFolder("x") })
	for trial := range vfs.Trials(base, op) {
		tidy(t, trial)
		d, err := Open(trial.Mem, "a")
		must(t, err)
		_, err = d.Sweep(time.Now())
		must(t, err)
		got := folderTexts(t, trial)
		if got != "x= y=y" && got != "y=y" || got == "x= y=y" && trial.Err == nil {
			t.Errorf("got %q: %s", got, trial)
		}
		if trial.Err != nil && !trial.Crashed && !trial.Lasting && got != "x= y=y" {
			t.Errorf("R5: the folder is gone all the same: %s", trial)
		}
		if _, err := d.CreateFolder("x"); err != nil {
			t.Errorf("R3: make it again: %v: %s", err, trial)
		}
	}
}

// TestMoveToOtherDisk: what can't be renamed stays where it was.
func TestMoveToOtherDisk(t *testing.T) {
	base := baseWithFolders(t, "x", "y")
	d, err := Open(&farFS{base}, "a")
	must(t, err)
	x, err := d.Folder("x")
	must(t, err)
	y, err := d.Folder("y")
	must(t, err)
	m := list(t, x)[0]
	if _, err := x.MoveTo(y, m, ""); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("got %v", err)
	}
	if now, _, err := x.Stat(m); err != nil || now.File != m.File {
		t.Errorf("got %v, %v", now, err)
	}
}

// farFS has all directories on file systems of their own.
type farFS struct{ vfs.FS }

func (farFS) Move(old, new string) error {
	return &fs.PathError{Op: "move", Path: old, Err: syscall.EXDEV}
}
