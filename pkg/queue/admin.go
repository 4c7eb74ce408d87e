package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// Item is what a person sees of an entry.
type Item struct {
	ID       string
	File     string // relative to the queue: "cur/1790000000.M1P2R3.host,S=420,W=431:2,"
	State    State
	Arrived  time.Time
	NextTry  time.Time // the file's time; without a meaning for what is held or has failed
	Size     int64     // octets of the message, with LF line ends; of the file if Damaged
	Sender   mail.Address
	Rcpts    []RcptStatus
	Envelope *mail.Envelope // nil if Damaged
	Attempts int            // at least so many: the count is only for people and may be lost
	LastTry  time.Time      // zero if not known
	Error    string         // the last trouble with a recipient that is still to do, else with one that has failed; "" if none
	Damaged  error          // why the file is not a valid entry; nil if it is
}

// HoldUntil is the time before which the message is not tried because its sender wants it so (RFC 4865); zero if there is
// none, or a person let the message go.
func (i *Item) HoldUntil(now time.Time) time.Time {
	if i.Envelope == nil || !waits(i.Envelope, i.NextTry, now) {
		return time.Time{}
	}
	return i.Envelope.HoldUntil
}

// RcptStatus is one recipient of an Item.
type RcptStatus struct {
	mail.Recipient
	State  RcptState
	Status mail.Status // of the last failure
	At     time.Time   // of the last outcome
	MTA    string      // that answered
	Reply  string      // its last reply, or our own reason; one printable line
	Cause  string      // what is behind our own reason, such as a command that failed; "" if there is nothing
}

// Trouble is the reply with its cause.
func (r *RcptStatus) Trouble() string {
	if r.Cause == "" {
		return r.Reply
	}
	return r.Reply + ": " + r.Cause
}

// RcptState is what became of a recipient so far.
type RcptState string

// The states of a recipient.
const (
	RcptPending   RcptState = "pending"
	RcptDelivered RcptState = "delivered"
	RcptFailed    RcptState = "failed"
)

// List gives every entry in the order of arrival, as far as file names tell it. Each file is opened when its turn comes,
// so a long queue costs no memory but its names. An entry that goes meanwhile is left out; an error is about the entry
// that comes with it (only ID, File and State may be set), or about the directory (Item zero, and the end).
func (q *Queue) List(ctx context.Context) iter.Seq2[Item, error] {
	return q.listOf(ctx, func(string) bool { return true })
}

// listOf is List for the names that are wanted.
func (q *Queue) listOf(ctx context.Context, isWanted func(name string) bool) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		spots, err := q.list(everywhere())
		if err != nil {
			yield(Item{}, err)
			return
		}
		spots = slices.DeleteFunc(spots, func(s spot) bool { return !isWanted(s.name) })
		slices.SortFunc(spots, func(a, b spot) int { return strings.Compare(a.name, b.name) })
		for _, s := range spots {
			if ctx.Err() != nil {
				yield(Item{}, ctx.Err())
				return
			}
			item, err := q.item(s)
			if !errors.Is(err, fs.ErrNotExist) && !yield(item, err) {
				return
			}
		}
	}
}

// Get gives one entry by ID, beginning of an ID, or file name. ErrNotFound, ErrAmbiguous.
func (q *Queue) Get(id string) (Item, error) {
	spots, err := q.selectSpots([]string{id})
	if err != nil {
		return Item{}, err
	}
	return q.item(spots[0])
}

// Message is an open entry: the message in it, as it was accepted. The caller closes it.
type Message struct {
	*io.SectionReader // Size() octets, LF line ends
	Item              Item
	f                 vfs.File
}

// Close closes the file.
func (m *Message) Close() error { return m.f.Close() }

// OpenMessage opens the message of an entry, for people to read. It takes no lock and disturbs no flush. Of a damaged
// entry it gives the whole file.
func (q *Queue) OpenMessage(id string) (*Message, error) {
	spots, err := q.selectSpots([]string{id})
	if err != nil {
		return nil, err
	}
	item, f, block, err := q.openItem(spots[0])
	if err != nil {
		return nil, err
	}
	return &Message{SectionReader: io.NewSectionReader(f, block, item.Size), Item: item, f: f}, nil
}

