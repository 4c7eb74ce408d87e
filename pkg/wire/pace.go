package wire

import (
	"errors"
	"os"
	"time"
)

// Times for the other direction: a peer has to take maxWrite octets in writeTime. RFC 5321 §4.5.3.2.7 and RFC 1939 §3 are
// patient about input; about a window that stays shut nobody says anything.
const (
	writeTime = 5 * time.Minute
	maxWrite  = largeBuffer
)

// SetWriteTime says how long maxWrite octets may take to get through, 64 KiB; at first it is five minutes.
func (c *Conn) SetWriteTime(d time.Duration) { c.wait = d }

// pace is how patient the connection is with input that comes in pieces. Only the time that is spent waiting for the peer
// counts, so that a slow disk of ours is never held against it.
type pace struct {
	max  time.Duration // that the peer may fall behind; 0: there is no pace but a fixed deadline
	rate int           // octets a second that it has to send; 0: each piece makes good for all
	left time.Duration // of max
}

// Within gives the peer d for all that it sends until the next call of Within, Idle or Pace: dripping octets wins it nothing.
// Zero waits for ever.
func (c *Conn) Within(d time.Duration) {
	c.pace.max = 0
	c.setReadDeadline(d)
}

// Idle gives the peer d for each next piece of input. A peer that is trusted to be honest needs no more.
func (c *Conn) Idle(d time.Duration) { c.Pace(d, 0) }

// Pace gives the peer d, and a second more for each rate octets that come, but never more than d: one that sends faster on
// the average is never cut off, one that drips octets is after little more than d. A rate of 0 or less is Idle.
func (c *Conn) Pace(d time.Duration, rate int) {
	c.pace = pace{max: d, rate: max(rate, 0), left: d}
	if d == 0 {
		c.setReadDeadline(0)
	}
}

// GoOn goes on with the pace that Within has interrupted, with what is left of it: the parts of one text that comes in
// pieces share their time, and the waiting between them is part of it.
func (c *Conn) GoOn(d time.Duration, rate int) {
	left := c.pace.left
	c.Pace(d, rate)
	c.pace.left = left
	c.pace.credit(0, c.w-c.r) // what has come together with the lines between
	if c.pace.left <= 0 && rate > 0 {
		c.r, c.w, c.rerr = 0, 0, os.ErrDeadlineExceeded
	}
}

// receive is a read under the deadline or the pace.
func (c *Conn) receive(p []byte) (int, error) {
	if c.pace.max == 0 && c.pace.left <= 0 {
		return c.nc.Read(p)
	}
	start := time.Now()
	if c.pace.max > 0 {
		c.nc.SetReadDeadline(start.Add(c.pace.left))
	}
	n, err := c.nc.Read(p)
	c.pace.credit(time.Since(start), n)
	return n, err
}

// credit settles what a piece has cost and brought. While the pace is interrupted it only costs: what comes is not of the text.
func (p *pace) credit(waited time.Duration, octets int) {
	if p.rate == 0 {
		return
	}
	if p.max == 0 {
		p.left -= max(waited, 0)
		return
	}
	earned := time.Duration(octets) * time.Second / time.Duration(p.rate)
	p.left = min(p.left-max(waited, 0)+earned, p.max)
}

func (c *Conn) setReadDeadline(d time.Duration) {
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	c.nc.SetReadDeadline(t)
}

// First waits for the first octet of what comes next and gives it without reading it.
func (c *Conn) First() (byte, error) {
	if !c.Pending() {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	return c.buf[c.r], nil
}

// Quiet reports that the peer says nothing for d. It returns at once when it does; what came can be read. The error is that
// of a connection that has ended.
func (c *Conn) Quiet(d time.Duration) (bool, error) {
	if c.Pending() {
		return false, nil
	}
	c.Within(d)
	err := c.fill()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.rerr = nil
		return true, nil
	}
	return false, err
}
