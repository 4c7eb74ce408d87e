package delivery

import (
	"context"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// pool keeps connections by destination: idle ones to be used again, at most limit under way at once, and the memory of
// destinations that could not be reached. A destination of which there is nothing to know is forgotten.
type pool struct {
	mu     sync.Mutex
	dests  map[string]*destination
	closed bool
}

// destination is one key of the pool. Its fields are guarded by the pool, but for slots.
type destination struct {
	key       string
	users     int // that hold or wait for a slot
	slots     chan struct{}
	idle      []*idleClient // the last used is the last
	deadUntil time.Time
	deadErr   error
}

type idleClient struct {
	*smtp.Client
	timer *time.Timer // ends it when it has been idle for too long
}

// enter waits for a slot at a destination; leave gives it back.
func (p *pool) enter(ctx context.Context, key string, limit int) (*destination, error) {
	p.mu.Lock()
	if p.dests == nil {
		p.dests = map[string]*destination{}
	}
	d := p.dests[key]
	if d == nil {
		d = &destination{key: key, slots: make(chan struct{}, limit)}
		p.dests[key] = d
	}
	d.users++
	p.mu.Unlock()
	select {
	case d.slots <- struct{}{}:
		return d, nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dismiss(d)
		return nil, mail.Temporaryf(4, 2, "Delivery was interrupted: %w", context.Cause(ctx))
	}
}

func (p *pool) leave(d *destination) {
	<-d.slots
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dismiss(d)
}

func (p *pool) dismiss(d *destination) {
	d.users--
	p.forget(d)
}

func (p *pool) forget(d *destination) {
	if d.users == 0 && len(d.idle) == 0 && d.deadErr == nil {
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
	idle := &idleClient{Client: c}
	idle.timer = time.AfterFunc(limit, func() {
		if p.remove(d, idle) {
			idle.Quit()
		}
	})
	d.idle = append(d.idle, idle)
}

// remove reports whether c was still idle.
func (p *pool) remove(d *destination, c *idleClient) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range d.idle {
		if other == c {
			d.idle = append(d.idle[:i], d.idle[i+1:]...)
			p.forget(d)
			return true
		}
	}
	return false
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
		if old.deadErr != nil && !now.Before(old.deadUntil) {
			old.deadErr = nil
			p.forget(old)
		}
	}
	d.deadErr, d.deadUntil = err, now.Add(limit)
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
	p.closed = true
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
