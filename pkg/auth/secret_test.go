package auth

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// vectors are of libxcrypt, of the argon2 reference implementation, and of OpenSSL's scrypt.
func vectors() []struct{ text, password string } {
	const bcryptTail = "$04$abcdefghijklmnopqrstuu1Zbm2zGLePX9VTooeg0fAVe2y9a/dMu"
	return []struct{ text, password string }{
		{"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"},
		{"$scrypt$ln=10,r=8,p=4$TmFDbE5hQ2w$D5XD+vHpjgXM6Pi3lBteoOQjF8nsUPYPhRU9w5cz1Is", "password"},
		{"$2a" + bcryptTail, "secret pass"},
		{"$2b" + bcryptTail, "secret pass"},
		{"$2y" + bcryptTail, "secret pass"},
		{"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
			"Hello world!"},
		{"$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/" +
			"YTBmSK6H9qs/y3RnOaw5v.", "Hello world!"},
		{"$6$abcdefgh$v7sYNA18/BerGOYQLppYLyjH4yJilp8kqe/ef3KYMK9hOIdzH1yzcmP74Ay.m51y1jP3QqxM7Jl75S4CxDhBq.", ""},
		{"$6$x$Y6x/cSN4Qy1nE4m11Au0OruaEwCBJvmZ82Cq6gb5.wCo8Mvj2/0slHQq3YNprBL4Nbez4wYXf0anRaba4rlP.0", "pässword"},
		{"$6$rounds=1000$roundstoolow$3MfO3N/H3Ij.6HGuYeEalkAE/5hWxpv93Y3nW6EtsaVtiYtBaGeETMAxsu7ecYmnwBzjaMq7dZXvAjSdaL2bt/",
			strings.Repeat("a", 130)},
		{"{PLAIN}hunter2 $%", "hunter2 $%"},
		{"{plain}x", "x"},
		{"{PLAIN.B64}YTpi", "a:b"},
	}
}

func TestSecretVectors(t *testing.T) {
	for _, v := range vectors() {
		s, err := ParseSecret(v.text)
		if err != nil {
			t.Errorf("ParseSecret(%q): %v", v.text, err)
			continue
		}
		if !s.Verify(v.password) {
			t.Errorf("%q does not fit %q", v.password, v.text)
		}
		for _, wrong := range []string{v.password + "x", "x" + v.password, strings.ToUpper(v.password) + "!", "Password"} {
			if s.Verify(wrong) {
				t.Errorf("%q fits %q", wrong, v.text)
			}
		}
		if s.Encode() != v.text {
			t.Errorf("Encode: got %q, want %q", s.Encode(), v.text)
		}
	}
}

func TestParseSecretErrors(t *testing.T) {
	const salt, sum = "c29tZXNhbHQ", "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	const crypt = "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNJnjQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
	for _, text := range []string{
		"", "*", "!", "x", "plain", "{PLAIN}", "{PLAIN.B64}", "{PLAIN.B64}!!", "{SSHA}abcd", "{", "}", "$", "$$", "$1$salt$hash", "$6",
		"$argon2i$v=19$m=256,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=16$m=256,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$m=256,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$t=2,m=256,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=256,t=2$" + salt + "$" + sum,
		"$argon2id$v=19$m=7,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=127,t=2,p=16$" + salt + "$" + sum,
		"$argon2id$v=19$m=1048577,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=256,t=0,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=256,t=101,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=256,t=2,p=0$" + salt + "$" + sum,
		"$argon2id$v=19$m=256,t=2,p=17$" + salt + "$" + sum,
		"$argon2id$v=19$m=-1,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=256,t=2,p=1$c2FsdA$" + sum,
		"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$c29tZXNhbHQ",
		"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + sum + "$",
		"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + sum + "=",
		"$scrypt$ln=0,r=8,p=1$" + salt + "$" + sum, "$scrypt$ln=21,r=8,p=1$" + salt + "$" + sum,
		"$scrypt$ln=20,r=9,p=1$" + salt + "$" + sum, "$scrypt$ln=10,r=0,p=1$" + salt + "$" + sum,
		"$scrypt$ln=10,r=33,p=1$" + salt + "$" + sum, "$scrypt$ln=10,r=8,p=17$" + salt + "$" + sum,
		"$2b$19$abcdefghijklmnopqrstuu1Zbm2zGLePX9VTooeg0fAVe2y9a/dMu", "$2b$04$short",
		"$6$salt$" + crypt[:85], "$6$salt$" + crypt[:85] + "!", "$6$" + strings.Repeat("s", 17) + "$" + crypt,
		"$6$rounds=999$salt$" + crypt, "$6$rounds=1000001$salt$" + crypt, "$6$rounds=x$salt$" + crypt,
	} {
		s, err := ParseSecret(text)
		if err == nil {
			t.Errorf("ParseSecret(%q) took it", text)
		}
		if s.Verify("") || (err != nil && len(text) > 4 && strings.Contains(err.Error(), text)) {
			t.Errorf("ParseSecret(%q): fits, or tells: %v", text, err)
		}
	}
}

