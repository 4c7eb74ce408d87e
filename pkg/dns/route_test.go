package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

const zoneText = `
; two hosts in order, written the wrong way round
two.example.         MX 20 b.two.example.
two.example.         MX 10 A.Two.Example.
a.two.example.       A 127.0.0.1
b.two.example.       300 IN AAAA ::1
equal.example.       MX 10 a.two.example.
equal.example.       MX 10 b.two.example.
equal.example.       MX 10 self.example.
implicit.example.    A 192.0.2.7
implicit.example.    AAAA 2001:db8::7
null.example.        MX 0 .
nullplus.example.    MX 0 .
nullplus.example.    MX 5 a.two.example.
self.example.        A 192.0.2.1
ours.example.        MX 10 self.example.
ours.example.        MX 20 a.two.example.
backup.example.      MX 5 a.two.example.
backup.example.      MX 10 self.example.
backup.example.      MX 10 b.two.example.
backup.example.      MX 20 c.two.example.
gone.example.        NXDOMAIN
bad.example.         SERVFAIL
slow.example.        TIMEOUT
txtonly.example.     MX NXDOMAIN # any other record: the name is there
impbad.example.      A SERVFAIL
impslow.example.     A TIMEOUT
noaddr.example.      MX 10 nope.example.
noaddr.example.      MX 20 empty.example.
empty.example.       MX 10 x.example.
mixed.example.       MX 10 nope.example.
mixed.example.       MX 20 impbad.example.
mixed.example.       MX 30 empty.example.
second.example.      MX 10 impbad.example.
second.example.      MX 20 a.two.example.
alias.example.       CNAME two.example.
chain.example.       CNAME alias.example.
loop.example.        CNAME pool.example.
pool.example.        CNAME loop.example.
mxalias.example.     MX 10 www.example.
www.example.         CNAME a.two.example.
badname.example.     MX 10 127.0.0.1
badname.example.     MX 10 -x.example.
badname2.example.    MX 10 192.0.2.1.
badname2.example.    MX 20 a.two.example.
twice.example.       MX 10 a.two.example.
twice.example.       MX 20 A.two.example
xn--bcher-kva.example. MX 10 a.two.example.
zero.example.        A 0.0.0.0
zero.example.        AAAA ff02::1
`

