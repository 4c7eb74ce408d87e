package config

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

var errOne = errors.New("one value is allowed, not a list")

// one makes a setter for a key with a single value.
func one(set func(string) error) func([]string) error {
	return func(texts []string) error {
		if len(texts) != 1 {
			return errOne
		}
		return set(texts[0])
	}
}

func (k Key) text(p *string, check func(string) error) Key {
	k.get = func() []string { return textOrNone(*p) }
	k.set = one(func(s string) error {
		if strings.ContainsAny(s, "\r\n\x00") {
			return errors.New("control characters are not allowed")
		}
		if check != nil && s != "" {
			if err := check(s); err != nil {
				return err
			}
		}
		*p = s
		return nil
	})
	return k
}

// anyText is a check that takes all text without control characters.
func anyText(s string) error {
	if s == "" || strings.ContainsFunc(s, isControl) {
		return errors.New("empty texts and control characters are not allowed")
	}
	return nil
}

func textOrNone(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (k Key) oneOf(p *string, choices ...string) Key {
	return k.text(p, func(s string) error {
		for _, c := range choices {
			if s == c {
				return nil
			}
		}
		return fmt.Errorf("allowed are %s", strings.Join(choices, ", "))
	})
}

func (k Key) list(p *[]string, check func(string) error) Key {
	k.split = splitList
	k.get = func() []string { return *p }
	k.set = func(texts []string) error {
		for _, s := range texts {
			if err := check(s); err != nil {
				return err
			}
		}
		*p = texts
		return nil
	}
	return k
}

// splitList cuts a list given as one text, at commas and blanks.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// argv is a command as an array; a variable or flag is cut at blanks, with no quoting and no shell.
func (k Key) argv(p *[]string) Key {
	k.split = strings.Fields
	k.get = func() []string { return *p }
	k.set = func(texts []string) error {
		if len(texts) == 1 && strings.ContainsAny(texts[0], " \t") {
			return errors.New(`a command is an array, one element a word: ["pass", "show", "mail"]`)
		}
		*p = texts
		return nil
	}
	return k
}

func (k Key) yesNo(p *bool) Key {
	k.get = func() []string { return []string{strconv.FormatBool(*p)} }
	k.set = one(func(s string) error {
		switch s {
		case "true", "yes":
			*p = true
		case "false", "no":
			*p = false
		default:
			return errors.New("allowed are true or yes, false or no")
		}
		return nil
	})
	return k
}

// count is a number of things: at least 1.
func (k Key) count(p *int) Key { return k.number(p, 1) }

// limit is a number of things that are allowed; 0 allows any number.
func (k Key) limit(p *int) Key { return k.number(p, 0) }

func (k Key) number(p *int, least int64) Key {
	k.get = func() []string { return []string{strconv.Itoa(*p)} }
	k.set = one(func(s string) error {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < least {
			return fmt.Errorf("allowed is a whole number of at least %d", least)
		}
		*p = int(n)
		return nil
	})
	return k
}

func (k Key) size(p *int64) Key {
	k.get = func() []string { return []string{FormatSize(*p)} }
	k.set = one(func(s string) (err error) {
		*p, err = ParseSize(s)
		return err
	})
	return k
}

func (k Key) span(p *time.Duration) Key {
	k.get = func() []string { return []string{FormatDuration(*p)} }
	k.set = one(func(s string) (err error) {
		*p, err = ParseDuration(s)
		return err
	})
	return k
}

func (k Key) networks(p *[]netip.Prefix) Key {
	k.split = splitList
	k.get = func() []string {
		var texts []string
		for _, n := range *p {
			texts = append(texts, n.String())
		}
		return texts
	}
	k.set = func(texts []string) error {
		var nets []netip.Prefix
		for _, s := range texts {
			n, err := parseNetwork(s)
			if err != nil {
				return err
			}
			nets = append(nets, n)
		}
		*p = nets
		return nil
	}
	return k
}

func (k Key) server(p *Server, schemes []scheme) Key {
	k.get = func() []string { return textOrNone(p.String()) }
	k.set = one(func(s string) (err error) {
		if s == "" {
			*p = Server{}
			return nil
		}
		*p, err = parseServer(s, schemes)
		return err
	})
	return k
}

// servers are tried in order; a command stands alone.
func (k Key) servers(p *[]Server) Key {
	k.split = splitServers
	k.get = func() []string {
		var texts []string
		for _, s := range *p {
			texts = append(texts, s.String())
		}
		return texts
	}
	k.set = func(texts []string) error {
		var servers []Server
		for _, t := range texts {
			s, err := parseRoute(t)
			if err == nil && s.IsCommand() && len(texts) > 1 {
				err = errors.New("a command stands alone")
			}
			if err != nil {
				return err
			}
			servers = append(servers, s)
		}
		*p = servers
		return nil
	}
	return k
}

// splitServers leaves a command whole.
func splitServers(s string) []string {
	if strings.HasPrefix(s, schemeExec+":") {
		return []string{s}
	}
	return splitList(s)
}

func (k Key) addresses(p *[]netip.Addr) Key {
	k.split = splitList
	k.get = func() []string {
		var texts []string
		for _, a := range *p {
			texts = append(texts, a.String())
		}
		return texts
	}
	k.set = func(texts []string) error {
		var addrs []netip.Addr
		for _, s := range texts {
			a, err := netip.ParseAddr(s)
			if err != nil || a.IsUnspecified() || a.IsMulticast() {
				return errors.New("allowed are IP addresses of this host")
			}
			for _, other := range addrs {
				if other.Is4() == a.Unmap().Is4() {
					return errors.New("one address of each family is enough")
				}
			}
			addrs = append(addrs, a.Unmap())
		}
		*p = addrs
		return nil
	}
	return k
}

// checkFingerprint is about the form only.
func checkFingerprint(s string) error {
	text, isKey := strings.CutPrefix(s, "sha256//")
	decode := base64.StdEncoding.DecodeString
	if !isKey {
		text, decode = strings.ReplaceAll(text, ":", ""), hex.DecodeString
	}
	if sum, err := decode(text); err != nil || len(sum) != 32 {
		return errors.New("a fingerprint is the SHA-256 of a certificate in hexadecimal, or sha256// and that of its key in base64")
	}
	return nil
}

// parseNetwork reads 192.0.2.0/24, or an address alone, which is a network of one.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("allowed are IP addresses and networks such as 192.0.2.0/24")
	}
	if p != p.Masked() {
		return p, fmt.Errorf("bits are set outside of the network; did you mean %s?", p.Masked())
	}
	return p, nil
}

