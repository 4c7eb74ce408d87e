package milter

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"mailx/pkg/filter"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
)

// recorder is a milter of the library's other half. It notes what it is told, and answers by the name of the event.
type recorder struct {
	mu      sync.Mutex
	told    []string
	answers map[string]gomilter.Response
	end     func(m *gomilter.Modifier) error
}

func (r *recorder) note(m *gomilter.Modifier, event string, args ...any) (gomilter.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := event
	for _, a := range args {
		text += fmt.Sprintf(" %v", a)
	}
	var names []string
	for name := range m.Macros {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text += " " + name + "=" + m.Macros[name]
	}
	r.told = append(r.told, text)
	if a := r.answers[event]; a != nil {
		return a, nil
	}
	return gomilter.RespContinue, nil
}

func (r *recorder) Connect(host, family string, port uint16, addr net.IP, m *gomilter.Modifier) (gomilter.Response, error) {
	return r.note(m, "connect", host, family, addr)
}

func (r *recorder) Helo(name string, m *gomilter.Modifier) (gomilter.Response, error) {
	return r.note(m, "helo", name)
}

func (r *recorder) MailFrom(from string, m *gomilter.Modifier) (gomilter.Response, error) {
	return r.note(m, "mail", from)
}

func (r *recorder) RcptTo(to string, m *gomilter.Modifier) (gomilter.Response, error) {
	return r.note(m, "rcpt", to)
}

func (r *recorder) Header(name, value string, m *gomilter.Modifier) (gomilter.Response, error) {
	return r.note(m, "header", fmt.Sprintf("%s|%q", name, value))
}

func (r *recorder) Headers(_ textproto.MIMEHeader, m *gomilter.Modifier) (gomilter.Response, error) {
	return r.note(m, "eoh")
}

func (r *recorder) BodyChunk(chunk []byte, m *gomilter.Modifier) (gomilter.Response, error) {
	if len(chunk) > 100 {
		return r.note(m, "body", len(chunk))
	}
	return r.note(m, "body", fmt.Sprintf("%q", chunk))
}

func (r *recorder) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	if r.end != nil {
		if err := r.end(m); err != nil {
			return nil, err
		}
	}
	a, err := r.note(m, "end")
	if a == gomilter.RespContinue {
		a = gomilter.RespAccept
	}
	return a, err
}

func (r *recorder) Abort(m *gomilter.Modifier) error {
	_, err := r.note(m, "abort")
	return err
}

func (r *recorder) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told
	r.told = nil
	return told
}

// start runs a milter on a unix socket.
func start(t testing.TB, r *recorder, protocol gomilter.OptProtocol) *Filter {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "m.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &gomilter.Server{NewMilter: func() gomilter.Milter { return r }, Protocol: protocol,
		Actions: gomilter.OptAddHeader | gomilter.OptChangeBody | gomilter.OptAddRcpt | gomilter.OptRemoveRcpt | gomilter.OptChangeHeader | gomilter.OptQuarantine}
	go srv.Serve(l)
	t.Cleanup(func() { l.Close() })
	return &Filter{Network: "unix", Address: l.Addr().String(), Timeout: 10 * time.Second, Hostname: "mx.example.org"}
}

var (
	client = &smtp.Peer{Addr: netip.MustParseAddr("192.0.2.1"), Helo: "there.example", User: "bob"}
	bob    = mail.Recipient{Address: mail.Address{Local: "bob", Domain: "here.example"}}
	alice  = mail.Recipient{Address: mail.Address{Local: "alice", Domain: "here.example"}}
)

func envelope() *mail.Envelope {
	return &mail.Envelope{ID: "ID1", Sender: mail.Address{Local: "a", Domain: "far.example"}, Body: mail.Body8BitMIME}
}

const letter = "Received: by us\n\twith ESMTP\nSubject: x\nsubject:  y\n\nhi\nthere\n"

// outcome is what a milter made of a message.
type outcome struct {
	verdict string // of mail, rcpt bob, rcpt alice, message: "" is none
	m       *filter.Message
	text    string
}

func verdictOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, filter.ErrDiscard):
		return "discard"
	}
	return mail.StatusOf(err).String() + " " + mail.TextOf(err)
}

// post sends a message to bob and alice through a session, as a filter.Conn does.
func post(t testing.TB, s filter.Session, text string) outcome {
	t.Helper()
	env := envelope()
	var verdicts []string
	say := func(err error) bool {
		verdicts = append(verdicts, verdictOf(err))
		return err == nil
	}
	m := filter.NewMessage(filter.Store{}, env, filter.TextOf(strings.NewReader(text), int64(len(text))))
	m.Peer = client
	defer s.Abort()
	if say(s.Mail(t.Context(), client, env)) {
		for _, r := range []mail.Recipient{bob, alice} {
			if say(s.Rcpt(t.Context(), r)) {
				m.Env.Rcpts = append(m.Env.Rcpts, r)
			}
		}
		say(s.Message(t.Context(), m))
	}
	b, err := io.ReadAll(m.Text.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return outcome{strings.Join(verdicts, ", "), m, string(b)}
}

func connect(t testing.TB, f *Filter) filter.Session {
	s, err := f.Connect(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func wantEvents(t testing.TB, r *recorder, want ...string) {
	t.Helper()
	if got := r.events(); !slices.Equal(got, want) {
		t.Errorf("the milter was told\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// A milter hears of all, the client once, every message after it.
func TestWhatAMilterIsTold(t *testing.T) {
	r := &recorder{}
	s := connect(t, start(t, r, 0))
	if o := post(t, s, letter); o.verdict != "ok, ok, ok, ok" || o.text != letter {
		t.Errorf("got %s, %q", o.verdict, o.text)
	}
	hello := []string{
		"connect [192.0.2.1] tcp4 192.0.2.1 j=mx.example.org v=mailx {client_addr}=192.0.2.1 {client_name}=[192.0.2.1] {client_ptr}=[192.0.2.1] {daemon_name}=mailx",
	}
	heloMacros := hello[0][strings.Index(hello[0], " j="):]
	hello = append(hello, "helo there.example"+heloMacros) // the library keeps macros until new ones come
	message := []string{
		"mail a@far.example i=ID1 {auth_authen}=bob {auth_type}=PLAIN {mail_addr}=a@far.example {mail_host}=far.example {mail_mailer}=smtp",
		"rcpt bob@here.example {rcpt_addr}=bob@here.example {rcpt_host}=here.example {rcpt_mailer}=smtp",
		"rcpt alice@here.example {rcpt_addr}=alice@here.example {rcpt_host}=here.example {rcpt_mailer}=smtp",
	}
	last := message[2][strings.Index(message[2], " {"):]
	message = append(message,
		`header Received|"by us\n\twith ESMTP"`+last, `header Subject|"x"`+last, `header subject|" y"`+last,
		"eoh i=ID1", `body "hi\r\nthere\r\n" i=ID1`, "end i=ID1")
	wantEvents(t, r, append(hello, message...)...)
	if o := post(t, s, letter); o.verdict != "ok, ok, ok, ok" {
		t.Errorf("second message: got %s", o.verdict)
	}
	wantEvents(t, r, message...)
}

// What a milter does not want it is not sent.
func TestWhatAMilterDoesNotWant(t *testing.T) {
	r := &recorder{}
	s := connect(t, start(t, r, gomilter.OptNoConnect|gomilter.OptNoHelo|gomilter.OptNoHeaders|gomilter.OptNoBody|gomilter.OptNoEOH|gomilter.OptNoRcptTo))
	if o := post(t, s, letter); o.verdict != "ok, ok, ok, ok" {
		t.Errorf("got %s", o.verdict)
	}
	var names []string
	for _, e := range r.events() {
		names = append(names, strings.Fields(e)[0])
	}
	if want := []string{"mail", "end"}; !slices.Equal(names, want) {
		t.Errorf("the milter was told %q, want %q", names, want)
	}
}

// TestAnswers has every answer at every event.
func TestAnswers(t *testing.T) {
	reply := gomilter.NewResponseStr('y', "550 5.7.26 not\tyou")
	for _, c := range []struct {
		event  string
		answer gomilter.Response
		want   string
	}{
		{"connect", gomilter.RespReject, "5.7.1 Refused by a filter"},
		{"connect", gomilter.RespAccept, "ok, ok, ok, ok"},
		{"connect", gomilter.RespDiscard, "discard"},
		{"helo", gomilter.RespTempFail, "4.7.1 Refused by a filter for now, try again later"},
		{"mail", gomilter.RespReject, "5.7.1 Refused by a filter"},
		{"mail", gomilter.RespTempFail, "4.7.1 Refused by a filter for now, try again later"},
		{"mail", gomilter.RespAccept, "ok, ok, ok, ok"},
		{"mail", gomilter.RespDiscard, "discard"},
		{"mail", reply, "5.7.26 not?you"},
		{"rcpt", gomilter.RespReject, "ok, 5.7.1 Refused by a filter, 5.7.1 Refused by a filter, ok"},
		{"rcpt", reply, "ok, 5.7.26 not?you, 5.7.26 not?you, ok"},
		{"rcpt", gomilter.RespDiscard, "ok, ok, ok, discard"},
		{"rcpt", gomilter.RespAccept, "ok, ok, ok, ok"},
		{"header", gomilter.RespReject, "ok, ok, ok, 5.7.1 Refused by a filter"},
		{"header", gomilter.RespAccept, "ok, ok, ok, ok"},
		{"eoh", gomilter.RespTempFail, "ok, ok, ok, 4.7.1 Refused by a filter for now, try again later"},
		{"body", gomilter.RespDiscard, "ok, ok, ok, discard"},
		{"body", reply, "ok, ok, ok, 5.7.26 not?you"},
		{"end", gomilter.RespReject, "ok, ok, ok, 5.7.1 Refused by a filter"},
		{"end", gomilter.RespDiscard, "ok, ok, ok, discard"},
		{"end", reply, "ok, ok, ok, 5.7.26 not?you"},
		{"end", gomilter.NewResponseStr('y', "421 4.7.0 go away"), "ok, ok, ok, 4.7.0 go away"},
		{"end", gomilter.NewResponseStr('y', "250 2.0.0 fine"), "ok, ok, ok, 4.7.1 Refused by a filter for now, try again later"},
		{"end", gomilter.NewResponseStr('y', "550 5.1.1 a\r\n550 5.1.1 b\r\n"), "ok, ok, ok, 5.1.1 a b"},
		{"end", gomilter.NewResponseStr('y', "550 no status"), "ok, ok, ok, 5.7.1 no status"},
	} {
		t.Run(c.event+" "+c.want, func(t *testing.T) {
			r := &recorder{answers: map[string]gomilter.Response{c.event: c.answer}}
			s := connect(t, start(t, r, 0))
			for n := range 2 { // the second message finds the milter in order
				if o := post(t, s, letter); o.verdict != c.want || o.text != letter {
					t.Errorf("message %d: got %s, want %s", n, o.verdict, c.want)
				}
			}
		})
	}
}

func TestReplyCodes(t *testing.T) {
	for text, want := range map[string]string{
		"550 5.7.1 no":            "550 5.7.1 no",
		"421 4.7.0 bye":           "451 4.7.0 bye",
		"451 later":               "451 4.7.1 later",
		"550 4.7.1 mixed":         "550 5.7.1 4.7.1 mixed",
		"554 5.7.1 a\r\n554-b\nc": "554 5.7.1 a b c",
	} {
		var r *smtp.Reply
		if err := replyOf(&gomilter.Action{Code: gomilter.ActReplyCode, SMTPCode: atoi(text[:3]), SMTPText: text[4:]}); !errors.As(err, &r) || r.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

// TestChanges has every change at the end of a message.
func TestChanges(t *testing.T) {
	head, body := "Received: by us\n\twith ESMTP\n", "\nhi\nthere\n"
	for _, c := range []struct {
		name string
		do   func(m *gomilter.Modifier) error
		want string
		more func(o outcome) bool
	}{
		{"add", func(m *gomilter.Modifier) error { return m.AddHeader("X-A", "b") }, head + "Subject: x\nsubject:  y\nX-A: b\n" + body, nil},
		{"add folded", func(m *gomilter.Modifier) error { return m.AddHeader("X-A", "b\r\n\tc") }, head + "Subject: x\nsubject:  y\nX-A: b\n\tc\n" + body, nil},
		{"insert on top", func(m *gomilter.Modifier) error { return m.InsertHeader(0, "X-A", "b") }, "X-A: b\n" + letter, nil},
		{"insert behind ours", func(m *gomilter.Modifier) error { return m.InsertHeader(1, "X-A", "b") }, head + "X-A: b\nSubject: x\nsubject:  y\n" + body, nil},
		{"insert far away", func(m *gomilter.Modifier) error { return m.InsertHeader(1<<31, "X-A", "b") }, head + "Subject: x\nsubject:  y\nX-A: b\n" + body, nil},
		{"change the second", func(m *gomilter.Modifier) error { return m.ChangeHeader(2, "SUBJECT", "z") }, head + "Subject: x\nSUBJECT: z\n" + body, nil},
		{"remove", func(m *gomilter.Modifier) error { return m.ChangeHeader(1, "Subject", "") }, head + "subject:  y\n" + body, nil},
		{"remove what is not there", func(m *gomilter.Modifier) error { return m.ChangeHeader(3, "Subject", "") }, letter, nil},
		{"change what is not there", func(m *gomilter.Modifier) error { return m.ChangeHeader(1, "X-A", "b") }, head + "Subject: x\nsubject:  y\nX-A: b\n" + body, nil},
		{"body", func(m *gomilter.Modifier) error {
			return errors.Join(m.ReplaceBody([]byte("new\r\nbo")), m.ReplaceBody([]byte("dy")))
		}, head + "Subject: x\nsubject:  y\n\nnew\nbody\n", nil},
		{"all of it", func(m *gomilter.Modifier) error {
			return errors.Join(m.AddHeader("X-A", "b"), m.ChangeHeader(1, "Subject", "z"), m.ReplaceBody([]byte("new\n")))
		}, head + "Subject: z\nsubject:  y\nX-A: b\n\nnew\n", nil},
		{"add a recipient", func(m *gomilter.Modifier) error { return m.AddRecipient("carol@far.example") }, letter, func(o outcome) bool {
			return len(o.m.Env.Rcpts) == 3 && o.m.Env.Rcpts[2].String() == "carol@far.example"
		}},
		{"add one that is there", func(m *gomilter.Modifier) error { return m.AddRecipient("bob@HERE.example") }, letter, func(o outcome) bool {
			return len(o.m.Env.Rcpts) == 2
		}},
		{"remove a recipient", func(m *gomilter.Modifier) error { return m.DeleteRecipient("bob@here.example") }, letter, func(o outcome) bool {
			return len(o.m.Env.Rcpts) == 1 && o.m.Env.Rcpts[0] == alice
		}},
		{"change the sender", func(m *gomilter.Modifier) error { return m.ChangeFrom("<z@far.example>") }, letter, func(o outcome) bool {
			return o.m.Env.Sender.String() == "z@far.example"
		}},
		{"null sender", func(m *gomilter.Modifier) error { return m.ChangeFrom("<>") }, letter, func(o outcome) bool { return o.m.Env.Sender.IsNull() }},
		{"quarantine", func(m *gomilter.Modifier) error { return m.Quarantine("odd\x1b") }, letter, func(o outcome) bool { return o.m.Quarantine == "odd?" }},
		{"quarantine for no reason", func(m *gomilter.Modifier) error { return m.Quarantine("") }, letter, func(o outcome) bool { return o.m.Quarantine != "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := connect(t, start(t, &recorder{end: c.do}, 0))
			o := post(t, s, letter)
			if o.verdict != "ok, ok, ok, ok" || o.text != c.want || c.more != nil && !c.more(o) {
				t.Errorf("got %s, %q, envelope %v, want %q", o.verdict, o.text, o.m.Env, c.want)
			}
		})
	}
}

// Changes that would break the message, or its envelope, are trouble of the milter's.
func TestChangesThatAreNone(t *testing.T) {
	for name, do := range map[string]func(m *gomilter.Modifier) error{
		"end of the header":  func(m *gomilter.Modifier) error { return m.AddHeader("X-A", "b\n\nbody") },
		"another field":      func(m *gomilter.Modifier) error { return m.AddHeader("X-A", "b\nX-B: c") },
		"name with a colon":  func(m *gomilter.Modifier) error { return m.InsertHeader(0, "X-A: c\nX-B", "b") },
		"no name":            func(m *gomilter.Modifier) error { return m.AddHeader("", "b") },
		"bare CR":            func(m *gomilter.Modifier) error { return m.AddHeader("X-A", "b\rc") },
		"no address":         func(m *gomilter.Modifier) error { return m.AddRecipient("") },
		"address with a LF":  func(m *gomilter.Modifier) error { return m.AddRecipient("a\n@b.example") },
		"sender with a LF":   func(m *gomilter.Modifier) error { return m.ChangeFrom("a@b.example>\n<c") },
		"changed to nothing": func(m *gomilter.Modifier) error { return m.ChangeHeader(1, "Subject", "a\nb") },
	} {
		t.Run(name, func(t *testing.T) {
			s := connect(t, start(t, &recorder{end: do}, 0))
			o := post(t, s, letter)
			if want := "ok, ok, ok, 4.7.1 Message can't be checked now, try again later"; o.verdict != want || o.text != letter {
				t.Errorf("got %s, %q, want %s", o.verdict, o.text, want)
			}
		})
	}
}

// A large body comes in pieces that the protocol allows, with every LF as CRLF.
func TestLargeBody(t *testing.T) {
	r := &recorder{}
	s := connect(t, start(t, r, 0))
	body := strings.Repeat("\n", 100_000)
	if o := post(t, s, "A: b\n\n"+body); o.verdict != "ok, ok, ok, ok" {
		t.Errorf("got %s", o.verdict)
	}
	total := 0
	for _, e := range r.events() {
		if f := strings.Fields(e); f[0] == "body" {
			n := atoi(f[1])
			if total += n; n > gomilter.MaxBodyChunk {
				t.Errorf("a piece of %d octets", n)
			}
		}
	}
	if total != 2*len(body) {
		t.Errorf("got %d octets, want %d", total, 2*len(body))
	}
}

// TLS, and a new name, are told by a new HELO.
func TestHelloAgain(t *testing.T) {
	r := &recorder{}
	s := connect(t, start(t, r, 0))
	p := *client
	for _, change := range []func(){
		func() {},
		func() {
			p.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384}
		},
		func() { p.Helo = "other.example" },
		func() {},
	} {
		change()
		if err := s.Mail(t.Context(), &p, envelope()); err != nil {
			t.Fatal(err)
		}
		s.Abort()
	}
	var helos []string
	for _, e := range r.events() {
		if strings.HasPrefix(e, "helo") {
			helos = append(helos, strings.Join(strings.Fields(e)[1:], " "))
		}
	}
	tlsMacros := " {cipher_bits}=256 {cipher}=TLS_AES_256_GCM_SHA384 {tls_version}=TLSv1.3"
	if len(helos) != 3 || !strings.HasPrefix(helos[0], "there.example j=") || helos[1] != "there.example"+tlsMacros || helos[2] != "other.example"+tlsMacros {
		t.Errorf("got %q", helos)
	}
}

// TestUnreachable has each default.
func TestUnreachable(t *testing.T) {
	for d, want := range map[Default]string{
		TempFail: "4.7.1 Message can't be checked now, try again later",
		Reject:   "5.7.1 Message can't be checked",
		Accept:   "ok, ok, ok, ok",
	} {
		f := &Filter{Network: "unix", Address: filepath.Join(t.TempDir(), "none"), Default: d}
		if o := post(t, connect(t, f), letter); o.verdict != want || o.text != letter {
			t.Errorf("default %d: got %s, want %s", d, o.verdict, want)
		}
	}
}

// The time that the peer takes between its commands is not the milter's.
func TestSlowPeer(t *testing.T) {
	s := connect(t, start(t, &recorder{}, 0)).(*session)
	if err := s.Mail(t.Context(), client, envelope()); err != nil {
		t.Fatal(err)
	}
	s.nc.end = time.Now().Add(-time.Hour)
	if err := s.Rcpt(t.Context(), bob); err != nil {
		t.Error(err)
	}
	s.nc.end = time.Now().Add(-time.Hour)
	m := filter.NewMessage(filter.Store{}, envelope(), filter.TextOf(strings.NewReader(letter), int64(len(letter))))
	if err := s.Message(t.Context(), m); err != nil {
		t.Error(err)
	}
	s.nc.end = time.Now().Add(-time.Hour)
	if o := post(t, s, letter); o.verdict != "ok, ok, ok, ok" {
		t.Errorf("the next message: got %s", o.verdict)
	}
}

// A milter that comes back is used again, on the same SMTP connection.
func TestRecovery(t *testing.T) {
	r := &recorder{}
	f := start(t, r, 0)
	there := f.Address
	f.Address += ".gone"
	s := connect(t, f)
	if o := post(t, s, letter); !strings.HasPrefix(o.verdict, "4.7.1") {
		t.Errorf("got %s", o.verdict)
	}
	f.Address = there
	if o := post(t, s, letter); o.verdict != "ok, ok, ok, ok" {
		t.Errorf("got %s", o.verdict)
	}
	s.(*session).nc.Close() // in the middle of everything
	if o := post(t, s, letter); !strings.HasPrefix(o.verdict, "4.7.1") {
		t.Errorf("got %s", o.verdict)
	}
	if o := post(t, s, letter); o.verdict != "ok, ok, ok, ok" {
		t.Errorf("got %s", o.verdict)
	}
}

// packet prints one packet of the protocol.
func packet(code byte, data string) string {
	n := len(data) + 1
	return string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), code}) + data
}

// negotiated is the answer of a milter that wants nothing but the end of messages.
var negotiated = packet('O', "\x00\x00\x00\x06\x00\x00\x01\xff"+"\x00\x0f\xf3\x7f")

// TestHostile: whatever stands at the other end, there is a verdict, in time, and nothing is left behind.
func TestHostile(t *testing.T) {
	mailtest.CheckLeaks(t)
	endless := func(s string) func(net.Conn) {
		return func(nc net.Conn) {
			for {
				if _, err := io.WriteString(nc, s); err != nil {
					return
				}
			}
		}
	}
	once := func(s string) func(net.Conn) {
		return func(nc net.Conn) { io.WriteString(nc, s) }
	}
	for name, behave := range map[string]func(net.Conn){
		"hangs up":          func(net.Conn) {},
		"silence":           func(nc net.Conn) { io.Copy(io.Discard, nc) },
		"noise":             endless("\xff"),
		"zeros":             endless("\x00"),
		"not a milter":      once("220 mx.example.org ESMTP\r\n"),
		"short negotiation": once(packet('O', "\x00")),
		"old version":       once(packet('O', "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00")),
		"progress for ever": endless(negotiated + packet('p', "")),
		"progress, slowly": func(nc net.Conn) {
			once(negotiated)(nc)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := io.WriteString(nc, packet('p', "")); err != nil {
					return
				}
			}
		},
		"progress after hello": func(nc net.Conn) { once(negotiated)(nc); endless(packet('p', ""))(nc) },
		"headers for ever":     func(nc net.Conn) { once(negotiated)(nc); endless(packet('h', "A\x00b\x00"))(nc) },
		"bodies for ever":      func(nc net.Conn) { once(negotiated)(nc); endless(packet('b', strings.Repeat("x", 1<<20-1)))(nc) },
		"huge packet":          once(negotiated + "\xff\xff\xff\xff" + "b"),
		"empty packet":         once(negotiated + "\x00\x00\x00\x00"),
		"change without data":  once(negotiated + packet('m', "") + packet('c', "")),
		"header without name":  once(negotiated + packet('h', "") + packet('c', "")),
		"insert without value": once(negotiated + packet('i', "\x00\x00\x00\x01X") + packet('c', "")),
		"reply without text":   once(negotiated + packet('y', "5") + packet('c', "")),
		"reply of letters":     once(negotiated + packet('y', "abc def\x00") + packet('c', "")),
		"skip":                 once(negotiated + packet('s', "")),
		"unknown":              once(negotiated + packet('Z', "")),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "m.sock"))
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() {
				for {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					serving.Go(func() { behave(nc); nc.Close() })
				}
			})
			f := &Filter{Network: "unix", Address: l.Addr().String(), Timeout: 100 * time.Millisecond, MaxSize: 1 << 20}
			s, _ := f.Connect(context.Background(), client)
			o := post(t, s, letter)
			if !strings.HasSuffix(o.verdict, "4.7.1 Message can't be checked now, try again later") || o.text != letter {
				t.Errorf("got %s, %d octets", o.verdict, len(o.text))
			}
			s.Close()
			l.Close()
			serving.Wait()
		})
	}
}

