package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/wire"
)

// record keeps log lines.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

func (r *record) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.FieldsFunc(r.b.String(), func(c rune) bool { return c == '\n' })
}

func openPlaces(t *testing.T, path string) *Places {
	t.Helper()
	p, err := OpenPlaces(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlaces(t *testing.T) {
	path := t.TempDir() + "/state/connections"
	take := func(name string, max int) (*Places, bool) {
		p := openPlaces(t, path)
		t.Cleanup(func() { p.Close() })
		ok, err := p.Take(name, max)
		if err != nil {
			t.Fatal(err)
		}
		return p, ok
	}
	const max = 5
	var held []*Places
	for i := range max {
		p, ok := take("smtp", max)
		if !ok {
			t.Errorf("place %d of %d is not free", i+1, max)
		}
		held = append(held, p)
	}
	if _, ok := take("smtp", max); ok {
		t.Errorf("place %d of %d was given", max+1, max)
	}
	if _, ok := take("smtp", max+1); !ok {
		t.Error("a larger limit does not help")
	}
	if _, ok := take("smtp 192.0.2.1/32", 1); !ok {
		t.Error("another name has no place")
	}
	held[2].Close()
	if _, ok := take("smtp", max); !ok {
		t.Error("a place that was given back is not free")
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() != 0 || fi.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", fi, err)
	}
}

func TestPlacesOfAllNamesFit(t *testing.T) {
	seen := map[int64]bool{}
	for i := range 100_000 {
		start := placeOf(fmt.Sprint("smtp 192.0.2.", i))
		if start < 0 || start > 1<<63-maxPlaces || start%maxPlaces != 0 || seen[start] {
			t.Fatalf("name %d begins at %d", i, start)
		}
		seen[start] = true
	}
}

func BenchmarkPlaces(b *testing.B) {
	path := b.TempDir() + "/connections"
	for b.Loop() {
		p, err := OpenPlaces(path)
		if err != nil {
			b.Fatal(err)
		}
		p.Take("smtp", 1000)
		p.Take("smtp 192.0.2.1/32", 50)
		p.Close()
	}
}

func BenchmarkTally(b *testing.B) {
	t := &Tally{Path: b.TempDir() + "/recipients"}
	for b.Loop() {
		t.Add("user bob", 1, 1<<30)
	}
}

// Who is refused for its address holds no place of the others.
func TestRefusedHoldNoPlace(t *testing.T) {
	addr := startToy(t, &Server{MaxConns: 2, MaxPerAddress: 1, Refuse: func(nc net.Conn) { io.WriteString(nc, "full\r\n") }})
	for i, c := range []struct{ from, want string }{
		{"127.0.0.1", "hello\r\n"}, {"127.0.0.1", "full\r\n"}, {"127.0.0.1", "full\r\n"}, {"127.0.0.2", "hello\r\n"}, {"127.0.0.3", "full\r\n"},
	} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if got := readUntil(t, nc, "\n"); got != c.want {
			t.Errorf("connection %d, from %s: %q, want %q", i, c.from, got, c.want)
		}
	}
}

// serveOne runs one connection of a service, and gives what the client was told first.
func serveOne(t *testing.T, srv *Server, nc net.Conn, client net.Conn) (said string, leave func()) {
	t.Helper()
	srv.Handle = func(ctx context.Context, nc net.Conn) {
		c := wire.NewConn(nc)
		Run(ctx, toyDialect(), &toy{c: c, state: locked}, c, Limits{})
	}
	srv.Refuse = func(nc net.Conn) { io.WriteString(nc, "full\r\n") }
	var wg sync.WaitGroup
	wg.Go(func() { srv.ServeOne(context.Background(), nc) })
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	n, _ := client.Read(buf)
	return string(buf[:n]), func() { client.Close(); wg.Wait() }
}

func TestServeOneCountsWithOthers(t *testing.T) {
	dir, log := t.TempDir(), &record{}
	connect := func(addr, header string) (string, func()) {
		client, server := net.Pipe()
		if header != "" {
			go io.WriteString(client, header)
		}
		return serveOne(t, &Server{Service: "smtp", Places: dir + "/state/connections", Tally: &Tally{Path: dir + "/state/refused"},
			MaxConns: 4, MaxPerAddress: 2, Log: log.logger(), Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
			from{server, addr}, client)
	}
	var leave []func()
	for i, c := range []struct{ addr, header, want string }{
		{"192.0.2.1:1", "", "hello\r\n"},
		{"192.0.2.1:2", "", "hello\r\n"},
		{"192.0.2.1:3", "", "full\r\n"},
		{"10.0.0.1:4", "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n", "full\r\n"},
		{"10.0.0.1:5", "PROXY TCP4 192.0.2.2 10.0.0.1 1 2\r\n", "hello\r\n"},
		{"[2001:db8::1]:6", "", "hello\r\n"},
		{"192.0.2.4:7", "", "full\r\n"},
	} {
		got, l := connect(c.addr, c.header)
		if got != c.want {
			t.Errorf("connection %d, from %s: %q, want %q", i, c.addr, got, c.want)
		}
		if got != "hello\r\n" {
			l() // what it had taken is free again
			continue
		}
		leave = append(leave, l)
	}
	leave[0]()
	got, l := connect("192.0.2.1:8", "")
	if got != "hello\r\n" {
		t.Errorf("a place that was left: %q", got)
	}
	l()
	for _, l := range leave[1:] {
		l()
	}
	if got := log.lines(); len(got) != 3 || !strings.Contains(got[2], `why="too many connections"`) {
		t.Errorf("log %q", got)
	}
}

// Where nothing can be counted, mail still comes in, and the operator hears of it.
func TestServeOneWithoutState(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var reports []error
	client, server := net.Pipe()
	got, leave := serveOne(t, &Server{Service: "smtp", Places: file + "/connections", MaxConns: 1, MaxPerAddress: 1,
		Report: func(err error) { reports = append(reports, err) }}, from{server, "192.0.2.1:1"}, client)
	leave()
	if got != "hello\r\n" || len(reports) != 1 {
		t.Errorf("%q, reports %v", got, reports)
	}
}

func newTally(t *testing.T) (*Tally, *time.Time) {
	now := time.Unix(1_800_000_000, 0)
	return &Tally{Path: t.TempDir() + "/state/recipients", Now: func() time.Time { return now }}, &now
}

func TestTally(t *testing.T) {
	tally, now := newTally(t)
	add := func(key string, n int, want bool) {
		t.Helper()
		if ok, err := tally.Add(key, n, 1000); ok != want || err != nil {
			t.Errorf("%s, %d more: %v, %v; want %v", key, n, ok, err, want)
		}
	}
	add("bob", 999, true)
	add("bob", 2, false) // and is not counted
	add("bob", 1, true)
	add("bob", 1, false)
	add("alice", 1000, true)
	*now = now.Add(tallySpan - time.Second)
	add("bob", 1, false)
	*now = now.Add(time.Second)
	add("bob", 1000, true)
	add("bob", 1, false)
	*now = now.Add(-2 * time.Hour) // what is written in the future is of another clock
	add("bob", 1000, true)
	*now = now.AddDate(20, 0, 0)
	add("bob", 1, true)
	add("carol", 1001, false)
	add("carol", 1000, true)
	if fi, err := os.Stat(tally.Path); err != nil || fi.Size() > tallyPages*tallyPage || fi.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", fi, err)
	}
}

// Processes that count at the same time lose nothing.
func TestTallyConcurrent(t *testing.T) {
	tally, _ := newTally(t)
	var wg sync.WaitGroup
	const events = 8 * 500
	for range 8 {
		wg.Go(func() {
			for range events / 8 {
				tally.Add("bob", 1, 1<<20)
			}
		})
	}
	wg.Wait()
	for _, c := range []struct {
		n    int
		want bool
	}{{1<<20 - events + 1, false}, {1<<20 - events, true}} {
		if ok, err := tally.Add("bob", c.n, 1<<20); ok != c.want || err != nil {
			t.Errorf("%d beside %d: %v, %v", c.n, events, ok, err)
		}
	}
}

// A page that is full makes place for a new key by dropping what began first; the keys of others are left alone.
func TestTallyPageIsFull(t *testing.T) {
	var page [tallyPage]byte
	const now = 1_800_000_000
	for i := range uint64(256) {
		at, total := tally(&page, 1000+i, now+int64(i))
		if total != 0 || at != int(i)*tallyEntry {
			t.Fatalf("key %d: at %d, %d", i, at, total)
		}
		binary.BigEndian.PutUint32(page[at+12:], uint32(i))
	}
	if at, _ := tally(&page, 5000, now+300); at != 0 {
		t.Errorf("the new key is at %d", at)
	}
	for i := range uint64(255) {
		if at, total := tally(&page, 1001+i, now+300); total != int64(i)+1 {
			t.Errorf("key %d: at %d, %d", i+1, at, total)
		}
	}
}

func TestTallyTrouble(t *testing.T) {
	dir := t.TempDir()
	if ok, err := (&Tally{Path: dir}).Add("bob", 1, 1); ok || err == nil {
		t.Errorf("a directory: %v, %v", ok, err)
	}
	if err := os.Symlink("/dev/null", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if ok, err := (&Tally{Path: dir + "/link"}).Add("bob", 1, 1); ok || err == nil {
		t.Errorf("a link: %v, %v", ok, err)
	}
	foreign := dir + "/foreign"
	if err := os.WriteFile(foreign, bytes.Repeat([]byte("rubbish\n"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	tally := &Tally{Path: foreign}
	for i, want := range []bool{true, true, false} {
		if ok, err := tally.Add("bob", 1, 2); ok != want || err != nil {
			t.Errorf("a foreign file, event %d: %v, %v", i, ok, err)
		}
	}
	os.Remove(foreign)
	if ok, err := tally.Add("bob", 2, 2); !ok || err != nil {
		t.Errorf("a file that was removed: %v, %v", ok, err)
	}
	var perr *fs.PathError
	if _, err := OpenPlaces(dir); !errors.As(err, &perr) {
		t.Errorf("places in a directory: %v", err)
	}
}

func FuzzTally(f *testing.F) {
	f.Add([]byte("rubbish\n rubbish\n"), uint64(7), int64(1_800_000_000))
	f.Fuzz(func(t *testing.T, data []byte, id uint64, now int64) {
		var page [tallyPage]byte
		copy(page[:], data)
		now &= 1<<32 - 1
		at, total := tally(&page, id, now)
		if at < 0 || at%tallyEntry != 0 || at >= tallyPage || total < 0 {
			t.Fatalf("at %d, %d", at, total)
		}
		if at2, total2 := tally(&page, id, now); at2 != at && id != 0 || total2 != total {
			t.Fatalf("at %d, %d; again at %d, %d", at, total, at2, total2)
		}
	})
}

func TestRefusalsAreToldOnceAMinute(t *testing.T) {
	var r refusals
	key := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	now := time.Unix(1_800_000_000, 0)
	for i, c := range []struct {
		after  time.Duration
		untold int
		isTime bool
	}{{0, 0, true}, {time.Second, 0, false}, {59 * time.Second, 0, false}, {60 * time.Second, 2, true}, {61 * time.Second, 0, false}} {
		if untold, isTime := r.tell(key(1), now.Add(c.after)); untold != c.untold || isTime != c.isTime {
			t.Errorf("refusal %d: %d, %v", i, untold, isTime)
		}
	}
	for i := range 3 * maxRefusals {
		r.tell(key(i), now)
	}
	if len(r.last) > maxRefusals {
		t.Errorf("%d addresses are remembered", len(r.last))
	}
}

// A command has to be whole in its time, however regularly its octets come.
func TestDrippingCommandIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		go func() {
			for range 1000 {
				if _, err := client.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		var out []byte
		read := make(chan bool)
		go func() { out, _ = io.ReadAll(client); close(read) }()
		c, start := wire.NewConn(server), time.Now()
		err := Run(context.Background(), toyDialect(), &toy{c: c, state: locked}, c, Limits{Command: 300 * time.Second})
		<-read
		if after := time.Since(start); after != 300*time.Second || string(out) != "hello\r\nno 4.4.2\r\n" || err != nil {
			t.Errorf("%q, %v after %v", out, err, after)
		}
		time.Sleep(2 * time.Second)
	})
}

// Who sends commands without end and reads no reply costs little memory, and not for long.
func TestFlooding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		c, start := wire.NewConn(server), time.Now()
		done := make(chan error)
		go func() {
			done <- Run(context.Background(), toyDialect(), &toy{c: c, state: locked}, c, Limits{Command: time.Hour})
		}()
		buf := make([]byte, 7)
		io.ReadFull(client, buf) // the greeting
		sent := make(chan int)
		go func() {
			n := 0
			for range 20_000 {
				if _, err := io.WriteString(client, "BARE\r\n"); err != nil {
					break
				}
				n++
			}
			sent <- n
		}()
		if n := <-sent; n == 20_000 || n*len("yes BARE\r\n") > 128<<10 {
			t.Errorf("%d commands were taken", n)
		}
		if err, after := <-done, time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || after > 10*time.Minute {
			t.Errorf("%v after %v", err, after)
		}
	})
}

func TestForeignProtocols(t *testing.T) {
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x5a", 500)
	for _, c := range []struct{ name, in, want string }{
		{"TLS", hello, "hello|no 5.5.1"},
		{"HTTP", "POST / HTTP/1.1\r\nHost: mx.example\r\n\r\nBARE\r\nBARE\r\n", "hello|no 5.5.1"},
		{"HTTP later", "BARE\r\nGET / HTTP/1.0\r\nBARE\r\n", "hello|yes BARE|no 5.5.1"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "hello|no 5.5.1"},
		{"a proxy's CONNECT", "CONNECT mx.example:25 HTTP/1.1\r\n\r\nBARE\r\n", "hello|no 5.5.1"},
		{"a word of HTTP alone", "GET\r\nBARE\r\n", "hello|no 5.5.1|yes BARE"},
		{"text that ends like it", "OPEN\r\nECHO GET / HTTP/1.1\r\n", "hello|yes OPEN|GET / HTTP/1.1|yes ECHO"},
		{"short", "HTTP/1.1\r\n HTTP/1.1\r\nBARE\r\n", "hello|no 5.5.1|no 5.5.1|yes BARE"},
		{"TLS octet later", "BARE\r\n\x16\x03\x01\r\nBARE\r\n", "hello|yes BARE|no 5.5.1|yes BARE"},
		{"binary", "\x00\x01\x02\xff\r\n\x80\r\n\x04\x01\r\n", "hello|no 5.5.1|no 5.5.1|no 5.5.1|no 4.7.0"},
	} {
		got, err := converse(t, c.in, Limits{Mistakes: 3, Command: 5 * time.Second})
		if got != c.want || err != nil {
			t.Errorf("%s: %q gives %q, %v; want %q", c.name, c.in, got, err, c.want)
		}
	}
}

// A ClientHello that waits for its answer gets one at once, not after the timeout.
func TestClientHelloInClearIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		go io.Copy(io.Discard, client)
		go client.Write([]byte("\x16\x03\x01\x02\x00"))
		c, start := wire.NewConn(server), time.Now()
		err := Run(context.Background(), toyDialect(), &toy{c: c, state: locked}, c, Limits{Command: time.Hour})
		if after := time.Since(start); after != 0 || err != nil {
			t.Errorf("%v after %v", err, after)
		}
	})
}

