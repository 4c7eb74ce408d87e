package mailtest

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// What a stage of a Sink can do instead of answering with a reply.
const (
	SinkClose   = "close"   // close the connection, in order
	SinkReset   = "reset"   // break it (RST)
	SinkSilence = "silence" // say nothing more, until the client is gone
)

// SinkOptions says what a Sink offers and where it makes trouble. The zero value takes every mail in clear.
type SinkOptions struct {
	// TLS makes the sink offer STARTTLS, and AUTH only inside TLS. With Implicit, TLS starts with the first octet.
	TLS      *tls.Config
	Implicit bool
	// Users are names and passwords; with any, AUTH PLAIN is offered.
	Users map[string]string
	// Hide takes extensions out of the EHLO reply: PIPELINING, 8BITMIME, ENHANCEDSTATUSCODES, CHUNKING, SIZE,
	// SMTPUTF8, DSN, STARTTLS, AUTH. They are only hidden, not refused.
	Hide []string
	// MaxSize is the largest message in octets; 0 is no limit.
	MaxSize int64
	// Replies are what the stages answer instead of the server. A stage is a verb ("MAIL", "RCPT", "DATA", "QUIT", …),
	// "MAIL x@y" or "RCPT x@y" for one address, "CONNECT" for the greeting, "." for the end of the message, "BODY" for
	// its first line (SinkClose and the like only). A reply is its lines with "\n" between them, or one of SinkClose,
	// SinkReset, SinkSilence.
	Replies map[string]string
	// Lenient leaves faults of the client to Faults; without it any that is left at the end fails the test.
	Lenient bool
}

// SinkMessage is a message that the sink answered with a 2yz reply.
type SinkMessage struct {
	From  string // as parsed; "" for the null reverse-path
	Rcpts []string
	Opts  smtp.MailOptions
	Dsn   []smtp.RcptOptions // one for each of Rcpts
	Data  string             // with CRLF, dots unstuffed
	Helo  string
	User  string // authenticated, or ""
	TLS   bool
}

// Sink is an SMTP server that keeps what it is sent. Behind a front that records, injects and watches for faults stands
// the server of emersion/go-smtp, so that clients meet a parser that is not ours. Safe for concurrent use.
type Sink struct {
	// Addr is "127.0.0.1:port".
	Addr string

	t       testing.TB
	opt     SinkOptions
	backend *smtp.Server
	pipes   *pipeListener
	wg      sync.WaitGroup

	mu       sync.Mutex
	once     map[string][]string
	messages []SinkMessage
	commands []string
	faults   []string
	conns    int
	live     map[net.Conn]bool // nil once the test is over
}

// StartSink starts a sink on a loopback port that ends with the test.
func StartSink(t testing.TB, opt SinkOptions) *Sink {
	t.Helper()
	l := Listen(t)
	s := &Sink{
		Addr:  l.Addr().String(),
		t:     t,
		opt:   opt,
		pipes: newPipeListener(),
		once:  make(map[string][]string),
		live:  make(map[net.Conn]bool),
	}
	s.backend = newBackend(s)
	s.wg.Go(func() { s.backend.Serve(s.pipes) })
	s.wg.Go(func() { s.serve(l) })
	t.Cleanup(func() {
		l.Close()
		s.stop()
	})
	return s
}

func newBackend(s *Sink) *smtp.Server {
	b := smtp.NewServer(smtp.BackendFunc(s.newSession))
	b.Domain = "sink.test"
	b.AllowInsecureAuth = true // the front knows about TLS, the server behind it does not
	b.MaxMessageBytes = s.opt.MaxSize
	b.EnableSMTPUTF8, b.EnableDSN = true, true
	b.ErrorLog = log.New(io.Discard, "", 0)
	return b
}

