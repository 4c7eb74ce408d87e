package imap

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailbox"
	"mailx/pkg/message"
	"mailx/pkg/wire"
)

// What a search key has to look at, from cheap to dear. Of several keys the cheap ones are tried first.
const (
	costIndex = iota // flags, UID
	costDate
	costSummary
	costHeader
	costText
)

// searchKey is one key (RFC 3501 §6.4.4), or several that all have to match.
type searchKey struct {
	cost  int
	match func(*candidate) bool
}

// candidate is one message under SEARCH. Errors stick: a message that can't be read matches nothing.
type candidate struct {
	target
	d   *dialog
	m   *mailbox.Message
	err error
}

// searchParser reads search keys. Sequence numbers are of the view as it is now.
type searchParser struct {
	*parser
	sel   *selected
	keys  int
	depth int
}

var errBadCharset = &no{code: "BADCHARSET (US-ASCII UTF-8)", text: "Unknown charset"}

// searchSeq is "SEARCH" [SP "CHARSET" SP astring] 1*(SP search-key) (RFC 3501 §6.4.4).
func (d *dialog) searchSeq(ctx context.Context, _ *wire.Args) error { return d.search(ctx, false) }

// searchUID is "UID SEARCH" (RFC 3501 §6.4.8).
func (d *dialog) searchUID(ctx context.Context, _ *wire.Args) error { return d.search(ctx, true) }

func (d *dialog) search(ctx context.Context, isUID bool) error {
	key, err := parseSearch(d.args(), d.sel)
	if err != nil {
		return err
	}
	b := []byte("* SEARCH")
	for i, k := range d.sel.view {
		c := &candidate{target: target{i + 1, k.uid}, d: d, m: d.sel.box.Find(k.uid)}
		if c.m == nil || !key.match(c) {
			c.m = nil
		}
		if c.err != nil && !errors.Is(c.err, fs.ErrNotExist) {
			return c.err
		}
		if err := ctx.Err(); err != nil {
			return errStopping(err)
		}
		switch {
		case c.m == nil || c.err != nil:
		case isUID:
			b = strconv.AppendUint(append(b, ' '), uint64(c.uid), 10)
		default:
			b = strconv.AppendInt(append(b, ' '), int64(c.seq), 10)
		}
	}
	return d.send(b)
}

func errStopping(err error) error { return mail.Temporaryf(3, 2, "Server is shutting down: %w", err) }

func parseSearch(p *parser, sel *selected) (searchKey, error) {
	if p.keyword("CHARSET ") {
		charset := p.astring()
		p.sp()
		if p.err == nil && !strings.EqualFold(charset, "UTF-8") && !strings.EqualFold(charset, "US-ASCII") {
			return searchKey{}, errBadCharset
		}
	}
	sp := &searchParser{parser: p, sel: sel}
	key := sp.keysUntil(0)
	return key, p.end()
}

// keysUntil reads keys up to an octet, or to the end for 0.
func (p *searchParser) keysUntil(end byte) searchKey {
	var keys []searchKey
	for p.err == nil {
		keys = append(keys, p.key())
		if end == 0 && p.s == "" || end != 0 && p.take(end) {
			break
		}
		p.sp()
	}
	return all(keys)
}

// all matches if every key does.
func all(keys []searchKey) searchKey {
	if len(keys) == 1 {
		return keys[0]
	}
	slices.SortStableFunc(keys, func(a, b searchKey) int { return a.cost - b.cost })
	cost := 0
	for _, k := range keys {
		cost = max(cost, k.cost)
	}
	return searchKey{cost, func(c *candidate) bool {
		for _, k := range keys {
			if !k.match(c) {
				return false
			}
		}
		return true
	}}
}

// key reads one search-key.
func (p *searchParser) key() searchKey {
	p.keys++
	p.depth++
	defer func() { p.depth-- }()
	switch {
	case p.keys > maxKeys, p.depth > maxNesting:
		p.fail("simpler search")
		return searchKey{}
	case p.take('('):
		return p.keysUntil(')')
	case p.atNumSet():
		return p.seqKey()
	}
	name := p.word()
	if k, ok := flagKey(name); ok {
		return k
	}
	return p.keyWithArgs(name)
}

func (p *searchParser) seqKey() searchKey {
	set := p.numSet()
	if p.err != nil {
		return searchKey{}
	}
	list, err := p.sel.targets(set, false)
	if err != nil {
		p.err = err
		return searchKey{}
	}
	wanted := make(map[int]bool, len(list))
	for _, t := range list {
		wanted[t.seq] = true
	}
	return searchKey{costIndex, func(c *candidate) bool { return wanted[c.seq] }}
}

