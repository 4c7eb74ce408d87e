package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/mail"
	"mailx/pkg/queue"
	"mailx/pkg/smtp"
)

// store puts a message durably into the queue and gives its id there.
func (s *system) store(env *mail.Envelope, write func(io.Writer) error) (id string, err error) {
	return s.storeTried(env, write, nil)
}

// storeTried is store for a message that was tried; with no results it was not.
func (s *system) storeTried(env *mail.Envelope, write func(io.Writer) error, results []mail.Result) (id string, err error) {
	q, err := s.queue()
	if err != nil {
		return "", err
	}
	entry, err := storeWhole(s.env, func() (*queue.Entry, error) { return q.Enqueue(env) }, write)
	if err != nil {
		return "", err
	}
	commit := entry.Commit
	if len(results) > 0 {
		commit = func() error { return entry.CommitTried(results) }
	}
	if err := commit(); err != nil {
		return "", err
	}
	return entry.ID(), nil
}

// outcome is what became of one recipient: delivered, queued (then Err is why, nil if it was never tried), or neither.
type outcome struct {
	mail.Result
	queueID string
}

func (o outcome) isFailed() bool { return o.Err != nil && o.queueID == "" }

// String is the outcome in JSON.
func (o outcome) String() string {
	switch {
	case o.queueID != "":
		return "queued"
	case o.Err == nil:
		return "delivered"
	}
	return "failed"
}

// text is what the server said, with its code, or what went wrong here.
func (o outcome) text() string {
	if o.Reply != "" {
		return o.Reply
	}
	return reasonOf(o.Err)
}

// reasonOf is for people on this host: they may know the cause.
func reasonOf(err error) string {
	var known *mail.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known) && known.Err != nil:
		return known.Text + ": " + known.Err.Error()
	case errors.As(err, &known):
		return known.Text
	}
	return err.Error()
}

// posting is one attempt to deliver a message, and what comes after it.
type posting struct {
	sys      *system
	env      *mail.Envelope
	msg      *held
	mayStore bool // what is left goes into the queue
	carrier  func() (*delivery.Transport, error)

	queueID string // of what is left
	why     string // it was queued without a try; empty if all was tried
	// isTrouble: why is something that has to be mended, and not just how this host is set up
	isTrouble bool
}

// run gives an outcome for each recipient. A recipient whose failure is temporary is in the queue, if that may be.
func (p *posting) run(ctx context.Context) ([]outcome, error) {
	results, err := p.attempt(ctx)
	if err != nil {
		return nil, err
	}
	p.noteTrouble(results)
	if err := p.tellOfSuccess(results); err != nil {
		p.sys.env.note("the notice of success could not be queued: %v", err)
	}
	outcomes := make([]outcome, len(results))
	rest := *p.env
	rest.Rcpts = nil
	var index []int
	for i, r := range results {
		outcomes[i].Result = r
		if r.Err != nil && !mail.StatusOf(r.Err).IsPermanent() {
			rest.Rcpts, index = append(rest.Rcpts, p.env.Rcpts[i]), append(index, i)
		}
	}
	if !p.mayStore || len(index) == 0 {
		return outcomes, nil
	}
	if p.why != "" && !p.isTrouble {
		results = nil // nobody was asked
	}
	p.queueID, err = p.sys.storeTried(&rest, p.msg.writeTo, results)
	for _, i := range index {
		outcomes[i].queueID = p.queueID
		if err != nil {
			outcomes[i].Result = mail.Result{Recipient: p.env.Rcpts[i], Err: err}
		}
	}
	return outcomes, nil
}

// attempt delivers. Roots and resolvers are looked for only if there is mail for other hosts.
func (p *posting) attempt(ctx context.Context) ([]mail.Result, error) {
	names := p.sys.names(p.sys.localUsers())
	var home, away []int
	for i, r := range p.env.Rcpts {
		if leavesHost(names, r.Address) || !p.mayStore && needsErrand(names, r.Address) {
			away = append(away, i)
		} else {
			home = append(home, i)
		}
	}
	local := &delivery.Local{Router: names, Open: p.sys.localMailbox, Filter: p.sys.localFilter()}
	if len(away) == 0 {
		return local.Deliver(ctx, p.env, p.msg, p.msg.size), nil
	}
	if !p.mayStore || p.sys.hasWay(p.env, pick(p.env.Rcpts, away)) {
		return p.transport(ctx)
	}
	p.why = "no smarthost is configured"
	results := make([]mail.Result, len(p.env.Rcpts))
	for _, i := range away {
		results[i] = mail.Result{Recipient: p.env.Rcpts[i], Err: mail.Temporaryf(4, 4, "No smarthost is configured")}
	}
	part := *p.env
	part.Rcpts = pick(p.env.Rcpts, home)
	for n, r := range local.Deliver(ctx, &part, p.msg, p.msg.size) {
		results[home[n]] = r
	}
	return results, nil
}

// noteTrouble looks for what somebody has to mend here, such as a password that can't be had.
func (p *posting) noteTrouble(results []mail.Result) {
	var wrong *config.Error
	for _, r := range results {
		if p.why == "" && errors.As(r.Err, &wrong) {
			p.why, p.isTrouble = wrong.Error(), true
		}
	}
}

