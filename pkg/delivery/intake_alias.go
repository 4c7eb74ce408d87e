package delivery

import (
	"slices"
	"time"

	"mailx/pkg/mail"
)

// queuePart is what goes into the queue for a recipient: other hosts, commands and files, each by an address that leads there
// and nowhere else. The whole recipient goes there, and no target is left in d, when the message is held (RFC 4865), and where
// an alias changes the sender, since a message of the new sender has to be made of it.
func (tx *intakeTx) queuePart(r mail.Recipient, d *Decision) (rcpts []mail.Recipient) {
	changesSender := func(t Target) bool { return t.senderFor(tx.env.Sender) != tx.env.Sender }
	if tx.env.HoldUntil.After(time.Now()) || slices.ContainsFunc(d.Targets, changesSender) {
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
func (in *Intake) Stores(env *mail.Envelope, r mail.Recipient) bool {
	d, err := in.Router.Route(r.Address)
	if err != nil {
		return in.Router.IsLocal(r.Domain)
	}
	tx := &intakeTx{in: in, env: env}
	tx.queuePart(r, &d)
	return slices.ContainsFunc(d.Targets, func(t Target) bool { return t.Kind == Mailbox })
}

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

// room asks for room in the mailboxes, for what the sender said the size is.
func (tx *intakeTx) room(targets []Target) error {
	if tx.in.Room == nil {
		return nil
	}
	for _, t := range targets {
		if t.Kind != Mailbox {
			continue
		}
		if err := tx.in.Room(t.Path, tx.env.Size); err != nil {
			return err
		}
	}
	return nil
}

// hasRoom takes mailboxes that are too full for this message out of the delivery, for LMTP, where their owners alone hear of
// it. It reports whether there is a delivery left.
func (tx *intakeTx) hasRoom() bool {
	if tx.local == nil || tx.in.Room == nil {
		return tx.local != nil
	}
	left := true
	for _, path := range tx.boxes {
		if tx.broken[path] != nil {
			continue
		}
		err := tx.in.Room(path, tx.local.Size())
		if err == nil {
			continue
		}
		if dir, oerr := tx.in.Open(path); oerr == nil {
			left = tx.local.Leave(dir)
		}
		if tx.broken == nil {
			tx.broken = map[string]error{}
		}
		tx.broken[path] = err
	}
	return left
}
