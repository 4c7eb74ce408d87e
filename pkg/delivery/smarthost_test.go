package delivery

import (
	"fmt"
	"strings"
	"testing"

	"mailx/pkg/auth"
	"mailx/pkg/smtp"
)

func TestParseServer(t *testing.T) {
	names := map[smtp.TLSPolicy]string{smtp.TLSNone: "none", smtp.TLSOpportunistic: "opportunistic",
		smtp.TLSRequired: "required", smtp.TLSVerified: "verified"}
	tests := []struct{ in, want string }{ // the URL printed, and the policy; or an error
		{"smtp://mail.example", "smtp://mail.example:25 opportunistic"},
		{"mail.example", "smtp://mail.example:25 opportunistic"},
		{"mail.example:2525", "smtp://mail.example:2525 opportunistic"},
		{"[2001:db8::1]:2525", "smtp://[2001:db8::1]:2525 opportunistic"},
		{"smtp://MAIL.Example./", "smtp://mail.example:25 opportunistic"},
		{"smtp://me@mail.example", "smtp://me@mail.example:25 verified"},
		{"smtp://me%40x.example@mail.example:26", "smtp://me%40x.example@mail.example:26 verified"},
		{"smtp://me@127.0.0.1:26", "smtp://me@127.0.0.1:26 opportunistic"},
		{"smtp://me@[::1]:26", "smtp://me@[::1]:26 opportunistic"},
		{"smtp://localhost:26", "smtp://localhost:26 opportunistic"},
		{"submission://mail.example", "submission://mail.example:587 verified"},
		{"smtps://me@mail.example", "smtps://me@mail.example:465 verified"},
		{"submissions://mail.example", "submissions://mail.example:465 verified"},
		{"smtps://localhost", "smtps://localhost:465 verified"},
		{"lmtp://mail.example", "lmtp://mail.example:24 opportunistic"},
		{"lmtp:///run/lmtp.sock", "lmtp:///run/lmtp.sock none"},
		{"lmtp:/run/lmtp.sock", "lmtp:///run/lmtp.sock none"},
		{"smtp://[2001:db8::1]", "smtp://[2001:db8::1]:25 opportunistic"},
		{"", "error"},
		{"smtp://", "error"},
		{"smtp:///path", "error"},
		{"lmtp://", "error"},
		{"http://mail.example", "error"},
		{"smtp://me:secret@mail.example", "error"},
		{"smtp://mail.example/path", "error"},
		{"smtp://mail.example?x=1", "error"},
		{"smtp://mail.example#x", "error"},
		{"smtp://mail.example:0", "error"},
		{"smtp://mail.example:65536", "error"},
		{"smtp://mail.example:x", "error"},
		{"smtp://a b", "error"},
		{"smtp://-x.example", "error"},
		{"smtp://me%0d%0a@mail.example", "error"},
		{"smtp://mail\r\n.example", "error"},
		{"lmtp:///run/%00", "error"},
	}
	for _, test := range tests {
		got := "error"
		s, err := ParseServer(test.in)
		if err == nil {
			got = s.String() + " " + names[s.TLS]
			if again, err := ParseServer(s.String()); err != nil || again != s {
				t.Errorf("%s: prints as %s, which is %v %v", test.in, s, again, err)
			}
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", test.in, err)
		}
		if got != test.want {
			t.Errorf("%s: got %s (%v), want %s", test.in, got, err, test.want)
		}
	}
}

func TestServerHidesSecrets(t *testing.T) {
	s := Server{Scheme: "smtp", Host: "x", User: "me", Credentials: auth.Credentials{Password: "secret"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, s); strings.Contains(got, "secret") {
			t.Errorf("%s: %s", format, got)
		}
	}
	if c := s.credentials(); c.User != "me" || c.Password != "secret" {
		t.Error("credentials lack user or password")
	}
}
