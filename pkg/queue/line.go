package queue

import (
	"cmp"
	"context"
	"sync"
	"time"

	"mailx/pkg/mail"
)

// line is what the workers of a flush take their entries from, in order. An entry whose destination is crowded goes to
// the end of it. When all that are left were put off, the workers wait for an attempt that is under way; when there is
// none, the first one is tried all the same.
type line struct {
	mu     sync.Mutex
	ended  sync.Cond // an attempt has ended, or ctx has
	left   []candidate
	late   []candidate          // come after left
	busy   int                  // candidates that workers have
	putOff int                  // at the end of late: put off since the last attempt ended
	isNew  bool                 // no attempt has ended, and that is no wonder yet
	lanes  map[string]mail.Lane // of those that were put off

	workers, most int
	over          chan struct{} // closed when there are none
}

// firstWord is how long a flush waits for the first attempt to end before it puts off more than one message for each worker:
// at the beginning every destination is one of which nothing is heard.
const firstWord = 50 * time.Millisecond

// perTurn is how many workers there are for each message that the transport has: while one has its turn, others read the
// next message.
const perTurn = 4

// maxTurns is how many messages the transport has at most for each that it may have: with those whose turn was lent, because
// their destinations say nothing.
const maxTurns = 50

// run gives the candidates to the workers.
func (p *pass) run(ctx context.Context, due []candidate) {
	parallel, atOnce := bounds(p.opt.Parallel, p.opt.AtOnce)
	parallel = min(parallel, len(due))
	spare := min(parallel*maxTurns, atOnce) - parallel
	workers := min(parallel*perTurn, parallel+atOnce)
	l := &line{left: due, isNew: true, most: workers + spare, over: make(chan struct{})}
	l.ended.L = &l.mu
	defer context.AfterFunc(ctx, l.growOld)()
	defer time.AfterFunc(firstWord, l.growOld).Stop()
	if parallel <= 1 {
		p.worker(ctx, l)
		return
	}
	more := func(n int) {
		for range l.hire(n) {
			go func() {
				defer l.dismiss()
				p.worker(ctx, l)
			}()
		}
	}
	var carriers sync.WaitGroup
	p.turns = &turns{all: parallel, free: parallel, spare: spare, carriers: &carriers, tell: func() { more(1) }}
	p.leaving = newLeaving(p, func() {})
	more(min(workers, len(due)))
	<-l.over
	carriers.Wait()
	p.leaving.wait()
}

// bounds gives the defaults their values: how many messages there are turns for, and how many may be under way in all.
func bounds(parallel, atOnce int) (int, int) {
	parallel = cmp.Or(max(parallel, 0), DefaultParallel)
	atOnce = cmp.Or(max(atOnce, 0), max(parallel, DefaultAtOnce))
	return min(parallel, atOnce), atOnce
}

// hire counts workers who are to come, and gives how many: none when there are enough, or all others have gone.
func (l *line) hire(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.over:
		return 0
	default:
	}
	n = min(n, l.most-l.workers)
	l.workers += n
	return n
}

func (l *line) dismiss() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.workers--; l.workers == 0 {
		close(l.over)
	}
}

func (p *pass) worker(ctx context.Context, l *line) {
	for {
		if p.gate.isShut() {
			return
		}
		c, isForced, ok := l.take(ctx)
		if !ok {
			return
		}
		isPutOff := p.workOnce(ctx, &c, isForced)
		if !isPutOff {
			p.progress(1)
		}
		l.done(c, isPutOff)
	}
}

// workOnce is work, but reads nothing of what was put off before and would be again.
func (p *pass) workOnce(ctx context.Context, c *candidate, isForced bool) (isPutOff bool) {
	if c.lane != nil && !isForced {
		if c.lane.IsCrowded() {
			return true
		}
		isForced = true // who hears that it is not crowded is expected there
	}
	return p.work(ctx, c, isForced)
}

// take gives the next candidate; isForced says that it must not be put off again.
func (l *line) take(ctx context.Context) (c candidate, isForced, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.mustWait() && ctx.Err() == nil {
		l.ended.Wait()
	}
	if l.len() == 0 || ctx.Err() != nil {
		return c, false, false
	}
	from := &l.left
	if len(l.left) == 0 {
		from = &l.late
	}
	c, *from = (*from)[0], (*from)[1:]
	isForced = l.putOff > l.len()
	l.busy++
	return c, isForced, true
}

// mustWait reports that there is nothing but what was put off, or that nothing is known yet of those who were.
func (l *line) mustWait() bool {
	return l.len() > 0 && l.busy > 0 && (l.putOff >= l.len() || l.isNew && l.putOff > 0)
}

func (l *line) growOld() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isNew = false
	l.ended.Broadcast()
}

func (l *line) len() int { return len(l.left) + len(l.late) }

// shared gives the same lane to all who go the same way, for there may be a lot of them.
func (l *line) shared(lane mail.Lane) mail.Lane {
	if lane == nil {
		return nil
	}
	if l.lanes == nil {
		l.lanes = map[string]mail.Lane{}
	}
	known := l.lanes[lane.Key()]
	if known == nil {
		known = lane
		l.lanes[lane.Key()] = lane
	}
	return known
}

// done takes back a candidate.
func (l *line) done(c candidate, isPutOff bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	if isPutOff {
		c.lane = l.shared(c.lane)
		l.late = append(l.late, c)
		l.putOff++
	} else {
		l.putOff, l.isNew = 0, false
	}
	l.ended.Broadcast()
}
