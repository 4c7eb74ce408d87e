package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// store is a Backend that keeps what is committed, and a log of the calls that it gets.
type store struct {
	t     *testing.T
	calls []string
	kept  []string // "sender > recipients: text"
	fail  map[string]error
	each  map[string]error // verdicts of CommitEach, by local part
}

func (s *store) call(format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	s.calls = append(s.calls, call)
	return s.fail[call]
}

func (s *store) Mail(_ context.Context, p *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	if err := s.call("mail %s", env.Sender.Local); err != nil {
		return nil, err
	}
	return &storeTx{s: s, env: env}, nil
}

type storeTx struct {
	s     *store
	env   *mail.Envelope
	rcpts []string
	text  strings.Builder
	over  bool
}

func (tx *storeTx) Rcpt(_ context.Context, r mail.Recipient) error {
	err := tx.s.call("rcpt %s", r.Local)
	if err == nil {
		tx.rcpts = append(tx.rcpts, r.Local)
	}
	return err
}

func (tx *storeTx) Write(p []byte) (int, error) {
	if tx.over {
		tx.s.t.Error("a write after the end")
	}
	if err := tx.s.fail["write"]; err != nil {
		return 0, err
	}
	return tx.text.Write(p)
}

func (tx *storeTx) Commit() error {
	tx.over = true
	err := tx.s.call("commit %s", strings.Join(tx.rcpts, ","))
	if err == nil {
		tx.s.kept = append(tx.s.kept, tx.env.Sender.Local+" > "+strings.Join(tx.rcpts, ",")+": "+tx.text.String())
	}
	return err
}

func (tx *storeTx) Abort() error {
	if !tx.over {
		tx.s.call("abort")
	}
	tx.over = true
	return nil
}

func (tx *storeTx) Refuse(err error) { tx.s.call("refuse %s", mail.StatusOf(err)) }

// eachTx knows the fate of each recipient.
type eachStore struct{ *store }

func (s eachStore) Mail(ctx context.Context, p *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	tx, err := s.store.Mail(ctx, p, env)
	if err != nil {
		return nil, err
	}
	return &eachTx{tx.(*storeTx)}, nil
}

type eachTx struct{ *storeTx }

func (tx *eachTx) CommitEach() []error {
	errs := make([]error, len(tx.rcpts))
	if err := tx.Commit(); err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	for i, r := range tx.rcpts {
		if errs[i] == nil {
			errs[i] = tx.s.each[r]
		}
	}
	return errs
}

// script is a Filter that does what its fields say.
type script struct {
	holds   bool
	connect error
	mail    error
	rcpt    map[string]error
	message func(m *Message) error
	calls   *[]string
}

func (f *script) Holds() bool { return f.holds }

func (f *script) Connect(context.Context, *smtp.Peer) (Session, error) {
	if f.connect != nil {
		return nil, f.connect
	}
	return f, nil
}

func (f *script) note(format string, args ...any) {
	if f.calls != nil {
		*f.calls = append(*f.calls, fmt.Sprintf(format, args...))
	}
}

func (f *script) Mail(_ context.Context, _ *smtp.Peer, env *mail.Envelope) error {
	f.note("mail")
	return f.mail
}

func (f *script) Rcpt(_ context.Context, r mail.Recipient) error {
	f.note("rcpt %s", r.Local)
	return f.rcpt[r.Local]
}

func (f *script) Message(_ context.Context, m *Message) error {
	f.note("message")
	if f.message == nil {
		return nil
	}
	return f.message(m)
}

func (f *script) Abort()       { f.note("abort") }
func (f *script) Close() error { f.note("close"); return nil }

func address(local string) mail.Address {
	domain := "here.example"
	if strings.HasPrefix(local, "far") {
		domain = "far.example"
	}
	return mail.Address{Local: local, Domain: domain}
}