func (q *Queue) item(s spot) (Item, error) {
	item, f, _, err := q.openItem(s)
	if err == nil {
		err = f.Close()
	}
	return item, err
}

func (q *Queue) openItem(s spot) (item Item, f vfs.File, block int64, err error) {
	item = Item{ID: idOf(s.name), File: s.dir() + "/" + s.name, State: s.state()}
	f, err = q.fs.Open(q.path(s))
	if err != nil {
		return item, nil, 0, vfs.Classify(err)
	}
	c := &claimed{q: q, at: s, base: baseOf(s.name), f: f}
	if c.info, err = f.Stat(); err == nil {
		err = c.load()
	}
	switch {
	case errors.Is(err, ErrDamaged):
		item.Damaged, item.NextTry, item.Size = err, c.info.ModTime(), c.info.Size()
		return item, f, 0, nil
	case err != nil:
		f.Close()
		return item, nil, 0, vfs.Classify(err)
	}
	item.fill(c)
	return item, f, c.block, nil
}

func (i *Item) fill(c *claimed) {
	_, i.Size = c.message()
	i.NextTry, i.Envelope = c.info.ModTime(), c.env
	i.Arrived, i.Sender = c.env.Arrived, c.env.Sender
	i.Attempts, i.LastTry = c.prog.tries, c.prog.lastTry
	if i.Attempts == 0 && i.State == StateTried {
		i.Attempts = 1
	}
	for _, r := range c.env.Rcpts {
		f := c.prog.of(r.Address)
		rs := RcptStatus{Recipient: r, State: RcptPending, Status: f.status, At: f.at, MTA: f.mta, Reply: f.reply, Cause: f.cause}
		switch f.kind {
		case kindOK:
			rs.State = RcptDelivered
		case kindFail:
			rs.State = RcptFailed
		}
		i.Rcpts = append(i.Rcpts, rs)
	}
	i.Error = trouble(i.Rcpts)
}

// trouble is the last one with a recipient that is still to do, else with one that has failed.
func trouble(rcpts []RcptStatus) string {
	for _, state := range []RcptState{RcptPending, RcptFailed} {
		var last *RcptStatus
		for i := range rcpts {
			r := &rcpts[i]
			if r.State == state && r.Reply != "" && (last == nil || !r.At.Before(last.At)) {
				last = r
			}
		}
		if last != nil {
			return last.Trouble()
		}
	}
	return ""
}

// Hold moves entries to .Hold, where no flush looks. One that is just being tried goes there too; what the try brings
// is recorded, and an entry that it finishes is gone. Errors of all ids are joined.
func (q *Queue) Hold(ids ...string) error {
	return q.each(ids, func(s spot) error {
		if s.state() == StateHeld {
			return nil
		}
		return q.moveDurably(s, s.place%2+inHoldNew)
	})
}

// Release moves entries from .Hold or .Failed back, due at once. Recipients that had failed are tried again. An entry
// that a flush still works on is an error. What waits for a time that its sender set (RFC 4865) is due at once, too.
func (q *Queue) Release(ids ...string) error {
	return q.each(ids, func(s spot) error {
		if s.place <= inCur {
			return q.endWait(s)
		}
		e, err := q.claim(s)
		if err != nil {
			return err
		}
		defer e.release()
		if err := q.forgetFailures(e.base); err != nil {
			return err
		}
		if err := q.fs.Chtimes(q.path(s), q.opt.Now()); err != nil {
			return err
		}
		return q.moveDurably(s, s.place%2+inNew)
	})
}

// endWait makes an entry due that its sender wants held.
func (q *Queue) endWait(s spot) error {
	item, err := q.item(s)
	if err != nil || item.HoldUntil(q.opt.Now()).IsZero() {
		return err
	}
	return q.fs.Chtimes(q.path(s), q.opt.Now())
}

// forgetFailures leaves in the side file what was delivered. The entry is locked, so nobody else writes there.
func (q *Queue) forgetFailures(base string) error {
	p, err := q.loadProgress(base)
	if err != nil || !p.exists {
		return err
	}
	for key, f := range p.fates {
		if f.kind == kindFail {
			delete(p.fates, key)
		}
	}
	return q.rewriteProgress(base, p)
}

// errAside says that an entry waits for a person.
var errAside = errors.New("release it first")

