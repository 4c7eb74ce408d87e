package delivery

import (
	"context"
	"errors"
	"time"

	"mailx/pkg/mail"
)

// A sender who waits gives the whole attempt a time, and a first server that takes connections and says nothing would have all of
// it. So as long as there is something else to try, a server, and each of its addresses, has half of what is left until it has
// greeted and said what it can: of thirty seconds fifteen, which those that greet late on purpose can do with, and however many
// there are, each gets a part. The last one has the rest. A password that somebody has to type takes nothing away from anybody.

// errOthersWait is why a server is given up for the next one.
var errOthersWait = errors.New("no answer in its part of the time; there are others to try")

// half gives the end of the first part of the time until by, or until ctx ends if by is zero; by if that is all, as nothing else
// can be tried, or if there is no end.
func half(ctx context.Context, by time.Time, more bool) time.Time {
	end := by
	if end.IsZero() {
		end, _ = ctx.Deadline()
	}
	if !more || end.IsZero() {
		return by
	}
	return time.Now().Add(time.Until(end) / 2)
}

// inTime gives a context for what is to be done by t.by.
func (t *tries) inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.by.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, t.by, errOthersWait)
}

func (t *tries) isLate() bool { return !t.by.IsZero() && !time.Now().Before(t.by) }

// silence gives an error that came because a server had no more time the look of any other silence.
func silence(within context.Context, s Server, err error) error {
	cause := context.Cause(within)
	if err == nil || !errors.Is(cause, errOthersWait) && !errors.Is(cause, errKeepsWaiting) {
		return err
	}
	return mail.Temporaryf(4, 1, "Nothing was heard from %s: %w", s.name(), cause)
}
