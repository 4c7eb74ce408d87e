package filter

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// FuzzChain: whatever filters answer, and whatever the store says, the peer is told what has become of its message. The
// answers are a list of octets, of which the filters and the store take the next one whenever they are asked.
func FuzzChain(f *testing.F) {
	f.Add([]byte{}, "Subject: x\n\nhi\n", uint8(2), uint8(3), false)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7}, "Subject: x\n\nhi\n", uint8(1), uint8(2), false)
	f.Add([]byte{0, 0, 0, 0, 3, 0, 0, 0, 6, 0, 5}, "x", uint8(1), uint8(4), true)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 9, 5, 0, 0, 1}, "", uint8(2), uint8(2), true)
	f.Fuzz(func(t *testing.T, answers []byte, letter string, filters, rcpts uint8, lmtp bool) {
		p := &program{t: t, answers: answers, texts: []string{letter}, lost: map[string]bool{}}
		chain := &Chain{Store: Store{Dir: t.TempDir(), MaxSize: 100}, Quarantine: p.quarantine}
		for range filters % 4 {
			chain.Filters = append(chain.Filters, p)
		}
		if p.next()&1 == 0 {
			chain.Deliver = p.deliver
			chain.Stores = func(_ *smtp.Peer, _ *mail.Envelope, r mail.Recipient) bool { return r.Domain == "here.example" }
		}
		var inner smtp.Backend = p
		if lmtp {
			inner = eachProgram{p}
		}
		to := []string{"bob", "far1", "alice", "far2"}[:rcpts%5]
		replies := strings.Fields(converse(t, chain, inner, strings.Join(to, " "), letter, lmtp))
		p.check(to, replies)
	})
}

// program is a filter and a store that answer by a list, and know what must not be.
type program struct {
	t        *testing.T
	answers  []byte
	sessions int             // that are not closed
	open     int             // transactions of the store that are not ended
	lost     map[string]bool // recipients that a filter has taken away; "" is all of them
	kept     []string        // recipients of what is committed
	texts    []string        // as filters have left them
	failed   bool            // the store could not commit all
}

// next is 0 when there is none any more: agreement.
func (p *program) next() byte {
	if len(p.answers) == 0 {
		return 0
	}
	b := p.answers[0]
	p.answers = p.answers[1:]
	return b
}

