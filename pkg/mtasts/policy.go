// Package mtasts knows what domains say about the TLS of their mail servers (MTA-STS, RFC 8461): a record in the DNS that there
// is a policy, the policy on a web server, whose certificate proves whose it is, and a copy of it that is kept for as long as
// the policy says, so that who can forge answers of the DNS can't make a sender forget it.
//
// [ParseRecord] and [ParsePolicy] are pure; a [Keeper] asks, and keeps what it was told in a directory that any number of
// processes share.
package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Mode is what a domain wants of senders (RFC 8461 §5).
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // no mail for hosts that are not in the policy, or have no valid certificate
	Testing Mode = "testing" // mail goes as it would without a policy
	None    Mode = "none"    // there is no policy any more
)

// Bounds.
const (
	maxPolicy = 64 << 10 // RFC 8461 §3.2 leaves it to senders
	maxHosts  = 1000
	maxMaxAge = 31557600 // seconds, RFC 8461 §3.2: a year
)

// Policy is RFC 8461 §3.2.
type Policy struct {
	Mode   Mode
	Hosts  []string // in lower case: "mx.example.org", or "*.example.org" for all names one label below
	MaxAge time.Duration
}

// ParsePolicy reads the text of a policy. Fields that it does not know mean nothing, and of those that may stand there once the
// first one counts.
func ParsePolicy(text string) (*Policy, error) {
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("a policy of more than %d octets", maxPolicy)
	}
	p := &Policy{}
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.Trim(line, " \t\r\n"), ":")
		if !ok && key == "" {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("%.40q is no field of a policy", key)
		}
		if key != "mx" && seen[key] {
			continue
		}
		seen[key] = true
		if err := p.set(key, strings.Trim(value, " \t")); err != nil {
			return nil, err
		}
	}
	return p, p.check(seen)
}

func (p *Policy) set(key, value string) error {
	switch key {
	case "version":
		if value != "STSv1" {
			return fmt.Errorf("a policy of the unknown version %.20q", value)
		}
	case "mode":
		p.Mode = Mode(value)
	case "max_age":
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || len(value) > 10 {
			return fmt.Errorf("a policy with the bad max_age %.20q", value)
		}
		p.MaxAge = time.Duration(min(n, maxMaxAge)) * time.Second
	case "mx":
		host := strings.ToLower(strings.TrimSuffix(value, "."))
		if !isPattern(host) || len(p.Hosts) == maxHosts {
			return fmt.Errorf("a policy with the bad mx %.60q", value)
		}
		p.Hosts = append(p.Hosts, host)
	}
	return nil
}

func (p *Policy) check(seen map[string]bool) error {
	switch {
	case !seen["version"] || !seen["max_age"]:
		return errors.New("a policy without version or max_age")
	case p.Mode != Enforce && p.Mode != Testing && p.Mode != None:
		return fmt.Errorf("a policy with the bad mode %.20q", string(p.Mode))
	case p.Mode != None && len(p.Hosts) == 0:
		return errors.New("a policy without mx")
	}
	return nil
}

// String is what ParsePolicy reads.
func (p *Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\nmode: %s\n", p.Mode)
	for _, host := range p.Hosts {
		fmt.Fprintf(&b, "mx: %s\n", host)
	}
	fmt.Fprintf(&b, "max_age: %d\n", int64(p.MaxAge/time.Second))
	return b.String()
}

// isPattern takes a host name, or one with "*" for its first label.
func isPattern(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// Matches reports that mail may go to a host, by its name in A-label form (RFC 8461 §4.1).
func (p *Policy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	for _, pattern := range p.Hosts {
		if pattern == host || parent != "" && pattern == "*."+parent {
			return true
		}
	}
	return false
}

// ErrNoRecord says that a domain has no policy, or no longer.
var ErrNoRecord = errors.New("no record of MTA-STS")

// ParseRecord gives the id of the policy in the texts at _mta-sts.DOMAIN (RFC 8461 §3.1). Of the texts exactly one has to be a
// record.
func ParseRecord(texts []string) (id string, err error) {
	var record string
	for _, text := range texts {
		rest, isVersion := strings.CutPrefix(text, "v=STSv1")
		rest = strings.TrimLeft(rest, " \t")
		if !isVersion || !strings.HasPrefix(rest, ";") {
			continue
		}
		if record != "" {
			return "", fmt.Errorf("%w: there is more than one", ErrNoRecord)
		}
		record = rest[1:]
	}
	for field := range strings.SplitSeq(record, ";") {
		key, value, _ := strings.Cut(strings.Trim(field, " \t"), "=")
		if key != "id" {
			continue
		}
		if value == "" || len(value) > 32 || !isAlphanumeric(value) {
			return "", fmt.Errorf("%w: the bad id %.40q", ErrNoRecord, value)
		}
		return value, nil
	}
	return "", ErrNoRecord
}

func isAlphanumeric(s string) bool {
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
