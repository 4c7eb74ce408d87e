package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailx/pkg/session"
)

// house is a process that stays: its listeners, and what works beside them. They begin together and end together.
type house struct {
	e   *env
	sys *system

	passed map[string][]net.Listener // by the service manager, by role
	open   []door
	chores []func(ctx context.Context) error // each works until its context ends; an error ends everything
	acme   *acmeListeners                    // nil: this process gets no certificates
}

// door is a service and where it listens.
type door struct {
	service
	listeners []net.Listener
}

// listen opens the addresses of a service.
func (h *house) listen(s service) error {
	if s.proto == "lmtp" && slices.ContainsFunc(s.listen, isPort25) {
		return usagef("LMTP is not for port 25, where mail servers expect SMTP (RFC 2033 section 5)")
	}
	if s.needsTLS {
		if err := h.checkLoopback(s, s.listen); err != nil {
			return err
		}
	}
	var all []net.Listener
	for _, address := range s.listen {
		l, err := h.sys.listenOn(address)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return err
		}
		all = append(all, l)
	}
	h.take(s, all...)
	return nil
}

// take has a service on listeners that are there.
func (h *house) take(s service, listeners ...net.Listener) {
	h.open = append(h.open, door{s, listeners})
}

// checkLoopback refuses a service that nobody could use, and says what it needs.
func (h *house) checkLoopback(s service, addresses []string) error {
	for _, address := range addresses {
		if !isOwnAddress(address) {
			return h.sys.noCertificate(s.role + " on " + address)
		}
	}
	if !h.sys.cfg.SMTP.AllowInsecureAuth {
		h.e.note("%s has no certificate, so nobody can log in; set tls.cert and tls.key, or smtp.allow_insecure_auth", s.role)
	}
	return nil
}

func isPort25(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "25"
}

// isOwnAddress is true for addresses that only this host reaches.
func isOwnAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return true // a unix socket
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// listenOn opens an address; a unix socket gets its mode and group.
func (s *system) listenOn(address string) (net.Listener, error) {
	l, err := session.Listen(address)
	if err != nil {
		return nil, exitWith(exUnavailable, fmt.Errorf("can't listen: %w", err))
	}
	if strings.HasPrefix(address, "/") {
		if err := s.openSocket(address); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// openSocket says who may connect to a unix socket.
func (s *system) openSocket(path string) error {
	cfg := s.cfg.Serve
	if cfg.SocketGroup != "" {
		gid, err := groupID(cfg.SocketGroup)
		if err != nil {
			return s.badKey("serve.socket_group", cfg.SocketGroup, err.Error())
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	if cfg.SocketMode == "" {
		return nil
	}
	mode, err := strconv.ParseUint(cfg.SocketMode, 8, 16)
	if err != nil {
		return err
	}
	return os.Chmod(path, os.FileMode(mode))
}

func groupID(name string) (int, error) {
	if gid, err := strconv.Atoi(name); err == nil {
		return gid, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// close ends listeners that were opened for nothing.
func (h *house) close() {
	for _, d := range h.open {
		for _, l := range d.listeners {
			l.Close()
		}
	}
	h.acme.close()
}

// run gives up the rights of root, says that everything is there, and works until SIGTERM or SIGINT. All commands, messages
// and challenges under way are finished then. A listener or a chore that fails ends everything, with its error.
func (h *house) run(parent context.Context) error {
	ctx, stop := h.e.untilSignal(parent)
	defer stop()
	err := h.ready()
	if err != nil {
		h.close()
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var all sync.WaitGroup
	launch := func(work func(context.Context) error) {
		all.Go(func() {
			if err := work(ctx); err != nil {
				end(err)
			}
		})
	}
	for server, listeners := range h.servers() {
		launch(func(ctx context.Context) error { return server.Serve(ctx, listeners...) })
	}
	for _, chore := range h.chores {
		launch(chore)
	}
	moreProcessors()
	giveBackStartUp()
	<-ctx.Done()
	h.tell("STOPPING=1")
	all.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// ready is what has to be done between listening and serving.
func (h *house) ready() error {
	for _, d := range h.open {
		if d.needsTLS {
			if err := h.checkLoopback(d.service, addressesOf(d.listeners)); err != nil {
				return err
			}
		}
	}
	if err := h.sys.becomeUser(); err != nil {
		return err
	}
	if len(h.open) > 0 {
		if err := h.e.prepareSpool(); err != nil {
			return err
		}
		if slices.ContainsFunc(h.open, func(d door) bool { return d.proto == "smtp" || d.proto == "lmtp" }) {
			h.sys.knowQueue()
		}
	}
	if h.acme != nil {
		h.chores = append(h.chores, h.acme.getCertificates, h.acme.answerHTTP, h.acme.answerTLS)
	}
	if interval := session.WatchdogInterval(os.Getenv, os.Getpid()); interval > 0 {
		h.chores = append(h.chores, func(ctx context.Context) error { return h.watch(ctx, interval) })
	}
	for _, d := range h.open {
		for _, l := range d.listeners {
			h.e.note("%slistening on %s", d.label(), l.Addr())
		}
	}
	h.acme.announce(h.e)
	if len(h.open) > 0 && h.open[0].inHouse {
		h.e.note("ready")
	}
	h.tell("READY=1")
	return nil
}

func addressesOf(listeners []net.Listener) []string {
	var all []string
	for _, l := range listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

// servers gives a server for each door. Those of one protocol share their limits.
func (h *house) servers() map[*session.Server][]net.Listener {
	all := map[*session.Server][]net.Listener{}
	first := map[string]*session.Server{}
	for _, d := range h.open {
		server := h.e.sessions(h.sys, d.service)
		if server.Among = first[d.proto]; server.Among == nil {
			first[d.proto] = server
		}
		all[server] = d.listeners
	}
	return all
}

// tell informs the service manager. Trouble with that is no reason not to serve.
func (h *house) tell(state string) {
	if err := session.Notify(os.Getenv, state); err != nil {
		h.e.note("%v", err)
	}
}

// watch tells the service manager that this process is alive.
func (h *house) watch(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			h.tell("WATCHDOG=1")
		case <-ctx.Done():
			return nil
		}
	}
}