func (s *Sink) stop() {
	s.mu.Lock()
	for conn := range s.live {
		conn.Close()
	}
	s.live = nil
	s.mu.Unlock()
	s.backend.Close()
	s.pipes.Close()
	s.wg.Wait()
	if faults := s.Faults(); len(faults) > 0 && !s.opt.Lenient {
		s.t.Errorf("faults of the SMTP client:\n%s", strings.Join(faults, "\n"))
	}
}

// Inject makes the next times that the stage is reached answer with these replies, one each. It goes before Replies.
func (s *Sink) Inject(stage string, replies ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stage = strings.ToLower(stage)
	s.once[stage] = append(s.once[stage], replies...)
}

// Messages gives the messages accepted so far. A message is here before the client sees its reply.
func (s *Sink) Messages() []SinkMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Commands gives the command lines so far, of all connections, with the secrets of AUTH in them.
func (s *Sink) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// CommandCount is how many lines of command there were so far.
func (s *Sink) CommandCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.commands)
}

// Connections gives the number of connections so far.
func (s *Sink) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// Faults gives, and forgets, what clients did against the protocol: bare CR or LF, NUL, lines longer than RFC 5321
// §4.5.3.1 allows, 8 bit undeclared, commands sent early without PIPELINING, before the greeting, or behind STARTTLS.
func (s *Sink) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := s.faults
	s.faults = nil
	return faults
}

func (s *Sink) fault(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, text)
}

// injected gives what the first of the stages that has something injected answers.
func (s *Sink) injected(stages ...string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stage := range stages {
		key := strings.ToLower(stage)
		if queue := s.once[key]; len(queue) > 0 {
			s.once[key] = queue[1:]
			return queue[0], true
		}
		for name, reply := range s.opt.Replies {
			if strings.ToLower(name) == key {
				return reply, true
			}
		}
	}
	return "", false
}

func (s *Sink) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if !s.register(conn) {
			conn.Close()
			return
		}
		s.wg.Go(func() {
			newSinkConn(s, conn).serve()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.live, conn)
		})
	}
}

func (s *Sink) register(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return false
	}
	s.live[conn] = true
	s.conns++
	return true
}

// newSession ties a session of the server behind to the front connection that it serves.
func (s *Sink) newSession(c *smtp.Conn) (smtp.Session, error) {
	pipe, ok := c.Conn().(pipeConn)
	if !ok {
		return nil, errors.New("not a connection of the sink")
	}
	pipe.taking.msg.Helo = c.Hostname()
	return sinkSession{s, pipe.taking}, nil
}

// sinkSession fills in the message of its connection. It runs while the front waits for the reply, never beside it.
type sinkSession struct {
	sink *Sink
	*taking
}

func (x sinkSession) AuthMechanisms() []string {
	if len(x.sink.opt.Users) == 0 {
		return nil
	}
	return []string{sasl.Plain}
}

func (x sinkSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		want, ok := x.sink.opt.Users[user]
		if !ok || password != want {
			return smtp.ErrAuthFailed
		}
		x.msg.User = user
		return nil
	}), nil
}

func (x sinkSession) Mail(from string, opts *smtp.MailOptions) error {
	x.msg.From, x.msg.Opts = from, *opts
	return nil
}

func (x sinkSession) Rcpt(to string, opts *smtp.RcptOptions) error {
	x.msg.Rcpts = append(x.msg.Rcpts, to)
	x.msg.Dsn = append(x.msg.Dsn, *opts)
	return nil
}

func (x sinkSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	x.data = string(data)
	return err
}

// Reset comes after each message too; the front has its own copy by then.
func (x sinkSession) Reset() {
	x.msg.From, x.msg.Opts, x.msg.Rcpts, x.msg.Dsn = "", smtp.MailOptions{}, nil, nil
}

func (x sinkSession) Logout() error { return nil }

// pipeListener hands in-memory connections to the server behind.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial gives the front's end.
func (l *pipeListener) dial(mine *taking) (net.Conn, error) {
	front, back := net.Pipe()
	select {
	case l.conns <- pipeConn{back, mine}:
		return front, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

type pipeConn struct {
	net.Conn
	taking *taking
}
