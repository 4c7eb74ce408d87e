// Package delivery says where mail goes and carries it there: the [Router] decides, [Relay] speaks SMTP or LMTP to
// other hosts, [Local] stores into Maildirs, and [Transport] is both at once for the queue.
//
// Where an address goes, in this order:
//
//  1. A domain that is not local goes to the servers of its route, else to the smarthost, else to the domain's MX hosts.
//  2. A local name is an alias, or a user; with a "+detail" behind it the whole name is looked for among the aliases
//     first, then the name without the detail, then the whole name among the users.
//  3. postmaster, in any letter case, is never refused (RFC 5321 §4.5.1): its alias, the user of that name, the alias
//     root, the user root, and as the last resort a mailbox "postmaster" that belongs to nobody.
//  4. Any other local name is unknown: permanent, 5.1.1. Percent signs, bangs and the like mean nothing in a local part.
//
// Names of users and aliases are compared in lower case.
package delivery

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/dns"
	"mailx/pkg/mail"
)

// Bounds of what one address may expand to.
const (
	maxAliasDepth = 32
	maxMembers    = 10000
)

// Users knows who has a mailbox here. The names are in lower case.
type Users interface {
	// Exists reports whether there is a user of that name; errors are temporary.
	Exists(name string) (bool, error)
}

// Kind is what a target is.
type Kind uint8

const (
	// Mailbox is a user's Maildir on this host.
	Mailbox Kind = iota + 1
	// Remote is an address for which another server takes the mail.
	Remote
)

// Target is one place where a message for an address goes.
type Target struct {
	Kind    Kind
	User    string       // Mailbox
	Path    string       // Mailbox: its Maildir
	Address mail.Address // Remote: to be named in RCPT
	Via     []Server     // Remote: tried in order; empty: the MX hosts of the domain
}

// Decision is where an address goes: at least one target, each of them once.
type Decision struct {
	Targets []Target
	// Skipped are members of aliases that lead nowhere, while others do. They are for the log.
	Skipped []error
	// Steps is how it came to that, a line each; filled by Explain only.
	Steps []string
}

// Router decides where addresses go. It does no I/O but through Users and Aliases, and is safe for concurrent use.
type Router struct {
	Domains   []string            // local; an address without a domain is local anyway
	Addresses []netip.Addr        // of this host, for literals such as user@[192.0.2.1]; loopback ones are local anyway
	Root      string              // the directory in which each user has a Maildir
	Users     Users               // nil: nobody
	Aliases   *Aliases            // nil: none
	Routes    map[string][]Server // by domain, ".domain" for all below it, or "*"; no servers: the MX hosts
	Smarthost []Server            // for what has no route; empty: the MX hosts
}

// IsLocal reports a domain whose mail ends here.
func (r *Router) IsLocal(domain string) bool {
	if domain == "" || slices.Contains(r.Domains, domain) {
		return true
	}
	if ip, ok := mail.LiteralIP(domain); ok {
		ip = ip.Unmap()
		return ip.IsLoopback() || slices.Contains(r.Addresses, ip)
	}
	name := normal(domain)
	return slices.ContainsFunc(r.Domains, func(d string) bool { return normal(d) == name })
}

// normal makes different spellings of one domain the same.
func normal(domain string) string {
	if ascii, err := dns.ASCII(domain); err == nil {
		return ascii
	}
	return strings.ToLower(domain)
}

// Route decides about an address. An unknown name is permanent, 5.1.1; trouble with the files of users and aliases is
// temporary.
func (r *Router) Route(a mail.Address) (Decision, error) { return r.decide(a, false) }

// Explain is Route with its steps told; those are there even when there is an error.
func (r *Router) Explain(a mail.Address) (Decision, error) { return r.decide(a, true) }

func (r *Router) decide(a mail.Address, tell bool) (Decision, error) {
	x := expansion{r: r, tell: tell}
	if a.IsNull() {
		return x.d, mail.Permanentf(1, 3, "The null address is no recipient")
	}
	err := x.address(a)
	if err != nil {
		x.note("%s", mail.TextOf(err))
	}
	return x.d, err
}

// Via gives the servers for a domain that is not local; none means its MX hosts.
func (r *Router) Via(domain string) []Server {
	name := normal(domain)
	if servers, found := r.Routes[name]; found {
		return servers
	}
	for rest := name; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		if servers, found := r.Routes[rest[i:]]; found {
			return servers
		}
		rest = rest[i+1:]
	}
	if servers, found := r.Routes["*"]; found {
		return servers
	}
	return r.Smarthost
}

// expansion is one decision in the making.
type expansion struct {
	r       *Router
	d       Decision
	tell    bool
	chain   []string // the aliases that are being expanded
	members int      // looked at so far
}

func (x *expansion) note(format string, args ...any) {
	if x.tell {
		x.d.Steps = append(x.d.Steps, fmt.Sprintf(format, args...))
	}
}

