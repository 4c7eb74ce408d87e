package auth

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/vfs"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newThrottle() (*Throttle, *vfs.Mem, *clock) {
	m, c := vfs.NewMem(), &clock{time.UnixMilli(1_800_000_000_000)}
	return &Throttle{FS: m, Dir: "state/throttle", Now: c.now}, m, c
}

var (
	evil = netip.MustParseAddr("192.0.2.66")
	good = netip.MustParseAddr("198.51.100.1")
)

func TestThrottleGrows(t *testing.T) {
	th, _, _ := newThrottle()
	want := []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000}
	for i, ms := range want {
		if got, err := th.Failed(evil, "joe"); got != ms*time.Millisecond || err != nil {
			t.Errorf("failure %d: delay %v, %v; want %v", i+1, got, err, ms*time.Millisecond)
		}
		if got, err := th.Check(evil); got != ms*time.Millisecond || err != nil {
			t.Errorf("after failure %d: wait %v, %v; want %v", i+1, got, err, ms*time.Millisecond)
		}
	}
}

func TestThrottleWaitEnds(t *testing.T) {
	th, _, c := newThrottle()
	th.Failed(evil, "joe")
	th.Failed(evil, "joe")
	for _, tt := range []struct{ after, want time.Duration }{
		{0, time.Second}, {999 * time.Millisecond, time.Millisecond}, {time.Second, 0}, {time.Hour, 0},
	} {
		now := c.at
		c.at = c.at.Add(tt.after)
		if got, err := th.Check(evil); got != tt.want || err != nil {
			t.Errorf("after %v: wait %v, %v; want %v", tt.after, got, err, tt.want)
		}
		c.at = now
	}
}

// Many addresses guess at joe: their wrong answers get slow, and joe's own address never waits.
func TestThrottleNeverBlocksAnotherAddress(t *testing.T) {
	th, _, _ := newThrottle()
	var last time.Duration
	for i := range 200 {
		last, _ = th.Failed(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "joe")
	}
	if last != maxDelay {
		t.Errorf("the guessers wait %v", last)
	}
	if wait, err := th.Check(good); wait != 0 || err != nil {
		t.Errorf("joe waits %v, %v", wait, err)
	}
}

func TestThrottleRefuses(t *testing.T) {
	th, _, c := newThrottle()
	for i := range maxFailures {
		if _, err := th.Check(evil); err != nil {
			t.Fatalf("refused after %d failures", i)
		}
		th.Failed(evil, fmt.Sprint("user", i))
	}
	if _, err := th.Check(evil); statusOf(err) != "4.7.0" {
		t.Errorf("after %d failures: %v", maxFailures, err)
	}
	if _, err := th.Check(good); err != nil {
		t.Errorf("another address: %v", err)
	}
	c.at = c.at.Add(throttleSpan + time.Second)
	if wait, err := th.Check(evil); wait != 0 || err != nil {
		t.Errorf("after the span: %v, %v", wait, err)
	}
}

func TestThrottleSucceeded(t *testing.T) {
	th, m, _ := newThrottle()
	if err := th.Succeeded(good, "joe"); err != nil || strings.Contains(m.Tree(), "throttle") {
		t.Errorf("a login without failures leaves a trace: %v\n%s", err, m.Tree())
	}
	th.Failed(good, "joe")
	th.Failed(good, "joe")
	th.Failed(good, "ann")
	if err := th.Succeeded(good, "JOE"); err != nil {
		t.Error(err)
	}
	if wait, _ := th.Check(good); wait != firstDelay {
		t.Errorf("ann's failure and no other must count: wait %v", wait)
	}
	if delay, _ := th.Failed(netip.Addr{}, "joe"); delay != firstDelay {
		t.Errorf("joe's failures from there are forgotten: delay %v", delay)
	}
}

func TestThrottleClockJumps(t *testing.T) {
	th, _, c := newThrottle()
	start := c.at
	for range 10 {
		th.Failed(evil, "joe")
	}
	for _, jump := range []time.Duration{-10 * 365 * 24 * time.Hour, -2 * clockSlack, throttleSpan + time.Second, 10 * 365 * 24 * time.Hour} {
		c.at = start.Add(jump)
		if wait, err := th.Check(evil); wait != 0 || err != nil {
			t.Errorf("jump %v: wait %v, %v", jump, wait, err)
		}
	}
	c.at = start.Add(-clockSlack / 2)
	if wait, err := th.Check(evil); wait != maxDelay || err != nil {
		t.Errorf("a little back: wait %v, %v; at most %v", wait, err, maxDelay)
	}
}

