package smtp

import (
	"cmp"
	"context"

	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// patience counts what a peer has had since the last message that was taken, which makes good for all of it. Without such a
// bound a peer that says NOOP once in a while, or tries out one name after the other, has its place for ever.
type patience struct {
	errands   int // commands that bring no message nearer
	strangers int // recipients refused for good
	waiting   int // recipients put off
}

// maxWaiting is how often a peer may name as many recipients as one message may have, only to hear that they are too many.
const maxWaiting = 20

var errErrands = mail.Temporaryf(7, 0, "Too many commands without a message, closing connection")

type handler = func(*conversation, context.Context, *wire.Args) error

// errand has a command count. Of those that it is not for, RCPT, DATA and BDAT have limits of their own, and a message has so
// many octets.
func errand(do handler) handler {
	return func(s *conversation, ctx context.Context, a *wire.Args) error {
		if err := s.countErrand(); err != nil {
			return err
		}
		return do(s, ctx, a)
	}
}

func (s *conversation) countErrand() error {
	s.patience.errands++
	if max := cmp.Or(s.srv.MaxErrands, DefaultMaxErrands); max > 0 && s.patience.errands > max {
		return &session.ClosingError{Err: errErrands}
	}
	return nil
}

// countRefused sends a peer away that tries out names, or goes on and on with recipients that it was told are too many. The peer
// of LMTP is a mail server of ours, which has to hear of every name.
func (s *conversation) countRefused(err error) error {
	if s.srv.LMTP {
		return err
	}
	p := &s.patience
	if mail.StatusOf(err).IsPermanent() {
		p.strangers++
	} else {
		p.waiting++
	}
	if p.strangers > cmp.Or(s.srv.Mistakes, DefaultMistakes) || p.waiting > maxWaiting*s.maxRcpts() {
		return &session.ClosingError{Err: session.ErrMistakes}
	}
	return err
}
