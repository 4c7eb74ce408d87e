package queue

import (
	"errors"
	"time"

	"mailx/pkg/mail"
)

// CommitTried is Commit for a message whose first try was made elsewhere and failed for a time, as mailx send does: the
// entry shows what came of that, and waits for its second try. Only the Commit is a promise; the rest is for people and
// for the schedule, and its failure goes to the log.
func (e *Entry) CommitTried(results []mail.Result) error {
	if err := e.Commit(); err != nil {
		return err
	}
	if err := e.q.noteTry(spot{inNew, e.d.Name()}, results); err != nil && !errors.Is(err, errTaken) {
		e.q.opt.Log.Slog().Warn("first try of a message is not recorded", "queue_id", e.ID(), "error", err)
	}
	return nil
}

// noteTry works under the lock: a flush that is quicker may have finished the entry, and then there is nothing to note.
func (q *Queue) noteTry(s spot, results []mail.Result) error {
	e, err := q.claim(s)
	if err != nil {
		return err
	}
	defer e.release()
	if err := e.load(); err != nil {
		return err
	}
	now := q.opt.Now()
	recs := []record{{kind: kindTry, tries: 1, at: earlier(e.env.Arrived, now)}}
	for _, res := range match(e.env.Rcpts, results) {
		if rec := recordOf(res); rec.kind == kindTemp {
			rec.at = now
			recs = append(recs, rec)
			q.logRecord(e, &rec)
		}
	}
	if err := q.note(e.base, e.prog, recs); err != nil {
		return err
	}
	if e.env.HoldUntil.After(now) {
		return nil
	}
	return e.postpone(e.next())
}

// earlier is for a try that began when the message arrived, unless a clock is wrong.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
