package milter

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"

	gomilter "github.com/emersion/go-milter"

	"mailx/pkg/filter"
	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/smtp"
)

// session is one SMTP connection as a milter sees it.
type session struct {
	f  *Filter
	s  *gomilter.ClientSession // nil: not connected
	nc *conn

	helo      string // as it was told last
	tls       bool
	refused   error // of the connection, for all of its messages
	trusted   bool  // the milter has accepted the connection unseen
	inMessage bool  // the milter waits for more of a message
	done      bool  // the milter has said what becomes of this message, whatever comes
	discard   bool  // and that is: nothing
	failed    error // the milter has failed this message, and this is what the rest of it is told
}

// verdict is how a milter answered.
type verdict uint8

const (
	goOn verdict = iota
	accepted
	discarded
)

// call makes one exchange with the milter. err is the refusal of the peer's command, or, when the milter has failed, what the
// configuration wants; then the milter is gone.
func (s *session) call(exchange func() (*gomilter.Action, error)) (verdict, error) {
	action, err := guarded(exchange)
	if err != nil {
		s.hangUp()
		s.done, s.inMessage = true, false
		s.failed = s.f.failure(err)
		return accepted, s.failed
	}
	switch action.Code {
	case gomilter.ActAccept:
		return accepted, nil
	case gomilter.ActDiscard:
		return discarded, nil
	case gomilter.ActReject:
		return goOn, mail.Permanentf(7, 1, "Refused by a filter")
	case gomilter.ActTempFail:
		return goOn, mail.Temporaryf(7, 1, "Refused by a filter for now, try again later")
	case gomilter.ActReplyCode:
		return goOn, replyOf(action)
	}
	return goOn, nil
}

// guarded keeps a panic of the library from taking the SMTP connection with it.
func guarded(exchange func() (*gomilter.Action, error)) (action *gomilter.Action, err error) {
	defer func() {
		if v := recover(); v != nil {
			action, err = nil, fmt.Errorf("answer that makes no sense: %v", v)
		}
	}()
	return exchange()
}

// Mail begins a message, after the connection if the milter does not know it yet.
func (s *session) Mail(_ context.Context, p *smtp.Peer, env *mail.Envelope) error {
	s.done, s.discard, s.inMessage, s.failed = false, false, false, nil
	if s.trusted {
		s.done = true
		return nil
	}
	if s.s == nil {
		s.refused = nil
		if err := s.connect(p); err != nil || s.done {
			return err
		}
	}
	if s.refused == nil && (s.helo != p.Helo || s.tls != (p.TLS != nil)) {
		if err := s.hello(p); err != nil || s.done {
			return err
		}
	}
	if s.refused != nil {
		s.done = true
		return s.refused
	}
	s.nc.begin()
	s.inMessage = true
	return s.judge(func() (*gomilter.Action, error) {
		err := s.s.Macros(gomilter.CodeMail, macros("i", env.ID, "{auth_authen}", p.User, "{auth_type}", authType(p),
			"{mail_addr}", env.Sender.String(), "{mail_host}", env.Sender.Domain, "{mail_mailer}", "smtp")...)
		if err != nil {
			return nil, err
		}
		return s.s.Mail(clean(env.Sender.String()), mailArgs(env))
	}, true)
}

// judge makes an exchange about a message. A refusal ends the message if it is about all of it.
func (s *session) judge(exchange func() (*gomilter.Action, error), whole bool) error {
	v, err := s.call(exchange)
	switch {
	case s.done:
		return err
	case v == discarded:
		s.done, s.discard, s.inMessage = true, true, false
		if whole {
			return filter.ErrDiscard
		}
	case v == accepted, err != nil && whole:
		s.done, s.inMessage = true, false
	}
	return err
}

// connect dials and tells the milter who the client is.
func (s *session) connect(p *smtp.Peer) error {
	var err error
	_, derr := guarded(func() (*gomilter.Action, error) {
		s.s, s.nc, err = s.f.dial()
		return nil, err
	})
	if derr != nil {
		s.hangUp()
		s.done = true
		return s.f.failure(derr)
	}
	s.helo, s.tls = "", false
	family, host, addr := whereFrom(p)
	v, err := s.call(func() (*gomilter.Action, error) {
		err := s.s.Macros(gomilter.CodeConn, macros("j", s.f.Hostname, "{daemon_name}", "mailx", "v", "mailx",
			"{client_addr}", addr, "{client_name}", host, "{client_ptr}", host)...)
		if err != nil {
			return nil, err
		}
		return s.s.Conn(host, family, 0, addr)
	})
	return s.ofConnection(v, err)
}

