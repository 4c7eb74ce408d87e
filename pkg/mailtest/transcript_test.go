package mailtest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// echoServer is a small line protocol that does everything right: "say text" is answered with text, "lines N" with N
// lines and a dot, "name" with a name of this connection, "take N" swallows N octets and a line, "tls" starts TLS,
// "bye" ends.
type echoServer struct {
	tls *tls.Config

	mu    sync.Mutex
	conns int
	reads []int // octets of each Read, of all connections
}

// countingConn notes how its octets arrive.
type countingConn struct {
	net.Conn
	s *echoServer
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.reads = append(c.s.reads, n)
	return n, err
}

func (s *echoServer) start(t *testing.T, wrap func(net.Conn) net.Conn) string {
	l := Listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(wrap(countingConn{conn, s})) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func (s *echoServer) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	s.mu.Lock()
	s.conns++
	me := s.conns
	s.mu.Unlock()
	r := bufio.NewReader(conn)
	fmt.Fprintf(conn, "220 hello\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), " ")
		n, _ := strconv.Atoi(arg)
		switch verb {
		case "say":
			fmt.Fprintf(conn, "%s\r\n", arg)
		case "lines":
			for i := range n {
				fmt.Fprintf(conn, "line %d\r\n", i+1)
			}
			fmt.Fprintf(conn, ".\r\n")
		case "name":
			fmt.Fprintf(conn, "you are conn-%d.\r\n", me)
		case "take":
			r.Discard(n)
			rest, _ := r.ReadString('\n')
			fmt.Fprintf(conn, "took %d and %q\r\n", n, rest)
		case "tls":
			fmt.Fprintf(conn, "220 go\r\n")
			conn = tls.Server(conn, s.tls)
			r = bufio.NewReader(conn)
		case "bye":
			fmt.Fprintf(conn, "221-good\r\n221 bye\r\n")
			return
		default:
			fmt.Fprintf(conn, "500 what is %q\r\n", line)
		}
	}
}

func plainConn(c net.Conn) net.Conn { return c }

const everything = `# what a transcript can do
S: 220 hello
C: say ${word} and \x41
S: octets and A
C: name
S~ you are (?P<me>conn-\d+)\.
C: say <${me}>
S: <${me}>
S~ ${nothing}
C*3: say ${i}
S: 1
S: 2
S: 3
C- say
C-  in pieces\r\n
S: in pieces
C: lines 40
S*
S: line 40
S: .
C: take 200
@literal 200
C: rest
S: took 200 and "rest\r\n"
C: bad\tone
S: 500 what is "bad\tone\r\n"
>>> b
S: 220 hello
C: say b
S: b
>>> c
S*
S: 220 hello
<<< c
>>> b
@sync
@codes
C: bye
S: 221 is enough
S= EOF
`

func TestRunTranscript(t *testing.T) {
	CheckLeaks(t)
	ca := NewCA(t)
	cfg := ca.ServerConfig("127.0.0.1")
	s := &echoServer{}
	script := strings.Replace(everything, "S~ ${nothing}\n", "", 1)
	setups := 0
	opt := Options{
		Vars:    map[string]string{"word": "nothing"},
		TLS:     ca.ClientConfig(""),
		DialTLS: DialTCP(s.start(t, func(c net.Conn) net.Conn { return tls.Server(c, cfg) })),
		Setup: func(_ testing.TB, vars map[string]string) {
			setups++
			vars["word"] = "octets"
		},
	}
	RunTranscript(t, writeScript(t, "all.txt", script), DialTCP(s.start(t, plainConn)), opt)
	if setups != 6 || s.conns != 18 {
		t.Errorf("%d modes ran with %d connections, want 6 and 18", setups, s.conns)
	}
}

