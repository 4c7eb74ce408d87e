package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Server is the URL of another server. The zero value is none.
type Server struct {
	Scheme string // smtp, smtps, submission, lmtp; pop3, pop3s, imap, imaps; exec
	User   string // "" for no AUTH
	Host   string // name or IP address without brackets; "" with Path
	Port   uint16
	Path   string // unix socket (lmtp:///run/lmtp.sock), or the command of exec
	Folder string // imap and imaps; "" for INBOX
}

type scheme struct {
	name        string
	port        uint16
	implicitTLS bool
	starttls    bool // required by the scheme
}

var smarthostSchemes = []scheme{
	{name: "smtp", port: 25},
	{name: "smtps", port: 465, implicitTLS: true},
	{name: "submission", port: 587, starttls: true},
	{name: "submissions", port: 465, implicitTLS: true}, // RFC 8314 §3.3
	{name: "lmtp", port: 24},
}

var accountSchemes = []scheme{
	{name: "pop3", port: 110},
	{name: "pop3s", port: 995, implicitTLS: true},
	{name: "imap", port: 143},
	{name: "imaps", port: 993, implicitTLS: true},
}

// schemeExec is that of a command in the place of a server: "exec:/path/to/program and its words".
const schemeExec = "exec"

// parseRoute is ParseSmarthost, and takes a command, too.
func parseRoute(s string) (Server, error) {
	command, ok := strings.CutPrefix(s, schemeExec+":")
	switch {
	case !ok:
		return ParseSmarthost(s)
	case !strings.HasPrefix(command, "/") || strings.ContainsFunc(command, isControl):
		return Server{}, errors.New("a command is exec: and the absolute path of a program, with its words behind it")
	}
	return Server{Scheme: schemeExec, Path: command}, nil
}

// IsCommand reports a command in the place of a server; it is in Path.
func (s Server) IsCommand() bool { return s.Scheme == schemeExec }

// ParseSmarthost reads smtp://, smtps://, submission://, submissions:// or lmtp://[user@]host[:port], or
// lmtp:///path. A host or host:port alone is smtp. IPv6 addresses stand in brackets. A password in the URL is refused:
// command lines and logs show it. No other place reads such URLs.
func ParseSmarthost(s string) (Server, error) { return parseServer(s, smarthostSchemes) }

// IsIMAP reports an account that has folders.
func (s Server) IsIMAP() bool { return s.Scheme == "imap" || s.Scheme == "imaps" }

// ParseAccountURL reads pop3:// or pop3s://[user@]host[:port], or imap:// or imaps://[user@]host[:port][/FOLDER].
func ParseAccountURL(s string) (Server, error) { return parseServer(s, accountSchemes) }

func parseServer(s string, schemes []scheme) (Server, error) {
	switch path, isPath := strings.CutPrefix(s, "lmtp:/"); {
	case isPath && !strings.HasPrefix(path, "/"):
		s = "lmtp:///" + path
	case !strings.Contains(s, "://"):
		s = schemes[0].name + "://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return Server{}, errors.New("not a URL such as " + schemes[0].name + "://user@host:port")
	}
	found := findScheme(u.Scheme, schemes)
	if found == nil {
		return Server{}, errors.New("allowed are " + schemeNames(schemes))
	}
	if _, has := u.User.Password(); has {
		return Server{}, errors.New("a password does not belong in the URL; use password_file or password_command")
	}
	srv := Server{Scheme: u.Scheme, User: u.User.Username(), Host: u.Hostname(), Port: found.port}
	if u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(srv.User+srv.Host+u.Path, isControl) {
		return Server{}, errors.New("allowed is " + u.Scheme + "://user@host:port and nothing behind it")
	}
	return srv.locate(u)
}

// locate fills in the port, or the path when there is no host.
func (s Server) locate(u *url.URL) (Server, error) {
	if s.Host == "" {
		if s.Scheme != "lmtp" || len(u.Path) < 2 || u.Port() != "" {
			return Server{}, errors.New("the URL has no host")
		}
		s.Path, s.Port = u.Path, 0
		return s, nil
	}
	if s.IsIMAP() {
		s.Folder = strings.Trim(u.Path, "/")
	} else if strings.Trim(u.Path, "/") != "" {
		return Server{}, errors.New("a path is allowed only in lmtp:///path")
	}
	if net.ParseIP(s.Host) == nil {
		s.Host = strings.ToLower(strings.TrimSuffix(s.Host, "."))
		if err := checkDomain(s.Host); err != nil {
			return Server{}, err
		}
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Server{}, errors.New("a port is a number from 1 to 65535")
		}
		s.Port = uint16(n)
	}
	return s, nil
}

func findScheme(name string, schemes []scheme) *scheme {
	for i := range schemes {
		if schemes[i].name == name {
			return &schemes[i]
		}
	}
	return nil
}

func schemeNames(schemes []scheme) string {
	names := make([]string, len(schemes))
	for i, s := range schemes {
		names[i] = s.name + "://"
	}
	return strings.Join(names, ", ")
}

// IsZero reports that there is no server.
func (s Server) IsZero() bool { return s == Server{} }

// Network gives network and address as net.Dial takes them.
func (s Server) Network() (network, address string) {
	if s.Path != "" {
		return "unix", s.Path
	}
	return "tcp", net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
}

// ImplicitTLS reports that TLS starts before the first line (RFC 8314 §3).
func (s Server) ImplicitTLS() bool { return s.scheme().implicitTLS }

// RequiresTLS reports that the scheme allows nothing in clear: implicit TLS, or STARTTLS without which we hang up.
func (s Server) RequiresTLS() bool { return s.scheme().implicitTLS || s.scheme().starttls }

func (s Server) scheme() scheme {
	for _, list := range [][]scheme{smarthostSchemes, accountSchemes} {
		if f := findScheme(s.Scheme, list); f != nil {
			return *f
		}
	}
	return scheme{}
}

// String is the URL, always with its port; "" for no server.
func (s Server) String() string {
	switch {
	case s.IsZero():
		return ""
	case s.IsCommand():
		return schemeExec + ":" + s.Path
	}
	u := url.URL{Scheme: s.Scheme, Path: s.Path}
	if s.Path == "" {
		_, u.Host = s.Network()
	}
	if s.Folder != "" {
		u.Path = "/" + s.Folder
	}
	if s.User != "" {
		u.User = url.User(s.User)
	}
	return u.String()
}
