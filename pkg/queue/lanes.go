package queue

import (
	"context"
	"io"
	"slices"
	"strings"

	"mailx/pkg/mail"
)

// The lanes of a runner.

// lane is the mail for one destination.
type lane struct {
	key     string
	waiting []candidate
	active  int    // messages that are worked on
	turns   *turns // of those at the transport
	isReady bool   // it stands in running.ready
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

// destination names the lane of an entry: that of the transport, or the domains that it still has to go to. What can't be
// read is found out about by whoever works on it.
func (r *running) destination(s spot) string {
	env, rcpts := r.q.recipientsOf(s)
	if t, ok := r.Transport.(Pipelining); ok && len(rcpts) == 1 {
		if l := t.Lane(envelopeFor(env, rcpts)); l != nil {
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
	if !l.isReady && len(l.waiting) > 0 && l.active < r.perLane*perTurn {
		l.isReady = true
		r.ready = append(r.ready, l)
	}
}

// start works on as many messages as may be, one of each lane in turn. Those that are more than a lane has turns for only get
// ready, or wait for the disk.
func (r *running) start(ctx context.Context) {
	for len(r.ready) > 0 {
		l := r.ready[0]
		if l.active < r.perLane {
			if r.taken == r.limit {
				return
			}
			r.taken++
		}
		r.ready = r.ready[1:]
		l.isReady = false
		c := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.active++
		r.active++
		go r.work(ctx, l, c)
		r.enlist(l)
	}
}
