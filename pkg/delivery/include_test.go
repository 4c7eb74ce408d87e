package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
)

func writeFile(t testing.TB, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, in("list"), "# people\nalice,\n bob # b\n\n\"carol\"\r\n", 0o644)
	writeFile(t, in("nested"), ":include:"+in("list")+"\nx@remote.example, |cmd a\n", 0o600)
	writeFile(t, in("loop"), "alice\n:include:"+in("loop"), 0o600)
	writeFile(t, in("empty"), "", 0o600)
	writeFile(t, in("open"), "alice", 0o666)
	writeFile(t, in("bad"), "alice, b@@c\nnobody-here\n", 0o600)
	for i := range maxListDepth + 1 {
		writeFile(t, in(fmt.Sprint("deep", i)), ":include:"+in(fmt.Sprint("deep", i+1)), 0o600)
	}
	if err := syscall.Mkfifo(in("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, name := range []string{"list", "nested", "loop", "empty", "open", "bad", "gone", "deep0", "fifo"} {
		text += name + ": :include:" + in(name) + "\n"
	}
	r := &Router{Root: "/mail", Users: people{"alice", "bob", "carol"}, Aliases: aliasFile(t, text+"both: alice, :include:"+in("gone")+"\n")}
	for name, want := range map[string]string{
		"list":   "/mail/alice, /mail/bob, /mail/carol",
		"nested": "/mail/alice, /mail/bob, /mail/carol, x@remote.example, |cmd|a",
		"loop":   "/mail/alice, !",
		"bad":    "/mail/alice, !, !",
		"empty":  "5.1.1",
		"open":   "4.3.5",
		"gone":   "4.3.5",
		"both":   "4.3.5",
		"deep0":  "5.4.6",
		"fifo":   "4.3.5",
	} {
		d, err := r.Route(address(t, name))
		if got := targets(d, err); got != want {
			t.Errorf("%s: got %s (%v), want %s", name, got, err, want)
		}
	}
	// What changes is seen at once.
	writeFile(t, in("list"), "bob", 0o644)
	if got := targets(r.Route(address(t, "list"))); got != "/mail/bob" {
		t.Errorf("a list that has changed: got %s", got)
	}
	if err := os.Chmod(in("list"), 0o664); err != nil {
		t.Fatal(err)
	}
	if got := targets(r.Route(address(t, "list"))); got != "4.3.5" {
		t.Errorf("a list that others may write to now: got %s", got)
	}
}

