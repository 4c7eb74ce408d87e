package smtp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// What stands in front of the server: XCLIENT, early talkers.
func TestFrontDialogs(t *testing.T) {
	mailtest.CheckLeaks(t)
	ca := mailtest.NewCA(t)
	front := func(implicit bool) mailtest.Dialer {
		return startServer(t, &Server{Hostname: "hamburger.edu", Backend: &memory{}, Auth: bobOnly{}, MaxSize: 5000, MaxRcpts: 3,
			MaxMessages: 6, TLS: ca.ServerConfig("hamburger.edu"), Implicit: implicit, XClientFrom: loopback})
	}
	dial := front(false)
	opt := mailtest.Options{TLS: ca.ClientConfig("hamburger.edu"), DialTLS: front(true)}
	for _, name := range []string{"offer", "begins-anew", "in-transaction", "syntax", "help"} {
		t.Run(name, func(t *testing.T) {
			mailtest.RunTranscript(t, "../../testdata/dialogs/smtp-front/xclient-"+name+".txt", dial, opt)
		})
	}
	strict := startServer(t, &Server{Hostname: "hamburger.edu", Backend: &memory{}, Auth: bobOnly{}, AuthRequired: true, MaxSize: 5000,
		MaxRcpts: 3, XClientFrom: loopback})
	mailtest.RunTranscript(t, "../../testdata/dialogs/smtp-front/xclient-login.txt", strict, mailtest.Options{})

	early := &Server{Hostname: "hamburger.edu", Backend: &memory{}, GreetDelay: time.Minute}
	l := mailtest.Listen(t)
	served := make(chan bool)
	go func() {
		defer close(served)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			early.ServeConn(context.Background(), elsewhere{nc, "192.0.2.7:40000"})
		}
	}()
	mailtest.RunTranscripts(t, "../../testdata/dialogs/smtp-early/*.txt", mailtest.DialTCP(l.Addr().String()), mailtest.Options{})
	l.Close()
	<-served
}

// short is a memory without room for more than 3000 octets.
type short struct{ memory }

var errNoRoom = mail.Temporaryf(3, 1, "Insufficient system storage")

func (s *short) Mail(ctx context.Context, p *Peer, env *mail.Envelope) (Tx, error) {
	if env.Size > 3000 {
		return nil, errNoRoom
	}
	tx, err := s.memory.Mail(ctx, p, env)
	return &shortTx{Tx: tx}, err
}

type shortTx struct {
	Tx
	size int
}

func (tx *shortTx) Write(b []byte) (int, error) {
	if tx.size += len(b); tx.size > 3000 {
		return 0, errNoRoom
	}
	return tx.Tx.Write(b)
}

// What servers of other roles refuse: one that has nothing but SMTP, and one for submission.
func TestRoleDialogs(t *testing.T) {
	bare := startServer(t, &Server{Hostname: "hamburger.edu", Backend: &short{}, MaxSize: 5000})
	mailtest.RunTranscripts(t, "../../testdata/dialogs/smtp-bare/*.txt", bare, mailtest.Options{})
	ca := mailtest.NewCA(t)
	submission := func(implicit bool) mailtest.Dialer {
		return startServer(t, &Server{Hostname: "hamburger.edu", Backend: &memory{}, Auth: bobOnly{}, AuthRequired: true, TLSRequired: true,
			TLS: ca.ServerConfig("hamburger.edu"), Implicit: implicit, MaxHold: 24 * time.Hour})
	}
	mailtest.RunTranscripts(t, "../../testdata/dialogs/smtp-submission/*.txt", submission(false),
		mailtest.Options{TLS: ca.ClientConfig("hamburger.edu"), DialTLS: submission(true)})
}

// elsewhere is a connection from an address that is not ours.
type elsewhere struct {
	net.Conn
	addr string
}

func (e elsewhere) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(e.addr))
}

// play has a client of an address talk to a server in fake time.
func play(t *testing.T, srv *Server, addr string, talk func(client net.Conn)) (after time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		done := make(chan bool)
		go func() { talk(client); client.Close(); close(done) }()
		start := time.Now()
		err = srv.ServeConn(context.Background(), elsewhere{server, addr})
		after = time.Since(start)
		<-done
	})
	return after, err
}

// expect reads replies until one begins with code.
func expect(nc net.Conn, code string) string {
	buf := make([]byte, 4096)
	for all := ""; ; {
		n, err := nc.Read(buf)
		all += string(buf[:n])
		last := strings.TrimSuffix(all, "\r\n")
		last = last[strings.LastIndexByte(last, '\n')+1:]
		if err != nil || strings.HasPrefix(last, code+" ") && strings.HasSuffix(all, "\r\n") {
			return all
		}
	}
}