// verdict agrees to most. Discarding is only a filter's.
func (p *program) verdict(filter bool, about ...string) error {
	switch b := p.next() % 16; {
	case b == 1:
		return refused
	case b == 2:
		return later
	case b == 3 && filter:
		for _, local := range about {
			p.lost[local] = true
		}
		return ErrDiscard
	case b == 4:
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (p *program) Holds() bool { return p.next()&1 == 0 }

func (p *program) Connect(context.Context, *smtp.Peer) (Session, error) {
	p.sessions++
	return programSession{p}, nil
}

type programSession struct{ *program }

func (s programSession) Mail(context.Context, *smtp.Peer, *mail.Envelope) error {
	return s.verdict(true, "")
}
func (s programSession) Rcpt(_ context.Context, r mail.Recipient) error {
	return s.verdict(true, r.Local)
}
func (s programSession) Message(_ context.Context, m *Message) error { return s.judge(m, true) }
func (s programSession) Abort()                                      {}
func (s programSession) Close() error                                { s.sessions--; return nil }

func (p *program) deliver(_ context.Context, m *Message) error { return p.judge(m, false) }

// judge changes a message, and has a verdict. Only a filter changes the envelope.
func (p *program) judge(m *Message, envelope bool) error {
	switch what := p.next() % 8; {
	case what == 5:
		text := m.NewText()
		if _, err := io.WriteString(text, strings.Repeat("y", int(p.next()))); err != nil {
			return err
		}
		m.Text = text
	case what == 6 && envelope && len(m.Env.Rcpts) > 0:
		p.lost[m.Env.Rcpts[0].Local] = true
		m.Env.Rcpts = m.Env.Rcpts[1:]
	case what == 7 && envelope:
		m.Env.Rcpts = append(m.Env.Rcpts, mail.Recipient{Address: address("added")})
	case what == 4 && envelope:
		m.Env.Sender = address("z")
	case what == 3 && envelope:
		m.Quarantine = "odd"
	}
	b, err := io.ReadAll(m.Text.Reader())
	if err != nil {
		p.t.Error(err)
	}
	if envelope {
		p.texts = nil
	}
	p.texts = append(p.texts, string(b))
	var about []string
	for _, r := range m.Env.Rcpts {
		about = append(about, r.Local)
	}
	return p.verdict(true, about...)
}

func (p *program) quarantine(env *mail.Envelope) (Spooled, error) {
	if err := p.verdict(false); err != nil {
		return nil, err
	}
	tx := p.begin()
	for _, r := range env.Rcpts {
		tx.rcpts = append(tx.rcpts, r.Local)
	}
	return tx, nil
}

func (p *program) Mail(context.Context, *smtp.Peer, *mail.Envelope) (smtp.Tx, error) {
	if err := p.verdict(false); err != nil {
		return nil, err
	}
	return p.begin(), nil
}

func (p *program) begin() *programTx {
	p.open++
	return &programTx{p: p}
}

type programTx struct {
	p     *program
	rcpts []string
	text  strings.Builder
	over  bool
}

func (tx *programTx) Rcpt(_ context.Context, r mail.Recipient) error {
	err := tx.p.verdict(false)
	if err == nil {
		tx.rcpts = append(tx.rcpts, r.Local)
	}
	return err
}

func (tx *programTx) Write(b []byte) (int, error) {
	if tx.over {
		tx.p.t.Error("a write after the end")
	}
	if tx.text.Len() == 0 {
		if err := tx.p.verdict(false); err != nil {
			return 0, err
		}
	}
	return tx.text.Write(b)
}

func (tx *programTx) Commit() error {
	return tx.commit(tx.rcpts)
}

func (tx *programTx) commit(rcpts []string) error {
	tx.end()
	if !slices.Contains(tx.p.texts, tx.text.String()) {
		tx.p.t.Errorf("%q is stored, not one of %q", tx.text.String(), tx.p.texts)
	}
	err := tx.p.verdict(false)
	if err == nil {
		tx.p.kept = append(tx.p.kept, rcpts...)
	}
	tx.p.failed = tx.p.failed || err != nil
	return err
}

func (tx *programTx) Abort() error {
	tx.end()
	return nil
}

func (tx *programTx) end() {
	if !tx.over {
		tx.p.open--
	}
	tx.over = true
}

type eachProgram struct{ *program }

func (p eachProgram) Mail(ctx context.Context, peer *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	tx, err := p.program.Mail(ctx, peer, env)
	if err != nil {
		return nil, err
	}
	return eachProgramTx{tx.(*programTx)}, nil
}

type eachProgramTx struct{ *programTx }

func (tx eachProgramTx) CommitEach() []error {
	errs := make([]error, len(tx.rcpts))
	for i, local := range tx.rcpts {
		errs[i] = tx.commit([]string{local})
	}
	return errs
}

// check compares what the peer was told with what was kept.
func (p *program) check(to, replies []string) {
	if p.open != 0 || p.sessions != 0 {
		p.t.Errorf("%d transactions of the store and %d sessions were not ended", p.open, p.sessions)
	}
	var told []string
	if replies[0] == "2" {
		for i, local := range to {
			if replies[1+i] == "2" {
				told = append(told, local)
			}
		}
		replies = replies[1+len(to):]
	}
	for _, local := range p.kept {
		if local != "added" && !slices.Contains(told, local) {
			p.t.Errorf("%s was refused and has the message", local)
		}
	}
	for i, local := range told {
		copies := 0
		for _, k := range p.kept {
			if k == local {
				copies++
			}
		}
		isTaken := replies[min(i, len(replies)-1)] == "2"
		switch {
		case copies > 1:
			p.t.Errorf("%s has the message %d times", local, copies)
		case isTaken && copies == 0 && !p.lost[local] && !p.lost[""]:
			p.t.Errorf("%s was told to have the message and has not", local)
		case !isTaken && copies > 0 && !p.failed:
			p.t.Errorf("%s has the message, and the peer will send it again", local)
		}
	}
}
