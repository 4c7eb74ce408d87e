package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// everyFS runs a test on each file system, in an empty directory.
func everyFS(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("OS", func(t *testing.T) { test(t, OS(), t.TempDir()) })
	t.Run("Mem", func(t *testing.T) { test(t, memWithDir(t), "top") })
	t.Run("Grouped", func(t *testing.T) { test(t, Grouped(memWithDir(t)), "top") })
}

func memWithDir(t *testing.T) *Mem {
	m := NewMem()
	must(t, m.Mkdir("top"))
	m.SyncAll()
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, fsys FS, name, data string) {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	must(t, writeSyncClose(f, []byte(data)))
}

func get(t *testing.T, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name, 1<<20)
	must(t, err)
	return string(b)
}

func list(t *testing.T, fsys FS, dir string) []string {
	t.Helper()
	names, err := fsys.ReadDirNames(dir)
	must(t, err)
	slices.Sort(names)
	return names
}

// TestErrors prepares file f ("data"), directories d (empty) and full (with full/x), and makes one call.
func TestErrors(t *testing.T) {
	open := func(f File, err error) error {
		if err == nil {
			f.Close()
		}
		return err
	}
	tests := []struct {
		name string
		call func(fsys FS) error
		want error
	}{
		{"create new", func(fsys FS) error { return open(fsys.Create("new")) }, nil},
		{"create existing", func(fsys FS) error { return open(fsys.Create("f")) }, fs.ErrExist},
		{"create over directory", func(fsys FS) error { return open(fsys.Create("d")) }, fs.ErrExist},
		{"create in nothing", func(fsys FS) error { return open(fsys.Create("no/f")) }, fs.ErrNotExist},
		{"create under file", func(fsys FS) error { return open(fsys.Create("f/f")) }, syscall.ENOTDIR},
		{"create long name", func(fsys FS) error { return open(fsys.Create(strings.Repeat("x", 256))) }, syscall.ENAMETOOLONG},
		{"create longest name", func(fsys FS) error { return open(fsys.Create(strings.Repeat("x", 255))) }, nil},
		{"create NUL", func(fsys FS) error { return open(fsys.Create("a\x00b")) }, syscall.EINVAL},
		{"open", func(fsys FS) error { return open(fsys.Open("f")) }, nil},
		{"open nothing", func(fsys FS) error { return open(fsys.Open("no")) }, fs.ErrNotExist},
		{"open directory", func(fsys FS) error { return open(fsys.Open("d")) }, syscall.EISDIR},
		{"append new", func(fsys FS) error { return open(fsys.OpenAppend("new")) }, nil},
		{"append existing", func(fsys FS) error { return open(fsys.OpenAppend("f")) }, nil},
		{"append directory", func(fsys FS) error { return open(fsys.OpenAppend("d")) }, syscall.EISDIR},
		{"append in nothing", func(fsys FS) error { return open(fsys.OpenAppend("no/f")) }, fs.ErrNotExist},
		{"link", func(fsys FS) error { return fsys.Link("f", "d/f") }, nil},
		{"link nothing", func(fsys FS) error { return fsys.Link("no", "new") }, fs.ErrNotExist},
		{"link over file", func(fsys FS) error { return fsys.Link("f", "full/x") }, fs.ErrExist},
		{"link directory", func(fsys FS) error { return fsys.Link("d", "e") }, syscall.EPERM},
		{"move", func(fsys FS) error { return fsys.Move("f", "d/f") }, nil},
		{"move directory", func(fsys FS) error { return fsys.Move("full", "d/full") }, nil},
		{"move nothing", func(fsys FS) error { return fsys.Move("no", "new") }, fs.ErrNotExist},
		{"move over file", func(fsys FS) error { return fsys.Move("f", "full/x") }, fs.ErrExist},
		{"move over empty directory", func(fsys FS) error { return fsys.Move("full", "d") }, fs.ErrExist},
		{"move into itself", func(fsys FS) error { return fsys.Move("full", "full/in") }, syscall.EINVAL},
		{"rename", func(fsys FS) error { return fsys.Rename("f", "g") }, nil},
		{"rename over file", func(fsys FS) error { return fsys.Rename("f", "full/x") }, nil},
		{"rename over directory", func(fsys FS) error { return fsys.Rename("f", "d") }, syscall.EISDIR},
		{"rename directory over file", func(fsys FS) error { return fsys.Rename("d", "f") }, syscall.ENOTDIR},
		{"rename over empty directory", func(fsys FS) error { return fsys.Rename("full", "d") }, nil},
		{"rename over full directory", func(fsys FS) error { return fsys.Rename("d", "full") }, syscall.ENOTEMPTY},
		{"rename nothing", func(fsys FS) error { return fsys.Rename("no", "f") }, fs.ErrNotExist},
		{"remove", func(fsys FS) error { return fsys.Remove("f") }, nil},
		{"remove directory", func(fsys FS) error { return fsys.Remove("d") }, nil},
		{"remove full directory", func(fsys FS) error { return fsys.Remove("full") }, syscall.ENOTEMPTY},
		{"remove nothing", func(fsys FS) error { return fsys.Remove("no") }, fs.ErrNotExist},
		{"mkdir", func(fsys FS) error { return fsys.Mkdir("new") }, nil},
		{"mkdir existing", func(fsys FS) error { return fsys.Mkdir("d") }, fs.ErrExist},
		{"mkdir over file", func(fsys FS) error { return fsys.Mkdir("f") }, fs.ErrExist},
		{"mkdir in nothing", func(fsys FS) error { return fsys.Mkdir("no/d") }, fs.ErrNotExist},
		{"readdir nothing", func(fsys FS) error { _, err := fsys.ReadDirNames("no"); return err }, fs.ErrNotExist},
		{"readdir file", func(fsys FS) error { _, err := fsys.ReadDirNames("f"); return err }, syscall.ENOTDIR},
		{"lstat nothing", func(fsys FS) error { _, err := fsys.Lstat("no"); return err }, fs.ErrNotExist},
		{"lstat empty name", func(fsys FS) error { _, err := fsys.Lstat(""); return err }, fs.ErrNotExist},
		{"chtimes", func(fsys FS) error { return fsys.Chtimes("f", time.Unix(1, 0)) }, nil},
		{"chtimes nothing", func(fsys FS) error { return fsys.Chtimes("no", time.Unix(1, 0)) }, fs.ErrNotExist},
		{"syncdir", func(fsys FS) error { return fsys.SyncDir("d") }, nil},
		{"syncdir nothing", func(fsys FS) error { return fsys.SyncDir("no") }, fs.ErrNotExist},
		{"syncdir file", func(fsys FS) error { return fsys.SyncDir("f") }, syscall.ENOTDIR},
		{"free", func(fsys FS) error { _, err := fsys.Free("d"); return err }, nil},
		{"free nothing", func(fsys FS) error { _, err := fsys.Free("no"); return err }, fs.ErrNotExist},
		{"writable", func(fsys FS) error { return fsys.Writable("d") }, nil},
		{"writable nothing", func(fsys FS) error { return fsys.Writable("no") }, fs.ErrNotExist},
		{"mkdirall", func(fsys FS) error { return MkdirAll(fsys, "a/b/c") }, nil},
		{"mkdirall existing", func(fsys FS) error { return MkdirAll(fsys, "full") }, nil},
		{"mkdirall under file", func(fsys FS) error { return MkdirAll(fsys, "f/b") }, syscall.ENOTDIR},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			everyFS(t, func(t *testing.T, fsys FS, dir string) {
				fsys = under{fsys, dir}
				put(t, fsys, "f", "data")
				must(t, fsys.Mkdir("d"))
				must(t, fsys.Mkdir("full"))
				put(t, fsys, "full/x", "old")
				if err := tt.call(fsys); !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			})
		})
	}
}

