package main

import (
	"context"
	"path"

	"github.com/urfave/cli/v2"

	"mailx/pkg/auth"
	"mailx/pkg/imap"
	"mailx/pkg/mailbox"
)

func newServeIMAP(e *env) *cli.Command {
	return &cli.Command{
		Name:  "serve-imap",
		Usage: "let users read and keep their mail by IMAP",
		Description: "Folders are those of the Maildir, and other programs may work on them meanwhile. Passwords in clear are\n" +
			"taken on loopback only; elsewhere clients need TLS.",
		Flags:  e.serveFlags("imap"),
		Action: func(c *cli.Context) error { return e.apologize(c, sorryIMAP, e.serveIMAP(c)) },
	}
}

func (e *env) serveIMAP(c *cli.Context) error {
	sys, err := e.server(c)
	if err != nil {
		return err
	}
	s, err := sys.imapService(c.Bool("tls"))
	if err != nil {
		return err
	}
	s.listen = sys.cfg.IMAP.Listen
	return e.serve(c, sys, s)
}

// imapService is IMAP, ready to be served.
func (s *system) imapService(implicitTLS bool) (service, error) {
	srv, err := s.imapServer(implicitTLS)
	if err != nil {
		return service{}, err
	}
	srv.Trace = s.trace
	return service{proto: "imap", role: "imap", serveConn: srv.ServeConn, refuse: srv.Refuse,
		maxConns: s.cfg.IMAP.MaxConnections, maxPerAddress: s.cfg.IMAP.MaxPerAddress, proxies: s.cfg.IMAP.ProxyFrom}, nil
}

func (s *system) imapServer(implicitTLS bool) (*imap.Server, error) {
	cert, err := s.serverTLS()
	if err != nil {
		return nil, err
	}
	if implicitTLS && cert == nil {
		return nil, usagef("--tls needs --tls-cert and --tls-key")
	}
	return &imap.Server{
		Hostname: s.cfg.Hostname,
		Auth:     s.users(),
		Throttle: s.throttle(),
		Store: func(_ context.Context, u auth.User) (*mailbox.Store, error) {
			inbox, err := s.mailbox(path.Join(s.cfg.MailRoot, u.Name))
			if err != nil {
				return nil, err
			}
			return mailbox.NewStore(s.fs, inbox), nil
		},
		TLS:      cert,
		Implicit: implicitTLS,
		MaxSize:  s.cfg.SMTP.MaxSize,
		Timeout:  s.cfg.IMAP.Timeout,
		Log:      s.log.Slog(),
	}, nil
}
