package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"

	"mailx/pkg/mail"
)

// What a peer can do wrong inside of a dot block. The block has been read to its end when DotReader returns one of these.
var (
	ErrTooBig       = mail.Permanentf(3, 4, "Message too big")
	ErrTextTooLong  = mail.Permanentf(6, 0, "Text line too long")
	ErrBareInText   = mail.Permanentf(6, 11, "Bare CR or LF in the message")
	ErrSmuggledText = mail.Permanentf(6, 11, "Bare LF beside a dot in the message")
)

// DefaultMaxText is what a text line may have, CRLF included: RFC 5321 §4.5.3.1.6 says 1000, senders in the wild say more.
const DefaultMaxText = 4096

// DotOptions bound a dot block. The zero value takes any size, DefaultMaxText, and refuses bare CR and LF.
type DotOptions struct {
	MaxSize int64 // octets on the wire without dot-stuffing and without the final dot line; 0 is no limit
	MaxText int   // octets of one line with its CRLF; 0 is DefaultMaxText, <0 is no limit
	Bare    Bare
}

// Bare says what to do about a CR or LF that is not part of a CRLF.
type Bare uint8

const (
	// RefuseBare refuses the text.
	RefuseBare Bare = iota
	// RepairBare makes line ends of them, but refuses a bare one beside a dot: that is how messages are smuggled through a
	// server (CVE-2023-51764).
	RepairBare
	// TakeBare makes line ends of all of them. For clients that collect mail: what a server smuggles past its own reader of
	// dots, it could as well have said openly.
	TakeBare
)

// DotReader reads a dot block (RFC 5321 §4.5.2, RFC 1939 §3) and gives its text in local form: dot-stuffing undone, lines
// ending in LF. The block ends at CRLF "." CRLF only (or "." CRLF at its very start).
//
// After the last octet Read returns io.EOF, or the *mail.Error that is the first thing wrong with the text. After such a
// fault no more text is given, but the block is read to its end, so that the dialog stays in step.
type DotReader struct{ text }

// text is what DotReader and ChunkReader share: lines and their ends, the limits, and the first thing that is wrong.
type text struct {
	c     *Conn
	opt   DotOptions
	state textState
	line  int   // octets of the current line so far
	size  int64 // octets on the wire so far, unstuffed
	fault error
	waste int64 // octets read since the fault
	end   error // set once the text is over
}

// maxWaste is how much of a faulty text is read to stay in step with the peer, in octets; then it is given up.
const maxWaste = 256 << 20

type textState uint8

const (
	atStart   textState = iota // after CRLF or at the beginning of the text
	inText                     // anywhere else in a line
	afterCR                    // a CR that may become a line end
	afterLF                    // after a bare line end: like inText, but a dot is suspicious
	afterDot                   // "." at the start of a line
	afterDotC                  // ".\r" at the start of a line
)

// DotReader starts reading a block. It must be read to its end (see Drain) before the next line.
func (c *Conn) DotReader(o DotOptions) *DotReader {
	return &DotReader{newText(c, o)}
}

func newText(c *Conn, o DotOptions) text {
	if o.MaxText == 0 {
		o.MaxText = DefaultMaxText
	}
	return text{c: c, opt: o}
}

// Size is the number of octets of text so far as they stood on the wire: each line end counts two.
func (t *text) Size() int64 { return t.size }

// Drain reads what is left of the block and gives its verdict: nil, a *mail.Error, or the connection's error.
func (d *DotReader) Drain() error { return drain(d) }

