package queue

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// holdFor queues a message that its sender wants held.
func (w *world) holdFor(d time.Duration, to ...string) string {
	w.t.Helper()
	return w.enqueue(&mail.Envelope{ID: "m1", Sender: addr("sender@x.example"), Rcpts: rcpts(to...),
		HoldUntil: w.clock.Now().Add(d)}, ketchup)
}

func TestHoldUntil(t *testing.T) {
	for _, hold := range []time.Duration{time.Hour, 30 * 24 * time.Hour} { // the second one is beyond the lifetime
		w := newWorld(t)
		id := w.holdFor(hold, "temp@y")
		release := w.clock.Now().Add(hold)
		item, err := w.q.Get(id)
		if err != nil || !item.NextTry.Equal(release) || !item.HoldUntil(w.clock.Now()).Equal(release) {
			t.Errorf("hold %v: got %+v, %v; want the next try at %v", hold, item, err, release)
		}
		for _, opt := range []FlushOptions{{}, {All: true}, {All: true, Domain: "y"}} {
			if stats := w.flush(opt); stats.Tried > 0 || !stats.Next.Equal(release) {
				t.Errorf("hold %v, %+v: got %+v", hold, opt, stats)
			}
		}
		w.clock.add(hold - time.Second)
		w.flush(FlushOptions{All: true})
		w.wantCalls()
		w.clock.add(time.Second)
		w.flush(FlushOptions{})
		w.wantCalls("temp@y")
		// The schedule counts from the release: second try after a step, a bounce after the lifetime.
		item, _ = w.q.Get(id)
		if got := item.NextTry.Sub(release); got != 400*time.Second {
			t.Errorf("hold %v: next try %v after the release, want 400 s", hold, got)
		}
		w.clock.add(DefaultSchedule().Lifetime - time.Second)
		w.flush(FlushOptions{All: true})
		if got, _ := w.q.Get(id); got.State != StateTried {
			t.Errorf("hold %v: before the end of its lifetime it is %q", hold, got.State)
		}
		w.clock.add(time.Second)
		w.flush(FlushOptions{IDs: []string{id}})
		if _, err := w.q.Get(id); err == nil {
			t.Errorf("hold %v: it did not expire", hold)
		}
	}
}

// A person lets a message go before its time.
func TestHoldUntilEnded(t *testing.T) {
	for name, do := range map[string]func(w *world, id string) FlushOptions{
		"release": func(w *world, id string) FlushOptions { w.q.Release(id); return FlushOptions{} },
		"retry":   func(w *world, id string) FlushOptions { w.q.Retry(id); return FlushOptions{} },
		"flush":   func(_ *world, id string) FlushOptions { return FlushOptions{IDs: []string{id}} },
		"touch": func(w *world, id string) FlushOptions {
			item, _ := w.q.Get(id)
			w.mem.Chtimes("/q/"+item.File, w.clock.Now())
			return FlushOptions{}
		},
	} {
		w := newWorld(t)
		id := w.holdFor(30*24*time.Hour, "temp@y")
		w.clock.add(time.Hour)
		w.flush(do(w, id))
		w.wantCalls("temp@y")
		item, _ := w.q.Get(id)
		if wait := item.NextTry.Sub(w.clock.Now()); wait <= 0 || wait > time.Hour+time.Minute {
			t.Errorf("%s: the second try is %v later", name, wait)
		}
		w.clock.add(item.NextTry.Sub(w.clock.Now()))
		w.flush(FlushOptions{})
		w.wantCalls("temp@y", "temp@y")
		w.clock.add(DefaultSchedule().Lifetime) // which counts from its arrival
		w.flush(FlushOptions{All: true})
		if _, err := w.q.Get(id); err == nil {
			t.Errorf("%s: it did not expire", name)
		}
	}
}

// Who releases what was set aside by hand lets it go, too; holding and releasing others changes nothing.
func TestReleaseOfHeldWait(t *testing.T) {
	w := newWorld(t)
	id := w.holdFor(time.Hour, "ok@y")
	if err := w.q.Hold(id); err != nil {
		t.Fatal(err)
	}
	if err := w.q.Release(id); err != nil {
		t.Fatal(err)
	}
	w.flush(FlushOptions{})
	w.wantCalls("ok@y")
}

// notices gives "action status" of each recipient of each notice that the sender got.
func (w *world) notices(sender string) (list []string) {
	w.t.Helper()
	w.flush(FlushOptions{Sender: "<>", All: true})
	for i, body := range w.fake.bodies {
		if w.fake.calls[i] != sender {
			continue
		}
		action := ""
		for line := range strings.Lines(body) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch name {
			case "Action":
				action = value
			case "Status":
				list = append(list, action+" "+value)
			}
		}
	}
	return list
}

