package imap

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// Bounds of what a client takes from a server.
const (
	// MaxReplyLine is the longest line but those of messages, CRLF included, in octets.
	MaxReplyLine = 64 << 10
	// MaxFolders is how many mailboxes a server may list.
	MaxFolders = 10_000
	// MaxMessages is how many answers a server may give to one command, and so how many messages a mailbox may have.
	MaxMessages = 2_000_000
	// DefaultReplyTime is what a server has for an answer, or for the next piece of a message.
	DefaultReplyTime = 2 * time.Minute

	maxReplyString = 64 << 10  // octets of a string that is no message
	maxReplyDepth  = 20        // of lists in lists
	maxSkip        = 16 << 20  // octets of a message that nobody wants, before the connection is given up
	maxChallenges  = 20        // of one login
	maxLiteral     = 1<<62 - 1 // octets of a message
)

// ClientOptions are for NewClient; zero values mean the defaults.
type ClientOptions struct {
	ReplyTime time.Duration
	Trace     wire.TraceFunc
}

// Client speaks IMAP4rev1 and IMAP4rev2 (RFC 3501, RFC 9051) to one server: as much of it as collecting mail takes. After
// an error that is not a *ReplyError it is of no use but to be closed. It is used by one goroutine at a time, but for Close.
//
// Nothing that a server says is kept in memory beyond the bounds above: messages are streamed, listings are handed on one
// by one.
type Client struct {
	c       *wire.Conn
	opt     ClientOptions
	tags    int
	caps    map[string]bool // upper case; nil: not known
	preauth bool
	welcome string // text of the greeting, printable
	exists  uint32 // messages in the selected mailbox, as last said
	bye     string // why the server hangs up, printable
	err     error  // the dialog is out of step or over; sticks

	isProving bool // who the user is: challenges are not for the trace
}

// ReplyError is NO or BAD from the server, or BYE instead of a greeting. The dialog goes on.
type ReplyError struct {
	Verb string // of the command; empty for the greeting
	Code string // response code in upper case without brackets, such as "NONEXISTENT"; may be empty
	Text string // printable
}

// Error is for logs and terminals.
func (e *ReplyError) Error() string {
	what := "server says"
	if e.Verb != "" {
		what += " to " + e.Verb
	}
	if e.Code != "" {
		return what + ": [" + e.Code + "] " + e.Text
	}
	return what + ": " + e.Text
}

// MailStatus is what the response code says (RFC 5530 §3). A server without codes that refuses a login refuses the
// password; anything else may work later.
func (e *ReplyError) MailStatus() mail.Status {
	switch e.Code {
	case "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED":
		return mail.Status{Class: mail.Permanent, Subject: 7, Detail: 8}
	case "NONEXISTENT":
		return mail.Status{Class: mail.Permanent, Subject: 1, Detail: 1}
	case "NOPERM":
		return mail.Status{Class: mail.Permanent, Subject: 7}
	case "":
		if e.Verb == "LOGIN" || e.Verb == "AUTHENTICATE" {
			return mail.Status{Class: mail.Permanent, Subject: 7, Detail: 8}
		}
	}
	return mail.Status{Class: mail.Temporary}
}

// MailText is the server's text.
func (e *ReplyError) MailText() string { return "The IMAP server says: " + e.Text }

// errServer is what is wrong with a server that does not speak IMAP; the detail is ours, never the server's words.
func errServer(detail string) error {
	return mail.Temporaryf(5, 0, "The server broke the IMAP protocol: %w", errors.New(detail))
}

