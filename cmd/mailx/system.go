package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path"
	"sync"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/dns"
	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/maillog"
	"mailx/pkg/mtasts"
	"mailx/pkg/queue"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

// system is the mail system that the configuration describes. Nothing of it is made before it is asked for.
type system struct {
	cfg *config.Config
	env *env
	fs  vfs.FS
	log *maillog.Logger

	// users are those of the user file, the same for all of the process: the file is read once, and so many passwords are
	// hashed at a time whatever protocol they come by.
	users  func() *auth.Users
	quotas quotas

	mu    sync.Mutex
	boxes map[string]*maildir.Dir

	opened openQueue

	routes      *routes                      // to other hosts, once they are asked for
	stays       bool                         // this process serves more than one connection
	isShown     bool                         // the routes are only told of: no certificate is read
	password    *config.Secret               // of the command line; nil: none
	trace       func(sent bool, line string) // of all dialogs; nil: none
	clientTrace func(sent bool, line string) // of all dialogs with other servers; nil: none
	certs       *certificates                // nil: not asked for yet
}

// maxOpenBoxes bounds the Maildirs that a server remembers.
const maxOpenBoxes = 1000

// system gives the mail system after looking at the spool.
func (e *env) system() (*system, error) {
	cfg, err := e.store()
	if err != nil {
		return nil, err
	}
	return e.newSystem(cfg), nil
}

// newSystem is system without a look at anything.
func (e *env) newSystem(cfg *config.Config) *system {
	s := &system{cfg: cfg, env: e, fs: vfs.Grouped(mailFS("")), log: e.logger(cfg, e.stderr), boxes: map[string]*maildir.Dir{}}
	s.users = sync.OnceValue(s.openUsers)
	s.quotas = newQuotas(cfg, s.users)
	return s
}

// logger writes to w, which is stderr or leads there.
func (e *env) logger(cfg *config.Config, w io.Writer) *maillog.Logger {
	level := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}[cfg.Log.Level]
	return maillog.New(w, maillog.Options{JSON: cfg.Log.Format == "json", Level: level, Priority: maillog.IsJournal(os.Getenv("JOURNAL_STREAM"), e.stderr)})
}

// logTroubleOnly is for what cron runs: a line about each message that went well would be a mail about it. A log.level that
// somebody has set stands.
func (s *system) logTroubleOnly() {
	if !s.cfg.IsSet("log.level") {
		s.cfg.Log.Level = "warn"
		s.log = s.env.logger(s.cfg, s.env.stderr)
	}
}

// rememberLogins is how long a right password is taken again without hashing it.
const rememberLogins = 5 * time.Minute

// openUsers gives the users of the file. A process that stays remembers who gave the right password lately, so that clients
// that ask every minute don't cost a hash each time.
func (s *system) openUsers() *auth.Users {
	users := auth.NewUsers(s.fs, s.cfg.Users)
	if s.stays {
		users.Remember = rememberLogins
	}
	users.Checker = s.checker(s.cfg.Auth.Command)
	users.Tokens = s.checker(s.cfg.Auth.TokenCommand)
	return users
}

// checker asks a command of the configuration; nil if there is none.
func (s *system) checker(command []string) *auth.Checker {
	if len(command) == 0 {
		return nil
	}
	c := auth.NewChecker(command)
	c.Report = func(err error) { s.log.Slog().Error("login", slog.Any("error", err)) }
	return c
}

// router decides where addresses go.
func (s *system) router(users delivery.Users) (*delivery.Router, error) {
	r := s.names(users)
	routes, err := s.allRoutes()
	if err != nil {
		return nil, err
	}
	r.Routes, r.Default = routes.byDomain, routes.other
	return r, nil
}

// names is the router without the routes: it knows who lives here.
func (s *system) names(users delivery.Users) *delivery.Router {
	r := &delivery.Router{Domains: s.cfg.Domains, Root: s.cfg.MailRoot, Users: users, VirtualDomains: s.cfg.VirtualDomains,
		Delimiter: s.cfg.Delimiter, Addresses: interfaceAddresses}
	if s.cfg.Aliases != "" {
		r.Aliases = delivery.NewAliases(s.cfg.Aliases)
		r.Aliases.Owner, _ = s.spoolOwner()
	}
	if s.cfg.Virtual != "" {
		r.Virtual = delivery.NewVirtual(s.cfg.Virtual)
	}
	return r
}

