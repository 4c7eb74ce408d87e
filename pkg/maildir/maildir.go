// Package maildir reads and writes Maildirs (cr.yp.to/proto/maildir.html) and their Maildir++ folders, together with
// any other program that does.
//
// A delivery is written in tmp/, put in order (see vfs.File) or synced, renamed or linked into new/ (or cur/), and the
// directory is synced; only then Commit says that all is well. A message is in new/ or cur/ whole or not at all, whatever
// fails and whenever the power goes, and no name is ever written over. Messages are stored in local form: lines end in LF.
//
// The unique part of a name is never changed, so it is what identifies a message for good; what follows ":2," are the
// flags, and any program may change them, or move the message from new/ to cur/, at any time.
package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"syscall"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// Dir is one Maildir, an inbox or a folder. It is safe for concurrent use; set the fields before the first call.
// Folders take the fields over.
type Dir struct {
	Host    string           // in names of messages; the name of this host if empty
	Reserve uint64           // octets that must be free when a delivery starts; 0: any number will do
	Now     func() time.Time // time.Now if nil
	Quota   func() Quota     // limits of the mailbox, the inbox with its folders; nil: none

	fsys  vfs.FS
	path  string
	inbox string // path of the inbox, for a folder; "" for an inbox

	mu       sync.Mutex
	moved    map[string]Message // by Base: as last found when one was not where it had been
	searched string             // what the directories looked like then, if that tells of any later change
	removed  Usage              // since the last Sync, negative
}

// Create makes a Maildir, with the directories above it, or completes one, and opens it. All of it is durable then. It
// refuses a directory that others may write to, and says what to do about it.
//
// It makes tmp/ last, after the rest is durable: whoever finds tmp/, in this process or another, can rely on the rest.
// A Maildir without tmp/ can be read, and the first delivery completes it.
func Create(fsys vfs.FS, name string) (*Dir, error) {
	return create(fsys, name, nil)
}

// create makes files in the Maildir as well.
func create(fsys vfs.FS, name string, files []string) (*Dir, error) {
	d := &Dir{fsys: fsys, path: path.Clean(name)}
	err := vfs.MkdirAll(fsys, d.path)
	if err == nil {
		err = d.refuseShared()
	}
	if err == nil {
		err = errors.Join(d.check(), d.isDir("tmp"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.complete(files); err == nil {
			err = d.check()
		}
	}
	if err != nil {
		return nil, vfs.Classify(err)
	}
	return d, nil
}

// complete makes what is missing in the directory of the Maildir.
func (d *Dir) complete(files []string) error {
	// The directory may have been made a moment ago by somebody who was killed before he could sync it. One that may
	// not be read was not made by us.
	if err := d.fsys.SyncDir(path.Dir(d.path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for _, name := range files {
		if err := d.touch(name); err != nil {
			return err
		}
	}
	for _, sub := range [...]string{"new", "cur"} {
		if err := d.mkdir(sub); err != nil {
			return err
		}
	}
	if err := d.fsys.SyncDir(d.path); err != nil {
		return err
	}
	if err := d.mkdir("tmp"); err != nil {
		return err
	}
	return d.fsys.SyncDir(d.path)
}

func (d *Dir) mkdir(sub string) error {
	err := d.fsys.Mkdir(d.join(sub))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// touch makes an empty file.
func (d *Dir) touch(name string) error {
	f, err := d.fsys.Create(d.join(name))
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return f.Close()
}

// refuseShared looks through a symbolic link that leads to the Maildir, at what it leads to.
func (d *Dir) refuseShared() error {
	fi, err := d.fsys.Lstat(d.path + "/.")
	if err != nil {
		return err
	}
	if perm := fi.Mode().Perm(); perm&0o022 != 0 {
		err := fmt.Errorf("%s is mode %04o: others may write to it; make it safe with: chmod go-w %s", d.path, perm, d.path)
		return mail.Temporaryf(3, 5, "Mail storage is not set up safely: %w", err)
	}
	return nil
}

// Open opens a Maildir. The error wraps fs.ErrNotExist if there is none. It costs three lstat calls.
func Open(fsys vfs.FS, name string) (*Dir, error) {
	d := &Dir{fsys: fsys, path: path.Clean(name)}
	if err := d.check(); err != nil {
		return nil, vfs.Classify(err)
	}
	return d, nil
}

// check wants the directories, none of them through a symbolic link that could lead out of the tree.
func (d *Dir) check() error {
	for _, sub := range [...]string{"new", "cur", "tmp"} {
		err := d.isDir(sub)
		if err != nil && !(sub == "tmp" && errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("%s is not a Maildir: %w", d.path, err)
		}
	}
	return nil
}

func (d *Dir) isDir(sub string) error { return IsDir(d.fsys, d.join(sub)) }

// IsDir wants a directory to which no symbolic link leads. The error for another thing wraps ENOTDIR.
func IsDir(fsys vfs.FS, name string) error {
	fi, err := fsys.Lstat(name)
	switch {
	case err != nil || fi.IsDir():
		return err
	case fi.Mode()&fs.ModeSymlink == 0:
		return &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	return fmt.Errorf("%s is a symbolic link, which could lead anywhere: have a directory in its place, rm %s && mkdir -m 700 %s: %w",
		name, name, name, syscall.ENOTDIR)
}

// Check is what Open does, for a Maildir that has been open for long.
func (d *Dir) Check() error { return vfs.Classify(d.check()) }

// Path gives the directory that has tmp/, new/ and cur/.
func (d *Dir) Path() string { return d.path }

func (d *Dir) join(name string) string { return d.path + "/" + name }

func (d *Dir) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

// Sync makes renames and removals in the Maildir durable. Changes of flags and removals are not durable before it;
// deliveries are. It also writes removals down in maildirsize, if there is one.
func (d *Dir) Sync() error {
	d.settle()
	if err := d.fsys.SyncDir(d.join("cur")); err != nil {
		return vfs.Classify(err)
	}
	return vfs.Classify(d.fsys.SyncDir(d.join("new")))
}
