package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// everyFS runs a test in a Maildir on each file system, and ends with Check.
func everyFS(t *testing.T, test func(t *testing.T, d *Dir)) {
	run := func(fsys vfs.FS, dir string) func(*testing.T) {
		return func(t *testing.T) {
			d, err := Create(fsys, dir+"/box")
			must(t, err)
			test(t, d)
			for _, p := range Check(fsys, d.Path()) {
				t.Error(p)
			}
		}
	}
	mem := vfs.NewMem()
	t.Run("OS", run(vfs.OS(), t.TempDir()))
	t.Run("Mem", run(mem, "."))
	if left := mem.OpenFiles(); left != nil {
		t.Errorf("left open: %q", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deliver(t *testing.T, d *Dir, text string) Message {
	t.Helper()
	w, err := d.Deliver()
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, err)
	must(t, w.Commit())
	return w.Message()
}

func read(t *testing.T, d *Dir, m Message) string {
	t.Helper()
	f, err := d.OpenMessage(m)
	must(t, err)
	defer f.Close()
	fi, err := f.Stat()
	must(t, err)
	b := make([]byte, fi.Size())
	if n, err := f.ReadAt(b, 0); n != len(b) {
		t.Fatal(n, err)
	}
	return string(b)
}

func list(t *testing.T, d *Dir) []Message {
	t.Helper()
	messages, err := d.List()
	must(t, err)
	return messages
}

// put makes a file as another program would.
func put(t *testing.T, d *Dir, file, text string) {
	t.Helper()
	f, err := d.fsys.Create(d.join(file))
	must(t, err)
	_, err = io.WriteString(f, text)
	must(t, err)
	must(t, f.Close())
}

func TestDeliver(t *testing.T) {
	tests := []struct {
		text string
		wire int
	}{
		{"", 0},
		{"\n", 2},
		{"Subject: x\n\nbody\n", 20},
		{"no end", -1}, // which POP3 and IMAP count differently
		{"a\r\nb\n\r\rc\n\r\n", 13},
		{"a\r\nb\n\r", -1},
		{strings.Repeat("x", 64<<10) + "\n", 64<<10 + 2},
		{strings.Repeat("line\n", 50000), 300000},
		{strings.Repeat("x", 64<<10-1) + "\r\n" + strings.Repeat("\r\n", 70000), 64<<10 + 1 + 140000},
	}
	everyFS(t, func(t *testing.T, d *Dir) {
		for _, tt := range tests {
			for _, piece := range []int{1 << 30, 64 << 10, 1000, 1} {
				if piece == 1 && len(tt.text) > 100 {
					continue
				}
				w, err := d.Deliver()
				must(t, err)
				for rest := tt.text; rest != ""; {
					n, err := io.WriteString(w, rest[:min(piece, len(rest))])
					must(t, err)
					rest = rest[n:]
				}
				must(t, w.Commit())
				m := w.Message()
				if m.Size != int64(len(tt.text)) || m.Wire != int64(tt.wire) || !m.New || m.Base != w.Name() {
					t.Errorf("%.20q in pieces of %d: got %+v, want %d and %d octets", tt.text, piece, m, len(tt.text), tt.wire)
				}
				if got := read(t, d, m); got != tt.text {
					t.Errorf("%.20q in pieces of %d: got %.20q", tt.text, piece, got)
				}
				must(t, w.Abort()) // does nothing now
				must(t, d.Remove(m))
			}
		}
	})
}

func TestDeliveryEnds(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		w, err := d.Deliver()
		must(t, err)
		io.WriteString(w, "text\n")
		must(t, w.Abort())
		must(t, w.Abort())
		if _, err := w.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("write after Abort: %v", err)
		}
		if err := w.Commit(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("commit after Abort: %v", err)
		}
		names, err := d.fsys.ReadDirNames(d.join("tmp"))
		if err != nil || len(names) != 0 || len(list(t, d)) != 0 {
			t.Errorf("left in tmp: %q (%v)", names, err)
		}
	})
}

