// Package delivery says where mail goes and carries it there: the [Router] decides, [Relay] speaks SMTP or LMTP to
// other hosts, [Local] stores into Maildirs, and [Transport] is both at once for the queue.
//
// Where an address goes, in this order; every step is taken with the whole local part first and then without the detail
// of a subaddress ("user+detail"), if not told otherwise:
//
//  1. A domain that is neither local nor virtual goes to the servers of its route, else to the smarthost, else to the
//     domain's MX hosts.
//  2. The full address in the virtual alias file; for a local domain then the name alone.
//  3. In a virtual domain, the user "user@domain": without the detail first. The same name in another domain is another
//     user. Plain users and aliases are not looked at.
//  4. postmaster, in any letter case, is never refused (RFC 5321 §4.5.1): its alias, the user of that name, the alias
//     root, the user root, and as the last resort a mailbox "postmaster" that belongs to nobody.
//  5. In a local domain, an alias; then a user, without the detail first.
//  6. The catch-all: "@domain" of the virtual alias file; for a local domain the alias "*".
//  7. Any other name is unknown: permanent, 5.1.1. Percent signs, bangs and the like mean nothing in a local part.
//
// Names of users and aliases are compared in lower case. A detail never chooses a folder; commands of aliases are told of
// it. If there is an alias "owner-list" then what leaves the alias "list" has that as its sender (RFC 5321 §3.9.2), unless
// the sender is null.
package delivery

import (
	"fmt"
	"net/netip"
	"os"
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
	maxListDepth  = 8
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
	// Command is a program that an alias names; see Commands.
	Command
	// File is a file in mbox format that an alias names; see Files.
	File
	// Discard is /dev/null: the message is dropped, as was wished.
	Discard
)

// Target is one place where a message for an address goes.
type Target struct {
	Kind    Kind
	User    string       // Mailbox; empty if an alias names the Maildir
	Path    string       // Mailbox: its Maildir; File
	Address mail.Address // Remote: to be named in RCPT; Command and File: leads to this target and nowhere else
	Route   Route        // Remote
	Command []string     // Command: argv
	Owner   mail.Address // if not null, the sender that the message has for this target, in place of any but the null one

	fileOwner int // Command: user id of the owner of the file that it stands in
}

// senderFor is the sender of a message for this target.
func (t *Target) senderFor(sender mail.Address) mail.Address {
	if t.Owner.IsNull() || sender.IsNull() {
		return sender
	}
	return t.Owner
}

// Decision is where an address goes: at least one target, each of them once.
type Decision struct {
	Targets []Target
	// Skipped are members of aliases that lead nowhere, while others do. They are for the log.
	Skipped []error
	// Steps is how it came to that, a line each; filled by Explain only.
	Steps []string
}

// Router decides where addresses go. It does no I/O but through Users, Aliases and Virtual, and is safe for concurrent use.
type Router struct {
	Domains   []string            // local; an address without a domain is local anyway
	Addresses func() []netip.Addr // of this host, for literals such as user@[192.0.2.1]; nil: loopback, which are local anyway
	Root      string              // the directory in which each user has a Maildir
	Users     Users               // nil: nobody
	Aliases   *Aliases            // nil: none
	Virtual   *Virtual            // nil: none
	// VirtualDomains are virtual domains beside those of the file: only users "user@domain" live there.
	VirtualDomains []string
	// Delimiter has the characters of which any one may stand between a name and a detail; "+" if empty, no detail if it
	// is NoDetail.
	Delimiter string
	Routes    map[string]Route // by domain, ".domain" for all below it, or "*"
	Default   Route            // for what has none: the smarthosts, or the MX hosts
}

// NoDetail is a Router.Delimiter: names are never cut.
const NoDetail = "none"

// cutDetail takes "user+detail" apart.
func cutDetail(local, delimiter string) (base, detail string, ok bool) {
	switch delimiter {
	case NoDetail:
		return local, "", false
	case "":
		delimiter = "+"
	}
	at := strings.IndexAny(local, delimiter)
	if at <= 0 {
		return local, "", false
	}
	return local[:at], local[at+1:], true
}

