package delivery

import (
	"fmt"
	"testing"

	"mailx/pkg/smtp"
)

func TestDefaultTLS(t *testing.T) {
	names := map[smtp.TLSPolicy]string{smtp.TLSNone: "none", smtp.TLSOpportunistic: "opportunistic",
		smtp.TLSRequired: "required", smtp.TLSVerified: "verified"}
	for url, want := range map[string]string{
		"smtp://mail.example:25":            "opportunistic",
		"smtp://[2001:db8::1]:2525":         "opportunistic",
		"smtp://me@mail.example:25":         "verified",
		"smtp://me%40x.example@m.example:1": "verified",
		"smtp://me@127.0.0.1:26":            "opportunistic",
		"smtp://me@[::1]:26":                "opportunistic",
		"smtp://localhost:26":               "opportunistic",
		"submission://mail.example:587":     "verified",
		"submission://localhost:587":        "verified",
		"smtps://me@mail.example:465":       "verified",
		"submissions://mail.example:465":    "verified",
		"smtps://localhost:465":             "verified",
		"lmtp://mail.example:24":            "opportunistic",
		"lmtp:///run/lmtp.sock":             "none",
	} {
		s := server(t, url)
		if got := names[s.TLS]; got != want || s.String() != url {
			t.Errorf("%s: got %s, TLS %s, want %s", url, s, got, want)
		}
	}
}

func TestServerString(t *testing.T) {
	s := Server{Scheme: "smtp", Host: "x", Port: 25, User: "me"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, s); got != "smtp://me@x:25" {
			t.Errorf("%s: %s", format, got)
		}
	}
	route := Route{Login: passwordOf("secret")}
	if c, err := route.credentials(t.Context(), s); err != nil || c.User != "me" || c.Password != "secret" || c.Host != "x" || c.Port != 25 {
		t.Errorf("credentials: %v, %v", c, err)
	}
}
