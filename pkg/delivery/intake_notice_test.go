package delivery

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

// ask hands a message from sender over, with NOTIFY=SUCCESS for every recipient.
func ask(t testing.TB, in *Intake, sender string, notify mail.Notify, to ...string) error {
	t.Helper()
	env := &mail.Envelope{ID: "X1", EnvID: "QQ1", RequireTLS: true}
	if sender != "" {
		env.Sender = address(t, sender)
	}
	tx, err := in.Mail(context.Background(), user, env)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range to {
		r := mail.Recipient{Address: address(t, a), Notify: notify, Orig: "rfc822;orig@x.example"}
		if err := tx.Rcpt(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []byte("Subject: about this\nX-Y: z\n\nketchup\n") {
		if _, err := tx.Write([]byte{b}); err != nil {
			tx.Abort()
			return err
		}
	}
	return tx.Commit()
}

// outcomes gives "action recipient" for each outcome of the notices in the queue, and "> rcpt notify" for other messages.
func outcomes(queued []string) (list []string) {
	for _, q := range queued {
		action, final := "", ""
		for line := range strings.Lines(q) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch name {
			case "Final-Recipient":
				final = strings.TrimPrefix(value, "rfc822; ")
			case "Action":
				action = value
				list = append(list, action+" "+final)
			}
		}
	}
	return list
}

func TestIntakeTellsOfSuccess(t *testing.T) {
	const all = mail.NotifySuccess | mail.NotifyFailure
	for name, c := range map[string]struct {
		sender string
		notify mail.Notify
		to     []string
		want   []string // of the notice
		away   []string // what the members are asked for
	}{
		"delivered":           {"s@far.example", all, []string{"alice@here.example", "bob@here.example"}, []string{"delivered alice@here.example", "delivered bob@here.example"}, nil},
		"not asked for":       {"s@far.example", mail.NotifyFailure, []string{"alice@here.example"}, nil, nil},
		"never":               {"s@far.example", mail.NotifyNever, []string{"alice@here.example"}, nil, nil},
		"notice":              {"", all, []string{"alice@here.example"}, nil, nil},
		"members all here":    {"s@far.example", all, []string{"both@here.example"}, []string{"delivered both@here.example"}, nil},
		"members here, there": {"s@far.example", all, []string{"mixed@here.example"}, []string{"expanded mixed@here.example"}, []string{"no@two.example failure"}},
		"only success":        {"s@far.example", mail.NotifySuccess, []string{"mixed@here.example"}, []string{"expanded mixed@here.example"}, []string{"no@two.example never"}},
		"members there":       {"s@far.example", all, []string{"partly@here.example"}, []string{"expanded partly@here.example"}, []string{"later@two.example failure", "a@two.example failure"}},
		"one member there":    {"s@far.example", all, []string{"forward@here.example"}, nil, []string{"a@two.example success,failure"}},
		"elsewhere":           {"s@far.example", all, []string{"x@far.example", "alice@here.example"}, []string{"delivered alice@here.example"}, []string{"x@far.example success,failure"}},
	} {
		in, s, fsys := testIntake(t)
		in.Hostname = "mx.here.example"
		var away []string
		var notice *mail.Envelope
		in.Enqueue = func(env *mail.Envelope) (Spooled, error) {
			if env.Sender.IsNull() && c.sender != "" {
				notice = env
				return s.enqueue(env)
			}
			for _, r := range env.Rcpts {
				if r.Orig != "rfc822;orig@x.example" {
					t.Errorf("%s: ORCPT %q", name, r.Orig)
				}
				away = append(away, r.Address.String()+" "+strings.ToLower(smtp.FormatNotify(r.Notify)))
			}
			return &spooled{s: &spool{}, env: env}, nil
		}
		if err := ask(t, in, c.sender, c.notify, c.to...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := outcomes(s.queued); !slices.Equal(got, c.want) {
			t.Errorf("%s: notices say %q, want %q:\n%s", name, got, c.want, s.queued)
		}
		if !slices.Equal(away, c.away) {
			t.Errorf("%s: queued for %q, want %q", name, away, c.away)
		}
		if c.want == nil {
			continue
		}
		for _, part := range []string{"Subject: about this\nX-Y: z\n", "Original-Envelope-Id: QQ1", "Original-Recipient: rfc822; orig@x.example",
			"Reporting-MTA: dns; mx.here.example", "<> > s@far.example: "} {
			if len(s.queued) != 1 || !strings.Contains(s.queued[0], part) {
				t.Errorf("%s: %d notices; want one with %q:\n%s", name, len(s.queued), part, s.queued)
			}
		}
		if !notice.RequireTLS || notice.Rcpts[0].Notify != mail.NotifyNever || strings.Contains(s.queued[0], "ketchup") {
			t.Errorf("%s: notice %+v:\n%s", name, notice, s.queued)
		}
		_ = fsys
	}
}

// A notice that can't be queued keeps the message from being taken; one that can't be committed afterwards does not.
func TestIntakeNoticeTrouble(t *testing.T) {
	in, s, fsys := testIntake(t)
	in.Enqueue = func(*mail.Envelope) (Spooled, error) {
		return nil, mail.Temporaryf(3, 1, "Insufficient system storage")
	}
	if err := ask(t, in, "s@far.example", mail.NotifySuccess, "alice@here.example"); mail.StatusOf(err).String() != "4.3.1" || len(messages(t, fsys, "alice")) > 0 {
		t.Errorf("no room for the notice: got %v, and alice has %q", err, messages(t, fsys, "alice"))
	}
	in.Enqueue = func(*mail.Envelope) (Spooled, error) { return nil, mail.Permanentf(1, 7, "No such sender can be") }
	if err := ask(t, in, "s@far.example", mail.NotifySuccess, "alice@here.example"); err != nil || len(messages(t, fsys, "alice")) != 1 {
		t.Errorf("a notice that can never be: got %v, and alice has %q", err, messages(t, fsys, "alice"))
	}
	in.Enqueue, s.fault = s.enqueue, syscall.EIO
	if err := ask(t, in, "s@far.example", mail.NotifySuccess, "alice@here.example"); err != nil || len(messages(t, fsys, "alice")) != 2 {
		t.Errorf("notice not committed: got %v, and alice has %q", err, messages(t, fsys, "alice"))
	}
}

// LMTP: the notice is of those who got the message.
func TestIntakeEachTellsOfSuccess(t *testing.T) {
	for name, c := range map[string]struct {
		fault error
		want  []string
	}{
		"all well":          {nil, []string{"delivered alice@here.example", "expanded partly@here.example"}},
		"the queue refuses": {syscall.EIO, []string{"delivered alice@here.example"}},
	} {
		in, s, _ := testIntake(t)
		in.Enqueue = func(env *mail.Envelope) (Spooled, error) {
			if env.Sender.IsNull() {
				return s.enqueue(env)
			}
			return &spooled{s: &spool{fault: c.fault}, env: env}, nil
		}
		tx, err := in.Mail(context.Background(), &smtp.Peer{User: "alice", LMTP: true}, &mail.Envelope{Sender: address(t, "s@far.example")})
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"alice@here.example", "sick@here.example", "partly@here.example"} {
			tx.Rcpt(context.Background(), mail.Recipient{Address: address(t, to), Notify: mail.NotifySuccess})
		}
		tx.Write([]byte("Subject: x\n\nhello\n"))
		tx.(smtp.EachTx).CommitEach()
		if got := outcomes(s.queued); !slices.Equal(got, c.want) {
			t.Errorf("%s: notices say %q, want %q", name, got, c.want)
		}
	}
}

// The header that a notice gives back is what was there, however much of it.
func TestKeepHead(t *testing.T) {
	for in, want := range map[string]int{
		"":                              0,
		"a: b\n\nc":                     6,
		"a: b\nc: d\n":                  10,
		strings.Repeat("a: b\n", 20000): maxHead,
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			tx := &intakeTx{notes: true}
			for rest := in; rest != ""; rest = rest[min(step, len(rest)):] {
				tx.keepHead([]byte(rest[:min(step, len(rest))]))
			}
			if len(tx.head) != want || !strings.HasPrefix(in, string(tx.head)) {
				t.Errorf("%.20q in steps of %d: kept %d octets, want %d", in, step, len(tx.head), want)
			}
		}
	}
}