func TestDeliverBy(t *testing.T) {
	for name, c := range map[string]struct {
		by      mail.DeliverBy
		rcpt    string
		notify  mail.Notify
		sender  string
		tries   int
		notices []string
		left    bool
	}{
		"returned":              {byAfter(1000*time.Second, false), "temp@y", 0, "s@x", 2, []string{"failed 5.4.7"}, false},
		"returned in silence":   {byAfter(1000*time.Second, false), "temp@y", mail.NotifyNever, "s@x", 2, nil, false},
		"told":                  {byAfter(1000*time.Second, true), "temp@y", 0, "s@x", 4, []string{"delayed 4.4.7"}, true},
		"told in silence":       {byAfter(1000*time.Second, true), "temp@y", mail.NotifyFailure, "s@x", 4, nil, true},
		"told, with a wish":     {byAfter(1000*time.Second, true), "temp@y", mail.NotifyDelay, "s@x", 4, []string{"delayed 4.4.7"}, true},
		"told nobody":           {byAfter(1000*time.Second, true), "temp@y", 0, "", 4, nil, true},
		"in time":               {byAfter(1000*time.Second, false), "ok@y", 0, "s@x", 1, nil, false},
		"long after the notice": {byAfter(5*time.Hour, true), "temp@y", 0, "s@x", 3, nil, true},
	} {
		w := newWorld(t)
		id := w.enqueue(&mail.Envelope{Sender: addr(c.sender), By: c.by,
			Rcpts: []mail.Recipient{{Address: addr(c.rcpt), Notify: c.notify}}}, ketchup)
		for _, age := range []time.Duration{0, 999 * time.Second, time.Second, 2000 * time.Second} {
			w.clock.add(age)
			w.flush(FlushOptions{})
		}
		tries := len(w.fake.calls) - countOf(w.fake.calls, c.sender)
		if tries != c.tries {
			t.Errorf("%s: %d tries, want %d: %q", name, tries, c.tries, w.fake.calls)
		}
		if got := w.notices(c.sender); !slices.Equal(got, c.notices) {
			t.Errorf("%s: notices %q, want %q", name, got, c.notices)
		}
		if _, err := w.q.Get(id); (err == nil) != c.left {
			t.Errorf("%s: left is %v, want %v", name, err == nil, c.left)
		}
	}
}

func countOf(list []string, s string) (n int) {
	for _, v := range list {
		if v == s {
			n++
		}
	}
	return n
}

// The delay notice of the schedule does not repeat what that of BY has said.
func TestDeliverByAndLate(t *testing.T) {
	w := newWorld(t)
	w.enqueue(&mail.Envelope{Sender: addr("s@x"), By: byAfter(5*time.Hour, true), Rcpts: rcpts("temp@y")}, ketchup)
	w.flush(FlushOptions{})
	w.clock.add(5 * time.Hour)
	w.flush(FlushOptions{})
	w.clock.add(time.Second)
	w.flush(FlushOptions{All: true})
	if got := w.notices("s@x"); !slices.Equal(got, []string{"delayed 4.4.7"}) {
		t.Errorf("notices %q", got)
	}
}

// What came with REQUIRETLS goes back with it, and without its body.
func TestRequireTLSNotice(t *testing.T) {
	w := newWorld(t)
	w.enqueue(&mail.Envelope{Sender: addr("s@x"), RequireTLS: true, Ret: mail.RetFull, Rcpts: rcpts("perm@y")}, ketchup)
	var notice *mail.Envelope
	w.fake.then = func(env *mail.Envelope, r []mail.Result) []mail.Result {
		if env.Sender.IsNull() {
			notice = env
		}
		return r
	}
	w.flush(FlushOptions{})
	w.flush(FlushOptions{})
	if notice == nil || !notice.RequireTLS || strings.Contains(w.fake.bodies[1], "ketchup") {
		t.Errorf("notice %+v:\n%s", notice, w.fake.bodies)
	}
}

