package mailbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/message"
	"mailx/pkg/vfs"
)

// Summary is what IMAP asks about a message without reading it. It never changes.
type Summary struct {
	Date time.Time `json:"d"` // internal date
	Size int64     `json:"s"` // octets on disk
	Wire int64     `json:"w"` // octets with CRLF line ends
	Root *Entity   `json:"r"`
}

// Entity is the message or a part of it. Offsets are in the file: the header is [HeaderAt, BodyAt) with its empty line, the
// body [BodyAt, End).
type Entity struct {
	HeaderAt int64 `json:"h"`
	BodyAt   int64 `json:"b"`
	End      int64 `json:"e"`
	Size     int64 `json:"s"` // octets of the body, encoded, with CRLF line ends
	Lines    int64 `json:"l,omitempty"`

	Type        string      `json:"t"` // lower case
	Subtype     string      `json:"u"`
	Params      [][2]string `json:"p,omitempty"` // sorted; values that are not ASCII in the form of RFC 2231
	ID          string      `json:"i,omitempty"`
	Description string      `json:"D,omitempty"`
	Encoding    string      `json:"c"`
	MD5         string      `json:"m,omitempty"`
	Disposition string      `json:"x,omitempty"`
	DispParams  [][2]string `json:"y,omitempty"`
	Language    []string    `json:"g,omitempty"`
	Location    string      `json:"o,omitempty"`

	Envelope *Envelope `json:"v,omitempty"` // of the message, and of those inside message/rfc822
	Parts    []*Entity `json:"k,omitempty"` // of a multipart; the one message inside message/rfc822
}

// Envelope is the header in the shape of RFC 3501 §7.4.2. Texts are as they stand, unfolded and not decoded.
type Envelope struct {
	Date      string    `json:"d,omitempty"`
	Subject   string    `json:"s,omitempty"`
	From      []Contact `json:"f,omitempty"`
	Sender    []Contact `json:"n,omitempty"`
	ReplyTo   []Contact `json:"r,omitempty"`
	To        []Contact `json:"t,omitempty"`
	Cc        []Contact `json:"c,omitempty"`
	Bcc       []Contact `json:"b,omitempty"`
	InReplyTo string    `json:"i,omitempty"`
	MessageID string    `json:"m,omitempty"`
}

const (
	cacheName = "mailx-cache"
	maxCache  = 2 << 30
	maxEntry  = 1 << 20 // octets of a line; larger summaries are made each time
)

// cache is the file of summaries: "<crc32> <uidvalidity> <uid> <json>" lines in no order, the last one counts. It is never
// synced and nobody locks it: a line that can't be read is not there.
type cache struct {
	f       vfs.File
	at      map[uint32]span // of the lines that were scanned
	scanned int64           // octets
	behind  bool            // there is more to scan
	dead    int             // lines of messages that are gone
	out     []byte
	fresh   map[uint32]*Summary // in out
}

type span struct {
	at  int64
	len int
}

// Summary gives the summary of a message, from the cache or from the message. The error wraps fs.ErrNotExist if the
// message is gone.
func (b *Box) Summary(m *Message) (*Summary, error) {
	if s := b.cache.get(b, m.UID); s != nil {
		return s, nil
	}
	s, err := b.summarize(m)
	if err != nil {
		return nil, vfs.Classify(err)
	}
	b.cache.put(b, m.UID, s)
	return s, nil
}

// WireSize gives the octets of a message with CRLF line ends, from its name if that says.
func (b *Box) WireSize(m *Message) (int64, error) {
	if m.Wire >= 0 {
		return m.Wire, nil
	}
	s, err := b.Summary(m)
	if err != nil {
		return 0, err
	}
	return s.Wire, nil
}

// InternalDate is when the message arrived (RFC 3501 §2.3.3): the time of its file.
func (b *Box) InternalDate(m *Message) (time.Time, error) {
	if s := b.cache.get(b, m.UID); s != nil {
		return s.Date, nil
	}
	f, err := b.Open(m)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return time.Time{}, vfs.Classify(err)
	}
	return fi.ModTime(), nil
}