var errSize = errors.New("a size is octets, or a number with K, M, G or T: 50M")

// ParseSize reads octets: "1000", "64K", "50M", "2G", "1T" (powers of 1024; a final "B" or "iB" is ignored).
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(s, "B"), "i"), "KMGTkmgt")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := strings.TrimSuffix(strings.TrimSuffix(s[len(digits):], "B"), "i")
	shift := 10 * (strings.Index("KMGT", strings.ToUpper(unit)) + 1)
	switch {
	case err != nil || n < 0 || len(unit) > 1:
		return 0, errSize
	case unit == "":
		return n, nil
	case n > math.MaxInt64>>shift:
		return 0, errSize
	}
	return n << shift, nil
}

// FormatSize is the shortest text that ParseSize reads as n.
func FormatSize(n int64) string {
	unit := ""
	for _, u := range []string{"K", "M", "G", "T"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

var errDuration = errors.New("a duration is a number with s, m, h, d or w, or several of them: 300s, 1h30m, 5d")

const day = 24 * time.Hour

// ParseDuration reads time.ParseDuration's form and days and weeks: "300s", "1h30m", "5d", "1d12h". Never negative.
func ParseDuration(s string) (time.Duration, error) {
	var total time.Duration
	rest := s
	for _, unit := range []struct {
		suffix string
		length time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		number, after, found := strings.Cut(rest, unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, errDuration
		}
		total += time.Duration(n) * unit.length
		rest = after
	}
	if rest == "" && s != "" || rest == "0" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || total+d < total {
		return 0, errDuration
	}
	return total + d, nil
}

// FormatDuration is a short text that ParseDuration reads as d.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	text := ""
	if d >= day && d%time.Hour == 0 {
		text = strconv.FormatInt(int64(d/day), 10) + "d"
		if d %= day; d == 0 {
			return text
		}
	}
	rest := d.String()
	if strings.HasSuffix(rest, "m0s") {
		rest = strings.TrimSuffix(rest, "0s")
	}
	if strings.HasSuffix(rest, "h0m") {
		rest = strings.TrimSuffix(rest, "0m")
	}
	return text + rest
}

func checkListen(s string) error {
	if strings.HasPrefix(s, "/") {
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return errors.New("an address to listen on is host:port, :port, or the path of a unix socket")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("a port is a number from 0 to 65535")
	}
	return nil
}

// checkDomain takes what RFC 5321 §4.1.2 calls a Domain, with underscores and UTF-8 left to the rooms that look closer.
func checkDomain(s string) error {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsAny(label, "@/\\:;,<>()[]\"' \t") || strings.ContainsFunc(label, isControl) {
			return errors.New("a domain is names of letters, digits and hyphens with dots between them")
		}
	}
	if len(s) > 255 {
		return errors.New("a domain has at most 255 octets")
	}
	return nil
}

