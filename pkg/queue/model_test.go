package queue

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// model is a transport with destinations of all kinds, each with a few slots and the room that a pool of connections has. A domain is
// what its name begins with: "well", "slow", "silent", "dying", "panicking"; mail for "bysender" goes where the domain of its sender says.
type model struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	dests map[string]*modelDest
	got   map[string][]time.Time // by "id address"
	now   int                    // messages that it has
	most  int                    // of these at once
}

type modelDest struct {
	name   string
	users  int
	coming []time.Time
	ended  time.Time
	slots  chan struct{}
}

func newModel(seed uint64) *model {
	return &model{rnd: rand.New(rand.NewPCG(seed, 1)), dests: map[string]*modelDest{}, got: map[string][]time.Time{}}
}

func (m *model) rand(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rnd.IntN(n)
}

func wayOf(sender mail.Address, domain string) string {
	if strings.HasPrefix(domain, "bysender") {
		return sender.Domain + " by sender"
	}
	return domain
}

func (m *model) dest(name string) *modelDest {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dests[name]
	if d == nil {
		d = &modelDest{name: name, slots: make(chan struct{}, 5)}
		m.dests[name] = d
	}
	return d
}

func (m *model) room(d *modelDest) mail.Room {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(d.ended) <= slowAfter {
		return mail.Free
	}
	for len(d.coming) > 0 && now.Sub(d.coming[0]) > slowAfter {
		d.coming = d.coming[1:]
	}
	if d.users+len(d.coming) >= slowLimit {
		return mail.Crowded
	}
	d.coming = append(d.coming, now)
	return mail.Reserved
}

// at has do done with a slot of d.
func (m *model) at(ctx context.Context, d *modelDest, do func()) {
	m.mu.Lock()
	d.users++
	d.coming = d.coming[min(1, len(d.coming)):]
	m.mu.Unlock()
	select {
	case d.slots <- struct{}{}:
		defer func() {
			<-d.slots
			m.mu.Lock()
			d.users--
			d.ended = time.Now()
			m.mu.Unlock()
		}()
		do()
	case <-ctx.Done():
		m.mu.Lock()
		d.users--
		m.mu.Unlock()
	}
}

const errPanic = "as it was to be expected"

var errModel = mail.Temporaryf(4, 1, "No answer")

// serve is what d does with one message.
func (m *model) serve(ctx context.Context, d *modelDest) (err error) {
	after := func(t time.Duration) {
		select {
		case <-time.After(t):
		case <-ctx.Done():
			err = errModel
		}
	}
	n := time.Duration(m.rand(1000) + 1)
	switch {
	case strings.HasPrefix(d.name, "well"):
		after(n * 50 * time.Microsecond)
	case strings.HasPrefix(d.name, "slow"):
		after(n * 3 * time.Millisecond)
	case strings.HasPrefix(d.name, "silent"):
		after(5 * time.Minute)
		err = errModel
	case strings.HasPrefix(d.name, "dying"):
		after(n * 10 * time.Microsecond)
		err = errModel
	default:
		if n < 500 {
			panic(errPanic)
		}
	}
	return err
}

func (m *model) result(env *mail.Envelope, r mail.Recipient, err error) mail.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		key := env.ID + " " + r.String()
		m.got[key] = append(m.got[key], time.Now())
	}
	return mail.Result{Recipient: r, Err: err}
}

func (m *model) begins(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += n
	m.most = max(m.most, m.now)
}

func (m *model) Deliver(ctx context.Context, env *mail.Envelope, _ io.ReaderAt, _ int64) []mail.Result {
	return m.DeliverTelling(ctx, env, nil, 0, func([]mail.Result) {})
}

func (m *model) DeliverTelling(
	ctx context.Context, env *mail.Envelope, _ io.ReaderAt, _ int64, tell func([]mail.Result),
) []mail.Result {
	m.begins(1)
	defer m.begins(-1)
	results := make([]mail.Result, len(env.Rcpts))
	var telling sync.Mutex
	var all sync.WaitGroup
	var panics atomic.Bool
	for i, r := range env.Rcpts {
		all.Go(func() {
			defer func() {
				if recover() != nil {
					panics.Store(true)
				}
			}()
			results[i] = mail.Result{Recipient: r, Err: errModel}
			d := m.dest(wayOf(env.Sender, r.Domain))
			m.at(ctx, d, func() {
				results[i] = m.result(env, r, m.serve(ctx, d))
				telling.Lock()
				defer telling.Unlock()
				tell(results[i : i+1])
			})
		})
	}
	all.Wait()
	if panics.Load() && len(env.Rcpts) == 1 {
		panic(errPanic)
	}
	return results
}