// WithoutDetail gives the local part of an address without its detail; delimiter is as in Router.
func WithoutDetail(local, delimiter string) string {
	base, _, _ := cutDetail(local, delimiter)
	return base
}

// IsLocal reports a domain whose mail ends here, a virtual one too. When in doubt it is true: Route then tells of the
// trouble.
func (r *Router) IsLocal(domain string) bool {
	if r.IsSelf(domain) {
		return true
	}
	is, err := r.isVirtual(normal(domain))
	return is || err != nil
}

func (r *Router) isVirtual(domain string) (bool, error) {
	for _, d := range r.VirtualDomains {
		if d == domain || normal(d) == domain {
			return true, nil
		}
	}
	if r.Virtual == nil {
		return false, nil
	}
	return r.Virtual.HasDomain(domain)
}

// IsSelf reports a domain in which names are plain ones, which is one that this host itself may be called by.
func (r *Router) IsSelf(domain string) bool {
	if domain == "" || slices.Contains(r.Domains, domain) {
		return true
	}
	if ip, ok := mail.LiteralIP(domain); ok {
		ip = ip.Unmap()
		return ip.IsLoopback() || r.Addresses != nil && slices.Contains(r.Addresses(), ip)
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
	if name, mark, ok := cutMark(a.Local); ok && r.Aliases != nil && r.IsSelf(a.Domain) {
		x.mark = mark
		a.Local = name
	}
	err := x.address(a)
	if x.mark != "" {
		err = x.only(err)
	}
	if err != nil {
		x.note("%s", reason(err))
	}
	return x.d, err
}

// only keeps the targets that the mark is about, after an expansion that ended with err.
func (x *expansion) only(err error) error {
	x.d.Skipped = nil // they were told of when the alias was
	x.d.Targets = slices.DeleteFunc(x.d.Targets, func(t Target) bool {
		_, mark, ok := cutMark(t.Address.Local)
		return t.Kind != Command && t.Kind != File || !ok || mark != x.mark
	})
	switch {
	case len(x.d.Targets) > 0:
		return nil
	case err != nil && !mail.StatusOf(err).IsPermanent():
		return err
	}
	return mail.Permanentf(1, 1, "No such member of an alias here, or not any more")
}

// Via gives the route of a domain that is not local.
func (r *Router) Via(domain string) Route {
	if len(r.Routes) == 0 {
		return r.Default
	}
	name := normal(domain)
	if route, found := r.Routes[name]; found {
		return route
	}
	for rest := name; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		if route, found := r.Routes[rest[i:]]; found {
			return route
		}
		rest = rest[i+1:]
	}
	if route, found := r.Routes["*"]; found {
		return route
	}
	return r.Default
}

// expansion is one decision in the making.
type expansion struct {
	r       *Router
	d       Decision
	tell    bool
	mark    string   // of the only member that is wanted
	chain   []string // the aliases that are being expanded
	lists   []string // the included files that are being expanded
	members int      // looked at so far

	at    mail.Address // the local address that is being looked up
	owner mail.Address // of the alias that is being expanded
}

func (x *expansion) note(format string, args ...any) {
	if x.tell {
		x.d.Steps = append(x.d.Steps, fmt.Sprintf(format, args...))
	}
}

func (x *expansion) address(a mail.Address) error {
	if x.r.IsSelf(a.Domain) {
		return x.local(a, true)
	}
	virtual, err := x.r.isVirtual(normal(a.Domain))
	switch {
	case err != nil:
		return err
	case virtual:
		return x.local(a, false)
	}
	x.remote(a)
	return nil
}

func (x *expansion) remote(a mail.Address) {
	route := x.r.Via(a.Domain)
	if x.tell {
		x.note("%s is for %s", a, route.describe(a.Domain))
	}
	x.add(Target{Kind: Remote, Address: a, Route: route})
}

// add takes a target unless it is there already.
func (x *expansion) add(t Target) {
	t.Owner = x.owner
	same := func(o Target) bool {
		return o.Kind == t.Kind && o.Path == t.Path && o.Address == t.Address
	}
	if !slices.ContainsFunc(x.d.Targets, same) {
		x.d.Targets = append(x.d.Targets, t)
	}
}

