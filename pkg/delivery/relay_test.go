package delivery

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/auth"
	"mailx/pkg/dns"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
)

// host is a go-smtp server that keeps what it gets and refuses on cue: local parts that begin with "no" for good, with
// "later" for now.
type host struct {
	addr string

	mu       sync.Mutex
	sessions int
	mail     []string // "from to,to text"
	password string   // AUTH PLAIN with this one is demanded, if it is not empty
}

func (h *host) NewSession(*gosmtp.Conn) (gosmtp.Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions++
	return &hostSession{h: h, isIn: h.password == ""}, nil
}

func (h *host) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.mail)
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions
}

type hostSession struct {
	h    *host
	isIn bool
	from string
	to   []string
}

func (s *hostSession) AuthMechanisms() []string { return []string{"PLAIN"} }

func (s *hostSession) Auth(string) (gosasl.Server, error) {
	return gosasl.NewPlainServer(func(_, user, password string) error {
		if s.isIn = user == "me" && password == s.h.password; !s.isIn {
			return gosmtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *hostSession) Reset()        { s.from, s.to = "", nil }
func (s *hostSession) Logout() error { return nil }

func (s *hostSession) Mail(from string, _ *gosmtp.MailOptions) error {
	if !s.isIn {
		return gosmtp.ErrAuthRequired
	}
	s.from = from
	return nil
}

func (s *hostSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	switch {
	case strings.HasPrefix(to, "no"):
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no"}
	case strings.HasPrefix(to, "later"):
		return &gosmtp.SMTPError{Code: 450, EnhancedCode: gosmtp.EnhancedCode{4, 2, 1}, Message: "later"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *hostSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.mail = append(s.h.mail, s.from+" "+strings.Join(s.to, ",")+" "+string(b))
	return err
}

func startHost(t testing.TB, set func(*host, *gosmtp.Server)) *host {
	t.Helper()
	h := &host{}
	srv := gosmtp.NewServer(h)
	srv.Domain, srv.AllowInsecureAuth = "host.example", true
	if set != nil {
		set(h, srv)
	}
	l := mailtest.Listen(t)
	h.addr = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return h
}

const testZone = `
one.example.      MX 10 mx1.example.
one.example.      MX 20 mx2.example.
two.example.      MX 10 mx2.example.
mx1.example.      A  127.0.0.11
mx2.example.      A  127.0.0.12
multi.example.    A  127.0.0.13
multi.example.    A  127.0.0.12
dead.example.     A  127.0.0.13
null.example.     MX 0 .
fail.example.     SERVFAIL
`

// network is a Relay whose MX hosts are found by a map of addresses; connections to others are refused.
type network struct {
	*Relay
	dialed atomic.Int32
}

func testRelay(t testing.TB, hosts map[string]string) *network {
	t.Helper()
	zone, err := dns.ParseZone(strings.NewReader(testZone))
	if err != nil {
		t.Fatal(err)
	}
	d := 5 * time.Second
	n := &network{}
	n.Relay = &Relay{
		Resolver: zone,
		Hello:    "client.example",
		Timeouts: smtp.Timeouts{Connect: d, Greeting: d, Mail: d, Rcpt: d, Data: d, Final: d, Quit: d, Parting: d / 100},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			n.dialed.Add(1)
			to, found := hosts[address]
			if !found {
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	}
	t.Cleanup(n.Close)
	return n
}

func envelope(t testing.TB, from string, to ...string) *mail.Envelope {
	t.Helper()
	env := &mail.Envelope{}
	if from != "" {
		env.Sender = address(t, from)
	}
	for _, s := range to {
		env.Rcpts = append(env.Rcpts, mail.Recipient{Address: address(t, s)})
	}
	return env
}

const text = "Subject: x\n\nhi\n"

type transport interface {
	Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result
}

// deliver gives "2.0.0 5.1.1" for the recipients.
func deliver(t testing.TB, to transport, env *mail.Envelope) string {
	t.Helper()
	results := to.Deliver(t.Context(), env, strings.NewReader(text), int64(len(text)))
	if len(results) != len(env.Rcpts) {
		t.Fatalf("%d results for %d recipients", len(results), len(env.Rcpts))
	}
	var words []string
	for i, r := range results {
		if r.Address != env.Rcpts[i].Address {
			t.Errorf("result %d is for %s, want %s", i, r.Address, env.Rcpts[i].Address)
		}
		words = append(words, mail.StatusOf(r.Err).String())
	}
	return strings.Join(words, " ")
}

func TestRelaySplits(t *testing.T) {
	one, two := startHost(t, nil), startHost(t, nil)
	r := testRelay(t, map[string]string{"127.0.0.11:25": one.addr, "127.0.0.12:25": two.addr})
	env := envelope(t, "me@x.example", "a@one.example", "b@two.example", "no@one.example", "c@ONE.example",
		"later@two.example",
		"x@null.example", "x@fail.example", "x@none.example", "x@dead.example", "d@[127.0.0.11]")
	want := "2.0.0 2.0.0 5.1.1 2.0.0 4.2.1 5.1.10 4.4.3 5.1.2 4.4.1 2.0.0"
	if got := deliver(t, r, env); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	wire := strings.ReplaceAll(text, "\n", "\r\n")
	gotOne := one.got()
	slices.Sort(gotOne)
	if want := []string{"me@x.example a@one.example,c@one.example " + wire,
		"me@x.example d@[127.0.0.11] " + wire}; !slices.Equal(gotOne, want) {
		t.Errorf("first host: got %q, want %q", gotOne, want)
	}
	if want := []string{"me@x.example b@two.example " + wire}; !slices.Equal(two.got(), want) {
		t.Errorf("second host: got %q, want %q", two.got(), want)
	}
	if got, want := r.Dead(), []string{"dead.example", "fail.example"}; !slices.Equal(got, want) {
		t.Errorf("dead: got %q, want %q", got, want)
	}
}

func TestRelayNextHost(t *testing.T) {
	good := startHost(t, nil)
	for name, script := range map[string][]mailtest.Act{
		"lost before the greeting": {mailtest.HangUp()},
		"greeting 421":             {mailtest.Reply("421 4.3.2 busy")},
		"greeting 554":             {mailtest.Reply("554 5.3.2 not me")},
		"EHLO 451":                 {mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "451 4.3.0 no")},
		"lost at EHLO":             {mailtest.Reply("220 hi"), mailtest.Expect("EHLO")},
		"nonsense":                 {mailtest.Reply("200-x", "300 y")},
	} {
		t.Run(name, func(t *testing.T) {
			bad := mailtest.ScriptServer(t, script...)
			r := testRelay(t, map[string]string{"127.0.0.11:25": bad.Addr, "127.0.0.12:25": good.addr})
			if got := deliver(t, r, envelope(t, "", "a@one.example")); got != "2.0.0" {
				t.Errorf("first MX: got %s", got)
			}
			if got := deliver(t, r, envelope(t, "", "a@multi.example")); got != "2.0.0" {
				t.Errorf("second address: got %s", got)
			}
		})
	}
}

func TestRelayVerdict(t *testing.T) {
	never := mailtest.ScriptServer(t, mailtest.Reply("554 5.7.1 no"))
	busy := mailtest.ScriptServer(t, mailtest.Reply("421 4.3.2 busy"))
	tests := []struct{ first, second, want string }{
		{never.Addr, never.Addr, "5.7.1"},
		{never.Addr, busy.Addr, "4.3.2"},
		{busy.Addr, never.Addr, "4.3.2"},
		{never.Addr, "", "4.4.1"},
	}
	for _, test := range tests {
		r := testRelay(t, map[string]string{"127.0.0.11:25": test.first, "127.0.0.12:25": test.second})
		if got := deliver(t, r, envelope(t, "", "a@one.example")); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
		if isDead := len(r.Dead()) == 1; isDead != (test.want[0] == '4') {
			t.Errorf("%+v: dead %v", test, isDead)
		}
	}
}

// A refusal at MAIL or later is not tried at another host.
func TestRelayRefusalStays(t *testing.T) {
	first, second := startHost(t, nil), startHost(t, nil)
	r := testRelay(t, map[string]string{"127.0.0.11:25": first.addr, "127.0.0.12:25": second.addr})
	if got := deliver(t, r, envelope(t, "", "later@one.example")); got != "4.2.1" || second.count() != 0 ||
		len(r.Dead()) != 0 {
		t.Errorf("got %s, %d sessions at the second host, dead %q", got, second.count(), r.Dead())
	}
}

func TestRelayReuse(t *testing.T) {
	mailtest.CheckLeaks(t)
	h := startHost(t, nil)
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	for range 5 {
		if got := deliver(t, r, envelope(t, "", "a@two.example", "no@two.example")); got != "2.0.0 5.1.1" {
			t.Errorf("got %s", got)
		}
		deliver(t, r, envelope(t, "", "no@two.example")) // leaves a transaction open
	}
	if got := r.dialed.Load(); got != 1 || len(h.got()) != 5 {
		t.Errorf("%d connections for %d messages, want 1 for 5", got, len(h.got()))
	}
	r.Close()
	if len(r.pool.dests) != 0 {
		t.Errorf("the pool still knows %d destinations", len(r.pool.dests))
	}
	deliver(t, r, envelope(t, "", "a@two.example"))
	if got := r.dialed.Load(); got != 2 || len(r.pool.dests) != 0 {
		t.Errorf("after Close: %d connections, want 2; %d destinations, want 0", got, len(r.pool.dests))
	}
}

// A connection carries as many messages as it may, whether they go one by one or follow each other.
func TestMessagesPerConnection(t *testing.T) {
	tests := []struct {
		name, domain   string
		relay, route   int
		messages, want int
	}{
		{"any number", "host.example", 0, 0, 25, 1},
		{"of all", "host.example", 3, 0, 7, 3},
		{"of a route", "host.example", 3, 5, 10, 2},
		{"one", "host.example", 1, 0, 3, 3},
		{"QUIRK", "host.example ESMTP Exim 4.96", 0, 0, 11, 2},
		{"exactly full", "host.example ESMTP Exim 4.96", 0, 0, 10, 1},
		{"QUIRK that is configured away", "host.example ESMTP Exim 4.96", 1000, 0, 25, 1},
		{"only the name", "exim.example ESMTP Eximious", 0, 0, 25, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, isLane := range []bool{false, true} {
				h := startHost(t, func(_ *host, srv *gosmtp.Server) { srv.Domain = test.domain })
				n := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
				n.PerConnection = test.relay
				tr := laneTransport(n.Relay, nil)
				n.Via = func(string) Route { return Route{Messages: test.route} }
				w := &waiting{t: t}
				for i := range test.messages {
					w.add("me@x.example", fmt.Sprintf("a%d@two.example", i))
				}
				if isLane {
					w.carry(tr)
				} else {
					for d := w.next(); d != nil; d = w.next() {
						deliver(t, n, d.Env)
					}
				}
				if got := int(n.dialed.Load()); got != test.want || len(h.got()) != test.messages {
					t.Errorf("in a lane %v: %d messages over %d connections, want %d over %d", isLane, len(h.got()), got, test.messages, test.want)
				}
			}
		})
	}
}

func TestRelayIdleLimit(t *testing.T) {
	for _, limit := range []time.Duration{-1, time.Nanosecond} {
		h := startHost(t, nil)
		r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
		r.IdleLimit = limit
		deliver(t, r, envelope(t, "", "a@two.example"))
		for r.known() > 0 { // until the timer has run
			runtime.Gosched()
		}
		if got := deliver(t, r, envelope(t, "", "a@two.example")); got != "2.0.0" || r.dialed.Load() != 2 {
			t.Errorf("limit %v: got %s over %d connections, want 2", limit, got, r.dialed.Load())
		}
	}
}

// When there are many connections to keep, the one that was used least recently is ended.
func TestPoolKeepsFew(t *testing.T) {
	h := startHost(t, nil)
	p := &pool{}
	defer p.close()
	var dests []*destination
	put := func(d *destination) {
		c, err := smtp.Dial(t.Context(), "tcp", h.addr, smtp.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.put(d, c, time.Hour)
	}
	for i := range maxIdle {
		d, err := p.enter(t.Context(), fmt.Sprint(i), 1)
		if err != nil {
			t.Fatal(err)
		}
		dests = append(dests, d)
		put(d)
		p.leave(d, true, time.Now())
	}
	p.put(dests[0], p.take(dests[0]), time.Hour)
	put(dests[maxIdle-1])
	if p.take(dests[1]) != nil || len(p.idle) != maxIdle || len(p.dests) != maxIdle-1 {
		t.Errorf("%d connections are kept, for %d destinations", len(p.idle), len(p.dests))
	}
	if c := p.take(dests[0]); c == nil || !c.Usable() || len(p.idle) != maxIdle-1 {
		t.Errorf("the one that was used again is not kept, %d are", len(p.idle))
	} else {
		c.Close()
	}
}

func (n *network) known() int {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	return len(n.pool.dests)
}

// A server that closes idle connections costs nothing but another connection.
func TestRelayStaleConnection(t *testing.T) {
	once := []mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250 x"), mailtest.Exchange("MAIL",
		"250 ok"),
		mailtest.Exchange("RCPT", "250 ok"), mailtest.Exchange("DATA", "354 go"), mailtest.ExpectTo("."),
		mailtest.Reply("250 ok")}
	for name, end := range map[string]mailtest.Act{
		"closed": mailtest.HangUp(), "reset": mailtest.Reset(), "421": mailtest.Exchange("", "421 4.4.2 too long"),
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ScriptServer(t, append(slices.Clone(once), end)...)
			r := testRelay(t, map[string]string{"127.0.0.12:25": s.Addr})
			for i := range 3 {
				if got := deliver(t, r, envelope(t, "", "a@two.example")); got != "2.0.0" {
					t.Errorf("message %d: got %s", i+1, got)
				}
			}
			if got := r.dialed.Load(); got != 3 {
				t.Errorf("%d connections, want 3", got)
			}
		})
	}
}

func TestRelayDead(t *testing.T) {
	hosts := map[string]string{}
	r := testRelay(t, hosts)
	now := time.Unix(1e9, 0)
	r.Now = func() time.Time { return now }
	for range 3 {
		if got := deliver(t, r, envelope(t, "", "a@dead.example")); got != "4.4.1" {
			t.Errorf("got %s, want 4.4.1", got)
		}
	}
	if got := r.dialed.Load(); got != 1 {
		t.Errorf("%d tries, want 1", got)
	}
	hosts["127.0.0.13:25"] = startHost(t, nil).addr
	now = now.Add(DefaultDeadFor - 1)
	if got := deliver(t, r, envelope(t, "", "a@dead.example")); got != "4.4.1" {
		t.Errorf("before the end: got %s, want 4.4.1", got)
	}
	now = now.Add(1)
	if got := deliver(t, r, envelope(t, "", "a@dead.example")); got != "2.0.0" || len(r.Dead()) != 0 {
		t.Errorf("after the end: got %s, dead %q", got, r.Dead())
	}
}

func TestRelayManyRecipients(t *testing.T) {
	h := startHost(t, func(_ *host, s *gosmtp.Server) { s.MaxRecipients = 3 })
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	env := envelope(t, "")
	for i := range 10 {
		env.Rcpts = append(env.Rcpts, mail.Recipient{Address: address(t, fmt.Sprintf("a%d@two.example", i))})
	}
	told := make([]bool, 10) // before the last transaction
	r.deliver(t.Context(), env, strings.NewReader(text), int64(len(text)), func(index []int, results []mail.Result) {
		for n, i := range index {
			told[i] = results[n].Err == nil && results[n].Address == env.Rcpts[i].Address
		}
	})
	if got := len(h.got()); got != 4 || r.dialed.Load() != 1 {
		t.Errorf("%d transactions over %d connections, want 4 over 1", got, r.dialed.Load())
	}
	if n := slices.Index(told, false); n != 9 {
		t.Errorf("told of %v", told)
	}
	if got := deliver(t, r, env); got != strings.TrimSpace(strings.Repeat("2.0.0 ", 10)) {
		t.Errorf("got %s", got)
	}
}

func passwordOf(password string) func(context.Context, Server) (auth.Credentials, error) {
	return func(context.Context, Server) (auth.Credentials, error) {
		return auth.Credentials{Password: password}, nil
	}
}

// TestRelayAccount: who sends a message decides by which servers it goes, and no connection is shared by two accounts.
func TestRelayAccount(t *testing.T) {
	h := startHost(t, func(h *host, _ *gosmtp.Server) { h.password = "secret" })
	r := testRelay(t, map[string]string{h.addr: h.addr})
	r.Via = func(string) Route { return Route{Servers: []Server{server(t, "smtp://127.0.0.1:1")}} }
	r.Account = func(env *mail.Envelope, domain string) (*Route, error) {
		switch {
		case env.Account == "gone":
			return nil, mail.Temporaryf(3, 5, "No such account")
		case env.Account == "" || domain == "routed.example":
			return nil, nil
		}
		return &Route{Account: env.Account, Servers: []Server{server(t, "smtp://me@"+h.addr)}, Login: passwordOf(env.Account)}, nil
	}
	for _, tt := range []struct{ account, want string }{
		{"secret", "2.0.0 2.0.0 4.4.1"}, {"wrong", "4.7.8 4.7.8 4.4.1"}, {"secret", "2.0.0 2.0.0 4.4.1"}, {"gone", "4.3.5 4.3.5 4.3.5"},
		{"", "4.4.1 4.4.1 4.4.1"},
	} {
		env := envelope(t, "", "a@one.example", "b@two.example", "c@routed.example")
		env.Account = tt.account
		if got := deliver(t, r, env); got != tt.want {
			t.Errorf("account %q: got %s, want %s", tt.account, got, tt.want)
		}
	}
	if n := len(h.got()); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

// TestNoLogin: credentials that can't be had now are no reason to bounce, and the reason is told.
func TestNoLogin(t *testing.T) {
	h := startHost(t, func(h *host, _ *gosmtp.Server) { h.password = "secret" })
	locked := errors.New("the store is locked")
	route := Route{Servers: []Server{server(t, "smtp://me@"+h.addr)}}
	for _, err := range []error{nil, locked} {
		if err != nil {
			route.Login = func(context.Context, Server) (auth.Credentials, error) { return auth.Credentials{}, err }
		}
		r := testRelay(t, map[string]string{h.addr: h.addr})
		r.Via = func(string) Route { return route }
		got := r.Deliver(t.Context(), envelope(t, "", "a@one.example"), strings.NewReader(text), int64(len(text)))[0].Err
		if mail.StatusOf(got) != (mail.Status{Class: 4, Subject: 7}) || err != nil && !errors.Is(got, err) {
			t.Errorf("got %v", got)
		}
	}
}

// Mail waits for a certificate that can't be had, without a look at the server, and goes as soon as it can.
func TestNoCertificate(t *testing.T) {
	h := startHost(t, nil)
	r := testRelay(t, map[string]string{h.addr: h.addr})
	missing := errors.New("no such file")
	route := Route{Name: "one.example", Servers: []Server{server(t, "smtp://"+h.addr)}}
	route.Certificate = func() (*tls.Certificate, error) { return &tls.Certificate{}, missing }
	r.Via = func(string) Route { return route }
	err := r.Deliver(t.Context(), envelope(t, "", "a@one.example"), strings.NewReader(text), int64(len(text)))[0].Err
	want := "4.7.0 Our certificate for smtp://" + h.addr + " (route one.example) can't be had: no such file"
	if !errors.Is(err, missing) || err.Error() != want || h.count() != 0 {
		t.Errorf("got %v, want %s; %d connections", err, want, h.count())
	}
	missing = nil
	if got := deliver(t, r, envelope(t, "", "a@one.example")); got != "2.0.0" {
		t.Errorf("with a certificate: got %s", got)
	}
}

func TestRelaySmarthost(t *testing.T) {
	h := startHost(t, func(h *host, _ *gosmtp.Server) { h.password = "secret" })
	dead := server(t, "smtp://127.0.0.1:1")
	for password, want := range map[string]string{"secret": "2.0.0 2.0.0", "wrong": "4.7.8 4.7.8"} {
		smart := server(t, "smtp://me@"+h.addr)
		r := testRelay(t, map[string]string{h.addr: h.addr})
		r.Via = func(string) Route { return Route{Servers: []Server{dead, smart}, Login: passwordOf(password)} }
		if got := deliver(t, r, envelope(t, "", "a@one.example", "b@two.example")); got != want {
			t.Errorf("password %s: got %s, want %s", password, got, want)
		}
	}
	if len(h.got()) != 1 {
		t.Errorf("%d messages, want 1", len(h.got()))
	}
	r := testRelay(t, nil)
	r.Via = func(string) Route { return Route{Servers: []Server{server(t, "smtp://none.example")}} }
	if got := deliver(t, r, envelope(t, "", "a@one.example")); got != "4.4.3" {
		t.Errorf("smarthost without an address: got %s, want 4.4.3", got)
	}
}

func TestRelayLMTP(t *testing.T) {
	h := startHost(t, func(_ *host, s *gosmtp.Server) { s.LMTP = true })
	r := testRelay(t, map[string]string{h.addr: h.addr})
	r.Via = func(string) Route { return Route{Servers: []Server{server(t, "lmtp://"+h.addr)}} }
	if got := deliver(t, r, envelope(t, "", "a@one.example", "no@x.example",
		"b@two.example")); got != "2.0.0 5.1.1 2.0.0" {
		t.Errorf("got %s", got)
	}
	path := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := gosmtp.NewServer(h)
	srv.LMTP, srv.Domain = true, "host.example"
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	r.Dial = nil
	r.Via = func(string) Route { return Route{Servers: []Server{server(t, "lmtp://"+path)}} }
	if got := deliver(t, r, envelope(t, "", "a@one.example")); got != "2.0.0" {
		t.Errorf("unix socket: got %s", got)
	}
}

// Opportunistic TLS that breaks is no reason to keep mail back, required TLS is.
func TestRelayTLS(t *testing.T) {
	ca := mailtest.NewCA(t)
	offering := func(cfg *tls.Config) *host {
		return startHost(t, func(_ *host, s *gosmtp.Server) { s.TLSConfig = cfg })
	}
	good := offering(ca.ServerConfig("mx2.example"))
	broken := offering(&tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, errors.New("no certificate today")
		}})
	choosy := ca.ServerConfig("mx2.example") // in TLS 1.3 it hangs up when our side of the handshake is done
	choosy.ClientAuth = tls.RequireAnyClientCert
	wants := offering(choosy)
	tests := []struct {
		name   string
		h      *host
		policy smtp.TLSPolicy
		want   string
		dials  int32
	}{
		{"wants a certificate", wants, smtp.TLSOpportunistic, "2.0.0", 2},
		{"wants a certificate, required", wants, smtp.TLSRequired, "4.7.5", 1},
		{"good", good, smtp.TLSOpportunistic, "2.0.0", 1},
		{"good, verified", good, smtp.TLSVerified, "2.0.0", 1},
		{"broken", broken, smtp.TLSOpportunistic, "2.0.0", 2},
		{"broken, required", broken, smtp.TLSRequired, "4.7.5", 1},
		{"broken, verified", broken, smtp.TLSVerified, "4.7.5", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := testRelay(t, map[string]string{"127.0.0.12:25": test.h.addr})
			r.MXPolicy, r.TLSConfig = test.policy, ca.ClientConfig("")
			if got := deliver(t, r, envelope(t, "", "a@two.example")); got != test.want ||
				r.dialed.Load() != test.dials {
				t.Errorf("got %s after %d connections, want %s after %d", got, r.dialed.Load(), test.want, test.dials)
			}
		})
	}
}