// TestFinish: after it nothing can be added, no descriptor is held, and the message is in no Maildir yet. Its trouble comes again
// from Commit.
func TestFinish(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		w, err := d.Deliver()
		must(t, err)
		io.WriteString(w, "text\n")
		for range 2 {
			must(t, w.Finish())
		}
		if mem, ok := d.fsys.(*vfs.Mem); ok && mem.OpenFiles() != nil {
			t.Errorf("open: %q", mem.OpenFiles())
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) || len(list(t, d)) != 0 {
			t.Errorf("write after Finish: %v; %d messages", err, len(list(t, d)))
		}
		must(t, w.Commit())
		if err := w.Finish(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("finish after Commit: %v", err)
		}
		if all := list(t, d); len(all) != 1 || read(t, d, all[0]) != "text\n" || all[0].Size != 5 {
			t.Errorf("%v", all)
		}
	})
	m := vfs.NewMem()
	d, err := Create(m, "box")
	must(t, err)
	w, err := d.Deliver()
	must(t, err)
	io.WriteString(w, "text\n")
	m.Fail(len(m.Calls())+2, vfs.Fault{Err: syscall.EIO}) // the sync
	ferr, cerr := w.Finish(), w.Commit()
	if mail.StatusOf(ferr).Class != mail.Temporary || !errors.Is(cerr, syscall.EIO) || len(list(t, d)) != 0 {
		t.Errorf("Finish: %v, Commit: %v", ferr, cerr)
	}
	if left, _ := m.ReadDirNames("box/tmp"); len(left) != 0 || m.OpenFiles() != nil {
		t.Errorf("left: %q, open: %q", left, m.OpenFiles())
	}
}

func TestKeepAndSetTime(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		date := time.Unix(1234567890, 0)
		w, err := d.Deliver()
		must(t, err)
		io.WriteString(w, "kept\n")
		w.Keep("SF")
		w.SetTime(date)
		must(t, w.Commit())
		m := w.Message()
		if m.New || m.Flags != "FS" || m.File != "cur/"+w.Name()+":2,FS" || !slices.Equal(list(t, d), []Message{m}) {
			t.Errorf("got %+v, list %v", m, list(t, d))
		}
		fi, err := d.fsys.Lstat(d.join(m.File))
		must(t, err)
		if !fi.ModTime().Equal(date) || fi.Mode() != 0o600 {
			t.Errorf("got %v %v, want %v", fi.ModTime(), fi.Mode(), date)
		}
		w, err = d.Deliver()
		must(t, err)
		w.Keep("S/../x")
		if err := w.Commit(); err == nil || len(list(t, d)) != 1 {
			t.Errorf("bad flags: %v, %v", err, list(t, d))
		}
	})
}

func TestAlso(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		other, err := Create(d.fsys, d.Path()+"-other")
		must(t, err)
		third, err := Create(d.fsys, d.Path()+"-third")
		must(t, err)
		w, err := d.Deliver()
		must(t, err)
		io.WriteString(w, "for all\n")
		for _, also := range []*Dir{other, d, third, other} {
			w.Also(also)
		}
		must(t, w.Commit())
		for _, box := range []*Dir{d, other, third} {
			l := list(t, box)
			if len(l) != 1 || l[0] != w.Message() || read(t, box, l[0]) != "for all\n" {
				t.Errorf("%s: got %v", box.Path(), l)
			}
			fi, err := box.fsys.Lstat(box.join(l[0].File))
			must(t, err)
			if vfs.Links(fi) != 3 {
				t.Errorf("%s: got %d links, want 3", box.Path(), vfs.Links(fi))
			}
		}
	})
}

// noLinks is a file system that has no hard links.
type noLinks struct{ vfs.FS }

func (n noLinks) Link(old, new string) error {
	return &os.LinkError{Op: "link", Old: old, New: new, Err: syscall.EXDEV}
}

func TestAlsoElsewhere(t *testing.T) {
	mem := vfs.NewMem()
	var boxes []*Dir
	for _, name := range []string{"a", "b", "c"} {
		d, err := Create(noLinks{mem}, name)
		must(t, err)
		boxes = append(boxes, d)
	}
	date := time.Unix(1234567890, 0)
	w, err := boxes[0].Deliver()
	must(t, err)
	io.WriteString(w, "for all\n")
	w.Also(boxes[1])
	w.Also(boxes[2])
	w.SetTime(date)
	must(t, w.Commit())
	after := mem.After(vfs.Choice{Rest: vfs.Dropped, One: -1})
	for _, box := range boxes {
		box.fsys = after
		l := list(t, box)
		if len(l) != 1 || read(t, box, l[0]) != "for all\n" {
			t.Fatalf("%s: got %v", box.Path(), l)
		}
		if fi, err := after.Lstat(box.join(l[0].File)); err != nil || !fi.ModTime().Equal(date) {
			t.Errorf("%s: got %v, %v", box.Path(), fi.ModTime(), err)
		}
	}
	if left := mem.OpenFiles(); left != nil {
		t.Errorf("left open: %q", left)
	}
}