// hello tells the milter what the client calls itself, and whether over TLS.
func (s *session) hello(p *smtp.Peer) error {
	s.nc.begin()
	v, err := s.call(func() (*gomilter.Action, error) {
		if p.TLS != nil {
			err := s.s.Macros(gomilter.CodeHelo, macros("{tls_version}", tlsVersion(p.TLS),
				"{cipher}", tls.CipherSuiteName(p.TLS.CipherSuite), "{cipher_bits}", cipherBits(p.TLS))...)
			if err != nil {
				return nil, err
			}
		}
		return s.s.Helo(clean(p.Helo))
	})
	s.helo, s.tls = p.Helo, p.TLS != nil
	return s.ofConnection(v, err)
}

// ofConnection notes a verdict about the connection, which holds for all of its messages.
func (s *session) ofConnection(v verdict, err error) error {
	switch {
	case s.done: // the milter has failed
		return err
	case err != nil:
		s.refused = err
	case v == discarded:
		s.refused = filter.ErrDiscard
	case v == accepted:
		s.trusted, s.done = true, true
		s.Close()
	}
	return nil
}

// Rcpt tells of a recipient. A refusal is about this one only; a failure about all that follow, and the message.
func (s *session) Rcpt(_ context.Context, r mail.Recipient) error {
	if s.done {
		return s.failed
	}
	s.nc.begin()
	return s.judge(func() (*gomilter.Action, error) {
		err := s.s.Macros(gomilter.CodeRcpt, macros("{rcpt_addr}", r.String(), "{rcpt_host}", r.Domain, "{rcpt_mailer}", "smtp")...)
		if err != nil {
			return nil, err
		}
		return s.s.Rcpt(clean(r.String()), nil)
	}, false)
}

// Message shows the message and makes the changes that the milter asks for.
func (s *session) Message(_ context.Context, m *filter.Message) error {
	if s.discard {
		return filter.ErrDiscard
	}
	if s.done {
		return s.failed
	}
	defer s.Abort()
	s.nc.begin()
	br := bufio.NewReaderSize(m.Text.Reader(), 64<<10)
	h, err := message.ReadHeader(br, message.Limits{})
	if err != nil {
		return err
	}
	if err := s.showHeader(h, m.Env.ID); err != nil || s.done {
		return err
	}
	if err := s.showBody(br); err != nil || s.done {
		return err
	}
	return s.finish(m, h)
}

func (s *session) showHeader(h *message.Header, id string) error {
	spaced := s.s.ProtocolOption(gomilter.OptHeaderLeadingSpace)
	for _, f := range h.Fields() {
		name, value := splitField(f, spaced)
		err := s.judge(func() (*gomilter.Action, error) { return s.s.HeaderField(name, value) }, true)
		if err != nil || s.done {
			return err
		}
	}
	return s.judge(func() (*gomilter.Action, error) {
		if err := s.s.Macros(gomilter.CodeEOH, macros("i", id)...); err != nil {
			return nil, err
		}
		return s.s.HeaderEnd()
	}, true)
}

// splitField gives a field as milters see it: its folds end in LF.
func splitField(f message.Field, spaced bool) (name, value string) {
	head, tail, _ := bytes.Cut(f.Raw(), []byte(":"))
	tail = bytes.TrimSuffix(tail, []byte("\n"))
	if !spaced {
		tail = bytes.TrimPrefix(tail, []byte(" "))
	}
	return string(bytes.TrimRight(head, " \t")), string(bytes.ReplaceAll(tail, []byte{0}, []byte("?")))
}

// showBody sends the body in pieces, with CRLF.
func (s *session) showBody(body io.Reader) error {
	if s.s.ProtocolOption(gomilter.OptNoBody) {
		return nil
	}
	local := make([]byte, gomilter.MaxBodyChunk/2) // each octet may become two
	wire := make([]byte, 0, gomilter.MaxBodyChunk)
	for {
		n, rerr := io.ReadFull(body, local)
		if n > 0 {
			wire = appendCRLF(wire[:0], local[:n])
			err := s.judge(func() (*gomilter.Action, error) { return s.s.BodyChunk(wire) }, true)
			if err != nil || s.done {
				return err
			}
		}
		switch {
		case rerr == io.EOF, rerr == io.ErrUnexpectedEOF:
			return nil
		case rerr != nil:
			return rerr
		}
	}
}

func appendCRLF(b, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return append(b, text...)
		}
		b = append(append(b, text[:i]...), '\r', '\n')
		text = text[i+1:]
	}
}

