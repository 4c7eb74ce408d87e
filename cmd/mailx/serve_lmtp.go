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
			e.keyFlag("hostname", "hostname", "call this host `NAME`"),
			e.keyFlag("domain", "domains", "mail for `DOMAIN` is delivered here (may be repeated)"),
			e.keyFlag("max-size", "smtp.max_size", "refuse messages over `SIZE`, such as 50M"),
		},
		Action: func(c *cli.Context) error { return e.serveLMTP(c) },
	}
}

func (e *env) serveLMTP(c *cli.Context) error {
	if err := checkServe(c); err != nil {
		return err
	}
	if !c.Bool("inetd") && !c.IsSet("listen") && !session.Activated(os.Getenv) {
		return usagef("--listen /run/mailx-lmtp.sock or --inetd is needed")
	}
	sys, err := e.system()
	if err != nil {
		return err
	}
	intake, err := sys.intake()
	if err != nil {
		return err
	}
	intake.MayRelay = func(*smtp.Peer) bool { return false }
	cfg := sys.cfg.SMTP
	srv := &smtp.Server{Hostname: sys.cfg.Hostname, Backend: intake, LMTP: true, MaxSize: cfg.MaxSize, MaxRcpts: cfg.MaxRcpts,
		MaxMessages: maxPipeMessages, Mistakes: cfg.MaxBadCommands, Timeout: cfg.Timeout, DataTimeout: cfg.DataTimeout,
		MinRate: cmp.Or(cfg.MinRate, -1), Trace: e.tracer(c.Bool("trace"), true)}
	return e.serve(c, service{name: "lmtp", log: sys.log, listen: c.StringSlice("listen"), serveConn: srv.ServeConn, refuse: srv.Refuse, maxConns: cfg.MaxConnections})
}
