package smtp

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// xclientOffer is the keyword of EHLO, with the attributes that are known.
const xclientOffer = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

// XClient is what a front server says about its client (Postfix, XCLIENT_README). Of NAME, PORT, PROTO, DESTADDR and
// DESTPORT only the form is looked at: nothing here depends on them.
type XClient struct {
	Has   XClientSet // attributes that were given; a value of [UNAVAILABLE] or [TEMPUNAVAIL] is a zero one
	Addr  netip.Addr
	Helo  string
	Login string // in its canonical form
}

// XClientSet is a set of attributes.
type XClientSet uint8

// Attributes that matter.
const (
	XClientAddr XClientSet = 1 << iota
	XClientHelo
	XClientLogin
)

// ParseXClient reads 1*( SP name "=" xtext ).
func ParseXClient(a *wire.Args) (XClient, error) {
	var x XClient
	if a.SkipBlanks(); a.Empty() {
		return x, mail.Permanentf(5, 4, "Syntax: XCLIENT attribute=value...")
	}
	return x, parseParams(a, x.set)
}

func (x *XClient) set(name, value string) error {
	text, ok := unxtext(value)
	if !ok || value == "" {
		return errXClientValue(name)
	}
	if word := strings.ToUpper(text); word == "[UNAVAILABLE]" || word == "[TEMPUNAVAIL]" {
		text = ""
	}
	var err error
	switch name {
	case "ADDR":
		x.Has |= XClientAddr
		x.Addr, err = xclientAddr(text)
	case "HELO":
		x.Has |= XClientHelo
		x.Helo, err = xclientHelo(text)
	case "LOGIN":
		x.Has |= XClientLogin
		x.Login, err = xclientLogin(text)
	case "NAME":
		_, err = xclientHelo(text)
	case "PROTO":
		if p := strings.ToUpper(text); p != "SMTP" && p != "ESMTP" {
			err = strconv.ErrSyntax
		}
	case "DESTADDR":
		_, err = xclientAddr(text)
	case "PORT", "DESTPORT":
		if text != "" {
			_, err = strconv.ParseUint(text, 10, 16)
		}
	default:
		return mail.Permanentf(5, 4, "Attribute not recognized")
	}
	if err != nil {
		return errXClientValue(name)
	}
	return nil
}

func errXClientValue(name string) error { return mail.Permanentf(5, 4, "Bad value of %s", name) }

// xclientAddr reads an IPv4 address, or an IPv6 one behind "IPV6:".
func xclientAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	if len(text) > 5 && strings.EqualFold(text[:5], "IPV6:") {
		text = text[5:]
	}
	ip, err := netip.ParseAddr(text)
	if err == nil && ip.Zone() != "" {
		err = strconv.ErrSyntax
	}
	return ip.Unmap(), err
}

func xclientHelo(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	return parseHello(wire.NewArgs(nil, text))
}

func xclientLogin(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	return auth.CanonicalName(text)
}

// mayXClient reports that the host at addr may speak for others.
func (srv *Server) mayXClient(addr netip.Addr) bool {
	return slices.ContainsFunc(srv.XClientFrom, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// xclient is "XCLIENT" 1*( SP attribute "=" value ), from named networks only. Then all begins anew, for the client that the
// peer speaks for: an address that is not known has no rights, and one on loopback has those of this host only if the peer
// is on it too. Without LOGIN nobody is logged in.
func (s *conversation) xclient(ctx context.Context, a *wire.Args) error {
	switch {
	case !s.isFront:
		return reply(550, mail.Status{Class: 5, Subject: 7}, "XCLIENT is not for you")
	case s.state&(stateNew|stateIdle) == 0:
		return reply(503, mail.Status{Class: 5, Subject: 5, Detail: 1}, "Not within a mail transaction")
	}
	x, err := ParseXClient(a)
	if err != nil {
		return err
	}
	s.abort()
	if x.Has&XClientAddr != 0 {
		s.peer.Local = s.isLocalFront() && x.Addr.IsLoopback()
		s.peer.Addr = x.Addr
	}
	s.peer.Helo, s.peer.ESMTP, s.peer.User = x.Helo, false, x.Login
	s.state, s.messages, s.patience = stateNew, 0, patience{}
	s.guard = s.newGuard()
	if err := s.connect(ctx); err != nil {
		return &session.ClosingError{Err: err}
	}
	return s.say(s.greeting())
}

// isLocalFront looks at the connection: what XCLIENT said before changes nothing about it.
func (s *conversation) isLocalFront() bool {
	ip, isIP := session.AddrOf(s.c.RemoteAddr())
	return isIP && ip.IsLoopback()
}
