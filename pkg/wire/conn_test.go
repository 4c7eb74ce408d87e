package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mailtest"
)

// feed is a connection whose peer sends fixed octets, in pieces, and then closes; what is written to it is kept.
type feed struct {
	net.Conn // nil: whatever else is called is a bug
	in       io.Reader
	out      strings.Builder
}

func (f *feed) Read(p []byte) (int, error)       { return f.in.Read(p) }
func (f *feed) Write(p []byte) (int, error)      { return f.out.Write(p) }
func (f *feed) SetReadDeadline(time.Time) error  { return nil }
func (f *feed) SetWriteDeadline(time.Time) error { return nil }

// cuts are the ways in which every reader here is fed.
var cuts = map[string]func(io.Reader) io.Reader{
	"whole": func(r io.Reader) io.Reader { return r },
	"octet": mailtest.OneOctetReader,
	"odd":   func(r io.Reader) io.Reader { return mailtest.ChunkReader(r, 2, 3, 1, 7) },
}

func eachCut(t *testing.T, input string, f func(t *testing.T, c *Conn)) {
	t.Helper()
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) { f(t, NewConn(&feed{in: cut(strings.NewReader(input))})) })
	}
}

func TestReadLine(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []any // lines and errors, in order
	}{
		{"lines", "NOOP\r\n\r\n a b \r\n", []any{"NOOP", "", " a b ", io.EOF}},
		{"nothing", "", []any{io.EOF, io.EOF}},
		{"no end", "NOO", []any{io.ErrUnexpectedEOF}},
		{"CR at the end", "NOOP\r", []any{io.ErrUnexpectedEOF}},
		{"bare LF", "a\nb\r\n", []any{ErrBareLF, "b", io.EOF}},
		{"LF alone", "\nb\r\n", []any{ErrBareLF, "b", io.EOF}},
		{"bare CR", "a\rb\r\nc\r\n", []any{ErrBareCR, "c", io.EOF}},
		{"CR CR LF", "a\r\r\nc\r\n", []any{ErrBareCR, "c", io.EOF}},
		{"longest", strings.Repeat("x", 98) + "\r\ny\r\n", []any{strings.Repeat("x", 98), "y", io.EOF}},
		{"one too long", strings.Repeat("x", 99) + "\r\ny\r\n", []any{ErrLineTooLong, "y", io.EOF}},
		{"much too long", strings.Repeat("x", 99999) + "\r\ny\r\n", []any{ErrLineTooLong, "y", io.EOF}},
		{"too long without end", strings.Repeat("x", 99999), []any{io.ErrUnexpectedEOF}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachCut(t, c.in, func(t *testing.T, conn *Conn) {
				conn.SetMaxLine(100)
				for i, want := range c.want {
					line, err := conn.ReadLine()
					if wantErr, isErr := want.(error); isErr && err != wantErr || !isErr && (err != nil || line != want) {
						t.Fatalf("line %d: got %.40q, %v; want %v", i, line, err, want)
					}
				}
			})
		})
	}
}

// A limit above the first buffer makes the buffer grow, and not further than the limit.
func TestReadLineGrows(t *testing.T) {
	long := strings.Repeat("x", DefaultMaxLine-2)
	eachCut(t, long+"\r\n"+long+"y\r\nz\r\n", func(t *testing.T, c *Conn) {
		if line, err := c.ReadLine(); line != long || err != nil {
			t.Errorf("got %d octets, %v", len(line), err)
		}
		if _, err := c.ReadLine(); err != ErrLineTooLong {
			t.Errorf("got %v, want ErrLineTooLong", err)
		}
		if line, err := c.ReadLine(); line != "z" || err != nil {
			t.Errorf("got %q, %v", line, err)
		}
		if len(c.buf) > DefaultMaxLine {
			t.Errorf("buffer of %d octets for lines of %d", len(c.buf), DefaultMaxLine)
		}
	})
}

func TestLiteral(t *testing.T) {
	eachCut(t, "a\r\n\x00\r\n.\nb\r\n", func(t *testing.T, c *Conn) {
		c.ReadLine()
		got, err := io.ReadAll(c.Literal(5))
		if string(got) != "\x00\r\n.\n" || err != nil {
			t.Errorf("literal %q, %v", got, err)
		}
		if line, err := c.ReadLine(); line != "b" || err != nil {
			t.Errorf("line behind it %q, %v", line, err)
		}
		if _, err := io.ReadAll(c.Literal(1)); err != io.ErrUnexpectedEOF {
			t.Errorf("literal behind the end: %v", err)
		}
	})
}

func TestWriteLineRefusesLineBreaks(t *testing.T) {
	for _, s := range []string{"a\r\nQUIT", "a\n", "\r", "a\x00b"} {
		f := &feed{in: strings.NewReader("")}
		c := NewConn(f)
		c.WriteLine("before")
		if err := c.WriteLine(s); err != ErrInjection {
			t.Errorf("%q: %v", s, err)
		}
		if err := c.Flush(); err != ErrInjection || strings.Contains(f.out.String(), "QUIT") {
			t.Errorf("%q: flush %v, sent %q", s, err, f.out.String())
		}
	}
}

