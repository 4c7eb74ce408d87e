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
	all     int // that there are, apart from those that are lent
	free    int
	waiting []*turn
	isOver  bool // nobody gets one any more

	spare, lent int        // so many may be lent yet, so many are
	slow        []*holding // have waited longer for something to happen than they should, and there was no spare one
	tell        func()     // is called when one is lent; may be nil

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
	begins   func() // called when the lane gets the delivery; may be nil
	isForced bool   // it must not be put off, however crowded the lane is

	isOver  bool
	isTried bool
	err     error // errCrowded: put off; else trouble with the lane
}

// slowTurn is how long a message may take before its turn is lent: most servers that say nothing at all do so for minutes. It is
// less the more turns are lent, see patience.
const slowTurn = 2 * time.Second

// patience is slowTurn where lent of all turns are lent. Where a destination that answers may stand behind hundreds that do not,
// it is reached in seconds: the number of those that are tried at once doubles every other second.
func patience(all, lent int) time.Duration {
	return slowTurn * time.Duration(all) / time.Duration(all+lent)
}

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
	if s.most() > 0 {
		h.timer = time.AfterFunc(patience(s.all, s.lent), func() { s.lend(ctx, h) })
	}
	return h
}

// most is how many turns may be lent.
func (s *turns) most() int { return s.spare + s.lent }

// lend lets somebody else go on, too.
func (s *turns) lend(ctx context.Context, h *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case h.isLent || h.isOver:
	case s.spare == 0:
		s.slow = append(s.slow, h)
	default:
		s.lendNow(ctx, h)
	}
}

func (s *turns) lendNow(ctx context.Context, h *holding) {
	h.isLent = true
	s.spare--
	s.lent++
	if t := s.giveOn(); t != nil {
		s.carriers.Go(func() { s.carryAll(ctx, t) }) // nobody waits for them yet: the one who has lent it is not at his end
	}
	if s.tell != nil {
		s.tell()
	}
}

// takeBack has a turn that was lent be over, and lends that of the one who has waited longest for this.
func (s *turns) takeBack(ctx context.Context) {
	s.spare++
	s.lent--
	if len(s.slow) > 0 {
		h := s.slow[0]
		s.slow = s.slow[1:]
		s.lendNow(ctx, h)
	}
}

// renew begins the time of a turn anew. It reports false if it has been lent: then nothing more should be begun with it.
func (s *turns) renew(h *holding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.isLent {
		return false
	}
	if h.timer != nil {
		h.timer.Reset(patience(s.all, s.lent))
		s.forget(h)
	}
	return true
}

// forget has h wait for no spare turn.
func (s *turns) forget(h *holding) {
	s.slow = slices.DeleteFunc(s.slow, func(other *holding) bool { return other == h })
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
	if t := s.next(ctx, h); t != nil {
		s.carriers.Go(func() { s.carryAll(ctx, t) })
	}
}

// next gives a turn back, and on to the one who has waited longest. If he needs somebody to carry his message he is returned.
func (s *turns) next(ctx context.Context, h *holding) *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.isOver = true; h.isLent {
		s.takeBack(ctx)
		return nil
	}
	s.forget(h)
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

// beginning gives t, whose delivery is handed out now.
func (t *turn) beginning() *turn {
	if t.begins != nil {
		t.begins()
	}
	return t
}

// lane gives the one of a message that can go by one.
func (p *pass) lane(e *claimed, todo []mail.Recipient) mail.Lane {
	t, ok := p.t.(Pipelining)
	if !ok || p.turns == nil || len(todo) > 1 || p.gate.isNarrow() {
		return nil
	}
	return laneOf(t, envelopeFor(e.env, todo))
}

// laneOf is nil, too, where it panics: then Deliver does so again, as a rule, and that harms only this message.
func laneOf(t Pipelining, env *mail.Envelope) (lane mail.Lane) {
	defer func() {
		if recover() != nil {
			lane = nil
		}
	}()
	return t.Lane(env)
}

// tryInLane is tryInTurn for one recipient whose message goes by a lane.
func (p *pass) tryInLane(ctx context.Context, e *claimed, todo []mail.Recipient, lane mail.Lane, isForced bool) ([]record, error) {
	e.lane = lane
	t := &turn{come: make(chan struct{}), lane: lane, isForced: isForced}
	t.delivery.Env = envelopeFor(e.env, todo)
	t.delivery.Msg, t.delivery.Size = e.message()
	var recs []record
	var begin record
	t.begins = func() { begin = p.beginning(e) }
	t.delivery.Done = func(results []mail.Result) {
		if t.isOver {
			return
		}
		recs = append(p.judgeAll(ctx, e, todo, results), begin)
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
	p.failedWith(e.base, t.err)
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
		case !t.isForced && t.lane.Room() == mail.Crowded:
			t.end(false, errCrowded)
		default:
			s.carry(ctx, t, h)
		}
		t = s.next(ctx, h)
	}
}

// carry delivers in a lane. A panic of it harms only the messages that it has, and those only for a time.
func (s *turns) carry(ctx context.Context, first *turn, h *holding) {
	has := []*turn{first.beginning()}
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
		has = append(slices.DeleteFunc(has, func(t *turn) bool { return t.isOver }), t.beginning())
		return &t.delivery
	})
}
