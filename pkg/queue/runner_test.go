package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// bench is a queue with runners, inside a synctest bubble: its clock is the bubble's plus skew.
type bench struct {
	t       *testing.T
	skew    time.Duration
	q       *Queue
	changed chan string
	fake    *fake
	mu      sync.Mutex
	errs    []error
	slow    func(ctx context.Context) // what a delivery to slow.example, or slow1.example, does first
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, changed: make(chan string, 100), fake: &fake{}}
	mem := vfs.NewMem()
	mem.Now = b.now
	q, err := Create(mem, "/q", Options{Now: b.now, Random: func() float64 { return 0.5 }})
	if err != nil {
		t.Fatal(err)
	}
	b.q = q
	return b
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.skew)
}

func (b *bench) jump(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.skew += d
}

// Deliver has slow.example take its time.
func (b *bench) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	if b.slow != nil && strings.HasPrefix(env.Rcpts[0].Domain, "slow") {
		b.slow(ctx)
		if ctx.Err() != nil {
			return nil
		}
	}
	return b.fake.Deliver(ctx, env, msg, size)
}

// mail queues a message without telling the runner.
func (b *bench) mail(to string) (name string) {
	b.t.Helper()
	e, err := b.q.Enqueue(&mail.Envelope{Sender: addr("s@x.example"), Rcpts: rcpts(to)})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := io.WriteString(e, ketchup); err != nil {
		b.t.Fatal(err)
	}
	if err := e.Commit(); err != nil {
		b.t.Fatal(err)
	}
	return "new/" + e.d.Name()
}

// run starts a runner; stop ends it and gives its sums.
func (b *bench) run(r Runner) (stop func() Stats) {
	r.Queue, r.Transport = b.q, b
	r.Report = func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errs = append(b.errs, err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	var stats Stats
	done := make(chan struct{})
	go func() { stats = r.Run(ctx); close(done) }()
	synctest.Wait()
	return func() Stats {
		cancel()
		<-done
		return stats
	}
}

// delivered gives the addresses in the order of their deliveries.
func (b *bench) delivered() string {
	synctest.Wait()
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()
	return strings.Join(b.fake.calls, " ")
}

func (b *bench) want(when, want string) {
	b.t.Helper()
	if got := b.delivered(); got != want {
		b.t.Errorf("%s: delivered %q, want %q", when, got, want)
	}
}

func TestRunnerTakesNewEntriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.mail("old@y.example")
		stop := b.run(Runner{Changed: b.changed})
		b.want("at the start", "old@y.example")
		began := time.Now()
		for i := range 3 {
			b.changed <- b.mail(fmt.Sprintf("new%d@y.example", i))
		}
		for _, odd := range []string{"new/", "new/.hidden", "tmp/x", "cur/gone", "new/nobody"} {
			b.changed <- odd
		}
		b.delivered()
		b.mail("missed@y.example")
		b.changed <- ""
		if got := b.delivered(); len(strings.Fields(got)) != 5 || time.Since(began) != 0 {
			t.Errorf("delivered %q after %v", got, time.Since(began))
		}
		if stats := stop(); stats.Delivered != 5 || stats.Done != 5 || len(b.errs) != 0 {
			t.Errorf("stats %+v, errors %v", stats, b.errs)
		}
	})
}

func TestRunnerLooksEachPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.run(Runner{Poll: time.Minute})()
		time.Sleep(time.Second)
		b.mail("a@y.example")
		time.Sleep(58 * time.Second)
		b.want("before the look", "")
		time.Sleep(time.Second)
		b.want("after it", "a@y.example")
	})
}

// A message that is put off is tried to the second, with nobody telling, and the notice of one that is refused goes out at
// once.
func TestRunnerKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.run(Runner{})
		b.mail("temp@y.example")
		began := time.Now()
		var tries []time.Duration
		for len(tries) < 3 && time.Since(began) < 2*time.Hour {
			time.Sleep(time.Second)
			for len(tries) < len(strings.Fields(b.delivered())) {
				tries = append(tries, time.Since(began).Round(time.Second))
			}
		}
		want := []time.Duration{time.Minute} // nobody told of the message
		for len(want) < 3 {
			age := want[len(want)-1]
			want = append(want, b.q.opt.Schedule.Next(began, began.Add(age), 0.5).Sub(began))
		}
		if !slices.Equal(tries, want) {
			t.Errorf("tried at %v, want %v", tries, want)
		}
		b.mail("perm@y.example")
		time.Sleep(time.Minute)
		if got := b.delivered(); !strings.HasSuffix(got, "perm@y.example s@x.example") {
			t.Errorf("tried %q: the notice is missing", got)
		}
		if stats := stop(); stats.Failed != 1 || stats.Notices != 1 || stats.Deferred != 3 {
			t.Errorf("stats %+v", stats)
		}
	})
}

func TestRunnerSlowDestinationHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.slow = func(context.Context) { time.Sleep(10 * time.Minute) }
		for i := range 30 {
			b.mail(fmt.Sprintf("%d@slow.example", i))
		}
		b.mail("a@fast.example")
		stop := b.run(Runner{Parallel: 2, Changed: b.changed})
		b.want("behind 30 slow ones", "a@fast.example")
		b.changed <- b.mail("b@fast.example")
		b.want("arriving later", "a@fast.example b@fast.example")
		time.Sleep(10*time.Minute + time.Second)
		if got := len(strings.Fields(b.delivered())); got != 4 {
			t.Errorf("%d delivered, want 4: two at once to the slow one", got)
		}
		time.Sleep(3 * time.Hour)
		if stats := stop(); stats.Delivered != 32 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// More dead destinations than a runner works on messages don't hold up the others either: each gets few places, and what takes
// long gives its place away, though not for ever more.
func TestRunnerManySlowDestinations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var now, most atomic.Int32
		b.slow = func(context.Context) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(10 * time.Minute)
			now.Add(-1)
		}
		for i := range 300 {
			b.mail(fmt.Sprintf("a@slow%d.example", i%15))
		}
		for i := range 50 {
			b.mail(fmt.Sprintf("%d@fast.example", i))
		}
		stop := b.run(Runner{Parallel: 2, Changed: b.changed})
		time.Sleep(10 * slowTurn)
		if got := len(strings.Fields(b.delivered())); got != 50 || most.Load() != 15*slowLimit {
			t.Errorf("%d delivered, want 50; %d slow ones at once, want two for each destination", got, most.Load())
		}
		for i := range 300 {
			b.changed <- b.mail(fmt.Sprintf("a@slow%d.example", 20+i))
		}
		time.Sleep(8 * time.Minute)
		if want := 2 * maxTurns; int(most.Load()) != want {
			t.Errorf("%d at once, want no more than %d", most.Load(), want)
		}
		time.Sleep(10 * time.Hour)
		if stats := stop(); stats.Delivered != 650 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// In all, five times Parallel messages are on their way, if they don't take long.
func TestRunnerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var mu sync.Mutex
		now, most := 0, 0
		b.fake.then = func(_ *mail.Envelope, results []mail.Result) []mail.Result {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(slowTurn / 2)
			mu.Lock()
			now--
			mu.Unlock()
			return results
		}
		for i := range 40 {
			b.mail(fmt.Sprintf("a@d%d.example", i%20))
		}
		stop := b.run(Runner{Parallel: 2})
		time.Sleep(time.Hour)
		if stats := stop(); stats.Delivered != 40 || most != 10 {
			t.Errorf("%d at once, want 10; stats %+v", most, stats)
		}
	})
}

func TestRunnerFollowsTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.mail("temp@y.example")
		stop := b.run(Runner{})
		b.want("first", "temp@y.example")
		b.jump(time.Hour)
		time.Sleep(time.Minute)
		b.want("an hour forward", "temp@y.example temp@y.example")
		b.jump(-30 * 24 * time.Hour)
		time.Sleep(time.Minute)
		b.want("a month back", "temp@y.example temp@y.example temp@y.example")
		stop()
	})
}

// A message that is touched is due.
func TestRunnerTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name := b.mail("temp@y.example")
		stop := b.run(Runner{Changed: b.changed})
		b.want("first", "temp@y.example")
		name = "cur" + strings.TrimPrefix(name, "new") + ":2,"
		if err := b.q.fs.Chtimes("/q/"+name, b.now().Add(20*time.Second)); err != nil {
			t.Fatal(err)
		}
		b.changed <- name
		time.Sleep(19 * time.Second)
		b.want("before it is due", "temp@y.example")
		time.Sleep(time.Second)
		b.want("due", "temp@y.example temp@y.example")
		stop()
	})
}

