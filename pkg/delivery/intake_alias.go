package delivery

import (
	"cmp"
	"slices"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// queuePart is what goes into the queue for a recipient: other hosts, commands and files, each by an address that leads there
// and nowhere else. The whole recipient goes there, and no target is left in d, when the message is held (RFC 4865); where
// an alias changes the sender, since a message of the new sender has to be made of it; and in LMTP where an alias leads
// both into mailboxes and elsewhere, since there is one verdict about it, and who hears that a part of it failed sends all of
// it again.
func (tx *intakeTx) queuePart(r mail.Recipient, d *Decision) (rcpts []mail.Recipient) {
	changesSender := func(t Target) bool { return t.senderFor(tx.env.Sender) != tx.env.Sender }
	isMixed := slices.ContainsFunc(d.Targets, Target.isMailbox) && slices.ContainsFunc(d.Targets, Target.isElsewhere)
	if tx.env.HoldUntil.After(time.Now()) || slices.ContainsFunc(d.Targets, changesSender) || isMixed && tx.peer.LMTP {
		d.Targets = nil
		return []mail.Recipient{r}
	}
	for _, t := range d.Targets {
		if t.isElsewhere() {
			rcpts = append(rcpts, forTarget(r, t, len(d.Targets) > 1))
		}
	}
	return rcpts
}

// Stores reports whether a copy of a message for r goes into a mailbox at the moment of DATA. What is for the queue gets there
// later, or never: aliases that lead elsewhere or change the sender, and messages that are held. When in doubt it is true.
func (in *Intake) Stores(p *smtp.Peer, env *mail.Envelope, r mail.Recipient) bool {
	d, err := in.Router.Route(r.Address)
	if err != nil {
		return in.Router.IsLocal(r.Domain)
	}
	tx := &intakeTx{in: in, peer: *p, env: env}
	tx.queuePart(r, &d)
	tx.fullPart(r, &d)
	return slices.ContainsFunc(d.Targets, Target.isMailbox)
}

func (t Target) isMailbox() bool { return t.Kind == Mailbox }

// isElsewhere reports a target that is not served at the moment of DATA.
func (t Target) isElsewhere() bool { return t.Kind != Mailbox && t.Kind != Discard }

// forTarget is the recipient of one target. The address of a single member of an alias is one that nobody has ever seen, so
// that the one of the alias goes with it.
func forTarget(r mail.Recipient, t Target, isOneOfMany bool) mail.Recipient {
	if t.Kind != Remote && r.Orig == "" {
		r.Orig = "rfc822;" + r.String()
	}
	return member(r, t.Address, isOneOfMany)
}

// fullPart has mailboxes of an alias that are too full, for what the sender said the size is, wait by themselves: their owners go
// into the queue by their own addresses and out of d, so that the others have the message now. With LMTP, where there is one
// verdict, all of the alias goes into the queue, which does the same. An error means that there is nobody else.
func (tx *intakeTx) fullPart(r mail.Recipient, d *Decision) (rcpts []mail.Recipient, err error) {
	if tx.in.Room == nil {
		return nil, nil
	}
	room := func(t Target) error { return tx.in.Room(t.Path, tx.env.Size) }
	kept, full, err := splitFull(tx.in.Router, d.Targets, room)
	if len(full) == 0 || err != nil {
		return nil, err
	}
	if tx.in.Enqueue == nil {
		return nil, room(full[0])
	}
	if tx.peer.LMTP {
		d.Targets = nil
		return []mail.Recipient{r}, nil
	}
	for _, t := range full {
		rcpts = append(rcpts, forTarget(r, t, true))
	}
	d.Targets = kept
	return rcpts, nil
}

// splitFull parts the targets of an alias into those that can have the message now and mailboxes without room, each with an
// address that leads to it alone. The error is that of a mailbox which can't wait by itself: because it is the only target, or
// because all are full, or because no address leads to it alone.
func splitFull(r *Router, targets []Target, room func(Target) error) (kept, full []Target, err error) {
	for _, t := range targets {
		if !t.isMailbox() {
			kept = append(kept, t)
			continue
		}
		rerr := room(t)
		if rerr == nil {
			kept = append(kept, t)
			continue
		}
		err = cmp.Or(err, rerr)
		address, ok := r.ownAddress(t)
		if !ok {
			return nil, nil, rerr
		}
		t.Address = address
		full = append(full, t)
	}
	if len(kept) == 0 {
		return nil, nil, err
	}
	return kept, full, nil
}

// settle decides who takes part in the delivery, for LMTP, where each recipient has a verdict of its own: no mailbox that is too
// full for this message, and none that belongs only to recipients who are told to be tried again, whose mailboxes get the
// message all or none. It reports whether there is a delivery left.
func (tx *intakeTx) settle() bool {
	if tx.local == nil {
		return false
	}
	tx.checkRoom()
	if len(tx.broken) == 0 {
		return true
	}
	left := true
	for _, path := range tx.boxes {
		if tx.isWanted(path) {
			continue
		}
		if dir, err := tx.in.Open(path); err == nil {
			left = tx.local.Leave(dir)
		}
	}
	return left
}

// checkRoom notes the mailboxes that are too full, now that the size is known.
func (tx *intakeTx) checkRoom() {
	if tx.in.Room == nil {
		return
	}
	for _, path := range tx.boxes {
		if tx.broken[path] != nil {
			continue
		}
		if err := tx.in.Room(path, tx.local.Size()); err != nil {
			tx.breakBox(path, err)
		}
	}
}

func (tx *intakeTx) breakBox(path string, err error) {
	if tx.broken == nil {
		tx.broken = map[string]error{}
	}
	tx.broken[path] = err
}

// isWanted reports a mailbox of somebody with whom all is well so far.
func (tx *intakeTx) isWanted(path string) bool {
	return slices.ContainsFunc(tx.takers, func(t taker) bool { return t.hasBox(path) && tx.isUnbroken(&t) })
}
