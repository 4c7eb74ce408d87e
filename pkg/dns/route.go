package dns

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"mailx/pkg/mail"
)

// Bounds on what a domain can make us do.
const (
	MaxMX    = 100 // records looked at, the best ones
	MaxHosts = 20  // hosts to try
	MaxAddrs = 16  // addresses of one host
)

// Host is one host to try.
type Host struct {
	Name    string       // lower case, A-labels, no final dot: for TLS and the log; "[192.0.2.1]" for a literal
	Pref    uint16       // of its MX record; 0 for an implicit MX and a literal
	Literal netip.Addr   // the address, if the domain was an address literal; else the zero Addr
	Addrs   []netip.Addr // filled where finding the route has found them; Resolve gives them for every host
}

// Route finds hosts. Only the Resolver is needed.
type Route struct {
	Resolver Resolver
	// Self reports a name (as in Host.Name) that is this host.
	Self func(host string) bool
	// Shuffle has the contract of rand.Shuffle, which it is when nil; it picks the order among equal preferences.
	Shuffle func(n int, swap func(i, j int))
}

// Hosts gives the hosts that take mail for domain, in the order to try them: at least one, at most MaxHosts, and the
// first has addresses. See the package comment for the errors.
func Hosts(ctx context.Context, r Resolver, domain string, self func(host string) bool) ([]Host, error) {
	return Route{Resolver: r, Self: self}.Hosts(ctx, domain)
}

// Hosts is the function Hosts.
func (r Route) Hosts(ctx context.Context, domain string) ([]Host, error) {
	if strings.HasPrefix(domain, "[") {
		return r.literal(domain)
	}
	name, err := ASCII(domain)
	if err != nil {
		return nil, err
	}
	records, err := r.Resolver.LookupMX(ctx, name)
	switch {
	case isAbsent(err) || err == nil && len(records) == 0:
		return r.implicit(ctx, name)
	case err != nil:
		return nil, errUnknown(err)
	case isNullMX(records):
		return nil, mail.Permanentf(1, 10, "Domain does not accept mail (null MX)")
	}
	hosts := r.order(records)
	if len(hosts) == 0 {
		return nil, mail.Permanentf(4, 4, "No mail host of the domain has a valid name")
	}
	if hosts = r.beforeSelf(hosts); len(hosts) == 0 {
		return nil, errLoop()
	}
	return r.fromFirstReachable(ctx, hosts)
}

func (r Route) literal(domain string) ([]Host, error) {
	ip, ok := mail.LiteralIP(domain)
	if !ok {
		return nil, mail.Permanentf(1, 2, "Address literal is not valid")
	}
	ip = ip.Unmap()
	if r.isSelf(domain) {
		return nil, errLoop()
	}
	return []Host{{Name: domain, Literal: ip, Addrs: []netip.Addr{ip}}}, nil
}

// implicit is RFC 5321 §5.1: "If an empty list of MXs is returned, the address is treated as if it was associated with
// an implicit MX RR, with a preference of 0, pointing to that host."
func (r Route) implicit(ctx context.Context, name string) ([]Host, error) {
	if r.isSelf(name) {
		return nil, errLoop()
	}
	host := Host{Name: name}
	addrs, err := host.Resolve(ctx, r.Resolver)
	if errors.Is(err, ErrNotFound) {
		return nil, mail.Permanentf(1, 2, "Domain does not exist: %w", ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	host.Addrs = addrs
	return []Host{host}, nil
}

// isNullMX is RFC 7505 §3: a single record that names the root. Beside other records such a one means nothing, and
// order drops it.
func isNullMX(records []MX) bool {
	return len(records) == 1 && (records[0].Host == "." || records[0].Host == "")
}

// order sorts by preference, at random among equals; it drops malformed names and repeated ones.
func (r Route) order(records []MX) []Host {
	records = slices.Clone(records)
	shuffle := r.Shuffle
	if shuffle == nil {
		shuffle = rand.Shuffle
	}
	shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b MX) int { return cmp.Compare(a.Pref, b.Pref) })
	hosts := make([]Host, 0, min(len(records), MaxMX))
	seen := make(map[string]bool, cap(hosts))
	for _, mx := range records[:cap(hosts)] {
		name, err := ASCII(mx.Host)
		if err != nil || seen[name] {
			continue
		}
		seen[name] = true
		hosts = append(hosts, Host{Name: name, Pref: mx.Pref})
	}
	return hosts
}

// beforeSelf is RFC 5321 §5.1: when this host is in the list, hosts of its preference and of worse ones would send the
// mail back.
func (r Route) beforeSelf(hosts []Host) []Host {
	i := slices.IndexFunc(hosts, func(h Host) bool { return r.isSelf(h.Name) })
	if i < 0 {
		return hosts
	}
	for i > 0 && hosts[i-1].Pref == hosts[i].Pref {
		i--
	}
	return hosts[:i]
}

// fromFirstReachable looks only for the first host that has addresses: most mail needs no other.
func (r Route) fromFirstReachable(ctx context.Context, hosts []Host) ([]Host, error) {
	var unknown error
	if len(hosts) > MaxHosts {
		hosts, unknown = hosts[:MaxHosts], errors.New("more mail hosts than are tried")
	}
	for i, h := range hosts {
		addrs, err := h.Resolve(ctx, r.Resolver)
		if err == nil {
			hosts[i].Addrs = addrs
			return hosts[i:], nil
		}
		if mail.StatusOf(err).IsTemporary() {
			unknown = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if unknown != nil {
		return nil, errUnknown(unknown)
	}
	return nil, mail.Permanentf(4, 4, "No mail host of the domain has an address")
}

// Resolve gives the addresses of a host, at most MaxAddrs, and asks only if they are not known yet. Without any it is
// permanent, 5.4.4, and when that is not certain it is temporary, 4.4.3.
func (h Host) Resolve(ctx context.Context, r Resolver) ([]netip.Addr, error) {
	if h.Literal.IsValid() {
		return []netip.Addr{h.Literal}, nil
	}
	if len(h.Addrs) > 0 {
		return h.Addrs, nil
	}
	found, err := r.LookupHost(ctx, h.Name)
	if isAbsent(err) {
		return nil, mail.Permanentf(4, 4, "Mail host has no address: %w", err)
	}
	if err != nil {
		return nil, errUnknown(err)
	}
	addrs := usable(found)
	if len(addrs) == 0 {
		return nil, mail.Permanentf(4, 4, "Mail host has no address: %w", ErrNoData)
	}
	return addrs, nil
}

// usable drops what nobody can connect to, among it 0.0.0.0, which Linux takes for this host, and repetitions.
func usable(found []netip.Addr) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range found {
		a = a.Unmap().WithZone("")
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || slices.Contains(addrs, a) {
			continue
		}
		if addrs = append(addrs, a); len(addrs) == MaxAddrs {
			break
		}
	}
	return addrs
}

func (r Route) isSelf(name string) bool { return r.Self != nil && r.Self(name) }

func errLoop() error { return mail.Permanentf(4, 6, "Mail for the domain loops back to this host") }

func errUnknown(err error) error {
	var known *mail.Error
	if errors.As(err, &known) {
		return known
	}
	return mail.Temporaryf(4, 3, "DNS lookup failed, try again later: %w", err)
}
