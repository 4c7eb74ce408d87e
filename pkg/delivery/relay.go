package delivery

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailx/pkg/dns"
	"mailx/pkg/mail"
	"mailx/pkg/mtasts"
	"mailx/pkg/smtp"
)

// What a Relay does unless its fields say otherwise.
const (
	DefaultPerDestination = 20
	DefaultIdleLimit      = 5 * time.Second
	DefaultDeadFor        = 5 * time.Minute
)

// Bounds of one attempt.
const (
	maxAddresses    = 10 // tried for one destination
	maxDestinations = 20 // of one message that are worked on at once, apart from slow ones: see places.go
	connectTimeout  = 30 * time.Second
	defaultMXPort   = 25
	maxTransactions = 1000 // of one message at one destination
)

// Relay carries mail to other hosts by SMTP or LMTP. Set the fields before the first call; Close ends its
// connections. It is safe for concurrent use.
//
// All recipients of a message at one destination (a list of servers, or the MX hosts of a domain) share a connection
// and, up to smtp.MaxTransaction, a transaction. Connections are used again for the next message.
//
// Hosts are tried in their order as long as connecting, TLS, the greeting or EHLO fail; of the addresses of one host, see
// fallback.go. A host that can't be reached is left out for a while, whatever domain it is for; when none is left the
// destination counts as dead, and its mail is put off (4.4.1) without a try. A refusal is permanent only if all hosts refused
// for good.
//
// A destination gets few connections at first, more as it takes mail, and half as many after trouble.
//
// A message that asks for REQUIRETLS goes only to hosts that offer it, over TLS with a certificate that is valid for
// their name (5.7.30). That the name is right is known of configured servers, and of MX hosts by the policy of a domain
// that has one. Else it comes from the DNS, which we can't verify: who can forge its answers can name a host of his own. The
// rest of RFC 8689 §4.2.1 waits for DNSSEC. "TLS-Required: No" (RFC 8689 §5) puts delivery before the policy of the
// recipient's domain, but not before ours, which are MXPolicy and Route.TLS.
type Relay struct {
	Via            func(domain string) Route // nil: always the MX hosts, with MXPolicy; see Router.Via
	Account        Account                   // goes before Via; nil: there are no accounts
	PerSender      bool                      // Account may give several routes for a domain
	Resolver       dns.Resolver              // that of the system if nil
	Policies       *mtasts.Keeper            // of domains, for their MX hosts; nil: none is asked for
	Self           func(host string) bool    // names of this host, at which a list of MX hosts ends; may be nil
	Hello          string                    // our name in EHLO
	Port           string                    // of MX hosts; 25 if empty
	TLSConfig      *tls.Config               // roots; may be nil
	MXPolicy       smtp.TLSPolicy            // without Via
	Commands       *Commands                 // run what a Route names; without them that waits, 4.3.5
	Timeouts       smtp.Timeouts
	PerDestination int           // connections at once in the best case; DefaultPerDestination if 0
	PerConnection  int           // messages of a connection at most; 0: any number, but see perEximConnection
	IdleLimit      time.Duration // after which a connection is closed; DefaultIdleLimit if 0; negative: none is kept
	DeadFor        time.Duration // DefaultDeadFor if 0; negative: every message tries
	Now            func() time.Time
	Trace          func(sent bool, line string) // of every connection, see wire.TraceFunc; called concurrently
	// Dial connects to an address; a net.Dialer's DialContext, from the source that the Route names, if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	pool     pool
	openings openings
	lent     lent
}

// Account gives the route of a message to a domain that it has because of who sends it; nil: as Via says. It is called
// concurrently. An error is that of the recipients.
type Account func(env *mail.Envelope, domain string) (*Route, error)

// Close ends the idle connections. The Relay works on without keeping any.
func (r *Relay) Close() { r.pool.close() }

// Deliver sends a message, in local form, and gives one result for each recipient, in their order. Destinations do
// not wait for each other.
func (r *Relay) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	return r.deliver(ctx, env, msg, size, nil)
}