// TestFailsAtRcpt: a milter that goes while it is told of recipients has not judged the message, so nobody gets it unseen.
func TestFailsAtRcpt(t *testing.T) {
	const now = "4.7.1 Message can't be checked now, try again later"
	for d, want := range map[Default]string{
		TempFail: "ok, ok, " + now + ", " + now,
		Reject:   "ok, ok, 5.7.1 Message can't be checked, 5.7.1 Message can't be checked",
		Accept:   "ok, ok, ok, ok",
	} {
		f := &Filter{Network: "unix", Address: serveRaw(t, goneAfter('R', 2)), Default: d}
		if o := post(t, connect(t, f), letter); o.verdict != want {
			t.Errorf("default %d: got %s, want %s", d, o.verdict, want)
		}
	}
}

// serveRaw has a function of the test stand where a milter would, for one connection.
func serveRaw(t *testing.T, behave func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "m.sock"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if nc, err := l.Accept(); err == nil {
			behave(nc)
			nc.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// goneAfter is a milter that wants to hear of everything and has nothing against it, until a command has come for the nth time.
func goneAfter(command byte, nth int) func(net.Conn) {
	return func(nc net.Conn) {
		for head := make([]byte, 5); ; {
			if _, err := io.ReadFull(nc, head); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, nc, int64(binary.BigEndian.Uint32(head))-1); err != nil {
				return
			}
			switch head[4] {
			case command:
				if nth--; nth == 0 {
					return
				}
			case 'O':
				io.WriteString(nc, packet('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x00"))
				continue
			case 'D': // macros have no answer
				continue
			}
			io.WriteString(nc, packet('c', ""))
		}
	}
}

func TestParseSocket(t *testing.T) {
	for in, want := range map[string]string{
		"/run/m.sock":          "unix /run/m.sock",
		"unix:/run/m.sock":     "unix /run/m.sock",
		"local:/run/m.sock":    "unix /run/m.sock",
		"inet:8891@localhost":  "tcp localhost:8891",
		"inet6:8891@[::1]":     "tcp [::1]:8891",
		"inet6:8891@::1":       "tcp [::1]:8891",
		"inet:localhost:8891":  "tcp localhost:8891",
		"tcp:localhost:8891":   "tcp localhost:8891",
		"localhost:8891":       "tcp localhost:8891",
		"[::1]:8891":           "tcp [::1]:8891",
		"":                     "error",
		"unix:run/m.sock":      "error",
		"localhost":            "error",
		"localhost:":           "error",
		":8891":                "error",
		"inet:@localhost":      "error",
		"inet:8891@":           "error",
		"inet:smtp@localhost":  "error",
		"localhost:8891\nevil": "error",
	} {
		network, address, err := ParseSocket(in)
		got := network + " " + address
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s (%v), want %s", in, got, err, want)
		}
	}
}

// FuzzAnswers: what a milter says can break neither us nor a message.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(packet('h', "A\x00b\x00")+packet('c', "")), false)
	f.Add([]byte(packet('i', "\x00\x00\x00\x01A\x00 b\x00")+packet('m', "\x00\x00\x00\x01Subject\x00\x00")+packet('a', "")), true)
	f.Add([]byte(packet('b', "x\r\ry")+packet('+', "<a@b>\x00")+packet('-', "<bob@here.example>\x00")+packet('e', "<>\x00")+packet('q', "why\x00")+packet('c', "")), false)
	f.Add([]byte(packet('y', "550 5.7.1 a\r\n550-b\x00")), true)
	f.Fuzz(func(t *testing.T, answers []byte, spaced bool) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go io.Copy(io.Discard, theirs)
		go func() {
			theirs.Write([]byte(negotiated))
			theirs.Write(answers)
			theirs.Close()
		}()
		s := fuzzSession(t, ours)
		if s == nil {
			return
		}
		defer s.Close()
		if spaced {
			s.s.ProtocolOpts |= gomilter.OptHeaderLeadingSpace
		}
		m := filter.NewMessage(filter.Store{}, envelope(), filter.TextOf(strings.NewReader(letter), int64(len(letter))))
		m.Env.Rcpts = []mail.Recipient{bob}
		s.inMessage = true
		if err := s.Message(context.Background(), m); err != nil {
			return
		}
		checkMessage(t, m)
	})
}

