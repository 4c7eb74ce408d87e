package mailbox

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// BenchmarkOpen is about a mailbox of 100,000 messages: opening it, and seeing one more.
func BenchmarkOpen(b *testing.B) {
	ctx := context.Background()
	fsys := vfs.OS()
	d, err := maildir.Create(fsys, b.TempDir()+"/box")
	must(b, err)
	for i := range 100_000 {
		name := fmt.Sprintf("%s/cur/%d.M1P1R%016x.host.example,S=1000,W=1020:2,S", d.Path(), 1_600_000_000+i, i)
		must(b, os.WriteFile(name, nil, 0o600))
	}
	first, err := Open(ctx, fsys, d)
	must(b, err)
	defer first.Close()
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			box, err := Open(ctx, fsys, d)
			must(b, err)
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/100_000, "B/message")
			box.Close()
		}
	})
	b.Run("one more", func(b *testing.B) {
		for b.Loop() {
			deliver(b, d, text)
			must(b, first.Sync(ctx))
		}
	})
	b.Run("nothing new", func(b *testing.B) {
		for b.Loop() {
			first.Changed()
		}
	})
}
