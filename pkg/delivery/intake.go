package delivery

import (
	"cmp"
	"context"
	"io"
	"slices"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/maillog"
	"mailx/pkg/message"
	"mailx/pkg/smtp"
)

// Spooled is a message on its way into the queue: written, then committed or aborted.
type Spooled interface {
	io.Writer
	Commit() error
	Abort() error
}

// Intake takes messages from SMTP sessions: it is the smtp.Backend of a mail server. What is for mailboxes of this host goes
// straight into their Maildirs at the moment of DATA, what is for others into the queue, and Commit returns nil only
// when all of it is durable.
type Intake struct {
	Router *Router
	// Open gives the Maildir at a path that the Router named, and makes it if it is not there.
	Open func(path string) (*maildir.Dir, error)
	// Enqueue starts a message in the queue; nil: nothing is taken for other hosts.
	Enqueue func(env *mail.Envelope) (Spooled, error)
	// Room refuses a message of size octets (0: nobody knows) for a Maildir that is full; nil: there are no quotas.
	Room func(path string, size int64) error
	// Space refuses every message of size octets (0: nobody knows) while the disk is too full; nil: it never is.
	Space func(size int64) error
	// AnySender lets those who have authenticated use every sender; else it has to be one whose mail they get.
	AnySender bool
	// MayRelay says who may send to other hosts; nil: those who have authenticated.
	MayRelay func(p *smtp.Peer) bool
	// Hostname is our name in notices of success; "localhost" if empty.
	Hostname string
	Log      *maillog.Logger // nil: no log
}

var (
	_ smtp.Backend = (*Intake)(nil)
	_ smtp.EachTx  = (*intakeTx)(nil)
	_ smtp.Refuser = (*intakeTx)(nil)
)

var (
	errRelay   = mail.Permanentf(7, 1, "Relaying denied")
	errSender  = mail.Permanentf(7, 1, "Sender address is not yours")
	errNoQueue = mail.Permanentf(7, 1, "Mail for other hosts is not taken here")
)

// Mail opens a transaction.
func (in *Intake) Mail(_ context.Context, p *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	tx := &intakeTx{in: in, peer: *p, env: env}
	err := in.mayUse(p, env.Sender)
	if err == nil && in.Space != nil {
		err = in.Space(env.Size)
	}
	if err != nil {
		tx.log(&maillog.Event{Kind: maillog.Rejected, Status: mail.StatusOf(err).String(), Err: err})
		return nil, err
	}
	return tx, nil
}

// mayUse decides about the sender of somebody who has authenticated: an address whose mail goes to that user, or the null one
// of notices.
func (in *Intake) mayUse(p *smtp.Peer, sender mail.Address) error {
	if p.User == "" || in.AnySender || sender.IsNull() {
		return nil
	}
	if !in.Router.IsLocal(sender.Domain) {
		return errSender
	}
	d, err := in.Router.Route(sender)
	if err != nil && mail.StatusOf(err).IsTemporary() {
		return err
	}
	for _, t := range d.Targets {
		if t.Kind == Mailbox && t.User == p.User {
			return nil
		}
	}
	return errSender
}

// Refuse notes that the message was refused before it was complete.
func (tx *intakeTx) Refuse(err error) {
	tx.log(&maillog.Event{Kind: maillog.Rejected, Status: mail.StatusOf(err).String(), Size: tx.size, Err: err})
}

// intakeTx is one message on its way in.
type intakeTx struct {
	in   *Intake
	peer smtp.Peer
	env  *mail.Envelope

	boxes  []string         // Maildirs, each once
	away   []mail.Recipient // for the queue
	takers []taker          // the recipients taken, in their order

	opened  bool
	broken  map[string]error // Maildirs that can't have the message, and why; but for LMTP, those that are too full
	local   *maildir.Delivery
	queued  Spooled
	waiting Spooled           // for those whose mailbox is too full; see intake_full.go
	later   *io.SectionReader // the text for both of these; nil: it is that of the mailboxes
	size    int64

	notes     bool    // somebody is to hear of a success: see intake_notice.go
	notice    Spooled // that, on its way into the queue
	head      []byte  // the header, for it
	headEnded bool
}

// taker is one recipient that was taken, and where its copies go.
type taker struct {
	rcpt   mail.Recipient
	boxes  []Target // mailboxes
	away   bool
	isMany bool // several targets
}

