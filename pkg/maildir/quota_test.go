package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

func TestParseQuota(t *testing.T) {
	tests := []struct {
		in, want string // as it is printed
		bad      bool
	}{
		{"1000000S,200C", "1000000S,200C", false},
		{"200C, 1M", "1048576S,200C", false},
		{"1G", "1073741824S", false},
		{"2T", "2199023255552S", false},
		{"10k", "10240S", false},
		{"10B", "10S", false},
		{"7", "7S", false},
		{"0", "", false},
		{"0S,0C", "", false},
		{"", "", true}, {"S", "", true}, {"-1", "", true}, {"+1", "", true}, {"1MB", "", true}, {"1 M", "", true},
		{"9999999T", "", true}, {"99999999999999999999", "", true}, {"1c", "", true}, {"x", "", true}, {"1,", "", true},
	}
	for _, tt := range tests {
		q, err := ParseQuota(tt.in)
		if q.String() != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: got %q %v, want %q, error %v", tt.in, q, err, tt.want, tt.bad)
		}
	}
}

func TestParseSums(t *testing.T) {
	tests := []struct {
		in   string
		want string // quota, octets, messages, lines; "" for a file of no use
	}{
		{"1000S\n100 1\n", "1000S 100 1 1"},
		{"1000S,2C\n         100            1\n-100 -1\n50 1\n", "1000S,2C 50 1 3"},
		{"1000S\n", ""}, {"", ""}, {"\n1 1\n", ""}, {"1000S", ""},
		{"1000S\n100 1", ""},           // torn
		{"1000S\n100\n", ""},           // half a line
		{"1000S\n100 1\n-200 1\n", ""}, // less than nothing
		{"1000S\n1 1\n2 2 2\n", ""},
		{"1000S\n9223372036854775807 1\n", ""},
		{"1000S\n-9223372036854775808 1\n", ""},
		{"1000S\n\x00\x00\x00\n", ""},
	}
	for _, tt := range tests {
		got := ""
		if s, ok := parseSums(tt.in); ok {
			got = fmt.Sprintf("%s %d %d %d", s.quota, s.used.Size, s.used.Count, s.lines)
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// limited is a Maildir in memory with a quota that may be changed.
func limited(t *testing.T, q *Quota) (*Dir, *vfs.Mem) {
	t.Helper()
	m := vfs.NewMem()
	d, err := Create(m, "box")
	must(t, err)
	d.Quota = func() Quota { return *q }
	return d, m
}

func sizeFileOf(t *testing.T, m *vfs.Mem) string {
	t.Helper()
	b, err := vfs.ReadFile(m, "box/maildirsize", 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	must(t, err)
	return string(b)
}

// tryDeliver gives the status of a delivery of n octets.
func tryDeliver(t *testing.T, d *Dir, n int) string {
	t.Helper()
	w, err := d.Deliver()
	must(t, err)
	w.Write([]byte(strings.Repeat("x", n-1) + "\n"))
	if err := w.Commit(); err != nil {
		return mail.StatusOf(err).String()
	}
	return "ok"
}

func wantUsage(t *testing.T, d *Dir, size, count int64) {
	t.Helper()
	if u, err := d.Usage(); err != nil || u != (Usage{size, count}) {
		t.Errorf("usage is %+v %v, want %d octets in %d messages", u, err, size, count)
	}
}

func TestQuota(t *testing.T) {
	q := Quota{Size: 1000, Count: 3}
	d, m := limited(t, &q)
	if got := tryDeliver(t, d, 1001); got != "5.2.3" {
		t.Errorf("larger than the quota: %s", got)
	}
	if got := tryDeliver(t, d, 600); got != "ok" {
		t.Errorf("fits: %s", got)
	}
	if got, want := sizeFileOf(t, m), "1000S,3C\n0 0\n600 1\n"; got != want {
		t.Errorf("maildirsize is %q, want %q", got, want)
	}
	if got := tryDeliver(t, d, 401); got != "4.2.2" {
		t.Errorf("one octet too much: %s", got)
	}
	if got := tryDeliver(t, d, 400); got != "ok" {
		t.Errorf("just fits: %s", got)
	}
	if err := d.Room(0); err != nil {
		t.Errorf("an unknown size where nothing is over: %v", err)
	}
	if left, _ := m.ReadDirNames("box/tmp"); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
	messages := list(t, d)
	must(t, d.Remove(messages[0]))
	must(t, d.Sync())
	wantUsage(t, d, 400, 1)
	if got := tryDeliver(t, d, 100); got != "ok" {
		t.Errorf("after a removal: %s", got)
	}
	folder, err := d.CreateFolder("Sent")
	must(t, err)
	if got := tryDeliver(t, folder, 100); got != "ok" {
		t.Errorf("into a folder: %s", got)
	}
	if got := tryDeliver(t, d, 10); got != "4.2.2" {
		t.Errorf("one message too many: %s", got)
	}
	wantUsage(t, folder, 600, 3)
	must(t, d.RemoveFolder("Sent"))
	wantUsage(t, d, 500, 2)
	q = Quota{Size: 450} // a quota that has changed makes a new file
	if got := tryDeliver(t, d, 10); got != "4.2.2" || !strings.HasPrefix(sizeFileOf(t, m), "450S\n500 2\n") {
		t.Errorf("a smaller quota: %s, %q", got, sizeFileOf(t, m))
	}
	q = Quota{}
	if got := tryDeliver(t, d, 5000); got != "ok" {
		t.Errorf("without a quota: %s", got)
	}
}

// A file that is wrong, torn or long is made anew, at the latest when it would refuse mail and is not fresh.
func TestQuotaHeals(t *testing.T) {
	q := Quota{Size: 1000}
	for name, content := range map[string]string{
		"torn": "1000S\n10", "garbage": "\x00\x00\x00", "empty": "", "negative": "1000S\n-10 -1\n",
		"other quota": "7S\n7 7\n", "long": "1000S\n" + strings.Repeat("0 0\n", maxSizeFile/4),
		"two lines, too much": "1000S\n900 1\n99 1\n",
		"from another server": "1000S\n         900            1\n-9 -1\n",
	} {
		d, m := limited(t, &q)
		put(t, d, "cur/1.M1.host:2,S", strings.Repeat("y", 200)) // without S=
		put(t, d, "maildirsize", content)
		if got := tryDeliver(t, d, 700); got != "ok" {
			t.Errorf("%s: %s", name, got)
		}
		if got, want := sizeFileOf(t, m), "1000S\n200 1\n700 1\n"; got != want {
			t.Errorf("%s: maildirsize is %q, want %q", name, got, want)
		}
		wantUsage(t, d, 900, 2)
	}
	d, m := limited(t, &q)
	put(t, d, "maildirsize", "1000S\n990 1\n")
	if got := tryDeliver(t, d, 700); got != "4.2.2" {
		t.Errorf("a fresh sum is believed: %s", got)
	}
	d.Now = func() time.Time { return time.Now().Add(time.Hour) }
	if got := tryDeliver(t, d, 700); got != "ok" {
		t.Errorf("an old sum is not: %s, %q", got, sizeFileOf(t, m))
	}
}

// A message for several mailboxes is refused if one of them has no room, or that one is left out.
func TestQuotaOfSeveral(t *testing.T) {
	for _, full := range []string{"a", "b"} {
		m := vfs.NewMem()
		var dirs []*Dir
		for _, name := range []string{"a", "b"} {
			d, err := Create(m, name)
			must(t, err)
			q := Quota{Size: 100}
			if name == full {
				q.Size = 10
			}
			d.Quota = func() Quota { return q }
			dirs = append(dirs, d)
		}
		begin := func() *Delivery {
			w, err := dirs[0].Deliver()
			must(t, err)
			w.Also(dirs[1])
			w.Write([]byte(strings.Repeat("x", 20)))
			return w
		}
		if err := begin().Commit(); mail.StatusOf(err).String() != "5.2.3" || len(list(t, dirs[0]))+len(list(t, dirs[1])) != 0 {
			t.Errorf("%s is full: %v", full, err)
		}
		w := begin()
		for _, d := range dirs {
			if d.Room(20) != nil && !w.Leave(d) {
				t.Errorf("%s is full: nobody is left", full)
			}
		}
		must(t, w.Commit())
		for i, name := range []string{"a", "b"} {
			want := 1
			if name == full {
				want = 0
			}
			if got := list(t, dirs[i]); len(got) != want {
				t.Errorf("%s is full: %s has %d messages", full, name, len(got))
			}
		}
		if left, _ := m.ReadDirNames("a/tmp"); len(left) > 0 {
			t.Errorf("%s is full: left in tmp: %q", full, left)
		}
		w = begin()
		if w.Leave(dirs[0]); w.Leave(dirs[1]) {
			t.Error("Leave says that somebody is left")
		}
		must(t, w.Abort())
	}
}

// A copy on another file system counts once.
func TestQuotaOfCopies(t *testing.T) {
	mem := vfs.NewMem()
	var boxes []*Dir
	for _, name := range []string{"a", "box"} {
		d, err := Create(noLinks{mem}, name)
		must(t, err)
		d.Quota = func() Quota { return Quota{Size: 100} }
		boxes = append(boxes, d)
	}
	w, err := boxes[0].Deliver()
	must(t, err)
	w.Also(boxes[1])
	w.Write([]byte(strings.Repeat("x", 60)))
	must(t, w.Commit())
	if got, want := sizeFileOf(t, mem), "100S\n0 0\n60 1\n"; got != want {
		t.Errorf("maildirsize is %q, want %q", got, want)
	}
}

// Without a quota no call is made that was not made before quotas were invented.
func TestNoQuotaCostsNothing(t *testing.T) {
	calls := func(quota func() Quota) int {
		m := vfs.NewMem()
		d, err := Create(m, "box")
		must(t, err)
		d.Quota = quota
		before := len(m.Calls())
		deliver(t, d, oldText)
		for _, c := range m.Calls() {
			if strings.Contains(c.String(), sizeFile) {
				t.Errorf("call %s", c)
			}
		}
		return len(m.Calls()) - before
	}
	if with, without := calls(func() Quota { return Quota{} }), calls(nil); with != without {
		t.Errorf("%d calls with a function that knows of no quota, %d without", with, without)
	}
}

// TestQuotaTrials: whatever fails and whenever the power goes, the message is there or not as without a quota, maildirsize
// is of use or made anew, and nobody can exceed the quota by a fault that passed.
func TestQuotaTrials(t *testing.T) {
	base := baseWith(t, "box")
	quota := func() Quota { return Quota{Size: 10000, Count: 3} }
	for _, first := range []bool{true, false} { // there is no maildirsize yet, or one
		if !first {
			d, err := Open(base, "box")
			must(t, err)
			d.Quota = quota
			must(t, d.Room(1))
			base.SyncAll()
		}
		op := func(fsys vfs.FS) error {
			d, err := Open(fsys, "box")
			if err != nil {
				return err
			}
			d.Quota = quota
			w, err := d.Deliver()
			if err != nil {
				return err
			}
			if _, err := w.Write([]byte(newText)); err != nil {
				w.Abort()
				return err
			}
			return w.Commit()
		}
		for trial := range vfs.Trials(base, op) {
			other := trial
			other.Mem = trial.Mem.Clone()
			checkSums(t, other, quota)
			checkDelivery(t, trial, newText, []string{"box"})
			if t.Failed() {
				return
			}
		}
	}
}

func checkSums(t *testing.T, trial vfs.Trial, quota func() Quota) {
	t.Helper()
	d, err := Open(trial.Mem, "box")
	must(t, err)
	d.Quota = quota
	have := int64(len(list(t, d)))
	u, err := d.Usage()
	if err != nil {
		t.Errorf("%v: %s", err, trial)
	}
	if u.Count < have && !trial.Crashed && !trial.Lasting || u.Count > have+1 || u.Count < have-1 {
		t.Errorf("usage says %d messages of %d: %s", u.Count, have, trial)
	}
	for i := have; i < 3; i++ { // a sum that is too large does not keep mail out
		if got := tryDeliver(t, d, 10); got != "ok" {
			t.Errorf("message %d: %s: %s", i+1, got, trial)
		}
	}
}

// TestQuotaRemoveTrials: a removal that is told as done is done, whatever becomes of maildirsize.
func TestQuotaRemoveTrials(t *testing.T) {
	quota := func() Quota { return Quota{Count: 5} }
	base := baseWith(t, "box")
	d, err := Open(base, "box")
	must(t, err)
	d.Quota = quota
	must(t, d.Room(1))
	base.SyncAll()
	op := func(fsys vfs.FS) error {
		d, err := Open(fsys, "box")
		if err != nil {
			return err
		}
		messages, err := d.List()
		if err != nil {
			return err
		}
		if err := d.Remove(messages[0]); err != nil {
			return err
		}
		return d.Sync()
	}
	for trial := range vfs.Trials(base, op) {
		d, err := Open(trial.Mem, "box")
		must(t, err)
		d.Quota = quota
		have := int64(len(list(t, d)))
		if trial.Err == nil && have != 0 {
			t.Errorf("removed, and there: %s", trial)
		}
		if u, err := d.Usage(); err != nil || u.Count < have && !trial.Crashed {
			t.Errorf("usage %+v %v with %d messages: %s", u, err, have, trial)
		}
		if t.Failed() {
			return
		}
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add("1000S,2C\n100 1\n-100 -1\n")
	f.Add("1S\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		s, ok := parseSums(in)
		if ok && (s.used.Size < 0 || s.used.Count < 0 || s.lines == 0 || s.quota == "") {
			t.Fatalf("%q: %+v", in, s)
		}
		if q, err := ParseQuota(s.quota); ok && err == nil {
			again, ok := parseSums(q.String() + "\n" + sumLine(s.used))
			if !q.IsZero() && (!ok || again.used != s.used || again.quota != q.String()) {
				t.Fatalf("%q: %+v, printed and read %+v", in, s, again)
			}
		}
	})
}

func FuzzParseQuota(f *testing.F) {
	f.Add("1000S,2C")
	f.Add("1G")
	f.Fuzz(func(t *testing.T, in string) {
		q, err := ParseQuota(in)
		if err != nil || q.IsZero() {
			return
		}
		if again, err := ParseQuota(q.String()); err != nil || again != q || q.Size < 0 || q.Count < 0 {
			t.Fatalf("%q: %+v, printed and read %+v %v", in, q, again, err)
		}
	})
}
