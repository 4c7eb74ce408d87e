package queue

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maillog"
)

func TestListAndGet(t *testing.T) {
	w := newWorld(t)
	env := &mail.Envelope{ID: "m7", Sender: addr("s@x"), EnvID: "e", Rcpts: rcpts("ok@y", "temp@y", "perm@y")}
	id := w.enqueue(env, ketchup)
	item, err := w.q.Get(id)
	if err != nil || item.State != StateNew || item.Attempts != 0 || item.Error != "" || item.Size != int64(len(ketchup)) ||
		!item.Arrived.Equal(arrived) || !item.NextTry.Equal(arrived) || item.Envelope.EnvID != "e" {
		t.Errorf("got %+v, %v", item, err)
	}
	w.flush(FlushOptions{})
	item, err = w.q.Get(id[:4])
	if err != nil || item.ID != id || item.State != StateTried || item.Attempts != 1 ||
		!item.LastTry.Equal(arrived.Truncate(time.Second)) || item.NextTry.Sub(arrived) != 400*time.Second || len(item.Rcpts) != 3 {
		t.Errorf("got %+v, %v", item, err)
	}
	for i, want := range []RcptStatus{
		{State: RcptDelivered, Reply: "250 2.0.0 ok"},
		{State: RcptPending, Status: mail.Status{Class: 4, Subject: 2, Detail: 2}, Reply: "452 4.2.2 mailbox full"},
		{State: RcptFailed, Status: mail.Status{Class: 5, Subject: 1, Detail: 1}, Reply: "550 5.1.1 no such user"},
	} {
		want.Recipient, want.At, want.MTA = item.Rcpts[i].Recipient, arrived.Truncate(time.Second), "mx.example"
		if item.Rcpts[i] != want {
			t.Errorf("recipient %d: got %+v, want %+v", i, item.Rcpts[i], want)
		}
	}
	if item.Error != "452 4.2.2 mailbox full" { // not the trouble of one who is not to do any more
		t.Errorf("got Error %q", item.Error)
	}
	m, err := w.q.OpenMessage(id)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if b, err := io.ReadAll(m); string(b) != ketchup || err != nil || m.Item.ID != id {
		t.Errorf("message is %q, %v", b, err)
	}
}

// The attempts that are shown survive the side file only roughly; everything that matters does without it.
func TestSideFileLost(t *testing.T) {
	w := newWorld(t)
	id := w.mail("temp@y", "temp2@y")
	w.flush(FlushOptions{})
	item, _ := w.q.Get(id)
	if err := w.mem.Remove("/q/.progress/" + baseOf(strings.TrimPrefix(item.File, "cur/"))); err != nil {
		t.Fatal(err)
	}
	w.clock.add(400 * time.Second)
	w.flush(FlushOptions{})
	item, err := w.q.Get(id)
	if err != nil || item.Attempts != 1 || item.NextTry.Sub(arrived) != 1600*time.Second {
		t.Errorf("got %+v, %v", item, err)
	}
}

func TestSelect(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for range 40 {
		ids = append(ids, w.mail("temp@y"))
	}
	got, err := w.q.Select(ids...)
	if err != nil || strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Errorf("got %v, %v, want %v", got, err, ids)
	}
	for _, c := range []struct {
		id   string
		want error
	}{
		{ids[0], nil}, {ids[0][:9], nil}, {ids[0] + "x", ErrNotFound}, {"", ErrNotFound}, {"iiii", ErrNotFound},
		{"../x", ErrNotFound},
	} {
		if _, err := w.q.Get(c.id); !errors.Is(err, c.want) {
			t.Errorf("Get(%q): %v, want %v", c.id, err, c.want)
		}
	}
	first := map[byte]bool{} // of 40 IDs, two begin alike
	for _, id := range ids {
		if first[id[0]] {
			if _, err := w.q.Get(id[:1]); !errors.Is(err, ErrAmbiguous) {
				t.Errorf("Get(%q): %v, want %v", id[:1], err, ErrAmbiguous)
			}
		}
		first[id[0]] = true
	}
	if err := w.q.Hold(ids[0], "iiii", ids[1]); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "iiii") {
		t.Errorf("got %v, want ErrNotFound with the id", err)
	}
	for _, id := range ids[:2] {
		if item, err := w.q.Get(id); item.State != StateHeld {
			t.Errorf("%s is %q, %v; want held, in spite of the wrong id", id, item.State, err)
		}
	}
}

func TestIDIsStable(t *testing.T) {
	const name = "1795428000.M123456P7972R77767f1a2a269828.vm,S=184,W=192"
	for _, other := range []string{name + ":2,", name + ":2,FS", "1795428000.M123456P7972R77767f1a2a269828.vm"} {
		if idOf(other) != idOf(name) {
			t.Errorf("idOf(%q) = %q, want %q", other, idOf(other), idOf(name))
		}
	}
	if got := idOf(name); got != "" && (len(got) != idLen || strings.ContainsAny(got, "ilou")) {
		t.Errorf("idOf = %q", got)
	}
	seen := map[string]bool{}
	for i := range 100000 {
		seen[idOf(strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String())] = true
	}
	if len(seen) < 99999 {
		t.Errorf("%d IDs of 100000 names", len(seen))
	}
}