// deliver calls tell, which may be nil, for each destination that is done while others are not, and for recipients of one that
// are done before others, with their places and results. The calls may come at once.
func (r *Relay) deliver(
	ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64, tell func([]int, []mail.Result),
) []mail.Result {
	results := make([]mail.Result, len(env.Rcpts))
	parts := r.split(env)
	var done atomic.Int32
	work := func(p *part) {
		p.text, p.tell = msg, tell
		part := r.deliverPart(ctx, p, msg, size)
		for n, result := range part {
			results[p.index[n]] = result
		}
		if int(done.Add(1)) < len(parts) && tell != nil {
			tell(p.index, part)
		}
	}
	if len(parts) == 1 {
		work(parts[0])
		return results
	}
	var all sync.WaitGroup
	places := newPlaces(&r.lent)
	for _, p := range parts {
		give := places.take()
		all.Go(func() {
			defer give()
			work(p)
		})
	}
	all.Wait()
	return results
}

// part is what goes to one destination; index tells which recipients of the whole they are.
type part struct {
	key    string
	domain string // for MX hosts
	route  Route
	strict bool // the message asks for REQUIRETLS
	text   io.ReaderAt
	isLax  bool // connected without the policy of the domain, as the sender wants it
	env    mail.Envelope
	index  []int
	err    error // nothing can be tried

	tell   func([]int, []mail.Result) // of those who are done before the others; may be nil
	places map[mail.Address]int       // in env
}

// say tells of recipients who are done.
func (p *part) say(results []mail.Result) {
	if p.tell == nil || len(results) == 0 {
		return
	}
	if p.places == nil {
		p.places = make(map[mail.Address]int, len(p.env.Rcpts))
		for i, rcpt := range p.env.Rcpts {
			p.places[rcpt.Address] = i
		}
	}
	index := make([]int, len(results))
	for n, result := range results {
		index[n] = p.index[p.places[result.Address]]
	}
	p.tell(index, results)
}

func (r *Relay) split(env *mail.Envelope) []*part {
	var parts []*part
	byKey := map[string]*part{}
	var p *part
	for i, rcpt := range env.Rcpts {
		if i == 0 || rcpt.Domain != env.Rcpts[i-1].Domain {
			p = r.partOf(env, rcpt.Domain)
		}
		if known := byKey[p.key]; known != nil {
			p = known
		} else {
			p.env = *env
			p.env.Rcpts = nil
			byKey[p.key] = p
			parts = append(parts, p)
		}
		p.env.Rcpts = append(p.env.Rcpts, rcpt)
		p.index = append(p.index, i)
	}
	return parts
}

func (r *Relay) partOf(env *mail.Envelope, domain string) *part {
	p := &part{strict: env.RequireTLS}
	if p.route, p.err = r.route(env, domain); p.err != nil {
		p.key = keyNone
		return p
	}
	if p.key = p.route.key(); p.key == "" {
		p.domain = normal(domain)
		p.key = keyMX + p.domain
	}
	if p.strict {
		p.key = keyStrict + p.key
	}
	return p
}

func (r *Relay) route(env *mail.Envelope, domain string) (Route, error) {
	if r.Account != nil {
		if route, err := r.Account(env, domain); route != nil || err != nil {
			return *cmp.Or(route, &Route{}), err
		}
	}
	if r.Via == nil {
		return Route{TLS: r.MXPolicy}, nil
	}
	return r.Via(domain), nil
}

func (r *Relay) mxPort() uint16 {
	port, err := strconv.ParseUint(r.Port, 10, 16)
	if err != nil || port == 0 {
		return defaultMXPort
	}
	return uint16(port)
}

// limit is how many connections a destination may have at once.
func (r *Relay) limit(p *part) int {
	return cmp.Or(p.route.Connections, r.PerDestination, DefaultPerDestination)
}

// Beginnings of the keys of destinations.
const (
	keyMX     = "mx:"
	keyStrict = "requiretls:"
	keyNone   = "none:"
)

// IsCrowded reports that a message would have to wait for others at one of its destinations, of which nothing is heard. Then it keeps no
// place at those where it would not.
func (r *Relay) IsCrowded(env *mail.Envelope) bool {
	var reserved []*part
	for _, p := range r.split(env) {
		switch r.roomAt(p) {
		case mail.Reserved:
			reserved = append(reserved, p)
		case mail.Crowded:
			for _, p := range reserved {
				r.pool.unreserve(p.key)
			}
			return true
		}
	}
	return false
}

