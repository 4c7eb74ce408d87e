package queue

import (
	"cmp"
	"context"
	"sync"
	"time"

	"mailx/pkg/mail"
)

// line is what the workers of a flush take their entries from, in order. An entry whose destination is crowded is put off until
// that is over. When all that are left were put off, the workers wait for an attempt that is under way, and one of them looks again
// now and then; when there is none, the first one is tried all the same.
type line struct {
	mu    sync.Mutex
	ended sync.Cond // an attempt has ended, or ctx has
	left  []candidate
	crowds
	busy int // candidates that workers have

	looking int // of these, those with a slim chance
	luck    int // how many of these were not put off since one was

	isNew bool // no attempt has ended, and that is no wonder yet

	tick      *time.Timer // has one look whether there is room where no attempt has ended
	isTicking bool

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
	l.tick = time.AfterFunc(time.Hour, l.lookAgain)
	defer l.tick.Stop()
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
		c, chance, ok := l.take(ctx)
		if !ok {
			return
		}
		isPutOff := p.work(ctx, &c, chance == sure, func() { chance = l.begun(chance) })
		if !isPutOff {
			p.progress(1)
		}
		l.done(c, chance, isPutOff)
	}
}

// chance is what is known of the destination of a candidate.
type chance uint8

const (
	fresh chance = iota // nothing that spoke against it
	sure                // it is expected there, or there is nothing else to do: it must not be put off
	slim                // it was put off for the sake of others; no longer so when the attempt begins
)

func chanceOf(room mail.Room) chance {
	if room == mail.Reserved {
		return sure
	}
	return fresh
}

// take gives the next candidate.
func (l *line) take(ctx context.Context) (c candidate, is chance, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for waited := false; ctx.Err() == nil; waited = true {
		if c, is, ok = l.next(); ok {
			if l.busy++; waited {
				l.ended.Signal() // where there was room for one there may be more
			}
			return c, is, true
		}
		if len(l.left)+l.putOff == 0 {
			break
		}
		l.setTick()
		l.ended.Wait()
	}
	return c, fresh, false
}

// setTick has somebody look again before long.
func (l *line) setTick() {
	if !l.isTicking {
		l.isTicking = true
		l.tick.Reset(slowAfter)
	}
}

// lookAgain has one of those who wait look at what was put off, though no attempt has ended: who was expected somewhere may not have
// come, and who was done may have left late.
func (l *line) lookAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isTicking = false
	l.tried = max(l.tried-1, 0)
	l.ended.Signal()
}

// next gives the next candidate that is worth a try now; any, if nothing is under way that could be waited for.
func (l *line) next() (c candidate, is chance, ok bool) {
	for len(l.left) > 0 && l.isWorthIt(&l.left[0]) {
		c, l.left = l.left[0], l.left[1:]
		if room := l.join(c); room != mail.Crowded {
			return c, chanceOf(room), true
		}
	}
	if c, room := l.expected(); room != mail.Crowded {
		return c, chanceOf(room), true
	}
	if l.isNew && l.busy > 0 || l.looking > l.luck {
		return c, fresh, false
	}
	if c, ok = l.uncertain(); ok {
		l.looking++
		return c, slim, true
	}
	if l.busy == 0 {
		c, ok = l.any()
	}
	return c, sure, ok
}

// firstDomains is how many domains a flush looks at before the first attempt has ended.
const firstDomains = 20

// isWorthIt reports whether a candidate is to be looked at. As long as nothing is known of those who were put off, it must go to
// another domain than they, or be put off without a look.
func (l *line) isWorthIt(c *candidate) bool {
	if !l.isNew || l.busy == 0 || l.putOff == 0 {
		return true
	}
	domain := domainIn(c.name)
	return domain != "" && (l.byDomain[domain] != nil || len(l.byDomain) < firstDomains)
}

func (l *line) growOld() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isNew = false
	l.ended.Broadcast()
}

// done takes back a candidate.
func (l *line) done(c candidate, was chance, isPutOff bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	if isPutOff {
		l.add(c)
	} else {
		l.tried, l.isNew = 0, false
	}
	if was == slim {
		l.looked(isPutOff)
	}
	if len(l.left)+l.putOff == 0 {
		l.ended.Broadcast()
	} else {
		l.ended.Signal() // this worker goes on, too: that is one more, and one more is what a lane takes after a success
	}
}

// begun takes note that a candidate was not put off, and gives what is to be known of it from now on.
func (l *line) begun(was chance) chance {
	if was == slim {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.looked(false)
		l.ended.Signal() // there may be more to look at
	}
	return sure
}

// looked counts one that had a slim chance. As long as these come to nothing only one worker looks at them, so that they are not in
// the way of what is under way.
func (l *line) looked(isPutOff bool) {
	l.looking--
	if l.luck++; isPutOff {
		l.luck = 0
	}
}
