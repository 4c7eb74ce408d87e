package delivery

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// testLocal has mailboxes in memory; the one of "sick" can't be opened.
func testLocal(t testing.TB, router *Router) (*Local, vfs.FS) {
	t.Helper()
	mem := vfs.NewMem()
	if err := mem.Mkdir("/mail"); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return &Local{Router: router, Open: func(path string) (*maildir.Dir, error) {
		if filepath.Base(path) == "sick" {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
		}
		return maildir.Create(mem, path)
	}}, mem
}

// messages gives the texts in new/ of a user.
func messages(t testing.TB, fsys vfs.FS, user string) (texts []string) {
	t.Helper()
	dir := "/mail/" + user + "/new/"
	names, err := fsys.ReadDirNames(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		b, err := vfs.ReadFile(fsys, dir+name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	return texts
}

func testRouter(t testing.TB) *Router {
	return &Router{
		Domains: []string{"here.example"},
		Root:    "/mail",
		Users:   people{"alice", "bob", "sick"},
		Aliases: aliasFile(t, "root: alice\nboth: alice, bob\nforward: a@two.example\nmixed: alice, no@two.example\n"+
			"ill: alice, sick, b@two.example\nmany: alice, b@two.example, gone\ntwin: a@two.example\npartly: later@two.example, a@two.example\n"),
	}
}

func TestLocal(t *testing.T) {
	l, mem := testLocal(t, testRouter(t))
	env := envelope(t, "me@x.example", "alice@here.example", "BOB+detail", "nobody@here.example", "sick", "both", "root",
		"x@two.example", "postmaster@here.example")
	if got, want := deliver(t, l, env), "2.0.0 2.0.0 5.1.1 4.2.0 2.0.0 2.0.0 4.3.5 2.0.0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, user := range []string{"alice", "bob"} {
		if got, want := messages(t, mem, user), []string{"Return-Path: <me@x.example>\n" + text}; !slices.Equal(got,
			want) {
			t.Errorf("%s: got %q, want %q", user, got, want)
		}
	}
	a, _ := mem.ReadDirNames("/mail/alice/new")
	b, _ := mem.ReadDirNames("/mail/bob/new")
	ai, _ := mem.Lstat("/mail/alice/new/" + a[0])
	bi, err := mem.Lstat("/mail/bob/new/" + b[0])
	if err != nil || !vfs.SameFile(ai, bi) {
		t.Errorf("the mailboxes have files of their own: %v", err)
	}
}

func TestLocalWithoutHeader(t *testing.T) {
	l, mem := testLocal(t, testRouter(t))
	body := "Do you like ketchup?\n"
	results := l.Deliver(t.Context(), envelope(t, "", "alice"), strings.NewReader(body), int64(len(body)))
	if results[0].Err != nil || results[0].Relayed {
		t.Errorf("got %+v", results[0])
	}
	if got, want := messages(t, mem, "alice"), []string{"Return-Path: <>\n\n" + body}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A mailbox that breaks when the message is there already keeps nobody else waiting, and nobody gets two copies.
func TestLocalOneBroken(t *testing.T) {
	l, mem := testLocal(t, testRouter(t))
	open := l.Open
	l.Open = func(path string) (*maildir.Dir, error) {
		d, err := open(path)
		if err == nil && filepath.Base(path) == "bob" {
			err = mem.Remove(path + "/new")
		}
		return d, err
	}
	if got := deliver(t, l, envelope(t, "", "alice", "bob", "both", "root",
		"postmaster")); got != "2.0.0 4.3.0 4.3.0 2.0.0 2.0.0" {
		t.Errorf("got %s", got)
	}
	if got := messages(t, mem, "alice"); len(got) != 1 {
		t.Errorf("alice has %d messages, want 1", len(got))
	}
}

// failingReader is a message that can't be read to its end.
type failingReader struct{}

func (failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 {
		return copy(p, "Subject: x\n"), errors.New("bad disk")
	}
	return 0, errors.New("bad disk")
}

func TestLocalTrouble(t *testing.T) {
	l, mem := testLocal(t, testRouter(t))
	results := l.Deliver(t.Context(), envelope(t, "", "alice", "bob"), failingReader{}, 1000)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	results = append(results, l.Deliver(ended, envelope(t, "", "alice", "bob"), strings.NewReader(text),
		int64(len(text)))...)
	for _, r := range results {
		if !mail.StatusOf(r.Err).IsTemporary() {
			t.Errorf("%s: got %v, want temporary", r.Address, r.Err)
		}
	}
	if got := append(messages(t, mem, "alice"), messages(t, mem, "bob")...); len(got) > 0 {
		t.Errorf("delivered %q", got)
	}
	if left, _ := mem.ReadDirNames("/mail/alice/tmp"); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestTransport(t *testing.T) {
	h := startHost(t, nil)
	router := testRouter(t)
	l, mem := testLocal(t, router)
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	r.Via = router.Via
	var submitted, skipped []string
	var full error
	tr := &Transport{Router: router, Local: l, Relay: r.Relay,
		Submit: func(_ context.Context, env *mail.Envelope, msg io.Reader) error {
			b, _ := io.ReadAll(msg)
			for _, rcpt := range env.Rcpts {
				submitted = append(submitted, env.Sender.String()+" "+rcpt.String()+" "+string(b))
			}
			return full
		},
		Skipped: func(_ *mail.Envelope, r mail.Recipient, _ error) { skipped = append(skipped, r.String()) },
	}
	env := envelope(t, "me@x.example", "alice", "forward", "twin", "nobody", "c@two.example", "no@two.example", "many")
	if got, want := deliver(t, tr, env), "2.0.0 2.0.0 2.0.0 5.1.1 2.0.0 5.1.1 2.0.0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := h.got(), "me@x.example a@two.example,c@two.example "+strings.ReplaceAll(text, "\n",
		"\r\n"); len(got) != 1 || got[0] != want {
		t.Errorf("relayed %q, want %q", got, want)
	}
	if want := []string{"me@x.example b@two.example " + text}; !slices.Equal(submitted, want) {
		t.Errorf("submitted %q, want %q", submitted, want)
	}
	if !slices.Equal(skipped, []string{"many"}) {
		t.Errorf("skipped %q", skipped)
	}
	if got := messages(t, mem, "alice"); len(got) != 1 {
		t.Errorf("alice has %d messages, want 1", len(got))
	}
	submitted = nil
	if got := deliver(t, tr, envelope(t, "", "ill")); got != "4.2.0" || len(submitted) > 0 || len(messages(t, mem,
		"alice")) != 1 {
		t.Errorf("a member in trouble: got %s, and others have the message already: %q", got, submitted)
	}
	full = errors.New("no space")
	if got := deliver(t, tr, envelope(t, "", "many")); got != "4.0.0" {
		t.Errorf("full queue: got %s, want 4.0.0", got)
	}
}

// Without Submit all members are tried at once, and the worst fate is the alias's.
func TestTransportWithoutSubmit(t *testing.T) {
	h := startHost(t, nil)
	router := testRouter(t)
	l, _ := testLocal(t, router)
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	tr := &Transport{Router: router, Local: l, Relay: r.Relay}
	if got, want := deliver(t, tr, envelope(t, "", "many", "mixed", "partly")), "2.0.0 5.1.1 4.2.1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTransportResult(t *testing.T) {
	h := startHost(t, nil)
	router := testRouter(t)
	l, _ := testLocal(t, router)
	tr := &Transport{Router: router, Local: l, Relay: testRelay(t, map[string]string{"127.0.0.12:25": h.addr}).Relay}
	env := envelope(t, "", "forward", "alice")
	env.Rcpts[0].Orig = "rfc822;x@y"
	results := tr.Deliver(t.Context(), env, strings.NewReader(text), int64(len(text)))
	if r := results[0]; r.Recipient != env.Rcpts[0] || !r.Relayed || r.RemoteMTA != "mx2.example" ||
		!strings.HasPrefix(r.Reply, "250 ") {
		t.Errorf("forwarded: %+v", r)
	}
	if r := results[1]; r.Recipient != env.Rcpts[1] || r.Relayed || r.RemoteMTA != "" {
		t.Errorf("local: %+v", r)
	}
}

// The Return-Path is the sender's, whatever the message says (RFC 5321 §4.4).
func TestLocalReturnPath(t *testing.T) {
	l, mem := testLocal(t, testRouter(t))
	const forged = "Return-Path: <evil@x.example>\nSubject: x\n\nReturn-Path: <body>\n"
	results := l.Deliver(t.Context(), envelope(t, "me@x.example", "alice"), strings.NewReader(forged), int64(len(forged)))
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	if got, want := messages(t, mem, "alice"), []string{"Return-Path: <me@x.example>\nSubject: x\n\nReturn-Path: <body>\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
