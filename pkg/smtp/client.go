package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// TLSPolicy says how much protection a client wants. The zero value takes what the server offers.
type TLSPolicy uint8

const (
	// TLSOpportunistic encrypts when the server offers STARTTLS; anybody may be at the other end (RFC 7435).
	TLSOpportunistic TLSPolicy = iota
	// TLSNone never asks for STARTTLS.
	TLSNone
	// TLSRequired encrypts or gives up; anybody may be at the other end.
	TLSRequired
	// TLSVerified encrypts or gives up, and the certificate must be valid for the server's name.
	TLSVerified
	// TLSPinned encrypts or gives up, and the certificate must be one of ClientOptions.Pins, whoever has signed it.
	TLSPinned
)

// Timeouts are how long a client waits for each reply. Zero fields are the values of RFC 5321 §4.5.3.2.
type Timeouts struct {
	Connect  time.Duration // 30 s
	Greeting time.Duration // 5 min, §4.5.3.2.1; for EHLO, STARTTLS with its handshake, and AUTH too
	Mail     time.Duration // 5 min, §4.5.3.2.2
	Rcpt     time.Duration // 5 min, §4.5.3.2.3
	Data     time.Duration // 2 min, §4.5.3.2.4
	Final    time.Duration // 10 min, §4.5.3.2.6
	Quit     time.Duration // 1 s: the answer is of no use to anybody
	Parting  time.Duration // 5 s, for the verdict about a text that is sent, when the context is cancelled
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.Greeting, 5*time.Minute)
	set(&t.Mail, 5*time.Minute)
	set(&t.Rcpt, 5*time.Minute)
	set(&t.Data, 2*time.Minute)
	set(&t.Final, 10*time.Minute)
	set(&t.Quit, time.Second)
	set(&t.Parting, 5*time.Second)
	return t
}

// ClientOptions are what a client needs to know beyond the address. The zero value works.
type ClientOptions struct {
	Hello       string // our name in EHLO; "localhost" if empty
	Server      string // the server's name, for its certificate and for reports; Dial takes it from the address
	TLS         TLSPolicy
	Pins        []Pin       // for TLSPinned
	TLSConfig   *tls.Config // roots, client certificates, versions; may be nil. The name comes from Server
	ImplicitTLS bool        // TLS from the first octet (RFC 8314 §3.3)
	LMTP        bool        // RFC 2033: LHLO, and one reply per recipient behind the data
	AuthInClear bool        // allow AUTH without TLS to hosts other than this one
	Chunk       bool        // send small messages with BDAT behind the envelope where that is offered, see client_chunk.go
	Discard     []string    // keywords of EHLO, in any case, that are not believed
	Timeouts    Timeouts
	Trace       wire.TraceFunc
	Greeted     func(text string) // is told the first line of the greeting before EHLO is sent; may be nil
}

// HandshakeError says that TLS could not be established. It is temporary: a certificate that is wrong today is an
// accident or an attack, and neither is a reason to bounce.
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string { return "TLS handshake: " + e.Err.Error() }

// Unwrap gives the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// MailStatus is 4.7.5, cryptographic failure (RFC 3463 §3.8).
func (e *HandshakeError) MailStatus() mail.Status {
	return mail.Status{Class: mail.Temporary, Subject: 7, Detail: 5}
}

// MailText says what is wrong with a certificate, and nothing of the inside.
func (e *HandshakeError) MailText() string {
	var host x509.HostnameError
	var stranger x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(e.Err, &host):
		return "Certificate is not for " + host.Host
	case errors.As(e.Err, &stranger):
		return "Certificate is from no authority that is trusted here"
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired:
		return "Certificate is not valid at this time"
	case errors.As(e.Err, &invalid):
		return "Certificate is not valid"
	}
	return "TLS handshake failed"
}

// Client is one connection to an SMTP or LMTP server, for any number of messages one after the other. It is used by one
// goroutine at a time.
//
// Errors: a *Reply is the server's own refusal with 4xx or 5xx. Everything else that goes wrong on the wire (lost
// connections, silence, replies that are none) is temporary and ends the connection; see Usable.
type Client struct {
	nc        net.Conn
	wc        *wire.Conn
	opt       ClientOptions
	ext       Extensions
	greeting  string
	begun     int  // messages
	broken    bool // no further command makes sense
	needReset bool // a transaction was left open
	stale     bool // see Stale
	silent    bool // the server was given up because it said nothing
	deaf      bool // see Deaf
	isKnown   bool // Auth went well
	parting   parting
	scratch   []byte
}