// NewClient takes over nc and reads the greeting. On an error nc is closed.
func NewClient(nc net.Conn, opt ClientOptions) (*Client, error) {
	opt.ReplyTime = cmp.Or(opt.ReplyTime, DefaultReplyTime)
	c := &Client{c: wire.NewConn(nc), opt: opt}
	c.c.SetMaxLine(MaxReplyLine)
	c.c.SetTrace(opt.Trace)
	if err := c.greeting(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) greeting() error {
	r, err := c.readReply()
	if err != nil {
		return err
	}
	if r.tag != "*" {
		return c.broken(errServer("no greeting"))
	}
	switch kind := strings.ToUpper(r.word()); kind {
	case "OK", "PREAUTH":
		c.preauth = kind == "PREAUTH"
		c.code(r.rest)
		_, text := cutCode(r.rest)
		c.welcome = printable(text)
		return nil
	case "BYE":
		code, text := cutCode(r.rest)
		return &ReplyError{Code: code, Text: printable(text)}
	}
	return c.broken(errServer("no greeting"))
}

// IsLoggedIn reports a server that knew who we are before we said it (PREAUTH).
func (c *Client) IsLoggedIn() bool { return c.preauth }

// Greeting is the text of the server's first line, without its response code.
func (c *Client) Greeting() string { return c.welcome }

// Close closes the connection at once. It may be called from any goroutine, but not during StartTLS, which its context ends.
func (c *Client) Close() error { return c.c.Close() }

// Err is what has ended the dialog, nil while it can go on.
func (c *Client) Err() error { return c.err }

// TLS describes the encryption, nil in clear.
func (c *Client) TLS() *tls.ConnectionState { return c.c.TLS() }

// Has reports a capability, such as "IDLE"; they are asked for when they are not known.
func (c *Client) Has(capability string) bool {
	if c.caps == nil {
		if err := c.capability(); err != nil {
			return false
		}
	}
	return c.caps[strings.ToUpper(capability)]
}

// Capabilities are what the server has last said of them, in upper case and sorted; none if they are not known.
func (c *Client) Capabilities() []string { return slices.Sorted(maps.Keys(c.caps)) }

// Mechanisms are those of SASL that the server offers.
func (c *Client) Mechanisms() []string {
	var names []string
	for name := range c.caps {
		if mech, ok := strings.CutPrefix(name, "AUTH="); ok {
			names = append(names, mech)
		}
	}
	return names
}

// Capability asks what the server can do, which changes with TLS and with the login.
func (c *Client) Capability() error {
	c.caps = nil
	return c.capability()
}

func (c *Client) capability() error {
	err := c.command("CAPABILITY", nil)
	if c.caps == nil && c.err == nil {
		c.caps = map[string]bool{}
	}
	return err
}

func (c *Client) takeCaps(words string) {
	caps := map[string]bool{}
	for _, word := range strings.Fields(words) {
		caps[strings.ToUpper(word)] = true
	}
	c.caps = caps
}

// code takes what a response code at the start of text says about the session.
func (c *Client) code(text string) {
	inner, ok := strings.CutPrefix(text, "[")
	if !ok {
		return
	}
	inner, _, _ = strings.Cut(inner, "]")
	if name, words, _ := strings.Cut(inner, " "); strings.EqualFold(name, "CAPABILITY") {
		c.takeCaps(words)
	}
}

// cutCode parts "[CODE more] text".
func cutCode(s string) (code, text string) {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok {
		return "", s
	}
	inner, text, ok = strings.Cut(inner, "]")
	if !ok {
		return "", s
	}
	code, _, _ = strings.Cut(inner, " ")
	return strings.ToUpper(code), strings.TrimLeft(text, " ")
}

// printable makes a server's text safe for logs and terminals.
func printable(s string) string {
	const most = 500
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// StartTLS changes to TLS (RFC 9051 §6.2.1). What the server sent in clear behind its answer is dropped, and so is what it
// said of its capabilities. A server that greets with PREAUTH has gone past it, and is refused.
func (c *Client) StartTLS(ctx context.Context, cfg *tls.Config) error {
	if c.preauth {
		return mail.Permanentf(7, 0, "The IMAP server goes on without TLS (PREAUTH); that may be somebody in between")
	}
	if err := c.command("STARTTLS", nil); err != nil {
		return err
	}
	c.caps = nil
	c.c.Within(c.opt.ReplyTime)
	return c.broken(c.c.StartTLS(ctx, cfg, false))
}

// Login is LOGIN. The password travels as it is: have TLS.
func (c *Client) Login(user, password string) error {
	if strings.ContainsAny(user+password, "\r\n\x00") {
		return mail.Permanentf(7, 8, "User name or password has a control character")
	}
	name := quoteString(user)
	c.caps = nil
	tag := c.send("LOGIN "+name+" "+quoteString(password), "LOGIN "+name+" ***")
	return c.loggedIn(c.finish(tag, "LOGIN", nil))
}

// loggedIn: capabilities that did not come with the answer are asked for again.
func (c *Client) loggedIn(err error) error {
	if err == nil && c.err == nil && c.caps == nil {
		return c.capability()
	}
	return err
}

// Authenticate is AUTHENTICATE, with the initial response in the command where the server can take it (RFC 4959).
func (c *Client) Authenticate(mechanism sasl.Client) error {
	hasIR := c.Has("SASL-IR")
	name, initial, err := mechanism.Start()
	if err != nil {
		return err
	}
	line, shown := "AUTHENTICATE "+name, "AUTHENTICATE "+name
	if initial != nil && hasIR {
		line, shown, initial = line+" "+encodeInitial(initial), shown+" ***", nil
	}
	c.caps = nil
	tag := c.send(line, shown)
	return c.loggedIn(c.exchange(tag, mechanism, initial))
}

func encodeInitial(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// exchange answers challenges; initial is the answer to the first if it has not been sent.
func (c *Client) exchange(tag string, mechanism sasl.Client, initial []byte) error {
	c.isProving = true
	defer func() { c.isProving = false }()
	var why error // the mechanism gave up
	for range maxChallenges {
		line, err := c.untilReady(tag, "AUTHENTICATE")
		if err != nil {
			return cmp.Or(why, err)
		}
		if line == nil {
			return why
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line.rest))
		if err != nil {
			challenge = nil // the mechanism knows what it needs
		}
		response := initial
		initial = nil
		if response == nil {
			response, err = mechanism.Next(challenge)
		} else {
			err = nil
		}
		text := base64.StdEncoding.EncodeToString(response)
		if err != nil {
			why, text = err, "*"
		}
		if err := c.sendLine(text, "***"); err != nil {
			return err
		}
	}
	return c.broken(errServer("challenges without end"))
}

// untilReady reads up to "+", whose text it gives, or to the tagged answer: nil.
func (c *Client) untilReady(tag, verb string) (*replyLine, error) {
	for range maxReplyDepth * 100 {
		r, err := c.readReply()
		if err != nil {
			return nil, err
		}
		switch r.tag {
		case "+":
			return r, nil
		case tag:
			return nil, c.verdict(r, verb)
		case "*":
			if err := c.untagged(r, nil); err != nil {
				return nil, err
			}
		default:
			return nil, c.broken(errServer("an answer to a command that was not sent"))
		}
	}
	return nil, c.broken(errServer("answers without end"))
}

// Noop asks for news.
func (c *Client) Noop() error { return c.command("NOOP", nil) }

// Logout ends the session and closes the connection.
func (c *Client) Logout() error {
	err := c.command("LOGOUT", nil)
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// Exists is the number of messages in the selected mailbox as the server has last said it.
func (c *Client) Exists() uint32 { return c.exists }

// Idle waits until the server tells of a message, at most d (RFC 2177). The connection must be closed to end it earlier.
func (c *Client) Idle(d time.Duration) (news bool, err error) {
	before := c.exists
	tag := c.send("IDLE", "IDLE")
	if r, err := c.untilReady(tag, "IDLE"); err != nil || r == nil {
		return c.exists != before, err
	}
	// While this goroutine reads, only the timer writes, and it has ended before anybody else does.
	var once sync.Once
	done := func() { once.Do(func() { c.c.Write([]byte("DONE\r\n")); c.c.Flush() }) }
	timer := time.AfterFunc(d, done)
	defer func() {
		timer.Stop()
		once.Do(func() {})
	}()
	if c.exists != before {
		done()
	}
	for range MaxMessages {
		r, err := c.readWithin(d + c.opt.ReplyTime)
		if err != nil {
			return false, err
		}
		switch r.tag {
		case tag:
			return c.exists != before, c.verdict(r, "IDLE")
		case "*":
			if err := c.untagged(r, nil); err != nil {
				return false, err
			}
			if c.exists != before {
				done()
			}
		default:
			return false, c.broken(errServer("an answer that is none to IDLE"))
		}
	}
	return false, c.broken(errServer("answers without end"))
}

// command sends a line and reads up to its answer; data gets what is said untagged.
func (c *Client) command(line string, data func(kind string, number uint32, r *replyLine) error) error {
	verb, rest, _ := strings.Cut(line, " ")
	if verb == "UID" {
		word, _, _ := strings.Cut(rest, " ")
		verb += " " + word
	}
	return c.finish(c.send(line, line), verb, data)
}

// send gives the tag; its error is that of finish.
func (c *Client) send(line, shown string) (tag string) {
	c.tags++
	tag = "m" + strconv.Itoa(c.tags)
	if c.err == nil {
		c.sendLine(tag+" "+line, tag+" "+shown)
	}
	return tag
}

func (c *Client) sendLine(line, shown string) error {
	c.c.WriteSecret(line, shown) // its error sticks until Flush
	return c.broken(c.c.Flush())
}

// finish reads up to the tagged answer. An error of data is returned at the end, or at once if it is the connection's.
func (c *Client) finish(tag, verb string, data func(kind string, number uint32, r *replyLine) error) error {
	var failed error
	for range MaxMessages {
		r, err := c.readReply()
		if err != nil {
			return err
		}
		switch r.tag {
		case tag:
			return cmp.Or(failed, c.verdict(r, verb))
		case "*":
			err := c.untagged(r, data)
			if c.err != nil {
				return cmp.Or(failed, err, c.err)
			}
			if err != nil {
				failed, data = cmp.Or(failed, err), nil
			}
		default:
			return c.broken(errServer("an answer to a command that was not sent"))
		}
	}
	return c.broken(errServer("answers without end"))
}

// verdict reads a tagged answer.
func (c *Client) verdict(r *replyLine, verb string) error {
	kind := strings.ToUpper(r.word())
	switch kind {
	case "OK":
		c.code(r.rest)
		return nil
	case "NO", "BAD":
		code, text := cutCode(r.rest)
		return &ReplyError{Verb: verb, Code: code, Text: printable(text)}
	}
	return c.broken(errServer("neither OK, NO nor BAD"))
}

// untagged takes what is said of the session, and gives the rest to data, which may be nil.
func (c *Client) untagged(r *replyLine, data func(kind string, number uint32, r *replyLine) error) error {
	kind := strings.ToUpper(r.word())
	var number uint32
	if n, err := strconv.ParseUint(kind, 10, 32); err == nil {
		number, kind = uint32(n), strings.ToUpper(r.word())
	}
	switch kind {
	case "OK":
		c.code(r.rest)
	case "CAPABILITY":
		c.takeCaps(r.rest)
		return nil
	case "BYE":
		_, text := cutCode(r.rest)
		c.bye = printable(text)
	case "EXISTS":
		c.exists = number
	case "EXPUNGE":
		if c.exists > 0 {
			c.exists--
		}
	}
	isText := kind == "OK" || kind == "NO" || kind == "BAD" || kind == "BYE" || kind == "PREAUTH"
	var err error
	if data != nil {
		err = data(kind, number, r)
	}
	if c.err != nil || isText {
		return err
	}
	return cmp.Or(err, r.skip())
}

// broken remembers what ended the dialog; nil and what the server said are nothing.
func (c *Client) broken(err error) error {
	var said *ReplyError
	if err != nil && c.err == nil && !errors.As(err, &said) {
		c.err = err
	}
	return err
}

func (c *Client) readReply() (*replyLine, error) { return c.readWithin(c.opt.ReplyTime) }

// readWithin reads the first line of an answer, and its tag.
func (c *Client) readWithin(d time.Duration) (*replyLine, error) {
	line, err := c.line(d)
	if err != nil {
		return nil, err
	}
	r := &replyLine{c: c}
	r.tag, r.rest, _ = strings.Cut(line, " ")
	return r, nil
}

func (c *Client) line(d time.Duration) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	c.c.Within(d)
	line, err := c.c.ReadLine()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
		if c.bye != "" {
			err = errors.New("the server ended the session: " + c.bye)
		}
	}
	if wire.IsPeerFault(err) {
		err = errServer(mail.TextOf(err))
	}
	if err != nil {
		return "", c.broken(err)
	}
	if c.isProving && strings.HasPrefix(line, "+ ") {
		c.c.Trace(false, "+ ***")
	} else {
		c.c.Trace(false, line)
	}
	return line, nil
}

// quoteString gives an IMAP string for text without CR, LF and NUL, which the caller has checked or which the line that it
// becomes part of refuses.
func quoteString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
