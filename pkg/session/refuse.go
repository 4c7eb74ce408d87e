package session

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Why a connection is refused, for the log.
var (
	errTotal      = errors.New("too many connections")
	errPerAddress = errors.New("too many connections from this address")
	// errDescriptors is about the limit of descriptors of this process: raise it (ulimit -n, LimitNOFILE=).
	errDescriptors = errors.New("too few descriptors are left for files; the limit of open files is low")
)

// The log of refused connections is kept short, lest a flood fills the disk: of one address a line a minute, or where each
// connection has a process of its own, so many an hour.
const (
	refusalPause    = time.Minute
	refusalsPerHour = 10
	maxRefusals     = 1000 // addresses that are remembered
)

// turnAway tells a peer that there is no place for it, and the log.
func (s *Server) turnAway(nc net.Conn, why error) {
	if s.Refuse != nil {
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		s.Refuse(nc)
	}
	s.drop(nc, why)
}

// drop closes a connection that does not become a session. A proxy that connects and leaves without a word, to see whether
// anybody is there, is no news.
func (s *Server) drop(nc net.Conn, why error) {
	defer nc.Close() // when the log knows: tests wait for the end
	if s.Log == nil || errors.Is(why, io.EOF) {
		return
	}
	ip, _ := AddrOf(nc.RemoteAddr())
	if more, isTime := s.mayTell(network(nc.RemoteAddr())); isTime {
		attrs := []any{slog.String("peer", NameOf(ip)), slog.String("why", why.Error())}
		if more > 0 {
			attrs = append(attrs, slog.Int("before", more))
		}
		s.Log.Warn("connection refused", attrs...)
	}
}

// mayTell decides whether a refusal is told, and of how many that were not.
func (s *Server) mayTell(key netip.Prefix) (untold int, isTime bool) {
	if s.Tally == nil {
		return s.refused.tell(key, time.Now())
	}
	ok, err := s.Tally.Add("refused "+s.Service+" "+key.String(), 1, refusalsPerHour)
	return 0, ok || err != nil
}

// refusals remembers when an address was last written about. Its zero value is ready.
type refusals struct {
	mu   sync.Mutex
	last map[netip.Prefix]refusal
}

type refusal struct {
	told   time.Time
	untold int
}

// tell notes a refusal. When there are too many addresses all are forgotten: then some are told of early.
func (r *refusals) tell(key netip.Prefix, now time.Time) (untold int, isTime bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, known := r.last[key]
	if known && now.Sub(last.told) < refusalPause {
		last.untold++
		r.last[key] = last
		return 0, false
	}
	if r.last == nil || len(r.last) >= maxRefusals {
		r.last = make(map[netip.Prefix]refusal)
	}
	r.last[key] = refusal{told: now}
	return last.untold, true
}
