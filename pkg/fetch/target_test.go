package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// taker is a Target that counts what it has.
type taker struct {
	got    map[string]int
	refuse map[string]error // by id
	all    error
	before func()
}

func (k *taker) Take(_ context.Context, it Item, text io.Reader) error {
	b, err := io.ReadAll(text)
	if err != nil {
		return err
	}
	if err := k.refuse[it.ID]; err != nil {
		return err
	}
	if k.all != nil {
		return k.all
	}
	if want := "Subject: " + it.ID + "\n\nThis is " + it.ID + ".\n"; string(b) != want {
		return fmt.Errorf("%s: got %q, want %q", it.ID, b, want)
	}
	if k.before != nil {
		k.before()
	}
	k.got[it.ID]++
	return nil
}

func TestTarget(t *testing.T) {
	m, s := newSpool(t), newServer(5)
	k := &taker{got: map[string]int{}, refuse: map[string]error{
		"id-001": mail.Permanentf(6, 0, "no"), "id-003": mail.Temporaryf(3, 0, "later")}}
	a := account(m, s)
	a.Target, a.Delete = k, true
	if r := mustRun(t, a); r.Fetched != 3 || r.Failed != 2 || r.Deleted != 3 || !slices.Equal(s.order, []string{"id-001", "id-003"}) {
		t.Errorf("%+v, left %q", r, s.order)
	}
	k.refuse = nil
	mustRun(t, a)
	for i := range 5 {
		if id := fmt.Sprintf("id-%03d", i); k.got[id] != 1 {
			t.Errorf("%s was taken %d times", id, k.got[id])
		}
	}
	if len(fetched(t, m)) != 0 {
		t.Error("something went into the Maildir too")
	}
}

// TestTargetOutOfOrder: a target that takes nothing ends the run soon.
func TestTargetOutOfOrder(t *testing.T) {
	s := newServer(100)
	a := account(newSpool(t), s)
	a.Target = &taker{all: errors.New("connection refused")}
	if r, err := a.Run(t.Context()); err == nil || r.Failed != maxTroubles || r.Fetched != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTargetBroken: a text that breaks off is not counted, whatever the target says of it.
func TestTargetBroken(t *testing.T) {
	s := newServer(3)
	s.cutAt = 2
	k := &taker{got: map[string]int{}}
	a := account(newSpool(t), s)
	a.Target = k
	if r, err := a.Run(t.Context()); !errors.Is(err, errCut) || r.Fetched != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	in := &boundedText{r: mailtest.ErrReader("Subj", errCut), left: 1 << 20}
	if b, err := io.ReadAll(in); string(b) != "Subj" || err != errCut || in.err != errCut {
		t.Errorf("%q, %v, %v", b, err, in.err)
	}
}

// TestTargetCrash: a target gets at most one message twice for each crash, and none is lost.
func TestTargetCrash(t *testing.T) {
	const n = 3
	base := newSpool(t)
	var s *server
	var k *taker
	op := func(fsys vfs.FS) error {
		s, k = newServer(n), &taker{got: map[string]int{}}
		a := account(base, s)
		a.FS, a.Target, a.Delete, a.Dir = fsys, k, true, nil
		_, err := a.Run(context.Background())
		return err
	}
	trials := 0
	for trial := range vfs.Trials(base, op) {
		trials++
		later := &taker{got: map[string]int{}}
		server := s.clone()
		a := account(trial.Mem, server)
		a.FS, a.Target = trial.Mem.Clone(), later
		if _, err := a.Run(context.Background()); err != nil {
			t.Fatalf("the next run: %v; %s", err, trial)
		}
		twice := 0
		for i := range n {
			id := fmt.Sprintf("id-%03d", i)
			switch k.got[id] + later.got[id] {
			case 0:
				t.Fatalf("%s is lost; %s", id, trial)
			case 2:
				twice++
			}
		}
		if twice > 1 {
			t.Fatalf("%d came twice; %s", twice, trial)
		}
	}
	if trials < 20 {
		t.Errorf("only %d trials", trials)
	}
}

// datedServer knows dates, and tells them only when asked, as POP3.
type datedSource struct{ *fakeSource }

func (d datedSource) Dates(items []Item, each func(Item, time.Time) error) error {
	for i, it := range items {
		date := time.Unix(int64(1000*i), 0)
		if i == 3 {
			date = time.Time{}
		}
		if err := each(it, date); err != nil {
			return err
		}
	}
	return nil
}

func TestMaxAge(t *testing.T) {
	s := newServer(5)
	a := account(newSpool(t), s)
	a.Now = func() time.Time { return time.Unix(5000, 0) }
	a.MaxAge = 3000 * time.Second
	a.Open = func(ctx context.Context) (Source, error) {
		return datedSource{&fakeSource{server: s, doomed: map[string]bool{}}}, nil
	}
	if r := mustRun(t, a); r.TooOld != 2 || r.Fetched != 3 {
		t.Errorf("%+v", r)
	}
	a.MaxAge = 0
	if r := mustRun(t, a); r.TooOld != 0 || r.Fetched != 2 {
		t.Errorf("without a limit: %+v", r)
	}
}

func TestDateOf(t *testing.T) {
	received := "Received: from a by b; Mon, 2 Jan 2006 15:04:05 +0000\n"
	for header, want := range map[string]int64{
		received + "Date: Thu, 1 Jan 1970 00:00:07 +0000\n\n":                        1136214245,
		"Date: Thu, 1 Jan 1970 00:00:07 +0000\n\n":                                   7,
		"Received: from a by b; yesterday\nDate: Thu, 1 Jan 1970 00:00:07 +0000\n\n": 7,
	} {
		if got := dateOf(strings.NewReader(header)); got.Unix() != want {
			t.Errorf("%q: %v, want %d", header, got, want)
		}
	}
	if got := dateOf(strings.NewReader("Subject: x\n\n")); !got.IsZero() {
		t.Errorf("no date: %v", got)
	}
}

// TestHeaderPrint: fed whole or one octet at a time, the print is that of the header alone.
func TestHeaderPrint(t *testing.T) {
	want := (&headerPrint{head: []byte("A: b\nC: d\n")}).of(Item{Size: 9})
	for _, text := range []string{"A: b\nC: d\n\nbody\n\nmore", "A: b\nC: d\n\n", "A: b\nC: d\n"} {
		for _, r := range []io.Reader{strings.NewReader(text), mailtest.OneOctetReader(strings.NewReader(text))} {
			h := new(headerPrint)
			io.Copy(h, r)
			if got := h.of(Item{Size: 9}); got != want {
				t.Errorf("%q: %s, want %s", text, got, want)
			}
		}
	}
	h := new(headerPrint)
	io.Copy(h, io.LimitReader(zeros{}, 1<<20))
	if len(h.head) != maxHeader {
		t.Errorf("a header of %d octets is kept", len(h.head))
	}
}
