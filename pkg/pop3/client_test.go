package pop3

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/wire"
)

// useAll does all that a client does with a mailbox, and gives what went wrong and what it got.
func useAll(t testing.TB, nc net.Conn, opt ClientOptions) (got []string, err error) {
	t.Helper()
	opt.ReplyTime = mailtest.DefaultTimeout
	c, err := NewClient(nc, opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	note := func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }
	steps := []func() error{
		func() error { _, err := c.Capa(); return err },
		func() error { return c.Login("alice", "open sesame") },
		func() error {
			n, octets, err := c.Stat()
			note("%d messages, %d octets", n, octets)
			return err
		},
		func() error { return c.UIDL(func(n int, uid string) error { note("%d is %s", n, uid); return nil }) },
		func() error {
			return c.List(func(n int, octets int64) error { note("%d has %d", n, octets); return nil })
		},
		func() error {
			return c.Retrieve([]int{1, 2}, func(n int, r io.Reader, err error) error {
				if err != nil {
					note("%d: %v", n, err)
					return nil
				}
				b, err := io.ReadAll(r)
				note("%d: %q, %v", n, b, err)
				return nil
			})
		},
		func() error {
			return c.Delete([]int{1, 2}, func(n int, err error) error { note("deleted %d: %v", n, err); return nil })
		},
		c.Noop,
		c.Quit,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return got, err
		}
	}
	return got, nil
}

// goodScript is a server with PIPELINING whose second message is gone.
func goodScript() []mailtest.Act {
	return []mailtest.Act{
		mailtest.Reply("+OK hello"),
		mailtest.Exchange("CAPA", "+OK", "PIPELINING", "USER", "sasl PLAIN", "."),
		mailtest.Exchange("USER alice", "+OK"),
		mailtest.Exchange("PASS open sesame", "+OK"),
		mailtest.Exchange("STAT", "+OK 2 14"),
		mailtest.Exchange("UIDL", "+OK", "1 aaa", "2 bbb", "."),
		mailtest.Exchange("LIST", "+ok", "1 7", "2 7 and more", "."),
		mailtest.Expect("RETR 1"), mailtest.Expect("RETR 2"),
		mailtest.Reply("+OK", "..a", "b", ".", "-ERR [sys/temp] not \x01 now"),
		mailtest.Expect("DELE 1"), mailtest.Expect("DELE 2"),
		mailtest.Reply("+OK", "-ERR no"),
		mailtest.Exchange("NOOP", "+OK"),
		mailtest.Exchange("QUIT", "+OK"),
	}
}

func TestClient(t *testing.T) {
	mailtest.CheckLeaks(t)
	for _, drip := range []bool{false, true} {
		nc := mailtest.DialTCP(mailtest.ScriptServer(t, goodScript()...).Addr)(t)
		if drip {
			nc = mailtest.Drip(nc)
		}
		got, err := useAll(t, nc, ClientOptions{})
		want := []string{
			"2 messages, 14 octets", "1 is aaa", "2 is bbb", "1 has 7", "2 has 7", `1: ".a\nb\n", <nil>`,
			"2: server says to RETR: [SYS/TEMP] not ? now", "deleted 1: <nil>", "deleted 2: server says to DELE: no",
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("drip %v: %v, %q\nwant %q", drip, err, got, want)
		}
	}
}

// TestClientCutOff: the server goes away at each step, in order and not.
func TestClientCutOff(t *testing.T) {
	script := goodScript()
	for n := range script {
		for name, end := range map[string]mailtest.Act{"hang-up": mailtest.HangUp(), "reset": mailtest.Reset()} {
			if n < 2 && name == "reset" {
				continue // that may be a failure of dialing
			}
			server := mailtest.ScriptServer(t, mailtest.Cut(script, n, end)...)
			_, err := useAll(t, mailtest.DialTCP(server.Addr)(t), ClientOptions{})
			if s := mail.StatusOf(err); err == nil || !s.IsTemporary() {
				t.Errorf("%s after %d steps: %v (%v), want a temporary error", name, n, err, s)
			}
		}
	}
	for _, half := range []string{"+OK", "+OK\r\n1 a", "+OK\r\n1 a\r\n", "+OK\r\n1 a\r\n."} {
		script := append(goodScript()[:5], mailtest.Expect("UIDL"), mailtest.Send(half), mailtest.HangUp())
		_, err := useAll(t, mailtest.DialTCP(mailtest.ScriptServer(t, script...).Addr)(t), ClientOptions{})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %q: %v, want %v", half, err, io.ErrUnexpectedEOF)
		}
	}
}