func (x *expansion) address(a mail.Address) error {
	switch {
	case !x.r.IsLocal(a.Domain):
		x.remote(a)
		return nil
	case strings.EqualFold(a.Local, "postmaster"):
		return x.postmaster()
	}
	return x.name(a.Local)
}

func (x *expansion) remote(a mail.Address) {
	via := x.r.Via(a.Domain)
	if len(via) == 0 {
		x.note("%s is for the MX hosts of %s", a, a.Domain)
	} else {
		x.note("%s is for %s", a, joinServers(via))
	}
	x.add(Target{Kind: Remote, Address: a, Via: via})
}

// add takes a target unless it is there already.
func (x *expansion) add(t Target) {
	same := func(o Target) bool { return o.Kind == t.Kind && o.User == t.User && o.Address == t.Address }
	if !slices.ContainsFunc(x.d.Targets, same) {
		x.d.Targets = append(x.d.Targets, t)
	}
}

func (x *expansion) mailbox(user string) {
	t := Target{Kind: Mailbox, User: user, Path: path.Join(x.r.Root, user)}
	x.note("user %s has the mailbox %s", user, t.Path)
	x.add(t)
}

// name decides about a local part.
func (x *expansion) name(local string) error {
	full := strings.ToLower(local)
	base, _, hasDetail := strings.Cut(full, "+")
	lookups := []func(string) (bool, error){x.alias, x.user}
	names := []string{full, full}
	if hasDetail && base != "" {
		lookups = []func(string) (bool, error){x.alias, x.alias, x.user, x.user}
		names = []string{full, base, base, full}
	}
	for i, lookup := range lookups {
		if found, err := lookup(names[i]); found || err != nil {
			return err
		}
	}
	if slices.Contains(x.chain, full) {
		return mail.Permanentf(4, 6, "Alias %s leads back to itself", full)
	}
	return errUnknownUser()
}

func errUnknownUser() error { return mail.Permanentf(1, 1, "No such user here") }

// postmaster finds somebody who reads it; temporary trouble is its only error.
func (x *expansion) postmaster() error {
	for _, name := range []string{"postmaster", "root"} {
		for _, lookup := range []func(string) (bool, error){x.alias, x.user} {
			found, err := lookup(name)
			if err != nil && !mail.StatusOf(err).IsPermanent() {
				return err
			}
			if found && err == nil {
				return nil
			}
		}
	}
	x.mailbox("postmaster")
	return nil
}

func (x *expansion) user(name string) (found bool, err error) {
	if x.r.Users == nil {
		return false, nil
	}
	if _, err := auth.CanonicalName(name); err != nil { // no name of a directory, whatever Users may say
		return false, nil
	}
	found, err = x.r.Users.Exists(name)
	if err != nil {
		return false, mail.Temporaryf(3, 0, "Users can't be looked up now: %w", err)
	}
	if found {
		x.mailbox(name)
	}
	return found, nil
}

// alias expands an alias. One that is being expanded already counts as not there, so that "root: root,
// admin@example.org" means the user root.
func (x *expansion) alias(name string) (found bool, err error) {
	if x.r.Aliases == nil || slices.Contains(x.chain, name) {
		return false, nil
	}
	members, found, err := x.r.Aliases.Lookup(name)
	if !found || err != nil {
		return false, err
	}
	if len(x.chain) >= maxAliasDepth {
		return true, mail.Permanentf(4, 6, "Aliases are nested too deeply")
	}
	x.note("alias %s: %s", name, joinMembers(members))
	x.chain = append(x.chain, name)
	err = x.expand(name, members)
	x.chain = x.chain[:len(x.chain)-1]
	return true, err
}

// expand goes through the members. If all lead nowhere the first reason is the alias's; else those are skipped.
func (x *expansion) expand(name string, members []Member) error {
	var bad []error
	for _, m := range members {
		if x.members++; x.members > maxMembers {
			return mail.Temporaryf(4, 6, "Alias has too many members")
		}
		err := x.member(m)
		if err != nil && !mail.StatusOf(err).IsPermanent() {
			return err
		}
		if err != nil {
			x.note("%s in alias %s is skipped: %s", m, name, mail.TextOf(err))
			bad = append(bad, fmt.Errorf("alias %s: member %s: %w", name, m, err))
		}
	}
	if len(bad) == len(members) {
		if len(bad) == 0 {
			return mail.Permanentf(1, 1, "Alias has no members")
		}
		return bad[0]
	}
	x.d.Skipped = append(x.d.Skipped, bad...)
	return nil
}

func (x *expansion) member(m Member) error {
	switch {
	case m.Err != nil:
		return m.Err
	case m.Verbatim:
		found, err := x.user(strings.ToLower(m.Address.Local))
		if err == nil && !found {
			err = errUnknownUser()
		}
		return err
	}
	return x.address(m.Address)
}