// postponed is an attempt that could not begin. The reason is always told: nobody else will see it before it is mended.
func (p *posting) postponed(err error) []mail.Result {
	p.why, p.isTrouble = err.Error(), true
	err = mail.Temporaryf(3, 5, "Delivery can't begin: %w", err)
	results := make([]mail.Result, len(p.env.Rcpts))
	for i, r := range p.env.Rcpts {
		results[i] = mail.Result{Recipient: r, Err: err}
	}
	return results
}

func pick(rcpts []mail.Recipient, index []int) []mail.Recipient {
	var picked []mail.Recipient
	for _, i := range index {
		picked = append(picked, rcpts[i])
	}
	return picked
}

// leavesHost reports an address of which at least one target is elsewhere.
func leavesHost(names *delivery.Router, a mail.Address) bool {
	d, err := names.Route(a)
	if err != nil {
		return false
	}
	for _, target := range d.Targets {
		if target.Kind == delivery.Remote {
			return true
		}
	}
	return false
}

// needsErrand reports an address of which at least one target is a command or a file, which are left to the queue if there is
// one.
func needsErrand(names *delivery.Router, a mail.Address) bool {
	d, err := names.Route(a)
	return err == nil && slices.ContainsFunc(d.Targets, func(t delivery.Target) bool {
		return t.Kind == delivery.Command || t.Kind == delivery.File
	})
}

// transport carries the message to wherever it goes.
func (p *posting) transport(ctx context.Context) ([]mail.Result, error) {
	t, err := p.carrier()
	switch {
	case err != nil && p.mayStore: // a file of certificates that is not there, say
		return p.postponed(err), nil
	case err != nil:
		return nil, err
	}
	return t.Deliver(ctx, p.env, p.msg, p.msg.size), nil
}

// reportSent prints what became of the recipients and gives the outcome of the verb: all has been said then. Whose mail was
// queued is told on a terminal unless everything about that has been said.
func (e *env) reportSent(outcomes []outcome, opt *sendOptions, isSaid bool) error {
	isTold := !isSaid && e.stderrIsTerminal()
	var lost error
	if opt.json {
		p := e.newPrinter([]column{{name: "recipient"}, {name: "outcome"}, {name: "status"}, {name: "text"}, {name: "queue_id"}}, true)
		for _, o := range outcomes {
			p.row(o.Address.String(), o.String(), o.status(), o.text(), o.queueID)
		}
		lost = p.flush()
	}
	for _, o := range outcomes {
		if o.isFailed() || opt.verbose || isTold && o.queueID != "" {
			e.note("%s", o.line())
		}
	}
	isAnywhere := slices.ContainsFunc(outcomes, func(o outcome) bool { return !o.isFailed() })
	switch {
	case lost != nil && isAnywhere: // 75 would say that nothing was stored
		return exitWith(exIOErr, fmt.Errorf("what became of the message can't be printed: %w; don't send it again", lost))
	case lost != nil:
		e.note("what became of the message can't be printed: %v", lost)
	}
	if code := exitOfOutcomes(outcomes); code != exOK {
		return exitWith(code, nil)
	}
	return nil
}

// status is that of the attempt; empty if there was none.
func (o outcome) status() string {
	if o.queueID != "" && o.Err == nil {
		return ""
	}
	return mail.StatusOf(o.Err).String()
}

// line says what became of a recipient, and what happens next.
func (o outcome) line() string {
	next := "temporary, not stored: try again"
	switch {
	case o.queueID != "" && o.Err == nil:
		return o.Path() + ": queued as " + o.queueID
	case o.queueID != "":
		next = "temporary, queued as " + o.queueID
	case o.Err == nil:
		return o.Path() + ": delivered"
	case mail.StatusOf(o.Err).IsPermanent():
		next = "permanent"
	}
	var said *smtp.Reply
	var ours *mail.Error
	if errors.As(o.Err, &said) && o.Reply != "" && !errors.As(o.Err, &ours) {
		return fmt.Sprintf("%s: %s %s, says %s (%s)", o.Path(), o.status(), said.MailText(), o.RemoteMTA, next)
	}
	return fmt.Sprintf("%s: %s %s (%s)", o.Path(), o.status(), reasonOf(o.Err), next)
}

// exitOfOutcomes: temporary trouble that nobody will repair for the caller is 75, or 78 if it is in the configuration,
// whatever else happened; else permanent refusals give their code, or 69 if they have different ones.
func exitOfOutcomes(outcomes []outcome) int {
	code := exOK
	for _, o := range outcomes {
		if !o.isFailed() {
			continue
		}
		switch this := exitCode(o.Err); {
		case !mail.StatusOf(o.Err).IsPermanent() && this == exConfig:
			return exConfig
		case !mail.StatusOf(o.Err).IsPermanent():
			return exTempFail
		case code == exOK || code == this:
			code = this
		default:
			code = exUnavailable
		}
	}
	return code
}
