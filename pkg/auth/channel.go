package auth

import (
	"context"
	"crypto/tls"
	"net/netip"
)

// Channel is what is known of a connection on which somebody logs in. The zero value is one in clear, from nowhere.
type Channel struct {
	Secure   bool                 // a password may travel as it is: TLS, or what the configuration calls as good
	TLS      *tls.ConnectionState // nil: none
	Protocol string               // "SMTP", "POP3" or "IMAP", for checker commands
	Remote   netip.Addr           // not valid: none
}

// attempt is one try to log in, as a Checker is told of it.
type attempt struct {
	Channel
	mech string
}

type attemptKey struct{}

// Attempt gives the context of one login on this channel: a [Verifier] that asks a command tells it the protocol, the
// peer and mech, which is a SASL mechanism or the name of a command (USER, LOGIN). [NewServer] does that itself.
func (ch Channel) Attempt(ctx context.Context, mech string) context.Context {
	return context.WithValue(ctx, attemptKey{}, attempt{ch, mech})
}

func attemptOf(ctx context.Context) attempt {
	a, _ := ctx.Value(attemptKey{}).(attempt)
	return a
}

// tlsExporter is the one type of channel binding that we take (RFC 9266 §2): both ends derive it from the keys of the
// connection, so that nobody in between can have the same on both sides.
//
// tls-unique is broken for TLS 1.2 (RFC 7627 §1) and not defined for 1.3; tls-server-end-point does not tell two
// connections to the same certificate apart.
const tlsExporter = "tls-exporter"

// exported gives the binding data of tls-exporter; nil where there is none. It needs TLS 1.3: there no client can mean
// another type, while those of TLS 1.2 mostly mean tls-unique, and would fail.
func exported(state *tls.ConnectionState) []byte {
	if state == nil || !state.HandshakeComplete || state.Version < tls.VersionTLS13 {
		return nil
	}
	data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil
	}
	return data
}
