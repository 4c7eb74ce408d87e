package maildir

import (
	"io/fs"
	"strconv"
	"strings"

	"mailx/pkg/vfs"
)

// SharesMailbox reports that both are in one mailbox: the inbox and its folders, or two of these.
func (d *Dir) SharesMailbox(other *Dir) bool {
	if d.top() == other.top() {
		return true
	}
	a, aerr := d.fsys.Lstat(d.top() + "/cur")
	b, berr := d.fsys.Lstat(other.top() + "/cur")
	return aerr == nil && berr == nil && vfs.SameFile(a, b)
}

// Inbox gives the path of the Maildir that this one is a folder of, and its own path for one that is no folder.
func (d *Dir) Inbox() string { return d.top() }

// Stat looks at the file of a message, wherever it is by now. The error wraps fs.ErrNotExist if it is gone.
func (d *Dir) Stat(m Message) (now Message, fi fs.FileInfo, err error) {
	err = d.at(m, func(m Message) (err error) {
		now = m
		fi, err = d.fsys.Lstat(d.join(m.File))
		return err
	})
	return now, fi, err
}

// MoveTo moves a message into another Maildir by renaming its file: it keeps its flags and times, and stays new if it was. It
// keeps its name too, unless base is another unique part. Nothing is written over: a name that is taken there is
// fs.ErrExist, and another file system EXDEV; then the message is where it was. No power loss leaves it in neither Maildir.
// Sync of both, to first, makes the move durable. The quota of to is not looked at.
func (d *Dir) MoveTo(to *Dir, m Message, base string) (now Message, err error) {
	leaves := !d.SharesMailbox(to)
	var size int64
	err = d.at(m, func(m Message) error {
		name := m.Name
		if base != "" {
			name.Base = base
		}
		now = newMessage(m.File[:len("new/")] + name.String())
		if leaves {
			size = d.sizeOf(m)
		}
		return d.fsys.Move(d.join(m.File), to.join(now.File))
	})
	if err != nil {
		return m, err
	}
	if leaves {
		d.forget(size)
	}
	return now, nil
}

// NewBase gives a message another unique part: with the time of its arrival, so that it keeps its place in the order of
// delivery, and with the sizes that its name has.
func (d *Dir) NewBase(m Message) string {
	fresh := unique(d.now(), d.host())
	if sec := arrivalOf(m.Base).sec; sec != noArrival {
		_, rest, _ := strings.Cut(fresh, ".")
		fresh = strconv.FormatInt(sec, 10) + "." + rest
	}
	if m.Size >= 0 {
		fresh += ",S=" + strconv.FormatInt(m.Size, 10)
	}
	if m.Wire >= 0 {
		fresh += ",W=" + strconv.FormatInt(m.Wire, 10)
	}
	return fresh
}
