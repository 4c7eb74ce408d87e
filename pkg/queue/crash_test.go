package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// The crash test walks the state table of the package comment: every call of Enqueue and of each kind of attempt fails
// once, fails for ever, or is the last one before the power goes; then a new process works on what is left.

func TestCrashEnqueue(t *testing.T) {
	crashEnqueue(t, nothingLost, func(e *Entry) error { return e.Commit() })
}

// A directory that somebody removed is made again no less durably than at the start.
func TestCrashEnqueueRestores(t *testing.T) {
	crashEnqueue(t, func(fsys vfs.FS) error { return removeAll(fsys, "/q") }, func(e *Entry) error { return e.Commit() })
}

func nothingLost(vfs.FS) error { return nil }

// removeAll removes a file, or a directory with what is in it.
func removeAll(fsys vfs.FS, dir string) error {
	names, err := fsys.ReadDirNames(dir)
	if err != nil && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	for _, name := range names {
		if err := removeAll(fsys, dir+"/"+name); err != nil {
			return err
		}
	}
	return fsys.Remove(dir)
}

// What was tried elsewhere is promised just the same, and the note of it breaks nothing.
func TestCrashEnqueueTried(t *testing.T) {
	failed := mail.Result{Recipient: rcpts("ok@y")[0], Err: mail.Temporaryf(4, 1, "No answer from host")}
	crashEnqueue(t, nothingLost, func(e *Entry) error { return e.CommitTried([]mail.Result{failed}) })
}

// crashEnqueue has lose done once the queue is open.
func crashEnqueue(t *testing.T, lose func(vfs.FS) error, commit func(*Entry) error) {
	w := newWorld(t)
	w.mem.SyncAll()
	text := ketchup + strings.Repeat("more\n", 100)
	op := func(fsys vfs.FS) error {
		q, err := Open(fsys, "/q", w.options())
		if err != nil {
			return err
		}
		if err := lose(fsys); err != nil {
			return err
		}
		e, err := q.Enqueue(&mail.Envelope{ID: "m1", Sender: addr("s@x"), Rcpts: rcpts("ok@y", "ok2@y")})
		if err != nil {
			return err
		}
		if _, err := io.WriteString(e, text); err != nil {
			e.Abort()
			return err
		}
		return commit(e)
	}
	n := 0
	for trial := range vfs.Trials(w.mem, op) {
		n++
		q, after := w.open(trial.Mem), &fake{}
		stats := w.drain(q, after)
		for _, body := range after.bodies {
			if body != text {
				t.Errorf("%s\ndelivered %q", trial, body)
			}
		}
		got := after.got["ok@y m1"]
		switch {
		case stats.Damaged > 0 || got > 1:
			t.Errorf("%s\nwas delivered %d times, %+v", trial, got, stats)
		case trial.Err == nil && got != 1:
			t.Errorf("%s\nEnqueue promised, but it was delivered %d times", trial, got)
		case trial.Err != nil && !trial.Crashed && !trial.Lasting && got != 0:
			t.Errorf("%s\nEnqueue failed, but it was delivered %d times", trial, got)
		}
	}
	if n < 100 {
		t.Errorf("only %d trials", n)
	}
}

// drain flushes until nothing is left to flush, and gives the sum of what was damaged.
func (w *world) drain(q *Queue, f *fake) (sum Stats) {
	w.t.Helper()
	for range 8 {
		stats, err := q.Flush(context.Background(), f, FlushOptions{All: true, Parallel: 1})
		if err != nil {
			w.t.Errorf("Flush afterwards: %v", err)
		}
		sum.Damaged += stats.Damaged
		if stats.Listed == 0 {
			break
		}
	}
	return sum
}

// releaseHeld is the person who looks at what could not be recorded, which may only be after a fault that stayed.
func (w *world) releaseHeld(q *Queue, trial vfs.Trial) {
	w.t.Helper()
	for item, err := range q.List(context.Background()) {
		if err != nil {
			w.t.Fatalf("%s\n%v", trial, err)
		}
		if item.State != StateHeld {
			continue
		}
		if !trial.Lasting {
			w.t.Errorf("%s\nthe message is held", trial)
		}
		if err := q.Release(item.ID); err != nil {
			w.t.Fatalf("%s\n%v", trial, err)
		}
	}
}

// attempt is a case of the crash test: an entry in some state, and what one flush makes of it.
type attempt struct {
	name   string
	sender string
	rcpts  []string
	age    time.Duration
	before int // flushes that it went through already
	notify mail.Notify
	notice string         // the sender must hear this at least once: "Action: failed"; "" if nothing may be heard
	failed []string       // what stays in .Failed
	by     mail.DeliverBy // At is the time from the arrival on
	hold   time.Duration
}

