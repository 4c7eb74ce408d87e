package fetch

import (
	"context"
	"errors"
	"time"

	"mailx/pkg/mail"
)

// How Stay waits after trouble: twice as long each time, and as at first after a pass that went well for a while.
const (
	firstPause   = time.Second
	longestPause = 5 * time.Minute
	goodPass     = time.Minute
)

// How UntilSuspend looks at the clock.
const (
	clockEvery = 10 * time.Second
	clockJump  = 30 * time.Second
)

// ErrSuspended ends a session because this host was suspended: the server has most likely forgotten it.
var ErrSuspended = errors.New("this host was suspended")

// Stay calls pass until ctx ends, and then returns nil. A pass opens a session and goes on until it breaks: its error is told,
// and after a pause the next one begins. Only a first pass that fails for good is an error: then it never worked.
func Stay(ctx context.Context, pass func(context.Context) error, told func(err error, pause time.Duration)) error {
	pause := firstPause
	for first := true; ; first = false {
		start := time.Now()
		inner, stop := UntilSuspend(ctx)
		err := pass(inner)
		suspended := errors.Is(context.Cause(inner), ErrSuspended)
		stop()
		lasted := time.Since(start)
		switch {
		case ctx.Err() != nil:
			return nil
		case suspended:
			pause = firstPause
			continue
		case first && err != nil && mail.StatusOf(err).IsPermanent() && lasted < goodPass:
			return err
		case err == nil || lasted >= goodPass:
			pause = firstPause
		}
		if err != nil {
			told(err, pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// UntilSuspend gives a context that ends with ErrSuspended when the clock on the wall has run ahead of ours, which stands
// still while a host is suspended.
func UntilSuspend(parent context.Context) (context.Context, context.CancelFunc) {
	return untilJump(parent, func() time.Time { return time.Now().Round(0) }) // without the monotonic reading
}

func untilJump(parent context.Context, wall func() time.Time) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		ticks := time.NewTicker(clockEvery)
		defer ticks.Stop()
		for last := wall(); ; {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
			}
			now := wall()
			if now.Sub(last) > clockEvery+clockJump {
				cancel(ErrSuspended)
				return
			}
			last = now
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
