package pop3

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// userName is "USER" SP name (RFC 1939 §7). Every name is taken, so that none is given away.
func (d *dialog) userName(_ context.Context, a *wire.Args) error {
	name := strings.Trim(a.Rest(), " \t")
	switch {
	case !d.mayUsePassword():
		return errEncryption
	case name == "":
		return errSyntax
	}
	d.name, d.hasName = name, true
	return nil
}

// pass is "PASS" SP string (RFC 1939 §7): all octets behind the first blank are the password, blanks too.
func (d *dialog) pass(ctx context.Context, a *wire.Args) error {
	switch {
	case !d.mayUsePassword():
		return errEncryption
	case !d.hasName:
		return errNoUser
	}
	name := d.name
	d.name, d.hasName = "", false
	if err := d.brake(ctx); err != nil {
		return err
	}
	user, err := d.srv.Auth.Authenticate(ctx, name, a.Rest())
	if err != nil {
		return d.loginFailed(ctx, name, err)
	}
	return d.login(ctx, name, user)
}

// auth is "AUTH" [SP mechanism [SP initial-response]] (RFC 5034 §4).
//
// QUIRK: without a mechanism it lists them, as before RFC 5034; old clients of Microsoft ask so.
func (d *dialog) auth(ctx context.Context, a *wire.Args) error {
	mech := strings.ToUpper(a.Word())
	initial := a.Word()
	if err := a.End(); err != nil {
		return err
	}
	switch offered := d.mechanisms(); {
	case mech == "":
		return d.sayLines("Mechanisms follow", offered...)
	case !slices.Contains(offered, mech) && slices.Contains(auth.Mechanisms(true), mech):
		return errEncryption
	case !slices.Contains(offered, mech):
		return errMechanism
	}
	x, err := auth.NewServer(ctx, mech, d.mayUsePassword(), d.srv.Auth)
	if err != nil {
		return err
	}
	if err := d.brake(ctx); err != nil {
		return err
	}
	if err := session.Exchange(d.c, "+ ", initial, x.Next); err != nil {
		return d.loginFailed(ctx, x.Claimed(), err)
	}
	return d.login(ctx, x.Claimed(), x.User())
}

// brake makes whoever guessed before wait before the next try.
func (d *dialog) brake(ctx context.Context) error {
	if d.srv.Throttle == nil {
		return nil
	}
	wait, err := d.srv.Throttle.Check(d.addr)
	if err != nil {
		return err
	}
	return session.Pause(ctx, wait)
}

// loginFailed answers all wrong names and passwords alike, and late.
func (d *dialog) loginFailed(ctx context.Context, name string, err error) error {
	if responseCode(err) != codeAuth {
		return err
	}
	d.failures++
	d.log.Warn("pop3: login failed", slog.String("user", name), slog.String("peer", d.addr.String()))
	if err := d.punish(ctx, name); err != nil {
		return err
	}
	if d.failures >= maxAuthFailures {
		return &session.ClosingError{Err: errGuessing}
	}
	return err
}

func (d *dialog) punish(ctx context.Context, name string) error {
	if d.srv.Throttle == nil {
		return nil
	}
	wait, err := d.srv.Throttle.Failed(d.addr, name)
	if err != nil {
		d.log.Error("pop3: throttle", slog.Any("error", err))
	}
	return session.Pause(ctx, wait)
}

// login opens the maildrop of somebody who is who he says. name is what the client called him.
func (d *dialog) login(ctx context.Context, name string, user auth.User) error {
	if d.srv.Throttle != nil {
		if err := d.srv.Throttle.Succeeded(d.addr, name); err != nil {
			d.log.Error("pop3: throttle", slog.Any("error", err))
		}
	}
	d.user = user.Name
	path, err := d.srv.Mailbox(ctx, user)
	if err != nil {
		return err
	}
	if d.drop, err = openMaildrop(d.srv.fs(), path); err != nil {
		d.drop = nil
		return err
	}
	d.state = transaction
	d.log.Info("pop3: login", slog.String("user", d.user), slog.String("peer", d.addr.String()),
		slog.Bool("tls", d.c.TLS() != nil), slog.Int("messages", len(d.drop.messages)))
	return d.say("Logged in, %d messages", len(d.drop.messages))
}
