package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// The brake on guessing.
const (
	firstDelay    = 500 * time.Millisecond // after the first failure; each further one doubles it
	maxDelay      = 30 * time.Second
	maxFailures   = 100              // of one address in throttleSpan; then it is refused
	throttleSpan  = time.Hour        // how long a failure counts
	clockSlack    = time.Minute      // a failure from further in the future is from another clock
	maxBucketSize = 32 << 10         // octets of one of the 256 files
	recordSize    = 2 + 17 + 17 + 14 // of a line, see record
)

// Throttle slows down whoever guesses passwords. It keeps failed logins in small files that all processes append to,
// so that it works for servers with one process for each connection too. The files may be lost or removed at any time.
//
// An address waits for its own failures only. Failures for a user, from wherever, make wrong answers slower but never
// a right one: nobody can lock another person out. IPv6 clients count by their /64; connections without an address
// (unix sockets, pipes) don't wait.
//
// It is safe for concurrent use.
type Throttle struct {
	FS  vfs.FS
	Dir string           // made when needed
	Now func() time.Time // time.Now if nil
}

// failures is what a bucket knows about a key.
type failures struct {
	count int
	last  time.Time
}

// Check comes before the password is looked at. It gives how long the client still has to wait, at most 30 s, or a
// temporary error, 4.7.0, if it is not to be heard at all for now. When the files can't be read nobody waits.
func (t *Throttle) Check(addr netip.Addr) (time.Duration, error) {
	if !addr.IsValid() {
		return 0, nil
	}
	data, err := t.read(bucketOf(addrKey(addr)))
	if err != nil {
		return 0, nil
	}
	now := t.now()
	f := countFailures(data, addrKey(addr), now)
	if f.count >= maxFailures {
		return 0, mail.Temporaryf(7, 0, "Too many failed logins, try again later")
	}
	wait := f.delay()
	return min(wait, max(0, f.last.Add(wait).Sub(now))), nil
}

// Failed records a wrong name or password and gives how long to wait before saying so. The error is for the log; the
// delay holds all the same.
func (t *Throttle) Failed(addr netip.Addr, user string) (time.Duration, error) {
	who := userKey(user)
	delay, err := t.record('F', who, addrKey(addr))
	if !addr.IsValid() {
		return delay, err
	}
	byAddr, err2 := t.record('F', addrKey(addr), who)
	return max(delay, byAddr), errors.Join(err, err2)
}

// Succeeded forgets what this address did wrong as this user. Failures as other users stay, so a guesser with an
// account of its own gains nothing. The error is for the log.
func (t *Throttle) Succeeded(addr netip.Addr, user string) error {
	_, err := t.record('S', userKey(user), addrKey(addr))
	if !addr.IsValid() {
		return err
	}
	_, err2 := t.record('S', addrKey(addr), userKey(user))
	return errors.Join(err, err2)
}

func (f failures) delay() time.Duration {
	if f.count == 0 {
		return 0
	}
	return min(maxDelay, firstDelay<<min(f.count-1, 10))
}

// record appends one line, "F key who milliseconds", and gives the delay that key has earned with it. A success is
// written only where there is a failure to forget.
func (t *Throttle) record(kind byte, key, who string) (time.Duration, error) {
	now := t.now()
	name := bucketOf(key)
	data, err := t.read(name)
	overfull := errors.Is(err, syscall.EFBIG) // not by us
	if err != nil && !overfull && !errors.Is(err, fs.ErrNotExist) {
		return firstDelay, err
	}
	if kind == 'S' && !bytes.Contains(data, []byte("F "+key+" "+who+" ")) {
		return 0, nil
	}
	line := fmt.Appendf(nil, "%c %s %s %013d\n", kind, key, who, now.UnixMilli())
	f := countFailures(append(data, line...), key, now)
	if overfull || len(data)+len(line) > maxBucketSize {
		err = t.compact(name, line)
	} else {
		err = t.append(name, line)
	}
	return f.delay(), err
}

// countFailures reads the lines of a bucket; what is not a whole line of ours, or out of date, does not count.
func countFailures(data []byte, key string, now time.Time) failures {
	byWho := map[string]failures{}
	for line := range bytes.Lines(data) {
		kind, k, who, at, ok := parseRecord(line)
		if age := now.Sub(at); !ok || k != key || age > throttleSpan || age < -clockSlack {
			continue
		}
		if kind == 'S' {
			delete(byWho, who)
			continue
		}
		byWho[who] = failures{byWho[who].count + 1, later(byWho[who].last, at)}
	}
	var sum failures
	for _, f := range byWho {
		sum = failures{sum.count + f.count, later(sum.last, f.last)}
	}
	return sum
}

func parseRecord(line []byte) (kind byte, key, who string, at time.Time, ok bool) {
	if len(line) != recordSize || (line[0] != 'F' && line[0] != 'S') || line[recordSize-1] != '\n' {
		return 0, "", "", time.Time{}, false
	}
	fields := strings.Fields(string(line))
	if len(fields) != 4 {
		return 0, "", "", time.Time{}, false
	}
	ms, err := strconv.ParseInt(fields[3], 10, 64)
	return line[0], fields[1], fields[2], time.UnixMilli(ms), err == nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (t *Throttle) read(name string) ([]byte, error) {
	data, err := vfs.ReadFile(t.FS, path.Join(t.Dir, name), 2*maxBucketSize)
	if err != nil {
		return nil, err
	}
	return data, nil
}

// append needs no lock: a short write to a file opened for appending is not mixed with another one.
func (t *Throttle) append(name string, line []byte) error {
	f, err := t.open(name)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

func (t *Throttle) open(name string) (vfs.File, error) {
	full := path.Join(t.Dir, name)
	f, err := t.FS.OpenAppend(full)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := vfs.MkdirAll(t.FS, t.Dir); err != nil {
		return nil, err
	}
	return t.FS.OpenAppend(full)
}

// compact keeps the younger half of a full bucket and adds line. What others append at that moment may be lost, and a
// crash may lose all: then somebody may guess a little longer. If another process compacts, only line is lost.
func (t *Throttle) compact(name string, line []byte) error {
	f, err := t.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Lock(); err != nil {
		return err
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 2*maxBucketSize))
	if err != nil {
		return err
	}
	if cut := len(data) - maxBucketSize/2; cut > 0 {
		data = data[cut:]
		data = data[bytes.IndexByte(data, '\n')+1:]
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.Write(append(data, line...))
	return err
}

// addrKey is the same for all addresses of an IPv6 /64, which one customer has; an invalid address has one too.
func addrKey(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64)
		addr = prefix.Addr()
	}
	return shortHash("a" + addr.String())
}

func userKey(user string) string { return shortHash("u" + strings.ToLower(user)) }

// shortHash also keeps passwords that were typed as names out of the files.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

func bucketOf(key string) string { return key[:2] }

func (t *Throttle) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}
