package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// laned is a transport with a lane for each domain, on which the next message is asked for before the one before is done. What
// is for several recipients has none.
type laned struct {
	*fake
	crowded string // domain
	carry   func(l *fakeLane, first *mail.Delivery, next func() *mail.Delivery)

	followed, alone atomic.Int32 // messages that followed others; that went by Deliver
}

type fakeLane struct {
	of     *laned
	domain string
}

func (f *laned) Lane(env *mail.Envelope) mail.Lane {
	if len(env.Rcpts) != 1 {
		return nil
	}
	return &fakeLane{f, env.Rcpts[0].Domain}
}

func (f *laned) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	f.alone.Add(1)
	return f.fake.Deliver(ctx, env, msg, size)
}

func (l *fakeLane) Key() string { return l.domain }

func (l *fakeLane) Room() mail.Room {
	if l.domain == l.of.crowded {
		return mail.Crowded
	}
	return mail.Free
}

func (l *fakeLane) Carry(ctx context.Context, first *mail.Delivery, next func() *mail.Delivery) {
	if l.of.carry != nil {
		l.of.carry(l, first, next)
		return
	}
	for d := first; d != nil; {
		if d.Env.Rcpts[0].Domain != l.domain {
			panic("wrong lane")
		}
		behind := next()
		if behind != nil {
			l.of.followed.Add(1)
		}
		l.deliver(d)
		d = behind
	}
}

func (l *fakeLane) deliver(d *mail.Delivery) {
	d.Done(l.of.fake.Deliver(context.Background(), d.Env, d.Msg, d.Size))
}

// takeTime has each delivery take a second, so that others come to wait, and counts the most that went on at once.
func (f *laned) takeTime() (most *atomic.Int32) {
	most = &atomic.Int32{}
	var inside atomic.Int32
	f.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		if n := inside.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Second)
		inside.Add(-1)
		return r
	}
	return most
}

// R4 for messages that follow each other.
func TestTenFlushersWithLanes(t *testing.T) {
	f := &laned{fake: &fake{}}
	testTenFlushers(t, f.fake, f, "ok@a")
	if f.alone.Load() > 0 {
		t.Errorf("%d messages went alone", f.alone.Load())
	}
}

// Each goes by the lane of its domain, behind others as soon as those have their turn.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 50 {
			w.mail(fmt.Sprintf("ok%d@x%d", i, i%3))
		}
		w.mail("ok@x1", "perm@x2")
		f := &laned{fake: w.fake}
		f.takeTime()
		stats, err := w.q.Flush(context.Background(), f, FlushOptions{Parallel: 2})
		if err != nil || stats.Tried != 51 || stats.Done != 51 || stats.Delivered != 51 || stats.Failed != 1 {
			t.Errorf("got %+v, %v", stats, err)
		}
		if n := f.followed.Load(); n < 10 || f.alone.Load() != 1 {
			t.Errorf("%d messages followed others, %d went alone", n, f.alone.Load())
		}
	})
}

// Where messages may not go at once, none follows another.
func TestNoLanes(t *testing.T) {
	for _, opt := range []FlushOptions{{Parallel: 1}, {Max: 3, Parallel: 2}, {Pause: time.Nanosecond, Parallel: 2}} {
		w := newWorld(t)
		for range 3 {
			w.mail("ok@y")
		}
		f := &laned{fake: w.fake}
		stats, err := w.q.Flush(context.Background(), f, opt)
		if err != nil || stats.Done != 3 || f.alone.Load() != 3 {
			t.Errorf("%+v: got %+v, %v, %d alone", opt, stats, err, f.alone.Load())
		}
	}
}

// Whatever becomes of a lane, each message has a result, and those without one of their own are tried again later.
func TestLaneTrouble(t *testing.T) {
	carries := map[string]func(*fakeLane, *mail.Delivery, func() *mail.Delivery){
		"panics":           func(*fakeLane, *mail.Delivery, func() *mail.Delivery) { panic("oops") },
		"panics with two":  func(_ *fakeLane, _ *mail.Delivery, next func() *mail.Delivery) { next(); panic("oops") },
		"says nothing":     func(*fakeLane, *mail.Delivery, func() *mail.Delivery) {},
		"forgets the next": func(l *fakeLane, d *mail.Delivery, next func() *mail.Delivery) { next(); l.deliver(d) },
		"done twice":       func(l *fakeLane, d *mail.Delivery, _ func() *mail.Delivery) { l.deliver(d); d.Done(nil) },
		"says nothing of it": func(_ *fakeLane, d *mail.Delivery, _ func() *mail.Delivery) {
			d.Done(nil)
		},
	}
	for name, carry := range carries {
		w := newWorld(t)
		for range 10 {
			w.mail("ok@y")
		}
		stats, err := w.q.Flush(context.Background(), &laned{fake: w.fake, carry: carry}, FlushOptions{Parallel: 2})
		if stats.Delivered+stats.Deferred != 10 || (err != nil) != strings.HasPrefix(name, "panics") {
			t.Errorf("%s: got %+v, %v", name, stats, err)
		}
		if n := len(items(t, w.q)); n != stats.Deferred {
			t.Errorf("%s: %d in the queue, %d deferred", name, n, stats.Deferred)
		}
	}
}

