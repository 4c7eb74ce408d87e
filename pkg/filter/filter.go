// Package filter stands between an SMTP server and the place where its messages go, and asks others about each of them:
// commands (pkg/hook), milters (pkg/milter).
//
// A [Chain] is a list of filters in the order in which they are asked. Each connection gets a [Conn] of its own, which is
// the smtp.Backend of this connection. If a filter wants to see messages whole, the Conn holds them until they are
// complete: 256 KiB in memory, the rest in a file that has no name. Nothing reaches the Backend behind it before all
// filters have agreed. If none wants messages, they go through untouched.
//
//	connect  every filter's Connect                                      its error is the greeting
//	MAIL     the Backend's Mail, then every session's Mail               its error is the reply
//	RCPT     the Backend's Rcpt, then every session's Rcpt               its error is the reply
//	data     every session's Message, each with what the one before made of it; then Deliver for what goes into
//	         mailboxes; then the Backend's Write and Commit
//
// The Backend decides about a recipient first, because it knows who lives here, and a filter is expensive. What a filter takes
// away afterwards, or adds, makes the Conn start the Backend's transaction anew with the envelope as it is then.
package filter

import (
	"context"
	"errors"
	"io"

	"mailx/pkg/mail"
	"mailx/pkg/maillog"
	"mailx/pkg/smtp"
)

// ErrDiscard is the verdict that the peer is told that all is well, and nothing is delivered: of Rcpt it is about this
// recipient, else about the whole message. Connect can't give it.
var ErrDiscard = errors.New("discarded by a filter")

// Filter has a say about the messages of a server. It is called from many connections at once.
type Filter interface {
	// Connect meets a connection. An error is the greeting, and there is no session then.
	Connect(ctx context.Context, p *smtp.Peer) (Session, error)
	// Holds reports that the sessions want to see messages; if not, their Message is never called.
	Holds() bool
}

// Session is a filter's side of one connection. Calls come one at a time: Mail, Rcpt for each recipient, then Message or Abort; and
// so on until Close. An error is the reply to the peer; unclassified, it is temporary.
type Session interface {
	// Mail begins a message. The peer is as it is now: it may have started TLS, logged in, or changed its name. Nothing may be
	// changed or kept beyond the message.
	Mail(ctx context.Context, p *smtp.Peer, env *mail.Envelope) error
	// Rcpt is told of a recipient that would be taken.
	Rcpt(ctx context.Context, r mail.Recipient) error
	// Message judges the message, and may change it. It ends it.
	Message(ctx context.Context, m *Message) error
	// Abort ends a message that will not come. It does nothing outside of one.
	Abort()
	Close() error
}

// Deferrer is a transaction of a Backend that keeps back a part of what Stores says that it stores by itself: for a mailbox that is
// too full, for a member of an alias who lives elsewhere. That part is judged where it arrives, so it is to be the text as it was
// before Deliver changed it, which Later gives before the first Write. It can be read until the end of Commit.
type Deferrer interface {
	smtp.Tx
	Later(text io.ReaderAt, size int64)
}

// Spooled is a message on its way into a store.
type Spooled interface {
	io.Writer
	Commit() error
	Abort() error
}

// Chain is the filters of a server, in the order in which they are asked. Its fields are not changed while it is used.
type Chain struct {
	Filters []Filter
	// Deliver judges, and may change, what the Backend stores in mailboxes, after all filters. m has the recipients of those
	// only. May be nil.
	Deliver func(ctx context.Context, m *Message) error
	// Stores says whether the Backend stores what is for a recipient in a mailbox by itself; what it hands on, to others or
	// to a queue, is judged where it arrives. Needed by Deliver.
	Stores func(p *smtp.Peer, env *mail.Envelope, r mail.Recipient) bool
	// Quarantine stores a message that a filter wants a person to look at; nil: it is refused for now.
	Quarantine func(env *mail.Envelope) (Spooled, error)
	Store      Store
	Log        *maillog.Logger // nil: no log
}

// Connect meets a connection whose messages go to inner. Close the Conn at its end.
func (c *Chain) Connect(ctx context.Context, p *smtp.Peer, inner smtp.Backend) (*Conn, error) {
	conn := &Conn{chain: c, inner: inner, holds: c.Deliver != nil}
	for _, f := range c.Filters {
		s, err := f.Connect(ctx, p)
		if err != nil {
			conn.Close()
			if errors.Is(err, ErrDiscard) {
				err = errDiscardPeer
			}
			c.log(&maillog.Event{Kind: maillog.Rejected, Peer: p.Addr, Status: mail.StatusOf(err).String(), Text: "connection", Err: err})
			return nil, err
		}
		conn.sessions = append(conn.sessions, s)
		conn.holds = conn.holds || f.Holds()
	}
	return conn, nil
}

var errDiscardPeer = mail.Temporaryf(3, 5, "Connections are not discarded")

func (c *Chain) log(e *maillog.Event) {
	if c.Log != nil && c.Log.Enabled() {
		c.Log.Log(e)
	}
}

// Conn is the smtp.Backend of one connection.
type Conn struct {
	chain    *Chain
	inner    smtp.Backend
	sessions []Session
	holds    bool
}

var (
	_ smtp.Backend = (*Conn)(nil)
	_ io.Closer    = (*Conn)(nil)
	_ smtp.EachTx  = (*tx)(nil)
	_ smtp.Refuser = (*tx)(nil)
)

// Close ends the sessions.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.sessions {
		errs = append(errs, s.Close())
	}
	c.sessions = nil
	return errors.Join(errs...)
}

// Mail opens a transaction.
func (c *Conn) Mail(ctx context.Context, p *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	inner, err := c.inner.Mail(ctx, p, env)
	if err != nil {
		return nil, err
	}
	t := &tx{conn: c, ctx: context.WithoutCancel(ctx), peer: *p, env: env, inner: inner}
	switch err := c.ask(func(s Session) error { return s.Mail(t.ctx, p, env) }); {
	case errors.Is(err, ErrDiscard):
		t.drop()
	case err != nil:
		t.Refuse(err)
		t.Abort()
		return nil, err
	}
	if c.holds && !t.discarded {
		t.held = c.chain.Store.NewText()
	}
	return t, nil
}

// ask goes through the sessions until one objects.
func (c *Conn) ask(question func(Session) error) error {
	for _, s := range c.sessions {
		if err := question(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) abort() {
	for _, s := range c.sessions {
		s.Abort()
	}
}
