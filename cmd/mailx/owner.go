package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// When root changes what belongs to the user that the servers run as, that user must be able to go on working with it.
// mailFS is the file system for that: what root makes gets the owner of the file that it replaces, or of the directory
// that it is made in. For everybody else it is the plain file system.
func mailFS(replaces string) vfs.FS {
	if os.Geteuid() != 0 {
		return vfs.OS()
	}
	return ownerFS{vfs.OS(), replaces}
}

// routedMailbox is mailbox for a path that the router gave, which may stand in an alias file. Root keeps out of the directories
// of other people: a link in them could lead it anywhere, and what it stored they could not read.
func (s *system) routedMailbox(name string) (*maildir.Dir, error) {
	if os.Geteuid() == 0 && path.Dir(name) != path.Clean(s.cfg.MailRoot) {
		if err := rootsAlone(name); err != nil {
			return nil, mail.Temporaryf(3, 5, "Local configuration error: %w", err)
		}
	}
	return s.mailbox(name)
}

// rootsAlone wants all of a path, as far as it is there, to belong to root.
func rootsAlone(name string) error {
	for p := path.Clean(name); ; p = path.Dir(p) {
		fi, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case fi.Sys().(*syscall.Stat_t).Uid != 0:
			return fmt.Errorf("root does not deliver to %s, as %s is not root's: have the servers run as its owner (--run-as)", name, p)
		}
		if p == path.Dir(p) {
			return nil
		}
	}
}

// ownerFS gives what it makes away.
type ownerFS struct {
	vfs.FS
	replaces string // a file whose owner files beside it get; "" or not there: the owner of the directory
}

func (o ownerFS) Create(name string) (vfs.File, error) {
	f, err := o.FS.Create(name)
	if err != nil {
		return nil, err
	}
	if err := o.giveAway(name, 0); err != nil {
		f.Close()
		o.FS.Remove(name)
		return nil, err
	}
	return f, nil
}

func (o ownerFS) OpenAppend(name string) (vfs.File, error) {
	_, missing := o.FS.Lstat(name)
	f, err := o.FS.OpenAppend(name)
	if err == nil && missing != nil {
		err = o.giveAway(name, 0)
	}
	if err != nil && f != nil {
		f.Close()
		return nil, err
	}
	return f, err
}

func (o ownerFS) Mkdir(name string) error {
	if err := o.FS.Mkdir(name); err != nil {
		return err
	}
	if err := o.giveAway(name, syscall.O_DIRECTORY); err != nil {
		o.FS.Remove(name)
		return err
	}
	return nil
}

// owner is whose a new file is to be.
func (o ownerFS) owner(name string) (*syscall.Stat_t, error) {
	if o.replaces != "" && path.Dir(o.replaces) == path.Dir(name) {
		if fi, err := os.Lstat(o.replaces); err == nil && fi.Mode().IsRegular() {
			return fi.Sys().(*syscall.Stat_t), nil
		}
	}
	fi, err := os.Stat(path.Dir(name))
	if err != nil {
		return nil, err
	}
	return fi.Sys().(*syscall.Stat_t), nil
}

// giveAway changes the owner of what was just made. The owner of the directory may have put something else in its place
// meanwhile: only what is root's, has one name and is a plain file or a directory is given away, by its descriptor.
func (o ownerFS) giveAway(name string, flags int) error {
	if os.Geteuid() != 0 { // any more: see --run-as
		return nil
	}
	to, err := o.owner(name)
	if err != nil || to.Uid == 0 && to.Gid == 0 {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st := fi.Sys().(*syscall.Stat_t)
	if st.Uid != 0 || !fi.IsDir() && (!fi.Mode().IsRegular() || st.Nlink != 1 || fi.Size() != 0) {
		return fmt.Errorf("%s was replaced while it was made", name)
	}
	return f.Chown(int(to.Uid), int(to.Gid))
}
