package smtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/session"
)

// memory is a Backend that keeps messages, for users bob and alice and the postmaster.
type memory struct {
	mu     sync.Mutex
	kept   []kept
	fault  error // of every Write
	commit error
}

type kept struct {
	env  mail.Envelope
	text string
}

type memoryTx struct {
	m    *memory
	env  *mail.Envelope
	text bytes.Buffer
}

func (m *memory) Mail(_ context.Context, _ *Peer, env *mail.Envelope) (Tx, error) {
	return &memoryTx{m: m, env: env}, nil
}

func (tx *memoryTx) Rcpt(_ context.Context, r mail.Recipient) error {
	switch strings.ToLower(r.Local) {
	case "bob", "alice", "postmaster":
		return nil
	}
	return mail.Permanentf(1, 1, "No such user here")
}

func (tx *memoryTx) Write(p []byte) (int, error) {
	if tx.m.fault != nil {
		return 0, tx.m.fault
	}
	return tx.text.Write(p)
}

func (tx *memoryTx) Commit() error {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	if tx.m.commit != nil {
		return tx.m.commit
	}
	tx.m.kept = append(tx.m.kept, kept{*tx.env, tx.text.String()})
	return nil
}

func (tx *memoryTx) Abort() error { return nil }

// bobOnly knows bob, whose password is hungry.
type bobOnly struct{}

func (bobOnly) Authenticate(_ context.Context, name, password string) (auth.User, error) {
	if name != "bob" || password != "hungry" {
		return auth.User{}, mail.Permanentf(7, 8, "Authentication credentials invalid")
	}
	return auth.User{Name: name}, nil
}

func (bobOnly) ScramKeys(string) (auth.User, auth.ScramKeys, error) {
	return auth.User{}, auth.ScramKeys{}, mail.Temporaryf(7, 0, "No keys")
}

func startServer(t testing.TB, srv *Server) mailtest.Dialer {
	l := mailtest.Listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	server := session.Server{Handle: func(ctx context.Context, nc net.Conn) { srv.ServeConn(ctx, nc) }}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return mailtest.DialTCP(l.Addr().String())
}

func TestDialogs(t *testing.T) {
	mailtest.CheckLeaks(t)
	ca := mailtest.NewCA(t)
	server := func() *Server {
		return &Server{Hostname: "hamburger.edu", Backend: &memory{}, Auth: bobOnly{}, MaxSize: 5000, MaxRcpts: 3,
			MaxMessages: 6, TLS: ca.ServerConfig("hamburger.edu"), Timeout: 5 * time.Second, MaxHold: 24 * time.Hour, Expand: expandForUsers,
			Now: func() time.Time { return time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC) }}
	}
	wrapped := server()
	wrapped.Implicit = true
	opt := mailtest.Options{TLS: ca.ClientConfig("hamburger.edu"), DialTLS: startServer(t, wrapped), Vars: dialogVars()}
	dial := startServer(t, server())
	mailtest.RunTranscript(t, "../../testdata/dialogs/spec-smtp.txt", dial, opt)
	mailtest.RunTranscripts(t, "../../testdata/dialogs/smtp/*.txt", dial, opt)
}

// dialogVars are words of just the length that a limit allows.
func dialogVars() map[string]string {
	return map[string]string{
		"envid100": strings.Repeat("e", maxEnvID),
		"orcpt493": strings.Repeat("o", maxOrig-len("rfc822;")),
		"long":     strings.Repeat("QUFB", 4000),
	}
}

// What the backend gets: local form, our Received on top, the envelope as it was said.
func TestMessageReachesTheBackend(t *testing.T) {
	store := &memory{}
	at := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	dial := startServer(t, &Server{Hostname: "hamburger.edu", Backend: store, Now: func() time.Time { return at }})
	for _, c := range []struct{ name, data, want string }{
		{"no header at all", "Do you like ketchup?\r\nHow about pickles?\r\n", "\nDo you like ketchup?\nHow about pickles?\n"},
		{"header", "Subject: x\r\n\r\n..dot\r\n", "Subject: x\n\n.dot\n"},
		{"empty", "", ""},
	} {
		store.kept = nil
		say(t, dial(t), "HELO crepes.fr\r\nMAIL FROM: <alice@crepes.fr>\r\nRCPT TO: <bob@hamburger.edu>\r\nDATA\r\n"+c.data+".\r\nQUIT\r\n")
		if len(store.kept) != 1 {
			t.Fatalf("%s: %d messages", c.name, len(store.kept))
		}
		got := store.kept[0]
		if got.env.Sender.String() != "alice@crepes.fr" || len(got.env.Rcpts) != 1 || got.env.Rcpts[0].String() != "bob@hamburger.edu" {
			t.Errorf("%s: envelope %+v", c.name, got.env)
		}
		want := "Received: from crepes.fr ([127.0.0.1])\n\tby hamburger.edu with SMTP id " + got.env.ID +
			"\n\tfor <bob@hamburger.edu>;\n\tSun, 22 Nov 2026 19:00:00 +0000\n" + c.want
		if got.text != want {
			t.Errorf("%s:\n%s", c.name, mailtest.Diff(want, got.text))
		}
	}
}

