package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// drip sends n octets every so often until the other side is gone or it has sent all times.
func drip(nc net.Conn, n int, every time.Duration, times int) {
	piece := []byte(strings.Repeat("x", n))
	for range times {
		if _, err := nc.Write(piece); err != nil {
			return
		}
		time.Sleep(every)
	}
}

// against runs a test of one side in fake time while peer plays the other.
func against(t *testing.T, peer func(client net.Conn), test func(t *testing.T, c *Conn)) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() { peer(client) })
		test(t, NewConn(server))
		server.Close()
		wg.Wait()
		client.Close()
	})
}

// readAll reads until an error and says when that was.
func readAll(c *Conn) (octets int64, after time.Duration, err error) {
	start := time.Now()
	octets, err = io.Copy(io.Discard, c.Literal(1<<40))
	return octets, time.Since(start), err
}

func TestPace(t *testing.T) {
	for _, c := range []struct {
		name     string
		rate     int
		n        int
		every    time.Duration
		times    int
		min, max time.Duration // when it is cut off; 0: never, it ends with the sender
	}{
		{name: "silence", rate: 100, min: 60 * time.Second, max: 60 * time.Second},
		{name: "an octet every ten seconds", rate: 100, n: 1, every: 10 * time.Second, times: 1000, min: 60 * time.Second, max: 61 * time.Second},
		{name: "one octet less", rate: 100, n: 99, every: time.Second, times: 10_000, min: 5900 * time.Second, max: 6100 * time.Second},
		{name: "just fast enough", rate: 100, n: 100, every: time.Second, times: 10_000},
		{name: "one octet more", rate: 100, n: 101, every: time.Second, times: 10_000},
		{name: "in gulps", rate: 100, n: 5000, every: 50 * time.Second, times: 100},
		{name: "gulps too far apart", rate: 100, n: 50_000, every: 70 * time.Second, times: 100, min: 60 * time.Second, max: 60 * time.Second},
		{name: "haste gives no credit", rate: 100, n: 1 << 20, every: time.Hour, times: 2, min: 60 * time.Second, max: 60 * time.Second},
		{name: "no rate", rate: 0, n: 1, every: 59 * time.Second, times: 1000},
		{name: "no rate, silence", rate: 0, n: 1, every: 61 * time.Second, times: 1000, min: 60 * time.Second, max: 60 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			against(t, func(client net.Conn) {
				if c.times > 0 {
					drip(client, c.n, c.every, c.times)
					client.Close()
				}
			}, func(t *testing.T, conn *Conn) {
				conn.Pace(60*time.Second, c.rate)
				octets, after, err := readAll(conn)
				isCut := errors.Is(err, os.ErrDeadlineExceeded)
				if isCut != (c.max > 0) || isCut && (after < c.min || after > c.max) {
					t.Errorf("%d octets, then %v after %v; want cut off after %v to %v", octets, err, after, c.min, c.max)
				}
			})
		})
	}
}

// The time that we take is not the peer's.
func TestPaceForgivesOurOwnSlowness(t *testing.T) {
	against(t, func(client net.Conn) { drip(client, 1000, 0, 3) }, func(t *testing.T, c *Conn) {
		c.Pace(60*time.Second, 100)
		in := c.Literal(3000)
		for i, buf := 0, make([]byte, 1000); i < 3; i++ {
			time.Sleep(time.Hour) // a disk in trouble
			if _, err := io.ReadFull(in, buf); err != nil {
				t.Fatalf("piece %d: %v", i, err)
			}
		}
	})
}

// The pieces of one text share their time, whatever stands between them.
func TestGoOn(t *testing.T) {
	against(t, func(client net.Conn) { drip(client, 1, 10*time.Second, 100) }, func(t *testing.T, c *Conn) {
		c.Pace(60*time.Second, 100)
		start := time.Now()
		for err := error(nil); err == nil; c.GoOn(60*time.Second, 100) {
			if _, err = io.ReadFull(c.Literal(1), make([]byte, 1)); err == nil {
				c.Within(time.Minute) // a command
			} else if after := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || after > 61*time.Second {
				t.Errorf("%v after %v", err, after)
			}
		}
	})
}

