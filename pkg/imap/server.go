// Package imap is the IMAP4rev1 dialect (RFC 3501): a server over the mailboxes of pkg/mailbox.
//
// # Server
//
// The command table is below; a handler returns nil or an error, and the loop of pkg/session answers. Before each tagged
// reply the client is told what changed in the selected mailbox, in the order that RFC 3501 §7 asks for: sequence numbers
// move only when an EXPUNGE response has said so, and none is sent during FETCH, STORE and SEARCH.
//
// A command is read whole before it is parsed, its literals included, within a small limit before login and a larger one
// after; only the message of APPEND goes straight to the disk. So a syntax error can't leave the session out of step.
//
// # Extensions
//
// LITERAL+ (RFC 7888), SASL-IR (RFC 4959), UIDPLUS (RFC 4315), MOVE (RFC 6851), IDLE (RFC 2177), UNSELECT (RFC 3691),
// NAMESPACE (RFC 2342), CHILDREN (RFC 3348), ID (RFC 2971), ENABLE (RFC 5161), and response codes of RFC 5530.
//
// QUIRK: INTERNALDATE is in UTC, since a file does not remember a time zone.
package imap

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mailbox"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// The defaults of a Server's limits.
const (
	DefaultTimeout  = 30 * time.Minute // RFC 3501 §5.4: at least that
	DefaultMistakes = 20
	DefaultMaxSize  = 50 << 20
	DefaultPoll     = 500 * time.Millisecond
)

// Limits that nobody needs to change, in octets.
const (
	lineBeforeLogin     = 17 << 10 // a token of 12 KiB in base64
	lineAfterLogin      = 64 << 10
	literalsBeforeLogin = 4 << 10 // of one command
	literalsAfterLogin  = 256 << 10
)

// handshakeTime is what a client has for the TLS handshake.
const handshakeTime = time.Minute

// Server serves IMAP. Its fields are set before the first connection and not changed after; zero limits mean the defaults.
// It is safe for concurrent use.
type Server struct {
	Hostname string // in the greeting
	Auth     auth.Verifier
	Throttle session.Throttle // nil: none

	// Store gives the mail of a user who has logged in.
	Store func(ctx context.Context, user auth.User) (*mailbox.Store, error)

	TLS      *tls.Config // nil: no STARTTLS
	Implicit bool        // TLS from the first octet (RFC 8314 §3.2)
	// AllowInsecureAuth says which peers may send a password without TLS. Nil: those on this host (loopback, unix sockets,
	// pipes).
	AllowInsecureAuth func(peer net.Addr) bool

	MaxSize  int64         // octets of a message on the wire
	Timeout  time.Duration // for a command to arrive, and for IDLE
	Mistakes int           // bad commands in a row before the connection is closed
	Poll     time.Duration // how often IDLE looks at the mailbox

	Trace wire.TraceFunc
	Log   *slog.Logger // logins, and the causes of NO; nil: none
}

// States of a session (RFC 3501 §3). The logout state is the handler of LOGOUT.
const (
	stateNew session.State = 1 << iota
	stateAuth
	stateSelected
	stateIn = stateAuth | stateSelected
)

// dialog is one connection's side of the server; commands are its methods.
type dialog struct {
	srv   *Server
	c     *wire.Conn
	ctx   context.Context
	log   *slog.Logger
	addr  netip.Addr // not valid without an IP address
	local bool       // a password may travel in clear

	state  session.State
	guard  session.Guard
	user   string
	store  *mailbox.Store
	sel    *selected
	text   string // the arguments of the command under way, literals included
	said   string // response code and text of a success
	resume position
}

