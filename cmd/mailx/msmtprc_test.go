package main

import (
	"fmt"
	"strings"
	"testing"

	"mailx/pkg/config"
	"mailx/pkg/mail"
)

const someMsmtprc = `# a comment
defaults
tls on
	port	587
auth on

account work
host mail.work.example
from ann@work.example
user "ann@work"
passwordeval "pass show work"

account news : work
from *@news.example
user news
account lists: work, news
host [::1]
from ann+lists@[abc].example
account plain
host plain.example
auth off
tls off
port 25
account implicit
host secure.example
port 465
tls_starttls off
auth off
account default : work
`

func TestMsmtprc(t *testing.T) {
	accounts, err := readMsmtprc(strings.NewReader(someMsmtprc))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range accounts {
		server, err := a.server()
		account := &config.Account{}
		a.login(account)
		got = append(got, fmt.Sprint(a.name, " ", server, " ", account.Password, " ", a.from(), " ", err))
	}
	want := []string{
		"work submission://ann%40work@mail.work.example:587 command sh ann@work.example <nil>",
		"news submission://news@mail.work.example:587 command sh *@news.example <nil>",
		"lists  command sh ann+lists@[abc].example not a URL such as smtp://user@host:port",
		"plain smtp://plain.example:25 none  <nil>",
		"implicit smtps://secure.example:465 none  <nil>",
		"default submission://ann%40work@mail.work.example:587 command sh ann@work.example <nil>",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMsmtprcErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"host h\nfrob x", "line 2: unknown command frob"},
		{"account", "line 1: an account needs a name"},
		{"account a b", "line 1: an account needs a name"},
		{"account a\naccount a", "line 2: account a is there already"},
		{"account a : b", "line 1: account b is not there (yet)"},
		{"account a\neval echo host h", "line 2: eval is not supported; for a password there is passwordeval"},
		{"\x1b[31m", `line 1: unknown command \x1b[31m`},
		{strings.Repeat("x", 1<<17), "bufio.Scanner: token too long"},
	} {
		if _, err := readMsmtprc(strings.NewReader(tt.text)); err == nil || err.Error() != tt.want {
			t.Errorf("%.20q: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestMsmtpAccountFrom(t *testing.T) {
	accounts, _ := readMsmtprc(strings.NewReader(someMsmtprc))
	for address, want := range map[string]string{
		"ann@work.example": "work", "ANN@Work.example": "work", "ann+x@work.example": "work", "bob@work.example": "",
		"x@news.example": "news", "ann+lists@b.example": "lists", "ann+lists@d.example": "", "ann": "",
	} {
		sender, err := mail.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		if a, found := accountFrom(accounts, sender); a.name != want || found != (want != "") {
			t.Errorf("%s: got %q, want %q", address, a.name, want)
		}
	}
}

// TestMsmtpAccountServer: where each of the ways to write an account leads. The ports are those of msmtp.
func TestMsmtpAccountServer(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"host h.example", "smtp://h.example:25"},
		{"host h.example\ntls on", "submission://h.example:25"},
		{"host h.example\ntls", "submission://h.example:25"},
		{"host h.example\ntls on\ntls_starttls off", "smtps://h.example:465"},
		{"host h.example\ntls on\ntls_nostarttls", "smtps://h.example:465"},
		{"host h.example\nprotocol lmtp\nport 2003", "lmtp://h.example:2003"},
		{"socket /run/lmtp\nprotocol lmtp", "lmtp:///run/lmtp"},
		{"host ::1\nport 2525", "smtp://[::1]:2525"},
		{"host h.example\nauth\nuser me", "smtp://me@h.example:25"},
		{"host h.example\nauth plain", "auth needs a user"},
		{"host h.example\nauth off\nuser me", "smtp://h.example:25"},
		{"port 25", "the URL has no host"},
		{"host h.example\nport x", "not a URL such as smtp://user@host:port"},
		{"host h.example\nproxy_host 127.0.0.1", "proxy_host is not supported"},
		{"host h.example\ntls on\ntls_certcheck off", "tls_certcheck off without tls_fingerprint is not supported"},
		{"host h.example\ntls off\ntls_certcheck off", "smtp://h.example:25"},
		{"host h.example\ntls on\ntls_fingerprint 00:11", "tls_fingerprint: "},
		{"host h.example\ntls on\ntls_certcheck off\ntls_fingerprint " + strings.Repeat("0a", 32), "submission://h.example:25 " + strings.Repeat("0a", 32)},
		{"host h.example\nsource_ip 192.0.2.x", "source_ip: \"192.0.2.x\" is no IP address"},
		{"host h.example\nauth scram-sha-256\nuser me", "smtp://me@h.example:25  SCRAM-SHA-256"},
		{"host h.example\nauth oauthbearer\nuser me\npasswordeval token", "smtp://me@h.example:25  OAUTHBEARER [sh -c token]"},
		{"host h.example\nauth xoauth2\nuser me\npassword x", "auth xoauth2 needs a passwordeval that prints the token"},
		{"host h.example\nundisclosed_recipients on", "undisclosed_recipients is not supported"},
		{"socket /run/x", "the URL has no host"},
		{"host h.example\nsocket /run/x", "socket without protocol lmtp is not supported"},
	} {
		accounts, err := readMsmtprc(strings.NewReader("account a\n" + tt.text))
		if err != nil {
			t.Fatal(err)
		}
		cfg := &config.Config{Accounts: map[string]*config.Account{}}
		got, err := accounts[0].apply(cfg)
		if err != nil {
			got = err.Error()
		} else {
			account := cfg.Accounts[got]
			got = strings.TrimSpace(fmt.Sprintln(account.Smarthost[0], strings.Join(account.Fingerprints, ""), account.Mechanism, account.TokenCommand))
			got = strings.TrimSpace(strings.TrimSuffix(got, "[]"))
		}
		if got != tt.want && !strings.HasPrefix(got, "account a: "+tt.want) {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
		}
	}
}

// FuzzMsmtprc: no file is a crash or takes long, and each account has its name once.
func FuzzMsmtprc(f *testing.F) {
	f.Add(someMsmtprc)
	f.Add("account a\nhost \"\naccount b:a\n\tfrom [\n")
	f.Fuzz(func(t *testing.T, text string) {
		accounts, err := readMsmtprc(strings.NewReader(text))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Fatalf("%q: %q", text, err)
			}
			return
		}
		names := map[string]bool{}
		for _, a := range accounts {
			if names[a.name] || a.name == "" {
				t.Fatalf("%q: %q twice or empty", text, a.name)
			}
			names[a.name] = true
			a.apply(&config.Config{Accounts: map[string]*config.Account{}})
			a.sender()
		}
		accountFrom(accounts, mail.Address{Local: "a+b", Domain: "x.example"})
	})
}
