package delivery

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
)

func TestRouteKey(t *testing.T) {
	for in, want := range map[string]string{"*": "*", "X.Example.": "x.example", ".X.example": ".x.example", "bücher.example": "xn--bcher-kva.example",
		".bücher.example": ".xn--bcher-kva.example"} {
		if got := RouteKey(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// What a route says of TLS holds for its servers and for nobody else's: fingerprints, and the certificate that is shown.
func TestRouteTLS(t *testing.T) {
	ca := mailtest.NewCA(t)
	cert := ca.Client("client.example")
	show := func() (*tls.Certificate, error) { return &cert, nil }
	strict := startHost(t, func(_ *host, s *gosmtp.Server) { s.TLSConfig = ca.MutualConfig("mx2.example") })
	strange := startHost(t, func(_ *host, s *gosmtp.Server) { s.TLSConfig = mailtest.NewCA(t).ServerConfig("nobody.example") })
	sum := sha256.Sum256(tlsLeaf(t, strange.addr))
	pin, err := smtp.ParsePin(hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		at    *host
		route Route
		want  string
	}{
		{"certificate is shown", strict, Route{TLS: smtp.TLSVerified, Certificate: show}, "2.0.0"},
		{"none is shown", strict, Route{TLS: smtp.TLSVerified}, "4"},
		{"pinned", strange, Route{TLS: smtp.TLSPinned, Pins: []smtp.Pin{pin}}, "2.0.0"},
		{"not pinned", strange, Route{TLS: smtp.TLSVerified}, "4.7.5"},
		{"another one is pinned", strict, Route{TLS: smtp.TLSPinned, Pins: []smtp.Pin{pin}}, "4.7.5"},
	} {
		r := testRelay(t, map[string]string{"127.0.0.12:25": c.at.addr})
		r.TLSConfig = ca.ClientConfig("")
		r.Via = func(string) Route { return c.route }
		if got := deliver(t, r, envelope(t, "", "a@two.example")); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if r := (&Route{Certificate: show}); r.tlsConfig(nil).GetClientCertificate == nil {
		t.Error("no certificate without roots")
	}
}

// tlsLeaf is the certificate that a server shows after STARTTLS.
func tlsLeaf(t *testing.T, addr string) []byte {
	t.Helper()
	c, err := smtp.Dial(t.Context(), "tcp", addr, smtp.ClientOptions{TLS: smtp.TLSRequired})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Quit()
	return c.TLS().PeerCertificates[0].Raw
}

// bearerHost is a host that takes one token, by one mechanism.
type bearerHost struct {
	*host
	mech  string
	token string
}

func (b *bearerHost) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	s, err := b.host.NewSession(c)
	return &bearerSession{s.(*hostSession), b}, err
}

type bearerSession struct {
	*hostSession
	b *bearerHost
}

func (s *bearerSession) AuthMechanisms() []string { return []string{s.b.mech} }

func (s *bearerSession) Auth(mech string) (gosasl.Server, error) {
	return gosasl.NewOAuthBearerServer(func(opts gosasl.OAuthBearerOptions) *gosasl.OAuthBearerError {
		if s.isIn = opts.Token == s.b.token; !s.isIn {
			return &gosasl.OAuthBearerError{Status: "invalid_token"}
		}
		return nil
	}), nil
}

// A token is asked for before each login, for the one of an hour ago has expired; trouble with that is no verdict on the mail.
func TestRouteToken(t *testing.T) {
	b := &bearerHost{host: &host{password: "x"}, mech: "OAUTHBEARER"}
	l := mailtest.Listen(t)
	srv := gosmtp.NewServer(b)
	srv.AllowInsecureAuth = true
	var ended sync.WaitGroup
	ended.Go(func() { srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); ended.Wait() })
	asked := 0
	var trouble error
	route := Route{Servers: []Server{server(t, "smtp://me@"+l.Addr().String())}}
	route.Login = func(context.Context, Server) (auth.Credentials, error) {
		asked++
		return auth.Credentials{Token: fmt.Sprint("token", asked)}, trouble
	}
	r := &Relay{Via: func(string) Route { return route }, IdleLimit: -1, DeadFor: -1}
	t.Cleanup(r.Close)
	for _, c := range []struct {
		token     string
		mechanism string
		trouble   error
		want      string
	}{
		{"token1", "", nil, "2.0.0"},
		{"token2", "", nil, "2.0.0"},
		{"another", "", nil, "4.7.0"},
		{"token4", "XOAUTH2", nil, "4.7.0"},
		{"token5", "OAuthBearer", nil, "2.0.0"},
		{"token6", "", errors.New("no helper today"), "4.7.0"},
	} {
		b.token, route.Mechanism, trouble = c.token, c.mechanism, c.trouble
		if got := deliver(t, r, envelope(t, "", "a@two.example")); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.token, c.mechanism, got, c.want)
		}
	}
}