// byAfter is a request to deliver within a time.
func byAfter(d time.Duration, notify bool) mail.DeliverBy {
	return mail.DeliverBy{At: arrived.Add(d), Notify: notify}
}

func attempts() []attempt {
	return []attempt{
		{name: "succeeds", sender: "s@x", rcpts: []string{"ok@y"}},
		{name: "succeeds for several", sender: "s@x", rcpts: []string{"ok@y", "ok2@y", "ok3@z"}},
		{name: "partly succeeds", sender: "s@x", rcpts: []string{"ok@y", "temp@y"}},
		{name: "ends what was partly done", sender: "s@x", rcpts: []string{"ok@y", "later@y"}, before: 1},
		{name: "fails for a time", sender: "s@x", rcpts: []string{"temp@y"}},
		{name: "fails again", sender: "s@x", rcpts: []string{"temp@y", "temp2@y"}, before: 1},
		{name: "is late", sender: "s@x", rcpts: []string{"temp@y"}, age: 5 * time.Hour, notice: "Action: delayed"},
		{name: "bounces", sender: "s@x", rcpts: []string{"perm@y"}, notice: "Action: failed"},
		{name: "does everything", sender: "s@x", rcpts: []string{"ok@y", "temp@y", "perm@y"}, notice: "Action: failed"},
		{name: "expires", sender: "s@x", rcpts: []string{"ever@y"}, age: 121 * time.Hour, notice: "Status: 5.4.7"},
		{name: "of a bounce fails", rcpts: []string{"perm@y", "ok@y"},
			failed: []string{"failed <> perm=failed ok=delivered"}},
		{name: "tells of success", sender: "s@x", rcpts: []string{"ok@y"}, notify: mail.NotifySuccess,
			notice: "Action: delivered"},
		{name: "is returned in time", sender: "s@x", rcpts: []string{"ever@y"}, age: time.Hour,
			by: byAfter(time.Hour, false), notice: "Status: 5.4.7"},
		{name: "goes on beyond its time", sender: "s@x", rcpts: []string{"temp@y"}, age: time.Hour,
			by: byAfter(time.Hour, true), notice: "Status: 4.4.7"},
		{name: "is over its time at once", sender: "s@x", rcpts: []string{"ok@y"}, age: time.Hour,
			by: byAfter(time.Hour, true), notice: "Status: 4.4.7"},
		{name: "comes after its release", sender: "s@x", rcpts: []string{"ok@y", "ok2@y"}, age: time.Hour, hold: time.Hour},
		{name: "fails in silence", sender: "s@x", rcpts: []string{"perm@y"}, notify: mail.NotifyNever},
	}
}

func TestCrashAttempt(t *testing.T) {
	for _, a := range attempts() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			crashAttempt(t, a, func(q *Queue, to Transport) error {
				_, err := q.Flush(context.Background(), to, FlushOptions{Parallel: 1})
				return err
			})
		})
		t.Run(a.name+" and leaves", func(t *testing.T) {
			t.Parallel()
			crashAttempt(t, a, flushLeaving)
		})
	}
}

// flushLeaving is a flush that does not wait for the sync of each removal, with the one worker that makes its calls come in the
// same order each time.
func flushLeaving(q *Queue, to Transport) error {
	p := &pass{q: q, t: to, gate: newGate(FlushOptions{})}
	p.leaving = newLeaving(p, func() {})
	due, err := p.due()
	if err != nil {
		return err
	}
	p.run(context.Background(), due)
	p.leaving.wait()
	p.failed("sweep", q.Sweep())
	return errors.Join(p.errs...)
}

// crashEvery says that each n-th trial is looked at: with the race detector all of them take long. A prime
// falls on every kind of fault; MAILX_CRASH_EVERY=1 looks at all.
func crashEvery() int {
	if n, err := strconv.Atoi(os.Getenv("MAILX_CRASH_EVERY")); err == nil && n > 0 {
		return n
	}
	return 7
}

