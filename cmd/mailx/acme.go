package main

import (
	"context"
	"errors"
	"net"
	"path"
	"slices"
	"syscall"

	"mailx/pkg/acme"
	"mailx/pkg/session"
)

// maxChallengers bounds the connections of those who ask for answers to challenges; authorities ask from a few places at once.
const maxChallengers = 50

// acmeCache is where certificates from ACME are kept. Whoever serves TLS reads them there, and reads them again when they
// change, in this process or in others.
func (s *system) acmeCache() string { return path.Join(s.cfg.Spool, "state/acme") }

func (s *system) acmeDomains() []string {
	if !s.cfg.ACME.IsOn() {
		return nil
	}
	return s.cfg.ACME.Domains
}

// acmeListeners are those at which challenges are answered, and who gets the certificates.
type acmeListeners struct {
	keeper     *acme.Keeper
	http, alpn []net.Listener
}

// listenForACME opens what challenges need. Where several processes serve one configuration, the one that has the ports gets
// the certificates; with mayShare, not having them is no error.
func (h *house) listenForACME(mayShare bool) error {
	if !h.sys.cfg.ACME.IsOn() {
		return nil
	}
	a := &acmeListeners{http: h.passed["acme"], alpn: h.passed["acme_tls"]}
	err := h.openACME(a)
	if mayShare && (errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES)) {
		a.close()
		h.e.note("acme: %v; certificates are taken from %s, where another process has to put them", err, h.sys.acmeCache())
		return nil
	}
	if err != nil {
		a.close()
		return err
	}
	roots, err := h.sys.clientTLS()
	if err != nil {
		a.close()
		return err
	}
	cfg := h.sys.cfg.ACME
	a.keeper = &acme.Keeper{FS: h.sys.fs, Dir: h.sys.acmeCache(), Domains: cfg.Domains, Email: cfg.Email, Directory: cfg.Directory,
		TLS: roots, HTTP: len(a.http) > 0, TLSALPN: len(a.alpn) > 0, Report: func(err error) { h.e.note("acme: %v", err) }}
	h.acme = a
	return nil
}

// openACME opens the addresses of challenges for which no sockets were passed.
func (h *house) openACME(a *acmeListeners) error {
	if len(a.http) > 0 || len(a.alpn) > 0 {
		return nil
	}
	for _, address := range h.sys.cfg.ACME.Listen {
		l, err := h.sys.listenOn(address)
		if err != nil {
			return err
		}
		a.http = append(a.http, l)
	}
	for _, address := range h.sys.cfg.ACME.ListenTLS {
		l, err := h.sys.listenOn(address)
		if err != nil {
			return err
		}
		a.alpn = append(a.alpn, l)
	}
	return nil
}

func (a *acmeListeners) close() {
	if a == nil {
		return
	}
	for _, l := range slices.Concat(a.http, a.alpn) {
		l.Close()
	}
}

// announce says where challenges are answered, which tests need to know.
func (a *acmeListeners) announce(e *env) {
	if a == nil {
		return
	}
	for _, l := range slices.Concat(a.http, a.alpn) {
		e.note("acme listening on %s", l.Addr())
	}
}

// The three chores of getting certificates.

func (a *acmeListeners) getCertificates(ctx context.Context) error {
	a.keeper.Run(ctx)
	return nil
}

func (a *acmeListeners) answerHTTP(ctx context.Context) error {
	return (&session.Server{Handle: a.keeper.ServeHTTP, MaxConns: maxChallengers}).Serve(ctx, a.http...)
}

func (a *acmeListeners) answerTLS(ctx context.Context) error {
	return (&session.Server{Handle: a.keeper.ServeTLS, MaxConns: maxChallengers}).Serve(ctx, a.alpn...)
}
