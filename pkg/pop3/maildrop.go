package pop3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// lockName is the file in a Maildir whose flock is the maildrop's. It stays there; it has no content.
const lockName = "mailx-pop3.lock"

// sizers is how many files without a size in their name are read at a time.
const sizers = 4

// maxUID is the longest unique-id (RFC 1939 §7).
const maxUID = 70

// maildrop is the snapshot of a Maildir that a session works on. Message number n is messages[n-1].
type maildrop struct {
	dir      *maildir.Dir
	lock     vfs.File // nil if the disk had no place for it
	messages []maildir.Message
	deleted  []bool
}

// openMaildrop locks the Maildir at name, which is made if need be, and lists it. No message is opened.
func openMaildrop(fsys vfs.FS, name string) (*maildrop, error) {
	dir, err := maildir.Create(fsys, name)
	if err != nil {
		return nil, vfs.Classify(err)
	}
	lock, err := lockMaildrop(fsys, path.Join(name, lockName))
	if err != nil {
		return nil, err
	}
	messages, err := dir.List()
	m := &maildrop{dir: dir, lock: lock, messages: messages, deleted: make([]bool, len(messages))}
	if err != nil {
		m.close()
		return nil, vfs.Classify(err)
	}
	return m, nil
}

func lockMaildrop(fsys vfs.FS, name string) (vfs.File, error) {
	f, err := fsys.OpenAppend(name)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EROFS):
		return nil, nil // whoever has no space must be able to delete; two sessions at once do no harm, only surprise
	case err != nil:
		return nil, vfs.Classify(err)
	}
	if err := f.Lock(); err != nil {
		f.Close()
		if errors.Is(err, vfs.ErrLocked) {
			return nil, errInUse
		}
		return nil, vfs.Classify(err)
	}
	return f, nil
}

// close gives the lock back.
func (m *maildrop) close() {
	if m.lock != nil {
		m.lock.Close()
	}
}

// open gives the file of a message, wherever another program may have moved it.
func (m *maildrop) open(i int) (vfs.File, error) {
	f, err := m.dir.OpenMessage(m.messages[i])
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errVanished
	case isNoMessage(err):
		return nil, errNotMessage
	case err != nil:
		return nil, vfs.Classify(err)
	}
	return f, nil
}

// size is in octets on the wire, once findSize or findSizes has been there.
func (m *maildrop) size(i int) int64 { return m.messages[i].Wire }

// isNoMessage reports a name behind which there is no file: it has vanished, or is a link, a directory or a FIFO that somebody
// put into the Maildir.
func isNoMessage(err error) bool {
	for _, errno := range [...]error{fs.ErrNotExist, syscall.ELOOP, syscall.EISDIR, syscall.EINVAL, syscall.ENXIO} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// findSize counts the octets of a message whose name does not say them. What is no message has none.
func (m *maildrop) findSize(i int) error {
	if m.messages[i].Wire >= 0 {
		return nil
	}
	_, wire, err := m.dir.Sizes(m.messages[i])
	switch {
	case isNoMessage(err):
		wire = 0
	case err != nil:
		return vfs.Classify(err)
	}
	m.messages[i].Wire = wire
	return nil
}

// findSizes is findSize for all messages, a few at a time.
func (m *maildrop) findSizes(ctx context.Context) error {
	var unknown []int
	for i := range m.messages {
		if m.messages[i].Wire < 0 {
			unknown = append(unknown, i)
		}
	}
	var next atomic.Int64
	var errs [sizers]error
	var wg sync.WaitGroup
	for w := range min(sizers, len(unknown)) {
		wg.Go(func() {
			for errs[w] == nil && ctx.Err() == nil {
				n := next.Add(1) - 1
				if n >= int64(len(unknown)) {
					return
				}
				errs[w] = m.findSize(unknown[n])
			}
			if errs[w] == nil {
				errs[w] = ctx.Err()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// total counts what is not deleted. The sum stops at the largest number, for names can say anything.
func (m *maildrop) total() (count int, octets int64) {
	for i := range m.messages {
		if !m.deleted[i] {
			count++
			octets += min(m.messages[i].Wire, math.MaxInt64-octets)
		}
	}
	return count, octets
}

// removeDeleted removes what is marked, and returns without an error only if all of it is gone for good. One that another
// program has removed is gone.
func (m *maildrop) removeDeleted() (removed int, err error) {
	for i := range m.messages {
		if !m.deleted[i] {
			continue
		}
		switch rerr := m.dir.Remove(m.messages[i]); {
		case rerr == nil:
			removed++
		case !errors.Is(rerr, fs.ErrNotExist) && err == nil:
			err = rerr
		}
	}
	if removed > 0 {
		if serr := m.dir.Sync(); err == nil {
			err = serr
		}
	}
	if err != nil {
		return removed, vfs.Classify(fmt.Errorf("some deleted messages not removed: %w", err)) // RFC 1939 §6
	}
	return removed, nil
}

// uid is the unique-id of a message: the unique part of its file name without the sizes, so it stays the same whatever
// happens to the flags, and between new and cur. Where two names differ in the sizes alone, it is of the whole name.
func (m *maildrop) uid(i int) string {
	id := trimSizes(m.messages[i].Base)
	isShared := i > 0 && trimSizes(m.messages[i-1].Base) == id ||
		i+1 < len(m.messages) && trimSizes(m.messages[i+1].Base) == id // names are in order
	if isShared {
		return hashUID(m.messages[i].Base)
	}
	return uidOf(id)
}

// trimSizes cuts ",S=" and ",W=" off, if nothing else follows the first comma.
func trimSizes(base string) string {
	name, fields, _ := strings.Cut(base, ",")
	for fields != "" {
		var field string
		field, fields, _ = strings.Cut(fields, ",")
		if !strings.HasPrefix(field, "S=") && !strings.HasPrefix(field, "W=") {
			return base
		}
	}
	return name
}

// uidOf gives name if it is a unique-id, which is 1 to 70 octets from 0x21 to 0x7e (RFC 1939 §7), else a hash of it.
func uidOf(name string) string {
	ok := name != "" && len(name) <= maxUID
	for i := 0; ok && i < len(name); i++ {
		ok = name[i] > ' ' && name[i] < 0x7f
	}
	if !ok {
		return hashUID(name)
	}
	return name
}

// hashUID can't be a name of a Maildir that is a unique-id itself: that has no colon.
func hashUID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}
