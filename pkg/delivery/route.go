package delivery

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/dns"
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// Route is how mail for other hosts leaves this one. The zero value leads to the MX hosts of each domain.
type Route struct {
	Name    string         // which of the configured ones it is; empty for the one for everything else
	Servers []Server       // tried in order; none: the MX hosts
	Command []string       // in the place of servers: a program that takes the mail, see exec.go
	TLS     smtp.TLSPolicy // for MX hosts; servers have their own
	Pins    []smtp.Pin     // of the certificates of servers that are smtp.TLSPinned

	// Certificate is asked for the one that is shown to servers who want to see one; may be nil.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Source has the addresses that connections come from, at most one of each family; others are the system's choice.
	Source []netip.Addr
	// Token gives an OAuth token, in the place of the password of servers that have a user; nil: the password counts.
	Token       func(context.Context) (string, error)
	Mechanism   string // the only SASL mechanism that may be used; empty: the strongest
	Connections int    // at once to one destination; 0: Relay.PerDestination
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
	cfg.GetClientCertificate = r.Certificate
	return cfg
}

// authenticate never fails for good: a wrong password is a matter of configuration, and the mail can wait for it. A token is
// asked for each time, since it may be valid for an hour only.
func (r *Route) authenticate(ctx context.Context, c *smtp.Client, s Server) error {
	cred := s.credentials()
	if r.Token != nil {
		token, err := r.Token(ctx)
		if err != nil {
			return mail.Temporaryf(7, 0, "No token to log in at %s: %w", s.name(), err)
		}
		cred.Token, cred.Host, cred.Port = token, s.Host, int(s.Port)
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

	host dns.Host
}

// Hops gives the hosts for a domain in the order in which they are tried, those with equal preference in any; none for a
// route with a command. Resolve gives the addresses of each.
func (r *Relay) Hops(ctx context.Context, domain string) ([]Hop, error) {
	return r.hops(ctx, r.route(domain), normal(domain))
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
