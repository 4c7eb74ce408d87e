package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"mailx/pkg/delivery"
	"mailx/pkg/session"
	"mailx/pkg/smtp"
)

// sendmailSMTP serves one SMTP session on standard input and output. At the end of a pipe is a program of this host, of
// which no password is asked before it may send anywhere. A socket from elsewhere, under inetd or tcpserver, is served
// as serve-smtp does: nobody becomes an open relay by a line that is right for another sendmail.
func (e *env) sendmailSMTP(ctx context.Context) error {
	signal.Ignore(syscall.SIGPIPE)
	var nc net.Conn
	sys, err := e.system()
	if err == nil {
		nc, err = session.Stdio(os.Getenv)
	}
	if err != nil {
		session.Apologize(os.Getenv, sorrySMTP)
		return err
	}
	if e.stdinIsTerminal() {
		nc = &typedConn{Conn: nc, br: bufio.NewReader(nc)}
	}
	srv, err := sys.pipeSMTP(nc)
	if err != nil {
		fmt.Fprint(nc, sorrySMTP+"\r\n")
		return err
	}
	server := &session.Server{
		Handle: func(ctx context.Context, nc net.Conn) { e.logSession(nc, srv.ServeConn(ctx, nc)) },
		Report: func(err error) { e.note("%v", err) },
	}
	server.Protect(ctx, nc)
	return nil
}

// typedConn is a session that a person types. A terminal ends lines in LF; programs have to say CRLF, as a message of theirs may
// have LF in it.
type typedConn struct {
	net.Conn
	br   *bufio.Reader
	rest []byte
}

func (t *typedConn) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		line, err := t.br.ReadSlice('\n')
		if len(line) == 0 {
			return 0, err
		}
		t.rest = line
		if text, ok := bytes.CutSuffix(line, []byte("\n")); ok && !bytes.HasSuffix(text, []byte("\r")) {
			t.rest = append(bytes.Clone(text), "\r\n"...)
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// pipeSMTP is the server for who is at the other end.
func (s *system) pipeSMTP(nc net.Conn) (*smtp.Server, error) {
	if _, isNetwork := session.AddrOf(nc.RemoteAddr()); isNetwork {
		return s.smtpRole(s.cfg.SMTP.Role, false)
	}
	s.logTroubleOnly() // some programs never read our stderr, and would wait for us when it is full
	return s.localSMTP()
}

// localSMTP is the server for programs of this host. It reads no certificate and no password, which belong to the mail
// servers and not to the one who runs this.
func (s *system) localSMTP() (*smtp.Server, error) {
	intake := &delivery.Intake{
		Router:   s.names(s.localUsers()),
		Open:     s.localMailbox,
		Room:     s.room,
		Space:    s.space(),
		Enqueue:  s.enqueuer(),
		Hostname: s.cfg.Hostname,
		MayRelay: func(*smtp.Peer) bool { return true },
	}
	mended := func(b smtp.Backend) smtp.Backend { return submissions{b, s, func(*smtp.Peer) bool { return true }} }
	connect, err := s.filtered(intake, mended)
	if err != nil {
		return nil, err
	}
	cfg := s.cfg.SMTP
	return &smtp.Server{Hostname: s.cfg.Hostname, Backend: mended(intake), Connect: connect, MaxSize: cfg.MaxSize, MaxRcpts: cfg.MaxRcpts,
		MaxMessages: maxPipeMessages, MaxErrands: -1, MaxHold: cfg.MaxHold, Timeout: cfg.Timeout, DataTimeout: cfg.DataTimeout, MinRate: -1, Expand: intake.Expand}, nil
}

// maxPipeMessages is for peers that are trusted with a session of any length: a program that sends a newsletter, a mail server
// that keeps its LMTP connection.
const maxPipeMessages = 1 << 30