func rewrite(from, to string) func(m *Message) error {
	return func(m *Message) error {
		b, err := io.ReadAll(m.Text.Reader())
		if err != nil {
			return err
		}
		out := m.NewText()
		_, err = io.WriteString(out, strings.Replace(string(b), from, to, 1))
		m.Text = out
		return err
	}
}

var (
	refused = mail.Permanentf(7, 1, "no")
	later   = mail.Temporaryf(7, 1, "later")
)

// TestTransactions sends a message from a to some recipients and looks at what the peer is told and what is stored.
func TestTransactions(t *testing.T) {
	const letter = "A: b\n\nc\n"
	for _, c := range []struct {
		name    string
		filters []*script
		deliver func(m *Message) error
		fail    map[string]error
		each    map[string]error // of the store; not nil: LMTP
		rcpts   string
		kept    []string
		replies string // a letter for MAIL, each RCPT, and the data or each recipient: 2, 4, 5
		calls   string // of the store; not looked at if empty
	}{
		{name: "nobody cares", rcpts: "bob", kept: []string{"a > bob: " + letter}, replies: "2 2 2", calls: "mail a|rcpt bob|commit bob"},
		{name: "passes through", filters: []*script{{}}, rcpts: "bob", kept: []string{"a > bob: " + letter}, replies: "2 2 2"},
		{name: "held", filters: []*script{{holds: true}}, rcpts: "bob alice", kept: []string{"a > bob,alice: " + letter}, replies: "2 2 2 2",
			calls: "mail a|rcpt bob|rcpt alice|commit bob,alice"},
		{name: "sender refused", filters: []*script{{mail: refused}}, replies: "5", calls: "mail a|refuse 5.7.1|abort"},
		{name: "store refuses the sender", filters: []*script{{mail: refused}}, fail: map[string]error{"mail a": later}, replies: "4"},
		{name: "recipient refused", filters: []*script{{rcpt: map[string]error{"bob": refused}}}, rcpts: "bob alice",
			kept: []string{"a > alice: " + letter}, replies: "2 5 2 2"},
		{name: "recipient refused, held", filters: []*script{{holds: true, rcpt: map[string]error{"bob": later}}}, rcpts: "alice bob",
			kept: []string{"a > alice: " + letter}, replies: "2 2 4 2"},
		{name: "unknown recipient", filters: []*script{{holds: true}}, fail: map[string]error{"rcpt bob": refused}, rcpts: "bob alice",
			kept: []string{"a > alice: " + letter}, replies: "2 5 2 2", calls: "mail a|rcpt bob|rcpt alice|commit alice"},
		{name: "message refused", filters: []*script{{holds: true, message: func(*Message) error { return refused }}}, rcpts: "bob",
			replies: "2 2 5", calls: "mail a|rcpt bob|refuse 5.7.1|abort"},
		{name: "unclassified", filters: []*script{{holds: true, message: func(*Message) error { return io.ErrUnexpectedEOF }}}, rcpts: "bob",
			replies: "2 2 4"},
		{name: "changed", filters: []*script{{holds: true, message: rewrite("b", "B")}, {holds: true, message: rewrite("B", "D")}},
			rcpts: "bob", kept: []string{"a > bob: A: D\n\nc\n"}, replies: "2 2 2"},
		{name: "discarded at mail", filters: []*script{{holds: true, mail: ErrDiscard}}, rcpts: "bob", replies: "2 2 2", calls: "mail a|abort|rcpt bob"},
		{name: "discarded at mail, unknown recipient", filters: []*script{{mail: ErrDiscard}}, fail: map[string]error{"rcpt bob": refused}, rcpts: "bob",
			replies: "2 5"},
		{name: "discarded at rcpt", filters: []*script{{rcpt: map[string]error{"bob": ErrDiscard}}}, rcpts: "bob alice",
			kept: []string{"a > alice: " + letter}, replies: "2 2 2 2"},
		{name: "discarded at all rcpts", filters: []*script{{rcpt: map[string]error{"bob": ErrDiscard}}}, rcpts: "bob", replies: "2 2 2"},
		{name: "discarded at all rcpts, held", filters: []*script{{holds: true, rcpt: map[string]error{"bob": ErrDiscard}}}, rcpts: "bob", replies: "2 2 2"},
		{name: "discarded", filters: []*script{{holds: true, message: func(*Message) error { return ErrDiscard }}}, rcpts: "bob", replies: "2 2 2",
			calls: "mail a|rcpt bob|abort"},
		{name: "recipient removed", filters: []*script{{holds: true, message: func(m *Message) error {
			m.Env.Rcpts = m.Env.Rcpts[:1]
			return nil
		}}}, rcpts: "bob alice", kept: []string{"a > bob: " + letter}, replies: "2 2 2 2"},
		{name: "all removed", filters: []*script{{holds: true, message: func(m *Message) error { m.Env.Rcpts = nil; return nil }}},
			rcpts: "bob", replies: "2 2 2"},
		{name: "recipient added", filters: []*script{{holds: true, message: add("archive")}}, rcpts: "bob",
			kept: []string{"a > bob,archive: " + letter}, replies: "2 2 2"},
		{name: "recipient added that is not taken", filters: []*script{{holds: true, message: add("archive")}},
			fail: map[string]error{"rcpt archive": refused}, rcpts: "bob", replies: "2 2 4"},
		{name: "sender changed", filters: []*script{{holds: true, message: func(m *Message) error { m.Env.Sender = address("z"); return nil }}},
			rcpts: "bob", kept: []string{"z > bob: " + letter}, replies: "2 2 2"},
		{name: "sender changed to one that is not taken", filters: []*script{{holds: true, message: func(m *Message) error { m.Env.Sender = address("z"); return nil }}},
			fail: map[string]error{"mail z": refused}, rcpts: "bob", replies: "2 2 4"},
		{name: "no quarantine", filters: []*script{{holds: true, message: func(m *Message) error { m.Quarantine = "odd"; return nil }}}, rcpts: "bob", replies: "2 2 4"},
		{name: "store can't be written", filters: []*script{{holds: true}}, fail: map[string]error{"write": later}, rcpts: "bob", replies: "2 2 4",
			calls: "mail a|rcpt bob|abort|refuse 4.7.1"},
		{name: "store can't commit", filters: []*script{{holds: true}}, fail: map[string]error{"commit bob": later}, rcpts: "bob", replies: "2 2 4",
			calls: "mail a|rcpt bob|commit bob"},
		{name: "deliver agrees", deliver: func(*Message) error { return nil }, rcpts: "bob far", kept: []string{"a > bob,far: " + letter}, replies: "2 2 2 2",
			calls: "mail a|rcpt bob|rcpt far|commit bob,far"},
		{name: "deliver refuses", deliver: func(*Message) error { return refused }, rcpts: "bob far", replies: "2 2 2 5"},
		{name: "deliver is not asked", deliver: func(*Message) error { return refused }, rcpts: "far", kept: []string{"a > far: " + letter}, replies: "2 2 2"},
		{name: "deliver changes", deliver: rewrite("c", "C"), rcpts: "far bob", kept: []string{"a > bob: A: b\n\nC\n", "a > far: " + letter}, replies: "2 2 2 2"},
		{name: "deliver discards", deliver: func(*Message) error { return ErrDiscard }, rcpts: "far bob", kept: []string{"a > far: " + letter}, replies: "2 2 2 2"},
		{name: "deliver discards all", deliver: func(*Message) error { return ErrDiscard }, rcpts: "bob", replies: "2 2 2"},
		{name: "the second part fails", deliver: rewrite("c", "C"), fail: map[string]error{"commit far": later}, rcpts: "far bob",
			kept: []string{"a > bob: A: b\n\nC\n"}, replies: "2 2 2 4"},

		{name: "lmtp", filters: []*script{{holds: true}}, each: map[string]error{"alice": later}, rcpts: "bob alice far",
			kept: []string{"a > bob,alice,far: " + letter}, replies: "2 2 2 2 2 4 2"},
		{name: "lmtp, not held", filters: []*script{{}}, each: map[string]error{"alice": later}, rcpts: "bob alice",
			kept: []string{"a > bob,alice: " + letter}, replies: "2 2 2 2 4"},
		{name: "lmtp, refused", filters: []*script{{holds: true, message: func(*Message) error { return refused }}}, each: map[string]error{},
			rcpts: "bob alice", replies: "2 2 2 5 5", calls: "mail a|rcpt bob|rcpt alice|refuse 5.7.1|abort"},
		{name: "lmtp, discarded", filters: []*script{{holds: true, message: func(*Message) error { return ErrDiscard }}}, each: map[string]error{},
			rcpts: "bob alice", replies: "2 2 2 2 2"},
		{name: "lmtp, one discarded, one removed", filters: []*script{{holds: true, rcpt: map[string]error{"bob": ErrDiscard}, message: func(m *Message) error {
			m.Env.Rcpts = slices.DeleteFunc(m.Env.Rcpts, func(r mail.Recipient) bool { return r.Local == "alice" })
			return nil
		}}}, each: map[string]error{"carol": later}, rcpts: "bob alice carol dave", kept: []string{"a > carol,dave: " + letter}, replies: "2 2 2 2 2 2 2 4 2"},
		{name: "lmtp, added recipient fails", filters: []*script{{holds: true, message: add("archive")}}, each: map[string]error{"archive": later, "alice": refused},
			rcpts: "bob alice", kept: []string{"a > bob,alice,archive: " + letter}, replies: "2 2 2 4 5"},
		{name: "lmtp, deliver refuses", deliver: func(*Message) error { return refused }, each: map[string]error{}, rcpts: "bob far",
			kept: []string{"a > far: " + letter}, replies: "2 2 2 5 2"},
		{name: "lmtp, deliver refuses one that was added", filters: []*script{{holds: true, message: add("archive")}}, deliver: func(*Message) error { return refused },
			each: map[string]error{}, rcpts: "far bob", replies: "2 2 2 5 5"},
		{name: "lmtp, deliver refuses all", deliver: func(*Message) error { return refused }, each: map[string]error{}, rcpts: "bob", replies: "2 2 5"},
		{name: "lmtp, deliver discards", deliver: func(*Message) error { return ErrDiscard }, each: map[string]error{}, rcpts: "bob far",
			kept: []string{"a > far: " + letter}, replies: "2 2 2 2 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &store{t: t, fail: c.fail, each: c.each}
			chain := &Chain{Stores: func(_ *smtp.Peer, _ *mail.Envelope, r mail.Recipient) bool { return r.Domain == "here.example" }}
			for _, f := range c.filters {
				chain.Filters = append(chain.Filters, f)
			}
			if c.deliver != nil {
				chain.Deliver = func(_ context.Context, m *Message) error { return c.deliver(m) }
			}
			var inner smtp.Backend = s
			if c.each != nil {
				inner = eachStore{s}
			}
			replies := converse(t, chain, inner, c.rcpts, letter, c.each != nil)
			if replies != c.replies {
				t.Errorf("replies: got %s, want %s; %q", replies, c.replies, s.calls)
			}
			if !slices.Equal(s.kept, c.kept) {
				t.Errorf("kept: got %q, want %q", s.kept, c.kept)
			}
			if got := strings.Join(s.calls, "|"); c.calls != "" && got != c.calls {
				t.Errorf("calls: got %s, want %s", got, c.calls)
			}
		})
	}
}

