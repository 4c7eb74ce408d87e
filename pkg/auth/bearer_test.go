package auth

import (
	"strings"
	"testing"

	"mailx/pkg/mail"
)

// tokenUsers knows bob's token by a command.
func tokenUsers(t testing.TB) *Users {
	t.Helper()
	_, users := newMem(t, "bob:{PLAIN}hungry:quota=1G\nbad:{SSHA}x\n")
	users.Tokens = NewChecker([]string{"/bin/sh", "-c", `case $(tr '\0' ' ' <&3) in
		"bob good "*) exit 0;; "carl good "*) exit 0;; "bob trouble "*) exit 111;; esac; exit 1`})
	return users
}

func TestBearerDialogs(t *testing.T) {
	users := tokenUsers(t)
	for _, tt := range []struct {
		mech         string
		responses    []string
		want, status string
		user         string
	}{
		{MechOAuthBearer, []string{"n,a=bob,\x01host=h\x01port=25\x01auth=Bearer good\x01\x01"}, "done", "", "bob"},
		{MechOAuthBearer, []string{"-", "n,a=BOB,\x01auth=bearer good\x01\x01"}, "|done", "", "bob"},
		{MechOAuthBearer, []string{"n,a=carl,\x01auth=Bearer good\x01\x01"}, "done", "", "carl"},
		{MechOAuthBearer, []string{"n,a=bob,\x01auth=Bearer bad\x01\x01", "\x01"}, refusedBearer + "|", "5.7.8", ""},
		{MechOAuthBearer, []string{"n,a=nobody,\x01auth=Bearer good\x01\x01", ""}, refusedBearer + "|", "5.7.8", ""},
		{MechOAuthBearer, []string{"n,a=a/b,\x01auth=Bearer good\x01\x01", "\x01"}, refusedBearer + "|", "5.7.8", ""},
		{MechOAuthBearer, []string{"n,a=bob,\x01auth=Bearer bad\x01\x01", "n,a=bob,\x01auth=Bearer good\x01\x01"},
			refusedBearer + "|", "5.7.8", ""},
		{MechOAuthBearer, []string{"n,a=bob,\x01auth=Bearer trouble\x01\x01"}, "", "4.7.0", ""},
		{MechOAuthBearer, []string{"n,a=bad,\x01auth=Bearer good\x01\x01"}, "", "4.7.0", ""},
		{MechOAuthBearer, []string{"n,,\x01auth=Bearer good\x01\x01"}, "", "5.5.2", ""},
		{MechOAuthBearer, []string{"\x01"}, "", "5.5.2", ""},
		{MechOAuthBearer, []string{""}, "", "5.5.2", ""},
		{MechOAuthBearer, []string{strings.Repeat("x", maxResponse+1)}, "", "5.5.6", ""},
		{MechXOAuth2, []string{"user=bob\x01auth=Bearer good\x01\x01"}, "done", "", "bob"},
		{MechXOAuth2, []string{"user=bob\x01auth=Bearer bad\x01\x01", ""}, refusedXOAuth2 + "|", "5.7.8", ""},
		{MechXOAuth2, []string{"n,a=bob,\x01auth=Bearer good\x01\x01"}, "", "5.5.2", ""},
	} {
		s, err := NewServer(t.Context(), tt.mech, Channel{Secure: true}, users)
		if err != nil {
			t.Fatal(err)
		}
		got, status := say(s, tt.responses...)
		if got != tt.want || status != tt.status || s.User().Name != tt.user {
			t.Errorf("%s %.60q: got %q %s user %q, want %q %s user %q",
				tt.mech, tt.responses, got, status, s.User().Name, tt.want, tt.status, tt.user)
		}
	}
}

// Who was refused and cancels instead of hearing so, or hangs up, has guessed all the same.
func TestVerdict(t *testing.T) {
	users := tokenUsers(t)
	s, _ := NewServer(t.Context(), MechXOAuth2, Channel{Secure: true}, users)
	cancelled := mail.Permanentf(5, 0, "cancelled")
	if err := s.Verdict(cancelled); err != error(cancelled) {
		t.Errorf("before the refusal: %v", err)
	}
	s.Next([]byte("user=bob\x01auth=Bearer bad\x01\x01"))
	if err := s.Verdict(cancelled); statusOf(err) != "5.7.8" || s.Claimed() != "bob" {
		t.Errorf("after the refusal of %q: %v", s.Claimed(), err)
	}
	if err := s.Verdict(nil); err != nil {
		t.Errorf("a good end became %v", err)
	}
}

func TestParseBearer(t *testing.T) {
	long := strings.Repeat("t", 9000)
	for _, tt := range []struct{ in, name, token string }{
		{"n,a=bob@x.org,\x01host=h\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
			"bob@x.org", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="}, // RFC 7628 §4.1
		{"y,a=a=2Cb=3D,\x01auth=BEARER  " + long + " \x01\x01", "a,b=", long},
		{"n,a=bob,\x01auth=Bearer a b\x01\x01", "", ""},
		{"n,a=bob,\x01auth=Bearer \x01\x01", "", ""},
		{"n,a=bob,\x01auth=\x01\x01", "", ""},
		{"n,a=bob,\x01auth=Basic x\x01\x01", "", ""},
		{"n,a=bob,\x01auth=Bearer x\x01auth=Bearer y\x01\x01", "", ""},
		{"n,a=bob,\x01auth=Bearer x\x01", "", ""},
		{"n,a=bob,\x01host=h\x01\x01", "", ""},
		{"n,a=bob,\x01x\x01auth=Bearer x\x01\x01", "", ""},
		{"n,a=,\x01auth=Bearer x\x01\x01", "", ""},
		{"n,a=b=x,\x01auth=Bearer x\x01\x01", "", ""},
		{"p=tls-exporter,a=bob,\x01auth=Bearer x\x01\x01", "", ""},
		{"n,a=bob\x01auth=Bearer x\x01\x01", "", ""},
		{"n,a=bob,x\x01auth=Bearer x\x01\x01", "", ""},
		{"n,a=bob,\x01auth=Bearer x\x00\x01\x01", "", ""},
	} {
		name, token, ok := parseBearer(tt.in)
		if ok != (tt.token != "") || ok && (name != tt.name || token != tt.token) {
			t.Errorf("parseBearer(%.60q) = %q, %.20q, %v; want %q, %.20q", tt.in, name, token, ok, tt.name, tt.token)
		}
	}
}

func FuzzBearer(f *testing.F) {
	f.Add("n,a=bob@x.org,\x01host=h\x01port=143\x01auth=Bearer tok==\x01\x01")
	f.Add("user=bob\x01auth=Bearer tok\x01\x01")
	f.Fuzz(func(t *testing.T, text string) {
		for mech, parse := range map[string]func(string) (string, string, bool){
			MechOAuthBearer: parseBearer, MechXOAuth2: parseXOAuth2} {
			name, token, ok := parse(text)
			if !ok {
				continue
			}
			if name == "" || !isToken(token) || strings.Contains(name, "\x00") {
				t.Fatalf("%s %q: name %q, token %q", mech, text, name, token)
			}
			c := &bearerClient{mech: mech, cred: Credentials{User: name, Token: token}}
			_, printed, _ := c.Start()
			if n, tok, ok := parse(string(printed)); !ok || n != name || tok != token {
				t.Fatalf("%s %q: printed as %q, read as %q %q", mech, text, printed, n, tok)
			}
		}
	})
}
