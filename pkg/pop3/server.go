// Package pop3 is the POP3 dialect (RFC 1939): a server over Maildirs, and a client.
//
// # Server
//
// [Server] answers CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), UTF8 and LANG (RFC 6856), and says why in response
// codes (RFC 2449 §8, RFC 3206). The command table is in commands.go; a handler returns nil or an error, and the loop of
// pkg/session answers.
//
// A session sees the maildrop as it was at login and holds a lock on it: the next one is told [IN-USE]. The list comes from
// the names in the directory alone. A size is taken from a name that has it ("W="), and counted in the file when it is asked
// for otherwise. Deletion waits for QUIT, and "+OK" to QUIT means that every deleted message is gone for good.
//
// Numbers of messages never move. A message that another program removed meanwhile stays in the listings; RETR and TOP of it
// fail, and nothing else does.
//
// # Client
//
// [Client] speaks to one server. Everything that a server may send is bounded, and messages come in local form.
package pop3

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/vfs"
	"mailx/pkg/wire"
)

// The defaults of a Server's limits.
const (
	DefaultTimeout  = 10 * time.Minute // RFC 1939 §3: at least that
	DefaultMistakes = 20
)

// handshakeTime is what a client has for the TLS handshake.
const handshakeTime = time.Minute

// Server serves POP3. Its fields are set before the first connection and not changed after; zero limits mean the defaults.
// It is safe for concurrent use.
type Server struct {
	Hostname string // in the greeting
	Auth     auth.Verifier
	Throttle session.Throttle // nil: none

	// FS is where the maildrops are; vfs.OS if nil. Let it be vfs.Grouped in a process with many sessions.
	FS vfs.FS
	// Mailbox gives the Maildir of a user who has logged in. It is made if it is not there.
	Mailbox func(ctx context.Context, user auth.User) (path string, err error)

	TLS      *tls.Config // nil: no STLS
	Implicit bool        // TLS from the first octet (RFC 8314 §3.2)
	// AllowInsecureAuth says which peers may send a password without TLS. Nil: those on this host (loopback, unix sockets,
	// pipes).
	AllowInsecureAuth func(peer net.Addr) bool

	Timeout  time.Duration // for a command to arrive
	Mistakes int           // bad commands in a row before the connection is closed

	Trace wire.TraceFunc
	Log   *slog.Logger // logins, removals, and the causes of -ERR; nil: none
}

// States of a session (RFC 1939 §3). The UPDATE state is the handler of QUIT.
const (
	authorization session.State = 1 << iota
	transaction
)

// dialog is one connection's side of the server; commands are its methods.
type dialog struct {
	srv   *Server
	c     *wire.Conn
	log   *slog.Logger
	addr  netip.Addr // not valid without an IP address
	local bool       // a password may travel in clear

	state   session.State
	utf8    bool
	name    string // of USER
	hasName bool
	guard   session.Guard
	user    string
	drop    *maildrop

	// What the loop answers when the handler succeeds.
	text string
	body func(w *wire.DotWriter) error

	block []byte // for reading messages; as large as the largest so far needed
}

// ServeConn serves one connection and closes it. The result is for the log; nil is a proper end.
func (srv *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	c := wire.NewConn(nc)
	c.SetTrace(srv.Trace)
	d := srv.newDialog(c)
	defer d.release()
	if srv.Implicit {
		c.Within(handshakeTime)
		if err := c.StartTLS(ctx, srv.TLS, true); err != nil {
			c.Close()
			return err
		}
	}
	return session.Run(ctx, dialect(), d, c, session.Limits{
		Command:  cmp.Or(srv.Timeout, DefaultTimeout),
		Mistakes: cmp.Or(srv.Mistakes, DefaultMistakes),
	})
}

// Refuse tells a peer in one line that there is no place for it now; see session.Server.
func (srv *Server) Refuse(nc net.Conn) {
	if !srv.Implicit {
		nc.Write([]byte("-ERR [SYS/TEMP] " + mail.TextOf(session.ErrBusy) + "\r\n"))
	}
}

func (srv *Server) newDialog(c *wire.Conn) *dialog {
	peer := c.RemoteAddr()
	addr, isIP := session.AddrOf(peer)
	d := &dialog{srv: srv, c: c, addr: addr, state: authorization, log: srv.Log}
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

func (srv *Server) fs() vfs.FS {
	if srv.FS == nil {
		return vfs.OS()
	}
	return srv.FS
}

// release gives the maildrop back; whatever was marked as deleted and did not see QUIT stays.
func (d *dialog) release() {
	if d.drop != nil {
		d.drop.close()
		d.drop = nil
	}
}
