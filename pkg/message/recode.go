package message

import (
	"bytes"
	"encoding/base64"
	"io"

	"mailx/pkg/mail"
)

// Bounds of what a Recoder takes, beside MaxDepth and MaxParts; octets.
const (
	// MaxTextLine is for a line outside of binary parts, CRLF included. It is what servers take in DATA, too.
	MaxTextLine = 4096
	// maxRecodeHeader leaves room in what Parse reads for a field that grows.
	maxRecodeHeader = DefaultHeaderOctets - 256
	// recodeBlock is how much output comes together before it is passed on.
	recodeBlock = 32 << 10
)

// ErrTextLine says that a line of a header or of text is longer than MaxTextLine.
var ErrTextLine = mail.Permanentf(6, 0, "Text line too long")

// What else is wrong with a message that a Recoder refuses.
var (
	errRecodeBare   = mail.Permanentf(6, 11, "Bare CR or LF outside of the binary parts of the message")
	errRecodeHeader = mail.Permanentf(3, 4, "Header too large to convert the message")
	errRecodeTree   = mail.Permanentf(6, 5, "Message has too many parts, or parts too deep, to convert it")
)

// Recoder takes a message that may be binary (RFC 3030 §3), octets as they stand on the wire in any cuts, and passes it on in
// local form, where nothing is binary any more:
//
//   - A part with Content-Transfer-Encoding "binary", or a message that is one such part, becomes base64 in lines of 76, and
//     its field says so. An empty line comes between its header and its body where the message has none.
//   - A multipart or embedded message can't be encoded itself (RFC 2045 §6.4): its "binary" becomes "8bit", and what is in
//     it is looked at part by part.
//   - Everything else keeps its octets, but CRLF becomes LF, and a last line without line end gets one.
//
// Where nothing is binary, lines end in CRLF and in nothing else: a bare CR or LF there is refused (5.6.11). It can't be
// encoded instead, since the header that would have to say so is gone by then. Boundaries stand between CRLFs only, so that
// binary data with a LF before what looks like one stays whole. Signatures over a part that is encoded don't hold any
// more; RFC 3030 §3 leaves that to the sender.
//
// Errors are *mail.Error, 5.6.0 for a long line, 5.3.4 and 5.6.5 beyond the bounds; they stick, as those of the writer do.
// Memory is bounded by one header and the boundaries that are open.
type Recoder struct {
	dst io.Writer
	out []byte
	mid bool // what was passed on so far does not end in LF
	err error

	mode   recodeMode
	line   []byte // header and text: the line so far. Binary: what may become a boundary
	binary binaryPart

	head        []byte // the header under way, in local form
	starts      []int  // of its fields
	defaultType string // if the header has no Content-Type

	boundaries []string // of the multiparts that are open, with "--"
	inside     []nesting
	depth      int
	parts      int
}

type recodeMode uint8

const (
	recodeHeader recodeMode = iota
	recodeText              // bodies that are not binary, preambles, epilogues
	recodeBinary
)

// nesting is what holds for the parts of a multipart.
type nesting struct {
	depth       int
	defaultType string
}

// binaryPart is the body that is being encoded.
type binaryPart struct {
	atStart bool     // at the start of a line
	held    bool     // the CRLF before that line, which belongs to the boundary if it is one
	cr      bool     // a CR came that may begin a line end
	group   [57]byte // becomes a line of 76
	n       int
}

// NewRecoder starts a message into dst.
func NewRecoder(dst io.Writer) *Recoder {
	r := &Recoder{dst: dst}
	r.startEntity("text/plain")
	return r
}

