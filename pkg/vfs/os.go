package vfs

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// OS is the file system of the operating system (Linux), by direct system calls: no poller, no finalizers, nothing
// kept between calls but which disks have a journal. Calls that a signal interrupts are made again. Modes are exact
// whatever the umask is.
func OS() FS { return osFS{&journals{}} }

type osFS struct{ journals *journals }

// again makes a system call until no signal interrupts it.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func linkError(op, old, new string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: old, New: new, Err: err}
}

func openFD(name string, flags int) (fd int, err error) {
	flags |= unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
	err = again(func() (err error) {
		fd, err = unix.Openat(unix.AT_FDCWD, name, flags, 0o600)
		return err
	})
	return fd, err
}

// openRegular opens, and refuses what is not a regular file. A file that is new, or whose owner may not read and write
// it because the umask was odd when it was made, becomes 0600.
func (o osFS) openRegular(op, name string, flags int) (File, error) {
	fd, err := openFD(name, flags|unix.O_NOFOLLOW)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	if err := makeRegular(fd, flags); err != nil {
		unix.Close(fd)
		if flags&unix.O_EXCL != 0 {
			unix.Unlink(name)
		}
		return nil, pathError(op, name, err)
	}
	return &osFile{fd: fd, name: name, journals: o.journals}, nil
}

func makeRegular(fd, flags int) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.EINVAL
	}
	if flags&unix.O_CREAT == 0 || st.Mode&0o600 == 0o600 {
		return nil
	}
	err := again(func() error { return unix.Fchmod(fd, 0o600) })
	if flags&unix.O_EXCL == 0 {
		return nil // it opened, so it can be used, whoever owns it
	}
	return err
}

func (o osFS) Create(name string) (File, error) {
	return o.openRegular("create", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

// Open does not have the kernel note that the file was read, which it may ask for as the owner: nobody wants to know, and the
// first look at each message would write to the disk.
func (o osFS) Open(name string) (File, error) {
	f, err := o.openRegular("open", name, unix.O_RDONLY|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) {
		return o.openRegular("open", name, unix.O_RDONLY)
	}
	return f, err
}

func (o osFS) OpenAppend(name string) (File, error) {
	return o.openRegular("open", name, unix.O_RDWR|unix.O_CREAT|unix.O_APPEND)
}

func (osFS) Link(old, new string) error {
	err := again(func() error { return unix.Linkat(unix.AT_FDCWD, old, unix.AT_FDCWD, new, 0) })
	return linkError("link", old, new, err)
}

func (osFS) Rename(old, new string) error {
	err := again(func() error { return unix.Renameat(unix.AT_FDCWD, old, unix.AT_FDCWD, new) })
	return linkError("rename", old, new, err)
}

func (osFS) Move(old, new string) error {
	err := again(func() error {
		return unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, new, unix.RENAME_NOREPLACE)
	})
	if err == unix.EINVAL || err == unix.ENOSYS {
		err = moveByLink(old, new)
	}
	return linkError("move", old, new, err)
}

// moveByLink is Move where the file system (NFS) or the kernel has no RENAME_NOREPLACE.
func moveByLink(old, new string) error {
	err := again(func() error { return unix.Linkat(unix.AT_FDCWD, old, unix.AT_FDCWD, new, 0) })
	if err == unix.EPERM {
		return moveDir(old, new)
	}
	if err != nil {
		return err
	}
	if err = again(func() error { return unix.Unlink(old) }); err != nil {
		unix.Unlink(new)
	}
	return err
}

// moveDir renames a directory, which can't be linked. Between the look and the rename somebody may make an empty
// directory of that name, and then it is replaced: nothing is lost.
func moveDir(old, new string) error {
	var st unix.Stat_t
	switch err := again(func() error { return unix.Lstat(old, &st) }); {
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return unix.EPERM
	}
	switch err := again(func() error { return unix.Lstat(new, &st) }); {
	case err == nil:
		return unix.EEXIST
	case err != unix.ENOENT:
		return err
	}
	return again(func() error { return unix.Rename(old, new) })
}

func (osFS) Remove(name string) error {
	err := again(func() error { return unix.Unlinkat(unix.AT_FDCWD, name, 0) })
	if err == unix.EISDIR {
		err = again(func() error { return unix.Unlinkat(unix.AT_FDCWD, name, unix.AT_REMOVEDIR) })
	}
	return pathError("remove", name, err)
}

func (osFS) Mkdir(name string) error {
	err := again(func() error { return unix.Mkdirat(unix.AT_FDCWD, name, 0o700) })
	if err != nil {
		return pathError("mkdir", name, err)
	}
	var st unix.Stat_t
	if err := again(func() error { return unix.Lstat(name, &st) }); err != nil {
		return pathError("mkdir", name, err)
	}
	if st.Mode&0o700 == 0o700 {
		return nil
	}
	err = again(func() error { return unix.Fchmodat(unix.AT_FDCWD, name, 0o700, 0) })
	return pathError("mkdir", name, err)
}

func (osFS) Lstat(name string) (fs.FileInfo, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Lstat(name, &st) }); err != nil {
		return nil, pathError("lstat", name, err)
	}
	return newInfo(name, &st), nil
}

func (osFS) Chtimes(name string, mtime time.Time) error {
	ts, err := unix.TimeToTimespec(mtime)
	if err == nil {
		both := []unix.Timespec{ts, ts}
		err = again(func() error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, name, both, unix.AT_SYMLINK_NOFOLLOW)
		})
	}
	return pathError("chtimes", name, err)
}

