package main

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/auth"
	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/smtp"
)

// probeTarget is a server with what is known of it before it is spoken to.
type probeTarget struct {
	config.Server
	pins      []smtp.Pin
	mechanism string
	login     func(context.Context) (auth.Credentials, error)
}

// targets are the servers that the command line names: a host, the MX hosts of a domain, the server of an account, or the
// smarthosts of the configuration.
func (p *probing) targets(c *cli.Context) ([]probeTarget, error) {
	word := c.Args().First()
	switch {
	case c.NArg() > 1:
		return nil, usagef("one server at a time")
	case c.IsSet("account") && word != "":
		return nil, usagef("either an account or a server, not both")
	case c.IsSet("account"):
		return p.accountTargets(c, c.String("account"))
	case c.Bool("mx"):
		return p.mxTargets(c.Context, word)
	case word == "" && p.opt.proto == "smtp" && len(p.cfg.Smarthost) > 0:
		return p.smarthosts(c, &config.Account{Smarthost: p.cfg.Smarthost, Fingerprints: p.cfg.TLS.Fingerprints, Password: p.cfg.Password,
			TokenCommand: p.cfg.TokenCommand, Mechanism: p.cfg.Mechanism})
	case word == "":
		return nil, usagef("which server?")
	}
	server, err := p.parse(word)
	if err != nil {
		return nil, err
	}
	if user := c.String("user"); user != "" {
		server.User = user
	}
	if p.opt.any && server.User != "" {
		return nil, usagef("no password is sent to whoever has any certificate; use --fingerprint")
	}
	return p.withLogins(c, []config.Server{server}, &config.Account{})
}

// parse reads HOST, HOST:PORT or a URL. Where no scheme says when TLS begins, --tls and the port do.
func (p *probing) parse(word string) (server config.Server, err error) {
	if ip := net.ParseIP(word); ip != nil && ip.To4() == nil {
		word = "[" + word + "]"
	}
	scheme, _, hasScheme := strings.Cut(word, ":/")
	if !hasScheme {
		_, port, _ := net.SplitHostPort(word)
		scheme = p.opt.proto
		if p.opt.implicit || slices.Contains([]string{"465", "993", "995"}, port) && !p.opt.starttls && !p.opt.clear {
			scheme += "s"
		}
		word = scheme + "://" + word
	}
	if p.opt.proto == "smtp" {
		server, err = config.ParseSmarthost(word)
	} else {
		server, err = config.ParseAccountURL(word)
	}
	switch {
	case err != nil:
		return server, usagef("%s: %v", word, err)
	case p.opt.proto != "smtp" && !strings.HasPrefix(scheme, p.opt.proto):
		return server, usagef("%s is for mailx probe %s", word, strings.TrimSuffix(scheme, "s"))
	}
	return server, p.agree(server)
}

// agree refuses flags that contradict a URL.
func (p *probing) agree(server config.Server) error {
	switch {
	case p.opt.clear && server.RequiresTLS():
		return usagef("--no-tls does not go with %s", server)
	case p.opt.starttls && server.ImplicitTLS():
		return usagef("--starttls does not go with %s", server)
	case p.opt.implicit && !server.ImplicitTLS():
		return usagef("--tls does not go with %s: its scheme says when TLS begins", server)
	}
	return nil
}

func (p *probing) mxTargets(ctx context.Context, domain string) ([]probeTarget, error) {
	if domain == "" {
		return nil, usagef("the MX hosts of which domain?")
	}
	if p.opt.implicit {
		return nil, usagef("MX hosts don't begin with TLS")
	}
	ctx, cancel := context.WithTimeout(ctx, p.opt.timeout)
	defer cancel()
	relay := &delivery.Relay{Resolver: p.resolver, Port: os.Getenv("MAILX_MX_PORT")}
	hops, err := relay.Hops(ctx, domain)
	if err != nil {
		return nil, err
	}
	var all []probeTarget
	for _, hop := range hops {
		all = append(all, probeTarget{Server: config.Server{Scheme: hop.Scheme, Host: strings.Trim(hop.Host, "[]"), Port: hop.Port}})
	}
	return all, nil
}

func (p *probing) accountTargets(c *cli.Context, name string) ([]probeTarget, error) {
	a := p.cfg.Accounts[name]
	switch {
	case a == nil:
		return nil, exitWith(exConfig, errors.New("there is no account "+name))
	case p.opt.proto == "smtp" && len(a.Smarthost) > 0:
		return p.smarthosts(c, a)
	case p.opt.proto != "smtp" && strings.HasPrefix(a.URL.Scheme, p.opt.proto):
		return p.withLogins(c, []config.Server{a.URL}, &config.Account{Password: a.Password, TokenCommand: a.TokenCommand, Mechanism: a.Mechanism})
	}
	return nil, exitWith(exConfig, errors.New("account "+name+" has no server for "+p.opt.proto))
}

// smarthosts are those of an account that are servers, not commands.
func (p *probing) smarthosts(c *cli.Context, a *config.Account) ([]probeTarget, error) {
	servers := slices.DeleteFunc(slices.Clone(a.Smarthost), config.Server.IsCommand)
	if len(servers) == 0 {
		return nil, usagef("mail goes to a command, not to a server")
	}
	return p.withLogins(c, servers, a)
}

// withLogins adds to servers what the command line, or an account, knows of logging in there.
func (p *probing) withLogins(c *cli.Context, servers []config.Server, a *config.Account) ([]probeTarget, error) {
	pins, err := parsePins(a.Fingerprints)
	if err != nil {
		return nil, exitWith(exConfig, err)
	}
	all := make([]probeTarget, len(servers))
	ask := p.passwords(c.Int("password-fd"), a)
	for i, server := range servers {
		if err := p.agree(server); err != nil {
			return nil, err
		}
		all[i] = probeTarget{Server: server, pins: pins, mechanism: a.Mechanism}
		all[i].login = func(ctx context.Context) (auth.Credentials, error) { return ask(ctx, server) }
	}
	return all, nil
}

// passwords gives a function that finds the password or token for a server: from a descriptor, which is read once, the
// account, ~/.netrc or a person.
func (p *probing) passwords(fd int, a *config.Account) func(context.Context, config.Server) (auth.Credentials, error) {
	l := &logins{secret: a.Password, token: a.TokenCommand}
	given := ""
	return func(ctx context.Context, server config.Server) (cred auth.Credentials, err error) {
		if fd >= 0 && given == "" {
			if given, err = readSecretFrom(fd); err != nil {
				return cred, err
			}
		}
		known := given
		if known == "" && len(l.token) == 0 && !l.secret.IsSet() {
			if known, err = netrcPassword(server.Host, server.User); err == nil && known == "" && p.e.mayPrompt() {
				known, err = p.e.ask("Password of " + server.User + " at " + server.Host)
			}
			if err != nil {
				return cred, err
			}
		}
		cred.Password = known
		if known == "" {
			cred, err = l.ask(ctx, delivery.Server{Scheme: server.Scheme, Host: server.Host, Port: server.Port, User: server.User})
		}
		cred.User, cred.Host, cred.Port = server.User, server.Host, int(server.Port)
		return cred, err
	}
}
