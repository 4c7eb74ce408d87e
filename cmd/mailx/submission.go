package main

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/smtp"
)

// submissions does what a submission server may do to a message (RFC 6409 §8), and sendmail does: the sender gets a
// domain, the header From, Date and Message-ID if it lacks them, and Bcc goes.
type submissions struct {
	intake smtp.Backend
	sys    *system
	isFrom func(p *smtp.Peer) bool // whose messages are mended; the others' are left alone
}

func (b submissions) Mail(ctx context.Context, p *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	if !b.isFrom(p) {
		return b.intake.Mail(ctx, p, env)
	}
	whole := *env
	if whole.Sender.Domain == "" && !whole.Sender.IsNull() {
		whole.Sender.Domain = b.sys.cfg.Hostname
	}
	tx, err := b.intake.Mail(ctx, p, &whole)
	if err != nil {
		return nil, err
	}
	s := &submitted{Tx: tx}
	s.in.Reset(tx, nil)
	s.in.DropBcc, s.in.Missing = true, func(in *message.Intake) []byte { return b.complete(in, &whole) }
	return s, nil
}

// Close ends what stands behind.
func (b submissions) Close() error {
	if c, isCloser := b.intake.(io.Closer); isCloser {
		return c.Close()
	}
	return nil
}

// complete gives the fields that a header lacks; most lack none.
func (b submissions) complete(in *message.Intake, env *mail.Envelope) []byte {
	if in.HasFrom && in.HasDate && in.HasMessageID {
		return nil
	}
	fields, err := b.missing(env)
	if err != nil { // an address that can't stand in a header: the message goes as it is
		return nil
	}
	return missingOf(fields)(in)
}

// missing gives From, Date and Message-ID for a message of a sender.
func (b submissions) missing(env *mail.Envelope) (*message.Header, error) {
	author := env.Sender
	if author.IsNull() {
		author = mail.Address{Local: "MAILER-DAEMON", Domain: b.sys.cfg.Hostname}
	}
	draft := message.Draft{From: []message.Mailbox{{Address: author}}, Date: env.Arrived}
	var out bytes.Buffer
	if err := draft.Write(&out); err != nil {
		return nil, err
	}
	return message.ReadHeader(bufio.NewReader(&out), message.Limits{})
}

// submitted is a message that is mended on its way in.
type submitted struct {
	smtp.Tx
	in message.Intake
}

func (s *submitted) Write(p []byte) (int, error) { return s.in.Write(p) }

// Refuse passes on why a message did not come in.
func (s *submitted) Refuse(err error) {
	if r, ok := s.Tx.(smtp.Refuser); ok {
		r.Refuse(err)
	}
}

func (s *submitted) Commit() error {
	if err := s.in.Close(); err != nil {
		s.Tx.Abort()
		return err
	}
	return s.Tx.Commit()
}
