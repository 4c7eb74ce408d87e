package smtp

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

// shelf is a Backend that keeps the last message.
type shelf struct {
	env  mail.Envelope
	text bytes.Buffer
}

func (s *shelf) Mail(_ context.Context, _ *Peer, env *mail.Envelope) (Tx, error) {
	s.env = *env
	s.env.Rcpts = nil
	s.text.Reset()
	return s, nil
}

func (s *shelf) Rcpt(_ context.Context, r mail.Recipient) error {
	if r.Local == "nobody" {
		return mail.Permanentf(1, 1, "No such user here")
	}
	s.env.Rcpts = append(s.env.Rcpts, r)
	return nil
}

func (s *shelf) Write(p []byte) (int, error) { return s.text.Write(p) }
func (s *shelf) Commit() error               { return nil }
func (s *shelf) Abort() error                { return nil }

// Our client and our server agree, in clear and under TLS: what goes in comes out.
func TestClientMeetsServer(t *testing.T) {
	ca := mailtest.NewCA(t)
	for _, policy := range []TLSPolicy{TLSNone, TLSVerified} {
		store := &shelf{}
		srv := &Server{Hostname: "mx.example", Backend: store, TLS: ca.ServerConfig("mx.example")}
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); srv.ServeConn(t.Context(), far) }()
		opt := testOptions()
		opt.Server, opt.TLS, opt.TLSConfig = "mx.example", policy, ca.ClientConfig("")
		c, err := NewClient(t.Context(), near, opt)
		if err != nil {
			t.Fatal(err)
		}
		env := envelope(t, `"odd \" local"@x.example`, `"<>"@y.example`, "nobody@y.example", "jörg@bücher.example")
		env.Body = mail.Body8BitMIME
		body := "Subject: \xc3\xa4\n\n.\n..\nend"
		for range 2 {
			if got := statuses(sendText(t, c, env, body)); got != "2.0.0 5.1.1 2.0.0" {
				t.Errorf("got %s", got)
			}
			if store.env.Sender != env.Sender || len(store.env.Rcpts) != 2 ||
				store.env.Rcpts[0].Address != env.Rcpts[0].Address ||
				store.env.Rcpts[1].Address != env.Rcpts[2].Address || !store.env.UTF8 ||
				store.env.Body != mail.Body8BitMIME {
				t.Errorf("the envelope arrived as %+v", store.env)
			}
			if !strings.HasSuffix(store.text.String(), "\n"+body+"\n") {
				t.Errorf("the message arrived as %q", store.text.String())
			}
		}
		c.Quit()
		<-done
	}
}
