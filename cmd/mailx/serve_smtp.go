package main

import (
	"path"

	"github.com/urfave/cli/v2"

	"mailx/pkg/auth"
)

func newServeSMTP(e *env) *cli.Command {
	return &cli.Command{
		Name:  "serve-smtp",
		Usage: "receive mail by SMTP",
		Description: "Mail for the users of this host goes into their Maildirs, mail of authenticated clients for\n" +
			"others into the queue. 250 after the data means that the message is on disk. EHLO says what works:\n" +
			"mailx man serve-smtp has the list of extensions.",
		Flags: append(e.serveFlags("smtp"),
			e.keyFlag("role", "smtp.role", "`ROLE`: mx, submission, submissions, or any"),
			e.keyFlag("auth-required", "smtp.auth_required", "`YES` takes no mail without AUTH: a submission server"),
			e.keyFlag("allow-insecure-auth", "smtp.allow_insecure_auth", "`YES` allows AUTH without TLS on loopback"),
			e.keyFlag("relay-network", "smtp.relay_networks", "clients in `CIDR` may relay without AUTH (may be repeated)"),
			e.keyFlag("domain", "domains", "mail for `DOMAIN` is delivered here (may be repeated)"),
			e.keyFlag("max-size", "smtp.max_size", "refuse messages over `SIZE`, such as 50M"),
		),
		Action: func(c *cli.Context) error { return e.apologize(c, sorrySMTP, e.serveSMTP(c)) },
	}
}

func (e *env) serveSMTP(c *cli.Context) error {
	sys, err := e.server(c)
	if err != nil {
		return err
	}
	s, err := sys.smtpService(sys.cfg.SMTP.Role, c.Bool("tls"))
	if err != nil {
		return err
	}
	s.listen = sys.cfg.SMTP.Listen
	return e.serve(c, sys, s)
}

func (s *system) throttle() *auth.Throttle {
	return &auth.Throttle{FS: s.fs, Dir: path.Join(s.cfg.Spool, "state/throttle")}
}
