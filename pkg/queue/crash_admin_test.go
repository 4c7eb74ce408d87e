package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// What people do to entries is walked in the same way as attempts are: every call fails once, fails for ever, or is the last one
// before the power goes. Then the person, who has seen no success, does it again.

// deed is something that a person does to an entry.
type deed struct {
	name   string
	sender string
	rcpts  []string
	state  State // in which the entry is before; those but StateNew after a flush
	do     func(q *Queue, id string) error
	after  string // the state in which every trial ends: that of the entry, or ""
	got    string // who has the message in the end, after a flush: "ok" for those, "all", or "none"
	notice bool   // the sender hears of a failure, once if the first time was a success
}

func deeds() []deed {
	hold := func(q *Queue, id string) error { return q.Hold(id) }
	release := func(q *Queue, id string) error { return q.Release(id) }
	retry := func(q *Queue, id string) error { return q.Retry(id) }
	remove := func(q *Queue, id string) error { return q.Remove(id) }
	bounce := func(q *Queue, id string) error { return q.Bounce("because", id) }
	both := []string{"ok@y", "temp@y"}
	return []deed{
		{"hold new", "s@x", []string{"ok@y"}, StateNew, hold, "held", "none", false},
		{"hold deferred", "s@x", both, StateTried, hold, "held", "ok", false},
		{"hold held", "s@x", both, StateHeld, hold, "held", "ok", false},
		{"release held", "s@x", both, StateHeld, release, "deferred", "all", false},
		{"release failed", "", []string{"ok@y", "perm@y"}, StateFailed, release, "deferred", "all", false},
		{"release deferred", "s@x", both, StateTried, release, "deferred", "all", false},
		{"retry", "s@x", both, StateTried, retry, "deferred", "all", false},
		{"remove new", "s@x", []string{"ok@y"}, StateNew, remove, "", "none", false},
		{"remove deferred", "s@x", both, StateTried, remove, "", "ok", false},
		{"remove held", "s@x", both, StateHeld, remove, "", "ok", false},
		{"remove failed", "", []string{"ok@y", "perm@y"}, StateFailed, remove, "", "ok", false},
		{"bounce new", "s@x", []string{"ok@y"}, StateNew, bounce, "", "none", true},
		{"bounce deferred", "s@x", both, StateTried, bounce, "", "ok", true},
		{"bounce held", "s@x", both, StateHeld, bounce, "", "ok", true},
		{"bounce notice", "", []string{"temp@y"}, StateTried, bounce, "failed", "none", false},
	}
}

func TestCrashDeeds(t *testing.T) {
	for _, d := range deeds() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			crashDeed(t, d)
		})
	}
}

func crashDeed(t *testing.T, d deed) {
	w := newWorld(t)
	w.enqueue(&mail.Envelope{ID: "m1", Sender: addr(d.sender), Rcpts: rcpts(d.rcpts...)}, ketchup)
	id := onlyItem(t, w.q).ID
	if d.state != StateNew {
		w.flush(FlushOptions{})
		w.clock.add(time.Hour)
	}
	if d.state == StateHeld {
		if err := w.q.Hold(id); err != nil {
			t.Fatal(err)
		}
	}
	if got := onlyItem(t, w.q).State; got != d.state {
		t.Fatalf("the entry is %s, want %s", got, d.state)
	}
	w.mem.SyncAll()
	n, every := 0, crashEvery()
	for trial := range vfs.Trials(w.mem, func(fsys vfs.FS) error {
		q, err := Open(fsys, "/q", w.options())
		if err != nil {
			return err
		}
		return d.do(q, id)
	}) {
		if n++; n%every != 0 {
			continue
		}
		q := w.open(trial.Mem)
		if trial.Err != nil || trial.Killed {
			if err := d.do(q, id); err != nil && !errors.Is(err, ErrNotFound) {
				t.Fatalf("%s\nthe second time: %v", trial, err)
			}
		}
		d.checkState(t, trial, q)
		end := &fake{}
		end.then = func(_ *mail.Envelope, results []mail.Result) []mail.Result {
			for i := range results {
				results[i].Err = nil
			}
			return results
		}
		if stats := w.drain(q, end); stats.Damaged > 0 {
			t.Errorf("%s\n%+v", trial, stats)
		}
		d.checkEnd(t, trial, w.fake, end)
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d trials", n)
}

// onlyItem is the entry of a queue that has one.
func onlyItem(t *testing.T, q *Queue) Item {
	t.Helper()
	var all []Item
	for item, err := range q.List(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, item)
	}
	if len(all) != 1 {
		t.Fatalf("%d entries, want 1", len(all))
	}
	return all[0]
}

// checkState wants the entry in its state, once, and nothing else but notices.
func (d *deed) checkState(t *testing.T, trial vfs.Trial, q *Queue) {
	t.Helper()
	state := ""
	for item, err := range q.List(context.Background()) {
		switch {
		case err != nil:
			t.Fatalf("%s\n%v", trial, err)
		case item.Envelope == nil || item.Envelope.ID != "m1":
		case state != "":
			t.Errorf("%s\nthe entry is there twice", trial)
		default:
			state = string(item.State)
		}
	}
	if state == "new" && d.after == "deferred" { // a loss of power may take the mark of the try away
		state = d.after
	}
	if state != d.after {
		t.Errorf("%s\nthe entry is %q, want %q", trial, state, d.after)
	}
}

// checkEnd wants the message with whom it is for, and once; and the notice.
func (d *deed) checkEnd(t *testing.T, trial vfs.Trial, before, end *fake) {
	t.Helper()
	for _, r := range d.rcpts {
		want := 0
		if d.got == "all" || d.got == "ok" && r == "ok@y" {
			want = 1
		}
		if got := before.got[r+" m1"] + end.got[r+" m1"]; got != want {
			t.Errorf("%s\n%s got the message %d times, want %d", trial, r, got, want)
		}
	}
	notices := 0
	for key, n := range end.got {
		var to, id string
		if fmt.Sscan(key, &to, &id); to == d.sender && id != "m1" {
			notices += n
		}
	}
	isTwiceOK := trial.Err != nil || trial.Killed
	if d.notice != (notices > 0) || notices > 1 && !isTwiceOK {
		t.Errorf("%s\nthe sender got %d notices", trial, notices)
	}
}