// TestAlsoSameDirectory: two paths lead to one Maildir, which gets the message once.
func TestAlsoSameDirectory(t *testing.T) {
	top := t.TempDir()
	a, err := Create(vfs.OS(), top+"/a")
	must(t, err)
	must(t, os.Symlink("a", top+"/b"))
	must(t, os.Symlink("a", top+"/c"))
	b, err := Create(vfs.OS(), top+"/b")
	must(t, err)
	c, err := Open(vfs.OS(), top+"/c")
	must(t, err)
	w, err := a.Deliver()
	must(t, err)
	io.WriteString(w, "once\n")
	w.Also(b)
	w.Also(c)
	must(t, w.Commit())
	if l := list(t, a); len(l) != 1 || read(t, a, l[0]) != "once\n" {
		t.Errorf("got %v", l)
	}
	if names, err := vfs.OS().ReadDirNames(top + "/a/tmp"); err != nil || len(names) != 0 {
		t.Errorf("left in tmp: %q (%v)", names, err)
	}
}

// TestNoOverwrite plants a file where the message is to go.
func TestNoOverwrite(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		w, err := d.Deliver()
		must(t, err)
		io.WriteString(w, "mine\n")
		planted := "new/" + w.Name() + ",S=5,W=6"
		put(t, d, planted, "older")
		err = w.Commit()
		if s := mail.StatusOf(err); err == nil || !s.IsTemporary() {
			t.Errorf("got %v, want a temporary error", err)
		}
		if got := read(t, d, newMessage(planted)); got != "older" {
			t.Errorf("the file that was there: %q", got)
		}
		must(t, d.fsys.Remove(d.join(planted)))
	})
}

func TestReserve(t *testing.T) {
	mem := vfs.NewMem()
	d, err := Create(mem, "box")
	must(t, err)
	for _, tt := range []struct {
		free, reserve uint64
		ok            bool
	}{{99, 100, false}, {100, 100, true}, {101, 100, true}, {0, 0, true}} {
		mem.Space, d.Reserve = tt.free, tt.reserve
		w, err := d.Deliver()
		if (err == nil) != tt.ok || err != nil && mail.StatusOf(err).String() != "4.3.1" {
			t.Errorf("%d free, reserve %d: %v", tt.free, tt.reserve, err)
		}
		if err == nil {
			must(t, w.Abort())
		}
	}
}

