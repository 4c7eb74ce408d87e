package fetch

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/imap"
	"mailx/pkg/mail"
	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// imapServer serves the Maildir /src of fsys and its folders to bench, password x.
func imapServer(t testing.TB, fsys vfs.FS, change func(*imap.Server)) (address string) {
	t.Helper()
	f, err := fsys.Create("/users")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("bench:{PLAIN}x\n"))
	f.Close()
	srv := &imap.Server{
		Hostname: "imap.example", Auth: auth.NewUsers(fsys, "/users"), Poll: time.Millisecond,
		Store: func(context.Context, auth.User) (*mailbox.Store, error) {
			inbox, err := maildir.Open(fsys, "/src")
			if err != nil {
				return nil, err
			}
			return mailbox.NewStore(fsys, inbox), nil
		},
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

func connect(t testing.TB, p *IMAP) *IMAPSession {
	t.Helper()
	s, err := p.Connect(t.Context())
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func clearIMAP(address string) *IMAP {
	return &IMAP{Server: Server{Address: address, Security: Clear, User: "bench", Password: password}}
}

// inbox is an account that fetches a folder of s.
func folderAccount(fsys vfs.FS, s *IMAPSession, name string) *Account {
	a := account(fsys, nil)
	a.Name = FolderState(name)
	a.Open = func(context.Context) (Source, error) { return s.Folder(name), nil }
	return a
}

func TestIMAP(t *testing.T) {
	mailtest.CheckLeaks(t)
	m := newSpool(t)
	fillSource(t, m, 600)
	s := connect(t, clearIMAP(imapServer(t, m, nil)))
	a := folderAccount(m, s, "INBOX")
	a.Parallel = 0
	if r := mustRun(t, a); r.Fetched != 600 || r.Listed != 600 {
		t.Errorf("first run: %+v", r)
	}
	if r := mustRun(t, a); r.Fetched != 0 || r.Listed != 600 {
		t.Errorf("second run: %+v", r)
	}
	a.Delete = true
	if r := mustRun(t, a); r.Deleted != 600 {
		t.Errorf("third run: %+v", r)
	}
	wantAll(t, m, 600, 1)
	for _, sub := range []string{"new", "cur"} {
		if left, _ := m.ReadDirNames("/src/" + sub); len(left) != 0 {
			t.Errorf("%d are left in %s/ on the server", len(left), sub)
		}
	}
	if err := s.Logout(); err != nil {
		t.Errorf("Logout: %v", err)
	}
}

func TestIMAPFlagsAndDates(t *testing.T) {
	m := newSpool(t)
	src, err := maildir.Create(m, "/src")
	if err != nil {
		t.Fatal(err)
	}
	date := time.Unix(1_600_000_000, 0)
	for i, flags := range []string{"", "S", "FRS"} {
		w, err := src.Deliver()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "Subject: id-%03d\n\nThis is id-%03d.\n", i, i)
		w.SetTime(date)
		if flags != "" {
			w.Keep(flags)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s := connect(t, clearIMAP(imapServer(t, m, nil)))
	for _, keep := range []bool{false, true} {
		to := m.Clone()
		a := folderAccount(to, s, "INBOX")
		a.KeepFlags = keep
		mustRun(t, a)
		dir, _ := maildir.Open(to, "/mail")
		list, _ := dir.List()
		var flags []string
		for _, msg := range list {
			fi, err := to.Lstat("/mail/" + msg.File)
			if err != nil || !fi.ModTime().Equal(date) {
				t.Errorf("%s: %v, %v, want %v", msg.File, fi.ModTime(), err, date)
			}
			flags = append(flags, strings.SplitN(msg.File+":2,", ":2,", 3)[1])
		}
		slices.Sort(flags)
		want := []string{"", "", ""}
		if keep {
			want = []string{"", "FRS", "S"}
		}
		if !slices.Equal(flags, want) {
			t.Errorf("KeepFlags %v: flags %q, want %q", keep, flags, want)
		}
	}
}

func TestMaildirElements(t *testing.T) {
	tests := []struct {
		name, delim string
		want        []string
	}{
		{"INBOX", "/", nil},
		{"inbox", ".", nil},
		{"INBOX.Sent", ".", []string{"Sent"}},
		{"Archive/2026", "/", []string{"Archive", "2026"}},
		{"Entw&APw-rfe", "/", []string{"Entwürfe"}},
		{"a&b", "/", []string{"a&b"}},
		{"v1.2/x", "/", []string{"v1_2", "x"}},
		{"..", "/", []string{"__"}},
		{"../../etc", "/", []string{"__", "__", "etc"}},
		{"a//b", "/", []string{"a", "_", "b"}},
		{"a/b", "", []string{"a_b"}},
		{"/", "/", []string{"_", "_"}},
		{"a\x1b[2J", "/", []string{"a_[2J"}},
		{"&AAA-", "/", []string{"_"}},
		{"\xff", "/", []string{"_"}},
	}
	m := newSpool(t)
	dir, _ := maildir.Open(m, "/mail")
	for _, test := range tests {
		got := MaildirElements(imap.Folder{Name: test.name, Delim: test.delim})
		if !slices.Equal(got, test.want) {
			t.Errorf("%q by %q: %q, want %q", test.name, test.delim, got, test.want)
		}
		if len(got) > 0 {
			if d, err := dir.CreateFolder(got...); err != nil || !strings.HasPrefix(d.Path(), "/mail/.") || strings.Count(d.Path(), "/") != 2 {
				t.Errorf("%q: folder %v, %v", test.name, d, err)
			}
		}
	}
}

func TestFolderState(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"INBOX", "inbox", "Inbox2", "a/b", "a.b", "a+2Fb", "..", ".", "Entw&APw-rfe", "x y",
		strings.Repeat("a/", 100), strings.Repeat("a/", 101)} {
		state := FolderState(name)
		a := &Account{Name: state}
		if err := a.checkName(); err != nil {
			t.Errorf("%q: %q: %v", name, state, err)
		}
		if other, taken := seen[state]; taken && !strings.EqualFold(other, name) {
			t.Errorf("%q and %q share %q", name, other, state)
		}
		seen[state] = name
	}
}

func TestSetOf(t *testing.T) {
	for want, uids := range map[string][]int{
		"7": {7}, "1:3": {3, 1, 2}, "1,3": {1, 3}, "1:2,4:5,9": {9, 1, 2, 4, 5}, "4294967294:4294967295": {4294967295, 4294967294},
	} {
		var items []Item
		for _, n := range uids {
			items = append(items, Item{Number: n})
		}
		if got := setOf(items); got != want {
			t.Errorf("%v: %q, want %q", uids, got, want)
		}
	}
}

// TestUIDValidity: when the server numbers its messages anew, what has been fetched is known again by its header and size.
func TestUIDValidity(t *testing.T) {
	m := newSpool(t)
	text := func(i int) string { return fmt.Sprintf("Subject: id-%03d\r\n\r\nThis is id-%03d.\r\n", i, i) }
	listing := func(base int, ids ...int) []string {
		var lines []string
		for n, id := range ids {
			lines = append(lines, fmt.Sprintf("* %d FETCH (UID %d RFC822.SIZE %d FLAGS ())", n+1, base+id, len(text(id))))
		}
		return lines
	}
	bodies := func(base int, what string, cut bool, ids ...int) string {
		var b strings.Builder
		for n, id := range ids {
			part := text(id)
			if cut {
				part, _, _ = strings.Cut(part, "This")
			}
			fmt.Fprintf(&b, "* %d FETCH (UID %d %s {%d}\r\n%s)\r\n", n+1, base+id, what, len(part), part)
		}
		return b.String()
	}
	session := func(validity string, exists int, rest ...mailtest.Act) *IMAPSession {
		script := append(append(greeted(), mailtest.Exchange("m3 EXAMINE \"INBOX\"",
			fmt.Sprintf("* %d EXISTS", exists), "* OK [UIDVALIDITY "+validity+"] x", "m3 OK x")), rest...)
		p := clearIMAP(mailtest.ScriptServer(t, script...).Addr)
		p.ReadOnly = true
		return connect(t, p)
	}
	s := session("1", 3,
		mailtest.Exchange("m4 UID FETCH 1:*", append(listing(10, 0, 1, 2), "m4 OK x")...),
		mailtest.Expect("m5 UID FETCH 10:12 (UID BODY.PEEK[])"), mailtest.Send(bodies(10, "BODY[]", false, 0, 1, 2)+"m5 OK x\r\n"))
	if r := mustRun(t, folderAccount(m, s, "INBOX")); r.Fetched != 3 {
		t.Fatalf("first: %+v", r)
	}
	// Two of them are there still, one is new. The size of id-003 is that of the others: only the header tells.
	s = session("2", 3,
		mailtest.Exchange("m4 UID FETCH 1:*", append(listing(50, 1, 2, 3), "m4 OK x")...),
		mailtest.Expect("m5 UID FETCH 51:53 (UID BODY.PEEK[HEADER])"), mailtest.Send(bodies(50, "BODY[HEADER]", true, 1, 2, 3)+"m5 OK x\r\n"),
		mailtest.Expect("m6 UID FETCH 53 (UID BODY.PEEK[])"), mailtest.Send(bodies(50, "BODY[]", false, 3)+"m6 OK x\r\n"))
	if r := mustRun(t, folderAccount(m, s, "INBOX")); r.Fetched != 1 {
		t.Errorf("after the change: %+v", r)
	}
	s = session("2", 3, mailtest.Exchange("m4 UID FETCH 1:*", append(listing(50, 1, 2, 3), "m4 OK x")...))
	if r := mustRun(t, folderAccount(m, s, "INBOX")); r.Fetched != 0 || r.Listed != 3 {
		t.Errorf("then: %+v", r)
	}
	wantAll(t, m, 4, 1)
}

// greeted is the dialog up to the login.
func greeted() []mailtest.Act {
	return []mailtest.Act{
		mailtest.Reply("* OK hello"), mailtest.Exchange("m1 CAPABILITY", "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR", "m1 OK x"),
		mailtest.Exchange("m2 AUTHENTICATE PLAIN AGJlbmNoAHg=", "m2 OK [CAPABILITY IMAP4rev1] x"),
	}
}

// TestHostileIMAP: whatever the server does, Run ends with an error, has taken little, and nothing is believed.
func TestHostileIMAP(t *testing.T) {
	opened := append(greeted(), mailtest.Exchange("m3 EXAMINE", "* 1 EXISTS", "* OK [UIDVALIDITY 7] x", "m3 OK x"))
	listed := append(slices.Clone(opened), mailtest.Exchange("m4 UID FETCH 1:*", "* 1 FETCH (UID 5 RFC822.SIZE 30)", "m4 OK x"),
		mailtest.Expect("m5 UID FETCH 5"))
	after := func(script []mailtest.Act, more ...mailtest.Act) []mailtest.Act {
		return append(slices.Clone(script), more...)
	}
	long := strings.Repeat("x", 1<<20)
	tests := map[string][]mailtest.Act{
		"a greeting without end":       {mailtest.Endless("x")},
		"greetings without end":        {mailtest.Endless("* OK\r\n")},
		"no IMAP":                      {mailtest.Reply("220 smtp.example")},
		"a listing without end":        after(opened, mailtest.Expect("m4"), mailtest.Endless("* 1 FETCH (UID 5 RFC822.SIZE 30)\r\n")),
		"a line of a megabyte":         after(opened, mailtest.Expect("m4"), mailtest.Send("* 1 FETCH ("+long+long)),
		"a line without end":           after(opened, mailtest.Expect("m4"), mailtest.Endless("x")),
		"a literal of 2^63":            after(listed, mailtest.Reply("* 1 FETCH (UID 5 BODY[] {9223372036854775808}"), mailtest.Endless("x")),
		"a literal of 2^62-1":          after(listed, mailtest.Reply("* 1 FETCH (UID 5 BODY[] {4611686018427387903}"), mailtest.Endless("x")),
		"a literal of a gigabyte":      after(listed, mailtest.Reply("* 1 FETCH (UID 5 BODY[] {1073741824}"), mailtest.Endless("x")),
		"a gigabyte of flags":          after(opened, mailtest.Expect("m4"), mailtest.Reply("* 1 FETCH (FLAGS {1073741824}"), mailtest.Endless("x")),
		"a gigabyte of a date":         after(opened, mailtest.Expect("m4"), mailtest.Reply("* 1 FETCH (INTERNALDATE {1073741824}"), mailtest.Endless("x")),
		"a gigabyte of something":      after(opened, mailtest.Expect("m4"), mailtest.Reply("* XYZ {1073741824}"), mailtest.Endless("x")),
		"lists in lists":               after(opened, mailtest.Expect("m4"), mailtest.Reply("* 1 FETCH (X "+strings.Repeat("(", 30_000))),
		"an unknown tag":               after(opened, mailtest.Expect("m4"), mailtest.Reply("m9 OK x")),
		"a continuation":               after(opened, mailtest.Expect("m4"), mailtest.Reply("+ go on")),
		"UID 0":                        after(opened, mailtest.Expect("m4"), mailtest.Reply("* 1 FETCH (UID 0)")),
		"a UID over 32 bits":           after(opened, mailtest.Expect("m4"), mailtest.Reply("* 1 FETCH (UID 4294967296)")),
		"a negative size":              after(opened, mailtest.Expect("m4"), mailtest.Reply("* 1 FETCH (UID 1 RFC822.SIZE -1)")),
		"the end in a literal":         after(listed, mailtest.Send("* 1 FETCH (UID 5 BODY[] {30}\r\nSubject"), mailtest.HangUp()),
		"the end in an answer":         after(listed, mailtest.Send("* 1 FET"), mailtest.HangUp()),
		"no UIDVALIDITY":               append(greeted(), mailtest.Exchange("m3 EXAMINE", "* 1 EXISTS", "m3 OK x")),
		"bare LF":                      after(opened, mailtest.Expect("m4"), mailtest.Send("* 1 FETCH (UID 1)\n")),
		"an answer that is none of it": after(opened, mailtest.Expect("m4"), mailtest.Reply("m4 MAYBE")),
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := newSpool(t)
			p := clearIMAP(mailtest.ScriptServer(t, append(script, mailtest.HangUp())...).Addr)
			p.ReadOnly = true
			s, err := p.Connect(t.Context())
			var r Result
			if err == nil {
				r, err = folderAccount(mem, s, "INBOX").Run(t.Context())
				s.Close()
			}
			if err == nil || r.Fetched != 0 || len(fetched(t, mem)) != 0 {
				t.Errorf("%+v, %v, want an error and nothing fetched", r, err)
			}
		})
	}
}

