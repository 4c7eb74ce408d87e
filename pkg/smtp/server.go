// Package smtp is the SMTP dialect (RFC 5321): server, client, and the grammar that both share. It stores nothing: a
// server hands messages to a [Backend], a client is handed them.
//
// # Server
//
// The command table is below; hello.go, mail.go, data.go, bdat.go and auth.go have the commands. A handler returns nil, a *Reply or a
// classified error, and the loop of pkg/session answers. 250 after data is sent when [Tx.Commit] has returned nil, and only then.
//
// # Client
//
// [Client] speaks to one server; it returns what became of each recipient.
package smtp

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// The defaults of a Server's limits.
const (
	DefaultMaxSize     = 50 << 20
	DefaultMaxRcpts    = 1000
	DefaultMaxMessages = 100
	DefaultMistakes    = 20
	DefaultMaxErrands  = 100
	DefaultTimeout     = 300 * time.Second // RFC 5321 §4.5.3.2.7
	DefaultDataTimeout = 600 * time.Second
	DefaultMinRate     = 100
)

// Server serves SMTP. Its fields are set before the first connection and not changed after; zero limits mean the defaults.
type Server struct {
	Hostname string // in the greeting, in EHLO and in Received
	Backend  Backend
	// Connect, if set, has a say in each connection, and gives the Backend for it, which is closed with the connection if it is an
	// io.Closer. Its error is the greeting: 554 if permanent, else 421.
	Connect func(ctx context.Context, p *Peer) (Backend, error)

	TLS      *tls.Config // nil: no STARTTLS
	Implicit bool        // TLS from the first octet (RFC 8314 §3.3)

	LMTP bool // RFC 2033: LHLO, and a verdict for each recipient; see EachTx

	Auth         auth.Verifier    // nil: no AUTH
	Throttle     session.Throttle // nil: none
	AuthRequired bool             // no MAIL before AUTH (submission, RFC 6409 §4.3)
	// TLSRequired takes no MAIL in clear (RFC 3207 §4), but from those whom InsecureAuth trusts.
	TLSRequired bool
	// InsecureAuth offers AUTH without TLS to peers on this host.
	InsecureAuth bool

	MaxSize     int64 // octets of a message on the wire
	MaxRcpts    int
	MaxMessages int // of one connection without AUTH
	Mistakes    int
	MaxErrands  int           // commands since the last message taken that bring none nearer; <0: any number
	MaxHold     time.Duration // FUTURERELEASE: how long a message may wait for its release; 0: not offered
	Timeout     time.Duration // for a command line
	DataTimeout time.Duration // how far a message may fall behind MinRate; see wire.Conn.Pace
	MinRate     int           // octets a second that the data of a message has to come at; <0: none
	Bare        wire.Bare     // what to do about bare CR and LF in messages

	// GreetDelay is how long the greeting waits for those who talk before they are spoken to. Not for peers on this host.
	GreetDelay time.Duration
	// XClientFrom are the networks whose hosts may say by XCLIENT whom they speak for.
	XClientFrom []netip.Prefix
	// MayName comes before each recipient: an error is the reply to RCPT. Nil: no limit but MaxRcpts.
	MayName func(p *Peer) error

	// Expand gives the addresses behind one, for EXPN; none without an error is what the peer is not told. Nil: no EXPN.
	Expand func(p *Peer, a mail.Address) ([]mail.Address, error)

	Now   func() time.Time // nil: time.Now
	Trace wire.TraceFunc
	Log   *slog.Logger // of logins, right and wrong, and of why there are none now; nil: none
}

// States of a session (RFC 5321 §4.1.4).
const (
	stateNew    session.State = 1 << iota // no HELO yet
	stateIdle                             // HELO done, no transaction
	stateMail                             // MAIL accepted
	stateRcpt                             // and at least one RCPT
	stateChunks                           // and at least one BDAT
	stateFailed                           // a BDAT failed; the transaction waits for its end
)

