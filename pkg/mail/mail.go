// Package mail has the nouns that every room of mailx shares: addresses, recipients, envelopes, and the status
// of what became of them. It does no I/O and imports only the standard library.
//
// Errors: inside mailx an error that matters to mail is an [Error] (an RFC 3463 status, a text for the peer, a cause
// for the log). [StatusOf] reads any error; one that nobody classified is temporary (4.0.0), because doubt defers
// mail and never loses it.
package mail

import "time"

// Notify is the set of events a sender wants to be told about (RFC 3461 §4.1). The zero value means that the sender
// said nothing: failures and delays are reported.
type Notify uint8

// The values of the NOTIFY parameter. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Wants reports whether the event asks for a notice. An empty set wants failures and delays.
func (n Notify) Wants(event Notify) bool {
	if n == 0 {
		return event&(NotifyFailure|NotifyDelay) != 0
	}
	return n&NotifyNever == 0 && n&event != 0
}

// Recipient is one forward-path and what the sender asked for it (RFC 3461 §4.1, §4.2).
type Recipient struct {
	Address
	Orig   string // ORCPT, "rfc822;user@example.org" with xtext decoded; empty if not given
	Notify Notify
}

// Ret says how much of a message goes into a failure report (RFC 3461 §4.3). The zero value leaves it to the reporter.
type Ret uint8

// The values of the RET parameter.
const (
	RetUnset Ret = iota
	RetFull
	RetHeaders
)

// Body is the type that the sender declared for the message (RFC 6152, RFC 3030). The zero value is undeclared, 7 bit.
type Body uint8

// The values of the BODY parameter.
const (
	Body7Bit Body = iota
	Body8BitMIME
	BodyBinaryMIME
)

// Envelope is what SMTP says about a message outside of it (RFC 5321 §2.3.1). What the header says is for people;
// only the envelope decides where a message goes.
type Envelope struct {
	ID      string // of this message on this host: printable, no spaces, used in Received, logs and the queue
	Sender  Address
	Rcpts   []Recipient
	UTF8    bool // SMTPUTF8 was asked for (RFC 6531)
	Body    Body
	Size    int64 // in octets, as the sender declared it (RFC 1870); 0 if it did not. It is not kept in the queue
	Ret     Ret
	EnvID   string // ENVID, xtext decoded
	Account string // by which this host sends it on; empty: that of the sender, if there is one. It does not go over the wire
	Arrived time.Time

	RequireTLS bool      // every hop has to be verified TLS (RFC 8689)
	HoldUntil  time.Time // not to be delivered before (RFC 4865); zero: at once
	By         DeliverBy
}

// DeliverBy is the time by which a message is to be delivered (RFC 2852). The zero value asks for nothing.
type DeliverBy struct {
	At     time.Time // when Mode takes effect; zero: no limit
	Notify bool      // by-mode "N": then tell the sender and go on; else "R": then return the message
	Trace  bool      // tell the sender of each relay, too
}

// IsSet reports that the sender asked for a time.
func (d DeliverBy) IsSet() bool { return !d.At.IsZero() }

// Result is what became of one recipient of one attempt.
type Result struct {
	Recipient
	Err       error  // nil: done. Else see StatusOf: temporary stays in the queue, permanent bounces
	Relayed   bool   // done by handing it to another MTA rather than to a mailbox
	Expanded  bool   // done by handing it to several members of an alias (RFC 3461 §5.2.7)
	RemoteMTA string // host name of the server that answered; empty if none did
	Reply     string // its last reply, one line, printable
}
