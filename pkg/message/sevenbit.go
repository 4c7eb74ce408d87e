package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"mailx/pkg/mail"
)

// SevenBit writes a message, in local form, so that a server without 8BITMIME takes it (RFC 6152 §3): every part whose
// body has 8-bit data is encoded, quoted-printable for text and base64 for the rest, and its header says so; all other
// parts stay octet for octet, but for what Fit mends. A message without MIME becomes one with it. The message is read twice and
// never held.
//
// The error is permanent, 5.6.3, if that can't be done: 8-bit data in a header, in a part that is signed or encrypted as it
// is (RFC 1847 §2.1), in one that is encoded already, or in one that must not be encoded. Some of the message may have been
// written then. Other errors are those of w and msg.
func SevenBit(w io.Writer, msg io.ReaderAt, size int64) error {
	return convert(&converting{w: bufio.NewWriter(w), msg: msg, to7bit: true}, size)
}

func convert(s *converting, size int64) error {
	root, err := Parse(io.NewSectionReader(s.msg, 0, size))
	if err != nil {
		return err
	}
	s.changes = map[*Part]changes{}
	if err := s.mark(root, !s.to7bit && isSealed(root.Header)); err != nil {
		return err
	}
	if s.to7bit {
		if s.filler, err = pickFiller(root); err != nil {
			return err
		}
	}
	if err := s.part(root, true); err != nil {
		return err
	}
	if err := s.copyTo(size); err != nil {
		return err
	}
	return s.w.Flush()
}

func errConversion(what string) error {
	return mail.Permanentf(6, 3, "Message has 8-bit data in %s, and can't be converted", what)
}

// converting is a message on its way into a form that a server takes.
type converting struct {
	w          *bufio.Writer
	msg        io.ReaderAt
	to7bit     bool
	pos        int64             // of the message, up to which it has been written
	changes    map[*Part]changes // what must be done
	boundaries []string          // of the multiparts that are open
	filler     byte              // stands for 8-bit octets that nobody reads; 0: they stay
}

// changes says what must be done to a part, or to one inside of it.
type changes struct {
	encode bool // the body is encoded
	high   bool // because of 8-bit data
	fold   bool // the header has lines that are too long
	rewrap bool // so has the body, which is encoded already
}

func (c changes) any() bool { return c.encode || c.fold || c.rewrap }

// pickFiller gives a character that is in no boundary, so that no line becomes one.
func pickFiller(root *Part) (byte, error) {
	var all strings.Builder
	root.Walk(func(p *Part) bool {
		all.WriteString(p.Params["boundary"])
		return true
	})
	for _, c := range []byte("?*+._") {
		if strings.IndexByte(all.String(), c) < 0 {
			return c, nil
		}
	}
	return 0, errConversion("a multipart that is too odd")
}

// mark looks through every part once. What is sealed must keep its octets.
func (s *converting) mark(p *Part, isSealedAround bool) error {
	head, err := s.scan(p.HeaderAt, p.BodyAt)
	switch {
	case err != nil:
		return err
	case head.high && s.to7bit:
		return errConversion("a header")
	}
	c := changes{fold: head.long && !isSealedAround && headerIsWhole(p)}
	if len(p.Parts) == 0 || isGlobal(p) {
		err := s.markLeaf(p, &c, isSealedAround)
		s.changes[p] = c
		return err
	}
	for _, child := range p.Parts {
		if err := s.mark(child, isSealedAround || seals(p, child)); err != nil {
			return err
		}
		inside := s.changes[child]
		c.encode, c.high = c.encode || inside.encode, c.high || inside.high
		c.rewrap = c.rewrap || inside.rewrap || inside.fold
	}
	s.changes[p] = c
	return nil
}

func (s *converting) markLeaf(p *Part, c *changes, isSealed bool) error {
	body, err := s.scan(p.BodyAt, p.End)
	mayMend := !isSealed && headerIsWhole(p)
	c.high = body.high && s.to7bit
	c.encode = c.high || mayMend && (body.long || body.nul) && isEncodable(p)
	c.rewrap = mayMend && !c.encode && body.long && (p.Encoding == encBase64 || p.Encoding == encQP)
	return err
}

// isEncodable reports a body that can be encoded (RFC 2045 §6.4) and is not yet.
func isEncodable(p *Part) bool {
	isPlain := p.Encoding == enc7bit || p.Encoding == enc8bit || p.Encoding == "binary"
	return isPlain && p.Type != "multipart" && (p.Type != "message" || isGlobal(p))
}

