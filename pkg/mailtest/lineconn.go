package mailtest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// longestLine bounds what a server may send without a line end, in octets.
const longestLine = 1 << 17

// lineConn is the client's side of one connection. It writes in the background, so that a server that answers while it
// is being written to never blocks the transcript.
type lineConn struct {
	conn     net.Conn
	r        *bufio.Reader
	timeout  time.Duration
	writing  chan error // of the write under way; nil if there is none
	writeErr error      // the first one
	eof      bool       // the server closed, as it was expected to
}

func newLineConn(conn net.Conn, timeout time.Duration) *lineConn {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetNoDelay(true)
	}
	return &lineConn{conn: conn, r: bufio.NewReaderSize(conn, longestLine), timeout: timeout}
}

// send writes chunks one after the other, after what is under way.
func (c *lineConn) send(chunks [][]byte, octets bool) {
	c.join()
	done := make(chan error, 1)
	c.writing = done
	conn, timeout := c.conn, c.timeout
	go func() { done <- writeChunks(conn, timeout, chunks, octets) }()
}

func writeChunks(conn net.Conn, timeout time.Duration, chunks [][]byte, octets bool) error {
	for _, chunk := range chunks {
		conn.SetWriteDeadline(time.Now().Add(timeout))
		size := len(chunk)
		if octets {
			size = 1
		}
		for ; len(chunk) > 0; chunk = chunk[size:] {
			if _, err := conn.Write(chunk[:size]); err != nil {
				return err
			}
		}
	}
	return nil
}

// join waits for the write under way. Its error counts only if reading finds nothing worse: a server may close early.
func (c *lineConn) join() {
	if c.writing == nil {
		return
	}
	if err := <-c.writing; err != nil && c.writeErr == nil {
		c.writeErr = err
	}
	c.writing = nil
}

// readLine gives the next line without its CRLF. With an error it gives what came of the line. Any other line end than
// CRLF is an error.
func (c *lineConn) readLine() (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(c.timeout))
	raw, err := c.r.ReadSlice('\n')
	line := string(raw)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return line, fmt.Errorf("a line of more than %d octets", longestLine)
	case err != nil:
		return line, err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return line, errors.New("a line that ends in LF without CR")
	}
	if strings.Contains(text, "\r") {
		return line, errors.New("a CR inside a line")
	}
	return text, nil
}

// isClosed reports the ways in which a connection that the other side closed looks from here.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// startTLS starts TLS as the client. Octets that came in clear and are not read yet are a failure: they are what an
// attacker in the middle would have put there.
func (c *lineConn) startTLS(cfg *tls.Config) error {
	if cfg == nil {
		return errors.New("the test has no Options.TLS")
	}
	c.join()
	if n := c.r.Buffered(); n > 0 {
		rest, _ := c.r.Peek(n)
		return fmt.Errorf("the server sent more in clear before TLS: %s", visible(string(rest)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	c.conn.SetDeadline(time.Time{})
	conn := tls.Client(c.conn, chainOnly(cfg))
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.conn, c.r = conn, bufio.NewReaderSize(conn, longestLine)
	return nil
}

// chainOnly makes a configuration without a server name verify the chain and leave the name alone.
func chainOnly(cfg *tls.Config) *tls.Config {
	if cfg.ServerName != "" || cfg.InsecureSkipVerify {
		return cfg
	}
	cfg = cfg.Clone()
	roots := cfg.RootCAs
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		inter := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			inter.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: inter})
		return err
	}
	return cfg
}

// finish is the end of a file: nothing may be left over on either side.
func (c *lineConn) finish() error {
	c.join()
	if c.eof {
		return nil
	}
	if n := c.r.Buffered(); n > 0 {
		rest, _ := c.r.Peek(n)
		return fmt.Errorf("the server sent more than the file expects: %s", visible(string(rest)))
	}
	if c.writeErr != nil {
		return fmt.Errorf("the server did not take what was sent: %w", c.writeErr)
	}
	return nil
}

func (c *lineConn) close() error {
	err := c.conn.Close()
	c.join()
	return err
}