func TestThrottleKeys(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"2001:db8::1", "2001:db8::ffff:1", true}, {"2001:db8::1", "2001:db8:0:1::1", false}, {"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false}, {"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		if got := addrKey(netip.MustParseAddr(tt.a)) == addrKey(netip.MustParseAddr(tt.b)); got != tt.same {
			t.Errorf("%s and %s: same is %v", tt.a, tt.b, got)
		}
	}
	th, _, _ := newThrottle()
	th.Failed(netip.Addr{}, "joe")
	if wait, err := th.Check(netip.Addr{}); wait != 0 || err != nil {
		t.Errorf("no address: %v, %v", wait, err)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	th, m, c := newThrottle()
	key, full := "aa00000000000000", maxBucketSize/recordSize
	var data []byte
	for i := range full - 5 {
		data = fmt.Appendf(data, "F %s %016x %013d\n", key, i, c.at.UnixMilli())
	}
	vfs.MkdirAll(m, th.Dir)
	if err := vfs.WriteFile(m, "state/throttle/aa", "x", data); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		c.at = c.at.Add(time.Millisecond)
		if _, err := th.record('F', key, fmt.Sprintf("%016x", full+i)); err != nil {
			t.Fatal(err)
		}
		if fi, err := m.Lstat("state/throttle/aa"); err != nil || fi.Size() > maxBucketSize {
			t.Fatalf("record %d: %v octets, %v", i, fi.Size(), err)
		}
	}
	data, _ = th.read("aa")
	if n := countFailures(data, key, c.at).count; n != len(data)/recordSize || n < full/2 || n > full/2+20 {
		t.Errorf("%d octets hold %d failures", len(data), n)
	}
	if !strings.Contains(string(data), fmt.Sprintf("%016x", full+19)) {
		t.Error("the last one is not there")
	}
	if len(m.OpenFiles()) != 0 {
		t.Errorf("left open: %v", m.OpenFiles())
	}
}

// What somebody else put there is cleared away when the bucket is next written to.
func TestThrottleForeignFile(t *testing.T) {
	th, m, _ := newThrottle()
	vfs.MkdirAll(m, th.Dir)
	name := th.Dir + "/" + bucketOf(addrKey(evil))
	if err := vfs.WriteFile(m, name, "x", []byte(strings.Repeat("rubbish\n", maxBucketSize))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := th.Failed(evil, "joe"); err != nil {
			t.Error(err)
		}
	}
	if wait, err := th.Check(evil); wait != time.Second || err != nil {
		t.Errorf("wait %v, %v", wait, err)
	}
}

// A disk in trouble makes nobody wait who has done nothing, and tells the log.
func TestThrottleDiskTrouble(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EACCES, syscall.EROFS, syscall.EMFILE} {
		th, m, _ := newThrottle()
		m.FailFrom(1, errno)
		delay, err := th.Failed(evil, "joe")
		if delay < firstDelay || err == nil {
			t.Errorf("%v: Failed gives %v, %v", errno, delay, err)
		}
		if wait, err := th.Check(evil); wait != 0 || err != nil {
			t.Errorf("%v: Check gives %v, %v", errno, wait, err)
		}
		m.Heal()
		if _, err := th.Failed(evil, "joe"); err != nil {
			t.Errorf("%v, healed: %v", errno, err)
		}
	}
}

// Connections that fail at the same time are all counted.
func TestThrottleConcurrent(t *testing.T) {
	th := &Throttle{FS: vfs.OS(), Dir: t.TempDir() + "/a/b"}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { th.Failed(evil, "joe") })
	}
	wg.Wait()
	data, err := th.read(bucketOf(addrKey(evil)))
	if f := countFailures(data, addrKey(evil), time.Now()); f.count != 20 || err != nil {
		t.Errorf("%d counted, %v", f.count, err)
	}
}

func FuzzCountFailures(f *testing.F) {
	f.Add([]byte("F aa00000000000000 bb00000000000000 1800000000000\nS aa00000000000000 bb00000000000000 1800000000000\nF aa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		now := time.UnixMilli(1_800_000_000_000)
		got := countFailures(data, "aa00000000000000", now)
		if d := got.delay(); d < 0 || d > maxDelay || got.count*recordSize > len(data) {
			t.Fatalf("%q: %+v, delay %v", data, got, d)
		}
	})
}
