package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/maillog"
)

// work is one candidate from lock to unlock. Unless it is forced, one whose destination is crowded is put off: nothing was done.
// Else begins is called, before anything is sent.
func (p *pass) work(ctx context.Context, c *candidate, isForced bool, begins func()) (isPutOff bool) {
	e, err := p.q.claim(c.spot)
	if errors.Is(err, errTaken) {
		p.count(func(s *Stats) { s.Taken++ })
		return false
	}
	if err != nil {
		p.failedWith(c.name, err)
		return false
	}
	defer e.release()
	e.begins = begins
	if at := e.info.ModTime(); !at.Equal(c.at) && at.After(p.q.opt.Now()) { // tried since it was listed
		p.count(func(s *Stats) { s.Taken++ })
		return false
	}
	err = p.handle(ctx, e, isForced)
	if errors.Is(err, errCrowded) {
		c.lane = e.lane
		return true
	}
	p.failedWith(c.name, err)
	return false
}

// errCrowded says that the entry is put off within this flush.
var errCrowded = errors.New("destination is crowded")

// handle reads the entry, tries it, and settles what came of that.
func (p *pass) handle(ctx context.Context, e *claimed, isForced bool) error {
	switch err := e.load(); {
	case errors.Is(err, ErrDamaged):
		return p.setDamagedAside(e, err)
	case err != nil:
		return err
	}
	if e.waits(p.q.opt.Now()) && len(p.opt.IDs) == 0 {
		p.count(func(s *Stats) { s.Waiting++; s.sooner(e.env.HoldUntil) })
		return nil
	}
	pending := e.pending()
	todo := p.wanted(e.env, pending)
	if len(pending) > 0 && len(todo) == 0 {
		return nil
	}
	if len(todo) == 0 { // a crash left only the notices, or the removal
		return p.settle(e, nil)
	}
	if e.isOverdue(p.q.opt.Now()) {
		switch isOver, err := p.overdue(e); {
		case isOver || err != nil:
			return err
		}
	}
	if err := e.canBeTakenOut(); err != nil {
		return err
	}
	recs, err := p.tryInTurn(ctx, e, todo, isForced)
	if err != nil || recs == nil {
		return err
	}
	err = p.settle(e, recs)
	if e.over || ctx.Err() != nil || len(todo) < len(pending) {
		return err // or its time stays: the flush was cut short, or other recipients wait for theirs
	}
	next := e.next()
	p.count(func(s *Stats) { s.sooner(next) })
	return errors.Join(err, e.postpone(next))
}

// tryInTurn tries when there is room for one more message, and the flush may try one more now; no records: it may not.
func (p *pass) tryInTurn(ctx context.Context, e *claimed, todo []mail.Recipient, isForced bool) ([]record, error) {
	if lane := p.lane(e, todo); lane != nil {
		return p.tryInLane(ctx, e, todo, lane, isForced)
	}
	if p.turns != nil {
		h := p.turns.take(ctx)
		if h == nil {
			return nil, nil
		}
		defer p.turns.give(ctx, h)
	}
	if crowd, ok := p.t.(Crowded); ok && !isForced && isCrowded(crowd, envelopeFor(e.env, todo)) {
		return nil, errCrowded
	}
	if !p.gate.pass(ctx) {
		return nil, nil
	}
	return p.try(ctx, e, todo)
}

// isCrowded is false, too, where it panics: see laneOf.
func isCrowded(t Crowded, env *mail.Envelope) (is bool) {
	defer func() { is = recover() == nil && is }()
	return t.IsCrowded(env)
}

// try hands the message to the transport, and gives the records of the attempt.
func (p *pass) try(ctx context.Context, e *claimed, todo []mail.Recipient) ([]record, error) {
	begin := p.beginning(e)
	if len(todo) > 1 {
		// Where the outcome could not be written down, nothing is sent in the first place.
		if err := p.q.note(e.base, e.prog, []record{begin}); err != nil {
			return nil, err
		}
	}
	early := &early{pass: p, entry: e}
	results := p.deliver(ctx, e, todo, early)
	recs := p.judgeAll(ctx, e, early.without(todo), results)
	p.tellOfTry(e, recs)
	if len(todo) == 1 {
		recs = append(recs, begin)
	}
	p.secure(e, recs)
	return recs, nil
}

// beginning is the record of an attempt as such.
func (p *pass) beginning(e *claimed) record {
	if e.begins != nil {
		e.begins()
	}
	return record{kind: kindTry, tries: e.prog.tries + 1, at: p.q.opt.Now()}
}

// judgeAll gives the records of what became of todo. An attempt that was cut short is not the one that a message expires with.
func (p *pass) judgeAll(ctx context.Context, e *claimed, todo []mail.Recipient, results []mail.Result) []record {
	return p.judge(e, match(todo, results), ctx.Err() == nil)
}

func (p *pass) setDamagedAside(e *claimed, cause error) error {
	p.count(func(s *Stats) { s.Damaged++ })
	p.q.opt.Log.Slog().Error("queue entry is damaged and set aside", "queue_id", idOf(e.base), "file", e.at.name,
		"error", cause)
	return e.setAside(inFailedCur)
}

