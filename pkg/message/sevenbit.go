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
// parts stay octet for octet. A message without MIME becomes one with it. The message is read twice and never held.
//
// The error is permanent, 5.6.3, if that can't be done: 8-bit data in a header, in a part that is signed or encrypted as it
// is (RFC 1847 §2.1), in one that is encoded already, or in one that must not be encoded. Some of the message may have been
// written then. Other errors are those of w and msg.
func SevenBit(w io.Writer, msg io.ReaderAt, size int64) error {
	root, err := Parse(io.NewSectionReader(msg, 0, size))
	if err != nil {
		return err
	}
	s := &sevenBit{w: bufio.NewWriter(w), msg: msg, high: map[*Part]bool{}}
	if err := s.mark(root); err != nil {
		return err
	}
	if s.filler, err = pickFiller(root); err != nil {
		return err
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

type sevenBit struct {
	w          *bufio.Writer
	msg        io.ReaderAt
	pos        int64          // of the message, up to which it has been written
	high       map[*Part]bool // the parts that have 8-bit data in a body
	boundaries []string       // of the multiparts that are open
	filler     byte           // stands for 8-bit octets that nobody reads
}

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

// mark looks through every part once.
func (s *sevenBit) mark(p *Part) error {
	inHeader, err := s.scan(p.HeaderAt, p.BodyAt)
	if err != nil {
		return err
	}
	if inHeader {
		return errConversion("a header")
	}
	if len(p.Parts) == 0 || isGlobal(p) {
		s.high[p], err = s.scan(p.BodyAt, p.End)
		return err
	}
	for _, child := range p.Parts {
		if err := s.mark(child); err != nil {
			return err
		}
		s.high[p] = s.high[p] || s.high[child]
	}
	return nil
}

// isGlobal reports a message of RFC 6532 or RFC 6533 inside a message, which may be encoded as a whole.
func isGlobal(p *Part) bool { return p.Type == "message" && strings.HasPrefix(p.Subtype, "global") }

func (s *sevenBit) scan(from, to int64) (high bool, err error) {
	buf := make([]byte, min(32<<10, max(to-from, 1)))
	for r := io.NewSectionReader(s.msg, from, to-from); ; {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			if c >= 0x80 {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// part writes what comes before a part, and the part if something has to change there. What does not is written with the next.
func (s *sevenBit) part(p *Part, isRoot bool) error {
	if !s.high[p] {
		return nil
	}
	if err := s.copyTo(p.HeaderAt); err != nil {
		return err
	}
	if len(p.Parts) == 0 || isGlobal(p) {
		return s.leaf(p, isRoot)
	}
	if p.Type == "multipart" && (p.Subtype == "signed" || p.Subtype == "encrypted") {
		return errConversion("a signed part")
	}
	if err := s.header(p, enc7bit, isRoot, nil); err != nil {
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

func (s *sevenBit) leaf(p *Part, isRoot bool) error {
	switch {
	case p.Type == "multipart", p.Type == "message" && !isGlobal(p):
		return errConversion("a part of type " + Printable(p.MediaType()))
	case p.Encoding != enc7bit && p.Encoding != "8bit" && p.Encoding != "binary":
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
	hasFinalEOL bool
}

// fields are those that a text without a type lacks.
func (t leafTraits) fields(p *Part) []byte {
	switch {
	case p.Header.Has("Content-Type"):
		return nil
	case t.isUTF8:
		return []byte("Content-Type: text/plain; charset=utf-8\n")
	}
	return []byte("Content-Type: text/plain; charset=unknown-8bit\n")
}

// look reads a body by lines. Quoted-printable breaks long lines, and must not make a boundary out of the rest of one.
func (s *sevenBit) look(p *Part) (t leafTraits, err error) {
	t = leafTraits{encoding: encQP, isUTF8: true}
	if p.Type != "text" {
		t.encoding = encBase64
	}
	var octets, escapes int64
	br := bufio.NewReaderSize(io.NewSectionReader(s.msg, p.BodyAt, p.Size()), 32<<10)
	for {
		line, err := br.ReadSlice('\n')
		traits := inspect(line)
		octets, escapes = octets+int64(len(line)), escapes+int64(traits.escapes)
		t.isUTF8, t.hasFinalEOL = t.isUTF8 && traits.utf8, traits.lf
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

func (s *sevenBit) hasBoundary(line []byte) bool {
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
// the end, and with what is missing.
func (s *sevenBit) header(p *Part, encoding string, isRoot bool, missing []byte) error {
	var octets int64
	isThere := false
	for _, f := range p.Header.Fields() {
		octets += int64(len(f.Raw()))
		if !f.Is("Content-Transfer-Encoding") {
			s.w.Write(f.Raw())
		} else if !isThere {
			isThere = true
			s.w.WriteString("Content-Transfer-Encoding: " + encoding + "\n")
		}
	}
	if diff := p.BodyAt - p.HeaderAt - octets; diff < -1 || diff > 1 { // some of it did not fit
		return mail.Permanentf(6, 3, "Message has 8-bit data, and a header too large to be changed")
	}
	if isRoot && !p.Header.Has("MIME-Version") {
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
func (s *sevenBit) body(p *Part, t leafTraits) error {
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
func (s *sevenBit) copyTo(to int64) error {
	if to <= s.pos {
		return nil
	}
	_, err := io.Copy(asciiWriter{s.w, s.filler}, io.NewSectionReader(s.msg, s.pos, to-s.pos))
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
