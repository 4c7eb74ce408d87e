package auth

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

const usersText = `# the people

joe:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4:quota=1G:home=x=y
Ann@Example.org:{PLAIN}annspass
joe:{PLAIN}second line
bad:{SSHA}x:quota=2G
bad2:{PLAIN}a:b
bad name:{PLAIN}x
nocolon
`

func newMem(t testing.TB, text string) (*vfs.Mem, *Users) {
	t.Helper()
	m := vfs.NewMem()
	if err := vfs.WriteFile(m, "users", "x", []byte(text)); err != nil {
		t.Fatal(err)
	}
	m.SyncAll()
	users := NewUsers(m, "users")
	users.after = atOnce
	return m, users
}

func statusOf(err error) string {
	if err == nil {
		return ""
	}
	return mail.StatusOf(err).String()
}

func TestAuthenticate(t *testing.T) {
	_, users := newMem(t, usersText)
	for _, tt := range []struct{ name, password, want, status string }{
		{"joe", "password", "joe", ""},
		{"JOE", "password", "joe", ""},
		{"ann@example.org", "annspass", "ann@example.org", ""},
		{"joe", "second line", "", "5.7.8"},
		{"joe", "Password", "", "5.7.8"},
		{"joe", "", "", "5.7.8"},
		{"joe", strings.Repeat("x", MaxPassword+1), "", "5.7.8"},
		{"nobody", "password", "", "5.7.8"}, // the decoy is joe's secret
		{"../joe", "password", "", "5.7.8"},
		{"", "password", "", "5.7.8"},
		{"*", "password", "", "5.7.8"},
		{"bad name", "x", "", "5.7.8"},
		{"nocolon", "", "", "5.7.8"},
		{"bad", "x", "", "4.7.0"},
		{"bad2", "a", "", "4.7.0"},
	} {
		user, err := users.Authenticate(t.Context(), tt.name, tt.password)
		if user.Name != tt.want || statusOf(err) != tt.status {
			t.Errorf("Authenticate(%q, %q) = %q, %v; want %q %s", tt.name, tt.password, user.Name, err, tt.want, tt.status)
		}
		if tt.status == "5.7.8" && err.Error() != "5.7.8 Authentication credentials invalid" {
			t.Errorf("%q can be told from others: %v", tt.name, err)
		}
	}
}

func TestLookup(t *testing.T) {
	_, users := newMem(t, usersText)
	joe, err := users.Lookup("Joe")
	if err != nil || joe.Name != "joe" || joe.Fields["quota"] != "1G" || joe.Fields["home"] != "x=y" {
		t.Errorf("got %+v, %v", joe, err)
	}
	for name, want := range map[string]bool{"joe": true, "JOE": true, "ann@example.org": true, "ann": false, "..": false, "nocolon": false} {
		if got, err := users.Exists(name); got != want || err != nil {
			t.Errorf("Exists(%q) = %v, %v", name, got, err)
		}
	}
	if ok, err := users.Exists("bad"); ok || statusOf(err) != "4.7.0" || strings.Contains(err.Error(), "SSHA") {
		t.Errorf("Exists of a malformed line = %v, %v", ok, err)
	}
}

func TestWildcard(t *testing.T) {
	_, users := newMem(t, "joe:{PLAIN}joespass\n*:{PLAIN}anything:k=v\n")
	for _, tt := range []struct{ name, password, want string }{
		{"joe", "joespass", "joe"}, {"joe", "anything", ""}, {"Ann", "anything", "ann"}, {"a/b", "anything", ""}, {"*", "anything", ""},
	} {
		user, err := users.Authenticate(t.Context(), tt.name, tt.password)
		if user.Name != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("Authenticate(%q, %q) = %v, %v", tt.name, tt.password, user, err)
		}
	}
}

// An unknown name costs the hash that known ones cost: the decoy is the secret of a real line.
func TestDecoy(t *testing.T) {
	_, users := newMem(t, "bad:x\n"+usersText)
	file, err := users.load()
	if err != nil || !strings.HasPrefix(file.decoy.text, "$argon2id$v=19$m=256,") {
		t.Errorf("decoy %q, %v", file.decoy.text, err)
	}
	_, users = newMem(t, "")
	if file, err = users.load(); err != nil || !strings.HasPrefix(file.decoy.text, "$argon2id$") {
		t.Errorf("decoy of an empty file %q, %v", file.decoy.text, err)
	}
}