// A crowded lane has its turn at the end.
func TestCrowdedLane(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.mail(fmt.Sprintf("ok%d@slow", i))
		w.mail(fmt.Sprintf("ok%d@y", i))
	}
	stats, err := w.q.Flush(context.Background(), &laned{fake: w.fake, crowded: "slow"}, FlushOptions{Parallel: 2})
	if err != nil || stats.Done != 20 {
		t.Errorf("got %+v, %v", stats, err)
	}
	if calls := strings.Join(w.fake.calls, " "); strings.Contains(calls[:strings.LastIndex(calls, "@y")], "slow") {
		t.Errorf("calls %s", calls)
	}
}

// Who has waited longest is not overtaken for ever.
func TestFollowers(t *testing.T) {
	lanes := map[string]mail.Lane{"a": &fakeLane{domain: "a"}, "b": &fakeLane{domain: "b"}, "": nil}
	wait := func(s *turns, name string) *turn {
		turn := &turn{come: make(chan struct{}), lane: lanes[name]}
		if s.begin(turn) {
			t.Fatal("has its turn at once")
		}
		return turn
	}
	s := &turns{}
	alone, last := wait(s, ""), wait(s, "b")
	for range maxOvertaken {
		a := wait(s, "a")
		if got := s.follower("a"); got != a {
			t.Fatalf("got %v, want the one that waits for this lane", got)
		}
	}
	wait(s, "a")
	if got := s.follower("a"); got != nil {
		t.Errorf("overtaken again, by %v", got)
	}
	if s.next(t.Context(), &holding{}) != nil {
		t.Error("the turn of the first went to another one")
	}
	<-alone.come
	if got := s.next(t.Context(), &holding{}); got != last {
		t.Errorf("got %v, want the second", got)
	}
	if s.follower("a") == nil || s.next(t.Context(), &holding{}) != nil || s.free != 1 {
		t.Errorf("got %+v", s)
	}
}

// A flush that is told to stop hands over nothing more.
func TestLanesCancelled(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		w.mail("ok@y")
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := &laned{fake: w.fake, carry: func(l *fakeLane, d *mail.Delivery, next func() *mail.Delivery) {
		cancel()
		if next() != nil {
			t.Error("a message is to follow")
		}
		l.deliver(d)
	}}
	stats, err := w.q.Flush(ctx, f, FlushOptions{Parallel: 2})
	if err == nil || stats.Tried > 2 || len(items(t, w.q)) != 20-stats.Tried {
		t.Errorf("got %+v, %v", stats, err)
	}
}

// A runner has messages follow each other, too, and no more at once than it may.
func TestRunnerLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for i := range 60 {
			b.mail(fmt.Sprintf("ok%d@x%d", i, i%4))
		}
		f := &laned{fake: b.fake}
		most := f.takeTime()
		runner := Runner{Queue: b.q, Transport: f, Parallel: 1}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		stats := runner.Run(ctx)
		if stats.Delivered != 60 || f.followed.Load() < 40 || most.Load() != 4 {
			t.Errorf("got %+v, %d followed others, %d at once", stats, f.followed.Load(), most.Load())
		}
	})
}

// A runner that has more lanes than it may work on at once takes them in turn.
func TestRunnerLanesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for i := range 60 {
			b.mail(fmt.Sprintf("ok%d@x%d", i, i%20))
		}
		f := &laned{fake: b.fake}
		most := f.takeTime()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		stats := (&Runner{Queue: b.q, Transport: f, Parallel: 1}).Run(ctx)
		if stats.Delivered != 60 || most.Load() != destinations {
			t.Errorf("got %+v, %d at once", stats, most.Load())
		}
	})
}

// Who waits for a turn when no more are given is sent away.
func TestTurnsStop(t *testing.T) {
	s := &turns{}
	waits := &turn{come: make(chan struct{}), lane: &fakeLane{domain: "a"}}
	if s.begin(waits) {
		t.Fatal("has its turn at once")
	}
	took := make(chan bool)
	go func() { took <- s.take(t.Context()) != nil }()
	s.stop()
	<-waits.come
	if waits.isTried || waits.err != nil || <-took || s.begin(&turn{come: make(chan struct{})}) {
		t.Errorf("got %+v", waits)
	}
}

