// Package session is the server side that SMTP, POP3, LMTP and IMAP share: the command loop, and what surrounds it
// (accepting, limits, shutdown, standard input as the connection).
//
// A protocol is a [Dialect]: a table of commands, a way to split a line, and a way to print a reply. A handler parses, acts, and
// returns nil or an error; the loop alone prints the reply, decides when to flush, counts mistakes and hangs up. So no
// handler can forget to answer, and none can answer twice.
package session

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// State is a set of session states; each dialect numbers its own with 1<<iota.
type State uint8

// Any is every state.
const Any = ^State(0)

// Flags are what the loop does about a command before its handler runs.
type Flags uint8

const (
	// NoArgs refuses the command when anything stands behind the verb.
	NoArgs Flags = 1 << iota
	// Secret keeps the arguments out of traces.
	Secret
)

// Command is one row of a dialect. Do runs in the states In only.
type Command[S any] struct {
	Verb  string // upper case
	In    State
	Flags Flags
	Do    func(s S, ctx context.Context, args *wire.Args) error
}

// Dialect is a protocol over lines. S is its session, usually a pointer.
type Dialect[S any] struct {
	Commands []Command[S]
	// Split finds the tag (IMAP), the verb, and the rest of a line. Nil: the verb is the first word and there is no tag.
	Split func(line string) (tag, verb, rest string, err error)
	State func(s S) State
	// Greet writes the greeting, or returns why there will be no session.
	Greet func(s S, ctx context.Context) error
	// Reply writes the answer to one command. A nil error is success; ErrUnknown, ErrState, ErrArgs and
	// wire's errors come from the loop. ClosingError says that the connection ends after this reply; then tag and verb
	// may be empty.
	Reply func(s S, tag, verb string, err error) error
}

// What the loop finds wrong with a command by itself.
var (
	ErrUnknown  = mail.Permanentf(5, 1, "Unknown command")
	ErrState    = mail.Permanentf(5, 1, "Command not possible now")
	ErrArgs     = mail.Permanentf(5, 4, "Command takes no arguments")
	ErrTimeout  = mail.Temporaryf(4, 2, "Waited too long for input, closing connection")
	ErrShutdown = mail.Temporaryf(3, 2, "Server is shutting down, closing connection")
	ErrMistakes = mail.Temporaryf(7, 0, "Too many bad commands, closing connection")
	ErrBusy     = mail.Temporaryf(3, 2, "Too many connections, try again later")
	ErrForeign  = mail.Permanentf(5, 1, "This is another protocol, closing connection")
)

// ClosingError says that the connection is closed after the reply (SMTP 421, IMAP BYE).
type ClosingError struct{ Err error }

func (e *ClosingError) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *ClosingError) Unwrap() error { return e.Err }

// then is a success with something to do once its reply is out.
type then struct{ do func(context.Context) error }

func (*then) Error() string { return "done, more follows the reply" }

// Then makes a handler succeed and has do run after the reply has been flushed, before the next line is read: a TLS
// handshake, a compression layer. An error of do ends the connection.
func Then(do func(context.Context) error) error { return &then{do} }

var errQuit = errors.New("quit")

// Quit makes a handler succeed and closes the connection after the reply.
func Quit() error { return Then(func(context.Context) error { return errQuit }) }

// Limits bound a session.
type Limits struct {
	Command  time.Duration // for a whole command line to arrive; 0 is no limit
	Mistakes int           // bad commands before the connection is closed; 0 is no limit
}

