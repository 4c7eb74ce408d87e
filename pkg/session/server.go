package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Server accepts connections and bounds them. The zero limits are no limits.
type Server struct {
	// Handle serves one connection and closes it.
	Handle func(ctx context.Context, nc net.Conn)
	// Refuse tells a peer that there is no place for it, in one short write; it does not close.
	Refuse func(nc net.Conn)
	// Report is told of what went wrong outside of any session: a failing accept, a panic (with its stack). May be nil.
	Report        func(err error)
	MaxConns      int
	MaxPerAddress int           // of one IPv4 address or one IPv6 /64
	Grace         time.Duration // for commands under way at shutdown; 0 is 30 s. Then their connections are cut
	// Among is another server whose limits hold for the connections of both together; nil: this one has its own.
	Among *Server

	// Proxies are the networks whose connections begin with a PROXY header, which says who the client is. They have to.
	Proxies []netip.Prefix
	Log     *slog.Logger // of connections refused; nil: none

	// ServeOne counts the connections of a service with those of other processes, in the file Places; "" counts nothing.
	Service, Places string
	Tally           *Tally // keeps the log of refusals short where each connection has a process; nil: it is not

	mu      sync.Mutex
	total   int
	byAddr  map[netip.Prefix]int
	open    map[net.Conn]bool // those of this server
	maxFD   int               // descriptors from here on are for files; 0: not known
	refused refusals
}

// Serve accepts on every listener until ctx ends, then lets commands under way finish, closes and returns nil. A listener
// that fails ends everything with its error.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.maxFD = maxDescriptor(descriptorLimit())
	var accepting, serving sync.WaitGroup
	for _, l := range listeners {
		accepting.Go(func() {
			if err := s.accept(ctx, l, &serving); err != nil {
				stop(err)
			}
		})
	}
	<-ctx.Done()
	for _, l := range listeners {
		l.Close()
	}
	accepting.Wait()
	s.finish(&serving)
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// cutTime is what sessions have to clean up after their connections were cut.
const cutTime = time.Second

// finish waits for the sessions, for the grace period at most. Those that are still in the midst of something then are waiting for
// their peers: their reads end, so that they say good-bye and leave nothing behind, and if that does not help, so do their
// connections.
func (s *Server) finish(serving *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { serving.Wait(); close(done) }()
	for _, step := range []struct {
		before func()
		wait   time.Duration
	}{
		{func() {}, cmp.Or(s.Grace, 30*time.Second)},
		{func() { s.each(func(nc net.Conn) { nc.SetReadDeadline(time.Unix(1, 0)) }) }, cutTime},
		{func() { s.each(func(nc net.Conn) { nc.Close() }) }, cutTime},
	} {
		step.before()
		select {
		case <-done:
			return
		case <-time.After(step.wait):
		}
	}
}

// each does something to all connections that are open.
func (s *Server) each(do func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.open {
		do(nc)
	}
}

// follow knows of a connection until the result is called.
func (s *Server) follow(nc net.Conn) (forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[net.Conn]bool)
	}
	s.open[nc] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, nc)
	}
}

func (s *Server) accept(ctx context.Context, l net.Listener, serving *sync.WaitGroup) error {
	for pause := time.Millisecond; ; {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of descriptors or memory: the cause passes, so does the trouble
			s.report(fmt.Errorf("accept: %w", err))
			if !sleep(ctx, pause) {
				return nil
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		s.admit(ctx, nc, serving)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// admit starts a session if there is a place for the peer. One that comes through a proxy has an address only when the
// header is there; until then it counts in the total.
func (s *Server) admit(ctx context.Context, nc net.Conn, serving *sync.WaitGroup) {
	if s.maxFD > 0 && descriptorOf(nc) >= s.maxFD {
		s.turnAway(nc, errDescriptors)
		return
	}
	if !s.enter() {
		s.turnAway(nc, errTotal)
		return
	}
	if s.isProxy(nc.RemoteAddr()) {
		serving.Go(func() {
			defer s.leave()
			defer s.follow(nc)()
			s.protect(nc, func() { s.serveProxied(ctx, nc) })
		})
		return
	}
	key := network(nc.RemoteAddr())
	if !s.enterFrom(key) {
		s.leave()
		s.turnAway(nc, errPerAddress)
		return
	}
	serving.Go(func() {
		defer s.leave()
		defer s.leaveFrom(key)
		defer s.follow(nc)()
		s.Protect(ctx, nc)
	})
}

// serveProxied serves the client behind a proxy, if there is a place for it.
func (s *Server) serveProxied(ctx context.Context, nc net.Conn) {
	client, err := Unproxied(nc)
	if err != nil {
		s.drop(nc, err)
		return
	}
	key := network(client.RemoteAddr())
	if !s.enterFrom(key) {
		s.turnAway(client, errPerAddress)
		return
	}
	defer s.leaveFrom(key)
	s.Handle(ctx, client)
}

func (s *Server) isProxy(a net.Addr) bool {
	ip, ok := AddrOf(a)
	return ok && slices.ContainsFunc(s.Proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Protect runs Handle; a panic ends this one session and is reported.
func (s *Server) Protect(ctx context.Context, nc net.Conn) {
	s.protect(nc, func() { s.Handle(ctx, nc) })
}

func (s *Server) protect(nc net.Conn, serve func()) {
	defer func() {
		if p := recover(); p != nil {
			nc.Close()
			s.report(fmt.Errorf("panic in a session: %v\n%s", p, debug.Stack()))
		}
	}()
	serve()
}

func (s *Server) report(err error) {
	if s.Report != nil {
		s.Report(err)
	}
}

// network is what is counted as one address. Peers without an IP address (a unix socket) count together.
func network(a net.Addr) netip.Prefix {
	ip, ok := AddrOf(a)
	if !ok {
		return netip.Prefix{}
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// AddrOf gives the IP address of a TCP peer, an IPv4 one unmapped.
func AddrOf(a net.Addr) (netip.Addr, bool) {
	t, ok := a.(*net.TCPAddr)
	if !ok || t == nil {
		return netip.Addr{}, false
	}
	return t.AddrPort().Addr().Unmap().WithZone(""), true
}

// NameOf is an address for the log; "local" for a pipe or a unix socket.
func NameOf(addr netip.Addr) string {
	if !addr.IsValid() {
		return "local"
	}
	return addr.String()
}

func (s *Server) enter() bool {
	if s.Among != nil {
		return s.Among.enter()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.MaxConns > 0 && s.total >= s.MaxConns {
		return false
	}
	s.total++
	return true
}

func (s *Server) leave() {
	if s.Among != nil {
		s.Among.leave()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
}

func (s *Server) enterFrom(key netip.Prefix) bool {
	if s.Among != nil {
		return s.Among.enterFrom(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr == nil {
		s.byAddr = make(map[netip.Prefix]int)
	}
	if s.MaxPerAddress > 0 && key.IsValid() && s.byAddr[key] >= s.MaxPerAddress {
		return false
	}
	s.byAddr[key]++
	return true
}

func (s *Server) leaveFrom(key netip.Prefix) {
	if s.Among != nil {
		s.Among.leaveFrom(key)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr[key]--; s.byAddr[key] == 0 {
		delete(s.byAddr, key)
	}
}
