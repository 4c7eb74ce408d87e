package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"mailx/pkg/vfs"
)

// SetFlags gives a message exactly these of the standard flags (D F P R S T); flags that are not standard stay, and new
// ones may be among those given. A message in new/ goes to cur/. It gives the message as it is then. Sync makes the
// change durable.
func (d *Dir) SetFlags(m Message, flags string) (Message, error) {
	return d.ChangeFlags(m, flags, without(standardFlags, flags))
}

// ChangeFlags adds and removes flags, whatever others do to the rest meanwhile; removing wins. Otherwise like SetFlags.
func (d *Dir) ChangeFlags(m Message, add, remove string) (now Message, err error) {
	if !wellFormed(add) {
		return m, fmt.Errorf("bad flags %q for %s", add, m.Base)
	}
	err = d.at(m, func(m Message) error {
		now = newMessage("cur/" + m.withFlags(without(m.Flags+add, remove)).String())
		if now.File == m.File {
			return d.exists(m)
		}
		return d.fsys.Move(d.join(m.File), d.join(now.File))
	})
	if err != nil {
		return m, err
	}
	return now, nil
}

// ToCur moves a message from new/ to cur/ as it is: a program that reads mail has seen it.
func (d *Dir) ToCur(m Message) (Message, error) { return d.ChangeFlags(m, "", "") }

func (d *Dir) exists(m Message) error {
	_, err := d.fsys.Lstat(d.join(m.File))
	return err
}

// Remove removes a message. The error wraps fs.ErrNotExist if it was gone already. Sync makes the removal durable.
func (d *Dir) Remove(m Message) error {
	return d.at(m, func(m Message) error {
		size := d.sizeOf(m)
		err := d.fsys.Remove(d.join(m.File))
		if err == nil {
			d.forget(size)
		}
		return err
	})
}

// sweepAge is how old files in tmp/ get (cr.yp.to/proto/maildir.html).
const sweepAge = 36 * time.Hour

// Sweep removes what deliveries that were killed left in tmp/: regular files that nobody wrote or read for 36 hours
// before now. It also ends removals of folders that were cut short. It gives the number of things it removed, and goes
// on after an error.
func (d *Dir) Sweep(now time.Time) (int, error) {
	names, err := d.fsys.ReadDirNames(d.join("tmp"))
	if err != nil {
		return 0, vfs.Classify(err)
	}
	swept, errs := 0, []error(nil)
	for _, name := range names {
		ok, err := d.sweepFile(d.join("tmp/"+name), now)
		if ok {
			swept++
		}
		errs = append(errs, err)
	}
	n, err := d.sweepFolders()
	return swept + n, vfs.Classify(errors.Join(append(errs, err)...))
}

func (d *Dir) sweepFile(name string, now time.Time) (bool, error) {
	fi, err := d.fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	deadline := now.Add(-sweepAge)
	if !fi.Mode().IsRegular() || fi.Name()[0] == '.' || fi.ModTime().After(deadline) ||
		vfs.AccessTime(fi).After(deadline) {
		return false, nil
	}
	err = d.fsys.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