// conversation is one connection's side of the server; commands are its methods.
type conversation struct {
	srv      *Server
	c        *wire.Conn
	peer     Peer
	backend  Backend
	state    session.State
	said     []*Reply // what a handler that succeeds has to say
	tx       Tx
	env      *mail.Envelope
	args     *MailArgs
	chunks   *chunked // nil: no BDAT yet
	messages int
	guard    session.Guard
	isFront  bool // the peer may use XCLIENT, whoever it speaks for meanwhile
	patience patience
}

// dialect is the command table. LMTP has one greeting of its own in place of both of SMTP's (RFC 2033 §4.1).
func dialect(lmtp bool) *session.Dialect[*conversation] {
	hello := []session.Command[*conversation]{
		{Verb: "HELO", In: session.Any, Do: errand((*conversation).helo)},
		{Verb: "EHLO", In: session.Any, Do: errand((*conversation).ehlo)},
	}
	if lmtp {
		hello = []session.Command[*conversation]{{Verb: "LHLO", In: session.Any, Do: errand((*conversation).ehlo)}}
	}
	return &session.Dialect[*conversation]{
		State: func(s *conversation) session.State { return s.state },
		Greet: (*conversation).greet,
		Reply: (*conversation).reply,
		Commands: append(hello, []session.Command[*conversation]{
			{Verb: "MAIL", In: stateIdle, Do: errand((*conversation).mail)},
			{Verb: "RCPT", In: stateMail | stateRcpt, Do: (*conversation).rcpt},
			{Verb: "DATA", In: stateRcpt, Flags: session.NoArgs, Do: (*conversation).data},
			{Verb: "BDAT", In: session.Any, Do: (*conversation).bdat},
			{Verb: "RSET", In: session.Any, Flags: session.NoArgs, Do: errand((*conversation).rset)},
			{Verb: "NOOP", In: session.Any, Do: errand((*conversation).noop)},
			{Verb: "VRFY", In: session.Any, Do: errand((*conversation).vrfy)},
			{Verb: "EXPN", In: session.Any, Do: errand((*conversation).expn)},
			{Verb: "HELP", In: session.Any, Do: errand((*conversation).help)},
			{Verb: "STARTTLS", In: session.Any, Flags: session.NoArgs, Do: (*conversation).startTLS},
			{Verb: "AUTH", In: stateIdle, Flags: session.Secret, Do: errand((*conversation).auth)},
			{Verb: "XCLIENT", In: session.Any, Do: (*conversation).xclient},
			{Verb: "QUIT", In: session.Any, Flags: session.NoArgs, Do: (*conversation).quit},
		}...),
	}
}

// ServeConn serves one connection and closes it. The result is for the log; nil is a proper end.
func (srv *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	c := wire.NewConn(nc)
	c.SetTrace(srv.Trace)
	s := &conversation{srv: srv, c: c, state: stateNew, peer: peerOf(nc), backend: srv.Backend}
	s.peer.LMTP, s.isFront = srv.LMTP, srv.mayXClient(s.peer.Addr)
	s.guard = s.newGuard()
	defer s.end()
	if srv.Implicit {
		c.Within(cmp.Or(srv.Timeout, DefaultTimeout))
		if err := c.StartTLS(ctx, srv.TLS, true); err != nil {
			c.Close()
			return err
		}
		s.peer.TLS = c.TLS()
	}
	return session.Run(ctx, dialect(srv.LMTP), s, c, session.Limits{
		Command:  cmp.Or(srv.Timeout, DefaultTimeout),
		Mistakes: cmp.Or(srv.Mistakes, DefaultMistakes),
	})
}

// Refuse tells a peer in one line that there is no place for it now; see session.Server.
func (srv *Server) Refuse(nc net.Conn) {
	if !srv.Implicit {
		nc.Write([]byte("421 4.3.2 " + srv.Hostname + " Too many connections, try again later\r\n"))
	}
}

func peerOf(nc net.Conn) Peer {
	ip, isIP := session.AddrOf(nc.RemoteAddr())
	return Peer{Addr: ip, Local: !isIP || ip.IsLoopback()}
}

func (srv *Server) now() time.Time {
	if srv.Now != nil {
		return srv.Now()
	}
	return time.Now()
}

