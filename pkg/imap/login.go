package imap

import (
	"context"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

var (
	errEncryption = &no{code: "PRIVACYREQUIRED", text: "Encryption required, use STARTTLS first"}
	errMechanism  = mail.Permanentf(7, 4, "Mechanism not available")
	errCancelled  = mail.Permanentf(5, 0, "Authentication cancelled")
	errBase64     = mail.Permanentf(5, 2, "Not base64")
	errGuessing   = mail.Temporaryf(7, 0, "Too many authentication failures")
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
		for _, m := range auth.Mechanisms(d.mayUsePassword()) {
			caps = append(caps, "AUTH="+m)
		}
		return strings.Join(caps, " ")
	}
	return strings.Join(append(caps, "ENABLE", "NAMESPACE", "CHILDREN", "UIDPLUS", "MOVE", "IDLE", "UNSELECT"), " ")
}

func (d *dialog) mayUsePassword() bool { return d.local || d.c.TLS() != nil }

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
	if err := d.brake(ctx); err != nil {
		return err
	}
	user, err := d.srv.Auth.Authenticate(ctx, name, password)
	if err != nil {
		return d.loginFailed(ctx, name, err)
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
	offered := auth.Mechanisms(d.mayUsePassword())
	switch {
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
	if err := d.exchange(x, initial); err != nil {
		return d.loginFailed(ctx, x.Claimed(), err)
	}
	return d.enter(ctx, x.Claimed(), x.User())
}

// exchange runs the challenges and responses. A missing initial response is nil, an empty one is "=".
func (d *dialog) exchange(x auth.Server, initial string) error {
	var response []byte
	var err error
	if initial != "" {
		response, err = decodeResponse(initial)
	}
	for err == nil {
		challenge, done, xerr := x.Next(response)
		if xerr != nil {
			return xerr
		}
		if done && len(challenge) == 0 {
			return nil
		}
		response, err = d.challenge(challenge)
		if done { // the last word of the server was one more challenge, which the client acknowledges
			return err
		}
	}
	return err
}

func (d *dialog) challenge(text []byte) ([]byte, error) {
	if err := d.c.WriteSecret("+ "+base64.StdEncoding.EncodeToString(text), "+ ***"); err != nil {
		return nil, err
	}
	if err := d.c.Flush(); err != nil {
		return nil, err
	}
	line, err := d.c.ReadLine()
	if err != nil {
		return nil, err
	}
	if line == "*" { // RFC 3501 §6.2.2
		d.c.Trace(false, line)
		return nil, errCancelled
	}
	d.c.Trace(false, "***")
	return decodeResponse(line)
}

func decodeResponse(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
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
	return pause(ctx, wait)
}

// loginFailed answers all wrong names and passwords alike, and late.
func (d *dialog) loginFailed(ctx context.Context, name string, err error) error {
	if codeOf(err) != "AUTHENTICATIONFAILED" {
		return err
	}
	d.failures++
	d.log.Warn("imap: login failed", slog.String("user", name), slog.String("peer", d.addr.String()))
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
		d.log.Error("imap: throttle", slog.Any("error", err))
	}
	return pause(ctx, wait)
}

func pause(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &session.ClosingError{Err: session.ErrShutdown}
	}
}

// enter opens the mail of somebody who is who he says. name is what the client called him.
func (d *dialog) enter(ctx context.Context, name string, user auth.User) error {
	if d.srv.Throttle != nil {
		if err := d.srv.Throttle.Succeeded(d.addr, name); err != nil {
			d.log.Error("imap: throttle", slog.Any("error", err))
		}
	}
	store, err := d.srv.Store(ctx, user)
	if err != nil {
		return err
	}
	d.user, d.store, d.state = user.Name, store, stateAuth
	d.c.SetMaxLine(lineAfterLogin)
	d.log.Info("imap: login", slog.String("user", d.user), slog.String("peer", d.addr.String()),
		slog.Bool("tls", d.c.TLS() != nil))
	return d.say("CAPABILITY "+d.capabilities(), "Logged in")
}