// wanted are the recipients that this flush is about.
func (p *pass) wanted(env *mail.Envelope, pending []mail.Recipient) []mail.Recipient {
	sel := Selection{Sender: p.opt.Sender, Rcpt: p.opt.Rcpt, Domain: p.opt.Domain, Older: p.opt.Older}
	if !sel.takesMessage(env.Sender, env.Arrived, p.q.opt.Now()) {
		return nil
	}
	if sel.Domain == "" && sel.Rcpt == "" {
		return pending
	}
	var todo []mail.Recipient
	for _, r := range pending {
		if sel.takesRcpt(r.Address) {
			todo = append(todo, r)
		}
	}
	return todo
}

// deliver calls the transport, whose panic harms only this message, and that only for a time.
func (p *pass) deliver(ctx context.Context, e *claimed, todo []mail.Recipient, early *early) (results []mail.Result) {
	defer func() {
		if r := recover(); r != nil {
			p.failed(idOf(e.base), fmt.Errorf("transport panicked: %v", r))
			results = nil
		}
	}()
	msg, size := e.message()
	env := envelopeFor(e.env, append([]mail.Recipient(nil), todo...))
	if t, ok := p.t.(Telling); ok && len(todo) > 1 {
		return t.DeliverTelling(ctx, env, msg, size, early.tell)
	}
	return p.t.Deliver(ctx, env, msg, size)
}

func envelopeFor(env *mail.Envelope, rcpts []mail.Recipient) *mail.Envelope {
	part := *env
	part.Rcpts = rcpts
	return &part
}

// judge makes records of results. With mayExpire, what fails for a time at the end of the lifetime fails for good.
func (p *pass) judge(e *claimed, results []mail.Result, mayExpire bool) []record {
	now := p.q.opt.Now()
	expired := mayExpire && p.q.opt.Schedule.Expired(e.age(now))
	recs := make([]record, 0, len(results)+1)
	for _, res := range results {
		rec := recordOf(res)
		rec.at = now
		if rec.kind == kindOK && e.env.Sender.IsNull() {
			rec.owe = ""
		}
		if rec.kind == kindTemp && expired {
			rec.kind, rec.status = kindFail, mail.Status{Class: mail.Permanent, Subject: 4, Detail: 7}
		}
		recs = append(recs, rec)
	}
	return recs
}

// match gives the result of each recipient of todo, whatever order they came in.
func match(todo []mail.Recipient, results []mail.Result) []mail.Result {
	byAddress := make(map[mail.Address]int, len(results))
	for i := range results {
		if _, twice := byAddress[results[i].Address]; !twice {
			byAddress[results[i].Address] = i
		}
	}
	matched := make([]mail.Result, len(todo))
	for i, r := range todo {
		if n, ok := byAddress[r.Address]; ok {
			matched[i] = results[n]
		} else {
			matched[i] = mail.Result{Recipient: r, Err: mail.Temporaryf(3, 0, "No result from the transport")}
		}
	}
	return matched
}

// recordOf classifies a result. A transport that says "failed" without a class of failure does not know: temporary.
func recordOf(res mail.Result) record {
	rec := record{kind: kindOK, addr: res.Address, mta: clean(res.RemoteMTA), reply: clean(res.Reply)}
	if res.Err == nil {
		if res.Notify.Wants(mail.NotifySuccess) {
			rec.owe = "delivered"
			switch {
			case res.Expanded:
				rec.owe = "expanded"
			case res.Relayed:
				rec.owe = "relayed"
			}
		}
		return rec
	}
	rec.kind, rec.status = kindTemp, mail.StatusOf(res.Err)
	if rec.status.IsPermanent() {
		rec.kind = kindFail
	}
	if rec.status.Class == mail.Success {
		rec.status = mail.Status{Class: mail.Temporary}
	}
	if rec.reply == "" {
		rec.mta, rec.reply, rec.cause = "", clean(mail.TextOf(res.Err)), clean(causeOf(res.Err))
	}
	return rec
}

// causeOf is what stands behind the text of an error of our own. No peer and no sender is told that.
func causeOf(err error) string {
	var told interface{ MailText() string }
	if !errors.As(err, &told) {
		return err.Error()
	}
	if t, ok := told.(interface{ Unwrap() error }); ok && t.Unwrap() != nil {
		return t.Unwrap().Error()
	}
	return ""
}

// clean makes what a server said one line of bounded length.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > maxReply {
		s = strings.ToValidUTF8(s[:maxReply], "")
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r != ' ' && !isClean(string(r)) {
			return ' '
		}
		return r
	}, s))
}

// tellOfTry is tell at the end of an attempt.
func (p *pass) tellOfTry(e *claimed, recs []record) {
	p.count(func(s *Stats) { s.Tried++ })
	p.tell(e, recs)
}

// tell counts and logs.
func (p *pass) tell(e *claimed, recs []record) {
	for i := range recs {
		p.count(func(s *Stats) { s.add(recs[i].kind) })
		p.q.logRecord(e, &recs[i])
	}
}

