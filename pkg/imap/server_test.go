package imap

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

const userFile = "alice:{PLAIN}open sesame\nbob:{PLAIN}hungry\n"

const multipart = "From: Al <al@x.example>\nTo: bob@y.example\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n" +
	"Date: Mon, 2 Feb 2026 10:00:00 +0000\nMessage-ID: <1@x>\nContent-Type: multipart/mixed; boundary=b\n\n" +
	"--b\nContent-Type: text/plain; charset=utf-8\n\nFirst part\nT\u00fcr\n--b\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner text\n" +
	"--b\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment\n\nQUJD\n--b--\n"

// The mail of alice, and when it came.
func aliceMail() map[string]string {
	return map[string]string{
		"new/1700000001.M1P1.host,S=31,W=36":      "Subject: one\n\nHello\n.dot\n..two\n",
		"cur/1700000002.M2P1.host:2,S":            multipart,
		"cur/1700000003.M3P1.host,S=15,W=16:2,FT": "Subject: three\n",
	}
}

func testSpool(t testing.TB) *vfs.Mem {
	t.Helper()
	fsys := vfs.NewMem()
	must(t, vfs.WriteFile(fsys, "/users", "x", []byte(userFile)))
	for _, sub := range []string{"new", "cur", "tmp"} {
		must(t, vfs.MkdirAll(fsys, "/mail/alice/"+sub))
	}
	for name, text := range aliceMail() {
		f, err := fsys.Create("/mail/alice/" + name)
		must(t, err)
		_, err = f.Write([]byte(text))
		must(t, err)
		must(t, f.Close())
		must(t, fsys.Chtimes("/mail/alice/"+name, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)))
	}
	fsys.SyncAll()
	return fsys
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testServer(fsys vfs.FS) *Server {
	return &Server{
		Hostname: "imap.example",
		Auth:     auth.NewUsers(fsys, "/users"),
		Store: func(_ context.Context, u auth.User) (*mailbox.Store, error) {
			return mailbox.OpenStore(fsys, "/mail/"+u.Name)
		},
		MaxSize: 10_000,
		Poll:    time.Millisecond,
	}
}

// fullStore opens mailboxes that hold as many messages as alice has.
func fullStore(fsys vfs.FS) func(context.Context, auth.User) (*mailbox.Store, error) {
	return func(_ context.Context, u auth.User) (*mailbox.Store, error) {
		inbox, err := maildir.Open(fsys, "/mail/"+u.Name)
		if err != nil {
			return nil, err
		}
		inbox.Quota = func() maildir.Quota { return maildir.Quota{Count: int64(len(aliceMail()))} }
		return mailbox.NewStore(fsys, inbox), nil
	}
}

// serve accepts on a loopback port until the test ends, with the server that get gives at that moment.
func serve(t testing.TB, get func() *Server) mailtest.Dialer {
	t.Helper()
	l := mailtest.Listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			srv := get()
			wg.Go(func() { srv.ServeConn(ctx, nc) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	return mailtest.DialTCP(l.Addr().String())
}

// TestTranscripts runs every dialog against a server with a fresh spool. Files named remote-... have a server that
// takes nobody for local, those named full-... one whose mailboxes have no room for another message.
func TestTranscripts(t *testing.T) {
	mailtest.CheckLeaks(t)
	ca := mailtest.NewCA(t)
	cfg := ca.ServerConfig("imap.example")
	paths, _ := filepath.Glob("../../testdata/dialogs/imap/*.txt")
	if len(paths) == 0 {
		t.Fatal("no transcripts")
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var plain, implicit *Server
			setup := func(t testing.TB, _ map[string]string) {
				mu.Lock()
				defer mu.Unlock()
				fsys := testSpool(t)
				plain, implicit = testServer(fsys), testServer(fsys)
				plain.TLS, implicit.TLS, implicit.Implicit = cfg, cfg, true
				if strings.HasPrefix(name, "full-") {
					plain.Store, implicit.Store = fullStore(fsys), fullStore(fsys)
				}
				if strings.HasPrefix(name, "remote-") {
					plain.AllowInsecureAuth = func(net.Addr) bool { return false }
				}
			}
			get := func(s **Server) func() *Server {
				return func() *Server { mu.Lock(); defer mu.Unlock(); return *s }
			}
			mailtest.RunTranscript(t, path, serve(t, get(&plain)), mailtest.Options{
				TLS: ca.ClientConfig("imap.example"), DialTLS: serve(t, get(&implicit)), Setup: setup,
			})
		})
	}
}
