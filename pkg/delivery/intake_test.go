package delivery

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/maillog"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

// spool keeps what goes into the queue.
type spool struct {
	queued []string // "sender > recipients: text"
	fault  error    // of every Commit
}

type spooled struct {
	s    *spool
	env  *mail.Envelope
	text bytes.Buffer
}

func (s *spool) enqueue(env *mail.Envelope) (Spooled, error) { return &spooled{s: s, env: env}, nil }

func (e *spooled) Write(p []byte) (int, error) { return e.text.Write(p) }
func (e *spooled) Abort() error                { return nil }

func (e *spooled) Commit() error {
	if e.s.fault != nil {
		return e.s.fault
	}
	var rcpts []string
	for _, r := range e.env.Rcpts {
		rcpts = append(rcpts, r.String())
	}
	e.s.queued = append(e.s.queued, fmt.Sprintf("%s > %s: %s", e.env.Sender.Path(), strings.Join(rcpts, " "), e.text.String()))
	return nil
}

func testIntake(t testing.TB) (*Intake, *spool, vfs.FS) {
	local, fsys := testLocal(t, testRouter(t))
	s := &spool{}
	return &Intake{Router: local.Router, Open: local.Open, Enqueue: s.enqueue, AnySender: true}, s, fsys
}

// hand sends one message through an intake; the recipients' errors come as "550"-like statuses, "" for taken ones.
func hand(t testing.TB, in *Intake, p *smtp.Peer, text string, to ...string) (verdicts []string, err error) {
	t.Helper()
	tx, err := in.Mail(context.Background(), p, &mail.Envelope{ID: "X1", Sender: mail.Address{Local: "s", Domain: "far.example"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range to {
		if err := tx.Rcpt(context.Background(), mail.Recipient{Address: address(t, a)}); err != nil {
			verdicts = append(verdicts, mail.StatusOf(err).String())
		} else {
			verdicts = append(verdicts, "")
		}
	}
	for _, b := range []byte(text) { // in the worst of all cuts
		if _, err := tx.Write([]byte{b}); err != nil {
			tx.Abort()
			return verdicts, err
		}
	}
	return verdicts, tx.Commit()
}

var (
	stranger = &smtp.Peer{Addr: netip.MustParseAddr("192.0.2.1")}
	user     = &smtp.Peer{Addr: netip.MustParseAddr("192.0.2.1"), User: "alice"}
)

func TestIntakeDeliversAtOnce(t *testing.T) {
	in, s, fsys := testIntake(t)
	verdicts, err := hand(t, in, stranger, "Subject: x\n\nhello\n", "alice@here.example", "bob+detail@here.example", "both@here.example")
	if err != nil || strings.Join(verdicts, "|") != "||" {
		t.Fatal(verdicts, err)
	}
	for _, name := range []string{"alice", "bob"} {
		got := messages(t, fsys, name)
		if len(got) != 1 || got[0] != "Return-Path: <s@far.example>\nSubject: x\n\nhello\n" {
			t.Errorf("%s has %q", name, got)
		}
	}
	if len(s.queued) != 0 {
		t.Errorf("queued %q", s.queued)
	}
	a, _ := maildir.Open(fsys, "/mail/alice")
	list, _ := a.List()
	fi, err := fsys.Lstat("/mail/alice/" + list[0].File)
	if err != nil || vfs.Links(fi) != 2 {
		t.Errorf("two users should share one file: %d links, %v", vfs.Links(fi), err)
	}
}

func TestIntakeMixes(t *testing.T) {
	in, s, fsys := testIntake(t)
	verdicts, err := hand(t, in, user, "hello\n", "alice@here.example", "x@far.example", "y@far.example", "nobody@here.example")
	if err != nil || strings.Join(verdicts, "|") != "|||5.1.1" {
		t.Fatal(verdicts, err)
	}
	if got := messages(t, fsys, "alice"); len(got) != 1 {
		t.Errorf("alice has %q", got)
	}
	if len(s.queued) != 1 || s.queued[0] != "<s@far.example> > x@far.example y@far.example: hello\n" {
		t.Errorf("queued %q", s.queued)
	}
}

// An alias may lead elsewhere though the peer may not.
func TestIntakeForwards(t *testing.T) {
	in, s, _ := testIntake(t)
	if verdicts, err := hand(t, in, stranger, "hello\n", "forward@here.example"); err != nil || verdicts[0] != "" {
		t.Fatal(verdicts, err)
	}
	if len(s.queued) != 1 || !strings.Contains(s.queued[0], "> a@two.example:") {
		t.Errorf("queued %q", s.queued)
	}
}

// The ways in which a server is made to relay for strangers.
func TestIntakeIsNoOpenRelay(t *testing.T) {
	for _, to := range []string{
		"x@far.example",
		"x%far.example@here.example",
		`"x@far.example"@here.example`,
		"far.example!x@here.example",
		`"far.example!x"@here.example`,
		"x%far.example@[127.0.0.1]",
		"x@[192.0.2.99]",
		"x%far.example",
		`"x@far.example"`,
		"x@here.example.far.example",
		"x@sub.here.example",
	} {
		in, s, _ := testIntake(t)
		verdicts, _ := hand(t, in, stranger, "spam\n", to)
		if verdicts[0] == "" || verdicts[0][0] != '5' || len(s.queued) != 0 {
			t.Errorf("%s: verdict %q, queued %q", to, verdicts[0], s.queued)
		}
	}
}

func TestIntakeRelaysForWhomItMay(t *testing.T) {
	in, s, _ := testIntake(t)
	in.MayRelay = func(p *smtp.Peer) bool { return p.Addr == stranger.Addr }
	if verdicts, err := hand(t, in, stranger, "x\n", "x@far.example"); err != nil || verdicts[0] != "" || len(s.queued) != 1 {
		t.Error(verdicts, err, s.queued)
	}
	in.Enqueue = nil
	if verdicts, _ := hand(t, in, stranger, "x\n", "x@far.example"); verdicts[0] != "5.7.1" {
		t.Errorf("without a queue: %v", verdicts)
	}
}

// What fails is never acknowledged, is temporary, and leaves nothing behind that was not committed before it.
func TestIntakeTrouble(t *testing.T) {
	in, s, fsys := testIntake(t)
	_, err := hand(t, in, stranger, "x\n", "alice@here.example", "sick@here.example")
	if !mail.StatusOf(err).IsTemporary() || len(messages(t, fsys, "alice")) != 0 {
		t.Errorf("a mailbox that can't be opened: %v, alice has %q", err, messages(t, fsys, "alice"))
	}
	s.fault = errors.New("no disk")
	if _, err := hand(t, in, user, "x\n", "x@far.example"); !mail.StatusOf(err).IsTemporary() {
		t.Errorf("a queue that fails: %v", err)
	}
}

// Every call of the file system fails, is the last before a kill, and is the last before the power goes: what Commit
// acknowledged is there afterwards, whole, in every mailbox.
func TestIntakeCrash(t *testing.T) {
	const text = "Subject: x\n\nhello\n"
	base := vfs.NewMem()
	base.Mkdir("/mail")
	for _, name := range []string{"alice", "bob"} {
		if _, err := maildir.Create(base, "/mail/"+name); err != nil {
			t.Fatal(err)
		}
	}
	base.SyncAll()
	router := testRouter(t)
	op := func(fsys vfs.FS) error {
		in := &Intake{Router: router, Open: func(path string) (*maildir.Dir, error) { return maildir.Open(fsys, path) }}
		_, err := hand(t, in, stranger, text, "both@here.example")
		return err
	}
	for trial := range vfs.Trials(base, op) {
		for _, name := range []string{"alice", "bob"} {
			got := messages(t, trial.Mem, name)
			if trial.Err == nil && len(got) != 1 || len(got) > 1 {
				t.Fatalf("%s: acknowledged, and %s has %q", trial.What, name, got)
			}
			for _, m := range got {
				if m != "Return-Path: <s@far.example>\n"+text {
					t.Fatalf("%s: %s has part of a message: %q", trial.What, name, m)
				}
			}
		}
	}
}

// handEach is hand with a verdict for each recipient that was taken, as statuses.
func handEach(t testing.TB, in *Intake, to ...string) string {
	t.Helper()
	peer := &smtp.Peer{User: "alice", LMTP: true}
	tx, err := in.Mail(context.Background(), peer, &mail.Envelope{ID: "X1", Sender: mail.Address{Local: "s", Domain: "far.example"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range to {
		tx.Rcpt(context.Background(), mail.Recipient{Address: address(t, a)})
	}
	if _, err := tx.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	var verdicts []string
	for _, err := range tx.(smtp.EachTx).CommitEach() {
		verdicts = append(verdicts, mail.StatusOf(err).String())
	}
	return strings.Join(verdicts, " ")
}

// Trouble of the queue is told to those whom it concerns, in the order in which they were named; the refused have no verdict.
func TestIntakeVerdicts(t *testing.T) {
	in, s, fsys := testIntake(t)
	to := []string{"x@far.example", "alice@here.example", "nobody@here.example", "both@here.example"}
	if got := handEach(t, in, to...); got != "2.0.0 2.0.0 2.0.0" || len(s.queued) != 1 {
		t.Errorf("got %s, queued %q", got, s.queued)
	}
	if got := handEach(t, in, "sick@here.example", "alice@here.example"); !strings.HasPrefix(got, "4.") || !strings.HasSuffix(got, " 2.0.0") {
		t.Errorf("one mailbox that can't be opened: got %s", got)
	}
	s.fault = mail.Temporaryf(3, 1, "Insufficient system storage")
	if got := handEach(t, in, to...); got != "4.3.1 2.0.0 2.0.0" {
		t.Errorf("without a queue: got %s", got)
	}
	if got := messages(t, fsys, "alice"); len(got) != 3 {
		t.Errorf("alice has %q", got)
	}
}

// Who hears that something went wrong sends again to all that a recipient stands for: none of it may have the message.
func TestIntakeVerdictsWithoutSecondCopy(t *testing.T) {
	for name, c := range map[string]struct {
		to, want string
		copies   int // of alice
		queued   []string
	}{
		"one mailbox of two":      {"pair@here.example", "4.", 0, nil},
		"the good one is named":   {"pair@here.example alice@here.example", "4. 2.", 1, nil},
		"mailboxes and elsewhere": {"mixed@here.example alice@here.example", "2. 2.", 1, []string{"mixed@here.example"}},
		"all of it":               {"ill@here.example pair@here.example", "2. 4.", 0, []string{"ill@here.example"}},
	} {
		in, s, fsys := testIntake(t)
		in.Router.Aliases = aliasFile(t, "pair: alice, sick\nmixed: alice, no@two.example\nill: alice, sick, b@two.example\n")
		got := regexp.MustCompile(`\.\d+\.\d+`).ReplaceAllString(handEach(t, in, strings.Fields(c.to)...), ".")
		if got != c.want || len(messages(t, fsys, "alice")) != c.copies {
			t.Errorf("%s: got %s, want %s, and alice has %q", name, got, c.want, messages(t, fsys, "alice"))
		}
		var queued []string
		for _, q := range s.queued {
			_, rcpts, _ := strings.Cut(strings.TrimSuffix(q, ": hello\n"), " > ")
			queued = append(queued, rcpts)
		}
		if !slices.Equal(queued, c.queued) {
			t.Errorf("%s: queued for %q, want %q", name, queued, c.queued)
		}
	}
}

// Mailboxes in trouble do not keep the queue from taking its part.
func TestIntakeVerdictsWithoutMailboxes(t *testing.T) {
	in, s, _ := testIntake(t)
	tx, err := in.Mail(context.Background(), user, &mail.Envelope{ID: "X1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"alice@here.example", "x@far.example"} {
		if err := tx.Rcpt(context.Background(), mail.Recipient{Address: address(t, a)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	tx.(*intakeTx).local.Abort() // as if the disk of the mailboxes went away: its Commit fails now
	errs := tx.(smtp.EachTx).CommitEach()
	if len(errs) != 2 || errs[0] == nil || errs[1] != nil || len(s.queued) != 1 {
		t.Errorf("got %v, queued %q", errs, s.queued)
	}
	if mail.StatusOf(errs[0]).IsPermanent() {
		t.Errorf("the mailbox may come back: %v", errs[0])
	}
}

// A recipient that is refused because one of its targets is elsewhere leaves nothing behind.
func TestIntakeRefusesWhole(t *testing.T) {
	in, _, fsys := testIntake(t)
	in.Enqueue = nil
	if got := handEach(t, in, "forward@here.example", "alice@here.example"); got != "2.0.0" {
		t.Errorf("got %s", got)
	}
	if got := messages(t, fsys, "bob"); len(got) != 0 {
		t.Errorf("bob has %q", got)
	}
}

// Who has authenticated may use the addresses whose mail is his, and no others.
func TestIntakeOwnSenders(t *testing.T) {
	in, _, _ := testIntake(t)
	in.AnySender = false
	for sender, want := range map[string]string{
		"alice@here.example":      "2.0.0",
		"Alice+news@here.example": "2.0.0",
		"root@here.example":       "2.0.0", // an alias of alice
		"both@here.example":       "2.0.0",
		"alice":                   "2.0.0",
		"bob@here.example":        "5.7.1",
		"nobody@here.example":     "5.7.1",
		"alice@far.example":       "5.7.1",
		"forward@here.example":    "5.7.1",
	} {
		_, err := in.Mail(context.Background(), user, &mail.Envelope{Sender: address(t, sender)})
		if got := mail.StatusOf(err).String(); got != want {
			t.Errorf("alice as %s: %s, want %s", sender, got, want)
		}
		if _, err := in.Mail(context.Background(), stranger, &mail.Envelope{Sender: address(t, sender)}); err != nil {
			t.Errorf("a stranger as %s: %v", sender, err)
		}
	}
	if _, err := in.Mail(context.Background(), user, &mail.Envelope{}); err != nil {
		t.Errorf("the null sender: %v", err)
	}
	in.AnySender = true
	if _, err := in.Mail(context.Background(), user, &mail.Envelope{Sender: address(t, "x@far.example")}); err != nil {
		t.Errorf("any sender: %v", err)
	}
}

// The log says to whom a message went: one line if it is one recipient, else one for each who has it now.
func TestIntakeLogsRecipients(t *testing.T) {
	const start, end = "level=INFO msg=", " peer=192.0.2.1\n"
	accepted := start + "accepted id=X1 from=<s@far.example> "
	for _, c := range []struct {
		to   []string
		lmtp bool
		want string
	}{
		{to: []string{"bob"}, want: accepted + "to=<bob> size=2 user=alice" + end},
		{to: []string{"x@two.example"}, want: accepted + "to=<x@two.example> size=2 user=alice" + end},
		{to: []string{"bob", "x@two.example", "both"}, want: accepted + "size=2 user=alice" + end +
			start + "delivered id=X1 from=<s@far.example> to=<bob> user=alice" + end + start + "delivered id=X1 from=<s@far.example> to=<both> user=alice" + end},
		{to: []string{"bob", "sick"}, lmtp: true, want: `level=WARN msg=rejected id=X1 from=<s@far.example> to=<sick> status=4.2.0 user=alice peer=192.0.2.1 error=.*` + "\n" +
			accepted + "to=<bob> size=2 user=alice" + end},
		{to: []string{"sick"}, lmtp: true, want: `level=WARN msg=rejected id=X1 .*` + "\n"},
	} {
		in, _, _ := testIntake(t)
		var log bytes.Buffer
		in.Log = maillog.New(&log, maillog.Options{Now: func() time.Time { return time.Time{} }})
		p := *user
		p.LMTP = c.lmtp
		tx, err := in.Mail(t.Context(), &p, &mail.Envelope{ID: "X1", Sender: mail.Address{Local: "s", Domain: "far.example"}})
		for _, a := range c.to {
			err = cmp.Or(err, tx.Rcpt(t.Context(), mail.Recipient{Address: address(t, a)}))
		}
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(tx, "x\n")
		if c.lmtp {
			tx.(smtp.EachTx).CommitEach()
		} else if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile("^" + c.want + "$").MatchString(log.String()) {
			t.Errorf("%v: logged\n%swant\n%s", c.to, log.String(), c.want)
		}
	}
}
