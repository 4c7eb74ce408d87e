package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"syscall"
	"time"

	"mailx/pkg/mbox"
)

// appendTo adds messages to an mbox, which is made if it is not there. The file is locked as other programs do that, with
// fcntl(2) and with flock(2), until all is on the disk; if not all of it can be written, nothing of it stays.
func (x *exporter) appendTo(name string) error {
	f, err := openLocked(x.ctx, name)
	if err != nil {
		return err
	}
	end, err := startOfAppend(f)
	if err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", name, err)
	}
	w := mbox.NewWriter(interruptible{x.ctx, f})
	x.addTo(w)
	x.drop = func() {
		f.Truncate(end)
		f.Close()
	}
	x.finish = func() error {
		err := w.Flush()
		if err == nil {
			err = f.Sync()
		}
		if err == nil && end == 0 {
			err = x.list.finder.fsys.SyncDir(path.Dir(name))
		}
		if err != nil {
			x.drop()
			return err
		}
		return f.Close()
	}
	return nil
}

// Waiting for who else writes to an mbox.
const (
	mboxPatience = 30 * time.Second
	mboxPause    = 50 * time.Millisecond
)

// openLocked opens a file that nobody else writes to meanwhile.
func openLocked(ctx context.Context, name string) (*os.File, error) {
	for left := mboxPatience; ; left -= mboxPause {
		f, err := openMbox(name)
		if err != nil {
			return nil, err
		}
		err = lockMbox(f)
		if err == nil && isStillThere(f, name) {
			return f, nil
		}
		f.Close()
		switch {
		case err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES):
			return nil, fmt.Errorf("%s: %w", name, err)
		case left <= 0:
			return nil, exitWith(exTempFail, fmt.Errorf("%s is locked by another program", name))
		}
		select {
		case <-ctx.Done():
			return nil, errInterrupted
		case <-time.After(mboxPause):
		}
	}
}

// openMbox opens a regular file; a FIFO does not keep it waiting.
func openMbox(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, exitWith(exCantCreate, err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = exitWith(exCantCreate, fmt.Errorf("%s is no regular file", name))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockMbox does not wait. EAGAIN or EACCES says that somebody has the file.
func lockMbox(f *os.File) error {
	whole := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &whole); err != nil {
		return err
	}
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// isStillThere reports that the name has not been given to another file, as those do who take the mail of an mbox.
func isStillThere(f *os.File, name string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(open, named)
}

// startOfAppend has an empty line stand at the end of an mbox, goes there, and gives the size that it had.
func startOfAppend(f *os.File) (size int64, err error) {
	size, err = f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return size, err
	}
	head, tail := make([]byte, len("From ")), make([]byte, min(size, 2))
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return size, err
	}
	if string(head) != "From " {
		return size, exitWith(exDataErr, errors.New("this is no mbox, and nothing is added to it"))
	}
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return size, err
	}
	switch {
	case string(tail) == "\n\n":
		return size, nil
	case tail[1] == '\n':
		_, err = f.WriteString("\n")
	default:
		_, err = f.WriteString("\n\n")
	}
	if err != nil {
		f.Truncate(size)
	}
	return size, err
}
