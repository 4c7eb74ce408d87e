package queue

import (
	"time"

	"mailx/pkg/mail"
)

// A message may have a time by which it is to be delivered (RFC 2852). The entry is due at that time whatever the
// schedule says. Then, in mode R, it goes back to its sender without another try; in mode N, the sender hears of it once,
// and the tries go on. What a relay has to do about it is the transport's matter.

// timeIsOver is the status of a message whose time has passed (RFC 2852 §4.1.3); class 4 if it goes on.
func timeIsOver(class uint16) mail.Status { return mail.Status{Class: class, Subject: 4, Detail: 7} }

const textTimeIsOver = "Delivery time expired"

// isOverdue reports that there is something to do because the time has passed.
func (c *claimed) isOverdue(now time.Time) bool {
	by := c.env.By
	return by.IsSet() && !by.At.After(now) && (!by.Notify || len(c.overdue()) > 0)
}

// overdue gives the recipients still to do whose sender is to hear that the time is over, which happens once.
func (c *claimed) overdue() []mail.Recipient {
	by := c.env.By
	if c.env.Sender.IsNull() || !by.IsSet() || !by.Notify || by.At.After(c.q.opt.Now()) {
		return nil
	}
	var rcpts []mail.Recipient
	for _, r := range c.recipients(func(f *fate) bool { return !f.isDone() && !f.over }) {
		if r.Notify.Wants(mail.NotifyDelay) {
			rcpts = append(rcpts, r)
		}
	}
	return rcpts
}

// overdue does what the mode says. isOver: there is nothing left to try.
func (p *pass) overdue(e *claimed) (isOver bool, err error) {
	if e.env.By.Notify {
		if err := p.notify(e); err != nil {
			return true, p.cannotNotify(e, err)
		}
		return false, nil
	}
	var recs []record
	for _, r := range e.pending() {
		recs = append(recs, record{kind: kindFail, addr: r.Address, at: p.q.opt.Now(),
			status: timeIsOver(mail.Permanent), reply: textTimeIsOver})
	}
	p.tell(e, recs)
	return true, p.settle(e, recs)
}

// next is the time of the next try: by the schedule, but not beyond the time by which the message should be delivered.
func (c *claimed) next() time.Time {
	now := c.q.opt.Now()
	next := c.planned(now)
	if by := c.env.By; by.At.After(now) && by.At.Before(next) {
		return by.At
	}
	return next
}

// planned is the time by the schedule. It follows from when the try began, so that a server that says nothing for half a minute
// does not make the next wait half as long again; only where a try outlasts the wait behind it, from when it ended.
func (c *claimed) planned(now time.Time) time.Time {
	begin, random := c.begin(now), c.q.opt.Random()
	if began := c.prog.lastTry; !began.Before(begin) && began.Before(now) {
		if next := c.q.opt.Schedule.Next(begin, began, random); next.After(now) {
			return next
		}
	}
	return c.q.opt.Schedule.Next(begin, now, random)
}