func TestHoldReleaseRetryRemove(t *testing.T) {
	w := newWorld(t)
	id := w.mail("ok@y", "temp@y")
	w.flush(FlushOptions{})
	w.fake.calls = nil
	do := func(what string, err error, want string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if want == "" {
			w.wantItems()
			return
		}
		w.wantItems(want + " <sender@x.example> ok=delivered temp=pending")
	}
	do("hold", w.q.Hold(id), "held")
	do("hold again", w.q.Hold(id), "held")
	if err := w.q.Retry(id); err == nil {
		t.Error("retry of a held message is no error")
	}
	w.flush(FlushOptions{All: true})
	w.flush(FlushOptions{IDs: []string{id}})
	w.wantCalls()
	do("release", w.q.Release(id), "deferred")
	do("release again", w.q.Release(id), "deferred")
	w.flush(FlushOptions{})
	w.wantCalls("temp@y")
	w.flush(FlushOptions{})
	w.wantCalls("temp@y")
	do("retry", w.q.Retry(id), "deferred")
	w.flush(FlushOptions{})
	w.wantCalls("temp@y", "temp@y")
	w.flush(FlushOptions{IDs: []string{id[:5]}}) // due or not
	w.wantCalls("temp@y", "temp@y", "temp@y")
	do("remove", w.q.Remove(id), "")
	if strings.Contains(w.mem.Tree(), "S=") {
		t.Errorf("files are left:\n%s", w.mem.Tree())
	}
}

func TestBounce(t *testing.T) {
	w := newWorld(t)
	id := w.mail("ok@y", "temp@y")
	held := w.mail("ok@y")
	w.flush(FlushOptions{IDs: []string{id}})
	if err := errors.Join(w.q.Hold(held), w.q.Bounce("Given up by the\nadministrator", id, held)); err != nil {
		t.Fatal(err)
	}
	w.fake.bodies = nil
	w.flush(FlushOptions{})
	w.wantItems()
	all := strings.Join(w.fake.bodies, "")
	for _, s := range []string{"rfc822; temp@y\n", "rfc822; ok@y\n", "Status: 5.0.0", "Given up by the administrator"} {
		if len(w.fake.bodies) != 2 || !strings.Contains(all, s) {
			t.Errorf("no %q in %q", s, w.fake.bodies)
		}
	}
}

// What can't be done because of what others do says so, and does not blame the disk.
func TestRefusedDeeds(t *testing.T) {
	w := newWorld(t)
	taken, held := w.mail("ok@y"), w.mail("ok@y")
	spots, err := w.q.selectSpots([]string{taken})
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.q.claim(spots[0])
	if err != nil {
		t.Fatal(err)
	}
	defer e.release()
	if err := w.q.Hold(held); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		taken + ": another flush has it":        w.q.Bounce("", taken),
		held + ": it is held: release it first": w.q.Retry(held),
		"none1: " + ErrNotFound.Error():         w.q.Retry("none1"),
		"none2: no such message in the queue":   w.q.Bounce("", "none2"),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What has failed is tried again after its release, and who has got it is left alone.
func TestReleaseFailed(t *testing.T) {
	w := newWorld(t)
	id := w.enqueue(&mail.Envelope{ID: "m1", Rcpts: rcpts("ok@y", "perm@y")}, ketchup)
	w.flush(FlushOptions{})
	w.wantItems("failed <> ok=delivered perm=failed")
	if err := w.q.Release(id); err != nil {
		t.Fatal(err)
	}
	w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
		r[0].Err = nil
		return r
	}
	w.flush(FlushOptions{})
	w.wantCalls("ok@y,perm@y", "perm@y")
	w.wantItems()
}

func TestOpenWithoutQueue(t *testing.T) {
	w := newWorld(t)
	if q, err := Open(w.mem, "/nothing", Options{}); err == nil {
		t.Errorf("got %v", q)
	}
	for _, dir := range []string{"/q/.Hold/tmp", "/q/.Hold/new", "/q/.Hold/cur", "/q/.Hold", "/q/.progress"} {
		if err := w.mem.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	q, err := Open(w.mem, "/q", w.options())
	if err != nil {
		t.Fatal(err)
	}
	w.q = q
	if err := w.q.Hold(w.mail("ok@y")); err != nil {
		t.Error(err)
	}
}

func TestListStops(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.mail("ok@y")
	}
	for range w.q.List(context.Background()) {
		break
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	for _, err := range w.q.List(ctx) {
		if n++; n == 2 && !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
		cancel()
	}
	if n != 2 {
		t.Errorf("%d items", n)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	var log strings.Builder
	opt := w.options()
	opt.Log, opt.Counters = maillog.New(&log, maillog.Options{}), &maillog.Counters{}
	q, err := Open(w.mem, "/q", opt)
	if err != nil {
		t.Fatal(err)
	}
	w.q = q
	id := w.mail("ok@y", "temp@y", "perm@y")
	other := w.mail("ok@y")
	w.flush(FlushOptions{})
	want := map[maillog.Kind]uint64{
		maillog.Queued: 3, maillog.Delivered: 2, maillog.Deferred: 1, maillog.Bounced: 1, maillog.Removed: 1,
	}
	for _, c := range opt.Counters.Snapshot() {
		if c.Events != want[c.Kind] {
			t.Errorf("%d events %q, want %d; log:\n%s", c.Events, c.Kind, want[c.Kind], log.String())
		}
	}
	for _, s := range []string{"id=m1", "from=<sender@x.example>", "to=<perm@y>", "status=5.1.1", "relay=mx.example",
		"msg=queued id=m1 queue_id=" + id, "msg=deferred id=m1 queue_id=" + id, "msg=removed id=m1 queue_id=" + other} {
		if !strings.Contains(log.String(), s) {
			t.Errorf("log lacks %q:\n%s", s, log.String())
		}
	}
}
