package delivery

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// The addresses of one host are tried in the manner of RFC 8305: the families take turns, beginning with that of the first,
// and an address gets a start of fallbackDelay before the next one is tried beside it. Whichever connects first is used. So a
// host whose IPv6 leads nowhere costs a moment, not a timeout, and one that answers at once sees one connection.

// fallbackDelay is what RFC 8305 §5 recommends.
const fallbackDelay = 250 * time.Millisecond

// inTurn sorts addresses so that the families take turns.
func inTurn(addrs []netip.Addr) []netip.Addr {
	if len(addrs) < 3 {
		return addrs
	}
	var same, other []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	turns := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(same), len(other)) {
		turns = append(turns, same[min(i, len(same)):min(i+1, len(same))]...)
		turns = append(turns, other[min(i, len(other)):min(i+1, len(other))]...)
	}
	return turns
}

// addresses tries a server at its addresses, or its socket, until a session gets as far as MAIL.
func (t *tries) addresses(ctx context.Context, s Server, addrs []netip.Addr) *smtp.Client {
	if s.Path != "" {
		return t.address(ctx, s, "unix", s.Path)
	}
	var left []string
	for _, addr := range addrs[:min(len(addrs), t.left)] {
		if address := net.JoinHostPort(addr.String(), s.port()); !t.isDead(s, address) {
			left = append(left, address)
		}
	}
	t.left -= min(len(addrs), t.left)
	whole := t.by
	for len(left) > 0 && ctx.Err() == nil && !t.isLate() {
		var address string
		if address, left = t.race(ctx, s, left); address == "" {
			break
		}
		t.by = half(ctx, whole, len(left) > 0)
		if c := t.address(ctx, s, "tcp", address); c != nil {
			return c
		}
		t.by = whole
	}
	return nil
}

// isDead reports a host that could not be reached a moment ago.
func (t *tries) isDead(s Server, address string) bool {
	err := t.relay.pool.deadHost(address, t.relay.now())
	if err != nil {
		t.failed(mail.Temporaryf(4, 1, "Host %s could not be reached a moment ago: %w", s.name(), err))
	}
	return err != nil
}

// dialed is what became of one connection.
type dialed struct {
	address string
	nc      net.Conn
	err     error
}

// race connects to the first of the addresses that lets us, and leaves the connection in ready; "" if none does. The rest are
// those of which nothing bad is known. Connections that come too late are closed.
func (t *tries) race(ctx context.Context, s Server, addresses []string) (winner string, rest []string) {
	if len(addresses) == 1 {
		return addresses[0], nil
	}
	within, cancel := t.inTime(ctx)
	defer cancel()
	ended := make(chan dialed)
	started, running := 0, 0
	next := time.NewTimer(0)
	defer next.Stop()
	defer func() { go closeLate(ended, running) }()
	rest = slices.Clone(addresses)
	for {
		select {
		case <-next.C:
			switch {
			case within.Err() != nil && running == 0:
				return "", rest
			case within.Err() == nil && started < len(addresses):
				go t.dialTo(within, addresses[started], ended)
				started, running = started+1, running+1
				next.Reset(fallbackDelay)
			}
		case d := <-ended:
			running--
			rest = slices.DeleteFunc(rest, func(a string) bool { return a == d.address })
			if d.err == nil {
				t.ready = d.nc
				return d.address, rest
			}
			t.note(ctx, d.address, silence(within, s, errNoConnection(s, d.err)))
			if len(rest) == 0 || ctx.Err() != nil || within.Err() != nil && running == 0 {
				return "", rest
			}
			next.Reset(0)
		}
	}
}

func (t *tries) dialTo(ctx context.Context, address string, ended chan<- dialed) {
	nc, err := t.relay.dial(ctx, t.route.Source, "tcp", address)
	ended <- dialed{address, nc, err}
}

func closeLate(ended <-chan dialed, running int) {
	for range running {
		if d := <-ended; d.nc != nil {
			d.nc.Close()
		}
	}
}

// address connects, if that is still to do, and gets the session as far as MAIL.
func (t *tries) address(ctx context.Context, s Server, network, address string) *smtp.Client {
	if network == "unix" && t.isDead(s, address) {
		return nil
	}
	c, err := t.session(ctx, s, network, address)
	if err != nil {
		t.note(ctx, address, &hostError{s.name(), err})
		return nil
	}
	return c
}

// note takes down that an address is of no use, for this message, and for others if nothing was heard from there.
func (t *tries) note(ctx context.Context, address string, err error) {
	r := t.relay
	if isSilent(err) && ctx.Err() == nil && r.deadFor() > 0 && !isOurs(err) {
		r.pool.buryHost(address, err, r.now(), r.deadFor())
	}
	t.failed(err)
}

// isOurs reports that it was this host that could not connect, for want of descriptors, ports or memory.
func isOurs(err error) bool {
	for _, ours := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, ours) {
			return true
		}
	}
	return false
}

func errNoConnection(s Server, err error) error {
	return mail.Temporaryf(4, 1, "Can't connect to %s: %w", s.name(), err)
}

// connection is the one that is there already, or a new one.
func (t *tries) connection(ctx context.Context, network, address string) (net.Conn, error) {
	if nc := t.ready; nc != nil {
		t.ready = nil
		return nc, nil
	}
	return t.relay.dial(ctx, t.route.Source, network, address)
}

func (r *Relay) dial(ctx context.Context, source []netip.Addr, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Timeouts.Connect, connectTimeout))
	defer cancel()
	if r.Dial != nil {
		return r.Dial(ctx, network, address)
	}
	d := net.Dialer{LocalAddr: LocalAddr(source, network, address)}
	return d.DialContext(ctx, network, address)
}

// LocalAddr picks, of those that a Route has as Source, the one of the same family as an address "ip:port"; nil if there is none.
func LocalAddr(source []netip.Addr, network, address string) net.Addr {
	to, err := netip.ParseAddrPort(address)
	if network != "tcp" || err != nil {
		return nil
	}
	for _, from := range source {
		if from.Is4() == to.Addr().Is4() {
			return net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
	}
	return nil
}