// Write takes the next octets of the message.
func (r *Recoder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && r.err == nil; {
		if r.mode == recodeBinary {
			rest = r.takeBinary(rest)
		} else {
			rest = r.takeLine(rest)
		}
	}
	r.flush()
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// Close says that the message is complete and passes on what is still held; it does not close the writer.
func (r *Recoder) Close() error {
	if r.mode != recodeBinary && len(r.line) > 0 {
		line := r.line
		r.line = nil
		r.takeWhole(line)
	}
	if r.mode == recodeBinary {
		r.finishBinary()
	}
	for r.mode == recodeHeader && r.err == nil {
		r.endHeader(nil)
	}
	r.flush()
	if r.mid && r.err == nil {
		r.put([]byte{'\n'})
		r.flush()
	}
	return r.err
}

// takeLine collects a line of a header or of text and gives back what comes after it.
func (r *Recoder) takeLine(p []byte) []byte {
	n := bytes.IndexByte(p, '\n') + 1
	if n == 0 {
		n = len(p)
	}
	if len(r.line)+n > MaxTextLine {
		r.err = ErrTextLine
		return nil
	}
	r.line = append(r.line, p[:n]...)
	if p[n-1] == '\n' {
		line := r.line
		r.line = r.line[:0]
		r.takeWhole(line)
	}
	return p[n:]
}

// takeWhole takes a line of a header or of text with its CRLF, which only the last one may lack.
func (r *Recoder) takeWhole(line []byte) {
	text, _ := bytes.CutSuffix(line, []byte("\r\n"))
	if bytes.ContainsAny(text, "\r\n") {
		r.err = errRecodeBare
		return
	}
	r.dispatch(line)
}

func (r *Recoder) dispatch(line []byte) {
	switch r.mode {
	case recodeHeader:
		r.headerLine(line)
	case recodeText:
		r.textLine(line)
	case recodeBinary: // the header ended without an empty line, and this one is in the body
		line = bytes.Clone(line) // r.line is used for what may be a boundary
		for len(line) > 0 && r.mode == recodeBinary {
			line = r.takeBinary(line)
		}
	}
}

// headerLine takes one line where a header is. It sees the end of a header as headerReader does.
func (r *Recoder) headerLine(line []byte) {
	kind := kindOf(line)
	isField := kind == lineField || kind == lineFolded && len(r.starts) > 0
	if len(r.boundaries) > 0 && bytes.HasPrefix(line, []byte("--")) {
		isField = false
	}
	switch {
	case kind == lineEmpty:
		r.endHeader(line)
		return
	case !isField:
		r.endHeader(nil)
		r.dispatch(line)
		return
	case kind == lineField:
		r.starts = append(r.starts, len(r.head))
	}
	r.head = appendLocal(r.head, line)
	if len(r.head) > maxRecodeHeader || len(r.starts) > DefaultHeaderFields {
		r.err = errRecodeHeader
	}
}

// textLine passes a line on, and looks whether it is a boundary.
func (r *Recoder) textLine(line []byte) {
	level, final, isBoundary := findBoundary(r.boundaries, line)
	r.putLine(line)
	if isBoundary {
		r.boundary(level, final)
	}
}

// boundary goes on behind a delimiter line.
func (r *Recoder) boundary(level int, final bool) {
	if final {
		r.boundaries, r.inside = r.boundaries[:level], r.inside[:level]
		r.mode = recodeText // epilogue
		return
	}
	r.boundaries, r.inside = r.boundaries[:level+1], r.inside[:level+1]
	r.depth = r.inside[level].depth
	r.startEntity(r.inside[level].defaultType)
}

func (r *Recoder) startEntity(defaultType string) {
	if r.parts++; r.parts >= MaxParts {
		r.err = errRecodeTree
	}
	r.mode, r.defaultType = recodeHeader, defaultType
	r.head, r.starts = r.head[:0], r.starts[:0]
}

// endHeader decides what follows a header; empty is the line that ended it, if one did.
func (r *Recoder) endHeader(empty []byte) {
	if n := len(r.head); n > 0 && r.head[n-1] != '\n' { // at the end of the message
		r.head = append(r.head, '\n')
	}
	lines := headerReader{buf: r.head, starts: r.starts}
	p := Part{Header: &Header{fields: lines.split()}}
	p.describe(r.defaultType)
	isBinary := p.Encoding == "binary"
	isEncoded := p.Encoding == encBase64 || p.Encoding == encQP
	switch {
	case p.Type == "multipart" && p.Params["boundary"] != "":
		r.putHeader(p.Header, isBinary, "8bit")
		r.putLine(empty)
		r.openMultipart(&p)
	case p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global") && !isEncoded:
		r.putHeader(p.Header, isBinary, "8bit")
		r.putLine(empty)
		r.nest()
		r.startEntity("text/plain")
	case isBinary:
		r.putHeader(p.Header, true, encBase64)
		r.put([]byte{'\n'})
		r.mode, r.binary = recodeBinary, binaryPart{atStart: true}
	default:
		r.putHeader(p.Header, false, "")
		r.putLine(empty)
		r.mode = recodeText
	}
}

// openMultipart goes on with the preamble.
func (r *Recoder) openMultipart(p *Part) {
	boundary := "--" + p.Params["boundary"]
	if len(boundary) > MaxTextLine { // RFC 2046 §5.1.1 says 70
		r.err = errRecodeTree
		return
	}
	r.nest()
	in := nesting{depth: r.depth, defaultType: "text/plain"}
	if p.Subtype == "digest" {
		in.defaultType = "message/rfc822" // RFC 2046 §5.1.5
	}
	r.boundaries, r.inside = append(r.boundaries, boundary), append(r.inside, in)
	r.mode = recodeText
}

func (r *Recoder) nest() {
	if r.depth++; r.depth > MaxDepth {
		r.err = errRecodeTree
	}
}

// putHeader passes a header on. If its encoding changes, the first field of it is the new one and there is no other, so that
// nobody reads the old one.
func (r *Recoder) putHeader(h *Header, changes bool, encoding string) {
	for _, f := range h.fields {
		switch {
		case !changes || !f.Is("Content-Transfer-Encoding"):
			r.put(f.raw)
		case encoding != "":
			r.put([]byte("Content-Transfer-Encoding: " + encoding + "\n"))
			encoding = ""
		}
	}
}

// takeBinary takes octets of a binary body and gives back what comes after it, or what is to be looked at again.
func (r *Recoder) takeBinary(p []byte) []byte {
	b := &r.binary
	switch {
	case b.atStart:
		return r.maybeBoundary(p)
	case b.cr && p[0] == '\n':
		b.cr, b.atStart, b.held = false, true, true
		return p[1:]
	case b.cr:
		b.cr = false
		r.encode([]byte{'\r'})
		return p
	}
	i := bytes.IndexByte(p, '\r')
	if i < 0 {
		r.encode(p)
		return nil
	}
	r.encode(p[:i])
	b.cr = true
	return p[i+1:]
}

// maybeBoundary holds the start of a line as long as it may become a boundary: two hyphens, and no line end but a CRLF.
func (r *Recoder) maybeBoundary(p []byte) []byte {
	n, c := len(r.line), p[0]
	afterCR := n > 0 && r.line[n-1] == '\r'
	switch {
	case len(r.boundaries) == 0, n < 2 && c != '-', n >= MaxTextLine, afterCR != (c == '\n'):
		r.release()
		return p
	}
	r.line = append(r.line, c)
	if c != '\n' {
		return p[1:]
	}
	if !r.atBoundary() {
		r.line = r.line[:n]
		r.release()
		return p
	}
	return p[1:]
}

// atBoundary ends the part if the line that is held is a boundary.
func (r *Recoder) atBoundary() bool {
	level, final, ok := findBoundary(r.boundaries, r.line)
	if !ok {
		return false
	}
	r.endBinary()
	r.putLine(r.line)
	r.line = r.line[:0]
	r.boundary(level, final)
	return true
}

// release finds that what is held is data.
func (r *Recoder) release() {
	b := &r.binary
	if b.held {
		r.encode([]byte("\r\n"))
	}
	line, afterCR := bytes.CutSuffix(r.line, []byte{'\r'})
	r.encode(line)
	r.line = r.line[:0]
	b.atStart, b.held, b.cr = false, false, afterCR
}

// finishBinary ends a binary part at the end of the message. The boundary there may lack its line end.
func (r *Recoder) finishBinary() {
	if len(r.line) > 0 && r.line[len(r.line)-1] != '\r' && r.atBoundary() {
		return
	}
	if r.binary.atStart {
		r.release()
	}
	if r.binary.cr {
		r.encode([]byte{'\r'})
	}
	r.endBinary()
	r.mode = recodeText
}

func (r *Recoder) encode(p []byte) {
	b := &r.binary
	for len(p) > 0 {
		n := copy(b.group[b.n:], p)
		p = p[n:]
		if b.n += n; b.n == len(b.group) {
			r.endBinary()
		}
	}
}

// endBinary passes on what was collected, as a line of its own.
func (r *Recoder) endBinary() {
	b := &r.binary
	if b.n == 0 {
		return
	}
	r.out = base64.StdEncoding.AppendEncode(r.out, b.group[:b.n])
	r.put([]byte{'\n'})
	b.n = 0
}

func (r *Recoder) putLine(line []byte) {
	r.out = appendLocal(r.out, line)
	r.put(nil)
}

// appendLocal appends a line with LF in place of its CRLF.
func appendLocal(b, line []byte) []byte {
	if text, ok := bytes.CutSuffix(line, []byte("\r\n")); ok {
		return append(append(b, text...), '\n')
	}
	return append(b, line...)
}

func (r *Recoder) put(p []byte) {
	if r.out = append(r.out, p...); len(r.out) >= recodeBlock {
		r.flush()
	}
}

func (r *Recoder) flush() {
	if n := len(r.out); n > 0 && r.err == nil {
		r.mid = r.out[n-1] != '\n'
		_, r.err = r.dst.Write(r.out)
	}
	r.out = r.out[:0]
}
