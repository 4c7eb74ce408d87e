package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

const hello8 = "250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 10000000\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES"

func addr(t testing.TB, s string) mail.Address {
	t.Helper()
	if s == "" {
		return mail.Address{}
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatalf("address %q: %v", s, err)
	}
	return a
}

func envelope(t testing.TB, from string, to ...string) *mail.Envelope {
	t.Helper()
	env := &mail.Envelope{Sender: addr(t, from)}
	for _, s := range to {
		env.Rcpts = append(env.Rcpts, mail.Recipient{Address: addr(t, s)})
	}
	return env
}

func testOptions() ClientOptions {
	d := 5 * time.Second
	return ClientOptions{Hello: "client.example", Timeouts: Timeouts{d, d, d, d, d, d, d, d / 100}}
}

func dial(t testing.TB, address string, opt ClientOptions) (*Client, error) {
	t.Helper()
	c, err := Dial(t.Context(), "tcp", address, opt)
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

func mustDial(t testing.TB, address string) *Client {
	t.Helper()
	c, err := dial(t, address, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// statuses gives "2.0.0 5.1.1" for results.
func statuses(results []mail.Result) string {
	var words []string
	for _, r := range results {
		words = append(words, mail.StatusOf(r.Err).String())
	}
	return strings.Join(words, " ")
}

func sendText(t testing.TB, c *Client, env *mail.Envelope, text string) []mail.Result {
	t.Helper()
	results := c.Send(t.Context(), env, strings.NewReader(text), int64(len(text)))
	if len(results) != len(env.Rcpts) {
		t.Fatalf("%d results for %d recipients", len(results), len(env.Rcpts))
	}
	return results
}

// greet are the acts of a server up to EHLO.
func greet(hello string) []mailtest.Act {
	return []mailtest.Act{mailtest.Reply("220 mx.example ESMTP"), mailtest.Exchange("EHLO client.example", hello)}
}

// after runs acts behind greet.
func after(hello string, acts ...mailtest.Act) []mailtest.Act { return append(greet(hello), acts...) }

// What is not to be believed is not used.
func TestDiscard(t *testing.T) {
	srv := mailtest.ScriptServer(t, after(hello8, mailtest.Exchange("MAIL FROM:<me@x.example>", "250 ok"), mailtest.Exchange("RCPT", "250 ok"),
		mailtest.Exchange("DATA", "354 go"), mailtest.ExpectTo("."), mailtest.Reply("250 ok"))...)
	opt := testOptions()
	opt.Discard = []string{"pipelining", "SIZE", "8BITMIME", "none"}
	c, err := dial(t, srv.Addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	if got := statuses(sendText(t, c, envelope(t, "me@x.example", "a@y.example"), "\nhi\n")); got != "2.0.0" {
		t.Errorf("got %s", got)
	}
}

func TestSendDialogues(t *testing.T) {
	group := func(replies ...string) []mailtest.Act { // MAIL, RCPT a, RCPT b, DATA in one go
		return []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("RCPT"),
			mailtest.Expect("DATA"), mailtest.Reply(replies...)}
	}
	body := mailtest.ExpectTo(".")
	tests := []struct {
		name   string
		hello  string
		acts   []mailtest.Act
		want   string
		usable bool
	}{
		{"accepted", hello8, append(group("250 ok", "250 ok", "250 ok", "354 go"), body,
			mailtest.Reply("250 2.0.0 stored")),
			"2.0.0 2.0.0", true},
		{"one recipient refused", hello8, append(group("250 ok", "550 5.1.1 who", "250 ok", "354 go"), body,
			mailtest.Reply("250 ok")),
			"5.1.1 2.0.0", true},
		{"one later, one never", hello8, group("250 ok", "450 4.2.1 full", "550 who", "554 none"), "4.2.1 5.0.0", true},
		{"too many", hello8, append(group("250 ok", "250 ok", "452 too many", "354 go"), body, mailtest.Reply("250 ok")), "2.0.0 4.5.3", true},
		{"too many, of old", hello8, append(group("250 ok", "250 ok", "552 too many", "354 go"), body, mailtest.Reply("250 ok")), "2.0.0 4.5.3", true},
		{"too many, with a status", hello8, append(group("250 ok", "250 ok", "552 5.5.3 many", "354 go"), body, mailtest.Reply("250 ok")), "2.0.0 4.5.3", true},
		{"mailbox full", hello8, append(group("250 ok", "250 ok", "552 5.2.2 full", "354 go"), body, mailtest.Reply("250 ok")), "2.0.0 5.2.2", true},
		{"552 to the first", hello8, append(group("250 ok", "552 full", "250 ok", "354 go"), body, mailtest.Reply("250 ok")), "5.0.0 2.0.0", true},
		{"452 to the first", hello8, append(group("250 ok", "452 disk", "250 ok", "354 go"), body, mailtest.Reply("250 ok")), "4.0.0 2.0.0", true},
		{"sender refused for good", hello8, group("550 5.7.1 no", "503 mail", "503 mail", "503 mail"),
			"5.7.1 5.7.1", true},
		{"sender refused for now", hello8, group("451 no", "503 mail", "503 mail", "503 mail"), "4.0.0 4.0.0", true},
		{"sender refused, 354 all the same", hello8,
			append(group("550 no", "250 ok", "250 ok", "354 go"), mailtest.Expect("."), mailtest.Reply("250 ok")),
			"5.0.0 5.0.0", true},
		{"all refused, 354 all the same", hello8,
			append(group("250 ok", "550 no", "450 no", "354 go"), mailtest.Expect("."), mailtest.Reply("250 ok")),
			"5.0.0 4.0.0", true},
		{"DATA refused for now", hello8, group("250 ok", "250 ok", "250 ok", "451 4.3.0 no"), "4.3.0 4.3.0", true},
		{"DATA refused for good", hello8, group("250 ok", "250 ok", "250 ok", "554 5.3.0 no"), "5.3.0 5.3.0", true},
		{"DATA answered with 250", hello8, group("250 ok", "250 ok", "250 ok", "250 ok"), "4.5.0 4.5.0", false},
		{"message refused for now", hello8, append(group("250 ok", "250 ok", "250 ok", "354 go"), body,
			mailtest.Reply("452 4.3.1 disk")),
			"4.3.1 4.3.1", true},
		{"message refused for good", hello8, append(group("250 ok", "250 ok", "550 ok", "354 go"), body,
			mailtest.Reply("554 5.6.0 spam")),
			"5.6.0 5.0.0", true},
		{"421 to a recipient", hello8, group("250 ok", "250 ok", "421 4.3.2 bye"), "4.3.2 4.3.2", false},
		{"lost after the data", hello8, append(group("250 ok", "250 ok", "550 5.1.1 ok", "354 go"), body),
			"4.4.2 5.1.1", false},
		{"mixed codes", hello8, group("250 ok", "250-ok\r\n550 no"), "4.5.0 4.5.0", false},
		{"354 to MAIL", hello8, group("354 ok"), "4.5.0 4.5.0", false},
		{"status that contradicts", hello8, group("250 ok", "450 5.1.1 x", "550 4.2.2 y", "554 z"), "4.0.0 5.0.0", true},
		{"one at a time", "250 mx.example", []mailtest.Act{
			mailtest.Exchange("MAIL", "250 ok"), mailtest.Exchange("RCPT", "550 5.1.1 no"),
			mailtest.Exchange("RCPT", "250 ok"), mailtest.Exchange("DATA", "354 go"),
			body, mailtest.Reply("250 ok")}, "5.1.1 2.0.0", true},
		{"no DATA for nobody", "250 mx.example", []mailtest.Act{
			mailtest.Exchange("MAIL", "250 ok"), mailtest.Exchange("RCPT", "550 5.1.1 no"),
			mailtest.Exchange("RCPT", "550 5.7.1 no"), mailtest.Expect("QUIT")},
			"5.1.1 5.7.1", true},
		{"no RCPT after a refused MAIL", "250 mx.example", []mailtest.Act{mailtest.Exchange("MAIL", "550 5.7.1 no"),
			mailtest.Expect("QUIT")},
			"5.7.1 5.7.1", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := mailtest.ScriptServer(t, after(test.hello, test.acts...)...)
			c := mustDial(t, s.Addr)
			results := sendText(t, c, envelope(t, "me@x.example", "a@y.example", "b@y.example"), "Subject: x\n\nhi\n")
			if got := statuses(results); got != test.want {
				t.Errorf("got %s, want %s: %v", got, test.want, results)
			}
			if c.Usable() != test.usable {
				t.Errorf("usable is %v, want %v", c.Usable(), test.usable)
			}
			c.Quit()
		})
	}
}

func TestEachWriteIsOne(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	writes := make(chan string, 10)
	go func() {
		defer close(writes)
		buf := make([]byte, 1<<16)
		for _, answer := range []string{"220 hi\r\n", strings.ReplaceAll(hello8, "SIZE 10000000", "SIZE 0") + "\r\n",
			"250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n"} {
			if answer != "220 hi\r\n" {
				n, _ := server.Read(buf)
				writes <- string(buf[:n])
			}
			io.WriteString(server, answer)
		}
	}()
	c, err := NewClient(t.Context(), client, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := "Subject: x\n\n.dot\nbare"
	env := envelope(t, "", "a@y.example")
	env.Body, env.Ret, env.EnvID = mail.Body8BitMIME, mail.RetHeaders, "id=1"
	env.Rcpts[0].Notify, env.Rcpts[0].Orig = mail.NotifySuccess|mail.NotifyDelay, "rfc822;o@y.example"
	results := sendText(t, c, env, text)
	want := []string{
		"EHLO client.example\r\n",
		"MAIL FROM:<> SIZE=26 BODY=8BITMIME RET=HDRS ENVID=id+3D1\r\n" +
			"RCPT TO:<a@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@y.example\r\nDATA\r\n",
		"Subject: x\r\n\r\n..dot\r\nbare\r\n.\r\n",
	}
	var got []string
	for w := range writes {
		got = append(got, w)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if r := results[0]; r.Err != nil || !r.Relayed || r.Notify != mail.NotifyDelay || r.Reply != "250 ok" {
		t.Errorf("result %+v: want relayed, and success reported by the server", r)
	}
}

// A reply to nothing would be taken for the one to what comes next, and so on.
func TestUnaskedReply(t *testing.T) {
	for verb, opt := range map[string]ClientOptions{"EHLO": testOptions(), "LHLO": testOptions()} {
		s := mailtest.ScriptServer(t, mailtest.Reply("220 mx.example"), mailtest.Exchange(verb+" client.example", hello8),
			mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA"),
			mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."), mailtest.Reply("250 ok", "550 no"))
		opt.LMTP = verb == "LHLO"
		c, err := dial(t, s.Addr, opt)
		if err != nil {
			t.Fatal(err)
		}
		if got := statuses(sendText(t, c, envelope(t, "", "a@y.example"), "x")); got != "2.0.0" || c.Usable() {
			t.Errorf("%s: got %s, usable %v; want 2.0.0, not usable", verb, got, c.Usable())
		}
		c.Close()
	}
}

func TestReuse(t *testing.T) {
	message := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA"),
		mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."), mailtest.Reply("250 ok")}
	acts := after(hello8, message...)
	acts = append(acts, mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA"),
		mailtest.Reply("250 ok", "550 no", "503 none"))
	acts = append(acts, mailtest.Expect("RSET"), mailtest.Expect("MAIL"), mailtest.Expect("RCPT"),
		mailtest.Expect("DATA"), mailtest.Reply("250 ok", "250 ok", "250 ok", "354 go"),
		mailtest.ExpectTo("."), mailtest.Reply("250 ok"), mailtest.Exchange("QUIT", "221 bye"))
	s := mailtest.ScriptServer(t, acts...)
	c := mustDial(t, s.Addr)
	for i, want := range []string{"2.0.0", "5.0.0", "2.0.0"} {
		if got := statuses(sendText(t, c, envelope(t, "", "a@y.example"), "\nx\n")); got != want {
			t.Errorf("message %d: got %s, want %s", i+1, got, want)
		}
	}
	c.Quit()
	if c.Usable() {
		t.Error("usable after QUIT")
	}
	if got := statuses(sendText(t, c, envelope(t, "", "a@y.example"), "x")); got != "4.4.2" {
		t.Errorf("after QUIT: got %s, want 4.4.2", got)
	}
}

func TestStale(t *testing.T) {
	for name, act := range map[string]mailtest.Act{"closed": mailtest.HangUp(), "421": mailtest.Exchange("MAIL",
		"421 4.4.2 idle too long")} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ScriptServer(t, after(hello8, act)...)
			c := mustDial(t, s.Addr)
			got := statuses(sendText(t, c, envelope(t, "", "a@y.example"), "x"))
			if got != "4.4.2" || !c.Stale() || c.Usable() {
				t.Errorf("got %s, stale %v, usable %v; want 4.4.2, stale, not usable", got, c.Stale(), c.Usable())
			}
		})
	}
}

// What is decided before anything is sent.
func TestNothingSent(t *testing.T) {
	evil := mail.Address{Local: "a>\r\nRCPT TO:<b", Domain: "y.example"}
	tests := []struct {
		name  string
		hello string
		text  string
		env   func(*mail.Envelope)
		want  string
	}{
		{"too big", "250-x\r\n250 SIZE 10", "Subject: too big\n", nil, "5.3.4"},
		{"8 bit, signed", "250 x", "Content-Type: multipart/signed; boundary=b\n\n--b\n\n\xc3\xa4\n--b--\n", nil, "5.6.3"},
		{"8 bit in the header", "250 x", "Subject: \xc3\xa4\n\n", nil, "5.6.3"},
		{"too big when it is converted", "250-x\r\n250 SIZE 100", "Subject: x\n\n\xc3\xa4\n", nil, "5.3.4"},
		{"REQUIRETLS in clear", hello8, "x", func(e *mail.Envelope) { e.RequireTLS = true }, "5.7.30"},
		{"BY=R that is over", "250-x\r\n250 DELIVERBY", "x", func(e *mail.Envelope) { e.By.At = time.Now() }, "5.4.7"},
		{"BY=R without DELIVERBY", "250 x", "x", func(e *mail.Envelope) { e.By.At = time.Now().Add(time.Hour) }, "5.4.7"},
		{"BY=R with less than the least", "250-x\r\n250 DELIVERBY 7200", "x",
			func(e *mail.Envelope) { e.By.At = time.Now().Add(time.Hour) }, "5.4.7"},
		{"UTF-8 sender", "250 x", "x", func(e *mail.Envelope) { e.Sender.Local = "jörg" }, "5.6.7"},
		{"UTF-8 header", "250-x\r\n250 8BITMIME", "Subject: \xc3\xa4\n\n", func(e *mail.Envelope) { e.UTF8 = true },
			"5.6.7"},
		{"U-label that is none", "250 x", "x", func(e *mail.Envelope) { e.Sender.Domain = "\u200dx.example" }, "5.6.7"},
		{"UTF-8 recipient", "250 x", "x", func(e *mail.Envelope) { e.Rcpts[0].Local = "jörg" }, "5.6.7"},
		{"injection in a recipient", hello8, "x", func(e *mail.Envelope) { e.Rcpts[0].Address = evil }, "5.1.3"},
		{"injection in the sender", hello8, "x", func(e *mail.Envelope) { e.Sender = evil }, "5.1.3"},
		{"NUL", hello8, "x", func(e *mail.Envelope) { e.Rcpts[0].Local = "a\x00" }, "5.1.3"},
		{"space in a domain", hello8, "x", func(e *mail.Envelope) { e.Rcpts[0].Domain = "y SIZE=1" }, "5.1.3"},
		{"null recipient", hello8, "x", func(e *mail.Envelope) { e.Rcpts[0].Address = mail.Address{} }, "5.1.3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ended := make(chan struct{})
			s := mailtest.ScriptServer(t, after(test.hello, mailtest.Expect("QUIT"), func(*mailtest.Peer) error {
				close(ended)
				return nil
			})...)
			c := mustDial(t, s.Addr)
			env := envelope(t, "me@x.example", "a@y.example")
			if test.env != nil {
				test.env(env)
			}
			if got := statuses(sendText(t, c, env, test.text)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			c.Quit()
			select {
			case <-ended:
			case <-time.After(mailtest.DefaultTimeout):
				t.Errorf("the server saw %q", s.Said())
			}
		})
	}
}

// Needless declarations do not keep a plain message from a plain server.
func TestDowngrade(t *testing.T) {
	s := mailtest.ScriptServer(t, after("250 x", mailtest.Exchange("MAIL", "250 ok"), mailtest.Exchange("RCPT",
		"250 ok"), mailtest.Exchange("DATA", "354 go"),
		mailtest.ExpectTo("."), mailtest.Reply("250 ok"))...)
	c := mustDial(t, s.Addr)
	env := envelope(t, "me@x.example", "a@y.example", "jörg@y.example")
	env.Body, env.UTF8, env.EnvID, env.Ret = mail.Body8BitMIME, true, "x", mail.RetFull
	env.Rcpts[0].Notify = mail.NotifySuccess
	results := sendText(t, c, env, "Subject: plain\n\nx\n")
	if got := statuses(results); got != "2.0.0 5.6.7" {
		t.Errorf("got %s, want 2.0.0 5.6.7", got)
	}
	if results[0].Notify != mail.NotifySuccess {
		t.Error("a server without DSN was trusted with the report")
	}
	if got := s.Said()[1:3]; !slices.Equal(got, []string{"MAIL FROM:<me@x.example>", "RCPT TO:<a@y.example>"}) {
		t.Errorf("the server saw %q", got)
	}
}

func TestOpenFailures(t *testing.T) {
	long := strings.Repeat("x", maxReplyLine)
	tests := []struct {
		name string
		acts []mailtest.Act
		want string
	}{
		{"closed at once", []mailtest.Act{mailtest.HangUp()}, "4.4.2"},
		{"greeting 554", []mailtest.Act{mailtest.Reply("554 5.7.1 go away")}, "5.7.1"},
		{"greeting 421", []mailtest.Act{mailtest.Reply("421 busy")}, "4.0.0"},
		{"greeting 450", []mailtest.Act{mailtest.Reply("450 busy")}, "4.0.0"},
		{"greeting 250", []mailtest.Act{mailtest.Reply("250 hi")}, "4.5.0"},
		{"greeting of HTTP", []mailtest.Act{mailtest.Reply("HTTP/1.1 400 Bad Request")}, "4.5.0"},
		{"bare LF", []mailtest.Act{mailtest.Send("220 hi\n")}, "4.5.0"},
		{"line too long", []mailtest.Act{mailtest.Reply("220 " + long)}, "4.5.0"},
		{"line without end", []mailtest.Act{mailtest.Endless("2")}, "4.4.2"},
		{"reply without end", []mailtest.Act{mailtest.Endless("220-x\r\n")}, "4.5.0"},
		{"mixed codes", []mailtest.Act{mailtest.Reply("220-hi", "554 no")}, "4.5.0"},
		{"EHLO and HELO refused", []mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "502 what"),
			mailtest.Exchange("HELO", "550 5.7.1 no")}, "5.7.1"},
		{"EHLO refused for now", []mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("EHLO",
			"451 4.3.0 later")}, "4.3.0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opt := testOptions()
			if test.name == "line without end" {
				opt.Timeouts.Greeting = 20 * time.Millisecond
			}
			_, err := dial(t, mailtest.ScriptServer(t, test.acts...).Addr, opt)
			if err == nil || mail.StatusOf(err).String() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestHELO(t *testing.T) {
	s := mailtest.ScriptServer(t, mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", "500 what"),
		mailtest.Exchange("HELO", "250-old\r\n250 PIPELINING"), mailtest.Expect("QUIT"))
	c := mustDial(t, s.Addr)
	if len(c.Extensions()) != 0 {
		t.Errorf("extensions of HELO: %v", c.Extensions())
	}
	c.Quit()
}

func TestSilence(t *testing.T) {
	s := mailtest.ScriptServer(t, after(hello8, mailtest.Silence())...)
	opt := testOptions()
	opt.Timeouts.Mail = 10 * time.Millisecond
	c, err := dial(t, s.Addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	if got := statuses(sendText(t, c, envelope(t, "", "a@y.example"), "x")); got != "4.4.2" || c.Usable() {
		t.Errorf("got %s, want 4.4.2", got)
	}
}

func TestCancel(t *testing.T) {
	s := mailtest.ScriptServer(t, after(hello8, mailtest.Silence())...)
	c := mustDial(t, s.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	results := c.Send(ctx, envelope(t, "", "a@y.example"), strings.NewReader("x"), 1)
	if got := statuses(results); got != "4.4.2" || !errors.Is(results[0].Err, context.Canceled) || c.Usable() {
		t.Errorf("got %s %v, want 4.4.2 and the cancellation", got, results[0].Err)
	}
}

// A server may die at every step: each recipient has a result, never a success, never a bounce.
func TestDeathAtEveryStep(t *testing.T) {
	script := after(hello8, mailtest.Expect("MAIL"), mailtest.Reply("250 ok"), mailtest.Expect("RCPT"),
		mailtest.Reply("250 ok"), mailtest.Expect("RCPT"), mailtest.Reply("250 ok"),
		mailtest.Expect("DATA"), mailtest.Reply("354 go"), mailtest.ExpectTo("."), mailtest.Send("25"))
	for n := range len(script) + 1 {
		for _, end := range []mailtest.Act{mailtest.HangUp(), mailtest.Reset()} {
			s := mailtest.ScriptServer(t, mailtest.Cut(script, n, end)...)
			c, err := dial(t, s.Addr, testOptions())
			if err != nil {
				if !mail.StatusOf(err).IsTemporary() {
					t.Errorf("step %d: %v, want temporary", n, err)
				}
				continue
			}
			results := sendText(t, c, envelope(t, "me@x.example", "a@y.example", "b@y.example"),
				strings.Repeat("x\n", 100000))
			if got := statuses(results); got != "4.4.2 4.4.2" {
				t.Errorf("step %d: got %s, want 4.4.2 twice", n, got)
			}
		}
	}
}

func TestHangUpWithLastWords(t *testing.T) {
	s := mailtest.ScriptServer(t, after(hello8, mailtest.Expect("MAIL"), mailtest.Expect("RCPT"),
		mailtest.Expect("DATA"), mailtest.Reply("250 ok", "250 ok", "354 go"),
		mailtest.Expect(""), mailtest.Reply("552 5.3.4 too much"), mailtest.ExpectTo("."))...)
	c := mustDial(t, s.Addr)
	if got := statuses(sendText(t, c, envelope(t, "", "a@y.example"), strings.Repeat("x\n", 20000))); got != "5.3.4" {
		t.Errorf("got %s, want 5.3.4", got)
	}
}

// A message that can't be read to its end is never ended with a dot.
func TestBrokenMessage(t *testing.T) {
	for name, msg := range map[string]io.Reader{
		"small": mailtest.ErrReader("Subject: x\n\nhalf", errors.New("disk")),
		"large": mailtest.ErrReader(strings.Repeat("x\n", maxBuffered), errors.New("disk")),
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ScriptServer(t, after(hello8, mailtest.Expect("MAIL"), mailtest.Expect("RCPT"),
				mailtest.Expect("DATA"), mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."))...)
			c := mustDial(t, s.Addr)
			if got := statuses(c.Send(t.Context(), envelope(t, "", "a@y.example"), msg, 1<<20)); got != "4.3.0" {
				t.Errorf("got %s, want 4.3.0", got)
			}
			if c.Close(); slices.Contains(s.Said(), ".") {
				t.Error("the half message was ended")
			}
		})
	}
}

func TestInspect(t *testing.T) {
	big := strings.Repeat("0123456789\n", maxBuffered/8)
	tests := []struct {
		name, text     string
		size           int64
		is8bit, header bool
	}{
		{"empty", "", 0, false, false},
		{"no line end", "x", 3, false, false},
		{"lines", "a\nb\n", 6, false, false},
		{"8 bit in the body", "Subject: x\n\n\xe4\n", 17, true, false},
		{"8 bit in the header", "Subject: \xe4\n\n", 14, true, true},
		{"8 bit at once", "\n\xe4", 5, true, false},
		{"large", big, int64(len(big) + len(big)/11), false, false},
		{"large with 8 bit at its end", big + "\n\xe4", int64(len(big)+len(big)/11) + 5, true, false},
	}
	for _, test := range tests {
		for _, kind := range []string{"seeker", "reader"} {
			var r io.Reader = strings.NewReader("skip" + test.text)
			io.ReadFull(r, make([]byte, 4))
			if kind == "reader" {
				r = iotest.HalfReader(r)
			}
			b, err := (&Client{}).inspect(r, int64(len(test.text)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(b.r)
			if err != nil || string(got) != test.text {
				t.Errorf("%s %s: the text came back as %.40q (%d octets), %v", test.name, kind, got, len(got), err)
			}
			if kind == "reader" && len(test.text) >= maxBuffered {
				if b.known {
					t.Errorf("%s: known without being read", test.name)
				}
				continue
			}
			if b.size != test.size || b.is8bit != test.is8bit || b.is8bitHeader != test.header || !b.known {
				t.Errorf("%s %s: got %d %v %v, want %d %v %v", test.name, kind, b.size, b.is8bit, b.is8bitHeader,
					test.size, test.is8bit, test.header)
			}
		}
	}
}

func TestSTARTTLS(t *testing.T) {
	ca := mailtest.NewCA(t)
	good, other := ca.ServerConfig("127.0.0.1"), mailtest.NewCA(t).ServerConfig("127.0.0.1")
	wrong, expired := mailtest.ServerConfig(ca.WrongName()), mailtest.ServerConfig(ca.Expired("127.0.0.1"))
	script := func(cfg *tls.Config) []mailtest.Act {
		return after("250-mx\r\n250 STARTTLS", mailtest.InjectStartTLS("STARTTLS", "220 go", "250 injected", cfg),
			mailtest.Exchange("EHLO", "250-mx\r\n250 X-SECURE"), mailtest.Expect("QUIT"))
	}
	stripped := after("250 mx", mailtest.Expect("QUIT"))
	refused := after("250-mx\r\n250 STARTTLS", mailtest.Exchange("STARTTLS", "454 4.7.0 not now"),
		mailtest.Expect("QUIT"))
	tests := []struct {
		name   string
		script []mailtest.Act
		policy TLSPolicy
		want   string // status, with or without its text, or TLS, or clear
	}{
		{"verified", script(good), TLSVerified, "TLS"},
		{"wrong name", script(wrong), TLSVerified, "4.7.5 Certificate is not for 127.0.0.1"},
		{"expired", script(expired), TLSVerified, "4.7.5 Certificate is not valid at this time"},
		{"unknown authority", script(other), TLSVerified, "4.7.5 Certificate is from no authority that is trusted here"},
		{"required takes any", script(other), TLSRequired, "TLS"},
		{"opportunistic takes any", script(expired), TLSOpportunistic, "TLS"},
		{"stripped, verified", stripped, TLSVerified, "4.7.4"},
		{"stripped, required", stripped, TLSRequired, "4.7.4"},
		{"stripped, opportunistic", stripped, TLSOpportunistic, "clear"},
		{"refused, verified", refused, TLSVerified, "4.7.4"},
		{"refused, opportunistic", refused, TLSOpportunistic, "clear"},
		{"none", after("250-mx\r\n250 STARTTLS", mailtest.Expect("QUIT")), TLSNone, "clear"},
		{"pinned, whoever has signed it", script(other), TLSPinned, "TLS"},
		{"pinned key, expired", script(expired), TLSPinned, "TLS"},
		{"pinned, another one that is valid", script(good), TLSPinned, "4.7.5"},
		{"pinned, stripped", stripped, TLSPinned, "4.7.4"},
		{"pinned, refused", refused, TLSPinned, "4.7.4"},
	}
	pins := []Pin{pinOf(t, other, false), pinOf(t, expired, true)}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opt := testOptions()
			opt.TLS, opt.TLSConfig, opt.Pins = test.policy, ca.ClientConfig(""), pins
			c, err := dial(t, mailtest.ScriptServer(t, test.script...).Addr, opt)
			got := "clear"
			switch {
			case err != nil:
				if got = mail.StatusOf(err).String(); strings.Contains(test.want, " ") {
					got += " " + mail.TextOf(err)
				}
			case c.TLS() != nil:
				got = "TLS"
			}
			if got != test.want {
				t.Fatalf("got %s (%v), want %s", got, err, test.want)
			}
			if got == "TLS" && (!c.Extensions().Has("X-SECURE") || c.Extensions().Has("STARTTLS")) {
				t.Errorf("extensions after STARTTLS: %v", c.Extensions())
			}
			if err == nil {
				c.Quit()
			}
		})
	}
}

func TestImplicitTLS(t *testing.T) {
	ca := mailtest.NewCA(t)
	s := mailtest.ScriptServer(t, append([]mailtest.Act{mailtest.StartTLS(ca.ServerConfig("127.0.0.1"))},
		after("250 x", mailtest.Expect("QUIT"))...)...)
	opt := testOptions()
	opt.ImplicitTLS, opt.TLS, opt.TLSConfig = true, TLSVerified, ca.ClientConfig("")
	c, err := dial(t, s.Addr, opt)
	if err != nil || c.TLS() == nil {
		t.Fatalf("%v", err)
	}
	c.Quit()
}

func TestAuth(t *testing.T) {
	plain := sasl.NewPlainClient("", "u", "secret")
	tests := []struct {
		name string
		mech sasl.Client
		acts []mailtest.Act
		want string
	}{
		{"PLAIN", plain, []mailtest.Act{mailtest.Exchange("AUTH PLAIN AHUAc2VjcmV0", "235 2.7.0 ok")}, "2.0.0"},
		{"LOGIN", sasl.NewLoginClient("u", "secret"), []mailtest.Act{mailtest.Exchange("AUTH LOGIN dQ==",
			"334 UGFzc3dvcmQ6"), mailtest.Exchange("c2VjcmV0", "235 ok")}, "2.0.0"},
		{"wrong password", plain, []mailtest.Act{mailtest.Exchange("AUTH", "535 5.7.8 no")}, "5.7.8"},
		{"later", plain, []mailtest.Act{mailtest.Exchange("AUTH", "454 4.7.0 later")}, "4.7.0"},
		{"unasked challenge", plain, []mailtest.Act{mailtest.Exchange("AUTH", "334 "), mailtest.Exchange("*",
			"501 cancelled")}, "4.7.0"},
		{"challenge is not base64", sasl.NewLoginClient("u", "p"), []mailtest.Act{mailtest.Exchange("AUTH",
			"334 ***"), mailtest.Exchange("*", "501 cancelled")}, "4.7.0"},
		{"250 is no success", plain, []mailtest.Act{mailtest.Exchange("AUTH", "250 ok")}, "4.5.0"},
		{"not offered", sasl.NewAnonymousClient("x"), nil, "5.7.4"},
		{"lost", plain, []mailtest.Act{mailtest.Expect("AUTH")}, "4.4.2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			var trace []string
			opt := testOptions()
			opt.Trace = func(sent bool, line string) {
				mu.Lock()
				defer mu.Unlock()
				trace = append(trace, line)
			}
			c, err := dial(t, mailtest.ScriptServer(t, after("250-x\r\n250 AUTH PLAIN LOGIN",
				test.acts...)...).Addr, opt)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Auth(t.Context(), test.mech)
			if got := mail.StatusOf(err).String(); got != test.want {
				t.Errorf("got %s (%v), want %s", got, err, test.want)
			}
			c.Close()
			mu.Lock()
			defer mu.Unlock()
			if all := strings.Join(trace, "\n"); strings.Contains(all, "AHUA") || strings.Contains(all, "c2Vj") ||
				strings.Contains(all, "dQ==") {
				t.Errorf("secrets in the trace:\n%s", all)
			}
		})
	}
}

func TestAuthInClear(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		client, server := net.Pipe() // no loopback address
		go func() {
			defer server.Close()
			io.WriteString(server, "220 hi\r\n")
			buf := make([]byte, 512)
			server.Read(buf)
			io.WriteString(server, "250-x\r\n250 AUTH PLAIN\r\n")
			if n, _ := server.Read(buf); n > 0 {
				io.WriteString(server, "235 ok\r\n")
			}
		}()
		opt := testOptions()
		opt.AuthInClear = allowed
		c, err := NewClient(t.Context(), client, opt)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Auth(t.Context(), sasl.NewPlainClient("", "u", "p"))
		if (err == nil) != allowed || err != nil && mail.StatusOf(err).String() != "5.7.11" {
			t.Errorf("allowed %v: got %v", allowed, err)
		}
		c.Close()
	}
}

// Who has the message is known before the server takes its time with the next recipient, and what has come at once is told at once.
func TestLMTPTells(t *testing.T) {
	told := make(chan []mail.Result, 9)
	var heard [][]mail.Result
	s := mailtest.ScriptServer(t, mailtest.Reply("220 hi"), mailtest.Exchange("LHLO", "250-x\r\n250 PIPELINING"), mailtest.Expect("MAIL"),
		mailtest.Expect("RCPT"), mailtest.Expect("RCPT"), mailtest.Expect("RCPT"), mailtest.Expect("RCPT"), mailtest.Expect("DATA"),
		mailtest.Reply("250 ok", "250 ok", "250 ok", "250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."),
		mailtest.Reply("250 a", "452 b"), func(*mailtest.Peer) error { heard = append(heard, <-told); return nil },
		mailtest.Reply("250 c", "250 d"))
	opt := testOptions()
	opt.LMTP = true
	c, err := dial(t, s.Addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	env := envelope(t, "", "a@y.example", "b@y.example", "c@y.example", "d@y.example")
	tell := func(results []mail.Result) { told <- results }
	if got := statuses(c.SendTelling(t.Context(), env, strings.NewReader("x"), 1, tell)); got != "2.0.0 4.0.0 2.0.0 2.0.0" {
		t.Errorf("got %s", got)
	}
	if len(heard) != 1 || len(heard[0]) != 2 || heard[0][0].Reply != "250 a" || heard[0][1].Reply != "452 b" || len(told) > 0 {
		t.Errorf("told of %+v, and %d times behind that", heard, len(told))
	}
}

func TestLMTP(t *testing.T) {
	hello := "250-x\r\n250 PIPELINING"
	open := []mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("LHLO", hello), mailtest.Expect("MAIL"),
		mailtest.Expect("RCPT"), mailtest.Expect("RCPT"), mailtest.Expect("RCPT"), mailtest.Expect("DATA")}
	tests := []struct {
		name   string
		acts   []mailtest.Act
		want   string
		usable bool
	}{
		{"one reply each", []mailtest.Act{mailtest.Reply("250 ok", "250 ok", "550 5.1.1 no", "250 ok", "354 go"),
			mailtest.ExpectTo("."),
			mailtest.Reply("250 ok", "452 4.2.2 full")}, "2.0.0 5.1.1 4.2.2", true},
		{"lost between the replies", []mailtest.Act{mailtest.Reply("250 ok", "250 ok", "250 ok", "250 ok",
			"354 go"), mailtest.ExpectTo("."),
			mailtest.Reply("250 ok", "550 5.7.1 no")}, "2.0.0 5.7.1 4.4.2", false},
		{"nobody, and 354", []mailtest.Act{mailtest.Reply("250 ok", "550 no", "550 no", "550 no", "354 go"),
			mailtest.Silence()}, "5.0.0 5.0.0 5.0.0", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opt := testOptions()
			opt.LMTP = true
			c, err := dial(t, mailtest.ScriptServer(t, append(slices.Clone(open), test.acts...)...).Addr, opt)
			if err != nil {
				t.Fatal(err)
			}
			results := sendText(t, c, envelope(t, "", "a@y", "b@y", "c@y"), "x")
			if got := statuses(results); got != test.want || c.Usable() != test.usable {
				t.Errorf("got %s, usable %v; want %s, %v", got, c.Usable(), test.want, test.usable)
			}
			if results[0].Relayed {
				t.Error("LMTP is final delivery")
			}
		})
	}
}

