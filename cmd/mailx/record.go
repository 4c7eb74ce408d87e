package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"mailx/pkg/message"
)

// record is a message as lists know it: its name, and what its header says, decoded and free of control characters.
type record struct {
	mailFile
	message.Summary
	isNew    bool      // as it was listed, before --mark
	size     int64     // octets on disk
	lines    int       // of the whole message
	stored   time.Time // modification time: when it was delivered
	keywords []string  // of IMAP, sorted; only where they are asked for
	skip     bool      // a search has found that it is not wanted
	err      error
}

// date is that of the header, else that of the delivery.
func (r *record) date() time.Time {
	if r.Date.IsZero() {
		return r.stored
	}
	return r.Date
}

// letters are the flags as they stand in the name, with N in front for a message in new/.
func (r *record) letters() string {
	if r.isNew {
		return "N" + r.msg.Flags
	}
	return r.msg.Flags
}

// flagWords are the flags by name; letters that have none (keywords) stay letters.
func (r *record) flagWords() []string {
	words := []string{}
	for _, letter := range r.letters() {
		words = append(words, flagWord(letter))
	}
	return words
}

func flagWord(letter rune) string {
	switch letter {
	case 'N':
		return "new"
	case 'S':
		return "seen"
	case 'R':
		return "replied"
	case 'F':
		return "flagged"
	case 'D':
		return "draft"
	case 'P':
		return "passed"
	case 'T':
		return "trashed"
	}
	return string(letter)
}

// need says how far a record has to be looked into; each step costs more than the one before.
type need uint8

const (
	needName   need = iota // nothing: the name has it
	needTime               // when it was stored: one lstat
	needHeader             // the header is read, and no more of the message
	needLines              // all of it is read, to count its lines
)

// load fills a record in. fs.ErrNotExist in err says that the message has gone meanwhile.
func (r *record) load(n need, br *bufio.Reader) {
	if n == needName {
		return
	}
	f, err := r.open()
	if err != nil {
		r.err = err
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		r.err = err
		return
	}
	r.size, r.stored = fi.Size(), fi.ModTime()
	if n == needTime {
		return
	}
	br.Reset(f)
	if err := dropAbove(br); err != nil {
		r.err = err
		return
	}
	h, err := message.ReadHeader(br, message.Limits{})
	var tooLarge interface{ MailText() string }
	if err != nil && !errors.As(err, &tooLarge) { // of a header that is too large the start will do
		r.err = err
		return
	}
	r.Summary = message.Summarize(h)
	if n == needLines {
		r.lines, r.err = countLines(io.NewSectionReader(f, 0, r.size))
	}
}

func countLines(in io.Reader) (n int, err error) {
	buf := make([]byte, 32<<10)
	for {
		got, err := in.Read(buf)
		n += bytes.Count(buf[:got], []byte{'\n'})
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// Reading ahead: workers hide the disk's latency, and a chunk bounds what is held at a time.
const (
	loadWorkers = 8
	loadChunk   = 256
	headerBuf   = 4 << 10 // octets read of a message whose header fits
)

// loader looks into records, several at a time.
type loader struct {
	need    need
	chunk   int                          // records looked into ahead; 0: loadChunk
	look    func(*record, *bufio.Reader) // in the place of record.load, by several workers at once; nil: that
	readers [loadWorkers]*bufio.Reader
}

// each fills in records in chunks and gives them to do in their order, until do returns false.
func (l *loader) each(files []mailFile, do func(*record) bool) {
	if l.chunk == 0 {
		l.chunk = loadChunk
	}
	for len(files) > 0 {
		n := min(l.chunk, len(files))
		for _, r := range l.load(files[:n]) {
			if !do(r) {
				return
			}
		}
		files = files[n:]
	}
}

func (l *loader) load(files []mailFile) []*record {
	records := make([]*record, len(files))
	for i, m := range files {
		records[i] = &record{mailFile: m, isNew: m.msg.New, size: m.msg.Size}
	}
	look := l.look
	switch {
	case look == nil && l.need == needName:
		return records
	case look == nil:
		look = func(r *record, br *bufio.Reader) { r.load(l.need, br) }
	}
	var wg sync.WaitGroup
	workers := min(loadWorkers, (len(records)+3)/4)
	for w := range workers {
		if l.readers[w] == nil {
			l.readers[w] = bufio.NewReaderSize(nil, headerBuf)
		}
		wg.Go(func() {
			for i := w; i < len(records); i += workers {
				look(records[i], l.readers[w])
			}
		})
	}
	wg.Wait()
	return records
}

// filter says which messages of a list are wanted. The zero value wants all.
type filter struct {
	newOnly, unseen, flagged bool
	from, subject            string // in lower case; "" for any
	since                    time.Time
}

// byName decides by what the name says.
func (f *filter) byName(m mailFile) bool {
	return (!f.newOnly || m.msg.New) && (!f.unseen || !m.msg.Has('S')) && (!f.flagged || m.msg.Has('F'))
}

// byContent decides by the rest.
func (f *filter) byContent(r *record) bool {
	return (f.since.IsZero() || !r.stored.Before(f.since)) &&
		strings.Contains(strings.ToLower(r.From), f.from) && strings.Contains(strings.ToLower(r.Subject), f.subject)
}

// need is what byContent has to know.
func (f *filter) need() need {
	switch {
	case f.from != "" || f.subject != "":
		return needHeader
	case !f.since.IsZero():
		return needTime
	}
	return needName
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
