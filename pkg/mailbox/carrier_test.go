package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// farFS has directories that start with another letter on another file system.
type farFS struct{ vfs.FS }

func (f farFS) Move(old, new string) error {
	if strings.Split(path.Clean(old), "/")[0] != strings.Split(path.Clean(new), "/")[0] {
		return &fs.PathError{Op: "move", Path: old, Err: syscall.EXDEV}
	}
	return f.FS.Move(old, new)
}

// parcels are all messages of a Maildir.
func parcels(fsys vfs.FS, from, to string) (all []*Parcel, err error) {
	a, err := openDir(fsys, from)
	if err != nil {
		return nil, err
	}
	b, err := openDir(fsys, to)
	if err != nil {
		return nil, err
	}
	list, err := a.List()
	for _, m := range list {
		all = append(all, &Parcel{From: a, To: b, Message: m})
	}
	return all, err
}

// openDir opens a Maildir, "box/.x" as a folder.
func openDir(fsys vfs.FS, name string) (*maildir.Dir, error) {
	inbox, folder, isFolder := strings.Cut(name, "/.")
	d, err := maildir.Open(fsys, inbox)
	if err == nil && isFolder {
		d, err = d.Folder(folder)
	}
	return d, err
}

func carry(fsys vfs.FS, from, to string, move bool) error {
	all, err := parcels(fsys, from, to)
	if err != nil {
		return err
	}
	c := NewCarrier(fsys)
	defer c.Close()
	if move {
		c.Move(context.Background(), all)
	} else {
		c.Copy(context.Background(), all)
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Err)
	}
	return errors.Join(errs...)
}

// twoBoxes has mailboxes box, with a folder x, and other. In box is one message with a keyword and one that is new.
func twoBoxes(t *testing.T) *vfs.Mem {
	mem := vfs.NewMem()
	d := newDir(t, mem, "box")
	_, err := d.CreateFolder("x")
	must(t, err)
	newDir(t, mem, "other")
	w, err := d.Deliver()
	must(t, err)
	w.Keep("FS")
	w.SetTime(time.Unix(1234567890, 0))
	fmt.Fprint(w, "one\n")
	must(t, w.Commit())
	b := open(t, mem, d)
	must(t, b.Change(context.Background(), []uint32{1}, Change{AddKeywords: []string{"k", "$Junk"}}))
	b.Close()
	deliver(t, d, "two\n")
	mem.SyncAll()
	return mem
}

// contents is "text:flags:keywords" of a mailbox and a time that is not now, sorted.
func contents(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	d, err := openDir(fsys, name)
	must(t, err)
	b, err := Open(context.Background(), fsys, d)
	must(t, err)
	defer b.Close()
	var all []string
	for _, m := range b.Messages() {
		var text strings.Builder
		must(t, b.CopyTo(&m, &text))
		date, err := b.InternalDate(&m)
		must(t, err)
		s := strings.TrimSpace(text.String()) + ":" + m.Flags + ":" + strings.Join(m.Keywords, ",")
		if m.New {
			s += ":new"
		}
		if date.Unix() == 1234567890 {
			s += ":old"
		}
		all = append(all, s)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

const both = "one:FS:$Junk,k:old two:::new"

func TestCarrier(t *testing.T) {
	for _, tt := range []struct {
		name, to  string
		far, move bool
	}{
		{"copy to a folder", "box/.x", false, false},
		{"copy to another mailbox", "other", false, false},
		{"move to a folder", "box/.x", false, true},
		{"move to another mailbox", "other", false, true},
		{"move to another disk", "other", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := twoBoxes(t)
			var fsys vfs.FS = mem
			if tt.far {
				fsys = farFS{mem}
			}
			must(t, carry(fsys, "box", tt.to, tt.move))
			if got := contents(t, mem, tt.to); got != both {
				t.Errorf("there: %s", got)
			}
			want := both
			if tt.move {
				want = ""
			}
			if got := contents(t, mem, "box"); got != want {
				t.Errorf("left: %s", got)
			}
			for _, p := range append(maildir.Check(mem, "box"), maildir.Check(mem, "other")...) {
				t.Error(p)
			}
		})
	}
}

// TestCarrierLeavesNoIndex: a Maildir without keywords, of a user who has no IMAP, gets no files of ours.
func TestCarrierLeavesNoIndex(t *testing.T) {
	mem := vfs.NewMem()
	deliver(t, newDir(t, mem, "a"), text)
	newDir(t, mem, "b")
	must(t, carry(mem, "a", "b", false))
	must(t, carry(mem, "a", "b", true))
	if tree := mem.Tree(); strings.Contains(tree, "mailx-uid") {
		t.Error(tree)
	}
}

func TestMoveToSameMaildir(t *testing.T) {
	mem := twoBoxes(t)
	must(t, carry(mem, "box", "box", true))
	if got := contents(t, mem, "box"); got != both {
		t.Error(got)
	}
}

// TestMoveDuplicates: a copy of the file under the same name, as cp makes it, is another message.
func TestMoveDuplicates(t *testing.T) {
	mem := vfs.NewMem()
	d := newDir(t, mem, "box")
	f, err := d.CreateFolder("x")
	must(t, err)
	for _, name := range []string{"box/new/1.a.h", "box/.x/cur/1.a.h:2,S"} {
		w, err := mem.Create(name)
		must(t, err)
		must(t, w.Close())
	}
	must(t, carry(mem, "box", "box/.x", true))
	list, err := f.List()
	must(t, err)
	if len(list) != 2 {
		t.Errorf("got %v", list)
	}
}

// TestMoveOverQuota: a mailbox that is full takes no more, the others go, and what is refused stays.
func TestMoveOverQuota(t *testing.T) {
	mem := twoBoxes(t)
	all, err := parcels(mem, "box", "other")
	must(t, err)
	all[0].To.Quota = func() maildir.Quota { return maildir.Quota{Count: 1} }
	c := NewCarrier(mem)
	defer c.Close()
	c.Move(context.Background(), all)
	if all[0].Err != nil || mail.StatusOf(all[1].Err).String() != "4.2.2" {
		t.Errorf("got %v, %v", all[0].Err, all[1].Err)
	}
	if got := contents(t, mem, "box"); got != "two:::new" {
		t.Errorf("left: %s", got)
	}
}

// stuckFS removes no message.
type stuckFS struct{ farFS }

func (stuckFS) Remove(name string) error {
	if strings.HasPrefix(name, "box/cur/") || strings.HasPrefix(name, "box/new/") {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.EACCES}
	}
	return nil
}