func (m *model) IsCrowded(env *mail.Envelope) bool {
	asked := map[*modelDest]mail.Room{}
	for _, r := range env.Rcpts {
		d := m.dest(wayOf(env.Sender, r.Domain))
		if _, isAsked := asked[d]; isAsked {
			continue
		}
		if asked[d] = m.room(d); asked[d] != mail.Crowded {
			continue
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for d, room := range asked {
			if room == mail.Reserved && len(d.coming) > 0 {
				d.coming = d.coming[1:]
			}
		}
		return true
	}
	return false
}

type modelLane struct {
	*model
	d *modelDest
}

func (m *model) Lane(env *mail.Envelope) mail.Lane {
	if len(env.Rcpts) != 1 || strings.HasSuffix(env.Rcpts[0].Domain, "local") {
		return nil
	}
	return modelLane{m, m.dest(wayOf(env.Sender, env.Rcpts[0].Domain))}
}

func (l modelLane) Key() string     { return l.d.name }
func (l modelLane) Room() mail.Room { return l.room(l.d) }

func (l modelLane) Carry(ctx context.Context, first *mail.Delivery, next func() *mail.Delivery) {
	l.begins(1)
	defer l.begins(-1)
	isServed := false
	l.at(ctx, l.d, func() {
		isServed = true
		for d := first; d != nil; {
			var behind *mail.Delivery
			if !strings.HasPrefix(l.d.name, "silent") && l.rand(4) > 0 {
				l.mu.Lock()
				l.d.ended = time.Now()
				l.mu.Unlock()
				behind = next()
			}
			err := l.serve(ctx, l.d)
			d.Done([]mail.Result{l.result(d.Env, d.Env.Rcpts[0], err)})
			if err != nil && behind != nil {
				behind.Done([]mail.Result{l.result(behind.Env, behind.Env.Rcpts[0], err)})
				behind = nil
			}
			d = behind
		}
	})
	if !isServed {
		first.Fail(mail.Result{Err: errModel})
	}
}

// modelWorld is a queue of random mail.
type modelWorld struct {
	t     *testing.T
	what  string // is tested, in failures
	rnd   *rand.Rand
	mem   *vfs.Mem
	q     *Queue
	to    *model
	mail  map[string]*mail.Envelope
	began time.Time

	isExcused func(*mail.Envelope) bool // from having to be delivered in time; may be nil
}

func newModelWorld(t *testing.T, seed uint64) *modelWorld {
	w := &modelWorld{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), mem: vfs.NewMem(), to: newModel(seed), mail: map[string]*mail.Envelope{}}
	w.mem.Now = time.Now
	w.q = w.open(w.mem)
	w.fill()
	w.mem.SyncAll()
	w.began = time.Now()
	return w
}

// fill queues mail for some of the destinations.
func (w *modelWorld) fill() {
	kinds := []string{"well", "well", "slow", "silent", "dying", "panicking", "bysender", "wellünlaut"}
	w.rnd.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = append(kinds[:1+w.rnd.IntN(len(kinds))], "well")
	perKind := 1 + w.rnd.IntN(4)
	several := w.rnd.IntN(3)
	senders := []string{"well.sender", "silent.sender", "slow.sender", "silent2.sender"}
	senders = senders[:1+w.rnd.IntN(len(senders))]
	for i := range 1 + w.rnd.IntN(250) {
		env := &mail.Envelope{ID: fmt.Sprint("m", i), Sender: addr("s@" + senders[w.rnd.IntN(len(senders))]), UTF8: true}
		for n := range 1 + max(0, w.rnd.IntN(6)-5+several) {
			domain := fmt.Sprint(kinds[w.rnd.IntN(len(kinds))], w.rnd.IntN(perKind), ".example")
			if w.rnd.IntN(20) == 0 {
				domain += ".local"
			}
			env.Rcpts = append(env.Rcpts, mail.Recipient{Address: mail.Address{Local: fmt.Sprint("r", n), Domain: domain}})
		}
		if _, err := enqueue(w.q, env, ketchup); err != nil {
			w.t.Fatal(err)
		}
		w.mail[env.ID] = env
		if w.rnd.IntN(4) == 0 {
			time.Sleep(time.Second)
		}
	}
}

