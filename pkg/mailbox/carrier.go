package mailbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Parcel is a message on its way from one Maildir into another.
type Parcel struct {
	From, To *maildir.Dir
	Message  maildir.Message // in From, as it was seen last
	Now      maildir.Message // in To, once it is there
	Err      error           // wraps fs.ErrNotExist if there was no such message any more
}

// Carrier copies and moves messages between Maildirs, with their flags, keywords and times. A message that was new stays
// new. It is told of a success when that is durable, and no name is ever written over.
//
// Within a mailbox, and where nobody counts, a move is a rename, of which one of many at a time succeeds. Elsewhere it is a
// copy, and the original is removed when the copy is durable: a crash in between leaves both. Then whoever moves the message
// holds the flock of its file.
//
// It is not safe for concurrent use. Close it in the end.
type Carrier struct {
	fsys  vfs.FS
	words map[*maildir.Dir]*dirKeywords
	names map[*maildir.Dir]map[string]bool // unique parts in the Maildirs that messages go to
	boxes map[*maildir.Dir]*Box
}

// NewCarrier makes a Carrier; the Maildirs of its parcels have to be of the same file system.
func NewCarrier(fsys vfs.FS) *Carrier {
	return &Carrier{fsys: fsys, words: map[*maildir.Dir]*dirKeywords{}, names: map[*maildir.Dir]map[string]bool{},
		boxes: map[*maildir.Dir]*Box{}}
}

// Close releases descriptors.
func (c *Carrier) Close() {
	for _, b := range c.boxes {
		b.Close()
	}
}

// carryAtOnce is how many messages are copied before they share the syncs of directories. For a move all of them are open.
const carryAtOnce = 100

// Copy copies messages. Each Parcel has what came of it.
func (c *Carrier) Copy(ctx context.Context, parcels []*Parcel) {
	inBatches(parcels, func(some []*Parcel) { c.copyAll(ctx, some) })
}

// Move moves messages. Each Parcel has what came of it. One that is where it is to go stays there.
func (c *Carrier) Move(ctx context.Context, parcels []*Parcel) {
	var far, near []*Parcel
	for _, p := range parcels {
		switch {
		case p.From.Path() == p.To.Path():
			p.Now, _, p.Err = p.From.Stat(p.Message)
		case mayRename(c.fsys, p):
			near = append(near, p)
		default:
			far = append(far, p)
		}
	}
	for len(near) > 0 {
		n := slices.IndexFunc(near, func(p *Parcel) bool { return p.To != near[0].To })
		if n < 0 {
			n = len(near)
		}
		far = append(far, c.renameAll(ctx, near[0].To, near[:n])...)
		near = near[n:]
	}
	c.carryFar(ctx, far)
	c.settle(parcels)
}

func inBatches(parcels []*Parcel, do func([]*Parcel)) {
	for len(parcels) > 0 {
		n := min(carryAtOnce, len(parcels))
		do(parcels[:n])
		parcels = parcels[n:]
	}
}

// settle makes removals and renames durable, the new names before the old ones go.
func (c *Carrier) settle(parcels []*Parcel) {
	done := map[*maildir.Dir]error{}
	sync := func(d *maildir.Dir) error {
		if _, ok := done[d]; !ok {
			done[d] = d.Sync()
		}
		return done[d]
	}
	for _, p := range parcels {
		if p.Err == nil {
			p.Err = sync(p.To)
		}
	}
	for _, p := range parcels {
		if p.Err == nil {
			p.Err = sync(p.From)
		}
	}
}

