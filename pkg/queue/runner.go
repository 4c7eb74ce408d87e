package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"mailx/pkg/vfs"
)

// What a Runner does unless its fields say otherwise.
const (
	DefaultPoll  = time.Minute
	DefaultGrace = 30 * time.Second
)

const (
	destinations = 5      // a runner works on so many times Parallel messages in all
	maxInHand    = 50_000 // messages that a runner keeps in mind; it comes back for the others
	sortAtOnce   = 64     // messages whose destination is looked up between two looks at what else there is to do
	sweepEvery   = time.Hour
	slowLimit    = 2 // messages at once to a destination of which nothing is heard; one, when there are a lot of these
	slowAfter    = time.Second
	lookShare    = 20 // reading the directories takes at most this part of the time, and so does going through soon
)

// Runner keeps a queue going: it tries each message when it is due, and new ones at once. Where a [Queue.Flush] makes one
// pass, it has none that could overlap or wait: every message is on its own, in a lane for its destination. A lane works on
// Parallel messages at once, and on few if nothing is heard of it; what takes long does not count towards what all lanes may
// work on. So a slow or dead destination holds up its own mail only.
//
// It keeps nothing that matters. What is due is read from the times of the files, by a look into the directories each Poll,
// and an entry is claimed as by any flush: any number of runners and flushes work on one queue, and a killed runner leaves
// nothing to repair. A wall clock that jumps is noticed by the next look.
type Runner struct {
	Queue     *Queue
	Transport Transport
	Parallel  int // messages at once to one destination, DefaultParallel if 0; five times as many in all
	AtOnce    int // messages under way with those of silent destinations; DefaultAtOnce if 0
	// Changed gives entries that were made or touched, as "new/NAME" or "cur/NAME"; "" says that some were missed. Nil: they
	// are found by the next look.
	Changed <-chan string
	Poll    time.Duration // DefaultPoll if 0
	Grace   time.Duration // for messages under way at the end; DefaultGrace if 0
	// Report is told of trouble with single entries and with the directories; it does not end the runner. May be nil.
	Report func(err error)
	// Asked has Tell told what was done so far, and how many messages the runner has in hand. Both may be nil.
	Asked <-chan os.Signal
	Tell  func(s Stats, inHand int)
}

// Run works until ctx ends, then lets the messages under way finish, for the grace period at most. The Stats are the sums of
// all that was done.
func (r *Runner) Run(ctx context.Context) Stats {
	parallel, atOnce := bounds(r.Parallel, r.AtOnce)
	limit := min(parallel*destinations, atOnce)
	run := &running{
		Runner: r, q: r.Queue, poll: cmp.Or(r.Poll, DefaultPoll), perLane: parallel, limit: limit,
		spare:  min(parallel*maxTurns, atOnce) - limit,
		inHand: map[string]bool{}, soon: map[string]candidate{}, lanes: map[string]*lane{}, known: map[string]string{}, ended: make(chan outcome),
	}
	left := make(chan struct{}, 1)
	run.left = left
	run.tail = &pass{q: r.Queue}
	run.leaving = newLeaving(run.tail, func() {
		select {
		case left <- struct{}{}:
		default: // it knows
		}
	})
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	for ctx.Err() == nil {
		run.sort()
		run.start(work)
		run.wait(ctx)
	}
	defer time.AfterFunc(cmp.Or(r.Grace, DefaultGrace), func() { cancel(context.DeadlineExceeded) }).Stop()
	for _, l := range run.lanes {
		l.turns.stop()
	}
	for run.active > 0 {
		run.settle(<-run.ended)
	}
	run.carriers.Wait()
	run.leaving.wait()
	run.countTail()
	return run.stats
}

// outcome is what became of one message.
type outcome struct {
	*begun
	base  string
	stats Stats
	errs  []error
}

// running is a Runner at work. One goroutine has it; the messages are worked on by others, which report to ended.
type running struct {
	*Runner
	q              *Queue
	poll           time.Duration
	perLane, limit int
	spare          int // so many more may be under way that take long

	inHand  map[string]bool      // by base: in backlog, in a lane, or worked on
	soon    map[string]candidate // by base: due before the next look
	soonest time.Time            // of soon
	backlog []candidate          // due, in no lane yet
	lanes   map[string]*lane
	known   map[string]string // their keys, by domain
	ready   []*lane           // with a message waiting and a place for it, in turn
	active  int
	taken   int      // turns that the lanes may use, out of limit
	lent    int      // messages that do not count
	begun   []*begun // in their order, those that may have to be lent yet
	ended   chan outcome
	stats   Stats

	carriers sync.WaitGroup // of all lanes

	leaving *leaving
	tail    *pass           // has what became of the entries in leaving since it was counted last
	left    <-chan struct{} // says that there is something

	nextLook, nextSweep time.Time
	noLook, noTick      time.Time // until then there is none, for the last one took so long
	isCrowded           bool      // the last look left messages out
}

// wait sleeps until there is something to do, and does it.
func (r *running) wait(ctx context.Context) {
	timer := time.NewTimer(r.pause())
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case o := <-r.ended:
		r.settle(o)
	case name := <-r.Changed:
		r.hear(name)
	case <-r.left:
		r.countTail()
	case <-r.Asked:
		r.countTail()
		r.Tell(r.stats, len(r.inHand))
	case <-timer.C:
		r.tick()
	}
}

// pause is how long nothing has to be done. The time to the next look runs by the monotonic clock, that to the next message
// by the wall clock.
func (r *running) pause() time.Duration {
	if len(r.backlog) > 0 {
		return 0
	}
	pause := time.Until(r.nextLook)
	if len(r.soon) > 0 {
		pause = min(pause, max(r.soonest.Sub(r.q.opt.Now()), time.Until(r.noTick)))
	}
	if len(r.ready) > 0 && len(r.begun) > 0 && r.lent < r.spare {
		pause = min(pause, time.Until(r.begun[0].at.Add(patience(r.limit, r.lent))))
	}
	return max(pause, 0)
}

