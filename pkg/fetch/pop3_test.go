package fetch

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/pop3"
	"mailx/pkg/vfs"
)

// popServer serves the Maildir /src of fsys to bench, password x.
func popServer(t testing.TB, fsys vfs.FS, change func(*pop3.Server)) (address string) {
	t.Helper()
	f, err := fsys.Create("/users")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("bench:{PLAIN}x\n"))
	f.Close()
	srv := &pop3.Server{
		Hostname: "pop.example", Auth: auth.NewUsers(fsys, "/users"), FS: fsys,
		Mailbox: func(context.Context, auth.User) (string, error) { return "/src", nil },
	}
	if change != nil {
		change(srv)
	}
	l := mailtest.Listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { srv.ServeConn(ctx, nc) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	return l.Addr().String()
}

func fillSource(t testing.TB, fsys vfs.FS, n int) {
	t.Helper()
	dir, err := maildir.Create(fsys, "/src")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		w, err := dir.Deliver()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "Subject: id-%03d\n\nThis is id-%03d.\n", i, i)
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func password(context.Context) (string, error) { return "x", nil }

// TestThousands: 2,000 messages through real sockets, pipelined.
func TestThousands(t *testing.T) {
	mailtest.CheckLeaks(t)
	m := newSpool(t)
	fillSource(t, m, 2000)
	p := &POP3{Server: Server{Address: popServer(t, m, nil), Security: Clear, User: "bench", Password: password}}
	a := account(m, nil)
	a.Open, a.Parallel, a.Delete = p.Open, 0, true
	if r := mustRun(t, a); r.Fetched != 2000 || r.Deleted != 2000 {
		t.Errorf("%+v", r)
	}
	got := fetched(t, m)
	for i := range 2000 {
		if id := fmt.Sprintf("id-%03d", i); got[id] != 1 {
			t.Errorf("%s is there %d times", id, got[id])
		}
	}
	if left, _ := m.ReadDirNames("/src/new"); len(left) != 0 {
		t.Errorf("%d are left on the server", len(left))
	}
}

func TestSecurity(t *testing.T) {
	ca := mailtest.NewCA(t)
	m := newSpool(t)
	fillSource(t, m, 1)
	withTLS := func(implicit bool) func(*pop3.Server) {
		return func(s *pop3.Server) {
			s.TLS, s.Implicit = ca.ServerConfig("127.0.0.1"), implicit
			s.AllowInsecureAuth = func(net.Addr) bool { return false }
		}
	}
	tests := []struct {
		name     string
		change   func(*pop3.Server)
		security Security
		ok       bool
	}{
		{"TLS first", withTLS(true), TLSFirst, true},
		{"STLS", withTLS(false), STLS, true},
		{"clear where a password wants TLS: SCRAM", withTLS(false), Clear, true},
		{"STLS stripped", nil, STLS, false},
	}
	for _, test := range tests {
		m := m.Clone()
		p := &POP3{Server: Server{Address: popServer(t, m, test.change), Security: test.security, User: "bench", Password: password, TLS: ca.ClientConfig("")}}
		a := account(m, nil)
		a.Open = p.Open
		if r, err := a.Run(t.Context()); (err == nil && r.Fetched == 1) != test.ok {
			t.Errorf("%s: %+v, %v", test.name, r, err)
		}
	}
}

func TestWrongPassword(t *testing.T) {
	m := newSpool(t)
	fillSource(t, m, 1)
	p := &POP3{Server: Server{Address: popServer(t, m, nil), Security: Clear, User: "bench"}}
	p.Password = func(context.Context) (string, error) { return "wrong", nil }
	a := account(m, nil)
	a.Open = p.Open
	if _, err := a.Run(t.Context()); mail.StatusOf(err) != (mail.Status{Class: 5, Subject: 7, Detail: 8}) {
		t.Errorf("Run = %v", err)
	}
}

