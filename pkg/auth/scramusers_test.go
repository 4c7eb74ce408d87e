package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/vfs"
)

// keysText is a scram= field with made-up keys.
func keysText(iterations, saltSize int) string {
	return ScramKeys{iterations, bytes.Repeat([]byte("s"), saltSize), make([]byte, 32), make([]byte, 32)}.Encode()
}

// mixedUsers has users of all kinds: old keys, new keys, the password itself, and a hash alone.
func mixedUsers() string {
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, "old%d:%s:scram=%s\nnew%d:%s:scram=%s\n", i, vectors()[0].text, keysText(4096, 12), i, vectors()[0].text,
			keysText(32768, 16))
		fmt.Fprintf(&b, "plain%d:{PLAIN}pencil\nhashed%d:%s\n", i, i, vectors()[0].text)
	}
	return b.String()
}

// What a client sees before it has proved anything says nothing about the name: iterations and salt length of those without
// keys are spread like those of users who have some, and each name costs one derivation.
func TestScramShapes(t *testing.T) {
	m, users := newMem(t, mixedUsers())
	derived := 0
	users.derive = func(_ string, salt []byte, iterations int) ScramKeys {
		derived++
		return ScramKeys{iterations, salt, make([]byte, 32), make([]byte, 32)}
	}
	see := func(u *Users, name string) (scramShape, string) {
		t.Helper()
		before := derived
		_, keys, err := u.ScramKeys(name)
		if err != nil || u == users && derived != before+1 {
			t.Errorf("%s: %v, %d derivations", name, err, derived-before)
		}
		return scramShape{keys.Iterations, len(keys.Salt)}, string(keys.Salt)
	}
	seen := map[string]map[scramShape]int{}
	for _, kind := range []string{"nobody", "plain", "hashed", "old", "new", "a/"} {
		seen[kind] = map[scramShape]int{}
		for i := range 10 {
			name := fmt.Sprintf("%s%d", kind, i)
			shape, salt := see(users, name)
			seen[kind][shape]++
			if again, salt2 := see(users, name); again != shape || salt2 != salt {
				t.Errorf("%s: %v %x, then %v %x", name, shape, salt, again, salt2)
			}
		}
	}
	for kind, shapes := range seen {
		known := shapes[scramShape{4096, 12}] + shapes[scramShape{32768, 16}]
		isMixed := shapes[scramShape{4096, 12}] > 0 && shapes[scramShape{32768, 16}] > 0
		if known != 10 || isMixed == (kind == "old" || kind == "new") {
			t.Errorf("%s: %v", kind, shapes)
		}
	}
	// Another process, after somebody has changed his password, sees the same.
	if err := NewUsers(m, "users").SetPassword("old1", "another-one"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nobody1", "plain1", "hashed1"} {
		other := NewUsers(m, "users")
		other.derive = users.derive
		_, salt := see(users, name)
		if _, salt2 := see(other, name); salt2 != salt {
			t.Errorf("%s: %x, then %x", name, salt, salt2)
		}
	}
	if fi, err := m.Lstat("users.salt"); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("users.salt: %v, %v", fi, err)
	}
}

// Where nobody has keys, a name that is known and one that is not look alike too; nothing is derived where nothing has to be.
func TestScramShapesWithoutKeys(t *testing.T) {
	for text, want := range map[string]int{"joe:{PLAIN}joespass\n": 1, "joe:" + vectors()[0].text + "\n": 0, "": 0} {
		_, users := newMem(t, text)
		derived := 0
		users.derive = func(password string, salt []byte, iterations int) ScramKeys {
			derived++
			return deriveScram(password, salt, iterations)
		}
		for _, name := range []string{"joe", "nobody"} {
			derived = 0
			_, keys, err := users.ScramKeys(name)
			if err != nil || keys.Iterations != minIterations || len(keys.Salt) != saltSize || derived != want {
				t.Errorf("%q in %q: %d iterations, salt of %d, %d derivations, %v; want %d", name, text, keys.Iterations, len(keys.Salt),
					derived, err, want)
			}
		}
	}
}

// A server that may not write beside the user file has salts all the same.
func TestSaltKeyOnReadOnlyDisk(t *testing.T) {
	m, users := newMem(t, saslUsers)
	if _, err := users.Lookup("user"); err != nil {
		t.Fatal(err)
	}
	file := users.loaded
	m.FailFrom(1, syscall.EROFS)
	if key := users.saltKey(file); !bytes.Equal(key, file.digest[:]) || users.salt != nil {
		t.Errorf("key %x", key)
	}
	m.Heal()
	key := users.saltKey(file)
	kept, err := vfs.ReadFile(m, "users.salt", 100)
	if bytes.Equal(key, file.digest[:]) || !bytes.Equal(key, kept) || len(key) != 32 || err != nil {
		t.Errorf("key %x, kept %x, %v", key, kept, err)
	}
}

