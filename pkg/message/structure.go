package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Bounds of a MIME tree. What goes beyond stays one part, unopened.
const (
	MaxDepth = 100
	MaxParts = 10_000
)

// Part is one entity of a message: the message itself, a part of a multipart, or the message inside a message/rfc822.
// Offsets are from the start of the message as it is stored; the part's header is [HeaderAt, BodyAt) with its empty
// line, the body [BodyAt, End), encoded, without the line end that belongs to the boundary.
type Part struct {
	Path        string // "" for the message, "1", "1.2", ...: multipart children by number, as IMAP counts (RFC 9051 §6.4.5)
	Header      *Header
	Type        string            // "text", in lower case
	Subtype     string            // "plain"
	Params      map[string]string // of Content-Type; names in lower case, RFC 2231 decoded
	Encoding    string            // Content-Transfer-Encoding in lower case; "7bit" if none
	Disposition string            // "attachment", "inline" or ""
	DispParams  map[string]string
	HeaderAt    int64
	BodyAt      int64
	End         int64
	Lines       int64   // LF in the body
	Parts       []*Part // of a multipart; the one message of message/rfc822
}

// MediaType is "type/subtype".
func (p *Part) MediaType() string { return p.Type + "/" + p.Subtype }

// Size is the octets of the encoded body.
func (p *Part) Size() int64 { return p.End - p.BodyAt }

// Parse reads a whole message once and gives its structure. Any octets are a message: what is malformed becomes
// text/plain or a part that is not opened further. Time is linear in the octets, memory in the headers (each bounded by
// Limits). The only error is the one of r.
func Parse(r io.Reader) (*Part, error) {
	s := &mimeScanner{src: countingReader{r: r}}
	s.br = bufio.NewReader(&s.src)
	root, _ := s.entity("", "text/plain")
	return root, s.err
}

// Walk calls do for p and every part under it, parents first, until do returns false.
func (p *Part) Walk(do func(*Part) bool) bool {
	if !do(p) {
		return false
	}
	for _, c := range p.Parts {
		if !c.Walk(do) {
			return false
		}
	}
	return true
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// mimeScanner walks over the lines of a message with a stack of the boundaries that are open.
type mimeScanner struct {
	src        countingReader
	br         *bufio.Reader
	boundaries []string
	depth      int // multiparts and messages that are open
	parts      int
	lf         int64 // LF read so far
	endLF      int64 // LF before the end of the part that was read last
	ending     int64 // octets of the last line end of the header that belongs to that part
	err        error
}

// stop says what ended a part: the boundary on the stack at level, or the end of the message (level -1).
type stop struct {
	level   int
	final   bool
	at      int64 // offset of the boundary line
	lineEnd int64 // of the boundary line
}

func (s *mimeScanner) offset() int64 { return s.src.n - int64(s.br.Buffered()) }

// entity reads a header and its body up to the boundary that ends it.
func (s *mimeScanner) entity(path, defaultType string) (*Part, stop) {
	s.parts++
	p := &Part{Path: path, HeaderAt: s.offset()}
	r := headerReader{br: s.br, inPart: len(s.boundaries) > 0,
		lim: Limits{Octets: DefaultHeaderOctets, Fields: DefaultHeaderFields}}
	err := r.read()
	p.Header = &Header{fields: r.split()}
	p.describe(defaultType)
	p.BodyAt = s.offset()
	s.lf += int64(r.lines)
	bodyLF := s.lf
	if err != nil { // too large: what is left of it counts as body
		p.Type, p.Subtype, p.Params = "text", "plain", nil
		if s.broken(err) {
			p.End = p.BodyAt
			return p, stop{level: -1}
		}
	}
	end := s.body(p)
	p.Lines = s.endLF - bodyLF
	s.ending = r.ending
	return p, end
}

// broken keeps an error of the source; the limits of a header are none.
func (s *mimeScanner) broken(err error) bool {
	if _, peekErr := s.br.Peek(1); peekErr != nil && peekErr != io.EOF {
		s.err = peekErr
		return true
	}
	var limit interface{ MailText() string }
	if !errors.As(err, &limit) && err != io.EOF {
		s.err = err
		return true
	}
	return false
}

func (s *mimeScanner) body(p *Part) stop {
	deep := s.depth >= MaxDepth || s.parts >= MaxParts
	identity := p.Encoding != encBase64 && p.Encoding != encQP
	switch {
	case deep:
	case p.Type == "multipart" && p.Params["boundary"] != "":
		return s.multipart(p)
	case p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global") && identity:
		return s.embedded(p)
	}
	return s.skip(p, 0)
}

// embedded reads the message inside a message/rfc822 part. If it ends with its header, the boundary takes the last line end
// of that.
func (s *mimeScanner) embedded(p *Part) stop {
	s.depth++
	child, end := s.entity(p.Path, "text/plain")
	s.depth--
	if end.level >= 0 && end.at == child.BodyAt && s.ending > 0 {
		child.BodyAt -= s.ending
		child.End = child.BodyAt
		s.endLF--
	}
	p.Parts = []*Part{child}
	p.End = child.End
	return end
}

// multipart reads preamble, parts and epilogue (RFC 2046 §5.1.1).
func (s *mimeScanner) multipart(p *Part) stop {
	level := len(s.boundaries)
	s.boundaries = append(s.boundaries, "--"+p.Params["boundary"])
	s.depth++
	defaultType := "text/plain"
	if p.Subtype == "digest" {
		defaultType = "message/rfc822" // RFC 2046 §5.1.5
	}
	end := s.skip(p, 0) // preamble
	for end.level == level && !end.final && s.parts < MaxParts {
		var child *Part
		path := strconv.Itoa(len(p.Parts) + 1)
		if p.Path != "" {
			path = p.Path + "." + path
		}
		child, end = s.entity(path, defaultType)
		p.Parts = append(p.Parts, child)
		p.End = child.End
	}
	s.boundaries = s.boundaries[:level]
	s.depth--
	if end.level == level { // epilogue, or parts beyond the limit
		end = s.skip(p, end.lineEnd)
	}
	return end
}

// skip passes over lines up to the next boundary that is open, and notes where the body of p ends. lineEnd is of the
// line before: the boundary takes it (RFC 2046 §5.1.1).
func (s *mimeScanner) skip(p *Part, lineEnd int64) stop {
	start := true
	for {
		at := s.offset()
		line, err := s.br.ReadSlice('\n')
		ending := lineEndOf(line)
		if end, ok := s.boundary(line); ok && start {
			p.End, s.endLF = at-lineEnd, s.lf-min(lineEnd, 1)
			s.lf += min(ending, 1)
			end.at, end.lineEnd = at, ending
			return end
		}
		start, lineEnd = ending > 0, ending
		s.lf += min(ending, 1)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if err != io.EOF {
				s.err = err
			}
			p.End, s.endLF = s.offset(), s.lf
			return stop{level: -1}
		}
	}
}