// slowSync takes its time for directories, so that it can be seen what was done before.
type slowSync struct{ vfs.FS }

func (f slowSync) SyncDir(dir string) error {
	time.Sleep(time.Second)
	return f.FS.SyncDir(dir)
}

// Before the next text goes out it is known who has got the last one: a kill costs one message for each connection, and no more.
func TestKnownBeforeTheNext(t *testing.T) {
	for _, isTriedBefore := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testKnownBeforeTheNext(t, isTriedBefore) })
	}
}

func testKnownBeforeTheNext(t *testing.T, isTriedBefore bool) {
	w := newWorld(t)
	for i := range 10 {
		w.enqueue(&mail.Envelope{ID: fmt.Sprint(i), Sender: addr("s@x.example"), Rcpts: rcpts(fmt.Sprintf("ok%d@y", i))}, ketchup)
	}
	if isTriedBefore {
		w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
			r[0].Err = mail.Temporaryf(2, 1, "Not now")
			return r
		}
		w.flush(FlushOptions{})
		w.fake.then = nil
		w.clock.add(time.Hour)
	}
	f := &laned{fake: w.fake}
	f.carry = func(l *fakeLane, d *mail.Delivery, next func() *mail.Delivery) {
		for ; d != nil; d = next() {
			l.deliver(d)
			for _, item := range items(t, w.q) {
				if strings.Contains(item, d.Env.Rcpts[0].Local+"=pending") {
					t.Errorf("tried before: %v: would be sent again: %s", isTriedBefore, item)
				}
			}
		}
	}
	stats, err := w.open(slowSync{w.mem}).Flush(context.Background(), f, FlushOptions{Parallel: 2})
	if err != nil || stats.Done != 10 || f.alone.Load() > 0 {
		t.Errorf("got %+v, %v", stats, err)
	}
}

// A flush goes on past destinations that say nothing, by lanes and without, and no more than so many are tried at once.
func TestFlushPastTheSilent(t *testing.T) {
	for _, to := range []string{"a@slow%d", "a@slow%d b@slow%[1]d"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			var now, most, fast atomic.Int32
			b.fake.then = func(env *mail.Envelope, r []mail.Result) []mail.Result {
				if !strings.HasPrefix(env.Rcpts[0].Domain, "slow") {
					fast.Add(1)
					return r
				}
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(10 * time.Minute)
				now.Add(-1)
				return r
			}
			mails := func(n, from int) {
				for i := range n {
					b.mail(fmt.Sprintf(to, from+i))
				}
				time.Sleep(time.Second)
			}
			mails(12, 0)
			for i := range 100 {
				b.mail(fmt.Sprintf("%d@fast", i))
			}
			time.Sleep(time.Second)
			mails(120, 20)
			done := make(chan Stats)
			go func() {
				stats, _ := b.q.Flush(t.Context(), &laned{fake: b.fake}, FlushOptions{Parallel: 2})
				done <- stats
			}()
			time.Sleep(20 * slowTurn)
			if fast.Load() < 90 || most.Load() != 2*maxTurns {
				t.Errorf("%s: %d delivered, want nearly 100; %d at once, want %d", to, fast.Load(), most.Load(), 2*maxTurns)
			}
			if stats := <-done; stats.Tried != 232 {
				t.Errorf("%s: got %+v", to, stats)
			}
		})
	}
}

// Hundreds of silent destinations that come first cost the others seconds, with a flush and with a runner.
func TestPastHundredsOfSilent(t *testing.T) {
	const silent, fast = 800, 50
	works := map[string]func(b *bench, f *laned) Stats{
		"flush": func(b *bench, f *laned) Stats {
			stats, _ := b.q.Flush(b.t.Context(), f, FlushOptions{})
			return stats
		},
		"run": func(b *bench, f *laned) Stats {
			ctx, cancel := context.WithTimeout(b.t.Context(), time.Hour)
			defer cancel()
			return (&Runner{Queue: b.q, Transport: f}).Run(ctx)
		},
	}
	for name, work := range works {
		for _, to := range []string{"a@slow%d", "a@slow%d b@slow%[1]d"} {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				var got, now, most atomic.Int32
				b.fake.then = func(env *mail.Envelope, r []mail.Result) []mail.Result {
					if strings.HasPrefix(env.Rcpts[0].Domain, "slow") {
						most.Store(max(most.Load(), now.Add(1)))
						time.Sleep(5 * time.Minute)
						now.Add(-1)
					} else {
						got.Add(1)
					}
					return r
				}
				for i := range silent {
					b.mail(fmt.Sprintf(to, i))
				}
				time.Sleep(time.Second)
				for i := range fast {
					b.mail(fmt.Sprintf("a@fast%d", i))
				}
				done := make(chan Stats)
				go func() { done <- work(b, &laned{fake: b.fake}) }()
				time.Sleep(10 * time.Second)
				if got.Load() != fast || most.Load() > DefaultAtOnce {
					t.Errorf("%s, %s: %d of %d delivered, %d at once", name, to, got.Load(), fast, most.Load())
				}
				if stats := <-done; stats.Delivered < silent+fast {
					t.Errorf("%s, %s: %+v", name, to, stats)
				}
			})
		}
	}
}

