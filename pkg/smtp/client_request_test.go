package smtp

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

// one is a server that takes one message and gives what it was sent.
func one(t *testing.T, hello string, opt ClientOptions) (*Client, *mailtest.ScriptedServer) {
	t.Helper()
	s := mailtest.ScriptServer(t, after(hello, mailtest.Exchange("MAIL", "250 ok"), mailtest.Exchange("RCPT", "250 ok"),
		mailtest.Exchange("DATA", "354 go"), mailtest.ExpectTo("."), mailtest.Reply("250 ok"))...)
	c, err := dial(t, s.Addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func TestSendDeliverBy(t *testing.T) {
	const withDSN, without = "250-x\r\n250-DSN\r\n250 DELIVERBY 60", "250 x"
	for name, c := range map[string]struct {
		hello  string
		by     mail.DeliverBy
		left   time.Duration
		notify mail.Notify
		want   string
		then   mail.Notify
	}{
		"returned":           {withDSN, mail.DeliverBy{}, 100*time.Second + 500*time.Millisecond, 0, " BY=100;R", 0},
		"told":               {withDSN, mail.DeliverBy{Notify: true}, 10*time.Second + 500*time.Millisecond, 0, " BY=10;N", 0},
		"over":               {withDSN, mail.DeliverBy{Notify: true}, -100*time.Second + 500*time.Millisecond, 0, " BY=-100;N", 0},
		"traced":             {withDSN, mail.DeliverBy{Notify: true, Trace: true}, 9*time.Second + time.Second/2, 0, " BY=9;NT", mail.NotifySuccess},
		"the server tells":   {withDSN, mail.DeliverBy{}, 100*time.Second + time.Second/2, mail.NotifySuccess, " BY=100;R", 0},
		"far away":           {withDSN, mail.DeliverBy{}, 1e9 * time.Second, 0, " BY=999999999;R", 0},
		"nobody knows":       {without, mail.DeliverBy{Notify: true}, 10 * time.Second, 0, "", mail.NotifySuccess},
		"nobody wants to":    {without, mail.DeliverBy{Notify: true}, 10 * time.Second, mail.NotifyNever, "", mail.NotifyNever | mail.NotifySuccess},
		"nothing was wanted": {withDSN, mail.DeliverBy{Trace: true}, 0, 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			client, s := one(t, c.hello, testOptions())
			env := envelope(t, "me@x.example", "a@y.example")
			env.Rcpts[0].Notify = c.notify
			if c.left != 0 {
				env.By = c.by
				env.By.At = time.Now().Add(c.left)
			}
			results := sendText(t, client, env, "x\n")
			if results[0].Err != nil || results[0].Notify != c.then {
				t.Errorf("got %+v, want notify %d", results[0], c.then)
			}
			if got := s.Said()[1]; got != "MAIL FROM:<me@x.example>"+c.want {
				t.Errorf("said %q, want %q at its end", got, c.want)
			}
		})
	}
}

func TestSendRequireTLS(t *testing.T) {
	ca := mailtest.NewCA(t)
	for name, c := range map[string]struct {
		hello  string
		policy TLSPolicy
		want   string
	}{
		"verified":     {"250-x\r\n250 REQUIRETLS", TLSVerified, "2.0.0"},
		"not offered":  {"250 x", TLSVerified, "5.7.30"},
		"not verified": {"250-x\r\n250 REQUIRETLS", TLSRequired, "5.7.30"},
	} {
		acts := []mailtest.Act{mailtest.StartTLS(ca.ServerConfig("mx.example")), mailtest.Reply("220 hi"), mailtest.Exchange("EHLO", c.hello)}
		if c.want == "2.0.0" {
			acts = append(acts, mailtest.Exchange("MAIL FROM:<> REQUIRETLS", "250 ok"), mailtest.Exchange("RCPT", "250 ok"),
				mailtest.Exchange("DATA", "354 go"), mailtest.ExpectTo("."), mailtest.Reply("250 ok"))
		}
		s := mailtest.ScriptServer(t, acts...)
		opt := testOptions()
		opt.TLS, opt.TLSConfig, opt.ImplicitTLS, opt.Server = c.policy, ca.ClientConfig(""), true, "mx.example"
		client, err := dial(t, s.Addr, opt)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		env := envelope(t, "", "a@y.example")
		env.RequireTLS = true
		if got := statuses(sendText(t, client, env, "x\n")); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		client.Quit()
	}
}

// 8-bit data for a server that takes none is converted, small or large; the server sees one message and its true size.
func TestSendConverted(t *testing.T) {
	const header = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
	for name, lines := range map[string]int{"small": 3, "larger": 1500, "large": 40000} {
		text := header + "\n" + strings.Repeat(".Küche\n", lines)
		want := header + "Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat(".K=C3=BCche\n", lines)
		sink := mailtest.StartSink(t, mailtest.SinkOptions{Hide: []string{"8BITMIME", "SMTPUTF8", "CHUNKING"}})
		c := mustDial(t, sink.Addr)
		msg := io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))
		for range 2 { // the buffers are those of the first message
			results := c.Send(t.Context(), envelope(t, "me@x.example", "a@y.example"), msg, msg.Size())
			if results[0].Err != nil {
				t.Fatalf("%s: %v", name, results[0].Err)
			}
			msg.Seek(0, io.SeekStart)
		}
		got := sink.Messages()
		if len(got) != 2 || got[1].Data != strings.ReplaceAll(want, "\n", "\r\n") || got[1].Opts.Size != int64(len(got[1].Data)) {
			t.Errorf("%s: got %d messages, the last of %d octets, announced as %d", name, len(got), len(got[len(got)-1].Data), got[len(got)-1].Opts.Size)
		}
	}
}

