package smtp

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/wire"
)

// data is "DATA" (RFC 5321 §4.1.1.4).
func (s *conversation) data(context.Context, *wire.Args) error {
	if s.args.Body == mail.BodyBinaryMIME {
		return errBinaryData
	}
	if err := reply(354, mail.Status{}, "End data with <CRLF>.<CRLF>").write(s.c); err != nil {
		return err
	}
	if err := s.c.Flush(); err != nil {
		return err
	}
	s.messages++
	s.c.Pace(s.srv.pace())
	var in message.Intake
	in.Reset(s.tx, s.received().Append(nil))
	in.DropReturnPath = true
	err := pour(&in, &in, s.c.DotReader(wire.DotOptions{MaxSize: s.maxSize(), Bare: s.srv.Bare}))
	if err == nil {
		err = in.Close()
	}
	return s.commit(err)
}

// errBinaryData keeps the transaction: the client may go on with BDAT, or give up with RSET (RFC 3030 §3).
var errBinaryData = mail.Permanentf(5, 1, "A BINARYMIME message comes by BDAT")

// pace is how a message has to come.
func (srv *Server) pace() (behind time.Duration, octetsPerSecond int) {
	return cmp.Or(srv.DataTimeout, DefaultDataTimeout), cmp.Or(srv.MinRate, DefaultMinRate)
}

// blocks are the buffers between the wire and the store.
var blocks = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// text is a message, or a chunk of one, as it comes from the wire. A fault leaves the dialog in step once it is read to its end.
type text interface {
	io.Reader
	Drain() error
}

// pour puts the octets of body into to, from where they come to the intake. Whatever goes wrong, the body is read to its end
// first: the peer listens for nothing before that.
func pour(to io.Writer, in *message.Intake, body text) error {
	block := blocks.Get().(*[]byte)
	defer blocks.Put(block)
	for {
		n, rerr := body.Read(*block)
		if _, err := to.Write((*block)[:n]); err != nil {
			return firstOf(body.Drain(), err)
		}
		if in.Received > message.MaxReceived {
			return firstOf(body.Drain(), errLoop)
		}
		if rerr == io.EOF {
			return nil
		}
		if rerr != nil {
			return rerr
		}
	}
}

// commit ends the transaction after its data, of which err is the verdict, and answers.
func (s *conversation) commit(err error) error {
	defer s.abort()
	if r, wants := s.tx.(Refuser); wants && err != nil {
		r.Refuse(err)
	}
	if err == nil && s.srv.LMTP {
		return s.commitEach()
	}
	if err == nil {
		err = s.tx.Commit()
	}
	if err != nil {
		return s.sayEach(err)
	}
	s.patience = patience{}
	id := s.env.ID
	s.tx = nil
	return s.say(accepted(id))
}

func accepted(id string) *Reply { return ok(0, 0, "Message accepted for delivery, id %s", id) }

var errLoop = mail.Permanentf(4, 6, "Too many hops, the message is going in circles")

// firstOf gives what is wrong with the peer's data before what is wrong with us.
func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (s *conversation) received() message.Received {
	r := message.Received{
		From:   s.peer.Helo,
		FromIP: s.peer.Addr,
		By:     s.srv.Hostname,
		With:   s.protocol(),
		TLS:    describeTLS(s.peer.TLS),
		ID:     s.env.ID,
		Time:   s.env.Arrived,
	}
	if len(s.env.Rcpts) == 1 {
		r.For = s.env.Rcpts[0].Address
	}
	return r
}

// protocol is the keyword of RFC 3848 and RFC 6531 §4.3.
func (s *conversation) protocol() string {
	p := "ESMTP"
	switch {
	case s.srv.LMTP && s.env.UTF8:
		p = "UTF8LMTP"
	case s.srv.LMTP:
		p = "LMTP"
	case !s.peer.ESMTP:
		return "SMTP"
	case s.env.UTF8:
		p = "UTF8SMTP"
	}
	if s.peer.TLS != nil {
		p += "S"
	}
	if s.peer.User != "" {
		p += "A"
	}
	return p
}

func describeTLS(t *tls.ConnectionState) string {
	if t == nil {
		return ""
	}
	return tls.VersionName(t.Version) + " " + tls.CipherSuiteName(t.CipherSuite)
}
