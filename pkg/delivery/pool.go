package delivery

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// pool keeps connections by destination: idle ones to be used again, a bounded number under way at once, and the memory of
// destinations and hosts that could not be reached. A destination of which there is nothing to know is forgotten.
type pool struct {
	mu     sync.Mutex
	dests  map[string]*destination
	hosts  map[string]death // by address
	idle   []*idleClient    // of all destinations, the one used last is the last
	closed bool
}

// maxIdle is how many connections are kept in all.
const maxIdle = 100

// How many connections a destination gets: so many to begin with, one more for each message that went well, half as many
// after trouble.
const firstWindow = 5

// A destination where nothing has ended for so long gets no more than so many of those who can do something else.
const (
	slowAfter = time.Second
	slowLimit = 2
)

// apartFor is how long it is remembered that a destination loses what comes behind a text.
const apartFor = time.Hour

// destination is one key of the pool. Its fields are guarded by the pool.
type destination struct {
	key     string
	users   int // that hold or wait for a slot
	active  int // that hold one
	window  int // that may
	max     int // that window may become
	waiting []chan struct{}
	ended   time.Time     // when the last slot was given back; zero: never
	coming  []time.Time   // when room was reserved for those who are not here yet
	idle    []*idleClient // the last used is the last
	apart   time.Time     // until then no message is begun before the end of the one before
	death
}

// death is the memory of something that could not be reached.
type death struct {
	deadUntil time.Time
	deadErr   error
}

type idleClient struct {
	*smtp.Client
	at    *destination
	timer *time.Timer // ends it when it has been idle for too long
}

// enter waits for a slot at a destination, which has at most limit; leave gives it back.
func (p *pool) enter(ctx context.Context, key string, limit int) (*destination, error) {
	p.mu.Lock()
	d := p.destination(key, limit)
	d.coming = d.coming[min(1, len(d.coming)):]
	d.users++
	if d.active < d.window {
		d.active++
		p.mu.Unlock()
		return d, nil
	}
	turn := make(chan struct{})
	d.waiting = append(d.waiting, turn)
	p.mu.Unlock()
	select {
	case <-turn:
		return d, nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.giveUp(d, turn)
		return nil, interrupted(ctx)
	}
}

func interrupted(ctx context.Context) error {
	return mail.Temporaryf(4, 2, "Delivery was interrupted: %w", context.Cause(ctx))
}

func (p *pool) destination(key string, limit int) *destination {
	if p.dests == nil {
		p.dests = map[string]*destination{}
	}
	d := p.dests[key]
	if d == nil {
		d = &destination{key: key, window: min(firstWindow, limit), max: limit}
		p.dests[key] = d
	}
	return d
}

// giveUp takes back a wish for a slot, or the slot if it came at the same moment.
func (p *pool) giveUp(d *destination, turn chan struct{}) {
	if i := slices.Index(d.waiting, turn); i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
	} else {
		d.active--
		d.wake()
	}
	p.dismiss(d)
}

// leave gives a slot back. isWell says that the destination could take more.
func (p *pool) leave(d *destination, isWell bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isWell {
		d.window = min(d.window+1, d.max)
	} else {
		d.window = max(d.window/2, 1)
	}
	d.active--
	d.ended = now
	d.wake()
	p.dismiss(d)
}

// goOn counts a message that the destination was ready to take, by one who keeps his slot. It reports that he may go on with
// another one: nobody waits for the slot, and the destination bears it.
func (p *pool) goOn(d *destination, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.window = min(d.window+1, d.max)
	d.ended = now
	d.wake()
	return len(d.waiting) == 0 && !now.Before(d.apart)
}

// keepApart has each message at d wait for the end of the one before.
func (p *pool) keepApart(d *destination, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.apart = now.Add(apartFor)
}

// wake hands free slots to those who have waited longest.
func (d *destination) wake() {
	for d.active < d.window && len(d.waiting) > 0 {
		d.active++
		close(d.waiting[0])
		d.waiting = d.waiting[1:]
	}
}