// What RFC 5321 has no room for is mended on its way, small or large, whether it goes by DATA or by BDAT; but not in what is
// signed, nor for a server that delivers.
func TestSendFit(t *testing.T) {
	const header = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
	long := "é" + strings.Repeat("x", 1000)
	soft := "=C3=A9" + strings.Repeat("x", 69) + "=\n" + strings.Repeat(strings.Repeat("x", 75)+"=\n", 12) + strings.Repeat("x", 31)
	seal := "DKIM-Signature: v=1\n"
	for name, c := range map[string]struct {
		before, text, want string
		hide               []string
	}{
		"small":      {"", long + "\n\x00\n", soft + "\n=00\n", nil},
		"small DATA": {"", long + "\n.\n", soft + "\n.\n", []string{"CHUNKING"}},
		"larger":     {"", strings.Repeat(long+"\nx\n", 20), strings.Repeat(soft+"\nx\n", 20), nil},
		"large":      {"", strings.Repeat(long+"\n", 100), strings.Repeat(soft+"\n", 100), nil},
		"7 bit":      {"", strings.Repeat(long+"\n", 20), strings.Repeat(soft+"\n", 20), []string{"8BITMIME", "SMTPUTF8"}},
		"signed":     {seal, long + "\n", "", nil},
	} {
		sink := mailtest.StartSink(t, mailtest.SinkOptions{Hide: c.hide})
		opt := testOptions()
		opt.Chunk = true
		client, err := dial(t, sink.Addr, opt)
		if err != nil {
			t.Fatal(err)
		}
		text, want := c.before+header+"\n"+c.text, c.before+header+"Content-Transfer-Encoding: quoted-printable\n\n"+c.want
		if c.want == "" {
			want = text
		}
		msg := io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))
		if results := client.Send(t.Context(), envelope(t, "me@x.example", "a@y.example"), msg, msg.Size()); results[0].Err != nil {
			t.Fatalf("%s: %v", name, results[0].Err)
		}
		got := sink.Messages()
		if len(got) != 1 || got[0].Data != strings.ReplaceAll(want, "\n", "\r\n") {
			t.Errorf("%s: got %.300q of %d octets, want %.300q of %d", name, got[0].Data, len(got[0].Data), want, len(want))
		}
		client.Quit()
	}
	b := content{isUnfit: true, at: strings.NewReader("\n\x00"), octets: 2}
	if err := b.toFit(&Client{opt: ClientOptions{LMTP: true}}); err != nil || b.r != nil || b.convert != nil {
		t.Errorf("LMTP: converted, %v", err)
	}
}

