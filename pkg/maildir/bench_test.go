package maildir

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"mailx/pkg/vfs"
)

// BenchmarkDeliver gives the time of a durable delivery of 4 KiB, one Open a message as the servers do it, alone and
// from several connections at once.
func BenchmarkDeliver(b *testing.B) {
	text := strings.Repeat("A line of sixty-four octets, to make a message of some length.\n", 65)
	for _, parallel := range []int{1, 10, 50} {
		for _, fsys := range []struct {
			name string
			vfs.FS
		}{{"alone", vfs.OS()}, {"grouped", vfs.Grouped(vfs.OS())}} {
			b.Run(fmt.Sprintf("%s-%d", fsys.name, parallel), func(b *testing.B) {
				dir := b.TempDir() + "/box"
				if _, err := Create(fsys, dir); err != nil {
					b.Fatal(err)
				}
				b.SetParallelism(parallel)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := deliverOne(fsys, dir, text); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func deliverOne(fsys vfs.FS, dir, text string) error {
	d, err := Open(fsys, dir)
	if err != nil {
		return err
	}
	w, err := d.Deliver()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		w.Abort()
		return err
	}
	return w.Commit()
}

// BenchmarkDeliverCPU is the same without a disk: what the program itself costs.
func BenchmarkDeliverCPU(b *testing.B) {
	dir := b.TempDir() + "/box"
	fsys := noSync{vfs.OS()}
	if _, err := Create(fsys, dir); err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("A line of sixty-four octets, to make a message of some length.\n", 65)
	b.ReportAllocs()
	for b.Loop() {
		if err := deliverOne(fsys, dir, text); err != nil {
			b.Fatal(err)
		}
	}
}

type noSync struct{ vfs.FS }

func (noSync) SyncDir(string) error { return nil }

func (n noSync) Create(name string) (vfs.File, error) {
	f, err := n.FS.Create(name)
	return noSyncFile{f}, err
}

type noSyncFile struct{ vfs.File }

func (noSyncFile) Sync() error { return nil }

// names is a file system with one large directory, to measure what List costs beside the kernel.
type names struct {
	vfs.FS
	cur []string
}

func (n names) ReadDirNames(name string) ([]string, error) {
	if strings.HasSuffix(name, "/cur") {
		return n.cur, nil
	}
	return n.FS.ReadDirNames(name)
}

func BenchmarkList100k(b *testing.B) {
	mem := vfs.NewMem()
	d, err := Create(mem, "box")
	if err != nil {
		b.Fatal(err)
	}
	var cur []string
	for i := range 100000 {
		cur = append(cur, fmt.Sprintf("%d.M%dP1234R%016x.mail.example.org,S=%d,W=%d:2,S", 1700000000+i*7919%100000, i%1000000,
			uint64(i)*0x9e3779b97f4a7c15, 1000+i, 1020+i))
	}
	d.fsys = names{mem, cur}
	b.ReportAllocs()
	for b.Loop() {
		if l, err := d.List(); err != nil || len(l) != 100000 {
			b.Fatal(len(l), err)
		}
	}
}
