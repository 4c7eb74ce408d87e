package mailtest

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/iotest"
)

// OneOctetReader gives what r gives, one octet a Read.
func OneOctetReader(r io.Reader) io.Reader { return iotest.OneByteReader(r) }

// ChunkReader gives what r gives in Reads of at most these sizes, in turn and from the start again. Sizes below 1
// count as 1.
func ChunkReader(r io.Reader, sizes ...int) io.Reader {
	if len(sizes) == 0 {
		return r
	}
	return &chunkReader{r: r, sizes: sizes}
}

type chunkReader struct {
	r     io.Reader
	sizes []int
	next  int
}

func (c *chunkReader) Read(p []byte) (int, error) {
	size := max(1, c.sizes[c.next%len(c.sizes)])
	c.next++
	return c.r.Read(p[:min(size, len(p))])
}

// ErrReader gives data and then err, for ever.
func ErrReader(data string, err error) io.Reader {
	return io.MultiReader(bytes.NewReader([]byte(data)), iotest.ErrReader(err))
}

// Drip gives a connection whose Writes put every octet into a packet of its own and whose Reads give one octet each.
func Drip(conn net.Conn) net.Conn {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetNoDelay(true)
	}
	return dripConn{conn}
}

type dripConn struct{ net.Conn }

func (d dripConn) Read(p []byte) (int, error) { return d.Conn.Read(p[:min(1, len(p))]) }

func (d dripConn) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// Pipe is a connected pair over loopback TCP, with buffers and half-closing as in life. Both ends are closed when the
// test ends.
func Pipe(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l := Listen(t)
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	l.Close()
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

// Listen listens on a free loopback port until the test ends.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// DialTCP is a Dialer for an address. Its connections are closed at the end of the test, and not before: one that nobody holds
// any more would be whenever memory is collected.
func DialTCP(addr string) Dialer {
	return func(t testing.TB) net.Conn {
		t.Helper()
		conn, err := net.DialTimeout("tcp", addr, DefaultTimeout)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}
