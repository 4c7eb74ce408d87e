package mailtest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// Limits of RFC 5321 §4.5.3.1.4 and §4.5.3.1.6, in octets with CRLF. A command line may be longer by what the
// extensions allow to MAIL and RCPT; 2,000 is more than all of them together.
const (
	longestCommand = 2000
	longestText    = 1000
)

// sinkConn is the front of one connection: it takes a command, has the server behind it answer, and passes the reply on,
// unless the test has another one for that stage.
type sinkConn struct {
	sink      *Sink
	raw       net.Conn
	conn      net.Conn // raw, or TLS on it
	r         *bufio.Reader
	back      net.Conn
	backR     *bufio.Reader
	inTLS     bool
	pipelines bool // PIPELINING was offered
	taking    *taking
}

// taking is the message under way, shared with one session of the server behind. That session writes it only while the
// front waits for a reply, and clears it after a reply that ends a message.
type taking struct {
	msg  SinkMessage
	data string
}

func newSinkConn(s *Sink, conn net.Conn) *sinkConn {
	return &sinkConn{sink: s, raw: conn, conn: conn, r: bufio.NewReaderSize(conn, 1<<16)}
}

var errQuit = errors.New("connection is done")

func (c *sinkConn) serve() {
	defer func() {
		c.conn.Close()
		if c.back != nil {
			c.back.Close()
		}
	}()
	if c.sink.opt.Implicit {
		if err := c.handshake(); err != nil {
			return
		}
	}
	greeting, err := c.connect()
	if err != nil {
		return
	}
	if c.isEarly() {
		c.sink.fault("the client sent before the greeting")
	}
	if reply, ok := c.sink.injected("CONNECT"); ok {
		greeting = []string{reply}
	}
	for err = c.answer(greeting); err == nil; {
		err = c.command()
	}
}

// connect opens a session with the server behind and gives its greeting.
func (c *sinkConn) connect() ([]string, error) {
	if c.back != nil {
		c.back.Close()
	}
	mine := new(taking)
	back, err := c.sink.pipes.dial(mine)
	if err != nil {
		return nil, err
	}
	c.back, c.backR, c.taking = back, bufio.NewReader(back), mine
	return c.backReply()
}

func (c *sinkConn) handshake() error {
	ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
	defer cancel()
	c.conn.SetDeadline(time.Time{})
	conn := tls.Server(c.conn, c.sink.opt.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	c.conn, c.r, c.inTLS = conn, bufio.NewReaderSize(conn, 1<<16), true
	return nil
}

// isEarly reports input that is there already, or within a millisecond.
func (c *sinkConn) isEarly() bool {
	c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.r.Peek(1)
	return err == nil
}

func (c *sinkConn) command() error {
	line, err := c.readLine(longestCommand)
	if err != nil {
		return err
	}
	line = strings.TrimRight(line, "\r\n")
	c.sink.mu.Lock()
	c.sink.commands = append(c.sink.commands, line)
	c.sink.mu.Unlock()
	if c.r.Buffered() > 0 && !c.pipelines && !isVerb(line, "BDAT") {
		c.sink.fault(fmt.Sprintf("pipelining that was not offered, behind %q", line))
	}
	if isVerb(line, "BDAT") {
		return c.bdat(line)
	}
	if reply, ok := c.sink.injected(stagesOf(line)...); ok {
		return c.answer([]string{reply})
	}
	switch {
	case isVerb(line, "EHLO"):
		return c.ehlo(line)
	case isVerb(line, "STARTTLS") && c.sink.opt.TLS != nil && !c.inTLS:
		return c.startTLS()
	case isVerb(line, "AUTH"):
		return c.auth(line)
	case isVerb(line, "DATA"):
		return c.data(line)
	case isVerb(line, "QUIT"):
		return errors.Join(c.pass(line), errQuit)
	}
	return c.pass(line)
}

func isVerb(line, verb string) bool {
	word, _, _ := strings.Cut(line, " ")
	return strings.EqualFold(word, verb)
}

// stagesOf gives what a command line is called in Replies, the most particular name first.
func stagesOf(line string) []string {
	verb, arg, _ := strings.Cut(line, " ")
	_, path, ok := strings.Cut(arg, "<")
	address, _, closed := strings.Cut(path, ">")
	if ok && closed {
		return []string{verb + " " + address, verb}
	}
	return []string{verb}
}

// ask gives the reply of the server behind to a line.
func (c *sinkConn) ask(line string) ([]string, error) {
	if err := c.tell(line + "\r\n"); err != nil {
		return nil, err
	}
	return c.backReply()
}

func (c *sinkConn) tell(octets string) error {
	c.back.SetWriteDeadline(time.Now().Add(DefaultTimeout))
	_, err := io.WriteString(c.back, octets)
	return err
}

// backReply reads one reply, a line at a time, without CRLF.
func (c *sinkConn) backReply() ([]string, error) {
	c.back.SetReadDeadline(time.Now().Add(DefaultTimeout))
	var lines []string
	for {
		line, err := c.backR.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return lines, nil
		}
	}
}

