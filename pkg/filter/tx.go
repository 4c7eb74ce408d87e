package filter

import (
	"context"
	"errors"
	"io"
	"slices"

	"mailx/pkg/mail"
	"mailx/pkg/maillog"
	"mailx/pkg/smtp"
)

// tx is one message on its way through the filters.
type tx struct {
	conn  *Conn
	ctx   context.Context // for the end of the message; a shutdown of the server waits for it
	peer  smtp.Peer
	env   *mail.Envelope
	inner smtp.Tx // nil: over

	told      []mail.Recipient // whom the peer believes to be taken, in their order
	rcpts     []mail.Recipient // of those, who is
	stale     bool             // inner has taken recipients that are not in rcpts
	held      *Text            // nil: what is written goes straight to inner
	discarded bool
}

// Rcpt asks the Backend and then the filters.
func (t *tx) Rcpt(ctx context.Context, r mail.Recipient) error {
	if err := t.inner.Rcpt(ctx, r); err != nil {
		return err
	}
	if !t.discarded {
		err := t.conn.ask(func(s Session) error { return s.Rcpt(t.ctx, r) })
		if err != nil {
			t.stale = true
		}
		if err != nil && !errors.Is(err, ErrDiscard) {
			t.log(&maillog.Event{Kind: maillog.Rejected, To: r.Path(), Status: mail.StatusOf(err).String(), Err: err})
			return err
		}
		if err == nil {
			t.rcpts = append(t.rcpts, r)
		}
	}
	t.told = append(t.told, r)
	return nil
}

// Write holds a piece of the message, or passes it on.
func (t *tx) Write(p []byte) (int, error) {
	switch {
	case t.discarded:
		return len(p), nil
	case t.held != nil:
		return t.held.Write(p)
	}
	if err := t.refresh(); err != nil {
		return 0, err
	}
	if t.discarded {
		return len(p), nil
	}
	return t.inner.Write(p)
}

// refresh brings the Backend's transaction up to date where it is written without being held.
func (t *tx) refresh() error {
	if !t.stale {
		return nil
	}
	t.stale = false
	if len(t.rcpts) == 0 {
		t.drop()
		return nil
	}
	env := *t.env
	env.Rcpts = t.rcpts
	t.inner.Abort()
	inner, err := t.reopen(&env)
	if err == nil {
		t.inner = inner
	}
	return err
}

// reopen starts a transaction of the Backend for an envelope.
func (t *tx) reopen(env *mail.Envelope) (smtp.Tx, error) {
	part := *env
	part.Rcpts = nil
	inner, err := t.conn.inner.Mail(t.ctx, &t.peer, &part)
	if err != nil {
		if env.Sender != t.env.Sender {
			err = mail.Temporaryf(3, 5, "A filter changed the sender to one that is not taken here: %w", err)
		}
		return nil, err
	}
	for _, r := range env.Rcpts {
		if err := inner.Rcpt(t.ctx, r); err != nil {
			inner.Abort()
			if !slices.ContainsFunc(t.rcpts, sameAs(r)) {
				err = mail.Temporaryf(3, 5, "A filter added a recipient that is not taken here: %w", err)
			}
			return nil, err
		}
		part.Rcpts = append(part.Rcpts, r)
	}
	return inner, nil
}

func sameAs(r mail.Recipient) func(mail.Recipient) bool {
	return func(other mail.Recipient) bool { return other.Address == r.Address }
}

// Commit is the end of the data.
func (t *tx) Commit() error {
	return firstError(t.commit(false))
}

// CommitEach is the end of the data in LMTP.
func (t *tx) CommitEach() []error { return t.commit(true) }

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// commit asks the filters and delivers. It gives a verdict for each recipient of told; unless each, they are all the same.
func (t *tx) commit(each bool) []error {
	defer t.end()
	v := verdicts{each: each}
	m, err := t.judge()
	switch {
	case errors.Is(err, ErrDiscard):
		t.drop()
	case err != nil:
		v.all = err
	case m == nil: // it was never held
		if err = t.refresh(); err == nil && !t.discarded {
			v.take(t.rcpts, commitOf(t.inner, each))
		} else {
			v.all = err
		}
	case m.Quarantine != "":
		v.all = t.quarantine(m)
	default:
		defer m.Close()
		t.deliver(m, &v)
	}
	if t.discarded {
		t.log(&maillog.Event{Kind: maillog.Rejected, Status: "2.0.0", Size: t.size(), Text: "discarded by a filter"})
		return make([]error, len(t.told))
	}
	if v.all != nil {
		t.Refuse(v.all)
		t.inner.Abort()
	}
	return v.of(t.told)
}