// finish says that the message is complete, and does what the milter wants.
func (s *session) finish(m *filter.Message, h *message.Header) error {
	var wishes []gomilter.ModifyAction
	spaced := s.s.ProtocolOption(gomilter.OptHeaderLeadingSpace)
	v, err := s.call(func() (action *gomilter.Action, err error) {
		if err := s.s.Macros(gomilter.CodeEOB, macros("i", m.Env.ID)...); err != nil {
			return nil, err
		}
		wishes, action, err = s.s.End()
		return action, err
	})
	failed := s.done
	s.done, s.inMessage = true, false
	switch {
	case failed, err != nil:
		return err
	case v == discarded:
		return filter.ErrDiscard
	}
	c := changes{header: rawFields(h), spaced: spaced}
	for _, w := range wishes {
		if err := c.take(w, m); err != nil {
			s.hangUp()
			return s.f.failure(err)
		}
	}
	return c.apply(m)
}

// Abort ends a message that the milter has not judged.
func (s *session) Abort() {
	if s.inMessage && s.s != nil {
		_, err := guarded(func() (*gomilter.Action, error) { return nil, s.s.Abort() })
		if err != nil {
			s.hangUp()
		}
	}
	s.inMessage = false
}

// Close ends the milter's session.
func (s *session) Close() error {
	if s.s == nil {
		return nil
	}
	guarded(func() (*gomilter.Action, error) { return nil, s.s.Close() })
	s.hangUp()
	return nil
}

// hangUp drops the connection to the milter.
func (s *session) hangUp() {
	if s.nc != nil {
		s.nc.Close()
	}
	s.s, s.nc = nil, nil
}

var errReply = errors.New("milter gave a reply that refuses nothing")

// replyOf is the reply of a milter as ours: "550 5.7.1 text", which may have several lines.
func replyOf(a *gomilter.Action) error {
	if a.SMTPCode < 400 || a.SMTPCode > 599 {
		return mail.Temporaryf(7, 1, "Refused by a filter for now, try again later: %w", errReply)
	}
	r := &smtp.Reply{Code: a.SMTPCode}
	for i, line := range replyLines(a.SMTPText) {
		if status, rest := cutStatus(line, a.SMTPCode/100); !status.IsZero() {
			line = rest
			if i == 0 {
				r.Status = status
			}
		}
		r.Lines = append(r.Lines, line)
	}
	if r.Status.IsZero() {
		r.Status = mail.Status{Class: uint16(a.SMTPCode / 100), Subject: 7, Detail: 1}
	}
	if r.Code == 421 { // says that the connection ends, and it does not
		r.Code = 451
	}
	return r
}

func authType(p *smtp.Peer) string {
	if p.User == "" {
		return ""
	}
	return "PLAIN" // which one it was nobody remembers; that there was one is what counts
}

func mailArgs(env *mail.Envelope) []string {
	var args []string
	switch env.Body {
	case mail.Body8BitMIME:
		args = append(args, "BODY=8BITMIME")
	case mail.BodyBinaryMIME:
		args = append(args, "BODY=BINARYMIME")
	}
	if env.UTF8 {
		args = append(args, "SMTPUTF8")
	}
	return args
}

// whereFrom is the client as milters want to know it. They take what does not come over a network for this host's own.
func whereFrom(p *smtp.Peer) (family gomilter.ProtoFamily, host, addr string) {
	if !p.Addr.IsValid() {
		return gomilter.FamilyInet, "localhost", "127.0.0.1"
	}
	ip := p.Addr.Unmap().WithZone("")
	if ip.Is4() {
		return gomilter.FamilyInet, "[" + ip.String() + "]", ip.String()
	}
	return gomilter.FamilyInet6, "[IPv6:" + ip.String() + "]", ip.String()
}

func tlsVersion(t *tls.ConnectionState) string {
	switch t.Version {
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return tls.VersionName(t.Version)
}

// cipherBits is the strength that the name of a cipher tells.
func cipherBits(t *tls.ConnectionState) string {
	bits := 128
	name := tls.CipherSuiteName(t.CipherSuite)
	if bytes.Contains([]byte(name), []byte("256_GCM")) || bytes.Contains([]byte(name), []byte("CHACHA20")) ||
		bytes.Contains([]byte(name), []byte("AES_256")) {
		bits = 256
	}
	return strconv.Itoa(bits)
}

// macros leaves out those without a value, and cleans the others.
func macros(kv ...string) []string {
	var set []string
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			set = append(set, kv[i], clean(kv[i+1]))
		}
	}
	return set
}