func drain(r io.Reader) error {
	var sink [4096]byte
	for {
		switch _, err := r.Read(sink[:]); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// Read gives text in local form.
func (d *DotReader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) && d.end == nil {
		if !d.c.Pending() {
			if n > 0 {
				return n, nil
			}
			if err := d.c.fillText(); err != nil {
				return 0, d.broken(err)
			}
		}
		before := d.c.r
		n += d.step(p[n:])
		d.read(d.c.r - before)
	}
	if n == 0 {
		return 0, d.end
	}
	return n, nil
}

// read is told how many octets of input were consumed, and gives up a peer that goes on for ever after a fault.
func (t *text) read(octets int) {
	if t.fault == nil {
		return
	}
	if t.waste += int64(octets); t.waste > maxWaste && t.end == nil {
		t.c.rerr = ErrEndless
		t.broken(ErrEndless)
	}
}

func (t *text) broken(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	t.end = err
	return err
}

// step consumes at least one octet of input and gives the number of octets put into p, which is not empty.
func (d *DotReader) step(p []byte) int {
	in := d.c.buf[d.c.r:d.c.w]
	switch d.state {
	case atStart:
		if in[0] == '.' {
			d.c.r++
			d.state = afterDot
			return 0
		}
		d.state = inText
	case afterDot:
		if in[0] == '\r' {
			d.c.r++
			d.state = afterDotC
			return 0
		}
		if in[0] == '\n' && d.opt.Bare != TakeBare {
			d.fail(ErrSmuggledText)
		}
		d.state = inText // RFC 5321 §4.5.2: the dot was stuffing
	case afterDotC:
		return d.stepDotCR(in[0], p)
	case afterCR:
		return d.stepCR(in[0], p)
	case afterLF:
		if in[0] == '.' && d.opt.Bare != TakeBare {
			d.fail(ErrSmuggledText)
		}
		d.state = inText
	}
	return d.stepText(in, p)
}

// stepDotCR decides about ".\r" at the start of a line: with LF it ends the block.
func (d *DotReader) stepDotCR(next byte, p []byte) int {
	if next == '\n' {
		d.c.r++
		d.end = d.fault
		if d.end == nil {
			d.end = io.EOF
		}
		return 0
	}
	d.state = afterCR // the dot was stuffing, the CR is a bare one
	return d.stepCR(next, p)
}

// stepCR decides about a CR: with LF it is a line end, else a bare CR.
func (t *text) stepCR(next byte, p []byte) int {
	if next == '\n' {
		t.c.r++
		t.state = atStart
		return t.endLine(p)
	}
	t.state = afterLF
	return t.bareCR(p)
}

func (t *text) bareCR(p []byte) int {
	if t.opt.Bare == RefuseBare {
		t.fail(ErrBareInText)
	}
	return t.endLine(p)
}

func (t *text) endLine(p []byte) int {
	t.line, t.size = 0, t.size+2
	t.check()
	if t.fault != nil {
		return 0
	}
	p[0] = '\n'
	return 1
}

// stepText copies text up to the next CR or LF, and the line end too when it is whole.
func (t *text) stepText(in, p []byte) int {
	in = in[:min(len(in), len(p))]
	i := bytes.IndexByte(in, '\n')
	if i < 0 {
		i = len(in)
	}
	cr := bytes.IndexByte(in[:i], '\r')
	if cr < 0 {
		cr = i
	}
	n := t.give(p, in[:cr])
	t.c.r += cr
	switch {
	case cr == len(in):
		return n
	case in[cr] == '\n':
		return n + t.bareLF(p[n:])
	case cr+1 < len(in) && in[cr+1] == '\n':
		t.c.r += 2
		t.state = atStart
		return n + t.endLine(p[n:])
	}
	t.c.r++
	t.state = afterCR
	return n
}

func (t *text) bareLF(p []byte) int {
	t.c.r++
	t.state = afterLF
	if t.opt.Bare == RefuseBare {
		t.fail(ErrBareInText)
	}
	return t.endLine(p)
}

func (t *text) give(p, octets []byte) int {
	t.line += len(octets)
	t.size += int64(len(octets))
	if t.opt.MaxText > 0 && t.line+2 > t.opt.MaxText {
		t.fail(ErrTextTooLong)
	}
	t.check()
	if t.fault != nil {
		return 0
	}
	return copy(p, octets)
}

func (t *text) check() {
	if t.opt.MaxSize > 0 && t.size > t.opt.MaxSize {
		t.fail(ErrTooBig)
	}
}

// fail remembers the first fault; smuggling outranks the others, because it is what an admin wants to read in the log.
func (t *text) fail(err error) {
	if t.fault == nil || err == ErrSmuggledText {
		t.fault = err
	}
}

// DotWriter sends text in local form as a dot block. LF and CRLF both become CRLF; a lone CR does too, so that none is ever
// sent bare, unless KeepCR is set.
type DotWriter struct {
	c      *Conn
	KeepCR bool // POP3: the octets of the mailbox as they are, so that sizes stay true
	mid    bool // within a line
	cr     bool // the last octet was a CR that has not been sent
}

// DotWriter starts a block; Close ends it.
func (c *Conn) DotWriter() *DotWriter { return &DotWriter{c: c} }

// Write takes any cut of the text.
func (d *DotWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if d.cr {
			rest = d.afterCR(rest)
			continue
		}
		text := rest[:min(len(rest), largeBuffer/4)]
		if i := bytes.IndexByte(text, '\r'); i >= 0 {
			text, d.cr = text[:i], true
		}
		d.lines(text)
		rest = rest[len(text):]
		if d.cr {
			rest = rest[1:]
		}
		if d.c.spill() != nil {
			return 0, d.c.werr
		}
	}
	return len(p), d.c.werr
}

