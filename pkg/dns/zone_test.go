package dns

import (
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseZoneErrors(t *testing.T) {
	for _, text := range []string{
		"example.org.", "example.org. 300 IN", "example.org. MX", "example.org. MX ten mx.", "example.org. MX 65536 mx.",
		"example.org. MX 10 mx. extra", "example.org. A 1.2.3", "example.org. A ::1", "example.org. AAAA 127.0.0.1",
		"example.org. AAAA fe80::1%eth0", "example.org. SRV x", "example.org. TXT \"x", "example.org. CNAME", "example.org. A", "ex..org. A 127.0.0.1",
		"-x. A 127.0.0.1", "example.org. " + strings.Repeat("x", maxZoneLine),
	} {
		if _, err := ParseZone(strings.NewReader("ok.example. A 127.0.0.1\n" + text)); err == nil {
			t.Errorf("ParseZone(%.60q) took it", text)
		}
	}
	_, err := ParseZone(strings.NewReader("; one\n\nbad"))
	if err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("got %v, want line 3", err)
	}
}

func TestParseZoneByOctet(t *testing.T) {
	z, err := ParseZone(iotest.OneByteReader(strings.NewReader("a.example. 60 in mx 10 b.example. ; c\r\nb.example. a 127.0.0.1")))
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := Hosts(t.Context(), z, "a.example", nil)
	if got := routes(hosts); got != "10 b.example!" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzParseZone(f *testing.F) {
	f.Add("example.org. MX 10 mx.example.org.\nmx.example.org. A 127.0.0.1\n")
	f.Add("1.2.0.192.in-addr.arpa. PTR mx.example.org.\n2.2.0.192.in-addr.arpa. CNAME 1.2.0.192.in-addr.arpa.")
	f.Add("bad.example. SERVFAIL\nx. CNAME x.\nhalf. A TIMEOUT # c\nnull.example 0 IN MX 0 .")
	f.Fuzz(func(t *testing.T, text string) {
		z, err := ParseZone(strings.NewReader(text))
		if err != nil {
			return
		}
		for name := range z.names {
			hosts, err := Hosts(t.Context(), z, name, nil)
			if (err == nil) == (len(hosts) == 0) || len(hosts) > MaxHosts {
				t.Fatalf("Hosts(%q) of %q: %v, %v", name, text, hosts, err)
			}
		}
	})
}

func TestLookupAddr(t *testing.T) {
	z, err := ParseZone(strings.NewReader("1.2.0.192.in-addr.arpa. PTR MX.example.org.\n" +
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mx6.example.org.\n" +
		"2.2.0.192.in-addr.arpa. CNAME 1.2.0.192.in-addr.arpa.\n3.2.0.192.in-addr.arpa. SERVFAIL\n4.2.0.192.in-addr.arpa. A 192.0.2.4\n"))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"192.0.2.1": "mx.example.org", "192.0.2.2": "mx.example.org", "::ffff:192.0.2.1": "mx.example.org",
		"2001:db8::1": "mx6.example.org", "192.0.2.3": "lookup 3.2.0.192.in-addr.arpa: server misbehaving", "192.0.2.4": ErrNoData.Error(),
		"192.0.2.5": ErrNotFound.Error()} {
		names, err := z.LookupAddr(t.Context(), netip.MustParseAddr(addr))
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

func TestLookupTXT(t *testing.T) {
	z, err := ParseZone(strings.NewReader("a.example. TXT \"v=STSv1; \" \"id=1;\" ; c\na.example. 60 IN TXT plain\n" +
		"b.example. CNAME a.example.\nc.example. TXT SERVFAIL\nd.example. A 192.0.2.1\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a.example": "v=STSv1; id=1;|plain", "B.example.": "v=STSv1; id=1;|plain",
		"c.example": "lookup c.example: server misbehaving", "d.example": ErrNoData.Error(), "e.example": ErrNotFound.Error()} {
		texts, err := z.LookupTXT(t.Context(), name)
		got := strings.Join(texts, "|")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
