package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// names gives the file names in new/.
func (w *world) names() []string {
	names, err := w.mem.ReadDirNames("/q/new")
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func TestDomainInName(t *testing.T) {
	for to, want := range map[string]string{
		"a@Example.ORG":                             "example.org",
		"a@x-1.example b@X-1.example":               "x-1.example",
		"a@x.example b@y.example":                   "",
		"a@[192.0.2.1]":                             "",
		"a@bücher.example":                          "",
		"a@" + strings.Repeat("x.", 99) + "example": "",
	} {
		w := newWorld(t)
		w.mail(strings.Fields(to)...)
		if names := w.names(); len(names) != 1 || domainIn(names[0]) != want || strings.Contains(names[0], "D=") != (want != "") {
			t.Errorf("%s: got %q", to, names)
		}
	}
	for name, want := range map[string]string{
		"1.M2P3R4.host,S=5,W=6,D=x.example:2,S": "x.example", "1.h,D=x,Y=1": "x", "1.h:2,D=x": "", "D=x": "", "1.h,D=": "", "": "",
	} {
		if got := domainIn(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// countOpens counts the files with a word in their names that are opened.
type countOpens struct {
	vfs.FS
	word string
	n    *atomic.Int32
}

func (f countOpens) Open(name string) (vfs.File, error) {
	if strings.Contains(name, "/new/") && strings.Contains(name, f.word) {
		f.n.Add(1)
	}
	return f.FS.Open(name)
}

// bySender is a transport with a lane for each pair of domains, that of the sender and that of the recipient. Where one of them is
// "silent" a message takes an hour, and two make a crowd.
type bySender struct {
	*fake
	inside atomic.Int32 // messages for the silent
	passed func()       // is called after each of the others
}

type senderLane struct {
	of  *bySender
	key string
}

func (f *bySender) Lane(env *mail.Envelope) mail.Lane {
	return senderLane{f, env.Sender.Domain + " " + env.Rcpts[0].Domain}
}

func (l senderLane) Key() string    { return l.key }
func (l senderLane) isSilent() bool { return strings.Contains(l.key, "silent") }

func (l senderLane) Room() mail.Room {
	if l.isSilent() && !strings.HasPrefix(l.key, "lone") && l.of.inside.Load() >= 2 {
		return mail.Crowded
	}
	return mail.Free
}

func (l senderLane) Carry(ctx context.Context, d *mail.Delivery, _ func() *mail.Delivery) {
	if l.isSilent() {
		l.of.inside.Add(1)
		time.Sleep(time.Hour)
		l.of.inside.Add(-1)
	} else {
		time.Sleep(time.Millisecond)
		l.of.passed()
	}
	d.Done(l.of.Deliver(ctx, d.Env, d.Msg, d.Size))
}

// As long as there is something else to do, what goes to a silent destination is not even opened. That some of it goes
// by another way is found out all the same, before anything has ended there.
func TestSilentIsNotOpened(t *testing.T) {
	const each, parallel = 200, 4
	for to, most := range map[string]int32{"silent": parallel*perTurn + firstDomains, "y": 2 * each} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			for i := range each {
				for _, env := range []*mail.Envelope{
					{Sender: addr("s@silent"), Rcpts: rcpts(fmt.Sprintf("ok%d@%s", i, to))},
					{Sender: addr("s@well"), Rcpts: rcpts(fmt.Sprintf("ok%d@y", i))},
				} {
					w.enqueue(env, ketchup)
					w.clock.add(time.Second)
				}
			}
			var opens, passed, opened atomic.Int32
			f := &bySender{fake: w.fake, passed: func() {
				if passed.Add(1) == each-parallel*perTurn { // the others have been begun, so that there may be nothing else to do
					opened.Store(opens.Load())
				}
			}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			w.open(countOpens{w.mem, "D=" + to, &opens}).Flush(ctx, f, FlushOptions{Parallel: parallel})
			if passed.Load() != each || opened.Load() > most {
				t.Errorf("to %s: %d of %d had passed the silent when the minute was over, and %d had been opened before, where %d may be",
					to, passed.Load(), each, opened.Load(), most)
			}
		})
	}
}

// byDomain is a transport whose lanes depend on the domain alone.
type byDomain struct{ *bySender }

func (byDomain) IsByDomain(string) bool { return true }

// A runner knows the lane of an entry by the domain in its name only where the transport says that senders don't matter: else what
// goes by another way would wait behind a silent one.
func TestRunnerKnowsLanesByDomain(t *testing.T) {
	const each = 50
	for _, isByDomain := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			silent := addr("s@silent")
			if isByDomain {
				silent = addr("s@well")
			}
			for i := range each {
				w.enqueue(&mail.Envelope{Sender: silent, Rcpts: rcpts(fmt.Sprintf("ok%d@y", i))}, ketchup)
				w.enqueue(&mail.Envelope{Sender: addr("s@well"), Rcpts: rcpts(fmt.Sprintf("ok%d@y", each+i))}, ketchup)
			}
			var opens, passed atomic.Int32
			f := &bySender{fake: w.fake, passed: func() { passed.Add(1) }}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r := Runner{Queue: w.open(countOpens{w.mem, "D=y", &opens}), Transport: f}
			if isByDomain {
				r.Transport = byDomain{f}
			}
			r.Run(ctx)
			if n := passed.Load(); n < each || isByDomain && (n != 2*each || opens.Load() != 2*each+1) {
				t.Errorf("by domain %v: %d were delivered, and files opened %d times", isByDomain, n, opens.Load())
			}
		})
	}
}

