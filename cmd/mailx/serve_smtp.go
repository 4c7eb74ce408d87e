package main

import (
	"cmp"
	"log/slog"
	"path"

	"github.com/urfave/cli/v2"

	"mailx/pkg/auth"
	"mailx/pkg/smtp"
)

func newServeSMTP(e *env) *cli.Command {
	return &cli.Command{
		Name:  "serve-smtp",
		Usage: "receive mail by SMTP",
		Description: "Mail for the users of this host goes into their Maildirs, mail of authenticated clients for\n" +
			"others into the queue. 250 after the data means that the message is on disk. EHLO says what works:\n" +
			"mailx man serve-smtp has the list of extensions.",
		Flags: append(e.serveFlags("smtp"),
			e.keyFlag("auth-required", "smtp.auth_required", "`YES` takes no mail without AUTH: a submission server"),
			e.keyFlag("allow-insecure-auth", "smtp.allow_insecure_auth", "`YES` allows AUTH without TLS on loopback"),
			e.keyFlag("relay-network", "smtp.relay_networks", "clients in `CIDR` may relay without AUTH (may be repeated)"),
			e.keyFlag("domain", "domains", "mail for `DOMAIN` is delivered here (may be repeated)"),
			e.keyFlag("max-size", "smtp.max_size", "refuse messages over `SIZE`, such as 50M"),
		),
		Action: func(c *cli.Context) error { return e.serveSMTP(c) },
	}
}

func (e *env) serveSMTP(c *cli.Context) error {
	if err := checkServe(c); err != nil {
		return err
	}
	sys, err := e.system()
	if err != nil {
		return err
	}
	srv, err := sys.smtpServer(c.Bool("tls"), !c.Bool("inetd"))
	if err != nil {
		return err
	}
	srv.Trace = e.tracer(c.Bool("trace"), true)
	cfg := sys.cfg.SMTP
	return e.serve(c, service{name: "smtp", listen: cfg.Listen, serveConn: srv.ServeConn, refuse: srv.Refuse, log: sys.log,
		maxConns: cfg.MaxConnections, maxPerAddress: cfg.MaxPerAddress, proxies: cfg.ProxyFrom})
}

// smtpServer is the server of the configuration. One that stays remembers who gave the right password lately.
func (s *system) smtpServer(implicitTLS, stays bool) (*smtp.Server, error) {
	intake, err := s.intake()
	if err != nil {
		return nil, err
	}
	cert, err := s.serverTLS()
	if err != nil {
		return nil, err
	}
	if implicitTLS && cert == nil {
		return nil, usagef("--tls needs --tls-cert and --tls-key")
	}
	cfg := s.cfg.SMTP
	return &smtp.Server{
		Hostname:     s.cfg.Hostname,
		Backend:      submissions{intake, s, intake.MayRelay},
		TLS:          cert,
		Implicit:     implicitTLS,
		Auth:         s.verifier(stays),
		Throttle:     s.throttle(),
		AuthRequired: cfg.AuthRequired,
		InsecureAuth: cfg.AllowInsecureAuth,
		MaxSize:      cfg.MaxSize,
		MaxRcpts:     cfg.MaxRcpts,
		MaxMessages:  cfg.MaxMessages,
		MaxHold:      cfg.MaxHold,
		Mistakes:     cfg.MaxBadCommands,
		Timeout:      cfg.Timeout,
		DataTimeout:  cfg.DataTimeout,
		MinRate:      cmp.Or(cfg.MinRate, -1),
		GreetDelay:   cfg.GreetDelay,
		XClientFrom:  cfg.XClientFrom,
		MayName:      s.rcptRates(),
	}, nil
}

// verifier checks passwords. A process that stays remembers right ones for a while, so that clients that ask every
// minute don't cost a hash each time.
func (s *system) verifier(stays bool) *auth.Users {
	users := s.users()
	if stays {
		users.Remember = rememberLogins
	}
	users.Checker = s.checker(s.cfg.Auth.Command)
	users.Tokens = s.checker(s.cfg.Auth.TokenCommand)
	return users
}

// checker asks a command of the configuration; nil if there is none.
func (s *system) checker(command []string) *auth.Checker {
	if len(command) == 0 {
		return nil
	}
	c := auth.NewChecker(command)
	c.Report = func(err error) { s.log.Slog().Error("login", slog.Any("error", err)) }
	return c
}

func (s *system) throttle() *auth.Throttle {
	return &auth.Throttle{FS: s.fs, Dir: path.Join(s.cfg.Spool, "state/throttle")}
}
