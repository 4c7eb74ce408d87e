package mailbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Change is what becomes of flags and keywords. Flags are letters of the Maildir; a message in new/ goes to cur/.
type Change struct {
	Add, Remove                 string
	AddKeywords, RemoveKeywords []string
	// Replace makes the standard flags exactly those of Add, and the keywords exactly those of AddKeywords.
	Replace bool
}

// ErrKeywords says that a message has too many keywords, or one can't be kept: it is empty or has blanks or control
// characters in it.
var ErrKeywords = mail.Permanentf(3, 3, "Too many or bad keywords")

func (c Change) check() error {
	if slices.ContainsFunc(c.AddKeywords, isBadKeyword) {
		return ErrKeywords
	}
	return nil
}

func isBadKeyword(k string) bool {
	return k == "" || len(k) > 255 || strings.ContainsFunc(k, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// CleanKeywords sorts keywords, as a Message has them, and gives those apart that it can't have. One that is there twice, in any
// letter case, is one.
func CleanKeywords(words []string) (good, bad []string) {
	for _, k := range words {
		switch {
		case hasFold(good, k):
		case isBadKeyword(k), len(good) == maxKeywords:
			bad = append(bad, k)
		default:
			good = append(good, k)
		}
	}
	slices.Sort(good)
	return good, bad
}

// Change changes messages, durably. Those that are gone are passed over. Messages tells what came of it.
func (b *Box) Change(ctx context.Context, uids []uint32, c Change) error {
	if err := c.check(); err != nil {
		return err
	}
	return b.locked(ctx, func() error {
		if err := b.endure(b.refresh()); err != nil {
			return err
		}
		changed, err := b.changeAll(uids, c)
		if cerr := b.commitChanges(); err == nil {
			err = cerr
		}
		if changed && err == nil {
			err = b.dir.Sync()
		}
		return err
	})
}

func (b *Box) changeAll(uids []uint32, c Change) (changed bool, err error) {
	for _, uid := range uids {
		m := b.st.find(uid)
		if m == nil {
			continue
		}
		moved, err := b.changeFlags(m, c)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = b.changeKeywords(m, c)
		}
		if err != nil {
			return changed, err
		}
		changed = changed || moved
	}
	return changed, nil
}

func (b *Box) changeFlags(m *Message, c Change) (moved bool, err error) {
	var now maildir.Message
	switch {
	case c.Replace:
		now, err = b.dir.SetFlags(m.Message, c.Add)
	case c.Add == "" && c.Remove == "":
		return false, nil
	default:
		now, err = b.dir.ChangeFlags(m.Message, c.Add, c.Remove)
	}
	if err != nil {
		return false, err
	}
	moved = now.File != m.File
	b.update(m, now)
	return moved, nil
}

func (b *Box) changeKeywords(m *Message, c Change) error {
	words := m.Keywords
	if c.Replace {
		words = nil
	}
	words = slices.DeleteFunc(slices.Clone(words), func(k string) bool { return hasFold(c.RemoveKeywords, k) })
	for _, k := range c.AddKeywords {
		if !hasFold(words, k) {
			words = append(words, k)
		}
	}
	slices.Sort(words)
	if slices.Equal(words, m.Keywords) {
		return nil
	}
	if len(words) > maxKeywords {
		return ErrKeywords
	}
	m.Keywords, m.ModSeq = words, b.nextModSeq()
	b.record('K', m.UID, m.ModSeq, strings.Join(words, " "))
	return nil
}

func hasFold(words []string, word string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, word) })
}

// commitChanges forgives a failure unless something is pending that only the index knows: the next Sync finds flags and
// removals in the Maildir.
func (b *Box) commitChanges() error {
	unique := false
	for line := range strings.Lines(string(b.pending)) {
		unique = unique || line[9] == 'K'
	}
	if err := b.commit(); err != nil && unique {
		return err
	}
	return nil
}

// Expunge removes the messages that pick wants, durably, and gives their UIDs. It does so on a full disk too, where an error
// may say that the removal is not durable yet.
func (b *Box) Expunge(ctx context.Context, pick func(*Message) bool) (uids []uint32, err error) {
	err = b.locked(ctx, func() error {
		if err := b.endure(b.refresh()); err != nil {
			return err
		}
		found := make([]bool, len(b.st.msgs))
		var failed error
		for i := range b.st.msgs {
			m := &b.st.msgs[i]
			found[i] = failed != nil || !pick(m)
			if found[i] {
				continue
			}
			if err := b.dir.Remove(m.Message); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed, found[i] = err, true
				continue
			}
			uids = append(uids, m.UID)
		}
		b.dropMissing(found)
		b.commitChanges()
		if len(uids) > 0 && failed == nil {
			failed = b.dir.Sync()
		}
		return failed
	})
	return uids, err
}