// sink is a go-smtp backend that keeps what it gets.
type sink struct {
	mu  sync.Mutex
	got []string // "from to,to text"
}

func (s *sink) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &sinkSession{s: s}, nil }

type sinkSession struct {
	s    *sink
	from string
	to   []string
}

func (x *sinkSession) Reset()        { x.from, x.to = "", nil }
func (x *sinkSession) Logout() error { return nil }
func (x *sinkSession) Mail(from string, _ *gosmtp.MailOptions) error {
	x.from = from
	return nil
}
func (x *sinkSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	x.to = append(x.to, to)
	return nil
}
func (x *sinkSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.got = append(x.s.got, x.from+" "+strings.Join(x.to, ",")+" "+string(b))
	return err
}

func startSink(t testing.TB) (*sink, string) {
	t.Helper()
	be := &sink{}
	srv := gosmtp.NewServer(be)
	srv.Domain, srv.EnableSMTPUTF8, srv.MaxRecipients = "sink.example", true, 0
	l := mailtest.Listen(t)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return be, l.Addr().String()
}

func TestGoSMTPServer(t *testing.T) {
	be, address := startSink(t)
	c := mustDial(t, address)
	texts := []string{
		"Subject: dots\n\n.\n..\n.x\n\n.",
		"",
		"Subject: \xc3\xa4\n\n" + strings.Repeat("line of text \xc3\xa4\n", 20000),
		"Subject: lone\n\na\rb\n",
	}
	for _, text := range texts {
		env := envelope(t, "me@x.example", `"quoted local"@y.example`, "b@y.example")
		if got := statuses(sendText(t, c, env, text)); got != "2.0.0 2.0.0" {
			t.Errorf("%.20q: got %s", text, got)
		}
	}
	c.Quit()
	be.mu.Lock()
	defer be.mu.Unlock()
	for i, text := range texts {
		want := strings.ReplaceAll(text, "\r", "\n")
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		want = `me@x.example quoted local@y.example,b@y.example ` + // go-smtp takes the quotes away
			strings.ReplaceAll(want, "\n", "\r\n")
		if i >= len(be.got) || be.got[i] != want {
			t.Errorf("message %d: got %.80q, want %.80q", i, be.got[i], want)
		}
	}
}

