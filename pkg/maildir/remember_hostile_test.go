package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/vfs"
)

// scanned is what List says when there is no kept listing.
func scanned(t testing.TB, d *Dir) []Message {
	t.Helper()
	if err := d.fsys.Remove(d.join(listName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	list, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func wantList(t testing.TB, got, want []Message) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("listed %d messages, want %d, or others", len(got), len(want))
	}
}

// TestListRestored: whoever puts files back from a backup puts back the times of the directories too, as rsync, cp and tar do.
func TestListRestored(t *testing.T) {
	t.Parallel()
	everyFS(t, func(t *testing.T, d *Dir) {
		fillLarge(t, d)
		before := list(t, d)
		times := map[string]time.Time{}
		for _, sub := range []string{"new", "cur"} {
			fi, err := d.fsys.Lstat(d.join(sub))
			must(t, err)
			times[sub] = fi.ModTime()
		}
		must(t, d.fsys.Remove(d.join(before[3].File)))
		put(t, d, "cur/1.M1P1.backup,S=0,W=0:2,S", "")
		for sub, at := range times {
			must(t, d.fsys.Chtimes(d.join(sub), at))
		}
		got := list(t, d)
		wantList(t, got, scanned(t, d))
	})
}

// TestListSameTick: a change within the tick of the clock in which the directory was listed leaves its times as they were.
func TestListSameTick(t *testing.T) {
	at := time.Unix(1700000000, 0)
	mem := vfs.NewMem()
	mem.Now = func() time.Time { return at }
	d, err := Create(mem, "box")
	must(t, err)
	fillLarge(t, d)
	for _, age := range []time.Duration{-time.Hour, -time.Nanosecond, 0, settled - 1} {
		d.Now = func() time.Time { return at.Add(age) }
		before := list(t, d)
		must(t, mem.Rename(d.join(before[1].File), d.join("cur/"+before[1].Base+":2,"+fmt.Sprint(age.Nanoseconds()))))
		got := list(t, d)
		wantList(t, got, scanned(t, d))
	}
}

// TestListClockSetBack: a listing that was kept while the clock was ahead is not believed until that time has come again.
func TestListClockSetBack(t *testing.T) {
	at := time.Unix(1700000000, 0)
	mem := vfs.NewMem()
	mem.Now = func() time.Time { return at }
	d, err := Create(mem, "box")
	must(t, err)
	fillLarge(t, d)
	d.Now = func() time.Time { return at.Add(time.Minute) }
	list(t, d)
	at = at.Add(-time.Hour)
	got := list(t, d)
	wantList(t, got, scanned(t, d))
	put(t, d, "new/1.M1P1.earlier,S=0,W=0", "")
	got = list(t, d)
	wantList(t, got, scanned(t, d))
	if !slices.ContainsFunc(got, func(m Message) bool { return m.Base == "1.M1P1.earlier,S=0,W=0" }) {
		t.Errorf("the message that came after the clock was set back is missing")
	}
}

// TestListLinkedTree: a copy of the tree whose files are hard links, as cp -al makes it, shares the kept listing, and goes its own
// way nevertheless.
func TestListLinkedTree(t *testing.T) {
	t.Parallel()
	everyFS(t, func(t *testing.T, d *Dir) {
		fillLarge(t, d)
		before := list(t, d)
		copied, err := Create(d.fsys, d.Path()+".copy")
		must(t, err)
		copied.Now = d.Now
		for _, m := range before {
			must(t, d.fsys.Link(d.join(m.File), copied.join(m.File)))
		}
		must(t, d.fsys.Link(d.join(listName), copied.join(listName)))
		must(t, d.fsys.Remove(copied.join(before[0].File)))
		must(t, d.fsys.Chtimes(copied.join("new"), time.Unix(1, 0)))
		if got := list(t, copied); !slices.Equal(got, before[1:]) {
			t.Errorf("the copy: %d messages, want %d", len(got), len(before)-1)
		}
		wantList(t, list(t, d), before) // the copy kept its own listing in a file of its own
		wantList(t, list(t, copied), before[1:])
	})
}

// TestListHostileFile: whatever stands where the listing is kept, the Maildir is listed, nothing waits, and little is read.
func TestListHostileFile(t *testing.T) {
	t.Parallel()
	d, err := Create(vfs.OS(), t.TempDir()+"/box")
	must(t, err)
	fillLarge(t, d)
	want := scanned(t, d)
	kept := d.join(listName)
	whole, err := os.ReadFile(kept)
	must(t, err)
	stamp := d.look().stamp
	forged := func(files ...string) string {
		var list []Message
		for _, file := range files {
			list = append(list, Message{File: file})
		}
		return string(printList(list, stamp))
	}
	secret := filepath.Join(t.TempDir(), "elsewhere")
	must(t, os.WriteFile(secret, []byte(forged("new/1.elsewhere")), 0o600))
	for name, plant := range map[string]func() error{
		"FIFO":            func() error { return syscall.Mkfifo(kept, 0o600) },
		"symbolic link":   func() error { return os.Symlink(secret, kept) },
		"directory":       func() error { return os.Mkdir(kept, 0o700) },
		"empty":           func() error { return os.WriteFile(kept, nil, 0o600) },
		"more behind it":  func() error { return os.WriteFile(kept, append(slices.Clone(whole), 'x'), 0o600) },
		"too many octets": func() error { return os.WriteFile(kept, claim(stamp, 1, maxListFile), 0o600) },
		"below zero":      func() error { return os.WriteFile(kept, claim(stamp, 1, -1), 0o600) },
		"beyond 2^63": func() error {
			return os.WriteFile(kept, []byte(strings.Replace(string(claim(stamp, 1, 9)), " 9 ", " 9223372036854775808 ", 1)), 0o600)
		},
		"hidden":           func() error { return os.WriteFile(kept, []byte(forged("new/.hidden")), 0o600) },
		"directory itself": func() error { return os.WriteFile(kept, []byte(forged("new/.")), 0o600) },
		"climbs":           func() error { return os.WriteFile(kept, []byte(forged("new/..")), 0o600) },
		"other directory":  func() error { return os.WriteFile(kept, []byte(forged("tmp/x")), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.RemoveAll(kept))
			must(t, plant())
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := list(t, d)
			runtime.ReadMemStats(&after)
			wantList(t, got, want)
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
				t.Errorf("%d octets allocated", used)
			}
		})
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != forged("new/1.elsewhere") {
		t.Errorf("what the link led to was changed: %v", err)
	}
}

