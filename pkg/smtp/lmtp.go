package smtp

import "mailx/pkg/mail"

// LMTP (RFC 2033) is SMTP with LHLO as its greeting, and with one reply for each recipient after the data (§4.2, §4.3).

// EachTx is a Tx that knows what became of each recipient. Of any other, the verdict of Commit is that of all recipients.
type EachTx interface {
	Tx
	// CommitEach is called in place of Commit. It gives one verdict for each recipient that was taken, in their order; nil means
	// that the message is durable for this one.
	CommitEach() []error
}

// commitEach answers for each recipient.
func (s *conversation) commitEach() error {
	tx, isEach := s.tx.(EachTx)
	if !isEach {
		if err := s.tx.Commit(); err != nil {
			return s.sayEach(err)
		}
		s.tx = nil
		return s.sayEach(nil)
	}
	errs := tx.CommitEach()
	replies := make([]*Reply, len(s.env.Rcpts))
	for i := range replies {
		err := errVerdict
		if i < len(errs) {
			err = errs[i]
		}
		replies[i] = s.verdict(err)
	}
	s.tx, s.said = nil, replies
	return nil
}

var errVerdict error = mail.Temporaryf(3, 0, "No verdict for this recipient, try again later")

// sayEach answers to the data with one verdict: in LMTP as often as there are recipients, and of those at least one.
func (s *conversation) sayEach(err error) error {
	if !s.srv.LMTP || len(s.env.Rcpts) == 0 {
		return err
	}
	for range s.env.Rcpts {
		s.said = append(s.said, s.verdict(err))
	}
	return nil
}

func (s *conversation) verdict(err error) *Reply {
	if err != nil {
		return replyTo(err)
	}
	return accepted(s.env.ID)
}
