package queue

import (
	"io"
	"slices"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// maxReturned is the size in octets up to which a message goes back whole when the sender asked for that (RET=FULL);
// of a larger one it is the header.
const maxReturned = 10 << 20

// owed gives the recipients whose fate the sender is to be told now: failures, and successes where that was asked for
// (RFC 3461 §4.1). There are no notices about notices.
func (c *claimed) owed() []mail.Recipient {
	if c.env.Sender.IsNull() {
		return nil
	}
	var rcpts []mail.Recipient
	for _, r := range c.recipients((*fate).isDone) {
		f := c.prog.of(r.Address)
		if !f.told && (f.owe != "" || f.kind == kindFail && r.Notify.Wants(mail.NotifyFailure)) {
			rcpts = append(rcpts, r)
		}
	}
	return rcpts
}

// mustKeep reports that somebody did not get the message and that there is nobody to tell: a notice that can't be
// delivered itself. A person may want to see it.
func (c *claimed) mustKeep() bool {
	return c.env.Sender.IsNull() && len(c.recipients(func(f *fate) bool { return f.kind == kindFail })) > 0
}

// late gives the recipients whose delay the sender is to be told of now, which happens once, and not after a notice that
// their time is over.
func (c *claimed) late() []mail.Recipient {
	q := c.q
	if c.env.Sender.IsNull() || !q.opt.Schedule.Late(c.age(q.opt.Now())) {
		return nil
	}
	var rcpts []mail.Recipient
	for _, r := range c.recipients(func(f *fate) bool { return f.kind == kindTemp && !f.late && !f.over }) {
		if r.Notify.Wants(mail.NotifyDelay) {
			rcpts = append(rcpts, r)
		}
	}
	return rcpts
}

// notify puts what is owed to the sender into the queue, all in one notice, and then writes down that it did. A crash
// between the two makes a second notice; the other order could make none. Where the entry ends right after it, its
// removal says the same.
func (p *pass) notify(e *claimed) error {
	news := e.news()
	if len(news.owed)+len(news.late)+len(news.over) == 0 {
		return nil
	}
	if err := e.enqueueNotice(news); err != nil {
		return err
	}
	p.count(func(s *Stats) { s.Notices++ })
	if len(e.pending()) == 0 {
		return nil
	}
	var recs []record
	for _, r := range news.owed {
		recs = append(recs, record{kind: kindTold, addr: r.Address})
	}
	for _, r := range news.late {
		recs = append(recs, record{kind: kindLate, addr: r.Address})
	}
	for _, r := range news.over {
		recs = append(recs, record{kind: kindOver, addr: r.Address})
	}
	return p.q.record(e.base, e.prog, recs)
}

// news are the recipients of whom the sender is to hear now, by what there is to say.
type news struct{ owed, late, over []mail.Recipient }

// news leaves out of late those of whom over says the same.
func (c *claimed) news() news {
	n := news{owed: c.owed(), over: c.overdue()}
	for _, r := range c.late() {
		if !slices.ContainsFunc(n.over, func(o mail.Recipient) bool { return o.Address == r.Address }) {
			n.late = append(n.late, r)
		}
	}
	return n
}

// enqueueNotice makes a report (RFC 3464) and queues it, from <>. When it returns nil, the report is durable. What was
// sent with REQUIRETLS comes back with it, and without its body (RFC 8689 §5).
func (c *claimed) enqueueNotice(n news) error {
	report := c.report(n)
	env := &mail.Envelope{
		Rcpts:      []mail.Recipient{{Address: c.env.Sender, Notify: mail.NotifyNever}},
		UTF8:       report.NeedsUTF8(),
		Arrived:    report.Now,
		RequireTLS: c.env.RequireTLS,
		Account:    c.env.Account,
	}
	if env.UTF8 {
		env.Body = mail.Body8BitMIME
	}
	notice, err := c.q.Enqueue(env)
	if err != nil {
		return err
	}
	if err := report.Write(notice); err != nil {
		notice.Abort()
		return err
	}
	return notice.Commit()
}

func (c *claimed) report(n news) message.Report {
	msg, size := c.message()
	report := message.Report{
		ReportingMTA: c.q.opt.Hostname,
		Sender:       c.env.Sender,
		OrigEnvID:    c.env.EnvID,
		QueueID:      c.env.ID,
		Arrived:      c.env.Arrived,
		Original:     io.NewSectionReader(msg, 0, size),
		Ret:          c.env.Ret,
		Now:          c.q.opt.Now(),
	}
	if size > maxReturned || c.env.RequireTLS {
		report.Ret = mail.RetHeaders
	}
	for _, r := range n.owed {
		report.Outcomes = append(report.Outcomes, c.outcome(r))
	}
	until := c.begin(report.Now).Add(c.q.opt.Schedule.Lifetime)
	for _, r := range n.late {
		o := c.outcome(r)
		o.RetryUntil = until
		report.Outcomes = append(report.Outcomes, o)
	}
	for _, r := range n.over {
		o := message.Outcome{Result: mail.Result{Recipient: r}, Action: message.Delayed, RetryUntil: until}
		o.Err = &mail.Error{Status: timeIsOver(mail.Temporary), Text: textTimeIsOver}
		report.Outcomes = append(report.Outcomes, o)
	}
	return report
}

func (c *claimed) outcome(r mail.Recipient) message.Outcome {
	f := c.prog.of(r.Address)
	o := message.Outcome{Result: mail.Result{Recipient: r, RemoteMTA: f.mta}, LastAttempt: f.at}
	switch f.kind {
	case kindOK:
		o.Action = message.Action(f.owe)
		o.Relayed = o.Action == message.Relayed
	case kindFail:
		o.Action = message.Failed
	default:
		o.Action = message.Delayed
	}
	if f.kind != kindOK {
		o.Err = &mail.Error{Status: f.status, Text: f.reply}
	}
	if f.mta != "" {
		o.Reply = f.reply
	}
	return o
}
