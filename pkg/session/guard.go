package session

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"mailx/pkg/mail"
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

// maxGuesses is how many wrong passwords one connection may try.
const maxGuesses = 5

// ErrGuessing ends a session that has guessed too often.
var ErrGuessing = mail.Temporaryf(7, 0, "Too many authentication failures")

// wrongPassword is the status of credentials that are not right (RFC 4954 §6).
var wrongPassword = mail.Status{Class: mail.Permanent, Subject: 7, Detail: 8}

// Guard stands before the logins of one session: who guesses waits, and after some guesses is sent away.
type Guard struct {
	Throttle Throttle // nil: nobody waits
	Addr     netip.Addr
	Log      *slog.Logger // of failed logins, and of trouble with the throttle; nil: none

	guesses int
}

// Enter comes before a password is looked at.
func (g *Guard) Enter(ctx context.Context) error {
	if g.Throttle == nil {
		return nil
	}
	wait, err := g.Throttle.Check(g.Addr)
	if err != nil {
		return err
	}
	return Pause(ctx, wait)
}

// Refuse takes the error of a login and gives the one to answer with. All wrong names and passwords are answered alike, and
// late; other trouble at once.
func (g *Guard) Refuse(ctx context.Context, user string, err error) error {
	if mail.StatusOf(err) != wrongPassword {
		return err
	}
	if g.Log != nil {
		g.Log.Warn("login failed", slog.String("user", user), slog.String("peer", NameOf(g.Addr)))
	}
	if g.Throttle != nil {
		wait, terr := g.Throttle.Failed(g.Addr, user)
		g.report(terr)
		if perr := Pause(ctx, wait); perr != nil {
			return perr
		}
	}
	if g.guesses++; g.guesses >= maxGuesses {
		return &ClosingError{ErrGuessing}
	}
	return err
}

// Welcome comes after a login that was right.
func (g *Guard) Welcome(user string) {
	if g.Throttle != nil {
		g.report(g.Throttle.Succeeded(g.Addr, user))
	}
}

func (g *Guard) report(err error) {
	if err != nil && g.Log != nil {
		g.Log.Error("throttle", slog.Any("error", err))
	}
}
