package main

import (
	"cmp"
	"os"

	"github.com/urfave/cli/v2"

	"mailx/pkg/session"
	"mailx/pkg/smtp"
)

func newServeLMTP(e *env) *cli.Command {
	return &cli.Command{
		Name:  "serve-lmtp",
		Usage: "take mail from another mail server by LMTP",
		Description: "Mail for the users of this host goes into their Maildirs, with a reply for each recipient. There\n" +
			"is no AUTH and no relaying: listen on a unix socket, or on loopback.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Usage: "listen on `ADDRESS`: the path of a unix socket, or host:port (may be repeated)"},
			&cli.BoolFlag{Name: "inetd", Usage: "serve one connection on standard input and output"},
			&cli.BoolFlag{Name: "trace", Usage: "show the dialog on standard error"},
			e.keyFlag("socket-mode", "serve.socket_mode", "give the unix socket `MODE`, such as 0660"),
			e.keyFlag("socket-group", "serve.socket_group", "give the unix socket to `GROUP`"),
			e.keyFlag("run-as", "run_as", "started by root: go on as `USER`"),
			e.keyFlag("hostname", "hostname", "call this host `NAME`"),
			e.keyFlag("domain", "domains", "mail for `DOMAIN` is delivered here (may be repeated)"),
			e.keyFlag("max-size", "smtp.max_size", "refuse messages over `SIZE`, such as 50M"),
		},
		Action: func(c *cli.Context) error { return e.apologize(c, sorrySMTP, e.serveLMTP(c)) },
	}
}

func (e *env) serveLMTP(c *cli.Context) error {
	if !c.Bool("inetd") && !c.IsSet("listen") && !session.Activated(os.Getenv) && !c.Args().Present() {
		return usagef("--listen /run/mailx-lmtp.sock or --inetd is needed")
	}
	sys, err := e.server(c)
	if err != nil {
		return err
	}
	s, err := sys.lmtpService()
	if err != nil {
		return err
	}
	s.listen = c.StringSlice("listen")
	return e.serve(c, sys, s)
}

// lmtpService is LMTP, ready to be served.
func (s *system) lmtpService() (service, error) {
	intake, err := s.intake()
	if err != nil {
		return service{}, err
	}
	intake.MayRelay = func(*smtp.Peer) bool { return false }
	connect, err := s.filtered(intake, nil)
	if err != nil {
		return service{}, err
	}
	cfg := s.cfg.SMTP
	srv := &smtp.Server{Hostname: s.cfg.Hostname, Backend: intake, Connect: connect, LMTP: true, MaxSize: cfg.MaxSize, MaxRcpts: cfg.MaxRcpts,
		MaxMessages: maxPipeMessages, MaxErrands: -1, Mistakes: cfg.MaxBadCommands, Timeout: cfg.Timeout, DataTimeout: cfg.DataTimeout,
		MinRate: cmp.Or(cfg.MinRate, -1), Trace: s.trace}
	return service{proto: "lmtp", role: "lmtp", serveConn: srv.ServeConn, refuse: srv.Refuse, maxConns: cfg.MaxConnections}, nil
}