// Run serves one connection until it ends and closes it. It returns nil after a proper end (QUIT, the peer closing
// between commands, shutdown, timeout), else what broke.
func Run[S any](ctx context.Context, d *Dialect[S], s S, c *wire.Conn, lim Limits) error {
	r := &run[S]{d: d, s: s, c: c, lim: lim}
	stop := context.AfterFunc(ctx, r.gate.shut(c))
	defer stop()
	err := r.loop(ctx)
	if err == errQuit {
		err = nil
	}
	if ferr := c.Flush(); err == nil {
		err = ferr
	}
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

type run[S any] struct {
	d        *Dialect[S]
	s        S
	c        *wire.Conn
	lim      Limits
	gate     gate
	mistakes int
	started  bool // something has been read
}

func (r *run[S]) loop(ctx context.Context) error {
	if err := r.d.Greet(r.s, ctx); err != nil {
		return r.bye(err)
	}
	for {
		line, err := r.next(ctx)
		if err == nil {
			err = r.serve(ctx, line)
		}
		if err != nil {
			return err
		}
		if r.lim.Mistakes > 0 && r.mistakes >= r.lim.Mistakes {
			return r.bye(ErrMistakes)
		}
	}
}

// next gives the next command line; errQuit when the session is over for a reason that has been told.
func (r *run[S]) next(ctx context.Context) (string, error) {
	for {
		if !r.c.Pending() {
			if err := r.c.Flush(); err != nil {
				return "", err
			}
		}
		if !r.gate.wait(r.c, r.lim.Command) {
			return "", r.bye(ErrShutdown)
		}
		line, err := r.readLine()
		r.gate.work()
		switch {
		case err == ErrForeign:
			return "", r.bye(err)
		case err == nil:
			return line, nil
		case wire.IsPeerFault(err):
			if err := r.reply("", "", err); err != nil {
				return "", err
			}
			if r.lim.Mistakes > 0 && r.mistakes >= r.lim.Mistakes {
				return "", r.bye(ErrMistakes)
			}
		case err == io.EOF:
			return "", errQuit
		case ctx.Err() != nil:
			return "", r.bye(ErrShutdown)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "", r.bye(ErrTimeout)
		default:
			return "", err
		}
	}
}

// readLine refuses peers that speak something else: a browser that a page has sent here, or one that begins with TLS where
// there is none. They would take each reply for their own, or wait for one for ever.
func (r *run[S]) readLine() (string, error) {
	if !r.started {
		first, err := r.c.First()
		if err != nil {
			return "", err
		}
		if r.started = true; first == tlsHandshake && r.c.TLS() == nil {
			return "", ErrForeign
		}
	}
	line, err := r.c.ReadLine()
	if err == nil && isHTTP(line) {
		r.c.Trace(false, line)
		return "", ErrForeign
	}
	return line, err
}

// tlsHandshake starts a TLS ClientHello (RFC 8446 §5.1, ContentType).
const tlsHandshake = 22

// isHTTP reports a request line of HTTP (RFC 9112 §3), and the preface of HTTP/2 (RFC 9113 §3.4).
func isHTTP(line string) bool {
	if i := len(line) - len(" HTTP/1.1"); i < 0 || line[i:i+len(" HTTP/")] != " HTTP/" {
		return false
	}
	method, _, _ := strings.Cut(line, " ")
	switch method {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI":
		return true
	}
	return false
}

// serve runs one command and answers it.
func (r *run[S]) serve(ctx context.Context, line string) error {
	tag, verb, rest, err := r.split(line)
	if err != nil {
		r.c.Trace(false, line)
		if r.c.Err() != nil {
			return r.lost(ctx)
		}
		return r.reply(tag, verb, err)
	}
	cmd, err := r.find(verb, rest)
	r.traceCommand(cmd, line, rest)
	if err == nil {
		err = cmd.Do(r.s, ctx, wire.NewArgs(r.c, rest))
	}
	if r.c.Err() != nil {
		return r.lost(ctx)
	}
	var after *then
	if !errors.As(err, &after) {
		return r.reply(tag, verb, err)
	}
	if err := r.reply(tag, verb, nil); err != nil {
		return err
	}
	if err := r.c.Flush(); err != nil {
		return err
	}
	return after.do(ctx)
}

// lost ends the session after a command in whose midst the input has ended: who was too slow may still read, and nobody else.
func (r *run[S]) lost(ctx context.Context) error {
	switch err := r.c.Err(); {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case ctx.Err() != nil:
		return r.bye(ErrShutdown)
	}
	return r.bye(ErrTimeout)
}

func (r *run[S]) split(line string) (tag, verb, rest string, err error) {
	if r.d.Split != nil {
		return r.d.Split(line)
	}
	verb, rest, _ = strings.Cut(line, " ")
	return "", verb, rest, nil
}

func (r *run[S]) find(verb, rest string) (*Command[S], error) {
	for i := range r.d.Commands {
		cmd := &r.d.Commands[i]
		if !strings.EqualFold(cmd.Verb, verb) {
			continue
		}
		switch {
		case cmd.In&r.d.State(r.s) == 0:
			return cmd, ErrState
		case cmd.Flags&NoArgs != 0 && strings.Trim(rest, " \t") != "":
			return cmd, ErrArgs
		}
		return cmd, nil
	}
	return nil, ErrUnknown
}

func (r *run[S]) traceCommand(cmd *Command[S], line, rest string) {
	if cmd != nil && cmd.Flags&Secret != 0 && rest != "" {
		line = line[:len(line)-len(rest)] + "***"
	}
	r.c.Trace(false, line)
}

// reply answers a command, counting the peer's mistakes: syntax and sequence (5.5.x), not refusals.
func (r *run[S]) reply(tag, verb string, err error) error {
	if err == nil {
		r.mistakes = 0
	} else if s := mail.StatusOf(err); s.Class == mail.Permanent && s.Subject == 5 {
		r.mistakes++
	}
	var closing *ClosingError
	isLast := errors.As(err, &closing)
	if rerr := r.d.Reply(r.s, tag, verb, err); rerr != nil {
		return rerr
	}
	if isLast {
		return errQuit
	}
	return nil
}

// farewellTime is how long the peer may take to hear why the session ends.
const farewellTime = 10 * time.Second

// bye tells the peer why the session ends; the result ends the loop.
func (r *run[S]) bye(err error) error {
	r.c.SetWriteTime(farewellTime)
	var closing *ClosingError
	if !errors.As(err, &closing) {
		err = &ClosingError{err}
	}
	if rerr := r.d.Reply(r.s, "", "", err); rerr != nil {
		return rerr
	}
	return errQuit
}

// gate lets a shutdown interrupt a session that waits for a command, and only there: a command under way is finished and
// answered first.
type gate struct {
	mu      sync.Mutex
	waiting bool
	closed  bool
}

func (g *gate) wait(c *wire.Conn, limit time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed && !c.Pending() {
		return false
	}
	c.Within(limit)
	if g.closed {
		c.Interrupt()
	}
	g.waiting = true
	return true
}

func (g *gate) work() {
	g.mu.Lock()
	g.waiting = false
	g.mu.Unlock()
}

func (g *gate) shut(c *wire.Conn) func() {
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.closed = true
		if g.waiting {
			c.Interrupt()
		}
	}
}
