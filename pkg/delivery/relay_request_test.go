package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
)

// A host that can't be reached is not tried for every domain that names it.
func TestRelayDeadHost(t *testing.T) {
	h := startHost(t, nil)
	hosts := map[string]string{"127.0.0.12:25": h.addr}
	r := testRelay(t, hosts)
	now := time.Unix(1e9, 0)
	r.Now = func() time.Time { return now }
	r.IdleLimit = -1
	var tried []string
	dial := r.Dial
	r.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		tried = append(tried, address)
		return dial(ctx, network, address)
	}
	for range 3 { // the first MX is dead, the second is not
		if got := deliver(t, r, envelope(t, "", "a@one.example")); got != "2.0.0" {
			t.Errorf("got %s", got)
		}
	}
	want := []string{"127.0.0.11:25", "127.0.0.12:25", "127.0.0.12:25", "127.0.0.12:25"}
	if !slices.Equal(tried, want) {
		t.Errorf("tried %q, want %q", tried, want)
	}
	if got := deliver(t, r, envelope(t, "", "a@[127.0.0.11]")); got != "4.4.1" || len(tried) != len(want) {
		t.Errorf("the same host by another name: got %s after %q", got, tried[len(want):])
	}
	now = now.Add(DefaultDeadFor)
	deliver(t, r, envelope(t, "", "a@one.example"))
	if got := tried[len(want):]; !slices.Equal(got, want[:2]) {
		t.Errorf("after the end: tried %q, want %q", got, want[:2])
	}
	if n := len(r.pool.hosts); n != 1 {
		t.Errorf("%d hosts are remembered, want 1", n)
	}
}

// Whoever answers is alive, even if not glad to see us.
func TestRelayBusyHostIsNotDead(t *testing.T) {
	s := mailtest.ScriptServer(t, mailtest.Reply("421 4.3.2 busy"))
	r := testRelay(t, map[string]string{"127.0.0.12:25": s.Addr})
	r.DeadFor = time.Nanosecond
	for range 2 {
		if got := deliver(t, r, envelope(t, "", "a@two.example")); got != "4.3.2" {
			t.Errorf("got %s", got)
		}
	}
	if len(r.pool.hosts) != 0 {
		t.Errorf("remembered as dead: %v", r.pool.hosts)
	}
}

func TestPoolWindow(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		limit int
		ends  string // + well, - trouble
		want  int
	}{
		{20, "", 5}, {20, "+", 6}, {20, strings.Repeat("+", 30), 20}, {3, "", 3}, {3, "++", 3}, {1, "", 1},
		{20, "-", 2}, {20, "--", 1}, {20, "----", 1}, {20, "----+", 2}, {20, strings.Repeat("+", 30) + "-", 10},
	} {
		p := &pool{}
		keep, err := p.enter(t.Context(), "x", c.limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range c.ends {
			p.mu.Lock()
			keep.active++
			keep.users++
			p.mu.Unlock()
			p.leave(keep, end == '+', now)
		}
		if keep.window != c.want || keep.active != 1 {
			t.Errorf("limit %d, %s: window is %d with %d active, want %d", c.limit, c.ends, keep.window, keep.active, c.want)
		}
		p.leave(keep, true, now)
		if len(p.dests) != 0 {
			t.Errorf("%d destinations are known in the end", len(p.dests))
		}
	}
}