// A store that fails is our trouble: 4xx after the dot, and the session goes on in step.
func TestStoreTrouble(t *testing.T) {
	for name, store := range map[string]*memory{
		"write":  {fault: mail.Temporaryf(3, 1, "Insufficient system storage")},
		"commit": {commit: errors.New("surprise")},
	} {
		dial := startServer(t, &Server{Hostname: "h.example", Backend: store})
		got := say(t, dial(t), "HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<bob@x>\r\nDATA\r\nbody\r\n.\r\nNOOP\r\nQUIT\r\n")
		lines := strings.Split(got, "\r\n")
		if len(lines) != 9 || !strings.HasPrefix(lines[5], "45") || !strings.HasPrefix(lines[6], "250") {
			t.Errorf("%s: dialog\n%s", name, got)
		}
		if strings.Contains(got, "surprise") {
			t.Errorf("%s: the peer saw the cause:\n%s", name, got)
		}
	}
}

// say writes everything at once and gives what the server said until it closed.
func say(t testing.TB, nc net.Conn, text string) string {
	t.Helper()
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(nc)
	if err != nil {
		t.Fatalf("%v after %q", err, b)
	}
	return string(b)
}

func TestShutdownEndsIdleSessions(t *testing.T) {
	l := mailtest.Listen(t)
	srv := &Server{Hostname: "h.example", Backend: &memory{}}
	server := session.Server{Handle: func(ctx context.Context, nc net.Conn) { srv.ServeConn(ctx, nc) }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	nc := mailtest.DialTCP(l.Addr().String())(t)
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 512)
	if _, err := nc.Read(buf); err != nil {
		t.Fatal(err)
	}
	cancel()
	rest, err := io.ReadAll(nc)
	if err != nil || !strings.HasPrefix(string(rest), "421 4.3.2 ") {
		t.Errorf("got %q, %v; want 421 4.3.2", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// left counts messages that were neither kept nor dropped.
type left struct {
	memory
	open atomic.Int32
}

type leftTx struct {
	Tx
	l    *left
	once sync.Once
}

func (l *left) Mail(ctx context.Context, p *Peer, env *mail.Envelope) (Tx, error) {
	tx, err := l.memory.Mail(ctx, p, env)
	l.open.Add(1)
	return &leftTx{Tx: tx, l: l}, err
}

func (tx *leftTx) Commit() error { tx.Abort(); return tx.Tx.Commit() }
func (tx *leftTx) Abort() error {
	tx.once.Do(func() { tx.l.open.Add(-1) })
	return nil
}

// A server that has waited long enough for a message at its end drops it, so that nothing is left in a store, and says why,
// whether the peer is silent or goes on and on.
func TestShutdownWithinMessage(t *testing.T) {
	for _, drips := range []bool{false, true} {
		store := &left{}
		srv := &Server{Hostname: "h.example", Backend: store}
		house := &session.Server{Grace: 20 * time.Millisecond, Handle: func(ctx context.Context, nc net.Conn) { srv.ServeConn(ctx, nc) }}
		l := mailtest.Listen(t)
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { house.Serve(ctx, l) })
		nc := mailtest.DialTCP(l.Addr().String())(t)
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(nc, beginBob+"DATA\r\n")
		readUntil(t, nc, "\r\n354 End data with <CRLF>.<CRLF>\r\n")
		io.WriteString(nc, "Subject: half")
		stop()
		all.Go(func() {
			for drips {
				if _, err := nc.Write([]byte("x")); err != nil {
					return
				}
			}
		})
		heard, _ := io.ReadAll(nc)
		nc.Close()
		all.Wait()
		if got := string(heard); !drips && got != "421 4.3.2 Server is shutting down, closing connection\r\n" {
			t.Errorf("heard %q", got)
		}
		if n := store.open.Load(); n != 0 || len(store.kept) != 0 {
			t.Errorf("drips %v: %d transactions are open, %d messages were taken", drips, n, len(store.kept))
		}
	}
}
