package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/dns"
	"mailx/pkg/mail"
)

func TestInTurn(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"::1":                             "::1",
		"::1 1.0.0.1":                     "::1 1.0.0.1",
		"::1 ::2 ::3 1.0.0.1":             "::1 1.0.0.1 ::2 ::3",
		"::1 ::2 1.0.0.1 1.0.0.2 1.0.0.3": "::1 1.0.0.1 ::2 1.0.0.2 1.0.0.3",
		"1.0.0.1 1.0.0.2 ::1":             "1.0.0.1 ::1 1.0.0.2",
		"1.0.0.1 1.0.0.2 1.0.0.3":         "1.0.0.1 1.0.0.2 1.0.0.3",
	} {
		var addrs []netip.Addr
		for _, word := range strings.Fields(in) {
			addrs = append(addrs, netip.MustParseAddr(word))
		}
		var words []string
		for _, a := range inTurn(addrs) {
			words = append(words, a.String())
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

const fallbackZone = `
both.example.  AAAA 2001:db8::1
both.example.  AAAA 2001:db8::2
both.example.  A    192.0.2.1
both.example.  A    192.0.2.2
`

// place is what an address does: after a time it takes the connection, and greets with this, or refuses it if that is empty.
type place struct {
	after time.Duration
	greet string
}

// lands are places by address, and what was done there.
type lands struct {
	places map[string]place

	mu     sync.Mutex
	dialed []string // "0s 2001:db8::1"
	began  time.Time
	open   int // connections that were taken and not closed
}

func (l *lands) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	l.mu.Lock()
	l.dialed = append(l.dialed, fmt.Sprint(time.Since(l.began), " ", host))
	l.mu.Unlock()
	p, known := l.places[host]
	if !known {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(p.after)
	switch {
	case ctx.Err() != nil && p.greet == "":
		return nil, ctx.Err()
	case p.greet == "":
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	l.mu.Lock()
	l.open++
	l.mu.Unlock()
	go l.serve(far, p.greet)
	return near, nil
}

// seen is what was dialed.
func (l *lands) seen() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.dialed, ", ")
}

// serve says yes to everything, as soon as it has greeted.
func (l *lands) serve(nc net.Conn, greeting string) {
	defer func() {
		nc.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
	}()
	c := newLines(nc)
	c.say(greeting)
	for {
		line := c.read()
		switch {
		case line == "":
			return
		case line == "DATA":
			c.say("354 go")
			for c.read() != "." {
			}
			c.say("250 ok")
		default:
			c.say("250 ok")
		}
	}
}

// lines is a connection of lines.
type lines struct {
	nc   net.Conn
	rest string
}

func newLines(nc net.Conn) *lines { return &lines{nc: nc} }

func (c *lines) say(line string) { c.nc.Write([]byte(line + "\r\n")) }

// read gives "" at the end.
func (c *lines) read() string {
	buf := make([]byte, 4096)
	for !strings.Contains(c.rest, "\r\n") {
		n, err := c.nc.Read(buf)
		if c.rest += string(buf[:n]); err != nil {
			return ""
		}
	}
	line, rest, _ := strings.Cut(c.rest, "\r\n")
	c.rest = rest
	return line
}

// RFC 8305: an address that says nothing costs a quarter of a second, one that refuses costs nothing, and what comes too late
// is closed.
func TestFallback(t *testing.T) {
	const hello = "220 both.example"
	for _, c := range []struct {
		name   string
		places map[string]place
		want   string
		dialed string
	}{
		{"the first one takes it", map[string]place{"2001:db8::1": {0, hello}}, "2.0.0", "0s 2001:db8::1"},
		{"the first one is slow", map[string]place{"2001:db8::1": {200 * time.Millisecond, hello}}, "2.0.0", "0s 2001:db8::1"},
		{"IPv6 leads nowhere", map[string]place{"192.0.2.1": {0, hello}}, "2.0.0", "0s 2001:db8::1, 250ms 192.0.2.1"},
		{"IPv6 is refused", map[string]place{"2001:db8::1": {}, "192.0.2.1": {0, hello}}, "2.0.0", "0s 2001:db8::1, 0s 192.0.2.1"},
		{"the first one comes late", map[string]place{"2001:db8::1": {400 * time.Millisecond, hello}, "192.0.2.1": {300 * time.Millisecond, hello}},
			"2.0.0", "0s 2001:db8::1, 250ms 192.0.2.1"},
		{"only the last one is there", map[string]place{"192.0.2.2": {0, hello}}, "2.0.0",
			"0s 2001:db8::1, 250ms 192.0.2.1, 500ms 2001:db8::2, 750ms 192.0.2.2"},
		{"the first one is busy", map[string]place{"2001:db8::1": {0, "421 busy"}, "192.0.2.1": {0, hello}}, "2.0.0",
			"0s 2001:db8::1, 0s 192.0.2.1"},
		{"all refuse", map[string]place{"2001:db8::1": {}, "192.0.2.1": {}, "2001:db8::2": {}, "192.0.2.2": {}}, "4.4.1",
			"0s 2001:db8::1, 0s 192.0.2.1, 0s 2001:db8::2, 0s 192.0.2.2"},
		{"nobody is there", nil, "4.4.1", "0s 2001:db8::1, 250ms 192.0.2.1, 500ms 2001:db8::2, 750ms 192.0.2.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zone, err := dns.ParseZone(strings.NewReader(fallbackZone))
				if err != nil {
					t.Fatal(err)
				}
				l := &lands{places: c.places, began: time.Now()}
				r := &Relay{Resolver: zone, Dial: l.dial}
				env := envelope(t, "", "a@both.example")
				results := r.Deliver(t.Context(), env, strings.NewReader(text), int64(len(text)))
				if got := mail.StatusOf(results[0].Err).String(); got != c.want {
					t.Errorf("got %s (%v), want %s", got, results[0].Err, c.want)
				}
				synctest.Wait()
				if got := l.seen(); got != c.dialed {
					t.Errorf("dialed %s, want %s", got, c.dialed)
				}
				r.Close()
				time.Sleep(time.Minute)
				synctest.Wait()
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.open != 0 {
					t.Errorf("%d connections are left open", l.open)
				}
			})
		})
	}
}