func TestCommitTried(t *testing.T) {
	w := newWorld(t)
	e, err := w.q.Enqueue(&mail.Envelope{Sender: addr("s@x"), Rcpts: rcpts("temp@y", "other@y")})
	if err != nil {
		t.Fatal(err)
	}
	e.Write([]byte(ketchup))
	w.clock.add(30 * time.Second) // which the try took
	failed := mail.Result{Recipient: rcpts("temp@y")[0], RemoteMTA: "mx.y", Reply: "451 4.7.1 greylisted",
		Err: mail.Temporaryf(7, 1, "greylisted")}
	other := mail.Result{Recipient: rcpts("other@y")[0], Err: mail.Temporaryf(4, 1, "Can't connect to mx.y")}
	if err := e.CommitTried([]mail.Result{other, failed}); err != nil {
		t.Fatal(err)
	}
	item, err := w.q.Get(e.ID())
	if err != nil || item.State != StateTried || item.Attempts != 1 || item.NextTry.Sub(arrived) != 400*time.Second ||
		item.Rcpts[0].Reply != "451 4.7.1 greylisted" || item.Rcpts[1].Reply != "Can't connect to mx.y" {
		t.Errorf("got %+v, %v", item, err)
	}
	w.flush(FlushOptions{})
	w.wantCalls()
	w.clock.add(370 * time.Second)
	w.flush(FlushOptions{})
	w.wantCalls("temp@y,other@y")
}

// What comes of an expanded alias is told to who asked.
func TestExpandedNotice(t *testing.T) {
	w := newWorld(t)
	w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		r[0].Expanded = true
		return r
	}
	w.enqueue(&mail.Envelope{Sender: addr("s@x"), Rcpts: []mail.Recipient{{Address: addr("list@y"), Notify: mail.NotifySuccess}}}, ketchup)
	w.flush(FlushOptions{})
	w.fake.then = nil
	if got := w.notices("s@x"); !slices.Equal(got, []string{"expanded 2.0.0"}) {
		t.Errorf("notices %q", got)
	}
}

func TestFind(t *testing.T) {
	w := newWorld(t)
	for _, e := range []struct{ from, to string }{
		{"a@One.example", "x@two.example"}, {"b@one.example", "y@three.example"}, {"", "z@two.example"},
	} {
		w.enqueue(&mail.Envelope{Sender: addr(e.from), Rcpts: rcpts("ok@gone.example", e.to)}, ketchup)
		w.clock.add(time.Hour)
	}
	w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		for i := range r {
			if r[i].Domain != "gone.example" {
				r[i].Err = mail.Temporaryf(4, 1, "x")
			}
		}
		return r
	}
	w.flush(FlushOptions{All: true})
	for _, c := range []struct {
		sel  Selection
		want string
	}{
		{Selection{}, "x y z"},
		{Selection{Sender: "A@one.example"}, "x"},
		{Selection{Sender: "<a@one.example>"}, "x"},
		{Selection{Sender: "@ONE.example"}, "x y"},
		{Selection{Sender: "<>"}, "z"},
		{Selection{Rcpt: "y@three.example"}, "y"},
		{Selection{Rcpt: "@two.example"}, "x z"},
		{Selection{Domain: "two.example"}, "x z"},
		{Selection{Domain: "gone.example"}, ""}, // nobody there is still to do
		{Selection{Older: 90 * time.Minute}, "x y"},
		{Selection{Older: time.Hour, Sender: "@one.example", Domain: "three.example"}, "y"},
	} {
		var got []string
		for item, err := range w.q.Find(context.Background(), c.sel) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, item.Rcpts[1].Local)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%+v: got %q, want %q", c.sel, s, c.want)
		}
	}
}

func TestShape(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.enqueue(&mail.Envelope{Sender: addr("a@one.example"), Rcpts: rcpts("x@two.example", "y@TWO.example", "z@three.example")}, ketchup)
		w.clock.add(5 * time.Minute)
	}
	w.enqueue(&mail.Envelope{Rcpts: rcpts("x@three.example")}, ketchup)
	w.clock.add(48 * time.Hour)
	w.enqueue(&mail.Envelope{Sender: addr("a@one.example"), Rcpts: rcpts("x@three.example")}, ketchup)
	rows, total, err := w.q.Shape(context.Background(), false)
	if err != nil || total.Total != 5 || total.Counts != [10]int{0: 1, 9: 4} || len(rows) != 2 ||
		rows[0].Domain != "three.example" || rows[0].Total != 5 || rows[1].Domain != "two.example" || rows[1].Total != 3 {
		t.Errorf("got %+v, total %+v, %v", rows, total, err)
	}
	rows, _, _ = w.q.Shape(context.Background(), true)
	if len(rows) != 2 || rows[0] != (ShapeRow{"one.example", 4, [10]int{0: 1, 9: 3}}) || rows[1].Domain != "" {
		t.Errorf("by sender: got %+v", rows)
	}
	for age, want := range map[time.Duration]int{-1: 0, 0: 0, 5 * time.Minute: 0, 5*time.Minute + 1: 1, 1280 * time.Minute: 8, 1281 * time.Minute: 9} {
		if got := bucketOf(age); got != want {
			t.Errorf("age %v is in bucket %d, want %d", age, got, want)
		}
	}
}

