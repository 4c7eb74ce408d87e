package delivery

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

func virtualFile(t testing.TB, text string) *Virtual {
	t.Helper()
	path := filepath.Join(t.TempDir(), "virtual")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return NewVirtual(path)
}

func TestParseVirtual(t *testing.T) {
	tests := []struct {
		in       string
		want     string // name=members separated by bars
		problems int
	}{
		{"a@x.example b", "a@x.example=b", 0},
		{"A@X.Example: b, c@y.example", "a@x.example=b|c@y.example", 0},
		{"a@x.example : b", "a@x.example=b", 0},
		{"a@x.example\tb,\n  c", "a@x.example=b|c", 0},
		{"@x.example @y.example", "@x.example=@y.example", 0},
		{"x.example anything", "x.example=anything", 0},
		{"bücher.example x", "xn--bcher-kva.example=x", 0},
		{"@Bücher.example x", "@xn--bcher-kva.example=x", 0},
		{"joe: b", "joe=b", 0},
		{`"a b"@x.example c`, "a b@x.example=c", 0},
		{"a@[IPv6:::1] c", "a@[IPv6:::1]=c", 0},
		{"# note\n\na@x.example b # note", "a@x.example=b", 0},
		{"a@x.example |cmd", "a@x.example=|cmd", 1},
		{"a@x.example /dev/null", "a@x.example=/dev/null", 1},
		{"a@x.example :include:/x", "a@x.example=:include:/x", 1},
		{"a@x.example", "", 1},
		{"a@@x b", "", 1},
		{"@ b", "", 1},
		{"a@x.example b\nA@x.example c", "a@x.example=b", 1},
		{"a@x.example @@", "a@x.example=@@", 1},
	}
	for _, tt := range tests {
		entries, problems := ParseVirtual([]byte(tt.in))
		var words []string
		for _, e := range entries {
			words = append(words, e.Name+"="+strings.ReplaceAll(joinMembers(e.Members), ", ", "|"))
		}
		if got := strings.Join(words, " "); !strings.EqualFold(got, tt.want) || len(problems) != tt.problems {
			t.Errorf("%q: got %s with %q, want %s with %d problems", tt.in, got, problems, tt.want, tt.problems)
		}
	}
}

const testVirtual = `
a.example            anything
info@a.example       alice, far@remote.example
alice@a.example      alice@a.example, copy@remote.example   # a mailbox, and a copy
list@a.example       crew
b.example            x
@b.example           catcher@a.example
bob@b.example        nobody-here@a.example
@old.example         @a.example
@loop.example        @loop2.example
@loop2.example       @loop.example
sales                bob
carol@here.example   alice
@here.example        everything
me+x@a.example       bob
`

func virtualRouter(t testing.TB) *Router {
	return &Router{
		Domains: []string{"here.example", "other.example"}, Root: "/mail", VirtualDomains: []string{"c.example", "Bücher.example"},
		Users:   people{"alice", "bob", "carol", "everything", "alice@a.example", "alice@c.example", "catcher@a.example", "q@xn--bcher-kva.example"},
		Aliases: aliasFile(t, "crew: alice, bob\n*: carol\n"),
		Virtual: virtualFile(t, testVirtual),
	}
}

func TestVirtualRouter(t *testing.T) {
	r := virtualRouter(t)
	tests := []struct{ in, want string }{
		{"info@a.example", "/mail/alice, far@remote.example"},
		{"INFO+x@A.example", "/mail/alice, far@remote.example"},
		{"alice@a.example", "/mail/alice@a.example, copy@remote.example"},
		{"alice+x@a.example", "/mail/alice@a.example, copy@remote.example"},
		{"list@a.example", "/mail/alice, /mail/bob"},
		{"me+x@a.example", "/mail/bob"},
		{"me@a.example", "5.1.1"},
		{"bob@a.example", "5.1.1"}, // a plain user is nobody there
		{"crew@a.example", "5.1.1"},
		{"x@b.example", "/mail/catcher@a.example"},
		{"bob@b.example", "5.1.1"},
		{"alice@c.example", "/mail/alice@c.example"},
		{"bob@c.example", "5.1.1"},
		{"q@bücher.example", "/mail/q@xn--bcher-kva.example"},
		{"alice+y@old.example", "/mail/alice@a.example, copy@remote.example"},
		{"x@loop.example", "5.1.1"},
		{"postmaster@a.example", "/mail/postmaster"},
		{"alice@here.example", "/mail/alice"},
		{"sales@here.example", "/mail/bob"},
		{"sales@other.example", "/mail/bob"},
		{"sales", "/mail/bob"},
		{"sales@a.example", "5.1.1"},
		{"carol@here.example", "/mail/alice"},
		{"carol@other.example", "/mail/carol"},
		{"nobody@here.example", "/mail/everything"},
		{"nobody@other.example", "/mail/carol"},
		{"nobody", "/mail/carol"},
		{"x@remote.example", "x@remote.example"},
		{"x@sub.a.example", "x@sub.a.example"},
	}
	for _, tt := range tests {
		d, err := r.Route(address(t, tt.in))
		if got := targets(d, err); got != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.in, got, err, tt.want)
		}
	}
	for domain, want := range map[string][2]bool{"a.example": {true, false}, "A.Example": {true, false}, "c.example": {true, false},
		"here.example": {true, true}, "remote.example": {false, false}, "old.example": {true, false}, "bücher.example": {true, false}} {
		if got := [2]bool{r.IsLocal(domain), r.IsSelf(domain)}; got != want {
			t.Errorf("%s: local and self are %v, want %v", domain, got, want)
		}
	}
}