func TestOpen(t *testing.T) {
	mem := vfs.NewMem()
	for _, dir := range []string{"part", "part/tmp", "part/new", "file", "file/tmp", "file/new"} {
		must(t, mem.Mkdir(dir))
	}
	f, err := mem.Create("file/cur")
	must(t, err)
	must(t, f.Close())
	_, err = Create(mem, "deep/down/box/")
	must(t, err)
	for name, want := range map[string]error{
		"nothing": fs.ErrNotExist, "part": fs.ErrNotExist, "file": syscall.ENOTDIR, "deep/down/box": nil, "deep//down/box/": nil,
	} {
		d, err := Open(mem, name)
		if !errors.Is(err, want) || err == nil && d.Path() != "deep/down/box" {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	must(t, mem.Remove("deep/down/box/tmp"))
	d, err := Open(mem, "deep/down/box")
	must(t, err)
	deliver(t, d, "completes it\n")
	if _, err := Create(mem, "part"); err != nil {
		t.Errorf("completing a Maildir: %v", err)
	}
	if _, err := Create(mem, "file"); !errors.Is(err, syscall.ENOTDIR) || !mail.StatusOf(err).IsTemporary() {
		t.Errorf("a file in the way: %v", err)
	}
}

func TestOpenSymlinks(t *testing.T) {
	top := t.TempDir()
	must(t, os.Mkdir(top+"/outside", 0o700))
	d, err := Create(vfs.OS(), top+"/box")
	must(t, err)
	must(t, os.Remove(d.join("new")))
	must(t, os.Symlink("../outside", d.join("new")))
	if _, err := Open(vfs.OS(), top+"/box"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("new is a symbolic link: %v", err)
	}
	must(t, os.Symlink("../outside", d.join(".Folder")))
	if _, err := d.CreateFolder("Folder"); err == nil {
		t.Error("a folder that is a symbolic link: no error")
	}
	if _, err := d.Folder("Folder"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is a symbolic link: %v", err)
	}
	names, err := vfs.OS().ReadDirNames(top + "/outside")
	if err != nil || len(names) != 0 {
		t.Errorf("made outside: %q (%v)", names, err)
	}
}

func TestCreateRefusesShared(t *testing.T) {
	for _, perm := range []fs.FileMode{0o770, 0o777, 0o702, 0o720} {
		mem := vfs.NewMem()
		must(t, mem.Mkdir("box"))
		must(t, mem.Chmod("box", perm))
		_, err := Create(mem, "box")
		if err == nil || !strings.Contains(err.Error(), "chmod go-w box") || mail.StatusOf(err).String() != "4.3.5" {
			t.Errorf("mode %o: got %v", perm, err)
		}
		if strings.Contains(mail.TextOf(err), "box") {
			t.Errorf("the peer is told a path: %q", mail.TextOf(err))
		}
		must(t, mem.Chmod("box", perm&^0o022))
		_, err = Create(mem, "box")
		must(t, err)
	}
}

func TestListOrder(t *testing.T) {
	want := []string{
		"9.M5P1.h", "10.M20P1.h:2,S", "10.M100P1.h", "10.M100P2.h:2,", "11.1234.h", "11.1235.h:2,F", "12_0.3.h:2,S", "odd",
	}
	everyFS(t, func(t *testing.T, d *Dir) {
		for i, name := range []int{3, 0, 6, 1, 5, 2, 4, 7} {
			put(t, d, []string{"new/", "cur/"}[i%2]+want[name], "")
		}
		put(t, d, "cur/.hidden", "")
		put(t, d, "new/.hidden", "")
		var got []string
		for _, m := range list(t, d) {
			got = append(got, m.File[4:])
			if m.File[:4] == "new/" != m.New || m.String() != m.File[4:] {
				t.Errorf("got %+v", m)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for _, name := range []string{"cur/.hidden", "new/.hidden"} {
			must(t, d.fsys.Remove(d.join(name)))
		}
		must(t, d.Remove(list(t, d)[len(want)-1]))
	})
}

// meddler is a file system on which another program works after n readings of directories.
type meddler struct {
	vfs.FS
	after int
	work  func()
}

func (m *meddler) ReadDirNames(name string) ([]string, error) {
	names, err := m.FS.ReadDirNames(name)
	if m.after--; m.after == 0 {
		m.work()
	}
	return names, err
}

// TestListWhileOthersWork: each message is seen once, whatever moves between any two readings.
func TestListWhileOthersWork(t *testing.T) {
	for after := 1; after <= 3; after++ {
		mem := vfs.NewMem()
		clock := int64(0)
		mem.Now = func() time.Time { clock++; return time.Unix(clock, 0) }
		d, err := Create(mem, "box")
		must(t, err)
		a, b := deliver(t, d, "a\n"), deliver(t, d, "b\n")
		b, err = d.SetFlags(b, "S")
		must(t, err)
		d.fsys = &meddler{mem, after, func() {
			other := &Dir{fsys: mem, path: d.path}
			_, err := other.SetFlags(a, "F")
			must(t, err)
			_, err = other.SetFlags(b, "RS")
			must(t, err)
		}}
		got := list(t, d)
		if len(got) != 2 || !(got[0].Base == a.Base && got[1].Base == b.Base || got[0].Base == b.Base && got[1].Base == a.Base) {
			t.Errorf("after %d: got %v, want %s and %s once each", after, got, a.Base, b.Base)
		}
		for _, m := range got {
			f, err := d.OpenMessage(m)
			must(t, err)
			must(t, f.Close())
		}
	}
}

// skipper is a file system that misses an entry of cur/ once, because it is renamed under way.
type skipper struct {
	vfs.FS
	rename func()
}

func (s *skipper) ReadDirNames(name string) ([]string, error) {
	names, err := s.FS.ReadDirNames(name)
	if !strings.HasSuffix(name, "/cur") || s.rename == nil {
		return names, err
	}
	s.rename()
	s.rename = nil
	return names[1:], err
}

func TestListMissesNone(t *testing.T) {
	mem := vfs.NewMem()
	clock := int64(0)
	mem.Now = func() time.Time { clock++; return time.Unix(clock, 0) }
	d, err := Create(mem, "box")
	must(t, err)
	m, err := d.ToCur(deliver(t, d, "a\n"))
	must(t, err)
	d.fsys = &skipper{mem, func() { must(t, mem.Rename(d.join(m.File), d.join(m.File+"S"))) }}
	if got := list(t, d); len(got) != 1 || got[0].File != m.File+"S" {
		t.Errorf("got %v, want %sS", got, m.File)
	}
}

// TestFlagsNoOverwrite: some program left two files of one message.
func TestFlagsNoOverwrite(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		put(t, d, "cur/1.a.h:2,", "first")
		put(t, d, "cur/1.a.h:2,S", "second")
		if _, err := d.SetFlags(newMessage("cur/1.a.h:2,"), "S"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v, want ErrExist", err)
		}
		for file, want := range map[string]string{"cur/1.a.h:2,": "first", "cur/1.a.h:2,S": "second"} {
			m := newMessage(file)
			if got := read(t, d, m); got != want {
				t.Errorf("%s: got %q, want %q", file, got, want)
			}
			must(t, d.Remove(m))
		}
	})
}

func TestFlags(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		m := deliver(t, d, "text\n")
		steps := []struct {
			do   func(Message) (Message, error)
			want string
		}{
			{d.ToCur, ""},
			{d.ToCur, ""},
			{func(m Message) (Message, error) { return d.SetFlags(m, "TS") }, "ST"},
			{func(m Message) (Message, error) { return d.ChangeFlags(m, "Fz", "T") }, "FSz"},
			{func(m Message) (Message, error) { return d.SetFlags(m, "R") }, "Rz"},
			{func(m Message) (Message, error) { return d.SetFlags(m, "") }, "z"},
			{func(m Message) (Message, error) { return d.ChangeFlags(m, "", "z") }, ""},
		}
		for i, step := range steps {
			before := m.Base
			var err error
			m, err = step.do(m)
			must(t, err)
			if m.Flags != step.want || m.Base != before || m.File != "cur/"+before+":2,"+step.want {
				t.Errorf("step %d: got %+v, want flags %q", i, m, step.want)
			}
			if got := list(t, d); len(got) != 1 || got[0] != m || read(t, d, m) != "text\n" {
				t.Errorf("step %d: list has %v, want %v", i, got, m)
			}
		}
		if _, err := d.SetFlags(m, "S/x"); err == nil {
			t.Error("bad flags: no error")
		}
	})
}

