package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// Transport carries one message to recipients, and groups them by destination as it likes. Deliver may be called
// concurrently. Its env has only the recipients that are still to do; neither env nor msg may be used after it
// returns. msg is the message with LF line ends, size octets of it.
//
// There is one Result for each recipient, told apart by address. What is missing counts as a temporary failure, and so
// does everything when Deliver panics, or anything else that is asked about the message. When the next MTA has taken over
// the duty to report success (RFC 3461 §5.2.2), the Result's Notify is without NotifySuccess; when the sender is to be told
// of a relay for another reason (RFC 2852 §4.1.4), it is with it.
type Transport interface {
	Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result
}

// Telling is what a Transport can be, too: before it returns it calls tell, one call at a time, with results that are final
// while others are not there yet. Deliveries are then written down at once, and not only when the slowest host has answered.
type Telling interface {
	DeliverTelling(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64, tell func([]mail.Result)) []mail.Result
}

// Crowded is what a Transport can be, too: it knows that a message would have to wait for others at its destination, and
// nobody knows for how long. A flush puts such a message off until the others have had their turn.
type Crowded interface {
	IsCrowded(env *mail.Envelope) bool
}

// Pipelining is what a Transport can be, too: it can begin a message on the connection on which it ends another. Lane gives
// the way of a message that can go so; nil: it goes by Deliver.
type Pipelining interface {
	Lane(env *mail.Envelope) mail.Lane
}

// ByDomain is what a Pipelining can be, too: it knows that the lane of a message is that of all others for the domain, whoever sends
// them.
type ByDomain interface {
	IsByDomain(domain string) bool
}

// DefaultParallel is how many messages a flush works on at once.
const DefaultParallel = 20

// DefaultAtOnce is how many messages a flush or a runner has under way at most: most of them are for destinations that say
// nothing, which do not count towards what it works on.
const DefaultAtOnce = 1000

// FlushOptions narrow and pace a flush. The zero value does what is due.
type FlushOptions struct {
	All      bool          // due or not; entries in .Hold and .Failed stay apart, and those the sender wants held wait
	IDs      []string      // only these entries, due or not, and before their release too
	Domain   string        // only recipients at this domain; the others wait for an ordinary flush
	Sender   string        // only messages from this address, or "@example.com"; "<>" for notices
	Rcpt     string        // only recipients with this address, or "@example.com"
	Older    time.Duration // only messages that arrived longer ago than this
	Max      int           // at most so many messages are tried; 0: all
	Pause    time.Duration // between the beginnings of two tries
	Parallel int           // DefaultParallel if 0
	AtOnce   int           // messages under way with those of silent destinations; DefaultAtOnce if 0
	// Progress is told how many of the entries that are due are done with, at the beginning and after each; may be nil. The
	// calls may come at once.
	Progress func(done, due int)
}

// Stats say what a flush did. The numbers in the first group are messages, in the second recipients.
type Stats struct {
	Listed  int // in new/ and cur/ when it began
	Due     int // of these, those it was to look at
	Tried   int // handed to the transport
	Done    int // finished, and out of the queue
	Taken   int // left to another flush that had them
	Damaged int // set aside in .Failed
	Waiting int // that the sender wants held until a time (RFC 4865): not tried, not even with All
	Notices int // bounces and other notices put into the queue: the next flush carries them

	Delivered int
	Deferred  int
	Failed    int

	Next time.Time // the earliest try of entries that were not due or were put off; zero if there are none
}

// Left is how many messages there are in new/ and cur/ at the end, if nobody else has changed that: what is damaged is set aside.
func (s *Stats) Left() int { return s.Listed - s.Done - s.Damaged + s.Notices }

// sooner sets Next if t is before it.
func (s *Stats) sooner(t time.Time) {
	if s.Next.IsZero() || t.Before(s.Next) {
		s.Next = t
	}
}

// Flush makes one pass over what is due, oldest first, and comes back when the last try has ended. Any number of
// flushes may run at once, here or elsewhere. When ctx ends, no new try begins.
//
// Trouble with one entry does not stop the others. The error joins the causes (at most ten of them); those entries stay
// in the queue. A refused message is no error.
func (q *Queue) Flush(ctx context.Context, t Transport, opt FlushOptions) (Stats, error) {
	p := &pass{q: q, t: t, opt: opt, gate: newGate(opt)}
	due, err := p.due()
	if err != nil {
		return p.stats, err
	}
	p.progress(0)
	p.run(ctx, due)
	p.failed("sweep", q.Sweep())
	return p.stats, errors.Join(append(p.errs, ctx.Err())...)
}

// candidate is an entry that is to be tried, with the time of that try as it was when the directory was read.
type candidate struct {
	spot
	at   time.Time
	lane mail.Lane // that it was put off for; nil: it was not
}

