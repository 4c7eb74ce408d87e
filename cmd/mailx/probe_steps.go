package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/dns"
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// probing is one run of the command.
type probing struct {
	e        *env
	cfg      *config.Config
	opt      *probeOptions
	out      *probePrinter
	resolver dns.Resolver
	roots    *x509.CertPool // nil: those of the system
	ours     delivery.Route // what mail is sent with: addresses of ours, and a certificate
	trace    func(sent bool, line string)
}

// The steps of a probe, in their order.
const (
	stepResolve      = "resolve"
	stepConnect      = "connect"
	stepGreeting     = "greeting"
	stepCapabilities = "capabilities"
	stepTLS          = "tls"
	stepCertificate  = "certificate"
	stepLogin        = "login"
)

// probe is one server on its way through the steps.
type probe struct {
	*probing
	*probeTarget
	step  string // under way
	found probed
	nc    net.Conn
	talk  probeDialect
}

// probed is what has come out of it.
type probed struct {
	server, host string
	addresses    []string
	address      string // that was connected to
	greeting     string
	clear, caps  []string // capabilities before TLS, and at the end
	tls, cipher  string   // version and cipher suite; "" in clear
	cert         *probedCertificate
	isLoggedIn   bool
	failed       string // step; "" for none
	err          error
	code         int
	took         time.Duration
}

// one takes a server through all steps, as far as it goes, and gives the exit code.
func (p *probing) one(ctx context.Context, t *probeTarget) int {
	timed, cancel := context.WithTimeout(ctx, p.opt.timeout)
	defer cancel()
	start := time.Now()
	one := &probe{probing: p, probeTarget: t, step: stepResolve}
	one.found.server, one.found.host = t.Server.String(), t.Host
	p.out.begin(&one.found)
	err := one.run(timed)
	if one.nc != nil {
		one.nc.Close()
	}
	if err != nil && ctx.Err() == nil && timed.Err() != nil {
		err = mail.Temporaryf(4, 2, "not done within %s", config.FormatDuration(p.opt.timeout))
	}
	if err != nil {
		one.found.failed, one.found.err, one.found.code = one.step, err, probeCode(one.step, err)
	}
	one.found.took = time.Since(start)
	p.out.end(&one.found)
	return one.found.code
}

// probeCode is the exit code of a step that failed.
func probeCode(step string, err error) int {
	var reply *smtp.Reply
	status := mail.StatusOf(err)
	switch {
	case errors.Is(err, errOffered), step == stepTLS && !errors.As(err, &reply):
		return exProtocol
	case step == stepConnect:
		return exUnavailable
	case step == stepCertificate:
		return exDataErr
	case step == stepLogin && exitCode(err) == exConfig:
		return exConfig
	case step == stepLogin && (status.IsPermanent() || status.Subject == 7):
		return exNoPerm
	case step == stepResolve || step == stepLogin:
		return exitCode(err)
	case status.Subject == 5 && !errors.As(err, &reply):
		return exProtocol
	case status.IsPermanent():
		return exUnavailable
	}
	return exTempFail
}

func (p *probe) run(ctx context.Context) error {
	addrs, err := p.resolve(ctx)
	if err == nil {
		p.step = stepConnect
		err = p.connect(ctx, addrs)
	}
	if err != nil {
		return err
	}
	nc := p.nc
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if p.ImplicitTLS() {
		if err := p.begin(ctx); err != nil {
			return err
		}
	}
	return p.converse(ctx)
}