func crashAttempt(t *testing.T, a attempt, flush func(*Queue, Transport) error) {
	w := newWorld(t)
	env := &mail.Envelope{ID: "m1", Sender: addr(a.sender), By: a.by}
	if a.hold > 0 {
		env.HoldUntil = arrived.Add(a.hold)
	}
	for _, r := range rcpts(a.rcpts...) {
		r.Notify = a.notify
		env.Rcpts = append(env.Rcpts, r)
	}
	w.enqueue(env, ketchup)
	first := &fake{then: answers(true)}
	for range a.before {
		w.q.Flush(context.Background(), first, FlushOptions{All: true})
		w.clock.add(time.Hour)
	}
	w.clock.add(a.age)
	w.mem.SyncAll()
	var run *fake
	var sent int // calls made when the transport was called
	var risky window
	op := func(fsys vfs.FS) error {
		run = &fake{then: answers(false)}
		mem := fsys.(*vfs.Mem)
		spy := spyTransport{run, func() { sent = len(mem.Calls()) }}
		q, err := Open(fsys, "/q", w.options())
		if err != nil {
			return err
		}
		return flush(q, spy)
	}
	n, every := 0, crashEvery()
	for trial := range vfs.Trials(w.mem, op) {
		if n++; n == 1 {
			risky = windowOf(t, w.mem, op, &sent)
		}
		if n%every != 0 {
			continue
		}
		after := &fake{then: answers(true)}
		q := w.open(trial.Mem)
		w.releaseHeld(q, trial)
		stats := w.drain(q, after)
		if stats.Damaged > 0 {
			t.Errorf("%s\n%+v", trial, stats)
		}
		mayRepeat := trial.Lasting || risky.has(trial)
		checkDeliveries(t, trial, a, []*fake{first, run, after}, mayRepeat)
		checkNotices(t, trial, a, []*fake{first, run, after})
		if got := items(t, q); fmt.Sprint(got) != fmt.Sprint(a.failed) {
			t.Errorf("%s\nin the end the queue has %q, want %q", trial, got, a.failed)
		}
		if open := trial.Mem.OpenFiles(); len(open) > 0 {
			t.Errorf("%s\nfiles left open: %q", trial, open)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d trials", n)
}

type spyTransport struct {
	*fake
	called func()
}

func (s spyTransport) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	s.called()
	return s.fake.Deliver(ctx, env, msg, size)
}

// answers makes "later…" and, in the end, "temp…" succeed; "ever…" never does.
func answers(end bool) func(*mail.Envelope, []mail.Result) []mail.Result {
	return func(_ *mail.Envelope, results []mail.Result) []mail.Result {
		for i := range results {
			r := &results[i]
			isLater := strings.HasPrefix(r.Local, "later")
			switch {
			case strings.HasPrefix(r.Local, "ever"):
				r.Err = mail.Temporaryf(4, 1, "No answer from host")
			case end && strings.HasPrefix(r.Local, "temp"):
				r.Err = nil
			case isLater:
				r.Err = nil
			}
		}
		return results
	}
}

// window is what the package comment calls the one window: between the answer of the transport and the record of it.
type window struct {
	sent    int // calls made when the transport was called
	visible int // after so many calls, other processes see the record
	durable int // after so many, it survives a loss of power
}

// windowOf looks at a clean run. What follows the answer is first a look at the file, then the record: either a removal
// or a write to the side file, and the first sync of a directory makes it durable.
func windowOf(t *testing.T, base *vfs.Mem, op func(vfs.FS) error, sent *int) window {
	t.Helper()
	m := base.Clone()
	if err := op(m); err != nil {
		t.Fatal(err)
	}
	w := window{sent: *sent}
	for i, c := range m.Calls()[*sent:] {
		if w.visible == 0 && (c.Op == "remove" || c.Op == "write") {
			w.visible = *sent + i + 1
		}
		if w.durable == 0 && c.Op == "syncdir" {
			w.durable = *sent + i + 1
		}
	}
	return w
}

// has reports that the trial ended the run within the window.
func (w window) has(trial vfs.Trial) bool {
	var n int
	if _, err := fmt.Sscanf(trial.What, "power lost after call %d", &n); err == nil {
		return n >= w.sent && n < w.durable
	}
	_, err := fmt.Sscanf(trial.What, "killed after call %d", &n)
	return err == nil && n >= w.sent && n < w.visible
}

func checkDeliveries(t *testing.T, trial vfs.Trial, a attempt, fakes []*fake, mayRepeat bool) {
	t.Helper()
	for _, r := range a.rcpts {
		n := 0
		for _, f := range fakes {
			n += f.got[r+" m1"]
		}
		never := strings.HasPrefix(r, "perm") || strings.HasPrefix(r, "ever")
		switch {
		case never && n != 0, !never && n == 0, n > 1 && !mayRepeat:
			t.Errorf("%s\n%s got the message %d times", trial, r, n)
		}
	}
}

func checkNotices(t *testing.T, trial vfs.Trial, a attempt, fakes []*fake) {
	t.Helper()
	heard, wanted := 0, 0
	for _, f := range fakes {
		for i, body := range f.bodies {
			if f.calls[i] == a.sender && a.sender != "" {
				heard++
				wanted += strings.Count(body, "\n"+a.notice+"\n")
			}
		}
	}
	switch {
	case a.notice == "" && heard > 0:
		t.Errorf("%s\nthe sender got %d notices", trial, heard)
	case a.notice != "" && wanted == 0 && !(a.notice == "Action: delayed" && trial.Err != nil):
		t.Errorf("%s\nthe sender never heard %q", trial, a.notice)
	case wanted > 1 && trial.Err == nil:
		t.Errorf("%s\nthe sender heard %q %d times", trial, a.notice, wanted)
	}
}