// checkDelimiter takes characters that can stand in a local part without quotes, or none.
func checkDelimiter(s string) error {
	if s == "none" || strings.Trim(s, "+-=_#!%~^") == "" {
		return nil
	}
	return errors.New("allowed are some of + - = _ # ! % ~ ^, or none")
}

func checkAddress(s string) error {
	at := strings.LastIndexByte(s, '@')
	if at == 0 || strings.ContainsAny(s, "<> \t,") || strings.ContainsFunc(s, isControl) {
		return errors.New("an address is user@example.org, or a local name")
	}
	if at > 0 {
		return checkDomain(s[at+1:])
	}
	return nil
}

// checkMailbox takes an address, or one in angle brackets behind a name.
func checkMailbox(s string) error {
	name, address := cutName(s)
	name, isQuoted := strings.CutPrefix(name, `"`)
	switch {
	case name == "" && !isQuoted:
		return checkAddress(address)
	case strings.ContainsFunc(name, isControl) || strings.ContainsAny(name, "<>"):
		return errors.New("a name has no control characters and no angle brackets")
	case isQuoted != strings.HasSuffix(name, `"`) || !isQuoted && strings.ContainsAny(name, `,;:@()"`):
		return errors.New(`a name with a punctuation mark stands in double quotes: "Doe, John" <john@example.org>`)
	}
	return checkAddress(address)
}

// cutName takes the name from before an address that stands in angle brackets, and the brackets too.
func cutName(s string) (name, address string) {
	i := strings.LastIndexByte(s, '<')
	if i < 0 || !strings.HasSuffix(s, ">") {
		return "", s
	}
	return strings.TrimSpace(s[:i]), s[i+1 : len(s)-1]
}

// checkMechanism takes the form of a name of RFC 4422 §3.1.
func checkMechanism(s string) error {
	if len(s) > 20 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return errors.New("a mechanism is a name such as SCRAM-SHA-256")
	}
	return nil
}

// checkKeyword takes the form of a keyword of RFC 5321 §4.1.1.1.
func checkKeyword(s string) error {
	if len(s) > 40 || strings.HasPrefix(s, "-") || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return errors.New("a keyword is a word such as CHUNKING")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
