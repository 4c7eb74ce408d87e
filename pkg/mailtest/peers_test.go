package mailtest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func dialText(t testing.TB, addr string) *textproto.Conn {
	t.Helper()
	c := textproto.NewConn(DialTCP(addr)(t))
	t.Cleanup(func() { c.Close() })
	return c
}

func TestScriptServer(t *testing.T) {
	CheckLeaks(t)
	s := ScriptServer(t, Reply("220 a"), Exchange("ehlo", "250-a", "250 b"), Expect("DATA"), ExpectTo("."),
		Dribble("250 ok\r\n"), HangUp(), Reply("never"))
	for range 2 {
		c := dialText(t, s.Addr)
		c.PrintfLine("EHLO me\r\nDATA\r\nline\r\n.")
		got, err := io.ReadAll(c.R)
		if want := "220 a\r\n250-a\r\n250 b\r\n250 ok\r\n"; string(got) != want || err != nil {
			t.Errorf("the client got %q, %v, want %q", got, err, want)
		}
	}
	want := []string{"EHLO me", "DATA", "line", "."}
	if got := s.Said(); !slices.Equal(got, append(want, want...)) {
		t.Errorf("the server heard %q", got)
	}
}

func TestScriptServerFailsTheTest(t *testing.T) {
	for sent, want := range map[string]string{"HELO x\r\n": "", "QUIT\r\n": `act 1 of the scripted server: the client sent "QUIT", want "HELO"`, "": ""} {
		got := record(t, func(t testing.TB) {
			s := ScriptServer(t, Expect("HELO"))
			c := DialTCP(s.Addr)(t)
			io.WriteString(c, sent)
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c)
			c.Close()
		})
		if got != want {
			t.Errorf("after %q the test says %q, want %q", sent, got, want)
		}
	}
}

func TestHostileActs(t *testing.T) {
	CheckLeaks(t)
	read := func(acts ...Act) (string, error) {
		c := DialTCP(ScriptServer(t, append([]Act{Expect("go")}, acts...)...).Addr)(t)
		io.WriteString(c, "go\r\n")
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(DefaultTimeout))
		got := make([]byte, 200_000)
		n, err := io.ReadFull(c, got)
		return string(got[:n]), err
	}
	if got, err := read(Endless("250-x\r\n")); err != nil || !strings.HasPrefix(got, "250-x\r\n250-x\r\n") {
		t.Errorf("endless reply: %.20q, %v", got, err)
	}
	if got, err := read(Endless("y")); err != nil || strings.Trim(got, "y") != "" {
		t.Errorf("endless line: %.20q, %v", got, err)
	}
	if got, err := read(Send("+OK 99999999999999999999 1\r\n"), Send("22"), HangUp()); got != "+OK 99999999999999999999 1\r\n22" ||
		err != io.ErrUnexpectedEOF {
		t.Errorf("hang-up in a line: %q, %v", got, err)
	}
	if _, err := read(Reset()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}
}

func TestSilenceEndsWithTheTest(t *testing.T) {
	CheckLeaks(t)
	s := ScriptServer(t, Silence())
	c := DialTCP(s.Addr)(t)
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, "hello\r\n")
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
		t.Errorf("read %d octets, %v from a silent server", n, err)
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func TestCut(t *testing.T) {
	script := []Act{Reply("1"), Reply("2"), Reply("3")}
	for n := range 4 {
		c := dialText(t, ScriptServer(t, Cut(script, n, HangUp())...).Addr)
		got, err := io.ReadAll(c.R)
		if want := "1\r\n2\r\n3\r\n"[:3*n]; string(got) != want || err != nil {
			t.Errorf("cut at %d: %q, %v", n, got, err)
		}
	}
}

func TestInjectStartTLS(t *testing.T) {
	ca := NewCA(t)
	s := ScriptServer(t, InjectStartTLS("STARTTLS", "220 go", "250 evil", ca.ServerConfig("a.test")), Exchange("EHLO", "250 ok"))
	conn := DialTCP(s.Addr)(t)
	defer conn.Close()
	io.WriteString(conn, "STARTTLS\r\n")
	r := bufio.NewReader(io.LimitReader(conn, int64(len("220 go\r\n250 evil\r\n"))))
	if got, _ := io.ReadAll(r); string(got) != "220 go\r\n250 evil\r\n" {
		t.Errorf("in clear: %q", got)
	}
	inner := tls.Client(conn, ca.ClientConfig("a.test"))
	io.WriteString(inner, "EHLO x\r\n")
	if got, err := io.ReadAll(inner); string(got) != "250 ok\r\n" || err != nil {
		t.Errorf("inside TLS: %q, %v", got, err)
	}
}

func TestReaders(t *testing.T) {
	boom := errors.New("boom")
	var sizes []int
	r := ChunkReader(strings.NewReader("abcdefghij"), 1, 0, 3)
	for {
		n, err := r.Read(make([]byte, 100))
		if err == io.EOF {
			break
		}
		sizes = append(sizes, n)
	}
	if !slices.Equal(sizes, []int{1, 1, 3, 1, 1, 3}) {
		t.Errorf("chunks of %v", sizes)
	}
	if n, _ := OneOctetReader(strings.NewReader("abc")).Read(make([]byte, 3)); n != 1 {
		t.Errorf("OneOctetReader gave %d octets", n)
	}
	e := ErrReader("ab", boom)
	if got, err := io.ReadAll(e); string(got) != "ab" || err != boom {
		t.Errorf("ErrReader: %q, %v", got, err)
	}
	if _, err := e.Read(make([]byte, 1)); err != boom {
		t.Errorf("ErrReader, again: %v", err)
	}
}

func TestDrip(t *testing.T) {
	client, server := Pipe(t)
	w := &writeCounter{Conn: client}
	if n, err := Drip(w).Write([]byte("abc")); n != 3 || err != nil || w.writes != 3 {
		t.Errorf("wrote %d octets in %d writes, %v", n, w.writes, err)
	}
	client.CloseWrite()
	d := Drip(server)
	p := make([]byte, 3)
	if n, err := d.Read(p); n != 1 || err != nil || p[0] != 'a' {
		t.Errorf("read %d octets, %q, %v", n, p, err)
	}
	if rest, err := io.ReadAll(d); string(rest) != "bc" || err != nil {
		t.Errorf("read the rest as %q, %v", rest, err)
	}
}
