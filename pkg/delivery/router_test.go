package delivery

import (
	"cmp"
	"errors"
	"net/netip"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

// people is a Users of fixed names; the name "broken" is an error.
type people []string

func (p people) Exists(name string) (bool, error) {
	if name == "broken" {
		return false, errors.New("disk trouble")
	}
	return slices.Contains(p, name), nil
}

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatalf("address %q: %v", s, err)
	}
	return a
}

func aliasFile(t testing.TB, text string) *Aliases {
	t.Helper()
	path := filepath.Join(t.TempDir(), "aliases")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return NewAliases(path)
}

func server(t testing.TB, url string) Server {
	t.Helper()
	u, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(cmp.Or(u.Port(), "25"))
	s := Server{Scheme: u.Scheme, User: u.User.Username(), Host: u.Hostname(), Port: uint16(port), Path: u.Path}
	s.TLS = s.DefaultTLS()
	return s
}

// targets prints a decision: users, "address via servers", and "!" for what was skipped.
func targets(d Decision, err error) string {
	if err != nil {
		return mail.StatusOf(err).String()
	}
	var words []string
	for _, t := range d.Targets {
		word := t.Path
		switch t.Kind {
		case Remote:
			word = strings.TrimSpace(t.Address.String() + " " + joinServers(t.Route.Servers))
		case Command:
			word = "|" + strings.Join(t.Command, "|")
		case File:
			word = "file " + t.Path
		case Discard:
			word = "nothing"
		}
		if !t.Owner.IsNull() {
			word += " from " + t.Owner.String()
		}
		words = append(words, word)
	}
	for range d.Skipped {
		words = append(words, "!")
	}
	return strings.Join(words, ", ")
}

const testAliases = `
# the usual
root:      alice, admin@remote.example   # who reads it
Support:   alice,
           bob
twice:     support, alice
self:      self
alice+ham: bob
bob:       bob, copy@remote.example
loop1:     loop2
loop2:     loop1
escaped:   \bob
some:      nobody-here, alice
none:      nobody-here, gone
pipe:      "|/usr/bin/vacation alice, now"
file:      /var/mail/archive
dir:       /var/mail/archive/
drop:      /dev/null
crew:      alice, a@remote.example
owner-crew: alice
include:   :include:/etc/list
mixed:     alice, |cmd
trouble:   alice, broken
pm:        postmaster
own:       alice@here.example
empty:
`

func TestRouter(t *testing.T) {
	router := &Router{
		Domains:   []string{"here.example", "bücher.example"},
		Addresses: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		Root:      "/mail",
		Users:     people{"alice", "bob", "carol", "carol+list"},
		Aliases:   aliasFile(t, testAliases),
		Routes: map[string]Route{
			"partner.example": {Servers: []Server{server(t, "smtp://hub:2525"), server(t, "smtp://hub2")}},
			".inside.example": {Servers: []Server{server(t, "lmtp:///run/lmtp")}},
			"direct.example":  {},
		},
		Default: Route{Servers: []Server{server(t, "smtp://smart")}},
	}
	tests := []struct{ in, want string }{
		{"alice", "/mail/alice"},
		{"Alice@HERE.example.", "/mail/alice"},
		{"alice@bücher.example", "/mail/alice"},
		{"alice@xn--bcher-kva.example", "/mail/alice"},
		{"alice@[192.0.2.1]", "/mail/alice"},
		{"alice@[127.0.0.9]", "/mail/alice"},
		{"alice@[ipv6:::1]", "/mail/alice"},
		{"alice@[192.0.2.2]", "alice@[192.0.2.2] smtp://smart:25"},
		{"alice+x@here.example", "/mail/alice"},
		{"alice+ham", "/mail/bob, copy@remote.example smtp://smart:25"},
		{"carol+list", "/mail/carol"},
		{"+x", "5.1.1"},
		{"nobody", "5.1.1"},
		{"broken", "4.3.0"},
		{`".."`, "5.1.1"},
		{`"../alice"`, "5.1.1"},
		{`"a/b"`, "5.1.1"},
		{"alice%remote.example@here.example", "5.1.1"},
		{"remote.example!alice@here.example", "5.1.1"},
		{`"alice@remote.example"@here.example`, "5.1.1"},
		{"SUPPORT", "/mail/alice, /mail/bob, copy@remote.example smtp://smart:25"},
		{"twice", "/mail/alice, /mail/bob, copy@remote.example smtp://smart:25"},
		{"bob", "/mail/bob, copy@remote.example smtp://smart:25"},
		{"escaped", "/mail/bob"},
		{"self", "5.4.6"},
		{"loop1", "5.4.6"},
		{"some", "/mail/alice, !"},
		{"none", "5.1.1"},
		{"pipe", "|/usr/bin/vacation|alice,|now"},
		{"file", "file /var/mail/archive"},
		{"dir", "/var/mail/archive"},
		{"drop", "nothing"},
		{"include", "4.3.5"},
		{"mixed", "/mail/alice, |cmd"},
		{"crew", "/mail/alice from owner-crew@here.example, a@remote.example smtp://smart:25 from owner-crew@here.example"},
		{"owner-crew", "/mail/alice"},
		{"trouble", "4.3.0"},
		{"own", "/mail/alice"},
		{"empty", "5.1.1"},
		{"postmaster", "/mail/alice, admin@remote.example smtp://smart:25"},
		{"PostMaster@here.example", "/mail/alice, admin@remote.example smtp://smart:25"},
		{"pm", "/mail/alice, admin@remote.example smtp://smart:25"},
		{"postmaster@remote.example", "postmaster@remote.example smtp://smart:25"},
		{"x@partner.example", "x@partner.example smtp://hub:2525, smtp://hub2:25"},
		{"x@sub.partner.example", "x@sub.partner.example smtp://smart:25"},
		{"x@a.b.inside.example", "x@a.b.inside.example lmtp:///run/lmtp"},
		{"x@inside.example", "x@inside.example smtp://smart:25"},
		{"x@direct.example", "x@direct.example"},
	}
	for _, test := range tests {
		d, err := router.Route(address(t, test.in))
		if got := targets(d, err); got != test.want {
			t.Errorf("%s: got %s (%v), want %s", test.in, got, err, test.want)
		}
		if d.Steps != nil {
			t.Errorf("%s: Route told its steps", test.in)
		}
		e, eerr := router.Explain(address(t, test.in))
		if got := targets(e, eerr); got != test.want || len(e.Steps) == 0 {
			t.Errorf("%s: Explain says %s with %d steps, Route %s", test.in, got, len(e.Steps), test.want)
		}
	}
	if _, err := router.Route(mail.Address{}); mail.StatusOf(err).String() != "5.1.3" {
		t.Errorf("null address: %v", err)
	}
}

