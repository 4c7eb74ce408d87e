package main

import (
	"log/slog"
	"net/netip"
	"path"

	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/smtp"
)

// rcptRates bounds how many recipients a client may name in an hour, by user or else by address; nil without such a limit.
// Peers on this host and in relay networks are bounded only once they have authenticated.
func (s *system) rcptRates() func(*smtp.Peer) error {
	cfg := s.cfg.SMTP
	if cfg.MaxRcptsUser == 0 && cfg.MaxRcptsAddress == 0 {
		return nil
	}
	tally := &session.Tally{Path: path.Join(s.cfg.Spool, "state/recipients"), Now: s.env.now}
	return func(p *smtp.Peer) error {
		switch {
		case p.User != "":
			return s.countRcpt(tally, "user "+p.User, cfg.MaxRcptsUser, p)
		case p.Local || s.isRelayClient(p):
			return nil
		}
		return s.countRcpt(tally, "from "+networkOf(p.Addr), cfg.MaxRcptsAddress, p)
	}
}

// countRcpt takes the recipient when it can't be counted: a disk in trouble is told of in the log, and stops mail elsewhere.
func (s *system) countRcpt(tally *session.Tally, key string, max int, p *smtp.Peer) error {
	if max == 0 {
		return nil
	}
	ok, err := tally.Add(key, 1, max)
	if err != nil {
		s.log.Slog().Error("recipients are not counted", slog.Any("error", err))
		return nil
	}
	if ok {
		return nil
	}
	if told, err := tally.Add("told "+key, 1, 1); told && err == nil { // once an hour
		s.log.Slog().Warn("too many recipients", slog.String("user", p.User), slog.String("peer", session.NameOf(p.Addr)),
			slog.Int("an_hour", max))
	}
	return tooManyRcpts(p)
}

// tooManyRcpts is a 452 for a user, who has named enough, and a 450 for a client that may be another server: that one tries
// the same recipients later.
func tooManyRcpts(p *smtp.Peer) error {
	r := &smtp.Reply{Code: 450, Status: mail.Status{Class: mail.Temporary, Subject: 7, Detail: 1},
		Lines: []string{"Too many recipients in an hour, try again later"}}
	if p.User != "" {
		r.Code = 452
	}
	return r
}

// networkOf is what counts as one address: an IPv4 address or an IPv6 /64.
func networkOf(ip netip.Addr) string {
	if !ip.Is6() {
		return ip.String()
	}
	p, _ := ip.Prefix(64)
	return p.String()
}
