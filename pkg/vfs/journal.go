package vfs

import (
	"fmt"
	"os"
	"path"
	"sync"

	"golang.org/x/sys/unix"
)

// journals knows the file systems whose changes become durable in the order in which they were made: ext4 with a journal
// (jbd2). There a page that has been written back has its extents and the size of its file in the running transaction, and
// whatever happens to a directory after that is in this transaction or a later one. An ext2, or an ext4 that was made
// without a journal, has the same type, so the journal itself is looked for. What is not known is not trusted.
type journals struct {
	mu    sync.Mutex
	known map[unix.Fsid]bool
}

// extMagic is the type of ext2, ext3 and ext4 in statfs(2).
const extMagic = 0xEF53

func (j *journals) keepOrder(fd int) bool {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &st) }); err != nil || st.Type != extMagic {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	isKept, isKnown := j.known[st.Fsid]
	if !isKnown {
		if j.known == nil {
			j.known = map[unix.Fsid]bool{}
		}
		isKept = hasJournal(fd)
		j.known[st.Fsid] = isKept
	}
	return isKept
}

// hasJournal finds the journal by the name of the device, in /proc/fs/jbd2/sda1-8: 8 is the inode that it always has. One on
// a device of its own has another name, and is not found.
func hasJournal(fd int) bool {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return false
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return false
	}
	return unix.Access("/proc/fs/jbd2/"+path.Base(device)+"-8", unix.F_OK) == nil
}