func (x *expansion) mailbox(user string) {
	t := Target{Kind: Mailbox, User: user, Path: path.Join(x.r.Root, user)}
	x.note("user %s has the mailbox %s", user, t.Path)
	x.add(t)
}

// ownAddress gives an address of the user of a mailbox that leads to this mailbox and nowhere else; none if aliases have it lead
// elsewhere too.
func (r *Router) ownAddress(t Target) (a mail.Address, ok bool) {
	if t.User == "" {
		return a, false
	}
	if at := strings.LastIndexByte(t.User, '@'); at >= 0 {
		a = mail.Address{Local: t.User[:at], Domain: t.User[at+1:]}
	} else if a.Local = t.User; len(r.Domains) > 0 {
		a.Domain = r.Domains[0]
	}
	d, err := r.Route(a)
	return a, err == nil && len(d.Targets) == 1 && d.Targets[0].isMailbox() && d.Targets[0].Path == t.Path && d.Targets[0].Owner.IsNull()
}

// lookup is one place to look for a name, and says whether it was there.
type lookup struct {
	find func(string) (bool, error)
	name string
}

// local decides about an address of a domain of ours: a local one, in which names are plain, or a virtual one.
func (x *expansion) local(a mail.Address, plain bool) error {
	before := x.at
	x.at = a
	defer func() { x.at = before }()
	if found, err := x.first(x.byAddress(a, plain)); found || err != nil {
		return err
	}
	if strings.EqualFold(a.Local, "postmaster") {
		return x.postmaster()
	}
	if found, err := x.first(x.byName(a, plain)); found || err != nil {
		return err
	}
	if name := strings.ToLower(a.Local); slices.Contains(x.chain, name) {
		return mail.Permanentf(4, 6, "Alias %s leads back to itself", name)
	}
	return errUnknownUser()
}

