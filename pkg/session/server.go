package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
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
	Grace         time.Duration // for commands under way at shutdown; 0 is 30 s

	mu     sync.Mutex
	total  int
	byAddr map[netip.Prefix]int
}

// Serve accepts on every listener until ctx ends, then lets commands under way finish, closes and returns nil. A listener
// that fails ends everything with its error.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
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

// finish waits for the sessions, for the grace period at most.
func (s *Server) finish(serving *sync.WaitGroup) {
	grace := s.Grace
	if grace == 0 {
		grace = 30 * time.Second
	}
	done := make(chan struct{})
	go func() { serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace):
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

// admit starts a session if there is a place for the peer.
func (s *Server) admit(ctx context.Context, nc net.Conn, serving *sync.WaitGroup) {
	key := network(nc.RemoteAddr())
	if !s.enter(key) {
		if s.Refuse != nil {
			nc.SetWriteDeadline(time.Now().Add(time.Second))
			s.Refuse(nc)
		}
		nc.Close()
		return
	}
	serving.Go(func() {
		defer s.leave(key)
		s.Protect(ctx, nc)
	})
}

// Protect runs Handle; a panic ends this one session and is reported.
func (s *Server) Protect(ctx context.Context, nc net.Conn) {
	defer func() {
		if p := recover(); p != nil {
			nc.Close()
			s.report(fmt.Errorf("panic in a session: %v\n%s", p, debug.Stack()))
		}
	}()
	s.Handle(ctx, nc)
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

func (s *Server) enter(key netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr == nil {
		s.byAddr = make(map[netip.Prefix]int)
	}
	isFull := s.MaxConns > 0 && s.total >= s.MaxConns
	if isFull || s.MaxPerAddress > 0 && key.IsValid() && s.byAddr[key] >= s.MaxPerAddress {
		return false
	}
	s.total++
	s.byAddr[key]++
	return true
}

func (s *Server) leave(key netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.byAddr[key]--; s.byAddr[key] == 0 {
		delete(s.byAddr, key)
	}
}
