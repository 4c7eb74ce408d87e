package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// The tests in this file run every durable operation against every single failure and every loss of power, and hold
// what is found against R1, R2, R3 and R5 of the reliability contract.

const oldText = "Subject: old\n\nwas there before\n"

const newText = "Subject: new\n\nA line of the message.\n"

// longText takes two writes.
var longText = newText + strings.Repeat("A line of the message.\n", 3000)

// baseWith makes durable Maildirs, each with one old message in cur/.
func baseWith(t *testing.T, boxes ...string) *vfs.Mem {
	m := vfs.NewMem()
	for _, box := range boxes {
		d, err := Create(m, box)
		must(t, err)
		_, err = d.ToCur(deliver(t, d, oldText))
		must(t, err)
	}
	m.SyncAll()
	return m
}

// texts reads all messages of a Maildir, sorted. It fails the test for anything that Check does not like.
func texts(t *testing.T, trial vfs.Trial, box string) []string {
	t.Helper()
	d, err := Open(trial.Mem, box)
	if err != nil {
		t.Fatalf("%v: %s", err, trial)
	}
	for _, p := range Check(trial.Mem, box) {
		t.Errorf("%s: %s", p, trial)
	}
	var all []string
	for _, m := range list(t, d) {
		all = append(all, read(t, d, m))
	}
	slices.Sort(all)
	return all
}

// tidy holds what is true after every operation that was not cut short: no descriptor is left, and an error is
// temporary and one of local storage.
func tidy(t *testing.T, trial vfs.Trial) {
	t.Helper()
	if left := trial.Mem.OpenFiles(); left != nil {
		t.Errorf("left open %q: %s", left, trial)
	}
	if s := mail.StatusOf(trial.Err); trial.Err != nil && !trial.Crashed && (s.Class != mail.Temporary || s.Subject != 3) {
		t.Errorf("status %s: %s", s, trial)
	}
}