func (w *modelWorld) open(fsys vfs.FS) *Queue {
	q, err := Create(fsys, "/q", Options{Now: time.Now, Random: func() float64 { return 0.5 }})
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// lie gives some entries names that say something else. Where a runner believes that they wait with others.
func (w *modelWorld) lie() {
	names, _ := w.mem.ReadDirNames("/q/new")
	share := w.rnd.IntN(3)
	for _, name := range names {
		if w.rnd.IntN(10) >= share {
			continue
		}
		other := names[w.rnd.IntN(len(names))]
		lie, _, _ := strings.Cut(name, ",D=")
		if domain := domainIn(other); domain != "" {
			lie += ",D=" + domain
		}
		if err := w.mem.Rename("/q/new/"+name, "/q/new/"+lie); err != nil {
			w.t.Fatal(err)
		}
	}
	w.mem.SyncAll()
}

// isAllWell says that all who are to get a message can be reached.
func isAllWell(env *mail.Envelope) bool {
	return !slices.ContainsFunc(env.Rcpts, func(r mail.Recipient) bool {
		return !strings.HasPrefix(wayOf(env.Sender, r.Domain), "well")
	})
}

// errorf says what went wrong.
func (w *modelWorld) errorf(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf(w.what+": "+format, args...)
}

// gotAt gives when a recipient of a message got it.
func (w *modelWorld) gotAt(id string, r mail.Recipient) []time.Time {
	return w.to.got[id+" "+r.String()]
}

// check looks whether everybody got what he can get, once, and within limit where all answer; 0: they need not.
func (w *modelWorld) check(limit time.Duration) (delivered int) {
	for id, env := range w.mail {
		for _, r := range env.Rcpts {
			got := w.gotAt(id, r)
			delivered += len(got)
			switch {
			case len(got) > 1:
				w.errorf("%s %s got it at %v", id, r, got)
			case limit == 0 || !isAllWell(env) || w.isExcused != nil && w.isExcused(env):
			case len(got) == 0:
				w.errorf("%s %s got nothing", id, r)
			case got[0].Sub(w.began) > limit:
				w.errorf("%s %s got it after %v", id, r, got[0].Sub(w.began))
			}
		}
	}
	return delivered
}

// checkQueue looks whether so many are left, and say what was done.
func (w *modelWorld) checkQueue(left int) {
	n := 0
	for item, err := range w.q.List(context.Background()) {
		if n++; err != nil || item.Damaged != nil {
			w.errorf("%v, %v", err, item.Damaged)
			continue
		}
		for _, r := range item.Rcpts {
			if got := w.gotAt(item.Envelope.ID, r.Recipient); (r.State == RcptDelivered) != (len(got) > 0) {
				w.errorf("%s %s is %s, and got it at %v", item.ID, r, r.State, got)
			}
		}
	}
	side, err := w.mem.ReadDirNames("/q/" + progressDir)
	if n != left || len(side) > n || err != nil {
		w.errorf("%d are left with %d side files, want %d, %v", n, len(side), left, err)
	}
	if open := w.mem.OpenFiles(); len(open) > 0 {
		w.errorf("files left open: %v", open)
	}
}

// losePower looks, some time from now, at what a loss of power would leave: nothing is lost, and what was delivered a moment ago, or
// before, is not sent again.
func (w *modelWorld) losePower() (looked chan struct{}) {
	looked = make(chan struct{})
	go func() {
		defer close(looked)
		time.Sleep(time.Duration(w.to.rand(5000)) * time.Millisecond)
		w.to.mu.Lock()
		defer w.to.mu.Unlock()
		n := 0
		for _, c := range w.mem.Choices() {
			if n++; n%7 == 1 {
				w.checkAfter(w.open(w.mem.After(c)))
			}
		}
	}()
	return looked
}

func (w *modelWorld) checkAfter(q *Queue) {
	const moment = 10 * gather
	left := map[string]RcptState{}
	for item, err := range q.List(context.Background()) {
		if err != nil || item.Damaged != nil {
			w.errorf("after a loss of power: %v, %v", err, item.Damaged)
			continue
		}
		for _, r := range item.Rcpts {
			left[item.Envelope.ID+" "+r.String()] = r.State
		}
	}
	for id, env := range w.mail {
		for _, r := range env.Rcpts {
			got, state := w.gotAt(id, r), left[id+" "+r.String()]
			if len(got) == 0 && state != RcptPending || len(got) > 0 && time.Since(got[0]) > moment && state == RcptPending {
				w.errorf("loss of power after %v: %s %s is %q, and got it at %v", time.Since(w.began), id, r, state, got)
			}
		}
	}
}

// testModelFlush is a flush of a random kind.
func testModelFlush(t *testing.T, seed uint64) {
	w := newModelWorld(t, seed)
	w.lie()
	opt := FlushOptions{Parallel: []int{1, 2, 3, 5, 20}[w.rnd.IntN(5)]}
	isRare := func() bool { return w.rnd.IntN(8) == 0 }
	if isRare() {
		opt.Max = 1 + w.rnd.IntN(50)
	}
	if isRare() {
		opt.Pause = time.Duration(w.rnd.IntN(200)) * time.Millisecond
	}
	if isRare() {
		opt.AtOnce = 1 + w.rnd.IntN(60)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	isCut := isRare()
	if isCut {
		time.AfterFunc(time.Duration(w.rnd.IntN(30_000))*time.Millisecond, cancel)
	}
	w.what = fmt.Sprintf("parallel %d, max %d, pause %v, at once %d, cut %v", opt.Parallel, opt.Max, opt.Pause, opt.AtOnce, isCut)
	looked := w.losePower()
	stats, err := w.q.Flush(ctx, w.to, opt)
	<-looked
	if err != nil && !strings.Contains(err.Error(), errPanic) && !isCut {
		w.errorf("%v", err)
	}
	var limit time.Duration
	switch {
	case isCut || opt.Max > 0:
	case opt.Parallel == 1 || opt.AtOnce > 0 || opt.Pause > 0:
		limit = 24 * time.Hour
	default:
		limit = 20*time.Second + time.Duration(len(w.mail))*3*time.Second/time.Duration(opt.Parallel-1)
	}
	delivered, all := w.check(limit), len(w.mail)
	w.checkQueue(stats.Left())
	switch {
	case stats.Listed != all, stats.Due != all, limit > 0 && stats.Tried != all, opt.Max > 0 && stats.Tried > opt.Max,
		stats.Delivered != delivered, stats.Damaged+stats.Taken+stats.Waiting > 0, w.to.most > cmp.Or(opt.AtOnce, DefaultAtOnce):
		w.errorf("%d of %d got their mail, %d at once, and it says %+v", delivered, all, w.to.most, stats)
	}
}

// Whatever is in a queue and wherever it goes: who can get his mail gets it, once and soon.
func TestModelFlush(t *testing.T) { testModel(t, testModelFlush) }

// testModel runs a test with some seeds; MAILX_MODEL says up to which.
func testModel(t *testing.T, test func(*testing.T, uint64)) {
	seeds := []uint64{44, 360, 543, 609, 1129, 1374} // which have found something
	for i := range uint64(20) {
		seeds = append(seeds, i)
	}
	if n, err := strconv.ParseUint(os.Getenv("MAILX_MODEL"), 10, 32); err == nil {
		seeds = nil
		for i := range n {
			seeds = append(seeds, i)
		}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, seed) })
		})
	}
}

