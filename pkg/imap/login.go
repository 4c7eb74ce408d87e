package imap

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

var (
	errEncryption = &no{code: "PRIVACYREQUIRED", text: "Encryption required, use STARTTLS first"}
	errMechanism  = mail.Permanentf(7, 4, "Mechanism not available")
	errNoTLS      = mail.Permanentf(5, 1, "No TLS here")
)

// capabilities is what works now, and nothing else.
func (d *dialog) capabilities() string {
	caps := []string{"IMAP4rev1", "LITERAL+", "ID"}
	if d.state == stateNew {
		caps = append(caps, "SASL-IR")
		if d.srv.TLS != nil && d.c.TLS() == nil {
			caps = append(caps, "STARTTLS")
		}
		if !d.mayUsePassword() {
			caps = append(caps, "LOGINDISABLED")
		}
		for _, m := range auth.Mechanisms(d.channel(), d.srv.Auth) {
			caps = append(caps, "AUTH="+m)
		}
		return strings.Join(caps, " ")
	}
	return strings.Join(append(caps, "ENABLE", "NAMESPACE", "CHILDREN", "UIDPLUS", "MOVE", "IDLE", "UNSELECT"), " ")
}

func (d *dialog) mayUsePassword() bool { return d.local || d.c.TLS() != nil }

// channel is the connection as logins see it.
func (d *dialog) channel() auth.Channel {
	return auth.Channel{Secure: d.mayUsePassword(), TLS: d.c.TLS(), Protocol: "IMAP", Remote: d.addr}
}

// capability is RFC 3501 §6.1.1.
func (d *dialog) capability(context.Context, *wire.Args) error {
	return d.line("* CAPABILITY " + d.capabilities())
}

// noop does nothing: the changes in the mailbox come with every reply. RFC 3501 §6.1.2, §6.4.1.
func (d *dialog) noop(context.Context, *wire.Args) error { return nil }

// logout is RFC 3501 §6.1.3.
func (d *dialog) logout(context.Context, *wire.Args) error {
	d.leave()
	if err := d.line("* BYE Logging out"); err != nil {
		return err
	}
	return session.Quit()
}

// id is "ID" SP (NIL / "(" string SP nstring ... ")") (RFC 2971 §3.1).
func (d *dialog) id(_ context.Context, _ *wire.Args) error {
	p := d.args()
	if !p.keyword("NIL") {
		p.list(60, true, func() {
			p.string()
			if p.at(')') {
				return
			}
			p.sp()
			if !p.keyword("NIL") {
				p.string()
			}
		})
	}
	if err := p.end(); err != nil {
		return err
	}
	return d.line(`* ID ("name" "mailx")`)
}

// enable is "ENABLE" 1*(SP capability) (RFC 5161 §3.1). There is nothing yet that has to be enabled.
func (d *dialog) enable(_ context.Context, _ *wire.Args) error {
	p := d.args()
	p.atom()
	for p.take(' ') {
		p.atom()
	}
	if err := p.end(); err != nil {
		return err
	}
	return d.line("* ENABLED")
}

// startTLS is RFC 3501 §6.2.1. All that the client said in clear is forgotten.
func (d *dialog) startTLS(context.Context, *wire.Args) error {
	switch {
	case d.srv.TLS == nil:
		return errNoTLS
	case d.c.TLS() != nil:
		return session.ErrState
	}
	d.say("", "Begin TLS negotiation now")
	return session.Then(func(ctx context.Context) error {
		d.c.Within(handshakeTime)
		return d.c.StartTLS(ctx, d.srv.TLS, true)
	})
}

// login is "LOGIN" SP userid SP password (RFC 3501 §6.2.3).
func (d *dialog) login(ctx context.Context, _ *wire.Args) error {
	p := d.args()
	name := p.astring()
	p.sp()
	password := p.astring()
	if err := p.end(); err != nil {
		return err
	}
	if !d.mayUsePassword() {
		return errEncryption
	}
	if err := d.guard.Enter(ctx); err != nil {
		return err
	}
	user, err := d.srv.Auth.Authenticate(d.channel().Attempt(ctx, "LOGIN"), name, password)
	if err != nil {
		return d.guard.Refuse(ctx, name, err)
	}
	return d.enter(ctx, name, user)
}

// authenticate is "AUTHENTICATE" SP mechanism [SP initial-response] (RFC 3501 §6.2.2, RFC 4959 §3).
func (d *dialog) authenticate(ctx context.Context, _ *wire.Args) error {
	p := d.args()
	mech, initial := p.word(), ""
	if p.take(' ') {
		initial = p.while(func(b byte) bool { return b > ' ' && b < 0x7f })
		if initial == "" {
			p.fail("initial response")
		}
	}
	if err := p.end(); err != nil {
		return err
	}
	offered := auth.Mechanisms(d.channel(), d.srv.Auth)
	switch {
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
	return d.enter(ctx, x.Claimed(), x.User())
}

// enter opens the mail of somebody who is who he says. name is what the client called him.
func (d *dialog) enter(ctx context.Context, name string, user auth.User) error {
	d.guard.Welcome(name)
	store, err := d.srv.Store(ctx, user)
	if err != nil {
		return err
	}
	d.user, d.store, d.state = user.Name, store, stateAuth
	d.c.SetMaxLine(lineAfterLogin)
	d.log.Info("imap: login", slog.String("user", d.user), slog.String("peer", session.NameOf(d.addr)),
		slog.Bool("tls", d.c.TLS() != nil))
	return d.say("CAPABILITY "+d.capabilities(), "Logged in")
}
