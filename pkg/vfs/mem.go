package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory for tests of durability. It keeps a log of every call, makes calls fail on cue
// ([Mem.Fail]), loses power on cue ([Mem.CrashAfter]), and then shows what the disk may hold ([Mem.Choices],
// [Mem.After]). [Trials] drives all of it through one operation.
//
// What is durable: the data and the modification time of a file after its Sync, its name only after SyncDir of the
// directory. Data before an Order becomes durable with any name that the file is given later. A write that was neither
// synced nor ordered survives whole, in part, as zeros, or not at all. Data of a Sync that failed
// is never durable, not even after another Sync (that is how Linux does it). Link, Remove, Mkdir and a rename within
// one directory are atomic; so is a rename from one directory to another, as journals make it, unless SplitRenames is
// set. Unsynced changes survive in any combination.
//
// Names are cleaned, "/a", "a" and "./a" are the same. There are no symbolic links, and modes stop nobody.
// Set the fields before the first call.
type Mem struct {
	Now          func() time.Time // the clock for modification times; time.Now if nil
	Space        uint64           // what Free says
	SplitRenames bool             // a rename to another directory is two changes, and either may be lost alone

	mu      sync.Mutex
	root    *node
	lastIno uint64
	pending []*effect // what is not durable yet, oldest first
	open    map[*memFile]bool
	calls   []Call
	faults  map[int]Fault
	lasting *lastingFault
	crashAt int // power goes after this call; -1: never
}

// node is a file or a directory: as programs see it, and as the disk has it.
type node struct {
	ino     uint64
	mode    fs.FileMode
	links   uint64
	mtime   time.Time
	ctime   time.Time
	data    []byte
	entries map[string]*node // nil for a file
	holder  *memFile         // of the lock
	ordered []part           // data that goes to the disk with the next name
	onDisk  disk
}

type disk struct {
	mtime   time.Time
	data    []byte
	entries map[string]*node
}

// NewMem makes an empty file system with a terabyte of space.
func NewMem() *Mem {
	m := &Mem{Space: 1 << 40, open: map[*memFile]bool{}, faults: map[int]Fault{}, crashAt: -1}
	m.root = m.newNode(fs.ModeDir | 0o700)
	return m
}

func (m *Mem) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

func (m *Mem) newNode(mode fs.FileMode) *node {
	m.lastIno++
	n := &node{ino: m.lastIno, mode: mode}
	n.modified(m.now())
	n.onDisk.mtime = n.mtime
	if mode.IsDir() {
		n.entries, n.onDisk.entries = map[string]*node{}, map[string]*node{}
	}
	return n
}

func (n *node) modified(now time.Time) { n.mtime, n.ctime = now, now }

// elements takes a name apart, as path.Clean has it.
func elements(name string) ([]string, error) {
	if name == "" {
		return nil, syscall.ENOENT
	}
	if strings.IndexByte(name, 0) >= 0 {
		return nil, syscall.EINVAL
	}
	elems := make([]string, 0, 8)
	for e := range strings.SplitSeq(name, "/") {
		switch {
		case e == "" || e == ".":
		case e == "..":
			elems = elems[:max(0, len(elems)-1)]
		case len(e) > 255:
			return nil, syscall.ENAMETOOLONG
		default:
			elems = append(elems, e)
		}
	}
	return elems, nil
}

