package delivery

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

const fullAliases = "pair: alice, full\ncrew: full, a@two.example\nonly: full\ntwice: full, box-of-full\nbox-of-full: full+x\n" +
	"club: alice, full\nowner-club: alice\nkept: alice, mover\nmover: \\mover, alice\n"

// A member of an alias whose mailbox is full waits by himself; the others have the message at once.
func TestIntakeFullMember(t *testing.T) {
	for name, c := range map[string]struct {
		to     string
		lmtp   bool
		want   string
		queued string
		copies int // of alice
	}{
		"a pair":             {"pair", false, "2.0.0", "<s@far.example> > full@here.example", 1},
		"a pair by LMTP":     {"pair", true, "2.0.0", "<s@far.example> > pair@here.example", 0},
		"nobody else":        {"only", false, "4.2.2", "", 0},
		"the user":           {"full", false, "4.2.2", "", 0},
		"the same twice":     {"twice", false, "4.2.2", "", 0},
		"others elsewhere":   {"crew", false, "2.0.0", "<s@far.example> > a@two.example full@here.example", 0},
		"an owner":           {"club", false, "2.0.0", "<s@far.example> > club@here.example", 0},
		"no address of his":  {"kept", false, "4.2.2", "", 0},
		"beside the others":  {"pair alice", false, "2.0.0", "<s@far.example> > full@here.example", 1},
		"twice in different": {"pair crew", false, "2.0.0", "<s@far.example> > full@here.example a@two.example full@here.example", 1},
	} {
		in, fsys := fullIntake(t)
		s := &spool{}
		in.Enqueue, in.AnySender = s.enqueue, true
		in.Router.Users, in.Router.Aliases = people{"alice", "full", "mover"}, aliasFile(t, fullAliases)
		room := in.Room
		in.Room = func(path string, size int64) error {
			return room(strings.Replace(path, "/mover", "/full", 1), size)
		}
		if _, err := hand(t, in, stranger, strings.Repeat("x", 60)+"\n", "full"); err != nil {
			t.Fatal(err)
		}
		s.queued = nil
		env := &mail.Envelope{ID: "X2", Sender: address(t, "s@far.example"), Size: 50}
		peer := &smtp.Peer{LMTP: c.lmtp}
		tx, err := in.Mail(t.Context(), peer, env)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range strings.Fields(c.to) {
			r := mail.Recipient{Address: address(t, to+"@here.example")}
			if err = tx.Rcpt(context.Background(), r); mail.StatusOf(err).String() != c.want {
				t.Errorf("%s: RCPT %s: got %v, want %s", name, to, err, c.want)
			}
			if got := in.Stores(peer, env, r); err == nil && got != (c.copies > 0) && to != "crew" {
				t.Errorf("%s: Stores says %v", name, got)
			}
		}
		if err != nil {
			continue
		}
		tx.Write([]byte("hello\n"))
		if err := tx.Commit(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.TrimSuffix(strings.Join(s.queued, "|"), ": hello\n"); got != c.queued {
			t.Errorf("%s: queued %q, want %q", name, got, c.queued)
		}
		if got := messages(t, fsys, "alice"); len(got) != c.copies {
			t.Errorf("%s: alice has %q", name, got)
		}
	}
}

// The queue does the same, for mail that comes another way.
func TestTransportFullMember(t *testing.T) {
	for to, want := range map[string]struct {
		status    string
		submitted submissionLog
		copies    int
	}{
		"pair": {"2.0.0", submissionLog{"<me@x.example> > full@here.example rfc822;pair"}, 1},
		"club": {"2.0.0", submissionLog{"<owner-club@here.example> > full@here.example rfc822;club"}, 1},
		"crew": {"2.0.0", submissionLog{"<me@x.example> > full@here.example rfc822;crew", "<me@x.example> > a@two.example "}, 0},
		"only": {"5.2.3", nil, 0},
	} {
		in, fsys := fullIntake(t)
		in.Router.Aliases = aliasFile(t, fullAliases)
		var submitted submissionLog
		tr := &Transport{Router: in.Router, Local: &Local{Router: in.Router, Open: in.Open}, Submit: submitted.submit, Room: in.Room}
		msg := strings.Repeat("x", 100)
		results := tr.Deliver(t.Context(), envelope(t, "me@x.example", to), strings.NewReader(msg), int64(len(msg)))
		if got := mail.StatusOf(results[0].Err).String(); got != want.status {
			t.Errorf("%s: got %v, want %s", to, results[0].Err, want.status)
		}
		if !slices.Equal(submitted, want.submitted) {
			t.Errorf("%s: submitted %q, want %q", to, submitted, want.submitted)
		}
		if got := messages(t, fsys, "alice"); len(got) != want.copies {
			t.Errorf("%s: alice has %q", to, got)
		}
	}
}

// What a mailbox has no room for shows at the end of DATA if the peer did not say the size: those who have room get the message,
// who has not waits by himself, and only what nobody else gets is put off.
func TestIntakeFullAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		to     string
		want   string
		queued string // recipients, each entry
		copies int    // of alice
		broken bool   // the queue
	}{
		"one of two":            {to: "alice full", want: "2.0.0", queued: "full", copies: 1},
		"whoever comes first":   {to: "full alice", want: "2.0.0", queued: "full", copies: 1},
		"nobody else":           {to: "full", want: "4.2.2"},
		"he by several names":   {to: "full full+x only", want: "4.2.2"},
		"beside other hosts":    {to: "full a@two.example", want: "2.0.0", queued: "a@two.example | full"},
		"both":                  {to: "full a@two.example alice", want: "2.0.0", queued: "a@two.example | full", copies: 1},
		"a subaddress":          {to: "alice full+x", want: "2.0.0", queued: "full+x", copies: 1},
		"a member of an alias":  {to: "pair", want: "2.0.0", queued: "full@here.example", copies: 1},
		"a member, and himself": {to: "pair full", want: "2.0.0", queued: "full@here.example full", copies: 1},
		"a forwarding alias":    {to: "crew", want: "2.0.0", queued: "a@two.example | full@here.example"},
		"no address of his":     {to: "kept", want: "4.2.2"},
		"the queue fails":       {to: "alice full", want: "4.3.0", copies: 1, broken: true},
	} {
		in, fsys := fullIntake(t)
		s := &spool{}
		in.Enqueue, in.AnySender = s.enqueue, true
		in.Router.Users, in.Router.Aliases = people{"alice", "full", "mover"}, aliasFile(t, fullAliases)
		room := in.Room
		in.Room = func(path string, size int64) error {
			if size == 0 { // at RCPT
				return nil
			}
			return room(strings.Replace(path, "/mover", "/full", 1), size)
		}
		if _, err := hand(t, in, stranger, strings.Repeat("x", 60)+"\n", "full"); err != nil {
			t.Fatal(err)
		}
		if c.broken {
			s.fault = mail.Temporaryf(3, 0, "No queue")
		}
		_, err := hand(t, in, user, "hello\n", strings.Fields(c.to)...)
		if got := mail.StatusOf(err).String(); got != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		var queued []string
		for _, q := range s.queued {
			rcpts, text, _ := strings.Cut(strings.TrimPrefix(q, "<s@far.example> > "), ": ")
			if queued = append(queued, rcpts); text != "hello\n" {
				t.Errorf("%s: queued %q", name, q)
			}
		}
		if got := strings.Join(queued, " | "); got != c.queued {
			t.Errorf("%s: queued for %q, want %q", name, got, c.queued)
		}
		if got := messages(t, fsys, "alice"); len(got) != c.copies {
			t.Errorf("%s: alice has %q", name, got)
		}
		if got := messages(t, fsys, "full"); len(got) != 1 {
			t.Errorf("%s: full has %q", name, got)
		}
		for _, user := range []string{"alice", "full"} {
			if left, _ := fsys.ReadDirNames("/mail/" + user + "/tmp"); len(left) > 0 {
				t.Errorf("%s: left in tmp of %s: %q", name, user, left)
			}
		}
	}
}

