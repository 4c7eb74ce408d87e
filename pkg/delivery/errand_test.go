package delivery

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

// aliasRouter has an alias of every kind; mailboxes are in memory, "/file" too.
func aliasRouter(t testing.TB, out string) *Router {
	return &Router{Domains: []string{"here.example"}, Root: "/mail", Users: people{"alice", "bob", "full"},
		Aliases: aliasFile(t, "pipe: \"|sh -c 'cat >"+out+"'\"\nrefuse: |sh -c 'exit 69'\nlater: |sh -c 'exit 75'\nfile: /mail/file\n"+
			"box: /mail/.box/\ndrop: /dev/null\nmany: alice, /mail/file, /dev/null, |sh -c 'exit 67', a@two.example\n"+
			"crew: alice, /mail/file, a@two.example\nowner-crew: bob\none: c@two.example\nowner-one: bob\n")}
}

type submissionLog []string

func (s *submissionLog) submit(_ context.Context, env *mail.Envelope, msg io.Reader) error {
	for _, r := range env.Rcpts {
		name, _, _ := strings.Cut(r.String(), "|")
		*s = append(*s, fmt.Sprintf("%s > %s %s", env.Sender.Path(), name, r.Orig))
	}
	return nil
}

func TestTransportAliases(t *testing.T) {
	commands, dir := asNobody(t)
	out := filepath.Join(dir, "out")
	router := aliasRouter(t, out)
	l, mem := testLocal(t, router)
	var submitted submissionLog
	tr := &Transport{Router: router, Local: l, Relay: testRelay(t, nil).Relay, Submit: submitted.submit, Commands: commands, Files: testFiles(mem)}
	env := envelope(t, "me@x.example", "pipe", "refuse", "later", "file", "box", "drop", "many", "crew", "one")
	if got, want := deliver(t, tr, env), "2.0.0 5.3.0 4.3.0 2.0.0 2.0.0 2.0.0 2.0.0 2.0.0 2.0.0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if b, err := os.ReadFile(out); err != nil || !strings.HasSuffix(string(b), "\nReturn-Path: <me@x.example>\n"+text) {
		t.Errorf("the command got %q %v", b, err)
	}
	if b, err := vfs.ReadFile(mem, "/mail/file", 1<<20); err != nil || strings.Count(string(b), "\nReturn-Path: <me@x.example>\n") != 1 {
		t.Errorf("the file has %q %v", b, err)
	}
	if got := messages(t, mem, ".box"); len(got) != 1 {
		t.Errorf("the Maildir has %q", got)
	}
	slices.Sort(submitted)
	want := submissionLog{"<me@x.example> > a@two.example ", "<me@x.example> > many rfc822;many", "<me@x.example> > many rfc822;many",
		"<owner-crew@here.example> > a@two.example ", "<owner-crew@here.example> > crew rfc822;crew", "<owner-one@here.example> > c@two.example "}
	if !slices.Equal(submitted, want) {
		t.Errorf("submitted\n%s\nwant\n%s", strings.Join(submitted, "\n"), strings.Join(want, "\n"))
	}
	got := messages(t, mem, "alice")
	slices.Sort(got)
	if want := []string{"Return-Path: <me@x.example>\n" + text, "Return-Path: <owner-crew@here.example>\n" + text}; !slices.Equal(got, want) {
		t.Errorf("alice has %q", got)
	}
	submitted = nil
	if got := deliver(t, tr, envelope(t, "", "one")); got == "2.0.0" && len(submitted) > 0 {
		t.Errorf("the null sender was changed: %q", submitted)
	}
	tr.Commands, tr.Files = nil, nil
	if got := deliver(t, tr, envelope(t, "me@x.example", "pipe", "file")); got != "4.3.5 4.3.5" {
		t.Errorf("without carriers: got %s", got)
	}
}

// The queue gets what a server does not do at the moment of DATA, each by an address of its own.
func TestIntakeAliases(t *testing.T) {
	router := aliasRouter(t, "/nowhere")
	local, fsys := testLocal(t, router)
	s := &spool{}
	in := &Intake{Router: router, Open: local.Open, Enqueue: s.enqueue}
	give := func(to ...string) string {
		t.Helper()
		s.queued = nil
		verdicts, err := hand(t, in, stranger, "x\n", to...)
		if err != nil || strings.Join(verdicts, "") != "" {
			t.Fatal(to, verdicts, err)
		}
		return strings.Join(s.queued, "; ")
	}
	for to, want := range map[string]string{"drop": "", "box": "", "pipe": "pipe|", "file": "file|", "one": "one:", "crew": "crew:"} {
		got := give(to)
		if want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "> a@two") {
			t.Errorf("%s: queued %q, want %q", to, got, want)
		}
	}
	if got := messages(t, fsys, "alice"); len(got) != 0 {
		t.Errorf("crew has an owner, and alice got it from the stranger: %q", got)
	}
	if got := give("many"); strings.Count(got, "many|") != 2 || !strings.Contains(got, "a@two.example") || len(messages(t, fsys, "alice")) != 1 {
		t.Errorf("many: queued %q", got)
	}
	in.Enqueue = nil
	if verdicts, _ := hand(t, in, stranger, "", "pipe"); verdicts[0] != "5.7.1" {
		t.Errorf("without a queue: %v", verdicts)
	}
}