// Incoming is a message on its way into a Box: write it in local form, then end it with Box.Adopt or Abort.
type Incoming struct {
	w        *maildir.Delivery
	keywords []string
	kept     bool
}

// Write adds to the message.
func (in *Incoming) Write(p []byte) (int, error) { return in.w.Write(p) }

// Abort drops the message; after Adopt it does nothing.
func (in *Incoming) Abort() { in.w.Abort() }

// Attributes are what a message has beside its octets. With no flags it is new.
type Attributes struct {
	Flags    string
	Keywords []string
	Date     time.Time // internal date; zero: now
}

// Receive starts a message.
func (b *Box) Receive(a Attributes) (*Incoming, error) {
	if err := (Change{AddKeywords: a.Keywords}).check(); err != nil {
		return nil, err
	}
	if len(a.Keywords) > maxKeywords {
		return nil, ErrKeywords
	}
	w, err := b.dir.Deliver()
	if err != nil {
		return nil, err
	}
	if a.Flags != "" {
		w.Keep(a.Flags)
	}
	if !a.Date.IsZero() {
		w.SetTime(a.Date)
	}
	return &Incoming{w: w, keywords: a.Keywords}, nil
}

// commit makes the message visible, without a UID of ours yet.
func (in *Incoming) commit() error {
	if in.kept {
		return nil
	}
	err := in.w.Commit()
	in.kept = err == nil
	return err
}

// Adopt ends messages and gives their UIDs, all of it durably. After an error none of them is there, as far as they can be
// removed. The UID of one that somebody removed at once is 0.
func (b *Box) Adopt(ctx context.Context, ins ...*Incoming) (uids []uint32, err error) {
	defer func() {
		if err != nil {
			b.disown(ins)
		}
	}()
	for _, in := range ins {
		if err := in.commit(); err != nil {
			return nil, err
		}
	}
	err = b.locked(ctx, func() error {
		if err := b.refresh(); err != nil {
			return err
		}
		uids = b.nameAll(ins)
		return b.commit()
	})
	return uids, err
}

func (b *Box) nameAll(ins []*Incoming) []uint32 {
	places := make(map[string]int, len(ins))
	for i, in := range ins {
		places[in.w.Message().Base] = i
	}
	uids := make([]uint32, len(ins))
	for i := len(b.st.msgs) - 1; i >= 0 && len(places) > 0; i-- {
		m := &b.st.msgs[i]
		at, ok := places[m.Base]
		if !ok {
			continue
		}
		delete(places, m.Base)
		uids[at] = m.UID
		b.changeKeywords(m, Change{AddKeywords: ins[at].keywords})
	}
	return uids
}

func (b *Box) disown(ins []*Incoming) {
	for _, in := range ins {
		if in == nil {
			continue
		}
		in.Abort()
		if in.kept {
			b.dir.Remove(in.w.Message())
		}
	}
	b.dir.Sync()
}

// Open opens a message for reading. The error wraps fs.ErrNotExist if it is gone.
func (b *Box) Open(m *Message) (vfs.File, error) { return b.dir.OpenMessage(m.Message) }

// CopyTo writes a message, as it is stored, to w.
func (b *Box) CopyTo(m *Message, w io.Writer) error {
	f, err := b.Open(m)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, struct{ io.Reader }{f})
	return vfs.Classify(err)
}

// Copied says which messages were copied and what their UIDs are in the other Box.
type Copied struct{ From, To []uint32 }

// Copy copies messages to another Box with their flags, keywords and internal dates, all or none, durably. Those that are
// gone are left out.
func (b *Box) Copy(ctx context.Context, to *Box, uids ...uint32) (Copied, error) {
	var done Copied
	var ins []*Incoming
	for _, uid := range uids {
		in, err := b.copyOne(to, uid)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			to.disown(append(ins, in))
			return Copied{}, err
		}
		ins = append(ins, in)
		done.From = append(done.From, uid)
	}
	var err error
	done.To, err = to.Adopt(ctx, ins...)
	if err != nil {
		return Copied{}, err
	}
	return done, nil
}

func (b *Box) copyOne(to *Box, uid uint32) (*Incoming, error) {
	m := b.Find(uid)
	if m == nil {
		return nil, fs.ErrNotExist
	}
	date, err := b.InternalDate(m)
	if err != nil {
		return nil, err
	}
	in, err := to.Receive(Attributes{Flags: m.Flags, Keywords: m.Keywords, Date: date})
	if err != nil {
		return nil, err
	}
	err = b.CopyTo(m, in)
	if err == nil {
		err = in.commit() // at once: thousands of open files are too many
	}
	if err != nil {
		in.Abort()
		return nil, err
	}
	return in, nil
}