// headerIsWhole reports that nothing of a header was left out for its size.
func headerIsWhole(p *Part) bool {
	missing := headerMissing(p)
	return missing >= -1 && missing <= 1
}

// headerMissing is how many octets are no fields: 1 for the empty line, 0 without it, -1 if not even the last field has a line end.
func headerMissing(p *Part) int64 {
	octets := p.BodyAt - p.HeaderAt
	for _, f := range p.Header.Fields() {
		octets -= int64(len(f.Raw()))
	}
	return octets
}

// isGlobal reports a message of RFC 6532 or RFC 6533 inside a message, which may be encoded as a whole.
func isGlobal(p *Part) bool { return p.Type == "message" && strings.HasPrefix(p.Subtype, "global") }

// scan looks at octets; at all of them only if something is found that nobody else has to know.
func (s *converting) scan(from, to int64) (o Oddities, err error) {
	buf := make([]byte, min(32<<10, max(to-from, 1)))
	for r := io.NewSectionReader(s.msg, from, to-from); ; {
		n, err := r.Read(buf)
		o.See(buf[:n])
		if err == io.EOF {
			return o, nil
		}
		if err != nil {
			return o, err
		}
	}
}

// part writes what comes before a part, and the part if something has to change there. What does not is written with the next.
func (s *converting) part(p *Part, isRoot bool) error {
	c := s.changes[p]
	if !c.any() {
		return nil
	}
	if err := s.copyTo(p.HeaderAt); err != nil {
		return err
	}
	if len(p.Parts) == 0 || isGlobal(p) {
		return s.leaf(p, isRoot)
	}
	if c.high && p.Type == "multipart" && (p.Subtype == "signed" || p.Subtype == "encrypted") {
		return errConversion("a signed part")
	}
	if err := s.holder(p, c, isRoot); err != nil {
		return err
	}
	if p.Type == "multipart" {
		s.boundaries = append(s.boundaries, "--"+p.Params["boundary"])
		defer func() { s.boundaries = s.boundaries[:len(s.boundaries)-1] }()
	}
	for _, child := range p.Parts {
		if err := s.part(child, false); err != nil {
			return err
		}
	}
	return nil
}

// holder writes the header of what has parts, if it changes: nothing in there is 8-bit or binary any more.
func (s *converting) holder(p *Part, c changes, isRoot bool) error {
	switch {
	case c.high:
		return s.header(p, enc7bit, isRoot, nil)
	case c.encode && p.Encoding == "binary":
		return s.header(p, enc8bit, isRoot, nil)
	case c.fold, c.encode && headerMissing(p) == 0: // else the fields of a message in it would be taken for its own
		return s.header(p, "", isRoot, nil)
	}
	return nil
}

func (s *converting) leaf(p *Part, isRoot bool) error {
	c := s.changes[p]
	switch {
	case !c.encode && c.rewrap:
		return s.rewrap(p, c.fold, isRoot)
	case !c.encode:
		return s.header(p, "", isRoot, nil)
	case p.Type == "multipart", p.Type == "message" && !isGlobal(p):
		return errConversion("a part of type " + Printable(p.MediaType()))
	case !isEncodable(p):
		return errConversion("a part that is encoded already")
	}
	t, err := s.look(p)
	if err != nil {
		return err
	}
	if err := s.header(p, t.encoding, isRoot, t.fields(p)); err != nil {
		return err
	}
	s.pos = p.End
	return s.body(p, t)
}

// leafTraits is what choosing an encoding needs to know of a body.
type leafTraits struct {
	encoding    string
	isUTF8      bool
	isASCII     bool
	hasFinalEOL bool
}

// fields are those that a text without a type lacks.
func (t leafTraits) fields(p *Part) []byte {
	switch {
	case p.Header.Has("Content-Type"), t.isASCII:
		return nil
	case t.isUTF8:
		return []byte("Content-Type: text/plain; charset=utf-8\n")
	}
	return []byte("Content-Type: text/plain; charset=unknown-8bit\n")
}