// pass is one flush.
type pass struct {
	q     *Queue
	t     Transport
	opt   FlushOptions
	gate  *gate
	turns *turns // at the transport; nil: one at a time

	leaving *leaving // nil: who removes an entry waits until that is durable

	ended atomic.Int32 // candidates

	mu    sync.Mutex
	stats Stats
	errs  []error
}

// progress tells of n more candidates that are done with.
func (p *pass) progress(n int32) {
	if p.opt.Progress != nil {
		p.opt.Progress(int(p.ended.Add(n)), p.stats.Due) // which nobody changes any more
	}
}

const maxErrors = 10

func (p *pass) failed(what string, err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, fmt.Errorf("%s: %w", what, err))
	}
}

// failedWith is failed for an entry.
func (p *pass) failedWith(name string, err error) {
	if err != nil {
		p.failed(idOf(name), vfs.Classify(err))
	}
}

func (p *pass) count(add func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add(&p.stats)
}

// due reads the directories. Nothing is opened: the file's time says enough.
func (p *pass) due() ([]candidate, error) {
	spots, err := p.candidates()
	if err != nil {
		return nil, err
	}
	p.stats.Listed = len(spots)
	sel := Selection{Rcpt: p.opt.Rcpt, Domain: p.opt.Domain}
	spots = slices.DeleteFunc(spots, func(s spot) bool { return !sel.mayTake(s.name) })
	now := p.q.opt.Now()
	all := p.lookAt(spots)
	due := all[:0]
	for _, c := range all {
		switch {
		case c.name == "":
		case p.isDue(c.at, now):
			due = append(due, c)
		default:
			p.stats.sooner(c.at)
		}
	}
	p.stats.Due = len(due)
	slices.SortFunc(due, func(a, b candidate) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.name, b.name))
	})
	return due, nil
}

// many entries are worth looking at from more than one processor: of each the kernel has to fetch what it has not in its caches.
const many = 256

// lookAt gives a candidate for each entry, without a name if it is gone: it was renamed or finished meanwhile, and the next
// flush finds it, wherever it is.
func (p *pass) lookAt(spots []spot) []candidate {
	found := make([]candidate, len(spots))
	look := func(from, to int) {
		for i, s := range spots[from:to] {
			fi, err := p.q.fs.Lstat(p.q.path(s))
			if err != nil {
				p.failedWith(s.name, ignore(err, fs.ErrNotExist))
				continue
			}
			found[from+i] = candidate{spot: s, at: fi.ModTime()}
		}
	}
	if len(spots) < many || p.opt.Parallel == 1 {
		look(0, len(spots))
		return found
	}
	share := len(spots)/runtime.GOMAXPROCS(0) + 1
	var all sync.WaitGroup
	for from := 0; from < len(spots); from += share {
		all.Go(func() { look(from, min(from+share, len(spots))) })
	}
	all.Wait()
	return found
}

func (p *pass) candidates() ([]spot, error) {
	if len(p.opt.IDs) == 0 {
		return p.q.list(spool())
	}
	spots, err := p.q.selectSpots(p.opt.IDs)
	p.failed("flush", err)
	return slices.DeleteFunc(spots, func(s spot) bool { return s.place > inCur }), nil
}

// isDue also takes a time that is further away than any schedule puts it: the clock was wrong when it was set.
func (p *pass) isDue(at, now time.Time) bool {
	return p.opt.All || len(p.opt.IDs) > 0 || !at.After(now) || at.Sub(now) > p.q.opt.Schedule.Lifetime
}

// gate lets as many through as a flush may try, and not faster than it may.
type gate struct {
	mu    sync.Mutex
	left  int // -1: no limit
	pause time.Duration
	next  time.Time
}

func newGate(opt FlushOptions) *gate {
	g := &gate{left: -1, pause: opt.Pause}
	if opt.Max > 0 {
		g.left = opt.Max
	}
	return g
}

// pass waits for its turn; false says that there is none.
func (g *gate) pass(ctx context.Context) bool {
	at, ok := g.turn()
	wait := time.Until(at)
	if !ok || wait <= 0 {
		return ok && ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isNarrow reports that not everything may pass, or not at once.
func (g *gate) isNarrow() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left >= 0 || g.pause > 0
}

// isShut reports that no more may be tried: what is left need not be looked at.
func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left == 0
}

func (g *gate) turn() (at time.Time, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left == 0 {
		return at, false
	}
	if g.left > 0 {
		g.left--
	}
	if g.pause <= 0 {
		return at, true
	}
	at = time.Now()
	if g.next.After(at) {
		at = g.next
	}
	g.next = at.Add(g.pause)
	return at, true
}
