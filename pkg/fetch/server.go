package fetch

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/emersion/go-sasl"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
)

// Security is when TLS starts.
type Security uint8

// The values of Security.
const (
	TLSFirst Security = iota // from the first octet, ports 995 and 993 (RFC 8314 §3)
	STLS                     // after STLS or STARTTLS, ports 110 and 143; a server without it is refused
	Clear                    // never
)

// Server is how to reach a mailbox. A password or token goes in clear only where Security says Clear.
type Server struct {
	Address  string // host:port
	Security Security
	TLS      *tls.Config // nil: the host's name and the system's authorities

	User string
	// Password and Token are asked at each login, so that one that has expired is replaced; with a Token there is no
	// password.
	Password func(ctx context.Context) (string, error)
	Token    func(ctx context.Context) (string, error) // OAuth 2.0: OAUTHBEARER or XOAUTH2
	// Mechanism is the only SASL mechanism that may be used; empty: the strongest that both sides have. "LOGIN" and
	// "USER" stand for the commands of that name too.
	Mechanism string

	// Dial connects; nil: TCP that notices a dead peer within two minutes.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// connect gives a connection, with TLS if that comes first.
func (s *Server) connect(ctx context.Context) (net.Conn, error) {
	dial := s.Dial
	if dial == nil {
		dial = (&net.Dialer{
			Timeout:         time.Minute,
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4},
		}).DialContext
	}
	nc, err := dial(ctx, "tcp", s.Address)
	if err != nil || s.Security != TLSFirst {
		return nc, err
	}
	t := tls.Client(nc, s.config())
	if err := t.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return t, nil
}

func (s *Server) config() *tls.Config {
	cfg := new(tls.Config)
	if s.TLS != nil {
		cfg = s.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(s.Address)
	}
	return cfg
}

// login is what the two protocols have in common.
type login struct {
	offered   []string // SASL mechanisms
	state     *tls.ConnectionState
	command   string // USER or LOGIN, the way without SASL; empty: the server forbids it
	plain     func(user, password string) error
	mechanism func(sasl.Client) error
}

// logIn picks a way to log in. Where the server has no mechanism that we have, there is the old command.
func (s *Server) logIn(ctx context.Context, l login) error {
	cred, err := s.credentials(ctx)
	if err != nil {
		return err
	}
	only := s.Mechanism
	if only == "USER" {
		only = "LOGIN"
	}
	// Secure: where there is no TLS, Security has said that there need be none.
	client, err := auth.NewClient(cred, auth.Choice{Offered: l.offered, Secure: true, Only: only, TLS: l.state})
	mayPlain := cred.Token == "" && l.command != "" && (only == "" || only == "LOGIN")
	if err != nil && mayPlain && cred.Password != "" {
		return l.plain(s.User, cred.Password)
	}
	if err != nil {
		return err
	}
	return l.mechanism(client)
}

func (s *Server) credentials(ctx context.Context) (cred auth.Credentials, err error) {
	host, port, _ := net.SplitHostPort(s.Address)
	cred = auth.Credentials{User: s.User, Host: host}
	cred.Port, _ = strconv.Atoi(port)
	switch {
	case s.Token != nil:
		cred.Token, err = s.Token(ctx)
	case s.Password != nil:
		cred.Password, err = s.Password(ctx)
	default:
		err = mail.Permanentf(7, 0, "Neither a password nor a token for %s", s.User)
	}
	return cred, err
}