// under is an FS whose names are below a directory.
type under struct {
	FS
	dir string
}

func (u under) at(name string) string {
	if name == "" {
		return ""
	}
	return u.dir + "/" + name
}

func (u under) Create(name string) (File, error)           { return u.FS.Create(u.at(name)) }
func (u under) Open(name string) (File, error)             { return u.FS.Open(u.at(name)) }
func (u under) OpenAppend(name string) (File, error)       { return u.FS.OpenAppend(u.at(name)) }
func (u under) Link(old, new string) error                 { return u.FS.Link(u.at(old), u.at(new)) }
func (u under) Rename(old, new string) error               { return u.FS.Rename(u.at(old), u.at(new)) }
func (u under) Move(old, new string) error                 { return u.FS.Move(u.at(old), u.at(new)) }
func (u under) Remove(name string) error                   { return u.FS.Remove(u.at(name)) }
func (u under) Mkdir(name string) error                    { return u.FS.Mkdir(u.at(name)) }
func (u under) ReadDirNames(name string) ([]string, error) { return u.FS.ReadDirNames(u.at(name)) }
func (u under) Lstat(name string) (fs.FileInfo, error)     { return u.FS.Lstat(u.at(name)) }
func (u under) Chtimes(name string, t time.Time) error     { return u.FS.Chtimes(u.at(name), t) }
func (u under) SyncDir(name string) error                  { return u.FS.SyncDir(u.at(name)) }
func (u under) Writable(name string) error                 { return u.FS.Writable(u.at(name)) }
func (u under) Free(name string) (uint64, error)           { return u.FS.Free(u.at(name)) }