func parse(t *testing.T, text string) *Zone {
	t.Helper()
	z, err := ParseZone(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func keepOrder(int, func(i, j int)) {}

func isSelf(name string) bool { return name == "self.example" || name == "[192.0.2.1]" }

// routes prints "pref name" for each host, and "!" behind the ones that have addresses already.
func routes(hosts []Host) string {
	var words []string
	for _, h := range hosts {
		word := fmt.Sprintf("%d %s", h.Pref, h.Name)
		if len(h.Addrs) > 0 {
			word += "!"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func TestHosts(t *testing.T) {
	zone := parse(t, zoneText)
	for _, tt := range []struct{ domain, want, status string }{
		{"two.example", "10 a.two.example!, 20 b.two.example", ""},
		{"TWO.example.", "10 a.two.example!, 20 b.two.example", ""},
		{"implicit.example", "0 implicit.example!", ""},
		{"alias.example", "10 a.two.example!, 20 b.two.example", ""},
		{"chain.example", "10 a.two.example!, 20 b.two.example", ""},
		{"mxalias.example", "10 www.example!", ""},
		{"bücher.example", "10 a.two.example!", ""},
		{"BÜCHER.example", "10 a.two.example!", ""},
		{"nullplus.example", "5 a.two.example!", ""},
		{"badname2.example", "20 a.two.example!", ""},
		{"twice.example", "10 a.two.example!", ""},
		{"backup.example", "5 a.two.example!", ""},
		{"second.example", "20 a.two.example!", ""},
		{"[192.0.2.9]", "0 [192.0.2.9]!", ""},
		{"[ipv6:2001:db8::1]", "0 [ipv6:2001:db8::1]!", ""},

		{"gone.example", "", "5.1.2"},
		{"unheard.example", "", "5.1.2"},
		{"exa mple", "", "5.1.2"},
		{"a..b", "", "5.1.2"},
		{"", "", "5.1.2"},
		{strings.Repeat("a", 64) + ".example", "", "5.1.2"},
		{strings.Repeat("abcdefg.", 32) + "example", "", "5.1.2"},
		{"x\u202e.example", "", "5.1.2"},
		{"192.0.2.1", "", "5.1.2"},
		{"[192.0.2]", "", "5.1.2"},
		{"[", "", "5.1.2"},
		{"null.example", "", "5.1.10"},
		{"txtonly.example", "", "5.4.4"},
		{"noaddr.example", "", "5.4.4"},
		{"badname.example", "", "5.4.4"},
		{"zero.example", "", "5.4.4"},
		{"ours.example", "", "5.4.6"},
		{"equal.example", "", "5.4.6"},
		{"self.example", "", "5.4.6"},
		{"[192.0.2.1]", "", "5.4.6"},
		{"bad.example", "", "4.4.3"},
		{"slow.example", "", "4.4.3"},
		{"impbad.example", "", "4.4.3"},
		{"impslow.example", "", "4.4.3"},
		{"mixed.example", "", "4.4.3"},
		{"loop.example", "", "4.4.3"},
	} {
		hosts, err := Route{zone, isSelf, keepOrder}.Hosts(t.Context(), tt.domain)
		status := ""
		if err != nil {
			status = mail.StatusOf(err).String()
		}
		if got := routes(hosts); got != tt.want || status != tt.status {
			t.Errorf("Hosts(%q)\n got %s %q\nwant %s %q (%v)", tt.domain, status, got, tt.status, tt.want, err)
		}
		if text := mail.TextOf(err); err != nil && (strings.Contains(text, "\n") || strings.Contains(text, "example")) {
			t.Errorf("Hosts(%q) tells the wire %q", tt.domain, text)
		}
	}
}

func TestHostsLiteral(t *testing.T) {
	for literal, want := range map[string]string{
		"[192.0.2.9]": "192.0.2.9", "[ipv6:::ffff:192.0.2.9]": "192.0.2.9", "[ipv6:::1]": "::1",
	} {
		hosts, err := Hosts(t.Context(), parse(t, ""), literal, nil)
		if err != nil || hosts[0].Literal.String() != want {
			t.Errorf("Hosts(%q) = %v, %v; want %s", literal, hosts, err, want)
		}
	}
}

// Equal preferences come in each order; other preferences never mix.
func TestHostsShuffle(t *testing.T) {
	zone := parse(t, `
		d.example. MX 5 first.example.
		d.example. MX 10 x.example.
		d.example. MX 10 y.example.
		d.example. MX 99 last.example.
		first.example. A 127.0.0.1`)
	seen := map[string]bool{}
	for range 200 {
		hosts, err := Hosts(t.Context(), zone, "d.example", nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[routes(hosts)] = true
	}
	x, y := "10 x.example, 10 y.example", "10 y.example, 10 x.example"
	for _, middle := range []string{x, y} {
		if order := "5 first.example!, " + middle + ", 99 last.example"; !seen[order] {
			t.Errorf("never saw %q", order)
		}
	}
	if len(seen) != 2 {
		t.Errorf("orders seen: %v", seen)
	}
}

func TestHostsBounds(t *testing.T) {
	for _, tt := range []struct{ records, good, want int }{
		{MaxHosts - 1, 0, MaxHosts - 1}, {MaxHosts, 0, MaxHosts}, {MaxHosts + 1, 0, MaxHosts}, {5000, 0, MaxHosts},
		{MaxHosts + 1, MaxHosts - 1, 1}, // the last host that is tried is the first that has an address
		{MaxHosts, MaxHosts, 0},         // permanent: none has
		{MaxHosts + 1, MaxHosts, -1},    // temporary: the next one might have
	} {
		var text strings.Builder
		for i := range tt.records {
			fmt.Fprintf(&text, "d.example. MX %d h%d.example.\n", i, i)
		}
		fmt.Fprintf(&text, "h%d.example. A 127.0.0.1\n", tt.good)
		hosts, err := Hosts(t.Context(), parse(t, text.String()), "d.example", nil)
		got := len(hosts)
		if mail.StatusOf(err).IsTemporary() {
			got = -1
		}
		if got != tt.want {
			t.Errorf("%d records, address at %d: got %d hosts, want %d (%v)", tt.records, tt.good, got, tt.want, err)
		}
	}
}

func TestResolveBounds(t *testing.T) {
	for _, n := range []int{MaxAddrs - 1, MaxAddrs, MaxAddrs + 1} {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "h.example. A 127.0.1.%d\nh.example. A 127.0.1.%d\n", i, i)
		}
		addrs, err := Host{Name: "h.example"}.Resolve(t.Context(), parse(t, text.String()))
		if err != nil || len(addrs) != min(n, MaxAddrs) {
			t.Errorf("%d addresses: got %d, %v", n, len(addrs), err)
		}
	}
}

func TestResolve(t *testing.T) {
	zone := parse(t, zoneText)
	known := []netip.Addr{netip.MustParseAddr("192.0.2.44")}
	for _, tt := range []struct {
		host         Host
		want, status string
	}{
		{Host{Name: "implicit.example"}, "[192.0.2.7 2001:db8::7]", ""},
		{Host{Name: "gone.example", Addrs: known}, "[192.0.2.44]", ""},
		{Host{Name: "gone.example", Literal: known[0]}, "[192.0.2.44]", ""},
		{Host{Name: "gone.example"}, "[]", "5.4.4"},
		{Host{Name: "empty.example"}, "[]", "5.4.4"},
		{Host{Name: "zero.example"}, "[]", "5.4.4"},
		{Host{Name: "bad.example"}, "[]", "4.4.3"},
		{Host{Name: "slow.example"}, "[]", "4.4.3"},
	} {
		addrs, err := tt.host.Resolve(t.Context(), zone)
		status := ""
		if err != nil {
			status = mail.StatusOf(err).String()
		}
		if got := fmt.Sprint(addrs); got != tt.want || status != tt.status {
			t.Errorf("%v: got %s %s, want %s %s", tt.host, status, got, tt.status, tt.want)
		}
	}
}

// A flush that is told to stop must not take that for an answer of the DNS.
func TestHostsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, domain := range []string{"two.example", "gone.example", "null.example"} {
		_, err := Hosts(ctx, parse(t, zoneText), domain, nil)
		if !errors.Is(err, context.Canceled) || mail.StatusOf(err).String() != "4.4.3" {
			t.Errorf("%s: got %v, want 4.4.3", domain, err)
		}
	}
}

// odd gives answers that a Zone cannot.
type odd struct {
	mx    []MX
	addrs []netip.Addr
	err   error
}

func (o odd) LookupMX(context.Context, string) ([]MX, error)           { return o.mx, o.err }
func (o odd) LookupHost(context.Context, string) ([]netip.Addr, error) { return o.addrs, o.err }

func TestHostsOddResolvers(t *testing.T) {
	one := []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}
	for name, tt := range map[string]struct {
		odd
		want, status string
	}{
		"no error, nothing":     {odd{}, "", "5.4.4"},
		"no error, only a host": {odd{addrs: one}, "0 d.example!", ""},
		"null without dot":      {odd{mx: []MX{{Host: ""}}}, "", "5.1.10"},
		"unknown error":         {odd{err: errors.New("odd")}, "", "4.4.3"},
		"wrapped no data":       {odd{err: fmt.Errorf("x: %w", ErrNoData)}, "", "5.4.4"},
		"wrapped no name":       {odd{err: fmt.Errorf("x: %w", ErrNotFound)}, "", "5.1.2"},
	} {
		hosts, err := Hosts(t.Context(), tt.odd, "d.example", nil)
		status := ""
		if err != nil {
			status = mail.StatusOf(err).String()
		}
		if got := routes(hosts); got != tt.want || status != tt.status {
			t.Errorf("%s: got %s %q, want %s %q", name, status, got, tt.status, tt.want)
		}
		if len(hosts) > 0 && !hosts[0].Addrs[0].Is4() {
			t.Errorf("%s: %v is not unmapped", name, hosts[0].Addrs)
		}
	}
}

// Order must not write into what a resolver may keep.
func TestOrderLeavesAnswerAlone(t *testing.T) {
	records := []MX{{"b.example.", 20}, {"a.example.", 10}}
	Route{}.order(records)
	if want := []MX{{"b.example.", 20}, {"a.example.", 10}}; !slices.Equal(records, want) {
		t.Errorf("got %v, want %v", records, want)
	}
}

func FuzzASCII(f *testing.F) {
	for _, s := range []string{"example.org", "BÜCHER.example.", "a..b", "xn--0.example", "x\x00y", "例え。テスト", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ASCII(s)
		if err != nil {
			if mail.StatusOf(err).String() != "5.1.2" {
				t.Fatalf("ASCII(%q): %v", s, err)
			}
			return
		}
		again, err := ASCII(name)
		if err != nil || again != name || !isASCII(name) || len(name) > maxName {
			t.Fatalf("ASCII(%q) = %q, and of that %q, %v", s, name, again, err)
		}
	})
}
