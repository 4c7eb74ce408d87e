package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

const ketchup = "Subject: hi\n\nDo you like ketchup?\n"

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: arrived} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fake is a transport that answers by the local part: "temp…" and "perm…" fail, everything else is delivered.
type fake struct {
	mu     sync.Mutex
	got    map[string]int // by "address id": how often it was delivered
	calls  []string       // "a@x,b@x"
	bodies []string
	then   func(env *mail.Envelope, results []mail.Result) []mail.Result // if not nil
}

func (f *fake) Deliver(_ context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	body, err := io.ReadAll(io.NewSectionReader(msg, 0, size+1))
	if err != nil || int64(len(body)) != size {
		panic(fmt.Sprintf("message has %d octets, not %d: %v", len(body), size, err))
	}
	results := make([]mail.Result, len(env.Rcpts))
	var names []string
	for i, r := range env.Rcpts {
		results[i] = mail.Result{Recipient: r, RemoteMTA: "mx.example", Reply: "250 2.0.0 ok"}
		switch {
		case strings.HasPrefix(r.Local, "temp"):
			results[i].Err, results[i].Reply = mail.Temporaryf(2, 2, "Mailbox full"), "452 4.2.2 mailbox full"
		case strings.HasPrefix(r.Local, "perm"):
			results[i].Err, results[i].Reply = mail.Permanentf(1, 1, "No such user"), "550 5.1.1 no such user"
		}
		names = append(names, r.Address.String())
	}
	if f.then != nil {
		results = f.then(env, results)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.Join(names, ","))
	f.bodies = append(f.bodies, string(body))
	if f.got == nil {
		f.got = map[string]int{}
	}
	for _, r := range results {
		if r.Err == nil {
			f.got[r.Address.String()+" "+env.ID]++
		}
	}
	return results
}

type world struct {
	t     *testing.T
	clock *clock
	mem   *vfs.Mem
	q     *Queue
	fake  *fake
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, clock: newClock(), mem: vfs.NewMem(), fake: &fake{}}
	w.mem.Now = w.clock.Now
	w.q = w.open(w.mem)
	t.Cleanup(func() {
		if open := w.mem.OpenFiles(); len(open) > 0 {
			t.Errorf("files left open: %v", open)
		}
	})
	return w
}

