package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// A queue whose directory is removed while a server runs is made again by the next message, as it was made at the start. But a
// directory is missing, too, when its disk is not mounted, and what was put below the mount point then would be acknowledged, and
// out of sight as soon as the disk is back. So a queue remembers where it lives: nothing is made but in the directories that were
// there at the beginning, and no directory in the place of one that was on another disk. Else mail is refused for a time, until
// the disk is there, or a person has a command make a queue.

// homeLevels are the directories that are remembered: that of the queue, and two above it.
const homeLevels = 3

// home has the directory of a queue and those above it, as they were.
type home []homeLevel

type homeLevel struct {
	name string
	info fs.FileInfo
}

// homeOf looks through symbolic links. What can't be looked at is not remembered.
func homeOf(fsys vfs.FS, dir string) (h home) {
	for name := path.Clean(dir); len(h) < homeLevels; name = path.Dir(name) {
		info, err := fsys.Lstat(name + "/.")
		if err != nil {
			break
		}
		h = append(h, homeLevel{name, info})
		if name == path.Dir(name) {
			break
		}
	}
	return h
}

// check says why the missing directories must not be made.
func (h home) check(fsys vfs.FS) error {
	for i, at := range h {
		info, err := fsys.Lstat(at.name + "/.")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !vfs.SameFile(info, at.info) {
			return fmt.Errorf("%s is not the directory that it was: %w", at.name, errElsewhere)
		}
		for _, lost := range h[:i] {
			if !vfs.SameDevice(lost.info, info) {
				return fmt.Errorf("%s was on another disk than %s: %w", lost.name, at.name, errElsewhere)
			}
		}
		return nil
	}
	return errElsewhere
}

var errElsewhere = errors.New("if its disk is not mounted, mount it; else mailx queue list makes a new queue")

// restore makes what is missing of the queue.
func (q *Queue) restore() error {
	q.restoring.Lock()
	defer q.restoring.Unlock()
	if q.spool.Check() != nil { // else somebody was faster
		if err := q.home.check(q.fs); err != nil {
			return fmt.Errorf("the queue %s is missing: %w", q.dir, err)
		}
		if _, err := maildir.Create(q.fs, q.dir); err != nil {
			return err
		}
		q.home = homeOf(q.fs, q.dir)
	}
	return q.makeFolders()
}
