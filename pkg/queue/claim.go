package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// errTaken says that somebody else works on the entry, or has just done so.
var errTaken = errors.New("another flush has it")

// claimed is an entry that is locked: nobody else sends it. The lock is on the file, not on its name, so it holds
// through whatever other programs do with the name.
type claimed struct {
	q     *Queue
	at    spot
	base  string
	f     vfs.File
	text  io.ReaderAt // what is in f, the beginning from memory
	info  fs.FileInfo
	env   *mail.Envelope
	block int64 // octets before the message
	prog  *progress
	over  bool      // it is out of what is flushed
	lane  mail.Lane // by which it goes, if by any

	begins func() // is called when an attempt begins; may be nil

	isRemoved bool // no name of the file is left, which need not be synced
	isWritten bool // what the attempt came to is written down, unless writeErr
	writeErr  error
}

// claim locks an entry. Between the listing and the lock somebody may have finished it: then the name is gone.
func (q *Queue) claim(s spot) (*claimed, error) {
	f, err := q.fs.Open(q.path(s))
	if err != nil {
		return nil, takenIf(err, fs.ErrNotExist)
	}
	c := &claimed{q: q, at: s, base: baseOf(s.name), f: f}
	if err := c.lock(); err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

func takenIf(err, sign error) error {
	if errors.Is(err, sign) {
		return errTaken
	}
	return err
}

func (c *claimed) lock() (err error) {
	if err := c.f.Lock(); err != nil {
		return takenIf(err, vfs.ErrLocked)
	}
	if c.info, err = c.f.Stat(); err != nil {
		return err
	}
	now, err := c.q.fs.Lstat(c.q.path(c.at))
	if err != nil {
		return takenIf(err, fs.ErrNotExist)
	}
	if !vfs.SameFile(now, c.info) {
		return errTaken
	}
	return nil
}

// release gives the lock back.
func (c *claimed) release() { c.f.Close() }

// load reads the envelope and the progress. ErrDamaged: the file is not an entry, or not all of one.
func (c *claimed) load() (err error) {
	size := c.info.Size()
	if want := maildir.ParseName(c.at.name).Size; want >= 0 && want != size {
		return damaged("file has %d octets, its name says %d", size, want)
	}
	if c.text, err = readAhead(c.f, size); err != nil {
		return err
	}
	c.env, c.block, err = readEnvelope(io.NewSectionReader(c.text, 0, size))
	if err != nil {
		return err
	}
	if err := checkEnvelope(c.env); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if c.env.ID == "" {
		c.env.ID = idOf(c.base)
	}
	c.prog, err = c.q.loadProgress(c.base)
	return err
}

// message is the message as it was accepted, and its octets.
func (c *claimed) message() (io.ReaderAt, int64) {
	size := c.info.Size() - c.block
	return io.NewSectionReader(c.text, c.block, size), size
}

// aheadOctets is what is read of an entry at first: most envelopes, and many a message.
const aheadOctets = 4 << 10

// readAhead gives a reader of a file that has its beginning in memory.
func readAhead(f io.ReaderAt, size int64) (io.ReaderAt, error) {
	head := make([]byte, min(size, aheadOctets))
	if n, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, err
	} else if n < len(head) {
		return f, nil // somebody cuts it
	}
	return &ahead{head, f}, nil
}

type ahead struct {
	head []byte
	rest io.ReaderAt
}

// ReadAt is part of io.ReaderAt.
func (a *ahead) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= 0 && off < int64(len(a.head)) {
		n = copy(p, a.head[off:])
		if n == len(p) {
			return n, nil
		}
	}
	m, err := a.rest.ReadAt(p[n:], off+int64(n))
	return n + m, err
}

// canBeTakenOut says what would keep the entry in the queue once it is sent, so that every flush from then on sent it again: a
// disk that has become read-only, or a directory of somebody else. Nothing is to be sent then.
func (c *claimed) canBeTakenOut() error { return c.q.fs.Writable(c.q.dirPath(c.at.place)) }

// pending gives the recipients that are still to do, each address once.
func (c *claimed) pending() []mail.Recipient {
	if !c.prog.exists && len(c.env.Rcpts) == 1 {
		return c.env.Rcpts
	}
	return c.recipients(func(f *fate) bool { return !f.isDone() })
}

