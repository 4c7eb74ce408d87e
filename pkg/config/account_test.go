package config

import (
	"slices"
	"strings"
	"testing"
)

// TestAccountOf: the account that names a sender most closely is his.
func TestAccountOf(t *testing.T) {
	dir := world(t, map[string]string{"config.toml": `
[account.work]
smarthost = "submission://me@smtp.work.example"
from = ["me@work.example", "*@work.example"]
[account.lists]
smarthost = "smtps://me@lists.example"
from = ["me+*@work.example", "*@*.lists.example"]
[account.mailbox]
url = "imaps://me@work.example"
[account.spare]
smarthost = "smtps://spare.example"
`})
	c := load(t, Sources{File: dir + "/config.toml"})
	for sender, want := range map[string]string{
		"me@work.example": "work", "ME@Work.Example": "work", "you@work.example": "work", "me+go@work.example": "lists",
		"x@a.lists.example": "lists", "x@lists.example": "", "x@work.example.org": "", "": "", "me": "", "work.example": "",
	} {
		if got := c.AccountOf(sender); got != want {
			t.Errorf("%q: got %q, want %q", sender, got, want)
		}
	}
	if got := strings.Join(c.Senders(), " "); got != "lists spare work" {
		t.Errorf("senders: %s", got)
	}
	if got := strings.Join(c.Mailboxes(), " "); got != "mailbox" {
		t.Errorf("mailboxes: %s", got)
	}
	if got := c.Accounts["work"].Address(); got != "me@work.example" {
		t.Errorf("address %s", got)
	}
	if got := c.Accounts["lists"].Address(); got != "" {
		t.Errorf("address %s", got)
	}
}

func TestMatchStars(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"*", "", true}, {"*", "x", true}, {"a*", "a", true}, {"a*a", "a", false},
		{"a*a", "aa", true}, {"*@x", "me@x", true}, {"*@x", "me@xx", false}, {"a*b*c", "abc", true}, {"a*b*c", "axxbxxc", true},
		{"a*b*c", "acb", false}, {"**", "x", true}, {"*b*b*", "b", false},
	} {
		if got := matchStars(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q in %q: got %v", tt.text, tt.pattern, got)
		}
	}
}

// TestBadAccounts has what can't be meant.
func TestBadAccounts(t *testing.T) {
	for text, want := range map[string]string{
		"[account.a]\ninto = 'x'\n":                                                                    "needs a url such as",
		"[account.a]\nurl = 'imap://me@h'\nfrom = 'me@x.example'\n":                                    "it has none",
		"[account.a]\nsmarthost = 'h'\nfrom = 'me'\n":                                                  "senders are addresses",
		"[account.a]\nsmarthost = 'h'\nfrom = '*@x.example'\nrewrite_from = true\n":                    "has no *",
		"[account.a]\nsmarthost = 'h'\ntls = 'maybe'\n":                                                "allowed are",
		"[account.a]\nsmarthost = 'imap://h'\n":                                                        "allowed are smtp://",
		"[account.a]\nsmarthost = 'h'\nfrom = 'm@x.org'\n[account.b]\nsmarthost='h'\nfrom = 'm@x.org'": "account a has it too",
		"rewrite_from = true\n":                                                                        "needs an address in from",
		"password_file = 'p'\ntoken_command = ['t']\n":                                                 "not both",
		"[account.a]\nsmarthost = 'h'\nfrom = 'All <*@x.example>'\n":                                   "without *",
		"[account.a]\nsmarthost = 'h'\nfrom = 'A, B <a@x.example>'\n":                                  "in double quotes",
		"[account.a]\nsmarthost='h'\nfrom='A <m@x.org>'\n[account.b]\nsmarthost='h'\nfrom='m@x.org'":   "account a has it too",
		"[account.a]\nsmarthost = 'h'\nfrom = ['a@b..c']\n":                                            "a domain is names",
	} {
		dir := world(t, map[string]string{"config.toml": text})
		if _, err := Load(Sources{File: dir + "/config.toml"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// TestAccountAddresses: what stands for itself is the user's; patterns and bare logins are not.
func TestAccountAddresses(t *testing.T) {
	dir := world(t, map[string]string{"config.toml": `
[account.work]
smarthost = 'w.example'
from = ['*@work.example', 'Me at Work <Me@work.example>']
[account.box]
url = 'imaps://me%40box.example@box.example'
[account.login]
url = 'pop3s://me@old.example'
`})
	c := load(t, Sources{File: dir + "/config.toml"})
	got := c.AccountAddresses()
	if want := []string{"me@box.example", "Me at Work <Me@work.example>"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	work := c.Accounts["work"]
	if work.Address() != "Me@work.example" || work.Mailbox() != "Me at Work <Me@work.example>" || c.AccountOf("me@WORK.example") != "work" ||
		work.Takes("Me at Work <Me@work.example>") {
		t.Errorf("work: %q of %q, takes %v", work.Address(), work.Mailbox(), c.AccountOf("me@WORK.example"))
	}
}
