package session

import (
	"encoding/binary"
	"hash/fnv"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Tally counts events by key, an hour at a time, in a file that processes share: what a stolen password may send is bounded
// whether one process serves all connections or each has its own. The hour of a key begins with its first event. The file
// may be lost or removed at any time; then everybody starts at nothing.
//
// The file is a table of 256 pages of 256 entries, and never grows beyond 1 MiB. A key has its place in one page, which is
// locked while it is looked at; the entry whose hour is over for longest makes place for a new key. A page full of running
// hours drops the one that began first.
//
// It is safe for concurrent use.
type Tally struct {
	Path string           // made when needed, its directory too
	Now  func() time.Time // time.Now if nil
}

// tallySpan is how long events count.
const tallySpan = time.Hour

// An entry is the key, the second in which its hour began, and the events since then; all zero is a free one.
const (
	tallyEntry = 8 + 4 + 4
	tallyPage  = 256 * tallyEntry
	tallyPages = 256
)

// Add counts n events of a key and reports whether there is room for them: never more than max in one hour. Events for which
// there is none don't count. An error means that nothing could be counted.
func (t *Tally) Add(key string, n, max int) (bool, error) {
	fd, err := openShared(t.Path)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd) // and with it goes the lock
	h := fnv.New64a()
	h.Write([]byte(key))
	id := mix(h.Sum64())
	start := int64(id%tallyPages) * tallyPage
	if err := lockOctet(fd, start, unix.F_OFD_SETLKW); err != nil {
		return false, t.failed("lock", err)
	}
	var page [tallyPage]byte // what the file does not have yet is zero
	if _, err := unix.Pread(fd, page[:], start); err != nil {
		return false, t.failed("read", err)
	}
	i, total := tally(&page, id, t.now().Unix())
	if total+int64(n) > int64(max) {
		return false, nil
	}
	entry := page[i : i+tallyEntry]
	binary.BigEndian.PutUint32(entry[12:], uint32(total+int64(n)))
	if _, err := unix.Pwrite(fd, entry, start+int64(i)); err != nil {
		return false, t.failed("write", err)
	}
	return true, nil
}

// tally finds the entry of a key in a page, or makes one, and gives where it is and what it has counted. An hour that begins
// in the future is of another clock, and over.
func tally(page *[tallyPage]byte, id uint64, now int64) (at int, total int64) {
	oldest := now + 1
	for i := 0; i < tallyPage; i += tallyEntry {
		e := page[i : i+tallyEntry]
		began := int64(binary.BigEndian.Uint32(e[8:]))
		if began > now {
			began = 0
		}
		if binary.BigEndian.Uint64(e) == id {
			if now-began < int64(tallySpan/time.Second) {
				return i, int64(binary.BigEndian.Uint32(e[12:]))
			}
			began = -1 // no entry is older, so its place is taken again
		}
		if began < oldest {
			oldest, at = began, i
		}
	}
	e := page[at : at+tallyEntry]
	binary.BigEndian.PutUint64(e, id)
	binary.BigEndian.PutUint32(e[8:], uint32(now))
	binary.BigEndian.PutUint32(e[12:], 0)
	return at, 0
}

func (t *Tally) failed(op string, err error) error {
	return &fs.PathError{Op: op, Path: t.Path, Err: err}
}

func (t *Tally) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}
