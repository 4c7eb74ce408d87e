package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// Oddities are what SMTP does not carry as it is, found in octets in local form. Its zero value has seen none.
type Oddities struct {
	high bool // 8-bit data
	nul  bool
	long bool // a line of more than 998 octets
	line int  // octets of the last line so far
}

// See looks at the next octets. It skips from line to line end without looking at what is between, as far as lines are short.
func (o *Oddities) See(p []byte) {
	o.high = o.high || has8bit(p)
	o.Unfit(p)
}

// Unfit is See but for 8-bit data, and reports whether something is there that Fit would mend.
func (o *Oddities) Unfit(p []byte) bool {
	o.nul = o.nul || bytes.IndexByte(p, 0) >= 0
	for start := -o.line; !o.long; {
		end := start + maxLine + 1 // a line end has to be before this
		from := max(start, 0)
		i := bytes.LastIndexByte(p[from:min(end, len(p))], '\n')
		switch {
		case i >= 0:
			start = from + i + 1
		case end <= len(p):
			o.long = true
		default:
			o.line = len(p) - start
			return o.nul
		}
	}
	return true
}

func has8bit(p []byte) bool {
	var all byte
	for _, c := range p {
		all |= c
	}
	return all >= 0x80
}

// Fit writes a message, in local form, so that it fits into SMTP: without lines of more than 998 octets (RFC 5321 §4.5.3.1.6) and
// without NUL (RFC 6152 §1). Its meaning stays the same: a part with such lines is encoded, quoted-printable or base64, and its
// header says so; base64 and quoted-printable that stand in one line get more line ends; header fields are folded where there
// is white space, or a comma between addresses. All else stays octet for octet.
//
// What is sealed by a signature over these octets is left alone, and so is what can't be changed for another reason: servers may
// take it all the same. Errors are those of w and msg.
func Fit(w io.Writer, msg io.ReaderAt, size int64) error {
	return convert(&converting{w: bufio.NewWriter(w), msg: msg}, size)
}

// isSealed reports a message whose octets are signed from outside of it (RFC 6376, RFC 8617).
func isSealed(h *Header) bool { return h.Has("DKIM-Signature") || h.Has("ARC-Message-Signature") }

// seals reports that what is in a part must keep its octets: what is signed or encrypted (RFC 1847), and a message with a
// signature that was sent on as a whole.
func seals(p, child *Part) bool {
	return p.Type == "multipart" && (p.Subtype == "signed" || p.Subtype == "encrypted") ||
		p.Type == "message" && isSealed(child.Header)
}

// foldedField gives a field in lines that are not too long, as far as it has places to be folded at (RFC 5322 §2.2.3).
func foldedField(f Field, isWanted bool) []byte {
	raw := f.Raw()
	if !isWanted {
		return raw
	}
	fold := folder{isList: isAddressField(f)}
	var b []byte
	value := bytes.IndexByte(raw, ':') // there may be blanks before it
	for line := range bytes.Lines(raw) {
		if len(line) <= maxLine+1 {
			b = append(b, line...)
			for _, c := range line {
				fold.see(c)
			}
		} else {
			b = fold.append(b, line, value)
		}
		value = 0
	}
	return b
}

func isAddressField(f Field) bool {
	name := strings.ToLower(f.Name())
	switch strings.TrimPrefix(name, "resent-") {
	case "to", "cc", "bcc", "from", "sender", "reply-to":
		return true
	}
	return false
}

// folder goes through the lines of a field.
type folder struct {
	isList         bool // of addresses
	quoted, isPair bool
	comments       int
}

// append folds one line with its LF. A place to fold at is white space that something follows, or in a list of addresses what is
// behind a comma, outside of quotes and comments; all behind the octet from.
func (f *folder) append(b, line []byte, from int) []byte {
	start, place := 0, 0 // of the line under way; where it can be folded, 0 for nowhere
	blank := false
	for i, c := range line {
		isBlank := c == ' ' || c == '\t'
		mayFold := isBlank && !blank && start < i || f.isList && i > 0 && line[i-1] == ',' && !f.quoted && f.comments == 0
		if mayFold && i > from && !onlyBlank(line[i:]) && start < i {
			place = i
		}
		if i-start >= foldAt && place > start {
			b = append(append(b, line[start:place]...), '\n')
			if line[place] != ' ' && line[place] != '\t' {
				b = append(b, ' ')
			}
			start = place
		}
		f.see(c)
		blank = isBlank
	}
	return append(b, line[start:]...)
}

// see notes where quotes and comments begin and end.
func (f *folder) see(c byte) {
	switch {
	case f.isPair:
		f.isPair = false
	case c == '\\':
		f.isPair = true
	case c == '"' && f.comments == 0:
		f.quoted = !f.quoted
	case c == '(' && !f.quoted:
		f.comments++
	case c == ')' && !f.quoted && f.comments > 0:
		f.comments--
	}
}

func onlyBlank(p []byte) bool { return len(bytes.TrimSpace(p)) == 0 }

// rewrap writes a part that is encoded already, with line ends where its encoding takes them.
func (s *converting) rewrap(p *Part, fold, isRoot bool) error {
	if fold {
		if err := s.header(p, "", isRoot, nil); err != nil {
			return err
		}
	}
	if err := s.copyTo(p.BodyAt); err != nil {
		return err
	}
	w := io.Writer(s.w)
	if s.to7bit {
		w = asciiWriter{s.w, s.filler}
	}
	s.pos = p.End
	return breakLines(w, io.NewSectionReader(s.msg, p.BodyAt, p.Size()), p.Encoding)
}

// breakLines cuts the lines of an encoded body that are too long. No piece but the first begins with a hyphen, so that none
// becomes a boundary.
func breakLines(w io.Writer, r io.Reader, encoding string) error {
	br := bufio.NewReaderSize(r, maxLine+1)
	breaker := lineBreaker{room: foldAt, end: "\n"}
	if encoding == encQP {
		breaker = lineBreaker{room: foldAt - len("=XX") - 1, end: "=\n", isQP: true}
	}
	for isLong := false; ; {
		line, err := br.ReadSlice('\n')
		isCut := errors.Is(err, bufio.ErrBufferFull)
		if isLong || isCut {
			line = breaker.cut(line)
		}
		if isLong = isCut; !isLong {
			breaker.col, breaker.escaped = 0, 0
		}
		if _, werr := w.Write(line); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && !isCut {
			return err
		}
	}
}

// lineBreaker breaks one line that comes in pieces.
type lineBreaker struct {
	room    int
	end     string
	isQP    bool
	col     int
	escaped int // octets of "=XX" that are still to come
	out     []byte
}

func (l *lineBreaker) cut(piece []byte) []byte {
	l.out = l.out[:0]
	for _, c := range piece {
		if l.col >= l.room && l.escaped == 0 && c != '\n' && c != '\r' && c != '-' {
			l.out, l.col = append(l.out, l.end...), 0
		}
		switch {
		case l.escaped > 0:
			l.escaped--
		case l.isQP && c == '=':
			l.escaped = 2
		}
		l.out = append(l.out, c)
		l.col++
	}
	return l.out
}