// interfaceAddresses are those of this host now, by which it may be written to.
func interfaceAddresses() (all []netip.Addr) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}

// On a host without a user file, the one who runs a command that sends has a mailbox all the same: the one of that name in
// the mail root if it is there, else ~/Maildir. So mail to oneself works with no configuration at all. Servers do not do
// that: who started them says nothing about whose mail they take.

// localUsers are the users of the user file, or where there is none, the one who runs this.
func (s *system) localUsers() delivery.Users { return userOrSelf{s.users(), s} }

type userOrSelf struct {
	*auth.Users
	sys *system
}

// Exists is that of the user file, if there is one.
func (u userOrSelf) Exists(name string) (bool, error) {
	found, err := u.Users.Exists(name)
	if errors.Is(err, fs.ErrNotExist) && u.sys.homeMailbox(name) != "" {
		return true, nil
	}
	return found, err
}

// homeMailbox is ~/Maildir for the login name, in any letter case, of who runs this; "" for all others.
func (s *system) homeMailbox(name string) string {
	if login, err := auth.CanonicalName(loginName()); err != nil || login != name {
		return ""
	}
	return homeMaildir()
}

// localMailbox is mailbox for what a Router with localUsers names.
func (s *system) localMailbox(name string) (*maildir.Dir, error) {
	home := s.homeMailbox(path.Base(name))
	if home == "" || path.Dir(name) != path.Clean(s.cfg.MailRoot) || exists(name) || exists(s.cfg.Users) {
		return s.routedMailbox(name)
	}
	return s.mailbox(home)
}

// exists is true when in doubt.
func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// mailbox opens the Maildir at a path, and makes it if it is not there. It is remembered.
func (s *system) mailbox(name string) (*maildir.Dir, error) {
	s.mu.Lock()
	d := s.boxes[name]
	s.mu.Unlock()
	if d != nil {
		if _, err := s.fs.Lstat(name + "/new"); err == nil { // a user may be removed and added again while we run
			return d, nil
		}
	}
	d, err := maildir.Create(s.fs, name)
	if err != nil {
		return nil, err
	}
	d.Host, d.Reserve, d.Quota = s.cfg.Hostname, uint64(s.cfg.Reserve), s.quotas.ofMaildir(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.boxes) >= maxOpenBoxes {
		clear(s.boxes)
	}
	s.boxes[name] = d
	return d, nil
}

// mailboxOf is the path of a user's Maildir.
func (s *system) mailboxOf(_ context.Context, u auth.User) (string, error) {
	return path.Join(s.cfg.MailRoot, u.Name), nil
}

// openQueue opens the queue once; a failure is tried again the next time.
type openQueue struct {
	mu sync.Mutex
	q  *queue.Queue
}

func (o *openQueue) get(s *system) (q *queue.Queue, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.q == nil {
		o.q, err = s.queue()
	}
	return o.q, err
}

// knowQueue opens the queue if there is one, so that a server knows where it lives before its disk can go away. Trouble is told
// when a message comes.
func (s *system) knowQueue() {
	if _, err := s.fs.Lstat(s.cfg.QueueDir + "/new"); err == nil {
		s.opened.get(s)
	}
}

// enqueuer starts messages in the queue, which it opens when the first one comes: a server for local mail never makes it.
func (s *system) enqueuer() func(*mail.Envelope) (delivery.Spooled, error) {
	return func(env *mail.Envelope) (delivery.Spooled, error) {
		q, err := s.opened.get(s)
		if err != nil {
			return nil, err
		}
		entry, err := q.Enqueue(env)
		if err != nil {
			return nil, err // not a nil entry in an interface that is not nil
		}
		return entry, nil
	}
}

// queue opens the queue, and makes it if it is not there.
func (s *system) queue() (*queue.Queue, error) {
	return queue.Create(s.fs, s.cfg.QueueDir, queue.Options{
		Schedule: queue.Schedule{Step: s.cfg.Queue.Step, Lifetime: s.cfg.Queue.Lifetime, Notice: noticeAfter(s.cfg.Queue.WarnAfter)},
		Hostname: s.cfg.Hostname,
		Reserve:  uint64(s.cfg.Reserve),
		Log:      s.log,
	})
}