// Who waits gets a slot in turn, or gives up without taking one along.
func TestPoolWaits(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := &pool{}
	d, _ := p.enter(t.Context(), "x", 1)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if e, err := p.enter(t.Context(), "x", 1); err == nil {
				p.leave(e, true, now)
			} else {
				t.Error(err)
			}
		})
		all.Go(func() {
			if e, err := p.enter(ctx, "x", 1); err == nil {
				p.leave(e, true, now)
			} else if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	cancel()
	p.leave(d, true, now)
	all.Wait()
	if len(p.dests) != 0 {
		t.Errorf("%d destinations are known in the end", len(p.dests))
	}
}

func TestPoolCrowded(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := &pool{}
	for n := range slowLimit { // who asked is expected
		if p.room("x", 20, false, now) == mail.Crowded {
			t.Errorf("crowded with %d expected", n)
		}
	}
	if p.room("x", 20, false, now) != mail.Crowded || p.room("y", 20, false, now) == mail.Crowded {
		t.Error("not crowded, or the wrong one")
	}
	if p.room("z", 20, true, now) == mail.Crowded || p.room("z", 20, true, now) != mail.Crowded {
		t.Error("where many say nothing, one is enough for each")
	}
	var d *destination
	for range slowLimit {
		d, _ = p.enter(t.Context(), "x", 20)
	}
	if p.room("x", 20, false, now) != mail.Crowded {
		t.Error("all are there, and it is not crowded")
	}
	p.leave(d, true, now)
	for range 10 {
		if p.room("x", 20, false, now.Add(slowAfter)) == mail.Crowded {
			t.Error("a message went just now, and it is crowded")
		}
	}
	later := now.Add(3 * slowAfter) // nobody came; one is still there
	if p.room("x", 20, false, later) == mail.Crowded || p.room("x", 20, false, later) != mail.Crowded {
		t.Error("those who do not come are expected for ever, or not at all")
	}
	p.leave(d, true, now)
}

// Half of the mail is for a host that says nothing; the other half does not wait for it.
func TestRelayCrowded(t *testing.T) {
	silent := mailtest.ScriptServer(t, mailtest.Silence())
	r := testRelay(t, map[string]string{"127.0.0.13:25": silent.Addr})
	transport := &Transport{Router: &Router{Domains: []string{"here.example"}}, Relay: r.Relay}
	ctx, cancel := context.WithCancel(t.Context())
	slow := envelope(t, "", "a@dead.example")
	var all sync.WaitGroup
	for range slowLimit {
		all.Go(func() { r.Deliver(ctx, slow, strings.NewReader(text), int64(len(text))) })
	}
	for !transport.IsCrowded(slow) {
		runtime.Gosched()
	}
	for env, want := range map[string]bool{"a@two.example": false, "a@here.example": false, "A@DEAD.example": true} {
		if got := transport.IsCrowded(envelope(t, "", env)); got != want {
			t.Errorf("%s: crowded is %v", env, got)
		}
	}
	cancel()
	all.Wait()
}

// A message asks for one place at each of its destinations, however many of its domains are there, and keeps none if it can't go.
func TestCrowdedReservesNothing(t *testing.T) {
	r := testRelay(t, nil)
	r.Via = func(domain string) Route {
		if strings.HasSuffix(domain, "dead.example") {
			return Route{}
		}
		return Route{Servers: []Server{{Host: "smart.example"}}}
	}
	if r.IsCrowded(envelope(t, "", "a@x.example", "a@y.example", "a@z.example", "b@x.example")) {
		t.Error("a message is in its own way")
	}
	for range slowLimit {
		d, _ := r.pool.enter(t.Context(), keyMX+"dead.example", 20)
		defer r.pool.leave(d, true, time.Now())
	}
	for range 2 * slowLimit {
		if !r.IsCrowded(envelope(t, "", "a@x.example", "a@dead.example")) {
			t.Error("nobody waits")
		}
	}
	if r.IsCrowded(envelope(t, "", "a@x.example")) {
		t.Error("what did not go is in the way of what can")
	}
	if !r.IsCrowded(envelope(t, "", "a@x.example")) {
		t.Error("nobody is expected")
	}
}

func TestRelayRequireTLS(t *testing.T) {
	ca, other := mailtest.NewCA(t), mailtest.NewCA(t)
	offering := func(cfg *tls.Config, requireTLS bool) string {
		return startHost(t, func(_ *host, s *gosmtp.Server) { s.TLSConfig, s.EnableREQUIRETLS = cfg, requireTLS }).addr
	}
	good := offering(ca.ServerConfig("mx1.example", "mx2.example"), true)
	lacks := offering(ca.ServerConfig("mx1.example", "mx2.example"), false)
	wrong := offering(ca.ServerConfig("other.example"), true)
	unknown := offering(other.ServerConfig("mx1.example", "mx2.example"), true)
	clear := offering(nil, true)
	refuses := mailtest.ScriptServer(t, mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-x\r\n250 STARTTLS"),
		mailtest.Exchange("STARTTLS", "454 4.7.0 not now")).Addr
	breaks := mailtest.ScriptServer(t, mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-x\r\n250 STARTTLS"),
		mailtest.Exchange("STARTTLS", "220 go"), mailtest.HangUp()).Addr
	for name, c := range map[string]struct{ first, second, want string }{
		"good":                        {good, good, "2.0.0"},
		"the second is good":          {lacks, good, "2.0.0"},
		"wrong names, then good":      {wrong, good, "2.0.0"},
		"not offered":                 {lacks, lacks, "5.7.30"},
		"wrong name":                  {wrong, wrong, "5.7.30"},
		"unknown root":                {unknown, unknown, "5.7.30"},
		"in clear":                    {clear, clear, "5.7.30"},
		"TLS refused for now":         {refuses, refuses, "4.7.4"},
		"the handshake breaks":        {breaks, breaks, "4.7.5"},
		"the other can't be reached":  {lacks, "", "4.4.1"},
		"none can be reached at all":  {"", "", "4.4.1"},
		"there is hope for the other": {breaks, lacks, "4.7.5"},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := map[string]string{}
			for address, to := range map[string]string{"127.0.0.11:25": c.first, "127.0.0.12:25": c.second} {
				if to != "" {
					hosts[address] = to
				}
			}
			r := testRelay(t, hosts)
			r.TLSConfig, r.MXPolicy = ca.ClientConfig(""), smtp.TLSNone
			env := envelope(t, "", "a@one.example")
			env.RequireTLS = true
			results := r.Deliver(t.Context(), env, strings.NewReader("x"), 1)
			if got := mail.StatusOf(results[0].Err).String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if err := results[0].Err; name == "wrong name" && !strings.Contains(err.Error(), "valid for other.example, not") {
				t.Errorf("nothing says what is wrong with the certificate: %v", err)
			}
			if dead := r.Dead(); len(dead) > 0 && dead[0] != "one.example" {
				t.Errorf("dead: %q", dead)
			}
		})
	}
}

