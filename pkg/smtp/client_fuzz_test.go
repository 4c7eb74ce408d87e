package smtp

import (
	"bufio"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// readOnly is a connection on which there is something to read.
type readOnly struct {
	net.Conn
	r io.Reader
}

func (c readOnly) Read(p []byte) (int, error)     { return c.r.Read(p) }
func (readOnly) SetReadDeadline(time.Time) error  { return nil }
func (readOnly) SetWriteDeadline(time.Time) error { return nil }

func readReplyFrom(r io.Reader) (*Reply, error) {
	c := wire.NewConn(readOnly{r: r})
	c.SetMaxLine(maxReplyLine)
	return readReply(c)
}

func TestReadReply(t *testing.T) {
	tests := []struct{ in, want string }{ // want is Error() with lines joined by a bar, or "bad"
		{"250 ok\r\n", "250 ok"},
		{"250\r\n", "250 "},
		{"250 \r\n", "250 "},
		{"250-a\r\n250-b\r\n250 c\r\n", "250 a|b|c"},
		{"250-a\r\n250\r\n", "250 a|"},
		{"250 2.1.5 ok\r\n", "250 2.1.5 ok"},
		{"550-5.1.1 no\r\n550-5.1.1 such\r\n550 user\r\n", "550 5.1.1 no|such|user"},
		{"550 5.1.1\r\n", "550 5.1.1 "},
		{"550 5.1.10x no\r\n", "550 5.1.10x no"},
		{"450 5.1.1 no\r\n", "450 5.1.1 no"},
		{"354 3.0.0 go\r\n", "354 3.0.0 go"},
		{"250 bell\x07 and \xc3\xa4 esc\x1b[2J\r\n", "250 bell? and ? esc?[2J"},
		{"250-a\r\n550 b\r\n", "bad"},
		{"250-a\r\n251 b\r\n", "bad"},
		{"25 ok\r\n", "bad"},
		{"2500 ok\r\n", "bad"},
		{"150 ok\r\n", "bad"},
		{"650 ok\r\n", "bad"},
		{"ok\r\n", "bad"},
		{"\r\n", "bad"},
		{"250 a\n", "bad"},
		{"250 a\rb\r\n", "bad"},
		{"250-a\r\n", "bad"},
		{"250 a", "bad"},
		{strings.Repeat("250-x\r\n", maxReplyLines-1) + "250 x\r\n", "250 x" + strings.Repeat("|x", maxReplyLines-1)},
		{strings.Repeat("250-x\r\n", maxReplyLines) + "250 x\r\n", "bad"},
		{"250 " + strings.Repeat("x", maxReplyLine-6) + "\r\n", "250 " + strings.Repeat("x", maxReplyLine-6)},
		{"250 " + strings.Repeat("x", maxReplyLine-5) + "\r\n", "bad"},
	}
	for _, test := range tests {
		for _, r := range []io.Reader{strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in))} {
			got := "bad"
			if reply, err := readReplyFrom(r); err == nil {
				reply.Lines = []string{strings.Join(reply.Lines, "|")}
				got = reply.Error()
			}
			if got != test.want {
				t.Errorf("%.60q: got %.60q, want %.60q", test.in, got, test.want)
			}
		}
	}
}

func TestReplyStatus(t *testing.T) {
	for in, want := range map[string]string{
		"250 ok": "2.0.0", "250 2.1.5 ok": "2.1.5", "450 x": "4.0.0", "550 x": "5.0.0", "550 5.7.1 x": "5.7.1",
		"550 4.7.1 x": "5.0.0",
		"450 5.7.1 x": "4.0.0", "354 go": "4.0.0",
	} {
		r, err := readReplyFrom(strings.NewReader(in + "\r\n"))
		if err != nil || mail.StatusOf(r).String() != want {
			t.Errorf("%q: got %v %v, want %s", in, r, err, want)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add("250-a\r\n250 b\r\n")
	f.Add("550-5.1.1 no\r\n550 5.1.1 user\r\n")
	f.Add("250-\r\n250\r\n")
	f.Add("250-a\r\n550 b\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		whole, err := readReplyFrom(strings.NewReader(in))
		slow, slowErr := readReplyFrom(iotest.OneByteReader(strings.NewReader(in)))
		if !reflect.DeepEqual(whole, slow) || (err == nil) != (slowErr == nil) {
			t.Fatalf("%q: whole %v %v, by octet %v %v", in, whole, err, slow, slowErr)
		}
		if err != nil {
			return
		}
		if whole.Code < 200 || whole.Code > 599 || len(whole.Lines) == 0 || len(whole.Lines) > maxReplyLines {
			t.Fatalf("%q: got %+v", in, whole)
		}
		for i := 0; i < len(whole.Error()); i++ {
			if c := whole.Error()[i]; c < ' ' || c >= 0x7f {
				t.Fatalf("%q: %q is not printable", in, whole.Error())
			}
		}
		if class := int(mail.StatusOf(whole).Class); whole.Code >= 400 && class != whole.Code/100 {
			t.Fatalf("%q: status %s for code %d", in, mail.StatusOf(whole), whole.Code)
		}
	})
}

func TestExtensions(t *testing.T) {
	e := parseExtensions([]string{"size  1000 ", "AUTH=LOGIN", "auth plain login", "8BITMIME", "", "b@d", "-X",
		"PIPELINING x y"})
	want := Extensions{"SIZE": "1000", "AUTH": "LOGIN plain login", "8BITMIME": "", "PIPELINING": "x y"}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %v, want %v", e, want)
	}
	if got := strings.Join(e.Mechanisms(), " "); got != "LOGIN PLAIN LOGIN" {
		t.Errorf("mechanisms %q", got)
	}
	for in, want := range map[string]int64{"1000": 1000, "": 0, "0": 0, "-1": 0, "x": 0, "99999999999999999999": 0} {
		if got := (Extensions{"SIZE": in}).MaxSize(); got != want {
			t.Errorf("SIZE %q: got %d, want %d", in, got, want)
		}
	}
}

