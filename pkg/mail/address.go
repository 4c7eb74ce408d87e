package mail

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 §4.5.3.1.1 and §4.5.3.1.2, in octets.
const (
	MaxLocal  = 64
	MaxDomain = 255
)

// Address is a mailbox (RFC 5321 §4.1.2). Local is kept without its quotes and with backslashes undone, in the letter
// case it came in; Domain is lower case and may be an address literal ("[192.0.2.1]", "[ipv6:2001:db8::1]") or empty
// for a name of this host ("postmaster"). The zero value is the null reverse-path.
type Address struct{ Local, Domain string }

// IsNull reports the null reverse-path, <>.
func (a Address) IsNull() bool { return a == Address{} }

// IsASCII reports that the address needs no SMTPUTF8 (RFC 6531).
func (a Address) IsASCII() bool { return isASCII(a.Local) && isASCII(a.Domain) }

// ToASCII gives the address as programs without SMTPUTF8 take it: with its domain in A-label form (RFC 5890 §2.3.2.1). ok is
// false if that is not enough.
func (a Address) ToASCII() (ascii Address, ok bool) {
	if a.IsASCII() {
		return a, true
	}
	domain, err := idna.Lookup.ToASCII(a.Domain)
	if err != nil || len(domain) > MaxDomain || !isASCII(a.Local) {
		return a, false
	}
	return Address{a.Local, domain}, true
}

// String is the address in its shortest correct form, quoting the local part only where it must be (RFC 5321 §4.1.2);
// "" for the null reverse-path. ParseAddress(a.String()) gives a again.
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	local := a.Local
	if !isDotString(local) {
		local = quote(local)
	}
	if a.Domain == "" {
		return local
	}
	return local + "@" + a.Domain
}

// Path is the address in angle brackets, "<>" for the null reverse-path.
func (a Address) Path() string { return "<" + a.String() + ">" }

func errAddress(text string) error { return Permanentf(1, 3, "%s", text) }

// ParseAddress reads `local@domain`, `"quoted local"@domain`, `local@[192.0.2.1]` or a local part alone. UTF-8 is
// taken (RFC 6531 §3.3); control characters never are. Errors are permanent, 5.1.3.
//
// QUIRK: dots may stand anywhere in a local part, as if it were quoted; phone companies in Japan gave out addresses such as
// a..b@ and a.@, which String quotes.
func ParseAddress(s string) (Address, error) {
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, err
	}
	if len(local) > MaxLocal {
		return Address{}, errAddress("Local part of the address is longer than 64 octets")
	}
	if rest == "" {
		return Address{Local: local}, nil
	}
	domain, err := ParseDomain(rest[1:])
	if err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: domain}, nil
}

// cutLocal splits at the "@" behind the local part; rest is empty or starts with "@".
func cutLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s)
	}
	local = s
	if i := strings.IndexByte(s, '@'); i >= 0 {
		local, rest = s[:i], s[i:]
	}
	if !isDotted(local) {
		return "", "", errAddress("Bad local part in the address")
	}
	return local, rest, nil
}

func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if b.Len() == 0 || (i+1 < len(s) && s[i+1] != '@') {
				return "", "", errAddress("Bad quoted local part in the address")
			}
			if !utf8.ValidString(b.String()) || !noC1(b.String()) {
				return "", "", errAddress("Address is not valid UTF-8")
			}
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s) && s[i+1] >= ' ' && s[i+1] < 0x7f:
			i++
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f || c == '\\':
			return "", "", errAddress("Bad character in the address")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errAddress("Quoted local part does not end")
}

// ParseDomain reads a domain or an address literal (RFC 5321 §4.1.3) and gives it in lower case. A final dot is
// dropped: the domain is always fully qualified.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	d := strings.TrimSuffix(s, ".")
	if d == "" || len(d) > MaxDomain {
		return "", errAddress("Domain of the address is empty or too long")
	}
	for label := range strings.SplitSeq(d, ".") {
		if !isLabel(label) {
			return "", errAddress("Bad domain in the address")
		}
	}
	return strings.ToLower(d), nil
}

func parseLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", errAddress("Address literal does not end")
	}
	lower := strings.ToLower(inner)
	v6, isV6 := strings.CutPrefix(lower, "ipv6:")
	ip, err := netip.ParseAddr(v6)
	if err != nil || ip.Is4() == isV6 || ip.Zone() != "" {
		return "", errAddress("Bad address literal")
	}
	return "[" + lower + "]", nil
}

// LiteralIP gives the IP address of an address-literal domain.
func LiteralIP(domain string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(inner, "]"), "ipv6:"))
	return ip, err == nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		ok := r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= 0xa0
		if !ok {
			return false
		}
	}
	return true
}

// isDotString reports RFC 5321 Dot-string; empty atoms are wrong, and so are two dots in a row.
func isDotString(s string) bool {
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..") && isDotted(s)
}

// isDotted reports atoms, which may be empty, with dots between them.
func isDotted(s string) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '.' && !isAtext(c) {
			return false
		}
	}
	return noC1(s)
}

// isAtext reports RFC 5322 §3.2.3 atext, and any octet of UTF-8 (RFC 6532 §3.2).
func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// noC1 reports that s has none of the control characters U+0080 to U+009F, which terminals obey.
func noC1(s string) bool {
	for _, r := range s {
		if r >= 0x80 && r < 0xa0 {
			return false
		}
	}
	return true
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
