package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// A new UIDVALIDITY is the time in seconds, or one more than the highest that was given out before if that is above the
// clock. The highest is in the inbox, beside all folders, so that it outlives each of them; it is written before the new
// value is used. If that file is lost too, the indexes that are left say what it must be above.
const (
	floorName     = "mailx-uidvalidity"
	floorLockName = "mailx-uidvalidity.lock"
	maxValidity   = 1<<32 - 1
	// clockLimit is above every sane clock; a clock beyond it would use up the numbers.
	clockLimit = 1<<32 - 1<<28
)

// Waiting for a lock.
const (
	lockPatience = 30 * time.Second
	lockPause    = 20 * time.Millisecond
)

var errLocked = mail.Temporaryf(2, 0, "The mailbox is busy, try again later")

// lock waits for the flock of a file, and gives the file to close.
func lock(ctx context.Context, fsys vfs.FS, name string) (vfs.File, error) {
	f, err := openAppend(fsys, name)
	if err != nil {
		return nil, err
	}
	pause, left := time.Millisecond/4, lockPatience
	for {
		err := f.Lock()
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, vfs.ErrLocked) || left <= 0 {
			f.Close()
			if errors.Is(err, vfs.ErrLocked) {
				err = errLocked
			}
			return nil, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			f.Close()
			return nil, ctx.Err()
		}
		left, pause = left-pause, min(2*pause, lockPause)
	}
}

// locked runs do while nobody else changes the index.
func (b *Box) locked(ctx context.Context, do func() error) error {
	f, err := lock(ctx, b.fsys, b.path(lockName))
	if err != nil {
		return vfs.Classify(err)
	}
	err = do()
	if err == nil {
		err = b.markMade(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return vfs.Classify(err)
}

// markMade notes in the lock file that there is an index: if it is lost, the files of other programs say what is no longer
// true.
func (b *Box) markMade(f vfs.File) error {
	if b.marked || b.since == 0 {
		return nil
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() > 0 {
		b.marked = err == nil
		return err
	}
	if _, err = f.Write([]byte("made\n")); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = b.fsys.SyncDir(b.dir.Path())
	}
	b.marked = err == nil
	return err
}

// wasMade reports what markMade noted. Doubt is a yes.
func (b *Box) wasMade() bool {
	fi, err := b.fsys.Lstat(b.path(lockName))
	return err != nil || fi.Size() > 0
}

// root gives the inbox of the tree that a folder is in.
func (b *Box) root() string {
	dir := b.dir.Path()
	if !strings.HasPrefix(path.Base(dir), ".") {
		return dir
	}
	parent := path.Dir(dir)
	if fi, err := b.fsys.Lstat(parent + "/cur"); err != nil || !fi.IsDir() {
		return dir
	}
	return parent
}

// newValidity gives a UIDVALIDITY that was never given out, durably. With a wish (not 0) it gives that, and later ones
// will be above it.
func (b *Box) newValidity(wish uint32) (uint32, error) {
	root := b.root()
	f, err := lock(context.Background(), b.fsys, root+"/"+floorLockName)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	floor, err := readFloor(b.fsys, root)
	if err != nil {
		return 0, err
	}
	if wish != 0 && wish <= floor {
		return wish, nil
	}
	v := wish
	if v == 0 {
		if v, err = nextValidity(floor, b.now()); err != nil {
			return 0, err
		}
	}
	name := root + "/" + floorName
	b.fsys.Remove(name + "." + tmpPart + ".tmp")
	return v, vfs.WriteFile(b.fsys, name, tmpPart, []byte(strconv.FormatUint(uint64(v), 10)+"\n"))
}

func nextValidity(floor uint32, now time.Time) (uint32, error) {
	if floor == maxValidity {
		return 0, fmt.Errorf("no UIDVALIDITY is left")
	}
	v := floor + 1
	if sec := now.Unix(); sec > int64(v) && sec < clockLimit {
		v = uint32(sec)
	}
	return v, nil
}

// readFloor gives the highest UIDVALIDITY so far.
func readFloor(fsys vfs.FS, root string) (uint32, error) {
	data, err := vfs.ReadFile(fsys, root+"/"+floorName, 64)
	if err == nil {
		if n, ok := parseFloor(data); ok {
			return n, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return highestInUse(fsys, root)
}

func parseFloor(data []byte) (uint32, bool) {
	n, err := strconv.ParseUint(strings.TrimSuffix(string(data), "\n"), 10, 32)
	return uint32(n), err == nil
}

// highestInUse looks at the first line of every index under a root.
func highestInUse(fsys vfs.FS, root string) (uint32, error) {
	names, err := fsys.ReadDirNames(root)
	if err != nil {
		return 0, err
	}
	highest := validityOf(fsys, root)
	for _, name := range names {
		if name[0] == '.' {
			highest = max(highest, validityOf(fsys, root+"/"+name))
		}
	}
	return highest, nil
}

func validityOf(fsys vfs.FS, dir string) uint32 {
	f, err := fsys.Open(dir + "/" + logName)
	if err != nil {
		return 0
	}
	defer f.Close()
	var first [256]byte
	n, _ := f.ReadAt(first[:], 0)
	var st state
	st.readFirst(first[:n])
	return st.validity
}