func (c *sinkConn) pass(line string) error {
	reply, err := c.ask(line)
	if err != nil {
		return err
	}
	return c.answer(reply)
}

// answer sends a reply, or does what the test asked for in its place.
func (c *sinkConn) answer(reply []string) error {
	switch reply[0] {
	case SinkClose:
		return errQuit
	case SinkReset:
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.raw.Close()
		return errQuit
	case SinkSilence:
		c.conn.SetReadDeadline(time.Time{})
		io.Copy(io.Discard, c.r)
		return errQuit
	}
	c.conn.SetWriteDeadline(time.Now().Add(DefaultTimeout))
	text := strings.ReplaceAll(strings.Join(reply, "\n"), "\n", "\r\n") + "\r\n"
	_, err := io.WriteString(c.conn, text)
	return err
}

func (c *sinkConn) ehlo(line string) error {
	reply, err := c.ask(line)
	if err != nil {
		return err
	}
	if strings.HasPrefix(reply[0], "250") {
		reply = c.offer(reply)
	}
	c.pipelines = slices.ContainsFunc(reply, func(l string) bool { return strings.HasSuffix(l, "PIPELINING") })
	return c.answer(reply)
}

// offer makes the EHLO reply that the test wants from the one of the server behind.
func (c *sinkConn) offer(reply []string) []string {
	words := []string{reply[0][4:]}
	opt := &c.sink.opt
	for _, line := range reply[1:] {
		name, _, _ := strings.Cut(line[4:], " ")
		needsTLS := name == "AUTH" && opt.TLS != nil && !c.inTLS
		if !needsTLS && !slices.Contains(opt.Hide, name) {
			words = append(words, line[4:])
		}
	}
	if opt.TLS != nil && !c.inTLS && !slices.Contains(opt.Hide, "STARTTLS") {
		words = append(words, "STARTTLS")
	}
	for i := range words {
		words[i] = "250-" + words[i]
	}
	last := len(words) - 1
	words[last] = "250 " + words[last][4:]
	return words
}

func (c *sinkConn) startTLS() error {
	if c.r.Buffered() > 0 {
		c.sink.fault("the client sent more in clear behind STARTTLS")
	}
	if err := c.answer([]string{"220 2.0.0 Ready to start TLS"}); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return err
	}
	c.pipelines = false
	_, err := c.connect()
	return err
}

func (c *sinkConn) auth(line string) error {
	if c.sink.opt.TLS != nil && !c.inTLS {
		c.sink.fault("AUTH in clear")
		return c.answer([]string{"538 5.7.11 Encryption required for requested authentication mechanism"})
	}
	reply, err := c.ask(line)
	for err == nil && strings.HasPrefix(reply[0], "334") {
		if err = c.answer(reply); err != nil {
			return err
		}
		var response string
		if response, err = c.readLine(1 << 14); err == nil { // RFC 4954 §4.5 asks for at least 12,288
			reply, err = c.ask(strings.TrimRight(response, "\r\n"))
		}
	}
	if err != nil {
		return err
	}
	return c.answer(reply)
}

