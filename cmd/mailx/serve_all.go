package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/session"
)

func newServe(e *env) *cli.Command {
	flags := []cli.Flag{}
	for _, r := range roles() {
		flags = append(flags, e.keyFlag(r.name, "serve."+r.name, r.what+" on `ADDRESS` (may be repeated)"))
	}
	return &cli.Command{
		Name:  "serve",
		Usage: "serve what the configuration names, and run the queue",
		Description: "All listeners of this host and the queue runner in one process. With none of its keys and flags set, SMTP,\n" +
			"POP3 and IMAP are served on loopback, on high ports.",
		Flags: append(append(flags,
			e.keyFlag("queue", "serve.queue", "`YES` or no: run the queue too"),
			e.keyFlag("domain", "domains", "mail for `DOMAIN` is delivered here (may be repeated)"),
		), e.processFlags()...),
		Action: func(c *cli.Context) error { return e.serveAll(c) },
	}
}

// roleRow is something that serve can do. Its name is that of the key below "serve.", of the flag, and of the socket that a
// service manager passes for it.
type roleRow struct {
	name, what string
	addresses  func(*config.Serve) []string
	build      func(*system) (service, error)
}

func roles() []roleRow {
	smtp := func(role string) func(*system) (service, error) {
		return func(s *system) (service, error) { return s.smtpService(role, false) }
	}
	pop3 := func(tls bool) func(*system) (service, error) {
		return func(s *system) (service, error) { return s.pop3Service(tls) }
	}
	imap := func(tls bool) func(*system) (service, error) {
		return func(s *system) (service, error) { return s.imapService(tls) }
	}
	return []roleRow{
		{"mx", "take mail for this host", func(c *config.Serve) []string { return c.MX }, smtp(config.RoleMX)},
		{"submission", "take mail of users, with STARTTLS,", func(c *config.Serve) []string { return c.Submission }, smtp(config.RoleSubmission)},
		{"submissions", "take mail of users, in TLS,", func(c *config.Serve) []string { return c.Submissions }, smtp(config.RoleSubmissions)},
		{"smtp", "speak SMTP for everybody", func(c *config.Serve) []string { return c.SMTP }, smtp(config.RoleAny)},
		{"lmtp", "speak LMTP", func(c *config.Serve) []string { return c.LMTP }, (*system).lmtpService},
		{"pop3", "speak POP3", func(c *config.Serve) []string { return c.POP3 }, pop3(false)},
		{"pop3s", "speak POP3 in TLS", func(c *config.Serve) []string { return c.POP3S }, pop3(true)},
		{"imap", "speak IMAP", func(c *config.Serve) []string { return c.IMAP }, imap(false)},
		{"imaps", "speak IMAP in TLS", func(c *config.Serve) []string { return c.IMAPS }, imap(true)},
	}
}

// label tells in a note which of several listeners is meant.
func (s *service) label() string {
	if s.inHouse {
		return s.role + " "
	}
	return ""
}

func (e *env) serveAll(c *cli.Context) error {
	signal.Ignore(syscall.SIGPIPE)
	if !e.stderrIsTerminal() {
		signal.Ignore(syscall.SIGHUP) // "read your files again", which happens by itself
	}
	sys, err := e.server(c)
	if err != nil {
		return err
	}
	passed, err := e.passedRoles()
	if err != nil {
		return err
	}
	h := &house{e: e, sys: sys, passed: passed}
	if err := h.openAll(); err != nil {
		h.close()
		return err
	}
	if sys.cfg.Serve.Queue {
		if err := sys.readSecrets(); err != nil {
			h.close()
			return err
		}
		h.chores = append(h.chores, func(ctx context.Context) error {
			_, err := sys.runQueue(ctx)
			return err
		})
	}
	return h.run(c.Context)
}

// passedRoles are the sockets of the service manager, by role.
func (e *env) passedRoles() (map[string][]net.Listener, error) {
	all, err := session.PassedByName(os.Getenv)
	if err != nil {
		return nil, exitWith(exConfig, err)
	}
	known := []string{"acme", "acme_tls"}
	for _, r := range roles() {
		known = append(known, r.name)
	}
	passed := map[string][]net.Listener{}
	for _, l := range all {
		if !slices.Contains(known, l.Name) {
			return nil, exitWith(exConfig, fmt.Errorf("a socket with the name %q was passed; FileDescriptorName= is one of %s",
				l.Name, strings.Join(known, ", ")))
		}
		passed[l.Name] = append(passed[l.Name], l.Listener)
	}
	return passed, nil
}

// openAll opens what is to be served. A role that has sockets of the service manager uses these and not its addresses.
func (h *house) openAll() error {
	cfg := &h.sys.cfg.Serve
	h.sys.serveDefaults(len(h.passed) > 0)
	for _, r := range roles() {
		addresses, sockets := r.addresses(cfg), h.passed[r.name]
		if len(addresses) == 0 && len(sockets) == 0 {
			continue
		}
		if err := h.sys.checkInTLS(r.name); err != nil {
			return err
		}
		s, err := r.build(h.sys)
		if err != nil {
			return err
		}
		s.role, s.inHouse = r.name, true
		if len(sockets) > 0 {
			h.take(s, sockets...)
			continue
		}
		s.listen = addresses
		if err := h.listen(s); err != nil {
			return err
		}
	}
	return h.listenForACME(false)
}

// checkInTLS refuses roles that are in TLS from the first octet where there is no certificate.
func (s *system) checkInTLS(role string) error {
	if role != "submissions" && role != "pop3s" && role != "imaps" {
		return nil
	}
	cert, err := s.serverTLS()
	if err == nil && cert == nil {
		err = s.noCertificate(role)
	}
	return err
}

// serveDefaults serves on loopback where nothing has been said, on the addresses that the servers have by themselves.
func (s *system) serveDefaults(isPassed bool) {
	cfg := &s.cfg.Serve
	for _, r := range roles() {
		if len(r.addresses(cfg)) > 0 || isPassed {
			return
		}
	}
	cfg.SMTP, cfg.POP3, cfg.IMAP = s.cfg.SMTP.Listen, s.cfg.POP3.Listen, s.cfg.IMAP.Listen
	s.env.note("no listener is configured (serve.mx, serve.submission, serve.imaps and others): serving SMTP, POP3 and IMAP on %s",
		strings.Join(append(append(append([]string{}, cfg.SMTP...), cfg.POP3...), cfg.IMAP...), ", "))
}