// A domain in U-labels goes to a server without SMTPUTF8 in A-labels.
func TestSendALabels(t *testing.T) {
	c, s := one(t, "250 x", testOptions())
	env := envelope(t, "me@bücher.example", "a@bücher.example")
	env.UTF8 = true
	results := sendText(t, c, env, "Subject: x\n\nx\n")
	if results[0].Err != nil || results[0].Domain != "bücher.example" {
		t.Errorf("got %+v", results[0])
	}
	if got := s.Said()[1:3]; !slices.Equal(got, []string{"MAIL FROM:<me@xn--bcher-kva.example>", "RCPT TO:<a@xn--bcher-kva.example>"}) {
		t.Errorf("the server saw %q", got)
	}
}

// And so it does to one with SMTPUTF8 unless something else needs that: the next host may be without.
func TestSendALabelsAllTheSame(t *testing.T) {
	for to, want := range map[string][]string{
		"a@bücher.example": {"MAIL FROM:<me@xn--bcher-kva.example>", "RCPT TO:<a@xn--bcher-kva.example>"},
		"ä@bücher.example": {"MAIL FROM:<me@bücher.example> SMTPUTF8", "RCPT TO:<ä@bücher.example>"},
	} {
		c, s := one(t, "250-x\r\n250 SMTPUTF8", testOptions())
		if results := sendText(t, c, envelope(t, "me@bücher.example", to), "Subject: x\n\nx\n"); results[0].Err != nil {
			t.Errorf("%s: got %+v", to, results[0])
		}
		if got := s.Said()[1:3]; !slices.Equal(got, want) {
			t.Errorf("%s: the server saw %q, want %q", to, got, want)
		}
	}
}

const helloChunk = "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250 CHUNKING"

// expectChunk expects a chunk behind the envelope.
func expectChunk(octets int) []mailtest.Act {
	return []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("RCPT"),
		mailtest.Expect("BDAT " + strconv.Itoa(octets) + " LAST")}
}

