package smtp

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

// closing is a Backend that is closed with its connection.
type closing struct {
	Backend
	closed *atomic.Int32
}

func (c closing) Close() error {
	c.closed.Add(1)
	return nil
}

// Connect has the first word about a connection; what it gives serves it, and is closed once.
func TestConnect(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		first string
	}{
		{"taken", nil, "220 "},
		{"refused", mail.Permanentf(7, 1, "Not you"), "554 5.7.1 Not you\r\n"},
		{"put off", mail.Temporaryf(7, 1, "Not now"), "421 4.7.1 Not now\r\n"},
		{"broken", errors.New("surprise"), "421 4.0.0 Internal trouble, try again later\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, closed := &memory{}, new(atomic.Int32)
			done := make(chan struct{})
			srv := &Server{Hostname: "h.example", Connect: func(_ context.Context, p *Peer) (Backend, error) {
				if !p.Addr.IsLoopback() {
					t.Errorf("peer is %v", p.Addr)
				}
				return closing{store, closed}, c.err
			}}
			nc := mailtest.Listen(t)
			go func() {
				conn, err := nc.Accept()
				if err == nil {
					srv.ServeConn(context.Background(), conn)
				}
				close(done)
			}()
			conn := mailtest.DialTCP(nc.Addr().String())(t)
			text := ""
			if c.err == nil {
				text = "HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<bob@x>\r\nDATA\r\nbody\r\n.\r\nMAIL FROM:<a@x>\r\nQUIT\r\n"
			}
			got := say(t, conn, text)
			<-done
			isTaken := c.err == nil
			if !strings.HasPrefix(got, c.first) || !isTaken && got != c.first || (len(store.kept) == 1) != isTaken || (closed.Load() == 1) != isTaken {
				t.Errorf("got %q, %d messages, closed %d times, want %q", got, len(store.kept), closed.Load(), c.first)
			}
		})
	}
}
