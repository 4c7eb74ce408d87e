package mailtest

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestDialTCPEnds: a connection is open until the test has ended, even one that the test has let go; then it is closed.
func TestDialTCPEnds(t *testing.T) {
	l := Listen(t)
	var server net.Conn
	t.Run("dial", func(t *testing.T) {
		DialTCP(l.Addr().String())(t)
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		server = nc
	})
	defer server.Close()
	server.SetReadDeadline(time.Now().Add(DefaultTimeout))
	if n, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the test: %d, %v; want EOF", n, err)
	}
}
