package dns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a zone text.
const (
	maxZoneLine = 4096
	maxCNAMEs   = 8
)

// Zone is a Resolver made of text, one record a line, ";" or "#" before comments. Names are absolute whether or not
// they end in a dot. A TTL and the class IN may be there and mean nothing.
//
//	example.org.      MX    10 mx.example.org.
//	mx.example.org.   A     127.0.0.1
//	mx.example.org.   AAAA  ::1
//	www.example.org.  CNAME example.org.
//	1.2.0.192.in-addr.arpa. PTR mx.example.org.
//	_mta-sts.example.org. TXT "v=STSv1; " "id=1"     the strings of a record are joined
//	null.example.     MX    0 .
//	bad.example.      SERVFAIL              every question about the name; also TIMEOUT and NXDOMAIN
//	half.example.     A SERVFAIL            questions of one kind: MX, TXT or A (which stands for AAAA too)
//
// A name that is not there does not exist, unless there is a name below it.
type Zone struct {
	mx    map[string][]MX
	addrs map[string][]netip.Addr
	cname map[string]string
	ptr   map[string][]string // names of addresses, by reverse name
	txt   map[string][]string
	fails map[string]error // by name, and by name with "/MX", "/TXT" or "/A"
	names map[string]bool  // every owner and every name above one
}

// errServFail has the type that net's resolver uses.
func errServFail(name string) error {
	return &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
}

func errTimeout(name string) error {
	return &net.DNSError{Err: "i/o timeout", Name: name, IsTimeout: true, IsTemporary: true}
}

// ParseZone reads a zone text; errors name the line.
func ParseZone(r io.Reader) (*Zone, error) {
	z := &Zone{
		mx: map[string][]MX{}, addrs: map[string][]netip.Addr{}, cname: map[string]string{}, ptr: map[string][]string{},
		txt: map[string][]string{}, fails: map[string]error{}, names: map[string]bool{},
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 512), maxZoneLine)
	for n := 1; lines.Scan(); n++ {
		fields, err := words(lines.Text())
		if err == nil && len(fields) > 0 {
			err = z.add(fields)
		}
		if err != nil {
			return nil, fmt.Errorf("zone line %d: %w", n, err)
		}
	}
	return z, lines.Err()
}

// words cuts a line at white space and before a comment. One that begins with a quote goes to the next quote.
func words(line string) (fields []string, err error) {
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" || line[0] == ';' || line[0] == '#' {
			return fields, nil
		}
		end := strings.IndexAny(line, " \t\r;#")
		if line[0] == '"' {
			if end = 1 + strings.IndexByte(line[1:], '"'); end == 0 {
				return nil, errors.New("a quote is not closed")
			}
			fields, line = append(fields, line[1:end]), line[end+1:]
			continue
		}
		if end < 0 {
			end = len(line)
		}
		fields, line = append(fields, line[:end]), line[end:]
	}
}

func (z *Zone) add(fields []string) error {
	owner, rest := canonical(fields[0]), fields[1:]
	if !isHostname(owner) {
		return errors.New("bad owner name")
	}
	if len(rest) > 1 && strings.Trim(rest[0], "0123456789") == "" {
		rest = rest[1:]
	}
	if len(rest) > 1 && strings.EqualFold(rest[0], "IN") {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return errors.New("record type is missing")
	}
	if err := z.record(owner, strings.ToUpper(rest[0]), rest[1:]); err != nil {
		return err
	}
	for name := owner; name != ""; {
		z.names[name] = true
		_, name, _ = strings.Cut(name, ".")
	}
	return nil
}

