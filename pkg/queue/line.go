package queue

import (
	"cmp"
	"context"
	"sync"
)

// line is what the workers of a flush take their entries from, in order. An entry whose destination is crowded goes to
// the end of it. When all that are left were put off, the workers wait for an attempt that is under way; when there is
// none, the first one is tried all the same.
type line struct {
	mu     sync.Mutex
	ended  sync.Cond // an attempt has ended, or ctx has
	left   []candidate
	busy   int // candidates that workers have
	putOff int // at the end of left: put off since the last attempt ended
}

// perTurn is how many workers there are for each message that the transport has: while one has its turn, others read the
// next message, or wait for the disk to forget the last one.
const perTurn = 5

// run gives the candidates to the workers.
func (p *pass) run(ctx context.Context, due []candidate) {
	l := &line{left: due}
	l.ended.L = &l.mu
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended.Broadcast()
	})()
	parallel := min(cmp.Or(max(p.opt.Parallel, 0), DefaultParallel), len(due))
	if parallel == 1 {
		p.worker(ctx, l)
		return
	}
	p.turns = &turns{free: parallel}
	var wg sync.WaitGroup
	for range min(parallel*perTurn, len(due)) {
		wg.Go(func() { p.worker(ctx, l) })
	}
	wg.Wait()
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
		isPutOff := p.work(ctx, c, isForced)
		if !isPutOff {
			p.progress(1)
		}
		l.done(c, isPutOff)
	}
}

// take gives the next candidate; isForced says that it must not be put off again.
func (l *line) take(ctx context.Context) (c candidate, isForced, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.left) > 0 && l.putOff >= len(l.left) && l.busy > 0 && ctx.Err() == nil {
		l.ended.Wait()
	}
	if len(l.left) == 0 || ctx.Err() != nil {
		return c, false, false
	}
	c, l.left = l.left[0], l.left[1:]
	isForced = l.putOff > len(l.left)
	l.busy++
	return c, isForced, true
}

// done takes back a candidate.
func (l *line) done(c candidate, isPutOff bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	if isPutOff {
		l.left = append(l.left, c)
		l.putOff++
	} else {
		l.putOff = 0
	}
	l.ended.Broadcast()
}