// A sender who asked for it hears of the copy that was delivered from here, and of the other from the queue.
func TestIntakeFullNotices(t *testing.T) {
	in, _ := fullIntake(t)
	s := &spool{}
	in.Enqueue = s.enqueue
	if _, err := hand(t, in, stranger, strings.Repeat("x", 60)+"\n", "full"); err != nil {
		t.Fatal(err)
	}
	tx, err := in.Mail(t.Context(), stranger, &mail.Envelope{ID: "X1", Sender: address(t, "s@far.example")})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"alice", "full"} {
		if err := tx.Rcpt(t.Context(), mail.Recipient{Address: address(t, to), Notify: mail.NotifySuccess}); err != nil {
			t.Fatal(err)
		}
	}
	tx.Write([]byte("hello\n"))
	if err := tx.Commit(); err != nil || len(s.queued) != 2 {
		t.Fatalf("%v, queued %q", err, s.queued)
	}
	notice := s.queued[1]
	if !strings.Contains(notice, "Final-Recipient: rfc822; alice") || strings.Contains(notice, "Final-Recipient: rfc822; full") {
		t.Errorf("the notice is\n%s", notice)
	}
}

// What a filter makes of a message for mailboxes is not for the queue: who waits there, and who lives elsewhere, gets the text as it
// was, and it is judged when it gets there.
func TestIntakeLater(t *testing.T) {
	in, fsys := fullIntake(t)
	s := &spool{}
	in.Enqueue, in.AnySender = s.enqueue, true
	in.Router.Aliases = aliasFile(t, "mixed: alice, a@two.example\n")
	if _, err := hand(t, in, stranger, strings.Repeat("x", 60)+"\n", "full"); err != nil {
		t.Fatal(err)
	}
	tx, err := in.Mail(t.Context(), stranger, &mail.Envelope{ID: "X1", Sender: address(t, "s@far.example")})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"mixed", "full"} {
		if err := tx.Rcpt(t.Context(), mail.Recipient{Address: address(t, to)}); err != nil {
			t.Fatal(err)
		}
	}
	const before = "as it was\n"
	tx.(interface{ Later(io.ReaderAt, int64) }).Later(strings.NewReader(before), int64(len(before)))
	io.WriteString(tx, "as it ")
	io.WriteString(tx, "is\n")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	want := []string{"<s@far.example> > a@two.example: " + before, "<s@far.example> > full: " + before}
	if !slices.Equal(s.queued, want) {
		t.Errorf("queued %q, want %q", s.queued, want)
	}
	if got := messages(t, fsys, "alice"); len(got) != 1 || !strings.HasSuffix(got[0], ">\nas it is\n") {
		t.Errorf("alice has %q", got)
	}
}