// Retry makes entries due now, as touch(1) does. What is held or has failed is to be released first.
func (q *Queue) Retry(ids ...string) error {
	return q.each(ids, func(s spot) error {
		if s.place > inCur {
			return fmt.Errorf("it is %s: %w", s.state(), errAside)
		}
		return q.fs.Chtimes(q.path(s), q.opt.Now())
	})
}

// Remove deletes entries, in whatever state, and tells nobody.
func (q *Queue) Remove(ids ...string) error {
	return q.each(ids, func(s spot) error {
		if err := q.fs.Remove(q.path(s)); err != nil {
			return err
		}
		if err := q.fs.SyncDir(q.dirPath(s.place)); err != nil {
			return err
		}
		return ignore(q.fs.Remove(q.progressPath(baseOf(s.name))), fs.ErrNotExist)
	})
}

func (q *Queue) moveDurably(s spot, to place) error {
	if _, err := q.move(s, to); err != nil {
		return err
	}
	if err := q.fs.SyncDir(q.dirPath(to)); err != nil {
		return err
	}
	return q.fs.SyncDir(q.dirPath(s.place))
}

// each does something to every entry that is named. One that a flush renamed on the way from the look to the deed is
// looked for again; one that is gone is ErrNotFound.
func (q *Queue) each(ids []string, do func(spot) error) error {
	spots, err := q.selectSpots(ids)
	errs := []error{err}
	for _, s := range spots {
		err := do(s)
		for try := 0; try < 3 && errors.Is(err, fs.ErrNotExist); try++ {
			again, serr := q.selectSpots([]string{baseOf(s.name)})
			if serr != nil {
				err = ErrNotFound
				break
			}
			err = do(again[0])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", idOf(s.name), refusal(err)))
		}
	}
	return errors.Join(errs...)
}

// refusal tells what is no trouble of the disk from what is.
func refusal(err error) error {
	for _, sign := range []error{errTaken, errAside, ErrNotFound, ErrDamaged} {
		if errors.Is(err, sign) {
			return err
		}
	}
	return vfs.Classify(err)
}

// Bounce gives entries up now: their senders are told of every recipient that is still to do (5.0.0, with the reason
// given). An entry that a flush has at the moment is an error.
func (q *Queue) Bounce(reason string, ids ...string) error {
	return q.each(ids, func(s spot) error {
		e, err := q.claim(s)
		if err != nil {
			return err
		}
		defer e.release()
		if err := e.load(); err != nil {
			return err
		}
		var recs []record
		for _, r := range e.pending() {
			recs = append(recs, record{kind: kindFail, addr: r.Address, at: q.opt.Now(), reply: clean(reason),
				status: mail.Status{Class: mail.Permanent}})
		}
		p := &pass{q: q}
		p.tell(e, recs)
		return p.settle(e, recs)
	})
}

// sideAge is how long a side file outlives its entry: longer than any look at a moving directory may be wrong.
const sideAge = 36 * time.Hour

// Sweep removes what crashes left: old files in tmp/, and side files that have had no entry for 36 hours. Flush does it.
func (q *Queue) Sweep() error {
	now := q.opt.Now()
	if _, err := q.spool.Sweep(now); err != nil {
		return vfs.Classify(err)
	}
	dir := q.dir + "/" + progressDir
	names, err := q.fs.ReadDirNames(dir)
	if err != nil {
		return vfs.Classify(err)
	}
	old := slices.DeleteFunc(names, func(name string) bool {
		fi, err := q.fs.Lstat(dir + "/" + name)
		return err != nil || now.Sub(fi.ModTime()) < sideAge
	})
	if len(old) == 0 {
		return nil
	}
	return vfs.Classify(q.removeOrphans(dir, old))
}

// removeOrphans looks into the directories twice, for an entry that moves can hide from one look.
func (q *Queue) removeOrphans(dir string, old []string) error {
	alive := map[string]bool{}
	for range 2 {
		spots, err := q.list(everywhere())
		if err != nil {
			return err
		}
		for _, s := range spots {
			alive[baseOf(s.name)] = true
		}
	}
	for _, name := range old {
		if alive[name] {
			continue
		}
		if err := ignore(q.fs.Remove(dir+"/"+name), fs.ErrNotExist); err != nil {
			return err
		}
	}
	return nil
}
