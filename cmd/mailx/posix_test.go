package main

import (
	"slices"
	"strings"
	"testing"
)

func TestPosixSend(t *testing.T) {
	isFile := func(name string) bool { return name == "report.pdf" || name == "a b" }
	for _, tt := range []struct{ args, want string }{ // words are separated by |
		{"-s|disk full|ops@example.com", "send|--subject=disk full|--|ops@example.com"},
		{"-s|SUBJ|addr1|addr2", "send|--subject=SUBJ|--|addr1|addr2"},
		{"-sSUBJ|root", "send|--subject=SUBJ|--|root"},
		{"root|-s|S", "send|--subject=S|--|root"},
		{"-r|root|-s|S|to", "send|--from=root|--subject=S|--|to"},
		{"-c|a@x|-b|b@x|to", "send|--cc=a@x|--bcc=b@x|--|to"},
		{"-a|From: M|-s|S|to", "send|--header=From: M|--subject=S|--|to"},
		{"-a|MIME-Version: 1.0|-a|X-Empty:|to", "send|--header=MIME-Version: 1.0|--header=X-Empty:|--|to"},
		{"-s|S|-A|report.pdf|to", "send|--subject=S|--attach=report.pdf|--|to"},
		{"-s|S|-a|report.pdf|to", "send|--subject=S|--attach=report.pdf|--|to"},
		{"-A|work|to", "send|--account=work|--|to"},
		{"-a|nothing|to", `-a "nothing" is neither a header (Name: value) nor a file`},
		{"-a|C:\\x|to", `-a "C:\\x" is neither a header (Name: value) nor a file`},
		{"--attach|x|--account=y|to", "send|--attach=x|--account=y|--|to"},
		{"-E|set escape|-s|[Fail2Ban] x|dest", "send|--skip-empty|--subject=[Fail2Ban] x|--|dest"},
		{"-E|-s|S|dest", "send|--skip-empty|--subject=S|--|dest"},
		{"-S|from=a@x|-S|sendwait|to", "send|--from=a@x|--|to"},
		{"-in|-vs|S|to", "send|--verbose|--subject=S|--|to"},
		{"-t", "send|--from-header|--"},
		{"-t|to", "send|--from-header|--|to"},
		{"-S|smtp=mail.example.org:587|-S|mta=/usr/sbin/sendmail|to", "send|--server=mail.example.org:587|--|to"},
		{"-S|mta=submission://me@mail.example.org|-S|from=|to", "send|--server=submission://me@mail.example.org|--|to"},
		{"-s|S|--|-odd@x", "send|--subject=S|--|-odd@x"},
		{"-s||to", "send|--subject=|--|to"},
		{"-s|S", "no recipients"},
		{"-s", "option -s needs a value"},
		{"-Z|to", "unknown option -Z"},
		{"--nonsense|to", "unknown option --nonsense"},
		{"--attach", "option --attach needs a value"},
	} {
		words, err := posixSend(strings.Split(tt.args, "|"), isFile)
		got := strings.Join(words, "|")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.args, got, tt.want)
		}
	}
}

func TestPersonality(t *testing.T) {
	for _, tt := range []struct{ argv, want string }{
		{"mailx", ""},
		{"mailx send u", "send u"},
		{"/usr/bin/mailx --config f list", "--config f list"},
		{"mailx --help", "--help"},
		{"mailx -h", "-h"},
		{"mailx -s S u", "send --subject=S -- u"},
		{"mailx u@example.org", "send -- u@example.org"},
		{"mailx -- root", "send -- root"},
		{"mailx --attach f u", "send --attach=f -- u"},
		{"/usr/bin/mail root", "send -- root"},
		{"Mail -s send list", "send --subject=send -- list"},
		{"mailx root", "root"}, // a verb, if there is one
	} {
		words, err := personality(strings.Fields(tt.argv))
		if !slices.Equal(words, strings.Fields(tt.want)) || err != nil {
			t.Errorf("%q: got %q, %v; want %q", tt.argv, words, err, tt.want)
		}
	}
}
