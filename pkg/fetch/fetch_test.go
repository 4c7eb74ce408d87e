package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/pop3"
	"mailx/pkg/vfs"
)

// server is a mailbox in memory. Deletions wait for Quit, as with POP3.
type server struct {
	texts  map[string]string // by id
	order  []string
	double []string        // ids that are listed once more
	refuse map[string]bool // ids that it will not give
	cutAt  int             // the connection breaks when so many messages were given; 0: never
}

func newServer(n int) *server {
	s := &server{texts: map[string]string{}, refuse: map[string]bool{}}
	for i := range n {
		s.put(fmt.Sprintf("id-%03d", i))
	}
	return s
}

func (s *server) put(id string) {
	s.texts[id] = "Subject: " + id + "\n\nThis is " + id + ".\n"
	s.order = append(s.order, id)
}

func (s *server) open(context.Context) (Source, error) {
	return &fakeSource{server: s, doomed: map[string]bool{}}, nil
}

func (s *server) clone() *server {
	c := *s
	c.texts, c.order = maps.Clone(s.texts), slices.Clone(s.order)
	return &c
}

// fakeSource is one session with a server.
type fakeSource struct {
	*server
	doomed map[string]bool
	given  int
}

func (s *fakeSource) List(each func(Item) error) error {
	for i, id := range append(slices.Clone(s.order), s.double...) {
		if err := each(Item{Number: i + 1, ID: id, Size: int64(len(s.texts[id]))}); err != nil {
			return err
		}
	}
	return nil
}

var errCut = errors.New("connection is broken")

