package delivery

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"mailx/pkg/mail"
)

// maxAliasFile is the size of a file of aliases, in octets, that is believed.
const maxAliasFile = 16 << 20

// table is a text file that is read again when it has changed: at once, since every look at it asks for its state. It is
// not safe for concurrent use.
type table struct {
	path string
	// required says that the file has to be there: without it nobody knows what it would say.
	required bool

	read time.Time   // when it was read
	info fs.FileInfo // of the file then; nil if there was none
}

// load gives the content if it may be another one than before. Without a file that is required to be there the content
// is empty. A file that was written moments before it was read is read again, since clocks of file systems are coarse.
func (t *table) load() (data []byte, changed bool, err error) {
	now := time.Now()
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) && !t.required {
		changed = t.info != nil || t.read.IsZero()
		t.info, t.read = nil, now
		return nil, changed, nil
	}
	if err != nil {
		return nil, false, err
	}
	if t.isCurrent(info) {
		return nil, false, nil
	}
	if data, info, err = readTable(t.path); err != nil {
		return nil, false, err
	}
	t.info, t.read = info, now
	return data, true, nil
}

func (t *table) isCurrent(now fs.FileInfo) bool {
	return t.info != nil && os.SameFile(t.info, now) && t.info.ModTime().Equal(now.ModTime()) && t.info.Size() == now.Size() &&
		t.info.Mode() == now.Mode() && ownerOf(t.info) == ownerOf(now) && t.read.Sub(now.ModTime()) > time.Second
}

// readTable wants a regular file, or /dev/null for none, and never waits for a writer of a FIFO.
func readTable(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && path != os.DevNull {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxAliasFile+1))
	if err == nil && len(data) > maxAliasFile {
		err = fmt.Errorf("%s is larger than %d octets", path, maxAliasFile)
	}
	return data, info, err
}

// ownerOf is the user id of the owner; -1 if nobody knows, whom nobody trusts.
func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// checkTrust wants a file that nobody can change but root and one other user.
func checkTrust(path string, info fs.FileInfo, owner int) error {
	uid := ownerOf(info)
	switch perm := info.Mode().Perm(); {
	case uid != 0 && uid != owner:
		return fmt.Errorf("%s belongs to user id %d, and not to root or the owner of the spool", path, uid)
	case perm&0o022 != 0:
		return fmt.Errorf("others may write to %s, which is mode %04o; make it safe with: chmod go-w %s", path, perm, path)
	}
	return nil
}

// misconfigured is for what a person has to mend: the mail waits for that. Peers are told no more than that.
func misconfigured(err error) error {
	return mail.Temporaryf(3, 5, "Local configuration error: %w", err)
}