func (m *Mem) walk(elems []string) (*node, error) {
	n := m.root
	for _, e := range elems {
		if n.entries == nil {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[e]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

func (m *Mem) find(name string) (*node, error) {
	elems, err := elements(name)
	if err != nil {
		return nil, err
	}
	return m.walk(elems)
}

func (m *Mem) findDir(name string) (*node, error) {
	n, err := m.find(name)
	if err == nil && n.entries == nil {
		return nil, syscall.ENOTDIR
	}
	return n, err
}

// place is where a name stands or may come to stand: its directory, the last element, and what is there (nil if
// nothing). The root has no place.
type place struct {
	dir  *node
	base string
	at   *node
}

func (m *Mem) place(name string) (place, error) {
	elems, err := elements(name)
	if err != nil {
		return place{}, err
	}
	if len(elems) == 0 {
		return place{}, syscall.EBUSY
	}
	last := len(elems) - 1
	dir, err := m.walk(elems[:last])
	if err != nil {
		return place{}, err
	}
	if dir.entries == nil {
		return place{}, syscall.ENOTDIR
	}
	return place{dir, elems[last], dir.entries[elems[last]]}, nil
}

// existing and vacant are place for a name that must be there, or must not be.
func (m *Mem) existing(name string) (place, error) {
	p, err := m.place(name)
	if err == nil && p.at == nil {
		err = syscall.ENOENT
	}
	return p, err
}

func (m *Mem) vacant(name string) (place, error) {
	p, err := m.place(name)
	if errors.Is(err, syscall.EBUSY) || err == nil && p.at != nil {
		err = syscall.EEXIST
	}
	return p, err
}

// change sets or removes (to is nil) one entry now, and gives the part of an effect that makes it durable.
func (m *Mem) change(p place, to *node) entryChange {
	if p.at != nil {
		p.at.links--
	}
	if to != nil {
		to.links++
		p.dir.entries[p.base] = to
	} else {
		delete(p.dir.entries, p.base)
	}
	p.dir.modified(m.now())
	return entryChange{p.dir, p.base, to}
}

// Create is FS.Create.
func (m *Mem) Create(name string) (f File, err error) {
	err = m.do(Call{Op: "create", Name: name}, func() error {
		p, err := m.vacant(name)
		if err == nil {
			f = m.makeFile(p, name)
		}
		return err
	})
	return fileOrNil(f, err), err
}

func (m *Mem) makeFile(p place, name string) *memFile {
	n := m.newNode(0o600)
	m.push("create "+name, m.change(p, n))
	return m.openNode(n, name)
}

func (m *Mem) openNode(n *node, name string) *memFile {
	f := &memFile{m: m, n: n, name: name, writable: true}
	m.open[f] = true
	return f
}

// fileOrNil drops the descriptor that a call made when it is to be told that the call failed.
func fileOrNil(f File, err error) File {
	mf, _ := f.(*memFile)
	if mf == nil {
		return nil
	}
	if err != nil {
		mf.m.mu.Lock()
		defer mf.m.mu.Unlock()
		mf.drop()
		return nil
	}
	return f
}

// Open is FS.Open.
func (m *Mem) Open(name string) (f File, err error) {
	err = m.do(Call{Op: "open", Name: name}, func() error {
		n, err := m.find(name)
		if err == nil && n.entries != nil {
			err = syscall.EISDIR
		}
		if err != nil {
			return err
		}
		mf := m.openNode(n, name)
		mf.writable = false
		f = mf
		return nil
	})
	return fileOrNil(f, err), err
}

// OpenAppend is FS.OpenAppend.
func (m *Mem) OpenAppend(name string) (f File, err error) {
	err = m.do(Call{Op: "append", Name: name}, func() error {
		p, err := m.place(name)
		switch {
		case errors.Is(err, syscall.EBUSY), err == nil && p.at != nil && p.at.entries != nil:
			return syscall.EISDIR
		case err != nil:
			return err
		}
		var mf *memFile
		if p.at == nil {
			mf = m.makeFile(p, name)
		} else {
			mf = m.openNode(p.at, name)
		}
		mf.append = true
		f = mf
		return nil
	})
	return fileOrNil(f, err), err
}

// Link is FS.Link.
func (m *Mem) Link(old, new string) error {
	return m.do(Call{"link", old, new}, func() error {
		from, err := m.existing(old)
		if err != nil {
			return err
		}
		if from.at.entries != nil {
			return syscall.EPERM
		}
		to, err := m.vacant(new)
		if err == nil {
			m.push("link "+new, m.change(to, from.at))
		}
		return err
	})
}

// Rename is FS.Rename.
func (m *Mem) Rename(old, new string) error {
	return m.do(Call{"rename", old, new}, func() error { return m.rename(old, new, m.place) })
}

// Move is FS.Move.
func (m *Mem) Move(old, new string) error {
	return m.do(Call{"move", old, new}, func() error { return m.rename(old, new, m.vacant) })
}

func (m *Mem) rename(old, new string, target func(string) (place, error)) error {
	from, err := m.existing(old)
	if err != nil {
		return err
	}
	to, err := target(new)
	if err != nil {
		return err
	}
	if to.at == from.at {
		return nil // rename(2): two names of one file stay as they are
	}
	if err := mayReplace(from.at, to.at); err != nil {
		return err
	}
	if from.at.entries != nil && strings.HasPrefix(path.Clean("/"+new)+"/", path.Clean("/"+old)+"/") {
		return syscall.EINVAL
	}
	what := "rename " + old + " " + new
	set, del := m.change(to, from.at), m.change(from, nil)
	if m.SplitRenames && from.dir != to.dir {
		m.push(what+" (new name)", set)
		m.push(what+" (old name)", del)
		return nil
	}
	m.push(what, set, del)
	return nil
}

func mayReplace(n, old *node) error {
	switch {
	case old == nil:
		return nil
	case n.entries == nil && old.entries != nil:
		return syscall.EISDIR
	case n.entries != nil && old.entries == nil:
		return syscall.ENOTDIR
	case len(old.entries) > 0:
		return syscall.ENOTEMPTY
	}
	return nil
}

// Remove is FS.Remove.
func (m *Mem) Remove(name string) error {
	return m.do(Call{Op: "remove", Name: name}, func() error {
		p, err := m.existing(name)
		if err != nil {
			return err
		}
		if len(p.at.entries) > 0 {
			return syscall.ENOTEMPTY
		}
		m.push("remove "+name, m.change(p, nil))
		return nil
	})
}

// Mkdir is FS.Mkdir.
func (m *Mem) Mkdir(name string) error {
	return m.do(Call{Op: "mkdir", Name: name}, func() error {
		p, err := m.vacant(name)
		if err == nil {
			m.push("mkdir "+name, m.change(p, m.newNode(fs.ModeDir|0o700)))
		}
		return err
	})
}

// ReadDirNames is FS.ReadDirNames. The order is always the same, and not the one that a caller would like.
func (m *Mem) ReadDirNames(name string) (names []string, err error) {
	err = m.do(Call{Op: "readdir", Name: name}, func() error {
		n, err := m.findDir(name)
		if err == nil {
			names = slices.Sorted(maps.Keys(n.entries))
			slices.Reverse(names)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// Lstat is FS.Lstat.
func (m *Mem) Lstat(name string) (fi fs.FileInfo, err error) {
	err = m.do(Call{Op: "lstat", Name: name}, func() error {
		n, err := m.find(name)
		if err == nil {
			fi = n.info(name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return fi, nil
}

func (n *node) info(name string) *info {
	size := int64(len(n.data) + 32*len(n.entries)) // directories grow with their names, as they do elsewhere
	return &info{name: path.Base(name), size: size, mode: n.mode, mtime: n.mtime, atime: n.mtime, ctime: n.ctime,
		ino: n.ino, links: n.links}
}

// Chtimes is FS.Chtimes.
func (m *Mem) Chtimes(name string, mtime time.Time) error {
	return m.do(Call{Op: "chtimes", Name: name}, func() error {
		n, err := m.find(name)
		if err == nil {
			n.mtime, n.ctime = mtime, m.now()
			m.push("chtimes "+name, timeChange{n, mtime})
		}
		return err
	})
}

// SyncDir is FS.SyncDir.
func (m *Mem) SyncDir(name string) error {
	return m.do(Call{Op: "syncdir", Name: name}, func() error {
		n, err := m.findDir(name)
		if err == nil {
			m.settle(func(p part) bool { return p.inDir(n) }, true)
		}
		return err
	})
}

// Writable is FS.Writable. What is not writable is what a fault makes so.
func (m *Mem) Writable(name string) error {
	return m.do(Call{Op: "access", Name: name}, func() error {
		_, err := m.find(name)
		return err
	})
}

// Free is FS.Free.
func (m *Mem) Free(name string) (free uint64, err error) {
	err = m.do(Call{Op: "statfs", Name: name}, func() error {
		_, err := m.find(name)
		free = m.Space
		return err
	})
	if err != nil {
		return 0, err
	}
	return free, nil
}

// Chmod changes the permission bits, for tests of programs that look at them. It is neither counted nor ever lost.
func (m *Mem) Chmod(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil {
		n.mode = n.mode.Type() | perm.Perm()
	}
	return pathError("chmod", name, err)
}

// OpenFiles gives the names of the files that are open, sorted: a test of leaks.
func (m *Mem) OpenFiles() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for f := range m.open {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

// Tree lists all files and directories, sorted, one a line: "name/" or "name size". For messages and comparisons.
func (m *Mem) Tree() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	m.root.list(&b, "")
	return b.String()
}

func (n *node) list(b *strings.Builder, prefix string) {
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		child := n.entries[name]
		if child.entries == nil {
			fmt.Fprintf(b, "%s%s %d\n", prefix, name, len(child.data))
			continue
		}
		fmt.Fprintf(b, "%s%s/\n", prefix, name)
		child.list(b, prefix+name+"/")
	}
}

// memFile is an open file of Mem.
type memFile struct {
	m                *Mem
	n                *node
	name             string
	off              int64
	writable, append bool
	closed           bool
}

// drop gives up the descriptor and its lock.
func (f *memFile) drop() {
	f.closed = true
	delete(f.m.open, f)
	if f.n.holder == f {
		f.n.holder = nil
	}
}

// do is one counted call on the open file.
func (f *memFile) do(op string, call func() error) error {
	return f.m.doRequest(request{Call: Call{Op: op, Name: f.name}, file: f}, func(int) error {
		if f.closed {
			return fs.ErrClosed
		}
		return call()
	})
}

func (f *memFile) Read(p []byte) (n int, err error) {
	err = f.do("read", func() error {
		if f.off < int64(len(f.n.data)) {
			n = copy(p, f.n.data[f.off:])
		}
		f.off += int64(n)
		return nil
	})
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.do("read", func() error {
		if off < 0 {
			return syscall.EINVAL
		}
		if off < int64(len(f.n.data)) {
			n = copy(p, f.n.data[off:])
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(p []byte) (n int, err error) {
	call := request{Call: Call{Op: "write", Name: f.name}, octets: len(p), file: f}
	err = f.m.doRequest(call, func(part int) error {
		switch {
		case f.closed:
			return fs.ErrClosed
		case !f.writable:
			return syscall.EBADF
		}
		f.write(p[:part])
		n = part
		return nil
	})
	return n, err
}

func (f *memFile) write(p []byte) {
	if f.append {
		f.off = int64(len(f.n.data))
	}
	if len(p) > 0 {
		w := dataChange{f.n, f.off, slices.Clone(p)}
		f.n.data = w.on(f.n.data)
		f.m.push(fmt.Sprintf("write %s %d+%d", f.name, f.off, len(p)), w)
	}
	f.n.modified(f.m.now())
	f.off += int64(len(p))
}

func (f *memFile) Stat() (fi fs.FileInfo, err error) {
	err = f.do("stat", func() error {
		fi = f.n.info(f.name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return fi, nil
}

func (f *memFile) Truncate(size int64) error {
	return f.do("truncate", func() error {
		if !f.writable || size < 0 {
			return syscall.EINVAL
		}
		t := sizeChange{f.n, size}
		f.n.data = t.on(f.n.data)
		f.n.modified(f.m.now())
		f.m.push(fmt.Sprintf("truncate %s %d", f.name, size), t)
		return nil
	})
}

func (f *memFile) Sync() error {
	return f.do("sync", func() error {
		f.m.settle(func(p part) bool { return p.ofFile(f.n) }, true)
		f.n.onDisk.mtime = f.n.mtime
		return nil
	})
}

func (f *memFile) Order() error {
	return f.do("order", func() error {
		f.n.ordered = nil
		for _, e := range f.m.pending {
			for _, p := range e.parts {
				if p.ofFile(f.n) {
					f.n.ordered = append(f.n.ordered, orderedChange{p})
				}
			}
		}
		f.n.ordered = append(f.n.ordered, orderedChange{timeChange{f.n, f.n.mtime}})
		return nil
	})
}

func (f *memFile) Lock() error {
	return f.do("lock", func() error {
		if f.n.holder != nil && f.n.holder != f {
			return ErrLocked
		}
		f.n.holder = f
		return nil
	})
}

func (f *memFile) Close() error {
	return f.do("close", func() error {
		f.drop()
		return nil
	})
}
