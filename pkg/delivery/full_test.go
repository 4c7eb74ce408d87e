package delivery

import (
	"context"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
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
