package message

import (
	"bytes"
	"io"
	"net/netip"
	"time"

	"mailx/pkg/mail"
)

// MaxReceived is how many Received fields a message may have before it counts as looping (RFC 5321 §6.3; 5.4.6).
const MaxReceived = 50

// Received is what one host writes about how it got a message (RFC 5321 §4.4).
type Received struct {
	From     string       // the name the peer gave in HELO or EHLO; anything it likes. Empty: not from a network
	FromIP   netip.Addr   // the address of the peer; the zero value if there is none
	FromHost string       // the verified name of FromIP; may be empty
	By       string       // our name
	With     string       // protocol keyword: SMTP ESMTP ESMTPS ESMTPA ESMTPSA LMTP ... UTF8SMTP ... (RFC 3848, 6531)
	TLS      string       // "TLS1.3 TLS_AES_128_GCM_SHA256"; empty without TLS
	ID       string       // our id of the message
	For      mail.Address // the recipient, if there is just one; the zero value leaves it out
	Time     time.Time    // written in its own zone
}

// Append appends the field, folded, with its LF. What the peer said can't break out of its place: octets that are not
// of a host name become "?", and it is cut at 255. A recipient in UTF-8 is left out.
func (r Received) Append(b []byte) []byte {
	b = append(b, "Received: "...)
	if r.From != "" || r.FromIP.IsValid() {
		b = r.appendFrom(b)
	}
	b = append(b, "by "...)
	b = appendSafe(b, r.By)
	if r.With != "" {
		b = append(b, " with "...)
		b = appendSafe(b, r.With)
	}
	if r.TLS != "" {
		b = append(b, "\n\t(using "...)
		b = appendComment(b, r.TLS)
		b = append(b, ')')
	}
	if r.ID != "" {
		b = append(b, " id "...)
		b = appendSafe(b, r.ID)
	}
	if !r.For.IsNull() && r.For.IsASCII() {
		b = append(b, "\n\tfor "...)
		b = append(b, r.For.Path()...)
	}
	b = append(b, ";\n\t"...)
	return append(AppendDate(b, r.Time), '\n')
}

func (r Received) appendFrom(b []byte) []byte {
	b = append(b, "from "...)
	b = appendSafe(b, r.From)
	if !r.FromIP.IsValid() {
		return append(b, "\n\t"...)
	}
	b = append(b, " ("...)
	if r.FromHost != "" {
		b = appendSafe(b, r.FromHost)
		b = append(b, ' ')
	}
	b = append(b, '[')
	ip := r.FromIP.Unmap().WithZone("")
	if ip.Is6() {
		b = append(b, "IPv6:"...)
	}
	b = ip.AppendTo(b)
	return append(b, "])\n\t"...)
}

