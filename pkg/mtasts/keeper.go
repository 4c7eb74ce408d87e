package mtasts

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"mailx/pkg/dns"
	"mailx/pkg/vfs"
	"mailx/pkg/web"
)

// How often a domain is asked.
const (
	askEvery     = 5 * time.Minute // for its record
	refreshEvery = 24 * time.Hour  // for its policy, though the record is the same
	fetchTime    = 20 * time.Second
	lookupTime   = 10 * time.Second // mail waits for it
)

// maxRemembered is how many domains a process knows without reading files.
const maxRemembered = 10000

// Resolver is what a Keeper asks.
type Resolver interface {
	dns.Resolver
	dns.Texter
}

// Keeper asks for the policies of domains and keeps them. Set the fields before the first call; it is safe for concurrent use.
type Keeper struct {
	FS       vfs.FS
	Dir      string // of the copies; made when there is one. What is lost there is asked for again
	Resolver Resolver
	TLS      *tls.Config      // roots for web servers; nil: those of the system
	Port     string           // of web servers; 443 if empty
	Now      func() time.Time // nil: time.Now

	mu    sync.Mutex
	slots map[string]*slot
}

// slot is what is known of a domain. Whoever holds mu asks, and the others wait for the answer.
type slot struct {
	mu    sync.Mutex
	asked time.Time // for the record, by this process
	kept
}

// Policy gives that of a domain, or nil if none is known: then there is none, or we were kept from seeing it, which can't be
// told apart (RFC 8461 §10.2). Trouble on the way is no error either, as mail goes on without a policy, or by the last one.
func (k *Keeper) Policy(ctx context.Context, domain string) *Policy {
	domain, err := dns.ASCII(domain)
	if err != nil {
		return nil
	}
	s := k.slot(domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.IsZero() {
		s.kept = k.load(domain)
	}
	if now := k.now(); s.asked.IsZero() || now.Sub(s.asked).Abs() >= askEvery {
		k.ask(ctx, domain, s)
		if ctx.Err() == nil {
			s.asked = now
		}
	}
	return s.current(k.now())
}

func (k *Keeper) slot(domain string) *slot {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.slots[domain]
	if s == nil {
		if k.slots == nil || len(k.slots) >= maxRemembered {
			k.slots = map[string]*slot{}
		}
		s = &slot{}
		k.slots[domain] = s
	}
	return s
}

func (k *Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

// ask brings s up to date (RFC 8461 §5.1).
func (k *Keeper) ask(ctx context.Context, domain string, s *slot) {
	lookup, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	texts, err := k.Resolver.LookupTXT(lookup, "_mta-sts."+domain)
	if err != nil {
		return
	}
	id, err := ParseRecord(texts)
	now := k.now()
	switch {
	case err != nil, s.isFresh(id, now):
		return
	case now.Sub(s.tried).Abs() < askEvery: // by another process, without success
		return
	}
	policy, err := k.fetch(ctx, domain)
	if ctx.Err() != nil {
		return
	}
	if s.tried = now; err == nil {
		s.kept = kept{id: id, fetched: now, policy: policy}
	}
	k.store(domain, s.kept) // what can't be kept is asked for again
}

// fetch is RFC 8461 §3.3: the certificate has to be that of the host, redirects are not followed.
func (k *Keeper) fetch(ctx context.Context, domain string) (*Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	client := web.Client{TLS: k.TLS, Dial: k.dial}
	r, err := client.Do(ctx, web.Request{Method: "GET", URL: "https://mta-sts." + domain + "/.well-known/mta-sts.txt"})
	if err != nil {
		return nil, err
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.Code != 200 || !strings.EqualFold(strings.TrimSpace(media), "text/plain") {
		return nil, fmt.Errorf("no policy: status %d, type %.40q", r.Code, media)
	}
	return ParsePolicy(string(r.Body))
}

// dial connects to a web server, whose address comes from our resolver.
func (k *Keeper) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if k.Port != "" {
		port = k.Port
	}
	addrs, err := k.Resolver.LookupHost(ctx, host)
	var errs []error
	for _, addr := range addrs {
		d := net.Dialer{Timeout: fetchTime / 4}
		nc, err := d.DialContext(ctx, network, net.JoinHostPort(addr.String(), port))
		if err == nil {
			return nc, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(append(errs, err)...)
}

func (k *Keeper) path(domain string) string { return path.Join(k.Dir, domain) }

func (k *Keeper) load(domain string) kept {
	text, err := vfs.ReadFile(k.FS, k.path(domain), 2*maxPolicy)
	if err != nil {
		return kept{}
	}
	return parseKept(string(text))
}

func (k *Keeper) store(domain string, what kept) error {
	if err := vfs.MkdirAll(k.FS, k.Dir); err != nil {
		return err
	}
	return vfs.WriteFile(k.FS, k.path(domain), rand.Text(), []byte(what.String()))
}

// kept is the content of a file: what was asked, a field a line, an empty line, and the policy if there is one.
type kept struct {
	id      string    // of the record, for the policy
	fetched time.Time // the policy
	tried   time.Time // to fetch it since, without success
	policy  *Policy
}

// current is the policy as long as it is valid. One from a time that has not come yet is: the clock was set back.
func (k *kept) current(now time.Time) *Policy {
	if k.policy == nil || k.policy.Mode == None || now.Sub(k.fetched) > k.policy.MaxAge {
		return nil
	}
	return k.policy
}

// isFresh reports that nothing else would be fetched.
func (k *kept) isFresh(id string, now time.Time) bool {
	return k.policy != nil && k.id == id && now.Sub(k.fetched).Abs() < min(refreshEvery, k.policy.MaxAge)
}

func (k *kept) String() string {
	var b strings.Builder
	for _, at := range []struct {
		name string
		time time.Time
	}{{"fetched", k.fetched}, {"tried", k.tried}} {
		if !at.time.IsZero() {
			fmt.Fprintf(&b, "%s: %s\n", at.name, at.time.UTC().Format(time.RFC3339))
		}
	}
	if k.policy != nil {
		fmt.Fprintf(&b, "id: %s\n\n%s", k.id, k.policy)
	}
	return b.String()
}

// parseKept reads a file. What is damaged there is not known.
func parseKept(text string) (k kept) {
	head, policy, _ := strings.Cut(text, "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "id":
			k.id = value
		case "fetched":
			k.fetched, _ = time.Parse(time.RFC3339, value)
		case "tried":
			k.tried, _ = time.Parse(time.RFC3339, value)
		}
	}
	if p, err := ParsePolicy(policy); err == nil && !k.fetched.IsZero() {
		k.policy = p
	}
	return k
}
