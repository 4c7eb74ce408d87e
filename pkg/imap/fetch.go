package imap

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mailbox"
	"mailx/pkg/wire"
)

// fetchItem is one fetch-att (RFC 3501 §6.4.5).
type fetchItem struct {
	name    string // as it stands in the response
	section *section
	marks   bool // sets \Seen
	partial bool // only the octets [from, from+count)
	from    int64
	count   int64
}

// needsSummary reports that the structure of the message has to be known.
func (f fetchItem) needsSummary() bool {
	return f.section != nil || f.name == "ENVELOPE" || f.name == "BODY" || f.name == "BODYSTRUCTURE"
}

// fetchItems reads "ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")".
func (p *parser) fetchItems() (items []fetchItem) {
	if p.at('(') {
		p.list(maxItems, false, func() { items = append(items, p.fetchItem()) })
		return items
	}
	for macro, names := range map[string]string{
		"ALL": "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE", "FAST": "FLAGS INTERNALDATE RFC822.SIZE",
		"FULL": "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY",
	} {
		if strings.EqualFold(p.s, macro) {
			p.s = ""
			for _, name := range strings.Fields(names) {
				items = append(items, fetchItem{name: name})
			}
			return items
		}
	}
	return []fetchItem{p.fetchItem()}
}

func (p *parser) fetchItem() fetchItem {
	name := strings.ToUpper(p.while(func(b byte) bool { return isAtomChar(b) && b != '[' && b != '<' }))
	switch name {
	case "FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE":
		return fetchItem{name: name}
	case "RFC822":
		return fetchItem{name: name, section: &section{}, marks: true}
	case "RFC822.TEXT":
		return fetchItem{name: name, section: &section{spec: "TEXT"}, marks: true}
	case "RFC822.HEADER":
		return fetchItem{name: name, section: &section{spec: "HEADER"}}
	case "BODY", "BODY.PEEK":
		if p.take('[') {
			return p.bodyItem(name == "BODY")
		}
		if name == "BODY" {
			return fetchItem{name: name}
		}
	}
	p.fail("item of a message")
	return fetchItem{}
}

// bodyItem reads section "]" ["<" number "." nz-number ">"].
func (p *parser) bodyItem(marks bool) fetchItem {
	s := p.section()
	f := fetchItem{section: &s, marks: marks, name: "BODY" + string(s.append(nil))}
	if p.take('<') {
		f.partial = true
		f.from = int64(p.number())
		p.want('.')
		f.count = int64(p.nzNumber())
		p.want('>')
		f.name += "<" + strconv.FormatInt(f.from, 10) + ">"
	}
	return f
}

// fetchSeq is "FETCH" SP sequence-set SP items (RFC 3501 §6.4.5).
func (d *dialog) fetchSeq(ctx context.Context, _ *wire.Args) error { return d.fetch(ctx, false) }

// fetchUID is "UID FETCH" (RFC 3501 §6.4.8).
func (d *dialog) fetchUID(ctx context.Context, _ *wire.Args) error { return d.fetch(ctx, true) }

func (d *dialog) fetch(ctx context.Context, isUID bool) error {
	p := d.args()
	set := p.numSet()
	p.sp()
	items := p.fetchItems()
	if err := p.end(); err != nil {
		return err
	}
	list, err := d.sel.targets(set, isUID)
	if err != nil {
		return err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(items, func(f fetchItem) bool { return f.name == name })
	}
	if isUID && !has("UID") {
		items = append([]fetchItem{{name: "UID"}}, items...)
	}
	if slices.ContainsFunc(items, func(f fetchItem) bool { return f.marks }) && d.markSeen(ctx, list) && !has("FLAGS") {
		items = append(items, fetchItem{name: "FLAGS"})
	}
	return d.fetchAll(ctx, list, items)
}

func (d *dialog) fetchAll(ctx context.Context, list []target, items []fetchItem) error {
	missing := false
	for _, t := range list {
		err := d.fetchOne(t, items)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = true
		case err != nil:
			return err
		}
		if err := ctx.Err(); err != nil {
			break // the server shuts down
		}
	}
	if missing {
		return errVanished
	}
	return nil
}

// markSeen sets \Seen where it is not set, and reports whether there was something to do. Failing to is no reason to keep the
// message from its reader.
func (d *dialog) markSeen(ctx context.Context, list []target) bool {
	if d.sel.readOnly {
		return false
	}
	var uids []uint32
	for _, t := range list {
		if m := d.sel.box.Find(t.uid); m != nil && !m.Has('S') {
			uids = append(uids, t.uid)
		}
	}
	if len(uids) == 0 {
		return false
	}
	if err := d.sel.box.Change(ctx, uids, mailbox.Change{Add: "S"}); err != nil {
		d.logCause("fetch", err)
	}
	return true
}

// fetched is one message under FETCH.
type fetched struct {
	target
	m       *mailbox.Message
	summary *mailbox.Summary
	file    interface {
		io.ReaderAt
		io.Closer
	}
	date time.Time
	size int64
}

