package delivery

import (
	"context"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// lane is a destination of a Relay, as mail.Lane.
type lane struct {
	relay *Relay
	*part
}

// Lane gives the way of a message with one recipient who is elsewhere; nil for others, which go by Deliver.
func (t *Transport) Lane(env *mail.Envelope) mail.Lane {
	if len(env.Rcpts) != 1 {
		return nil
	}
	rcpt := env.Rcpts[0]
	d, err := t.Router.Route(rcpt.Address)
	if err != nil || len(d.Targets) != 1 || len(d.Skipped) > 0 {
		return nil
	}
	to := d.Targets[0]
	if to.Kind != Remote || to.senderFor(env.Sender) != env.Sender || forTarget(rcpt, to, false) != rcpt {
		return nil
	}
	p := t.Relay.partOf(env, rcpt.Domain)
	if p.err != nil || len(p.route.Command) > 0 {
		return nil
	}
	return &lane{t.Relay, p}
}

// IsByDomain reports that all mail for a domain goes the same way, whoever sends it.
func (t *Transport) IsByDomain(domain string) bool {
	return !t.Relay.PerSender && !t.Router.IsLocal(domain)
}

// Key is part of mail.Lane.
func (l *lane) Key() string { return l.key }

// Room is part of mail.Lane.
func (l *lane) Room() mail.Room { return l.relay.roomAt(l.part) }

// Carry is part of mail.Lane. What finds that the server has closed the connection meanwhile gets a new one.
func (l *lane) Carry(ctx context.Context, first *mail.Delivery, next func() *mail.Delivery) {
	r := l.relay
	if first = l.masked(first); first == nil {
		return
	}
	d, err := r.pool.enter(ctx, l.key, r.limit(l.part))
	if err != nil {
		first.Fail(resultOf(err))
		return
	}
	isWell := false
	defer func() { r.pool.leave(d, isWell, r.now()) }()
	l.text = first.Msg
	c, isReused, err := r.client(ctx, d, l.part)
	if err != nil {
		first.Fail(resultOf(err))
		return
	}
	if c = l.carryBy(ctx, d, c, isReused, first, next); c != nil {
		isWell = c.Usable()
		r.keep(d, l.part, c)
	}
}

// carryBy gives the connection that was used last, if there is one.
func (l *lane) carryBy(
	ctx context.Context, d *destination, c *smtp.Client, isReused bool, m *mail.Delivery, next func() *mail.Delivery,
) *smtp.Client {
	for {
		left, lost := c.SendEach(ctx, m, l.fairly(d, c, next))
		if left == nil {
			return c
		}
		if c.Deaf() {
			l.relay.pool.keepApart(d, l.relay.now())
		}
		isNew := left == m && !isReused
		if c.Close(); isNew || ctx.Err() != nil {
			result := resultOf(lost)
			result.RemoteMTA = c.Name()
			left.Fail(result)
			return nil
		}
		l.text = left.Msg
		again, err := l.relay.connect(ctx, d, l.part)
		if err != nil {
			left.Fail(resultOf(err))
			return nil
		}
		c, m, isReused = again, left, false
	}
}

// fairly gives nothing for a connection that is full or good for its first message alone, or while others wait for a place at the destination.
func (l *lane) fairly(d *destination, c *smtp.Client, next func() *mail.Delivery) func() *mail.Delivery {
	return func() *mail.Delivery {
		for !l.isLax && !l.relay.isFull(l.part, c) && l.relay.pool.goOn(d, l.relay.now()) {
			m := next()
			if m == nil {
				return nil
			}
			if m = l.masked(m); m != nil {
				return m
			}
		}
		return nil
	}
}

// masked is the message as it goes over the wire. What can't go is done with, and nil.
func (l *lane) masked(m *mail.Delivery) *mail.Delivery {
	if l.route.Masquerade == nil {
		return m
	}
	env, out := *m.Env, *m
	var err error
	if out.Msg, out.Size, err = l.route.Masquerade.apply(&env, m.Msg, m.Size); err != nil {
		m.Fail(resultOf(err))
		return nil
	}
	out.Env = &env
	return &out
}