// One that had a slim chance and is under way to a silent destination keeps nobody from looking at the next one.
func TestSlimChanceTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, from := range append(slices.Repeat([]string{"silent"}, 40), "lone.silent", "well", "well") {
			w.enqueue(&mail.Envelope{Sender: addr("s@" + from), Rcpts: rcpts("ok@y")}, ketchup)
			w.clock.add(time.Second)
		}
		var passed atomic.Int32
		f := &bySender{fake: w.fake, passed: func() { passed.Add(1) }}
		time.AfterFunc(time.Minute, func() {
			if n := passed.Load(); n != 2 {
				t.Errorf("%d of 2 had passed the silent after a minute", n)
			}
		})
		w.q.Flush(t.Context(), f, FlushOptions{Parallel: 4})
	})
}

// reserving is a transport with one lane whose only place was reserved for somebody who does not come.
type reserving struct {
	*bySender
	until time.Time
}

type reservedLane struct {
	senderLane
	of *reserving
}

func (f *reserving) Lane(env *mail.Envelope) mail.Lane {
	return reservedLane{f.bySender.Lane(env).(senderLane), f}
}

func (l reservedLane) Room() mail.Room {
	if !l.isSilent() && time.Now().Before(l.of.until) {
		return mail.Crowded
	}
	return l.senderLane.Room()
}

// There may be room though no attempt has ended.
func TestRoomWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 10 {
			w.enqueue(&mail.Envelope{Sender: addr("s@well"), Rcpts: rcpts("ok@y")}, ketchup)
		}
		w.enqueue(&mail.Envelope{Sender: addr("s@silent"), Rcpts: rcpts("ok@z")}, ketchup)
		var passed atomic.Int32
		f := &reserving{&bySender{fake: w.fake, passed: func() { passed.Add(1) }}, time.Now().Add(slowAfter / 2)}
		time.AfterFunc(time.Minute, func() {
			if n := passed.Load(); n != 10 {
				t.Errorf("%d of 10 had passed the silent after a minute", n)
			}
		})
		w.q.Flush(t.Context(), f, FlushOptions{Parallel: 4, AtOnce: 4})
	})
}

// By a wrong name nothing is sent, and nothing is left for good.
func TestDomainInNameIsWrong(t *testing.T) {
	w := newWorld(t)
	w.mail("ok@y")
	name := w.names()[0]
	if err := w.mem.Rename("/q/new/"+name, "/q/new/"+strings.Replace(name, "D=y", "D=z", 1)); err != nil {
		t.Fatal(err)
	}
	w.flush(FlushOptions{Domain: "z"})
	w.wantCalls()
	w.flush(FlushOptions{})
	w.wantCalls("ok@y")
}

// Who asks for one domain gets all that is for it, and nothing is opened that is for another.
func TestOnlyOneDomainIsOpened(t *testing.T) {
	for _, opt := range []FlushOptions{{Domain: "Y.example"}, {Rcpt: "ok@y.example"}, {Rcpt: "@Y.example"}, {Rcpt: "<ok@y.example>"}} {
		w := newWorld(t)
		w.mail("ok@x.example")
		w.mail("ok@y.example")
		w.mail("ok@x.example", "ok@y.example")
		var opens atomic.Int32
		q := w.open(countOpens{w.mem, "D=x", &opens})
		found := 0
		for _, err := range q.Find(context.Background(), Selection{Domain: opt.Domain, Rcpt: opt.Rcpt}) {
			if found++; err != nil {
				t.Error(err)
			}
		}
		stats, err := q.Flush(context.Background(), w.fake, opt)
		if err != nil || found != 2 || stats.Listed != 3 || stats.Delivered != 2 || opens.Load() != 0 {
			t.Errorf("%+v: found %d, %+v, %v, and %d others were opened", opt, found, stats, err, opens.Load())
		}
	}
	for _, rcpt := range []string{"root", `"a@y"@x`, "", "a@x"} {
		if sel := (Selection{Rcpt: rcpt}); !sel.mayTake("1.h,D=x") || !sel.mayTake("1.h") {
			t.Errorf("%q may not be for x", rcpt)
		}
	}
}
