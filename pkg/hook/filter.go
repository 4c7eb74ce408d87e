package hook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"mailx/pkg/filter"
	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/smtp"
)

// First is the filter of the commands that come before milters: connect, mail, rcpt, filter.
func (s *Set) First() filter.Filter { return &judge{set: s, changes: Filter} }

// Last is the filter of the command that comes after them: data.
func (s *Set) Last() filter.Filter { return &judge{set: s, last: Data} }

// Deliver is for what is about to be stored on this host: deliver_filter, then deliver.
func (s *Set) Deliver(ctx context.Context, m *filter.Message) error {
	return s.message(ctx, m, DeliverFilter, Deliver, nil)
}

// judge is one end of a chain of filters.
type judge struct {
	set     *Set
	changes Event // may change the message; empty: none
	last    Event // only judges it; empty: none
}

func (j *judge) Holds() bool { return j.set.Has(j.changes, j.last) }

func (j *judge) Connect(ctx context.Context, p *smtp.Peer) (filter.Session, error) {
	if j.changes != "" {
		if err := j.set.Run(ctx, Connect, Facts{Peer: p}, nil, nil); err != nil {
			return nil, err
		}
	}
	return &session{judge: j}, nil
}

// session is a connection.
type session struct {
	*judge
	peer smtp.Peer
	env  mail.Envelope
}

func (s *session) Mail(ctx context.Context, p *smtp.Peer, env *mail.Envelope) error {
	s.peer, s.env = *p, *env
	s.env.Rcpts = nil // who has them so far depends on who else stands between
	if s.changes == "" {
		return nil
	}
	return s.set.Run(ctx, Mail, Facts{Peer: &s.peer, Env: &s.env}, nil, nil)
}

func (s *session) Rcpt(ctx context.Context, r mail.Recipient) error {
	if s.changes == "" {
		return nil
	}
	return s.set.Run(ctx, Rcpt, Facts{Peer: &s.peer, Env: &s.env, Rcpt: r.String()}, nil, nil)
}

func (s *session) Message(ctx context.Context, m *filter.Message) error {
	return s.set.message(ctx, m, s.changes, s.last, nil)
}

func (s *session) Abort()       {}
func (s *session) Close() error { return nil }

// DeliverTo is Deliver for a message without an envelope, for users of this host.
func (s *Set) DeliverTo(ctx context.Context, m *filter.Message, users []string) error {
	return s.message(ctx, m, DeliverFilter, Deliver, users)
}

// message runs the command that may change a message, then the one that judges it.
func (s *Set) message(ctx context.Context, m *filter.Message, changes, judges Event, users []string) error {
	facts := func() Facts {
		return Facts{Peer: m.Peer, Env: &m.Env, Names: users, Size: m.Text.Size()}
	}
	if s.Has(changes) {
		out := m.NewText()
		local := &localForm{event: changes, to: out}
		err := s.Run(ctx, changes, facts(), m.Text.Reader(), local)
		if mail.StatusOf(err).IsTemporary() && local.err != nil && !errors.Is(err, filter.ErrDiscard) {
			return local.err // which killed the command
		}
		if err != nil {
			return err
		}
		if err := local.close(); err != nil {
			return err
		}
		if out.Size() > 0 {
			if hasHeader(m.Text) && !hasHeader(out) {
				return malformed(changes, "it has no header")
			}
			m.Text = out
		}
	}
	return s.Run(ctx, judges, facts(), m.Text.Reader(), nil)
}

// hasHeader tells a message from the complaint of a command that got lost on the way to stderr.
func hasHeader(t *filter.Text) bool {
	h, _ := message.ReadHeader(bufio.NewReader(io.LimitReader(t.Reader(), 64<<10)), message.Limits{})
	return h.Len() > 0
}

func malformed(e Event, why string) error {
	return mail.Temporaryf(3, 0, "A check failed, try again later: %w", fmt.Errorf("hook %s: output is no message: %s", e, why))
}

// localForm passes text on with LF for CRLF. A bare CR is an error, and a last line without an end gets one.
type localForm struct {
	event Event
	to    io.Writer
	cr    bool // the last octet was a CR
	open  bool // the last line written has no end yet
	err   error
}

func (l *localForm) Write(p []byte) (int, error) {
	if l.err == nil {
		l.err = l.write(p)
	}
	if l.err != nil {
		return 0, l.err
	}
	return len(p), nil
}

func (l *localForm) write(p []byte) error {
	if l.cr && len(p) > 0 && p[0] != '\n' {
		return l.bareCR()
	}
	rest := p
	for len(rest) > 0 {
		line, after := rest, []byte(nil)
		i := bytes.IndexByte(rest, '\r')
		if l.cr = i >= 0 && i == len(rest)-1; i >= 0 {
			line, after = rest[:i], rest[i+1:]
		}
		if len(after) > 0 && after[0] != '\n' {
			return l.bareCR()
		}
		if len(line) > 0 {
			if _, err := l.to.Write(line); err != nil {
				return err
			}
			l.open = line[len(line)-1] != '\n'
		}
		rest = after
	}
	return nil
}

func (l *localForm) bareCR() error { return malformed(l.event, "it has a CR without LF") }

func (l *localForm) close() error {
	if l.cr {
		return l.bareCR()
	}
	if l.open {
		_, err := l.to.Write([]byte{'\n'})
		return err
	}
	return nil
}
