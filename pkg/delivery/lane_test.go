package delivery

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

// waiting are deliveries in a line, of which it is noted what became of them.
type waiting struct {
	t    *testing.T
	mu   sync.Mutex
	left []*mail.Delivery
	done []string
}

func (w *waiting) add(from, to string) *mail.Delivery {
	d := &mail.Delivery{Env: envelope(w.t, from, to), Msg: strings.NewReader(text), Size: int64(len(text))}
	d.Done = func(results []mail.Result) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = append(w.done, results[0].Local+" "+mail.StatusOf(results[0].Err).String())
	}
	w.left = append(w.left, d)
	return d
}

func (w *waiting) next() *mail.Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.left) == 0 {
		return nil
	}
	d := w.left[0]
	w.left = w.left[1:]
	return d
}

// carry has all of them carried, and gives what became of them in that order.
func (w *waiting) carry(t *Transport) string {
	for {
		d := w.next()
		if d == nil {
			return strings.Join(w.done, ", ")
		}
		t.Lane(d.Env).Carry(w.t.Context(), d, w.next)
	}
}

func laneTransport(r *Relay, change func(*Router)) *Transport {
	router := &Router{Domains: []string{"here.example"}}
	if change != nil {
		change(router)
	}
	r.Via = router.Via
	return &Transport{Router: router, Relay: r}
}

func TestLane(t *testing.T) {
	tr := laneTransport(testRelay(t, nil).Relay, func(r *Router) {
		r.Routes = map[string]Route{"exec.example": {Command: []string{"true"}}, "pair.example": {Name: "a", Servers: []Server{{Scheme: "smtp", Host: "mx1.example", Port: 25}}}}
	})
	for to, want := range map[string]string{
		"a@one.example": "mx:one.example", "b@ONE.example": "mx:one.example", "a@pair.example": "smtp://mx1.example:25 (route a)",
		"a@here.example": "", "a@exec.example": "", "a@one.example b@one.example": "",
	} {
		got := ""
		if l := tr.Lane(envelope(t, "me@x.example", strings.Fields(to)...)); l != nil {
			got = l.Key()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", to, got, want)
		}
	}
}

// Where mail goes that is for a local domain, or depends on who sends it, can't be told from the domain.
func TestLaneByDomain(t *testing.T) {
	transport := laneTransport(&Relay{}, nil)
	if !transport.IsByDomain("y.example") || transport.IsByDomain("Here.example") {
		t.Error("not the local domain alone")
	}
	if transport.Relay.PerSender = true; transport.IsByDomain("y.example") {
		t.Error("with routes for senders")
	}
}

// All go over one connection, and each has its own result.
func TestLaneCarries(t *testing.T) {
	h := startHost(t, nil)
	tr := laneTransport(testRelay(t, map[string]string{"127.0.0.12:25": h.addr}).Relay, nil)
	w := &waiting{t: t}
	for _, to := range []string{"a", "no", "b", "later", "c"} {
		w.add("me@x.example", to+"@two.example")
	}
	if got := w.carry(tr); got != "a 2.0.0, no 5.1.1, b 2.0.0, later 4.2.1, c 2.0.0" {
		t.Errorf("got %s", got)
	}
	if len(h.got()) != 3 || h.count() != 1 {
		t.Errorf("%d sessions with %q", h.count(), h.got())
	}
}