// Connections never take the descriptors that files need.
func TestMaxDescriptor(t *testing.T) {
	for limit, want := range map[uint64]int{24: 18, 64: 48, 1023: 768, 1024: 768, 1025: 769, 1 << 20: 1<<20 - 256, 1 << 30: 1<<30 - 256, 1<<30 + 1: 0, 1<<64 - 1: 0} {
		if got := maxDescriptor(limit); got != want {
			t.Errorf("of %d: %d, want %d", limit, got, want)
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if fd := descriptorOf(a); fd != -1 {
		t.Errorf("a pipe has descriptor %d", fd)
	}
}

// An address that is refused again and again is told of once a minute, with how often it was refused between; and so that a flood
// from many addresses does not fill the memory, no more than so many are remembered.
func TestRefusalsAreTold(t *testing.T) {
	var r refusals
	key := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	start := time.Unix(1700000000, 0)
	for i, c := range []struct {
		after  time.Duration
		untold int
		isTime bool
	}{
		{0, 0, true}, {time.Second, 0, false}, {time.Minute - 1, 0, false}, {time.Minute, 2, true}, {time.Minute + 1, 0, false}, {2*time.Minute + 1, 1, true},
	} {
		if untold, isTime := r.tell(key(0), start.Add(c.after)); untold != c.untold || isTime != c.isTime {
			t.Errorf("refusal %d, after %v: %d, %v; want %d, %v", i, c.after, untold, isTime, c.untold, c.isTime)
		}
	}
	for n := 2; n <= maxRefusals; n++ {
		r.tell(key(n), start)
	}
	if n := len(r.last); n != maxRefusals {
		t.Errorf("%d addresses are remembered, want %d", n, maxRefusals)
	}
	if r.tell(key(maxRefusals+1), start); len(r.last) != 1 {
		t.Errorf("%d addresses are remembered after one more than there may be", len(r.last))
	}
}

// Processes of one connection each tell of an address ten times an hour, all together.
func TestRefusalsOfProcesses(t *testing.T) {
	tally := &Tally{Path: t.TempDir() + "/refused"}
	for i := range 12 {
		if _, isTime := (&Server{Service: "smtp", Tally: tally}).mayTell(netip.MustParsePrefix("192.0.2.1/32")); isTime != (i < 10) {
			t.Errorf("refusal %d is told: %v", i+1, isTime)
		}
	}
}

// A peer that does not take the last line has ten seconds for it.
func TestFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		start := time.Now()
		go func() {
			io.ReadFull(near, make([]byte, len("hello\r\n")))
		}()
		c := wire.NewConn(far)
		err := Run(t.Context(), toyDialect(), &toy{c: c, state: locked}, c, Limits{Command: time.Minute})
		if after := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || after != time.Minute+10*time.Second {
			t.Errorf("%v after %v", err, after)
		}
		near.Close()
	})
}
