package delivery

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/netip"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/dns"
	"mailx/pkg/mail"
	"mailx/pkg/mtasts"
	"mailx/pkg/smtp"
)

// Route is how mail for other hosts leaves this one. The zero value leads to the MX hosts of each domain.
type Route struct {
	Name    string         // which of the configured ones it is; empty for the one for everything else
	Account string         // whose it is, if it is for what somebody sends
	Servers []Server       // tried in order; none: the MX hosts
	Command []string       // in the place of servers: a program that takes the mail, see exec.go
	TLS     smtp.TLSPolicy // for MX hosts; servers have their own
	OwnTLS  bool           // TLS was said for this route: no policy of a domain is asked
	Pins    []smtp.Pin     // of the certificates of servers that are smtp.TLSPinned

	// Certificate gives the one that is shown to servers who want to see one; nil: there is none. It is asked before each connection:
	// mail waits for one that can't be had, rather than go without it.
	Certificate func() (*tls.Certificate, error)
	// Source has the addresses that connections come from, at most one of each family; others are the system's choice.
	Source []netip.Addr
	// Login gives what a server wants to know of us that has a User, each time that we log in; the user may be left out.
	Login       func(context.Context, Server) (auth.Credentials, error)
	Mechanism   string // the only SASL mechanism that may be used; empty: the strongest
	Connections int    // at once to one destination; 0: Relay.PerDestination
	Messages    int    // of a connection, at most; 0: Relay.PerConnection
	// Discard has keywords of EHLO that are not believed.
	Discard []string

	Masquerade *Masquerade // nil: mail goes as it is
}

// IsMX reports that the MX hosts of a domain get its mail.
func (r *Route) IsMX() bool { return len(r.Servers) == 0 && len(r.Command) == 0 }

// RouteKey makes a key of Router.Routes of "domain", ".domain" or "*", however it is spelt.
func RouteKey(name string) string {
	domain, isBelow := strings.CutPrefix(name, ".")
	if isBelow {
		return "." + normal(domain)
	}
	return normal(domain)
}

// key tells the destinations of routes apart; "" for MX hosts.
func (r *Route) key() string {
	key := joinServers(r.Servers)
	if len(r.Command) > 0 {
		key = "exec:" + strings.Join(r.Command, " ")
	}
	if key != "" && r.Name != "" {
		key += " (route " + r.Name + ")"
	}
	if key != "" && r.Account != "" {
		key += " (account " + r.Account + ")"
	}
	return key
}

// describe is for people.
func (r *Route) describe(domain string) string {
	switch {
	case r.IsMX() && r.Name != "":
		return "the MX hosts of " + domain + " (route " + r.Name + ")"
	case r.IsMX():
		return "the MX hosts of " + domain
	case len(r.Command) > 0:
		return "the command " + strings.TrimPrefix(r.key(), "exec:")
	}
	return r.key()
}

func (r *Route) tlsConfig(base *tls.Config) *tls.Config {
	if r.Certificate == nil {
		return base
	}
	cfg := &tls.Config{}
	if base != nil {
		cfg = base.Clone()
	}
	cfg.GetClientCertificate = r.ForServer()
	return cfg
}

// ForServer is for tls.Config.GetClientCertificate; nil without a certificate.
func (r *Route) ForServer() func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if r.Certificate == nil {
		return nil
	}
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.Certificate() }
}

// certified says why the certificate can't be had, which is our trouble.
func (r *Route) certified(domain string) error {
	if r.Certificate == nil {
		return nil
	}
	if _, err := r.Certificate(); err != nil {
		return mail.Temporaryf(7, 0, "Our certificate for %s can't be had: %w", r.describe(domain), err)
	}
	return nil
}

// credentials asks for them. That they can't be had is our trouble, and the mail waits.
func (r *Route) credentials(ctx context.Context, s Server) (auth.Credentials, error) {
	if r.Login == nil {
		return auth.Credentials{}, mail.Temporaryf(7, 0, "No password for %s", s)
	}
	cred, err := r.Login(ctx, s)
	if err != nil {
		return cred, mail.Temporaryf(7, 0, "Password for %s can't be had: %w", s, err)
	}
	cred.User, cred.Host, cred.Port = cmp.Or(cred.User, s.User), s.Host, int(s.Port)
	return cred, nil
}

// authenticate never fails for good: a wrong password is a matter of configuration, and the mail can wait for it.
func (r *Route) authenticate(ctx context.Context, c *smtp.Client, s Server) error {
	cred, err := r.credentials(ctx, s)
	if err != nil {
		return err
	}
	mech, err := auth.NewClient(cred, auth.Choice{
		Offered: c.Extensions().Mechanisms(),
		Secure:  c.MaySendSecret(),
		Only:    r.Mechanism,
		TLS:     c.TLS(),
	})
	if err == nil {
		err = c.Auth(ctx, mech)
	}
	if err != nil && mail.StatusOf(err).IsPermanent() {
		return mail.Temporaryf(7, 8, "%s does not let us log in: %w", s.name(), err)
	}
	return err
}

// Hop is a host that takes the mail of a destination, as a Relay knows it before it connects.
type Hop struct {
	Server
	IsMX bool
	Pref uint16 // of its MX record
	// Barred says that the domain's policy does not know the host, which is not tried then; nil: it is.
	Barred error

	host dns.Host
}

// Hops gives the hosts for a domain in the order in which they are tried, those with equal preference in any; none for a
// route with a command. Resolve gives the addresses of each.
func (r *Relay) Hops(ctx context.Context, domain string) ([]Hop, error) {
	route, err := r.route(&mail.Envelope{}, domain)
	if err != nil {
		return nil, err
	}
	hops, err := r.hops(ctx, route, normal(domain))
	if policy := r.policy(ctx, &route, normal(domain)); policy != nil && policy.Mode == mtasts.Enforce {
		follow(policy, hops)
	}
	return hops, err
}

func (r *Relay) hops(ctx context.Context, route Route, domain string) (hops []Hop, err error) {
	for _, server := range route.Servers {
		host := dns.Host{Name: server.Host}
		if ip, err := netip.ParseAddr(server.Host); err == nil {
			host.Literal = ip
		}
		hops = append(hops, Hop{Server: server, host: host})
	}
	if !route.IsMX() {
		return hops, nil
	}
	list := dns.Route{Resolver: r.resolver(), Self: r.Self}
	hosts, err := list.Hosts(ctx, domain)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		server := Server{Scheme: "smtp", Host: host.Name, TLS: route.TLS, Port: r.mxPort()}
		hops = append(hops, Hop{Server: server, IsMX: true, Pref: host.Pref, host: host})
	}
	return hops, nil
}

// Resolve gives the addresses of a host in the order in which they are tried: those of the two families in turn, as far as
// there are both. That the name of a configured server can't be resolved is our trouble, and never permanent.
func (r *Relay) Resolve(ctx context.Context, hop Hop) ([]netip.Addr, error) {
	if hop.Path != "" {
		return nil, nil
	}
	addrs, err := hop.host.Resolve(ctx, r.resolver())
	if err != nil && !hop.IsMX {
		return nil, mail.Temporaryf(4, 3, "Server %s has no known address: %w", hop.Host, err)
	}
	return inTurn(addrs), err
}