// watched keeps the error of Commit.
type watched struct {
	Spooled
	err *error
}

func (w watched) Commit() error {
	*w.err = w.Spooled.Commit()
	return *w.err
}

// Every call fails once, fails for ever, or is the last one before the power goes.
func TestCrashIntakeNotice(t *testing.T) {
	base := vfs.NewMem()
	if err := base.Mkdir("/mail"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/mail/alice", "/mail/queue"} {
		if _, err := maildir.Create(base, dir); err != nil {
			t.Fatal(err)
		}
	}
	base.SyncAll()
	router := testRouter(t)
	var committed error // of the notice: what is swallowed because the power is gone was never said
	op := func(fsys vfs.FS) error {
		open := func(path string) (*maildir.Dir, error) { return maildir.Create(fsys, path) }
		in := &Intake{Router: router, Open: open, AnySender: true, Enqueue: func(*mail.Envelope) (Spooled, error) {
			d, err := open("/mail/queue")
			if err != nil {
				return nil, err
			}
			w, err := d.Deliver()
			if err != nil {
				return nil, err
			}
			return watched{w, &committed}, nil
		}}
		return ask(t, in, "s@far.example", mail.NotifySuccess, "alice@here.example")
	}
	n := 0
	for trial := range vfs.Trials(base, op) {
		n++
		got, told := len(messages(t, trial.Mem, "alice")), len(messages(t, trial.Mem, "queue"))
		isLost := errors.Is(trial.Err, vfs.ErrCrashed)
		switch {
		case trial.Err == nil && got != 1:
			t.Errorf("%s\n250 was said, and there are %d messages", trial, got)
		case trial.Err == nil && committed == nil && told != 1:
			t.Errorf("%s\n250 was said, and there are %d notices", trial, told)
		case told > 1 || got > 1 || told > got:
			t.Errorf("%s\n%d messages, %d notices", trial, got, told)
		case trial.Err != nil && !isLost && !trial.Lasting && !trial.Crashed && (got > 0 || told > 0):
			t.Errorf("%s\nrefused, and there are %d messages and %d notices", trial, got, told)
		}
		if open := trial.Mem.OpenFiles(); len(open) > 0 {
			t.Errorf("%s\nfiles left open: %q", trial, open)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	if n < 100 {
		t.Errorf("only %d trials", n)
	}
}

// What its sender wants held waits in the queue, whoever it is for.
func TestIntakeHolds(t *testing.T) {
	for name, c := range map[string]struct {
		until time.Time
		held  bool
	}{"later": {time.Now().Add(time.Hour), true}, "already": {time.Now().Add(-time.Hour), false}, "at once": {}} {
		in, s, fsys := testIntake(t)
		tx, err := in.Mail(context.Background(), user, &mail.Envelope{Sender: address(t, "s@far.example"), HoldUntil: c.until})
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"alice@here.example", "both@here.example", "nobody@here.example"} {
			err := tx.Rcpt(context.Background(), mail.Recipient{Address: address(t, to), Notify: mail.NotifySuccess})
			if (err != nil) != strings.HasPrefix(to, "nobody") {
				t.Errorf("%s: %s: %v", name, to, err)
			}
		}
		tx.Write([]byte("hello\n"))
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if got := messages(t, fsys, "alice"); (len(got) == 0) != c.held {
			t.Errorf("%s: alice has %q", name, got)
		}
		want := "<s@far.example> > alice@here.example both@here.example: hello\n"
		if c.held && !slices.Equal(s.queued, []string{want}) || !c.held && len(outcomes(s.queued)) != 2 {
			t.Errorf("%s: queued %q", name, s.queued)
		}
	}
	in, _, _ := testIntake(t)
	in.Enqueue = nil
	tx, _ := in.Mail(context.Background(), user, &mail.Envelope{HoldUntil: time.Now().Add(time.Hour)})
	if err := tx.Rcpt(context.Background(), mail.Recipient{Address: address(t, "alice@here.example")}); !errors.Is(err, errNoQueue) {
		t.Errorf("without a queue: %v", err)
	}
}

// At LMTP each recipient has a fate of its own, and so has what the sender is told of it.
func TestIntakeTellsOfWhoSucceeded(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(tx *intakeTx)
		want  []string
	}{
		"nothing wrong": {func(*intakeTx) {}, []string{"delivered alice@here.example", "expanded partly@here.example"}},
		"no mailboxes":  {func(tx *intakeTx) { tx.local.Abort() }, []string{"expanded partly@here.example"}},
		"no queue":      {func(tx *intakeTx) { tx.queued = &spooled{s: &spool{fault: syscall.EIO}, env: tx.env} }, []string{"delivered alice@here.example"}},
		"neither": {func(tx *intakeTx) {
			tx.local.Abort()
			tx.queued = &spooled{s: &spool{fault: syscall.EIO}, env: tx.env}
		}, nil},
	} {
		in, s, _ := testIntake(t)
		tx, err := in.Mail(context.Background(), &smtp.Peer{User: "alice", LMTP: true}, &mail.Envelope{ID: "X1", Sender: address(t, "s@far.example")})
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"alice@here.example", "partly@here.example"} {
			if err := tx.Rcpt(context.Background(), mail.Recipient{Address: address(t, to), Notify: mail.NotifySuccess}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tx.Write([]byte("Subject: x\n\nhello\n")); err != nil {
			t.Fatal(err)
		}
		c.spoil(tx.(*intakeTx))
		tx.(smtp.EachTx).CommitEach()
		if got := outcomes(s.queued); !slices.Equal(got, c.want) {
			t.Errorf("%s: notices say %q, want %q", name, got, c.want)
		}
	}
}
