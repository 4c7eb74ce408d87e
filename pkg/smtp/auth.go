package smtp

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

var (
	errEncryption = reply(538, mail.Status{Class: 5, Subject: 7, Detail: 11}, "Encryption required, use STARTTLS first")
	errMechanism  = reply(504, mail.Status{Class: 5, Subject: 5, Detail: 4}, "Mechanism not available")
	errTemporary  = reply(454, mail.Status{Class: 4, Subject: 7}, "Temporary authentication failure")
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
	return auth.Mechanisms(s.channel(), s.srv.Auth)
}

// channel is the connection as logins see it. Where a password may not travel, nothing is offered here.
func (s *conversation) channel() auth.Channel {
	return auth.Channel{Secure: true, TLS: s.peer.TLS, Protocol: "SMTP", Remote: s.peer.Addr}
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
	x, err := auth.NewServer(ctx, name, s.channel(), s.srv.Auth)
	if err != nil {
		return err
	}
	if err := s.guard.Enter(ctx); err != nil {
		return cannotTell(err)
	}
	if err := x.Verdict(session.Exchange(s.c, "334 ", initial, x.Next)); err != nil {
		s.logTrouble(err)
		return cannotTell(s.guard.Refuse(ctx, x.Claimed(), err))
	}
	s.guard.Welcome(x.Claimed())
	s.peer.User = x.User().Name
	s.log(slog.LevelInfo, "smtp: login", slog.String("user", s.peer.User), slog.Bool("tls", s.peer.TLS != nil))
	return s.say(reply(235, mail.Status{Class: 2, Subject: 7}, "Welcome"))
}

// newGuard is for the logins of the peer as it is now.
func (s *conversation) newGuard() session.Guard {
	return session.Guard{Throttle: s.srv.Throttle, Addr: s.peer.Addr, Log: s.srv.Log}
}

// log tells of something about the peer.
func (s *conversation) log(level slog.Level, text string, attrs ...slog.Attr) {
	if s.srv.Log != nil {
		s.srv.Log.LogAttrs(context.Background(), level, text, append(attrs, slog.String("peer", session.NameOf(s.peer.Addr)))...)
	}
}

// logTrouble tells why nobody can log in, which the peer is not told.
func (s *conversation) logTrouble(err error) {
	if mail.StatusOf(err) == errTemporary.Status {
		s.log(slog.LevelError, "smtp: logins can't be checked", slog.Any("error", err))
	}
}

// cannotTell gives trouble with the passwords the code that RFC 4954 §6 has for it.
func cannotTell(err error) error {
	var closing *session.ClosingError
	if status := mail.StatusOf(err); status == errTemporary.Status && !errors.As(err, &closing) {
		return reply(errTemporary.Code, status, "%s", mail.TextOf(err))
	}
	return err
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