// everybody is a Users that believes in any name.
type everybody struct{}

func (everybody) Exists(string) (bool, error) { return true, nil }

// No name leads out of the directory of mailboxes, whatever Users say.
func TestNamesStayInside(t *testing.T) {
	router := &Router{Root: "/mail", Users: everybody{}}
	for in, want := range map[string]string{
		"alice": "/mail/alice", `"alice+../bob"`: "/mail/alice", `"../alice"`: "5.1.1", `"a/b"`: "5.1.1",
		`".."`: "5.1.1", `"/etc"`: "5.1.1",
	} {
		if got := targets(router.Route(address(t, in))); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	router := &Router{Root: "/mail", Users: people{"alice"}, Aliases: aliasFile(t,
		"root: alice, gone, x@remote.example\n")}
	d, err := router.Explain(address(t, "root"))
	want := []string{
		"alias root: alice, gone, x@remote.example",
		"user alice has the mailbox /mail/alice",
		"gone in alias root is skipped: No such user here",
		"x@remote.example is for the MX hosts of remote.example",
	}
	if err != nil || !slices.Equal(d.Steps, want) {
		t.Errorf("got  %q %v\nwant %q", d.Steps, err, want)
	}
}

func TestPostmaster(t *testing.T) {
	tests := []struct{ aliases, users, want string }{
		{"", "", "/postmaster"},
		{"", "root", "/root"},
		{"", "root postmaster", "/postmaster"},
		{"root: alice", "alice", "/alice"},
		{"postmaster: alice\nroot: bob", "alice bob", "/alice"},
		{"postmaster: nobody\nroot: bob", "bob", "/bob"},
		{"postmaster: root\nroot: postmaster", "", "/postmaster"},
		{"postmaster: |cmd >x", "", "/postmaster"},
		{"postmaster: broken", "alice", "4.3.0"},
	}
	for _, test := range tests {
		router := &Router{Root: "/", Users: people(strings.Fields(test.users)), Aliases: aliasFile(t, test.aliases)}
		if got := targets(router.Route(address(t, "postmaster@[127.0.0.1]"))); got != test.want {
			t.Errorf("aliases %q, users %q: got %s, want %s", test.aliases, test.users, got, test.want)
		}
	}
	if got := targets((&Router{Root: "/"}).Route(address(t, "postmaster"))); got != "/postmaster" {
		t.Errorf("without anything: got %s", got)
	}
}

func TestAliasBounds(t *testing.T) {
	var chain, tree strings.Builder
	for i := range maxAliasDepth + 1 {
		chain.WriteString("n" + strings.Repeat("x", i) + ": n" + strings.Repeat("x", i+1) + "\n")
		tree.WriteString("t" + strings.Repeat("x", i) + ": t" + strings.Repeat("x",
			i+1) + ", t" + strings.Repeat("x", i+1) + "\n")
	}
	for text, want := range map[string]string{
		chain.String(): "5.4.6",
		strings.ReplaceAll(tree.String(), ", t", ", t"): "4.4.6",
	} {
		router := &Router{Aliases: aliasFile(t, text)}
		name, _, _ := strings.Cut(text, ":")
		if got := targets(router.Route(address(t, name))); got != want {
			t.Errorf("%.20s: got %s, want %s", text, got, want)
		}
	}
}
