package smtp

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"

	"mailx/pkg/mail"
)

// Peer is who is at the other end of a server's connection.
type Peer struct {
	Addr  netip.Addr // zero on a pipe or a unix socket
	Local bool       // the peer is this host's own: a pipe, a unix socket, or a loopback address
	Helo  string     // as the peer said it; never decide by it
	ESMTP bool       // EHLO rather than HELO
	LMTP  bool       // each recipient has a verdict of its own after the data; see EachTx
	TLS   *tls.ConnectionState
	User  string // who authenticated; empty if nobody did
}

// Backend takes messages. It is called from many sessions at once.
type Backend interface {
	// Mail opens a transaction for an envelope whose sender and parameters are known; recipients follow. An error is the reply
	// to MAIL. The Backend may keep the envelope until the transaction ends, and does not change it.
	Mail(ctx context.Context, p *Peer, env *mail.Envelope) (Tx, error)
}

// Tx is one message on its way in. The calls come in this order: Rcpt once for each recipient; writes of the message in local
// form (LF), trace fields included; then Commit or Abort. Abort may come at any time and ends it too.
type Tx interface {
	// Rcpt takes or refuses one recipient; the error is the reply to RCPT.
	Rcpt(ctx context.Context, r mail.Recipient) error
	io.Writer
	// Commit returns nil only when the message is durable for every recipient taken.
	Commit() error
	// Abort drops everything. It does nothing after Commit.
	Abort() error
}

// Refuser is a Tx that wants to know of messages that the server itself refused: a bare CR or LF, a size, a loop, a lost
// connection, or an error of Write. Abort follows.
type Refuser interface {
	Tx
	Refuse(err error)
}