func TestRelayConcurrency(t *testing.T) {
	h := startHost(t, nil)
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	r.PerDestination = 3
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got := deliver(t, r, envelope(t, "", "a@two.example")); got != "2.0.0" {
				t.Errorf("got %s", got)
			}
		})
	}
	all.Wait()
	if got := r.dialed.Load(); got > 3 || len(h.got()) != 50 {
		t.Errorf("%d connections for %d messages, want at most 3 for 50", got, len(h.got()))
	}
}

func TestRelayCancel(t *testing.T) {
	s := mailtest.ScriptServer(t, mailtest.Silence())
	r := testRelay(t, map[string]string{"127.0.0.12:25": s.Addr})
	r.PerDestination = 1
	ctx, cancel := context.WithCancel(t.Context())
	dial := r.Dial
	r.Dial = func(c context.Context, network, address string) (net.Conn, error) {
		nc, err := dial(c, network, address)
		cancel()
		return nc, err
	}
	results := make(chan []mail.Result)
	for range 2 { // one waits for the greeting, one for its turn
		go func() {
			results <- r.Deliver(ctx, envelope(t, "", "a@two.example"), strings.NewReader(text), int64(len(text)))
		}()
	}
	for range 2 {
		if got := <-results; !mail.StatusOf(got[0].Err).IsTemporary() {
			t.Errorf("got %v, want temporary", got[0].Err)
		}
	}
	// and one comes when there is no time left
	got := r.Deliver(ctx, envelope(t, "", "a@[127.0.0.12]"), strings.NewReader(text), int64(len(text)))
	if want := "Delivery was interrupted: context canceled"; got[0].Err == nil || !strings.Contains(got[0].Err.Error(), want) {
		t.Errorf("got %v, want %s", got[0].Err, want)
	}
	if dead := r.Dead(); len(dead) != 0 {
		t.Errorf("an interruption made %q dead", dead)
	}
}