func (s *Stats) add(kind string) {
	switch kind {
	case kindOK:
		s.Delivered++
	case kindTemp:
		s.Deferred++
	case kindFail:
		s.Failed++
	}
}

func (q *Queue) logRecord(e *claimed, r *record) {
	event := maillog.Event{
		ID: e.env.ID, Queue: idOf(e.base), From: e.env.Sender.Path(), To: r.addr.Path(), Relay: r.mta,
		Size: e.info.Size() - e.block, Delay: e.age(r.at), Text: r.reply,
	}
	if r.cause != "" {
		event.Err = errors.New(r.cause)
	}
	switch r.kind {
	case kindOK:
		event.Kind = maillog.Delivered
	case kindTemp:
		event.Kind, event.Status = maillog.Deferred, r.status.String()
	case kindFail:
		event.Kind, event.Status = maillog.Bounced, r.status.String()
	default:
		return
	}
	q.log(&event)
}

// secure has it known that somebody got the message, so that a kill from now on does not send it again. It belongs to the turn at
// the transport: the next message does not go out before. That a removal is not synced yet is a matter for loss of power only,
// and for finish, as is one that failed.
func (p *pass) secure(e *claimed, recs []record) {
	switch {
	case !slices.ContainsFunc(recs, func(r record) bool { return r.kind == kindOK }):
	case allDone(recs, e):
		_ = e.remove()
	default:
		e.isWritten, e.writeErr = true, p.write(e, recs)
	}
}

// settle writes down what became of recipients, queues the notices that are owed for it, and takes the entry out of
// the queue when nobody is left. The order is what makes a crash between any two steps harmless: see the package
// comment.
func (p *pass) settle(e *claimed, recs []record) error {
	if allDone(recs, e) {
		return p.finish(e, recs)
	}
	if !e.isWritten {
		e.writeErr = p.write(e, recs)
	}
	if e.writeErr != nil {
		return e.writeErr
	}
	if err := p.notify(e); err != nil {
		return p.cannotNotify(e, err)
	}
	if len(e.pending()) > 0 {
		return nil
	}
	if e.mustKeep() {
		return e.setAside(inFailedCur)
	}
	return p.finish(e, nil)
}

// allDone reports that the entry can go at once: everybody has got the message, and nobody waits for a notice.
func allDone(recs []record, e *claimed) bool {
	if e.prog.exists && len(e.prog.fates) > 0 {
		return false
	}
	left := len(e.pending())
	for i := range recs {
		switch {
		case recs[i].kind == kindTry:
		case recs[i].kind != kindOK || recs[i].owe != "":
			return false
		default:
			left--
		}
	}
	return left == 0 && len(recs) > 0
}

// cannotNotify leaves the entry for a later try, unless no notice about it can ever be made.
func (p *pass) cannotNotify(e *claimed, err error) error {
	if !mail.StatusOf(err).IsPermanent() {
		return err
	}
	return errors.Join(err, e.setAside(inFailedCur))
}

// finish removes the entry. Where that can't be done, or can't be made durable, it is written down instead that nobody
// is left, so that whoever finds the entry again sends nothing.
func (p *pass) finish(e *claimed, recs []record) error {
	err := e.remove()
	if err == nil {
		e.over = true
		if p.leaving != nil {
			p.leaving.take(leaver{*e, recs})
			return nil
		}
		err = p.q.fs.SyncDir(p.q.dirPath(e.at.place))
	}
	return p.finished(e, recs, err)
}

// finished is the end of finish: err is what came of the removal and its sync.
func (p *pass) finished(e *claimed, recs []record, err error) error {
	if err == nil {
		err = e.forgetProgress()
	}
	if err == nil {
		p.count(func(s *Stats) { s.Done++ })
		p.q.log(&maillog.Event{Kind: maillog.Removed, ID: e.env.ID, Queue: idOf(e.base)})
		return nil
	}
	if len(recs) == 0 {
		return err
	}
	return errors.Join(err, p.write(e, recs))
}

// write puts records into the side file. If somebody got the message and that can't be written down anywhere, this
// process remembers it and the entry goes to .Hold: better a person looks than somebody gets the message again.
func (p *pass) write(e *claimed, recs []record) error {
	has := map[string]bool{}
	for i := range recs {
		has[recs[i].kind] = true
	}
	if !has[kindOK] && !has[kindFail] {
		return p.q.note(e.base, e.prog, recs)
	}
	err := p.q.record(e.base, e.prog, recs)
	if err == nil || !has[kindOK] {
		return err
	}
	p.q.keep(e.base, e.prog)
	text := "progress could not be recorded; the message is held"
	holdErr := e.setAside(inHoldCur)
	if holdErr != nil {
		text = "progress could not be recorded, nor the message held; another process may send it again"
	}
	p.q.opt.Log.Slog().Error(text, "queue_id", idOf(e.base), "file", e.at.name, "error", err)
	return errors.Join(err, holdErr)
}