// What an address that lost a race would have done nobody knows: only those that failed are left out the next time.
func TestFallbackBuriesWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone, err := dns.ParseZone(strings.NewReader(fallbackZone))
		if err != nil {
			t.Fatal(err)
		}
		l := &lands{began: time.Now(), places: map[string]place{"2001:db8::1": {}, "2001:db8::2": {time.Second, "220 late"}, "192.0.2.1": {time.Hour, ""}, "192.0.2.2": {0, "220 hi"}}}
		r := &Relay{Resolver: zone, Dial: l.dial, IdleLimit: -1}
		for range 2 {
			if got := deliver(t, r, envelope(t, "", "a@both.example")); got != "2.0.0" {
				t.Fatalf("got %s", got)
			}
		}
		time.Sleep(2 * time.Hour)
		l.mu.Lock()
		defer l.mu.Unlock()
		again := slices.ContainsFunc(l.dialed[4:], func(s string) bool { return strings.HasSuffix(s, "2001:db8::1") })
		if again || len(l.dialed) != 7 {
			t.Errorf("dialed %q", l.dialed)
		}
		r.Close()
	})
}

// A source address is that of the connection, where it is of the right family.
func TestSource(t *testing.T) {
	h := startHost(t, func(_ *host, s *gosmtp.Server) { s.MaxRecipients = 10 })
	r := &Relay{}
	t.Cleanup(r.Close)
	hop := server(t, "smtp://"+h.addr)
	for source, want := range map[string]string{"": "127.0.0.1", "127.0.0.9": "127.0.0.9", "::1": "127.0.0.1", "::1 127.0.0.8": "127.0.0.8"} {
		route := Route{Servers: []Server{hop}, Name: source}
		for _, word := range strings.Fields(source) {
			route.Source = append(route.Source, netip.MustParseAddr(word))
		}
		nc, err := r.dial(t.Context(), route.Source, "tcp", h.addr)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		host, _, _ := net.SplitHostPort(nc.LocalAddr().String())
		nc.Close()
		if host != want {
			t.Errorf("source %s: the connection is from %s, want %s", source, host, want)
		}
		r.Via = func(string) Route { return route }
		if got := deliver(t, r, envelope(t, "", "a@x.example")); got != "2.0.0" {
			t.Errorf("source %s: got %s", source, got)
		}
	}
}