func TestRunnerStops(t *testing.T) {
	for _, c := range []struct {
		name      string
		needs     time.Duration
		took      time.Duration
		delivered int
	}{
		{"with the message under way", 10 * time.Second, 10 * time.Second, 1},
		{"after the grace period", time.Hour, 30 * time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.slow = func(ctx context.Context) {
					select {
					case <-ctx.Done():
					case <-time.After(c.needs):
					}
				}
				b.mail("a@slow.example")
				b.mail("b@slow.example")
				stop := b.run(Runner{Parallel: 1})
				began := time.Now()
				if stats := stop(); stats.Delivered != c.delivered || stats.Tried != 1 || time.Since(began) != c.took {
					t.Errorf("stopped after %v with %+v", time.Since(began), stats)
				}
				if left := len(items(t, b.q)); left != 2-c.delivered {
					t.Errorf("%d left in the queue", left)
				}
			})
		})
	}
}

// Two runners and a flush send nothing twice.
func TestRunnersShareAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fake.then = func(_ *mail.Envelope, results []mail.Result) []mail.Result {
			time.Sleep(time.Millisecond)
			return results
		}
		for i := range 50 {
			b.mail(fmt.Sprintf("%d@d%d.example", i, i%7))
		}
		one, two := b.run(Runner{Parallel: 3}), b.run(Runner{Parallel: 3})
		if _, err := b.q.Flush(t.Context(), b, FlushOptions{}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		one()
		two()
		if len(b.fake.got) != 50 || len(b.fake.calls) != 50 || len(items(t, b.q)) != 0 {
			t.Errorf("%d messages in %d deliveries", len(b.fake.got), len(b.fake.calls))
		}
	})
}

// Trouble with an entry, or a panic, is told and does not end the runner.
func TestRunnerReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.slow = func(context.Context) { panic("in the transport") }
		b.mail("a@slow.example")
		stop := b.run(Runner{Changed: b.changed})
		b.changed <- b.mail("b@fast.example")
		b.want("beside a panic", "b@fast.example")
		stop()
		if len(b.errs) != 1 || !strings.Contains(errors.Join(b.errs...).Error(), "in the transport") {
			t.Errorf("reported %v", b.errs)
		}
	})
}

// slowDisk takes a second to read a directory.
type slowDisk struct {
	vfs.FS
	reads int
}

func (d *slowDisk) ReadDirNames(name string) ([]string, error) {
	d.reads++
	time.Sleep(time.Second)
	return d.FS.ReadDirNames(name)
}

// A long queue is not read over and over because there is more news than anybody can follow.
func TestRunnerRestsBetweenLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		disk := &slowDisk{FS: b.q.fs}
		b.q.fs = disk
		stop := b.run(Runner{Changed: b.changed})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		before := disk.reads
		b.mail("a@y.example")
		for range 600 {
			b.changed <- ""
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if looks := (disk.reads - before) / len(spool()); looks < 10 || looks > 16 {
			t.Errorf("%d looks of 2 s each in 10 minutes, want one in 40 s", looks)
		}
		b.want("missed, and found by a look", "a@y.example")
		stop()
	})
}

// What its sender wants held for longer than any schedule has its time looked at, and is counted.
func TestRunnerCountsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e, err := b.q.Enqueue(&mail.Envelope{Sender: addr("s@x.example"), Rcpts: rcpts("a@y.example"), HoldUntil: b.now().Add(1000 * time.Hour)})
		if err == nil {
			err = e.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		stop := b.run(Runner{})
		b.want("before its time", "")
		if stats := stop(); stats.Waiting != 1 {
			t.Errorf("%d waiting, want 1", stats.Waiting)
		}
	})
}

// Who asks a runner hears what it has done and what it has in hand.
func TestRunnerTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.slow = func(ctx context.Context) { <-ctx.Done() }
		b.mail("ok@y.example")
		b.mail("x@slow.example")
		asked := make(chan os.Signal, 1)
		var got string
		stop := b.run(Runner{Asked: asked, Grace: time.Second, Tell: func(s Stats, inHand int) { got = fmt.Sprint(s.Delivered, " ", inHand) }})
		asked <- syscall.SIGUSR1
		synctest.Wait()
		if got != "1 1" {
			t.Errorf("told %q, want 1 delivered and 1 in hand", got)
		}
		stop()
	})
}
