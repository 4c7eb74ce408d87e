package queue

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"mailx/pkg/vfs"
)

// counting is the real file system, and counts what is opened for reading.
type counting struct {
	unsynced
	opened *atomic.Int32
}

func (c counting) Open(name string) (vfs.File, error) {
	if strings.Contains(name, "/new/") || strings.Contains(name, "/cur/") {
		c.opened.Add(1)
	}
	return c.unsynced.Open(name)
}

// A queue of 100,000 messages is not read to try one of them: only names and times are, and little memory is allocated for each.
func TestHundredThousand(t *testing.T) {
	const n, perEntry = 100_000, 2000
	dir := filepath.Join(t.TempDir(), "queue")
	fill(t, openReal(t, dir), 4, "ok@y") // a file has no more than some 65,000 names
	names, err := filepath.Glob(dir + "/new/*")
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	for i := range n - 4 { // links do: what is not opened is not looked at
		if err := os.Link(names[i%4], fmt.Sprintf("%s/cur/1600000000.M%dP1R2.host:2,", dir, i)); err != nil {
			t.Skipf("no room for so many links: %v", err)
		}
	}
	var opened atomic.Int32
	q, err := Open(counting{unsynced{vfs.OS()}, &opened}, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f := &fake{}
	stats, err := q.Flush(context.Background(), f, FlushOptions{Max: 1, Parallel: 1})
	runtime.ReadMemStats(&after)
	if err != nil || stats.Listed != n || stats.Tried != 1 || len(f.calls) != 1 {
		t.Errorf("%+v, %v, %d calls", stats, err, len(f.calls))
	}
	if opened.Load() > 2 {
		t.Errorf("%d entries were opened for one try", opened.Load())
	}
	if got := (after.TotalAlloc - before.TotalAlloc) / n; got > perEntry {
		t.Errorf("%d octets for each entry, want at most %d", got, perEntry)
	}
}
