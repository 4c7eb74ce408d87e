package vfs

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var allDropped = Choice{Rest: Dropped, One: -1}

// TestPowerLoss says for each history what may be found. A line is the Tree with contents, " " between entries.
func TestPowerLoss(t *testing.T) {
	create := func(fsys FS, name, data string) File {
		f, err := fsys.Create(name)
		must(t, err)
		_, err = f.Write([]byte(data))
		must(t, err)
		return f
	}
	tests := []struct {
		name  string
		split bool
		do    func(m *Mem)
		want  []string
	}{
		{"nothing synced", false, func(m *Mem) { create(m, "d/f", "data") },
			[]string{"", "d/f=", "d/f=da", "d/f=\x00\x00\x00\x00", "d/f=data"}},
		{"name synced", false, func(m *Mem) { create(m, "d/f", "data"); must(t, m.SyncDir("d")) },
			[]string{"d/f=", "d/f=da", "d/f=\x00\x00\x00\x00", "d/f=data"}},
		{"data synced", false, func(m *Mem) { must(t, create(m, "d/f", "data").Sync()) },
			[]string{"", "d/f=data"}},
		{"all synced", false, func(m *Mem) { must(t, create(m, "d/f", "data").Sync()); must(t, m.SyncDir("d")) },
			[]string{"d/f=data"}},
		{"parent synced only", false, func(m *Mem) { must(t, create(m, "d/f", "data").Sync()); must(t, m.SyncDir("/")) },
			[]string{"", "d/f=data"}},
		{"other file synced", false, func(m *Mem) {
			create(m, "d/f", "data")
			must(t, create(m, "d/g", "x").Sync())
			must(t, m.SyncDir("d"))
		}, []string{"d/f= d/g=x", "d/f=da d/g=x", "d/f=\x00\x00\x00\x00 d/g=x", "d/f=data d/g=x"}},
		{"replaced without sync of the data", false, func(m *Mem) {
			put(t, m, "d/f", "old")
			m.SyncAll()
			f := create(m, "d/t", "new!")
			must(t, f.Close())
			must(t, m.Rename("d/t", "d/f"))
			must(t, m.SyncDir("d"))
		}, []string{"d/f=", "d/f=ne", "d/f=\x00\x00\x00\x00", "d/f=new!"}},
		{"replaced well", false, func(m *Mem) {
			put(t, m, "d/f", "old")
			m.SyncAll()
			put(t, m, "d/t", "new")
			must(t, m.Rename("d/t", "d/f"))
		}, []string{"d/f=old", "d/f=new", "d/f=old d/t=new"}},
		{"moved to another directory", false, func(m *Mem) {
			put(t, m, "d/f", "data")
			m.SyncAll()
			must(t, m.Move("d/f", "e/f"))
		}, []string{"d/f=data", "e/f=data"}},
		{"moved, new directory synced", false, func(m *Mem) {
			put(t, m, "d/f", "data")
			m.SyncAll()
			must(t, m.Move("d/f", "e/f"))
			must(t, m.SyncDir("e"))
		}, []string{"e/f=data"}},
		{"moved, split", true, func(m *Mem) {
			put(t, m, "d/f", "data")
			m.SyncAll()
			must(t, m.Move("d/f", "e/f"))
		}, []string{"", "d/f=data", "d/f=data e/f=data", "e/f=data"}},
		{"moved, split, new directory synced", true, func(m *Mem) {
			put(t, m, "d/f", "data")
			m.SyncAll()
			must(t, m.Move("d/f", "e/f"))
			must(t, m.SyncDir("e"))
		}, []string{"d/f=data e/f=data", "e/f=data"}},
		{"made, moved, new directory synced", false, func(m *Mem) {
			put(t, m, "d/f", "data")
			must(t, m.Move("d/f", "e/f"))
			must(t, m.SyncDir("e"))
		}, []string{"e/f=data"}},
		{"removed", false, func(m *Mem) {
			put(t, m, "d/f", "data")
			m.SyncAll()
			must(t, m.Remove("d/f"))
		}, []string{"", "d/f=data"}},
		{"truncated", false, func(m *Mem) {
			f := create(m, "d/f", "data")
			m.SyncAll()
			must(t, f.Truncate(1))
		}, []string{"d/f=d", "d/f=data"}},
		{"directory made, its entries synced", false, func(m *Mem) {
			must(t, m.Mkdir("d/s"))
			put(t, m, "d/s/f", "data")
			must(t, m.SyncDir("d/s"))
		}, []string{"", "d/s/f=data"}},
		{"ordered, no name after that", false, func(m *Mem) {
			must(t, create(m, "d/f", "data").Order())
			must(t, m.SyncDir("d"))
		}, []string{"d/f=", "d/f=da", "d/f=\x00\x00\x00\x00", "d/f=data"}},
		{"ordered, then moved", false, func(m *Mem) {
			must(t, create(m, "d/f", "data").Order())
			must(t, m.Move("d/f", "e/f"))
		}, []string{"", "d/f=", "d/f=data", "e/f=data"}},
		{"ordered, moved, new directory synced", false, func(m *Mem) {
			must(t, create(m, "d/f", "data").Order())
			must(t, m.Move("d/f", "e/f"))
			must(t, m.SyncDir("e"))
		}, []string{"e/f=data"}},
		{"ordered, moved, old directory synced", false, func(m *Mem) {
			must(t, create(m, "d/f", "data").Order())
			must(t, m.Move("d/f", "e/f"))
			must(t, m.SyncDir("d"))
		}, []string{"e/f=data"}},
		{"ordered, linked twice, one directory synced", false, func(m *Mem) {
			must(t, create(m, "d/f", "data").Order())
			must(t, m.Link("d/f", "e/f"))
			must(t, m.Link("d/f", "e/g"))
			must(t, m.SyncDir("e"))
		}, []string{"d/f=data e/f=data e/g=data", "e/f=data e/g=data"}},
		{"more written after it was ordered", false, func(m *Mem) {
			f := create(m, "d/f", "data")
			must(t, f.Order())
			f.Write([]byte("more"))
			must(t, m.Move("d/f", "e/f"))
			must(t, m.SyncDir("e"))
		}, []string{"e/f=data", "e/f=data\x00\x00\x00\x00", "e/f=datamo", "e/f=datamore"}},
		{"order failed", false, func(m *Mem) {
			f := create(m, "d/f", "data")
			m.Fail(len(m.Calls())+1, Fault{Err: syscall.EIO})
			if err := f.Order(); !errors.Is(err, syscall.EIO) {
				t.Errorf("order: %v", err)
			}
			must(t, m.Move("d/f", "e/f"))
			must(t, m.SyncDir("e"))
		}, []string{"e/f="}},
		{"sync failed, then worked", false, func(m *Mem) {
			f := create(m, "d/f", "data")
			m.Fail(len(m.Calls())+1, Fault{Err: syscall.EIO})
			if err := f.Sync(); !errors.Is(err, syscall.EIO) {
				t.Errorf("sync: %v", err)
			}
			must(t, f.Sync())
			must(t, m.SyncDir("d"))
		}, []string{"d/f="}},
		{"appended after a failed sync", false, func(m *Mem) {
			f := create(m, "d/f", "data")
			m.Fail(len(m.Calls())+1, Fault{Err: syscall.EIO})
			f.Sync()
			f.Write([]byte("more"))
			must(t, f.Sync())
			must(t, m.SyncDir("d"))
		}, []string{"d/f=\x00\x00\x00\x00more"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMem()
			must(t, m.Mkdir("d"))
			must(t, m.Mkdir("e"))
			m.SyncAll()
			m.SplitRenames = tt.split
			tt.do(m)
			var got []string
			for _, c := range m.Choices() {
				got = append(got, contents(t, m.After(c)))
			}
			slices.Sort(got)
			if got, want := slices.Compact(got), slices.Sorted(slices.Values(tt.want)); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// contents is "name=data name=data".
func contents(t *testing.T, m *Mem) string {
	var all []string
	var add func(dir string)
	add = func(dir string) {
		for _, name := range list(t, m, dir) {
			fi, err := m.Lstat(dir + name)
			must(t, err)
			if fi.IsDir() {
				add(dir + name + "/")
				continue
			}
			all = append(all, dir[1:]+name+"="+get(t, m, dir+name))
		}
	}
	add("/")
	return strings.Join(all, " ")
}

func TestFaults(t *testing.T) {
	m := NewMem()
	must(t, m.Mkdir("d")) // call 1
	m.Fail(3, Fault{Err: syscall.ENOSPC, Short: true})
	f, err := m.Create("d/f")
	must(t, err)
	if n, err := f.Write([]byte("12345678")); n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("short write: %d, %v", n, err)
	}
	m.Fail(4, Fault{Err: syscall.EDQUOT})
	if n, err := f.Write([]byte("12345678")); n != 0 || !errors.Is(err, syscall.EDQUOT) {
		t.Errorf("write: %d, %v", n, err)
	}
	m.Fail(5, Fault{Err: syscall.EIO})
	if err := f.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
	if left := m.OpenFiles(); left != nil {
		t.Errorf("open after a close that failed: %q", left)
	}
	m.Fail(6, Fault{Err: syscall.EIO, Done: true})
	var linkErr interface{ Unwrap() error }
	if err := m.Link("d/f", "d/g"); !errors.Is(err, syscall.EIO) || !errors.As(err, &linkErr) {
		t.Errorf("link: %v", err)
	}
	m.Fail(7, Fault{Err: syscall.EIO, Done: true})
	if _, err := m.Create("d/h"); !errors.Is(err, syscall.EIO) {
		t.Errorf("create: %v", err)
	}
	if got, want := m.Tree(), "d/\nd/f 4\nd/g 4\nd/h 0\n"; got != want {
		t.Errorf("tree: got %q, want %q", got, want)
	}
	want := []Call{{"mkdir", "d", ""}, {"create", "d/f", ""}, {"write", "d/f", ""}, {"write", "d/f", ""},
		{"close", "d/f", ""}, {"link", "d/f", "d/g"}, {"create", "d/h", ""}}
	if got := m.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls: got %v, want %v", got, want)
	}
}

func TestLastingFault(t *testing.T) {
	tests := []struct {
		err                           error
		create, remove, readdir, sync bool // works
	}{
		{syscall.ENOSPC, false, true, true, false},
		{syscall.EMFILE, false, true, false, false},
		{syscall.EIO, false, false, false, false},
	}
	for _, tt := range tests {
		m := memWithDir(t)
		put(t, m, "top/f", "")
		m.FailFrom(len(m.Calls())+1, tt.err)
		_, cerr := m.Create("top/g")
		_, derr := m.ReadDirNames("top")
		serr := m.SyncDir("top")
		rerr := m.Remove("top/f")
		for i, got := range []bool{cerr == nil, rerr == nil, derr == nil, serr == nil} {
			if want := []bool{tt.create, tt.remove, tt.readdir, tt.sync}[i]; got != want {
				t.Errorf("%v: call %d works: %v, want %v", tt.err, i, got, want)
			}
		}
		m.Heal()
		put(t, m, "top/h", "")
	}
}

func TestCrash(t *testing.T) {
	m := memWithDir(t)
	f, err := m.Create("top/f")
	must(t, err)
	must(t, f.Lock())
	m.CrashAfter(len(m.Calls()) + 1)
	must(t, m.SyncDir("top"))
	_, lerr := m.Lstat("top")
	for i, err := range []error{lerr, m.Remove("top/f"), f.Sync(), f.Close(), m.SyncDir("top")} {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("call %d after the crash: %v", i, err)
		}
	}
	found := m.After(allDropped)
	g, err := found.OpenAppend("top/f")
	must(t, err)
	must(t, g.Lock()) // the lock of f is gone
	must(t, g.Close())
	put(t, found, "top/g", "x")
	if got, want := m.Tree(), "top/\ntop/f 0\n"; got != want {
		t.Errorf("the old one has changed: got %q, want %q", got, want)
	}
}

// TestTimes: a time set is durable after Sync of the file.
func TestTimes(t *testing.T) {
	clock := time.Unix(1000, 0)
	m := NewMem()
	m.Now = func() time.Time { return clock }
	f, err := m.Create("f")
	must(t, err)
	m.SyncAll()
	must(t, m.Chtimes("f", time.Unix(500, 0)))
	mtime := func(m *Mem) int64 {
		fi, err := m.Lstat("f")
		must(t, err)
		return fi.ModTime().Unix()
	}
	if a, b := mtime(m.After(allDropped)), mtime(m.After(Choice{Rest: Kept, One: -1})); a != 1000 || b != 500 {
		t.Errorf("before the sync: got %d and %d, want 1000 and 500", a, b)
	}
	must(t, f.Sync())
	if got := mtime(m.After(allDropped)); got != 500 {
		t.Errorf("after the sync: got %d, want 500", got)
	}
}

// TestTrials runs a good and a bad way to write a file, and counts what the trials find.
func TestTrials(t *testing.T) {
	base := memWithDir(t)
	bad := func(fsys FS) error {
		f, err := fsys.Create("top/f")
		if err != nil {
			return err
		}
		if _, err = f.Write([]byte("data")); err != nil {
			return err // leaks, and leaves the file
		}
		if err = f.Close(); err != nil {
			return err
		}
		fsys.SyncDir("top")
		return nil
	}
	good := func(fsys FS) error { return WriteFile(fsys, "top/f", "1", []byte("data")) }
	tests := []struct {
		name                 string
		op                   func(FS) error
		leaks, partial, lost bool // were found
	}{
		{"bad", bad, true, true, true},
		{"good", good, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var leaks, partial, lost bool
			trials := 0
			for trial := range Trials(base, tt.op) {
				trials++
				leaks = leaks || len(trial.Mem.OpenFiles()) > 0
				b, err := ReadFile(trial.Mem, "top/f", 100)
				partial = partial || err == nil && string(b) != "data"
				lost = lost || trial.Err == nil && errors.Is(err, fs.ErrNotExist)
				if _, err := trial.Mem.Lstat("top/more"); err == nil || trial.String() == "" {
					t.Errorf("not a fresh file system, or no text: %s", trial)
				}
				put(t, trial.Mem, "top/more", "x") // must not disturb the trials to come
				must(t, trial.Mem.SyncDir("top"))
			}
			if leaks != tt.leaks || partial != tt.partial || lost != tt.lost {
				t.Errorf("%d trials: leaks %v, partial %v, lost %v", trials, leaks, partial, lost)
			}
			if base.Tree() != "top/\n" {
				t.Errorf("base has changed: %s", base.Tree())
			}
		})
	}
	for range Trials(base, good) {
		break // at once
	}
}
