package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"

	"mailx/pkg/message"
)

// search looks into messages, as little as it can: at the name, at the file, at the header, at all of it. Several do so at once.
type search struct {
	criteria
	index *keywordReader
}

// looker gives the function that fills a record in as far as it is needed, and sets skip where it is not wanted.
func (s *search) looker(n need) func(*record, *bufio.Reader) {
	return func(r *record, br *bufio.Reader) {
		var fits bool
		if fits, r.err = s.look(r, n, br); r.err == nil {
			r.skip = fits == s.invert
		}
	}
}

func (s *search) look(r *record, n need, br *bufio.Reader) (fits bool, err error) {
	fits = s.fits(r.mailFile)
	if fits && len(s.keywords) > 0 {
		fits, err = s.fitsKeywords(r.mailFile)
	}
	switch {
	case err != nil, !fits && !s.invert:
		return false, err
	case n == needName && !s.looksAtFile() && !s.looksAtHeader() && !s.looksInside():
		return fits, nil
	}
	f, err := r.open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return false, err
	}
	r.size, r.stored = fi.Size(), fi.ModTime()
	if fits = fits && s.fitsFile(r); !fits && !s.invert {
		return false, nil
	}
	return s.lookAtText(r, f, fits, max(n, s.needs()), br)
}

// needs says whether the header has to be read.
func (s *search) needs() need {
	if s.looksAtHeader() || s.looksInside() {
		return needHeader
	}
	return needTime
}

// lookAtText reads the header, and all of the message if nothing has decided yet.
func (s *search) lookAtText(r *record, f openFile, fits bool, n need, br *bufio.Reader) (bool, error) {
	if n < needHeader {
		return fits, nil
	}
	text := io.NewSectionReader(f, 0, r.size)
	br.Reset(text)
	h, err := message.ReadHeader(br, message.Limits{})
	var tooLarge interface{ MailText() string }
	if err != nil && !errors.As(err, &tooLarge) {
		return false, err
	}
	r.Summary = message.Summarize(h)
	if fits = fits && s.fitsHeader(h); !fits || !s.looksInside() {
		return fits, nil
	}
	return s.lookInside(text)
}

// wholeRead is what is read at once of a message: most are smaller. More of it is read as it is needed.
const wholeRead = 256 << 10

var wholeBuffers = sync.Pool{New: func() any { return new([wholeRead]byte) }}

func (s *search) lookInside(msg *io.SectionReader) (bool, error) {
	at, parsed, err := io.ReaderAt(msg), io.Reader(bufio.NewReaderSize(msg, 64<<10)), error(nil)
	if size := msg.Size(); size <= wholeRead {
		buf := wholeBuffers.Get().(*[wholeRead]byte)
		defer wholeBuffers.Put(buf)
		if n, err := msg.ReadAt(buf[:size], 0); err != nil && (err != io.EOF || int64(n) < size) {
			return false, err
		}
		whole := bytes.NewReader(buf[:size])
		at, parsed = whole, whole
	} else if _, err = msg.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	root, err := message.Parse(parsed)
	if err != nil {
		return false, err
	}
	if s.hasAttachment && !hasFile(root) {
		return false, nil
	}
	for _, look := range []struct {
		patterns []*message.Pattern
		in       func(*message.Pattern) (bool, error)
	}{
		{s.words, func(p *message.Pattern) (bool, error) { return hasWord(p, root, at) }},
		{s.bodies, func(p *message.Pattern) (bool, error) { return p.InTexts(root, at) }},
		{s.anywhere, func(p *message.Pattern) (bool, error) { return p.InBody(root, at, true) }},
	} {
		for _, p := range look.patterns {
			if found, err := look.in(p); !found || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// hasWord looks where people see text: in the fields that a list shows, of the message and of those in it, in the names of
// files, in the texts.
func hasWord(p *message.Pattern, root *message.Part, msg io.ReaderAt) (bool, error) {
	found := false
	root.Walk(func(part *message.Part) bool {
		for _, name := range []string{"From", "To", "Cc", "Subject"} {
			found = found || p.InField(part.Header, name)
		}
		return !found
	})
	for _, a := range root.Attachments() {
		found = found || p.In(a.Name)
	}
	if found {
		return true, nil
	}
	return p.InTexts(root, msg)
}

// hasFile reports a file that somebody has attached: no picture that HTML shows, and no signature.
func hasFile(root *message.Part) bool {
	for _, a := range root.Attachments() {
		p := a.Part
		switch {
		case p.Disposition != "attachment" && p.Header.Has("Content-ID") && p.Type == "image":
		case strings.HasSuffix(p.Subtype, "-signature") && p.Type == "application":
		case strings.HasPrefix(p.Subtype, "pgp-encrypted") && p.Type == "application":
		default:
			return true
		}
	}
	return false
}

func (s *search) fitsKeywords(m mailFile) (bool, error) {
	has, err := s.index.of(m)
	for _, want := range s.keywords {
		if !containsFold(has, want) {
			return false, err
		}
	}
	return true, err
}