func (r *Relay) roomAt(p *part) mail.Room {
	if p.err != nil {
		return mail.Free // it fails at once
	}
	return r.pool.room(p.key, r.limit(p), r.openings.isMany(), r.now())
}

// deliverPart sends to one destination, in as many transactions as the server needs.
func (r *Relay) deliverPart(ctx context.Context, p *part, msg io.ReaderAt, size int64) []mail.Result {
	if m := p.route.Masquerade; m != nil && p.err == nil {
		msg, size, p.err = m.apply(&p.env, msg, size)
	}
	if p.err != nil {
		return allFailed(p.env.Rcpts, p.err)
	}
	d, err := r.pool.enter(ctx, p.key, r.limit(p))
	if err != nil {
		return allFailed(p.env.Rcpts, err)
	}
	isWell := false
	defer func() { r.pool.leave(d, isWell, r.now()) }()
	if len(p.route.Command) > 0 {
		results := r.exec(ctx, p, msg, size)
		isWell = !slices.ContainsFunc(results, isTemporary)
		return results
	}
	c, isReused, err := r.client(ctx, d, p)
	if err != nil {
		return allFailed(p.env.Rcpts, err)
	}
	send := func(env *mail.Envelope) []mail.Result {
		return c.SendTelling(ctx, env, io.NewSectionReader(msg, 0, size), size, p.say)
	}
	results := send(&p.env)
	if isReused && c.Stale() && ctx.Err() == nil {
		c.Close()
		if c, err = r.connect(ctx, d, p); err != nil {
			return allFailed(p.env.Rcpts, err)
		}
		results = send(&p.env)
	}
	for range maxTransactions {
		if !c.Usable() || !p.sendRest(results, send) {
			break
		}
	}
	isWell = c.Usable()
	r.keep(d, p, c)
	return results
}

// keep has a connection that may carry more messages wait for them.
func (r *Relay) keep(d *destination, p *part, c *smtp.Client) {
	if p.isLax || r.isFull(p, c) {
		c.Quit()
		return
	}
	r.pool.put(d, c, cmp.Or(r.IdleLimit, DefaultIdleLimit))
}

// QUIRK: Exim takes more messages than so many over a connection, but leaves them to its next queue run, half an hour later on
// most hosts (smtp_accept_queue_per_connection).
const perEximConnection = 10

// isFull reports that a connection is to carry no more messages.
func (r *Relay) isFull(p *part, c *smtp.Client) bool {
	most := cmp.Or(p.route.Messages, r.PerConnection)
	if most == 0 && strings.Contains(c.Greeting(), " Exim ") {
		most = perEximConnection
	}
	return most > 0 && c.Messages() >= most
}

// sendRest tries those again that had no room in the transaction that just ended (RFC 5321 §4.5.3.1.10), and reports
// whether that made sense.
func (p *part) sendRest(results []mail.Result, send func(*mail.Envelope) []mail.Result) bool {
	rest := p.env
	rest.Rcpts = nil
	var index []int
	var done []mail.Result
	for i, result := range results {
		if isTooMany(result.Err) {
			rest.Rcpts, index = append(rest.Rcpts, p.env.Rcpts[i]), append(index, i)
		} else {
			done = append(done, result)
		}
	}
	if len(index) == 0 || len(index) == len(results) {
		return false
	}
	p.say(done)
	isProgress := false
	for n, result := range send(&rest) {
		results[index[n]] = result
		isProgress = isProgress || !isTooMany(result.Err)
	}
	return isProgress
}

func isTooMany(err error) bool {
	return err != nil && mail.StatusOf(err) == mail.Status{Class: mail.Temporary, Subject: 5, Detail: 3}
}

func isTemporary(r mail.Result) bool { return r.Err != nil && !mail.StatusOf(r.Err).IsPermanent() }

func allFailed(rcpts []mail.Recipient, err error) []mail.Result {
	results := make([]mail.Result, len(rcpts))
	result := resultOf(err)
	for i, rcpt := range rcpts {
		results[i] = result
		results[i].Recipient = rcpt
	}
	return results
}

