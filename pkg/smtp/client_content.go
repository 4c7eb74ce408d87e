package smtp

import (
	"bytes"
	"cmp"
	"fmt"
	"io"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// maxBuffered is the size up to which a message is read into memory and looked at before it is sent.
const maxBuffered = 64 << 10

// content is a message and what is known about it.
type content struct {
	r            io.Reader
	size         int64 // octets on the wire without dot-stuffing; an estimate if not known
	known        bool  // the message has been looked at
	is8bit       bool
	is8bitHeader bool
	odd          message.Oddities
	isUnfit      bool // it has NUL, or lines that are too long
	last         byte // octet seen last
	inBody       bool
	octets       int64 // seen so far
	lines        int64

	at      io.ReaderAt // the message, from its start; nil if it can be read only once
	convert conversion  // on the way; nil: none is needed
}

// conversion is message.SevenBit or message.Fit.
type conversion func(w io.Writer, msg io.ReaderAt, size int64) error

// toSevenBit makes the content one without 8-bit data.
func (b *content) toSevenBit(c *Client) error {
	if b.at == nil {
		return mail.Permanentf(6, 3, "Message has 8-bit data, which %s does not take", printable(c.opt.Server))
	}
	b.is8bit, b.isUnfit = false, false
	return b.convertBy(c, message.SevenBit)
}

// toFit mends what RFC 5321 has no room for, as far as it can. A server for local delivery may take anything.
func (b *content) toFit(c *Client) error {
	if !b.isUnfit || b.at == nil || c.opt.LMTP {
		return nil
	}
	return b.convertBy(c, message.Fit)
}

// convertBy converts a small content at once, and a large one twice: now to know that it can be done and what size it has, and
// again while it is sent.
func (b *content) convertBy(c *Client, convert conversion) error {
	var small bytes.Buffer
	isSmall := b.octets <= maxBuffered/4 // encoded it is at most three times as large, and a little
	seen := &content{last: '\n'}
	to := io.Writer(seen)
	if isSmall {
		to = io.MultiWriter(seen, &small)
	}
	if err := convert(to, b.at, b.octets); err != nil {
		if mail.StatusOf(err).IsPermanent() {
			return err
		}
		return errLocal(err)
	}
	seen.finish()
	isSmall = isSmall && small.Len() <= maxBuffered
	b.size, b.convert = seen.size, convert
	if isSmall {
		b.convert = nil
		c.makeRoom(int64(small.Len()))
		b.octets = int64(copy(c.scratch, small.Bytes()))
		b.r = bytes.NewReader(c.scratch[:b.octets])
	}
	return nil
}

// Write is see, for a message that is only looked at.
func (b *content) Write(p []byte) (int, error) {
	b.see(p)
	return len(p), nil
}

// inspect looks at the message as far as that is possible without sending it.
func (c *Client) inspect(msg io.Reader, size int64) (*content, error) {
	b := &content{last: '\n', size: max(size, 0)}
	n, err := c.readSmall(msg, size)
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		b.see(c.scratch[:n])
		b.finish()
		small := bytes.NewReader(c.scratch[:n])
		b.r, b.at = small, small
		return b, b.checkLength(size)
	case err != nil:
		return nil, errLocal(err)
	}
	if s, ok := msg.(io.ReadSeeker); ok {
		return b, cmp.Or(b.scan(s, c.scratch), b.checkLength(size))
	}
	b.r = io.MultiReader(bytes.NewReader(bytes.Clone(c.scratch)), msg)
	return b, nil
}

// checkLength wants no fewer octets than were promised: a part of a message is not sent as if it were the whole.
func (b *content) checkLength(size int64) error {
	if b.octets < size {
		return errLocal(fmt.Errorf("there are only %d of %d octets", b.octets, size))
	}
	return nil
}

// readSmall reads as much as is looked at in memory into scratch; no error: there may be more. size is about what there is.
func (c *Client) readSmall(msg io.Reader, size int64) (n int, err error) {
	if c.makeRoom(size + 1); size <= 0 {
		c.makeRoom(maxBuffered)
	}
	n, err = io.ReadFull(msg, c.scratch)
	if err != nil || n == maxBuffered {
		return n, err
	}
	c.scratch = append(c.scratch, make([]byte, maxBuffered-n)...)
	more, err := io.ReadFull(msg, c.scratch[n:])
	return n + more, err
}

// makeRoom makes scratch larger if it has not room for so many octets, up to maxBuffered.
func (c *Client) makeRoom(octets int64) {
	if size := min(max(octets, 2<<10), maxBuffered); int64(len(c.scratch)) < size {
		c.scratch = make([]byte, min(size+size/2, maxBuffered))
	}
}

