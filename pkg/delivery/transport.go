package delivery

import (
	"context"
	"io"
	"slices"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// Transport delivers to anybody: into Maildirs what is for this host, by Relay what is not. It is what the queue
// needs, and safe for concurrent use.
//
// An alias with several members of which some are elsewhere is handed to Submit, a message of its own for the members
// elsewhere, because a recipient of the queue has one fate and they have several; and so are members whose mailboxes are too full
// for it, one by one, so that they alone wait. Without Submit they are tried at
// once, and if one of them has to be tried again then all are, so that some may get the message twice.
type Transport struct {
	Router *Router
	Local  *Local
	Relay  *Relay
	// Commands and Files carry what aliases name beside addresses; without them that waits, 4.3.5.
	Commands *Commands
	Files    *Files
	// Room refuses a message of size octets for a Maildir that is full; nil: there are no quotas. It lets such a member of an
	// alias wait by itself, if there is Submit. Local does not rely on it.
	Room func(path string, size int64) error
	// Submit queues a message durably for the recipients of env; may be nil.
	Submit func(ctx context.Context, env *mail.Envelope, msg io.Reader) error
	// Skipped is told of members of aliases that lead nowhere; may be nil.
	Skipped func(env *mail.Envelope, r mail.Recipient, err error)
}

// Deliver gives one result for each recipient, in their order.
func (t *Transport) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	return t.DeliverTelling(ctx, env, msg, size, nil)
}

// DeliverTelling is Deliver, and calls tell, one call at a time, with results that are final while others are not there yet:
// a slow host or command does not keep it from being known who has the message. tell may be nil.
func (t *Transport) DeliverTelling(
	ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64, tell func([]mail.Result),
) []mail.Result {
	b := newBatch(env)
	var p trips
	for i, r := range env.Rcpts {
		t.route(b, i, r, size, &p)
	}
	t.Local.store(ctx, b, msg, size)
	for _, later := range p.later {
		later.drop(b.failed)
		if len(later.rcpts) == 0 {
			continue
		}
		err := t.Submit(ctx, later.envelope(env), io.NewSectionReader(msg, 0, size))
		for n := range later.rcpts {
			later.done(b, n, mail.Result{Err: err})
		}
	}
	news := newNews(b, &p, tell)
	news.whoIsDone()
	t.runErrands(ctx, b, p.errands, io.NewSectionReader(msg, 0, size), news)
	for _, now := range p.now {
		for n, r := range t.Relay.deliver(ctx, now.envelope(env), msg, size, news.of(now)) {
			now.done(b, n, r)
		}
		news.passed(now)
	}
	return b.results()
}

// IsCrowded reports that a message would have to wait for others on their way to the same servers.
func (t *Transport) IsCrowded(env *mail.Envelope) bool {
	part := *env
	part.Rcpts = nil
	for _, r := range env.Rcpts {
		if !t.Router.IsLocal(r.Domain) {
			part.Rcpts = append(part.Rcpts, r)
		}
	}
	return t.Relay.IsCrowded(&part)
}

// route adds the targets of recipient i.
func (t *Transport) route(b *batch, i int, r mail.Recipient, size int64, p *trips) {
	d, err := t.Router.Route(r.Address)
	if err != nil {
		b.add(i, mail.Result{Err: err})
		return
	}
	for _, skipped := range d.Skipped {
		if t.Skipped != nil {
			t.Skipped(b.env, r, skipped)
		}
	}
	isMany := len(d.Targets) > 1
	full := t.fullPart(&d, b.env.Sender, size)
	b.expanded[i] = isMany && (len(full) > 0 || slices.ContainsFunc(d.Targets, Target.isElsewhere))
	for _, target := range full {
		sender := target.senderFor(b.env.Sender)
		p.later.from(sender, b.env.Sender).add(i, forTarget(r, target, true))
	}
	for _, target := range d.Targets {
		sender := target.senderFor(b.env.Sender)
		isAlone := !isMany && sender == b.env.Sender
		switch {
		case target.Kind == Mailbox || target.Kind == Discard:
			b.box(i, target)
		case !isAlone && t.Submit != nil:
			p.later.from(sender, b.env.Sender).add(i, forTarget(r, target, isMany))
		case target.Kind == Remote:
			p.now.from(sender, b.env.Sender).add(i, forTarget(r, target, isMany))
		default:
			p.errands = append(p.errands, errand{i, r, target})
		}
	}
}

// fullPart takes those mailboxes of an alias out of d that are too full for the message, if they can wait by themselves.
func (t *Transport) fullPart(d *Decision, sender mail.Address, size int64) (full []Target) {
	if t.Room == nil || t.Submit == nil || len(d.Targets) < 2 {
		return nil
	}
	kept, full, err := splitFull(t.Router, d.Targets, func(target Target) error {
		head := message.AppendReturnPath(nil, target.senderFor(sender))
		return t.Room(target.Path, size+int64(len(head)))
	})
	if err == nil {
		d.Targets = kept
	}
	return full
}

// away is the part of a batch that goes to other hosts, or into the queue: each address once, with the recipients it is for.
type away struct {
	sender mail.Address
	isNew  bool // the sender is not that of the batch
	rcpts  []mail.Recipient
	owners [][]int
	index  map[mail.Address]int
}

func (a *away) add(i int, r mail.Recipient) {
	n, known := a.index[r.Address]
	if !known {
		if a.index == nil {
			a.index = map[mail.Address]int{}
		}
		n = len(a.rcpts)
		a.index[r.Address] = n
		a.rcpts, a.owners = append(a.rcpts, r), append(a.owners, nil)
	}
	a.owners[n] = append(a.owners[n], i)
}

// drop leaves out what is for nobody but recipients that failed: all of such a one is tried again.
func (a *away) drop(failed func(i int) bool) {
	kept := away{sender: a.sender, isNew: a.isNew}
	for n, r := range a.rcpts {
		owners := slices.DeleteFunc(a.owners[n], failed)
		if len(owners) > 0 {
			kept.rcpts, kept.owners = append(kept.rcpts, r), append(kept.owners, owners)
		}
	}
	*a = kept
}

// envelope is env for these recipients. What the sender of before asked for in the way of reports is not for the new one, and
// what is delivered now has been released.
func (a *away) envelope(env *mail.Envelope) *mail.Envelope {
	part := *env
	part.Rcpts, part.HoldUntil = a.rcpts, time.Time{}
	if a.isNew {
		part.Sender, part.Ret, part.EnvID = a.sender, mail.RetUnset, ""
		part.Rcpts = slices.Clone(a.rcpts)
		for i := range part.Rcpts {
			part.Rcpts[i].Notify = 0
		}
	}
	return &part
}

func (a *away) done(b *batch, n int, r mail.Result) {
	for _, i := range a.owners[n] {
		b.add(i, r)
	}
}