func (z *Zone) record(owner, kind string, data []string) error {
	if len(data) == 0 {
		return z.failure(owner, kind)
	}
	switch {
	case (kind == "MX" || kind == "A" || kind == "TXT") && len(data) == 1 && isFailure(data[0]):
		return z.failure(owner+"/"+kind, strings.ToUpper(data[0]))
	case kind == "MX" && len(data) == 2:
		return z.addMX(owner, data[0], data[1])
	case (kind == "A" || kind == "AAAA") && len(data) == 1:
		ip, err := netip.ParseAddr(data[0])
		if err != nil || ip.Is4() != (kind == "A") || ip.Zone() != "" {
			return errors.New("bad address")
		}
		z.addrs[owner] = append(z.addrs[owner], ip)
	case kind == "CNAME" && len(data) == 1:
		z.cname[owner] = canonical(data[0])
	case kind == "TXT":
		z.txt[owner] = append(z.txt[owner], strings.Join(data, ""))
	case kind == "PTR" && len(data) == 1:
		z.ptr[owner] = append(z.ptr[owner], canonical(data[0]))
	default:
		return errors.New("unknown record")
	}
	return nil
}

func isFailure(word string) bool {
	word = strings.ToUpper(word)
	return word == "SERVFAIL" || word == "TIMEOUT" || word == "NXDOMAIN"
}

func (z *Zone) failure(key, word string) error {
	name, _, _ := strings.Cut(key, "/")
	switch word {
	case "SERVFAIL":
		z.fails[key] = errServFail(name)
	case "TIMEOUT":
		z.fails[key] = errTimeout(name)
	case "NXDOMAIN":
		z.fails[key] = ErrNotFound
	default:
		return errors.New("unknown record or missing data")
	}
	return nil
}

// addMX takes any host name, malformed ones too: tests need them.
func (z *Zone) addMX(owner, pref, host string) error {
	n, err := strconv.ParseUint(pref, 10, 16)
	if err != nil {
		return errors.New("bad preference")
	}
	z.mx[owner] = append(z.mx[owner], MX{Host: host, Pref: uint16(n)})
	return nil
}

// LookupMX implements Resolver.
func (z *Zone) LookupMX(ctx context.Context, domain string) ([]MX, error) {
	name, err := z.find(ctx, domain, "MX")
	if err != nil {
		return nil, err
	}
	if len(z.mx[name]) == 0 {
		return nil, ErrNoData
	}
	return slices.Clone(z.mx[name]), nil
}

// LookupHost implements Resolver. Addresses come in the order of the text.
func (z *Zone) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	name, err := z.find(ctx, name, "A")
	if err != nil {
		return nil, err
	}
	if len(z.addrs[name]) == 0 {
		return nil, ErrNoData
	}
	return slices.Clone(z.addrs[name]), nil
}

// LookupTXT implements Texter.
func (z *Zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	name, err := z.find(ctx, name, "TXT")
	if err != nil {
		return nil, err
	}
	if len(z.txt[name]) == 0 {
		return nil, ErrNoData
	}
	return slices.Clone(z.txt[name]), nil
}

// LookupAddr implements Reverser.
func (z *Zone) LookupAddr(ctx context.Context, addr netip.Addr) ([]string, error) {
	name, err := z.find(ctx, reverseName(addr), "PTR")
	if err != nil {
		return nil, err
	}
	if len(z.ptr[name]) == 0 {
		return nil, ErrNoData
	}
	return slices.Clone(z.ptr[name]), nil
}

// reverseName is where the PTR records of an address are: its octets, or the half octets of IPv6 (RFC 3596 §2.5), from the
// last to the first.
func reverseName(addr netip.Addr) string {
	var labels []string
	addr = addr.Unmap()
	for _, octet := range addr.AsSlice() {
		if addr.Is4() {
			labels = append(labels, strconv.Itoa(int(octet)))
		} else {
			labels = append(labels, strconv.FormatUint(uint64(octet>>4), 16), strconv.FormatUint(uint64(octet&15), 16))
		}
	}
	slices.Reverse(labels)
	if addr.Is4() {
		return strings.Join(labels, ".") + ".in-addr.arpa"
	}
	return strings.Join(labels, ".") + ".ip6.arpa"
}

// find follows CNAMEs to the name that holds the records.
func (z *Zone) find(ctx context.Context, name, kind string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	name = canonical(name)
	for range maxCNAMEs {
		if err := firstError(z.fails[name], z.fails[name+"/"+kind]); err != nil {
			return "", err
		}
		if !z.names[name] {
			return "", ErrNotFound
		}
		target, ok := z.cname[name]
		if !ok {
			return name, nil
		}
		name = target
	}
	return "", errServFail(name)
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
