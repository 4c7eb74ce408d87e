package queue

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// The side file of an entry is a log of one line per event. It is appended to, and made durable, before anything that
// depends on it; a line that is not whole (the power went while it was written) counts as not written.
//
//	try 3 2026-11-23T10:00:00Z .                                          the third attempt began
//	ok <a@x.example> 2026-… mta=mx.x.example reply=250%20ok .             never send to this recipient again
//	temp <b@x.example> 2026-… status=4.2.2 mta=… reply=… cause=… .        still to do
//	fail <c@x.example> 2026-… status=5.1.1 mta=… reply=… .                given up; the sender is to be told
//	told <c@x.example> .                                                  and has been: the notice is in the queue
//	late <b@x.example> .                                                  the sender knows of the delay
//	over <b@x.example> .                                                  the sender knows that the time of BY is over
//
// "ok" has owe=delivered, owe=relayed or owe=expanded where the sender asked for a notice of success.
const (
	kindTry  = "try"
	kindOK   = "ok"
	kindTemp = "temp"
	kindFail = "fail"
	kindTold = "told"
	kindLate = "late"
	kindOver = "over"
)

const (
	maxReply    = 500       // octets of a remote server's reply that are kept
	maxProgress = 16 << 20  // octets of a side file; a larger one is refused rather than believed
	longLog     = 256 << 10 // octets after which a side file is written anew, with only what counts
)

// record is one line of a side file.
type record struct {
	kind   string
	tries  int // of "try"
	addr   mail.Address
	at     time.Time
	status mail.Status
	owe    string // of "ok": the kind of notice the sender is owed, or ""
	mta    string
	reply  string
	cause  string // behind a reply of our own, for who keeps this host and nobody else; "" if there is none
}

func (r *record) print(b []byte) []byte {
	b = append(b, r.kind...)
	if r.kind == kindTry {
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(r.tries), 10)
	} else {
		b = append(b, ' ')
		b = append(b, encodePath(r.addr)...)
	}
	if !r.at.IsZero() {
		b = append(b, ' ')
		b = r.at.UTC().AppendFormat(b, time.RFC3339)
	}
	if !r.status.IsZero() {
		b = append(b, " status="+r.status.String()...)
	}
	for _, p := range [...][2]string{{" owe=", r.owe}, {" mta=", r.mta}, {" reply=", r.reply}, {" cause=", r.cause}} {
		if p[1] != "" {
			b = append(b, p[0]+encode(p[1])...)
		}
	}
	return append(b, " .\n"...)
}

// parseRecord reads a line without its line end; ok is false for one that is torn or unknown.
func parseRecord(line string) (r record, ok bool) {
	line, ok = strings.CutSuffix(line, " .")
	words := strings.Split(line, " ")
	if !ok || len(words) < 2 {
		return record{}, false
	}
	r.kind = words[0]
	var err error
	switch r.kind {
	case kindTry:
		r.tries, err = strconv.Atoi(words[1])
	case kindOK, kindTemp, kindFail, kindTold, kindLate, kindOver:
		r.addr, err = decodePath(words[1])
	default:
		return record{}, false
	}
	for _, word := range words[2:] {
		if err == nil {
			err = r.parseWord(word)
		}
	}
	return r, err == nil && r.tries >= 0
}

func (r *record) parseWord(word string) (err error) {
	name, value, isParam := strings.Cut(word, "=")
	if !isParam {
		r.at, err = parseTime(word)
		return err
	}
	switch name {
	case "status":
		var ok bool
		if r.status, ok = mail.ParseStatus(value); !ok {
			return damaged("status %q", value)
		}
	case "owe":
		r.owe, err = decode(value)
	case "mta":
		r.mta, err = decode(value)
	case "reply":
		r.reply, err = decode(value)
	case "cause":
		r.cause, err = decode(value)
	default:
		return damaged("unknown word %q", word)
	}
	return err
}

// fate is what became of one recipient so far.
type fate struct {
	record      // the last ok, fail or temp
	told   bool // the notice that the record asks for is in the queue
	late   bool // the notice of delay is in the queue
	over   bool // the notice that the time of BY is over is in the queue
}

func (f *fate) isDone() bool { return f.kind == kindOK || f.kind == kindFail }

// progress is a side file in memory, by address: two recipients that are the same address share their fate.
type progress struct {
	exists  bool
	size    int
	torn    bool // does not end at a line end
	tries   int
	lastTry time.Time
	fates   map[string]*fate
}

func (p *progress) of(a mail.Address) *fate {
	if f := p.fates[encodePath(a)]; f != nil {
		return f
	}
	return &fate{}
}

