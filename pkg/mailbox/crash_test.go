package mailbox

import (
	"context"
	"io"
	"strings"
	"testing"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// shown is what clients were told: which message a pair of UIDVALIDITY and UID is.
type shown map[[2]uint32]string

func (s shown) look(t *testing.T, b *Box, trial vfs.Trial) {
	t.Helper()
	for _, m := range b.Messages() {
		key := [2]uint32{b.UIDValidity(), m.UID}
		if old, ok := s[key]; ok && old != m.Base {
			t.Errorf("R6: %v was %s, is %s: %s", key, old, m.Base, trial)
		}
		s[key] = m.Base
	}
}

func openMem(m vfs.FS) (*Box, error) {
	d, err := maildir.Open(m, "box")
	if err != nil {
		return nil, err
	}
	return Open(context.Background(), m, d)
}

// next is what the next process sees, and that it works.
func next(t *testing.T, m *vfs.Mem, told shown, trial vfs.Trial) {
	t.Helper()
	b, err := openMem(m)
	if err != nil {
		t.Errorf("R3: %v: %s", err, trial)
		return
	}
	told.look(t, b, trial)
	b.Close()
}

// arriveEarly puts a message into the box that comes before all others in the order of delivery.
func arriveEarly(t *testing.T, m *vfs.Mem) {
	t.Helper()
	f, err := m.Create("box/cur/1.early.host:2,")
	must(t, err)
	must(t, f.Close())
}

func TestTrials(t *testing.T) {
	ctx := context.Background()
	base := vfs.NewMem()
	d := newDir(t, base, "box")
	deliver(t, d, text)
	fresh := base.Clone()
	b := open(t, base, d)
	must(t, b.Change(ctx, []uint32{1}, Change{Add: "T", AddKeywords: []string{"k"}}))
	b.Close()
	deliver(t, d, text)
	for _, m := range []*vfs.Mem{base, fresh} {
		m.SyncAll()
	}
	for _, op := range []struct {
		name string
		base *vfs.Mem
		do   func(*Box) error
	}{
		{"first open", fresh, func(*Box) error { return nil }},
		{"open", base, func(*Box) error { return nil }},
		{"take", base, func(b *Box) error { _, err := b.TakeNew(ctx); return err }},
		{"append", base, func(b *Box) error {
			in, err := b.Receive(Attributes{Flags: "S", Keywords: []string{"j"}})
			if err != nil {
				return err
			}
			io.WriteString(in, text)
			_, err = b.Adopt(ctx, in)
			return err
		}},
		{"keyword", base, func(b *Box) error {
			return b.Change(ctx, []uint32{1, 2}, Change{Add: "F", AddKeywords: []string{"j"}})
		}},
		{"expunge", base, func(b *Box) error {
			_, err := b.Expunge(ctx, func(m *Message) bool { return m.Has('T') })
			return err
		}},
		{"rewrite", base, func(b *Box) error {
			b.whole = true
			return b.Change(ctx, []uint32{1}, Change{AddKeywords: []string{"j"}})
		}},
	} {
		t.Run(op.name, func(t *testing.T) {
			var told shown
			var last string
			run := func(fsys vfs.FS) error {
				told, last = shown{}, ""
				b, err := openMem(fsys)
				if err != nil {
					return err
				}
				defer b.Close()
				told.look(t, b, vfs.Trial{})
				err = op.do(b)
				told.look(t, b, vfs.Trial{})
				last = show(b)
				return err
			}
			for trial := range vfs.Trials(op.base, run) {
				heard := shown{}
				for k, v := range told {
					heard[k] = v
				}
				if trial.Killed {
					next(t, trial.Mem, heard, trial)
					for _, c := range trial.Mem.Choices() {
						after := trial.Mem.After(c)
						arriveEarly(t, after) // whoever assigns UIDs anew gives it the first one
						next(t, after, heard, trial)
					}
				} else {
					next(t, trial.Mem, heard, trial)
				}
				if trial.Err == nil && !trial.Killed {
					b, err := openMem(trial.Mem)
					must(t, err)
					// On a full disk the operation may have left new messages unseen.
					if got := show(b); got != last && !(trial.Failed.Op != "" && strings.HasPrefix(got, last)) {
						t.Errorf("R1: then %q, was %q: %s", got, last, trial)
					}
					b.Close()
				}
				if left := trial.Mem.OpenFiles(); left != nil && !trial.Crashed {
					t.Errorf("left open %q: %s", left, trial)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}