func (c *cache) get(b *Box, uid uint32) *Summary {
	if c.at == nil {
		c.load(b)
	}
	if s := c.fresh[uid]; s != nil {
		return s
	}
	if c.behind {
		c.scan(b)
	}
	sp, ok := c.at[uid]
	if !ok || c.f == nil {
		return nil
	}
	line := make([]byte, sp.len)
	if n, err := c.f.ReadAt(line, sp.at); n < len(line) || err != nil && err != io.EOF {
		return nil
	}
	validity, of, text, ok := parseEntry(line)
	var s Summary
	if !ok || validity != b.st.validity || of != uid || json.Unmarshal(text, &s) != nil || s.Root == nil {
		return nil
	}
	return &s
}

// load opens the file and finds the lines. Nothing that goes wrong matters.
func (c *cache) load(b *Box) {
	c.at = map[uint32]span{}
	f, err := b.fsys.OpenAppend(b.path(cacheName))
	if err != nil {
		return
	}
	c.f = f
	c.scan(b)
	if c.dead > 1000+2*len(c.at) {
		c.drop(b)
	}
}

// scan finds the lines that were added since the last time.
func (c *cache) scan(b *Box) {
	c.behind = false
	if c.f == nil {
		return
	}
	c.scanned = scanLines(c.f, c.scanned, func(line []byte, at int64) {
		validity, uid, ok := entryKey(line)
		if !ok || validity != b.st.validity || b.st.find(uid) == nil {
			c.dead++
			return
		}
		c.at[uid] = span{at, len(line)}
	})
}

// drop starts a new file. Whoever reads the old one goes on with it.
func (c *cache) drop(b *Box) {
	b.fsys.Remove(b.path(cacheName))
	c.f.Close()
	c.at, c.scanned, c.dead = map[uint32]span{}, 0, 0
	c.f, _ = b.fsys.OpenAppend(b.path(cacheName))
}

// scanLines calls do for each line (without its LF) from an offset on, and gives the offset behind the last. It stops at a
// line that is longer than maxEntry.
func scanLines(f vfs.File, at int64, do func(line []byte, at int64)) int64 {
	buf := make([]byte, 0, 64<<10)
	for at < maxCache && len(buf) < cap(buf) {
		n, err := f.ReadAt(buf[len(buf):cap(buf)], at+int64(len(buf)))
		buf = buf[:len(buf)+n]
		used := 0
		for {
			i := bytes.IndexByte(buf[used:], '\n')
			if i < 0 {
				break
			}
			do(buf[used:used+i], at+int64(used))
			used += i + 1
		}
		at += int64(used)
		rest := buf[used:]
		if used == 0 && len(rest) == cap(buf) && cap(buf) <= maxEntry {
			buf = append(make([]byte, 0, 2*cap(buf)), rest...)
		} else {
			buf = buf[:copy(buf[:cap(buf)], rest)]
		}
		if n == 0 || err != nil && err != io.EOF {
			break
		}
	}
	return at
}

func (c *cache) put(b *Box, uid uint32, s *Summary) {
	text, err := json.Marshal(s)
	if err != nil || len(text) > maxEntry/2 || c.f == nil {
		return
	}
	entry := fmt.Sprintf("%d %d %s", b.st.validity, uid, text)
	c.out = fmt.Appendf(c.out, "%08x %s\n", crc32.ChecksumIEEE([]byte(entry)), entry)
	if c.fresh == nil {
		c.fresh = map[uint32]*Summary{}
	}
	c.fresh[uid] = s
	if len(c.out) > 64<<10 {
		c.flush()
	}
}

// flush appends what is new in one write, so that writers don't mix.
func (c *cache) flush() {
	if c.f == nil || len(c.out) == 0 {
		return
	}
	fi, err := c.f.Stat()
	if err == nil && fi.Size() < maxCache {
		c.f.Write(c.out)
	}
	c.out, c.fresh, c.behind = c.out[:0], nil, true
}

func (c *cache) close(*Box) {
	c.flush()
	if c.f != nil {
		c.f.Close()
	}
	*c = cache{}
}

// entryKey reads the numbers of a line without checking the rest.
func entryKey(line []byte) (validity, uid uint32, ok bool) {
	if len(line) < 14 || line[8] != ' ' {
		return 0, 0, false
	}
	v, rest, _ := bytes.Cut(line[9:], []byte(" "))
	u, _, ok := bytes.Cut(rest, []byte(" "))
	nv, verr := strconv.ParseUint(string(v), 10, 32)
	nu, uerr := strconv.ParseUint(string(u), 10, 32)
	return uint32(nv), uint32(nu), ok && verr == nil && uerr == nil
}