// TestClientHostile: answers that no client should take.
func TestClientHostile(t *testing.T) {
	long := strings.Repeat("x", MaxReply)
	tests := []struct {
		name string
		at   int // this act of goodScript is replaced
		acts []mailtest.Act
		want string
	}{
		{"another protocol", 0, []mailtest.Act{mailtest.Reply("220 smtp")}, "neither +OK nor -ERR"},
		{"a word that begins like OK", 0, []mailtest.Act{mailtest.Reply("+OKAY")}, "neither +OK nor -ERR"},
		{"no service", 0, []mailtest.Act{mailtest.Reply("-ERR [SYS/TEMP] full")}, "server says: [SYS/TEMP] full"},
		{"long greeting", 0, []mailtest.Act{mailtest.Reply("+OK " + long)}, "Line too long"},
		{"bare LF", 0, []mailtest.Act{mailtest.Send("+OK\n")}, "not in LF alone"},
		{"endless capabilities", 1, []mailtest.Act{mailtest.Expect("CAPA"), mailtest.Reply("+OK"), mailtest.Endless("A\r\n")}, "a listing without end"},
		{"STAT without numbers", 4, []mailtest.Act{mailtest.Exchange("STAT", "+OK")}, "answer to STAT"},
		{"STAT of 2^31", 4, []mailtest.Act{mailtest.Exchange("STAT", "+OK 2147483648 1")}, "answer to STAT"},
		{"STAT of too many", 4, []mailtest.Act{mailtest.Exchange("STAT", "+OK 1000001 1")}, "answer to STAT"},
		{"STAT of 2^63 octets", 4, []mailtest.Act{mailtest.Exchange("STAT", "+OK 1 9223372036854775808")}, "answer to STAT"},
		{"UIDL of message 2^63", 5, []mailtest.Act{mailtest.Exchange("UIDL", "+OK", "9223372036854775808 a", ".")}, "message number"},
		{"UIDL of message 0", 5, []mailtest.Act{mailtest.Exchange("UIDL", "+OK", "0 a", ".")}, "message number"},
		{"UIDL of nothing", 5, []mailtest.Act{mailtest.Exchange("UIDL", "+OK", "1 ", ".")}, "unique-id"},
		{"UIDL with a blank", 5, []mailtest.Act{mailtest.Exchange("UIDL", "+OK", "1 a b", ".")}, "unique-id"},
		{"UIDL not in ASCII", 5, []mailtest.Act{mailtest.Exchange("UIDL", "+OK", "1 \xff", ".")}, "unique-id"},
		{"LIST of 2^63 octets", 6, []mailtest.Act{mailtest.Exchange("LIST", "+OK", "1 9223372036854775808", ".")}, "size in a listing"},
		{"LIST with a sign", 6, []mailtest.Act{mailtest.Exchange("LIST", "+OK", "1 -1", ".")}, "size in a listing"},
	}
	for _, test := range tests {
		script := append(goodScript()[:test.at], test.acts...)
		_, err := useAll(t, mailtest.DialTCP(mailtest.ScriptServer(t, script...).Addr)(t), ClientOptions{})
		if err == nil || !strings.Contains(err.Error(), test.want) || !mail.StatusOf(err).IsTemporary() {
			t.Errorf("%s: %v, want a temporary error with %q", test.name, err, test.want)
		}
	}
}

// TestClientEndlessLine: time bounds what a limit of memory does not.
func TestClientEndlessLine(t *testing.T) {
	server := mailtest.ScriptServer(t, mailtest.Send("+OK "), mailtest.Endless("x"))
	_, err := NewClient(mailtest.DialTCP(server.Addr)(t), ClientOptions{ReplyTime: 50 * time.Millisecond})
	if err == nil {
		t.Error("a line without end was taken")
	}
}

