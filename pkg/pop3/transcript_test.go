package pop3

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// The users of all tests, and the messages of alice. The name of the second does not say its sizes.
const userFile = "alice:{PLAIN}open sesame\nbob:{PLAIN}hungry\njürgen:{PLAIN}grün\n"

var (
	nameOne   = "new/1700000001.M1P1.host,S=31,W=36"
	nameTwo   = "cur/1700000002.M2P1.host:2,S"
	nameThree = "new/1700000003.M3P1.host,S=15,W=16"
)

func aliceMail() map[string]string {
	return map[string]string{
		nameOne:   "Subject: one\n\nHello\n.dot\n..two\n",
		nameTwo:   "Subject: two\n\nline 1\nline 2\nline 3\n",
		nameThree: "Subject: three\n",
	}
}

func bobMail() map[string]string {
	m := mailtest.SpecPOP3Messages()
	return map[string]string{"new/1700000001.A.host": m[0], "new/1700000002.B.host": m[1]}
}

// testSpool is a spool in memory with users and mail.
func testSpool(t testing.TB) *vfs.Mem {
	t.Helper()
	fsys := vfs.NewMem()
	writeFile(t, fsys, "/users", userFile)
	fill(t, fsys, "/mail/alice", aliceMail())
	fill(t, fsys, "/mail/bob", bobMail())
	fsys.SyncAll()
	return fsys
}

func fill(t testing.TB, fsys vfs.FS, dir string, files map[string]string) {
	t.Helper()
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := vfs.MkdirAll(fsys, dir+"/"+sub); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		writeFile(t, fsys, dir+"/"+name, text)
	}
}

func writeFile(t testing.TB, fsys vfs.FS, name, text string) {
	t.Helper()
	f, err := fsys.Create(name)
	if err == nil {
		_, err = f.Write([]byte(text))
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// testServer is a server for the users of testSpool; everybody counts as remote if remote is set.
func testServer(fsys vfs.FS) *Server {
	return &Server{
		Hostname: "pop.example",
		Auth:     auth.NewUsers(fsys, "/users"),
		FS:       fsys,
		Mailbox:  func(_ context.Context, u auth.User) (string, error) { return "/mail/" + u.Name, nil },
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

// withTokens knows a token of alice's, which is sunny; whether one is cloudy nobody can tell.
type withTokens struct{ auth.Verifier }

func (withTokens) Offers(string) bool { return true }

func (withTokens) AuthenticateToken(_ context.Context, name, token string) (auth.User, error) {
	switch {
	case token == "cloudy":
		return auth.User{}, mail.Temporaryf(7, 0, "Temporary authentication failure")
	case name != "alice" || token != "sunny":
		return auth.User{}, mail.Permanentf(7, 8, "Authentication credentials invalid")
	}
	return auth.User{Name: name}, nil
}

// TestTranscripts runs every dialog against a server with a fresh spool. Files named remote-... have a server that
// takes nobody for local, those named token-... one that knows tokens.
func TestTranscripts(t *testing.T) {
	ca := mailtest.NewCA(t)
	cfg := ca.ServerConfig("pop.example")
	for _, pattern := range []string{"../../testdata/dialogs/pop3/*.txt", "../../testdata/dialogs/spec-pop3.txt"} {
		paths, _ := filepath.Glob(pattern)
		if len(paths) == 0 {
			t.Fatalf("no files match %s", pattern)
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
					if strings.HasPrefix(name, "token-") {
						plain.Auth, implicit.Auth = withTokens{plain.Auth}, withTokens{plain.Auth}
					}
					if strings.HasPrefix(name, "remote-") {
						plain.AllowInsecureAuth = func(net.Addr) bool { return false }
					}
				}
				get := func(s **Server) func() *Server {
					return func() *Server { mu.Lock(); defer mu.Unlock(); return *s }
				}
				mailtest.RunTranscript(t, path, serve(t, get(&plain)), mailtest.Options{
					TLS: ca.ClientConfig("pop.example"), DialTLS: serve(t, get(&implicit)), Setup: setup,
				})
			})
		}
	}
}

// mailboxAt gives everybody the same Maildir.
func mailboxAt(path string) func(context.Context, auth.User) (string, error) {
	return func(context.Context, auth.User) (string, error) { return path, nil }
}
