package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// unsynced is the real file system without its slowest part, which has nothing to do with who works on what.
type unsynced struct{ vfs.FS }

func (unsynced) SyncDir(string) error { return nil }
func (u unsynced) Create(name string) (vfs.File, error) {
	f, err := u.FS.Create(name)
	return unsyncedFile{f}, err
}
func (u unsynced) OpenAppend(name string) (vfs.File, error) {
	f, err := u.FS.OpenAppend(name)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) Sync() error { return nil }

func openReal(t testing.TB, dir string) *Queue {
	t.Helper()
	q, err := Create(unsynced{vfs.OS()}, dir, Options{Hostname: "here.example"})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func fill(t testing.TB, q *Queue, n int, to ...string) {
	t.Helper()
	for i := range n {
		env := &mail.Envelope{ID: fmt.Sprint(i), Sender: addr("s@x.example"), Rcpts: rcpts(to...)}
		if _, err := enqueue(q, env, ketchup); err != nil {
			t.Fatal(err)
		}
	}
}

// wantOnce checks that n messages got to each recipient exactly once.
func wantOnce(t *testing.T, f *fake, n int, to ...string) {
	t.Helper()
	for i := range n {
		for _, r := range to {
			if got := f.got[fmt.Sprintf("%s %d", r, i)]; got != 1 {
				t.Errorf("%s got message %d %d times", r, i, got)
			}
		}
	}
}

// R4: ten flushers never send a message twice.
func TestTenFlushers(t *testing.T) {
	f := &fake{}
	testTenFlushers(t, f, f, "ok@a", "temp@a", "ok@b")
}

func testTenFlushers(t *testing.T, f *fake, transport Transport, to ...string) {
	const n = 300
	dir := filepath.Join(t.TempDir(), "queue")
	fill(t, openReal(t, dir), n, to...)
	var tried sync.Map
	f.then = func(env *mail.Envelope, r []mail.Result) []mail.Result {
		_, again := tried.LoadOrStore(env.ID, true)
		for i := range r {
			if again && strings.HasPrefix(r[i].Local, "temp") {
				r[i].Err = nil
			}
		}
		return r
	}
	var flushers sync.WaitGroup
	for range 10 {
		flushers.Go(func() {
			q := openReal(t, dir)
			for range 3 {
				if _, err := q.Flush(context.Background(), transport, FlushOptions{All: true, Parallel: 4}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	flushers.Wait()
	q := openReal(t, dir)
	if _, err := q.Flush(context.Background(), transport, FlushOptions{All: true}); err != nil {
		t.Error(err)
	}
	wantOnce(t, f, n, to...)
	if left := items(t, q); len(left) > 0 {
		t.Errorf("%d are left: %q", len(left), left[0])
	}
	if side, _ := os.ReadDir(dir + "/.progress"); len(side) > 0 {
		t.Errorf("side files are left: %v", side)
	}
}

// Other programs do to an entry what they like in the middle of its attempt.
func TestForeignManipulation(t *testing.T) {
	type world struct {
		dir, name string // name in new/
	}
	mv := func(from, to string) func(world) error {
		return func(w world) error {
			return os.Rename(w.dir+"/"+from+"/"+w.name, w.dir+"/"+to+"/"+w.name+":2,S")
		}
	}
	const partly = "deferred <s@x.example> ok=delivered temp=pending"
	touch := func(w world) error {
		now := time.Now().Add(-time.Second)
		return os.Chtimes(w.dir+"/new/"+w.name, now, now)
	}
	rm := func(w world) error { return os.Remove(w.dir + "/new/" + w.name) }
	link := func(w world) error { return os.Link(w.dir+"/new/"+w.name, w.dir+"/cur/"+w.name+":2,F") }
	for _, c := range []struct {
		name  string
		do    func(world) error
		rcpts []string
		want  []string // entries afterwards
		later []string // calls of a second flush of everything
	}{
		{"touch", touch, []string{"ok@y"}, nil, nil},
		{"touch", touch, []string{"ok@y", "temp@y"}, []string{partly}, []string{"temp@y"}},
		{"new to cur", mv("new", "cur"), []string{"ok@y"}, nil, nil},
		{"new to cur", mv("new", "cur"), []string{"ok@y", "ok2@y"}, nil, nil},
		{"new to cur", mv("new", "cur"), []string{"ok@y", "temp@y"}, []string{partly}, []string{"temp@y"}},
		{"hold", mv("new", ".Hold/cur"), []string{"ok@y"}, nil, nil},
		{"hold", mv("new", ".Hold/cur"), []string{"ok@y", "temp@y"}, []string{"held <s@x.example> ok=delivered temp=pending"}, nil},
		{"rm", rm, []string{"ok@y"}, nil, nil},
		{"rm", rm, []string{"ok@y", "temp@y"}, nil, nil},
		{"link", link, []string{"ok@y"}, nil, nil},
		{"link", link, []string{"ok@y", "ok2@y"}, nil, nil},
	} {
		dir := filepath.Join(t.TempDir(), "queue")
		q := openReal(t, dir)
		fill(t, q, 1, c.rcpts...)
		names, err := os.ReadDir(dir + "/new")
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		f := &fake{}
		f.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
			if err := c.do(world{dir, names[0].Name()}); err != nil {
				t.Error(err)
			}
			other, err := openReal(t, dir).Flush(context.Background(), noTransport{t}, FlushOptions{All: true})
			if err != nil || other.Tried > 0 {
				t.Errorf("%s: another flush: %+v, %v", c.name, other, err)
			}
			return r
		}
		if _, err := q.Flush(context.Background(), f, FlushOptions{}); err != nil {
			t.Errorf("%s %v: %v", c.name, c.rcpts, err)
		}
		if got := items(t, q); !slices.Equal(got, c.want) {
			t.Errorf("%s %v: queue has %q, want %q", c.name, c.rcpts, got, c.want)
		}
		f.then, f.calls = nil, nil
		if _, err := q.Flush(context.Background(), f, FlushOptions{All: true}); err != nil {
			t.Errorf("%s %v: %v", c.name, c.rcpts, err)
		}
		if !slices.Equal(f.calls, c.later) {
			t.Errorf("%s %v: the second flush tried %q, want %q", c.name, c.rcpts, f.calls, c.later)
		}
	}
}

type noTransport struct{ t *testing.T }

func (n noTransport) Deliver(context.Context, *mail.Envelope, io.ReaderAt, int64) []mail.Result {
	n.t.Error("a second flush sends what the first one has in hand")
	return nil
}

// Symbolic links, directories and what else there may be in a directory are not messages.
func TestForeignFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	q := openReal(t, dir)
	secret := filepath.Join(t.TempDir(), "secret")
	block, _ := printBlock(&mail.Envelope{Rcpts: rcpts("ok@y"), Arrived: arrived})
	err := os.WriteFile(secret, append(block, ketchup...), 0o600)
	for _, err := range []error{err, os.Symlink(secret, dir+"/new/1.link"), os.Mkdir(dir+"/cur/1.dir", 0o700),
		os.WriteFile(dir+"/new/.hidden", []byte("x"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(t, q, 1, "ok@y")
	f := &fake{}
	stats, err := q.Flush(context.Background(), f, FlushOptions{})
	if err == nil || stats.Tried != 1 || len(f.calls) != 1 {
		t.Errorf("got %+v, %v, calls %q; want errors for the link and the directory, and the message sent", stats, err, f.calls)
	}
}

func BenchmarkEnqueue(b *testing.B) {
	q, err := Create(vfs.OS(), filepath.Join(b.TempDir(), "queue"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	text := ketchup + strings.Repeat("0123456789\n", 90)
	b.ReportAllocs()
	b.SetParallelism(25)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := enqueue(q, &mail.Envelope{Sender: addr("s@x"), Rcpts: rcpts("ok@y")}, text); err != nil {
				b.Error(err)
			}
		}
	})
}

type nullTransport struct{}

func (nullTransport) Deliver(_ context.Context, env *mail.Envelope, _ io.ReaderAt, _ int64) []mail.Result {
	results := make([]mail.Result, len(env.Rcpts))
	for i, r := range env.Rcpts {
		results[i].Recipient = r
	}
	return results
}

// One operation is a message: the figure must not grow with the length of the queue.
func BenchmarkFlush(b *testing.B) {
	for _, n := range []int{2000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			sent := 0
			for b.Loop() {
				b.StopTimer()
				dir := filepath.Join(b.TempDir(), "queue")
				fill(b, openReal(b, dir), n, "ok@y")
				q, err := Open(vfs.OS(), dir, Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				stats, err := q.Flush(context.Background(), nullTransport{}, FlushOptions{})
				if err != nil || stats.Done != n {
					b.Fatal(stats, err)
				}
				sent += n
			}
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// A symbolic link may lead to the queue. One in it, before the queue is opened or after, is refused, and nothing is written to
// where it leads.
func TestPlantedLinks(t *testing.T) {
	for _, sub := range []string{"new", "cur", "tmp", holdDir, holdDir + "/cur", failedDir, failedDir + "/new", progressDir} {
		top := t.TempDir()
		dir, elsewhere := top+"/queue", top+"/elsewhere"
		if err := os.Symlink(top+"/real", dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(top+"/real", 0o700); err != nil {
			t.Fatal(err)
		}
		q := openReal(t, dir)
		fill(t, q, 1, "ok@y")
		if err := errors.Join(os.Rename(dir+"/"+sub, elsewhere), os.Symlink(elsewhere, dir+"/"+sub)); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadDir(elsewhere)
		if !strings.HasPrefix(sub, ".") {
			f := &fake{}
			_, enqueued := q.Enqueue(&mail.Envelope{Rcpts: rcpts("ok@y")})
			_, flushed := q.Flush(t.Context(), f, FlushOptions{})
			if !isRefused(enqueued, dir+"/"+sub) || !isRefused(flushed, dir+"/"+sub) || len(f.calls) > 0 {
				t.Errorf("%s: a queue that is open: %v; %v; %d sent", sub, enqueued, flushed, len(f.calls))
			}
		}
		_, opened := Open(vfs.OS(), dir, Options{})
		_, created := Create(vfs.OS(), dir, Options{})
		if !isRefused(opened, dir+"/"+sub) || !isRefused(created, dir+"/"+sub) {
			t.Errorf("%s: %v; %v", sub, opened, created)
		}
		if after, _ := os.ReadDir(elsewhere); len(after) != len(before) {
			t.Errorf("%s: there is something new where the link leads: %v", sub, after)
		}
	}
}

// isRefused reports a temporary error that says what to do about a link.
func isRefused(err error, link string) bool {
	return err != nil && mail.StatusOf(err).IsTemporary() && strings.Contains(err.Error(), "rm "+link+" && mkdir -m 700 "+link)
}