// A right password of somebody who can't use SCRAM must not be told to be wrong: then SCRAM is not offered.
func TestScramIsForAll(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "SCRAM-SHA-256 PLAIN LOGIN",
		"joe:{PLAIN}x\nbad:x": "SCRAM-SHA-256 PLAIN LOGIN",
		"joe:{PLAIN}x\nann:" + vectors()[2].text + "\n":                    "PLAIN LOGIN",
		"joe:{PLAIN}x\nann:\n":                                             "PLAIN LOGIN",
		"joe:" + vectors()[2].text + ":scram=" + keysText(4096, 16) + "\n": "SCRAM-SHA-256 PLAIN LOGIN",
	} {
		_, users := newMem(t, text)
		if got := strings.Join(Mechanisms(Channel{Secure: true}, users), " "); got != want {
			t.Errorf("%.60q: offered %s, want %s", text, got, want)
		}
		if got := strings.Join(Mechanisms(Channel{}, users), " "); got != MechScramSHA256 {
			t.Errorf("%.60q: offered in clear: %s", text, got)
		}
	}
}

// A wrong password costs one hash, whoever it was said to be of; the hash is that of a real line.
func TestOneHashEach(t *testing.T) {
	m, users := newMem(t, "empty:\njoe:"+vectors()[0].text+"\nann:"+vectors()[2].text+"\n")
	fi, err := m.Lstat("users")
	if err != nil {
		t.Fatal(err)
	}
	users.Now = func() time.Time { return fi.ModTime().Add(time.Hour) } // the file is not read again
	file, err := users.load()
	if err != nil {
		t.Fatal(err)
	}
	hashes := 0
	count := func(s Secret) Secret {
		check := s.check
		if check != nil {
			s.check = func(password string) bool { hashes++; return check(password) }
		}
		return s
	}
	file.decoy = count(file.decoy)
	for name, e := range file.entries {
		e.secret = count(e.secret)
		file.entries[name] = e
	}
	for _, name := range []string{"joe", "ann", "empty", "nobody", "a/b", "", "*", strings.Repeat("x", 300)} {
		for _, password := range []string{"wrong", "", strings.Repeat("x", MaxPassword+1), "pass\x00word"} {
			hashes = 0
			if _, err := users.Authenticate(t.Context(), name, password); statusOf(err) != "5.7.8" || hashes != 1 {
				t.Errorf("%.20q, %.20q: %v after %d hashes", name, password, err, hashes)
			}
		}
	}
	if !strings.HasPrefix(file.decoy.text, "$argon2id$v=19$m=256,") {
		t.Errorf("the decoy is %q", file.decoy.text)
	}
}

