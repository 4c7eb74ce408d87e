package smtp

import (
	"cmp"
	"context"
	"crypto/rand"

	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// errTooManyMessages ends a connection that would otherwise hold its place for ever.
var errTooManyMessages = mail.Temporaryf(7, 0, "Enough messages over this connection, open another one")

// mail is "MAIL FROM:" Reverse-path [SP Mail-parameters] (RFC 5321 §4.1.1.2).
func (s *conversation) mail(ctx context.Context, a *wire.Args) error {
	args, err := ParseMail(a)
	if err != nil {
		return err
	}
	if err := s.mayMail(args); err != nil {
		return err
	}
	env := &mail.Envelope{
		ID:      rand.Text()[:13],
		Sender:  args.Sender,
		UTF8:    args.UTF8,
		Body:    args.Body,
		Ret:     args.Ret,
		EnvID:   args.EnvID,
		Arrived: s.srv.now(),
	}
	tx, err := s.srv.Backend.Mail(ctx, &s.peer, env)
	if err != nil {
		return err
	}
	s.tx, s.env, s.args, s.state = tx, env, args, stateMail
	return s.say(ok(1, 0, "Sender ok"))
}

func (s *conversation) mayMail(args *MailArgs) error {
	switch {
	case args.Ret != mail.RetUnset || args.EnvID != "": // DSN is not offered, RFC 5321 §4.1.1.11
		return errParam()
	case s.srv.AuthRequired && s.peer.User == "":
		return reply(530, mail.Status{Class: 5, Subject: 7}, "Authentication required")
	case s.peer.User == "" && s.messages >= s.maxMessages():
		return &session.ClosingError{Err: errTooManyMessages}
	case args.Size > s.maxSize():
		return errTooBig
	case !args.Sender.IsASCII() && !args.UTF8: // RFC 6531 §3.5
		return errNeedsUTF8
	}
	return nil
}

var (
	errTooBig    = reply(552, mail.Status{Class: 5, Subject: 3, Detail: 4}, "Message too big")
	errNeedsUTF8 = reply(553, mail.Status{Class: 5, Subject: 6, Detail: 7}, "A non-ASCII address needs SMTPUTF8")
)

// rcpt is "RCPT TO:" Forward-path [SP Rcpt-parameters] (RFC 5321 §4.1.1.3).
func (s *conversation) rcpt(ctx context.Context, a *wire.Args) error {
	r, err := ParseRcpt(a)
	if err != nil {
		return err
	}
	if r.Notify != 0 || r.Orig != "" { // DSN is not offered
		return errParam()
	}
	if len(s.env.Rcpts) >= s.maxRcpts() {
		return mail.Temporaryf(5, 3, "Too many recipients") // RFC 5321 §4.5.3.1.10
	}
	if !r.IsASCII() && !s.env.UTF8 {
		return errNeedsUTF8
	}
	if err := s.tx.Rcpt(ctx, r); err != nil {
		return s.countStranger(err)
	}
	s.env.Rcpts = append(s.env.Rcpts, r)
	s.state = stateRcpt
	return s.say(ok(1, 5, "Recipient ok"))
}

// countStranger sends a peer away that tries out names; a message that is taken forgives. The peer of LMTP is a mail server
// of ours, which has to hear of every name.
func (s *conversation) countStranger(err error) error {
	if s.srv.LMTP {
		return err
	}
	if st := mail.StatusOf(err); st.IsPermanent() && st.Subject == 1 {
		s.strangers++
	}
	if s.strangers > cmp.Or(s.srv.Mistakes, DefaultMistakes) {
		return &session.ClosingError{Err: session.ErrMistakes}
	}
	return err
}
