package mailbox

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// moveAll moves the messages of the mailbox box.
func moveAll(fsys vfs.FS, to string) (done Copied, err error) {
	ctx := context.Background()
	var boxes [2]*Box
	for i, name := range []string{"box", to} {
		d, err := openDir(fsys, name)
		if err != nil {
			return done, err
		}
		if boxes[i], err = Open(ctx, fsys, d); err != nil {
			return done, err
		}
		defer boxes[i].Close()
	}
	var uids []uint32
	for _, m := range boxes[0].Messages() {
		uids = append(uids, m.UID)
	}
	return boxes[0].Move(ctx, boxes[1], uids...)
}

func TestBoxMove(t *testing.T) {
	for _, tt := range []struct {
		name, to string
		far      bool
		uids     string
	}{
		{"to a folder", "box/.x", false, "{[1 2] [1 2]}"},
		{"to another mailbox", "other", false, "{[1 2] [1 2]}"},
		{"to another disk", "other", true, "{[1 2] [4 5]}"},
		{"to where it is", "box", false, "{[1 2] [3 4]}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := twoBoxes(t)
			var fsys vfs.FS = mem
			if tt.far {
				fsys = farFS{mem}
			}
			done, err := moveAll(fsys, tt.to)
			must(t, err)
			if got := fmt.Sprint(done); got != tt.uids {
				t.Errorf("got %s, want %s", got, tt.uids)
			}
			if got := contents(t, mem, tt.to); got != both {
				t.Errorf("there: %s", got)
			}
			if got := contents(t, mem, "box"); got != "" && tt.to != "box" {
				t.Errorf("left: %s", got)
			}
		})
	}
}

// busyFS writes no message.
type busyFS struct{ vfs.FS }

func (f busyFS) Create(name string) (vfs.File, error) {
	if strings.Contains(name, "/tmp/") {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EDQUOT}
	}
	return f.FS.Create(name)
}

// TestBoxMoveWritesNoMessage: where a message is renamed, no room for another one is needed, and neither for renaming the inbox.
func TestBoxMoveWritesNoMessage(t *testing.T) {
	mem := twoBoxes(t)
	done, err := moveAll(busyFS{mem}, "box/.x")
	if err != nil || len(done.To) != 2 {
		t.Errorf("%v, %v", done, err)
	}
	mem = twoBoxes(t)
	must(t, NewStore(busyFS{mem}, newDir(t, mem, "box")).Rename(context.Background(), Inbox, "all"))
	if got := contents(t, mem, "box/.all"); got != both {
		t.Errorf("there: %s", got)
	}
}

// fullFS has no room for an index to grow.
type fullFS struct{ vfs.FS }

func (f fullFS) Create(name string) (vfs.File, error) {
	return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
}

func (f fullFS) OpenAppend(name string) (vfs.File, error) {
	file, err := f.FS.OpenAppend(name)
	return fullFile{file}, err
}

type fullFile struct{ vfs.File }

func (fullFile) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestBoxMoveOnFullDisk: what has no keywords can go, and gets its UID when there is room again; what has keywords stays.
func TestBoxMoveOnFullDisk(t *testing.T) {
	ctx := context.Background()
	mem := twoBoxes(t)
	d, err := openDir(mem, "box")
	must(t, err)
	x, err := d.Folder("x")
	must(t, err)
	open(t, mem, d).Close()
	open(t, mem, x).Close()
	full := fullFS{mem}
	from, to := open(t, full, d), open(t, full, x)
	done, err := from.Move(ctx, to, 1, 2)
	if got := fmt.Sprint(done); got != "{[2] [0]}" || !isFull(err) {
		t.Errorf("got %s, %v", got, err)
	}
	expect(t, from, "1:FS:$Junk,k")
	must(t, open(t, mem, x).Sync(ctx))
	if got := contents(t, mem, "box/.x"); got != "two:::new" {
		t.Errorf("there: %s", got)
	}
}

// TestBoxMoveDuplicate: a message whose name is taken gets another, and the one that is there stays.
func TestBoxMoveDuplicate(t *testing.T) {
	mem := vfs.NewMem()
	d := newDir(t, mem, "box")
	_, err := d.CreateFolder("x")
	must(t, err)
	for _, name := range []string{"box/cur/1.a.h:2,", "box/.x/cur/1.a.h:2,S"} {
		w, err := mem.Create(name)
		must(t, err)
		must(t, w.Close())
	}
	done, err := moveAll(mem, "box/.x")
	must(t, err)
	if got := fmt.Sprint(done); got != "{[1] [2]}" {
		t.Error(got)
	}
}

// TestBoxMoveGone: what somebody else has moved is left out.
func TestBoxMoveGone(t *testing.T) {
	mem := twoBoxes(t)
	d, err := openDir(mem, "box")
	must(t, err)
	other := newDir(t, mem, "other")
	from, to := open(t, mem, d), open(t, mem, other)
	must(t, carry(mem, "box", "box/.x", true))
	done, err := from.Move(context.Background(), to, 1, 2, 7)
	if err != nil || len(done.From) > 0 {
		t.Errorf("%v, %v", done, err)
	}
	expect(t, to, "")
}

// TestBoxMoveCancelled: who has hung up moves nothing more.
func TestBoxMoveCancelled(t *testing.T) {
	mem := twoBoxes(t)
	d, err := openDir(mem, "box")
	must(t, err)
	x, err := d.Folder("x")
	must(t, err)
	from, to := open(t, mem, d), open(t, mem, x)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if done, err := from.Move(ctx, to, 1, 2); err == nil || len(done.From) > 0 {
		t.Errorf("%v, %v", done, err)
	}
	if got := contents(t, mem, "box"); got != both {
		t.Errorf("left: %s", got)
	}
}

// TestBoxMoveTrials: each message is in one place, at any instant, with its flags and keywords; and no UID that was told of means
// another message.
func TestBoxMoveTrials(t *testing.T) {
	base := twoBoxes(t)
	for _, name := range []string{"box", "box/.x"} {
		d, err := openDir(base, name)
		must(t, err)
		open(t, base, d).Close()
	}
	base.SyncAll()
	var done Copied
	op := func(fsys vfs.FS) (err error) {
		done, err = moveAll(fsys, "box/.x")
		return err
	}
	for trial := range vfs.Trials(base, op) {
		if trial.Killed {
			for _, c := range trial.Mem.Choices() {
				after := trial
				after.Mem = trial.Mem.After(c)
				checkCarried(t, after, "box/.x", true)
			}
		}
		checkCarried(t, trial, "box/.x", true)
		checkTold(t, trial, done)
		if t.Failed() {
			return
		}
	}
}

// checkTold wants the messages under the UIDs that were told.
func checkTold(t *testing.T, trial vfs.Trial, done Copied) {
	t.Helper()
	if trial.Err != nil || trial.Killed {
		return
	}
	d, err := openDir(trial.Mem, "box/.x")
	must(t, err)
	b, err := Open(context.Background(), trial.Mem, d)
	must(t, err)
	defer b.Close()
	for i, uid := range done.To {
		m := b.Find(uid)
		if uid == 0 {
			continue
		}
		var text strings.Builder
		if m != nil {
			must(t, b.CopyTo(m, &text))
		}
		if want := []string{1: "one\n", 2: "two\n"}[done.From[i]]; text.String() != want {
			t.Errorf("UID %d is %q, want %q: %s", uid, text.String(), want, trial)
		}
	}
	for _, p := range append(maildir.Check(trial.Mem, "box"), Check(trial.Mem, d)...) {
		t.Errorf("%s: %s", p, trial)
	}
}