// Two routes to one server share no connection: who logs in as somebody, or from somewhere, does so for his own mail.
func TestRoutesDoNotShare(t *testing.T) {
	h := startHost(t, nil)
	r := &Relay{Via: func(domain string) Route {
		return Route{Name: domain, Connections: len(domain), Servers: []Server{server(t, "smtp://"+h.addr)}}
	}}
	t.Cleanup(r.Close)
	for range 2 {
		if got := deliver(t, r, envelope(t, "", "a@one.example", "b@two.example")); got != "2.0.0 2.0.0" {
			t.Errorf("got %s", got)
		}
	}
	if h.count() != 2 || len(h.got()) != 4 {
		t.Errorf("%d connections, %d messages, want 2 and 4", h.count(), len(h.got()))
	}
	if p := r.partOf(&mail.Envelope{}, "x.example"); r.limit(p) != len("x.example") {
		t.Errorf("limit %d", r.limit(p))
	}
}

// What explain tells is what a delivery does: the same hosts in the same order, with the same addresses.
func TestHopsAreReal(t *testing.T) {
	for _, c := range []struct{ domain, hops, dialed string }{
		{"one.example", "mx1.example 10 [127.0.0.11], mx2.example 20 [127.0.0.12]", "127.0.0.11:25 127.0.0.12:25"},
		{"multi.example", "multi.example 0 [127.0.0.13 127.0.0.12]", "127.0.0.13:25 127.0.0.12:25"},
		{"[127.0.0.14]", "[127.0.0.14] 0 [127.0.0.14]", "127.0.0.14:25"},
		{"null.example", "5.1.10", ""},
		{"fail.example", "4.4.3", ""},
		{"via.example", "two.example 0 [], mx2.example 0 [127.0.0.12], 127.0.0.15 0 [127.0.0.15]", "127.0.0.12:2525 127.0.0.15:25"},
	} {
		r := testRelay(t, nil)
		r.Via = func(domain string) Route {
			if domain != "via.example" {
				return Route{}
			}
			return Route{Servers: []Server{server(t, "smtp://two.example"), server(t, "smtp://mx2.example:2525"), server(t, "smtp://127.0.0.15")}}
		}
		var mu sync.Mutex
		var dialed []string
		r.Dial = dialRecorder(&mu, &dialed)
		hops, err := r.Hops(t.Context(), c.domain)
		var words []string
		for _, h := range hops {
			addrs, _ := r.Resolve(t.Context(), h)
			words = append(words, fmt.Sprint(h.Host, " ", h.Pref, " ", addrs))
		}
		got := strings.Join(words, ", ")
		if err != nil {
			got = mail.StatusOf(err).String()
		}
		if got != c.hops {
			t.Errorf("%s: hops %s, want %s", c.domain, got, c.hops)
		}
		r.Deliver(t.Context(), &mail.Envelope{Rcpts: []mail.Recipient{{Address: mail.Address{Local: "a", Domain: c.domain}}}}, strings.NewReader(text), int64(len(text)))
		if got := strings.Join(dialed, " "); got != c.dialed {
			t.Errorf("%s: dialed %s, want %s", c.domain, got, c.dialed)
		}
	}
}

func dialRecorder(mu *sync.Mutex, dialed *[]string) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		*dialed = append(*dialed, address)
		return nil, errors.New("connection refused")
	}
}