func TestTraceMasksSecrets(t *testing.T) {
	var seen []string
	c := NewConn(&feed{in: strings.NewReader("")})
	c.SetTrace(func(sent bool, line string) { seen = append(seen, line) })
	c.WriteLine("USER bob")
	c.WriteSecret("PASS hungry", "PASS ***")
	if got := strings.Join(seen, "|"); got != "USER bob|PASS ***" {
		t.Errorf("trace %q", got)
	}
}

// What arrives in clear behind STARTTLS must not be read inside TLS (CVE-2011-0411).
func TestStartTLSDropsPlaintext(t *testing.T) {
	ca := mailtest.NewCA(t)
	client, server := mailtest.Pipe(t)
	done := make(chan error, 1)
	go func() {
		io.WriteString(client, "STARTTLS\r\nEVIL\r\n")
		io.ReadFull(client, make([]byte, len("220\r\n")))
		tc := tls.Client(client, ca.ClientConfig("localhost"))
		_, err := io.WriteString(tc, "GOOD\r\n")
		done <- err
	}()
	c := NewConn(server)
	c.Within(10 * time.Second)
	line, err := c.ReadLine()
	if line != "STARTTLS" || err != nil {
		t.Fatal(line, err)
	}
	for deadline := time.Now().Add(10 * time.Second); !c.Pending() && time.Now().Before(deadline); {
		c.fill() // both lines came in one write; on a slow machine in two
	}
	c.WriteLine("220")
	if err := c.StartTLS(context.Background(), ca.ServerConfig("localhost"), true); err != nil {
		t.Fatal(err)
	}
	if line, err := c.ReadLine(); line != "GOOD" || err != nil {
		t.Errorf("first line inside TLS: %q, %v", line, err)
	}
	if c.TLS() == nil {
		t.Error("TLS() is nil inside TLS")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestInterrupt(t *testing.T) {
	_, server := mailtest.Pipe(t)
	c := NewConn(server)
	c.Interrupt()
	if _, err := c.ReadLine(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestArgs(t *testing.T) {
	a := NewArgs(nil, "FROM:<x>  SIZE=1\t{12+}")
	if a.Keyword("TO:") || !a.Keyword("from:") {
		t.Fatal("keyword")
	}
	if a.Octet('>') || !a.Octet('<') || a.While(func(b byte) bool { return b != '>' }) != "x" || !a.Octet('>') {
		t.Fatalf("path, rest %q", a.Rest())
	}
	a.SkipBlanks()
	if w := a.Word(); w != "SIZE=1" {
		t.Fatalf("word %q", w)
	}
	if a.End() == nil {
		t.Fatal("the end, with something left")
	}
	n, unasked, ok := a.Literal()
	if n != 12 || !unasked || !ok || !a.Empty() || a.End() != nil {
		t.Fatalf("literal %d %v %v, rest %q", n, unasked, ok, a.Rest())
	}
	for _, s := range []string{"{", "{}", "{x}", "{12}x", "{12+", "{-1}", "{9223372036854775808}", "{99999999999999999999}", "12}"} {
		a := NewArgs(nil, s)
		if _, _, ok := a.Literal(); ok || a.Rest() != s {
			t.Errorf("%q taken as a literal, rest %q", s, a.Rest())
		}
	}
	for s, want := range map[string]bool{"0": true, "4294967295": true, "4294967296": false, "": false, "-1": false, "x": false} {
		a := NewArgs(nil, s)
		if n, ok := a.Number(1<<32 - 1); ok != want || !ok && a.Rest() != s {
			t.Errorf("number %q: %d %v, rest %q", s, n, ok, a.Rest())
		}
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte("NOOP\r\nx\ny\rz\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, chunk uint8) {
		read := func(r io.Reader) (out []any) {
			c := NewConn(&feed{in: r})
			c.SetMaxLine(50)
			for {
				line, err := c.ReadLine()
				if err != nil && !IsPeerFault(err) {
					return append(out, err)
				}
				if strings.ContainsAny(line, "\r\n") || len(line) > 48 {
					t.Fatalf("line %q", line)
				}
				out = append(out, line, err)
			}
		}
		whole := read(strings.NewReader(string(in)))
		cut := read(mailtest.ChunkReader(strings.NewReader(string(in)), int(chunk)+1))
		if len(whole) != len(cut) {
			t.Fatalf("%q: %v in one piece, %v in pieces", in, whole, cut)
		}
		for i := range whole {
			if whole[i] != cut[i] {
				t.Fatalf("%q: %v in one piece, %v in pieces", in, whole, cut)
			}
		}
	})
}

// endless is a peer that never stops.
type endless struct{ text string }

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	return n, nil
}

func TestEndlessPeers(t *testing.T) {
	c := NewConn(&feed{in: endless{"x"}})
	if _, err := c.ReadLine(); err != ErrEndless || c.Err() != ErrEndless {
		t.Errorf("line without end: %v", err)
	}
	c = NewConn(&feed{in: endless{"x\r\n"}})
	if err := c.DotReader(DotOptions{MaxSize: 100}).Drain(); err != ErrEndless || c.Err() != ErrEndless {
		t.Errorf("block without end: %v", err)
	}
}
