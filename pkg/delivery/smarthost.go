package delivery

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"mailx/pkg/smtp"
)

// Server is one server that takes mail for others: a smarthost, or one of a route. It prints without its secrets.
type Server struct {
	Scheme string // smtp, smtps, submission, submissions, lmtp
	Host   string // name, or IP address without brackets; empty with Path
	Port   uint16 //
	Path   string // of a unix socket (lmtp only)
	User   string // empty: no AUTH
	TLS    smtp.TLSPolicy
}

// scheme is what a URL's scheme means.
type scheme struct {
	name     string
	implicit bool
	tls      smtp.TLSPolicy // without credentials
}

func findScheme(name string) (scheme, bool) {
	for _, s := range [...]scheme{
		{"smtp", false, smtp.TLSOpportunistic},
		{"smtps", true, smtp.TLSVerified},
		{"submission", false, smtp.TLSVerified},
		{"submissions", true, smtp.TLSVerified}, // RFC 8314 §7.3
		{"lmtp", false, smtp.TLSOpportunistic},
	} {
		if s.name == name {
			return s, true
		}
	}
	return scheme{}, false
}

// DefaultTLS is the policy where nobody has set one: TLS is verified wherever credentials or the scheme ask for it, but on
// loopback hosts, and opportunistic elsewhere.
func (s Server) DefaultTLS() smtp.TLSPolicy {
	kind, _ := findScheme(s.Scheme)
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

func (s Server) isLoopback() bool {
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

func joinServers(servers []Server) string {
	words := make([]string, len(servers))
	for i, s := range servers {
		words[i] = s.String()
	}
	return strings.Join(words, ", ")
}