func TestFileTrouble(t *testing.T) {
	m, users := newMem(t, usersText)
	if _, err := users.Lookup("joe"); err != nil {
		t.Fatal(err)
	}
	check := func(why string, want error) {
		t.Helper()
		_, err1 := users.Authenticate(t.Context(), "joe", "password")
		_, err2 := users.Exists("joe")
		_, _, err3 := users.ScramKeys("joe")
		for _, err := range []error{err1, err2, err3} {
			if statusOf(err) != "4.7.0" || !errors.Is(err, want) {
				t.Errorf("%s: got %v, want 4.7.0", why, err)
			}
		}
	}
	m.FailFrom(1, syscall.EIO)
	check("EIO", syscall.EIO)
	m.Heal()
	for _, perm := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o644} {
		m.Chmod("users", perm)
		check(perm.String(), ErrMode)
		_, err := users.List()
		if err == nil || !strings.Contains(err.Error(), "chmod 600 users") {
			t.Errorf("List: %v has no cure", err)
		}
	}
	m.Chmod("users", 0o600)
	if _, err := users.Authenticate(t.Context(), "joe", "password"); err != nil {
		t.Errorf("healed: %v", err)
	}
	m.Remove("users")
	check("no file", fs.ErrNotExist)
	if len(m.OpenFiles()) != 0 {
		t.Errorf("left open: %v", m.OpenFiles())
	}
}

func TestTooLargeFile(t *testing.T) {
	const limit = 1000
	for _, n := range []int{limit - 1, limit, limit + 1} {
		_, users := newMem(t, strings.Repeat("#", n))
		users.limit = limit
		if _, err := users.Exists("joe"); (err == nil) != (n <= limit) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	m, users := newMem(t, strings.Repeat("#", limit-100))
	users.limit = limit
	if err := users.Add("joe", "joespass1"); err == nil || strings.Contains(m.Tree(), "tmp") {
		t.Errorf("Add beyond the limit: %v\n%s", err, m.Tree())
	}
	if NewUsers(m, "users").limit != maxUserFile {
		t.Error("no limit")
	}
}

// Changes are seen at once: a new file, the same file rewritten, and even one with the same size and time, as long as
// the time is young.
func TestChangesAreSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	users := NewUsers(vfs.OS(), path)
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("joe:{PLAIN}"+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, password := range []string{"aaaa", "bbbb", "cccccc", "dddd"} {
		write(password)
		if _, err := users.Authenticate(t.Context(), "joe", password); err != nil {
			t.Errorf("%s: %v", password, err)
		}
	}
}

// An unchanged file is not read again once its time is old enough to prove that.
func TestUnchangedIsNotRead(t *testing.T) {
	m, users := newMem(t, usersText)
	reads := func() (n int) {
		for _, c := range m.Calls() {
			if c.Op == "open" {
				n++
			}
		}
		return n
	}
	fi, err := m.Lstat("users")
	if err != nil {
		t.Fatal(err)
	}
	now := fi.ModTime()
	users.Now = func() time.Time { return now }
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 3}, {settled - time.Second, 6}, {settled + time.Minute, 7}, {time.Hour, 7}} {
		now = fi.ModTime().Add(tt.after)
		for range 3 {
			if _, err := users.Lookup("joe"); err != nil {
				t.Fatal(err)
			}
		}
		if got := reads(); got != tt.want {
			t.Errorf("after %v: %d reads, want %d", tt.after, got, tt.want)
		}
	}
}