func TestStartTLSTranscript(t *testing.T) {
	ca := NewCA(t)
	s := &echoServer{tls: ca.ServerConfig("other.test")}
	script := "S: 220 hello\nC: say 1\nS: 1\nC: tls\nS: 220 go\n@tls\nC: say 2\nS: 2\nC: bye\nS*\nS= EOF\n"
	opt := Options{TLS: ca.ClientConfig(""), DialTLS: DialTCP("127.0.0.1:1")}
	RunTranscript(t, writeScript(t, "tls.txt", script), DialTCP(s.start(t, plainConn)), opt)

	for want, cfg := range map[string]*tls.Config{
		"unknown authority":         NewCA(t).ClientConfig(""),
		"certificate is valid for":  ca.ClientConfig("right.test"),
		"test has no Options.TLS":   nil,
		"protocol version not supp": {MaxVersion: tls.VersionTLS10, MinVersion: tls.VersionTLS10, InsecureSkipVerify: true},
	} {
		err := playText(t, script, mode{}, DialTCP(s.start(t, plainConn)), Options{TLS: cfg})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestModesOf(t *testing.T) {
	full := Options{TLS: new(tls.Config), DialTLS: DialTCP("")}
	for _, c := range []struct {
		head, want string
		opt        Options
	}{
		{"", "line octet onewrite", Options{}},
		{"", "line octet onewrite tls-line tls-octet tls-onewrite", full},
		{"@lockstep\n", "line octet tls-line tls-octet", full},
		{"@plain\n", "line octet onewrite", full},
		{"@tls\n", "line octet onewrite", full},
		{"", "line octet onewrite", Options{TLS: full.TLS}},
	} {
		script, err := parseTranscript(writeScript(t, "m.txt", c.head+"S: a\n"))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range modesOf(script, &c.opt) {
			names = append(names, m.name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%q runs in %q, want %q", c.head, got, c.want)
		}
	}
}

// What arrives shows that the modes cut the client's side as they say.
func TestModesOnTheWire(t *testing.T) {
	script := "S: 220 hello\nC: say 1\nS: 1\nC: say 2\nS: 2\n@sync\nC: say 3\nS: 3\nC: bye\nS*\nS= EOF\n"
	for _, c := range []struct {
		mode mode
		want []int
	}{
		{mode{}, []int{7, 7, 7, 5}},
		{mode{batch: true}, []int{14, 12}},
	} {
		s := &echoServer{}
		if err := playText(t, script, c.mode, DialTCP(s.start(t, plainConn)), Options{}); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		if !slices.Equal(s.reads, c.want) {
			t.Errorf("mode %+v: reads of %v octets, want %v", c.mode, s.reads, c.want)
		}
		s.mu.Unlock()
	}
}

func TestWritesOfOctetMode(t *testing.T) {
	client, server := Pipe(t)
	w := &writeCounter{Conn: client}
	if err := writeChunks(w, time.Second, [][]byte{[]byte("ab\r\n"), []byte("c")}, true); err != nil {
		t.Fatal(err)
	}
	client.Close()
	got, err := bufio.NewReader(server).ReadString('c')
	if err != nil || got != "ab\r\nc" || w.writes != 5 {
		t.Errorf("%d writes brought %q, %v; want 5 writes", w.writes, got, err)
	}
}

type writeCounter struct {
	net.Conn
	writes int
}

func (w *writeCounter) Write(p []byte) (int, error) {
	w.writes++
	return w.Conn.Write(p)
}

func playText(t *testing.T, text string, m mode, dial Dialer, opt Options) error {
	t.Helper()
	script, err := parseTranscript(writeScript(t, "play.txt", text))
	if err != nil {
		t.Fatal(err)
	}
	return play(t, script, m, dial, opt)
}

// A wrong server must fail its transcript, in every mode, and the report must say where and why.
func TestWrongServers(t *testing.T) {
	CheckLeaks(t)
	for _, c := range []struct {
		name, script string
		server       []Act
		want         []string // parts of the report
	}{
		{"another text", "S: 220 a\nC: x\nS: 250 ok\n",
			[]Act{Reply("220 a"), Exchange("x", "250 no")},
			[]string{"play.txt:3: S: 250 ok", "want 250 ok", "got  250 no", "S: 220 a", "C: x", "S: 250 no"}},
		{"trailing blank", "S: 220 a\n", []Act{Reply("220 a ")}, []string{"play.txt:1", "got  220 a "}},
		{"missing reply", "S: 220 a\nC: x\nS: 250 ok\n",
			[]Act{Reply("220 a"), Expect("x")}, []string{"play.txt:3", "did not send", "connection was closed"}},
		{"silence", "S: 220 a\nC: x\nS: 250 ok\n", []Act{Reply("220 a"), Silence()}, []string{"play.txt:3", "timeout"}},
		{"regexp", "S~ 220 [a-z]+\n", []Act{Reply("220 a1")}, []string{"want /220 [a-z]+/", "got  220 a1"}},
		{"regexp is anchored", "S~ 220\n", []Act{Reply("1220 ")}, []string{"got  1220"}},
		{"regexp is anchored in front", "S~ 220\n", []Act{Reply("1220")}, []string{"got  1220"}},
		{"quoted variable", "S~ (?P<v>.*)\nS~ ${v}\n", []Act{Reply("a.c", "abc")}, []string{"play.txt:2", `want /a\.c/`}},
		{"unknown variable", "S: a\nC: ${v}\n", []Act{Reply("a"), Silence()}, []string{"play.txt:2", `no variable "v"`}},
		{"bare LF", "S: 220 a\n", []Act{Send("220 a\n")}, []string{"LF without CR"}},
		{"bare CR", "S: 220 a\n", []Act{Send("220\r a\r\n")}, []string{"a CR inside a line"}},
		{"endless line", "S: 220 a\n", []Act{Endless("x")}, []string{"more than 131072 octets"}},
		{"cut line", "S: 220 a\n", []Act{Send("220 a")}, []string{"got  220 a (then the connection was closed)"}},
		{"no EOF", "S: 220 a\nS= EOF\n", []Act{Reply("220 a", "221 b")}, []string{"play.txt:2", "did not close", "221 b"}},
		{"EOF in a line", "S= EOF\n", []Act{Send("22")}, []string{"between two lines", "got  22"}},
		{"open at EOF", "S= EOF\n", []Act{Silence()}, []string{"did not close", "timeout"}},
		{"skipped in vain", "S*\nS: 250 z\n", []Act{Reply("250 a", "250 b")}, []string{"play.txt:2", "S: 250 b"}},
		{"code", "@codes\nS: 250 x\n", []Act{Reply("251 x")}, []string{"got  251 x"}},
		{"code of a continuation", "@codes\nS: 250 x\n", []Act{Reply("250-x", "550 x")}, []string{"got  550 x"}},
		{"no continuation", "@codes\nS: 250-x\n", []Act{Reply("250 x")}, []string{"got  250 x"}},
		{"word", "@codes\nS: +OK\n", []Act{Reply("-ERR no")}, []string{"got  -ERR no"}},
		{"content under codes", "@codes\nS: 1 498\n", []Act{Reply("1 499")}, []string{"got  1 499"}},
		{"one reply too many", "S: 220 a\n", []Act{Reply("220 a", "421 b"), Silence()}, []string{"end of the file", "421 b"}},
		{"clear text before TLS", "S: 220 a\n@tls\n", []Act{Reply("220 a", "250 b"), Silence()},
			[]string{"play.txt:2: @tls", "more in clear before TLS: 250 b"}},
		{"closed connection", "S: a\n>>> x\nS: a\n<<< x\nC: y\n", []Act{Reply("a"), Silence()},
			[]string{"play.txt:5", `connection "x" is closed`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, m := range []mode{{name: "line"}, {name: "octet", octet: true}, {name: "onewrite", batch: true}} {
				s := ScriptServer(t, c.server...)
				opt := Options{TLS: &tls.Config{InsecureSkipVerify: true}}
				if slices.Contains(c.want, "timeout") {
					opt.Timeout = 50 * time.Millisecond
				}
				err := playText(t, c.script, m, DialTCP(s.Addr), opt)
				if err == nil {
					t.Errorf("mode %s: a wrong server passed", m.name)
					continue
				}
				checkParts(t, err.Error(), append(c.want, "mode "+m.name))
			}
		})
	}
}

func checkParts(t *testing.T, report string, parts []string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(report, part) {
			t.Errorf("no %q in the report:\n%s", part, report)
		}
	}
}

func TestCodesPass(t *testing.T) {
	s := ScriptServer(t, Reply("250-a", "250-b", "250 c", "250-a", "250 b", "+OK more", "2 912"))
	script := "@codes\nS: 250 ok\nS: 250-x\nS: 250 y\nS: +OK\nS: 2 912\nS= EOF\n"
	if err := playText(t, script, mode{}, DialTCP(s.Addr), Options{}); err != nil {
		t.Error(err)
	}
}

// A server that answers every line while a large batch is being written must not block the runner.
func TestBatchDoesNotBlock(t *testing.T) {
	s := &echoServer{}
	script := "S: 220 hello\n@repeat 20000 say something that is long enough to fill the buffers ${i}\nC: bye\nS*\n" +
		"S: something that is long enough to fill the buffers 20000\nS: 221-good\nS: 221 bye\nS= EOF\n"
	for _, m := range []mode{{name: "line"}, {name: "onewrite", batch: true}} {
		if err := playText(t, script, m, DialTCP(s.start(t, plainConn)), Options{}); err != nil {
			t.Errorf("mode %s: %v", m.name, err)
		}
	}
}

// The printed dialogues pass against servers that say exactly what is printed.
func TestSpecDialogs(t *testing.T) {
	smtp := ScriptServer(t, Reply("220 hamburger.edu"), Exchange("HELO crepes.fr", "250 Hello"),
		Exchange("MAIL FROM: <alice@crepes.fr>", "250 ok"), Exchange("RCPT TO: <bob@hamburger.edu>", "250 ok"),
		Exchange("DATA", "354 go"), ExpectTo("."), Reply("250 ok"), Exchange("QUIT", "221 bye"))
	RunTranscript(t, "../../testdata/dialogs/spec-smtp.txt", DialTCP(smtp.Addr), Options{})

	messages := SpecPOP3Messages()
	content := func(i int) []string {
		var lines []string
		for line := range strings.Lines(messages[i]) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, ".") {
				line = "." + line
			}
			lines = append(lines, line)
		}
		return append(append([]string{"+OK"}, lines...), ".")
	}
	pop := ScriptServer(t, Reply("+OK POP3"), Exchange("user bob", "+OK"), Exchange("pass hungry", "+OK"),
		Exchange("list", "+OK 2 messages", "1 498", "2 912", "."), Exchange("retr 1", content(0)...),
		Exchange("dele 1", "+OK"), Exchange("retr 2", content(1)...), Exchange("dele 2", "+OK"), Exchange("quit", "+OK"))
	RunTranscript(t, "../../testdata/dialogs/spec-pop3.txt", DialTCP(pop.Addr), Options{})
}

func TestSpecPOP3Messages(t *testing.T) {
	for i, want := range []int{498, 912} {
		m := SpecPOP3Messages()[i]
		if got := len(m) + strings.Count(m, "\n"); got != want || strings.Contains(m, "\r") {
			t.Errorf("message %d has %d octets with CRLF, want %d", i+1, got, want)
		}
	}
}
