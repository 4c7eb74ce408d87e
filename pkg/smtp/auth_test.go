package smtp

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
)

// Offers says that bob has tokens too.
func (bobOnly) Offers(string) bool { return true }

// AuthenticateToken knows bob's token, which is sunny; about others whose token is cloudy nobody can tell.
func (bobOnly) AuthenticateToken(_ context.Context, name, token string) (auth.User, error) {
	switch {
	case token == "cloudy":
		return auth.User{}, mail.Temporaryf(7, 0, "Temporary authentication failure")
	case name != "bob" || token != "sunny":
		return auth.User{}, mail.Permanentf(7, 8, "Authentication credentials invalid")
	}
	return auth.User{Name: name}, nil
}

// The log knows who has logged in and who has not, and why nobody can; never a password.
func TestLoginsAreLogged(t *testing.T) {
	var log strings.Builder
	srv := frozen(&memory{})
	srv.Auth, srv.InsecureAuth = bobOnly{}, true
	srv.Log = slog.New(slog.NewTextHandler(&log, nil))
	plain := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	converse(srv, "EHLO x\r\nAUTH PLAIN "+plain("\x00eve\x00secret1")+"\r\nAUTH OAUTHBEARER "+plain("n,a=bob,\x01auth=Bearer cloudy\x01\x01")+
		"\r\nAUTH PLAIN "+plain("\x00bob\x00hungry")+"\r\nQUIT\r\n", 1000)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	want := []string{`level=WARN msg="login failed" user=eve peer=`, `level=ERROR msg="smtp: logins can't be checked" error="4.7.0 `,
		`level=INFO msg="smtp: login" user=bob tls=false peer=`}
	if len(lines) != len(want) {
		t.Fatalf("logged\n%s", log.String())
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) {
			t.Errorf("logged %q, want %q in it", line, want[i])
		}
	}
	for _, secret := range []string{"secret1", "hungry", "cloudy"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}
