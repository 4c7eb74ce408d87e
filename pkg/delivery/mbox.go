package delivery

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mbox"
	"mailx/pkg/message"
	"mailx/pkg/vfs"
)

// Files appends messages to files in mbox format, for aliases that name one. Only regular files with one name are
// written to, never through a symbolic link at the end of the path, and never by root, who could be led to somebody
// else's file. A file that is not there is made, mode 0600.
//
// Who writes holds the file's flock and the lock file "name.lock" beside it, as the programs that read such files do; in a
// directory where no file can be made, the flock must do. The text is quoted as mboxrd: a ">" goes before lines that begin with
// "From ", however many ">" are there already. What can't be written whole is cut off again.
type Files struct {
	FS    vfs.FS
	Now   func() time.Time    // time.Now if nil
	Sleep func(time.Duration) // time.Sleep if nil
	Root  func() bool         // whether this process is root; asks the system if nil
}

// How a lock is waited for, and when a lock file was left behind by somebody who was killed.
const (
	mboxTries     = 50
	mboxPause     = 100 * time.Millisecond
	staleLockFile = 500 * time.Second
)

var errRootFile = errors.New("files of aliases are not written by root: run the queue as the owner of the spool")

// deliver appends a message, durably. Errors are temporary, and then the file is as it was, unless the power went.
func (f *Files) deliver(name string, sender mail.Address, msg io.Reader) error {
	if f.isRoot() {
		return misconfigured(errRootFile)
	}
	unlock, err := f.lockFile(name + ".lock")
	if err != nil {
		return f.trouble(err)
	}
	defer unlock()
	file, size, err := f.open(name)
	if err != nil {
		return f.trouble(err)
	}
	if err = f.add(file, size, sender, msg); err == nil {
		err = file.Sync()
	}
	if err != nil {
		file.Truncate(size) // what can't be cut off begins with "From " and ends with the next one, as all mail in the file
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil && size == 0 {
		err = f.FS.SyncDir(path.Dir(name))
	}
	return f.trouble(err)
}

func (f *Files) isRoot() bool {
	if f.Root != nil {
		return f.Root()
	}
	return os.Geteuid() == 0
}

func (f *Files) trouble(err error) error {
	if errors.Is(err, vfs.ErrLocked) {
		return mail.Temporaryf(2, 0, "Mailbox is locked by another program: %w", err)
	}
	return vfs.Classify(err)
}

// open gives the file with its flock, and its size.
func (f *Files) open(name string) (file vfs.File, size int64, err error) {
	file, err = f.FS.OpenAppend(name)
	if err != nil {
		return nil, 0, err
	}
	if err = f.again(file.Lock); err == nil {
		size, err = f.look(file, name)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, size, nil
}

// look wants that the name still leads to the file that was locked, and no other name does.
func (f *Files) look(file vfs.File, name string) (int64, error) {
	fi, err := file.Stat()
	if err != nil {
		return 0, err
	}
	now, err := f.FS.Lstat(name)
	switch {
	case err != nil:
		return 0, err
	case !vfs.SameFile(fi, now):
		return 0, fmt.Errorf("%s was replaced while it was locked", name)
	case !fi.Mode().IsRegular() || vfs.Links(fi) != 1:
		return 0, misconfigured(fmt.Errorf("%s is not a regular file with one name", name))
	}
	return fi.Size(), nil
}

// again tries for a lock.
func (f *Files) again(lock func() error) error {
	for i := 0; ; i++ {
		err := lock()
		if i == mboxTries || !errors.Is(err, vfs.ErrLocked) {
			return err
		}
		if f.Sleep != nil {
			f.Sleep(mboxPause)
		} else {
			time.Sleep(mboxPause)
		}
	}
}

// lockFile makes the lock file, and gives what removes it again.
func (f *Files) lockFile(name string) (unlock func(), err error) {
	err = f.again(func() error { return f.makeLock(name) })
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return func() {}, nil
	case err != nil:
		return nil, err
	}
	return func() { f.FS.Remove(name) }, nil
}

// makeLock says ErrLocked while somebody else has it.
func (f *Files) makeLock(name string) error {
	file, err := f.FS.Create(name)
	switch {
	case err == nil:
		return file.Close()
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	fi, err := f.FS.Lstat(name)
	if err == nil && now(f.Now).Sub(fi.ModTime()) > staleLockFile {
		f.FS.Remove(name)
	}
	return &fs.PathError{Op: "lock", Path: name, Err: vfs.ErrLocked}
}

// add writes the message behind what is there.
func (f *Files) add(file vfs.File, size int64, sender mail.Address, msg io.Reader) error {
	gap, err := gapAfter(file, size)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 16<<10)
	w.WriteString(gap)
	w.WriteString(fromLine(sender, now(f.Now)))
	quoted := mbox.NewQuoter(w)
	quoted.Write(message.AppendReturnPath(nil, sender))
	if _, err := io.Copy(quoted, msg); err != nil {
		return err
	}
	quoted.Close()
	return w.Flush() // whose error is that of any write before
}

// gapAfter is what is missing so that an empty line ends what is there: a crash may have cut it short.
func gapAfter(file vfs.File, size int64) (string, error) {
	end := make([]byte, min(size, 2))
	if _, err := file.ReadAt(end, size-int64(len(end))); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	switch {
	case size == 0 || string(end) == "\n\n":
		return "", nil
	case end[len(end)-1] == '\n':
		return "\n", nil
	}
	return "\n\n", nil
}

// fromLine is the line that begins a message in an mbox.
func fromLine(sender mail.Address, at time.Time) string {
	name := ""
	if !sender.IsNull() {
		name = sender.String()
	}
	return string(mbox.AppendFrom(nil, name, at))
}
