package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path"
	"syscall"

	"github.com/urfave/cli/v2"

	"mailx/pkg/maillog"
	"mailx/pkg/session"
	"mailx/pkg/vfs"
)

// service is one protocol, ready to be served.
type service struct {
	name          string // of the protocol, to count its connections by
	listen        []string
	serveConn     func(ctx context.Context, nc net.Conn) error
	refuse        func(nc net.Conn)
	maxConns      int
	maxPerAddress int
	proxies       []netip.Prefix
	log           *maillog.Logger
}

// serveFlags are those that all servers have; proto is the table of their keys.
func (e *env) serveFlags(proto string) []cli.Flag {
	return []cli.Flag{
		e.keyFlag("listen", proto+".listen", "listen on `ADDRESS`: host:port, or the path of a unix socket (may be repeated)"),
		&cli.BoolFlag{Name: "inetd", Usage: "serve one connection on standard input and output"},
		&cli.BoolFlag{Name: "tls", Usage: "TLS from the first octet"},
		&cli.BoolFlag{Name: "trace", Usage: "show the dialog on standard error, secrets masked"},
		e.keyFlag("hostname", "hostname", "call this host `NAME`"),
		e.keyFlag("tls-cert", "tls.cert", "PEM `FILE` with the certificate chain"),
		e.keyFlag("tls-key", "tls.key", "PEM `FILE` with its private key"),
		e.keyFlag("auth-command", "auth.command", "ask `COMMAND` about passwords that are not in the user file"),
		e.keyFlag("auth-token-command", "auth.token_command", "ask `COMMAND` about OAuth tokens"),
	}
}

// checkServe refuses what makes no sense together. From here on nothing is written to a connection by way of stderr.
func checkServe(c *cli.Context) error {
	if c.Bool("inetd") {
		session.DivertStderr()
	}
	switch {
	case c.Args().Present():
		return usagef("%q is not needed here", c.Args().First())
	case c.Bool("inetd") && c.IsSet("listen"):
		return usagef("--inetd has its connection already; leave out --listen")
	}
	return nil
}

// serve runs a service: on standard input, on the sockets that a service manager passed, or on its addresses, until
// SIGTERM or SIGINT. Commands under way are finished then. A process for one connection dies of them at once, which loses
// nothing that was acknowledged: following signals would cost it a thread, and a tenth of its time.
func (e *env) serve(c *cli.Context, s service) error {
	signal.Ignore(syscall.SIGPIPE) // a reader of our log that goes away must not take the mail with it
	server := &session.Server{
		Handle:        func(ctx context.Context, nc net.Conn) { e.logSession(s.serveConn(ctx, nc)) },
		Refuse:        s.refuse,
		Report:        func(err error) { e.note("%v", err) },
		MaxConns:      s.maxConns,
		MaxPerAddress: s.maxPerAddress,
		Proxies:       s.proxies,
		Log:           s.log.Slog(),
	}
	if c.Bool("inetd") {
		return e.serveOne(c.Context, server, s.name)
	}
	ctx, stop := e.untilSignal(c.Context)
	defer stop()
	if err := e.prepareSpool(); err != nil {
		return err
	}
	listeners, err := e.listeners(s.listen)
	if err != nil {
		return err
	}
	return server.Serve(ctx, listeners...)
}

// serveOne serves standard input. What a server that stays counts in memory is counted in files here.
func (e *env) serveOne(ctx context.Context, server *session.Server, name string) error {
	cfg, err := e.config()
	if err != nil {
		return err
	}
	nc, err := session.Stdio(os.Getenv)
	if err != nil {
		return err
	}
	server.Service, server.Places = name, path.Join(cfg.Spool, "state/connections")
	server.Tally = &session.Tally{Path: path.Join(cfg.Spool, "state/refused")}
	server.ServeOne(ctx, nc)
	return nil
}

// prepareSpool makes the spool before anybody connects, and says what the first client would only be told as 451.
func (e *env) prepareSpool() error {
	cfg, err := e.config()
	if err != nil {
		return err
	}
	if err := vfs.MkdirAll(vfs.OS(), cfg.Spool); err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Users); errors.Is(err, fs.ErrNotExist) {
		e.note("there is no user file %s; mailx user add makes it", cfg.Users)
	}
	return nil
}

// listeners are those passed to us, else new ones. Each is told of when all are there.
func (e *env) listeners(addresses []string) ([]net.Listener, error) {
	all, err := session.Passed(os.Getenv)
	if err != nil {
		return nil, exitWith(exConfig, err)
	}
	if len(all) == 0 {
		for _, address := range addresses {
			l, err := session.Listen(address)
			if err != nil {
				return nil, exitWith(exUnavailable, fmt.Errorf("can't listen: %w", err))
			}
			all = append(all, l)
		}
	}
	for _, l := range all {
		e.note("listening on %s", l.Addr())
	}
	return all, nil
}

// logSession tells of sessions that broke, but not of peers that just went away.
func (e *env) logSession(err error) {
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		e.note("session: %v", err)
	}
}

// tracer shows a dialog on standard error, "S:" and "C:" as the server and the client say it.
func (e *env) tracer(on, isServer bool) func(sent bool, line string) {
	if !on {
		return nil
	}
	return func(sent bool, line string) {
		who := "C"
		if sent == isServer {
			who = "S"
		}
		fmt.Fprintf(e.stderr, "%s: %s\n", who, escapeControl(line))
	}
}