func (w *world) open(fsys vfs.FS) *Queue {
	w.t.Helper()
	q, err := Create(fsys, "/q", w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

func (w *world) options() Options {
	return Options{Now: w.clock.Now, Random: func() float64 { return 0.5 }, Hostname: "mx.here.example"}
}

func (w *world) enqueue(env *mail.Envelope, text string) string {
	w.t.Helper()
	id, err := enqueue(w.q, env, text)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func enqueue(q *Queue, env *mail.Envelope, text string) (string, error) {
	e, err := q.Enqueue(env)
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(e, text); err != nil {
		e.Abort()
		return "", err
	}
	return e.ID(), e.Commit()
}

func (w *world) mail(to ...string) string {
	w.t.Helper()
	return w.enqueue(&mail.Envelope{ID: "m1", Sender: addr("sender@x.example"), Rcpts: rcpts(to...)}, ketchup)
}

func (w *world) flush(opt FlushOptions) Stats {
	w.t.Helper()
	opt.Parallel = max(opt.Parallel, 1)
	stats, err := w.q.Flush(context.Background(), w.fake, opt)
	if err != nil {
		w.t.Errorf("Flush: %v", err)
	}
	return stats
}

// items gives "state sender rcpt=state …" for each entry.
func items(t *testing.T, q *Queue) (list []string) {
	t.Helper()
	for item, err := range q.List(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		s := string(item.State) + " " + item.Sender.Path()
		for _, r := range item.Rcpts {
			s += " " + r.Local + "=" + string(r.State)
		}
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func (w *world) wantItems(want ...string) {
	w.t.Helper()
	if got := items(w.t, w.q); !slices.Equal(got, want) {
		w.t.Errorf("queue has\n%s\nwant\n%s\n\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), w.mem.Tree())
	}
}

func (w *world) wantCalls(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.fake.calls, want) {
		w.t.Errorf("transport was called for %q, want %q", w.fake.calls, want)
	}
}

// The message after the block is what was written, octet for octet, however it was written.
func TestEnqueueMessageBytes(t *testing.T) {
	for _, text := range []string{
		"", "\n", "x", "\n\nx", ketchup, "Do you like ketchup?", "From x\nSubject: y\n\nz\n", "X-Mailx-Sender: <evil@x>\n\n",
		"Subject: \x00\x1b\xff\n\n\r\n.\n", strings.Repeat("x", 5000) + ": y\n", strings.Repeat("Xx", 400) + ": y\n\nz\n",
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			w := newWorld(t)
			e, err := w.q.Enqueue(&mail.Envelope{Rcpts: rcpts("ok@y")})
			if err != nil {
				t.Fatal(err)
			}
			for rest := text; rest != ""; rest = rest[min(step, len(rest)):] {
				if n, err := io.WriteString(e, rest[:min(step, len(rest))]); err != nil || n != min(step, len(rest)) {
					t.Fatal(n, err)
				}
			}
			if err := e.Commit(); err != nil {
				t.Fatal(err)
			}
			w.flush(FlushOptions{})
			if !slices.Equal(w.fake.bodies, []string{text}) {
				t.Errorf("in steps of %d: got %q, want %q", step, w.fake.bodies, text)
			}
			w.wantItems()
		}
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	w := newWorld(t)
	before := w.mem.Tree()
	for _, text := range []string{"", "Sub", ketchup} {
		e, err := w.q.Enqueue(&mail.Envelope{Rcpts: rcpts("ok@y")})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(e, text)
		if err := e.Abort(); err != nil {
			t.Errorf("Abort: %v", err)
		}
	}
	if after := w.mem.Tree(); after != before {
		t.Errorf("after Abort there is\n%s\nwant\n%s", after, before)
	}
}

func TestFlushDeliversAndForgets(t *testing.T) {
	w := newWorld(t)
	before := w.mem.Tree()
	w.mail("ok@y.example", "ok2@y.example", "ok@y.example")
	w.clock.add(time.Second)
	w.mail("ok@y.example")
	stats := w.flush(FlushOptions{})
	if want := (Stats{Listed: 2, Due: 2, Tried: 2, Done: 2, Delivered: 3}); stats != want {
		t.Errorf("got %+v, want %+v", stats, want)
	}
	w.wantCalls("ok@y.example,ok2@y.example", "ok@y.example")
	if after := w.mem.Tree(); after != before {
		t.Errorf("the queue has\n%s\nwant\n%s", after, before)
	}
}

// A recipient that accepted is never tried again, one that refused is told to the sender once, the rest is tried by
// schedule until it expires.
func TestLifeOfAnEntry(t *testing.T) {
	w := newWorld(t)
	w.mail("ok@y.example", "temp@y.example", "perm@y.example")
	stats := w.flush(FlushOptions{})
	if stats.Delivered != 1 || stats.Deferred != 1 || stats.Failed != 1 || stats.Notices != 1 {
		t.Errorf("got %+v", stats)
	}
	w.wantCalls("ok@y.example,temp@y.example,perm@y.example")
	w.wantItems("deferred <sender@x.example> ok=delivered temp=pending perm=failed", "new <> sender=pending")
	w.fake.calls = nil
	w.flush(FlushOptions{})
	w.wantCalls("sender@x.example") // the bounce; the rest is not due
	bounce := w.fake.bodies[1]
	for _, s := range []string{"Reporting-MTA: dns; mx.here.example", "Final-Recipient: rfc822; perm@y.example",
		"Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 no such user", "Subject: hi"} {
		if !strings.Contains(bounce, s) {
			t.Errorf("bounce lacks %q:\n%s", s, bounce)
		}
	}
	if strings.Contains(bounce, "ketchup") || strings.Contains(bounce, "temp@") || strings.Contains(bounce, "<ok@") {
		t.Errorf("bounce has too much:\n%s", bounce)
	}
	var ages []time.Duration
	for range 100 {
		stats := w.flush(FlushOptions{})
		if stats.Tried > 0 && strings.HasPrefix(w.fake.calls[len(w.fake.calls)-1], "temp") {
			ages = append(ages, w.clock.Now().Sub(arrived))
		}
		if stats.Next.IsZero() && stats.Listed == 0 {
			break
		}
		if !stats.Next.IsZero() {
			w.clock.add(stats.Next.Sub(w.clock.Now()))
		}
	}
	s := DefaultSchedule()
	s.Jitter = -1
	if want := s.Planned()[1:]; !slices.Equal(ages, want) {
		t.Errorf("tried at ages %v\nplanned %v", ages, want)
	}
	notices := map[string]int{}
	for _, b := range w.fake.bodies {
		for line := range strings.Lines(b) {
			if strings.HasPrefix(line, "Action:") || strings.HasPrefix(line, "Status:") {
				notices[strings.TrimSpace(line)]++
			}
		}
	}
	want := map[string]int{"Action: failed": 2, "Status: 5.1.1": 1, "Action: delayed": 1, "Status: 4.2.2": 1, "Status: 5.4.7": 1}
	if !maps.Equal(notices, want) {
		t.Errorf("notices said %v, want %v", notices, want)
	}
	w.wantItems()
	if w.fake.got["ok@y.example m1"] != 1 {
		t.Errorf("delivered %v", w.fake.got)
	}
}

// A server that is slow to fail, or says nothing at all, does not move the plan.
func TestSlowTriesKeepTheSchedule(t *testing.T) {
	for _, c := range []struct{ takes, second, third time.Duration }{
		{0, 400 * time.Second, 1600 * time.Second},
		{30 * time.Second, 400 * time.Second, 1600 * time.Second},
		{399 * time.Second, 400 * time.Second, 1600 * time.Second},
		{400 * time.Second, 1600 * time.Second, 3600 * time.Second}, // its time came while it was tried
	} {
		w := newWorld(t)
		for name, to := range map[string]Transport{"by itself": w.fake, "by a lane": &laned{fake: w.fake}} {
			begin := w.clock.Now()
			var ages []time.Duration
			w.fake.then = func(_ *mail.Envelope, results []mail.Result) []mail.Result {
				if results[0].Domain == "y" {
					ages = append(ages, w.clock.Now().Sub(begin))
					w.clock.add(c.takes)
				}
				return results
			}
			id := w.mail("temp@y")
			for range 3 {
				w.mail("ok@z") // a message alone in a flush needs no lane
				stats, err := w.q.Flush(t.Context(), to, FlushOptions{Parallel: 2})
				if err != nil {
					t.Fatal(err)
				}
				w.clock.add(stats.Next.Sub(w.clock.Now()))
			}
			if want := []time.Duration{0, c.second, c.third}; !slices.Equal(ages, want) {
				t.Errorf("%s, each try takes %v: tried at %v, want %v", name, c.takes, ages, want)
			}
			if err := w.q.Remove(id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestNotify(t *testing.T) {
	for _, c := range []struct {
		rcpt    string
		notify  mail.Notify
		sender  string
		relayed bool
		age     time.Duration
		want    string   // "Action: …" of the notice
		left    []string // in the queue afterwards, but for the notice
	}{
		{"perm@y", 0, "s@x", false, 0, "failed", nil},
		{"perm@y", mail.NotifyFailure, "s@x", false, 0, "failed", nil},
		{"perm@y", mail.NotifyNever, "s@x", false, 0, "", nil},
		{"perm@y", mail.NotifySuccess | mail.NotifyDelay, "s@x", false, 0, "", nil},
		{"perm@y", 0, "", false, 0, "", []string{"failed <> perm=failed"}},
		{"ok@y", 0, "s@x", false, 0, "", nil},
		{"ok@y", mail.NotifySuccess, "s@x", false, 0, "delivered", nil},
		{"ok@y", mail.NotifySuccess, "s@x", true, 0, "relayed", nil},
		{"ok@y", mail.NotifySuccess, "", false, 0, "", nil},
		{"temp@y", 0, "s@x", false, 5 * time.Hour, "delayed", []string{"deferred <s@x> temp=pending"}},
		{"temp@y", 0, "s@x", false, 3 * time.Hour, "", []string{"deferred <s@x> temp=pending"}},
		{"temp@y", mail.NotifyFailure, "s@x", false, 5 * time.Hour, "", []string{"deferred <s@x> temp=pending"}},
		{"temp@y", mail.NotifyNever, "s@x", false, 5 * time.Hour, "", []string{"deferred <s@x> temp=pending"}},
		{"temp@y", 0, "", false, 5 * time.Hour, "", []string{"deferred <> temp=pending"}},
		{"temp@y", 0, "s@x", false, 120 * time.Hour, "failed", nil},
		{"temp@y", mail.NotifyNever, "s@x", false, 120 * time.Hour, "", nil},
		{"temp@y", 0, "", false, 120 * time.Hour, "", []string{"failed <> temp=failed"}},
	} {
		w := newWorld(t)
		w.fake.then = func(_ *mail.Envelope, results []mail.Result) []mail.Result {
			results[0].Relayed = c.relayed
			return results
		}
		w.enqueue(&mail.Envelope{Sender: addr(c.sender), Ret: mail.RetFull, EnvID: "QQ314159", Rcpts: []mail.Recipient{
			{Address: addr(c.rcpt), Notify: c.notify, Orig: "rfc822;orig@y"}}}, ketchup)
		w.clock.add(c.age)
		w.flush(FlushOptions{})
		w.fake.then, w.fake.bodies = nil, nil
		w.flush(FlushOptions{})
		got := ""
		for _, b := range w.fake.bodies {
			_, rest, _ := strings.Cut(b, "\nAction: ")
			got, _, _ = strings.Cut(rest, "\n")
			if isWhole := strings.Contains(b, "ketchup"); isWhole != (c.want == "failed") { // RFC 3461 §4.3
				t.Errorf("%+v: notice has the body: %v\n%s", c, isWhole, b)
			}
			for _, s := range []string{"Original-Envelope-Id: QQ314159", "Original-Recipient: rfc822; orig@y"} {
				if !strings.Contains(b, s) {
					t.Errorf("%+v: notice lacks %q:\n%s", c, s, b)
				}
			}
		}
		if got != c.want {
			t.Errorf("%+v: got notice %q, want %q", c, got, c.want)
		}
		w.wantItems(c.left...)
	}
}

func TestTransportTrouble(t *testing.T) {
	for name, then := range map[string]func(*mail.Envelope, []mail.Result) []mail.Result{
		"panics":       func(*mail.Envelope, []mail.Result) []mail.Result { panic("oops") },
		"says nothing": func(*mail.Envelope, []mail.Result) []mail.Result { return nil },
		"says other": func(*mail.Envelope, []mail.Result) []mail.Result {
			return []mail.Result{{Recipient: rcpts("other@y")[0]}, {Recipient: rcpts("other2@y")[0]}}
		},
		"unclassified": func(_ *mail.Envelope, r []mail.Result) []mail.Result {
			r[0].Err, r[1].Err = errors.New("x"), &mail.Error{Status: mail.Status{Class: 2}}
			return r
		},
		"damages the envelope": func(env *mail.Envelope, r []mail.Result) []mail.Result {
			env.Rcpts[0], env.Rcpts[1] = env.Rcpts[1], mail.Recipient{}
			return nil
		},
	} {
		w := newWorld(t)
		w.fake.then = then
		w.mail("ok@y", "ok2@y")
		stats, err := w.q.Flush(context.Background(), w.fake, FlushOptions{})
		if stats.Deferred != 2 || (err != nil) != (name == "panics") {
			t.Errorf("%s: got %+v, %v", name, stats, err)
		}
		w.wantItems("deferred <sender@x.example> ok=pending ok2=pending")
	}
}

// told is an error with a text for others and another one inside, as those of a package of protocols are.
type told struct{ err error }

func (told) Error() string    { return "all of it" }
func (told) MailText() string { return "for others" }
func (e told) Unwrap() error  { return e.err }

// What people see of trouble of our own has its cause, whatever kind of error it is.
func TestCauseOf(t *testing.T) {
	inside := errors.New("inside")
	for want, errs := range map[string][]error{
		"inside": {inside, told{inside}, fmt.Errorf("x: %w", told{inside}), mail.Temporaryf(7, 5, "text: %w", inside)},
		"":       {told{}, mail.Temporaryf(7, 5, "text")},
	} {
		for _, err := range errs {
			if got := causeOf(err); got != want {
				t.Errorf("%#v: got %q, want %q", err, got, want)
			}
		}
	}
}

// A shutdown in the middle of an attempt is no reason to give a message up.
func TestCancelledIsNotExpired(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		cancel()
		r[0].Err = context.Canceled
		return r
	}
	w.mail("ok@y")
	w.clock.add(200 * time.Hour)
	w.q.Flush(ctx, w.fake, FlushOptions{})
	w.wantItems("new <> sender=pending", "new <sender@x.example> ok=pending") // the notice is one of delay
}

func TestResultsInAnyOrder(t *testing.T) {
	w := newWorld(t)
	w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		slices.Reverse(r)
		return r
	}
	w.mail("ok@y", "temp@y", "perm@y")
	w.flush(FlushOptions{})
	w.wantItems("deferred <sender@x.example> ok=delivered temp=pending perm=failed", "new <> sender=pending")
}

func TestFlushOptions(t *testing.T) {
	setup := func(t *testing.T) *world {
		w := newWorld(t)
		w.enqueue(&mail.Envelope{Sender: addr("s@one.example"), Rcpts: rcpts("a@x.example", "b@y.example")}, ketchup)
		w.clock.add(time.Second)
		w.enqueue(&mail.Envelope{Sender: addr("s@two.example"), Rcpts: rcpts("c@y.example")}, ketchup)
		w.clock.add(time.Second)
		w.enqueue(&mail.Envelope{Rcpts: rcpts("temp@x.example")}, ketchup)
		w.flush(FlushOptions{Sender: "<>"})
		w.wantCalls("temp@x.example")
		w.fake.calls = nil
		return w
	}
	for _, c := range []struct {
		opt  FlushOptions
		want []string
	}{
		{FlushOptions{}, []string{"a@x.example,b@y.example", "c@y.example"}},
		{FlushOptions{All: true}, []string{"a@x.example,b@y.example", "c@y.example", "temp@x.example"}},
		{FlushOptions{All: true, Max: 1}, []string{"a@x.example,b@y.example"}},
		{FlushOptions{All: true, Max: 2}, []string{"a@x.example,b@y.example", "c@y.example"}},
		{FlushOptions{All: true, Max: 4}, []string{"a@x.example,b@y.example", "c@y.example", "temp@x.example"}},
		{FlushOptions{Domain: "Y.example"}, []string{"b@y.example", "c@y.example"}},
		{FlushOptions{All: true, Domain: "x.example", Max: 2}, []string{"a@x.example", "temp@x.example"}},
		{FlushOptions{All: true, Domain: "z.example"}, nil},
		{FlushOptions{Sender: "s@two.example"}, []string{"c@y.example"}},
		{FlushOptions{All: true, Sender: "<>"}, []string{"temp@x.example"}},
	} {
		w := setup(t)
		w.flush(c.opt)
		if !slices.Equal(w.fake.calls, c.want) {
			t.Errorf("%+v: tried %q, want %q", c.opt, w.fake.calls, c.want)
		}
	}
}

// A flush of one domain leaves the others their turn, and they don't get the message twice.
func TestFlushDomainThenAll(t *testing.T) {
	w := newWorld(t)
	w.mail("temp@x.example", "b@y.example", "c@y.example")
	w.flush(FlushOptions{Domain: "x.example"})
	w.flush(FlushOptions{Domain: "y.example"})
	w.flush(FlushOptions{})
	w.wantCalls("temp@x.example", "b@y.example,c@y.example", "temp@x.example")
	w.wantItems("deferred <sender@x.example> temp=pending b=delivered c=delivered")
}

func TestFlushPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var at []time.Duration
		begin := time.Now()
		w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
			at = append(at, time.Since(begin))
			return r
		}
		for range 3 {
			w.mail("ok@y")
		}
		w.flush(FlushOptions{Pause: time.Minute, Parallel: 5})
		if want := []time.Duration{0, time.Minute, 2 * time.Minute}; !slices.Equal(at, want) {
			t.Errorf("tried at %v, want %v", at, want)
		}
	})
}

func TestFlushCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		cancel()
		return r
	}
	w.mail("ok@y", "temp@y")
	w.mail("ok@y", "temp@y")
	_, err := w.q.Flush(ctx, w.fake, FlushOptions{Parallel: 1})
	if !errors.Is(err, context.Canceled) || len(w.fake.calls) != 1 {
		t.Errorf("got %v, %d calls; want one try and the context's error", err, len(w.fake.calls))
	}
	w.fake.then, w.fake.calls = nil, nil
	w.flush(FlushOptions{}) // what was cut short is still due
	slices.Sort(w.fake.calls)
	w.wantCalls("ok@y,temp@y", "temp@y")
}

// An entry that another flush put off, after this one read the directory, is not tried again at once.
func TestTriedSinceListed(t *testing.T) {
	for _, all := range []bool{false, true} {
		w := newWorld(t)
		w.mail("temp@y", "temp2@y")
		w.flush(FlushOptions{})
		w.clock.add(time.Hour)
		p := &pass{q: w.q, t: w.fake, opt: FlushOptions{All: all, Parallel: 1}, gate: newGate(FlushOptions{})}
		due, err := p.due()
		if err != nil || len(due) != 1 {
			t.Fatal(due, err)
		}
		w.flush(FlushOptions{})
		p.run(context.Background(), due)
		if len(w.fake.calls) != 2 || p.stats.Taken != 1 {
			t.Errorf("all %v: %+v, calls %q; want the listed entry to be left alone", all, p.stats, w.fake.calls)
		}
	}
}

// A side file that can't be read says nothing about whom to send to, so nobody gets anything.
func TestProgressUnreadable(t *testing.T) {
	w := newWorld(t)
	w.mail("ok@y", "temp@y")
	w.flush(FlushOptions{})
	w.clock.add(time.Hour)
	plan := w.mem.Clone()
	q := w.open(plan)
	before := len(plan.Calls())
	if _, err := q.Flush(context.Background(), &fake{}, FlushOptions{Parallel: 1}); err != nil {
		t.Fatal(err)
	}
	for i, c := range plan.Calls()[before:] {
		if !strings.Contains(c.Name, ".progress/") || c.Op != "open" && c.Op != "read" {
			continue
		}
		m, f := w.mem.Clone(), &fake{}
		q := w.open(m)
		m.Fail(before+i+1, vfs.Fault{Err: syscall.EIO})
		if _, err := q.Flush(context.Background(), f, FlushOptions{Parallel: 1}); !errors.Is(err, syscall.EIO) || len(f.calls) > 0 {
			t.Errorf("%s fails: got %v, calls %q", c, err, f.calls)
		}
	}
}

// The time of an entry was set with a clock that was wrong by years.
func TestClockJump(t *testing.T) {
	w := newWorld(t)
	w.clock.add(20 * 365 * 24 * time.Hour)
	w.mail("temp@y")
	w.flush(FlushOptions{})
	w.clock.add(-20 * 365 * 24 * time.Hour)
	w.flush(FlushOptions{})
	w.flush(FlushOptions{})
	w.wantCalls("temp@y", "temp@y")
	w.clock.add(1201 * time.Second)
	w.flush(FlushOptions{})
	w.wantCalls("temp@y", "temp@y", "temp@y")
}

// A message that came while the clock was ahead by years is tried by the plan all the same, and its sender told.
func TestArrivedInTheFuture(t *testing.T) {
	w := newWorld(t)
	w.clock.add(20 * 365 * 24 * time.Hour)
	w.mail("temp@y")
	w.clock.add(-20 * 365 * 24 * time.Hour)
	planned, n := w.q.Schedule().Planned(), 0
	for ; n < 100; n++ {
		stats := w.flush(FlushOptions{})
		if stats.Next.IsZero() {
			break
		}
		if age := w.clock.Now().Sub(arrived); n < len(planned)-1 && age != planned[n] {
			t.Errorf("try %d at %v, planned at %v", n, age, planned[n])
		}
		w.clock.add(stats.Next.Sub(w.clock.Now()))
	}
	if n > len(planned)+1 {
		t.Errorf("%d tries, planned are %d", n, len(planned))
	}
	if got := w.notices("sender@x.example"); !slices.Equal(got, []string{"delayed 4.2.2", "failed 5.4.7"}) {
		t.Errorf("notices %q", got)
	}
}

func TestDamagedIsKeptAndNotSent(t *testing.T) {
	block, _ := printBlock(&mail.Envelope{Rcpts: rcpts("ok@y"), Arrived: arrived})
	evil, _ := printBlock(&mail.Envelope{Rcpts: rcpts("a\r\nDATA\r\n@y"), Arrived: arrived})
	for name, content := range map[string]string{
		"1.M1.host":         ketchup,
		"2.M1.host":         "",
		"3.M1.host":         string(block[:len(block)-1]),
		"4.M1.host,S=99999": string(block) + ketchup,
		"5.M1.host":         string(evil) + ketchup,
	} {
		w := newWorld(t)
		write(t, w.mem, "/q/new/"+name, content)
		stats := w.flush(FlushOptions{})
		if stats.Damaged != 1 || stats.Left() != 0 || len(w.fake.calls) > 0 {
			t.Errorf("%s: got %+v, calls %q", name, stats, w.fake.calls)
		}
		got, err := vfs.ReadFile(w.mem, "/q/.Failed/cur/"+name+":2,", 1<<20)
		if string(got) != content {
			t.Errorf("%s: .Failed has %q, %v; want %q", name, got, err, content)
		}
		item, err := w.q.Get(name)
		if err != nil || !errors.Is(item.Damaged, ErrDamaged) || item.State != StateFailed {
			t.Errorf("%s: got %+v, %v", name, item, err)
		}
	}
}

func write(t *testing.T, fsys vfs.FS, name, content string) {
	t.Helper()
	f, err := fsys.Create(name)
	if err == nil {
		_, err = io.WriteString(f, content)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An entry of another queue is an entry, whatever its file is called.
func TestForeignName(t *testing.T) {
	w := newWorld(t)
	block, _ := printBlock(&mail.Envelope{Rcpts: rcpts("ok@y", "temp@y"), Arrived: arrived})
	write(t, w.mem, "/q/cur/copy of a message:2,FS", string(block)+ketchup)
	w.flush(FlushOptions{})
	w.wantItems("deferred <> ok=delivered temp=pending")
	w.clock.add(time.Hour)
	w.flush(FlushOptions{})
	w.wantCalls("ok@y,temp@y", "temp@y")
}

// Where progress can't be written, nobody gets a message again: not in this process, and not in another, for the entry
// is held.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	w.mail("ok@y", "temp@y")
	w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		w.mem.FailFrom(len(w.mem.Calls())+1, syscall.ENOSPC)
		return r
	}
	if _, err := w.q.Flush(context.Background(), w.fake, FlushOptions{}); mail.StatusOf(err).String() != "4.3.1" {
		t.Errorf("got %v, want a full disk", err)
	}
	w.fake.then = nil
	if _, err := w.q.Flush(context.Background(), w.fake, FlushOptions{All: true}); err == nil {
		t.Error("a full disk is no error")
	}
	w.mem.Heal()
	w.flush(FlushOptions{All: true})
	if n := w.fake.got["ok@y m1"]; n != 1 {
		t.Errorf("delivered %d times, want 1; calls %q", n, w.fake.calls)
	}
	w.wantItems("deferred <sender@x.example> ok=delivered temp=pending")
}

// A disk that is read-only, as after an error, takes no record of what was sent: every flush would send it again.
func TestReadOnlyDisk(t *testing.T) {
	w := newWorld(t)
	w.mail("ok@y")
	w.mail("ok2@y", "ok3@y")
	w.mem.FailFrom(len(w.mem.Calls())+1, syscall.EROFS)
	for range 2 {
		_, err := w.q.Flush(context.Background(), w.fake, FlushOptions{All: true})
		if !errors.Is(err, syscall.EROFS) || mail.StatusOf(err).String() != "4.3.0" {
			t.Errorf("got %v, want a disk that is read-only", err)
		}
	}
	if len(w.fake.calls) > 0 {
		t.Errorf("sent what can't be taken out of the queue: %q", w.fake.calls)
	}
	w.mem.Heal()
	w.flush(FlushOptions{All: true})
	if n := w.fake.got["ok@y m1"]; n != 1 {
		t.Errorf("delivered %d times, want once", n)
	}
	w.wantItems()
}

// Deleting mail works on a full disk, and so does a flush that succeeds.
func TestFullDiskDrains(t *testing.T) {
	w := newWorld(t)
	w.mail("ok@y")
	w.mail("ok@y", "ok2@y")
	id := w.mail("temp@y")
	w.mem.FailFrom(len(w.mem.Calls())+1, syscall.EDQUOT)
	if err := w.q.Remove(id); err != nil && !errors.Is(err, syscall.EDQUOT) {
		t.Error(err)
	}
	w.q.Flush(context.Background(), w.fake, FlushOptions{})
	w.mem.Heal()
	if n := w.fake.got["ok@y m1"]; n != 1 {
		t.Errorf("delivered %d times, want once, for what needs no side file", n)
	}
	w.wantItems("new <sender@x.example> ok=pending ok2=pending")
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	w.mail("ok@y", "temp@y")
	w.flush(FlushOptions{})
	write(t, w.mem, "/q/.progress/orphan", "try 1 .\n")
	w.clock.add(36*time.Hour - time.Second)
	if err := w.q.Sweep(); err != nil || !strings.Contains(w.mem.Tree(), "orphan") {
		t.Errorf("swept too early: %v\n%s", err, w.mem.Tree())
	}
	w.clock.add(time.Second)
	if err := w.q.Sweep(); err != nil || strings.Contains(w.mem.Tree(), "orphan") {
		t.Errorf("not swept: %v\n%s", err, w.mem.Tree())
	}
	w.wantItems("deferred <sender@x.example> ok=delivered temp=pending")
}

// Who watches hears of each entry that is done with, and of one that is put off when it is done with, too.
func TestFlushProgress(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.mail("ok@y")
		w.mail("temp@z")
	}
	var mu sync.Mutex
	var seen []string
	w.flush(FlushOptions{Parallel: 1, Progress: func(done, due int) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%d/%d", done, due))
	}})
	if got := strings.Join(seen, " "); got != "0/10 1/10 2/10 3/10 4/10 5/10 6/10 7/10 8/10 9/10 10/10" {
		t.Errorf("got %s", got)
	}
}