// look reads a body by lines. Quoted-printable breaks long lines, and must not make a boundary out of the rest of one.
func (s *converting) look(p *Part) (t leafTraits, err error) {
	t = leafTraits{encoding: encQP, isUTF8: true, isASCII: true}
	if p.Type != "text" {
		t.encoding = encBase64
	}
	var octets, escapes int64
	br := bufio.NewReaderSize(io.NewSectionReader(s.msg, p.BodyAt, p.Size()), 32<<10)
	for {
		line, err := br.ReadSlice('\n')
		traits := inspect(line)
		octets, escapes = octets+int64(len(line)), escapes+int64(traits.escapes)
		t.isUTF8, t.isASCII, t.hasFinalEOL = t.isUTF8 && traits.utf8, t.isASCII && traits.high == 0, traits.lf
		if errors.Is(err, bufio.ErrBufferFull) || len(line) > 0 && s.hasBoundary(line) {
			t.encoding = encBase64
		}
		if err == io.EOF {
			t.hasFinalEOL = t.hasFinalEOL || octets > 0 && len(line) == 0
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return t, err
		}
	}
	if 2*escapes > octets {
		t.encoding = encBase64
	}
	return t, nil
}

func (s *converting) hasBoundary(line []byte) bool {
	if !bytes.Contains(line, []byte("--")) {
		return false
	}
	for _, b := range s.boundaries {
		if bytes.Contains(line, []byte(b)) {
			return true
		}
	}
	return false
}

// header writes the header of a part that changes: with another Content-Transfer-Encoding, where the old one was or at
// the end, with what is missing, and in lines that are not too long. Without an encoding the old one stays.
func (s *converting) header(p *Part, encoding string, isRoot bool, missing []byte) error {
	if !headerIsWhole(p) {
		return mail.Permanentf(6, 3, "Message has 8-bit data, and a header too large to be changed")
	}
	isThere := encoding == ""
	for _, f := range p.Header.Fields() {
		if encoding == "" || !f.Is("Content-Transfer-Encoding") {
			s.w.Write(foldedField(f, s.changes[p].fold))
		} else if !isThere {
			isThere = true
			s.w.WriteString("Content-Transfer-Encoding: " + encoding + "\n")
		}
	}
	if isRoot && encoding != "" && !p.Header.Has("MIME-Version") {
		s.w.WriteString("MIME-Version: 1.0\n")
	}
	s.w.Write(missing)
	if !isThere && (encoding != enc7bit || isRoot) {
		s.w.WriteString("Content-Transfer-Encoding: " + encoding + "\n")
	}
	s.pos = p.BodyAt
	return s.w.WriteByte('\n')
}

// body writes a body encoded. What comes after it begins with the line end of the boundary, so it has none of its own but
// the last one of a text.
func (s *converting) body(p *Part, t leafTraits) error {
	r := io.NewSectionReader(s.msg, p.BodyAt, p.Size())
	if t.encoding == encBase64 {
		end := &endless{w: s.w, end: "\n"}
		return writeBase64(end, &lfReader{br: bufio.NewReader(r)})
	}
	if t.hasFinalEOL {
		return writeQP(s.w, r)
	}
	return writeQP(&endless{w: s.w, end: "=\n"}, r)
}

// copyTo writes what stays as it is. 8-bit octets are left only before the first boundary of a multipart and behind its
// last, where nobody reads.
func (s *converting) copyTo(to int64) error {
	if to <= s.pos {
		return nil
	}
	w := io.Writer(s.w)
	if s.to7bit {
		w = asciiWriter{s.w, s.filler}
	}
	_, err := io.Copy(w, io.NewSectionReader(s.msg, s.pos, to-s.pos))
	s.pos = to
	return err
}

type asciiWriter struct {
	w      io.Writer
	filler byte
}

func (a asciiWriter) Write(p []byte) (int, error) {
	b := p
	for i, c := range p {
		if c < utf8.RuneSelf {
			continue
		}
		if &b[0] == &p[0] {
			b = bytes.Clone(p)
		}
		b[i] = a.filler
	}
	return a.w.Write(b)
}

// endless holds back an end until it is clear that more follows.
type endless struct {
	w    io.Writer
	end  string
	held bool
}

func (e *endless) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if e.held {
		e.held = false
		if _, err := io.WriteString(e.w, e.end); err != nil {
			return 0, err
		}
	}
	rest, ended := bytes.CutSuffix(p, []byte(e.end))
	e.held = ended
	if _, err := e.w.Write(rest); err != nil {
		return 0, err
	}
	return len(p), nil
}