func TestFile(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		name := dir + "/f"
		f, err := fsys.Create(name)
		must(t, err)
		for _, part := range []string{"one ", "", "two ", "three"} {
			if n, err := f.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatalf("write %q: %d, %v", part, n, err)
			}
		}
		b := make([]byte, 8)
		if n, err := f.ReadAt(b, 4); n != 8 || err != nil || string(b) != "two thre" {
			t.Errorf("ReadAt 4: %d, %v, %q", n, err, b)
		}
		if n, err := f.ReadAt(b, 10); n != 3 || err != io.EOF {
			t.Errorf("ReadAt 10: got %d, %v, want 3, EOF", n, err)
		}
		if n, err := f.Read(b); n != 0 || err != io.EOF {
			t.Errorf("read at the end: %d, %v", n, err)
		}
		if n, err := f.Read(nil); n != 0 || err != nil {
			t.Errorf("read of nothing: %d, %v", n, err)
		}
		must(t, f.Truncate(3))
		must(t, f.Truncate(5))
		must(t, f.Sync())
		must(t, f.Order())
		fi, err := f.Stat()
		must(t, err)
		if fi.Size() != 5 || fi.Name() != "f" || fi.Mode() != 0o600 || fi.IsDir() || Links(fi) != 1 {
			t.Errorf("stat: %s %d %v", fi.Name(), fi.Size(), fi.Mode())
		}
		must(t, f.Close())
		if got := get(t, fsys, name); got != "one\x00\x00" {
			t.Errorf("got %q", got)
		}
	})
}

func TestClosedFile(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		f, err := fsys.Create(dir + "/f")
		must(t, err)
		must(t, f.Close())
		_, rerr := f.Read(make([]byte, 1))
		_, werr := f.Write([]byte("x"))
		_, serr := f.Stat()
		for i, err := range []error{rerr, werr, serr, f.Sync(), f.Lock(), f.Truncate(0), f.Close()} {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("call %d: got %v, want ErrClosed", i, err)
			}
		}
	})
}

func TestReadOnlyFile(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		put(t, fsys, dir+"/f", "data")
		f, err := fsys.Open(dir + "/f")
		must(t, err)
		defer f.Close()
		if n, err := f.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EBADF) {
			t.Errorf("write: %d, %v", n, err)
		}
		if err := f.Truncate(0); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("truncate: %v", err)
		}
		must(t, f.Lock())
	})
}

func TestAppend(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		name := dir + "/f"
		a, err := fsys.OpenAppend(name)
		must(t, err)
		b, err := fsys.OpenAppend(name)
		must(t, err)
		for i, f := range []File{a, b, a} {
			if _, err := f.Write([]byte{'0' + byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		p := make([]byte, 3)
		if n, err := b.ReadAt(p, 0); n != 3 || err != nil || string(p) != "012" {
			t.Errorf("got %d, %v, %q, want 012", n, err, p)
		}
		must(t, a.Close())
		must(t, b.Close())
	})
}

func TestLock(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		put(t, fsys, dir+"/f", "")
		a, err := fsys.Open(dir + "/f")
		must(t, err)
		b, err := fsys.OpenAppend(dir + "/f")
		must(t, err)
		must(t, a.Lock())
		must(t, a.Lock())
		if err := b.Lock(); !errors.Is(err, ErrLocked) {
			t.Errorf("second lock: got %v, want ErrLocked", err)
		}
		must(t, a.Close())
		must(t, b.Lock())
		must(t, b.Close())
	})
}

