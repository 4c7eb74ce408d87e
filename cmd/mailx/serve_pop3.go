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
		Action: func(c *cli.Context) error { return e.servePOP3(c) },
	}
}

func (e *env) servePOP3(c *cli.Context) error {
	if err := checkServe(c); err != nil {
		return err
	}
	sys, err := e.system()
	if err != nil {
		return err
	}
	srv, err := sys.pop3Server(c.Bool("tls"), !c.Bool("inetd"))
	if err != nil {
		return err
	}
	srv.Trace = e.tracer(c.Bool("trace"), true)
	cfg := sys.cfg.POP3
	return e.serve(c, service{name: "pop3", listen: cfg.Listen, serveConn: srv.ServeConn, refuse: srv.Refuse, log: sys.log,
		maxConns: cfg.MaxConnections, maxPerAddress: cfg.MaxPerAddress, proxies: cfg.ProxyFrom})
}

func (s *system) pop3Server(implicitTLS, stays bool) (*pop3.Server, error) {
	cert, err := s.serverTLS()
	if err != nil {
		return nil, err
	}
	if implicitTLS && cert == nil {
		return nil, usagef("--tls needs --tls-cert and --tls-key")
	}
	return &pop3.Server{
		Hostname: s.cfg.Hostname,
		Auth:     s.verifier(stays),
		Throttle: s.throttle(),
		FS:       s.fs,
		Mailbox:  s.mailboxOf,
		TLS:      cert,
		Implicit: implicitTLS,
		Timeout:  s.cfg.POP3.Timeout,
		Log:      s.log.Slog(),
	}, nil
}