func TestNoPasswordInClear(t *testing.T) {
	s := mailtest.ScriptServer(t, mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-x\r\n250 AUTH PLAIN"),
		mailtest.Expect("QUIT"))
	smart := Server{Scheme: "smtp", Host: "127.0.0.12", Port: 25, User: "me", TLS: smtp.TLSVerified}
	r := testRelay(t, map[string]string{"127.0.0.12:25": s.Addr})
	r.Via = func(string) Route { return Route{Servers: []Server{smart}, Login: passwordOf("secret")} }
	if got := deliver(t, r, envelope(t, "", "a@two.example")); got != "4.7.4" {
		t.Errorf("got %s, want 4.7.4", got)
	}
	if said := strings.Join(s.Said(), "|"); strings.Contains(said, "AUTH") {
		t.Errorf("the server saw %q", said)
	}
}

func BenchmarkRelay(b *testing.B) {
	l := mailtest.Listen(b)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go discard(nc)
		}
	}()
	smart := server(b, "smtp://"+l.Addr().String())
	r := &Relay{Via: func(string) Route { return Route{Servers: []Server{smart}} }}
	defer r.Close()
	env := envelope(b, "me@x.example", "you@y.example")
	msg := strings.NewReader("Subject: benchmark\n\n" + strings.Repeat("0123456789abcdef0123456789abcde\n", 32))
	b.ReportAllocs()
	for b.Loop() {
		if results := r.Deliver(b.Context(), env, msg, msg.Size()); results[0].Err != nil {
			b.Fatal(results[0].Err)
		}
	}
}