// lines sends text without CR.
func (d *DotWriter) lines(p []byte) {
	out := slices.Grow(d.c.out, len(p)+len(p)/16+2)
	for len(p) > 0 {
		if !d.mid && p[0] == '.' {
			out = append(out, '.') // RFC 5321 §4.5.2
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			out = append(out, p...)
			d.mid = true
			break
		}
		out = append(append(out, p[:i]...), '\r', '\n')
		d.mid = false
		p = p[i+1:]
	}
	d.c.out = out
}

// afterCR decides about a CR once the octet behind it is known.
func (d *DotWriter) afterCR(p []byte) []byte {
	d.cr = false
	if p[0] == '\n' {
		d.c.out = append(d.c.out, '\r', '\n')
		d.mid = false
		return p[1:]
	}
	d.fromCRLF()
	return p
}

func (d *DotWriter) fromCRLF() {
	if d.KeepCR {
		d.c.out = append(d.c.out, '\r')
		d.mid = true
		return
	}
	d.c.out = append(d.c.out, '\r', '\n')
	d.mid = false
}

// Close completes the last line and sends the final dot. It does not flush.
func (d *DotWriter) Close() error {
	if d.cr {
		d.cr = false
		d.fromCRLF()
	}
	if d.mid {
		d.c.out = append(d.c.out, '\r', '\n')
	}
	d.c.out = append(d.c.out, ".\r\n"...)
	return d.c.werr
}

// LocalForm gives text in local form from a reader of unknown line ends: CRLF and lone CR become LF. For what comes from
// pipes and files; what comes from the wire has stricter readers.
func LocalForm(r io.Reader) io.Reader { return &localForm{r: r} }

type localForm struct {
	r  io.Reader
	cr bool // the last octet given was the LF of a CR
}

func (l *localForm) Read(p []byte) (int, error) {
	for {
		n, err := l.r.Read(p)
		n = l.convert(p[:n])
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// convert works in place and gives the length of what is left.
func (l *localForm) convert(p []byte) int {
	if !l.cr && bytes.IndexByte(p, '\r') < 0 {
		return len(p)
	}
	n := 0
	for _, b := range p {
		if b == '\n' && l.cr {
			l.cr = false
			continue
		}
		l.cr = b == '\r'
		if l.cr {
			b = '\n'
		}
		p[n] = b
		n++
	}
	return n
}

// FromCRLF gives LF for CRLF, and leaves a CR that stands alone: for text whose lines are known to end in CRLF.
func FromCRLF(r io.Reader) io.Reader { return &fromCRLF{bufio.NewReader(r)} }

type fromCRLF struct{ br *bufio.Reader }

// Read gives what is there up to a CR, or what that becomes.
func (f *fromCRLF) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := f.br.Peek(1); err != nil {
		return 0, err
	}
	b, _ := f.br.Peek(min(len(p), f.br.Buffered()))
	i := bytes.IndexByte(b, '\r')
	switch {
	case i < 0:
		return f.br.Read(p[:len(b)])
	case i > 0:
		return f.br.Read(p[:i])
	}
	if two, _ := f.br.Peek(2); len(two) == 2 && two[1] == '\n' {
		f.br.Discard(1)
	}
	return f.br.Read(p[:1])
}

// IsPeerFault reports an error that is the peer's mistake and leaves the dialog in step.
func IsPeerFault(err error) bool {
	var e *mail.Error
	return errors.As(err, &e)
}