func TestRemember(t *testing.T) {
	_, users := newMem(t, "joe:{PLAIN}hunter22\n")
	now := time.Now()
	users.Now = func() time.Time { return now }
	users.Remember = time.Minute
	secret, _ := ParseSecret("{PLAIN}hunter22")
	known := func(password string) bool { return users.remembers(users.cacheID("joe", secret, password)) }
	if known("hunter22") {
		t.Error("known before the first login")
	}
	users.Authenticate(t.Context(), "joe", "wrong")
	if _, err := users.Authenticate(t.Context(), "joe", "hunter22"); err != nil {
		t.Fatal(err)
	}
	if !known("hunter22") || known("wrong") {
		t.Errorf("right %v, wrong %v", known("hunter22"), known("wrong"))
	}
	start := now
	for _, tt := range []struct {
		at   time.Duration
		want bool
	}{{59 * time.Second, true}, {time.Minute, false}, {-time.Hour, false}} {
		if now = start.Add(tt.at); known("hunter22") != tt.want {
			t.Errorf("after %v: known is %v", tt.at, !tt.want)
		}
	}
	now = start
	if err := users.SetPassword("joe", "another-one"); err != nil {
		t.Fatal(err)
	}
	if _, err := users.Authenticate(t.Context(), "joe", "hunter22"); statusOf(err) != "5.7.8" {
		t.Errorf("the old password is remembered: %v", err)
	}
	for i := range 2 * maxCached {
		users.remember([32]byte{byte(i), byte(i >> 8)})
	}
	if len(users.known) > maxCached {
		t.Errorf("%d remembered", len(users.known))
	}
}

