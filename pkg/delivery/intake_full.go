package delivery

import (
	"io"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// SMTP has one reply for all recipients of a message, and whether it has room in a mailbox shows for certain only when all of it is
// there: a peer need not say its size, and others deliver meanwhile. To put the message off for everybody because one mailbox is
// full would have the others wait for as long as it is. So those who have room get the message, and who has not waits in the
// queue, by its schedule, until there is room or it is too late. Only a message that nobody else is to have is refused, so that
// it stays where it is and no bounce has to be sent. In LMTP each recipient has a reply of its own, see CommitEach.

// letWait has those whose mailbox is too full wait: it writes the message into the queue for them, to be committed with the
// rest. An error is the verdict on the whole message.
func (tx *intakeTx) letWait() error {
	if tx.local == nil || tx.in.Room == nil || len(tx.boxes) == 1 && tx.queued == nil {
		return nil
	}
	tx.checkRoom()
	if len(tx.broken) == 0 {
		return nil
	}
	for _, err := range tx.broken {
		if !isFull(err) {
			return storageError(err)
		}
	}
	rcpts, err := tx.waitingPart()
	if err != nil {
		return err
	}
	if err := tx.writeWaiting(rcpts); err != nil {
		return err
	}
	return tx.leaveFull()
}

// waitingPart gives the recipients for the queue. The error is that of a mailbox which can't wait: because nobody else has the
// message, because there is no queue, or because no address leads to it alone.
func (tx *intakeTx) waitingPart() (rcpts []mail.Recipient, err error) {
	if len(tx.broken) == len(tx.boxes) && tx.queued == nil || tx.in.Enqueue == nil {
		return nil, tx.broken[tx.firstFull()]
	}
	for i := range tx.takers {
		t := &tx.takers[i]
		for _, box := range t.boxes {
			full := tx.broken[box.Path]
			if full == nil {
				continue
			}
			if t.away = true; !t.isMany {
				rcpts = append(rcpts, t.rcpt)
				continue
			}
			address, ok := tx.in.Router.ownAddress(box)
			if !ok {
				return nil, full
			}
			box.Address = address
			rcpts = append(rcpts, forTarget(t.rcpt, box, true))
		}
	}
	return rcpts, nil
}

// isFull reports the error of a mailbox without room, and not that of a disk.
func isFull(err error) bool {
	s := mail.StatusOf(err)
	return s.Subject == 2 && (s.Detail == 2 || s.Detail == 3)
}

func (tx *intakeTx) firstFull() string {
	for _, path := range tx.boxes {
		if tx.broken[path] != nil {
			return path
		}
	}
	return ""
}

func (tx *intakeTx) writeWaiting(rcpts []mail.Recipient) error {
	text, err := tx.waitingText()
	if err != nil {
		return err
	}
	env := *tx.env
	env.Rcpts = rcpts
	if tx.waiting, err = tx.in.Enqueue(&env); err != nil {
		return err
	}
	_, err = io.Copy(tx.waiting, text)
	return err
}

// waitingText is the message from where it was written for the mailboxes, unless there is another text for the queue.
func (tx *intakeTx) waitingText() (io.Reader, error) {
	if tx.later != nil {
		return io.NewSectionReader(tx.later, 0, tx.later.Size()), nil
	}
	text, err := tx.local.Text()
	if err != nil {
		return nil, err
	}
	head := int64(len(message.AppendReturnPath(nil, tx.env.Sender))) // the queue adds it when it delivers
	return io.NewSectionReader(text, head, tx.local.Size()-head), nil
}

// leaveFull takes the full mailboxes out of the delivery, and ends it if there are no others.
func (tx *intakeTx) leaveFull() error {
	left := true
	for _, path := range tx.boxes {
		if tx.broken[path] == nil {
			continue
		}
		dir, err := tx.in.Open(path)
		if err != nil {
			return storageError(err)
		}
		left = tx.local.Leave(dir)
	}
	if left {
		return nil
	}
	err := tx.local.Abort()
	tx.local = nil
	return err
}