// reply is the dialect's: what the loop has to say about a command.
func (s *conversation) reply(_, _ string, err error) error {
	replies := s.said
	s.said = nil
	switch {
	case err != nil:
		replies = []*Reply{replyTo(err)}
	case replies == nil:
		replies = []*Reply{ok(0, 0, "Ok")}
	}
	for _, r := range replies {
		if err := r.write(s.c); err != nil {
			return err
		}
	}
	return nil
}

// say sets what the loop answers if the handler succeeds.
func (s *conversation) say(r *Reply) error {
	s.said = []*Reply{r}
	return nil
}

// errEarly ends a connection whose peer did not wait for the greeting (RFC 5321 §4.3.1): no mail server does that.
var errEarly = mail.Permanentf(5, 1, "You talk before you are greeted, closing connection")

func (s *conversation) greet(ctx context.Context) error {
	if s.srv.GreetDelay > 0 && !s.peer.Local {
		if isQuiet, err := s.c.Quiet(s.srv.GreetDelay); err == nil && !isQuiet {
			return errEarly
		}
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	return s.greeting().write(s.c)
}

// connect lets the backend have its say about the peer, who may be another one than before.
func (s *conversation) connect(ctx context.Context) error {
	if s.srv.Connect == nil {
		return nil
	}
	s.end()
	s.backend = nil
	b, err := s.srv.Connect(ctx, &s.peer)
	if err != nil {
		return err
	}
	s.backend = b
	return nil
}

func (s *conversation) greeting() *Reply {
	protocol := "ESMTP"
	if s.srv.LMTP {
		protocol = "LMTP"
	}
	return reply(220, mail.Status{}, "%s %s mailx", s.srv.Hostname, protocol)
}

func (s *conversation) quit(context.Context, *wire.Args) error {
	s.abort()
	s.say(reply(221, mail.Status{Class: 2}, "%s closing connection", s.srv.Hostname))
	return session.Quit()
}

// abort ends a transaction without a message.
func (s *conversation) abort() {
	if s.tx != nil {
		s.tx.Abort()
	}
	s.endTransaction()
}

// end is the end of the connection, or of what was said about its peer.
func (s *conversation) end() {
	s.abort()
	if c, isCloser := s.backend.(io.Closer); isCloser && s.srv.Connect != nil {
		c.Close()
	}
}

func (s *conversation) endTransaction() {
	s.tx, s.env, s.args, s.chunks = nil, nil, nil, nil
	if s.state != stateNew {
		s.state = stateIdle
	}
}

func (s *conversation) rset(context.Context, *wire.Args) error {
	s.abort()
	return s.say(ok(0, 0, "Flushed"))
}

func (s *conversation) noop(context.Context, *wire.Args) error { return nil }

// vrfy says neither yes nor no: the answer would be a list of users for the asking (RFC 5321 §7.3).
func (s *conversation) vrfy(_ context.Context, a *wire.Args) error {
	if a.Empty() {
		return mail.Permanentf(5, 4, "Syntax: VRFY address")
	}
	return s.say(reply(252, mail.Status{Class: 2, Subject: 1, Detail: 5}, "Send the mail and see"))
}

// help lists the commands that this session would take (RFC 5321 §4.1.1.8), as EHLO lists what works.
func (s *conversation) help(context.Context, *wire.Args) error {
	return s.say(&Reply{Code: 214, Status: mail.Status{Class: 2}, Lines: []string{strings.Join(s.verbs(), " "), "RFC 5321"}})
}

func (s *conversation) verbs() []string {
	verbs := []string{"HELO", "EHLO"}
	if s.srv.LMTP {
		verbs = []string{"LHLO"}
	}
	verbs = append(verbs, "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY")
	if s.srv.Expand != nil {
		verbs = append(verbs, "EXPN")
	}
	if s.mayStartTLS() {
		verbs = append(verbs, "STARTTLS")
	}
	if s.peer.User == "" && len(s.mechanisms()) > 0 {
		verbs = append(verbs, "AUTH")
	}
	if s.isFront {
		verbs = append(verbs, "XCLIENT")
	}
	return append(verbs, "HELP", "QUIT")
}
