package delivery

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A server may take minutes to greet (RFC 5321 §4.5.3.2.1), and as a rule it gets them. Where there are a lot that say nothing,
// each of them has a place that somebody else could use, and gets less.
const (
	manyOpening = 100         // connections on which there is no session yet
	openingTime = time.Minute // that each has, with the connection and what comes before MAIL, while there are more
)

// errKeepsWaiting is why a connection is given up that others wait for.
var errKeepsWaiting = errors.New("no answer for a minute, and more than a hundred other connections wait for one, too")

// openings counts connections on which there is no session yet.
type openings struct {
	mu    sync.Mutex
	count int
}

// begin counts one more. Its ctx ends when it has taken too long; end has to be called.
func (o *openings) begin(ctx context.Context) (opening context.Context, end func()) {
	opening, cancel := context.WithCancelCause(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	isOver := false
	var timer *time.Timer
	giveUp := func(cause error) {
		if !isOver {
			isOver = true
			o.count--
			cancel(cause)
		}
	}
	timer = time.AfterFunc(openingTime, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case o.count > manyOpening:
			giveUp(errKeepsWaiting)
		case !isOver:
			timer.Reset(time.Second)
		}
	})
	return opening, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		giveUp(nil)
		timer.Stop()
	}
}

// isMany reports that a lot of servers say nothing.
func (o *openings) isMany() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count > manyOpening
}
