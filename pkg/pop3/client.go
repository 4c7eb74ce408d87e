package pop3

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// Bounds of what a client takes from a server.
const (
	// MaxReply is the longest line but those of messages, CRLF included. RFC 2449 §4 says 512; servers put more into texts.
	MaxReply = 4096
	// MaxMessages is how many messages a maildrop may have, and so how many lines a listing.
	MaxMessages = 1_000_000
	// maxCapabilities is how many lines the answer to CAPA may have.
	maxCapabilities = 1000
	// DefaultWindow is how many commands are under way at once with a server that says PIPELINING.
	DefaultWindow = 50
	// DefaultReplyTime is what a server has for an answer, or for the next piece of a message.
	DefaultReplyTime = 2 * time.Minute
)

// ClientOptions are for NewClient; zero values mean the defaults.
type ClientOptions struct {
	ReplyTime time.Duration
	Window    int   // of pipelined commands; 1 never pipelines
	MaxSize   int64 // octets of a message on the wire; 0 is no limit
	Trace     wire.TraceFunc
}

// Client speaks POP3 to one server. After an error that is not a *ReplyError it is of no use but to be closed. It is used
// by one goroutine at a time, but for Close.
type Client struct {
	c        *wire.Conn
	opt      ClientOptions
	greeting string
	caps     Caps
	err      error // the dialog is out of step or over; sticks
}

// Caps is what a server can do (RFC 2449 §6): the arguments of each capability by its name in upper case.
type Caps map[string][]string

// Has reports a capability.
func (c Caps) Has(name string) bool { _, ok := c[name]; return ok }

// ReplyError is "-ERR" from the server. The dialog goes on.
type ReplyError struct {
	Verb string // of the command; empty for the greeting
	Code string // response code in upper case without brackets, such as "IN-USE"; may be empty
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

// MailStatus is what the response code says (RFC 2449 §8.1, RFC 3206). A server without codes that refuses a login
// refuses the password; anything else may work later.
func (e *ReplyError) MailStatus() mail.Status {
	switch {
	case e.Code == codeSysPerm:
		return mail.Status{Class: mail.Permanent, Subject: 3}
	case e.Code == codeAuth, e.Code == "" && (e.Verb == "PASS" || e.Verb == "AUTH"):
		return mail.Status{Class: mail.Permanent, Subject: 7, Detail: 8}
	}
	return mail.Status{Class: mail.Temporary}
}

// MailText is the server's text.
func (e *ReplyError) MailText() string { return "The POP3 server says: " + e.Text }

// errProtocol is what is wrong with a server that does not speak POP3; the detail is ours, never the server's words.
func errProtocol(detail string) error {
	return mail.Temporaryf(5, 0, "The server broke the POP3 protocol: %w", errors.New(detail))
}

// NewClient takes over nc and reads the greeting. On an error nc is closed.
func NewClient(nc net.Conn, opt ClientOptions) (*Client, error) {
	opt.ReplyTime = cmp.Or(opt.ReplyTime, DefaultReplyTime)
	opt.Window = cmp.Or(opt.Window, DefaultWindow)
	c := &Client{c: wire.NewConn(nc), opt: opt}
	c.c.SetMaxLine(MaxReply)
	c.c.SetTrace(opt.Trace)
	text, err := c.reply("")
	if err != nil {
		c.Close()
		return nil, err
	}
	c.greeting = text
	return c, nil
}

// Greeting is the text of the server's first line.
func (c *Client) Greeting() string { return c.greeting }

// Close closes the connection at once; deletions don't take effect. It may be called from any goroutine, but not during
// StartTLS, which its context ends.
func (c *Client) Close() error { return c.c.Close() }

// TLS describes the encryption, nil in clear.
func (c *Client) TLS() *tls.ConnectionState { return c.c.TLS() }

// Capa asks for the capabilities, which are few before login and others after STLS. A server without CAPA has none. The
// answer is kept until the next call, and decides about pipelining.
func (c *Client) Capa() (Caps, error) {
	caps := Caps{}
	_, err := c.listing("CAPA", maxCapabilities, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) > 0 {
			caps[strings.ToUpper(fields[0])] = fields[1:]
		}
		return nil
	})
	var refused *ReplyError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	c.caps = caps
	return caps, nil
}