// renameAll moves messages by renames and gives those for which that can't be.
func (c *Carrier) renameAll(ctx context.Context, to *maildir.Dir, parcels []*Parcel) (far []*Parcel) {
	var worded []*Parcel
	var arrivals []*Arrival
	for _, p := range parcels {
		base := c.freeBase(p)
		words := c.keywords(p)
		if p.Err == nil && words != nil {
			name := p.Message.Name
			name.Base = base
			worded, arrivals = append(worded, p), append(arrivals, &Arrival{Name: name, Keywords: words})
		} else if p.Err == nil && c.rename(p, base) {
			far = append(far, p)
		}
	}
	if len(worded) == 0 {
		return far
	}
	err := c.await(ctx, to, arrivals, func() error {
		for i, p := range worded {
			if c.rename(p, arrivals[i].Base) {
				far = append(far, p)
			}
		}
		return nil
	})
	for _, p := range worded {
		if p.Err == nil {
			p.Err = err
		}
	}
	return far
}

func (c *Carrier) await(ctx context.Context, to *maildir.Dir, arrivals []*Arrival, bring func() error) error {
	box, err := c.box(ctx, to)
	if err != nil {
		return err
	}
	return box.Await(ctx, arrivals, bring)
}

// mayRename reports that a rename does all that a copy would: no mailbox with a quota grows, and the file belongs to the
// owner of the Maildir that it goes to.
func mayRename(fsys vfs.FS, p *Parcel) bool {
	if p.From.SharesMailbox(p.To) {
		return true
	}
	if p.To.Quota != nil && !p.To.Quota().IsZero() {
		return false
	}
	from, ferr := fsys.Lstat(p.From.Path() + "/cur")
	to, terr := fsys.Lstat(p.To.Path() + "/cur")
	return ferr == nil && terr == nil && vfs.SameOwner(from, to)
}

// rename reports that the message has to be copied after all.
func (c *Carrier) rename(p *Parcel, base string) (isFar bool) {
	p.Now, p.Err = p.From.MoveTo(p.To, p.Message, base)
	if errors.Is(p.Err, fs.ErrExist) { // it came there meanwhile
		p.Now, p.Err = p.From.MoveTo(p.To, p.Message, p.To.NewBase(p.Message))
	}
	if errors.Is(p.Err, syscall.EXDEV) {
		p.Err = nil
		return true
	}
	return false
}

// freeBase gives the unique part that the message will have: its own, unless there is one of that name already.
func (c *Carrier) freeBase(p *Parcel) string {
	names := c.names[p.To]
	if names == nil {
		list, err := p.To.List()
		if err != nil {
			p.Err = err
			return ""
		}
		names = make(map[string]bool, len(list))
		for _, m := range list {
			names[m.Base] = true
		}
		c.names[p.To] = names
	}
	base := p.Message.Base
	if names[base] {
		base = p.To.NewBase(p.Message)
	}
	names[base] = true
	return base
}

// carryAll copies messages that nobody else is moving and removes the originals. It gives the others.
func (c *Carrier) carryAll(ctx context.Context, parcels []*Parcel) (late []*Parcel) {
	var held []*Parcel
	for _, p := range parcels {
		lock, err := hold(p)
		switch {
		case errors.Is(err, vfs.ErrLocked):
			late = append(late, p)
		case err != nil:
			p.Err = vfs.Classify(err)
		default:
			defer lock.Close()
			held = append(held, p)
		}
	}
	c.copyAll(ctx, held)
	for _, p := range held {
		if p.Err == nil {
			c.removeOriginal(p)
		}
	}
	return late
}

// removeOriginal ends a move. If the original can't go the copy goes: there is one message, as there was before. A removal
// may have failed after it was done, so that is looked at first.
func (c *Carrier) removeOriginal(p *Parcel) {
	err := p.From.Remove(p.Message)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return
	}
	p.Err = err
	if _, _, err := p.From.Stat(p.Message); err == nil {
		p.To.Remove(p.Now)
		p.To.Sync()
	}
}

// carryFar moves messages by copies. Those that somebody else is moving it takes up again, and mostly finds them gone. Nobody
// waits while he makes others wait.
func (c *Carrier) carryFar(ctx context.Context, parcels []*Parcel) {
	for left := lockPatience; len(parcels) > 0; {
		var late []*Parcel
		inBatches(parcels, func(some []*Parcel) { late = append(late, c.carryAll(ctx, some)...) })
		if len(late) == len(parcels) {
			if err := pauseFor(ctx, left); err != nil {
				for _, p := range late {
					p.Err = err
				}
				return
			}
			left -= lockPause
		}
		parcels = late
	}
}