// Whatever fails, and wherever the power goes: nobody is told that all is well before both have it, and nothing is half made.
func TestIntakeFullCrash(t *testing.T) {
	base := vfs.NewMem()
	base.Mkdir("/mail")
	for _, name := range []string{"alice", "full"} {
		if _, err := maildir.Create(base, "/mail/"+name); err != nil {
			t.Fatal(err)
		}
	}
	base.SyncAll()
	router := testRouter(t)
	router.Users = people{"alice", "full"}
	var s *spool
	op := func(fsys vfs.FS) error {
		s = &spool{}
		in := &Intake{Router: router, Open: func(path string) (*maildir.Dir, error) { return maildir.Open(fsys, path) }, Enqueue: s.enqueue}
		in.Room = func(path string, size int64) error {
			if size > 0 && path == "/mail/full" {
				return mail.Temporaryf(2, 2, "Mailbox full")
			}
			return nil
		}
		_, err := hand(t, in, stranger, "hello\n", "full", "alice")
		return err
	}
	for trial := range vfs.Trials(base, op) {
		got := messages(t, trial.Mem, "alice")
		if trial.Err == nil && (len(got) != 1 || len(s.queued) != 1) || len(got) > 1 {
			t.Fatalf("%s: %v, alice has %q, queued %q", trial.What, trial.Err, got, s.queued)
		}
		for _, m := range got {
			if m != "Return-Path: <s@far.example>\nhello\n" {
				t.Fatalf("%s: alice has part of a message: %q", trial.What, m)
			}
		}
		if got := messages(t, trial.Mem, "full"); len(got) > 0 {
			t.Fatalf("%s: full has %q", trial.What, got)
		}
	}
}