func (p *progress) apply(r record) {
	if r.kind == kindTry {
		p.tries, p.lastTry = r.tries, r.at
		return
	}
	if p.fates == nil {
		p.fates = map[string]*fate{}
	}
	key := encodePath(r.addr)
	f := p.fates[key]
	if f == nil {
		f = &fate{}
		p.fates[key] = f
	}
	switch {
	case r.kind == kindTold:
		f.told = true
	case r.kind == kindLate:
		f.late = true
	case r.kind == kindOver:
		f.over = true
	case f.kind != kindOK: // nothing takes a delivery back
		f.record = r
	}
}

func parseProgress(data []byte) *progress {
	p := &progress{exists: true, size: len(data), torn: len(data) > 0 && data[len(data)-1] != '\n'}
	for line := range bytes.Lines(data) {
		whole, ok := strings.CutSuffix(string(line), "\n")
		if !ok {
			break
		}
		if r, ok := parseRecord(whole); ok {
			p.apply(r)
		}
	}
	return p
}

// print is the shortest log that says the same.
func (p *progress) print() (b []byte) {
	if p.tries > 0 {
		b = (&record{kind: kindTry, tries: p.tries, at: p.lastTry}).print(b)
	}
	keys := make([]string, 0, len(p.fates))
	for key := range p.fates {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		f := p.fates[key]
		addr, err := decodePath(key)
		if err != nil {
			continue // a key comes from encodePath, so this is not reached
		}
		if f.kind != "" {
			b = f.record.print(b)
		}
		if f.told {
			b = (&record{kind: kindTold, addr: addr}).print(b)
		}
		if f.late {
			b = (&record{kind: kindLate, addr: addr}).print(b)
		}
		if f.over {
			b = (&record{kind: kindOver, addr: addr}).print(b)
		}
	}
	return b
}

func (q *Queue) progressPath(base string) string { return q.dir + "/" + progressDir + "/" + base }

// loadProgress reads the side file of an entry. That there is none is usual; that it can't be read is an error, for
// then nobody knows whom not to send to. What this process could not write down before has to be written down first.
func (q *Queue) loadProgress(base string) (*progress, error) {
	p, err := q.readProgress(base)
	kept := q.keptOf(base)
	if err != nil || kept == nil {
		return p, err
	}
	for _, f := range kept.fates {
		p.apply(f.record)
	}
	if err := q.rewriteProgress(base, p); err != nil {
		return nil, err
	}
	q.keep(base, nil)
	return p, nil
}

func (q *Queue) readProgress(base string) (*progress, error) {
	data, err := vfs.ReadFile(q.fs, q.progressPath(base), maxProgress)
	if errors.Is(err, fs.ErrNotExist) {
		return &progress{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseProgress(data), nil
}

// keep remembers the progress of an entry as long as the disk does not take it; nil forgets it.
func (q *Queue) keep(base string, p *progress) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p == nil {
		delete(q.kept, base)
		return
	}
	q.kept[base] = p
}

func (q *Queue) keptOf(base string) *progress {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.kept[base]
}

// record adds to the side file, durably. When that fails it tries once more with a new file, for what could not be
// synced is lost. p knows the records afterwards in any case.
func (q *Queue) record(base string, p *progress, recs []record) error {
	var lines []byte
	for i := range recs {
		lines = recs[i].print(lines)
		p.apply(recs[i])
	}
	if p.size < longLog && q.appendProgress(base, p, lines, true) == nil {
		return nil
	}
	return q.rewriteProgress(base, p)
}

// note is record for what is only told to people: it is not synced, and its loss harms nobody.
func (q *Queue) note(base string, p *progress, recs []record) error {
	if len(recs) == 0 {
		return nil
	}
	var lines []byte
	for i := range recs {
		lines = recs[i].print(lines)
		p.apply(recs[i])
	}
	return q.appendProgress(base, p, lines, false)
}

func (q *Queue) appendProgress(base string, p *progress, lines []byte, durable bool) error {
	f, err := q.fs.OpenAppend(q.progressPath(base))
	if err != nil {
		return err
	}
	if p.torn {
		lines = append([]byte("\n"), lines...)
	}
	p.torn = true // until the write is known to be whole
	_, err = f.Write(lines)
	if err == nil && durable {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && durable {
		err = q.fs.SyncDir(q.dir + "/" + progressDir)
	}
	if err == nil {
		p.exists, p.torn, p.size = true, false, p.size+len(lines)
	}
	return err
}

func (q *Queue) rewriteProgress(base string, p *progress) error {
	data := p.print()
	unique := strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := vfs.WriteFile(q.fs, q.progressPath(base), unique, data); err != nil {
		return err
	}
	p.exists, p.torn, p.size = true, false, len(data)
	return nil
}