// A server may end a connection whenever it likes; what it has not begun with goes over another one.
func TestLaneConnectsAgain(t *testing.T) {
	group := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA")}
	script := func(last ...mailtest.Act) []mailtest.Act {
		acts := []mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-hi", "250 PIPELINING")}
		acts = append(append(acts, group...), mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."))
		return append(append(acts, group...), last...)
	}
	tests := []struct {
		name string
		last []mailtest.Act
		want string
	}{
		{"closed behind the verdict", []mailtest.Act{mailtest.Reply("250 ok")}, "a 2.0.0, b 2.0.0, c 2.0.0"},
		{"421 behind the verdict", []mailtest.Act{mailtest.Reply("250 ok", "421 4.3.2 enough")}, "a 2.0.0, b 2.0.0, c 2.0.0"},
		{"421 as verdict", []mailtest.Act{mailtest.Reply("421 4.3.2 bye")}, "a 4.3.2, b 2.0.0, c 2.0.0"},
		{"closed before the verdict", nil, "a 4.4.2, b 2.0.0, c 2.0.0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			first, second := mailtest.ScriptServer(t, script(test.last...)...), startHost(t, nil)
			hosts := map[string]string{"127.0.0.12:25": first.Addr}
			tr := laneTransport(testRelay(t, hosts).Relay, nil)
			w := &waiting{t: t}
			w.add("me@x.example", "a@two.example")
			w.add("me@x.example", "b@two.example")
			w.add("me@x.example", "c@two.example")
			d := w.next()
			tr.Lane(d.Env).Carry(t.Context(), d, func() *mail.Delivery {
				hosts["127.0.0.12:25"] = second.addr // is read by the same goroutine
				return w.next()
			})
			if got := strings.Join(w.done, ", "); got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// A server that takes nobody is asked once more for what came by an old connection, and not again.
func TestLaneGivesUp(t *testing.T) {
	bad := mailtest.ScriptServer(t, mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-hi", "250 PIPELINING"), mailtest.Expect("MAIL"),
		mailtest.Reply("421 4.3.2 no"))
	n := testRelay(t, map[string]string{"127.0.0.12:25": bad.Addr})
	w := &waiting{t: t}
	w.add("me@x.example", "a@two.example")
	w.add("me@x.example", "b@two.example")
	if got := w.carry(laneTransport(n.Relay, nil)); got != "a 4.3.2, b 4.3.2" || n.dialed.Load() != 2 {
		t.Errorf("got %s over %d connections", got, n.dialed.Load())
	}
}

// Where only one may be there at a time, those who wait for that have their turn.
func TestLaneIsFair(t *testing.T) {
	h := startHost(t, nil)
	n := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	n.PerDestination = 1
	tr := laneTransport(n.Relay, nil)
	w, other := &waiting{t: t}, &waiting{t: t}
	for i := range 3 {
		w.add("me@x.example", fmt.Sprintf("a%d@two.example", i))
	}
	came := make(chan struct{})
	first, late := w.next(), other.add("me@x.example", "b@two.example")
	tr.Lane(first.Env).Carry(t.Context(), first, func() *mail.Delivery {
		if d := w.next(); d != nil && len(w.left) > 0 {
			go func() {
				defer close(came)
				tr.Lane(late.Env).Carry(t.Context(), late, func() *mail.Delivery { return nil })
			}()
			n.pool.awaitWaiter("mx:two.example")
			return d
		}
		t.Error("asked for another one while somebody waits")
		return nil
	})
	<-came
	if got := strings.Join(append(w.done, other.done...), ", "); got != "a0 2.0.0, a1 2.0.0, b 2.0.0" || len(w.left) != 1 {
		t.Errorf("got %s, %d left", got, len(w.left))
	}
}

// awaitWaiter comes back when somebody waits for a slot, or there is no hope that he will.
func (p *pool) awaitWaiter(key string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		p.mu.Lock()
		isThere := len(p.dests[key].waiting) > 0
		p.mu.Unlock()
		if isThere {
			return
		}
	}
}

// Each wears the mask that its sender needs.
func TestLaneMasks(t *testing.T) {
	h := startHost(t, func(_ *host, s *gosmtp.Server) { s.AllowInsecureAuth = true })
	n := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	mask := &Masquerade{As: address(t, "us@x.example"), Has: func(a mail.Address) bool { return a.Domain == "x.example" }}
	tr := laneTransport(n.Relay, func(r *Router) { r.Routes = map[string]Route{"two.example": {Name: "two", Masquerade: mask}} })
	w := &waiting{t: t}
	for _, from := range []string{"one@y.example", "me@x.example", "two@y.example"} {
		w.add(from, "a@two.example")
	}
	if got := w.carry(tr); got != "a 2.0.0, a 2.0.0, a 2.0.0" {
		t.Errorf("got %s", got)
	}
	var senders []string
	for _, m := range h.got() {
		senders = append(senders, strings.Fields(m)[0])
	}
	if got := strings.Join(senders, " "); got != "us@x.example me@x.example us@x.example" {
		t.Errorf("senders %s", got)
	}
}

// With an end of the context nobody is left without a result.
func TestLaneInterrupted(t *testing.T) {
	group := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA")}
	acts := append([]mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-hi", "250 PIPELINING")}, group...)
	h := mailtest.ScriptServer(t, append(acts, mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."), mailtest.Silence())...)
	tr := laneTransport(testRelay(t, map[string]string{"127.0.0.12:25": h.Addr}).Relay, nil)
	w := &waiting{t: t}
	w.add("me@x.example", "a@two.example")
	w.add("me@x.example", "b@two.example")
	ctx, cancel := context.WithCancel(t.Context())
	d := w.next()
	tr.Lane(d.Env).Carry(ctx, d, func() *mail.Delivery { cancel(); return w.next() })
	if got := strings.Join(w.done, ", "); got != "a 4.4.2, b 4.4.2" {
		t.Errorf("got %s", got)
	}
}

// A server that throws away what stands behind a text costs one wait, and not one for each message.
func TestLaneOfTheDeaf(t *testing.T) {
	commands := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA")}
	acts := append([]mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "250-hi", "250 PIPELINING")}, commands...)
	acts = append(append(acts, mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo(".")), commands...)
	deaf, other := mailtest.ScriptServer(t, append(acts, mailtest.Reply("250 ok"), mailtest.Silence())...), startHost(t, nil)
	hosts := map[string]string{"127.0.0.12:25": deaf.Addr}
	n := testRelay(t, hosts)
	n.Timeouts.Mail = 50 * time.Millisecond
	tr := laneTransport(n.Relay, nil)
	w := &waiting{t: t}
	for i := range 4 {
		w.add("me@x.example", fmt.Sprintf("a%d@two.example", i))
	}
	asked := 0
	d := w.next()
	tr.Lane(d.Env).Carry(t.Context(), d, func() *mail.Delivery {
		asked++
		hosts["127.0.0.12:25"] = other.addr // is read by the same goroutine
		return w.next()
	})
	if got := w.carry(tr); got != "a0 2.0.0, a1 2.0.0, a2 2.0.0, a3 2.0.0" || asked != 1 || n.dialed.Load() != 2 {
		t.Errorf("got %s, asked %d times, over %d connections", got, asked, n.dialed.Load())
	}
	d = w.add("me@x.example", "b@two.example")
	n.Now = func() time.Time { return time.Now().Add(2 * apartFor) }
	tr.Lane(d.Env).Carry(t.Context(), d, func() *mail.Delivery { asked++; return nil })
	if asked != 2 {
		t.Error("it is never asked again")
	}
}

// Where it is us who have no descriptor left, nothing is known of the destination.
func TestOurTroubleIsForgotten(t *testing.T) {
	h := startHost(t, nil)
	n := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	dial, isFull := n.Dial, true
	n.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if isFull {
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}
		}
		return dial(ctx, network, address)
	}
	if got := deliver(t, n, envelope(t, "me@x.example", "a@two.example")); got != "4.4.1" {
		t.Errorf("without descriptors: got %s", got)
	}
	isFull = false
	if got := deliver(t, n, envelope(t, "me@x.example", "a@two.example")); got != "2.0.0" || len(n.Dead()) > 0 {
		t.Errorf("a moment later: got %s, dead %q", got, n.Dead())
	}
}