// A connection of an ordinary message is not used for one that asks for more, nor the other way round.
func TestRelayRequireTLSHasItsOwnConnections(t *testing.T) {
	ca := mailtest.NewCA(t)
	h := startHost(t, func(_ *host, s *gosmtp.Server) {
		s.TLSConfig, s.EnableREQUIRETLS = ca.ServerConfig("mx2.example"), true
	})
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	r.TLSConfig, r.MXPolicy = ca.ClientConfig(""), smtp.TLSNone
	strict := envelope(t, "", "a@two.example")
	strict.RequireTLS = true
	for _, env := range []*mail.Envelope{envelope(t, "", "a@two.example"), strict, strict, envelope(t, "", "b@two.example")} {
		if got := deliver(t, r, env); got != "2.0.0" {
			t.Errorf("got %s", got)
		}
	}
	if got := r.dialed.Load(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

// An alias with members elsewhere: they are asked for no success, and the sender hears that it was expanded.
func TestTransportExpands(t *testing.T) {
	h := startHost(t, func(_ *host, s *gosmtp.Server) { s.EnableDSN = true })
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	router := testRouter(t)
	local, _ := testLocal(t, router)
	transport := &Transport{Router: router, Local: local, Relay: r.Relay}
	for to, want := range map[string]struct {
		expanded bool
		success  bool // the queue is to tell of it
	}{
		"mixed":      {false, true}, // one member refuses
		"partly":     {false, true},
		"both":       {false, true},
		"expandable": {true, true},
		"forward":    {false, false},
	} {
		router.Aliases = aliasFile(t, "mixed: alice, no@two.example\npartly: later@two.example, a@two.example\nboth: alice, bob\n"+
			"expandable: alice, a@two.example\nforward: a@two.example\n")
		env := envelope(t, "me@x.example", to+"@here.example")
		env.Rcpts[0].Notify = mail.NotifySuccess
		got := transport.Deliver(t.Context(), env, strings.NewReader(text), int64(len(text)))[0]
		if got.Expanded != want.expanded || got.Notify.Wants(mail.NotifySuccess) != want.success {
			t.Errorf("%s: got %+v, want %+v", to, got, want)
		}
	}
}

func TestMember(t *testing.T) {
	a, b := address(t, "a@x.example"), address(t, "b@y.example")
	for _, c := range []struct {
		r    mail.Recipient
		to   mail.Address
		many bool
		want mail.Recipient
	}{
		{mail.Recipient{Address: a}, a, false, mail.Recipient{Address: a}},
		{mail.Recipient{Address: a}, b, false, mail.Recipient{Address: b, Orig: "rfc822;a@x.example"}},
		{mail.Recipient{Address: a, Orig: "rfc822;o@z"}, b, false, mail.Recipient{Address: b, Orig: "rfc822;o@z"}},
		{mail.Recipient{Address: address(t, "ü@x.example")}, b, false, mail.Recipient{Address: b}},
		{mail.Recipient{Address: mail.Address{Local: "a"}}, b, false, mail.Recipient{Address: b}},
		{mail.Recipient{Address: a, Notify: mail.NotifySuccess}, a, false, mail.Recipient{Address: a, Notify: mail.NotifySuccess}},
		{mail.Recipient{Address: a, Notify: mail.NotifySuccess}, a, true, mail.Recipient{Address: a, Notify: mail.NotifyNever}},
		{mail.Recipient{Address: a, Notify: mail.NotifySuccess | mail.NotifyDelay}, a, true, mail.Recipient{Address: a, Notify: mail.NotifyDelay}},
		{mail.Recipient{Address: a}, a, true, mail.Recipient{Address: a}},
		{mail.Recipient{Address: a, Notify: mail.NotifyNever}, a, true, mail.Recipient{Address: a, Notify: mail.NotifyNever}},
	} {
		if got := member(c.r, c.to, c.many); got != c.want {
			t.Errorf("member(%+v, %v, %v) = %+v, want %+v", c.r, c.to, c.many, got, c.want)
		}
	}
}

// A socket of this host is no hop on the way: what wants TLS may go there.
func TestRelayRequireTLSToThisHost(t *testing.T) {
	h := &host{}
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
	r := testRelay(t, nil)
	r.Dial = nil
	r.Via = func(string) Route { return Route{Servers: []Server{server(t, "lmtp://"+path)}} }
	env := envelope(t, "", "a@one.example")
	env.RequireTLS, env.By = true, mail.DeliverBy{At: time.Now().Add(time.Hour)}
	if got := deliver(t, r, env); got != "2.0.0" {
		t.Errorf("got %s", got)
	}
}