func TestNames(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		put(t, fsys, dir+"/a", "data")
		must(t, fsys.Mkdir(dir+"/sub"))
		must(t, fsys.Link(dir+"/a", dir+"/sub/b"))
		must(t, fsys.Move(dir+"/a", dir+"/c"))
		put(t, fsys, dir+"/d", "new")
		must(t, fsys.Rename(dir+"/d", dir+"/e"))
		if got := list(t, fsys, dir); !slices.Equal(got, []string{"c", "e", "sub"}) {
			t.Errorf("got %q", got)
		}
		c, err := fsys.Lstat(dir + "/c")
		must(t, err)
		b, err := fsys.Lstat(dir + "/sub/b")
		must(t, err)
		e, err := fsys.Lstat(dir + "/e")
		must(t, err)
		if !SameFile(b, c) || SameFile(b, e) || Links(b) != 2 || Links(e) != 1 {
			t.Errorf("SameFile or Links is wrong: %v %v %v", b, c, e)
		}
		must(t, fsys.Remove(dir+"/c"))
		if got := get(t, fsys, dir+"/sub/b"); got != "data" {
			t.Errorf("the other name: %q", got)
		}
		sub, err := fsys.Lstat(dir + "/sub")
		must(t, err)
		if sub.Mode() != fs.ModeDir|0o700 {
			t.Errorf("mode of a directory: %v", sub.Mode())
		}
	})
}

func TestRemovedFileStaysOpen(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		put(t, fsys, dir+"/a", "data")
		f, err := fsys.Open(dir + "/a")
		must(t, err)
		must(t, fsys.Remove(dir+"/a"))
		b, err := io.ReadAll(f)
		if err != nil || string(b) != "data" {
			t.Errorf("got %q, %v", b, err)
		}
		fi, err := f.Stat()
		must(t, err)
		if Links(fi) != 0 {
			t.Errorf("got %d links, want 0", Links(fi))
		}
		must(t, f.Close())
	})
}

func TestChtimes(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		put(t, fsys, dir+"/a", "data")
		want := time.Unix(1234567890, 123456000)
		must(t, fsys.Chtimes(dir+"/a", want))
		fi, err := fsys.Lstat(dir + "/a")
		must(t, err)
		if !fi.ModTime().Equal(want) || !AccessTime(fi).Equal(want) {
			t.Errorf("got %v and %v, want %v", fi.ModTime(), AccessTime(fi), want)
		}
		before := fi
		put(t, fsys, dir+"/b", "")
		must(t, fsys.Chtimes(dir+"/a", want))
		if fi, err = fsys.Lstat(dir + "/a"); err != nil || ChangeTime(fi).Before(ChangeTime(before)) || !ChangeTime(before).After(want) {
			t.Errorf("changed at %v, then at %v, %v", ChangeTime(before), ChangeTime(fi), err)
		}
	})
}

func TestWriteFileAndMkdirAll(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		must(t, MkdirAll(fsys, dir+"/a/b/"))
		must(t, MkdirAll(fsys, dir+"/a/b"))
		for _, text := range []string{"first", "second"} {
			must(t, WriteFile(fsys, dir+"/a/b/f", "1", []byte(text)))
			if got := get(t, fsys, dir+"/a/b/f"); got != text {
				t.Errorf("got %q, want %q", got, text)
			}
		}
		if got := list(t, fsys, dir+"/a/b"); !slices.Equal(got, []string{"f"}) {
			t.Errorf("got %q", got)
		}
		if _, err := ReadFile(fsys, dir+"/a/b/f", 6); err != nil {
			t.Error(err)
		}
		if _, err := ReadFile(fsys, dir+"/a/b/f", 5); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("got %v, want EFBIG", err)
		}
	})
}