// crowdedFake is a transport with destinations that are said to be crowded.
type crowdedFake struct {
	*fake
	domain string
}

func (c crowdedFake) IsCrowded(env *mail.Envelope) bool { return env.Rcpts[0].Domain == c.domain }

// What would have to wait is tried all the same, after the others.
func TestCrowdedWaits(t *testing.T) {
	w := newWorld(t)
	for _, to := range []string{"ok@slow", "ok@y", "temp@slow", "ok2@y"} {
		w.mail(to)
		w.clock.add(time.Second)
	}
	stats, err := w.q.Flush(context.Background(), crowdedFake{w.fake, "slow"}, FlushOptions{Parallel: 1})
	if err != nil || stats.Tried != 4 || stats.Delivered != 3 || stats.Deferred != 1 {
		t.Errorf("got %+v, %v", stats, err)
	}
	w.wantCalls("ok@y", "ok2@y", "ok@slow", "temp@slow")
}

// silent is a transport with a destination that answers only when everybody else has been served, and one that takes a
// minute for each message.
type silent struct {
	*fake
	mu     sync.Mutex
	inside map[string]int
	others int
	waits  int // for the silent one, at most
	served chan struct{}
}

func newSilent(f *fake, others int) *silent {
	return &silent{fake: f, inside: map[string]int{}, others: others, served: make(chan struct{})}
}

func (s *silent) IsCrowded(env *mail.Envelope) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	domain := env.Rcpts[0].Domain
	if domain == "y" {
		return false
	}
	isCrowded := s.inside[domain] >= 2
	if !isCrowded {
		s.inside[domain]++ // it is on its way
	}
	return isCrowded
}

func (s *silent) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	domain := env.Rcpts[0].Domain
	switch domain {
	case "silent":
		s.mu.Lock()
		if s.others > 0 {
			s.waits++
		}
		s.mu.Unlock()
		<-s.served
	case "slow":
		time.Sleep(time.Minute)
	}
	s.mu.Lock()
	s.inside[domain]--
	if domain != "silent" {
		if s.others--; s.others == 0 {
			close(s.served)
		}
	}
	s.mu.Unlock()
	return s.fake.Deliver(ctx, env, msg, size)
}

// Half of the mail is for a destination that says nothing: the other half does not wait for it, and nothing is forgotten.
func TestSilentDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 20 {
			w.mail("ok@silent")
			w.clock.add(time.Second)
			w.mail("ok@y")
			w.clock.add(time.Second)
			w.mail("ok@slow")
			w.clock.add(time.Second)
		}
		s := newSilent(w.fake, 40)
		stats, err := w.q.Flush(context.Background(), s, FlushOptions{Parallel: 6})
		if err != nil || stats.Tried != 60 || stats.Done != 60 || s.waits != 2 {
			t.Errorf("got %+v, %v, and %d waited for the silent one", stats, err, s.waits)
		}
	})
}

// Put-off entries do not keep a flush that is told to stop.
func TestCrowdedCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 10 {
			w.mail("ok@silent")
		}
		s := newSilent(w.fake, -1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		context.AfterFunc(ctx, func() { close(s.served) })
		stats, err := w.q.Flush(ctx, s, FlushOptions{Parallel: 6})
		if !errors.Is(err, context.DeadlineExceeded) || stats.Tried > 6 {
			t.Errorf("got %+v, %v", stats, err)
		}
	})
}

// The time of release is as durable as the message: no loss of power lets it go early.
func TestCrashHoldUntil(t *testing.T) {
	w := newWorld(t)
	w.mem.SyncAll()
	op := func(fsys vfs.FS) error {
		q, err := Open(fsys, "/q", w.options())
		if err != nil {
			return err
		}
		env := &mail.Envelope{ID: "m1", Sender: addr("s@x"), Rcpts: rcpts("ok@y"), HoldUntil: arrived.Add(time.Hour)}
		_, err = enqueue(q, env, ketchup)
		return err
	}
	for trial := range vfs.Trials(w.mem, op) {
		q, early := w.open(trial.Mem), &fake{}
		stats, err := q.Flush(context.Background(), early, FlushOptions{All: true})
		if err != nil || len(early.calls) > 0 || trial.Err == nil && stats.Waiting != 1 {
			t.Fatalf("%s\nflushed before its time: %+v, %v, calls %q", trial, stats, err, early.calls)
		}
	}
}