// TestMovedByOthers works with what was seen before another program moved, marked or removed the messages.
func TestMovedByOthers(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		var seen []Message
		for i := range 6 {
			seen = append(seen, deliver(t, d, fmt.Sprintf("%d\n", i)))
		}
		other, err := Open(d.fsys, d.Path())
		must(t, err)
		for i, m := range seen {
			_, err := other.SetFlags(m, "DFPRST"[:i])
			must(t, err)
		}
		if got := read(t, d, seen[0]); got != "0\n" {
			t.Errorf("got %q", got)
		}
		m, err := d.ChangeFlags(seen[1], "S", "")
		if err != nil || m.Flags != "DS" {
			t.Errorf("got %v, %v, want D and S", m, err)
		}
		must(t, d.Remove(seen[2]))
		must(t, other.Remove(seen[3]))
		_, oerr := d.OpenMessage(seen[3])
		_, ferr := d.SetFlags(seen[3], "S")
		for i, err := range []error{d.Remove(seen[2]), d.Remove(seen[3]), oerr, ferr} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("call %d on a message that is gone: %v", i, err)
			}
		}
		if size, wire, err := d.Sizes(seen[4]); size != 2 || wire != 3 || err != nil {
			t.Errorf("sizes: %d, %d, %v", size, wire, err)
		}
		m, err = other.SetFlags(seen[4], "")
		must(t, err)
		m, err = d.ToCur(seen[4]) // it was in new/ when it was seen, and at another place when it was looked for
		if err != nil || read(t, d, m) != "4\n" {
			t.Errorf("got %v, %v", m, err)
		}
		must(t, d.Sync())
	})
}