// discard is the least that a server with PIPELINING can be.
func discard(nc net.Conn) {
	defer nc.Close()
	r, w := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriter(nc)
	w.WriteString("220 x\r\n")
	for inData := false; ; {
		if r.Buffered() == 0 {
			w.Flush()
		}
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return
		case inData && line != ".\r\n":
		case strings.HasPrefix(line, "EHLO"):
			w.WriteString("250-x\r\n250 PIPELINING\r\n")
		case strings.HasPrefix(line, "DATA"):
			inData = true
			w.WriteString("354 go\r\n")
		default:
			inData = false
			w.WriteString("250 ok\r\n")
		}
	}
}

// Servers that say nothing but 452, or the 552 of old, when a transaction has enough recipients get the others in the next ones.
func TestRelayTooManyInOldWords(t *testing.T) {
	for _, refusal := range []string{"452 too many", "552 too many recipients"} {
		transaction := func(rcpts ...string) []mailtest.Act {
			acts := []mailtest.Act{mailtest.Exchange("MAIL", "250 ok")}
			for _, reply := range rcpts {
				acts = append(acts, mailtest.Exchange("RCPT", reply))
			}
			return append(acts, mailtest.Exchange("DATA", "354 go"), mailtest.ExpectTo("."), mailtest.Reply("250 ok"))
		}
		script := append([]mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250 hi")},
			append(transaction("250 ok", refusal, refusal), transaction("250 ok", refusal)...)...)
		s := mailtest.ScriptServer(t, append(append(script, transaction("250 ok")...), mailtest.Expect("QUIT"))...)
		r := testRelay(t, map[string]string{"127.0.0.12:25": s.Addr})
		if got := deliver(t, r, envelope(t, "", "a@two.example", "b@two.example", "c@two.example")); got != "2.0.0 2.0.0 2.0.0" {
			t.Errorf("%s: got %s", refusal, got)
		}
		r.Close()
	}
}