// Where as many turns are lent as may be, one that comes back is lent by the one who has waited longest for it.
func TestLentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &turns{all: 2, free: 2, spare: 1}
		first := s.take(t.Context())
		time.Sleep(time.Millisecond)
		second := s.take(t.Context())
		third := s.take(t.Context())
		time.Sleep(2 * slowTurn)
		synctest.Wait() // for those whose time was up
		if s.spare != 0 || len(s.slow) != 2 || !s.renew(second) || len(s.slow) != 1 {
			t.Fatalf("got %+v", s)
		}
		s.give(t.Context(), first)
		if !third.isLent || second.isLent || s.spare != 0 || s.lent != 1 || s.free != 1 || len(s.slow) != 0 {
			t.Errorf("got %+v", s)
		}
		s.give(t.Context(), third)
		s.give(t.Context(), second)
		if s.spare != 1 || s.lent != 0 || s.free != 2 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// Who has lent his turn begins nothing more with it, and it is not given on twice.
func TestLentTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &turns{all: 1, free: 1, spare: 1}
		check := func(when string, free, spare int) {
			t.Helper()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.free != free || s.spare != spare {
				t.Errorf("%s: %d free and %d to lend, want %d and %d", when, s.free, s.spare, free, spare)
			}
		}
		h := s.take(t.Context())
		time.Sleep(slowTurn / 2)
		if !s.renew(h) {
			t.Error("lent before its time")
		}
		time.Sleep(slowTurn - 1)
		check("with progress", 0, 1)
		time.Sleep(time.Second)
		if s.renew(h) {
			t.Error("not lent")
		}
		check("lent", 1, 0)
		other := s.take(t.Context())
		s.give(t.Context(), h)
		check("back", 0, 1)
		s.give(t.Context(), other)
		time.Sleep(2 * slowTurn)
		check("at the end", 1, 1)
	})
}

func TestBounds(t *testing.T) {
	for in, want := range map[[2]int][2]int{
		{0, 0}: {20, 1000}, {-1, -1}: {20, 1000}, {1, 0}: {1, 1000}, {5000, 0}: {5000, 5000}, {20, 10}: {10, 10}, {20, 20}: {20, 20}, {20, 21}: {20, 21},
	} {
		if parallel, atOnce := bounds(in[0], in[1]); parallel != want[0] || atOnce != want[1] {
			t.Errorf("%v: got %d, %d, want %v", in, parallel, atOnce, want)
		}
	}
}

// poisoned is a transport that panics wherever it is asked about some mail.
type poisoned struct{ *laned }

func (p poisoned) taste(env *mail.Envelope) {
	if env.Rcpts[0].Domain == "poison" {
		panic("oops")
	}
}

func (p poisoned) Lane(env *mail.Envelope) mail.Lane {
	p.taste(env)
	return p.laned.Lane(env)
}

func (p poisoned) IsCrowded(env *mail.Envelope) bool {
	p.taste(env)
	return false
}

func (p poisoned) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	p.taste(env)
	return p.laned.Deliver(ctx, env, msg, size)
}

// A message on which the transport panics holds up no other one, and waits for its next try.
func TestPanicsHarmOneMessage(t *testing.T) {
	works := map[string]func(context.Context, *world, Transport) (Stats, error){
		"flush": func(ctx context.Context, w *world, to Transport) (Stats, error) {
			return w.q.Flush(ctx, to, FlushOptions{})
		},
		"one at a time": func(ctx context.Context, w *world, to Transport) (Stats, error) {
			return w.q.Flush(ctx, to, FlushOptions{Parallel: 1})
		},
		"run": func(ctx context.Context, w *world, to Transport) (stats Stats, err error) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			r := Runner{Queue: w.q, Transport: to, Report: func(e error) { err = errors.Join(err, e) }}
			return r.Run(ctx), err
		},
	}
	for name, work := range works {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for _, to := range []string{"ok@y", "ok@poison", "ok@y", "ok@poison ok@y", "ok@z"} {
					w.mail(strings.Fields(to)...)
				}
				stats, err := work(t.Context(), w, poisoned{&laned{fake: w.fake}})
				if err == nil || stats.Done != 3 || stats.Deferred != 3 || stats.Delivered != 3 {
					t.Errorf("got %+v, %v", stats, err)
				}
			})
		})
	}
}