// noticeAfter turns the "0 is never" of the configuration into the queue's.
func noticeAfter(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// intake is what a server hands messages to.
func (s *system) intake() (*delivery.Intake, error) {
	router, err := s.router(s.users())
	if err != nil {
		return nil, err
	}
	return &delivery.Intake{
		Router:    router,
		Open:      s.routedMailbox,
		Room:      s.room,
		Space:     s.space(),
		Log:       s.log,
		Hostname:  s.cfg.Hostname,
		Enqueue:   s.enqueuer(),
		AnySender: s.cfg.SMTP.AnySender,
		MayRelay:  func(p *smtp.Peer) bool { return p.User != "" || s.isRelayClient(p) },
	}, nil
}

func (s *system) isRelayClient(p *smtp.Peer) bool {
	for _, network := range s.cfg.SMTP.RelayNetworks {
		if p.Addr.IsValid() && network.Contains(p.Addr) {
			return true
		}
	}
	return false
}

// transport carries queued mail. Close its Relay at the end.
func (s *system) transport(q *queue.Queue) (*delivery.Transport, error) {
	router, err := s.router(s.localUsers())
	if err != nil {
		return nil, err
	}
	relay, err := s.relay(router)
	if err != nil {
		return nil, err
	}
	if err := s.trust(relay); err != nil {
		return nil, err
	}
	uid, gid := s.spoolOwner()
	relay.Commands = &delivery.Commands{Owner: uid, Group: gid, Delimiter: s.cfg.Delimiter}
	return &delivery.Transport{
		Router:   router,
		Local:    &delivery.Local{Router: router, Open: s.localMailbox, Filter: s.localFilter()},
		Commands: relay.Commands,
		Files:    &delivery.Files{FS: s.fs},
		Relay:    relay,
		Room:     s.room,
		Submit:   submitTo(q),
	}, nil
}

// relay knows the way to other hosts, and what explain tells of it.
func (s *system) relay(router *delivery.Router) (*delivery.Relay, error) {
	resolver, err := resolver()
	if err != nil {
		return nil, err
	}
	return &delivery.Relay{Via: router.Via, Account: s.accountRoutes(router), PerSender: len(s.cfg.Accounts) > 0,
		Hello: s.cfg.Hostname, Self: router.IsSelf, Resolver: resolver, Policies: s.policies(resolver),
		Port: os.Getenv("MAILX_MX_PORT"), PerDestination: s.cfg.Queue.PerDestination,
		PerConnection: s.cfg.Queue.PerConnection}, nil
}

// policies asks what other domains say of their TLS, unless tls.mta_sts is off. MAILX_MTA_STS_PORT is for tests.
func (s *system) policies(resolver dns.Resolver) *mtasts.Keeper {
	from, ok := resolver.(mtasts.Resolver)
	if !s.cfg.TLS.MTASTS || !ok {
		return nil
	}
	return &mtasts.Keeper{FS: s.fs, Dir: path.Join(s.cfg.Spool, "state/mta-sts"), Resolver: from, Port: os.Getenv("MAILX_MTA_STS_PORT")}
}

// trust has a relay trust the roots of tls.ca.
func (s *system) trust(relay *delivery.Relay) (err error) {
	relay.TLSConfig, err = s.clientTLS()
	if relay.Policies != nil {
		relay.Policies.TLS = relay.TLSConfig
	}
	return err
}

// resolver is the system's, or the zone file in MAILX_ZONE, with which tests and demonstrations need no network.
func resolver() (dns.Resolver, error) {
	name := os.Getenv("MAILX_ZONE")
	if name == "" {
		return dns.System(), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return dns.ParseZone(f)
}

// clientTLS has the roots of tls.ca; nil means those of the system.
func (s *system) clientTLS() (*tls.Config, error) {
	if s.cfg.TLS.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.cfg.TLS.CA)
	if err != nil {
		return nil, exitWith(exConfig, fmt.Errorf("tls.ca: %w", err))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, exitWith(exConfig, fmt.Errorf("tls.ca: no certificate in %s", s.cfg.TLS.CA))
	}
	return &tls.Config{RootCAs: roots}, nil
}