func (x *expansion) first(lookups []lookup) (bool, error) {
	for _, l := range lookups {
		if found, err := l.find(l.name); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// byAddress looks for the full address.
func (x *expansion) byAddress(a mail.Address, plain bool) (lookups []lookup) {
	full := strings.ToLower(a.Local)
	base, _, _ := cutDetail(full, x.r.Delimiter)
	names := []string{full}
	if base != full {
		names = append(names, base)
	}
	for _, name := range names {
		if x.r.Virtual != nil && a.Domain != "" {
			lookups = append(lookups, lookup{x.virtual, virtualName(name, a.Domain)})
		}
	}
	for _, name := range names {
		if x.r.Virtual != nil && plain && !strings.Contains(name, "@") {
			lookups = append(lookups, lookup{x.virtual, name})
		}
	}
	for i := range names {
		if !plain {
			lookups = append(lookups, lookup{x.user, virtualName(names[len(names)-1-i], a.Domain)})
		}
	}
	return lookups
}

// byName looks for the plain name, and for who takes everything.
func (x *expansion) byName(a mail.Address, plain bool) (lookups []lookup) {
	full := strings.ToLower(a.Local)
	base, _, hasDetail := cutDetail(full, x.r.Delimiter)
	switch {
	case plain && hasDetail:
		lookups = []lookup{{x.alias, full}, {x.alias, base}, {x.user, base}, {x.user, full}}
	case plain:
		lookups = []lookup{{x.alias, full}, {x.user, full}}
	}
	if x.r.Virtual != nil && a.Domain != "" {
		lookups = append(lookups, lookup{x.virtual, "@" + normal(a.Domain)})
	}
	if plain {
		lookups = append(lookups, lookup{x.alias, "*"})
	}
	return lookups
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
	owner, err := x.ownerOf(name)
	if err != nil {
		return false, err
	}
	before := x.owner
	defer func() { x.owner = before }()
	x.note("alias %s: %s", name, joinMembers(members))
	if !owner.IsNull() {
		x.note("alias %s changes the sender to %s", name, owner)
		x.owner = owner
	}
	return true, x.nested(name, members)
}

// ownerOf gives the address "owner-name" if there is such an alias.
func (x *expansion) ownerOf(name string) (mail.Address, error) {
	owner := "owner-" + name
	_, found, err := x.r.Aliases.Lookup(owner)
	if !found || err != nil {
		return mail.Address{}, err
	}
	return mail.Address{Local: owner, Domain: x.domain()}, nil
}

// domain is one by which this address can be written to from anywhere.
func (x *expansion) domain() string {
	if x.at.Domain == "" && len(x.r.Domains) > 0 {
		return x.r.Domains[0]
	}
	return x.at.Domain
}

// virtual expands an entry of the virtual alias file, as alias does.
func (x *expansion) virtual(key string) (found bool, err error) {
	name := "virtual " + key // no alias is called that
	if slices.Contains(x.chain, name) {
		return false, nil
	}
	members, found, err := x.r.Virtual.Lookup(key)
	if !found || err != nil {
		return false, err
	}
	x.note("virtual alias %s: %s", key, joinMembers(members))
	return true, x.nested(name, members)
}

func (x *expansion) nested(name string, members []Member) error {
	if len(x.chain) >= maxAliasDepth {
		return mail.Permanentf(4, 6, "Aliases are nested too deeply")
	}
	x.chain = append(x.chain, name)
	err := x.expand("alias "+strings.TrimPrefix(name, "virtual "), members)
	x.chain = x.chain[:len(x.chain)-1]
	return err
}

// Skip says that a member of an alias or of an included file leads nowhere.
type Skip struct {
	In     string // "alias name" or "list /path"
	Member string
	Err    error
}

func (s *Skip) Error() string { return fmt.Sprintf("%s: member %s: %v", s.In, s.Member, s.Err) }

func (s *Skip) Unwrap() error { return s.Err }

// expand goes through the members. If all lead nowhere the first reason is the alias's; else those are skipped.
func (x *expansion) expand(in string, members []Member) error {
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
			x.note("%s in %s is skipped: %s", m, in, reason(err))
			bad = append(bad, &Skip{in, m.String(), err})
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
	case m.Include != "":
		return x.include(m.Include)
	case m.Path != "" || m.Command != nil:
		x.carrier(m)
		return nil
	case m.Verbatim:
		found, err := x.user(strings.ToLower(m.Address.Local))
		if err == nil && !found {
			err = errUnknownUser()
		}
		return err
	case m.Address.Local == "": // "@other"
		return x.address(mail.Address{Local: x.at.Local, Domain: m.Address.Domain})
	}
	return x.address(m.Address)
}

// include expands the members in another file.
func (x *expansion) include(name string) error {
	if err := checkNesting(x.lists, name); err != nil {
		return err
	}
	members, err := x.r.Aliases.Include(name)
	if err != nil {
		return err
	}
	x.note("list %s: %s", name, joinMembers(members))
	x.lists = append(x.lists, name)
	err = x.expand("list "+name, members)
	x.lists = x.lists[:len(x.lists)-1]
	return err
}

// checkNesting refuses a list within others.
func checkNesting(within []string, name string) error {
	switch {
	case slices.Contains(within, name):
		return mail.Permanentf(4, 6, "List %s includes itself", path.Base(name))
	case len(within) >= maxListDepth:
		return mail.Permanentf(4, 6, "Lists include each other too deeply")
	}
	return nil
}

// alone is the address of one member, as long as an address can be: with the name that was asked for, so that commands hear
// of the detail, or with that of the alias.
func (x *expansion) alone(m Member) mail.Address {
	local := x.at.Local
	if len(local) > maxMarked {
		local = x.chain[len(x.chain)-1]
	}
	return mail.Address{Local: local + "|" + m.mark(), Domain: x.domain()}
}

// carrier adds what a member names that is no address.
func (x *expansion) carrier(m Member) {
	alone := x.alone(m)
	switch {
	case m.Command != nil:
		x.note("the message is for the command %s", strings.Join(m.Command, " "))
		x.add(Target{Kind: Command, Command: m.Command, Address: alone, fileOwner: m.owner})
	case m.Path == os.DevNull:
		x.note("the message is dropped")
		x.add(Target{Kind: Discard})
	case strings.HasSuffix(m.Path, "/"):
		x.note("the message goes into the Maildir %s", m.Path)
		x.add(Target{Kind: Mailbox, Path: path.Clean(m.Path)})
	default:
		x.note("the message goes into the file %s", m.Path)
		x.add(Target{Kind: File, Path: m.Path, Address: alone})
	}
}