// TestIMAPDies: a server that dies at each step is no more than an error; the next run has all.
func TestIMAPDies(t *testing.T) {
	text := "Subject: id-000\r\n\r\nThis is id-000.\r\n"
	script := append(greeted(),
		mailtest.Exchange("m3 SELECT", "* 1 EXISTS", "* OK [UIDVALIDITY 7] x", "m3 OK x"),
		mailtest.Exchange("m4 UID FETCH 1:*", fmt.Sprintf("* 1 FETCH (UID 5 RFC822.SIZE %d)", len(text)), "m4 OK x"),
		mailtest.Expect("m5 UID FETCH 5"), mailtest.Send(fmt.Sprintf("* 1 FETCH (UID 5 BODY[] {%d}\r\n%s", len(text), text[:20])),
		mailtest.Send(text[20:]), mailtest.Reply(")"), mailtest.Reply("m5 OK x"),
		mailtest.Exchange("m6 UID FETCH 1:* (UID FLAGS)", "* 1 FETCH (UID 5 FLAGS ())", "m6 OK x"),
		mailtest.Exchange(`m7 UID STORE 5 +FLAGS.SILENT (\Deleted)`, "m7 OK x"), mailtest.Exchange("m8 EXPUNGE", "* 1 EXPUNGE", "m8 OK x"))
	for n := range len(script) + 1 {
		for name, end := range map[string]mailtest.Act{"hang up": mailtest.HangUp(), "reset": mailtest.Reset()} {
			m := newSpool(t)
			run := func(script []mailtest.Act) (Result, error) {
				s, err := clearIMAP(mailtest.ScriptServer(t, script...).Addr).Connect(t.Context())
				if err != nil {
					return Result{}, err
				}
				defer s.Close()
				a := folderAccount(m, s, "INBOX")
				a.Delete = true
				return a.Run(t.Context())
			}
			r, err := run(mailtest.Cut(script, n, end))
			if (err == nil) != (n == len(script)) {
				t.Errorf("%s after step %d: %+v, %v", name, n, r, err)
			}
			if n == len(script) {
				wantAll(t, m, 1, 1)
				continue
			}
			if len(fetched(t, m)) == 0 {
				run(script)
			}
			wantAll(t, m, 1, 1)
		}
	}
}