// resultOf is that of everybody when nothing could be sent.
func resultOf(err error) mail.Result {
	result := mail.Result{Err: err}
	var from *hostError
	if errors.As(err, &from) {
		result.Err = from.err
	}
	var reply *smtp.Reply
	if errors.As(err, &reply) {
		result.Reply = reply.Error()
		if from != nil {
			result.RemoteMTA = from.host
		}
	}
	return result
}

// hostError says who refused before there was anything to refuse.
type hostError struct {
	host string
	err  error
}

func (e *hostError) Error() string { return e.err.Error() }

// Unwrap gives the refusal.
func (e *hostError) Unwrap() error { return e.err }

// client gives a connection: an idle one, or a new one unless the destination is dead.
func (r *Relay) client(ctx context.Context, d *destination, p *part) (c *smtp.Client, isReused bool, err error) {
	if c := r.pool.take(d); c != nil {
		return c, true, nil
	}
	c, err = r.connect(ctx, d, p)
	return c, false, err
}

// connect tries the hosts of a destination, and remembers when none can be reached.
func (r *Relay) connect(ctx context.Context, d *destination, p *part) (*smtp.Client, error) {
	if err := p.route.certified(p.domain); err != nil {
		return nil, err
	}
	if err := r.pool.dead(d, r.now()); err != nil {
		return nil, mail.Temporaryf(4, 1, "Destination could not be reached a moment ago: %w", err)
	}
	c, err := r.tryHosts(ctx, p)
	if err != nil && ctx.Err() == nil && r.deadFor() > 0 && !mail.StatusOf(err).IsPermanent() && !isOurs(err) {
		r.pool.bury(d, err, r.now(), r.deadFor())
	}
	return c, err
}

func (r *Relay) deadFor() time.Duration { return cmp.Or(r.DeadFor, DefaultDeadFor) }

func (r *Relay) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Relay) resolver() dns.Resolver {
	if r.Resolver != nil {
		return r.Resolver
	}
	return dns.System()
}

func (r *Relay) tryHosts(ctx context.Context, p *part) (*smtp.Client, error) {
	t := &tries{relay: r, left: maxAddresses, strict: p.strict, route: &p.route}
	hops, err := r.hops(ctx, p.route, p.domain)
	if err != nil {
		return nil, err
	}
	if policy := r.partPolicy(ctx, p); policy != nil {
		follow(policy, hops)
	}
	var barred error
	for i, hop := range hops {
		if hop.Barred != nil {
			barred = hop.Barred
			continue
		}
		t.by = half(ctx, time.Time{}, t.isWorthIt(hops[i+1:]))
		if c := t.host(ctx, hop); c != nil {
			return c, nil
		}
	}
	if t.err == nil && ctx.Err() != nil {
		return nil, interrupted(ctx)
	}
	if t.err == nil && barred != nil {
		return nil, barred
	}
	return nil, t.verdict()
}

// tries goes through the addresses of a destination.
type tries struct {
	relay *Relay
	left  int
	err   error // the one of the highest weight, the first of its kind

	strict bool // REQUIRETLS
	route  *Route
	ready  net.Conn // to the address that is tried, if there is one already

	by time.Time // when what is tried has to have answered; zero: whenever it likes
}

// isWorthIt reports that one of hops can be tried.
func (t *tries) isWorthIt(hops []Hop) bool {
	return t.left > 1 && slices.ContainsFunc(hops, func(h Hop) bool { return h.Barred == nil })
}

func (t *tries) host(ctx context.Context, hop Hop) *smtp.Client {
	asking, end := t.inTime(ctx)
	addrs, err := t.relay.Resolve(asking, hop)
	end()
	if err != nil {
		t.failed(err)
		return nil
	}
	return t.addresses(ctx, hop.Server, addrs)
}

func (t *tries) failed(err error) {
	if t.err == nil || weight(err) > weight(t.err) {
		t.err = err
	}
}

// weight orders failures: temporary ones count before permanent ones, because there is still hope; and what a server
// said before what the network did, because it tells more.
func weight(err error) int {
	switch s := mail.StatusOf(err); {
	case s.IsPermanent():
		return 0
	case s.Subject == 4:
		return 1
	}
	return 2
}

func (t *tries) verdict() error {
	if t.err == nil {
		return mail.Temporaryf(4, 1, "No host to connect to")
	}
	return t.err
}

