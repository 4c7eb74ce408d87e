// Package vfs is the small part of a file system that mail stands on, behind an interface, so that every durable
// operation can be run against a file system that fails or loses power on cue.
//
// [OS] is the real one, [Mem] the one for tests, [Trials] runs an operation against everything that can go wrong, and
// [Grouped] lets concurrent callers share the syncs of directories. Names are slash-separated paths as the operating
// system takes them. Errors are *fs.PathError or *os.LinkError around a syscall.Errno, so errors.Is(err, fs.ErrNotExist)
// and errors.Is(err, syscall.ENOSPC) work on both.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
	"time"

	"mailx/pkg/mail"
)

// FS is safe for concurrent use.
type FS interface {
	// Create makes a file for writing and reading that did not exist (O_CREAT|O_EXCL|O_NOFOLLOW), mode 0600.
	Create(name string) (File, error)
	// Open opens an existing file for reading; it follows no symbolic link in the last element, and never blocks on
	// a FIFO.
	Open(name string) (File, error)
	// OpenAppend opens for appending and reading, making the file (0600) if it is not there. For side files and locks.
	OpenAppend(name string) (File, error)
	// Link makes a second name; it fails with fs.ErrExist rather than replace.
	Link(old, new string) error
	// Rename replaces new if it exists. Move is what to use where nothing may be lost.
	Rename(old, new string) error
	// Move renames and fails with fs.ErrExist rather than replace (renameat2 RENAME_NOREPLACE, else link and unlink).
	Move(old, new string) error
	Remove(name string) error
	// Mkdir makes one directory, mode 0700.
	Mkdir(name string) error
	// ReadDirNames gives the names in a directory in no order, without "." and "..", and without stat on any. The names
	// of a large directory share memory: strings.Clone the few that are kept long.
	ReadDirNames(name string) ([]string, error)
	// Lstat does not follow a symbolic link.
	Lstat(name string) (fs.FileInfo, error)
	// Chtimes sets the modification time (and the access time to the same).
	Chtimes(name string, mtime time.Time) error
	// SyncDir makes the entries of a directory durable.
	SyncDir(name string) error
	// Writable says why names can't be made and taken away in a directory, as far as that shows before it is tried: a file
	// system that is read-only, no permission. Nil is no promise.
	Writable(name string) error
	// Free gives the octets that this process may still use on the file system of name.
	Free(name string) (uint64, error)
}

// File is an open regular file. Close reports what write-back had to say; check it after writing.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	// Sync makes the data durable. When it has failed, the data is lost for good: write a new file, never sync again.
	Sync() error
	// Order has the data on the disk no later than any name that the file is given afterwards: when SyncDir has made such a
	// name durable, so is the data under it, and no name survives a loss of power without it. That is less than Sync
	// promises, and takes no commit of the journal of its own. Where a file system does not warrant it, Order is Sync; an
	// error is as final as one of Sync.
	Order() error
	// Lock takes the flock of the file without waiting; ErrLocked says that somebody else has it. Closing gives it back.
	Lock() error
}

// ErrLocked says that another process, or another open file of this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// MkdirAll makes name and what is missing above it, and syncs every directory in which it made one.
func MkdirAll(fsys FS, name string) error {
	switch fi, err := fsys.Lstat(name); {
	case err == nil && (fi.IsDir() || fi.Mode()&fs.ModeSymlink != 0):
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := dirOf(name)
	if parent != name {
		if err := MkdirAll(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}

func dirOf(name string) string {
	end := len(name)
	for end > 1 && name[end-1] == '/' {
		end--
	}
	for end > 0 && name[end-1] != '/' {
		end--
	}
	for end > 1 && name[end-1] == '/' {
		end--
	}
	if end == 0 {
		return "."
	}
	return name[:end]
}

// ReadFile reads a whole file of at most max octets; a larger one is EFBIG.
func ReadFile(fsys FS, name string, max int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EFBIG}
	}
	return b, err
}

// WriteFile makes or replaces a file so that after a crash the old or the new content is there, whole: a temporary
// file beside it (the name with a unique ending), sync, rename, sync of the directory.
func WriteFile(fsys FS, name, unique string, data []byte) (err error) {
	tmp := name + "." + unique + ".tmp"
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fsys.Remove(tmp)
		}
	}()
	if err = writeSyncClose(f, data); err != nil {
		return err
	}
	if err = fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(dirOf(name))
}

func writeSyncClose(f File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Classify turns an error of a file system into a mail.Error that is always temporary (R5 of the reliability contract):
// trouble with a disk is ours, never the sender's. An error that already has a status stays as it is.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	var e *mail.Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return mail.Temporaryf(3, 1, "Insufficient system storage: %w", err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return mail.Temporaryf(3, 2, "System is short of resources: %w", err)
	default:
		return mail.Temporaryf(3, 0, "Local storage trouble: %w", err)
	}
}