func (c *sinkConn) data(line string) error {
	reply, err := c.ask(line)
	if err != nil {
		return err
	}
	if err := c.answer(reply); err != nil || !strings.HasPrefix(reply[0], "354") {
		return err
	}
	if reply, ok := c.sink.injected("BODY"); ok {
		if _, err := c.readLine(longestText); err != nil {
			return err
		}
		return errors.Join(c.answer([]string{reply}), errQuit)
	}
	msg := c.takeEnvelope()
	if err := c.passText(msg); err != nil {
		return err
	}
	if reply, err = c.backReply(); err != nil {
		return err
	}
	return c.endOfMessage(msg, reply, ".")
}

// takeEnvelope copies the message under way, before the server behind resets it.
func (c *sinkConn) takeEnvelope() SinkMessage {
	msg := c.taking.msg
	msg.TLS = c.inTLS
	return msg
}

// passText passes on a dot block, as it is, up to CRLF "." CRLF.
func (c *sinkConn) passText(msg SinkMessage) error {
	atStart := true
	for {
		line, err := c.readLine(longestText)
		if err != nil {
			return err
		}
		if !isASCII(line) && msg.Opts.Body != smtp.Body8BitMIME {
			c.sink.fault(fmt.Sprintf("8 bit text without BODY=8BITMIME: %q", line))
		}
		if err := c.tell(line); err != nil {
			return err
		}
		if atStart && line == ".\r\n" {
			return nil
		}
		atStart = strings.HasSuffix(line, "\r\n")
	}
}

// bdat takes a chunk (RFC 3030 §2). Its octets come whatever the answer is.
func (c *sinkConn) bdat(line string) error {
	fields := strings.Fields(line)
	size, err := strconv.ParseInt(fields[min(1, len(fields)-1)], 10, 32)
	if err != nil || size < 0 {
		return c.pass(line)
	}
	chunk := make([]byte, size)
	c.conn.SetReadDeadline(time.Now().Add(DefaultTimeout))
	if _, err := io.ReadFull(c.r, chunk); err != nil {
		return err
	}
	if reply, ok := c.sink.injected("BDAT"); ok {
		return c.answer([]string{reply})
	}
	msg := c.takeEnvelope()
	if err := c.tell(line + "\r\n" + string(chunk)); err != nil {
		return err
	}
	reply, err := c.backReply()
	if err != nil {
		return err
	}
	if len(fields) < 3 {
		return c.answer(reply)
	}
	return c.endOfMessage(msg, reply, "BDAT LAST")
}

func (c *sinkConn) endOfMessage(msg SinkMessage, reply []string, stage string) error {
	if other, ok := c.sink.injected(stage, "."); ok {
		reply = []string{other}
	}
	msg.Data = c.taking.data
	if strings.HasPrefix(reply[0], "2") {
		c.sink.mu.Lock()
		c.sink.messages = append(c.sink.messages, msg)
		c.sink.mu.Unlock()
	}
	return c.answer(reply)
}

// readLine gives a line with its line end, and notes what is wrong with it. A line is what ends in LF.
func (c *sinkConn) readLine(longest int) (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(DefaultTimeout))
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	switch {
	case !ok:
		c.sink.fault(fmt.Sprintf("a line ends in LF alone: %s", visible(line)))
	case strings.ContainsAny(text, "\r\x00"):
		c.sink.fault(fmt.Sprintf("CR or NUL inside a line: %s", visible(line)))
	case len(line) > longest:
		c.sink.fault(fmt.Sprintf("a line of %d octets: %s", len(line), visible(line)))
	}
	return line, nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
