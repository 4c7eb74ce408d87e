package mail

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		in   string
		want Address
		bad  bool
	}{
		{in: "alice@crepes.fr", want: Address{"alice", "crepes.fr"}},
		{in: "Alice@Crepes.FR.", want: Address{"Alice", "crepes.fr"}},
		{in: "postmaster", want: Address{"postmaster", ""}},
		{in: "a.b+c@x-1.example", want: Address{"a.b+c", "x-1.example"}},
		{in: `"a b"@x.example`, want: Address{"a b", "x.example"}},
		{in: `"a@b"@x.example`, want: Address{"a@b", "x.example"}},
		{in: `"a\"\\b"@x.example`, want: Address{`a"\b`, "x.example"}},
		{in: "u@[192.0.2.1]", want: Address{"u", "[192.0.2.1]"}},
		{in: "u@[IPv6:2001:DB8::1]", want: Address{"u", "[ipv6:2001:db8::1]"}},
		{in: "jörg@bücher.example", want: Address{"jörg", "bücher.example"}},
		{in: long + "@x.example", want: Address{long, "x.example"}},
		{in: "a..b@x.example", want: Address{"a..b", "x.example"}},
		{in: ".a@x.example", want: Address{".a", "x.example"}},
		{in: "a.@x.example", want: Address{"a.", "x.example"}},
		{in: "..@x.example", want: Address{"..", "x.example"}},
		{in: "a@" + strings.Repeat("a.", 126) + "aa", want: Address{"a", strings.Repeat("a.", 126) + "aa"}},
		{in: "a@" + strings.Repeat("a.", 127) + "a", want: Address{"a", strings.Repeat("a.", 127) + "a"}},
		{in: "a@" + strings.Repeat("a.", 127) + "aa", bad: true},
		{in: "a@" + strings.Repeat("x", 63), want: Address{"a", strings.Repeat("x", 63)}},
		{in: "_svc@under_score.example", want: Address{"_svc", "under_score.example"}},

		{in: "", bad: true},
		{in: "@x.example", bad: true},
		{in: "a@", bad: true},
		{in: "a@b@c", bad: true},
		{in: "a b@x.example", bad: true},
		{in: "a@x..example", bad: true},
		{in: "a@-x.example", bad: true},
		{in: "a@x.example\r\nRCPT", bad: true},
		{in: "a\x00@x.example", bad: true},
		{in: `"a`, bad: true},
		{in: `""@x.example`, bad: true},
		{in: "\"a\r\n\"@x.example", bad: true},
		{in: `"a"b@x.example`, bad: true},
		{in: "a\u009b@x.example", bad: true},
		{in: "\"a\u009b\"@x.example", bad: true},
		{in: "a\xff@x.example", bad: true},
		{in: "u@[192.0.2.256]", bad: true},
		{in: "u@[2001:db8::1]", bad: true},
		{in: "u@[IPv6:192.0.2.1]", bad: true},
		{in: "u@[192.0.2.1", bad: true},
		{in: "a" + long + "@x.example", bad: true},
		{in: "a@" + strings.Repeat("a.", 129), bad: true},
		{in: "a@" + strings.Repeat("x", 64), bad: true},
	} {
		got, err := ParseAddress(c.in)
		if (err != nil) != c.bad || got != c.want {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v, bad %v", c.in, got, err, c.want, c.bad)
		}
		if c.bad && StatusOf(err) != (Status{Permanent, 1, 3}) {
			t.Errorf("ParseAddress(%q): status %v, want 5.1.3", c.in, StatusOf(err))
		}
	}
}

func TestAddressString(t *testing.T) {
	for _, c := range []struct {
		a    Address
		want string
	}{
		{Address{}, ""},
		{Address{"alice", "crepes.fr"}, "alice@crepes.fr"},
		{Address{"root", ""}, "root"},
		{Address{"a b", "x.example"}, `"a b"@x.example`},
		{Address{`a"\`, "x.example"}, `"a\"\\"@x.example`},
		{Address{"a..b", "x.example"}, `"a..b"@x.example`},
	} {
		if got := c.a.String(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.a, got, c.want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"alice@crepes.fr", `"a\"b c"@[IPv6:::1]`, "jörg@bücher.example", "@", `"@"@x`, "a@İ.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(a.String(), "\r\n\x00\x1b") {
			t.Fatalf("%q: control character in %q", s, a.String())
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Fatalf("%q -> %+v -> %q -> %+v, %v", s, a, a.String(), again, err)
		}
	})
}

func TestToASCII(t *testing.T) {
	for in, want := range map[string]string{
		"a@x": "a@x", "a@bücher.example": "a@xn--bcher-kva.example", `"a b"@straße.example`: `"a b"@xn--strae-oqa.example`,
		"a@[ipv6:2001:db8::1]": "a@[ipv6:2001:db8::1]", "root": "root",
		"ü@bücher.example": "", "a@ü_.example": "", "a@" + strings.Repeat("ü.", 80) + "x": "",
	} {
		a, err := ParseAddress(in)
		got, ok := a.ToASCII()
		if err != nil || ok != (want != "") || ok && got.String() != want || !ok && got != a {
			t.Errorf("%s: got %s, %v, %v, want %s", in, got, ok, err, want)
		}
	}
}