// fetchOne sends one response. Everything that can be missing is found before it begins.
func (d *dialog) fetchOne(t target, items []fetchItem) error {
	m := d.sel.box.Find(t.uid)
	if m == nil {
		return fs.ErrNotExist
	}
	f := &fetched{target: t, m: m}
	defer f.close()
	if slices.ContainsFunc(items, fetchItem.needsSummary) { // once for all items: it is read from a file
		var err error
		if f.summary, err = d.sel.box.Summary(m); err != nil {
			return err
		}
	}
	for _, item := range items {
		if err := d.prepare(f, item); err != nil {
			return err
		}
	}
	b := []byte("* " + strconv.Itoa(t.seq) + " FETCH (")
	for i, item := range items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, item.name...), ' ')
		b = d.appendItem(b, f, item)
	}
	return d.send(append(b, ')'))
}

func (f *fetched) close() {
	if f.file != nil {
		f.file.Close()
	}
}

func (d *dialog) prepare(f *fetched, item fetchItem) (err error) {
	switch {
	case item.section != nil && f.file == nil:
		file, err := d.sel.box.Open(f.m)
		if err != nil {
			return err
		}
		f.file = file
	case item.name == "INTERNALDATE" && f.summary != nil:
		f.date = f.summary.Date
	case item.name == "INTERNALDATE":
		f.date, err = d.sel.box.InternalDate(f.m)
	case item.name == "RFC822.SIZE":
		f.size, err = d.sel.box.WireSize(f.m)
	}
	return err
}

func (d *dialog) appendItem(b []byte, f *fetched, item fetchItem) []byte {
	if item.section != nil {
		return d.appendSection(b, f, item)
	}
	switch item.name {
	case "FLAGS":
		d.sel.view[f.seq-1].modseq = f.m.ModSeq
		return append(b, d.sel.flags(f.m)...)
	case "UID":
		return strconv.AppendUint(b, uint64(f.uid), 10)
	case "INTERNALDATE":
		return f.date.UTC().AppendFormat(b, `"02-Jan-2006 15:04:05 -0700"`)
	case "RFC822.SIZE":
		return strconv.AppendInt(b, f.size, 10)
	case "ENVELOPE":
		return appendEnvelope(b, f.summary.Root.Envelope)
	}
	return appendStructure(b, f.summary.Root, item.name == "BODYSTRUCTURE")
}

// appendSection prints a part of the message as a literal. What may be large goes right to the client: b is sent before it,
// and is empty then. A disk that fails in the middle leaves a hole in the message, never a response that is out of step.
func (d *dialog) appendSection(b []byte, f *fetched, item fetchItem) []byte {
	x, ok := item.section.extent(f.summary.Root)
	if !ok {
		return append(b, "NIL"...)
	}
	if item.section.fields != nil {
		text, err := item.section.pick(io.NewSectionReader(f.file, x.at, x.end-x.at))
		if err != nil {
			d.logCause("fetch", err)
			return append(b, "NIL"...)
		}
		return appendLiteral(b, cutPart(text, item))
	}
	n, err := lengthOf(f, x)
	if err != nil {
		d.logCause("fetch", err)
		return append(b, "NIL"...)
	}
	if item.partial {
		n = max(min(item.count, n-item.from), 0)
	}
	b = append(strconv.AppendInt(append(b, '{'), n, 10), "}\r\n"...)
	d.c.Trace(true, strings.ReplaceAll(string(b), "\r\n", "..."))
	d.c.Write(b) // an error sticks
	w := d.reader(f.file, f.uid, x, item.from)
	if err := copyWire(d.c, w, item.from, n); err != nil {
		d.logCause("fetch", err)
	}
	if item.partial {
		d.resume = position{f.uid, x, w.at, w.wire, w.cr}
	}
	return nil
}

// lengthOf gives the octets of a range on the wire, without reading it if the summary says.
func lengthOf(f *fetched, x extent) (int64, error) {
	root := f.summary.Root
	if x == (extent{root.HeaderAt, root.End}) {
		return f.summary.Wire, nil
	}
	if n, ok := sizeOfBody(root, x); ok {
		return n, nil
	}
	return wireLength(f.file, x)
}

func sizeOfBody(e *mailbox.Entity, x extent) (int64, bool) {
	if x == (extent{e.BodyAt, e.End}) {
		return e.Size, true
	}
	for _, p := range e.Parts {
		if n, ok := sizeOfBody(p, x); ok {
			return n, true
		}
	}
	return 0, false
}

func cutPart(text []byte, item fetchItem) []byte {
	if !item.partial {
		return text
	}
	from := min(item.from, int64(len(text)))
	return text[from:min(from+item.count, int64(len(text)))]
}

func appendLiteral(b, text []byte) []byte {
	for i, c := range text {
		if c == 0 {
			text[i] = 0x80
		}
	}
	b = append(strconv.AppendInt(append(b, '{'), int64(len(text)), 10), "}\r\n"...)
	return append(b, text...)
}
