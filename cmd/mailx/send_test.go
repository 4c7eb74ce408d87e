package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rogpeppe/go-internal/testscript"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
)

// sinkKey leads to the sinks of a script, by name: a map[string]*mailtest.Sink.
type sinkKey struct{}

// sinkCommand is for scripts: `sink [-name NAME] [-user NAME:PASSWORD] [-tls] ['STAGE=reply' ...]` starts an SMTP server that is
// not ours and puts its URL into $SINK, or into $NAME. A stage is as in mailtest.SinkOptions: 'RCPT bob@x.example=550 5.1.1 No
// such user'. With -tls it offers STARTTLS, with a certificate for 127.0.0.1 whose root is in ca.pem.
func sinkCommand(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		opt := mailtest.SinkOptions{Replies: map[string]string{}, Users: map[string]string{}}
		flags := flag.NewFlagSet("sink", flag.ContinueOnError)
		name, user := flags.String("name", "SINK", ""), flags.String("user", "", "")
		withTLS := flags.Bool("tls", false, "")
		if err := flags.Parse(args); err != nil || neg {
			ts.Fatalf("usage: sink [-name NAME] [-user NAME:PASSWORD] [-tls] [STAGE=reply ...]")
		}
		for _, arg := range flags.Args() {
			stage, reply, _ := strings.Cut(arg, "=")
			opt.Replies[stage] = reply
		}
		if user, password, ok := strings.Cut(*user, ":"); ok {
			opt.Users[user] = password
		}
		if *withTLS {
			ca := mailtest.NewCA(t)
			opt.TLS = ca.ServerConfig("127.0.0.1")
			ca.WriteCA(ts.MkAbs("."))
		}
		s := mailtest.StartSink(t, opt)
		ts.Value(sinkKey{}).(map[string]*mailtest.Sink)[*name] = s
		ts.Setenv(*name, "smtp://"+s.Addr)
		ts.Setenv(*name+"_ADDR", s.Addr)
	}
}