func (s *fakeSource) Retrieve(items []Item, each func(Item, io.Reader, error) error) error {
	for _, it := range items {
		id, _, _ := strings.Cut(it.ID, " ")
		if s.given++; s.given == s.cutAt {
			return each(it, mailtest.ErrReader(s.texts[id][:5], errCut), nil)
		}
		var err error
		if s.refuse[id] {
			err = each(it, nil, &pop3.ReplyError{Verb: "RETR", Text: "gone"})
		} else {
			err = each(it, strings.NewReader(s.texts[id]), nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeSource) Delete(items []Item, each func(Item, error) error) error {
	for _, it := range items {
		s.doomed[it.ID] = true
		if err := each(it, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeSource) Quit() error {
	for id := range s.doomed {
		delete(s.texts, id)
	}
	s.order = slices.DeleteFunc(s.order, func(id string) bool { return s.doomed[id] })
	return nil
}

func (s *fakeSource) Close() error { return nil }

// newSpool has an empty Maildir and nothing else.
func newSpool(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	if _, err := maildir.Create(m, "/mail"); err != nil {
		t.Fatal(err)
	}
	m.SyncAll()
	return m
}

func account(fsys vfs.FS, s *server) *Account {
	dir, err := maildir.Open(fsys, "/mail")
	if err != nil {
		dir = nil // for tests that set it
	}
	return &Account{Name: "work", Open: s.open, Dir: dir, FS: fsys, State: "/state/fetch", Parallel: 1}
}

// fetched counts the messages in the Maildir by their subject.
func fetched(t testing.TB, fsys vfs.FS) map[string]int {
	t.Helper()
	dir, err := maildir.Open(fsys, "/mail")
	if err != nil {
		t.Fatal(err)
	}
	list, err := dir.List()
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, m := range list {
		f, err := dir.OpenMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		id, ok := strings.CutPrefix(string(b), "Subject: ")
		if id, _, _ = strings.Cut(id, "\n"); !ok || string(b) != "Subject: "+id+"\n\nThis is "+id+".\n" {
			t.Errorf("%s is damaged: %q", m.File, b)
			continue
		}
		count[id]++
	}
	return count
}

// wantAll wants each of the first n messages so many times.
func wantAll(t testing.TB, fsys vfs.FS, n, times int) {
	t.Helper()
	got := fetched(t, fsys)
	for i := range n {
		if id := fmt.Sprintf("id-%03d", i); got[id] != times {
			t.Errorf("%s is there %d times, want %d", id, got[id], times)
		}
	}
	if len(got) != n {
		t.Errorf("%d different messages, want %d", len(got), n)
	}
}

func mustRun(t testing.TB, a *Account) Result {
	t.Helper()
	r, err := a.Run(t.Context())
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	return r
}

func TestOnlyNew(t *testing.T) {
	for _, parallel := range []int{1, 4} {
		m, s := newSpool(t), newServer(200)
		a := account(m, s)
		a.Parallel = parallel
		if r := mustRun(t, a); r.Fetched != 200 || r.Listed != 200 || r.Deleted != 0 || r.Octets == 0 {
			t.Errorf("first run: %+v", r)
		}
		if r := mustRun(t, a); r.Fetched != 0 {
			t.Errorf("second run: %+v", r)
		}
		s.put("id-200")
		if r := mustRun(t, a); r.Fetched != 1 {
			t.Errorf("third run: %+v", r)
		}
		wantAll(t, m, 201, 1)
	}
}

func TestDelete(t *testing.T) {
	m, s := newSpool(t), newServer(3)
	a := account(m, s)
	a.Delete = true
	if r := mustRun(t, a); r.Fetched != 3 || r.Deleted != 3 || len(s.order) != 0 {
		t.Errorf("%+v, %d are left on the server", r, len(s.order))
	}
	wantAll(t, m, 3, 1)
}

func TestDeleteAfter(t *testing.T) {
	m, s := newSpool(t), newServer(2)
	now := time.Unix(1_700_000_000, 0)
	a := account(m, s)
	a.Now, a.DeleteAfter = func() time.Time { return now }, 24*time.Hour
	mustRun(t, a)
	now = now.Add(12 * time.Hour)
	s.put("id-002")
	mustRun(t, a)
	now = now.Add(12*time.Hour - time.Second)
	if r := mustRun(t, a); r.Deleted != 0 {
		t.Errorf("a second before its time: %+v", r)
	}
	now = now.Add(time.Second)
	if r := mustRun(t, a); r.Deleted != 2 || !slices.Equal(s.order, []string{"id-002"}) {
		t.Errorf("in time: %+v, left %q", r, s.order)
	}
}

func TestMaxSize(t *testing.T) {
	for limit, want := range map[int64]int{32: 1, 33: 0, 34: 0} {
		m, s := newSpool(t), newServer(1)
		a := account(m, s)
		a.MaxSize = limit
		if r := mustRun(t, a); r.TooBig != want || r.Fetched != 1-want {
			t.Errorf("limit %d for 33 octets: %+v", limit, r)
		}
		a.MaxSize = 0
		mustRun(t, a)
		wantAll(t, m, 1, 1)
	}
}

// TestSameID: RFC 1939 §7, copies may have one unique-id. Each is fetched once.
func TestSameID(t *testing.T) {
	m, s := newSpool(t), newServer(2)
	s.double = []string{"id-000", "id-000"}
	a := account(m, s)
	for range 2 {
		mustRun(t, a)
		if got := fetched(t, m); got["id-000"] != 3 || got["id-001"] != 1 {
			t.Errorf("fetched %v", got)
		}
	}
	s.double = nil
	if r := mustRun(t, a); r.Fetched != 0 {
		t.Errorf("after the copies are gone: %+v", r)
	}
}

// TestForgotten: what the server has no more is forgotten, unless all of it is gone at once.
func TestForgotten(t *testing.T) {
	m, s := newSpool(t), newServer(3)
	a := account(m, s)
	mustRun(t, a)
	order := s.order
	s.order = order[1:]
	mustRun(t, a)
	s.order = nil
	mustRun(t, a)
	s.order = order
	if r := mustRun(t, a); r.Fetched != 1 {
		t.Errorf("%+v, want the vanished one fetched again and no other", r)
	}
}

func TestRefusedMessage(t *testing.T) {
	m, s := newSpool(t), newServer(5)
	s.refuse["id-002"] = true
	a := account(m, s)
	a.Delete = true
	if r := mustRun(t, a); r.Failed != 1 || r.Fetched != 4 || !slices.Equal(s.order, []string{"id-002"}) {
		t.Errorf("%+v, left %q", r, s.order)
	}
	s.refuse = nil
	mustRun(t, a)
	wantAll(t, m, 5, 1)
}

func TestBrokenConnection(t *testing.T) {
	for cut := 1; cut <= 130; cut += 43 {
		m, s := newSpool(t), newServer(130)
		s.cutAt = cut
		a := account(m, s)
		r, err := a.Run(t.Context())
		if !errors.Is(err, errCut) || r.Fetched != cut-1 {
			t.Errorf("cut at %d: %+v, %v", cut, r, err)
		}
		s.cutAt = 0
		if r := mustRun(t, a); r.Fetched != 131-cut {
			t.Errorf("then %+v", r)
		}
		wantAll(t, m, 130, 1)
		if tmp, _ := m.ReadDirNames("/mail/tmp"); len(tmp) != 0 {
			t.Errorf("left in tmp: %q", tmp)
		}
	}
}

func TestCancelled(t *testing.T) {
	m, s := newSpool(t), newServer(100)
	a := account(m, s)
	a.Delete = true
	ctx, cancel := context.WithCancel(t.Context())
	a.Progress = func(done, all int) {
		if all != 100 {
			t.Errorf("Progress of %d", all)
		}
		if done == 70 {
			cancel()
		}
	}
	if _, err := a.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	a.Progress = nil
	mustRun(t, a)
	wantAll(t, m, 100, 1)
}

func TestLock(t *testing.T) {
	m, s := newSpool(t), newServer(1)
	a, b := account(m, s), account(m, s)
	a.Open = func(ctx context.Context) (Source, error) {
		_, err := b.Run(ctx)
		if st := mail.StatusOf(err); err == nil || !st.IsTemporary() || !strings.Contains(err.Error(), "Another fetch of account work is running") {
			t.Errorf("a second run: %v", err)
		}
		return s.open(ctx)
	}
	mustRun(t, a)
	mustRun(t, b)
}

func TestAccountNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"work": true, "me@example.org": true, "a.b-c_d+e": true, strings.Repeat("x", 100): true,
		"": false, "..": false, ".x": false, "a/b": false, "a b": false, "ü": false, "a\n": false, strings.Repeat("x", 101): false,
	} {
		a := account(newSpool(t), newServer(0))
		a.Name = name
		if _, err := a.Run(t.Context()); (err == nil) != ok {
			t.Errorf("name %q: %v, want ok %v", name, err, ok)
		}
	}
}

// TestStateLines: what is torn, zeroed or not ours says nothing.
func TestStateLines(t *testing.T) {
	good := func(event string) string { return checksum(event) + " " + event + "\n" }
	tests := []struct {
		file string
		want map[string]record
	}{
		{"", nil},
		{good("done 7 a"), map[string]record{"a": {done: 7}}},
		{good("done 7 a 2"), map[string]record{"a 2": {done: 7}}},
		{good("begin n a"), map[string]record{"a": {name: "n"}}},
		{good("begin n a") + good("done 7 a"), map[string]record{"a": {done: 7}}},
		{good("done 7 a") + good("gone a"), nil},
		{strings.TrimSuffix(good("done 7 ab"), "\n"), map[string]record{"ab": {done: 7}}},
		{good("done 7 ab")[:17] + "\n" + good("done 7 c"), map[string]record{"c": {done: 7}}},
		{strings.Repeat("\x00", 40) + "\n" + good("done 7 c"), map[string]record{"c": {done: 7}}},
		{good("done x a") + good("other 7 b"), nil},
		{"00000000 done 7 a\n", nil},
	}
	for _, test := range tests {
		m := newSpool(t)
		vfs.MkdirAll(m, "/state/fetch")
		f, _ := m.Create("/state/fetch/work.uidl")
		io.WriteString(f, test.file)
		s, err := account(m, nil).openState()
		if err != nil || !maps.Equal(s.ids, test.want) && len(test.want)+len(s.ids) > 0 {
			t.Errorf("%q: %v, %v, want %v", test.file, s.ids, err, test.want)
			continue
		}
		s.done("new", time.Unix(9, 0))
		if err := s.sync(); err != nil {
			t.Fatal(err)
		}
		again, err := account(m, nil).openState()
		if err != nil || again.ids["new"].done != 9 || len(again.ids) != len(test.want)+1 {
			t.Errorf("%q and one more: %v, %v", test.file, again.ids, err)
		}
	}
}

// TestCompaction: the file stays as small as what it says.
func TestCompaction(t *testing.T) {
	m, s := newSpool(t), newServer(500)
	a := account(m, s)
	mustRun(t, a)
	b, _ := vfs.ReadFile(m, "/state/fetch/work.uidl", 1<<20)
	s.order = s.order[:10]
	mustRun(t, a)
	c, _ := vfs.ReadFile(m, "/state/fetch/work.uidl", 1<<20)
	if len(b) < 20_000 || len(c) > 1_000 {
		t.Errorf("%d octets for 500 messages, then %d for 10", len(b), len(c))
	}
	if r := mustRun(t, a); r.Fetched != 0 {
		t.Errorf("after compaction: %+v", r)
	}
}

// TestCrash walks a run through every failing call and every loss of power. Whatever happened, the next run completes the
// mailbox: nothing is lost, nothing is there twice, and the server has deleted only what is here.
func TestCrash(t *testing.T) {
	const n = 3
	for _, del := range []bool{false, true} {
		base := newSpool(t)
		var s *server
		op := func(fsys vfs.FS) error {
			s = newServer(n)
			a := account(base, s)
			a.FS, a.Delete = fsys, del
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
			if t.Failed() {
				t.Fatal(trial)
			}
			for i := range n {
				id := fmt.Sprintf("id-%03d", i)
				_, there := s.texts[id]
				if here[id] == 0 && (!there || trial.Err == nil) {
					t.Fatalf("delete %v: %s is not here, on the server: %v; %s", del, id, there, trial)
				}
			}
			later := s.clone()
			a := account(trial.Mem.Clone(), later)
			again := trial.Mem.Clone()
			a.FS, a.Delete = again, del
			a.Dir, _ = maildir.Open(again, "/mail")
			if _, err := a.Run(context.Background()); err != nil {
				t.Fatalf("delete %v: the next run: %v; %s", del, err, trial)
			}
			if wantAll(t, again, n, 1); t.Failed() {
				t.Fatalf("delete %v: after the next run; %s", del, trial)
			}
		}
		if trials < 100 {
			t.Errorf("only %d trials", trials)
		}
	}
}

// TestKilled is a kill without loss of power, at every call; the power goes after the next run.
func TestKilled(t *testing.T) {
	s := newServer(5)
	plan := newSpool(t)
	mustRun(t, account(plan, s))
	for n := range len(plan.Calls()) {
		m := newSpool(t)
		m.CrashAfter(n)
		dir, _ := maildir.Open(m, "/mail")
		if dir == nil {
			continue
		}
		a := account(m, s)
		a.Dir = dir
		a.Run(t.Context())
		after, later := m.Clone(), s.clone() // what is not synced is there still
		b := account(after, later)
		b.Delete = true
		mustRun(t, b)
		wantAll(t, after, 5, 1)
		// What the server has deleted is durable here, also what the killed run had not synced yet.
		wantAll(t, after.After(after.Choices()[0]), 5, 1)
	}
}

func TestDiskFull(t *testing.T) {
	m, s := newSpool(t), newServer(3)
	a := account(m, s)
	a.Delete = true
	m.FailFrom(len(m.Calls())+12, syscall.ENOSPC)
	_, err := a.Run(t.Context())
	if st := mail.StatusOf(err); err == nil || !st.IsTemporary() {
		t.Errorf("no space: %v", err)
	}
	m.Heal()
	mustRun(t, a)
	wantAll(t, m, 3, 1)
}

// zeros is a message without end.
func TestBatchMost(t *testing.T) {
	for files, want := range map[uint64]int{0: 16, 256: 16, 1024: 32, 4096: 128, 8191: 255, 8192: 256, 1 << 20: 256, ^uint64(0): 256} {
		if got := batchMost(files); got != want {
			t.Errorf("batchMost(%d) = %d, want %d", files, got, want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A server that sends far more than it announced does not fill the disk.
func TestFlood(t *testing.T) {
	f := &fetcher{block: make([]byte, readBlock)}
	for _, size := range []int64{-1, 0, 30, 1 << 20} {
		most := mostOf(Item{Size: size})
		n, err := f.copyMessage(io.Discard, zeros{}, most)
		if err != errFlood || n > most+readBlock {
			t.Errorf("listed with %d octets: took %d, %v", size, n, err)
		}
	}
	if _, err := f.copyMessage(io.Discard, io.LimitReader(zeros{}, 100), mostOf(Item{Size: 30})); err != nil {
		t.Errorf("a size that was a bit wrong: %v", err)
	}
}