func TestGreetDelay(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		want       time.Duration
	}{{"patient", "192.0.2.7:1", 6 * time.Second}, {"this host", "127.0.0.1:1", 0}} {
		var greeted time.Duration
		after, _ := play(t, &Server{Hostname: "h.example", Backend: &memory{}, GreetDelay: 6 * time.Second}, c.addr, func(nc net.Conn) {
			start := time.Now()
			if got := expect(nc, "220"); !strings.HasPrefix(got, "220 ") {
				t.Errorf("%s: %q", c.name, got)
			}
			greeted = time.Since(start)
			io.WriteString(nc, "QUIT\r\n")
			expect(nc, "221")
		})
		if greeted != c.want || after != c.want {
			t.Errorf("%s: greeted after %v, over after %v; want %v", c.name, greeted, after, c.want)
		}
	}
}

// How long message data may take: what is slow and what is not, with DATA and in chunks.
func TestSlowData(t *testing.T) {
	const begin = "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<bob@x.example>\r\n"
	srv := func(rate int) *Server {
		return &Server{Hostname: "h.example", Backend: &memory{}, MinRate: rate, MaxRcpts: 10}
	}
	for _, c := range []struct {
		name  string
		rate  int
		every time.Duration // an octet
		want  time.Duration // 0: the message is taken
	}{
		{"DATA, honest", 0, time.Millisecond, 0},
		{"DATA, an octet a second", 0, time.Second, DefaultDataTimeout + 20*time.Second},
		{"DATA, an octet a minute", 0, time.Minute, DefaultDataTimeout + 20*time.Second},
		{"DATA, an octet a second, no rate", -1, time.Second, 0},
	} {
		data := strings.Repeat("Lorem ipsum\r\n", 200) + ".\r\n"
		last := ""
		after, err := play(t, srv(c.rate), "192.0.2.7:1", func(nc net.Conn) {
			expect(nc, "220")
			go io.WriteString(nc, begin+"DATA\r\n")
			expect(nc, "354")
			for i := range len(data) {
				if _, err := nc.Write([]byte(data[i : i+1])); err != nil {
					return
				}
				time.Sleep(c.every)
			}
			last = expect(nc, "250")
		})
		if c.want == 0 && !strings.HasPrefix(last, "250 ") || c.want > 0 && (after > c.want || last != "") {
			t.Errorf("%s: %q, %v after %v; want %v", c.name, last, err, after, c.want)
		}
	}
	after, err := play(t, srv(0), "192.0.2.7:1", func(nc net.Conn) {
		expect(nc, "220")
		go io.WriteString(nc, begin)
		expect(nc, "250")
		for {
			time.Sleep(200 * time.Second)
			if _, err := io.WriteString(nc, "BDAT 1\r\n"); err != nil {
				return
			}
			time.Sleep(200 * time.Second)
			if _, err := io.WriteString(nc, "x"); err != nil {
				return
			}
			expect(nc, "250")
		}
	})
	if after > 25*time.Minute {
		t.Errorf("chunks that drip: %v after %v", err, after)
	}
}