// At most maxHashing passwords are hashed at a time, and nobody waits longer than its context.
func TestHashingIsBounded(t *testing.T) {
	_, users := newMem(t, usersText)
	for range maxHashing {
		users.hashing <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := users.Authenticate(ctx, "joe", "password"); statusOf(err) != "4.7.0" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-users.hashing
	if _, err := users.Authenticate(t.Context(), "joe", "password"); err != nil {
		t.Errorf("got %v", err)
	}
	if len(users.hashing) != maxHashing-1 {
		t.Errorf("%d places taken", len(users.hashing))
	}
}

func TestEdit(t *testing.T) {
	m, users := newMem(t, usersText)
	steps := []struct {
		name string
		err  error
		do   func() error
	}{
		{"add", nil, func() error { return users.Add("New", "newspass1") }},
		{"add again", ErrExists, func() error { return users.Add("NEW", "newspass1") }},
		{"add short", errAny, func() error { return users.Add("other", "short") }},
		{"add bad name", errName, func() error { return users.Add("a/b", "newspass1") }},
		{"set", nil, func() error { return users.SetPassword("JOE", "joes-new-pass") }},
		{"set unknown secret", nil, func() error { return users.SetPassword("bad", "bads-new-pass") }},
		{"set bad fields", errFields, func() error { return users.SetPassword("bad2", "bads-new-pass") }},
		{"set nobody", ErrNoUser, func() error { return users.SetPassword("nobody", "bads-new-pass") }},
		{"remove", nil, func() error { return users.Remove("ann@EXAMPLE.org") }},
		{"remove again", ErrNoUser, func() error { return users.Remove("ann@example.org") }},
		{"wildcard", nil, func() error { return users.Add("*", "everybodys") }},
	}
	for _, s := range steps {
		if err := s.do(); !errors.Is(err, s.err) && (s.err != errAny || err == nil) {
			t.Errorf("%s: got %v, want %v", s.name, err, s.err)
		}
	}
	names, err := users.List()
	if want := []string{"joe", "bad", "bad2", "new", "*"}; !slices.Equal(names, want) || err != nil {
		t.Errorf("List = %q, %v; want %q", names, err, want)
	}
	for name, password := range map[string]string{"new": "newspass1", "joe": "joes-new-pass", "bad": "bads-new-pass", "x": "everybodys"} {
		if _, err := users.Authenticate(t.Context(), name, password); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if joe, err := users.Lookup("joe"); err != nil || joe.Fields["quota"] != "1G" || joe.Fields["home"] != "x=y" {
		t.Errorf("joe's fields: %v, %v", joe, err)
	}
	data, err := vfs.ReadFile(m, "users", 1<<20)
	for _, keep := range []string{"# the people\n\n", "\njoe:{PLAIN}second line\n", "\nbad2:{PLAIN}a:b\nbad name:{PLAIN}x\nnocolon\n"} {
		if !strings.Contains(string(data), keep) || err != nil {
			t.Errorf("%q is gone: %v\n%s", keep, err, data)
		}
	}
	if fi, err := m.Lstat("users"); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

var errAny = errors.New("any error")

// Removing a name removes all its lines: the second one must not come to life.
func TestRemoveAllLines(t *testing.T) {
	_, users := newMem(t, usersText)
	if err := users.Remove("joe"); err != nil {
		t.Fatal(err)
	}
	if ok, err := users.Exists("joe"); ok || err != nil {
		t.Errorf("Exists = %v, %v", ok, err)
	}
}

func TestAddMakesFile(t *testing.T) {
	m := vfs.NewMem()
	users := NewUsers(m, "users")
	if err := users.Add("joe", "joespass1"); err != nil {
		t.Fatal(err)
	}
	if _, err := users.Authenticate(t.Context(), "joe", "joespass1"); err != nil {
		t.Error(err)
	}
}

func TestEditWaitsForLock(t *testing.T) {
	m, users := newMem(t, usersText)
	other, err := m.OpenAppend("users.lock")
	if err != nil || other.Lock() != nil {
		t.Fatal(err)
	}
	naps := 0
	users.sleep = func(time.Duration) { naps++ }
	if err := users.Add("new", "newspass1"); !mail.StatusOf(err).IsTemporary() || !errors.Is(err, vfs.ErrLocked) || naps != lockTries {
		t.Errorf("after %d naps: %v", naps, err)
	}
	users.sleep = func(time.Duration) { other.Close() }
	if err := users.Add("new", "newspass1"); err != nil {
		t.Errorf("after the other one is done: %v", err)
	}
}

// Whatever fails and whenever the power goes, the file is the old or the new one, whole; nil means the new one. The
// next edit clears away what a killed one left.
func TestEditCrash(t *testing.T) {
	base, _ := newMem(t, "# c\nann:{PLAIN}annspass\n")
	line := printLine("joe", newEntry("joespass1", entry{}))
	add := func(fsys vfs.FS) error {
		return NewUsers(fsys, "users").edit("joe", func(data []byte, name string) ([]byte, error) {
			return replaceLine(data, name, line), nil
		})
	}
	trials := 0
	for trial := range vfs.Trials(base, add) {
		trials++
		users := NewUsers(trial.Mem, "users")
		names, err := users.List()
		got := strings.Join(names, " ")
		if err != nil || (got != "ann joe" && (got != "ann" || trial.Err == nil)) {
			t.Errorf("%s\nList = %q, %v", trial, got, err)
			continue
		}
		if err := users.Remove("ann"); err != nil {
			t.Errorf("%s\nno edit afterwards: %v", trial, err)
		}
		if tree := trial.Mem.Tree(); strings.Contains(tree, ".tmp") {
			t.Errorf("%s\nleft behind:\n%s", trial, tree)
		}
	}
	if trials < 50 {
		t.Errorf("only %d trials", trials)
	}
}

func FuzzUserFile(f *testing.F) {
	f.Add(usersText, "joe")
	f.Add("*:{PLAIN}x\r\nA:B", "b")
	f.Fuzz(func(t *testing.T, text, name string) {
		canonical, err := CanonicalName(name)
		if err != nil {
			return
		}
		var d Secret
		before := parseUsers([]byte(text), &d)
		secret, _ := ParseSecret("{PLAIN}fuzzing")
		line := printLine(canonical, entry{secret: secret})
		after := parseUsers(replaceLine([]byte(text), canonical, line), &d)
		if e := after[canonical]; e.secret.text != secret.text || e.err != nil {
			t.Fatalf("%q in %q: got %q, %v", canonical, text, e.secret.text, e.err)
		}
		for other, e := range before {
			if other != canonical && (after[other].secret.text != e.secret.text || (after[other].err == nil) != (e.err == nil)) {
				t.Fatalf("%q in %q: %q changed", canonical, text, other)
			}
		}
		if gone := parseUsers(replaceLine([]byte(text), canonical, ""), &d); gone[canonical].secret.text != "" {
			t.Fatalf("%q in %q: not removed", canonical, text)
		}
	})
}