// claim is the head of a listing that says what it likes.
func claim(stamp string, count, octets int) []byte {
	return fmt.Appendf(nil, "%-*s\n", listHead-1, fmt.Sprintf(listFormat, stamp, count, octets, 0))
}

// TestListConcurrent: while some deliver, mark and remove, every listing has each message that nobody touches, once; and when they
// are done the kept listing is the true one.
func TestListConcurrent(t *testing.T) {
	var clock atomic.Int64 // every moment is another one
	clock.Store(1700000000e9)
	mem := vfs.NewMem()
	mem.Now = func() time.Time { return time.Unix(0, clock.Add(1)) }
	later := func() time.Time { return time.Unix(0, clock.Load()).Add(time.Minute) }
	d, err := Create(mem, "box")
	must(t, err)
	fillLarge(t, d)
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			box := &Dir{fsys: mem, path: d.path, Now: later}
			for i := range 60 {
				name := fmt.Sprintf("%d.M%dP1.writer,S=0,W=0", 1800000000+i, w)
				f, err := mem.Create(box.join("new/" + name))
				if err == nil {
					err = errors.Join(f.Close(), mem.Rename(box.join("new/"+name), box.join("cur/"+name+":2,S")))
				}
				if err == nil && i%2 == 0 {
					err = mem.Remove(box.join("cur/" + name + ":2,S"))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		readers.Go(func() {
			box := &Dir{fsys: mem, path: d.path, Now: later}
			for range 30 {
				all, err := box.List()
				old := 0
				for i, m := range all {
					if strings.HasSuffix(m.Base, ".host,S=0,W=0") {
						old++
					}
					if i > 0 && all[i-1].Base == m.Base {
						t.Errorf("%s twice", m.Base)
					}
				}
				if err != nil || old != largeList {
					t.Errorf("%d messages, want %d, %v", old, largeList, err)
				}
			}
		})
	}
	writers.Wait()
	readers.Wait()
	d.Now = later
	got := list(t, d)
	wantList(t, got, scanned(t, d))
	if n := len(got); n != largeList+60 {
		t.Errorf("%d messages, want %d", n, largeList+60)
	}
	if left, _ := mem.ReadDirNames(d.join("tmp")); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

// TestListKeptInParts: no space, a failing disk, and power loss at each call leave no listing that is believed and not true,
// whichever clock has told that it may be kept.
func TestListKeptInParts(t *testing.T) {
	for _, age := range []time.Duration{settled, quiet} {
		changed := time.Unix(1700000000, 0)
		at := changed
		base := vfs.NewMem()
		base.Now = func() time.Time { return at }
		d, err := Create(base, "box")
		must(t, err)
		fillLarge(t, d)
		at = changed.Add(age)
		d.Now = func() time.Time { return at }
		base.SyncAll()
		want := scanned(t, d)
		must(t, base.Remove(d.join(listName)))
		base.SyncAll()
		for trial := range vfs.Trials(base, func(fsys vfs.FS) error {
			_, err := (&Dir{fsys: fsys, path: d.path, Now: d.Now}).List()
			return err
		}) {
			box := &Dir{fsys: trial.Mem, path: d.path, Now: d.Now}
			if got, err := box.List(); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%v: %d messages, want %d, %v: %s", age, len(got), len(want), err, trial)
			}
		}
	}
}