// A peer that takes no reply is given up, and so is one that says nothing.
func TestDeafAndDumbPeers(t *testing.T) {
	after, err := play(t, &Server{Hostname: "h.example", Backend: &memory{}}, "192.0.2.7:1", func(nc net.Conn) {
		expect(nc, "220")
		for range 20_000 {
			if _, err := io.WriteString(nc, "NOOP\r\n"); err != nil {
				return
			}
		}
		t.Error("20,000 commands were taken without a reader")
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) || after > 5*time.Minute {
		t.Errorf("deaf: %v after %v", err, after)
	}
	said := ""
	after, err = play(t, &Server{Hostname: "h.example", Backend: &memory{}}, "192.0.2.7:1", func(nc net.Conn) {
		b, _ := io.ReadAll(nc)
		said = string(b)
	})
	if err != nil || after != DefaultTimeout || !strings.Contains(said, "\r\n421 4.4.2 ") {
		t.Errorf("dumb: %q, %v after %v", said, err, after)
	}
}

// who is a Backend that keeps the peers of its transactions.
type who struct {
	memory
	peers []Peer
}

func (w *who) Mail(ctx context.Context, p *Peer, env *mail.Envelope) (Tx, error) {
	w.peers = append(w.peers, *p)
	return w.memory.Mail(ctx, p, env)
}

// What XCLIENT makes of the peer: rights are those of the client, and loopback has them only at home.
func TestXClientPeer(t *testing.T) {
	for _, c := range []struct {
		name, from, xclient string
		addr, helo, user    string
		local               bool
	}{
		{"address", "10.0.0.1:1", "ADDR=192.0.2.7", "192.0.2.7", "c.example", "", false},
		{"from this host", "127.0.0.1:1", "ADDR=192.0.2.7", "192.0.2.7", "c.example", "", false},
		{"for this host", "127.0.0.1:1", "ADDR=127.0.0.1", "127.0.0.1", "c.example", "", true},
		{"there and back", "127.0.0.1:1", "ADDR=192.0.2.7\r\nXCLIENT ADDR=IPV6:::1", "::1", "c.example", "", true},
		{"loopback of another host", "10.0.0.1:1", "ADDR=127.0.0.1", "127.0.0.1", "c.example", "", false},
		{"mapped", "10.0.0.1:1", "ADDR=IPV6:::ffff:192.0.2.7", "192.0.2.7", "c.example", "", false},
		{"unknown", "127.0.0.1:1", "ADDR=[UNAVAILABLE]", "invalid IP", "c.example", "", false},
		{"no address", "127.0.0.1:1", "HELO=x", "127.0.0.1", "c.example", "", true},
		{"login", "10.0.0.1:1", "ADDR=192.0.2.7 LOGIN=Bob", "192.0.2.7", "c.example", "bob", false},
		{"the last login counts", "10.0.0.1:1", "LOGIN=bob\r\nXCLIENT ADDR=192.0.2.7", "192.0.2.7", "c.example", "", false},
	} {
		w := &who{}
		srv := &Server{Hostname: "h.example", Backend: w, XClientFrom: append(loopback, netip.MustParsePrefix("10.0.0.0/8"))}
		play(t, srv, c.from, func(nc net.Conn) {
			go io.WriteString(nc, "XCLIENT "+c.xclient+"\r\nEHLO c.example\r\nMAIL FROM:<a@x.example>\r\nQUIT\r\n")
			expect(nc, "221")
		})
		if len(w.peers) != 1 {
			t.Errorf("%s: %d transactions", c.name, len(w.peers))
			continue
		}
		if p := w.peers[0]; p.Addr.String() != c.addr || p.Helo != c.helo || p.User != c.user || p.Local != c.local {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func FuzzXClient(f *testing.F) {
	for _, s := range []string{"NAME=spike.example ADDR=192.0.2.7 PORT=1 PROTO=ESMTP HELO=x LOGIN=bob DESTADDR=IPV6:::1 DESTPORT=25",
		"ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]", "LOGIN=a+2Bb", "ADDR=1 ADDR=2", "HELO=+0D", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := ParseXClient(wire.NewArgs(nil, s))
		if err != nil {
			return
		}
		words := ""
		if x.Has&XClientAddr != 0 {
			value := "[UNAVAILABLE]"
			if x.Addr.Is6() {
				value = "IPV6:" + x.Addr.String()
			} else if x.Addr.IsValid() {
				value = x.Addr.String()
			}
			words += " ADDR=" + value
		}
		for name, value := range map[string]string{"HELO": x.Helo, "LOGIN": x.Login} {
			has := map[string]XClientSet{"HELO": XClientHelo, "LOGIN": XClientLogin}[name]
			if x.Has&has == 0 {
				continue
			}
			if value == "" {
				value = "[UNAVAILABLE]"
			}
			if value = xtext(value); len(value) > maxParam {
				return // it was short enough as it came, octets that are not ASCII unencoded
			}
			words += " " + name + "=" + value
		}
		if words == "" || strings.ContainsFunc(words, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			if words != "" {
				t.Fatalf("%q gives %q", s, words)
			}
			return
		}
		if y, err := ParseXClient(wire.NewArgs(nil, words)); y != x {
			t.Fatalf("%q: %+v; printed %q: %+v, %v", s, x, words, y, err)
		}
	})
}

// The limit of recipients is asked before the backend is, and the transaction goes on.
func TestMayName(t *testing.T) {
	left := 2
	srv := &Server{Hostname: "h.example", Backend: &memory{}, MayName: func(p *Peer) error {
		if left--; left < 0 {
			return reply(450, mail.Status{Class: 4, Subject: 7, Detail: 1}, "Too many recipients")
		}
		return nil
	}}
	got := converse(srv, beginBob+"RCPT TO:<alice@x.example>\r\nRCPT TO:<postmaster@x.example>\r\nDATA\r\n.\r\nQUIT\r\n", 1000)
	var codes []string
	for line := range strings.Lines(got) {
		if _, err := strconv.Atoi(line[:3]); err == nil && line[3] == ' ' {
			codes = append(codes, line[:3])
		}
	}
	if want := "220 250 250 250 250 450 354 250 221"; strings.Join(codes, " ") != want || !strings.Contains(got, "450 4.7.1 ") {
		t.Errorf("got %s, want %s:\n%s", codes, want, got)
	}
}

// Behind a proxy the header comes first, also where TLS does.
func TestBehindAProxy(t *testing.T) {
	mailtest.CheckLeaks(t)
	ca := mailtest.NewCA(t)
	w := &who{}
	start := func(implicit bool) mailtest.Dialer {
		srv := &Server{Hostname: "hamburger.edu", Backend: w, TLS: ca.ServerConfig("hamburger.edu"), Implicit: implicit}
		l := mailtest.Listen(t)
		ctx, cancel := context.WithCancel(context.Background())
		server := session.Server{Proxies: loopback, Handle: func(ctx context.Context, nc net.Conn) { srv.ServeConn(ctx, nc) }}
		done := make(chan error, 1)
		go func() { done <- server.Serve(ctx, l) }()
		t.Cleanup(func() { cancel(); <-done })
		return func(t testing.TB) net.Conn {
			nc := mailtest.DialTCP(l.Addr().String())(t)
			io.WriteString(nc, "PROXY TCP4 192.0.2.7 127.0.0.1 40000 25\r\n")
			return nc
		}
	}
	mailtest.RunTranscript(t, "../../testdata/dialogs/spec-smtp.txt", start(false),
		mailtest.Options{TLS: ca.ClientConfig("hamburger.edu"), DialTLS: start(true)})
	if len(w.peers) != 6 {
		t.Errorf("%d transactions", len(w.peers))
	}
	for _, p := range w.peers {
		if p.Addr.String() != "192.0.2.7" || p.Local {
			t.Errorf("peer %+v", p)
		}
	}
}

// A handshake that hangs holds a place like any other connection, and does not hold up a shutdown.
func TestHangingHandshakeIsCounted(t *testing.T) {
	mailtest.CheckLeaks(t)
	ca := mailtest.NewCA(t)
	srv := &Server{Hostname: "hamburger.edu", Backend: &memory{}, TLS: ca.ServerConfig("hamburger.edu"), Implicit: true}
	l := mailtest.Listen(t)
	entered := make(chan bool, 3)
	server := session.Server{MaxPerAddress: 2, Handle: func(ctx context.Context, nc net.Conn) { entered <- true; srv.ServeConn(ctx, nc) }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	dial := mailtest.DialTCP(l.Addr().String())
	silent, halfway := dial(t), dial(t)
	io.WriteString(halfway, "\x16\x03\x01\x02\x00\x01")
	<-entered
	<-entered
	third := dial(t)
	third.SetDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(third); len(b) != 0 || err != nil {
		t.Errorf("the third connection: %q, %v", b, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	silent.Close()
}

// The backend has its say about each client that a front server speaks for, and is told when that one is gone.
func TestXClientConnects(t *testing.T) {
	var clients []string
	closed := new(atomic.Int32)
	srv := &Server{Hostname: "h.example", XClientFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Connect: func(_ context.Context, p *Peer) (Backend, error) {
		clients = append(clients, p.Addr.String())
		if p.Addr.String() == "198.51.100.9" {
			return nil, mail.Permanentf(7, 1, "Not you")
		}
		return closing{&memory{}, closed}, nil
	}}
	last := ""
	_, err := play(t, srv, "192.0.2.7:1", func(nc net.Conn) {
		expect(nc, "220")
		go io.WriteString(nc, "XCLIENT ADDR=198.51.100.8\r\n")
		expect(nc, "220")
		go io.WriteString(nc, "XCLIENT ADDR=198.51.100.9\r\n")
		last = expect(nc, "220")
	})
	want := []string{"192.0.2.7", "198.51.100.8", "198.51.100.9"}
	if !slices.Equal(clients, want) || last != "554 5.7.1 Not you\r\n" || closed.Load() != 2 {
		t.Errorf("clients %q, closed %d times, last reply %q, %v", clients, closed.Load(), last, err)
	}
}