// room says whether one more message may come. Where nothing is heard of a destination it is crowded when enough have to wait; one is
// enough where there are many such destinations.
func (p *pool) room(key string, limit int, areMany bool, now time.Time) mail.Room {
	enough := slowLimit
	if areMany {
		enough = 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.destination(key, limit)
	if now.Sub(d.ended) <= slowAfter {
		return mail.Free
	}
	d.coming = slices.DeleteFunc(d.coming, func(t time.Time) bool { return now.Sub(t) > slowAfter })
	if d.users+len(d.coming) >= enough {
		return mail.Crowded
	}
	d.coming = append(d.coming, now)
	return mail.Reserved
}

// unreserve takes back that somebody is expected.
func (p *pool) unreserve(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.dests[key]
	if d == nil || len(d.coming) == 0 {
		return
	}
	if d.coming = d.coming[:len(d.coming)-1]; len(d.coming) == 0 {
		p.forget(d)
	}
}

func (p *pool) dismiss(d *destination) {
	d.users--
	p.forget(d)
}

func (p *pool) forget(d *destination) {
	if d.users == 0 && len(d.idle) == 0 && d.deadErr == nil && d.apart.IsZero() {
		delete(p.dests, d.key)
	}
}

// take gives an idle connection, the one used last; nil if there is none.
func (p *pool) take(d *destination) *smtp.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(d.idle)
	if n == 0 {
		return nil
	}
	c := d.idle[n-1]
	d.idle = d.idle[:n-1]
	c.timer.Stop()
	p.forgetIdle(c)
	return c.Client
}

// put keeps a connection for others, for limit at most, or ends it.
func (p *pool) put(d *destination, c *smtp.Client, limit time.Duration) {
	p.mu.Lock()
	if p.closed || !c.Usable() || limit <= 0 {
		p.mu.Unlock()
		c.Quit()
		return
	}
	defer p.mu.Unlock()
	if len(p.idle) == maxIdle {
		oldest := p.idle[0]
		oldest.timer.Stop()
		p.drop(oldest)
		go oldest.Quit()
	}
	idle := &idleClient{Client: c, at: d}
	idle.timer = time.AfterFunc(limit, func() {
		if p.remove(idle) {
			idle.Quit()
		}
	})
	d.idle, p.idle = append(d.idle, idle), append(p.idle, idle)
}

// remove reports whether c was still idle.
func (p *pool) remove(c *idleClient) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drop(c)
}

func (p *pool) drop(c *idleClient) bool {
	i := slices.Index(c.at.idle, c)
	if i < 0 {
		return false
	}
	c.at.idle = slices.Delete(c.at.idle, i, i+1)
	p.forgetIdle(c)
	p.forget(c.at)
	return true
}

func (p *pool) forgetIdle(c *idleClient) {
	if i := slices.Index(p.idle, c); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
}

// dead gives the error for a destination that could not be reached, nil if that is long ago.
func (p *pool) dead(d *destination, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.deadErr != nil && !now.Before(d.deadUntil) {
		d.deadErr = nil
	}
	return d.deadErr
}

// bury remembers that d can't be reached, and forgets those of which that is no longer known.
func (p *pool) bury(d *destination, err error, now time.Time, limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, old := range p.dests {
		isOver := old.deadErr != nil && !now.Before(old.deadUntil)
		if isOver {
			old.deadErr = nil
		}
		if !old.apart.IsZero() && !now.Before(old.apart) {
			old.apart, isOver = time.Time{}, true
		}
		if isOver {
			p.forget(old)
		}
	}
	d.deadErr, d.deadUntil = err, now.Add(limit)
}

// deadHost gives the error for an address that could not be reached, nil if that is long ago.
func (p *pool) deadHost(address string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h, found := p.hosts[address]; found && now.Before(h.deadUntil) {
		return h.deadErr
	}
	delete(p.hosts, address)
	return nil
}

// buryHost remembers that an address can't be reached.
func (p *pool) buryHost(address string, err error, now time.Time, limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.hosts, func(_ string, h death) bool { return !now.Before(h.deadUntil) })
	if p.hosts == nil {
		p.hosts = map[string]death{}
	}
	p.hosts[address] = death{now.Add(limit), err}
}

// buried gives the keys of the destinations that can't be reached now.
func (p *pool) buried(now time.Time) (keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, d := range p.dests {
		if d.deadErr != nil && now.Before(d.deadUntil) {
			keys = append(keys, key)
		}
	}
	return keys
}

// close ends all idle connections and keeps no more; those in use end after their message.
func (p *pool) close() {
	p.mu.Lock()
	p.closed, p.hosts, p.idle = true, nil, nil
	var idle []*idleClient
	for key, d := range p.dests {
		idle = append(idle, d.idle...)
		d.idle, d.deadErr = nil, nil
		if d.users == 0 {
			delete(p.dests, key)
		}
	}
	p.mu.Unlock()
	var ending sync.WaitGroup
	for _, c := range idle {
		c.timer.Stop()
		ending.Go(c.Quit)
	}
	ending.Wait()
}