func TestClientLoginErrors(t *testing.T) {
	tests := []struct {
		reply string
		want  mail.Status
	}{
		{"-ERR bad password", mail.Status{Class: 5, Subject: 7, Detail: 8}},
		{"-ERR [AUTH] bad password", mail.Status{Class: 5, Subject: 7, Detail: 8}},
		{"-ERR [IN-USE] wait", mail.Status{Class: 4}},
		{"-ERR [LOGIN-DELAY] wait", mail.Status{Class: 4}},
		{"-ERR [SYS/TEMP] wait", mail.Status{Class: 4}},
		{"-ERR [SYS/PERM] never", mail.Status{Class: 5, Subject: 3}},
	}
	for _, test := range tests {
		script := append(goodScript()[:3], mailtest.Exchange("PASS", test.reply))
		_, err := useAll(t, mailtest.DialTCP(mailtest.ScriptServer(t, script...).Addr)(t), ClientOptions{})
		if got := mail.StatusOf(err); got != test.want {
			t.Errorf("%q is %v (%v), want %v", test.reply, got, err, test.want)
		}
	}
	c, err := NewClient(mailtest.DialTCP(mailtest.ScriptServer(t, mailtest.Reply("+OK"), mailtest.Silence()).Addr)(t), ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Login("alice\r\nDELE 1", "x"); !errors.Is(err, wire.ErrInjection) {
		t.Errorf("a name with CR LF: %v, want %v", err, wire.ErrInjection)
	}
	c.Close()
}

// TestClientInjection: what comes in clear behind the answer to STLS is never an answer to a later command.
func TestClientInjection(t *testing.T) {
	ca := mailtest.NewCA(t)
	server := mailtest.ScriptServer(t,
		mailtest.Reply("+OK"),
		mailtest.InjectStartTLS("STLS", "+OK", "+OK injected", ca.ServerConfig("pop.example")),
		mailtest.Exchange("NOOP", "-ERR real"),
	)
	c, err := NewClient(mailtest.DialTCP(server.Addr)(t), ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(t.Context(), ca.ClientConfig("pop.example")); err != nil {
		return // a client may see the injected octets as a broken handshake
	}
	if err := c.Noop(); err == nil || !strings.Contains(err.Error(), "real") {
		t.Errorf("NOOP after STLS: %v, want the answer inside TLS", err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, other := mailtest.NewCA(t), mailtest.NewCA(t)
	srv := testServer(testSpool(t))
	srv.TLS = ca.ServerConfig("pop.example")
	dial := serve(t, one(srv))
	start := func(ca *mailtest.CA, name string) error {
		c, err := NewClient(dial(t), ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.StartTLS(t.Context(), ca.ClientConfig(name)); err != nil {
			return err
		}
		if _, err := c.Capa(); err != nil || c.TLS() == nil {
			t.Errorf("after STLS: %v, TLS %v", err, c.TLS())
		}
		return c.Login("alice", "open sesame")
	}
	if err := start(ca, "pop.example"); err != nil {
		t.Errorf("the right certificate: %v", err)
	}
	if err := start(ca, "other.example"); err == nil {
		t.Error("a certificate for another name was taken")
	}
	if err := start(other, "pop.example"); err == nil {
		t.Error("a certificate of another authority was taken")
	}
}

// TestClientSASL logs in at our own server with each mechanism, and with a wrong password.
func TestClientSASL(t *testing.T) {
	dial := serve(t, one(testServer(testSpool(t))))
	for _, mech := range []string{auth.MechPlain, auth.MechLogin, auth.MechScramSHA256} {
		for _, password := range []string{"open sesame", "wrong", strings.Repeat("long", 100)} {
			var trace []string
			c, err := NewClient(dial(t), ClientOptions{Trace: func(_ bool, line string) { trace = append(trace, line) }})
			if err != nil {
				t.Fatal(err)
			}
			m, err := auth.NewClient(auth.Credentials{User: "alice", Password: password}, auth.Choice{Offered: []string{mech}, Secure: true})
			if err == nil {
				err = c.Authenticate(m)
			}
			if (err == nil) != (password == "open sesame") || err != nil && mail.StatusOf(err).Detail != 8 {
				t.Errorf("%s with %q: %v", mech, password, err)
			}
			if err := c.Quit(); err != nil {
				t.Errorf("%s, then QUIT: %v", mech, err)
			}
			for _, line := range trace {
				if strings.HasPrefix(line, "+ ") && line != "+ ***" {
					t.Errorf("%s: the trace shows %q", mech, line)
				}
			}
			if mech != auth.MechPlain && !slices.Contains(trace, "+ ***") {
				t.Errorf("%s: no challenge in the trace %q", mech, trace)
			}
		}
	}
}

// TestRetrieveStops: an error of the caller ends pipelining with the dialog in step, whatever is under way.
func TestRetrieveStops(t *testing.T) {
	dial := serve(t, one(testServer(testSpool(t))))
	stop := errors.New("enough")
	for window := 1; window < 8; window++ {
		c, err := NewClient(dial(t), ClientOptions{Window: window, ReplyTime: mailtest.DefaultTimeout})
		if err == nil {
			_, err = c.Capa()
		}
		if err == nil {
			err = c.Login("alice", "open sesame")
		}
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		err = c.Retrieve([]int{9, 1, 2, 3, 9, 3}, func(n int, _ io.Reader, _ error) error {
			if calls++; n == 1 {
				return stop
			}
			return nil
		})
		if err != stop || calls != 2 {
			t.Errorf("window %d: Retrieve = %v after %d calls, want %v after 2", window, err, calls, stop)
		}
		if n, _, err := c.Stat(); n != 3 || err != nil {
			t.Errorf("window %d: then STAT = %d, %v", window, n, err)
		}
		if err := c.Quit(); err != nil {
			t.Error(err)
		}
	}
}

// TestRetrieveTooBig: a message over the limit is an error of that message.
func TestRetrieveTooBig(t *testing.T) {
	for limit, want := range map[int64]error{35: wire.ErrTooBig, 36: nil, 37: nil} {
		c, err := NewClient(serve(t, one(testServer(testSpool(t))))(t), ClientOptions{MaxSize: limit})
		if err == nil {
			err = c.Login("alice", "open sesame")
		}
		if err != nil {
			t.Fatal(err)
		}
		var got error
		err = c.Retrieve([]int{1}, func(_ int, r io.Reader, _ error) error { _, got = io.ReadAll(r); return nil })
		if err != nil || got != want {
			t.Errorf("36 octets with a limit of %d: %v, %v; want %v", limit, err, got, want)
		}
		if err := c.Quit(); err != nil {
			t.Error(err)
		}
	}
}

func TestParseReply(t *testing.T) {
	tests := []struct {
		line    string
		success bool
		text    string
		ok      bool
	}{
		{"+OK", true, "", true}, {"+OK hi", true, "hi", true}, {"+ok\thi", true, "hi", true}, {"-ERR", false, "", true},
		{"-err: no", false, ": no", true}, {"+OKAY", false, "", false}, {"-ERROR", false, "", false}, {"", false, "", false},
		{"+O", false, "", false}, {" +OK", false, "", false}, {"OK", false, "", false},
	}
	for _, test := range tests {
		success, text, ok := parseReply(test.line)
		if success != test.success || text != test.text || ok != test.ok {
			t.Errorf("parseReply(%q) = %v, %q, %v", test.line, success, text, ok)
		}
	}
}

func TestCutCode(t *testing.T) {
	for text, want := range map[string][2]string{
		"[IN-USE] x": {"IN-USE", "x"}, "[auth]": {"AUTH", ""}, "x [A] y": {"", "x [A] y"}, "[x": {"", "[x"}, "": {"", ""},
	} {
		if code, rest := cutCode(text); code != want[0] || rest != want[1] {
			t.Errorf("cutCode(%q) = %q, %q", text, code, rest)
		}
	}
}

// FuzzClient: whatever a server says, the client ends, and in time.
func FuzzClient(f *testing.F) {
	f.Add("+OK\r\n+OK\r\nPIPELINING\r\n.\r\n+OK\r\n+OK\r\n+OK 2 14\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n+OK\r\n1 7\r\n.\r\n+OK\r\nx\r\n.\r\n-ERR\r\n+OK\r\n+OK\r\n+OK\r\n")
	f.Add("+OK\r\n-ERR\r\n+OK\r\n+OK\r\n+OK 1 99999999999999999999\r\n")
	f.Add("-ERR [SYS/TEMP] \x00\r\n")
	f.Fuzz(func(t *testing.T, said string) {
		got, err := useAll(t, &scriptConn{in: strings.NewReader(said)}, ClientOptions{})
		for _, line := range got {
			if strings.Contains(line, "server says") && strings.ContainsAny(line, "\r\n\x00\x1b") {
				t.Errorf("%q: %q, %v", said, line, err)
			}
		}
	})
}