// pauseFor waits a moment, if there is time left.
func pauseFor(ctx context.Context, left time.Duration) error {
	if left <= 0 {
		return errLocked
	}
	timer := time.NewTimer(lockPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold takes the flock of a message, and makes sure that it is there still. Where there are no such locks it does without.
func hold(p *Parcel) (vfs.File, error) {
	f, err := p.From.OpenMessage(p.Message)
	if err != nil {
		return nil, err
	}
	if err = f.Lock(); err != nil && !errors.Is(err, vfs.ErrLocked) {
		err = nil
	}
	if err == nil {
		p.Message, _, err = p.From.Stat(p.Message)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// copyAll copies messages, which share the syncs of directories.
func (c *Carrier) copyAll(ctx context.Context, parcels []*Parcel) {
	var plain []*Parcel
	var deliveries []*maildir.Delivery
	for _, p := range parcels {
		words := c.keywords(p)
		switch {
		case p.Err != nil:
		case ctx.Err() != nil:
			p.Err = ctx.Err()
		case words != nil:
			c.copyWorded(ctx, p, words)
		default:
			w, err := copyOut(p)
			if err != nil {
				p.Err = err
				continue
			}
			plain, deliveries = append(plain, p), append(deliveries, w)
		}
	}
	for i, err := range maildir.CommitAll(deliveries) {
		if plain[i].Err = err; err == nil {
			plain[i].Now = deliveries[i].Message()
		}
	}
}

// copyOut writes a message to the Maildir it goes to; the rest is Commit.
func copyOut(p *Parcel) (*maildir.Delivery, error) {
	w, err := p.To.Deliver()
	if err != nil {
		return nil, err
	}
	if err = fill(w, p); err == nil {
		err = w.Finish()
	}
	if err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// fill copies the octets, the flags and the time.
func fill(w *maildir.Delivery, p *Parcel) error {
	f, err := p.From.OpenMessage(p.Message)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return vfs.Classify(err)
	}
	w.SetTime(fi.ModTime())
	if p.Message, _, err = p.From.Stat(p.Message); err != nil {
		return err
	}
	if !p.Message.New {
		w.Keep(p.Message.Flags)
	}
	_, err = io.Copy(w, struct{ io.Reader }{f})
	return vfs.Classify(err)
}

// copyWorded copies a message that has keywords, of which the index on the other side has to know.
func (c *Carrier) copyWorded(ctx context.Context, p *Parcel, words []string) {
	box, err := c.box(ctx, p.To)
	if err != nil {
		p.Err = err
		return
	}
	in, err := box.Receive(Attributes{Keywords: words})
	if err != nil {
		p.Err = err
		return
	}
	defer in.Abort()
	if p.Err = fill(in.w, p); p.Err != nil {
		return
	}
	if _, p.Err = box.Adopt(ctx, in); p.Err == nil {
		p.Now = in.w.Message()
	}
}

func (c *Carrier) box(ctx context.Context, d *maildir.Dir) (*Box, error) {
	if b := c.boxes[d]; b != nil {
		return b, nil
	}
	b, err := Open(ctx, c.fsys, d)
	if err == nil {
		c.boxes[d] = b
	}
	return b, err
}

// dirKeywords are the keywords in a Maildir, and what its index looked like.
type dirKeywords struct {
	stamp string
	words map[string][]string
}

// keywords gives those of a message, or nil; an error goes to the Parcel.
func (c *Carrier) keywords(p *Parcel) []string {
	stamp := IndexStamp(c.fsys, p.From)
	known := c.words[p.From]
	if known == nil || known.stamp != stamp {
		words, err := KeywordsOf(c.fsys, p.From)
		if err != nil {
			p.Err = err
			return nil
		}
		known = &dirKeywords{stamp, words}
		c.words[p.From] = known
	}
	return known.words[p.Message.Base]
}
