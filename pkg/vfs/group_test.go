package vfs

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowSync is a file system on which a sync takes a second, of time that synctest makes.
type slowSync struct {
	*Mem
	running atomic.Int32
	started atomic.Int32
	fail    func(n int32) error
}

func (s *slowSync) SyncDir(name string) error {
	n := s.started.Add(1)
	if name == "top" && s.running.Add(1) > 1 {
		return errors.New("two syncs of one directory at once")
	}
	time.Sleep(time.Second)
	if name == "top" {
		s.running.Add(-1)
	}
	if s.fail != nil {
		return s.fail(n)
	}
	return s.Mem.SyncDir(name)
}

// TestGroupedShares lets callers come while a sync runs: the next one serves them all, and none gives up early.
func TestGroupedShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowSync{Mem: memWithDir(t)}
		g := Grouped(slow).(*grouped)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 90 * time.Millisecond) // 0 to 1.71 s
				called := time.Since(start)
				must(t, g.SyncDir("top"))
				// Syncs run from 0 to 1, 1 to 2 and 2 to 3 seconds.
				want := called.Truncate(time.Second) + 2*time.Second
				if i == 0 {
					want = time.Second
				}
				if got := time.Since(start); got != want {
					t.Errorf("called at %v: got back at %v, want %v", called, got, want)
				}
			})
		}
		wg.Wait()
		if n := slow.started.Load(); n != 3 {
			t.Errorf("got %d syncs, want 3", n)
		}
		if len(g.dirs) != 0 {
			t.Errorf("entries left: %v", g.dirs)
		}
	})
}

func TestGroupedAloneAndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowSync{Mem: memWithDir(t)}
		must(t, slow.Mkdir("other"))
		g := Grouped(slow)
		start := time.Now()
		for range 3 {
			must(t, g.SyncDir("top"))
		}
		if got := time.Since(start); got != 3*time.Second || slow.started.Load() != 3 {
			t.Errorf("three calls in turn: %v and %d syncs", got, slow.started.Load())
		}
		start = time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { must(t, g.SyncDir("top")) })
		wg.Go(func() { must(t, g.SyncDir("other")) })
		wg.Wait()
		if got := time.Since(start); got != time.Second {
			t.Errorf("two directories: %v, want 1s", got)
		}
	})
}

// TestGroupedErrors gives each error to the callers of that sync and to no others.
func TestGroupedErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := errors.New("second sync")
		slow := &slowSync{Mem: memWithDir(t)}
		slow.fail = func(n int32) error {
			if n == 2 {
				return second
			}
			return nil
		}
		g := Grouped(slow).(*grouped)
		var failed atomic.Int32
		call := func() {
			if err := g.SyncDir("top"); err == second {
				failed.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		wg.Go(call)
		synctest.Wait()
		for range 5 {
			wg.Go(call)
		}
		wg.Wait()
		call()
		if failed.Load() != 5 || slow.started.Load() != 3 || len(g.dirs) != 0 {
			t.Errorf("%d callers failed of %d syncs, want 5 of 3", failed.Load(), slow.started.Load())
		}
	})
}

// TestGroupedDurable runs callers who each make a file first: whatever SyncDir said nil to survives.
func TestGroupedDurable(t *testing.T) {
	m := memWithDir(t)
	g := Grouped(m)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			put(t, g, "top/"+itoa(i), "x")
			must(t, g.SyncDir("top"))
		})
	}
	wg.Wait()
	if got := list(t, m.After(Choice{Rest: Dropped, One: -1}), "top"); len(got) != 200 {
		t.Errorf("got %d files, want 200", len(got))
	}
}
