package smtp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

// queueOf has deliveries, of which it notes what became of them: "name 2.0.0".
type queueOf struct {
	t     *testing.T
	left  []*mail.Delivery
	done  []string
	asked int
}

func newQueueOf(t *testing.T, to ...string) *queueOf {
	q := &queueOf{t: t}
	for _, name := range to {
		q.left = append(q.left, q.delivery(name, "Subject: "+name+"\n\n"+name+"\n"))
	}
	return q
}

func (q *queueOf) delivery(name, text string) *mail.Delivery {
	isDone := false
	return &mail.Delivery{
		Env: envelope(q.t, "me@x.example", name+"@y.example"), Msg: strings.NewReader(text), Size: int64(len(text)),
		Done: func(results []mail.Result) {
			if isDone {
				q.t.Errorf("%s is done twice", name)
			}
			isDone = true
			q.done = append(q.done, name+" "+statuses(results))
		},
	}
}

func (q *queueOf) next() *mail.Delivery {
	q.asked++
	if len(q.left) == 0 {
		return nil
	}
	d := q.left[0]
	q.left = q.left[1:]
	return d
}

// sendAll gives what became of each, and who was given back: "a 2.0.0, b 5.1.1; left c 4.4.2".
func (q *queueOf) sendAll(c *Client) string {
	left, err := c.SendEach(q.t.Context(), q.next(), q.next)
	got := strings.Join(q.done, ", ")
	if left != nil {
		got += "; left " + left.Env.Rcpts[0].Local + " " + mail.StatusOf(err).String()
	}
	return got
}

// The next message's commands come in one group with the text before: the server sees them before it has given its verdict.
func TestSendEach(t *testing.T) {
	commands := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA")}
	ok := mailtest.Reply("250 ok", "250 ok", "354 go")
	text := mailtest.ExpectTo(".")
	script := func(parts ...any) (acts []mailtest.Act) {
		for _, p := range parts {
			switch p := p.(type) {
			case []mailtest.Act:
				acts = append(acts, p...)
			case mailtest.Act:
				acts = append(acts, p)
			case string:
				acts = append(acts, mailtest.Reply(p))
			}
		}
		return acts
	}
	first := script(commands, ok, text)
	tests := []struct {
		name   string
		acts   []mailtest.Act
		want   string
		usable bool
	}{
		{"all taken", script(first, commands, "250 a", ok, text, commands, "250 b", ok, text, "250 c"),
			"a 2.0.0, b 2.0.0, c 2.0.0", true},
		{"the first one refused", script(first, commands, "554 5.6.0 spam", ok, text, commands, "250 b", ok, text, "452 4.3.1 full"),
			"a 5.6.0, b 2.0.0, c 4.3.1", true},
		{"a recipient refused", script(first, commands, "250 a", mailtest.Reply("250 ok", "550 5.1.1 who", "554 no")),
			"a 2.0.0, b 5.1.1", true},
		{"nobody, 354 all the same", script(first, commands, "250 a", mailtest.Reply("250 ok", "550 5.1.1 who", "354 go"),
			mailtest.Expect("."), "250 ok"), "a 2.0.0, b 5.1.1", true},
		{"sender refused", script(first, commands, "250 a", mailtest.Reply("451 4.7.1 later", "503 no", "503 no")),
			"a 2.0.0, b 4.7.1", true},
		{"421 to the text", script(first, commands, "421 4.3.2 bye"), "a 4.3.2; left b 4.3.2", false},
		{"lost after the text", script(first, commands), "a 4.4.2; left b 4.4.2", false},
		{"lost after the verdict", script(first, commands, "250 a"), "a 2.0.0; left b 4.4.2", false},
		{"421 after the verdict", script(first, commands, "250 a", "421 4.3.2 enough"), "a 2.0.0; left b 4.3.2", false},
		{"lost after a word", script(first, commands, "250 a", "250 ok"), "a 2.0.0, b 4.4.2", false},
		{"nonsense to the text", script(first, commands, "what"), "a 4.5.0; left b 4.5.0", false},
		{"354 to the text", script(first, commands, "354 more"), "a 4.5.0; left b 4.5.0", false},
		{"lost at once", nil, "; left a 4.4.2", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			srv := mailtest.ScriptServer(t, after(hello8, test.acts...)...)
			c := mustDial(t, srv.Addr)
			q := newQueueOf(t, "a", "b", "c")
			if got := q.sendAll(c); got != test.want || c.Usable() != test.usable {
				t.Errorf("got %q, usable %v", got, c.Usable())
			}
		})
	}
}