func TestSizes(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		text := "a\nb\r\n" + strings.Repeat("line\n", 30000)
		for _, name := range []string{"1.a.h", "2.a.h,S=150005", "3.a.h,W=180006", "4.a.h,S=150005,W=180006"} {
			put(t, d, "new/"+name, text)
		}
		for _, m := range list(t, d) {
			if size, wire, err := d.Sizes(m); size != 150005 || wire != 180006 || err != nil {
				t.Errorf("%s: got %d, %d, %v", m.File, size, wire, err)
			}
		}
		for text, want := range map[string]int64{"": 0, "a": 3, "a\n": 3, "a\r": 4, "a\r\n": 3, "a\nb": 6} {
			if _, wire, err := d.Sizes(deliver(t, d, text)); wire != want || err != nil {
				t.Errorf("%q: got %d, %v, want %d", text, wire, err, want)
			}
		}
	})
}

func TestSweep(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		now := time.Unix(1700000000, 0)
		ages := map[string]time.Duration{
			"tmp/1.old": 36*time.Hour + time.Second, "tmp/2.exact": 36 * time.Hour, "tmp/3.young": 36*time.Hour - time.Second,
			"tmp/4.future": -time.Hour, "tmp/.nfs0001": 100 * time.Hour, "tmp/dir": 100 * time.Hour,
			"new/5.old": 100 * time.Hour, "cur/6.old:2,": 100 * time.Hour,
		}
		for name, age := range ages {
			if name == "tmp/dir" {
				must(t, d.fsys.Mkdir(d.join(name)))
			} else {
				put(t, d, name, "x")
			}
			must(t, d.fsys.Chtimes(d.join(name), now.Add(-age)))
		}
		n, err := d.Sweep(now)
		if n != 2 || err != nil {
			t.Errorf("got %d, %v, want 2", n, err)
		}
		for name := range ages {
			_, err := d.fsys.Lstat(d.join(name))
			if gone, want := err != nil, name == "tmp/1.old" || name == "tmp/2.exact"; gone != want {
				t.Errorf("%s: gone is %v", name, gone)
			}
		}
	})
}

// TestManyAtOnce delivers, marks and removes from several goroutines.
func TestManyAtOnce(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		d.fsys = vfs.Grouped(d.fsys)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 5 {
					m := deliver(t, d, fmt.Sprintf("%d %d\n", i, j))
					if j%2 == 0 {
						_, err := d.SetFlags(m, "S")
						must(t, err)
					}
					if j == 4 {
						must(t, d.Remove(m))
					}
					list(t, d)
				}
			})
		}
		wg.Wait()
		if got := len(list(t, d)); got != 32 {
			t.Errorf("got %d messages, want 32", got)
		}
	})
}

// counter counts how often a directory is read.
type counter struct {
	vfs.FS
	n int
}

func (c *counter) ReadDirNames(name string) ([]string, error) {
	c.n++
	return c.FS.ReadDirNames(name)
}

// TestManyGone: messages that are gone cost one listing, not one each; one that comes is seen at once.
func TestManyGone(t *testing.T) {
	mem := vfs.NewMem()
	now := time.Unix(1_000_000, 0)
	mem.Now = func() time.Time { return now }
	d, err := Create(mem, "box")
	must(t, err)
	d.Now = mem.Now
	put(t, d, "cur/1.a.h:2,", "x")
	c := &counter{FS: mem}
	d.fsys = c
	now = now.Add(time.Minute)
	for i := range 100 {
		if _, _, err := d.Stat(newMessage(fmt.Sprintf("cur/%d.gone.h:2,", i))); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if c.n > 4 {
		t.Errorf("%d directories were read", c.n)
	}
	put(t, d, "cur/2.a.h:2,", "x")
	if m, _, err := d.Stat(newMessage("cur/2.a.h:2,S")); err != nil || m.File != "cur/2.a.h:2," {
		t.Errorf("%v, %v", m, err)
	}
	must(t, mem.Rename("box/cur/1.a.h:2,", "box/cur/1.a.h:2,F"))
	if m, _, err := d.Stat(newMessage("cur/1.a.h:2,S")); err != nil || m.File != "cur/1.a.h:2,F" {
		t.Errorf("in the same tick: %v, %v", m, err)
	}
}