func parseEntry(line []byte) (validity, uid uint32, text []byte, ok bool) {
	validity, uid, ok = entryKey(line)
	if !ok {
		return 0, 0, nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(line[9:]) {
		return 0, 0, nil, false
	}
	return validity, uid, line[bytes.IndexByte(line, '{'):], true
}

// summarize reads the message.
func (b *Box) summarize(m *Message) (*Summary, error) {
	f, err := b.Open(m)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return summarizeFile(f, fi.ModTime())
}

func summarizeFile(f io.ReaderAt, date time.Time) (*Summary, error) {
	counter := &lineEnds{}
	part, err := message.Parse(io.TeeReader(io.NewSectionReader(f, 0, 1<<62), counter))
	if err != nil {
		return nil, err
	}
	e := &entityMaker{f: f, exact: counter.crlf > 0}
	s := &Summary{Date: date, Size: counter.octets, Wire: counter.octets + counter.lf - counter.crlf, Root: e.make(part)}
	s.Root.Envelope = envelopeOf(part.Header)
	return s, e.err
}

// lineEnds counts the octets that go through it, and the LF among them, with a CR in front and in all.
type lineEnds struct {
	octets, lf, crlf int64
	cr               bool
}

func (l *lineEnds) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if l.cr && p[0] == '\n' {
		l.crlf++
	}
	l.octets += int64(len(p))
	l.lf += int64(bytes.Count(p, []byte{'\n'}))
	if bytes.IndexByte(p, '\r') >= 0 {
		l.crlf += int64(bytes.Count(p, []byte("\r\n")))
	}
	l.cr = p[len(p)-1] == '\r'
	return len(p), nil
}

type entityMaker struct {
	f     io.ReaderAt
	exact bool // some lines end in CRLF already: sizes must be counted
	err   error
}

func (e *entityMaker) make(p *message.Part) *Entity {
	h := p.Header
	entity := &Entity{
		HeaderAt: p.HeaderAt, BodyAt: p.BodyAt, End: p.End, Size: e.wireSize(p), Lines: p.Lines,
		Type: p.Type, Subtype: p.Subtype, Params: sortedParams(p.Params), Encoding: p.Encoding,
		ID: h.Get("Content-ID"), Description: h.Get("Content-Description"), MD5: h.Get("Content-MD5"),
		Disposition: p.Disposition, DispParams: sortedParams(p.DispParams),
		Location: h.Get("Content-Location"),
		Language: strings.FieldsFunc(h.Get("Content-Language"), func(r rune) bool { return r == ',' || r == ' ' }),
	}
	for _, child := range p.Parts {
		made := e.make(child)
		if p.Type == "message" {
			made.Envelope = envelopeOf(child.Header)
		}
		entity.Parts = append(entity.Parts, made)
	}
	return entity
}

func (e *entityMaker) wireSize(p *message.Part) int64 {
	if !e.exact {
		return p.Size() + p.Lines
	}
	var l lineEnds
	if _, err := io.Copy(&l, io.NewSectionReader(e.f, p.BodyAt, p.Size())); err != nil && e.err == nil {
		e.err = err
	}
	return l.octets + l.lf - l.crlf
}

func sortedParams(params map[string]string) [][2]string {
	var list [][2]string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		v := params[k]
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			k, v = k+"*", "utf-8''"+url.PathEscape(v) // RFC 2231 §4
		}
		list = append(list, [2]string{k, v})
	}
	return list
}

func envelopeOf(h *message.Header) *Envelope {
	e := &Envelope{
		Date: h.Get("Date"), Subject: h.Get("Subject"),
		From: parseContacts(h, "From"), Sender: parseContacts(h, "Sender"), ReplyTo: parseContacts(h, "Reply-To"),
		To: parseContacts(h, "To"), Cc: parseContacts(h, "Cc"), Bcc: parseContacts(h, "Bcc"),
		InReplyTo: h.Get("In-Reply-To"), MessageID: h.Get("Message-ID"),
	}
	if e.Sender == nil { // RFC 3501 §7.4.2
		e.Sender = e.From
	}
	if e.ReplyTo == nil {
		e.ReplyTo = e.From
	}
	return e
}
