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
	if err := d.guard.Enter(ctx); err != nil {
		return err
	}
	user, err := d.srv.Auth.Authenticate(d.channel().Attempt(ctx, "USER"), name, a.Rest())
	if err != nil {
		return d.guard.Refuse(ctx, name, err)
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
	case !slices.Contains(offered, mech) && slices.Contains(auth.Mechanisms(auth.Channel{Secure: true}, d.srv.Auth), mech):
		return errEncryption
	case !slices.Contains(offered, mech):
		return errMechanism
	}
	x, err := auth.NewServer(ctx, mech, d.channel(), d.srv.Auth)
	if err != nil {
		return err
	}
	if err := d.guard.Enter(ctx); err != nil {
		return err
	}
	if err := x.Verdict(session.Exchange(d.c, "+ ", initial, x.Next)); err != nil {
		return d.guard.Refuse(ctx, x.Claimed(), err)
	}
	return d.login(ctx, x.Claimed(), x.User())
}

// login opens the maildrop of somebody who is who he says. name is what the client called him.
func (d *dialog) login(ctx context.Context, name string, user auth.User) error {
	d.guard.Welcome(name)
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
	d.log.Info("pop3: login", slog.String("user", d.user), slog.String("peer", session.NameOf(d.addr)),
		slog.Bool("tls", d.c.TLS() != nil), slog.Int("messages", len(d.drop.messages)))
	return d.say("Logged in, %d messages", len(d.drop.messages))
}
