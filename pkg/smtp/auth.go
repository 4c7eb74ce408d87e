package smtp

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// Throttle slows down whoever guesses passwords; *auth.Throttle is one. An address that is not valid is that of a pipe or a
// unix socket.
type Throttle interface {
	// Check gives how long to wait before a password is looked at, or why it will not be.
	Check(addr netip.Addr) (time.Duration, error)
	// Failed gives how long to wait before saying that a password was wrong; an error is for the log.
	Failed(addr netip.Addr, user string) (time.Duration, error)
	Succeeded(addr netip.Addr, user string) error
}

// maxAuthFailures is how many wrong passwords one connection may try.
const maxAuthFailures = 5

var (
	errCancelled  = reply(501, mail.Status{Class: 5, Subject: 7}, "Authentication cancelled")
	errEncryption = reply(538, mail.Status{Class: 5, Subject: 7, Detail: 11}, "Encryption required, use STARTTLS first")
	errMechanism  = reply(504, mail.Status{Class: 5, Subject: 5, Detail: 4}, "Mechanism not available")
	errGuessing   = mail.Temporaryf(7, 0, "Too many authentication failures")
)

// maySendPassword reports that a password may travel as it is: inside TLS, or on this host where that is allowed.
func (s *conversation) maySendPassword() bool {
	return s.peer.TLS != nil || s.srv.InsecureAuth && s.peer.Local
}

// mechanisms are those that the peer may use now. Without TLS there are none, but on this host where that is allowed.
func (s *conversation) mechanisms() []string {
	if s.srv.Auth == nil || !s.maySendPassword() {
		return nil
	}
	return auth.Mechanisms(true)
}

// auth is "AUTH" SP mechanism [SP initial-response] (RFC 4954 §4).
func (s *conversation) auth(ctx context.Context, a *wire.Args) error {
	name := strings.ToUpper(a.Word())
	initial := a.Word()
	if err := s.mayAuth(name); err != nil {
		return err
	}
	if err := a.End(); err != nil {
		return err
	}
	x, err := auth.NewServer(ctx, name, true, s.srv.Auth)
	if err != nil {
		return err
	}
	if err := s.brake(ctx); err != nil {
		return err
	}
	switch err := session.Exchange(s.c, "334 ", initial, x.Next); {
	case err == session.ErrCancelled:
		return errCancelled
	case err != nil:
		return s.authFailed(ctx, x.Claimed(), err)
	}
	if s.srv.Throttle != nil {
		s.srv.Throttle.Succeeded(s.peer.Addr, x.Claimed())
	}
	s.peer.User = x.User().Name
	return s.say(reply(235, mail.Status{Class: 2, Subject: 7}, "Welcome"))
}

func (s *conversation) mayAuth(name string) error {
	switch {
	case s.srv.Auth == nil:
		return reply(502, mail.Status{Class: 5, Subject: 5, Detail: 1}, "No authentication here")
	case s.peer.User != "":
		return session.ErrState // RFC 4954 §4: only once
	case name == "":
		return mail.Permanentf(5, 4, "Syntax: AUTH mechanism")
	}
	offered := s.mechanisms()
	switch {
	case len(offered) == 0:
		return errEncryption
	case !slices.Contains(offered, name):
		return errMechanism
	}
	return nil
}

// brake makes whoever guessed before wait before the next try.
func (s *conversation) brake(ctx context.Context) error {
	if s.srv.Throttle == nil {
		return nil
	}
	wait, err := s.srv.Throttle.Check(s.peer.Addr)
	if err != nil {
		return err
	}
	return session.Pause(ctx, wait)
}

// authFailed answers all wrong names and passwords alike, and late.
func (s *conversation) authFailed(ctx context.Context, claimed string, err error) error {
	if st := mail.StatusOf(err); st != (mail.Status{Class: mail.Permanent, Subject: 7, Detail: 8}) {
		return err
	}
	s.failures++
	if s.srv.Throttle != nil {
		wait, _ := s.srv.Throttle.Failed(s.peer.Addr, claimed) // without a record the delay is the first one's
		if perr := session.Pause(ctx, wait); perr != nil {
			return perr
		}
	}
	if s.failures >= maxAuthFailures {
		return &session.ClosingError{Err: errGuessing}
	}
	return err
}