// hasBox reports a recipient one of whose copies goes into the Maildir at path.
func (t *taker) hasBox(path string) bool {
	return slices.ContainsFunc(t.boxes, func(box Target) bool { return box.Path == path })
}

// Rcpt decides about a recipient now, so that the peer learns of a wrong address and nobody has to send a bounce.
func (tx *intakeTx) Rcpt(_ context.Context, r mail.Recipient) error {
	err := tx.take(r)
	if err != nil {
		tx.log(&maillog.Event{Kind: maillog.Rejected, To: r.Path(), Status: mail.StatusOf(err).String(), Err: err})
	}
	return err
}

func (tx *intakeTx) take(r mail.Recipient) error {
	if !tx.in.Router.IsLocal(r.Domain) && !tx.in.mayRelay(&tx.peer) {
		return errRelay
	}
	d, err := tx.in.Router.Route(r.Address)
	if err != nil {
		return err
	}
	for _, skipped := range d.Skipped {
		tx.log(&maillog.Event{Kind: maillog.Rejected, To: r.Path(), Text: "member of the alias", Err: skipped})
	}
	forQueue := tx.queuePart(r, &d)
	if tx.in.Enqueue == nil && len(forQueue) > 0 {
		return errNoQueue
	}
	isMany := len(d.Targets) > 1
	full, err := tx.fullPart(r, &d)
	if err != nil {
		return err
	}
	forQueue = append(forQueue, full...)
	to := taker{rcpt: r, away: len(forQueue) > 0, isMany: isMany && len(d.Targets) > 0}
	tx.away = append(tx.away, forQueue...)
	for _, t := range d.Targets {
		if t.Kind != Mailbox {
			continue
		}
		to.boxes = append(to.boxes, t)
		if !slices.Contains(tx.boxes, t.Path) {
			tx.boxes = append(tx.boxes, t.Path)
		}
	}
	tx.takers = append(tx.takers, to)
	tx.notes = tx.notes || tx.wantsNotice(&to)
	return nil
}

