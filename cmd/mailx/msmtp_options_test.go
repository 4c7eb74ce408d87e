package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"mailx/man"
)

// argv is the canonical command line of what was read, as that of sendmailLine.
func (l *msmtpLine) argv() []string {
	var args []string
	add := func(is bool, words ...string) {
		if is {
			args = append(args, words...)
		}
	}
	add(l.mode == msmtpVersion, "--version")
	add(l.mode == msmtpHelp, "--help")
	add(l.mode == msmtpPretend, "-P")
	add(l.trace, "-d")
	add(l.readFrom, "--read-envelope-from")
	add(l.file != "", "-C", l.file)
	add(l.account != "", "-a", l.account)
	for _, name := range slices.Sorted(maps.Keys(l.set)) {
		args = append(args, "--"+strings.ReplaceAll(name, "_", "-")+"="+l.set[name])
	}
	plain := l.sendmailLine
	plain.verbose = false
	return append(args, plain.argv()...)
}

func parsedMsmtp(args []string) string {
	l, err := parseMsmtp(args)
	if err != nil {
		return fmt.Sprint(exitCode(err), " ", err)
	}
	return strings.Join(l.argv(), "|")
}

func TestMsmtpOptions(t *testing.T) {
	for _, tt := range []struct{ args, want string }{ // words are separated by |
		{"-t|--read-envelope-from", "--read-envelope-from|-t"},
		{"-a|work|bob@x", "-a|work|--|<bob@x>"},
		{"-awork|--account=home|bob@x", "-a|home|--|<bob@x>"},
		{"-C|/etc/rc|-t", "-C|/etc/rc|-t"},
		{"--file=/etc/rc|--file|/rc|-t", "-C|/rc|-t"},
		{"--read-recipients|--from=a@x|-i", "-t|-i|-f|<a@x>"},
		{"--from|a@x|b@x", "-f|<a@x>|--|<b@x>"},
		{"-f|<>|-Fann|b@x", "-F|ann|-f|<>|--|<b@x>"},
		{"-N|off|-R|headers|b@x", "-R|hdrs|--|<b@x>"},
		{"-N|failure,delay|--dsn-return=full|b@x", "-R|full|-N|failure,delay|--|<b@x>"},
		{"--host=h|--port|2525|--tls|--tls-starttls=off|b@x", "--host=h|--port=2525|--tls=|--tls-starttls=off|--|<b@x>"},
		{"--auth=login|--user=u|--passwordeval=pass x|-d|-ti", "-d|--auth=login|--passwordeval=pass x|--user=u|-t|-i"},
		{"--tls|b@x", "--tls=|--|<b@x>"},
		{"-X|/log|--logfile=/log|-L|tag|-h|3|-O|x=y|-oem|-bm|-B8BITMIME|-m|-n|-G|-U|b@x", "--logfile=/log|-B8BITMIME|--|<b@x>"},
		{"-P", "-P"}, {"--pretend|-a|x", "-P|-a|x"},
		{"-S", "64 -S: asking a server is no part of sending; mailx explain says where an address leads"},
		{"--version", "--version"}, {"--help", "--help"},
		{"--|-odd@x", "--|<-odd@x>"},
		{"", "64 no recipients: name them, or use -t for those in the header"},
		{"-a", "64 option -a needs a value"},
		{"--port", "64 option --port needs a value"},
		{"--account", "64 option --account needs a value"},
		{"--debug=1|b@x", "64 option --debug takes no value"},
		{"--configure=a@x|b@x", "64 unknown option --configure"},
		{"-q|b@x", "64 unknown option -q"},
		{"-bs", "64 -bs: only mail is sent under this name"},
		{"-a|x|--host=h|b@x", "64 either --account or --host"},
		{"--host=a\nb|b@x", "65 --host: line break in the value"},
		{"-f|a\nb|b@x", "65 -f: line break in the value"},
		{"a@x\nb@x", "65 recipient: line break in the value"},
	} {
		if got := parsedMsmtp(words(tt.args)); got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.args, got, tt.want)
		}
	}
}

// FuzzMsmtpOptions: no crash, two exit codes, and what was read is read again from its canonical form.
func FuzzMsmtpOptions(f *testing.F) {
	for _, seed := range []string{"-t|--read-envelope-from", "-a|x|-C|f|--tls=off|b@x", "--host=h|--port|1|-N|off|b", "-P", "-d|-S", "--\x00=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "|")
		l, err := parseMsmtp(args)
		if err != nil {
			if code := exitCode(err); code != exUsage && code != exDataErr || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Fatalf("%q: exit code %d, %q", args, code, err)
			}
			return
		}
		if again := parsedMsmtp(l.argv()); again != strings.Join(l.argv(), "|") {
			t.Fatalf("%q is %q\nagain %q", args, l.argv(), again)
		}
	})
}

// TestMsmtpPage: the page has the options that act.
func TestMsmtpPage(t *testing.T) {
	roff, _, _ := man.Page("msmtp")
	mentioned := optionsIn(plainRoff(roff))
	for _, name := range []string{"-a", "-C", "-d", "-f", "-F", "-i", "-N", "-P", "-R", "-t", "-X", "--read-envelope-from"} {
		if !mentioned[name] {
			t.Errorf("man/mailx-msmtp.1 does not mention %s", name)
		}
	}
	for name := range msmtpLong() {
		if !mentioned["--"+name] {
			t.Errorf("man/mailx-msmtp.1 does not mention --%s", name)
		}
	}
}