func (osFS) SyncDir(name string) error {
	fd, err := openFD(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return pathError("syncdir", name, err)
	}
	err = again(func() error { return unix.Fsync(fd) })
	unix.Close(fd)
	return pathError("syncdir", name, err)
}

func (osFS) Writable(name string) error {
	err := again(func() error { return unix.Faccessat(unix.AT_FDCWD, name, unix.W_OK|unix.X_OK, unix.AT_EACCESS) })
	if err != nil {
		return pathError("access", name, err)
	}
	return nil
}

func (osFS) Free(name string) (uint64, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Statfs(name, &st) }); err != nil {
		return 0, pathError("statfs", name, err)
	}
	unit := st.Frsize
	if unit <= 0 {
		unit = st.Bsize
	}
	return st.Bavail * uint64(unit), nil
}

// A directory is read with a small buffer first, so that the many small ones stay cheap, then with a large one.
const (
	firstDirBuf = 8 << 10
	nextDirBuf  = 256 << 10
)

func (osFS) ReadDirNames(name string) ([]string, error) {
	fd, err := openFD(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	defer unix.Close(fd)
	var names []string
	for buf := make([]byte, firstDirBuf); ; {
		n := 0
		err := again(func() (err error) {
			n, err = unix.Getdents(fd, buf)
			return err
		})
		if err != nil {
			return nil, pathError("readdir", name, err)
		}
		if n <= 0 {
			return names, nil
		}
		names = appendNames(names, buf[:n])
		if n > len(buf)/2 && len(buf) < nextDirBuf {
			buf = make([]byte, nextDirBuf)
		}
	}
}

// Offsets in linux_dirent64: d_ino 8, d_off 8, d_reclen 2, d_type 1, then the name up to a NUL.
const (
	direntReclen = 16
	direntName   = 19
)

// appendNames adds the names of a block of directory entries. They share one string, which is what makes a large
// directory cheap.
func appendNames(names []string, block []byte) []string {
	all := string(block)
	for len(all) > direntName {
		length := int(binary.NativeEndian.Uint16(block[len(block)-len(all)+direntReclen:]))
		if length <= direntName || length > len(all) {
			break
		}
		entry := all[:length]
		all = all[length:]
		end := direntName
		for end < length && entry[end] != 0 {
			end++
		}
		if n := entry[direntName:end]; n != "." && n != ".." {
			names = append(names, n)
		}
	}
	return names
}

func newInfo(name string, st *unix.Stat_t) *info {
	return &info{
		name: path.Base(name), size: st.Size, mode: fileMode(st.Mode),
		mtime: time.Unix(st.Mtim.Unix()), atime: time.Unix(st.Atim.Unix()), ctime: time.Unix(st.Ctim.Unix()),
		dev: uint64(st.Dev), ino: st.Ino, links: uint64(st.Nlink),
		uid: st.Uid, gid: st.Gid,
	}
}

func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	if m&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// osFile is a plain descriptor. ReadAt may be called from several goroutines, the rest from one.
type osFile struct {
	fd       int
	name     string
	journals *journals
}

func (f *osFile) do(op string, call func() error) error {
	if f.fd < 0 {
		return pathError(op, f.name, fs.ErrClosed)
	}
	return pathError(op, f.name, again(call))
}

func (f *osFile) Read(p []byte) (n int, err error) {
	err = f.do("read", func() (err error) { n, err = unix.Read(f.fd, p); return err })
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *osFile) ReadAt(p []byte, off int64) (done int, err error) {
	for done < len(p) {
		n := 0
		err := f.do("read", func() (err error) { n, err = unix.Pread(f.fd, p[done:], off+int64(done)); return err })
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

func (f *osFile) Write(p []byte) (done int, err error) {
	for {
		n := 0
		err := f.do("write", func() (err error) { n, err = unix.Write(f.fd, p[done:]); return err })
		if err != nil {
			return done, err
		}
		done += n
		if done >= len(p) {
			return done, nil
		}
		if n == 0 {
			return done, pathError("write", f.name, io.ErrShortWrite)
		}
	}
}

func (f *osFile) Stat() (fs.FileInfo, error) {
	var st unix.Stat_t
	if err := f.do("stat", func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return nil, err
	}
	return newInfo(f.name, &st), nil
}

func (f *osFile) Truncate(size int64) error {
	return f.do("truncate", func() error { return unix.Ftruncate(f.fd, size) })
}

func (f *osFile) Sync() error {
	return f.do("sync", func() error { return unix.Fsync(f.fd) })
}

// Order waits until the data and what says where it is are with the disk or in the journal. A name that comes after them
// is in the same or in a later commit, and a commit has the disk empty its cache first.
func (f *osFile) Order() error {
	if f.fd < 0 || !f.journals.keepOrder(f.fd) {
		return f.Sync()
	}
	const whole = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return f.do("order", func() error { return unix.SyncFileRange(f.fd, 0, 0, whole) })
}

func (f *osFile) Lock() error {
	err := f.do("lock", func() error { return unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return pathError("lock", f.name, ErrLocked)
	}
	return err
}

// Close is never made again: Linux has freed the descriptor even when it says EINTR, and then nothing was wrong.
func (f *osFile) Close() error {
	if f.fd < 0 {
		return pathError("close", f.name, fs.ErrClosed)
	}
	err := unix.Close(f.fd)
	f.fd = -1
	if err == unix.EINTR {
		err = nil
	}
	return pathError("close", f.name, err)
}