func TestMoveFromReadOnly(t *testing.T) {
	mem := twoBoxes(t)
	if err := carry(stuckFS{farFS{mem}}, "box", "other", true); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
	if got := contents(t, mem, "box"); got != both {
		t.Errorf("left: %s", got)
	}
}

// TestTwoMovers: each message is moved once, by a rename and by a copy.
func TestTwoMovers(t *testing.T) {
	const n = 60
	for _, far := range []bool{false, true} {
		dir := t.TempDir()
		fsys := vfs.OS()
		from, to := newDir(t, fsys, dir+"/a"), newDir(t, fsys, dir+"/b")
		if far {
			to.Quota = func() maildir.Quota { return maildir.Quota{Count: 2 * n} }
		}
		for i := range n {
			deliver(t, from, fmt.Sprintln(i))
		}
		list, err := from.List()
		must(t, err)
		var wg sync.WaitGroup
		var moved [3]int
		for w := range moved {
			wg.Go(func() {
				var all []*Parcel
				for _, m := range list {
					all = append(all, &Parcel{From: from, To: to, Message: m})
				}
				if w == 2 {
					slices.Reverse(all)
				}
				c := NewCarrier(fsys)
				defer c.Close()
				c.Move(context.Background(), all)
				for _, p := range all {
					if p.Err == nil {
						moved[w]++
					} else if !errors.Is(p.Err, fs.ErrNotExist) {
						t.Errorf("far %t: %v", far, p.Err)
					}
				}
			})
		}
		wg.Wait()
		there, err := to.List()
		must(t, err)
		left, err := from.List()
		must(t, err)
		if len(there) != n || len(left) != 0 || moved[0]+moved[1]+moved[2] != n {
			t.Errorf("far %t: %d there, %d left, moved %v", far, len(there), len(left), moved)
		}
	}
}

// TestCarrierTrials: wherever it stops, no message is lost and none is there in part, none has lost its flags; after a success all are there with
// their keywords, and no UID means another message.
func TestCarrierTrials(t *testing.T) {
	for _, tt := range []struct {
		name, to  string
		far, move bool
	}{
		{"copy", "other", false, false},
		{"near", "box/.x", false, true},
		{"far", "other", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			op := func(fsys vfs.FS) error {
				if tt.far {
					fsys = farFS{fsys}
				}
				return carry(fsys, "box", tt.to, tt.move)
			}
			for trial := range vfs.Trials(twoBoxes(t), op) {
				checkCarried(t, trial, tt.to, tt.move)
				if t.Failed() {
					return
				}
			}
		})
	}
}

func checkCarried(t *testing.T, trial vfs.Trial, to string, move bool) {
	t.Helper()
	left, there := contents(t, trial.Mem, "box"), contents(t, trial.Mem, to)
	for _, want := range strings.Fields(both) {
		atHome, arrived := strings.Contains(left, want), strings.Contains(there, want)
		switch {
		case !atHome && !arrived, !atHome && !move:
			t.Errorf("lost %s: %q, %q: %s", want, left, there, trial)
		case trial.Err == nil && (!arrived || move && atHome):
			t.Errorf("R1: %q, %q: %s", left, there, trial)
		}
	}
	if n := len(strings.Fields(left + " " + there)); n > 4 || move && n > 2 && !trial.Crashed && !trial.Lasting && trial.Failed.Op != "remove" {
		t.Errorf("too many: %q, %q: %s", left, there, trial)
	}
	for _, p := range slices.Concat(maildir.Check(trial.Mem, "box"), maildir.Check(trial.Mem, "other"), checkIndexes(trial.Mem, "box", "other")) {
		t.Errorf("%s: %s", p, trial)
	}
	if open := trial.Mem.OpenFiles(); open != nil && !trial.Crashed {
		t.Errorf("left open %q: %s", open, trial)
	}
}