func TestManyRecipients(t *testing.T) {
	be, address := startSink(t)
	c := mustDial(t, address)
	var to []string
	for i := range MaxTransaction + 1 {
		to = append(to, "recipient-with-a-name"+strconv.Itoa(i)+"@a-domain-of-some-length.example")
	}
	results := sendText(t, c, envelope(t, "", to...), "x")
	for i, r := range results[:MaxTransaction] {
		if r.Err != nil {
			t.Fatalf("recipient %d: %v", i, r.Err)
		}
	}
	if got := statuses(results[MaxTransaction:]); got != "4.5.3" {
		t.Errorf("recipient %d: got %s, want 4.5.3", MaxTransaction+1, got)
	}
	if be.mu.Lock(); len(be.got) != 1 || strings.Count(be.got[0], ",") != MaxTransaction-1 {
		t.Errorf("got %d messages", len(be.got))
	}
	be.mu.Unlock()
}

// The client as a whole is fed one octet at a time, and gives the peer one at a time.
func TestOneOctetAtATime(t *testing.T) {
	be, address := startSink(t)
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(t.Context(), mailtest.Drip(nc), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := statuses(sendText(t, c, envelope(t, "a@x.example", "b@y.example"),
		"Subject: x\n\n.hi\n")); got != "2.0.0" {
		t.Errorf("got %s", got)
	}
	if be.mu.Lock(); len(be.got) != 1 || !bytes.HasSuffix([]byte(be.got[0]), []byte(".hi\r\n")) {
		t.Errorf("got %q", be.got)
	}
	be.mu.Unlock()
}

// The answer to QUIT is waited for only where somebody looks on.
func TestQuitWaitsForNobody(t *testing.T) {
	for _, isTraced := range []bool{false, true} {
		release, ended := make(chan struct{}), make(chan struct{})
		s := mailtest.ScriptServer(t, after("250 mx", mailtest.Expect("QUIT"), func(*mailtest.Peer) error {
			<-release
			return nil
		}, mailtest.Reply("221 bye"))...)
		opt := testOptions()
		var heard atomic.Bool
		if isTraced {
			opt.Trace = func(_ bool, line string) {
				if line == "221 bye" {
					heard.Store(true)
				}
			}
		}
		c, err := dial(t, s.Addr, opt)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c.Quit()
			close(ended)
		}()
		if isTraced {
			close(release)
		}
		select {
		case <-ended:
		case <-time.After(mailtest.DefaultTimeout):
			t.Error("QUIT waits for its answer")
		}
		if heard.Load() != isTraced {
			t.Errorf("traced %v: heard the answer %v", isTraced, heard.Load())
		}
		if !isTraced {
			close(release)
		}
	}
}