// IsByDomain is part of ByDomain.
func (m *model) IsByDomain(domain string) bool { return !strings.HasPrefix(domain, "bysender") }

// testModelRunner is a runner with a random end.
func testModelRunner(t *testing.T, seed uint64) {
	w := newModelWorld(t, seed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &Runner{Queue: w.q, Transport: w.to, Parallel: []int{5, 20}[w.rnd.IntN(2)], Report: func(err error) {
		if !strings.Contains(err.Error(), errPanic) {
			w.errorf("%v", err)
		}
	}}
	w.what = fmt.Sprintf("runner, parallel %d", r.Parallel)
	looked := w.losePower()
	time.AfterFunc(time.Duration(10+w.rnd.IntN(60))*time.Minute, cancel)
	stats := r.Run(ctx)
	<-looked
	w.isExcused = func(env *mail.Envelope) bool { // it waits with others for the same domains, whoever sends them
		return w.to.Lane(env) == nil && slices.ContainsFunc(env.Rcpts, func(r mail.Recipient) bool { return !w.to.IsByDomain(r.Domain) })
	}
	delivered := w.check(20*time.Second + time.Duration(len(w.mail))*3*time.Second/time.Duration(r.Parallel))
	w.checkQueue(len(w.mail) - stats.Done + stats.Notices)
	if stats.Delivered != delivered || stats.Damaged+stats.Taken+stats.Waiting > 0 || w.to.most > DefaultAtOnce {
		w.errorf("%d got their mail, %d at once, and it says %+v", delivered, w.to.most, stats)
	}
}

func TestModelRunner(t *testing.T) { testModel(t, testModelRunner) }
