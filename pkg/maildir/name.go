package maildir

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Name is the name of a message file in its parts. A name of any program is kept exactly: ParseName(file).String()
// is file.
type Name struct {
	Base  string // the unique part, with ",S=" and ",W=" if it has them: it never changes
	Size  int64  // from S=, octets on disk; -1 if the name does not say
	Wire  int64  // from W=, octets with CRLF line ends; -1 if the name does not say
	Flags string // "" or letters, as they stand in the name

	info bool   // the name has ":2,"
	tail string // what follows the flags, from a comma on
}

const infoMark = ":2,"

// ParseName takes the name of a file, without its directory, apart.
func ParseName(file string) Name {
	n := Name{Base: file, Size: -1, Wire: -1}
	if i := strings.Index(file, infoMark); i >= 0 {
		n.Base, n.Flags, n.info = file[:i], file[i+len(infoMark):], true
	}
	if i := strings.IndexByte(n.Flags, ','); i >= 0 {
		n.Flags, n.tail = n.Flags[:i], n.Flags[i:]
	}
	_, fields, _ := strings.Cut(n.Base, ",")
	for fields != "" {
		var field string
		field, fields, _ = strings.Cut(fields, ",")
		readSize(field, "S=", &n.Size)
		readSize(field, "W=", &n.Wire)
	}
	return n
}

// readSize takes a field into size; the first one counts.
func readSize(field, key string, size *int64) {
	digits, ok := strings.CutPrefix(field, key)
	if !ok || *size >= 0 || digits == "" || digits[0] < '0' || digits[0] > '9' {
		return
	}
	if v, err := strconv.ParseInt(digits, 10, 64); err == nil {
		*size = v
	}
}

// String is the name of the file.
func (n Name) String() string {
	if !n.info && n.Flags == "" && n.tail == "" {
		return n.Base
	}
	return n.Base + infoMark + n.Flags + n.tail
}

// Has reports a flag.
func (n Name) Has(flag byte) bool { return strings.IndexByte(n.Flags, flag) >= 0 }

// withFlags is the name in cur/ with those flags, in ASCII order, each once. If they are the ones it has, they stay as
// they stand.
func (n Name) withFlags(flags string) Name {
	n.info = true
	if flags = inOrder(flags); flags != inOrder(n.Flags) {
		n.Flags = flags
	}
	return n
}

func inOrder(flags string) string {
	b := []byte(flags)
	slices.Sort(b)
	return string(slices.Compact(b))
}

// standardFlags are the letters that the Maildir specification defines: draft, flagged, passed, replied, seen, trashed.
const standardFlags = "DFPRST"

// without takes letters out of flags.
func without(flags, letters string) string {
	var left []byte
	for i := 0; i < len(flags); i++ {
		if strings.IndexByte(letters, flags[i]) < 0 {
			left = append(left, flags[i])
		}
	}
	return string(left)
}

// wellFormed reports that every flag is one printable ASCII character that can stand in a name.
func wellFormed(flags string) bool {
	for i := 0; i < len(flags); i++ {
		if c := flags[i]; c <= ' ' || c >= 0x7f || c == '/' || c == ',' || c == ':' {
			return false
		}
	}
	return true
}

// unique makes the name of a delivery, without its sizes: `<sec>.M<usec>P<pid>R<random>.<host>`. 64 random bits keep it
// unique across threads, processes and hosts when the clock jumps or pids come again.
func unique(now time.Time, host string) string {
	var random [8]byte
	rand.Read(random[:]) // never fails: it ends the process if the kernel has none
	return fmt.Sprintf("%d.M%dP%dR%s.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(),
		hex.EncodeToString(random[:]), host)
}

// maxBase leaves room for flags in 255 octets.
const maxBase = 220

// HintIn gives what a Delivery has as a hint under key in the name of a file; "": nothing.
func HintIn(file string, key byte) string {
	base, _, _ := strings.Cut(file, infoMark)
	_, value, _ := strings.Cut(base, ","+string(key)+"=")
	value, _, _ = strings.Cut(value, ",")
	return value
}

// maxHost leaves room for the rest of a name in 255 octets, with the longest sizes and some flags.
const maxHost = 110

// escapeHost makes any host name fit into a file name: '/', ':' and ',' are \057, \072 and \054, as the Maildir
// specification has it, and so is whatever does not print.
func escapeHost(host string) string {
	var b strings.Builder
	for i := 0; i < len(host) && b.Len() < maxHost; i++ {
		c := host[i]
		if c <= ' ' || c >= 0x7f || c == '/' || c == ':' || c == ',' || c == '\\' {
			fmt.Fprintf(&b, "\\%03o", c)
			continue
		}
		b.WriteByte(c)
	}
	if b.Len() == 0 {
		return "localhost"
	}
	return b.String()
}

// host gives the escaped host name for names.
func (d *Dir) host() string {
	if d.Host != "" {
		return escapeHost(d.Host)
	}
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	return escapeHost(name)
}

// arrival is what the order of delivery goes by.
type arrival struct{ sec, usec int64 }

// noArrival stands for the seconds in names without a time: they come last.
const noArrival = 1<<63 - 1

// arrivalOf reads the time out of the unique part.
func arrivalOf(base string) arrival {
	sec, rest, ok := leadingNumber(base)
	if !ok {
		return arrival{sec: noArrival}
	}
	rest, _ = strings.CutPrefix(rest, ".")
	middle, _, _ := strings.Cut(rest, ".")
	if i := strings.IndexByte(middle, 'M'); i >= 0 {
		if usec, _, ok := leadingNumber(middle[i+1:]); ok {
			return arrival{sec, usec}
		}
	}
	return arrival{sec: sec}
}

// rough is never in another order than the arrivals are, but different ones may share a value. It fits into one word, with which
// sorting is fast.
func (a arrival) rough() uint64 {
	const bits = 20 // a million
	return uint64(min(a.sec, 1<<(63-bits)-1))<<bits | uint64(min(a.usec, 1<<bits-1))
}

// compareArrival puts unique parts in the order of delivery.
func compareArrival(base, other string) int {
	a, b := arrivalOf(base), arrivalOf(other)
	if c := cmp.Compare(a.sec, b.sec); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.usec, b.usec), strings.Compare(base, other))
}

func leadingNumber(s string) (n int64, rest string, ok bool) {
	i := 0
	for i < len(s) && i < 18 && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + int64(s[i]-'0')
		i++
	}
	return n, s[i:], i > 0
}