func TestSendChunk(t *testing.T) {
	const text = "Subject: x\n\n.\n..dots\nno end"
	const lines = 5
	octets := len(text) + strings.Count(text, "\n") + 2
	var body []mailtest.Act
	for range lines {
		body = append(body, mailtest.Expect(""))
	}
	for name, c := range map[string]struct {
		replies []string
		want    string
		usable  bool
	}{
		"accepted":              {[]string{"250 ok", "250 ok", "250 ok", "250 2.0.0 stored"}, "2.0.0 2.0.0", true},
		"one refused":           {[]string{"250 ok", "550 5.1.1 no", "250 ok", "250 ok"}, "5.1.1 2.0.0", true},
		"all refused":           {[]string{"250 ok", "550 5.1.1 no", "450 4.2.1 no", "503 5.5.1 nobody"}, "5.1.1 4.2.1", true},
		"all refused, taken":    {[]string{"250 ok", "550 5.1.1 no", "450 4.2.1 no", "250 ok"}, "5.1.1 4.2.1", true},
		"sender refused":        {[]string{"550 5.7.1 no", "503 x", "503 x", "503 x"}, "5.7.1 5.7.1", true},
		"message refused":       {[]string{"250 ok", "250 ok", "250 ok", "554 5.6.0 spam"}, "5.6.0 5.6.0", true},
		"refused for now":       {[]string{"250 ok", "250 ok", "250 ok", "452 4.3.1 disk"}, "4.3.1 4.3.1", true},
		"354 to BDAT":           {[]string{"250 ok", "250 ok", "250 ok", "354 go"}, "4.5.0 4.5.0", false},
		"lost before the reply": {[]string{"250 ok", "550 5.1.1 no", "250 ok"}, "5.1.1 4.4.2", false},
	} {
		t.Run(name, func(t *testing.T) {
			acts := append(append(expectChunk(octets), body...), mailtest.Reply(c.replies...))
			if len(c.replies) < 4 {
				acts = append(acts, mailtest.HangUp())
			}
			s := mailtest.ScriptServer(t, after(helloChunk, acts...)...)
			opt := testOptions()
			opt.Chunk = true
			client, err := dial(t, s.Addr, opt)
			if err != nil {
				t.Fatal(err)
			}
			if got := statuses(sendText(t, client, envelope(t, "me@x.example", "a@y.example", "b@y.example"), text)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if client.Usable() != c.usable {
				t.Errorf("usable is %v, want %v", client.Usable(), c.usable)
			}
			said := s.Said()
			if got := said[len(said)-lines:]; !slices.Equal(got, []string{"Subject: x", "", ".", "..dots", "no end"}) {
				t.Errorf("the server saw %q", got)
			}
		})
	}
}

// What BDAT would not send as it should, or has no use for, goes by DATA.
func TestNoChunk(t *testing.T) {
	for name, c := range map[string]struct {
		hello, text string
		chunk       bool
	}{
		"not wanted":    {helloChunk, "x\n", false},
		"not offered":   {"250-x\r\n250 PIPELINING", "x\n", true},
		"no PIPELINING": {"250-x\r\n250 CHUNKING", "x\n", true},
		"CR":            {helloChunk, "x\ry\n", true},
		"large":         {helloChunk, strings.Repeat("x\n", maxBuffered), true},
	} {
		t.Run(name, func(t *testing.T) {
			opt := testOptions()
			opt.Chunk = c.chunk
			client, _ := one(t, c.hello, opt)
			if got := statuses(sendText(t, client, envelope(t, "", "a@y.example"), c.text)); got != "2.0.0" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// With more recipients than the window holds, their replies are read before the chunk goes out.
func TestSendChunkBehindFullWindow(t *testing.T) {
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	opt := testOptions()
	opt.Chunk = true
	var said []string
	opt.Trace = func(sent bool, line string) {
		if sent {
			said = append(said, line)
		}
	}
	c, err := dial(t, sink.Addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	env := envelope(t, "me@x.example")
	for i := range 600 {
		env.Rcpts = append(env.Rcpts, mail.Recipient{Address: addr(t, "recipient"+strconv.Itoa(i)+"@y.example")})
	}
	for range 2 {
		if got := statuses(sendText(t, c, env, "Subject: x\n\n.\n")); strings.Trim(got, "2.0 ") != "" {
			t.Errorf("got %s", got)
		}
	}
	got := sink.Messages()
	if len(got) != 2 || len(got[1].Rcpts) != 600 || !bytes.HasSuffix([]byte(got[1].Data), []byte("\r\n.\r\n")) {
		t.Errorf("%d messages", len(got))
	}
	if n := len(slices.DeleteFunc(said, func(s string) bool { return !regexp.MustCompile(`^BDAT \d+ LAST$`).MatchString(s) })); n != 2 {
		t.Errorf("%d chunks, want 2", n)
	}
}

// The declaration says what the message is now: one that came as BINARYMIME is text by the time it goes on.
func TestSendBody(t *testing.T) {
	for name, c := range map[string]struct {
		hello, text string
		body        mail.Body
		want        string
	}{
		"7 bit":                   {"250-x\r\n250 8BITMIME", "x\n", mail.Body7Bit, ""},
		"declared":                {"250-x\r\n250 8BITMIME", "x\n", mail.Body8BitMIME, " BODY=8BITMIME"},
		"binary":                  {"250-x\r\n250 8BITMIME", "x\n", mail.BodyBinaryMIME, " BODY=8BITMIME"},
		"not declared":            {"250-x\r\n250 8BITMIME", "\nx\xff\n", mail.Body7Bit, " BODY=8BITMIME"},
		"binary, not offered":     {"250 x", "x\n", mail.BodyBinaryMIME, ""},
		"binary 8 bit, converted": {"250 x", "\nx\xff\n", mail.BodyBinaryMIME, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, s := one(t, c.hello, testOptions())
			env := envelope(t, "", "a@y.example")
			env.Body = c.body
			if got := statuses(sendText(t, client, env, c.text)); got != "2.0.0" {
				t.Errorf("got %s", got)
			}
			if got := s.Said()[1]; got != "MAIL FROM:<>"+c.want {
				t.Errorf("said %q, want %q at its end", got, c.want)
			}
		})
	}
}
