package delivery

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// Server is one server that takes mail for others: a smarthost, or one of a route. It prints without its secrets.
type Server struct {
	Scheme      string           // smtp, smtps, submission, submissions, lmtp
	Host        string           // name, or IP address without brackets; empty with Path
	Port        uint16           //
	Path        string           // of a unix socket (lmtp only)
	User        string           // empty: no AUTH
	Credentials auth.Credentials // used if User is not empty; its User may be left empty
	TLS         smtp.TLSPolicy
}

// scheme is what a URL's scheme means.
type scheme struct {
	name     string
	port     uint16
	implicit bool
	tls      smtp.TLSPolicy // without credentials
}

func findScheme(name string) (scheme, bool) {
	for _, s := range [...]scheme{
		{"smtp", 25, false, smtp.TLSOpportunistic},
		{"smtps", 465, true, smtp.TLSVerified},
		{"submission", 587, false, smtp.TLSVerified},
		{"submissions", 465, true, smtp.TLSVerified}, // RFC 8314 §7.3
		{"lmtp", 24, false, smtp.TLSOpportunistic},
	} {
		if s.name == name {
			return s, true
		}
	}
	return scheme{}, false
}

// ParseServer reads smtp://, smtps://, submission://, submissions:// or lmtp://[user@]host[:port], lmtp:///path, or a
// host with or without port alone, which is smtp. IPv6 addresses stand in brackets. A password in the URL is refused:
// command lines and logs show it.
//
// TLS is verified wherever credentials or the scheme ask for it, but on loopback hosts, and opportunistic elsewhere.
func ParseServer(s string) (Server, error) {
	if path, ok := strings.CutPrefix(s, "lmtp:/"); ok && !strings.HasPrefix(path, "/") {
		s = "lmtp:///" + path
	}
	if !strings.Contains(s, "://") {
		s = "smtp://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return Server{}, errors.New("not a URL such as smtp://user@host:port")
	}
	kind, ok := findScheme(u.Scheme)
	if !ok {
		return Server{}, errors.New("a server's URL begins with smtp, smtps, submission, submissions or lmtp")
	}
	if _, has := u.User.Password(); has {
		return Server{}, errors.New("a password does not belong into a URL")
	}
	srv := Server{Scheme: u.Scheme, Host: u.Hostname(), Port: kind.port, User: u.User.Username(), TLS: kind.tls}
	if err := srv.locate(u); err != nil {
		return Server{}, err
	}
	srv.TLS = srv.policy(kind)
	return srv, nil
}

func (s *Server) locate(u *url.URL) error {
	switch {
	case u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(s.User+s.Host+u.Path, isControl):
		return errors.New("a server's URL has nothing behind host and port")
	case s.Host == "" && s.Scheme == "lmtp" && len(u.Path) > 1 && u.Port() == "":
		s.Path, s.Port = u.Path, 0
		return nil
	case s.Host == "":
		return errors.New("a server's URL needs a host")
	case strings.Trim(u.Path, "/") != "":
		return errors.New("only lmtp:///path has a path")
	}
	if _, err := netip.ParseAddr(s.Host); err != nil {
		if s.Host, err = mail.ParseDomain(s.Host); err != nil || s.Host[0] == '[' {
			return errors.New("not a host name")
		}
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return errors.New("a port is a number from 1 to 65535")
		}
		s.Port = uint16(n)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func (s *Server) policy(kind scheme) smtp.TLSPolicy {
	switch {
	case s.Path != "":
		return smtp.TLSNone
	case s.isLoopback() && !kind.implicit && kind.tls != smtp.TLSVerified:
		return smtp.TLSOpportunistic
	case s.User != "":
		return smtp.TLSVerified
	}
	return kind.tls
}

func (s *Server) isLoopback() bool {
	ip, err := netip.ParseAddr(s.Host)
	return s.Path != "" || s.Host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// String is the URL with its port.
func (s Server) String() string {
	u := url.URL{Scheme: s.Scheme, Path: s.Path}
	if s.Path == "" {
		u.Host = net.JoinHostPort(s.Host, s.port())
	}
	if s.User != "" {
		u.User = url.User(s.User)
	}
	return u.String()
}

// GoString is String: no secret gets out through %#v.
func (s Server) GoString() string { return s.String() }

func (s Server) port() string { return strconv.Itoa(int(s.Port)) }

func (s Server) isImplicitTLS() bool {
	kind, _ := findScheme(s.Scheme)
	return kind.implicit
}

func (s Server) credentials() auth.Credentials {
	cred := s.Credentials
	if cred.User == "" {
		cred.User = s.User
	}
	return cred
}

func joinServers(servers []Server) string {
	words := make([]string, len(servers))
	for i, s := range servers {
		words[i] = s.String()
	}
	return strings.Join(words, ", ")
}
