package queue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// enqueueMany queues n messages.
func (w *world) enqueueMany(n int) {
	for i := range n {
		w.enqueue(&mail.Envelope{ID: fmt.Sprint("m", i), Sender: addr("s@x"), Rcpts: rcpts(fmt.Sprintf("ok%d@y", i))}, ketchup)
	}
}

// A disk that takes a second for a sync holds nobody up until maxLeaving wait for it; and a flush comes back when the last
// removal is durable.
func TestLeavingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const workers, all = 2 * perTurn, 2*maxLeaving + 100
		w.enqueueMany(all)
		w.mem.SyncAll()
		var tried atomic.Int32
		w.fake.then = func(_ *mail.Envelope, r []mail.Result) []mail.Result {
			tried.Add(1)
			return r
		}
		flush := make(chan Stats)
		go func() {
			stats, err := w.open(slowSync{w.mem}).Flush(context.Background(), w.fake, FlushOptions{Parallel: 2})
			if err != nil {
				t.Error(err)
			}
			flush <- stats
		}()
		time.Sleep(time.Second / 2)
		if n, want := int(tried.Load()), maxLeaving+workers; n != want { // each worker has one that finds no room
			t.Errorf("%d messages were tried while the first sync ran, want %d", n, want)
		}
		if stats := <-flush; stats.Done != all {
			t.Errorf("got %+v", stats)
		}
		for _, c := range w.mem.Choices() {
			if left, err := w.open(w.mem.After(c)).list(spool()); err != nil || len(left) > 0 {
				t.Errorf("a loss of power at the end brings back %d messages, %v", len(left), err)
			}
		}
	})
}

// noSync is a disk that does not sync the directory of new entries.
type noSync struct{ *vfs.Mem }

func (f noSync) SyncDir(dir string) error {
	if dir == "/q/new" {
		return syscall.EIO
	}
	return f.Mem.SyncDir(dir)
}

// What can't be made durable is said, and written down: when a loss of power brings an entry back, it is not sent again.
func TestLeavingFails(t *testing.T) {
	flush := func(w *world) error {
		stats, err := w.open(noSync{w.mem}).Flush(context.Background(), w.fake, FlushOptions{Parallel: 2})
		if stats.Done > 0 || stats.Delivered != 3 {
			t.Errorf("got %+v", stats)
		}
		return err
	}
	run := func(w *world) (err error) {
		ctx, cancel := context.WithCancel(context.Background())
		r := &Runner{Queue: w.open(noSync{w.mem}), Transport: w.fake, Report: func(e error) { err = errors.Join(err, e) }}
		time.AfterFunc(time.Second, cancel)
		if stats := r.Run(ctx); stats.Done > 0 || stats.Delivered != 3 {
			t.Errorf("got %+v", stats)
		}
		return err
	}
	for name, pass := range map[string]func(*world) error{"flush": flush, "run": run} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.enqueueMany(3)
				w.mem.SyncAll()
				if err := pass(w); !errors.Is(err, syscall.EIO) {
					t.Errorf("got %v", err)
				}
				for _, c := range w.mem.Choices() {
					after := &fake{}
					w.drain(w.open(w.mem.After(c)), after)
					if len(after.calls) > 0 {
						t.Errorf("sent again: %q", after.calls)
					}
				}
			})
		})
	}
}

// noRecord is noSync that takes no side file, either.
type noRecord struct{ noSync }

func (f noRecord) OpenAppend(string) (vfs.File, error) { return nil, syscall.EIO }
func (f noRecord) Create(string) (vfs.File, error)     { return nil, syscall.EIO }

// Where nothing can be made durable and nothing written down, that is said of each message, and none is sent again by this process.
func TestLeavingFailsAltogether(t *testing.T) {
	w := newWorld(t)
	w.enqueueMany(30)
	w.mem.SyncAll()
	q := w.open(noRecord{noSync{w.mem}})
	for range 2 {
		if stats, err := q.Flush(context.Background(), w.fake, FlushOptions{All: true}); stats.Done > 0 || stats.Tried == 30 && err == nil {
			t.Errorf("got %+v, %v", stats, err)
		}
	}
	if len(w.fake.calls) != 30 {
		t.Errorf("%d calls for 30 messages", len(w.fake.calls))
	}
}
