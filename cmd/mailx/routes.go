package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// routes are the ways to other hosts.
type routes struct {
	byDomain  map[string]delivery.Route
	byAccount map[string]*delivery.Route
	other     delivery.Route
}

// allRoutes makes them when it is first called. Passwords are read when they are needed.
func (s *system) allRoutes() (*routes, error) {
	if s.routes != nil {
		return s.routes, nil
	}
	c := s.cfg
	all := &routes{}
	var err error
	if all.other, err = s.route("", &config.Route{Via: c.Smarthost, Fingerprints: c.TLS.Fingerprints, Password: c.Password,
		TokenCommand: c.TokenCommand, Mechanism: c.Mechanism}); err != nil {
		return nil, err
	}
	all.other.Masquerade = s.mask(c.Rewrite, c.FromAddress(), func(sender string) bool { return strings.EqualFold(sender, c.FromAddress()) })
	if all.byAccount, err = s.routesByAccount(); err != nil {
		return nil, err
	}
	for name, r := range c.Routes {
		route, err := s.route(name, r)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", name, err)
		}
		if all.byDomain == nil {
			all.byDomain = map[string]delivery.Route{}
		}
		route.Name = name
		all.byDomain[delivery.RouteKey(name)] = route
	}
	s.routes = all
	return all, nil
}

func (s *system) routesByAccount() (map[string]*delivery.Route, error) {
	all := map[string]*delivery.Route{}
	for _, name := range s.cfg.Senders() {
		a := s.cfg.Accounts[name]
		route, err := s.route("", &config.Route{Via: a.Smarthost, TLS: a.TLS, Fingerprints: a.Fingerprints, Password: a.Password,
			TokenCommand: a.TokenCommand, Mechanism: a.Mechanism})
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
		route.Account, route.Masquerade = name, s.mask(a.Rewrite, a.Address(), a.Takes)
		all[name] = &route
	}
	return all, nil
}

// route completes what the configuration says of one with what it says of all; name is that of its table, if it has one.
func (s *system) route(name string, r *config.Route) (delivery.Route, error) {
	policy := s.cfg.TLS.Policy
	if r.TLS != "" {
		policy = r.TLS
	}
	route := delivery.Route{TLS: policyOf(policy), OwnTLS: r.TLS != "", Source: r.Source, Mechanism: r.Mechanism, Connections: r.Connections, Messages: r.Messages,
		Discard: r.Discard}
	if len(r.Source) == 0 {
		route.Source = s.cfg.Queue.Source
	}
	if len(r.Discard) == 0 {
		route.Discard = s.cfg.Queue.Discard
	}
	for _, text := range r.Fingerprints {
		pin, err := smtp.ParsePin(text)
		if err != nil {
			return route, exitWith(exConfig, err)
		}
		route.Pins, route.TLS = append(route.Pins, pin), smtp.TLSPinned
	}
	for _, server := range r.Via {
		if server.IsCommand() {
			argv, err := delivery.ParseRouteCommand(server.Path)
			if err != nil {
				return route, exitWith(exConfig, fmt.Errorf("%s: %w", server, err))
			}
			route.Command = argv
			return route, nil
		}
		host := serverOf(server)
		if host.Path == "" {
			host.TLS = raise(host.TLS, route.TLS)
		}
		route.Servers = append(route.Servers, host)
	}
	route.Login = (&logins{secret: r.Password, token: r.TokenCommand, given: s.password}).ask
	if s.isShown {
		return route, nil
	}
	return route, s.showCertificate(name, &route, r)
}

// serverOf is a server of the configuration as delivery knows it.
func serverOf(c config.Server) delivery.Server {
	server := delivery.Server{Scheme: c.Scheme, User: c.User, Host: c.Host, Port: c.Port, Path: c.Path}
	server.TLS = server.DefaultTLS()
	return server
}

func policyOf(name string) smtp.TLSPolicy {
	switch name {
	case "none":
		return smtp.TLSNone
	case "required":
		return smtp.TLSRequired
	case "verified":
		return smtp.TLSVerified
	}
	return smtp.TLSOpportunistic
}

// raise gives the policy for a server whose URL asks for one: that of the configuration may ask for more, and for less only
// where the URL asks for nothing.
func raise(server, wanted smtp.TLSPolicy) smtp.TLSPolicy {
	if wanted == smtp.TLSNone && server != smtp.TLSOpportunistic {
		return server
	}
	return max(server, wanted)
}

// showCertificate has a client certificate read now, and again whenever it changes. Without that of a route only the mail for this
// route waits; without the one of all the rest nothing is begun.
func (s *system) showCertificate(name string, route *delivery.Route, r *config.Route) error {
	c := &certificate{key: "route." + name + ".client_cert", certFile: r.ClientCert, keyFile: r.ClientKey}
	isOwn := c.certFile != ""
	if !isOwn {
		c.key, c.certFile, c.keyFile = "tls.client_cert", s.cfg.TLS.ClientCert, s.cfg.TLS.ClientKey
	}
	if c.certFile == "" {
		return nil
	}
	given := c.certFile
	c.certFile, c.keyFile = config.Credential(c.certFile, os.Getenv), config.Credential(c.keyFile, os.Getenv)
	c.report = func(err error) { s.env.note("%s: %v; going on with the certificate that was read before", c.key, err) }
	route.Certificate = func() (*tls.Certificate, error) {
		cert, err := c.get()
		if err != nil {
			err = &config.Error{Key: c.key, Value: given, Origin: s.cfg.Origin(c.key), Text: err.Error(), Err: err}
		}
		return cert, err
	}
	if _, err := c.get(); err != nil && !isOwn {
		return exitWith(exConfig, fmt.Errorf("%s: %w", c.key, err))
	}
	return nil
}

// readSecrets reads all passwords while this process may, before it becomes somebody else. The certificates of routes have been
// read. What is missing for one route or account is told, as its mail will wait; for all the rest of the mail it is an error.
func (s *system) readSecrets() error {
	routes, err := s.allRoutes()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	own := slices.Collect(maps.Values(routes.byDomain))
	for _, r := range routes.byAccount {
		own = append(own, *r)
	}
	for i := range own {
		if err := readSecretsOf(ctx, &own[i]); err != nil {
			s.env.note("%v; mail that needs it waits", err)
		}
	}
	return readSecretsOf(ctx, &routes.other)
}

func readSecretsOf(ctx context.Context, r *delivery.Route) error {
	if r.Certificate != nil {
		if _, err := r.Certificate(); err != nil {
			return err
		}
	}
	for _, server := range r.Servers {
		if server.User == "" {
			continue
		}
		if _, err := r.Login(ctx, server); err != nil {
			return err
		}
	}
	return nil
}

// hasRoute reports that the configuration says where the mail for all of these goes: what is left to the MX hosts because it
// says nothing is left to the queue, too.
func (s *system) hasRoute(rcpts []mail.Recipient) bool {
	if len(s.cfg.Smarthost) > 0 {
		return true
	}
	router := &delivery.Router{Routes: map[string]delivery.Route{}}
	for name := range s.cfg.Routes {
		router.Routes[delivery.RouteKey(name)] = delivery.Route{Name: name}
	}
	return !slices.ContainsFunc(rcpts, func(r mail.Recipient) bool {
		return router.Via(r.Domain).Name == ""
	})
}
