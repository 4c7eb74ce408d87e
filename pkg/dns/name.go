package dns

import (
	"strings"

	"golang.org/x/net/idna"

	"mailx/pkg/mail"
)

// maxName is the longest name in text form, without its final dot: 255 octets on the wire (RFC 1035 §3.1).
const maxName = 253

// ASCII gives a domain name in lower case and A-label form (RFC 5890 §2.3.2.1), without its final dot: "bücher.example"
// becomes "xn--bcher-kva.example". A malformed name is permanent, 5.1.2.
func ASCII(domain string) (string, error) {
	name := strings.TrimSuffix(domain, ".")
	if !isASCII(name) {
		converted, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", mail.Permanentf(1, 2, "Domain name is not valid: %w", err)
		}
		name = strings.TrimSuffix(converted, ".")
	}
	name = strings.ToLower(name)
	if !isHostname(name) {
		return "", mail.Permanentf(1, 2, "Domain name is not valid")
	}
	return name, nil
}

// isHostname takes letters, digits and hyphens (RFC 1123 §2.1), and underscores because they are in use; not an IPv4
// address, which some people put behind an MX: a name whose last label is a number is none (RFC 3696 §2).
func isHostname(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			continue
		}
		return false
	}
	return true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
