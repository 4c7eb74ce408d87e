package session

import (
	"context"
	"fmt"
	"net"
)

// ServeOne serves the one connection of a process, under the same limits as Serve: what the processes of a service share is
// counted in the file Places. Where that can't be had (a read-only disk, another owner) this is reported, and the
// connection is served all the same.
func (s *Server) ServeOne(ctx context.Context, nc net.Conn) {
	s.protect(nc, func() { s.serveOne(ctx, nc) })
}

func (s *Server) serveOne(ctx context.Context, nc net.Conn) {
	places := s.openPlaces()
	if places != nil {
		defer places.Close()
	}
	if !s.takePlace(places, s.Service, s.MaxConns) {
		s.turnAway(nc, errTotal)
		return
	}
	if s.isProxy(nc.RemoteAddr()) {
		client, err := Unproxied(nc)
		if err != nil {
			s.drop(nc, err)
			return
		}
		nc = client
	}
	if key := network(nc.RemoteAddr()); key.IsValid() && !s.takePlace(places, s.Service+" "+key.String(), s.MaxPerAddress) {
		s.turnAway(nc, errPerAddress)
		return
	}
	s.Handle(ctx, nc)
}

func (s *Server) openPlaces() *Places {
	if s.Places == "" {
		return nil
	}
	places, err := OpenPlaces(s.Places)
	if err != nil {
		s.report(fmt.Errorf("connections are not counted: %w", err))
		return nil
	}
	return places
}

// takePlace is true in doubt.
func (s *Server) takePlace(p *Places, name string, max int) bool {
	if p == nil || max <= 0 {
		return true
	}
	taken, err := p.Take(name, max)
	if err != nil {
		s.report(fmt.Errorf("connections are not counted: %w", err))
		return true
	}
	return taken
}
