package config

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The roles of an SMTP server: what it wants of its clients, and what it does for them.
const (
	RoleAny         = "any"         // mail for this host from everybody, for elsewhere from those who authenticate or are in RelayNetworks
	RoleMX          = "mx"          // the same without AUTH
	RoleSubmission  = "submission"  // TLS by STARTTLS and AUTH before anything (RFC 6409)
	RoleSubmissions = "submissions" // AUTH, and TLS from the first octet (RFC 8314 §3.3)
)

// Serve has what serve listens on: lists as smtp.listen is one, empty for what is not served.
type Serve struct {
	MX, Submission, Submissions, SMTP, LMTP []string
	POP3, POP3S, IMAP, IMAPS                []string

	Queue       bool   // run the queue too
	SocketMode  string // of unix sockets, octal; "" leaves it to the umask
	SocketGroup string // of unix sockets, a name or a number; "" leaves it
}

func (s *Serve) keys() []Key {
	list := func(name, doc string, p *[]string) Key {
		return newKey("serve."+name, "", "addresses where serve "+doc).list(p, checkListen)
	}
	return []Key{
		list("mx", "takes mail for this host", &s.MX),
		list("submission", "takes mail of users, with STARTTLS", &s.Submission),
		list("submissions", "takes mail of users, in TLS", &s.Submissions),
		list("smtp", "speaks SMTP in the role any", &s.SMTP),
		list("lmtp", "speaks LMTP", &s.LMTP),
		list("pop3", "speaks POP3", &s.POP3),
		list("pop3s", "speaks POP3 in TLS", &s.POP3S),
		list("imap", "speaks IMAP", &s.IMAP),
		list("imaps", "speaks IMAP in TLS", &s.IMAPS),
		newKey("serve.queue", "true", "serve runs the queue too").yesNo(&s.Queue),
		newKey("serve.socket_mode", "", "mode of unix sockets, such as 0660").text(&s.SocketMode, checkMode),
		newKey("serve.socket_group", "", "group of unix sockets").text(&s.SocketGroup, nil),
	}
}

// ACME says whose certificates come from an ACME server (RFC 8555), and how.
type ACME struct {
	Enabled   bool
	Domains   []string // lower case; empty: the hostname, if Enabled
	Email     string   // where the authority may write to; "" for none
	Directory string   // URL of the authority
	Listen    []string // for http-01 (RFC 8555 §8.3); the authority connects to port 80
	ListenTLS []string // for tls-alpn-01 (RFC 8737); the authority connects to port 443
}

// IsOn reports that there are certificates to get. Turning it on means agreeing to the terms of the authority.
func (a *ACME) IsOn() bool { return a.Enabled || len(a.Domains) > 0 }

func (a *ACME) keys() []Key {
	return []Key{
		newKey("acme.enabled", "false", "get a certificate for the hostname, agreeing to the terms of the authority").yesNo(&a.Enabled),
		newKey("acme.domains", "", "names to get certificates for, in place of the hostname").list(&a.Domains, checkDomain),
		newKey("acme.email", "", "address that the authority may write to").text(&a.Email, checkAddress),
		newKey("acme.directory", "https://acme-v02.api.letsencrypt.org/directory", "URL of the authority").text(&a.Directory, checkDirectory),
		newKey("acme.listen", ":80", "addresses that answer http-01 challenges").list(&a.Listen, checkListen),
		newKey("acme.listen_tls", "", "addresses that answer tls-alpn-01 challenges").list(&a.ListenTLS, checkListen),
	}
}

// checkMode takes what chmod takes in octal.
func checkMode(s string) error {
	if n, err := strconv.ParseUint(s, 8, 16); err != nil || n > 0o777 {
		return errors.New("a mode is three octal digits, such as 0660")
	}
	return nil
}

// checkDirectory takes https only, but on this host, where rehearsals run.
func checkDirectory(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost"):
		return nil
	}
	return errors.New("an ACME directory is an https URL")
}

// checkPair takes two file names with a colon between them.
func checkPair(s string) error {
	cert, key, ok := strings.Cut(s, ":")
	if !ok || cert == "" || key == "" || strings.Contains(key, ":") {
		return errors.New("a certificate and its key are two files with a colon between them: chain.pem:key.pem")
	}
	return nil
}

// Credential gives the path of a file with a secret. As for passwords, a name without "/" is looked for in
// $CREDENTIALS_DIRECTORY first, where a service manager puts what only this service may read.
func Credential(name string, getenv func(string) string) string {
	dir := getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || name == "" || strings.Contains(name, "/") {
		return name
	}
	if path := filepath.Join(dir, name); isThere(path) {
		return path
	}
	return name
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
