package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// routes are the ways to other hosts, with the passwords for them.
type routes struct {
	byDomain map[string]delivery.Route
	other    delivery.Route
}

// allRoutes reads the passwords when it is first called.
func (s *system) allRoutes() (*routes, error) {
	if s.routes != nil {
		return s.routes, nil
	}
	c := s.cfg
	all := &routes{}
	var err error
	if all.other, err = s.route(&config.Route{Via: c.Smarthost, Fingerprints: c.TLS.Fingerprints, Password: c.Password,
		TokenCommand: c.TokenCommand, Mechanism: c.Mechanism}); err != nil {
		return nil, err
	}
	for name, r := range c.Routes {
		route, err := s.route(r)
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

// route completes what the configuration says of one with what it says of all.
func (s *system) route(r *config.Route) (delivery.Route, error) {
	policy := s.cfg.TLS.Policy
	if r.TLS != "" {
		policy = r.TLS
	}
	route := delivery.Route{TLS: policyOf(policy), Source: r.Source, Mechanism: r.Mechanism, Connections: r.Connections}
	if len(r.Source) == 0 {
		route.Source = s.cfg.Queue.Source
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
		host, err := delivery.ParseServer(server.String())
		if err != nil {
			return route, err
		}
		if host.Path == "" {
			host.TLS = raise(host.TLS, route.TLS)
		}
		route.Servers = append(route.Servers, host)
	}
	if s.isShown {
		return route, nil
	}
	return route, errors.Join(s.showCertificate(&route, r), readLogin(&route, r))
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

// showCertificate has a client certificate read now, and again whenever it changes.
func (s *system) showCertificate(route *delivery.Route, r *config.Route) error {
	c := &certificate{key: "client_cert", certFile: r.ClientCert, keyFile: r.ClientKey}
	if c.certFile == "" {
		c.key, c.certFile, c.keyFile = "tls.client_cert", s.cfg.TLS.ClientCert, s.cfg.TLS.ClientKey
	}
	if c.certFile == "" {
		return nil
	}
	c.certFile, c.keyFile = config.Credential(c.certFile, os.Getenv), config.Credential(c.keyFile, os.Getenv)
	c.report = func(err error) { s.env.note("%s: %v; going on with the certificate that was read before", c.key, err) }
	if _, err := c.get(); err != nil {
		return exitWith(exConfig, fmt.Errorf("%s: %w", c.key, err))
	}
	route.Certificate = c.forServer
	return nil
}

// readLogin reads the password for servers that have a user. A token is asked for when it is needed, by the process that
// needs it.
func readLogin(route *delivery.Route, r *config.Route) error {
	hasUser := slices.ContainsFunc(route.Servers, func(s delivery.Server) bool { return s.User != "" })
	switch {
	case !hasUser:
		return nil
	case len(r.TokenCommand) > 0:
		secret := config.Secret{Command: r.TokenCommand}
		route.Token = func(ctx context.Context) (string, error) { return secret.Read(ctx, os.Getenv) }
		return nil
	case !r.Password.IsSet():
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	password, err := r.Password.Read(ctx, os.Getenv)
	for i := range route.Servers {
		route.Servers[i].Credentials.Password = password
	}
	return err
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