func dialect(d *dialog) *session.Dialect[*dialog] {
	const none = session.NoArgs
	return &session.Dialect[*dialog]{
		Split: d.split,
		State: func(d *dialog) session.State { return d.state },
		Greet: (*dialog).greet,
		Reply: (*dialog).reply,
		Commands: []session.Command[*dialog]{
			{Verb: "CAPABILITY", In: session.Any, Flags: none, Do: (*dialog).capability},
			{Verb: "NOOP", In: session.Any, Flags: none, Do: (*dialog).noop},
			{Verb: "LOGOUT", In: session.Any, Flags: none, Do: (*dialog).logout},
			{Verb: "ID", In: session.Any, Do: (*dialog).id},
			{Verb: "STARTTLS", In: stateNew, Flags: none, Do: (*dialog).startTLS},
			{Verb: "AUTHENTICATE", In: stateNew, Flags: session.Secret, Do: (*dialog).authenticate},
			{Verb: "LOGIN", In: stateNew, Flags: session.Secret, Do: (*dialog).login},

			{Verb: "ENABLE", In: stateIn, Do: (*dialog).enable},
			{Verb: "SELECT", In: stateIn, Do: (*dialog).selectBox},
			{Verb: "EXAMINE", In: stateIn, Do: (*dialog).examine},
			{Verb: "CREATE", In: stateIn, Do: (*dialog).create},
			{Verb: "DELETE", In: stateIn, Do: (*dialog).deleteBox},
			{Verb: "RENAME", In: stateIn, Do: (*dialog).rename},
			{Verb: "SUBSCRIBE", In: stateIn, Do: (*dialog).subscribe},
			{Verb: "UNSUBSCRIBE", In: stateIn, Do: (*dialog).unsubscribe},
			{Verb: "LIST", In: stateIn, Do: (*dialog).list},
			{Verb: "LSUB", In: stateIn, Do: (*dialog).lsub},
			{Verb: "NAMESPACE", In: stateIn, Flags: none, Do: (*dialog).namespace},
			{Verb: "STATUS", In: stateIn, Do: (*dialog).status},
			{Verb: "APPEND", In: stateIn, Do: (*dialog).append},
			{Verb: "IDLE", In: stateIn, Flags: none, Do: (*dialog).idle},

			{Verb: "CHECK", In: stateSelected, Flags: none, Do: (*dialog).noop},
			{Verb: "CLOSE", In: stateSelected, Flags: none, Do: (*dialog).closeBox},
			{Verb: "UNSELECT", In: stateSelected, Flags: none, Do: (*dialog).unselect},
			{Verb: "EXPUNGE", In: stateSelected, Flags: none, Do: (*dialog).expunge},
			{Verb: "UID EXPUNGE", In: stateSelected, Do: (*dialog).uidExpunge},
			{Verb: "SEARCH", In: stateSelected, Do: (*dialog).searchSeq},
			{Verb: "UID SEARCH", In: stateSelected, Do: (*dialog).searchUID},
			{Verb: "FETCH", In: stateSelected, Do: (*dialog).fetchSeq},
			{Verb: "UID FETCH", In: stateSelected, Do: (*dialog).fetchUID},
			{Verb: "STORE", In: stateSelected, Do: (*dialog).storeSeq},
			{Verb: "UID STORE", In: stateSelected, Do: (*dialog).storeUID},
			{Verb: "COPY", In: stateSelected, Do: (*dialog).copySeq},
			{Verb: "UID COPY", In: stateSelected, Do: (*dialog).copyUID},
			{Verb: "MOVE", In: stateSelected, Do: (*dialog).moveSeq},
			{Verb: "UID MOVE", In: stateSelected, Do: (*dialog).moveUID},
		},
	}
}

// ServeConn serves one connection and closes it. The result is for the log; nil is a proper end.
func (srv *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	c := wire.NewConn(nc)
	c.SetTrace(srv.Trace)
	c.SetMaxLine(lineBeforeLogin)
	d := srv.newDialog(ctx, c)
	defer d.leave()
	if srv.Implicit {
		c.Within(handshakeTime)
		if err := c.StartTLS(ctx, srv.TLS, true); err != nil {
			c.Close()
			return err
		}
	}
	err := session.Run(ctx, dialect(d), d, c, session.Limits{
		Command:  cmp.Or(srv.Timeout, DefaultTimeout),
		Mistakes: cmp.Or(srv.Mistakes, DefaultMistakes),
	})
	if err == io.EOF { // between a literal and the rest of its command
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Refuse tells a peer in one line that there is no place for it now; see session.Server.
func (srv *Server) Refuse(nc net.Conn) {
	if !srv.Implicit {
		nc.Write([]byte("* BYE [UNAVAILABLE] Too many connections, try again later\r\n"))
	}
}

func (srv *Server) newDialog(ctx context.Context, c *wire.Conn) *dialog {
	peer := c.RemoteAddr()
	addr, isIP := session.AddrOf(peer)
	d := &dialog{srv: srv, c: c, ctx: ctx, addr: addr, state: stateNew, log: srv.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.local = !isIP || addr.IsLoopback()
	if srv.AllowInsecureAuth != nil {
		d.local = srv.AllowInsecureAuth(peer)
	}
	d.guard = session.Guard{Throttle: srv.Throttle, Addr: addr, Log: d.log}
	return d
}

func (srv *Server) maxSize() int64 { return cmp.Or(srv.MaxSize, DefaultMaxSize) }
