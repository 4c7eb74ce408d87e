// Package config reads the one configuration of mailx: a struct filled from built-in defaults, TOML files, environment
// variables and command-line flags, each layer over the one before, with the origin of every value kept.
//
// Every key of [Keys] has a TOML name ("smtp.max_size"), a variable (MAILX_SMTP_MAX_SIZE) and a flag (--set
// smtp.max_size=50M, and a short form on the verbs that need it). An empty variable counts as unset. Unknown keys and
// bad values are [Errors] that name the key, the value and the line. No file at all is a working configuration, and
// then no TOML is parsed.
package config

import (
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Config is what the whole program is told. Paths are absolute or relative to the working directory; sizes are octets.
type Config struct {
	Hostname  string   // fully qualified name of this host, for greetings and message names
	Spool     string   // directory of everything that is stored; see CheckSpool
	Domains   []string // local domains, lower case
	Users     string   // user file
	Aliases   string   // aliases(5) file; "" for none
	Virtual   string   // virtual alias file; "" for none
	MailRoot  string   // <MailRoot>/<user> is a Maildir
	QueueDir  string   // the outgoing queue, a Maildir
	Smarthost []Server // tried in order; empty: deliver to the MX
	From      string   // default sender, perhaps "Name <address>"; "" for login name at Hostname
	Addresses []string // further addresses of the user, which replies leave out
	Password  Secret   // for Smarthost

	TokenCommand []string // argv; the first line that it prints is an OAuth token for Smarthost, in the place of a password
	Mechanism    string   // of SASL, the only one for Smarthost; "" for the strongest

	Reserve int64  // octets to leave free on the file system of Spool
	Rewrite bool   // what goes out is from From, whoever has sent it
	RunAs   string // user that servers become which root starts; "" for root itself
	Quota   int64  // octets of a mailbox with its folders; 0: no limit

	VirtualDomains []string // users there are called user@domain; lower case
	Delimiter      string   // characters between a user and a detail; "none" for no details

	Auth     Auth
	TLS      TLS
	SMTP     SMTP
	POP3     Mailbox
	IMAP     Mailbox
	Serve    Serve
	ACME     ACME
	Queue    Queue
	Hooks    Hooks
	Milter   Milter
	Accounts map[string]*Account // by name; never nil
	Routes   map[string]*Route   // by domain in lower case, ".domain" for all below it, or "*"; never nil
	Log      Log

	origins map[string]string // by key; absent: default
}

// Auth names the commands that the servers ask about logins, word by word; empty for none. The first word is an absolute
// path.
type Auth struct {
	Command      []string // about passwords that are not in the user file
	TokenCommand []string // about OAuth tokens
}

// TLS has the certificate of our servers and the policy of our clients.
type TLS struct {
	Cert, Key string   // PEM files; both or neither
	More      []string // further pairs, "cert.pem:key.pem"
	CA        string   // PEM file of roots; "" for those of the system
	Policy    string   // "none", "opportunistic", "required" or "verified"
	MTASTS    bool     // follow what domains say of their MX hosts

	Fingerprints          []string // of the smarthost
	ClientCert, ClientKey string   // PEM files; both or neither
}

// Route is how the mail of one domain, or of several, leaves this host. What is not set is as for all other mail.
type Route struct {
	Via          []Server // empty: the MX hosts
	TLS          string   // as TLS.Policy; "" for that
	Fingerprints []string
	ClientCert   string
	ClientKey    string
	Source       []netip.Addr
	Connections  int      // 0: Queue.PerDestination
	Messages     int      // of a connection; 0: Queue.PerConnection
	Discard      []string // empty: Queue.Discard
	TokenCommand []string
	Mechanism    string
	Password     Secret
}

// SMTP has the limits of serve-smtp (RFC 5321 §4.5.3).
type SMTP struct {
	Listen            []string // host:port, or the path of a unix socket
	Role              string   // RoleAny, RoleMX, RoleSubmission or RoleSubmissions
	MaxSize           int64    // octets of a message
	MaxRcpts          int      // recipients of a message
	MaxMessages       int      // messages of a connection without AUTH
	Timeout           time.Duration
	DataTimeout       time.Duration
	MaxHold           time.Duration // FUTURERELEASE; 0: not offered
	MinRate           int           // octets a second of message data; 0 for none
	GreetDelay        time.Duration
	MaxConnections    int
	MaxPerAddress     int // connections from one IP address
	MaxRcptsUser      int // recipients an hour that an authenticated user may name; 0 for any number
	MaxRcptsAddress   int // recipients an hour that any other client address may name; 0 for any number
	MaxBadCommands    int
	ProxyFrom         []netip.Prefix // peers that send a PROXY header
	XClientFrom       []netip.Prefix // peers that may use XCLIENT
	RelayNetworks     []netip.Prefix // clients that may relay without AUTH
	AuthRequired      bool
	AnySender         bool // authenticated users may use senders that are not theirs
	AllowInsecureAuth bool // AUTH without TLS, on loopback only
}

// Mailbox has the limits of serve-pop3 and serve-imap.
type Mailbox struct {
	Listen         []string
	Timeout        time.Duration
	MaxConnections int
	MaxPerAddress  int            // connections from one IP address
	ProxyFrom      []netip.Prefix // peers that send a PROXY header
}

// Queue says when a message is tried again and when it is given up.
type Queue struct {
	Step      time.Duration // between the first try and the second; the one after the n-th is at n² times this
	Lifetime  time.Duration // then it bounces
	WarnAfter time.Duration // one delay notice; 0 for none
	Parallel  int           // messages worked on at once

	PerDestination int          // connections to one destination at once, in the best case
	PerConnection  int          // messages over one connection; 0: any number, but 10 with Exim
	Source         []netip.Addr // of connections to other servers, at most one of each family
	Discard        []string     // keywords of EHLO that are not believed
}

// Account is one account elsewhere: a mailbox for fetch, servers to send by, or both.
type Account struct {
	URL       Server   // pop3, pop3s, imap or imaps; none: nothing is fetched
	Smarthost []Server // take the mail that is sent by this account, tried in order; none: nothing is
	From      []string // addresses whose mail goes by this account, in lower case; * stands for any text
	Rewrite   bool     // what goes out is from the first of From, whoever has sent it

	TLS          string   // towards Smarthost, as TLS.Policy; "" for that
	Fingerprints []string // of Smarthost

	Password     Secret
	TokenCommand []string // argv; the first line that it prints is an OAuth token, instead of a password
	Mechanism    string   // of SASL, the only one that may be used; "" for the strongest

	Delete      bool          // remove messages from the server after they are durable here; else they stay
	DeleteAfter time.Duration // as Delete, but so long after a message was fetched; 0 for never
	MaxSize     int64         // larger messages stay on the server, in octets; 0 for no limit
	MaxAge      time.Duration // older messages stay on the server; 0 for no limit
	Folders     []string      // of an IMAP account; none for INBOX
	AllFolders  bool
	KeepFlags   bool          // \Seen and the like come with the messages
	Poll        time.Duration // how often --idle looks where nobody tells it

	// At most one of these says where mail goes.
	Into    string   // local user or Maildir path; "" for the user who runs fetch
	Deliver string   // local user, by the rules of mailx deliver
	Exec    []string // argv of a command that takes each message on standard input
	LMTP    string   // path of a socket, or host:port
	SMTP    Server

	Recipients []string // for LMTP and SMTP
}

// NewAccount is an account with the defaults of its keys.
func NewAccount() *Account { return &Account{Poll: 5 * time.Minute} }

// Problem says which of the values do not go together; "" for none.
func (a *Account) Problem() string {
	places := 0
	for _, set := range []bool{a.Into != "", a.Deliver != "", len(a.Exec) > 0, a.LMTP != "", !a.SMTP.IsZero()} {
		if set {
			places++
		}
	}
	wire := a.LMTP != "" || !a.SMTP.IsZero()
	switch {
	case a.URL.IsZero() && len(a.Smarthost) == 0:
		return "an account needs a url such as pop3s://user@host, or a smarthost to send by"
	case len(a.From) > 0 && len(a.Smarthost) == 0:
		return "from says which mail goes by the smarthost of an account; it has none"
	case a.Rewrite && a.Address() == "":
		return "rewrite_from needs an address in from that has no *"
	case places > 1:
		return "one of into, deliver, exec, lmtp and smtp is enough"
	case wire && len(a.Recipients) == 0:
		return "lmtp and smtp need recipients"
	case !wire && len(a.Recipients) > 0:
		return "recipients go with lmtp or smtp"
	case !a.URL.IsZero() && !a.URL.IsIMAP() && (a.AllFolders || len(a.Folders) > 0):
		return "POP3 has no folders"
	case len(a.TokenCommand) > 0 && a.Password.IsSet():
		return "a password or a token_command, not both"
	}
	return ""
}

// Log says what is logged and how.
type Log struct {
	Level  string // "debug", "info", "warn" or "error"
	Format string // "text" or "json"
}

// Origin says where the value of a key came from: "default", "file:line", "$VARIABLE" or "--flag".
func (c *Config) Origin(key string) string {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return "default"
}

// IsSet reports that a key has been given by a file, a variable or a flag.
func (c *Config) IsSet(key string) bool { return c.origins[key] != "" }

// resolve fills in the defaults that depend on other values. An empty text counts as unset, but for aliases, where it
// says that there are none.
func (c *Config) resolve() {
	if !c.IsSet("aliases") && !isFile(c.Aliases) {
		c.Aliases = ""
	}
	c.fallback("hostname", &c.Hostname, hostname)
	c.fallback("users", &c.Users, func() string { return filepath.Join(c.Spool, "users") })
	c.fallback("mail_root", &c.MailRoot, func() string { return filepath.Join(c.Spool, "mail") })
	c.fallback("queue_dir", &c.QueueDir, func() string { return filepath.Join(c.Spool, "queue") })
	c.Hostname = strings.ToLower(c.Hostname)
	for i, d := range c.Domains {
		c.Domains[i] = strings.ToLower(d)
	}
	for i, d := range c.VirtualDomains {
		c.VirtualDomains[i] = strings.ToLower(d)
	}
	c.fallback("recipient_delimiter", &c.Delimiter, func() string { return "+" })
	if len(c.Domains) == 0 {
		c.Domains = localDomains(c.Hostname)
	}
	for i, d := range c.ACME.Domains {
		c.ACME.Domains[i] = strings.ToLower(d)
	}
	if c.ACME.Enabled && len(c.ACME.Domains) == 0 {
		c.ACME.Domains = []string{c.Hostname}
	}
}

// expandHome replaces "~/" at the start of a path, which no shell has seen in a file.
func (c *Config) expandHome(home string) {
	paths := []*string{&c.Spool, &c.Users, &c.Aliases, &c.Virtual, &c.MailRoot, &c.QueueDir, &c.TLS.Cert, &c.TLS.Key, &c.TLS.CA,
		&c.TLS.ClientCert, &c.TLS.ClientKey, &c.Password.File}
	for _, a := range c.Accounts {
		paths = append(paths, &a.Password.File, &a.Into)
	}
	for _, r := range c.Routes {
		paths = append(paths, &r.Password.File, &r.ClientCert, &r.ClientKey)
	}
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(*p, "~/"); ok && home != "" {
			*p = filepath.Join(home, rest)
		}
	}
}

func (c *Config) fallback(key string, p *string, make func() string) {
	if *p == "" {
		*p = make()
		delete(c.origins, key)
	}
}
