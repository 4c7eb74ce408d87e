package smtp

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

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
	env := args.envelope(s.srv.now())
	if err := s.mayWait(env); err != nil {
		return err
	}
	tx, err := s.backend.Mail(ctx, &s.peer, env)
	if err != nil {
		return err
	}
	s.tx, s.env, s.args, s.state = tx, env, args, stateMail
	return s.say(ok(1, 0, "Sender ok"))
}

// envelope is what a message that arrives now has. A binary message is converted on its way in, so that the backend never has
// one: what it stores is 8BITMIME.
func (m *MailArgs) envelope(now time.Time) *mail.Envelope {
	env := &mail.Envelope{
		ID:         rand.Text()[:13],
		Sender:     m.Sender,
		UTF8:       m.UTF8,
		Body:       min(m.Body, mail.Body8BitMIME),
		Size:       m.Size,
		Ret:        m.Ret,
		EnvID:      m.EnvID,
		Arrived:    now,
		RequireTLS: m.RequireTLS,
		HoldUntil:  m.HoldUntil,
	}
	if m.HoldFor > 0 {
		env.HoldUntil = now.Add(time.Duration(m.HoldFor) * time.Second)
	}
	if m.By.Mode != 0 {
		at := now.Add(time.Duration(m.By.Seconds) * time.Second)
		env.By = mail.DeliverBy{At: at, Notify: m.By.Mode == 'N', Trace: m.By.Trace}
	}
	return env
}

// mayWait decides about FUTURERELEASE (RFC 4865 §4.1). A message that would come back before it is released is refused now.
func (s *conversation) mayWait(env *mail.Envelope) error {
	switch until := env.HoldUntil; {
	case until.IsZero():
		return nil
	case !s.mayHold():
		return errParam()
	case until.Before(env.Arrived):
		return mail.Permanentf(5, 4, "The time of release is over already")
	case until.After(env.Arrived.Add(s.srv.MaxHold)):
		return mail.Permanentf(5, 4, "Messages are not held for so long")
	case env.By.IsSet() && !env.By.Notify && env.By.At.Before(until):
		return mail.Permanentf(5, 4, "BY is over before the time of release")
	}
	return nil
}

func (s *conversation) mayMail(args *MailArgs) error {
	switch {
	case args.Auth != "" && s.srv.Auth == nil, args.RequireTLS && s.srv.TLS == nil: // never offered, RFC 5321 §4.1.1.11
		return errParam()
	case args.RequireTLS && s.peer.TLS == nil: // RFC 8689 §4.1
		return errRequireTLS
	case s.srv.TLSRequired && !s.maySendPassword():
		return reply(530, mail.Status{Class: 5, Subject: 7}, "Must issue a STARTTLS command first")
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
	errRequireTLS = reply(530, mail.Status{Class: 5, Subject: 7, Detail: 10}, "REQUIRETLS is for TLS sessions, use STARTTLS first")

	errTooBig    = reply(552, mail.Status{Class: 5, Subject: 3, Detail: 4}, "Message too big")
	errNeedsUTF8 = reply(553, mail.Status{Class: 5, Subject: 6, Detail: 7}, "A non-ASCII address needs SMTPUTF8")
)

// rcpt is "RCPT TO:" Forward-path [SP Rcpt-parameters] (RFC 5321 §4.1.1.3).
func (s *conversation) rcpt(ctx context.Context, a *wire.Args) error {
	isUTF8 := strings.ContainsFunc(a.Rest(), func(r rune) bool { return r >= 0x80 }) // in ORCPT too, RFC 6533 §3
	r, err := ParseRcpt(a)
	if err != nil {
		return err
	}
	if len(s.env.Rcpts) >= s.maxRcpts() {
		return s.countRefused(mail.Temporaryf(5, 3, "Too many recipients")) // RFC 5321 §4.5.3.1.10
	}
	if isUTF8 && !s.env.UTF8 {
		return errNeedsUTF8
	}
	if s.srv.MayName != nil {
		if err := s.srv.MayName(&s.peer); err != nil {
			return s.countRefused(err)
		}
	}
	if err := s.tx.Rcpt(ctx, r); err != nil {
		return s.countRefused(err)
	}
	s.env.Rcpts = append(s.env.Rcpts, r)
	s.state = stateRcpt
	return s.say(ok(1, 5, "Recipient ok"))
}