// lateStore is a store that notes what it is given for those who wait.
type lateStore struct{ *store }

func (s lateStore) Mail(ctx context.Context, p *smtp.Peer, env *mail.Envelope) (smtp.Tx, error) {
	tx, err := s.store.Mail(ctx, p, env)
	if err != nil {
		return nil, err
	}
	return &lateTx{tx.(*storeTx)}, nil
}

type lateTx struct{ *storeTx }

func (tx *lateTx) Later(text io.ReaderAt, size int64) {
	b, err := io.ReadAll(io.NewSectionReader(text, 0, size))
	tx.s.call("later %q %v", b, err)
}

// What Deliver changes is for mailboxes: the Backend hears what the text was, for the part of it that goes elsewhere first.
func TestDeliverSaysWhatItChanged(t *testing.T) {
	const letter = "A: b\n\nc\n"
	for name, c := range map[string]struct {
		deliver func(*Message) error
		calls   string
	}{
		"changed":   {rewrite("c", "C"), `mail a|rcpt bob|later "A: b\n\nc\n" <nil>|commit bob`},
		"unchanged": {func(*Message) error { return nil }, "mail a|rcpt bob|commit bob"},
	} {
		s := &store{t: t}
		chain := &Chain{Stores: func(*smtp.Peer, *mail.Envelope, mail.Recipient) bool { return true },
			Deliver: func(_ context.Context, m *Message) error { return c.deliver(m) }}
		converse(t, chain, lateStore{s}, "bob", letter, false)
		if got := strings.Join(s.calls, "|"); got != c.calls {
			t.Errorf("%s: got %s, want %s", name, got, c.calls)
		}
	}
}

