package mailtest

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Python, curl and our own client come later; the client of net/smtp is an independent one too.
func TestSinkTakesMail(t *testing.T) {
	CheckLeaks(t)
	ca := NewCA(t)
	s := StartSink(t, SinkOptions{TLS: ca.ServerConfig("mx.test"), Users: map[string]string{"bob": "hungry"}})
	c, err := smtp.Dial(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, _ := c.Extension("AUTH"); ok {
		t.Error("AUTH is offered in clear")
	}
	must(t, c.StartTLS(ca.ClientConfig("mx.test")))
	if ok, _ := c.Extension("STARTTLS"); ok {
		t.Error("STARTTLS is offered inside TLS")
	}
	if err := c.Auth(smtp.PlainAuth("", "bob", "hungry", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		must(t, c.Mail("alice@crepes.fr"))
		must(t, c.Rcpt("bob@hamburger.edu"))
		must(t, c.Rcpt("eve@hamburger.edu"))
		w, err := c.Data()
		must(t, err)
		io.WriteString(w, "Subject: x\r\n\r\n.dot\r\nä\r\n")
		must(t, w.Close())
	}
	must(t, c.Quit())
	messages := s.Messages()
	if len(messages) != 2 {
		t.Fatalf("%d messages", len(messages))
	}
	for _, m := range messages {
		if m.From != "alice@crepes.fr" || !slices.Equal(m.Rcpts, []string{"bob@hamburger.edu", "eve@hamburger.edu"}) ||
			m.Data != "Subject: x\r\n\r\n.dot\r\nä\r\n" || m.User != "bob" || !m.TLS || m.Helo != "localhost" ||
			m.Opts.Body != "8BITMIME" || len(m.Dsn) != 2 {
			t.Errorf("message %+v", m)
		}
	}
	if s.Connections() != 1 || s.Commands()[0] != "EHLO localhost" {
		t.Errorf("%d connections, commands %q", s.Connections(), s.Commands())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSinkRefusesWrongPassword(t *testing.T) {
	s := StartSink(t, SinkOptions{Users: map[string]string{"bob": "hungry"}})
	c := dialText(t, s.Addr)
	converse(t, c, "", "220", "EHLO x", "250", "AUTH PLAIN", "334", "AGJvYgBmdWxs", "535", "AUTH PLAIN AGJvYgBodW5ncnk=", "235")
}

// converse sends the lines and wants the codes, in pairs.
func converse(t testing.TB, c *textproto.Conn, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != "" {
			must(t, c.PrintfLine("%s", pairs[i]))
		}
		code, text, err := c.ReadResponse(0)
		got := strconv.Itoa(code)
		if err != nil && code == 0 {
			got = "closed"
		}
		if got != pairs[i+1] {
			t.Fatalf("%q: got %s %q (%v), want %s", pairs[i], got, text, err, pairs[i+1])
		}
	}
}

func TestSinkStages(t *testing.T) {
	CheckLeaks(t)
	start := []string{"", "220", "EHLO x", "250"}
	envelope := append(start[:4:4], "MAIL FROM:<a@b.test>", "250", "RCPT TO:<c@d.test>", "250")
	content := append(envelope[:8:8], "DATA", "354")
	for _, c := range []struct {
		stage, reply string
		talk         []string
	}{
		{"CONNECT", "554 5.3.2 no", []string{"", "554"}},
		{"CONNECT", SinkClose, []string{"", "closed"}},
		{"EHLO", "502 no", []string{"", "220", "EHLO x", "502", "HELO x", "250"}},
		{"helo", SinkReset, []string{"", "220", "HELO x", "closed"}},
		{"MAIL", "451 4.3.0 later", append(start[:4:4], "MAIL FROM:<a@b.test>", "451", "QUIT", "221", "", "closed")},
		{"MAIL A@b.test", "550 5.7.1 not you", append(start[:4:4], "MAIL FROM:<a@b.test>", "550", "MAIL FROM:<b@b.test>", "250")},
		{"RCPT no@d.test", "550-5.1.1 no\n550 5.1.1 really", append(envelope[:8:8], "RCPT TO:<no@d.test>", "550", "DATA", "354")},
		{"DATA", "452 4.3.1 full", append(envelope[:8:8], "DATA", "452", "RSET", "250")},
		{".", "552 5.3.4 big", append(content[:10:10], "x\r\n.", "552", "NOOP", "250")},
		{".", SinkClose, append(content[:10:10], "x\r\n.", "closed")},
		{"BODY", SinkReset, append(content[:10:10], "x", "closed")},
		{"BDAT", "554 no", append(envelope[:8:8], "BDAT 5\r\nabc", "554", "BDAT 5\r\nabc", "554", "RSET", "250")},
		{"QUIT", SinkClose, append(start[:4:4], "QUIT", "closed")},
		{"STARTTLS", "454 4.7.0 not now", append(start[:4:4], "STARTTLS", "454", "NOOP", "250")},
	} {
		s := StartSink(t, SinkOptions{Replies: map[string]string{c.stage: c.reply}})
		conn := dialText(t, s.Addr)
		converse(t, conn, c.talk...)
		conn.Close()
		if m := s.Messages(); len(m) != 0 {
			t.Errorf("%s: the sink kept %+v", c.stage, m)
		}
	}
}

func TestSinkInjectsOnce(t *testing.T) {
	s := StartSink(t, SinkOptions{Replies: map[string]string{"RCPT": "450 4.2.0 greylisted"}})
	s.Inject("rcpt c@d.test", "451 4.3.0 one", "250 2.1.5 two")
	converse(t, dialText(t, s.Addr), "", "220", "EHLO x", "250", "MAIL FROM:<>", "250", "RCPT TO:<c@d.test>", "451",
		"RCPT TO:<c@d.test>", "250", "RCPT TO:<c@d.test>", "450")
}

func TestSinkBdat(t *testing.T) {
	s := StartSink(t, SinkOptions{})
	converse(t, dialText(t, s.Addr), "", "220", "EHLO x", "250", "MAIL FROM:<> SIZE=8", "250", "RCPT TO:<c@d.test>", "250",
		"BDAT 6\r\na\r\n.", "250", "BDAT 3 LAST\r\nb", "250", "MAIL FROM:<>", "250", "QUIT", "221")
	m := s.Messages()
	if len(m) != 1 || m[0].Data != "a\r\n.\r\nb\r\n" || m[0].Opts.Size != 8 || m[0].Rcpts[0] != "c@d.test" {
		t.Errorf("messages %+v", m)
	}
}

func TestSinkSilence(t *testing.T) {
	CheckLeaks(t)
	s := StartSink(t, SinkOptions{Replies: map[string]string{"MAIL": SinkSilence}})
	c := dialText(t, s.Addr)
	converse(t, c, "", "220", "HELO x", "250")
	must(t, c.PrintfLine("MAIL FROM:<>"))
}

func TestSinkHides(t *testing.T) {
	s := StartSink(t, SinkOptions{Hide: []string{"PIPELINING", "SIZE", "8BITMIME"}, MaxSize: 9})
	c := dialText(t, s.Addr)
	converse(t, c, "", "220")
	must(t, c.PrintfLine("EHLO x"))
	_, got, err := c.ReadResponse(250)
	if want := "Hello x\nENHANCEDSTATUSCODES\nCHUNKING\nDSN\nSMTPUTF8"; err != nil || sortLines(got) != sortLines(want) {
		t.Errorf("EHLO: %q, %v", got, err)
	}
}

func sortLines(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestSinkImplicitTLS(t *testing.T) {
	ca := NewCA(t)
	s := StartSink(t, SinkOptions{TLS: ca.ServerConfig("127.0.0.1"), Implicit: true, Users: map[string]string{"a": "b"}})
	conn, err := tls.Dial("tcp", s.Addr, ca.ClientConfig("127.0.0.1"))
	must(t, err)
	c := textproto.NewConn(conn)
	defer c.Close()
	converse(t, c, "", "220", "EHLO x", "250", "AUTH PLAIN AGEAYg==", "235", "MAIL FROM:<>", "250")
}

// Every fault of a client fails its test.
func TestSinkFaults(t *testing.T) {
	head := "EHLO x\r\n"
	mail := "MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n"
	for _, c := range []struct{ name, sent, want string }{
		{"none", head + "NOOP\r\n", ""},
		{"bare LF", head + "NOOP\n", `a line ends in LF alone: NOOP\n`},
		{"bare CR", head + "NOOP\rNOOP\r\n", `CR or NUL inside a line: NOOP\rNOOP\r\n`},
		{"NUL", head + "NOOP \x00\r\n", "CR or NUL inside"},
		{"long command", head + "NOOP " + strings.Repeat("x", 1994) + "\r\n", "a line of 2001 octets"},
		{"long text", head + mail + strings.Repeat("x", 999) + "\r\n.\r\n", "a line of 1001 octets"},
		{"longest text", head + mail + strings.Repeat("x", 998) + "\r\n.\r\n", ""},
		{"LF in text", head + mail + "a\nb\r\n.\r\n", `LF alone: a\n`},
		{"8 bit", head + mail + "ä\r\n.\r\n", "8 bit text without BODY=8BITMIME"},
		{"not offered", "HELO x\r\nMAIL FROM:<>\r\nRSET\r\n", `pipelining that was not offered, behind "HELO x"`},
		{"behind STARTTLS", head + "STARTTLS\r\nNOOP\r\n", "more in clear behind STARTTLS"},
		{"AUTH in clear", head + "AUTH PLAIN AGEAYg==\r\n", "AUTH in clear"},
	} {
		for _, lenient := range []bool{false, true} {
			got := record(t, func(t testing.TB) {
				ca := NewCA(t)
				s := StartSink(t, SinkOptions{TLS: ca.ServerConfig("x"), Users: map[string]string{"a": "b"}, Lenient: lenient})
				conn := DialTCP(s.Addr)(t)
				defer conn.Close()
				talkInSteps(conn, c.sent)
			})
			if want := c.want; lenient && got != "" || !lenient && ((got == "") != (want == "") || !strings.Contains(got, want)) {
				t.Errorf("%s, lenient %v: %q, want %q", c.name, lenient, got, want)
			}
		}
	}
}

// talkInSteps sends EHLO after the greeting, the rest after its reply, half-closes, and reads to the end.
func talkInSteps(conn net.Conn, text string) {
	r := bufio.NewReader(conn)
	r.ReadString('\n')
	first, rest, _ := strings.Cut(text, "\r\n")
	if strings.HasPrefix(first, "HELO") {
		first, rest = text[:len(text)-2], ""
	}
	io.WriteString(conn, first+"\r\n")
	textproto.NewReader(r).ReadResponse(0)
	io.WriteString(conn, rest)
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, r)
}

func TestSinkEarlyTalker(t *testing.T) {
	got := record(t, func(t testing.TB) {
		s := &Sink{t: t, once: make(map[string][]string), pipes: newPipeListener(), live: make(map[net.Conn]bool)}
		s.backend = newBackend(s)
		s.wg.Go(func() { s.backend.Serve(s.pipes) })
		client, server := Pipe(t)
		io.WriteString(client, "EHLO x\r\n")
		client.CloseWrite()
		newSinkConn(s, server).serve()
		s.stop()
	})
	if !strings.Contains(got, "sent before the greeting") {
		t.Errorf("the test says %q", got)
	}
}