// A server that falls silent has had its time: who waits behind the message must not wait for as long again.
func TestSendEachIsSilent(t *testing.T) {
	srv := mailtest.ScriptServer(t, after(hello8, mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA"),
		mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."), mailtest.Silence())...)
	opt := testOptions()
	opt.Timeouts.Final = 50 * time.Millisecond
	c, err := dial(t, srv.Addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	if got := newQueueOf(t, "a", "b", "c").sendAll(c); got != "a 4.4.2, b 4.4.2" {
		t.Errorf("got %q", got)
	}
}

// Where a message must not follow another one, nobody is asked for it.
func TestSendEachAlone(t *testing.T) {
	group := []mailtest.Act{mailtest.Exchange("MAIL", "250 ok"), mailtest.Exchange("RCPT", "250 ok"), mailtest.Exchange("DATA", "354 go"),
		mailtest.ExpectTo("."), mailtest.Reply("250 a")}
	chunk := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("BDAT"), mailtest.ExpectTo("a"),
		mailtest.Reply("250 ok", "250 ok", "250 a")}
	for hello, acts := range map[string][]mailtest.Act{
		"250-mx.example\r\n250 8BITMIME":                                   group,
		"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME": chunk,
	} {
		srv := mailtest.ScriptServer(t, after(hello, acts...)...)
		opt := testOptions()
		opt.Chunk = true
		c, err := dial(t, srv.Addr, opt)
		if err != nil {
			t.Fatal(err)
		}
		q := newQueueOf(t, "a", "b")
		if got := q.sendAll(c); got != "a 2.0.0" || q.asked != 1 || !c.Usable() {
			t.Errorf("%q: got %q, asked %d times", hello, got, q.asked)
		}
	}
}

// What can't go to this server at all leaves nothing on the wire, and the one before is none the worse for it.
func TestSendEachWithoutTheNext(t *testing.T) {
	hello := strings.Replace(hello8, "10000000", "100", 1)
	srv := mailtest.ScriptServer(t, after(hello, mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA"),
		mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."), mailtest.Reply("250 a"),
		mailtest.Expect("QUIT"), mailtest.Reply("221 bye"))...)
	c := mustDial(t, srv.Addr)
	q := newQueueOf(t, "a")
	q.left = append(q.left, q.delivery("b", strings.Repeat("x\n", 100)))
	if got := q.sendAll(c); got != "a 2.0.0, b 5.3.4" {
		t.Errorf("got %q", got)
	}
	c.Quit()
}

// Each of many has its own text, whatever its size: the buffers are used again while the last text is still in them.
func TestSendEachKeepsTextsApart(t *testing.T) {
	sink := mailtest.StartSink(t, mailtest.SinkOptions{Hide: []string{"CHUNKING"}})
	c := mustDial(t, sink.Addr)
	q := newQueueOf(t)
	var want []string
	for i, size := range []int{1, 70_000, 3, 40_000, 64 << 10, 1, 200_000, 5, 31_000, 2} {
		name := fmt.Sprintf("r%d", i)
		text := "Subject: " + name + "\n\n" + strings.Repeat(strings.Repeat(name, 20)+"\n", size/40+1)
		q.left = append(q.left, q.delivery(name, text))
		want = append(want, strings.ReplaceAll(text, "\n", "\r\n"))
	}
	if got := q.sendAll(c); strings.Count(got, "2.0.0") != len(want) {
		t.Fatalf("got %q", got)
	}
	var got []string
	for _, m := range sink.Messages() {
		got = append(got, m.Data)
	}
	if !slices.Equal(got, want) {
		t.Error("texts differ from those that were sent")
	}
}

// shrinking is a message of which after some reads only the beginning is there.
type shrinking struct {
	text  string
	keep  int64
	reads int
}

func (s *shrinking) ReadAt(p []byte, off int64) (int, error) {
	if s.reads--; s.reads < 0 {
		return strings.NewReader(s.text[:s.keep]).ReadAt(p, off)
	}
	return strings.NewReader(s.text).ReadAt(p, off)
}

// A part of a message is never taken for the whole, whenever somebody cuts the file.
func TestSendEachIsCut(t *testing.T) {
	sink := mailtest.StartSink(t, mailtest.SinkOptions{Hide: []string{"CHUNKING"}, Lenient: true})
	for _, size := range []int{100, 5_000, 66_000, 300_000} {
		for _, reads := range []int{0, 1, 2, 12} {
			c := mustDial(t, sink.Addr)
			q := newQueueOf(t)
			text := strings.Repeat(strings.Repeat("x", 49)+"\n", size/50)
			d := q.delivery("a", text)
			d.Msg = &shrinking{text, int64(size / 2), reads}
			q.left = append(q.left, d)
			before := len(sink.Messages())
			got, stored := q.sendAll(c), sink.Messages()[before:]
			isCut := got == "a 4.3.0" && len(stored) == 0
			isWhole := got == "a 2.0.0" && len(stored) == 1 && len(stored[0].Data) == size+size/50
			if !isCut && !isWhole || reads == 0 && !isCut {
				t.Errorf("%d octets, cut after %d reads: %s, stored %d", size, reads, got, len(stored))
			}
		}
	}
}

// An end of the context ends everything, for a time.
func TestSendEachInterrupted(t *testing.T) {
	srv := mailtest.ScriptServer(t, after(hello8, mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA"),
		mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo("."), mailtest.Silence())...)
	c := mustDial(t, srv.Addr)
	q := newQueueOf(t, "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	left, err := c.SendEach(ctx, q.next(), func() *mail.Delivery { defer cancel(); return q.next() })
	if left != nil && left.Env.Rcpts[0].Local == "b" { // the end came before the verdict was waited for
		q.done = append(q.done, "b "+mail.StatusOf(err).String())
	}
	if !slices.Equal(q.done, []string{"a 4.4.2", "b 4.4.2"}) {
		t.Errorf("got %v, %v and %q", left, err, q.done)
	}
}

// writable is a connection of which the octets are kept.
type writable struct {
	readOnly
	out *bytes.Buffer
}

func (c writable) Write(p []byte) (int, error) { return c.out.Write(p) }
func (writable) Close() error                  { return nil }
func (writable) RemoteAddr() net.Addr          { return &net.TCPAddr{} }

// FuzzSendEach has a server that says anything. Each message is done once or given back, and nobody gets a text that was not
// asked for.
func FuzzSendEach(f *testing.F) {
	f.Add("250 ok\r\n250 ok\r\n354 go\r\n250 a\r\n250 ok\r\n250 ok\r\n354 go\r\n250 b\r\n")
	f.Add("250 ok\r\n550 no\r\n354 go\r\n250 a\r\n")
	f.Add("250 ok\r\n250 ok\r\n354 go\r\n421 bye\r\n")
	f.Add("250 ok\r\n250 ok\r\n354 go\r\n554-a\r\n554 b\r\n451 x\r\n503 x\r\n503 x\r\n")
	f.Fuzz(func(t *testing.T, replies string) {
		var sent bytes.Buffer
		nc := writable{readOnly{r: strings.NewReader("220 x\r\n250-x\r\n250 PIPELINING\r\n" + replies)}, &sent}
		c, err := NewClient(t.Context(), nc, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		q := newQueueOf(t, "a", "b", "c")
		given := q.sendAll(c)
		begun := 3 - len(q.left)
		if n := len(q.done) + strings.Count(given, "; left"); n != begun {
			t.Fatalf("%q: %d of %d messages are accounted for: %s", replies, n, begun, given)
		}
		if texts := strings.Count(sent.String(), "\r\n.\r\n"); texts > strings.Count(replies, "354") {
			t.Fatalf("%q: %d texts sent: %q", replies, texts, sent.String())
		}
	})
}

// hangingUp is a connection whose server is gone as soon as it has the dot.
type hangingUp struct{ writable }

func (c hangingUp) Write(p []byte) (int, error) {
	i := bytes.Index(p, []byte("\r\n.\r\n"))
	if i < 0 {
		return c.writable.Write(p)
	}
	c.out.Write(p[:i+5])
	return i + 5, syscall.ECONNRESET
}

// A message was taken if the server says so, though it does not take the commands that stand behind the text.
func TestSendEachVerdictOfOneWhoHangsUp(t *testing.T) {
	for verdict, want := range map[string]string{
		"250 2.0.0 a\r\n": "a 2.0.0; left b 4.4.2", "554 5.6.0 a\r\n": "a 5.6.0; left b 5.6.0", "354 a\r\n": "a 4.5.0; left b 4.5.0", "": "a 4.4.2; left b 4.4.2",
	} {
		var sent bytes.Buffer
		replies := "220 x\r\n250-x\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n" + verdict
		nc := hangingUp{writable{readOnly{r: strings.NewReader(replies)}, &sent}}
		c, err := NewClient(t.Context(), nc, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		if got := newQueueOf(t, "a", "b").sendAll(c); got != want || c.Usable() {
			t.Errorf("%q: got %q, usable %v", verdict, got, c.Usable())
		}
	}
}

// A server that no longer knows who we are says nothing about the mail. One that never did does.
func TestSendEachForgotten(t *testing.T) {
	hello := "250-mx.example\r\n250-PIPELINING\r\n250 AUTH PLAIN"
	login := mailtest.Exchange("AUTH", "235 ok")
	commands := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("DATA")}
	ok := []mailtest.Act{mailtest.Reply("250 ok", "250 ok", "354 go"), mailtest.ExpectTo(".")}
	no := mailtest.Reply("530 5.7.0 Authentication required", "503 no", "503 no")
	tests := []struct {
		acts []mailtest.Act
		want string
	}{
		{slices.Concat([]mailtest.Act{login}, commands, ok, commands, []mailtest.Act{mailtest.Reply("250 a"), no}), "a 2.0.0; left b 4.7.0"},
		{slices.Concat([]mailtest.Act{login}, commands, []mailtest.Act{no}), "; left a 4.7.0"},
		{slices.Concat(commands, []mailtest.Act{no}), "a 5.7.0"},
	}
	for i, test := range tests {
		srv := mailtest.ScriptServer(t, after(hello, test.acts...)...)
		c := mustDial(t, srv.Addr)
		if i < 2 {
			if err := c.Auth(t.Context(), sasl.NewPlainClient("", "me", "secret")); err != nil {
				t.Fatal(err)
			}
		}
		if got := newQueueOf(t, "a", "b").sendAll(c); got != test.want {
			t.Errorf("%d: got %q, want %q", i, got, test.want)
		}
	}
}

// Who is told to stop while a server has all of a text hears whether it takes that, with BDAT and LMTP too. Nothing else is
// waited for, and neither is anything when time is over.
func TestVerdictBehindTheEnd(t *testing.T) {
	const plain, chunk = "250-mx.example\r\n250 PIPELINING", "250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING"
	acts := func(last ...mailtest.Act) []mailtest.Act {
		commands := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("RCPT"), mailtest.Expect("DATA")}
		return append(commands, last...)
	}
	ok, dot := mailtest.Reply("250 ok", "250 ok", "250 ok", "354 go"), mailtest.ExpectTo(".")
	bdat := []mailtest.Act{mailtest.Expect("MAIL"), mailtest.Expect("RCPT"), mailtest.Expect("RCPT"), mailtest.Expect("BDAT"), mailtest.ExpectTo("a")}
	end, verdict := mailtest.Act(nil), mailtest.Reply("250 a")
	tests := []struct {
		name, hello string
		cause       error
		acts        []mailtest.Act
		want        string
	}{
		{"DATA", plain, nil, acts(ok, dot, end, verdict), "2.0.0 2.0.0"},
		{"BDAT", chunk, nil, append(bdat, end, mailtest.Reply("250 ok", "250 ok", "550 5.1.1 who"), verdict), "2.0.0 5.1.1"},
		{"LMTP", plain, nil, acts(ok, dot, end, verdict, verdict), "2.0.0 2.0.0"},
		{"silence", plain, nil, acts(ok, dot, end, mailtest.Silence()), "4.4.2 4.4.2"},
		{"out of time", plain, context.DeadlineExceeded, acts(ok, dot, end, verdict), "4.4.2 4.4.2"},
		{"before the text", plain, nil, acts(end, ok, dot, verdict), "4.4.2 4.4.2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var c *Client
			ready := make(chan struct{})
			stop := func(*mailtest.Peer) error {
				<-ready
				for test.name != "before the text" && !c.parting.has(&c.parting.isVerdict) {
					runtime.Gosched()
				}
				cancel(test.cause)
				for !c.parting.has(&c.parting.isTime) {
					runtime.Gosched()
				}
				return nil
			}
			for i := range test.acts {
				if test.acts[i] == nil {
					test.acts[i] = stop
				}
			}
			opt := testOptions()
			opt.LMTP, opt.Chunk = test.name == "LMTP", true
			script := after(test.hello, test.acts...)
			if opt.LMTP {
				script = append([]mailtest.Act{mailtest.Reply("220 hi"), mailtest.Exchange("LHLO", test.hello)}, test.acts...)
			}
			var err error
			if c, err = dial(t, mailtest.ScriptServer(t, script...).Addr, opt); err != nil {
				t.Fatal(err)
			}
			close(ready)
			env := envelope(t, "me@x.example", "a@y.example", "b@y.example")
			if got := statuses(c.Send(ctx, env, strings.NewReader("a\n"), 2)); got != test.want || c.Usable() {
				t.Errorf("got %s, usable %v; want %s", got, c.Usable(), test.want)
			}
		})
	}
}

func (p *parting) has(what *bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *what
}
