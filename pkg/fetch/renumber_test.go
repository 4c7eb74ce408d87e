package fetch

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// renumbered is a source whose ids begin with an epoch, as those of IMAP; all messages have one size, and flags.
type renumbered struct {
	*fakeSource
	epoch int
}

func (r renumbered) List(each func(Item) error) error {
	for i, id := range r.order {
		it := Item{Number: i + 1, ID: fmt.Sprintf("%d.%s", r.epoch, id), Size: int64(len(r.texts[id])), Flags: "S"}
		if err := each(it); err != nil {
			return err
		}
	}
	return nil
}

func (r renumbered) plain(items []Item) []Item {
	items = slices.Clone(items)
	for i := range items {
		_, items[i].ID, _ = strings.Cut(items[i].ID, ".")
	}
	return items
}

func (r renumbered) named(it Item) Item {
	it.ID = fmt.Sprintf("%d.%s", r.epoch, it.ID)
	return it
}

func (r renumbered) Retrieve(items []Item, each func(Item, io.Reader, error) error) error {
	return r.fakeSource.Retrieve(r.plain(items), func(it Item, text io.Reader, err error) error { return each(r.named(it), text, err) })
}

func (r renumbered) Delete(items []Item, each func(Item, error) error) error {
	return r.fakeSource.Delete(r.plain(items), func(it Item, err error) error { return each(r.named(it), err) })
}

func (r renumbered) Headers(items []Item, each func(Item, io.Reader) error) error {
	for _, it := range r.plain(items) {
		head, _, _ := strings.Cut(r.texts[it.ID], "\n\n")
		if err := each(r.named(it), strings.NewReader(head+"\n\n")); err != nil {
			return err
		}
	}
	return nil
}

func renumberedAccount(fsys vfs.FS, s *server, epoch int) *Account {
	a := account(fsys, s)
	a.KeepFlags = true
	a.Open = func(context.Context) (Source, error) {
		return renumbered{&fakeSource{server: s, doomed: map[string]bool{}}, epoch}, nil
	}
	return a
}

// TestCrashRenumbered: as TestCrash, for a run that finds all ids changed, one message new, and deletes.
func TestCrashRenumbered(t *testing.T) {
	const n = 3
	base := newSpool(t)
	first := newServer(n - 1)
	mustRun(t, renumberedAccount(base, first, 1))
	base.SyncAll()
	var s *server
	op := func(fsys vfs.FS) error {
		s = newServer(n)
		a := renumberedAccount(base, s, 2)
		a.FS, a.Delete = fsys, true
		var err error
		if a.Dir, err = maildir.Open(fsys, "/mail"); err != nil {
			return err
		}
		_, err = a.Run(context.Background())
		return err
	}
	trials := 0
	for trial := range vfs.Trials(base, op) {
		trials++
		here := fetched(t, trial.Mem)
		for i := range n {
			id := fmt.Sprintf("id-%03d", i)
			if _, there := s.texts[id]; here[id] == 0 && !there {
				t.Fatalf("%s is lost; %s", id, trial)
			}
		}
		again := trial.Mem.Clone()
		a := renumberedAccount(again, s.clone(), 2)
		if _, err := a.Run(context.Background()); err != nil {
			t.Fatalf("the next run: %v; %s", err, trial)
		}
		if wantAll(t, again, n, 1); t.Failed() {
			t.Fatal(trial)
		}
	}
	if trials < 50 {
		t.Errorf("only %d trials", trials)
	}
}

// TestRenumberedCopies: each print counts as often as it is remembered, and messages without one are fetched.
func TestRenumberedCopies(t *testing.T) {
	m, s := newSpool(t), newServer(2)
	s.texts["id-001"] = s.texts["id-000"]
	mustRun(t, renumberedAccount(m, s, 1))
	s.put("id-002")
	s.texts["id-002"] = s.texts["id-000"] // a third copy, which came with the change
	if r := mustRun(t, renumberedAccount(m, s, 2)); r.Fetched != 1 {
		t.Errorf("%+v, want one of three copies", r)
	}
	if r := mustRun(t, renumberedAccount(m, s, 2)); r.Fetched != 0 {
		t.Errorf("then %+v", r)
	}
	if got := fetched(t, m); got["id-000"] != 3 {
		t.Errorf("%v", got)
	}
}