// TestOddListings: a server without UIDL, and one whose numbers are not in order.
func TestOddListings(t *testing.T) {
	for want, uidl := range map[string][]string{
		"no UIDL":      {"-ERR unknown"},
		"out of order": {"+OK", "2 a", "1 b", "."},
	} {
		s := mailtest.ScriptServer(t, mailtest.Reply("+OK"), mailtest.Exchange("CAPA", "-ERR"),
			mailtest.Exchange("USER", "+OK"), mailtest.Exchange("PASS", "+OK"), mailtest.Exchange("CAPA", "-ERR"),
			mailtest.Exchange("UIDL", uidl...), mailtest.Exchange("QUIT", "+OK"))
		p := &POP3{Server: Server{Address: s.Addr, Security: Clear, User: "bench", Password: password}}
		a := account(newSpool(t), nil)
		a.Open = p.Open
		if _, err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v, want an error with %q", err, want)
		}
	}
}

// BenchmarkFetch fetches 2,000 messages of 1 KiB over loopback into a durable Maildir.
func BenchmarkFetch(b *testing.B) {
	fsys := vfs.Grouped(vfs.OS())
	source := newSpool(b)
	dir, err := maildir.Create(source, "/src")
	if err != nil {
		b.Fatal(err)
	}
	for range 2000 {
		w, err := dir.Deliver()
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(w, "Subject: x\n\n%s\n", strings.Repeat(strings.Repeat("x", 72)+"\n", 14))
		if err := w.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	p := &POP3{Server: Server{Address: popServer(b, source, nil), Security: Clear, User: "bench", Password: password}}
	for b.Loop() {
		root := b.TempDir()
		to, err := maildir.Create(fsys, root+"/mail")
		if err != nil {
			b.Fatal(err)
		}
		a := &Account{Name: "bench", Open: p.Open, Dir: to, FS: fsys, State: root + "/state"}
		if r := mustRun(b, a); r.Fetched != 2000 {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// FuzzState: a state file of any content is read, and goes on being written to.
func FuzzState(f *testing.F) {
	f.Add(checksum("done 7 a") + " done 7 a\n" + checksum("begin n b") + " begin n b\n")
	f.Add("00000000 done\n\x00\x00\n")
	f.Fuzz(func(t *testing.T, file string) {
		m := newSpool(t)
		vfs.MkdirAll(m, "/state/fetch")
		w, _ := m.Create("/state/fetch/work.uidl")
		w.Write([]byte(file))
		s := newServer(3)
		for range 2 {
			mustRun(t, account(m, s))
		}
		if r := mustRun(t, account(m, s)); r.Fetched != 0 {
			t.Errorf("state %q: fetched again: %+v", file, r)
		}
	})
}

// TestHostilePOP3: whatever the server does, Run ends with an error, has taken little, and nothing is believed.
func TestHostilePOP3(t *testing.T) {
	ca := mailtest.NewCA(t)
	loggedIn := []mailtest.Act{mailtest.Reply("+OK"), mailtest.Exchange("CAPA", "-ERR"), mailtest.Exchange("USER", "+OK"),
		mailtest.Exchange("PASS", "+OK"), mailtest.Exchange("CAPA", "-ERR")}
	listed := append(slices.Clone(loggedIn), mailtest.Exchange("UIDL", "+OK", "1 a", "."), mailtest.Exchange("LIST", "+OK", "1 36", "."),
		mailtest.Expect("RETR 1"))
	after := func(script []mailtest.Act, more ...mailtest.Act) []mailtest.Act {
		return append(slices.Clone(script), more...)
	}
	tests := map[string][]mailtest.Act{
		"a greeting without end":      {mailtest.Send("+OK "), mailtest.Endless("x")},
		"no POP3":                     {mailtest.Reply("* OK IMAP4rev1")},
		"capabilities without end":    {mailtest.Reply("+OK"), mailtest.Expect("CAPA"), mailtest.Reply("+OK"), mailtest.Endless("X\r\n")},
		"UIDL without end":            after(loggedIn, mailtest.Expect("UIDL"), mailtest.Reply("+OK"), mailtest.Endless("1 a\r\n")),
		"UIDL of a line without end":  after(loggedIn, mailtest.Expect("UIDL"), mailtest.Reply("+OK"), mailtest.Endless("x")),
		"UIDL of message 2^63":        after(loggedIn, mailtest.Exchange("UIDL", "+OK", "9223372036854775808 a", ".")),
		"LIST without end":            after(loggedIn, mailtest.Exchange("UIDL", "+OK", "1 a", "."), mailtest.Expect("LIST"), mailtest.Reply("+OK"), mailtest.Endless("1 1\r\n")),
		"LIST of 2^63 octets":         after(loggedIn, mailtest.Exchange("UIDL", "+OK", "1 a", "."), mailtest.Exchange("LIST", "+OK", "1 9223372036854775808", ".")),
		"a message without end":       after(listed, mailtest.Reply("+OK"), mailtest.Endless("x\r\n")),
		"a message of one line":       after(listed, mailtest.Reply("+OK"), mailtest.Endless("x")),
		"a message that breaks off":   after(listed, mailtest.Send("+OK\r\nSubject: x\r\n\r\nhalf of it"), mailtest.HangUp()),
		"a message without a dot":     after(listed, mailtest.Send("+OK\r\nSubject: x\r\n\r\n"), mailtest.HangUp()),
		"an answer that is none":      after(listed, mailtest.Reply("+MAYBE")),
		"injected behind STLS":        {mailtest.Reply("+OK"), mailtest.InjectStartTLS("STLS", "+OK", "+OK\r\n.\r\n+OK\r\n+OK\r\n", ca.ServerConfig("127.0.0.1"))},
		"STLS refused, then as usual": append([]mailtest.Act{mailtest.Reply("+OK"), mailtest.Exchange("STLS", "-ERR")}, listed...),
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newSpool(t)
			p := &POP3{Server: Server{Address: mailtest.ScriptServer(t, append(script, mailtest.HangUp())...).Addr, Security: Clear,
				User: "bench", Password: password, TLS: ca.ClientConfig("")}}
			if strings.Contains(name, "STLS") {
				p.Security = STLS
			}
			a := account(m, nil)
			a.Open, a.Delete = p.Open, true
			r, err := a.Run(t.Context())
			if err == nil || r.Fetched != 0 || r.Deleted != 0 || len(fetched(t, m)) != 0 {
				t.Errorf("%+v, %v, want an error and nothing fetched", r, err)
			}
		})
	}
}

// TestPOP3Dies: a server that dies at each step, or says something wrong without end, is no more than an error; the next
// run has all.
func TestPOP3Dies(t *testing.T) {
	script := []mailtest.Act{
		mailtest.Reply("+OK"), mailtest.Exchange("CAPA", "-ERR"), mailtest.Exchange("USER", "+OK"), mailtest.Exchange("PASS", "+OK"),
		mailtest.Exchange("CAPA", "-ERR"), mailtest.Exchange("UIDL", "+OK", "1 a", "."), mailtest.Exchange("LIST", "+OK", "1 36", "."),
		mailtest.Expect("RETR 1"), mailtest.Send("+OK\r\nSubject: id-0"), mailtest.Send("00\r\n\r\nThis is id-000.\r\n"), mailtest.Reply("."),
		mailtest.Exchange("DELE 1", "+OK"), mailtest.Exchange("QUIT", "+OK"),
	}
	ends := map[string]mailtest.Act{"hang up": mailtest.HangUp(), "reset": mailtest.Reset(), "a line without end": mailtest.Endless("x")}
	for n := range script {
		for name, end := range ends {
			m := newSpool(t)
			run := func(script []mailtest.Act) error {
				p := &POP3{Server: Server{Address: mailtest.ScriptServer(t, script...).Addr, Security: Clear, User: "bench", Password: password}}
				a := account(m, nil)
				a.Open, a.Delete = p.Open, true
				_, err := a.Run(t.Context())
				return err
			}
			if err := run(mailtest.Cut(script, n, end)); err == nil {
				t.Errorf("%s after step %d: no error", name, n)
			}
			if len(fetched(t, m)) == 0 {
				run(script)
			}
			wantAll(t, m, 1, 1)
		}
	}
}
