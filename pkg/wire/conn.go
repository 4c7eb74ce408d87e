// Package wire is the layer of lines and octets under SMTP, POP3 and IMAP, for servers and clients alike: strict CRLF
// lines, dot blocks in both directions, literals, one cursor over arguments, and the only STARTTLS hand-over.
//
// # Line ends
//
// On the wire a line ends in CRLF and in nothing else. Inside mailx and on disk a message is in local form: its lines end
// in LF. [DotReader] and [LocalForm] turn the one into the other, [DotWriter] and [WireForm] turn it back.
//
// # Diagnostics
//
// Errors of type *mail.Error mean that the peer broke a rule, that the offending line or block has been read to its
// end, and that the dialog is in step and can go on. Every other error is the connection's, sticks, and ends it.
//
// # Security
//
// Input is bounded before it is stored: a line by the limit of the Conn, a block by its DotOptions. StartTLS drops what was
// received in clear. WriteLine refuses a CR or LF inside of a line, so no text can become a second command.
package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"mailx/pkg/mail"
)

// Sizes in octets. Buffers start small so that a thousand idle connections stay cheap, and grow when a message passes.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// DefaultMaxLine is the limit of a command line including its CRLF, in octets. RFC 5321 §4.5.3.1.4 says 512 and lets
// extensions add to it; the longest additions (AUTH, §4.5.3.1.4 and RFC 4954 §4.2) need 12288.
const DefaultMaxLine = 12288 + 512

// What a peer can do wrong with a line. The line has been read to its end when one of these is returned.
var (
	ErrLineTooLong = mail.Permanentf(5, 6, "Line too long")
	ErrBareLF      = mail.Permanentf(5, 2, "Lines must end in CRLF, not in LF alone")
	ErrBareCR      = mail.Permanentf(5, 2, "A CR must be followed by LF")
)

// ErrInjection says that mailx itself tried to send a CR, LF or NUL inside of a line. It is a bug of the caller or hostile
// input that was not checked; nothing was sent.
var ErrInjection = errors.New("line break or NUL inside of a protocol line")

// TraceFunc is told every line without its CRLF, in both directions. Secrets come masked.
type TraceFunc func(sent bool, line string)

// Conn is one connection. It is used by one goroutine at a time, but for Interrupt and Close.
type Conn struct {
	nc      net.Conn
	buf     []byte // what was received and not read yet is buf[r:w]
	r, w    int
	full    bool  // the last read filled buf
	rerr    error // of the connection, sticks
	out     []byte
	werr    error // of the connection, sticks
	maxLine int
	pace    pace          // of the peer, where time is not given for a whole
	wait    time.Duration // >0: for maxWrite octets to get through
	trace   TraceFunc
}

// NewConn takes over nc; Close closes it. Lines are limited to DefaultMaxLine until SetMaxLine says otherwise.
func NewConn(nc net.Conn) *Conn {
	return &Conn{nc: nc, buf: make([]byte, smallBuffer), maxLine: DefaultMaxLine, wait: writeTime}
}

// SetMaxLine sets the limit of a line, its CRLF included.
func (c *Conn) SetMaxLine(octets int) { c.maxLine = octets }

// SetTrace has every line reported to f; nil turns it off.
func (c *Conn) SetTrace(f TraceFunc) { c.trace = f }

// Trace reports a line that the caller received or sent by other means than WriteLine.
func (c *Conn) Trace(sent bool, line string) {
	if c.trace != nil {
		c.trace(sent, line)
	}
}

// RemoteAddr is the peer's address; nil on a pipe.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr is our end's address; nil on a pipe.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// TLS describes the encryption of the connection, nil in clear.
func (c *Conn) TLS() *tls.ConnectionState {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	s := t.ConnectionState()
	return &s
}

// Interrupt ends a read that is under way, from any goroutine: it returns os.ErrDeadlineExceeded.
func (c *Conn) Interrupt() { c.nc.SetReadDeadline(time.Unix(1, 0)) }

// Err is the error that ended input from the peer, nil while the connection stands.
func (c *Conn) Err() error { return c.rerr }

// Pending reports that input is waiting already, so that replies may be held back and go out together (RFC 2920 §3.2).
func (c *Conn) Pending() bool { return c.r < c.w }

// Close closes the connection without flushing.
func (c *Conn) Close() error { return c.nc.Close() }

// fill reads more input behind what is buffered; the caller made room.
func (c *Conn) fill() error {
	if c.rerr != nil {
		return c.rerr
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	n, err := c.receive(c.buf[c.w:])
	c.w += n
	c.full = c.w == len(c.buf)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	c.rerr = err
	return err
}

// room makes sure that fill can read something, growing the buffer to at most max octets; false if it is full.
func (c *Conn) room(max int) bool {
	if c.w < len(c.buf) {
		return true
	}
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
		return true
	}
	if len(c.buf) >= max {
		return false
	}
	c.buf = append(c.buf, make([]byte, min(len(c.buf), max-len(c.buf)))...)
	return true
}

