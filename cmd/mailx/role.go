package main

import (
	"cmp"

	"mailx/pkg/config"
	"mailx/pkg/smtp"
)

// smtpRole is the server of a role:
//
//	               AUTH       MAIL                          to other hosts
//	any            offered    from everybody (*)            users, relay networks
//	mx             -          from everybody                relay networks
//	submission     required   in TLS and after AUTH         users
//	submissions    required   after AUTH; all is in TLS     users
//
// (*) unless smtp.auth_required. AUTH needs TLS, in each role, but on loopback where smtp.allow_insecure_auth is set; there
// submission does without TLS too.
func (s *system) smtpRole(role string, implicitTLS bool) (*smtp.Server, error) {
	cfg := s.cfg.SMTP
	if role == config.RoleMX && cfg.AuthRequired {
		return nil, s.badKey("smtp.auth_required", "true", "the role mx offers no AUTH; leave one of them out")
	}
	intake, err := s.intake()
	if err != nil {
		return nil, err
	}
	implicitTLS = implicitTLS || role == config.RoleSubmissions
	cert, err := s.serverTLS()
	if err != nil {
		return nil, err
	}
	if implicitTLS && cert == nil {
		return nil, s.noCertificate(role)
	}
	mended := func(b smtp.Backend) smtp.Backend { return submissions{b, s, intake.MayRelay} }
	connect, err := s.filtered(intake, mended)
	if err != nil {
		return nil, err
	}
	srv := &smtp.Server{
		Hostname:     s.cfg.Hostname,
		Backend:      mended(intake),
		Connect:      connect,
		TLS:          cert,
		Implicit:     implicitTLS,
		Throttle:     s.throttle(),
		AuthRequired: cfg.AuthRequired || isSubmission(role),
		TLSRequired:  isSubmission(role),
		InsecureAuth: cfg.AllowInsecureAuth,
		MaxSize:      cfg.MaxSize,
		MaxRcpts:     cfg.MaxRcpts,
		MaxMessages:  cfg.MaxMessages,
		Mistakes:     cfg.MaxBadCommands,
		Timeout:      cfg.Timeout,
		DataTimeout:  cfg.DataTimeout,
		MaxHold:      cfg.MaxHold,
		MinRate:      cmp.Or(cfg.MinRate, -1),
		GreetDelay:   cfg.GreetDelay,
		XClientFrom:  cfg.XClientFrom,
		MayName:      s.rcptRates(),
		Expand:       intake.Expand,
		Log:          s.log.Slog(),
	}
	if role != config.RoleMX {
		srv.Auth = s.users()
	}
	return srv, nil
}

func isSubmission(role string) bool {
	return role == config.RoleSubmission || role == config.RoleSubmissions
}

// noCertificate is what a server without a certificate is told that can't do without.
func (s *system) noCertificate(role string) error {
	if role == "" || role == config.RoleAny || role == config.RoleMX {
		return usagef("--tls needs --tls-cert and --tls-key")
	}
	return s.badKey("tls.cert", "", role+" needs a certificate: set tls.cert and tls.key (--tls-cert, --tls-key), or acme.enabled")
}

// badKey is a wrong configuration that shows only when it is used.
func (s *system) badKey(key, value, text string) error {
	return &config.Error{Key: key, Value: value, Origin: s.cfg.Origin(key), Text: text}
}

// smtpService is SMTP in a role, ready to be served.
func (s *system) smtpService(role string, implicitTLS bool) (service, error) {
	srv, err := s.smtpRole(role, implicitTLS)
	if err != nil {
		return service{}, err
	}
	srv.Trace = s.trace
	cfg := s.cfg.SMTP
	return service{proto: "smtp", role: role, needsTLS: isSubmission(role) && srv.TLS == nil,
		serveConn: srv.ServeConn, refuse: srv.Refuse, maxConns: cfg.MaxConnections, maxPerAddress: cfg.MaxPerAddress,
		proxies: cfg.ProxyFrom}, nil
}