func (c *claimed) recipients(which func(*fate) bool) []mail.Recipient {
	var rcpts []mail.Recipient
	seen := map[mail.Address]bool{}
	for _, r := range c.env.Rcpts {
		if !seen[r.Address] && which(c.prog.of(r.Address)) {
			rcpts = append(rcpts, r)
		}
		seen[r.Address] = true
	}
	return rcpts
}

// age is how long the message has been waiting: from its arrival, or from its release (RFC 4865 §4). A message that a
// person let go before its time counts from its arrival until then. One that came when the clock was ahead is as old as its
// tries make it by the schedule, so that it does not stay for years.
func (c *claimed) age(now time.Time) time.Duration { return now.Sub(c.begin(now)) }

func (c *claimed) begin(now time.Time) time.Time {
	if hold := c.env.HoldUntil; hold.After(c.env.Arrived) && !hold.After(now) {
		return hold
	}
	if c.env.Arrived.After(now) {
		return now.Add(-c.q.opt.Schedule.after(c.prog.tries - 1))
	}
	return c.env.Arrived
}

// waits reports that the message is held until its release. The file's time has the last word, as everywhere: who
// touches the file, or retries the entry, lets it go. An earlier time than the release is one of those, or the next try after it.
func (c *claimed) waits(now time.Time) bool { return waits(c.env, c.info.ModTime(), now) }

func waits(env *mail.Envelope, at, now time.Time) bool {
	return env.HoldUntil.After(now) && !at.Before(env.HoldUntil.Truncate(time.Second))
}

// forgetProgress takes away the side file of an entry that is removed. The removal is the record of it, so it is to be synced
// before: else a loss of power could bring back the one without the other, and with it recipients who have their copy.
func (c *claimed) forgetProgress() error {
	if !c.prog.exists {
		return nil
	}
	return ignore(c.q.fs.Remove(c.q.progressPath(c.base)), fs.ErrNotExist)
}

func ignore(err, sign error) error {
	if errors.Is(err, sign) {
		return nil
	}
	return err
}

// remove takes away every name of the file: the one we know, and those that another program gave it meanwhile.
func (c *claimed) remove() error {
	if c.isRemoved {
		return nil
	}
	err := c.removeNames()
	c.isRemoved = err == nil
	return err
}

func (c *claimed) removeNames() error {
	now, err := c.f.Stat()
	if err != nil {
		return err
	}
	err = c.q.fs.Remove(c.q.path(c.at))
	if err == nil && vfs.Links(now) <= 1 {
		return nil
	}
	if ignore(err, fs.ErrNotExist) != nil {
		return err
	}
	others, err := c.q.locate(c.base, c.info)
	if err != nil {
		return err
	}
	for _, s := range others {
		if err := ignore(c.q.fs.Remove(c.q.path(s)), fs.ErrNotExist); err != nil {
			return err
		}
		if err := c.q.fs.SyncDir(c.q.dirPath(s.place)); err != nil {
			return err
		}
	}
	return nil
}

// postpone sets the time of the next try, and shows that there was one. Neither is synced: what a loss of power takes
// away here only makes the next try come earlier. A person who moved the file meanwhile has the last word.
func (c *claimed) postpone(next time.Time) error {
	if err := c.q.fs.Chtimes(c.q.path(c.at), next); err != nil {
		return ignore(err, fs.ErrNotExist)
	}
	if c.at.place != inNew {
		return nil
	}
	return c.moveTo(inCur)
}

// setAside takes the entry out of what is flushed, durably.
func (c *claimed) setAside(to place) error {
	from := c.at.place
	if from.state() == to.state() {
		return nil
	}
	if err := c.moveTo(to); err != nil {
		return err
	}
	c.over = true
	if err := c.q.fs.SyncDir(c.q.dirPath(to)); err != nil {
		return err
	}
	return c.q.fs.SyncDir(c.q.dirPath(from))
}

func (c *claimed) moveTo(to place) error {
	s, err := c.q.move(c.at, to)
	if err == nil {
		c.at = s
	}
	return ignore(err, fs.ErrNotExist)
}

// move takes an entry to another directory; in a cur/ names have a part for flags.
func (q *Queue) move(s spot, to place) (spot, error) {
	target := spot{to, s.name}
	if baseOf(s.name) == s.name && (to == inCur || to == inHoldCur || to == inFailedCur) {
		target.name += ":2,"
	}
	return target, q.fs.Move(q.path(s), q.path(target))
}