// Write stores a piece of the message wherever it goes.
func (tx *intakeTx) Write(p []byte) (int, error) {
	if err := tx.open(); err != nil {
		return 0, err
	}
	tx.size += int64(len(p))
	tx.keepHead(p)
	if tx.local != nil {
		if _, err := tx.local.Write(p); err != nil {
			return 0, err
		}
	}
	if tx.queued != nil && tx.later == nil {
		if _, err := tx.queued.Write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Later gives another text for what goes into the queue, before the first Write; see filter.Deferrer.
func (tx *intakeTx) Later(text io.ReaderAt, size int64) {
	tx.later = io.NewSectionReader(text, 0, size)
}

// open makes the files, once all recipients are known.
func (tx *intakeTx) open() error {
	if tx.opened {
		return nil
	}
	tx.opened = true
	if err := tx.openLocal(); err != nil {
		return err
	}
	if len(tx.away) == 0 {
		return nil
	}
	env := *tx.env
	env.Rcpts = tx.away
	var err error
	if tx.queued, err = tx.in.Enqueue(&env); err != nil || tx.later == nil {
		return err
	}
	_, err = io.Copy(tx.queued, io.NewSectionReader(tx.later, 0, tx.later.Size()))
	return err
}

func (tx *intakeTx) openLocal() error {
	for _, path := range tx.boxes {
		err := tx.openBox(path)
		switch {
		case err == nil:
		case !tx.peer.LMTP:
			return storageError(err)
		default:
			tx.breakBox(path, storageError(err))
		}
	}
	if tx.local == nil {
		return nil
	}
	_, err := tx.local.Write(message.AppendReturnPath(nil, tx.env.Sender)) // RFC 5321 §4.4
	return err
}

func (tx *intakeTx) openBox(path string) error {
	dir, err := tx.in.Open(path)
	if err != nil {
		return err
	}
	if tx.local != nil {
		tx.local.Also(dir)
		return nil
	}
	d, err := dir.Deliver()
	if err == nil {
		tx.local = d
	}
	return err
}

// Commit makes everything durable. The mailboxes come first: if the queue fails after them, the peer tries again and a user
// here gets the message twice, which is better than a stranger elsewhere.
func (tx *intakeTx) Commit() error {
	err := tx.open()
	if err == nil {
		err = tx.letWait()
	}
	if err == nil {
		err = tx.openNotice(func(*taker) bool { return true })
	}
	if err == nil && tx.local != nil {
		err = tx.local.Commit()
	}
	for _, part := range []Spooled{tx.queued, tx.waiting} {
		if err == nil && part != nil {
			err = part.Commit()
		}
	}
	if err != nil {
		tx.Abort()
		tx.log(&maillog.Event{Kind: maillog.Rejected, Status: mail.StatusOf(err).String(), Err: err})
		return err
	}
	tx.commitNotice()
	tx.logTaken(make([]error, len(tx.takers)))
	return nil
}

// CommitEach is Commit with a verdict for each recipient: trouble of the queue does not concern those who live here, nor the
// other way round, and a mailbox that can't be opened is told to its owner alone. The other mailboxes share one file, and
// the fate of its Commit. A recipient has all of its copies or, when it is not nil, none: the peer will try it again.
func (tx *intakeTx) CommitEach() []error {
	errs := make([]error, len(tx.takers))
	var local, away error
	var hasLocal bool
	if local = tx.open(); local == nil {
		hasLocal = tx.settle()
		local = tx.openNotice(tx.isUnbroken)
	}
	if local != nil {
		away = local
	} else {
		if hasLocal {
			local = tx.local.Commit()
		}
		if tx.queued != nil {
			away = tx.queued.Commit()
		}
		if local == nil && away == nil {
			tx.commitNotice()
		} else {
			tx.commitNoticeOf(func(t *taker) bool { return tx.fate(t, local, away) == nil })
		}
	}
	for i := range tx.takers {
		t := &tx.takers[i]
		if errs[i] = tx.fate(t, local, away); errs[i] != nil {
			tx.log(&maillog.Event{Kind: maillog.Rejected, To: t.rcpt.Path(), Status: mail.StatusOf(errs[i]).String(), Err: errs[i]})
		}
	}
	tx.Abort() // what was committed stays
	tx.logTaken(errs)
	return errs
}

// fate is the verdict for a recipient after what became of the mailboxes and of the queue's part.
func (tx *intakeTx) fate(t *taker, local, away error) (err error) {
	for _, box := range t.boxes {
		err = cmp.Or(err, tx.broken[box.Path], local)
	}
	if t.away && err == nil {
		err = away
	}
	return err
}

// isUnbroken reports a recipient all of whose mailboxes could be opened.
func (tx *intakeTx) isUnbroken(t *taker) bool {
	return !slices.ContainsFunc(t.boxes, func(box Target) bool { return tx.broken[box.Path] != nil })
}

// Abort drops what has not been committed.
func (tx *intakeTx) Abort() error {
	var err error
	if tx.local != nil {
		err = tx.local.Abort()
	}
	for _, part := range []Spooled{tx.queued, tx.waiting, tx.notice} {
		if part != nil {
			err = cmp.Or(err, part.Abort())
		}
	}
	return err
}

// logTaken tells of a message that has been taken for those without an error: in one line if it is one recipient, else with a
// line for each who has it now. What is in the queue the queue tells of.
func (tx *intakeTx) logTaken(errs []error) {
	if tx.in.Log == nil || !tx.in.Log.Enabled() {
		return
	}
	var taken []*taker
	for i := range tx.takers {
		if errs[i] == nil {
			taken = append(taken, &tx.takers[i])
		}
	}
	accepted := maillog.Event{Kind: maillog.Accepted, Size: tx.size}
	switch len(taken) {
	case 0:
	case 1:
		accepted.To = taken[0].rcpt.Path()
		tx.log(&accepted)
	default:
		tx.log(&accepted)
		for _, t := range taken {
			if !t.away {
				tx.log(&maillog.Event{Kind: maillog.Delivered, To: t.rcpt.Path()})
			}
		}
	}
}

// log adds to an event what is known of the transaction.
func (tx *intakeTx) log(e *maillog.Event) {
	if tx.in.Log == nil || !tx.in.Log.Enabled() {
		return
	}
	e.ID, e.From, e.User, e.Peer = tx.env.ID, tx.env.Sender.Path(), tx.peer.User, tx.peer.Addr
	tx.in.Log.Log(e)
}