// resolve gives the addresses to try; none for the path of a socket.
func (p *probe) resolve(ctx context.Context) ([]netip.Addr, error) {
	if p.Path != "" {
		return nil, nil
	}
	host := dns.Host{Name: p.Host}
	if ip, err := netip.ParseAddr(p.Host); err == nil {
		host.Literal = ip
	}
	found, err := host.Resolve(ctx, p.resolver)
	var addrs []netip.Addr
	for _, a := range found {
		p.found.addresses = append(p.found.addresses, a.String())
		if isV4 := a.Unmap().Is4(); !(p.opt.v4 && !isV4) && !(p.opt.v6 && isV4) {
			addrs = append(addrs, a)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, mail.Permanentf(4, 4, "%s has no address of the family that was asked for: %s", p.Host, strings.Join(p.found.addresses, " "))
	}
	if !host.Literal.IsValid() {
		p.out.step(p, "%s", strings.Join(p.found.addresses, " "))
	}
	return addrs, nil
}

// connect tries the addresses one after the other; none may use up the time of those behind it.
func (p *probe) connect(ctx context.Context, addrs []netip.Addr) (err error) {
	if p.Path != "" {
		if p.nc, err = (&net.Dialer{}).DialContext(ctx, "unix", p.Path); err == nil {
			p.connected(p.Path)
		}
		return err
	}
	for i, a := range addrs {
		address := netip.AddrPortFrom(a, p.Port).String()
		d := net.Dialer{LocalAddr: delivery.LocalAddr(p.ours.Source, "tcp", address)}
		if end, ok := ctx.Deadline(); ok {
			d.Timeout = time.Until(end) / time.Duration(len(addrs)-i)
		}
		if p.nc, err = d.DialContext(ctx, "tcp", address); err == nil {
			p.connected(address)
			return nil
		}
		if i < len(addrs)-1 {
			p.out.detail(p, "failed", "%v", err)
		}
	}
	return err
}

func (p *probe) connected(address string) {
	p.found.address = address
	p.out.step(p, "%s", address)
}

// begin is TLS from the first octet.
func (p *probe) begin(ctx context.Context) error {
	p.step = stepTLS
	t := tls.Client(p.nc, p.tlsConfig())
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	p.nc = t
	return p.secured(t.ConnectionState())
}

// tlsConfig takes any certificate: secured judges it, with more to say than a broken handshake.
func (p *probe) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: p.certName(), InsecureSkipVerify: true, GetClientCertificate: p.ours.ForServer()}
}

// certName is the name that the certificate is to be good for.
func (p *probe) certName() string {
	switch {
	case p.opt.name != "":
		return p.opt.name
	case p.Host == "":
		return "localhost"
	}
	return p.Host
}

// errOffered is a server without STARTTLS.
var errOffered = errors.New("the server offers no STARTTLS")

// converse is all that is said.
func (p *probe) converse(ctx context.Context) error {
	p.talk = p.dialect()
	p.step = stepGreeting
	if err := p.talk.greet(ctx); err != nil {
		return err
	}
	defer p.talk.quit()
	if err := p.capabilities(); err != nil {
		return err
	}
	if p.wantsTLS() {
		if err := p.startTLS(ctx); err != nil {
			return err
		}
	}
	if p.User == "" {
		return nil
	}
	p.step = stepLogin
	return p.logIn(ctx)
}

func (p *probe) capabilities() (err error) {
	p.step = stepCapabilities
	if p.found.caps, err = p.talk.capabilities(); err == nil {
		p.out.step(p, "%s", strings.Join(p.found.caps, ", "))
	}
	return err
}

func (p *probe) wantsTLS() bool {
	return !p.opt.clear && !p.ImplicitTLS() && (p.mustTLS() || p.talk.offersTLS())
}

// mustTLS: also for a password that would be shown to others.
func (p *probe) mustTLS() bool {
	return p.opt.starttls || p.RequiresTLS() || p.User != "" && !p.mayShow()
}

// mayShow reports that a password may go in clear.
func (p *probe) mayShow() bool { return p.opt.insecure || p.Path != "" || isLoopback(p.Host) }

func (p *probe) startTLS(ctx context.Context) error {
	p.step = stepTLS
	if !p.talk.offersTLS() {
		return errOffered
	}
	if err := p.talk.startTLS(ctx); err != nil {
		return err
	}
	p.found.clear = p.found.caps
	if err := p.secured(*p.talk.state()); err != nil {
		return err
	}
	return p.capabilities()
}

// logIn sends a password only where secured has found nothing wrong.
func (p *probe) logIn(ctx context.Context) error {
	if p.talk.state() == nil && !p.mayShow() {
		return mail.Permanentf(7, 11, "no password is sent in clear; --insecure does")
	}
	cred, err := p.login(ctx)
	if err != nil {
		return err
	}
	if err := p.talk.logIn(ctx, cred); err != nil {
		return err
	}
	p.found.isLoggedIn = true
	p.out.step(p, "as %s", p.User)
	return nil
}