// receivedCommand is for scripts: `received [-dsn] FILE [NAME]` writes what the sink has got: for each message a line with the
// sender and the recipients, one with what was asked for in the way of notices if -dsn is given, then the message in local
// form; at the end the number of connections.
func receivedCommand(ts *testscript.TestScript, neg bool, args []string) {
	name, withDSN := "SINK", len(args) > 0 && args[0] == "-dsn"
	if withDSN {
		args = args[1:]
	}
	if len(args) == 2 {
		name = args[1]
	}
	s := ts.Value(sinkKey{}).(map[string]*mailtest.Sink)[name]
	if neg || len(args) < 1 || len(args) > 2 || s == nil {
		ts.Fatalf("usage: sink; ...; received [-dsn] FILE [NAME]")
	}
	var b strings.Builder
	for _, m := range s.Messages() {
		fmt.Fprintf(&b, "<%s> -> %s\n", m.From, strings.Join(m.Rcpts, " "))
		if m.User != "" || m.TLS {
			fmt.Fprintf(&b, "user %s, TLS %v\n", m.User, m.TLS)
		}
		if withDSN {
			b.WriteString(dsnOf(m))
		}
		b.WriteString(strings.ReplaceAll(m.Data, "\r\n", "\n"))
	}
	fmt.Fprintf(&b, "connections: %d\n", s.Connections())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// dsnOf is a line about what the sender wants to be told (RFC 3461); none if it said nothing.
func dsnOf(m mailtest.SinkMessage) string {
	var words []string
	if m.Opts.Return != "" || m.Opts.EnvelopeID != "" {
		words = append(words, fmt.Sprintf("ret %s envid %s", m.Opts.Return, m.Opts.EnvelopeID))
	}
	for i, r := range m.Dsn {
		if len(r.Notify) > 0 {
			words = append(words, fmt.Sprintf("%s notify %v", m.Rcpts[i], r.Notify))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "dsn " + strings.Join(words, ", ") + "\n"
}

func TestHeld(t *testing.T) {
	for _, size := range []int{0, 1, maxHeld - 1, maxHeld, maxHeld + 1, 3 * maxHeld} {
		want := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
		h := &held{}
		if _, err := io.Copy(struct{ io.Writer }{h}, iotest.HalfReader(bytes.NewReader(want))); err != nil {
			t.Fatal(err)
		}
		if got, want := h.file != nil, size > maxHeld; got != want {
			t.Errorf("%d octets: in a file %v, want %v", size, got, want)
		}
		var got bytes.Buffer
		if err := h.writeTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) || h.size != int64(size) {
			t.Errorf("%d octets: %d came back, size %d, %v", size, got.Len(), h.size, err)
		}
		h.close()
	}
}

func TestBoundedWriter(t *testing.T) {
	for _, tt := range []struct {
		text string
		max  int64
		ok   bool
	}{{"", 0, true}, {"abc", 3, true}, {"abcd", 3, false}, {"a\n", 3, true}, {"ab\n", 3, false}, {"\n\n", 3, false}} {
		var b strings.Builder
		_, err := io.Copy(&boundedWriter{w: &b, left: tt.max, max: tt.max}, iotest.OneByteReader(strings.NewReader(tt.text)))
		if (err == nil) != tt.ok {
			t.Errorf("%q with %d: %v, want ok %v", tt.text, tt.max, err, tt.ok)
		}
		if err != nil && exitCode(err) != exDataErr {
			t.Errorf("%q: exit code %d, want %d", tt.text, exitCode(err), exDataErr)
		}
	}
}

func TestRepeatable(t *testing.T) {
	stream := func(seed string) []byte {
		b, _ := io.ReadAll(io.LimitReader(iotest.OneByteReader(&repeatable{seed: []byte(seed)}), 100))
		return b
	}
	whole := make([]byte, 100)
	(&repeatable{seed: []byte("a")}).Read(whole)
	if !bytes.Equal(stream("a"), whole) {
		t.Error("the stream depends on how it is read")
	}
	if bytes.Equal(stream("a"), stream("b")) || bytes.Equal(whole[:32], whole[32:64]) {
		t.Error("the stream does not depend on its seed, or repeats")
	}
}

// TestOutcomes has what is said about a recipient, and how the exit code follows.
func TestOutcomes(t *testing.T) {
	make := func(err error, id string) outcome {
		o := outcome{Result: mail.Result{Recipient: mail.Recipient{Address: mail.Address{Local: "b", Domain: "x"}}, Err: err}, queueID: id}
		var said *smtp.Reply
		if errors.As(err, &said) {
			o.Reply, o.RemoteMTA = said.Error(), "mx.x"
		}
		return o
	}
	unknown := &smtp.Reply{Code: 550, Status: mail.Status{Class: 5, Subject: 1, Detail: 1}, Lines: []string{"No such user"}}
	policy := &smtp.Reply{Code: 554, Lines: []string{"Go away"}}
	busy := mail.Temporaryf(4, 1, "Can't connect: %w", errors.New("refused"))
	for _, tt := range []struct {
		outcomes []outcome
		line     string // of the last
		code     int
	}{
		{[]outcome{make(nil, "")}, "<b@x>: delivered", exOK},
		{[]outcome{make(nil, "q1")}, "<b@x>: queued as q1", exOK},
		{[]outcome{make(busy, "q1")}, "<b@x>: 4.4.1 Can't connect: refused (temporary, queued as q1)", exOK},
		{[]outcome{make(busy, "")}, "<b@x>: 4.4.1 Can't connect: refused (temporary, not stored: try again)", exTempFail},
		{[]outcome{make(nil, ""), make(unknown, "")}, "<b@x>: 5.1.1 No such user, says mx.x (permanent)", exNoUser},
		{[]outcome{make(unknown, ""), make(unknown, "")}, "<b@x>: 5.1.1 No such user, says mx.x (permanent)", exNoUser},
		{[]outcome{make(unknown, ""), make(policy, "")}, "<b@x>: 5.0.0 Go away, says mx.x (permanent)", exUnavailable},
		{[]outcome{make(unknown, ""), make(busy, "q1")}, "<b@x>: 4.4.1 Can't connect: refused (temporary, queued as q1)", exNoUser},
		{[]outcome{make(unknown, ""), make(busy, "")}, "<b@x>: 4.4.1 Can't connect: refused (temporary, not stored: try again)", exTempFail},
		{[]outcome{make(exitWith(exIOErr, errors.New("disk")), "")}, "<b@x>: 4.0.0 disk (temporary, not stored: try again)", exTempFail},
	} {
		last := tt.outcomes[len(tt.outcomes)-1]
		if got := last.line(); got != tt.line {
			t.Errorf("line:\n got %q\nwant %q", got, tt.line)
		}
		if got := exitOfOutcomes(tt.outcomes); got != tt.code {
			t.Errorf("%q: exit code %d, want %d", tt.line, got, tt.code)
		}
	}
}

func TestScreen(t *testing.T) {
	var b strings.Builder
	s := &screen{w: &b}
	io.WriteString(s, "a\tb\n\x1b[2J\xff\n\nend")
	s.end()
	if got, want := b.String(), "a\tb\n\\x1b[2J\\xff\n\nend\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