func TestIMAPSecurity(t *testing.T) {
	ca := mailtest.NewCA(t)
	m := newSpool(t)
	fillSource(t, m, 1)
	withTLS := func(implicit bool) func(*imap.Server) {
		return func(s *imap.Server) {
			s.TLS, s.Implicit = ca.ServerConfig("127.0.0.1"), implicit
			s.AllowInsecureAuth = func(net.Addr) bool { return false }
		}
	}
	script := func(acts ...mailtest.Act) func(testing.TB, vfs.FS) string {
		return func(t testing.TB, _ vfs.FS) string { return mailtest.ScriptServer(t, acts...).Addr }
	}
	ours := func(change func(*imap.Server)) func(testing.TB, vfs.FS) string {
		return func(t testing.TB, fsys vfs.FS) string { return imapServer(t, fsys, change) }
	}
	tests := []struct {
		name     string
		server   func(testing.TB, vfs.FS) string
		security Security
		ok       bool
	}{
		{"TLS first", ours(withTLS(true)), TLSFirst, true},
		{"STARTTLS", ours(withTLS(false)), STLS, true},
		{"clear where a password wants TLS: SCRAM", ours(withTLS(false)), Clear, true},
		{"STARTTLS stripped", ours(nil), STLS, false},
		{"PREAUTH before STARTTLS", script(mailtest.Reply("* PREAUTH hello")), STLS, false},
		{"injected behind STARTTLS", script(mailtest.Reply("* OK hello"),
			mailtest.InjectStartTLS("m1 STARTTLS", "m1 OK go", "* CAPABILITY IMAP4rev1\r\nm2 OK injected", ca.ServerConfig("127.0.0.1")),
			mailtest.Exchange("m2 CAPABILITY", "* CAPABILITY IMAP4rev1 LOGINDISABLED", "m2 OK x")), STLS, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := m.Clone()
			p := clearIMAP(test.server(t, m))
			p.Security, p.TLS = test.security, ca.ClientConfig("")
			p.Options.Trace = func(_ bool, line string) {
				if strings.HasPrefix(line, "+ ") && line != "+ ***" {
					t.Errorf("the trace shows %q", line)
				}
			}
			s, err := p.Connect(t.Context())
			if (err == nil) != test.ok {
				t.Fatalf("Connect: %v", err)
			}
			if err != nil {
				return
			}
			defer s.Close()
			if r := mustRun(t, folderAccount(m, s, "INBOX")); r.Fetched != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestLogins: what is sent for what is offered.
func TestLogins(t *testing.T) {
	token := func(context.Context) (string, error) { return "tok", nil }
	tests := []struct {
		name, caps string
		change     func(*IMAP)
		sent       string
		status     string
	}{
		{"PLAIN", "AUTH=PLAIN SASL-IR", nil, "m2 AUTHENTICATE PLAIN AGJlbmNoAHg=", ""},
		{"LOGIN", "", nil, `m2 LOGIN "bench" "x"`, ""},
		{"XOAUTH2", "AUTH=XOAUTH2 SASL-IR", func(p *IMAP) { p.Token = token },
			"m2 AUTHENTICATE XOAUTH2 dXNlcj1iZW5jaAFhdXRoPUJlYXJlciB0b2sBAQ==", ""},
		{"OAUTHBEARER first", "AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR", func(p *IMAP) { p.Token = token }, "m2 AUTHENTICATE OAUTHBEARER ", ""},
		{"only that", "AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR", func(p *IMAP) { p.Token, p.Mechanism = token, "XOAUTH2" },
			"m2 AUTHENTICATE XOAUTH2 ", ""},
		{"a token is no password", "AUTH=PLAIN", func(p *IMAP) { p.Token = token }, "", "4.7.0"},
		{"LOGINDISABLED", "LOGINDISABLED", nil, "", "4.7.0"},
	}
	for _, test := range tests {
		script := []mailtest.Act{mailtest.Reply("* OK hello"), mailtest.Exchange("m1 CAPABILITY", "* CAPABILITY IMAP4rev1 "+test.caps, "m1 OK x")}
		if test.sent != "" {
			script = append(script, mailtest.Exchange(test.sent, "m2 OK [CAPABILITY IMAP4rev1] x"))
		}
		p := clearIMAP(mailtest.ScriptServer(t, script...).Addr)
		if test.change != nil {
			test.change(p)
		}
		s, err := p.Connect(t.Context())
		if err == nil {
			s.Close()
		}
		if got := fmt.Sprint(mail.StatusOf(err)); (err == nil) != (test.status == "") || err != nil && got != test.status {
			t.Errorf("%s: %v (%s), want %q", test.name, err, got, test.status)
		}
	}
}

// TestWithoutUIDPLUS: what somebody else has marked is not expunged with ours.
func TestWithoutUIDPLUS(t *testing.T) {
	text := "Subject: id-000\r\n\r\nThis is id-000.\r\n"
	script := append(greeted(),
		mailtest.Exchange("m3 SELECT", "* 2 EXISTS", "* OK [UIDVALIDITY 7] x", "m3 OK x"),
		mailtest.Exchange("m4 UID FETCH 1:*", fmt.Sprintf("* 1 FETCH (UID 5 RFC822.SIZE %d)", len(text)), "m4 OK x"),
		mailtest.Expect("m5 UID FETCH 5"), mailtest.Send(fmt.Sprintf("* 1 FETCH (UID 5 BODY[] {%d}\r\n%s)\r\nm5 OK x\r\n", len(text), text)),
		mailtest.Exchange("m6 UID FETCH 1:* (UID FLAGS)", `* 2 FETCH (UID 6 FLAGS (\Deleted))`, "m6 OK x"))
	m := newSpool(t)
	server := mailtest.ScriptServer(t, script...)
	s := connect(t, clearIMAP(server.Addr))
	a := folderAccount(m, s, "INBOX")
	a.Delete = true
	if r := mustRun(t, a); r.Fetched != 1 || r.Deleted != 0 {
		t.Errorf("%+v", r)
	}
	for _, line := range server.Said() {
		if strings.Contains(line, "STORE") || strings.Contains(line, "EXPUNGE") {
			t.Errorf("sent %q", line)
		}
	}
}

// TestLateUID: servers may say the UID behind the text; then messages are asked for one by one. One that a server can't
// read is left there.
func TestLateUID(t *testing.T) {
	script := append(greeted(),
		mailtest.Exchange("m3 EXAMINE", "* 3 EXISTS", "* OK [UIDVALIDITY 7] x", "m3 OK x"),
		mailtest.Exchange("m4 UID FETCH 1:*", "* 1 FETCH (UID 5 RFC822.SIZE 36)", "* 2 FETCH (UID 6 RFC822.SIZE 36)", "* 3 FETCH (UID 7 RFC822.SIZE 36)", "m4 OK x"))
	late := func(n int) string {
		text := fmt.Sprintf("Subject: id-%03d\r\n\r\nThis is id-%03d.\r\n", n, n)
		return fmt.Sprintf("* %d FETCH (BODY[] {%d}\r\n%s FLAGS (\\Seen) UID %d)\r\n", n+1, len(text), text, n+5)
	}
	script = append(script, mailtest.Expect("m5 UID FETCH 5:7 "), mailtest.Send(late(0)+late(1)+"m5 OK x\r\n"),
		mailtest.Expect("m6 UID FETCH 5 "), mailtest.Send(late(0)+"m6 OK x\r\n"),
		mailtest.Expect("m7 UID FETCH 6 "), mailtest.Send(late(1)+"m7 OK x\r\n"),
		mailtest.Exchange("m8 UID FETCH 7 ", "* 3 FETCH (UID 7 BODY[] NIL)", "m8 NO [SERVERBUG] can't read it"))
	m := newSpool(t)
	p := clearIMAP(mailtest.ScriptServer(t, script...).Addr)
	p.ReadOnly = true
	if r := mustRun(t, folderAccount(m, connect(t, p), "INBOX")); r.Fetched != 2 || r.Failed != 1 {
		t.Errorf("%+v", r)
	}
	wantAll(t, m, 2, 1)
}

// TestWait: IDLE ends when a message comes; the next run has it.
func TestWait(t *testing.T) {
	mailtest.CheckLeaks(t)
	m := newSpool(t)
	fillSource(t, m, 1)
	s := connect(t, clearIMAP(imapServer(t, m, nil)))
	a := folderAccount(m, s, "INBOX")
	mustRun(t, a)
	src, _ := maildir.Open(m, "/src")
	var wg sync.WaitGroup
	wg.Go(func() {
		w, _ := src.Deliver()
		fmt.Fprint(w, "Subject: id-001\n\nThis is id-001.\n")
		w.Commit()
	})
	if err := s.Wait(t.Context(), "INBOX", time.Hour); err != nil {
		t.Fatalf("Wait: %v", err)
	}
	wg.Wait()
	if err := s.Wait(t.Context(), "INBOX", time.Hour); err != nil { // news of what has not been listed come again
		t.Fatalf("Wait: %v", err)
	}
	if r := mustRun(t, a); r.Fetched != 1 {
		t.Errorf("%+v", r)
	}
	if err := s.Wait(t.Context(), "INBOX", 5*time.Millisecond); err != nil {
		t.Errorf("Wait without news: %v", err)
	}
	mustRun(t, a)
	wantAll(t, m, 2, 1)
}

// TestIMAPFolders lists what can be opened.
func TestIMAPFolders(t *testing.T) {
	script := append(greeted(), mailtest.Expect(`m3 LIST "" "*"`),
		mailtest.Send("* LIST (\\HasChildren) \"/\" INBOX\r\n* LIST (\\Noselect) \"/\" \"a\"\r\n* LIST () NIL {3}\r\na b\r\n"+
			"* LIST () \"/\" \"q\\\"x\"\r\nm3 OK x\r\n"))
	all, err := connect(t, clearIMAP(mailtest.ScriptServer(t, script...).Addr)).Folders()
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
	}
	if want := []string{"INBOX", "a b", `q"x`}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v, want %q", names, err, want)
	}
	endless := append(greeted(), mailtest.Expect(`m3 LIST "" "*"`), mailtest.Endless("* LIST () NIL x\r\n"))
	if all, err := connect(t, clearIMAP(mailtest.ScriptServer(t, endless...).Addr)).Folders(); err == nil {
		t.Errorf("a list without end: %d folders", len(all))
	}
}

// BenchmarkFetchIMAP is BenchmarkFetch by IMAP.
func BenchmarkFetchIMAP(b *testing.B) {
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
	s, err := clearIMAP(imapServer(b, source, nil)).Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		root := b.TempDir()
		to, err := maildir.Create(fsys, root+"/mail")
		if err != nil {
			b.Fatal(err)
		}
		a := &Account{Name: "bench", Dir: to, FS: fsys, State: root + "/state"}
		a.Open = func(context.Context) (Source, error) { return s.Folder("INBOX"), nil }
		if r := mustRun(b, a); r.Fetched != 2000 {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}
