// Package mailbox is what IMAP needs to know about a Maildir beyond the Maildir itself: a number for each message that is
// never used again, when it changed last, its keywords, and what its header and MIME structure say.
//
// # Files
//
// Beside new/, cur/ and tmp/ of a folder:
//
//	mailx-uids       the index: UIDVALIDITY, and the UID, modseq, flags and keywords of each message (see log.go)
//	mailx-uids.lock  whoever holds its flock may change the index; it has content once an index was made
//	mailx-cache      summaries of messages; it may be removed at any time (see summary.go)
//
// and in the inbox only:
//
//	mailx-uidvalidity       the highest UIDVALIDITY ever given out under this root
//	mailx-uidvalidity.lock  its lock
//	mailx-subscriptions     names of folders, one a line
//
// # Promises
//
// The Maildir decides which messages there are and which flags they have; any program may deliver, mark, move from new/ to
// cur/ and remove meanwhile. The index gives names to what is there. A UID is durable before anybody sees it, and the
// pair (UIDVALIDITY, UID) is never used for another message: UIDs of an index only grow, also past records that can't be
// read; an index that is lost or can't be read is made anew with a UIDVALIDITY above every one that was given out before
// under the same root, whatever the clock says and whichever folders were removed.
package mailbox

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Message is one message of a Box: the maildir.Message (Flags are its letters; Size and Wire are -1 if the name of the
// file does not say them, see Box.Summary) and what the index adds.
type Message struct {
	maildir.Message
	UID      uint32
	ModSeq   uint64   // of the last change to flags or keywords, or of its appearance
	Keywords []string // sorted; not to be changed
}

// HasKeyword reports a keyword, in any letter case.
func (m *Message) HasKeyword(word string) bool {
	return slices.ContainsFunc(m.Keywords, func(k string) bool { return strings.EqualFold(k, word) })
}

// ErrReset says that the UIDs that were known are void: the folder was removed and made again, or its index was lost.
// The Box has to be opened anew.
var ErrReset = mail.Temporaryf(3, 0, "The mailbox was replaced")

// Box is a Maildir with its index. It is not safe for concurrent use; any number of them, in any number of processes,
// may be open on one Maildir.
type Box struct {
	fsys vfs.FS
	dir  *maildir.Dir

	st      state
	log     vfs.File // the index as far as it was read; nil: it has to be read from the start
	at      int64    // octets of it that are in st
	lines   int      // in the file
	torn    bool     // something unreadable follows at
	whole   bool     // the next commit writes a new file
	marked  bool     // see markMade
	pending []byte   // records that are in st and not in the file
	// distrust says that a write failed: what is there now, in memory and on disk, may be two things.
	distrust bool
	since    uint32 // UIDNEXT of the file, without what is pending

	seen  listing
	cache cache
}

// listing is when the directories were read, and how they looked before.
type listing struct {
	at       time.Time
	new, cur time.Time
}

// Open opens the index of a Maildir, making or completing it: messages without a UID get theirs, in the order of
// delivery. Close it after use.
func Open(ctx context.Context, fsys vfs.FS, dir *maildir.Dir) (*Box, error) {
	b := &Box{fsys: fsys, dir: dir}
	if err := b.Sync(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Close releases descriptors, and keeps what was learned about messages for the next one.
func (b *Box) Close() {
	b.cache.close(b)
	b.forget()
}

// UIDValidity is what the UIDs belong to. RFC 3501 §2.3.1.1.
func (b *Box) UIDValidity() uint32 { return b.st.validity }

// UIDNext is above every UID so far.
func (b *Box) UIDNext() uint32 { return b.st.next }

// HighestModSeq is that of the last change.
func (b *Box) HighestModSeq() uint64 { return b.st.modseq }

// Messages gives the messages as of the last call that looked at the Maildir, by UID. The slice is valid until the next
// such call and must not be changed.
func (b *Box) Messages() []Message { return b.st.msgs }

// Find gives the message with that UID, nil if there is none. See Messages.
func (b *Box) Find(uid uint32) *Message { return b.st.find(uid) }

// Changed reports whether Sync would have something to do. It costs three lstat calls; doubt is a yes.
func (b *Box) Changed() bool {
	return !b.logIsCurrent() || !b.listingIsCurrent()
}

// Sync takes in what others did to the Maildir and to the index. If the disk is full, new messages stay unseen and all
// else goes on. ErrReset says that the Box is of no use any more.
func (b *Box) Sync(ctx context.Context) error {
	return b.locked(ctx, func() error {
		return b.endure(b.refresh())
	})
}

// TakeNew is Sync, and moves what is in new/ to cur/: whoever is given the UIDs is the first to see these messages.
func (b *Box) TakeNew(ctx context.Context) (uids []uint32, err error) {
	err = b.locked(ctx, func() error {
		if err := b.endure(b.refresh()); err != nil {
			return err
		}
		for i := range b.st.msgs {
			m := &b.st.msgs[i]
			if !m.New {
				continue
			}
			moved, err := b.dir.ToCur(m.Message)
			switch {
			case errors.Is(err, fs.ErrNotExist): // the next Sync sees it
			case isFull(err): // it stays new; see endure
				return nil
			case err != nil:
				return err
			default:
				m.Message = moved
				uids = append(uids, m.UID)
			}
		}
		return nil
	})
	return uids, err
}

// endure finishes a Sync: a full disk is no reason to keep the mail that has UIDs from its owner.
func (b *Box) endure(err error) error {
	if err == nil {
		err = b.commit()
	}
	if b.since != 0 && isFull(err) {
		return nil
	}
	return err
}

// refresh reads the index and compares it with the Maildir. What it finds is pending.
func (b *Box) refresh() error {
	grown, err := b.load()
	if err != nil {
		return err
	}
	if !grown && b.listingIsCurrent() {
		return nil
	}
	return b.compare()
}

// compare gives UIDs to new messages and notes changed flags and removals.
func (b *Box) compare() error {
	seen := b.lookAtDirs()
	list, err := b.dir.List()
	if err != nil {
		return err
	}
	found, fresh := b.match(list)
	if slices.Contains(found, false) {
		// A listing that was made while others rename can miss a message, and it would lose its UID: look twice.
		if list, err = b.dir.List(); err != nil {
			return err
		}
		found, fresh = b.match(list)
	}
	if uint64(b.st.next)+uint64(len(fresh)) > maxUID {
		return b.startOver()
	}
	b.dropMissing(found)
	for _, m := range fresh {
		b.add(m)
	}
	b.seen = seen
	return nil
}

// match updates the known messages from a listing and says which ones it has, and gives those that are not known.
func (b *Box) match(list []maildir.Message) (found []bool, fresh []maildir.Message) {
	byBase := make(map[string]int, len(b.st.msgs))
	for i := range b.st.msgs {
		byBase[b.st.msgs[i].Base] = i
	}
	found = make([]bool, len(b.st.msgs))
	for _, m := range list {
		i, ok := byBase[m.Base]
		if !ok {
			fresh = append(fresh, m)
			continue
		}
		found[i] = true
		b.update(&b.st.msgs[i], m)
	}
	return found, fresh
}

// update notes where a message is now and which flags it has.
func (b *Box) update(known *Message, now maildir.Message) {
	if known.Flags != now.Flags {
		known.ModSeq = b.nextModSeq()
		b.record('F', known.UID, known.ModSeq, now.Flags)
	}
	known.Message = now
}

func (b *Box) dropMissing(found []bool) {
	kept := b.st.msgs[:0]
	for i, m := range b.st.msgs {
		if found[i] {
			kept = append(kept, m)
			continue
		}
		b.record('X', m.UID, b.nextModSeq(), "")
	}
	clear(b.st.msgs[len(kept):])
	b.st.msgs = kept
}

// add gives a message the next UID.
func (b *Box) add(m maildir.Message) {
	msg := Message{Message: m, UID: b.st.next, ModSeq: b.nextModSeq()}
	b.st.next++
	b.st.msgs = append(b.st.msgs, msg)
	b.record('U', msg.UID, msg.ModSeq, uidText(&msg))
}

func (b *Box) nextModSeq() uint64 {
	b.st.modseq++
	return b.st.modseq
}

// lookAtDirs is made before a listing, so that what happens during it is noticed by the next one.
func (b *Box) lookAtDirs() listing {
	l := listing{at: b.now()}
	l.new, l.cur = b.modTime("new"), b.modTime("cur")
	return l
}

func (b *Box) modTime(sub string) time.Time {
	fi, err := b.fsys.Lstat(b.dir.Path() + "/" + sub)
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

// settling is how old a modification time has to be for a later change to be sure to show: clocks of file systems tick
// slowly.
const settling = 2 * time.Second

func (b *Box) listingIsCurrent() bool {
	now := b.lookAtDirs()
	old := b.seen
	newest := old.new
	if old.cur.After(newest) {
		newest = old.cur
	}
	return !old.new.IsZero() && !old.cur.IsZero() && now.new.Equal(old.new) && now.cur.Equal(old.cur) &&
		newest.Add(settling).Before(old.at)
}

func (b *Box) now() time.Time {
	if b.dir.Now != nil {
		return b.dir.Now()
	}
	return time.Now()
}
