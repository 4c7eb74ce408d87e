package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"

	"mailx/pkg/delivery"
	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/session"
	"mailx/pkg/smtp"
)

// sendmailSMTP serves one SMTP session on standard input and output. At the end of a pipe is a program of this host, of
// which no password is asked before it may send anywhere. A socket from elsewhere, under inetd or tcpserver, is served
// as serve-smtp does: nobody becomes an open relay by a line that is right for another sendmail.
func (e *env) sendmailSMTP(ctx context.Context) error {
	signal.Ignore(syscall.SIGPIPE)
	sys, err := e.system()
	if err != nil {
		return err
	}
	nc, err := session.Stdio(os.Getenv)
	if err != nil {
		return err
	}
	srv := sys.localSMTP()
	if _, isNetwork := session.AddrOf(nc.RemoteAddr()); isNetwork {
		if srv, err = sys.smtpServer(false, false); err != nil {
			return err
		}
	}
	server := &session.Server{
		Handle: func(ctx context.Context, nc net.Conn) { e.logSession(srv.ServeConn(ctx, nc)) },
		Report: func(err error) { e.note("%v", err) },
	}
	server.Protect(ctx, nc)
	return nil
}

// localSMTP is the server for programs of this host. It reads no certificate and no password, which belong to the mail
// servers and not to the one who runs this.
func (s *system) localSMTP() *smtp.Server {
	intake := &delivery.Intake{
		Router:   s.names(s.localUsers()),
		Open:     s.localMailbox,
		Enqueue:  s.enqueue,
		MayRelay: func(*smtp.Peer) bool { return true },
	}
	cfg := s.cfg.SMTP
	return &smtp.Server{Hostname: s.cfg.Hostname, Backend: submissions{intake, s}, MaxSize: cfg.MaxSize, MaxRcpts: cfg.MaxRcpts,
		MaxMessages: maxPipeMessages, Timeout: cfg.Timeout, DataTimeout: cfg.DataTimeout}
}

// maxPipeMessages is for a program that sends a newsletter over one session.
const maxPipeMessages = 1 << 30

func (s *system) enqueue(env *mail.Envelope) (delivery.Spooled, error) {
	q, err := s.queue()
	if err != nil {
		return nil, err
	}
	return q.Enqueue(env)
}

// submissions does what a submission server may do to a message (RFC 6409 §8), and sendmail does: the sender gets a
// domain, the header From, Date and Message-ID if it lacks them, and Bcc goes.
type submissions struct {
	intake *delivery.Intake
	sys    *system
}

func (b submissions) Mail(ctx context.Context, p *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	whole := *env
	if whole.Sender.Domain == "" && !whole.Sender.IsNull() {
		whole.Sender.Domain = b.sys.cfg.Hostname
	}
	tx, err := b.intake.Mail(ctx, p, &whole)
	if err != nil {
		return nil, err
	}
	missing, err := b.missing(&whole)
	if err != nil {
		return nil, err
	}
	s := &submitted{Tx: tx}
	s.in.Reset(tx, nil)
	s.in.DropBcc, s.in.Missing = true, missingOf(missing)
	return s, nil
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

func (s *submitted) Commit() error {
	if err := s.in.Close(); err != nil {
		s.Tx.Abort()
		return err
	}
	return s.Tx.Commit()
}