// fillText is fill for the octets of a message, with everything consumed before. The buffer grows when the peer has just
// filled it, so large messages get a large one and a thousand small ones don't.
func (c *Conn) fillText() error {
	if c.full && len(c.buf) < largeBuffer {
		c.buf = make([]byte, min(4*len(c.buf), largeBuffer))
	}
	return c.fill()
}

// ReadLine gives the next line without its CRLF. io.EOF means that the peer closed between lines,
// io.ErrUnexpectedEOF within one.
func (c *Conn) ReadLine() (string, error) {
	for seen := 0; ; {
		if i := bytes.IndexByte(c.buf[c.r+seen:c.w], '\n'); i >= 0 {
			line := c.buf[c.r : c.r+seen+i]
			c.r += seen + i + 1
			return checkLine(line, c.maxLine)
		}
		seen = c.w - c.r
		if seen >= c.maxLine || !c.room(c.maxLine) {
			return "", c.drainLine()
		}
		if err := c.fill(); err != nil {
			if err == io.EOF && seen > 0 {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

// checkLine takes a line up to its LF.
func checkLine(line []byte, max int) (string, error) {
	n := len(line) - 1
	switch {
	case len(line)+1 > max:
		return "", ErrLineTooLong
	case n < 0 || line[n] != '\r':
		return "", ErrBareLF
	case bytes.IndexByte(line[:n], '\r') >= 0:
		return "", ErrBareCR
	}
	return string(line[:n]), nil
}

// ErrEndless ends a connection whose peer sends on and on where something should have ended long ago.
var ErrEndless = errors.New("peer sends without end")

// maxDrain is how much of an overlong line is dropped before the peer is given up, in octets.
const maxDrain = 1 << 20

// drainLine drops input up to the end of an overlong line.
func (c *Conn) drainLine() error {
	for dropped := 0; ; dropped += c.w - c.r {
		if dropped > maxDrain {
			c.rerr = ErrEndless
			return ErrEndless
		}
		if i := bytes.IndexByte(c.buf[c.r:c.w], '\n'); i >= 0 {
			c.r += i + 1
			return ErrLineTooLong
		}
		c.r = c.w
		if err := c.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// Literal reads the next n octets as they are (RFC 9051 §4.3, RFC 3030 §2). They must be read to the end before the next line.
func (c *Conn) Literal(n int64) io.Reader {
	return &literal{c, n}
}

type literal struct {
	c    *Conn
	left int64
}

func (l *literal) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if !l.c.Pending() {
		if err := l.c.fillText(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	have := min(int64(l.c.w-l.c.r), l.left)
	n := copy(p, l.c.buf[l.c.r:l.c.r+int(have)])
	l.c.r += n
	l.left -= int64(n)
	return n, nil
}

// WriteLine sends s and CRLF, at the next Flush at the latest.
func (c *Conn) WriteLine(s string) error { return c.WriteSecret(s, s) }

// WriteSecret is WriteLine with something else in the trace.
func (c *Conn) WriteSecret(s, shown string) error {
	if strings.ContainsAny(s, "\r\n\x00") {
		if c.werr == nil {
			c.werr = ErrInjection
		}
		return ErrInjection
	}
	c.Trace(true, shown)
	c.out = append(append(c.out, s...), '\r', '\n')
	return c.spill()
}

// Write sends octets as they are, at the next Flush at the latest.
func (c *Conn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	return len(p), c.spill()
}

// spill sends when much has come together.
func (c *Conn) spill() error {
	if len(c.out) < largeBuffer/2 {
		return c.werr
	}
	return c.Flush()
}

// Flush sends what was written. A peer that takes less than 64 KiB in the time for it is given up, see SetWriteTime. The first
// error sticks: nothing is sent after it.
func (c *Conn) Flush() error {
	for rest := c.out; c.werr == nil && len(rest) > 0; {
		n := min(len(rest), maxWrite)
		if c.wait > 0 {
			c.nc.SetWriteDeadline(time.Now().Add(c.wait))
		}
		_, c.werr = c.nc.Write(rest[:n])
		rest = rest[n:]
	}
	c.out = c.out[:0]
	if cap(c.out) > 2*largeBuffer {
		c.out = nil
	}
	return c.werr
}

// StartTLS changes to TLS in place (RFC 3207 §4, RFC 2595, RFC 9051 §6.2.1). What was written is flushed first; what was
// received in clear and not read is dropped, so nothing injected before the handshake is obeyed after it. It is used for
// TLS from the first octet as well. The handshake runs under the deadlines set before and under ctx.
func (c *Conn) StartTLS(ctx context.Context, cfg *tls.Config, server bool) error {
	if err := c.Flush(); err != nil {
		return err
	}
	c.r, c.w = 0, 0
	t := tls.Client(c.nc, cfg)
	if server {
		t = tls.Server(c.nc, cfg)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		c.rerr, c.werr = err, err
		return err
	}
	c.nc = t
	return nil
}
