package main

import (
	"context"
	"crypto/tls"
	"maps"
	"slices"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/fetch"
	"mailx/pkg/imap"
	"mailx/pkg/pop3"
	"mailx/pkg/smtp"
)

// probeDialect is one of the three clients, step by step.
type probeDialect interface {
	greet(context.Context) error // tells the greeting; the next step has begun when it fails behind that
	capabilities() ([]string, error)
	offersTLS() bool
	startTLS(context.Context) error
	state() *tls.ConnectionState // nil: in clear
	logIn(context.Context, auth.Credentials) error
	quit()
}

func (p *probe) dialect() probeDialect {
	switch p.opt.proto {
	case "pop3":
		return &probePOP3{p: p}
	case "imap":
		return &probeIMAP{p: p}
	}
	return &probeSMTP{p: p}
}

// greeted ends the step.
func (p *probe) greeted(text string) {
	p.found.greeting = text
	p.out.step(p, "%s", text)
	p.step = stepCapabilities
}

type probeSMTP struct {
	p *probe
	c *smtp.Client
}

func (d *probeSMTP) greet(ctx context.Context) (err error) {
	all := d.p.opt.timeout
	d.c, err = smtp.NewClient(ctx, d.p.nc, smtp.ClientOptions{Hello: d.p.cfg.Hostname, Server: d.p.certName(), TLS: smtp.TLSNone,
		TLSConfig: d.p.tlsConfig(), LMTP: d.p.Scheme == "lmtp", AuthInClear: d.p.opt.insecure, Greeted: d.p.greeted, Trace: d.p.trace,
		Timeouts: smtp.Timeouts{Greeting: all, Quit: all}})
	return err
}

func (d *probeSMTP) capabilities() ([]string, error) {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(d.c.Extensions())) {
		words = append(words, strings.TrimSpace(name+" "+d.c.Extensions()[name]))
	}
	return words, nil
}

func (d *probeSMTP) offersTLS() bool                    { return d.c.Extensions().Has("STARTTLS") }
func (d *probeSMTP) startTLS(ctx context.Context) error { return d.c.StartTLS(ctx) }
func (d *probeSMTP) state() *tls.ConnectionState        { return d.c.TLS() }
func (d *probeSMTP) quit()                              { d.c.Quit() }

func (d *probeSMTP) logIn(ctx context.Context, cred auth.Credentials) error {
	mech, err := auth.NewClient(cred, auth.Choice{Offered: d.c.Extensions().Mechanisms(), Secure: d.c.MaySendSecret(),
		Only: d.p.mechanism, TLS: d.c.TLS()})
	if err != nil {
		return err
	}
	return d.c.Auth(ctx, mech)
}

// mailbox is how the two others log in.
func (p *probe) mailbox(cred auth.Credentials) *fetch.Server {
	_, address := p.Network()
	s := &fetch.Server{Address: address, User: cred.User, Mechanism: p.mechanism}
	if cred.Token != "" {
		s.Token = func(context.Context) (string, error) { return cred.Token, nil }
	} else {
		s.Password = func(context.Context) (string, error) { return cred.Password, nil }
	}
	return s
}

type probePOP3 struct {
	p    *probe
	c    *pop3.Client
	caps pop3.Caps
}

func (d *probePOP3) greet(context.Context) (err error) {
	d.c, err = pop3.NewClient(d.p.nc, pop3.ClientOptions{ReplyTime: d.p.opt.timeout, Trace: d.p.trace})
	if err == nil {
		d.p.greeted(d.c.Greeting())
	}
	return err
}

func (d *probePOP3) capabilities() (words []string, err error) {
	if d.caps, err = d.c.Capa(); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(d.caps)) {
		words = append(words, strings.Join(append([]string{name}, d.caps[name]...), " "))
	}
	return words, nil
}

func (d *probePOP3) offersTLS() bool { return d.caps.Has("STLS") }
func (d *probePOP3) startTLS(ctx context.Context) error {
	return d.c.StartTLS(ctx, d.p.tlsConfig())
}
func (d *probePOP3) state() *tls.ConnectionState { return d.c.TLS() }
func (d *probePOP3) quit()                       { d.c.Quit() }
func (d *probePOP3) logIn(ctx context.Context, cred auth.Credentials) error {
	return d.p.mailbox(cred).LogInPOP3(ctx, d.c, d.caps)
}

type probeIMAP struct {
	p *probe
	c *imap.Client
}

func (d *probeIMAP) greet(context.Context) (err error) {
	d.c, err = imap.NewClient(d.p.nc, imap.ClientOptions{ReplyTime: d.p.opt.timeout, Trace: d.p.trace})
	if err == nil {
		d.p.greeted(d.c.Greeting())
	}
	return err
}

func (d *probeIMAP) capabilities() ([]string, error) {
	if err := d.c.Capability(); err != nil {
		return nil, err
	}
	return d.c.Capabilities(), nil
}

func (d *probeIMAP) offersTLS() bool { return d.c.Has("STARTTLS") }
func (d *probeIMAP) startTLS(ctx context.Context) error {
	return d.c.StartTLS(ctx, d.p.tlsConfig())
}
func (d *probeIMAP) state() *tls.ConnectionState { return d.c.TLS() }
func (d *probeIMAP) quit()                       { d.c.Logout() }
func (d *probeIMAP) logIn(ctx context.Context, cred auth.Credentials) error {
	if d.c.IsLoggedIn() {
		return nil
	}
	return d.p.mailbox(cred).LogInIMAP(ctx, d.c)
}