// A file that others can change, or that belongs to somebody else, has no commands, files and lists.
func TestTrust(t *testing.T) {
	text := "who: alice\ncmd: |cmd\nfile: /x\ndir: /x/\nlist: :include:/x\ndrop: /dev/null\n"
	check := func(what string, a *Aliases, safe bool) {
		t.Helper()
		r := &Router{Root: "/mail", Users: people{"alice"}, Aliases: a}
		for name, want := range map[string]string{"who": "/mail/alice", "drop": "nothing", "cmd": "|cmd", "file": "file /x", "dir": "/x"} {
			if !safe && name != "who" && name != "drop" {
				want = "4.3.5"
			}
			if got := targets(r.Route(address(t, name))); got != want {
				t.Errorf("%s: %s: got %s, want %s", what, name, got, want)
			}
		}
	}
	a := aliasFile(t, text)
	check("mine", a, true)
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		if err := os.Chmod(a.file.path, mode); err != nil {
			t.Fatal(err)
		}
		check(mode.String(), a, false)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chmod(a.file.path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(a.file.path, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	check("somebody's", a, false)
	b := NewAliases(a.file.path)
	b.Owner = 1234
	check("the spool's owner's", b, true)
}

// The address of one member of an alias leads to it and nowhere else, and to nothing that is not in the file.
func TestMemberAddress(t *testing.T) {
	r := &Router{Domains: []string{"here.example"}, Root: "/mail", Users: people{"alice"},
		Aliases: aliasFile(t, "a: alice, |one x, \"|two, y\", /file, b\nb: |three\nowner-b: alice\n")}
	d, err := r.Route(address(t, "a+ext@here.example"))
	if err != nil || len(d.Targets) != 5 {
		t.Fatal(targets(d, err))
	}
	for i, want := range []string{"", "|one|x", "|two,|y", "file /file", "|three from owner-b@here.example"} {
		if i == 0 {
			continue
		}
		to := d.Targets[i].Address
		back, err := mail.ParseAddress(to.String())
		if got := targets(r.Route(back)); err != nil || got != want {
			t.Errorf("%s: got %s %v, want %s", to, got, err, want)
		}
	}
	mark := d.Targets[1].Address.Local[len("a+ext"):]
	for _, to := range []string{"alice" + mark, "b" + mark, "nobody" + mark, mark, "a" + mark + "0", "a" + strings.ToUpper(mark), `"|one x"`} {
		if got := targets(r.Route(mail.Address{Local: to, Domain: "here.example"})); got != "5.1.1" {
			t.Errorf("%s: got %s, want 5.1.1", to, got)
		}
	}
	if got := targets(r.Route(mail.Address{Local: "a" + mark, Domain: "far.example"})); strings.Contains(got, "one") && !strings.Contains(got, "far") {
		t.Errorf("at a remote domain: got %s", got)
	}
	writeFile(t, r.Aliases.file.path, "a: alice, |four\n", 0o600)
	if got := targets(r.Route(d.Targets[1].Address)); got != "5.1.1" {
		t.Errorf("a member that has gone: got %s", got)
	}
}

// The address of a member is one that the queue can read, however long the one was that led there.
func TestMemberAddressFits(t *testing.T) {
	longest, tooLong := strings.Repeat("n", maxMarked), strings.Repeat("m", maxMarked+1)
	r := &Router{Domains: []string{"here.example"}, Aliases: aliasFile(t, "a: |one\n*: |all\n"+longest+": |long\n"+tooLong+": |no\n")}
	for in, want := range map[string]string{
		"a+" + strings.Repeat("x", mail.MaxLocal-2):         "|one",
		strings.Repeat("y", mail.MaxLocal):                  "|all",
		longest:                                             "|long",
		longest + "+" + strings.Repeat("z", 64-maxMarked-1): "|long",
		tooLong:                        "|all",
		"a+" + strings.Repeat("ü", 30): "|one",
	} {
		d, err := r.Route(mail.Address{Local: in, Domain: "here.example"})
		if got := targets(d, err); got != want {
			t.Fatalf("%s: got %s, want %s", in, got, want)
		}
		back, err := mail.ParseAddress(d.Targets[0].Address.String())
		if err != nil || back != d.Targets[0].Address {
			t.Errorf("%s: address %s is %v %v", in, d.Targets[0].Address, back, err)
		}
		if got := targets(r.Route(back)); got != want {
			t.Errorf("%s: address %s leads to %s", in, back, got)
		}
	}
	if _, problems := ParseAliases([]byte(tooLong + ": |no\n")); len(problems) != 1 {
		t.Errorf("problems %q", problems)
	}
}

// The virtual file and the included ones are seen by a running router as soon as they change.
func TestVirtualIsReadAgain(t *testing.T) {
	r := &Router{Root: "/mail", Users: people{"alice", "bob"}, Virtual: virtualFile(t, "x.example x\na@x.example alice\n")}
	for range 2 {
		if got := targets(r.Route(address(t, "a@x.example"))); got != "/mail/alice" {
			t.Fatal(got)
		}
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(r.Virtual.file.path, past, past); err != nil {
		t.Fatal(err)
	}
	if got := targets(r.Route(address(t, "a@x.example"))); got != "/mail/alice" {
		t.Fatal(got)
	}
	writeFile(t, r.Virtual.file.path, "y.example x\na@y.example bob\n", 0o600)
	if got := targets(r.Route(address(t, "a@y.example"))); got != "/mail/bob" || r.IsLocal("x.example") {
		t.Errorf("got %s, the old domain is local: %v", got, r.IsLocal("x.example"))
	}
}