// TestManyNames goes over the edges of both buffers for directory entries.
func TestManyNames(t *testing.T) {
	file := t.TempDir() + "/file"
	put(t, OS(), file, "")
	for _, n := range []int{0, 1, 100, 1400} {
		dir := t.TempDir()
		var want []string
		for i := range n {
			name := itoa(i) + strings.Repeat("n", 150+i%100)
			must(t, OS().Link(file, dir+"/"+name))
			want = append(want, name)
		}
		slices.Sort(want)
		if got := list(t, OS(), dir); !slices.Equal(got, want) {
			t.Errorf("%d names: got %d", n, len(got))
		}
	}
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}

func TestOSNotRegular(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/target", []byte("secret"), 0o600))
	must(t, os.Symlink("target", dir+"/link"))
	must(t, os.Symlink("nowhere", dir+"/dangling"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	calls := map[string]func(string) (File, error){
		"create": OS().Create, "open": OS().Open, "append": OS().OpenAppend,
	}
	for op, call := range calls {
		for _, name := range []string{"link", "dangling", "fifo"} {
			f, err := call(dir + "/" + name)
			if err == nil {
				f.Close()
				t.Errorf("%s %s: no error", op, name)
			}
		}
	}
	if got := list(t, OS(), dir); !slices.Equal(got, []string{"dangling", "fifo", "link", "target"}) {
		t.Errorf("left: %q", got)
	}
	fi, err := OS().Lstat(dir + "/link")
	if err != nil || fi.Mode().Type() != fs.ModeSymlink {
		t.Errorf("lstat of a link: %v, %v", fi.Mode(), err)
	}
}

func TestOSMoveByLink(t *testing.T) {
	dir := t.TempDir()
	put(t, OS(), dir+"/a", "a")
	put(t, OS(), dir+"/b", "b")
	must(t, OS().Mkdir(dir+"/d"))
	must(t, OS().Mkdir(dir+"/e"))
	if err := moveByLink(dir+"/a", dir+"/b"); err != unix.EEXIST {
		t.Errorf("over a file: %v", err)
	}
	if err := moveByLink(dir+"/d", dir+"/e"); err != unix.EEXIST {
		t.Errorf("over a directory: %v", err)
	}
	if err := moveByLink(dir+"/no", dir+"/c"); err != unix.ENOENT {
		t.Errorf("of nothing: %v", err)
	}
	must(t, moveByLink(dir+"/a", dir+"/c"))
	must(t, moveByLink(dir+"/d", dir+"/f"))
	if got := list(t, OS(), dir); !slices.Equal(got, []string{"b", "c", "e", "f"}) {
		t.Errorf("left: %q", got)
	}
}

// TestOSUmask must not run beside others: the umask is one for the process.
func TestOSUmask(t *testing.T) {
	dir := t.TempDir()
	for _, umask := range []int{0, 0o022, 0o777} {
		old := unix.Umask(umask)
		d := dir + "/" + itoa(umask)
		err := OS().Mkdir(d)
		f, ferr := OS().Create(d + "/f")
		a, aerr := OS().OpenAppend(d + "/a")
		unix.Umask(old)
		must(t, errors.Join(err, ferr, aerr))
		f.Close()
		a.Close()
		for name, want := range map[string]fs.FileMode{d: fs.ModeDir | 0o700, d + "/f": 0o600, d + "/a": 0o600} {
			fi, err := OS().Lstat(name)
			if err != nil || fi.Mode() != want {
				t.Errorf("umask %03o: %s is %v, want %v (%v)", umask, name, fi.Mode(), want, err)
			}
		}
	}
}

func TestOSLargeWrite(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	name := t.TempDir() + "/g"
	put(t, OS(), name, string(data))
	if got := get(t, OS(), name); got != string(data) {
		t.Errorf("got %d octets, want %d", len(got), len(data))
	}
}

func BenchmarkReadDirNames(b *testing.B) {
	dir := b.TempDir()
	for i := range 20000 {
		f, err := OS().Create(dir + "/1700000000.M123456P1234R0123456789abcdef.host,S=1234,W=1260:2," + itoa(i))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	for b.Loop() {
		if names, err := OS().ReadDirNames(dir); err != nil || len(names) != 20000 {
			b.Fatal(len(names), err)
		}
	}
}
