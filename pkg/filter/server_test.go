package filter

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/session"
	"mailx/pkg/smtp"
)

// memory is the Backend of the dialogs: it knows bob, alice and the postmaster.
type memory struct {
	mu   sync.Mutex
	kept []string
}

type memoryTx struct {
	m    *memory
	text bytes.Buffer
}

func (m *memory) Mail(context.Context, *smtp.Peer, *mail.Envelope) (smtp.Tx, error) {
	return &memoryTx{m: m}, nil
}

func (tx *memoryTx) Rcpt(_ context.Context, r mail.Recipient) error {
	switch strings.ToLower(r.Local) {
	case "bob", "alice", "postmaster":
		return nil
	}
	return mail.Permanentf(1, 1, "No such user here")
}

func (tx *memoryTx) Write(p []byte) (int, error) { return tx.text.Write(p) }
func (tx *memoryTx) Abort() error                { return nil }

func (tx *memoryTx) Commit() error {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	tx.m.kept = append(tx.m.kept, tx.text.String())
	return nil
}

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

// TestDialogs holds a server with filters that agree to all that a server without them does, in the dialogs about messages:
// logging in, TLS and limits are none of their business.
func TestDialogs(t *testing.T) {
	mailtest.CheckLeaks(t)
	ca := mailtest.NewCA(t)
	for name, f := range map[string]*script{"held": {holds: true}, "not held": {}} {
		t.Run(name, func(t *testing.T) {
			store := &memory{}
			serve := func(implicit bool) mailtest.Dialer {
				chain := &Chain{Filters: []Filter{f}}
				srv := &smtp.Server{Hostname: "hamburger.edu", Auth: bobOnly{}, MaxSize: 5000, MaxRcpts: 3, MaxMessages: 6,
					TLS: ca.ServerConfig("hamburger.edu"), Implicit: implicit, Timeout: 5 * time.Second,
					Connect: func(ctx context.Context, p *smtp.Peer) (smtp.Backend, error) { return chain.Connect(ctx, p, store) }}
				return start(t, srv)
			}
			opt := mailtest.Options{TLS: ca.ClientConfig("hamburger.edu"), DialTLS: serve(true)}
			for _, about := range []string{"b", "chunk", "eh", "en", "harvest", "m", "n", "pip", "rec", "seq", "sh", "smu", "two"} {
				mailtest.RunTranscripts(t, "../../testdata/dialogs/smtp/"+about+"*.txt", serve(false), opt)
			}
			if len(store.kept) == 0 {
				t.Error("no message has arrived")
			}
		})
	}
}

func start(t testing.TB, srv *smtp.Server) mailtest.Dialer {
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