func FuzzExtensions(f *testing.F) {
	f.Add("SIZE 100\nAUTH PLAIN LOGIN\nAUTH=PLAIN")
	f.Add("8BITMIME\n\nX-y z")
	f.Fuzz(func(t *testing.T, in string) {
		e := parseExtensions(strings.Split(in, "\n"))
		for name := range e {
			if !isParamName(name) {
				t.Fatalf("%q: keyword %q", in, name)
			}
		}
		if e.MaxSize() < 0 {
			t.Fatalf("%q: size %d", in, e.MaxSize())
		}
		for _, m := range e.Mechanisms() {
			if m == "" || strings.ContainsAny(m, " \t") {
				t.Fatalf("%q: mechanism %q", in, m)
			}
		}
	})
}

func FuzzMailArgs(f *testing.F) {
	f.Add("FROM:<a@b.example> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=<>")
	f.Add(`FROM:<"a b"@[192.0.2.1]>`)
	f.Add("FROM:<>")
	f.Fuzz(func(t *testing.T, in string) {
		m, err := ParseMail(wire.NewArgs(nil, in))
		if err != nil {
			return
		}
		back, err := ParseMail(wire.NewArgs(nil, m.String()))
		if err != nil {
			if len(m.EnvID) > 0 && len(xtext(m.EnvID)) > maxEnvID || len(xtext(m.Auth)) > maxParam {
				return // our spelling may be longer than theirs; Send leaves such a one out
			}
			t.Fatalf("%q printed as %q: %v", in, m.String(), err)
		}
		if !reflect.DeepEqual(m, back) {
			t.Fatalf("%q: %+v came back as %+v", in, m, back)
		}
	})
}

func FuzzRcptArgs(f *testing.F) {
	f.Add("TO:<a@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@c.example")
	f.Add(`TO:<"\"@\>"@b.example> NOTIFY=NEVER`)
	f.Add("TO:<postmaster>")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := ParseRcpt(wire.NewArgs(nil, in))
		if err != nil {
			return
		}
		if err := checkAddress(r.Address); err != nil {
			t.Fatalf("%q: the server takes %q, the client would not send it", in, r.Address)
		}
		back, err := ParseRcpt(wire.NewArgs(nil, formatRcpt(r)))
		if err != nil && sendableOrig(r.Orig) == "" {
			return
		}
		if err != nil || back != r {
			t.Fatalf("%q: %+v printed as %q came back as %+v %v", in, r, formatRcpt(r), back, err)
		}
	})
}

func BenchmarkSend(b *testing.B) {
	address := startDiscard(b)
	c := mustDial(b, address)
	env := envelope(b, "me@x.example", "you@y.example")
	text := "Subject: benchmark\n\n" + strings.Repeat("0123456789abcdef0123456789abcde\n", 32)
	r := strings.NewReader(text)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(text)
		if results := c.Send(b.Context(), env, r, int64(len(text))); results[0].Err != nil {
			b.Fatal(results[0].Err)
		}
	}
}

// startDiscard is the least that a server with PIPELINING can be.
func startDiscard(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go discard(nc)
		}
	}()
	return l.Addr().String()
}

func discard(nc net.Conn) {
	defer nc.Close()
	r := bufio.NewReaderSize(nc, 64<<10)
	w := bufio.NewWriter(nc)
	w.WriteString("220 x\r\n")
	inData := false
	for {
		if r.Buffered() == 0 {
			w.Flush()
		}
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case inData && string(line) != ".\r\n":
		case string(line[:2]) == "EH":
			w.WriteString("250-x\r\n250 PIPELINING\r\n")
		case string(line[:2]) == "DA":
			inData = true
			w.WriteString("354 go\r\n")
		default:
			inData = false
			w.WriteString("250 ok\r\n")
		}
	}
}
