package delivery

import (
	"sync"
	"time"
)

// places are those of the destinations of one message at its Relay: so many are worked on at once. Who takes long gives his place
// to another one, so that hundreds of recipients with silent servers do not hold up the rest.
type places struct {
	of   *lent
	free chan struct{}

	mu   sync.Mutex
	lent int
}

// lent counts the destinations that have given their places away, of all messages.
type lent struct {
	mu   sync.Mutex
	many int
}

const (
	slowPlace = 2 * time.Second // that a destination may take; less when places of the message are lent already
	maxLent   = 1000            // in all
)

func newPlaces(of *lent) *places { return &places{of: of, free: make(chan struct{}, maxDestinations)} }

// take waits for a place; give gives it back.
func (p *places) take() (give func()) {
	p.free <- struct{}{}
	h := &placed{of: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	h.timer = time.AfterFunc(slowPlace*maxDestinations/time.Duration(maxDestinations+p.lent), h.lend)
	return h.give
}

// placed is somebody's.
type placed struct {
	of             *places
	timer          *time.Timer
	isLent, isOver bool // under of.mu
}

func (h *placed) lend() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	switch {
	case h.isOver:
	case !h.of.of.add():
		h.timer.Reset(slowPlace)
	default:
		h.isLent = true
		h.of.lent++
		<-h.of.free
	}
}

func (h *placed) give() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.timer.Stop()
	h.isOver = true
	if !h.isLent {
		<-h.of.free
		return
	}
	h.of.lent--
	h.of.of.remove()
}

// add reports that one more may be lent.
func (l *lent) add() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.many == maxLent {
		return false
	}
	l.many++
	return true
}

func (l *lent) remove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.many--
}