// isSilent reports that the trouble was with the network: the server has said nothing.
func isSilent(err error) bool {
	var reply *smtp.Reply
	return !errors.As(err, &reply) && mail.StatusOf(err).Subject == 4
}

// session opens a session that is good for the message. When opportunistic TLS breaks, the next try is in clear: anybody
// could read along anyway (RFC 7435 §3).
func (t *tries) session(ctx context.Context, s Server, network, address string) (*smtp.Client, error) {
	if t.strict && s.Path == "" {
		return t.strictSession(ctx, s, network, address)
	}
	c, err := t.open(ctx, s, network, address)
	var handshake *smtp.HandshakeError
	if errors.As(err, &handshake) && s.TLS == smtp.TLSOpportunistic && !s.isImplicitTLS() {
		s.TLS = smtp.TLSNone
		c, err = t.open(ctx, s, network, address)
	}
	return c, err
}

// strictSession is one for REQUIRETLS (RFC 8689 §4.2.1). Where a server can't give that, it never will: permanent. Other
// trouble, such as a connection that breaks, stays what it is.
func (t *tries) strictSession(ctx context.Context, s Server, network, address string) (*smtp.Client, error) {
	s.TLS = max(s.TLS, smtp.TLSVerified)
	c, err := t.open(ctx, s, network, address)
	switch {
	case wrongCertificate(err) != nil, isNoTLS(err):
		return nil, smtp.RequireTLSFailure(s.name(), wrongCertificate(err))
	case err != nil:
		return nil, err
	case !c.Extensions().Has("REQUIRETLS"):
		c.Quit()
		return nil, smtp.RequireTLSFailure(s.name(), nil)
	}
	return c, nil
}

// wrongCertificate gives what is wrong with the certificate, nil if err is about something else.
func wrongCertificate(err error) error {
	var wrong *tls.CertificateVerificationError
	if errors.As(err, &wrong) {
		return wrong
	}
	return nil
}

// isNoTLS reports a server that offers no TLS or refused it for good.
func isNoTLS(err error) bool {
	var reply *smtp.Reply
	isRefused := !errors.As(err, &reply) || reply.Code >= 500
	return mail.StatusOf(err) == mail.Status{Class: mail.Temporary, Subject: 7, Detail: 4} && isRefused
}

// open gets a session as far as MAIL. Where others need the place it does not wait as long as it might.
func (t *tries) open(ctx context.Context, s Server, network, address string) (*smtp.Client, error) {
	opening, end := t.relay.openings.begin(ctx)
	defer end()
	c, err := t.openInTime(opening, s, network, address)
	if err == nil && s.User != "" {
		if err = t.route.authenticate(opening, c, s); err != nil {
			c.Quit()
			c = nil
		}
	}
	return c, silence(opening, s, err)
}

// openInTime gets a session as far as AUTH.
func (t *tries) openInTime(ctx context.Context, s Server, network, address string) (*smtp.Client, error) {
	r := t.relay
	ctx, end := t.inTime(ctx)
	defer end()
	nc, err := t.connection(ctx, network, address)
	if err != nil {
		return nil, silence(ctx, s, errNoConnection(s, err))
	}
	c, err := smtp.NewClient(ctx, nc, smtp.ClientOptions{
		Hello:       r.Hello,
		Server:      s.name(),
		TLS:         s.TLS,
		Pins:        t.route.Pins,
		TLSConfig:   t.route.tlsConfig(r.TLSConfig),
		ImplicitTLS: s.isImplicitTLS(),
		LMTP:        s.Scheme == "lmtp",
		Discard:     t.route.Discard,
		Timeouts:    r.Timeouts,
		Chunk:       len(t.route.Servers) > 0,
		Trace:       r.Trace,
	})
	return c, silence(ctx, s, err)
}

func (s Server) name() string { return cmp.Or(s.Host, "localhost") }

// Dead lists the destinations that could not be reached a short while ago, sorted: domains, or URLs of servers.
func (r *Relay) Dead() (dead []string) {
	for _, key := range r.pool.buried(r.now()) {
		dead = append(dead, strings.TrimPrefix(strings.TrimPrefix(key, keyStrict), keyMX))
	}
	slices.Sort(dead)
	return slices.Compact(dead)
}