// appendSafe appends at most 255 octets of a name, each octet that does not belong in a host name or literal as "?".
func appendSafe(b []byte, s string) []byte {
	if s == "" {
		return append(b, "unknown"...)
	}
	for i := 0; i < len(s) && i < 255; i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']', c == '+', c == '=':
		default:
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// appendComment appends at most 255 octets of printable ASCII inside a comment, with its three specials escaped.
func appendComment(b []byte, s string) []byte {
	for i := 0; i < len(s) && i < 255; i++ {
		c := s[i]
		switch {
		case c == '(', c == ')', c == '\\':
			b = append(b, '\\')
		case c < ' ' || c >= 0x7f:
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// AppendReturnPath appends the field that final delivery puts first (RFC 5321 §4.4), with its LF.
func AppendReturnPath(b []byte, sender mail.Address) []byte {
	b = append(b, "Return-Path: "...)
	b = append(b, sender.Path()...)
	return append(b, '\n')
}

// CountReceived is the number of hosts that a message has passed, by its own account.
func CountReceived(h *Header) int { return h.Count("Received") }

// Intake stands between a server's DATA and the place where the message is stored. It puts the trace fields in front,
// keeps a message without a header from having its first line taken for one, can fill in what a header lacks and leave
// out Bcc, and notes what the server wants to know. It is fed in any cuts; once the header has ended, chunks go
// through untouched and unread. It does not allocate per line, and not at all when it is used again with Reset.
//
//	var in message.Intake
//	in.Reset(tx, received.Append(nil))
//	in.Missing = func(in *message.Intake) []byte { ... } // only for submission; may be nil
//	_, err := io.Copy(&in, body)                           // or Write
//	if err == nil {
//		err = in.Close() // passes on what is still held; does not close tx
//	}
//	if in.Received > message.MaxReceived { ... 5.4.6 ... }
//
// The first octets are held (255 at most) until it is sure whether they begin a field. If they do, the trace goes right
// on top of the header; if not, and the line is not empty, an empty line comes between: "Do you like ketchup?" stays
// body text. A later line that is neither a field nor empty ends the header in the same way.
type Intake struct {
	// What is known so far; final when the header has ended or after Close.
	Received     int // Received fields in the message itself
	HasField     bool
	HasDate      bool
	HasMessageID bool
	HasFrom      bool
	HasResent    bool // a Resent- field: the message is sent on, and its Date and Message-ID are not ours to add
	HasMIME      bool // MIME-Version

	// Missing, if set, is called once, when the header ends; the fields that it returns (printed, each ending in LF) are
	// put at the header's end.
	Missing func(*Intake) []byte
	// DropBcc leaves out Bcc and Resent-Bcc fields, DropReturnPath those of which there is one only, written at final delivery
	// (RFC 5321 §4.4).
	DropBcc, DropReturnPath bool

	dst     io.Writer
	out     []byte // header octets that wait for the end of the chunk
	held    [maxFieldName + 1]byte
	nheld   int
	inLine  bool // in the middle of a header line that has been classified
	dropped bool // that line belongs to a field that is left out
	ended   bool // the header has ended
	above   bool // fields of ours stand above the message's own lines
	err     error
}

// Reset makes the intake ready for one more message into dst, with trace (printed fields, each ending in LF) on top.
func (in *Intake) Reset(dst io.Writer, trace []byte) {
	*in = Intake{dst: dst, out: append(in.out[:0], trace...), above: len(trace) > 0}
}

// Write takes the next octets of the message, in local form. A write error of dst sticks.
func (in *Intake) Write(p []byte) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	rest := p
	for len(rest) > 0 && !in.ended {
		if in.inLine {
			rest = in.restOfLine(rest)
		} else {
			rest = in.startOfLine(rest)
		}
	}
	if in.nheld == 0 || in.ended {
		in.flush()
	}
	if len(rest) > 0 && in.err == nil {
		_, in.err = in.dst.Write(rest)
	}
	if in.err != nil {
		return 0, in.err
	}
	return len(p), nil
}

// Close says that the message is complete and passes on what is still held.
func (in *Intake) Close() error {
	if !in.ended && in.err == nil {
		if in.nheld > 0 { // a last line without LF that is too short to be a field
			in.endHeader(lineOther)
		} else {
			in.fill()
		}
		in.flush()
	}
	return in.err
}

// restOfLine takes what is left of a header line and gives back what comes after it.
func (in *Intake) restOfLine(p []byte) []byte {
	n := len(p)
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		n, in.inLine = i+1, false
	}
	if !in.dropped {
		in.out = append(in.out, p[:n]...)
	}
	return p[n:]
}

// startOfLine holds octets until the kind of the line is known.
func (in *Intake) startOfLine(p []byte) []byte {
	n := copy(in.held[in.nheld:], p)
	kind := kindOf(in.held[:in.nheld+n])
	if kind == lineUnknown {
		in.nheld += n
		return p[n:]
	}
	switch {
	case kind == lineField:
		in.note(Field{raw: in.held[:in.nheld+n]})
	case kind == lineFolded && in.HasField:
	default:
		in.endHeader(kind)
		return p
	}
	if !in.dropped {
		in.out = append(in.out, in.held[:in.nheld]...)
	}
	in.nheld, in.inLine = 0, true
	return p
}

// endHeader fills in what is missing and separates header and body where the message does not.
func (in *Intake) endHeader(kind lineKind) {
	in.fill()
	if kind != lineEmpty && (in.HasField || in.above) {
		in.out = append(in.out, '\n')
	}
	in.out = append(in.out, in.held[:in.nheld]...)
	in.nheld = 0
}

func (in *Intake) fill() {
	in.ended = true
	if in.Missing == nil {
		return
	}
	if in.inLine && !in.dropped { // the message ended inside a header line
		in.out = append(in.out, '\n')
	}
	before := len(in.out)
	in.out = append(in.out, in.Missing(in)...)
	in.above = in.above || len(in.out) > before
}

func (in *Intake) note(f Field) {
	in.HasField, in.dropped = true, false
	switch name := f.name(); {
	case equalFold(name, "Received"):
		in.Received++
	case equalFold(name, "Date"):
		in.HasDate = true
	case equalFold(name, "Message-ID"):
		in.HasMessageID = true
	case equalFold(name, "From"):
		in.HasFrom = true
	case equalFold(name, "MIME-Version"):
		in.HasMIME = true
	case equalFold(name, "Return-Path"):
		in.dropped = in.DropReturnPath
	case equalFold(name, "Bcc"):
		in.dropped = in.DropBcc
	case len(name) > 7 && equalFold(name[:7], "Resent-"):
		in.HasResent = true
		in.dropped = in.DropBcc && equalFold(name, "Resent-Bcc")
	}
}

func (in *Intake) flush() {
	if len(in.out) > 0 && in.err == nil {
		_, in.err = in.dst.Write(in.out)
	}
	in.out = in.out[:0]
}
