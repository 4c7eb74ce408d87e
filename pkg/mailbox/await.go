package mailbox

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Arrival is a message that is about to be renamed into a Maildir, and what only an index can keep of it.
type Arrival struct {
	maildir.Name
	Keywords []string
	UID      uint32 // given by Await
}

// Await gives messages their UIDs and keywords, durably, before bring moves them into the Maildir: whoever finds one there
// finds its keywords too. A name that is taken gets another unique part. Nobody else can change the index meanwhile. A message
// that does not come has wasted a UID. The error is that of bring, or one of before it.
func (b *Box) Await(ctx context.Context, arrivals []*Arrival, bring func() error) error {
	return b.locked(ctx, func() error {
		if err := b.endure(b.refresh()); err != nil {
			return err
		}
		if uint64(b.st.next)+uint64(len(arrivals)) > maxUID {
			return mail.Temporaryf(2, 0, "The numbers of messages are used up")
		}
		b.freeNames(arrivals)
		for _, a := range arrivals {
			b.await(a)
		}
		if err := b.commit(); err != nil {
			return err
		}
		b.seen = listing{} // the next Sync sees which ones came
		return bring()
	})
}

// await gives a message its UID.
func (b *Box) await(a *Arrival) {
	b.add(maildir.Message{Name: a.Name, File: "cur/" + a.Name.String()})
	m := &b.st.msgs[len(b.st.msgs)-1]
	a.UID = m.UID
	if len(a.Keywords) > 0 {
		m.Keywords = a.Keywords
		b.record('K', m.UID, m.ModSeq, strings.Join(m.Keywords, " "))
	}
}

// freeNames has no two messages of the same unique part.
func (b *Box) freeNames(arrivals []*Arrival) {
	taken := make(map[string]bool, len(arrivals))
	for _, a := range arrivals {
		taken[a.Base] = false
	}
	for i := range b.st.msgs {
		if _, wanted := taken[b.st.msgs[i].Base]; wanted {
			taken[b.st.msgs[i].Base] = true
		}
	}
	for _, a := range arrivals {
		if taken[a.Base] {
			a.Base = b.dir.NewBase(maildir.Message{Name: a.Name})
		}
		taken[a.Base] = true
	}
}

// KeywordsOf gives the keywords of messages, by the unique parts of their names, as the index of a Maildir has them; nil if it
// has none. It changes nothing and waits for nobody, so that it works on a Maildir that may only be read.
func KeywordsOf(fsys vfs.FS, dir *maildir.Dir) (map[string][]string, error) {
	f, err := fsys.Open(dir.Path() + "/" + logName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, vfs.Classify(err)
	}
	defer f.Close()
	r, err := readLog(f)
	if err != nil {
		return nil, vfs.Classify(err)
	}
	var words map[string][]string
	for i := range r.st.msgs {
		m := &r.st.msgs[i]
		if len(m.Keywords) == 0 {
			continue
		}
		if words == nil {
			words = map[string][]string{}
		}
		words[m.Base] = m.Keywords
	}
	return words, nil
}

// IndexStamp changes when the index of a Maildir does; it is "" for none.
func IndexStamp(fsys vfs.FS, dir *maildir.Dir) string {
	fi, err := fsys.Lstat(dir.Path() + "/" + logName)
	if err != nil {
		return ""
	}
	return vfs.Stamp(fi)
}
