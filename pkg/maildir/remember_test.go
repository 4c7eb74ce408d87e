package maildir

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailx/pkg/vfs"
)

// fillLarge puts as many messages into d as it takes to have the listing kept, and lets two seconds pass.
func fillLarge(t testing.TB, d *Dir) {
	t.Helper()
	for i := range largeList {
		f, err := d.fsys.Create(d.join(fmt.Sprintf("%s/17%05d.M%dP1.host,S=0,W=0", []string{"new", "cur"}[i%2], i, i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	d.Now = func() time.Time { return time.Now().Add(time.Minute) }
}

// unread fails when a directory is read.
type unread struct {
	vfs.FS
	t testing.TB
}

func (u unread) ReadDirNames(name string) ([]string, error) {
	u.t.Errorf("%s was read", name)
	return u.FS.ReadDirNames(name)
}

// TestListRemembers: the second listing is the first one, and reads no directory.
func TestListRemembers(t *testing.T) {
	everyFS(t, func(t *testing.T, d *Dir) {
		fillLarge(t, d)
		want := list(t, d)
		d.fsys = unread{d.fsys, t}
		if got := list(t, d); !reflect.DeepEqual(got, want) {
			t.Errorf("got %d messages, not the %d of before", len(got), len(want))
		}
	})
}

// TestListForgets: whoever changes the Maildir, the next listing says so.
func TestListForgets(t *testing.T) {
	changes := map[string]func(t *testing.T, d *Dir, m Message){
		"delivery": func(t *testing.T, d *Dir, m Message) { put(t, d, "new/1.M1P1.other", "") },
		"removal":  func(t *testing.T, d *Dir, m Message) { must(t, d.fsys.Remove(d.join(m.File))) },
		"flag": func(t *testing.T, d *Dir, m Message) {
			must(t, d.fsys.Rename(d.join(m.File), d.join("cur/"+m.Base+":2,F")))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			d, err := Create(vfs.NewMem(), "box")
			must(t, err)
			fillLarge(t, d)
			before := list(t, d)
			change(t, d, before[7])
			if got := list(t, d); reflect.DeepEqual(got, before) {
				t.Errorf("the listing of before came again")
			}
		})
	}
}

// TestListYoung: a listing is kept as soon as the clock of the file system has gone on since the last change. While a directory
// may change again and look the same, none is; nor where that clock would have to be asked for little.
func TestListYoung(t *testing.T) {
	changed := time.Unix(1700000000, 0)
	tests := []struct {
		name        string
		disk, local time.Duration // what the two clocks have gone on by
		few         bool
		kept        bool
	}{
		{"within the tick", 0, 0, false, false},
		{"busy", quiet - 1, quiet - 1, false, false},
		{"the file system has gone on", quiet, quiet, false, true},
		{"the file system stands still", 0, settled - 1, false, false},
		{"the file system is slow", quiet - 1, settled - 1, false, false},
		{"ours has not gone on", settled, -time.Hour, false, false},
		{"few names", quiet, quiet, true, false},
		{"old", 0, settled, false, true},
	}
	for _, test := range tests {
		mem := vfs.NewMem()
		at := changed
		mem.Now = func() time.Time { return at }
		d, err := Create(mem, "box")
		must(t, err)
		fillLarge(t, d)
		if test.few {
			mem = vfs.NewMem()
			mem.Now = func() time.Time { return at }
			d, err = Create(mem, "box")
			must(t, err)
			put(t, d, "new/1.M1P1.host", "")
		}
		at = changed.Add(test.disk)
		d.Now = func() time.Time { return changed.Add(test.local) }
		calls := len(mem.Calls())
		before := list(t, d)
		_, err = mem.Lstat(d.join(listName))
		if kept := err == nil; kept != test.kept {
			t.Errorf("%s: kept: %t, want %t", test.name, kept, test.kept)
		}
		wantList(t, list(t, d), before)
		if left, _ := mem.ReadDirNames("box/tmp"); len(left) != 0 {
			t.Errorf("%s: left in tmp: %q", test.name, left)
		}
		for _, call := range mem.Calls()[calls:] {
			if test.few && call.Op == "create" {
				t.Errorf("%s: %v", test.name, call)
			}
		}
	}
}

// TestReadListDamaged: a kept listing is believed whole or not at all.
func TestReadListDamaged(t *testing.T) {
	messages := []Message{newMessage("new/1.M1P1.h,S=1,W=2"), newMessage("cur/2.h:2,S")}
	text := printList(messages, "a b")
	if got := readBytes(text, "a b"); !reflect.DeepEqual(got, messages) {
		t.Fatalf("got %v, want %v", got, messages)
	}
	if got := readBytes(text, "a c"); got != nil {
		t.Errorf("another stamp: got %v", got)
	}
	for n := range text {
		if got := readBytes(text[:n], "a b"); got != nil {
			t.Errorf("%d octets: got %v", n, got)
		}
		if n < listHead {
			continue
		}
		bad := bytes.Clone(text)
		bad[n] ^= 1
		if got := readBytes(bad, "a b"); got != nil {
			t.Errorf("octet %d changed: got %v", n, got)
		}
	}
	for _, file := range []string{"", "new/", "tmp/x", "new/../x", "cur/a/b"} {
		if got := readBytes(printList([]Message{{File: file}}, "a b"), "a b"); got != nil {
			t.Errorf("%q: got %v", file, got)
		}
	}
}

func readBytes(text []byte, stamp string) []Message {
	return readList(bytes.NewReader(text), int64(len(text)), stamp)
}

func FuzzReadList(f *testing.F) {
	f.Add(printList([]Message{newMessage("new/1.M1P1.h,S=1,W=2"), newMessage("cur/2.h:2,S")}, "a b"))
	f.Add([]byte(strings.Repeat(" ", listHead)))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m := readBytes(text, "a b"); m != nil && !bytes.HasPrefix(printList(m, "a b")[listHead:], []byte(m[0].File)) {
			t.Errorf("got %v", m)
		}
	})
}

func BenchmarkListRemembered100k(b *testing.B) {
	d, err := Create(vfs.OS(), b.TempDir()+"/box")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100000 {
		f, err := d.fsys.Create(d.join(fmt.Sprintf("cur/%d.M%dP1234R%016x.mail.example.org,S=%d,W=%d:2,S", 1700000000+i*7919%100000,
			i%1000000, uint64(i)*0x9e3779b97f4a7c15, 1000+i, 1020+i)))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	for _, young := range []bool{true, false} {
		if !young {
			d.Now = func() time.Time { return time.Now().Add(time.Minute) }
		}
		b.Run(fmt.Sprintf("young=%t", young), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if l, err := d.List(); err != nil || len(l) != 100000 {
					b.Fatal(len(l), err)
				}
			}
		})
	}
}