// lineEndOf is the octets of the line end: 0, 1 or 2.
func lineEndOf(line []byte) int64 {
	switch {
	case bytes.HasSuffix(line, []byte("\r\n")):
		return 2
	case bytes.HasSuffix(line, []byte("\n")):
		return 1
	}
	return 0
}

// boundary looks for a delimiter line of any multipart that is open.
func (s *mimeScanner) boundary(line []byte) (stop, bool) {
	level, final, ok := findBoundary(s.boundaries, line)
	return stop{level: level, final: final}, ok
}

// findBoundary says which of the open multiparts, innermost first, a line delimits; final is the "--" behind the last part.
// The boundaries have their leading "--".
func findBoundary(open []string, line []byte) (level int, final, ok bool) {
	if len(open) == 0 || !bytes.HasPrefix(line, []byte("--")) {
		return 0, false, false
	}
	line = bytes.TrimRight(line, " \t\r\n")
	for i := len(open) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line, []byte(open[i]))
		if ok && len(rest) == 0 {
			return i, false, true
		}
		if ok && string(rest) == "--" {
			return i, true, true
		}
	}
	return 0, false, false
}

// describe reads the MIME fields. What can't be read is text/plain (RFC 2045 §5.2).
func (p *Part) describe(defaultType string) {
	value := p.Header.Get("Content-Type")
	mediaType, params := parseParams(value)
	p.Type, p.Subtype, _ = strings.Cut(mediaType, "/")
	if p.Type == "" || p.Subtype == "" {
		p.Type, p.Subtype, _ = strings.Cut(defaultType, "/")
	}
	p.Params = params
	p.Disposition, p.DispParams = parseParams(p.Header.Get("Content-Disposition"))
	p.Encoding = strings.ToLower(strings.TrimSpace(dropComments(p.Header.Get("Content-Transfer-Encoding"))))
	if p.Encoding == "" {
		p.Encoding = enc7bit
	}
}