func errLocal(err error) error { return mail.Temporaryf(3, 0, "Can't read the message: %w", err) }

// scan reads a large message to its end, beginning with the part in buf, and goes back to its start.
func (b *content) scan(s io.ReadSeeker, buf []byte) error {
	now, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return errLocal(err)
	}
	start, n := now-int64(len(buf)), len(buf)
	if at, ok := s.(io.ReaderAt); ok && start == 0 {
		b.at = at
	}
	for err == nil {
		b.see(buf[:n])
		n, err = s.Read(buf)
	}
	if err != io.EOF {
		return errLocal(err)
	}
	b.see(buf[:n])
	b.finish()
	b.r = s
	if _, err := s.Seek(start, io.SeekStart); err != nil {
		return errLocal(err)
	}
	return nil
}

// see looks at the next octets: line ends, and 8-bit data in the header or not.
func (b *content) see(p []byte) {
	if len(p) == 0 {
		return
	}
	b.octets += int64(len(p))
	b.lines += int64(bytes.Count(p, []byte{'\n'}))
	if !b.inBody {
		end := headerEnd(p, b.last)
		b.is8bitHeader = b.is8bitHeader || has8bit(p[:end])
		b.inBody = end < len(p)
	}
	b.is8bit = b.is8bit || has8bit(p)
	b.isUnfit = b.isUnfit || b.odd.Unfit(p)
	b.last = p[len(p)-1]
}

// finish says that all was seen. The final line end is sent even if the message has none.
func (b *content) finish() {
	b.known = true
	b.size = b.octets + b.lines
	if b.last != '\n' {
		b.size += 2
	}
}

// headerEnd gives the index of the empty line, or len(p). last is the octet before p.
func headerEnd(p []byte, last byte) int {
	if last == '\n' && p[0] == '\n' {
		return 0
	}
	if i := bytes.Index(p, []byte("\n\n")); i >= 0 {
		return i + 1
	}
	return len(p)
}

func has8bit(p []byte) bool {
	var all byte
	for _, c := range p {
		all |= c
	}
	return all >= 0x80
}

// writeContent writes the message and its final dot; what fits goes out at the next Flush. If the message can't be read to
// its end the connection is closed without the dot, so that nobody takes a part for the whole.
func (c *Client) writeContent(b *content) error {
	dot := c.wc.DotWriter()
	var err error
	if b.convert != nil {
		err = c.convertContent(dot, b)
	} else {
		err = c.copyContent(dot, b)
	}
	if err != nil {
		return err
	}
	if err = dot.Close(); err != nil {
		return c.lastWords(err)
	}
	c.wc.Trace(true, "(message)")
	c.wc.Trace(true, ".")
	return nil
}

// convertContent sends what convertBy has found out to be possible.
func (c *Client) convertContent(to io.Writer, b *content) error {
	out := &stickyWriter{w: to}
	err := b.convert(out, b.at, b.octets)
	switch {
	case out.err != nil:
		return c.lastWords(out.err)
	case err != nil:
		c.Close()
		return errLocal(err)
	}
	return nil
}

// stickyWriter remembers that it was the writing that went wrong.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) Write(p []byte) (n int, err error) {
	n, s.err = s.w.Write(p)
	return n, s.err
}

func (c *Client) copyContent(to io.Writer, b *content) error {
	if small, ok := b.r.(*bytes.Reader); ok {
		if _, err := small.WriteTo(to); err != nil {
			return c.lastWords(err)
		}
		return nil
	}
	buf := make([]byte, 32<<10) // not c.scratch: the message may begin there
	for sent := int64(0); ; {
		n, err := b.r.Read(buf)
		if _, werr := to.Write(buf[:n]); werr != nil {
			return c.lastWords(werr)
		}
		sent += int64(n)
		if err == io.EOF && b.known && sent < b.octets {
			err = io.ErrUnexpectedEOF // somebody has cut it since
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			c.Close()
			return errLocal(err)
		}
	}
}

// lastWords looks for the reply of a server that hung up within the data, such as 552, before it says that the
// connection was lost.
func (c *Client) lastWords(err error) error {
	if r := c.lastReply(); r != nil && r.Code >= 400 {
		c.Close()
		return r
	}
	return c.lost(err)
}

// lastReply is what a server said that takes nothing more; nil: nothing.
func (c *Client) lastReply() *Reply {
	c.wc.Within(c.opt.Timeouts.Quit)
	r, err := readReply(c.wc)
	if err != nil {
		return nil
	}
	return r
}