// flagKey gives the keys that have no arguments.
func flagKey(name string) (searchKey, bool) {
	has := func(letter byte, want bool) (searchKey, bool) {
		return searchKey{costIndex, func(c *candidate) bool { return c.m.Has(letter) == want }}, true
	}
	recent := func(c *candidate) bool { return c.d.sel.isRecent(c.m, c.uid) }
	switch name {
	case "ALL":
		return searchKey{costIndex, func(*candidate) bool { return true }}, true
	case "RECENT":
		return searchKey{costIndex, recent}, true
	case "OLD":
		return searchKey{costIndex, func(c *candidate) bool { return !recent(c) }}, true
	case "NEW":
		return searchKey{costIndex, func(c *candidate) bool { return recent(c) && !c.m.Has('S') }}, true
	}
	want := !strings.HasPrefix(name, "UN")
	switch strings.TrimPrefix(name, "UN") {
	case "ANSWERED":
		return has('R', want)
	case "DELETED":
		return has('T', want)
	case "DRAFT":
		return has('D', want)
	case "FLAGGED":
		return has('F', want)
	case "SEEN":
		return has('S', want)
	}
	return searchKey{}, false
}

func (p *searchParser) keyWithArgs(name string) searchKey {
	p.sp()
	switch name {
	case "NOT":
		k := p.key()
		return searchKey{k.cost, func(c *candidate) bool { return !k.match(c) && c.err == nil }}
	case "OR":
		a := p.key()
		p.sp()
		b := p.key()
		return searchKey{max(a.cost, b.cost), func(c *candidate) bool { return a.match(c) || b.match(c) }}
	case "UID":
		return p.uidKey()
	case "KEYWORD", "UNKEYWORD":
		return keywordKey(p.atom(), name == "KEYWORD")
	case "LARGER", "SMALLER":
		return sizeKey(int64(p.number()), name == "LARGER")
	case "BEFORE", "ON", "SINCE":
		return searchKey{costDate, onDay(name, p.date(), (*candidate).internalDate)}
	case "SENTBEFORE", "SENTON", "SENTSINCE":
		return searchKey{costSummary, onDay(name[len("SENT"):], p.date(), (*candidate).sentDate)}
	case "FROM", "TO", "CC", "BCC", "SUBJECT":
		return headerKey(name, p.astring())
	case "HEADER":
		field := p.astring()
		p.sp()
		return headerKey(field, p.astring())
	case "BODY", "TEXT":
		return textKey(p.astring(), name == "TEXT")
	}
	p.fail("search key")
	return searchKey{}
}

func (p *searchParser) uidKey() searchKey {
	set := p.numSet()
	last := uint32(0)
	if n := len(p.sel.view); n > 0 {
		last = p.sel.view[n-1].uid
	}
	set = set.resolve(last)
	return searchKey{costIndex, func(c *candidate) bool { return set.has(c.uid) }}
}

func keywordKey(word string, want bool) searchKey {
	if letter, ok := letterOf(word); ok {
		return searchKey{costIndex, func(c *candidate) bool { return c.m.Has(letter) == want }}
	}
	return searchKey{costIndex, func(c *candidate) bool { return c.m.HasKeyword(word) == want }}
}

func sizeKey(n int64, larger bool) searchKey {
	return searchKey{costDate, func(c *candidate) bool {
		size, err := c.d.sel.box.WireSize(c.m)
		if c.failed(err) {
			return false
		}
		return larger && size > n || !larger && size < n
	}}
}

// onDay compares days, whatever the time and its zone.
func onDay(how string, day time.Time, get func(*candidate) (time.Time, bool)) func(*candidate) bool {
	return func(c *candidate) bool {
		t, ok := get(c)
		if !ok {
			return false
		}
		t = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		switch how {
		case "BEFORE":
			return t.Before(day)
		case "SINCE":
			return !t.Before(day)
		}
		return t.Equal(day)
	}
}

func (c *candidate) failed(err error) bool {
	if err != nil && c.err == nil {
		c.err = err
	}
	return err != nil
}

func (c *candidate) internalDate() (time.Time, bool) {
	t, err := c.d.sel.box.InternalDate(c.m)
	return t.UTC(), !c.failed(err)
}

func (c *candidate) sentDate() (time.Time, bool) {
	s, err := c.d.sel.box.Summary(c.m)
	if c.failed(err) {
		return time.Time{}, false
	}
	t, err := message.ParseDate(s.Root.Envelope.Date)
	return t, err == nil
}

// headerKey looks for a text in the fields of that name, decoded, in any letter case. The empty text asks whether there is
// such a field.
func headerKey(field, text string) searchKey {
	want := message.Containing(text)
	return searchKey{costHeader, func(c *candidate) bool {
		h := c.header()
		return h != nil && want.InField(h, field)
	}}
}

func (c *candidate) header() *message.Header {
	f, err := c.d.sel.box.Open(c.m)
	if c.failed(err) {
		return nil
	}
	defer f.Close()
	h, _ := message.ReadHeader(bufio.NewReader(f), message.Limits{}) // what can't be read can't be found
	return h
}

// textKey looks for a text in the bodies of text parts, decoded, and with inHeader in the headers too.
func textKey(text string, inHeader bool) searchKey {
	want := message.Containing(text)
	return searchKey{costText, func(c *candidate) bool {
		f, err := c.d.sel.box.Open(c.m)
		if c.failed(err) {
			return false
		}
		defer f.Close()
		root, err := message.Parse(struct{ io.Reader }{f})
		if c.failed(err) {
			return false
		}
		found, err := want.InBody(root, f, inHeader)
		return !c.failed(err) && found
	}}
}