// judge has the filters look at the message; it gives the message as they leave it, nil if it was not held.
func (t *tx) judge() (*Message, error) {
	if t.discarded {
		return nil, ErrDiscard
	}
	if t.held == nil {
		return nil, nil
	}
	if len(t.rcpts) == 0 {
		return nil, ErrDiscard
	}
	env := *t.env
	env.Rcpts = t.rcpts
	m := NewMessage(t.conn.chain.Store, &env, t.held)
	m.Peer = &t.peer
	err := t.conn.ask(func(s Session) error { return s.Message(t.ctx, m) })
	if err == nil && len(m.Env.Rcpts) == 0 {
		err = ErrDiscard
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (t *tx) quarantine(m *Message) error {
	defer m.Close()
	if t.conn.chain.Quarantine == nil {
		return mail.Temporaryf(3, 5, "A filter asks for a quarantine, and there is none")
	}
	entry, err := t.conn.chain.Quarantine(&m.Env)
	if err != nil {
		return err
	}
	if _, err := io.Copy(entry, m.Text.Reader()); err != nil {
		entry.Abort()
		return err
	}
	if err := entry.Commit(); err != nil {
		return err
	}
	t.inner.Abort()
	t.log(&maillog.Event{Kind: maillog.Accepted, Size: m.Text.Size(), Text: "quarantine: " + m.Quarantine})
	return nil
}

// deliver hands the message to the Backend: in one transaction, or in two where what goes into mailboxes is another text
// than the rest, or has another fate.
func (t *tx) deliver(m *Message, v *verdicts) {
	home, err := t.askDeliver(m)
	discarded := errors.Is(err, ErrDiscard)
	if err != nil && !discarded {
		if !v.each || len(home.Env.Rcpts) == len(m.Env.Rcpts) || t.hasAdded(home) {
			v.all = err
			return
		}
		v.take(home.Env.Rcpts, []error{err})
	}
	switch {
	case home == nil, err == nil && home.Text == m.Text:
		t.send(v, m)
	case err == nil:
		home.before = m.Text
		t.send(v, home, m.part(away(m, home)))
	case len(home.Env.Rcpts) == len(m.Env.Rcpts):
		t.drop()
	default:
		t.send(v, m.part(away(m, home)))
	}
}

// hasAdded reports a recipient that a filter has added. What goes wrong with it all are told, so none may have the message.
func (t *tx) hasAdded(m *Message) bool {
	return slices.ContainsFunc(m.Env.Rcpts, func(r mail.Recipient) bool { return !slices.ContainsFunc(t.told, sameAs(r)) })
}

// askDeliver gives the part of m that goes into mailboxes, as Deliver leaves it, and its verdict; nil if there is none.
func (t *tx) askDeliver(m *Message) (*Message, error) {
	chain := t.conn.chain
	if chain.Deliver == nil {
		return nil, nil
	}
	var local []mail.Recipient
	for _, r := range m.Env.Rcpts {
		if chain.Stores(&t.peer, &m.Env, r) {
			local = append(local, r)
		}
	}
	if len(local) == 0 {
		return nil, nil
	}
	home := m.part(local)
	err := chain.Deliver(t.ctx, home)
	home.Env.Sender, home.Env.Rcpts = m.Env.Sender, local
	return home, err
}

// away is whom a message is for besides those of home.
func away(m, home *Message) []mail.Recipient {
	return slices.DeleteFunc(slices.Clone(m.Env.Rcpts), func(r mail.Recipient) bool {
		return slices.ContainsFunc(home.Env.Rcpts, sameAs(r))
	})
}

// send gives the Backend the parts of a message: all are written before the first is committed.
func (t *tx) send(v *verdicts, parts ...*Message) {
	var open []smtp.Tx
	var sent []*Message
	for _, m := range parts {
		if len(m.Env.Rcpts) == 0 {
			continue
		}
		inner, err := t.innerFor(m)
		if err == nil {
			open = append(open, inner)
			if d, defers := inner.(Deferrer); defers && m.before != nil {
				d.Later(m.before, m.before.Size())
			}
			_, err = io.Copy(inner, m.Text.Reader())
		}
		if err != nil {
			for _, inner := range open {
				inner.Abort()
			}
			v.all = err
			return
		}
		sent = append(sent, m)
	}
	for i, inner := range open {
		errs := commitOf(inner, v.each)
		v.take(sent[i].Env.Rcpts, errs)
		if firstError(errs) != nil {
			inner.Abort()
		}
	}
}

// innerFor is the transaction that the peer's commands opened, if its envelope still stands, else a new one.
func (t *tx) innerFor(m *Message) (smtp.Tx, error) {
	same := func(a, b mail.Recipient) bool { return a.Address == b.Address }
	if !t.stale && m.Env.Sender == t.env.Sender && slices.EqualFunc(m.Env.Rcpts, t.rcpts, same) {
		return t.inner, nil
	}
	t.stale = true
	t.inner.Abort()
	return t.reopen(&m.Env)
}

// commitOf ends a transaction: one verdict for all, or one for each recipient.
func commitOf(inner smtp.Tx, each bool) []error {
	if tx, ok := inner.(smtp.EachTx); ok && each {
		return tx.CommitEach()
	}
	return []error{inner.Commit()}
}

// drop makes the rest of the message go nowhere.
func (t *tx) drop() {
	t.discarded = true
	t.inner.Abort()
}

// end frees what the message takes. Filters that have not judged it are told that it is over.
func (t *tx) end() {
	t.conn.abort()
	if t.held != nil {
		t.held.Close()
	}
}

// Refuse passes on why the message did not come in.
func (t *tx) Refuse(err error) {
	if r, wants := t.inner.(smtp.Refuser); wants {
		r.Refuse(err)
		return
	}
	t.log(&maillog.Event{Kind: maillog.Rejected, Status: mail.StatusOf(err).String(), Size: t.size(), Err: err})
}

// Abort drops everything.
func (t *tx) Abort() error {
	t.end()
	return t.inner.Abort()
}

func (t *tx) size() int64 {
	if t.held == nil {
		return 0
	}
	return t.held.Size()
}

func (t *tx) log(e *maillog.Event) {
	e.ID, e.From, e.User, e.Peer = t.env.ID, t.env.Sender.Path(), t.peer.User, t.peer.Addr
	t.conn.chain.log(e)
}

// verdicts collects what became of recipients.
type verdicts struct {
	each bool  // they may differ
	all  error // of all of them
	one  map[mail.Address]error
}

// take notes the verdicts for some recipients: one for all of them, or one for each. A missing one is temporary.
func (v *verdicts) take(rcpts []mail.Recipient, errs []error) {
	if v.one == nil {
		v.one = map[mail.Address]error{}
	}
	for i, r := range rcpts {
		var err error = errNoVerdict
		switch {
		case i < len(errs):
			err = errs[i]
		case len(errs) == 1:
			err = errs[0]
		}
		if known, ok := v.one[r.Address]; !ok || known == nil {
			v.one[r.Address] = err
		}
	}
}

var errNoVerdict = mail.Temporaryf(3, 0, "No verdict for this recipient, try again later")

// of gives a verdict for each recipient that the peer was told to be taken. One that a filter has removed is done. Trouble with
// one that a filter has added is everybody's: only the peer can try again.
func (v *verdicts) of(told []mail.Recipient) []error {
	errs := make([]error, len(told))
	common := v.all
	for address, err := range v.one {
		isTold := slices.ContainsFunc(told, func(r mail.Recipient) bool { return r.Address == address })
		if common == nil && (!v.each || !isTold) {
			common = err
		}
	}
	for i, r := range told {
		if errs[i] = v.one[r.Address]; errs[i] == nil || v.all != nil {
			errs[i] = common
		}
	}
	return errs
}
