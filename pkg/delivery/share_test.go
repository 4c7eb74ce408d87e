package delivery

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/dns"
	"mailx/pkg/mail"
)

const shareZone = `
two.example.  A 192.0.2.1
two.example.  A 192.0.2.2
`

// partly dials to addresses that do what the last part of them says: 1 takes no connection, 2 takes it and says nothing, 3 greets
// after ten seconds, 4 at once.
func (l *lands) partly(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	l.mu.Lock()
	l.dialed = append(l.dialed, fmt.Sprint(time.Since(l.began), " ", host))
	l.mu.Unlock()
	if strings.HasSuffix(host, ".1") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	l.mu.Lock()
	l.open++
	l.mu.Unlock()
	go func() {
		switch {
		case strings.HasSuffix(host, ".2"):
			far.Read(make([]byte, 1))
		case strings.HasSuffix(host, ".3"):
			time.Sleep(10 * time.Second)
		}
		l.serve(far, "220 "+host)
	}()
	return near, nil
}

// A server that says nothing leaves time for the next one, where there is an end to the time.
func TestShareOfTime(t *testing.T) {
	for _, c := range []struct {
		servers string
		limit   time.Duration // 0: none
		want    string
		dialed  string
	}{
		{"127.0.0.2 127.0.0.4", 30 * time.Second, "2.0.0", "0s 127.0.0.2, 15s 127.0.0.4"},
		{"127.0.0.1 127.0.0.4", 30 * time.Second, "2.0.0", "0s 127.0.0.1, 15s 127.0.0.4"},
		{"127.0.0.3 127.0.0.4", 30 * time.Second, "2.0.0", "0s 127.0.0.3"},
		{"127.0.0.2 127.0.1.2 127.0.0.1 127.0.0.4", 32 * time.Second, "2.0.0", "0s 127.0.0.2, 16s 127.0.1.2, 24s 127.0.0.1, 28s 127.0.0.4"},
		{"127.0.0.2 127.0.1.2", 30 * time.Second, "4.4.1", "0s 127.0.0.2, 15s 127.0.1.2"},
		{"127.0.0.2", 30 * time.Second, "4.4.2", "0s 127.0.0.2"},
		{"127.0.0.2 127.0.0.4", 0, "2.0.0", "0s 127.0.0.2, 5m0s 127.0.0.4"},
		{"127.0.0.1 127.0.0.4", 0, "2.0.0", "0s 127.0.0.1, 30s 127.0.0.4"},
		// Of the addresses of one server, one that takes no connection costs a moment.
		{"two.example", 32 * time.Second, "4.4.1", "0s 192.0.2.1, 250ms 192.0.2.2, 16.125s 192.0.2.1"},
		{"two.example 127.0.0.4", 32 * time.Second, "2.0.0", "0s 192.0.2.1, 250ms 192.0.2.2, 8.125s 192.0.2.1, 16s 127.0.0.4"},
	} {
		synctest.Test(t, func(t *testing.T) {
			zone, err := dns.ParseZone(strings.NewReader(shareZone))
			if err != nil {
				t.Fatal(err)
			}
			var route Route
			for _, host := range strings.Fields(c.servers) {
				route.Servers = append(route.Servers, Server{Scheme: "smtp", Host: host, Port: 25})
			}
			l := &lands{began: time.Now()}
			r := &Relay{Resolver: zone, Dial: l.partly, Via: func(string) Route { return route }}
			ctx, cancel := context.WithCancel(t.Context())
			if c.limit > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), c.limit)
			}
			defer cancel()
			results := r.Deliver(ctx, envelope(t, "", "a@x.example"), strings.NewReader(text), int64(len(text)))
			if got := mail.StatusOf(results[0].Err).String(); got != c.want || l.seen() != c.dialed {
				t.Errorf("%s: got %s (%v) and dialed %s\nwant %s, %s", c.servers, got, results[0].Err, l.seen(), c.want, c.dialed)
			}
			if c.limit > 0 && time.Since(l.began) > c.limit {
				t.Errorf("%s: took %v of %v", c.servers, time.Since(l.began), c.limit)
			}
			r.Close()
			cancel()
			time.Sleep(time.Minute)
			synctest.Wait()
		})
	}
}

// The time that it takes to type a password is not the server's.
func TestShareOfTimeIsForServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lands{began: time.Now()}
		route := Route{Login: func(context.Context, Server) (auth.Credentials, error) {
			time.Sleep(20 * time.Second)
			return auth.Credentials{}, fmt.Errorf("no such thing")
		}}
		for _, host := range []string{"127.0.0.4", "127.0.1.4"} {
			route.Servers = append(route.Servers, Server{Scheme: "smtp", Host: host, Port: 25, User: "me"})
		}
		r := &Relay{Dial: l.partly, Via: func(string) Route { return route }}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := r.Deliver(ctx, envelope(t, "", "a@x.example"), strings.NewReader(text), int64(len(text)))[0].Err
		if want := "0s 127.0.0.4, 20s 127.0.1.4"; l.seen() != want || !strings.Contains(fmt.Sprint(err), "no such thing") {
			t.Errorf("got %v, and dialed %s; want %s", err, l.seen(), want)
		}
		r.Close()
		time.Sleep(time.Minute)
	})
}
