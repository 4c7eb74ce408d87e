package mailbox

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"mailx/pkg/vfs"
)

// Move moves messages to another Box with their flags, keywords and internal dates, each of them wholly or not at all, durably
// (RFC 6851 §3.3). Those that are gone are left out. After an error it still says what was moved before.
//
// Within a mailbox it is a rename: nothing is written but the index, no quota is asked, and of many who move the same message
// one succeeds. Else it is what a Carrier does.
func (b *Box) Move(ctx context.Context, to *Box, uids ...uint32) (Copied, error) {
	moving := b.outgoing(to, uids)
	if len(moving) == 0 {
		return Copied{}, nil
	}
	err := b.bringTo(ctx, to, moving)
	if err == nil {
		err = b.carryTo(ctx, to, moving)
	}
	var done Copied
	for _, o := range moving {
		if o.moved {
			done.From, done.To = append(done.From, o.uid), append(done.To, o.newUID)
		}
	}
	look := func(b *Box) func() error { return func() error { return b.Sync(context.WithoutCancel(ctx)) } }
	steps := []func() error{to.dir.Sync, b.dir.Sync, look(b)}
	if len(done.From) < len(moving) { // others have UIDs there, and will not come
		steps = append(steps, look(to))
	}
	for _, settle := range steps {
		if serr := settle(); err == nil {
			err = serr
		}
	}
	return done, err
}

// outgoing is a message on its way out of a Box.
type outgoing struct {
	Arrival
	parcel Parcel
	uid    uint32
	newUID uint32 // 0: somebody took it away again at once
	moved  bool
	far    bool // a rename can't do it
}

func (b *Box) outgoing(to *Box, uids []uint32) []*outgoing {
	var moving []*outgoing
	for _, uid := range uids {
		m := b.Find(uid)
		if m == nil {
			continue
		}
		moving = append(moving, &outgoing{
			uid: uid, Arrival: Arrival{Name: m.Name, Keywords: m.Keywords},
			parcel: Parcel{From: b.dir, To: to.dir, Message: m.Message},
		})
	}
	return moving
}

// bringTo renames the messages into the other Maildir, when its index knows them, or says that they are far. A full disk may
// have room for a rename and none for the index: a Carrier does without, and they get their UIDs when there is room.
func (b *Box) bringTo(ctx context.Context, to *Box, moving []*outgoing) error {
	arrivals := make([]*Arrival, len(moving))
	for i, o := range moving {
		o.far, arrivals[i] = true, &o.Arrival
	}
	if !mayRename(b.fsys, &moving[0].parcel) {
		return nil
	}
	started := false
	err := to.Await(ctx, arrivals, func() error {
		started = true
		for _, o := range moving {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := o.rename(); err != nil {
				return err
			}
		}
		return nil
	})
	if !started && isFull(err) {
		return nil
	}
	return err
}

// rename passes over a message that is gone.
func (o *outgoing) rename() error {
	_, err := o.parcel.From.MoveTo(o.parcel.To, o.parcel.Message, o.Base)
	o.moved, o.newUID = err == nil, o.UID
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.EXDEV): // the first: it came there meanwhile
		return nil
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	o.far = false
	return err
}

// carryTo moves the messages that are far. They get their UIDs when they are there.
func (b *Box) carryTo(ctx context.Context, to *Box, moving []*outgoing) (err error) {
	var far []*outgoing
	var parcels []*Parcel
	for _, o := range moving {
		if o.far {
			far, parcels = append(far, o), append(parcels, &o.parcel)
		}
	}
	if len(far) == 0 {
		return nil
	}
	c := NewCarrier(b.fsys)
	defer c.Close()
	c.Move(ctx, parcels)
	serr := to.Sync(context.WithoutCancel(ctx))
	now := make(map[string]uint32, len(to.st.msgs))
	for i := range to.st.msgs {
		now[to.st.msgs[i].Base] = to.st.msgs[i].UID
	}
	for _, o := range far {
		switch {
		case o.parcel.Err == nil:
			o.moved, o.newUID = true, now[o.parcel.Now.Base]
		case !errors.Is(o.parcel.Err, fs.ErrNotExist) && err == nil:
			err = vfs.Classify(o.parcel.Err)
		}
	}
	if err == nil {
		err = serr
	}
	return err
}