// StartTLS changes to TLS (RFC 2595 §4). What the server sent in clear behind its answer is dropped; capabilities are
// forgotten, ask again.
func (c *Client) StartTLS(ctx context.Context, cfg *tls.Config) error {
	if _, err := c.command("STLS"); err != nil {
		return err
	}
	c.caps = nil
	c.c.Within(c.opt.ReplyTime)
	return c.broken(c.c.StartTLS(ctx, cfg, false))
}

// Login is USER and PASS, or AUTH PLAIN with a server that has no USER. The password travels as it is: have TLS.
func (c *Client) Login(user, password string) error {
	if !c.caps.Has("USER") && hasFold(c.caps["SASL"], sasl.Plain) {
		return c.Authenticate(sasl.NewPlainClient("", user, password))
	}
	if _, err := c.command("USER " + user); err != nil {
		return err
	}
	if err := c.send("PASS "+password, "PASS ***"); err != nil {
		return err
	}
	_, err := c.reply("PASS")
	return err
}

func hasFold(words []string, word string) bool {
	for _, w := range words {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// Authenticate is AUTH (RFC 5034). The initial response goes with the command if the line stays within its 255 octets.
func (c *Client) Authenticate(mechanism sasl.Client) error {
	name, initial, err := mechanism.Start()
	if err != nil {
		return err
	}
	line, shown := "AUTH "+name, "AUTH "+name
	if initial != nil {
		if with := line + " " + encodeInitial(initial); len(with)+2 <= maxAuthLine {
			line, shown, initial = with, shown+" ***", nil
		}
	}
	if err := c.send(line, shown); err != nil {
		return err
	}
	return c.exchange(mechanism, initial)
}

// maxAuthLine is the longest command line, CRLF included (RFC 5034 §4).
const maxAuthLine = 255

func encodeInitial(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// maxChallenges is how many of them a server may send.
const maxChallenges = 20

// exchange answers challenges; initial is the answer to the first if it has not been sent.
func (c *Client) exchange(mechanism sasl.Client, initial []byte) error {
	for range maxChallenges {
		challenge, done, err := c.challenge()
		if done || err != nil {
			return err
		}
		response := initial
		initial = nil
		if response == nil {
			response, err = mechanism.Next(challenge)
		}
		if err != nil {
			return c.cancel(err)
		}
		if err := c.send(base64.StdEncoding.EncodeToString(response), "***"); err != nil {
			return err
		}
	}
	return c.broken(errProtocol("challenges without end"))
}

// challenge reads "+ base64", or the verdict.
func (c *Client) challenge() (challenge []byte, done bool, err error) {
	line, err := c.line()
	if err != nil {
		return nil, false, err
	}
	text, ok := strings.CutPrefix(line, "+ ")
	if !ok && line != "+" {
		_, err := c.parseReply("AUTH", line)
		return nil, true, err
	}
	c.c.Trace(false, "+ ***")
	challenge, err = base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if !ok || err != nil {
		challenge = nil // an empty challenge, or one that is none: the mechanism knows what it needs
	}
	return challenge, false, nil
}

// cancel ends an exchange that the mechanism doesn't want to go on with (RFC 5034 §4).
func (c *Client) cancel(why error) error {
	if _, err := c.commandAs("*", "AUTH"); err == nil {
		return c.broken(errProtocol("login without credentials"))
	} else if c.err != nil {
		return err
	}
	return why
}

// Stat gives the number of messages and their octets on the wire.
func (c *Client) Stat() (count int, octets int64, err error) {
	text, err := c.command("STAT")
	if err != nil {
		return 0, 0, err
	}
	number, rest, _ := strings.Cut(text, " ")
	size, _, _ := strings.Cut(rest, " ")
	n, err1 := strconv.ParseUint(number, 10, 31)
	octets, err2 := parseSize(size)
	if err1 != nil || err2 != nil || n > MaxMessages {
		return 0, 0, c.broken(errProtocol("answer to STAT"))
	}
	return int(n), octets, nil
}

// List calls each with the number and the size of every message. An error of each is returned when the listing is over.
func (c *Client) List(each func(number int, octets int64) error) error {
	_, err := c.listing("LIST", MaxMessages, func(line string) error {
		n, rest, err := c.scanLine(line)
		if err != nil {
			return err
		}
		size, _, _ := strings.Cut(rest, " ") // RFC 1939 §5: more may follow
		octets, err := parseSize(size)
		if err != nil {
			return c.broken(errProtocol("size in a listing"))
		}
		return each(n, octets)
	})
	return err
}

// UIDL calls each with the number and the unique-id of every message: printable, without blanks, not empty. RFC 1939 §7
// says 70 octets; longer ones are taken.
func (c *Client) UIDL(each func(number int, uid string) error) error {
	_, err := c.listing("UIDL", MaxMessages, func(line string) error {
		n, uid, err := c.scanLine(line)
		if err != nil {
			return err
		}
		uid = strings.TrimRight(uid, " ")
		if uid == "" || strings.ContainsFunc(uid, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return c.broken(errProtocol("unique-id in a listing"))
		}
		return each(n, uid)
	})
	return err
}

// scanLine cuts "number rest".
func (c *Client) scanLine(line string) (number int, rest string, err error) {
	digits, rest, _ := strings.Cut(line, " ")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n == 0 {
		return 0, "", c.broken(errProtocol("message number in a listing"))
	}
	return int(n), strings.TrimLeft(rest, " "), nil
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// Retrieve asks for messages, with as many commands under way as the server likes, and calls each for every one in that
// order: with its text in local form, or with the *ReplyError that says why there is none. The text ends with io.EOF; it is
// over when each returns, read or not. An error of each is returned once the answers under way have been read.
func (c *Client) Retrieve(numbers []int, each func(number int, text io.Reader, err error) error) error {
	return c.texts(request{verb: "RETR"}, numbers, each)
}

// Top is Retrieve for the headers alone (TOP n 0), with the empty line behind them.
func (c *Client) Top(numbers []int, each func(number int, header io.Reader, err error) error) error {
	return c.texts(request{"TOP", " 0"}, numbers, each)
}

// request is a command about a message, less the number.
type request struct{ verb, tail string }

func (c *Client) texts(ask request, numbers []int, each func(number int, text io.Reader, err error) error) error {
	return c.pipeline(ask, numbers, func(n int, err error) error {
		if err != nil {
			return each(n, nil, err)
		}
		c.c.Idle(c.opt.ReplyTime)
		text := c.c.DotReader(wire.DotOptions{MaxSize: c.opt.MaxSize, MaxText: -1, Bare: wire.TakeBare})
		eachErr := each(n, text, nil)
		if err := text.Drain(); err != nil && !wire.IsPeerFault(err) {
			return c.broken(err)
		}
		return eachErr
	}, func() error {
		c.c.Idle(c.opt.ReplyTime)
		if err := c.c.DotReader(wire.DotOptions{MaxText: -1, Bare: wire.TakeBare}).Drain(); err != nil && !wire.IsPeerFault(err) {
			return c.broken(err)
		}
		return nil
	})
}

// Delete marks messages, and calls each with what the server said to every one: nil or a *ReplyError. They go at Quit.
func (c *Client) Delete(numbers []int, each func(number int, err error) error) error {
	return c.pipeline(request{verb: "DELE"}, numbers, each, func() error { return nil })
}

// pipeline sends a command for every number and keeps up to a window of them under way. each is to read what follows
// "+OK"; once it has failed, skip does.
func (c *Client) pipeline(ask request, numbers []int, each func(int, error) error, skip func() error) error {
	window := 1
	if c.caps.Has("PIPELINING") {
		window = c.opt.Window
	}
	var failed error
	for sent, got := 0, 0; got < len(numbers); got++ {
		if failed != nil && got == sent {
			break // all answers to what was asked have been read
		}
		if failed == nil && sent-got <= window/2 {
			for ; sent < len(numbers) && sent-got < window; sent++ {
				c.c.WriteLine(ask.verb + " " + strconv.Itoa(numbers[sent]) + ask.tail)
			}
			if err := c.broken(c.c.Flush()); err != nil {
				return err
			}
		}
		_, err := c.reply(ask.verb)
		switch {
		case c.err != nil:
			return c.err
		case failed == nil:
			failed = each(numbers[got], err)
		case err == nil:
			skip() // its error is c.err
		}
		if c.err != nil {
			return c.err
		}
	}
	return failed
}

// Reset takes deletions back (RSET).
func (c *Client) Reset() error { _, err := c.command("RSET"); return err }

// Noop asks whether the server is still there.
func (c *Client) Noop() error { _, err := c.command("NOOP"); return err }

// Quit makes the deletions happen and closes the connection. Only without an error are they sure to have happened.
func (c *Client) Quit() error {
	_, err := c.command("QUIT")
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// listing sends a command and calls each for every line of the answer, dot-stuffing undone. An error of each is returned at
// the end of the answer.
func (c *Client) listing(verb string, most int, each func(line string) error) (text string, err error) {
	if text, err = c.command(verb); err != nil {
		return "", err
	}
	var failed error
	for n := 0; ; n++ {
		line, err := c.line()
		switch {
		case err != nil:
			return "", err
		case line == ".":
			return text, failed
		case n == most:
			return "", c.broken(errProtocol("a listing without end"))
		case failed == nil:
			failed = each(strings.TrimPrefix(line, "."))
		}
		if c.err != nil {
			return "", c.err
		}
	}
}

func (c *Client) command(line string) (string, error) {
	verb, _, _ := strings.Cut(line, " ")
	return c.commandAs(line, verb)
}

func (c *Client) commandAs(line, verb string) (string, error) {
	if err := c.send(line, line); err != nil {
		return "", err
	}
	return c.reply(verb)
}

func (c *Client) send(line, shown string) error {
	if c.err != nil {
		return c.err
	}
	c.c.WriteSecret(line, shown) // its error sticks until Flush
	return c.broken(c.c.Flush())
}

// reply reads one line of answer; "-ERR" is a *ReplyError.
func (c *Client) reply(verb string) (string, error) {
	line, err := c.line()
	if err != nil {
		return "", err
	}
	return c.parseReply(verb, line)
}

func (c *Client) line() (string, error) {
	if c.err != nil {
		return "", c.err
	}
	c.c.Within(c.opt.ReplyTime)
	line, err := c.c.ReadLine()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if wire.IsPeerFault(err) {
		err = errProtocol(mail.TextOf(err))
	}
	if err != nil {
		return "", c.broken(err)
	}
	return line, nil
}

func (c *Client) parseReply(verb, line string) (string, error) {
	c.c.Trace(false, line)
	status, text, ok := parseReply(line)
	switch {
	case !ok:
		return "", c.broken(errProtocol("neither +OK nor -ERR"))
	case status:
		return text, nil
	}
	code, text := cutCode(text)
	return "", &ReplyError{Verb: verb, Code: code, Text: printable(text)}
}

// parseReply reads "+OK" or "-ERR" [SP text].
//
// QUIRK: any letter case, and a text without the blank ("-ERR:"), which old servers send.
func parseReply(line string) (success bool, text string, ok bool) {
	for _, word := range []string{"+OK", "-ERR"} {
		if len(line) < len(word) || !strings.EqualFold(line[:len(word)], word) {
			continue
		}
		rest := line[len(word):]
		if rest != "" && isLetter(rest[0]) {
			return false, "", false
		}
		return word == "+OK", strings.TrimLeft(rest, " \t"), true
	}
	return false, "", false
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// cutCode takes a response code (RFC 2449 §8) off a text.
func cutCode(text string) (code, rest string) {
	inner, after, ok := strings.Cut(text, "]")
	if !ok || !strings.HasPrefix(inner, "[") {
		return "", text
	}
	return printable(strings.ToUpper(inner[1:])), strings.TrimLeft(after, " ")
}

// printable makes a text of the server fit for a terminal: ASCII without controls, 200 octets.
func printable(s string) string {
	s = s[:min(len(s), 200)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}

// broken keeps the first error that ends the dialog.
func (c *Client) broken(err error) error {
	if err != nil && c.err == nil {
		c.err = err
		if mail.StatusOf(err) == (mail.Status{Class: mail.Temporary}) {
			c.err = fmt.Errorf("pop3: %w", err)
		}
	}
	return c.err
}