// Who takes long over the commands between the pieces has that much less time for the text, but is paid for what comes with them.
func TestGoOnAfterWaiting(t *testing.T) {
	for _, c := range []struct {
		rate, octets int // of the text, with each command
		max          time.Duration
	}{
		{rate: 100, octets: 1, max: 75 * time.Second}, {rate: 100, octets: 2400, max: 1500 * time.Second}, {rate: 100, octets: 2500}, {rate: 0, octets: 1},
	} {
		against(t, func(client net.Conn) {
			client.Write(make([]byte, c.octets))
			time.Sleep(25 * time.Second)
			drip(client, 3+c.octets, 25*time.Second, 100)
			client.Close()
		}, func(t *testing.T, conn *Conn) {
			conn.Pace(60*time.Second, c.rate)
			start, err := time.Now(), error(nil)
			for i := 0; err == nil; i++ {
				if i > 0 {
					conn.GoOn(60*time.Second, c.rate)
				}
				if _, err = io.ReadFull(conn.Literal(int64(c.octets)), make([]byte, c.octets)); err == nil {
					conn.Within(time.Hour) // a command
					_, err = io.ReadFull(conn.Literal(3), make([]byte, 3))
				}
			}
			after := time.Since(start)
			if isCut := errors.Is(err, os.ErrDeadlineExceeded); isCut != (c.max > 0) || isCut && (after > c.max || after < c.max-50*time.Second) {
				t.Errorf("%+v: %v after %v", c, err, after)
			}
		})
	}
}

// A line has to be whole in its time: octets that drip win nothing.
func TestWithinIsForTheWholeLine(t *testing.T) {
	against(t, func(client net.Conn) { drip(client, 1, time.Second, 1000) }, func(t *testing.T, c *Conn) {
		c.Within(300 * time.Second)
		start := time.Now()
		line, err := c.ReadLine()
		if after := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || after != 300*time.Second {
			t.Errorf("%q, %v after %v", line, err, after)
		}
	})
}

// A peer that does not read is given up after writeTime; one that reads slowly gets everything.
func TestSlowReader(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name  string
		every time.Duration // for 64 KiB
		isOK  bool
	}{
		{"never", 0, false}, {"slow", writeTime - time.Second, true}, {"too slow", writeTime + time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			against(t, func(client net.Conn) {
				for buf := make([]byte, maxWrite); c.every > 0; {
					time.Sleep(c.every)
					if _, err := io.ReadFull(client, buf); err != nil {
						return
					}
				}
			}, func(t *testing.T, conn *Conn) {
				start := time.Now()
				conn.Write(make([]byte, size))
				err := conn.Flush()
				after := time.Since(start)
				if c.isOK != (err == nil) || !c.isOK && (!errors.Is(err, os.ErrDeadlineExceeded) || after > 2*writeTime) {
					t.Errorf("%v after %v", err, after)
				}
			})
		})
	}
}

func TestQuietAndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		c := NewConn(server)
		if isQuiet, err := c.Quiet(time.Minute); !isQuiet || err != nil || c.Err() != nil {
			t.Fatalf("silence: %v, %v, %v", isQuiet, err, c.Err())
		}
		c.Within(0)
		go client.Write([]byte("a\r\nb\r\n"))
		if b, err := c.First(); b != 'a' || err != nil {
			t.Errorf("first %q, %v", b, err)
		}
		if isQuiet, err := c.Quiet(time.Minute); isQuiet || err != nil {
			t.Errorf("input: %v, %v", isQuiet, err)
		}
		for _, want := range []string{"a", "b"} {
			if line, err := c.ReadLine(); line != want || err != nil {
				t.Errorf("%q, %v, want %q", line, err, want)
			}
		}
		client.Close()
		if isQuiet, err := c.Quiet(time.Minute); isQuiet || err != io.EOF {
			t.Errorf("end: %v, %v", isQuiet, err)
		}
	})
}