func add(local string) func(m *Message) error {
	return func(m *Message) error {
		m.Env.Rcpts = append(m.Env.Rcpts, mail.Recipient{Address: address(local)})
		return nil
	}
}

// converse does with a chain what a server does for one message, and gives the classes of its replies.
func converse(t *testing.T, chain *Chain, inner smtp.Backend, rcpts, letter string, lmtp bool) string {
	t.Helper()
	p := &smtp.Peer{LMTP: lmtp}
	conn, err := chain.Connect(t.Context(), p, inner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var replies []string
	say := func(err error) error {
		replies = append(replies, fmt.Sprint(mail.StatusOf(err).Class))
		return err
	}
	env := &mail.Envelope{Sender: address("a")}
	tx, err := conn.Mail(t.Context(), p, env)
	if say(err) != nil {
		return strings.Join(replies, " ")
	}
	for _, local := range strings.Fields(rcpts) {
		r := mail.Recipient{Address: address(local)}
		if say(tx.Rcpt(t.Context(), r)) == nil {
			env.Rcpts = append(env.Rcpts, r)
		}
	}
	if len(env.Rcpts) == 0 {
		tx.Abort()
		return strings.Join(replies, " ")
	}
	err = nil
	for i := 0; err == nil && i < len(letter); i++ { // the server, too, writes nothing after an error
		_, err = io.WriteString(tx, letter[i:i+1])
	}
	each, isEach := tx.(smtp.EachTx)
	switch {
	case err != nil:
		tx.(smtp.Refuser).Refuse(err)
		tx.Abort()
		say(err)
	case lmtp && isEach:
		errs := each.CommitEach()
		if len(errs) != len(env.Rcpts) {
			t.Errorf("%d verdicts for %d recipients", len(errs), len(env.Rcpts))
		}
		for _, err := range errs {
			say(err)
		}
	default:
		if say(tx.Commit()) != nil {
			tx.Abort()
		}
	}
	return strings.Join(replies, " ")
}

func TestConnect(t *testing.T) {
	var calls []string
	for want, err := range map[string]error{"5.7.1": refused, "4.7.1": later, "4.3.5": ErrDiscard} {
		calls = nil
		chain := &Chain{Filters: []Filter{&script{calls: &calls}, &script{connect: err}}}
		_, got := chain.Connect(t.Context(), &smtp.Peer{}, nil)
		if mail.StatusOf(got).String() != want || !slices.Equal(calls, []string{"close"}) {
			t.Errorf("%v: got %v, %q, want %s and the first one closed", err, got, calls, want)
		}
	}
}

// A session hears of the end of each message, and of the connection.
func TestSessionCalls(t *testing.T) {
	var calls []string
	f := &script{holds: true, calls: &calls}
	converse(t, &Chain{Filters: []Filter{f}}, &store{t: t}, "bob", "A: b\n\n", false)
	want := []string{"mail", "rcpt bob", "message", "abort", "close"}
	if !slices.Equal(calls, want) {
		t.Errorf("got %q, want %q", calls, want)
	}
	calls = nil
	conn, _ := (&Chain{Filters: []Filter{f}}).Connect(t.Context(), &smtp.Peer{}, &store{t: t})
	tx, _ := conn.Mail(t.Context(), &smtp.Peer{}, &mail.Envelope{})
	tx.Abort()
	if want := []string{"mail", "abort"}; !slices.Equal(calls, want) {
		t.Errorf("got %q, want %q", calls, want)
	}
}

// held is a place for quarantined messages.
type held struct {
	strings.Builder
	committed, aborted bool
	err                error
}

func (h *held) Commit() error { h.committed = h.err == nil; return h.err }
func (h *held) Abort() error  { h.aborted = true; return nil }

func TestQuarantine(t *testing.T) {
	odd := &script{holds: true, message: func(m *Message) error { m.Quarantine = "odd"; return nil }}
	for _, c := range []struct {
		err     error
		replies string
	}{{nil, "2 2 2"}, {later, "2 2 4"}} {
		s, h := &store{t: t}, &held{err: c.err}
		var to mail.Envelope
		chain := &Chain{Filters: []Filter{odd}, Quarantine: func(env *mail.Envelope) (Spooled, error) { to = *env; return h, nil }}
		if got := converse(t, chain, s, "bob", "A: b\n\n", false); got != c.replies || h.committed != (c.err == nil) || len(s.kept) > 0 {
			t.Errorf("%v: got %s, committed %v, kept %q", c.err, got, h.committed, s.kept)
		}
		if h.String() != "A: b\n\n" || len(to.Rcpts) != 1 || to.Sender.Local != "a" {
			t.Errorf("held %q for %v", h.String(), to)
		}
	}
}

// Texts around what fits into memory, in every kind of cut, come back as they were, and leave no file.
func TestText(t *testing.T) {
	for _, size := range []int{0, 1, maxInMemory - 1, maxInMemory, maxInMemory + 1, 3 * maxInMemory} {
		for _, step := range []int{1 << 20, 32 << 10, 1000} {
			dir := filepath.Join(t.TempDir(), "state")
			text := Store{Dir: dir}.NewText()
			want := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
			for at := 0; at < size; at += step {
				if _, err := io.WriteString(text, want[at:min(at+step, size)]); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				got, err := io.ReadAll(text.Reader())
				if err != nil || string(got) != want || text.Size() != int64(size) {
					t.Errorf("size %d, step %d: got %d octets, Size %d, %v", size, step, len(got), text.Size(), err)
				}
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 || (text.file == nil) != (size <= maxInMemory) {
				t.Errorf("size %d: left %v, in a file %v", size, left, text.file != nil)
			}
			if err := text.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A disk that is full is 4.3.1, and stays it.
func TestTextFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	text := &Text{file: full}
	for range 2 {
		if _, err := io.WriteString(text, "x"); mail.StatusOf(err).String() != "4.3.1" || !errors.Is(err, text.Err()) {
			t.Errorf("got %v, want 4.3.1", err)
		}
	}
	text.Close()
	text = Store{Dir: "/dev/null/none"}.NewText()
	if _, err := text.Write(make([]byte, maxInMemory+1)); mail.StatusOf(err).String() != "4.3.0" {
		t.Errorf("got %v, want 4.3.0", err)
	}
}

func TestTextLimit(t *testing.T) {
	for size, ok := range map[int]bool{99: true, 100: true, 101: false} {
		m := NewMessage(Store{MaxSize: 100}, &mail.Envelope{}, nil)
		if _, err := m.NewText().Write(make([]byte, size)); (err == nil) != ok || err != nil && mail.StatusOf(err).String() != "4.3.0" {
			t.Errorf("%d of 100 octets: %v", size, err)
		}
		m.Close()
	}
}
