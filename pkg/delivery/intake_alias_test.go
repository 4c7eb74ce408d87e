package delivery

import (
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// What the queue gets is not stored at the moment of DATA, so that nobody judges it as if it were, and again later.
func TestIntakeStores(t *testing.T) {
	router := &Router{Domains: []string{"here.example"}, Root: "/mail", Users: people{"alice", "bob"},
		Aliases: aliasFile(t, "fwd: a@two.example\nmixed: bob, a@two.example\nlist: bob\nowner-list: alice\npipe: |/bin/true\n"+
			"null: /dev/null\nsick: broken\n")}
	in := &Intake{Router: router}
	plain := &mail.Envelope{Sender: address(t, "s@far.example")}
	for _, c := range []struct {
		to   string
		env  *mail.Envelope
		want bool
	}{
		{"alice@here.example", plain, true},
		{"alice@here.example", &mail.Envelope{HoldUntil: time.Now().Add(-time.Hour)}, true},
		{"alice@here.example", &mail.Envelope{HoldUntil: time.Now().Add(time.Hour)}, false},
		{"mixed@here.example", plain, true},
		{"mixed+lmtp@here.example", plain, false},
		{"fwd@here.example", plain, false},
		{"pipe@here.example", plain, false},
		{"null@here.example", plain, false},
		{"list@here.example", plain, false},
		{"list@here.example", &mail.Envelope{}, true}, // the null sender stays
		{"x@far.example", plain, false},
		{"sick@here.example", plain, true}, // in doubt
	} {
		peer := &smtp.Peer{LMTP: strings.Contains(c.to, "+lmtp")}
		if got := in.Stores(peer, c.env, mail.Recipient{Address: address(t, c.to)}); got != c.want {
			t.Errorf("%s, held until %v: got %v, want %v", c.to, c.env.HoldUntil, got, c.want)
		}
	}
}