// Dial connects to "host:port" on "tcp", "tcp4", "tcp6" or to a path on "unix", and does what NewClient does.
func Dial(ctx context.Context, network, addr string, opt ClientOptions) (*Client, error) {
	opt.Timeouts = opt.Timeouts.withDefaults()
	if opt.Server == "" {
		opt.Server = hostOf(addr)
	}
	d := net.Dialer{Timeout: opt.Timeouts.Connect}
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, mail.Temporaryf(4, 1, "Can't connect to %s: %w", printable(opt.Server), err)
	}
	return NewClient(ctx, nc, opt)
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return "localhost"
	}
	return host
}

// NewClient takes over nc: it reads the greeting, says EHLO (HELO if that is refused) and starts TLS as the options
// want it. On an error nc is closed.
func NewClient(ctx context.Context, nc net.Conn, opt ClientOptions) (*Client, error) {
	opt.Timeouts = opt.Timeouts.withDefaults()
	if opt.Hello == "" {
		opt.Hello = "localhost"
	}
	c := &Client{nc: nc, wc: wire.NewConn(nc), opt: opt}
	c.wc.SetMaxLine(maxReplyLine)
	c.wc.SetTrace(opt.Trace)
	err := c.under(ctx, func() error { return c.open(ctx) })
	if err == nil && c.broken {
		err = interrupted(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Greeting gives the first line that the server has sent, without the code: its name and what else it says of itself.
func (c *Client) Greeting() string { return c.greeting }

// Messages gives how many messages have been begun on the connection.
func (c *Client) Messages() int { return c.begun }

// under does something that ends with the connection when ctx does. The end of ctx is then the reason, not the
// connection.
func (c *Client) under(ctx context.Context, do func() error) error {
	stop := context.AfterFunc(ctx, func() { c.part(ctx) })
	err := do()
	if !stop() {
		c.Close()
	}
	return c.reasonOf(ctx, err)
}

// parting is about the end of the context while something is under way.
type parting struct {
	mu        sync.Mutex
	isVerdict bool // all of a text is sent, and it is not known whether the server takes it
	isTime    bool // the context has ended
}

// part ends the connection. Where a verdict is all that is missing it has some time yet: else a message that was taken goes out
// again. Who has set a limit of time, which is over, has waited long enough.
func (c *Client) part(ctx context.Context) {
	c.parting.mu.Lock()
	defer c.parting.mu.Unlock()
	c.parting.isTime = true
	if c.parting.isVerdict && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		c.nc.SetReadDeadline(time.Now().Add(c.opt.Timeouts.Parting))
		return
	}
	c.nc.Close()
}

// awaitVerdict begins the time in which only the verdict is missing; the function that it gives ends it.
func (c *Client) awaitVerdict() (end func()) {
	c.parting.mu.Lock()
	defer c.parting.mu.Unlock()
	c.parting.isVerdict = true
	return func() {
		c.parting.mu.Lock()
		defer c.parting.mu.Unlock()
		if c.parting.isVerdict = false; c.parting.isTime {
			c.Close()
		}
	}
}

// reasonOf gives the end of ctx as the reason for trouble with the connection that it has closed.
func (c *Client) reasonOf(ctx context.Context, err error) error {
	var r *Reply
	if err != nil && ctx.Err() != nil && !errors.As(err, &r) {
		return interrupted(ctx)
	}
	return err
}

func interrupted(ctx context.Context) error {
	return mail.Temporaryf(4, 2, "Delivery was interrupted: %w", context.Cause(ctx))
}

func (c *Client) open(ctx context.Context) error {
	if c.opt.ImplicitTLS {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	greeting, err := c.reply(c.opt.Timeouts.Greeting)
	if err == nil && greeting.Code != 220 {
		err = c.unexpected(greeting)
	}
	if err != nil {
		return err
	}
	if c.opt.Server == "" {
		c.opt.Server, _, _ = strings.Cut(greeting.Lines[0], " ")
	}
	c.greeting = greeting.Lines[0]
	if c.opt.Greeted != nil {
		c.opt.Greeted(c.greeting)
	}
	if err := c.hello(); err != nil {
		return err
	}
	return c.secure(ctx)
}

func (c *Client) handshake(ctx context.Context) error {
	cfg := &tls.Config{}
	if c.opt.TLSConfig != nil {
		cfg = c.opt.TLSConfig.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = strings.Trim(strings.TrimPrefix(c.opt.Server, "[ipv6:"), "[].")
	}
	switch c.opt.TLS {
	case TLSVerified:
	case TLSPinned:
		cfg.InsecureSkipVerify, cfg.VerifyConnection = true, checkPins(c.opt.Pins)
	default:
		cfg.InsecureSkipVerify = true
	}
	c.wc.Within(c.opt.Timeouts.Greeting)
	if err := c.wc.StartTLS(ctx, cfg, false); err != nil {
		c.broken = true
		return &HandshakeError{err}
	}
	return nil
}

// hello is EHLO, or HELO for a server that knows nothing of EHLO (RFC 5321 §3.2); LHLO in LMTP.
func (c *Client) hello() error {
	verb := "EHLO "
	if c.opt.LMTP {
		verb = "LHLO "
	}
	c.ext = nil
	r, err := c.command(verb+c.opt.Hello, c.opt.Timeouts.Greeting)
	if err == nil && r.Code == 250 {
		c.ext = parseExtensions(r.Lines[1:])
		for _, keyword := range c.opt.Discard {
			delete(c.ext, strings.ToUpper(keyword))
		}
		return nil
	}
	if err == nil && r.Code/100 == 5 && !c.opt.LMTP {
		r, err = c.command("HELO "+c.opt.Hello, c.opt.Timeouts.Greeting)
	}
	if err == nil && r.Code != 250 {
		err = c.unexpected(r)
	}
	return err
}

// secure starts TLS if the policy and the server want it, and says EHLO again (RFC 3207 §4.2).
func (c *Client) secure(ctx context.Context) error {
	must := c.opt.TLS >= TLSRequired
	_, offered := c.ext["STARTTLS"]
	switch {
	case c.opt.ImplicitTLS || c.opt.TLS == TLSNone || !offered && !must:
		return nil
	case !offered:
		return mail.Temporaryf(7, 4, "TLS is required, but %s does not offer it", printable(c.opt.Server))
	}
	r, err := c.command("STARTTLS", c.opt.Timeouts.Greeting)
	if err != nil {
		return err
	}
	if r.Code != 220 {
		if r.Code/100 >= 4 && !must {
			return nil
		}
		return mail.Temporaryf(7, 4, "TLS is required, but %s refused it: %w", printable(c.opt.Server), r)
	}
	return c.goSecure(ctx)
}

// StartTLS asks for TLS and says EHLO again, for a client that was made with TLSNone to look at what is offered first.
// TLSConfig alone judges the certificate, by VerifyConnection. A server that does not want to gives a *Reply.
func (c *Client) StartTLS(ctx context.Context) error {
	return c.under(ctx, func() error {
		r, err := c.command("STARTTLS", c.opt.Timeouts.Greeting)
		if err == nil && r.Code != 220 {
			err = c.unexpected(r)
		}
		if err != nil {
			return err
		}
		return c.goSecure(ctx)
	})
}

// goSecure makes the handshake and says EHLO. In TLS 1.3 our side is done before the server has seen what we have sent: what it does
// not like, such as that we showed no certificate, it says by hanging up on the first command.
func (c *Client) goSecure(ctx context.Context) error {
	if err := c.handshake(ctx); err != nil {
		return err
	}
	err := c.hello()
	isLost := mail.StatusOf(err) == mail.Status{Class: mail.Temporary, Subject: 4, Detail: 2}
	var said *Reply
	if cause := errors.Unwrap(err); isLost && !c.silent && cause != nil && !errors.As(err, &said) {
		return &HandshakeError{cause}
	}
	return err
}

// command sends a line and reads the reply, whatever it is.
func (c *Client) command(line string, timeout time.Duration) (*Reply, error) {
	return c.secret(line, line, timeout)
}

func (c *Client) secret(line, shown string, timeout time.Duration) (*Reply, error) {
	err := c.wc.WriteSecret(line, shown)
	if err == nil {
		err = c.wc.Flush()
	}
	if err != nil {
		return nil, c.lost(err)
	}
	return c.reply(timeout)
}

func (c *Client) waitFor(timeout time.Duration) {
	c.parting.mu.Lock()
	defer c.parting.mu.Unlock()
	if c.parting.isTime {
		timeout = min(timeout, c.opt.Timeouts.Parting)
	}
	c.wc.Within(timeout)
}

// reply reads the next reply. 421 and an error end the connection.
func (c *Client) reply(timeout time.Duration) (*Reply, error) {
	c.waitFor(timeout)
	r, err := readReply(c.wc)
	if err != nil {
		return nil, c.lost(err)
	}
	if r.Code == 421 {
		c.broken = true
		return nil, r
	}
	return r, nil
}

// unexpected turns a reply that is not the wanted one into an error: the reply itself if it is a refusal.
func (c *Client) unexpected(r *Reply) error {
	if r.Code >= 400 {
		return r
	}
	return c.lost(protocolError("unexpected reply " + strconv.Itoa(r.Code)))
}

// lost gives up the connection. Whatever broke it, the message can be tried again.
func (c *Client) lost(err error) error {
	c.broken, c.silent = true, errors.Is(err, os.ErrDeadlineExceeded)
	c.nc.Close()
	var bad protocolError
	switch {
	case errors.Is(err, wire.ErrInjection):
		return mail.Permanentf(5, 2, "Line break or NUL in a command: %w", err)
	case errors.As(err, &bad), wire.IsPeerFault(err):
		return mail.Temporaryf(5, 0, "%s does not speak SMTP properly: %w", printable(c.opt.Server), unclassified(err))
	}
	return mail.Temporaryf(4, 2, "Connection to %s lost: %w", printable(c.opt.Server), err)
}

// unclassified hides the status of wire's errors, which say what a server would answer.
func unclassified(err error) error {
	if wire.IsPeerFault(err) {
		return fmt.Errorf("reply: %s", mail.TextOf(err))
	}
	return err
}

// Name is the server's name as it stands in reports.
func (c *Client) Name() string { return c.opt.Server }

// Extensions are what the server offers now.
func (c *Client) Extensions() Extensions { return c.ext }

// TLS describes the encryption, nil in clear.
func (c *Client) TLS() *tls.ConnectionState { return c.wc.TLS() }

// Usable reports that another message may be sent over this connection. Where the server has said more than it was asked for, what
// it says next would be taken for the answer to something else.
func (c *Client) Usable() bool { return !c.broken && !c.wc.Pending() }

// Stale reports that the last Send found the connection closed before the server said a word about the message. With a
// connection that had been idle this means nothing: another one may do.
func (c *Client) Stale() bool { return c.stale }

// Deaf reports that the server said nothing to what SendEach sent behind a text, though it took the text: it seems to throw away
// what comes before its verdict. It is better off if each message waits for that.
func (c *Client) Deaf() bool { return c.deaf }

// isLocal reports a peer on this host: loopback or a unix socket.
func (c *Client) isLocal() bool {
	a := c.nc.RemoteAddr()
	if _, ok := a.(*net.UnixAddr); ok {
		return true
	}
	ip, ok := session.AddrOf(a)
	return ok && ip.IsLoopback()
}

// Quit ends the session in order and closes. It does not wait for the answer, which can't change anything (RFC 5321 §4.1.1.10 has it
// that one should), unless a person looks on.
func (c *Client) Quit() {
	switch {
	case c.broken:
	case c.opt.Trace != nil:
		c.command("QUIT", c.opt.Timeouts.Quit)
	default:
		c.waitFor(c.opt.Timeouts.Quit)
		if c.wc.WriteLine("QUIT") == nil {
			c.wc.Flush()
		}
	}
	c.Close()
}

// Close closes without QUIT.
func (c *Client) Close() {
	c.broken = true
	c.nc.Close()
}
