package delivery

import (
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// EXPN tells users what an alias stands for, without commands and files, and strangers nothing.
func TestExpand(t *testing.T) {
	in := &Intake{Router: &Router{Domains: []string{"here.example"}, VirtualDomains: []string{"v.example"}, Root: "mail",
		Users: people{"bob", "ann@v.example"}, Aliases: aliasFile(t, "staff: bob, ann@v.example, x@far.example, \"|cat\", /dev/null\nquiet: /dev/null\n")}}
	for _, tt := range []struct {
		user, name, want, status string
	}{
		{"bob", "staff", "bob@here.example ann@v.example x@far.example ", ""},
		{"bob", "staff@here.example", "bob@here.example ann@v.example x@far.example ", ""},
		{"bob", "ann@v.example", "ann@v.example ", ""},
		{"bob", "bob", "bob@here.example ", ""},
		{"bob", "quiet", "", ""},
		{"bob", "x@far.example", "", ""},
		{"bob", "nobody", "", "5.1.1"},
		{"", "staff", "", ""},
		{"", "nobody", "", ""},
	} {
		members, err := in.Expand(&smtp.Peer{User: tt.user}, address(t, tt.name))
		got, status := "", ""
		for _, m := range members {
			got += m.String() + " "
		}
		if err != nil {
			status = mail.StatusOf(err).String()
		}
		if got != tt.want || status != tt.status {
			t.Errorf("%q asks for %s: got %q %s, want %q %s", tt.user, tt.name, got, status, tt.want, tt.status)
		}
	}
}
