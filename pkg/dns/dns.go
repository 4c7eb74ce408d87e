// Package dns finds the hosts that take mail for a domain (RFC 5321 §5.1): MX records in order, the implicit MX, the
// null MX of RFC 7505, address literals and internationalised names.
//
// [Hosts] is the whole of it; it does no I/O but through a [Resolver]. [System] is the resolver of this machine,
// [Zone] one that is written down in a text, for tests and for machines without a network.
//
// Its classifier, where every error is a *mail.Error:
//
//	the name does not exist (NXDOMAIN)             5.1.2  permanent
//	the name of the domain is malformed            5.1.2  permanent
//	null MX                                        5.1.10 permanent
//	no MX and no address                           5.4.4  permanent
//	MX, but no host of them has an address         5.4.4  permanent
//	the best host is this one                      5.4.6  permanent
//	SERVFAIL, REFUSED, time-out, anything else     4.4.3  temporary
//	some hosts have no address, others failed      4.4.3  temporary
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// MX is one mail exchanger: the lower value is tried first. Host is "." in a null MX, and otherwise a name with or
// without its final dot.
type MX struct {
	Host string
	Pref uint16
}

// Resolver asks the DNS. Names are absolute, with or without a final dot, in A-label form; CNAMEs are followed. When
// the answer is certain and empty, the error is ErrNotFound or ErrNoData; any other error means that nobody knows.
// It is safe for concurrent use.
type Resolver interface {
	LookupMX(ctx context.Context, domain string) ([]MX, error)
	LookupHost(ctx context.Context, name string) ([]netip.Addr, error)
}

// Reverser asks for the names of an address (PTR, RFC 1035 §3.5), in lower case without final dot. Its errors are those of
// Resolver. System gives one, and a Zone is one.
type Reverser interface {
	LookupAddr(ctx context.Context, addr netip.Addr) ([]string, error)
}

// Texter asks for texts (TXT, RFC 1035 §3.3.14), the strings of a record as one. Its errors are those of Resolver. System gives
// one, and a Zone is one.
type Texter interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// The two certain ways of having no answer.
var (
	ErrNotFound = errors.New("no such name in the DNS") // NXDOMAIN, or a resolver that can't tell it from ErrNoData
	ErrNoData   = errors.New("no such records in the DNS")
)

func isAbsent(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoData) }

// System is the resolver that /etc/resolv.conf and /etc/hosts describe, without the search list and without cgo. It
// says ErrNotFound for names without data too, because the net package doesn't tell one from the other.
func System() Resolver { return system{&net.Resolver{PreferGo: true}} }

type system struct{ net *net.Resolver }

func (s system) LookupMX(ctx context.Context, domain string) ([]MX, error) {
	records, err := s.net.LookupMX(ctx, absolute(domain))
	if len(records) == 0 {
		return nil, fromNet("MX of "+domain, err)
	}
	// An error beside records says that net dropped malformed ones.
	list := make([]MX, len(records))
	for i, r := range records {
		list[i] = MX{Host: r.Host, Pref: r.Pref}
	}
	return list, nil
}

// LookupHost gives IPv6 addresses first. A and AAAA are asked apart: in one question net lets an empty AAAA answer hide
// that A had failed (or, when strict, a broken AAAA hide a good A), and a failure would pass for a certain "no".
func (s system) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	ask := func(network string, to chan<- answer) {
		addrs, err := s.net.LookupNetIP(ctx, network, absolute(name))
		to <- answer{addrs, err}
	}
	c6, c4 := make(chan answer, 1), make(chan answer, 1)
	go ask("ip6", c6)
	ask("ip4", c4)
	six, four := <-c6, <-c4
	if addrs := append(six.addrs, four.addrs...); len(addrs) > 0 {
		return addrs, nil
	}
	if err := fromNet("AAAA of "+name, six.err); err != nil && !isAbsent(err) {
		return nil, err
	}
	return nil, fromNet("A of "+name, four.err)
}

// LookupAddr implements Reverser.
func (s system) LookupAddr(ctx context.Context, addr netip.Addr) ([]string, error) {
	names, err := s.net.LookupAddr(ctx, addr.String())
	if len(names) == 0 {
		return nil, fromNet("PTR of "+addr.String(), err)
	}
	for i, name := range names {
		names[i] = canonical(name)
	}
	return names, nil
}

// LookupTXT implements Texter.
func (s system) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := s.net.LookupTXT(ctx, absolute(name))
	if len(texts) == 0 {
		return nil, fromNet("TXT of "+name, err)
	}
	return texts, nil
}

// fromNet says ErrNotFound for what net is certain about; no error and no record is ErrNoData.
func fromNet(what string, err error) error {
	var de *net.DNSError
	switch {
	case err == nil:
		return ErrNoData
	case errors.As(err, &de) && de.IsNotFound && !de.IsTimeout && !de.IsTemporary:
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	default:
		return err
	}
}

// absolute keeps the search list out of it. A name of one label is left alone: net finds "localhost." in no hosts file, and
// who calls a smarthost "mail" means the one of the search list.
func absolute(name string) string {
	name = strings.TrimSuffix(name, ".")
	if !strings.Contains(name, ".") {
		return name
	}
	return name + "."
}