// fullIntake has a quota of 100 octets for the user full.
func fullIntake(t *testing.T) (*Intake, vfs.FS) {
	local, fsys := testLocal(t, aliasRouter(t, "/nowhere"))
	dirs := map[string]*maildir.Dir{}
	open := func(path string) (*maildir.Dir, error) {
		if dirs[path] != nil {
			return dirs[path], nil
		}
		d, err := local.Open(path)
		if err == nil && filepath.Base(path) == "full" {
			d.Quota = func() maildir.Quota { return maildir.Quota{Size: 100} }
		}
		dirs[path] = d
		return d, err
	}
	in := &Intake{Router: local.Router, Open: open}
	in.Room = func(path string, size int64) error {
		d, err := open(path)
		if err != nil {
			return err
		}
		return d.Room(size)
	}
	return in, fsys
}

func TestIntakeQuota(t *testing.T) {
	in, fsys := fullIntake(t)
	rcpt := func(size int64) string {
		tx, err := in.Mail(t.Context(), stranger, &mail.Envelope{Sender: mail.Address{Local: "s", Domain: "far.example"}, Size: size})
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Abort()
		return mail.StatusOf(tx.Rcpt(t.Context(), mail.Recipient{Address: address(t, "full")})).String()
	}
	if got := rcpt(0) + rcpt(100) + rcpt(101); got != "2.0.02.0.05.2.3" {
		t.Errorf("an empty mailbox: got %s", got)
	}
	long := strings.Repeat("x", 49) + "\n" // and its Return-Path is 30 octets
	for i, want := range []string{"2.0.0", "4.2.2"} {
		if _, err := hand(t, in, stranger, long, "full"); mail.StatusOf(err).String() != want {
			t.Errorf("message %d: got %v, want %s", i+1, err, want)
		}
	}
	if got := rcpt(50); got != "4.2.2" {
		t.Errorf("announced: got %s", got)
	}
	if _, err := hand(t, in, stranger, long, "alice", "full"); mail.StatusOf(err).String() != "4.2.2" || len(messages(t, fsys, "alice")) != 0 {
		t.Errorf("together with others, without a queue: %v", err)
	}
	if got := messages(t, fsys, "full"); len(got) != 1 {
		t.Errorf("full has %q", got)
	}
}

// By LMTP only the one who is full hears of it, whoever comes first.
func TestIntakeQuotaLMTP(t *testing.T) {
	for _, to := range [][]string{{"full", "alice"}, {"alice", "full"}, {"full"}} {
		in, fsys := fullIntake(t)
		peer := &smtp.Peer{LMTP: true}
		tx, err := in.Mail(t.Context(), peer, &mail.Envelope{Sender: mail.Address{Local: "s", Domain: "far.example"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range to {
			if err := tx.Rcpt(t.Context(), mail.Recipient{Address: address(t, name)}); err != nil {
				t.Fatal(err)
			}
		}
		io.WriteString(tx, strings.Repeat("x", 99)+"\n")
		var got []string
		for _, err := range tx.(smtp.EachTx).CommitEach() {
			got = append(got, mail.StatusOf(err).String())
		}
		want := map[string]string{"full": "5.2.3", "alice": "2.0.0"}
		for i, name := range to {
			if got[i] != want[name] {
				t.Errorf("%v: got %v", to, got)
			}
		}
		if n := len(messages(t, fsys, "full")); n != 0 {
			t.Errorf("%v: full has %d messages", to, n)
		}
		if n := len(messages(t, fsys, "alice")); n != len(to)-1 {
			t.Errorf("%v: alice has %d messages", to, n)
		}
		if left, _ := fsys.ReadDirNames("/mail/full/tmp"); len(left) > 0 {
			t.Errorf("%v: left in tmp: %q", to, left)
		}
	}
}

// From the queue one who is full waits, and the others have the message.
func TestLocalQuota(t *testing.T) {
	in, fsys := fullIntake(t)
	l := &Local{Router: in.Router, Open: in.Open}
	results := l.Deliver(t.Context(), envelope(t, "", "alice", "full"), strings.NewReader(strings.Repeat("x", 100)), 100)
	if got := mail.StatusOf(results[0].Err).String() + " " + mail.StatusOf(results[1].Err).String(); got != "2.0.0 5.2.3" {
		t.Errorf("got %s", got)
	}
	if len(messages(t, fsys, "alice")) != 1 || len(messages(t, fsys, "full")) != 0 {
		t.Error("the wrong ones have it")
	}
}