// Lines of Dovecot's passwd-file, with the hashes that doveadm pw writes.
func TestForeignLines(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	scram := "{SCRAM-SHA-256}" + deriveScram("pencil", salt, 4096).Encode()
	if !strings.Contains(scram, "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=") {
		t.Errorf("keys of RFC 7677 §3: %s", scram)
	}
	for _, tt := range []struct{ line, password, status, quota string }{
		{"joe:{PLAIN}pencil:1000:1000::/home/joe:/bin/sh:userdb_quota_rule=*:bytes=1G", "pencil", "", "*:bytes=1G"},
		{"joe:{plain}pencil::::", "pencil", "", ""},
		{"joe:{CLEARTEXT}pencil::", "pencil", "", ""},
		{"joe:{PLAIN}pencil:1000:1000:Joe Doe,Room 1::", "pencil", "", ""},
		{"joe:{PLAIN}pencil::::::nologin", "pencil", "4.7.0", ""},
		{"joe:{PLAIN}pencil::::::nologin=", "pencil", "4.7.0", ""},
		{"joe:{PLAIN}pencil::::::allow_nets=192.0.2.0/24", "pencil", "4.7.0", ""},
		{"joe:{PLAIN}pencil:x:1000", "pencil", "4.7.0", ""},
		{"joe:{ARGON2ID}" + vectors()[0].text + ":1000:1000", vectors()[0].password, "", ""},
		{"joe:{BLF-CRYPT}" + vectors()[4].text, vectors()[4].password, "", ""},
		{"joe:{SHA512-CRYPT}" + vectors()[5].text, vectors()[5].password, "", ""},
		{"joe:{CRYPT}" + vectors()[2].text, vectors()[2].password, "", ""},
		{"joe:{CRYPT}" + vectors()[6].text + ":::::", vectors()[6].password, "", ""},
		{"joe:" + scram, "pencil", "", ""},
		{"joe:" + scram, "pencil2", "5.7.8", ""},
		{"joe:{SHA512-CRYPT}" + vectors()[2].text, vectors()[2].password, "4.7.0", ""},
		{"joe:{CRYPT}$1$saltsalt$hash", "x", "4.7.0", ""},
		{"joe:{ARGON2I}" + vectors()[0].text, "x", "4.7.0", ""},
		{"joe:{SCRAM-SHA-256}4096,x", "x", "4.7.0", ""},
		{"joe:{SSHA512}abcdef", "x", "4.7.0", ""},
	} {
		_, users := newMem(t, tt.line+"\n")
		user, err := users.Authenticate(t.Context(), "joe", tt.password)
		if statusOf(err) != tt.status || user.Fields["userdb_quota_rule"] != tt.quota {
			t.Errorf("%.70s: %v, fields %v; want %q", tt.line, err, user.Fields, tt.status)
		}
	}
	// {SCRAM-SHA-256} is for SCRAM, too.
	_, users := newMem(t, "user:"+scram+":1000:1000::/home/user:/bin/sh\n")
	x := &exchange{ctx: t.Context(), verifier: users}
	x.step = (&scramServer{exchange: x, fixedNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"}).first
	if got, status := say(x, rfcClientFirst, rfcClientFinal, ""); status != "" || x.User().Name != "user" {
		t.Errorf("SCRAM: %q, %s", got, status)
	}
	// A new password leaves the rest of the line.
	if err := users.SetPassword("user", "another-one"); err != nil {
		t.Fatal(err)
	}
	data, err := vfs.ReadFile(users.fsys, "users", 1<<20)
	if line := string(data); err != nil || !strings.HasPrefix(line, "user:$argon2id$") ||
		!strings.Contains(line, ":1000:1000::/home/user:/bin/sh:scram=32768,") {
		t.Errorf("after SetPassword: %q, %v", line, err)
	}
	_, users = newMem(t, "user:"+scram+":::::::nologin\n")
	if err := users.SetPassword("user", "another-one"); !errors.Is(err, errFields) && !errors.Is(err, errRule) {
		t.Errorf("a rule that is not understood: %v", err)
	}
}

func TestProof(t *testing.T) {
	_, users := newMem(t, "joe:"+vectors()[0].text+":scram="+keysText(4096, 16)+"\nann:{PLAIN}x\ncarl:"+vectors()[2].text+"\ndora:\nbad:x\n*:\n")
	for name, want := range map[string]Proof{"joe": ProofScram, "ann": ProofScram, "carl": ProofPassword, "dora": ProofCommand,
		"bad": ProofMalformed, "*": ProofCommand} {
		if got, err := users.Proof(name); got != want || err != nil {
			t.Errorf("Proof(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := users.Proof("nobody"); !errors.Is(err, ErrNoUser) {
		t.Errorf("a name that is not there: %v", err)
	}
}

func TestAddWithoutSecret(t *testing.T) {
	m, users := newMem(t, "")
	for _, name := range []string{"Joe", "*"} {
		if err := users.AddWithoutSecret(name); err != nil {
			t.Error(err)
		}
	}
	if err := users.AddWithoutSecret("joe"); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if data, err := vfs.ReadFile(m, "users", 100); string(data) != "joe:\n*:\n" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if err := users.SetPassword("joe", "joes-new-pass"); err != nil {
		t.Error(err)
	}
	if _, err := users.Authenticate(t.Context(), "joe", "joes-new-pass"); err != nil {
		t.Error(err)
	}
}

func FuzzUserLine(f *testing.F) {
	for _, seed := range []string{"joe:{PLAIN}x:quota=1G:home=/x", "joe::::::", "joe:{PLAIN}x:1:2:Joe:/home:/sh:userdb_a=b c=d", "joe:{PLAIN}x:1:2:::" +
		":scram=" + keysText(4096, 16), "joe:{SCRAM-SHA-256}" + keysText(4096, 16)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		name := nameOf([]byte(line))
		if name == "" || strings.ContainsAny(line, "\r\n") {
			return
		}
		e := parseLine([]byte(line))
		if e.err != nil {
			return
		}
		printed := printLine(name, e)
		again := parseLine([]byte(printed))
		if again.err != nil || printLine(nameOf([]byte(printed)), again) != printed || again.secret.text != e.secret.text ||
			(again.scram == nil) != (e.scram == nil) || fmt.Sprint(again.fields) != fmt.Sprint(e.fields) {
			t.Fatalf("%q: printed as %q, read as %+v (%v)", line, printed, again, again.err)
		}
	})
}