func TestDeliverTrials(t *testing.T) {
	tests := []struct {
		name  string
		text  string
		boxes []string
		how   how
		split bool
	}{
		{"one", longText, []string{"a"}, how{}, false},
		{"one, split renames", newText, []string{"a"}, how{}, true},
		{"one, finished before", newText, []string{"a"}, how{finish: true}, true},
		{"three, split renames", newText, []string{"a", "b", "c"}, how{}, true},
		{"keep", newText, []string{"a", "b"}, how{keep: true}, true},
		{"keep, finished before", longText, []string{"a", "b"}, how{keep: true, finish: true}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := baseWith(t, tt.boxes...)
			base.SplitRenames = tt.split
			op := func(fsys vfs.FS) error { return deliverTo(fsys, tt.text, tt.boxes, tt.how) }
			for trial := range vfs.Trials(base, op) {
				checkDelivery(t, trial, tt.text, tt.boxes)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// how a message is delivered.
type how struct{ keep, finish bool }

func deliverTo(fsys vfs.FS, text string, boxes []string, how how) error {
	var dirs []*Dir
	for _, box := range boxes {
		d, err := Open(fsys, box)
		if err != nil {
			return err
		}
		dirs = append(dirs, d)
	}
	w, err := dirs[0].Deliver()
	if err != nil {
		return err
	}
	for _, d := range dirs[1:] {
		w.Also(d)
	}
	if how.keep {
		w.Keep("S")
		w.SetTime(time.Unix(1234567890, 0))
	}
	if _, err := io.WriteString(w, text); err != nil {
		w.Abort()
		return err
	}
	if how.finish {
		if err := w.Finish(); err != nil {
			w.Abort()
			return err
		}
	}
	return w.Commit()
}

// TestCommitAllTrials: of several messages that are committed together each is there if it had no error, and each is whole or not
// there. One goes into two Maildirs.
func TestCommitAllTrials(t *testing.T) {
	base := baseWith(t, "a", "b")
	base.SplitRenames = true
	bodies := []string{newText, newText + "2\n", newText + "3\n"}
	errs := make([]error, len(bodies))
	op := func(fsys vfs.FS) error {
		for i := range errs {
			errs[i] = io.ErrUnexpectedEOF
		}
		all, err := finishAll(fsys, bodies)
		if err != nil {
			for _, w := range all {
				w.Abort()
			}
			return err
		}
		copy(errs, CommitAll(all))
		return errors.Join(errs...)
	}
	for trial := range vfs.Trials(base, op) {
		for box, mine := range map[string][]int{"a": {0, 1, 2}, "b": {1}} {
			got := texts(t, trial, box)
			for _, i := range mine {
				isThere := slices.Contains(got, bodies[i])
				if errs[i] == nil && !isThere || errs[i] != nil && isThere && !trial.Crashed && !trial.Lasting {
					t.Errorf("%s: message %d: there: %t, %v: %s", box, i, isThere, errs[i], trial)
				}
			}
			if len(got) > 1+len(mine) {
				t.Errorf("%s: %d messages: %s", box, len(got), trial)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// finishAll writes messages for a, the second for b too.
func finishAll(fsys vfs.FS, bodies []string) (all []*Delivery, err error) {
	a, err := Open(fsys, "a")
	if err != nil {
		return nil, err
	}
	b, err := Open(fsys, "b")
	if err != nil {
		return nil, err
	}
	for i, body := range bodies {
		w, err := a.Deliver()
		if err != nil {
			return all, err
		}
		all = append(all, w)
		if i == 1 {
			w.Also(b)
		}
		if _, err := io.WriteString(w, body); err != nil {
			return all, err
		}
		if err := w.Finish(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// TestCommitAllSyncsOnce: each directory is synced once, after the last name was made in it, and a quota counts the messages of
// before.
func TestCommitAllSyncsOnce(t *testing.T) {
	base := baseWith(t, "a", "b")
	all, err := finishAll(base, []string{newText, newText, newText})
	must(t, err)
	before := len(base.Calls())
	must(t, errors.Join(CommitAll(all)...))
	var synced []string
	for _, c := range base.Calls()[before:] {
		if c.Op == "syncdir" {
			synced = append(synced, c.Name)
		} else if len(synced) > 0 {
			t.Errorf("%v after a sync", c)
		}
	}
	if slices.Sort(synced); !slices.Equal(synced, []string{"a/new", "b/new"}) {
		t.Errorf("synced %q", synced)
	}
	all, err = finishAll(base, []string{newText, newText, newText})
	must(t, err)
	all[0].dir.Quota = func() Quota { return Quota{Count: 6} } // 4 are there
	_, err = all[0].dir.Usage()
	must(t, err)
	errs := CommitAll(all)
	if errs[0] != nil || errs[1] != nil || mail.StatusOf(errs[2]).String() != "4.2.2" {
		t.Errorf("over the quota: %v", errs)
	}
}

func checkDelivery(t *testing.T, trial vfs.Trial, text string, boxes []string) {
	t.Helper()
	without, with := []string{oldText}, []string{text, oldText}
	for _, box := range boxes {
		got := texts(t, trial, box)
		switch {
		case slices.Equal(got, with): // R5 below
		case !slices.Equal(got, without):
			t.Errorf("R2: %s has %d messages that are not the old and the new one: %s", box, len(got), trial)
		case trial.Err == nil:
			t.Errorf("R1: the message is not in %s: %s", box, trial)
		}
		if trial.Err != nil && !trial.Crashed && !trial.Lasting && !slices.Equal(got, without) {
			t.Errorf("R5: the message is in %s all the same: %s", box, trial)
		}
		names, err := trial.Mem.ReadDirNames(box + "/tmp")
		must(t, err)
		if len(names) > 0 && !trial.Crashed && !trial.Lasting {
			t.Errorf("R5: left in %s/tmp: %q: %s", box, names, trial)
		}
	}
	tidy(t, trial)
	if err := deliverTo(trial.Mem, newText, boxes, how{}); err != nil {
		t.Errorf("R3, R5: the next delivery: %v: %s", err, trial)
	}
}

// TestCreateTrials makes a Maildir and delivers into it. Afterwards, also when another process was killed while it made
// the Maildir, the next one completes it, and what it delivers is durable.
func TestCreateTrials(t *testing.T) {
	op := func(fsys vfs.FS) error {
		if _, err := Create(fsys, "box"); err != nil {
			return err
		}
		return deliverTo(fsys, newText, []string{"box"}, how{})
	}
	for trial := range vfs.Trials(vfs.NewMem(), op) {
		tidy(t, trial)
		if trial.Err == nil && !slices.Contains(texts(t, trial, "box"), newText) {
			t.Errorf("R1: the message is lost: %s", trial)
		}
		if _, err := Open(trial.Mem, "box"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("R3: %v: %s", err, trial)
		}
		if err := op(trial.Mem); err != nil {
			t.Errorf("R3, R5: again: %v: %s", err, trial)
		}
		for _, choice := range trial.Mem.Choices() {
			trial.Mem = trial.Mem.After(choice)
			if !slices.Contains(texts(t, trial, "box"), newText) {
				t.Errorf("R1: the next message is lost, %s: %s", choice, trial)
			}
		}
		if t.Failed() {
			return
		}
	}
}

func oneMessage(fsys vfs.FS, box string, do func(*Dir, Message) error) error {
	d, err := Open(fsys, box)
	if err != nil {
		return err
	}
	l, err := d.List()
	if err != nil {
		return err
	}
	if err := do(d, l[len(l)-1]); err != nil {
		return err
	}
	return d.Sync()
}

func TestFlagTrials(t *testing.T) {
	for _, from := range []string{"new", "cur"} {
		base := vfs.NewMem()
		d, err := Create(base, "a")
		must(t, err)
		if m := deliver(t, d, oldText); from == "cur" {
			_, err = d.SetFlags(m, "T")
			must(t, err)
		}
		base.SyncAll()
		op := func(fsys vfs.FS) error {
			return oneMessage(fsys, "a", func(d *Dir, m Message) error {
				_, err := d.SetFlags(m, "FS")
				return err
			})
		}
		for trial := range vfs.Trials(base, op) {
			tidy(t, trial)
			if got := texts(t, trial, "a"); !slices.Equal(got, []string{oldText}) {
				t.Fatalf("R2: got %q: %s", got, trial)
			}
			d, err := Open(trial.Mem, "a")
			must(t, err)
			if m := list(t, d)[0]; trial.Err == nil && m.Flags != "FS" {
				t.Errorf("R1: flags are %q: %s", m.Flags, trial)
			}
			if err := op(trial.Mem); err != nil {
				t.Errorf("R5: again: %v: %s", err, trial)
			}
		}
	}
}

func TestRemoveTrials(t *testing.T) {
	base := baseWith(t, "a")
	must(t, deliverTo(base, newText, []string{"a"}, how{}))
	base.SyncAll()
	op := func(fsys vfs.FS) error { return oneMessage(fsys, "a", (*Dir).Remove) }
	for trial := range vfs.Trials(base, op) {
		tidy(t, trial)
		got := texts(t, trial, "a")
		if !slices.Contains(got, oldText) {
			t.Fatalf("the other message is lost: %s", trial)
		}
		if trial.Err == nil && len(got) != 1 {
			t.Errorf("R1: the message is there again: %s", trial)
		}
	}
}

// TestRemoveOnFullDisk is R5: deleting mail works on a full disk, and delivering works after it.
func TestRemoveOnFullDisk(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		m := baseWith(t, "a")
		m.FailFrom(1, errno)
		if err := deliverTo(m, newText, []string{"a"}, how{}); mail.StatusOf(err).String() != "4.3.1" {
			t.Errorf("deliver: got %v, want 4.3.1", err)
		}
		d, err := Open(m, "a")
		must(t, err)
		must(t, d.Remove(list(t, d)[0]))
		m.Heal()
		must(t, deliverTo(m, newText, []string{"a"}, how{}))
	}
}

func TestCreateFolderTrials(t *testing.T) {
	base := baseWith(t, "a")
	op := func(fsys vfs.FS) error {
		d, err := Open(fsys, "a")
		if err != nil {
			return err
		}
		_, err = d.CreateFolder("Archive", "2026")
		return err
	}
	for trial := range vfs.Trials(base, op) {
		tidy(t, trial)
		if got := texts(t, trial, "a"); !slices.Equal(got, []string{oldText}) {
			t.Errorf("the inbox has %q: %s", got, trial)
		}
		d, err := Open(trial.Mem, "a")
		must(t, err)
		folders, err := d.Folders()
		must(t, err)
		_, ferr := d.Folder("Archive", "2026")
		if exists := ferr == nil; exists != slices.Equal(folders, []string{"Archive.2026"}) || !exists && trial.Err == nil {
			t.Errorf("folders %q, error %v: %s", folders, ferr, trial)
		}
		if err := op(trial.Mem); err != nil {
			t.Errorf("R5: again: %v: %s", err, trial)
		}
		if t.Failed() {
			return
		}
	}
}

// baseWithFolders has a message in each folder.
func baseWithFolders(t *testing.T, folders ...string) *vfs.Mem {
	base := vfs.NewMem()
	d, err := Create(base, "a")
	must(t, err)
	for _, name := range folders {
		f, err := d.CreateFolder(strings.Split(name, ".")...)
		must(t, err)
		deliver(t, f, name+"\n")
	}
	base.SyncAll()
	return base
}

// folderTexts is "x=x x.sub=x.sub y=y".
func folderTexts(t *testing.T, trial vfs.Trial) string {
	t.Helper()
	d, err := Open(trial.Mem, "a")
	must(t, err)
	folders, err := d.Folders()
	must(t, err)
	var all []string
	for _, name := range folders {
		got := texts(t, trial, "a/."+name)
		all = append(all, name+"="+strings.TrimSpace(strings.Join(got, "+")))
	}
	return strings.Join(all, " ")
}

func onInbox(do func(*Dir) error) func(vfs.FS) error {
	return func(fsys vfs.FS) error {
		d, err := Open(fsys, "a")
		if err != nil {
			return err
		}
		return do(d)
	}
}

func TestRemoveFolderTrials(t *testing.T) {
	op := onInbox(func(d *Dir) error { return d.RemoveFolder("x") })
	const before, after = "x=x x.sub=x.sub", "x.sub=x.sub"
	for trial := range vfs.Trials(baseWithFolders(t, "x", "x.sub"), op) {
		tidy(t, trial)
		got := folderTexts(t, trial)
		d, err := Open(trial.Mem, "a")
		must(t, err)
		_, err = d.Sweep(time.Now())
		must(t, err)
		switch {
		case got != before && got != after:
			t.Errorf("got %q: %s", got, trial)
		case got == before && trial.Err == nil:
			t.Errorf("R1: the folder is still there: %s", trial)
		case got == after && trial.Err != nil && !trial.Crashed && !trial.Lasting:
			t.Errorf("R5: the folder is gone all the same: %s", trial)
		}
		if got == after && strings.Contains(trial.Mem.Tree(), removedPrefix) {
			t.Errorf("Sweep left something: %s", trial)
		}
	}
}

func TestRenameFolderTrials(t *testing.T) {
	op := onInbox(func(d *Dir) error { return d.RenameFolder([]string{"x"}, []string{"z", "new"}) })
	const before, after = "x=x x.sub=x.sub y=y", "y=y z.new=x z.new.sub=x.sub"
	between := []string{"x.sub=x.sub y=y z.new=x", "x=x y=y z.new.sub=x.sub"}
	for trial := range vfs.Trials(baseWithFolders(t, "x", "x.sub", "y"), op) {
		tidy(t, trial)
		got := folderTexts(t, trial)
		wholly := got == before || got == after
		switch {
		case !wholly && !((trial.Crashed || trial.Lasting) && slices.Contains(between, got)):
			t.Errorf("got %q: %s", got, trial)
		case trial.Err == nil && got != after:
			t.Errorf("R1: got %q: %s", got, trial)
		case trial.Err != nil && !trial.Crashed && !trial.Lasting && got != before:
			t.Errorf("R5: got %q: %s", got, trial)
		}
	}
}

func TestFolders(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		for _, elems := range [][]string{{"Sent"}, {"Archive", "2026"}, {"Entwürfe"}, {"cur"}, {"tmp"}} {
			f, err := d.CreateFolder(elems...)
			must(t, err)
			_, err = d.CreateFolder(elems...) // is there already
			must(t, err)
			m := deliver(t, f, "x\n")
			again, err := d.Folder(elems...)
			must(t, err)
			if got := list(t, again); len(got) != 1 || got[0] != m {
				t.Errorf("%q: got %v", elems, got)
			}
			_, err = f.fsys.Lstat(f.join("maildirfolder"))
			must(t, err)
		}
		put(t, d, ".not-a-folder", "")
		must(t, d.fsys.Mkdir(d.join(".empty")))
		want := []string{"Archive.2026", "Entwürfe", "Sent", "cur", "tmp"}
		if got, err := d.Folders(); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if same, err := d.Folder(); err != nil || same != d {
			t.Errorf("no elements: %v, %v", same, err)
		}
		must(t, d.RemoveFolder("tmp"))
		for _, name := range []string{"tmp", "Archive", "not-a-folder", "empty"} {
			if _, err := d.Folder(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if err := d.RenameFolder([]string{"Sent"}, []string{"cur"}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("rename over a folder: %v", err)
		}
	})
}

func TestFolderNames(t *testing.T) {
	d, err := Create(vfs.NewMem(), "box")
	must(t, err)
	long := strings.Repeat("x", 254)
	for _, tt := range []struct {
		elems []string
		ok    bool
	}{
		{[]string{"a"}, true}, {[]string{"a", "b", "c"}, true}, {[]string{"&AOQ-"}, true}, {[]string{long}, true},
		{[]string{long + "x"}, false}, {[]string{""}, false}, {[]string{"a", ""}, false}, {[]string{"", "a"}, false},
		{[]string{"."}, false}, {[]string{".."}, false}, {[]string{"a.b"}, false}, {[]string{"a", "..", "b"}, false},
		{[]string{"a/b"}, false}, {[]string{"/"}, false}, {[]string{"../x"}, false}, {[]string{"a\x00"}, false},
		{[]string{"a\n"}, false}, {[]string{"a\x1b[m"}, false}, {[]string{"a\u0085"}, false}, {[]string{"\xff"}, false},
	} {
		_, err := d.CreateFolder(tt.elems...)
		if (err == nil) != tt.ok || err != nil && mail.StatusOf(err).String() != "5.1.3" {
			t.Errorf("create %.20q: got %v", tt.elems, err)
		}
		if _, err := d.Folder(tt.elems...); (err == nil) != tt.ok {
			t.Errorf("open %.20q: got %v", tt.elems, err)
		}
		if err := d.RenameFolder(tt.elems, []string{"other"}); (err == nil) != tt.ok {
			t.Errorf("rename %.20q: got %v", tt.elems, err)
		}
		if err := d.RenameFolder([]string{"other"}, tt.elems); (err == nil) != tt.ok {
			t.Errorf("rename to %.20q: got %v", tt.elems, err)
		}
		if err := d.RemoveFolder(tt.elems...); (err == nil) != tt.ok {
			t.Errorf("remove %.20q: got %v", tt.elems, err)
		}
	}
	if err := d.RenameFolder([]string{"a"}, []string{"a", "b"}); err == nil {
		t.Error("a folder moved into itself")
	}
	if err := d.RemoveFolder(); err == nil {
		t.Error("the inbox was removed")
	}
}

func TestCheck(t *testing.T) {
	mem := vfs.NewMem()
	d, err := Create(mem, "box")
	must(t, err)
	f, err := d.CreateFolder("Sub")
	must(t, err)
	deliver(t, d, "good\n")
	put(t, d, "tmp/anything", "partial")
	put(t, d, "new/1.other.program", "no sizes")
	if got := Check(mem, "box"); len(got) != 0 {
		t.Fatalf("a good one: %v", got)
	}
	put(t, d, "new/2.a.h,S=5,W=6", "text")
	put(t, d, "cur/3.a.h,W=5:2,S", "tex\n\n")
	put(t, d, "cur/4.a.h:2,", "x")
	put(t, d, "new/4.a.h", "x")
	put(t, d, "new/message.eml", "x")
	put(t, d, "cur/.hidden", "x")
	must(t, mem.Mkdir(d.join("cur/5.dir")))
	put(t, f, "cur/6.a.h,S=0", "x")
	must(t, mem.Chmod("box/new", 0o770))
	want := []string{
		"new: others may write to it: mode 0770",
		"new/2.a.h,S=5,W=6: has 4 octets, the name says 5",
		"new/2.a.h,S=5,W=6: has 4 octets on the wire, the name says 6",
		"new/message.eml: not the name of a message",
		"cur/.hidden: not the name of a message",
		"cur/3.a.h,W=5:2,S: has 7 octets on the wire, the name says 5",
		"cur/4.a.h:2,: the same message as new/4.a.h",
		"cur/5.dir: not a regular file",
		".Sub/cur/6.a.h,S=0: has 1 octets, the name says 0",
	}
	var got []string
	for _, p := range Check(mem, "box") {
		got = append(got, fmt.Sprint(p))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := Check(mem, "nothing"); len(got) != 1 {
		t.Errorf("no Maildir: %v", got)
	}
}