// fuzzSession is a session that is past its negotiation.
func fuzzSession(t *testing.T, nc net.Conn) *session {
	c := &conn{Conn: nc, max: 1 << 20, whole: 10 * time.Second}
	c.begin()
	client := gomilter.NewClientWithOptions("", "", gomilter.ClientOptions{Dialer: dialed{c}, ActionMask: actions6, ProtocolMask: protocol6})
	s, err := client.Session()
	if err != nil {
		t.Fatal(err)
	}
	return &session{f: &Filter{}, s: s, nc: c}
}

type dialed struct{ net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.Conn, nil }

func checkMessage(t *testing.T, m *filter.Message) {
	b, err := io.ReadAll(m.Text.Reader())
	if err != nil {
		t.Fatal(err)
	}
	if text := string(b); strings.Contains(text, "\r") || !strings.HasSuffix(text, "\n") {
		t.Errorf("message became %q", text)
	}
	for _, r := range m.Env.Rcpts {
		if _, err := mail.ParseAddress(r.String()); err != nil {
			t.Errorf("recipient %q: %v", r, err)
		}
	}
	if strings.ContainsAny(m.Quarantine+m.Env.Sender.String(), "\r\n\x00") {
		t.Errorf("quarantine %q, sender %q", m.Quarantine, m.Env.Sender)
	}
}

// What a milter sends is counted to the octet, and anew for each command.
func TestBoundOfAnswers(t *testing.T) {
	if got, want := (&Filter{MaxSize: 1000}).maxRead(), int64(4<<20+2000); got != want {
		t.Errorf("%d octets may come, want %d", got, want)
	}
	for n := 9; n <= 11; n++ {
		near, far := net.Pipe()
		go func() { near.Write(make([]byte, n)); near.Close() }()
		c := &conn{Conn: far, max: 10, whole: time.Minute}
		c.begin()
		got, err := io.Copy(io.Discard, c)
		if tooMany := n > 10; tooMany && (got != 10 || err != errTooMuch) || !tooMany && n < 10 && (got != int64(n) || err != nil) {
			t.Errorf("%d octets of 10: %d, %v", n, got, err)
		}
		c.begin()
		if rest, err := io.Copy(io.Discard, c); rest != int64(max(n-10, 0)) || err != nil {
			t.Errorf("%d octets of 10, then begun anew: %d, %v", n, rest, err)
		}
		far.Close()
	}
}