// A virtual file that can't be read is nobody's permanent failure.
func TestVirtualTrouble(t *testing.T) {
	r := virtualRouter(t)
	if err := os.Remove(r.Virtual.file.path); err != nil {
		t.Fatal(err)
	}
	in := &Intake{Router: r}
	for _, to := range []string{"alice@a.example", "x@remote.example"} {
		if verdicts, _ := hand(t, in, stranger, "", to); verdicts[0] != "4.3.5" {
			t.Errorf("%s: got %v, want 4.3.5", to, verdicts)
		}
	}
	if verdicts, _ := hand(t, in, stranger, "", "alice@c.example"); verdicts[0] != "4.3.5" {
		t.Errorf("a virtual domain of the configuration: got %v", verdicts)
	}
	if r.IsSelf("mx.remote.example") {
		t.Error("a stranger's host is taken for this one")
	}
}

// A sender is one's own if it leads to one's own mailbox, whatever the domain.
func TestVirtualSenders(t *testing.T) {
	in := &Intake{Router: virtualRouter(t)}
	for _, tt := range []struct {
		user, sender string
		want         bool
	}{
		{"alice@a.example", "alice@a.example", true},
		{"alice@a.example", "Alice+list@A.example", true},
		{"alice@a.example", "alice@old.example", true},
		{"alice@a.example", "alice@c.example", false},
		{"alice@a.example", "alice@here.example", false},
		{"alice", "alice@a.example", false},
		{"alice", "info@a.example", true},
		{"catcher@a.example", "anything@b.example", true},
		{"bob", "sales@here.example", true},
	} {
		err := in.mayUse(&smtp.Peer{User: tt.user}, address(t, tt.sender))
		if (err == nil) != tt.want {
			t.Errorf("%s as %s: %v, want %v", tt.user, tt.sender, err, tt.want)
		}
	}
}

func TestDelimiter(t *testing.T) {
	for _, tt := range []struct{ delimiter, in, want string }{
		{"", "alice+x", "/alice"}, {"", "alice-x", "5.1.1"}, {"-", "alice-x", "/alice"}, {"-", "alice+x", "5.1.1"},
		{"-+", "alice+x-y", "/alice"}, {"-", "a-b", "/a-b"}, {"-", "a-b-c", "5.1.1"}, {NoDetail, "alice+x", "5.1.1"},
		{NoDetail, "a-b", "/a-b"}, {"-", "-x", "5.1.1"}, {"-", "list-x", "/alice"},
	} {
		r := &Router{Root: "/", Users: people{"alice", "a-b"}, Delimiter: tt.delimiter, Aliases: aliasFile(t, "list: alice\n")}
		if got := targets(r.Route(address(t, tt.in))); got != tt.want {
			t.Errorf("%q: %s: got %s, want %s", tt.delimiter, tt.in, got, tt.want)
		}
	}
}

func FuzzParseVirtual(f *testing.F) {
	f.Add("a@x.example b, c\n@x.example: @y\nx.example z # n\n \"q\"@[IPv6:::1] w")
	f.Add("a:b\n@\n\"")
	f.Fuzz(func(t *testing.T, in string) {
		entries, _ := ParseVirtual([]byte(in))
		for _, e := range entries {
			if e.Name == "" || e.Line < 1 {
				t.Fatalf("%q: %+v", in, e)
			}
			for _, m := range e.Members {
				if m.isPrivileged() || m.Path != "" {
					t.Fatalf("%q: member %+v", in, m)
				}
				if m.Err != nil && !mail.StatusOf(m.Err).IsPermanent() {
					t.Fatalf("%q: member %q: %v", in, m, m.Err)
				}
			}
		}
	})
}
