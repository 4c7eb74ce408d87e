package mailtest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Act is one thing that a scripted server does on a connection. An error ends the script; only an *ExpectError fails
// the test, since clients are right to leave a hostile server.
type Act func(p *Peer) error

// ExpectError says that the client sent another line than the script expects.
type ExpectError struct{ Want, Got string }

func (e *ExpectError) Error() string {
	return fmt.Sprintf("the client sent %q, want %q", e.Got, e.Want)
}

// errDone ends a script early and in order.
var errDone = errors.New("script is done")

// Peer is the server's side of one connection to a ScriptedServer.
type Peer struct {
	conn   net.Conn
	raw    net.Conn // the TCP connection, also below TLS
	r      *bufio.Reader
	server *ScriptedServer
}

// ScriptedServer plays its script on every connection it accepts.
type ScriptedServer struct {
	// Addr is "127.0.0.1:port".
	Addr string

	t      testing.TB
	script []Act
	mu     sync.Mutex
	said   []string
	live   map[net.Conn]bool // nil once the test is over
	wg     sync.WaitGroup
}

// ScriptServer starts a server on a loopback port that ends with the test. After its last act a connection is closed.
func ScriptServer(t testing.TB, script ...Act) *ScriptedServer {
	t.Helper()
	l := Listen(t)
	s := &ScriptedServer{Addr: l.Addr().String(), t: t, script: script, live: make(map[net.Conn]bool)}
	s.wg.Go(func() { s.serve(l) })
	t.Cleanup(func() {
		l.Close()
		s.hangUp()
		s.wg.Wait()
	})
	return s
}

// Said gives the lines that clients sent and the script read, without CRLF, of all connections.
func (s *ScriptedServer) Said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

func (s *ScriptedServer) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if !s.register(conn) {
			conn.Close()
			return
		}
		s.wg.Go(func() { s.play(conn) })
	}
}

func (s *ScriptedServer) register(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return false
	}
	s.live[conn] = true
	return true
}

func (s *ScriptedServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.live {
		conn.Close()
	}
	s.live = nil
}

func (s *ScriptedServer) play(conn net.Conn) {
	p := &Peer{conn: conn, raw: conn, r: bufio.NewReader(conn), server: s}
	defer p.end()
	for i, act := range s.script {
		err := act(p)
		var wrong *ExpectError
		if errors.As(err, &wrong) {
			s.t.Errorf("act %d of the scripted server: %v", i+1, err)
		}
		if err != nil {
			return
		}
	}
}

func (p *Peer) end() {
	p.conn.Close()
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, p.raw)
}

func (p *Peer) write(text string) error {
	p.conn.SetWriteDeadline(time.Now().Add(DefaultTimeout))
	_, err := p.conn.Write([]byte(text))
	return err
}

func (p *Peer) readLine() (string, error) {
	p.conn.SetReadDeadline(time.Now().Add(DefaultTimeout))
	line, err := p.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.server.said = append(p.server.said, line)
	return line, nil
}

// Send sends octets as they are, in one write: a part of a line, or several replies at once.
func Send(octets string) Act {
	return func(p *Peer) error { return p.write(octets) }
}

// Reply sends lines, each with CRLF, in one write.
func Reply(lines ...string) Act {
	return Send(strings.Join(lines, "\r\n") + "\r\n")
}

// Dribble sends octets one packet each.
func Dribble(octets string) Act {
	return func(p *Peer) error {
		for i := range len(octets) {
			if err := p.write(octets[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}
}

// Expect reads a line, which must begin with prefix in any letter case.
func Expect(prefix string) Act {
	return func(p *Peer) error {
		line, err := p.readLine()
		if err != nil {
			return err
		}
		if len(line) < len(prefix) || !strings.EqualFold(line[:len(prefix)], prefix) {
			return &ExpectError{Want: prefix, Got: line}
		}
		return nil
	}
}

// ExpectTo reads lines up to and including one that is last: ExpectTo(".") takes a dot block.
func ExpectTo(last string) Act {
	return func(p *Peer) error {
		for {
			line, err := p.readLine()
			if err != nil || line == last {
				return err
			}
		}
	}
}

// Exchange expects a line with the prefix and sends reply lines, for the uneventful parts of a script.
func Exchange(prefix string, reply ...string) Act {
	return func(p *Peer) error {
		if err := Expect(prefix)(p); err != nil {
			return err
		}
		return Reply(reply...)(p)
	}
}

// Endless sends text again and again until the client is gone. Endless("x") is a line without end, Endless("250-x\r\n")
// a reply without end.
func Endless(text string) Act {
	block := strings.Repeat(text, 1+4096/max(1, len(text)))
	return func(p *Peer) error {
		for {
			if err := p.write(block); err != nil {
				return err
			}
		}
	}
}

// Silence sends nothing and reads until the client is gone or the test ends.
func Silence() Act {
	return func(p *Peer) error {
		p.conn.SetReadDeadline(time.Time{})
		for {
			if _, err := p.r.Discard(1); err != nil {
				return err
			}
		}
	}
}

// HangUp closes the connection at once and in order, in mid-line if the last Send was part of one.
func HangUp() Act {
	return func(*Peer) error { return errDone }
}

// Reset breaks the connection, as a crash of the host would (RST).
func Reset() Act {
	return func(p *Peer) error {
		if tcp, ok := p.raw.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		p.raw.Close()
		return errDone
	}
}

// StartTLS makes the handshake as the server. What the client sent before it in clear is dropped.
func StartTLS(cfg *tls.Config) Act {
	return func(p *Peer) error {
		ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
		defer cancel()
		p.conn.SetDeadline(time.Time{})
		conn := tls.Server(p.conn, cfg)
		if err := conn.HandshakeContext(ctx); err != nil {
			return err
		}
		p.conn, p.r = conn, bufio.NewReader(conn)
		return nil
	}
}

// InjectStartTLS answers STARTTLS (or STLS, or "a STARTTLS": the prefix) with go-ahead and, in the same packet, with a
// reply that an attacker put behind it in clear (CVE-2021-38371). The handshake follows.
func InjectStartTLS(prefix, goAhead, injected string, cfg *tls.Config) Act {
	return func(p *Peer) error {
		if err := Expect(prefix)(p); err != nil {
			return err
		}
		if err := Reply(goAhead, injected)(p); err != nil {
			return err
		}
		return StartTLS(cfg)(p)
	}
}

// Cut gives the first n acts and then end, such as HangUp or Reset. A test that loops n over 0 to len(script) sees a
// server die at every step.
func Cut(script []Act, n int, end Act) []Act {
	return append(slices.Clone(script[:n]), end)
}
