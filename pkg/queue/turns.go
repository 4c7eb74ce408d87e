package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mailx/pkg/mail"
)

// turns are those of the messages of a flush at its transport: so many at once, and the others wait in their order. Who waits
// may have his turn earlier, behind a message that goes the same way. A turn that takes long is lent.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []*turn
	isOver  bool   // nobody gets one any more
	spare   int    // so many may be lent yet
	lent    func() // is called when one is; may be nil

	carriers *sync.WaitGroup // who may be at the end of their way when the messages have been settled
}

// maxOvertaken is how many may have their turn before the one who has waited longest.
const maxOvertaken = 100

// turn is somebody's wish for one: to deliver by himself, or to have his message carried in a lane.
type turn struct {
	come      chan struct{} // closed when he has it; with a lane, when it is over
	overtaken int

	lane     mail.Lane
	delivery mail.Delivery
	isForced bool // it must not be put off, however crowded the lane is

	isOver  bool
	isTried bool
	err     error // errCrowded: put off; else trouble with the lane
}

// slowTurn is how long a message may take before its turn is lent: most servers that say nothing at all do so for minutes.
const slowTurn = 2 * time.Second

// holding is a turn of somebody, who may have lent it: then another one has it, too, and he does not give it on.
type holding struct {
	isLent, isOver bool // under turns.mu
	timer          *time.Timer
}

// hold begins the time of a turn.
func (s *turns) hold(ctx context.Context) *holding {
	h := &holding{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare > 0 {
		h.timer = time.AfterFunc(slowTurn, func() { s.lend(ctx, h) })
	}
	return h
}

// lend lets somebody else go on, too.
func (s *turns) lend(ctx context.Context, h *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.isLent || h.isOver || s.spare == 0 {
		return
	}
	h.isLent = true
	s.spare--
	if t := s.giveOn(); t != nil {
		s.carriers.Go(func() { s.carryAll(ctx, t) }) // nobody waits for them yet: the one who has lent it is not at his end
	}
	if s.lent != nil {
		s.lent()
	}
}

// renew begins the time of a turn anew. It reports false if it has been lent: then nothing more should be begun with it.
func (s *turns) renew(h *holding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.timer != nil && !h.isLent {
		h.timer.Reset(slowTurn)
	}
	return !h.isLent
}

// take waits for a turn; nil: there are no more.
func (s *turns) take(ctx context.Context) *holding {
	t := &turn{come: make(chan struct{})}
	if !s.begin(t) {
		if <-t.come; t.isOver {
			return nil
		}
	}
	return s.hold(ctx)
}

// begin reports that t has its turn at once. Else it waits, or is over.
func (s *turns) begin(t *turn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isOver:
		t.end(false, nil)
		return false
	case s.free == 0:
		s.waiting = append(s.waiting, t)
		return false
	}
	s.free--
	return true
}

// stop sends those away who wait, and those who come.
func (s *turns) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.waiting {
		t.end(false, nil)
	}
	s.waiting, s.isOver = nil, true
}

// give gives back what take has given.
func (s *turns) give(ctx context.Context, h *holding) {
	if t := s.next(h); t != nil {
		s.carriers.Go(func() { s.carryAll(ctx, t) })
	}
}

// next gives a turn back, and on to the one who has waited longest. If he needs somebody to carry his message he is returned.
func (s *turns) next(h *holding) *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.isOver = true; h.isLent {
		s.spare++
		return nil
	}
	return s.giveOn()
}

func (s *turns) giveOn() *turn {
	if len(s.waiting) == 0 {
		s.free++
		return nil
	}
	t := s.waiting[0]
	s.waiting = s.waiting[1:]
	if t.lane == nil {
		close(t.come)
		return nil
	}
	return t
}

// follower gives one who waits for the same lane.
func (s *turns) follower(key string) *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range s.waiting {
		if t.lane != nil && t.lane.Key() == key {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return t
		}
		if i == 0 {
			if t.overtaken == maxOvertaken {
				return nil
			}
			t.overtaken++
		}
	}
	return nil
}

// end tells the one who waits, once.
func (t *turn) end(isTried bool, err error) {
	if !t.isOver {
		t.isOver, t.isTried = true, isTried
		t.err = cmp.Or(err, t.err)
		close(t.come)
	}
}

// lane gives the one of a message that can go by one.
func (p *pass) lane(e *claimed, todo []mail.Recipient) mail.Lane {
	t, ok := p.t.(Pipelining)
	if !ok || p.turns == nil || len(todo) > 1 || p.gate.isNarrow() {
		return nil
	}
	return t.Lane(envelopeFor(e.env, todo))
}

// tryInLane is tryInTurn for one recipient whose message goes by a lane.
func (p *pass) tryInLane(ctx context.Context, e *claimed, todo []mail.Recipient, lane mail.Lane, isForced bool) ([]record, error) {
	e.lane = lane
	t := &turn{come: make(chan struct{}), lane: lane, isForced: isForced}
	t.delivery.Env = envelopeFor(e.env, todo)
	t.delivery.Msg, t.delivery.Size = e.message()
	var recs []record
	t.delivery.Done = func(results []mail.Result) {
		if t.isOver {
			return
		}
		recs = append(p.judgeAll(ctx, e, todo, results), p.beginning(e))
		p.secure(e, recs)
		t.end(true, nil)
	}
	if p.turns.begin(t) {
		p.turns.carriers.Go(func() { p.turns.carryAll(ctx, t) })
	}
	<-t.come
	if !t.isTried {
		return nil, t.err
	}
	p.failed(idOf(e.base), t.err)
	p.tellOfTry(e, recs)
	return recs, nil
}

// carryAll has a turn, for t and for those who come after it.
func (s *turns) carryAll(ctx context.Context, t *turn) {
	for t != nil {
		h := s.hold(ctx)
		switch {
		case ctx.Err() != nil:
			t.end(false, nil)
		case !t.isForced && t.lane.IsCrowded():
			t.end(false, errCrowded)
		default:
			s.carry(ctx, t, h)
		}
		t = s.next(h)
	}
}

// carry delivers in a lane. A panic of it harms only the messages that it has, and those only for a time.
func (s *turns) carry(ctx context.Context, first *turn, h *holding) {
	has := []*turn{first}
	defer func() {
		var err error
		if r := recover(); r != nil {
			err = fmt.Errorf("transport panicked: %v", r)
		}
		for _, t := range has {
			if !t.isOver {
				t.err = err
				t.delivery.Done(nil)
			}
		}
	}()
	first.lane.Carry(ctx, &first.delivery, func() *mail.Delivery {
		if ctx.Err() != nil || !s.renew(h) {
			return nil
		}
		t := s.follower(first.lane.Key())
		if t == nil {
			return nil
		}
		has = append(slices.DeleteFunc(has, func(t *turn) bool { return t.isOver }), t)
		return &t.delivery
	})
}
