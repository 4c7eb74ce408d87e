package main

import (
	"github.com/urfave/cli/v2"

	"mailx/pkg/pop3"
)

func newServePOP3(e *env) *cli.Command {
	return &cli.Command{
		Name:  "serve-pop3",
		Usage: "let users collect their mail by POP3",
		Description: "A session sees the mailbox as it was at login. Messages are removed at QUIT, and only when the\n" +
			"client asked for it. Passwords in clear are taken on loopback only; elsewhere clients need TLS.",
		Flags:  e.serveFlags("pop3"),
		Action: func(c *cli.Context) error { return e.apologize(c, sorryPOP3, e.servePOP3(c)) },
	}
}

func (e *env) servePOP3(c *cli.Context) error {
	sys, err := e.server(c)
	if err != nil {
		return err
	}
	s, err := sys.pop3Service(c.Bool("tls"))
	if err != nil {
		return err
	}
	s.listen = sys.cfg.POP3.Listen
	return e.serve(c, sys, s)
}

// pop3Service is POP3, ready to be served.
func (s *system) pop3Service(implicitTLS bool) (service, error) {
	srv, err := s.pop3Server(implicitTLS)
	if err != nil {
		return service{}, err
	}
	srv.Trace = s.trace
	return service{proto: "pop3", role: "pop3", serveConn: srv.ServeConn, refuse: srv.Refuse,
		maxConns: s.cfg.POP3.MaxConnections, maxPerAddress: s.cfg.POP3.MaxPerAddress, proxies: s.cfg.POP3.ProxyFrom}, nil
}

func (s *system) pop3Server(implicitTLS bool) (*pop3.Server, error) {
	cert, err := s.serverTLS()
	if err != nil {
		return nil, err
	}
	if implicitTLS && cert == nil {
		return nil, usagef("--tls needs --tls-cert and --tls-key")
	}
	return &pop3.Server{
		Hostname: s.cfg.Hostname,
		Auth:     s.users(),
		Throttle: s.throttle(),
		FS:       s.fs,
		Mailbox:  s.mailboxOf,
		TLS:      cert,
		Implicit: implicitTLS,
		Timeout:  s.cfg.POP3.Timeout,
		Log:      s.log.Slog(),
	}, nil
}
