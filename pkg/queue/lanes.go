package queue

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"mailx/pkg/mail"
)

// The lanes of a runner.

// lane is the mail for one destination.
type lane struct {
	key     string
	waiting []candidate
	active  int       // messages that are worked on
	lent    int       // of these, those that do not count
	ended   time.Time // when the last one did
	turns   *turns    // of those at the transport
	isReady bool      // it stands in running.ready
}

// begun is a message that is worked on.
type begun struct {
	lane           *lane
	at             time.Time
	isLent, isOver bool
}

// sort puts messages into lanes.
func (r *running) sort() {
	n := min(len(r.backlog), sortAtOnce)
	for _, c := range r.backlog[:n] {
		key := r.destination(c.spot)
		l := r.lanes[key]
		if l == nil {
			l = &lane{key: key, turns: &turns{free: r.perLane, carriers: &r.carriers}}
			r.lanes[key] = l
		}
		l.waiting = append(l.waiting, c)
		r.enlist(l)
	}
	r.backlog = r.backlog[n:]
	if len(r.backlog) == 0 {
		r.backlog = nil
	}
}

// maxKey bounds the name of a lane.
const maxKey = 256

// maxKnown bounds the domains whose lane a runner knows.
const maxKnown = 10_000

// destination names the lane of an entry: that of others for the domain in its name, where this can be told from the domain, or what is
// in it says.
func (r *running) destination(s spot) string {
	domain := domainIn(s.name)
	if key := r.known[domain]; key != "" {
		return key
	}
	key := r.destinationInside(s)
	if t, ok := r.Transport.(ByDomain); ok && domain != "" && key != "" && t.IsByDomain(domain) {
		if len(r.known) == maxKnown {
			clear(r.known)
		}
		r.known[strings.Clone(domain)] = key
	}
	return key
}

// destinationInside names the lane by what is in an entry: that of the transport, or the domains that it still has to go to. What can't
// be read is found out about by whoever works on it.
func (r *running) destinationInside(s spot) string {
	env, rcpts := r.q.recipientsOf(s)
	if t, ok := r.Transport.(Pipelining); ok && len(rcpts) == 1 {
		if l := laneOf(t, envelopeFor(env, rcpts)); l != nil {
			return "lane " + strings.Clone(l.Key())
		}
	}
	var domains []string
	for _, rcpt := range rcpts {
		domains = append(domains, strings.ToLower(rcpt.Domain))
	}
	slices.Sort(domains)
	key := strings.Join(slices.Compact(domains), " ")
	return key[:min(len(key), maxKey)]
}

// recipientsOf reads who is to get an entry yet: nobody, if that can't be read.
func (q *Queue) recipientsOf(s spot) (env *mail.Envelope, rcpts []mail.Recipient) {
	f, err := q.fs.Open(q.path(s))
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, nil
	}
	env, _, err = readEnvelope(io.NewSectionReader(f, 0, fi.Size()))
	if err != nil {
		return nil, nil
	}
	prog, err := q.readProgress(baseOf(s.name))
	if err != nil {
		return nil, nil
	}
	for _, rcpt := range env.Rcpts {
		if !prog.of(rcpt.Address).isDone() {
			rcpts = append(rcpts, rcpt)
		}
	}
	return env, rcpts
}

// enlist gives a lane its turn if it can use one.
func (r *running) enlist(l *lane) {
	room := r.perLane * perTurn
	switch {
	case time.Since(l.ended) <= slowAfter:
	case r.lent > r.spare/2:
		room = 1
	default:
		room = slowLimit
	}
	if !l.isReady && len(l.waiting) > 0 && l.active < room {
		l.isReady = true
		r.ready = append(r.ready, l)
	}
}

// start works on as many messages as may be, one of each lane in turn. Those that are more than a lane has turns for only get
// ready, or wait for the disk.
func (r *running) start(ctx context.Context) {
	r.lend()
	for len(r.ready) > 0 {
		l := r.ready[0]
		if r.taken == r.limit && l.active-l.lent < r.perLane {
			return
		}
		r.ready = r.ready[1:]
		l.isReady = false
		c := l.waiting[0]
		l.waiting = l.waiting[1:]
		r.change(l, 1, 0)
		b := &begun{lane: l, at: time.Now()}
		r.begun = append(r.begun, b)
		go r.work(ctx, b, c)
		r.enlist(l)
	}
}

// lend has messages that take long no longer count.
func (r *running) lend() {
	for len(r.begun) > 0 {
		b := r.begun[0]
		if !b.isOver && (r.lent >= r.spare || time.Since(b.at) < patience(r.limit, r.lent)) {
			return
		}
		if !b.isOver && b.lane.lent < r.perLane {
			b.isLent = true
			r.change(b.lane, 0, 1)
		}
		r.begun = r.begun[1:]
	}
	r.begun = nil
}

// change counts messages of a lane.
func (r *running) change(l *lane, active, lent int) {
	r.taken -= min(l.active-l.lent, r.perLane)
	l.active, r.active = l.active+active, r.active+active
	l.lent, r.lent = l.lent+lent, r.lent+lent
	r.taken += min(l.active-l.lent, r.perLane)
}