// tick does what the clock asks for.
func (r *running) tick() {
	if !time.Now().Before(r.nextLook) {
		r.look()
		return
	}
	now := r.q.opt.Now()
	if len(r.soon) == 0 || r.soonest.After(now) {
		return
	}
	defer func(began time.Time) { r.noTick = restAfter(began) }(time.Now())
	all := r.soon
	r.soon = map[string]candidate{}
	for base, c := range all {
		if c.at.After(now) {
			r.remember(base, c)
		} else {
			r.consider(c.spot)
		}
	}
}

// look reads the directories.
func (r *running) look() {
	began := time.Now()
	r.isCrowded = false
	clear(r.soon)
	clear(r.known) // routes may have another opinion by now
	spots, err := r.q.list(spool())
	r.report("look", err)
	for _, s := range spots {
		if len(r.inHand) >= maxInHand {
			r.isCrowded = true
			break
		}
		r.consider(s)
	}
	slices.SortFunc(r.backlog, func(a, b candidate) int { return a.at.Compare(b.at) })
	r.noLook = restAfter(began)
	r.nextLook = began.Add(r.poll)
	if r.nextLook.Before(r.noLook) {
		r.nextLook = r.noLook
	}
	if began.After(r.nextSweep) {
		r.nextSweep = began.Add(sweepEvery)
		r.report("sweep", r.q.Sweep())
	}
}

// restAfter is when work that began then has taken no more than its share of the time.
func restAfter(began time.Time) time.Time { return began.Add(lookShare * time.Since(began)) }

// hear looks at an entry that changed.
func (r *running) hear(name string) {
	dir, name, ok := strings.Cut(name, "/")
	if !ok {
		r.lookIn(0)
		return
	}
	for _, p := range spool() {
		if p.dir() == dir && name != "" && name[0] != '.' {
			r.consider(spot{p, name})
		}
	}
}

// consider takes an entry in hand if it is due, and remembers it if it soon will be.
func (r *running) consider(s spot) {
	base := baseOf(s.name)
	if r.inHand[base] {
		return
	}
	fi, err := r.q.fs.Lstat(r.q.path(s))
	if err != nil {
		r.report(idOf(s.name), vfs.Classify(ignore(err, fs.ErrNotExist))) // gone: whoever took it away knows why
		return
	}
	now := r.q.opt.Now()
	s.name = strings.Clone(s.name)
	c := candidate{spot: s, at: fi.ModTime()}
	switch due := (&pass{q: r.q}).isDue(c.at, now); {
	case due:
		delete(r.soon, base)
		r.inHand[baseOf(s.name)] = true
		r.backlog = append(r.backlog, c)
	case c.at.Sub(now) <= r.poll:
		r.remember(baseOf(s.name), c)
	}
}

func (r *running) remember(base string, c candidate) {
	if len(r.soon) == 0 || c.at.Before(r.soonest) {
		r.soonest = c.at
	}
	r.soon[base] = c
}

// work tries one message; a panic harms only that.
func (r *running) work(ctx context.Context, b *begun, c candidate) {
	p := &pass{q: r.q, t: r.Transport, gate: newGate(FlushOptions{}), turns: b.lane.turns, leaving: r.leaving}
	defer func() {
		if v := recover(); v != nil {
			p.failed(idOf(c.name), fmt.Errorf("panic: %v", v))
		}
		r.ended <- outcome{b, baseOf(c.name), p.stats, p.errs}
	}()
	p.work(ctx, &c, true, nil)
}

// settle takes note of what became of a message.
func (r *running) settle(o outcome) {
	delete(r.inHand, o.base)
	if o.isLent {
		r.change(o.lane, -1, -1)
	} else {
		r.change(o.lane, -1, 0)
	}
	o.isOver = true
	o.lane.ended = time.Now()
	r.enlist(o.lane)
	if o.lane.active == 0 && len(o.lane.waiting) == 0 {
		delete(r.lanes, o.lane.key)
	}
	r.stats.sum(&o.stats)
	r.report("run", errors.Join(o.errs...))
	switch {
	case o.stats.Notices > 0 && r.Changed == nil, r.isCrowded && len(r.inHand) < maxInHand/2:
		r.lookIn(0)
	case !o.stats.Next.IsZero():
		r.lookIn(o.stats.Next.Sub(r.q.opt.Now()))
	}
}

// countTail takes note of what left the queue.
func (r *running) countTail() {
	r.tail.mu.Lock()
	stats, errs := r.tail.stats, r.tail.errs
	r.tail.stats, r.tail.errs = Stats{}, nil
	r.tail.mu.Unlock()
	r.stats.sum(&stats)
	r.report("run", errors.Join(errs...))
}

// lookIn brings the next look forward, as far as the last one lets it.
func (r *running) lookIn(wait time.Duration) {
	at := time.Now().Add(wait)
	if at.Before(r.noLook) {
		at = r.noLook
	}
	if at.Before(r.nextLook) {
		r.nextLook = at
	}
}

func (r *running) report(what string, err error) {
	if err != nil && r.Report != nil {
		r.Report(fmt.Errorf("%s: %w", what, err))
	}
}

// sum adds what was done elsewhere.
func (s *Stats) sum(o *Stats) {
	s.Tried += o.Tried
	s.Done += o.Done
	s.Taken += o.Taken
	s.Damaged += o.Damaged
	s.Waiting += o.Waiting
	s.Notices += o.Notices
	s.Delivered += o.Delivered
	s.Deferred += o.Deferred
	s.Failed += o.Failed
}
