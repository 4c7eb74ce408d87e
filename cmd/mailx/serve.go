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

	"mailx/pkg/session"
	"mailx/pkg/vfs"
)

// service is one protocol in one role, ready to be served.
type service struct {
	proto         string // those of one protocol share their limits, and are counted together
	role          string
	listen        []string
	inHouse       bool // one of those of serve
	needsTLS      bool // there is no certificate, without which it is of use on loopback only
	serveConn     func(ctx context.Context, nc net.Conn) error
	refuse        func(nc net.Conn)
	maxConns      int
	maxPerAddress int
	proxies       []netip.Prefix
}

// serveFlags are those that all servers have; proto is the table of their keys.
func (e *env) serveFlags(proto string) []cli.Flag {
	return append([]cli.Flag{
		e.keyFlag("listen", proto+".listen", "listen on `ADDRESS`: host:port, or the path of a unix socket (may be repeated)"),
		&cli.BoolFlag{Name: "inetd", Usage: "serve one connection on standard input and output"},
		&cli.BoolFlag{Name: "tls", Usage: "TLS from the first octet"},
	}, e.processFlags()...)
}

// processFlags are those of serve too.
func (e *env) processFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "trace", Usage: "show the dialog on standard error, secrets masked"},
		e.keyFlag("hostname", "hostname", "call this host `NAME`"),
		e.keyFlag("tls-cert", "tls.cert", "PEM `FILE` with the certificate chain"),
		e.keyFlag("tls-key", "tls.key", "PEM `FILE` with its private key"),
		e.keyFlag("auth-command", "auth.command", "ask `COMMAND` about passwords that are not in the user file"),
		e.keyFlag("auth-token-command", "auth.token_command", "ask `COMMAND` about OAuth tokens"),
		e.keyFlag("run-as", "run_as", "started by root: go on as `USER`"),
		e.keyFlag("socket-mode", "serve.socket_mode", "give unix sockets `MODE`, such as 0660"),
		e.keyFlag("socket-group", "serve.socket_group", "give unix sockets to `GROUP`"),
	}
}

// server is the mail system for a command that serves, after a look at what makes no sense together. From here on nothing is
// written to a connection by way of stderr.
func (e *env) server(c *cli.Context) (*system, error) {
	if c.Bool("inetd") {
		session.DivertStderr()
	}
	switch {
	case c.Args().Present():
		return nil, usagef("%q is not needed here", c.Args().First())
	case c.Bool("inetd") && c.IsSet("listen"):
		return nil, usagef("--inetd has its connection already; leave out --listen")
	}
	sys, err := e.system()
	if err != nil {
		return nil, err
	}
	sys.stays = !c.Bool("inetd")
	sys.trace = e.tracer(c.Bool("trace"), true)
	return sys, nil
}

// serve runs a service: on standard input, on the sockets that a service manager passed, or on its addresses, until
// SIGTERM or SIGINT. Commands under way are finished then. A process for one connection dies of them at once, which loses
// nothing that was acknowledged: following signals would cost it a thread, and a tenth of its time.
func (e *env) serve(c *cli.Context, sys *system, s service) error {
	signal.Ignore(syscall.SIGPIPE) // a reader of our log that goes away must not take the mail with it
	if c.Bool("inetd") {
		return e.serveOne(c.Context, sys, s)
	}
	passed, err := session.Passed(os.Getenv)
	if err != nil {
		return exitWith(exConfig, err)
	}
	h := &house{e: e, sys: sys}
	if len(passed) > 0 {
		h.take(s, passed...)
	} else {
		err = h.listen(s)
	}
	if err == nil {
		err = h.listenForACME(true)
	}
	if err != nil {
		h.close()
		return err
	}
	return h.run(c.Context)
}

// serveOne serves standard input. What a server that stays counts in memory is counted in files here.
func (e *env) serveOne(ctx context.Context, sys *system, s service) error {
	if s.needsTLS && !sys.cfg.SMTP.AllowInsecureAuth {
		return sys.noCertificate(s.role)
	}
	if err := sys.becomeUser(); err != nil {
		return err
	}
	nc, err := session.Stdio(os.Getenv)
	if err != nil {
		return err
	}
	server := e.sessions(sys, s)
	server.Service, server.Places = s.proto, path.Join(sys.cfg.Spool, "state/connections")
	server.Tally = &session.Tally{Path: path.Join(sys.cfg.Spool, "state/refused")}
	server.ServeOne(ctx, nc)
	return nil
}

// Words for the peers of a process that can't serve its connection: trouble of ours is no reason to give up.
const (
	sorrySMTP = "421 4.3.0 Service not available now, try again later"
	sorryPOP3 = "-ERR [SYS/TEMP] Service not available now, try again later"
	sorryIMAP = "* BYE [UNAVAILABLE] Service not available now, try again later"
)

// apologize says a line to the peer of --inetd if there is no session; err is why. Who typed something wrong is no peer.
func (e *env) apologize(c *cli.Context, line string, err error) error {
	var usage *usageError
	if err != nil && c.Bool("inetd") && !c.Bool("tls") && !errors.As(err, &usage) {
		session.Apologize(os.Getenv, line)
	}
	return err
}

// sessions is the server of a service.
func (e *env) sessions(sys *system, s service) *session.Server {
	return &session.Server{Handle: e.handle(s), Refuse: s.refuse, Report: func(err error) { e.note("%v", err) },
		MaxConns: s.maxConns, MaxPerAddress: s.maxPerAddress, Proxies: s.proxies, Log: sys.log.Slog()}
}

func (e *env) handle(s service) func(context.Context, net.Conn) {
	return func(ctx context.Context, nc net.Conn) { e.logSession(nc, s.serveConn(ctx, nc)) }
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
	f, err := os.Open(cfg.Users)
	switch {
	case err == nil:
		f.Close()
	case errors.Is(err, fs.ErrNotExist):
		e.note("there is no user file %s; mailx user add makes it", cfg.Users)
	default:
		return fmt.Errorf("the user file can't be read: %w", err)
	}
	return nil
}

// logSession tells of sessions that broke, and whose they were, but not of peers that just went away.
func (e *env) logSession(nc net.Conn, err error) {
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		peer, _ := session.AddrOf(nc.RemoteAddr())
		e.note("session with %s: %v", session.NameOf(peer), err)
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