func TestNewSecret(t *testing.T) {
	s := NewSecret("correct horse")
	again, err := ParseSecret(s.Encode())
	if err != nil || !again.Verify("correct horse") || again.Verify("correct horse ") {
		t.Errorf("%q: %v", s.Encode(), err)
	}
	if s.Encode() == NewSecret("correct horse").Encode() {
		t.Error("two secrets share a salt")
	}
	if d := decoy(); d.check == nil || len(d.Encode()) != len(s.Encode()) || d.Verify("") {
		t.Errorf("decoy %q", d.Encode())
	}
}

// The same password, typed on a Mac (decomposed) and elsewhere, is the same.
func TestPrepare(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "pa\u0308ss": "p\u00e4ss", "a\u00a0b": "a b", "a\u00adb": "ab", "\u2168": "IX", "\xff\xfe": "\xff\xfe",
	} {
		if got := prepare(in); got != want {
			t.Errorf("prepare(%+q) = %+q, want %+q", in, got, want)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	for password, ok := range map[string]bool{
		"1234567": false, "12345678": true, "passwört": true, "pass\nword": false, "pass\x00word": false, "password\xff": false,
		"pass\u0085word":                   false,
		strings.Repeat("x", MaxPassword):   true,
		strings.Repeat("x", MaxPassword+1): false,
	} {
		err := CheckPassword(password)
		if (err == nil) != ok {
			t.Errorf("CheckPassword(%.20q) = %v", password, err)
		}
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("%v tells the password", err)
		}
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	plain, err := ParseSecret("{PLAIN}hunter2")
	if err != nil {
		t.Fatal(err)
	}
	keys := deriveScram("hunter2", []byte("saltsalt"), minIterations)
	for _, v := range []any{plain, &plain, keys, &keys, Credentials{User: "joe", Password: "hunter2", Token: "hunter2"}} {
		var b strings.Builder
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		if s := b.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "68756e74657232") {
			t.Errorf("%T: %s", v, s)
		}
	}
}

func TestCanonicalName(t *testing.T) {
	for in, want := range map[string]string{
		"joe": "joe", "Joe@Example.ORG": "joe@example.org", "jürgen": "jürgen", "JÜRGEN": "jürgen", "a.b": "a.b", "a..b": "", "x+y_z-1": "x+y_z-1",
		"": "", "*": "", ".": "", "..": "", ".hidden": "", "#c": "", "a/b": "", "a:b": "", "a b": "", " a": "", "a\t": "", "a\x00": "", "a\n": "",
		"a\x7f": "", "a\u0085": "", "a\u00a0b": "", "a\u202eb": "", "\xff": "", "a\u200bb": "",
		strings.Repeat("x", 255): strings.Repeat("x", 255), strings.Repeat("x", 256): "",
	} {
		got, err := CanonicalName(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("CanonicalName(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	for _, v := range vectors() {
		f.Add(v.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSecret(text); err == nil && (s.Encode() != text || s.check == nil) {
			t.Fatalf("ParseSecret(%q) = %q", text, s.Encode())
		}
	})
}

func FuzzParseScramKeys(f *testing.F) {
	f.Add(deriveScram("x", []byte("saltsalt"), minIterations).Encode())
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseScramKeys(text)
		if err != nil {
			return
		}
		if again, err := ParseScramKeys(k.Encode()); err != nil || again.Encode() != k.Encode() {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func FuzzCanonicalName(f *testing.F) {
	f.Add("Joe@Example.org")
	f.Add("İ")
	f.Fuzz(func(t *testing.T, name string) {
		got, err := CanonicalName(name)
		if err != nil {
			return
		}
		if again, err := CanonicalName(got); err != nil || again != got || nameOf([]byte(got+":x\n")) != got {
			t.Fatalf("CanonicalName(%q) = %q, then %q, %v", name, got, again, err)
		}
	})
}
