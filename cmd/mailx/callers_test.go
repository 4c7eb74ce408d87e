package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// call is how a program that is not ours calls us, and what is made of it. Words are separated by |.
type call struct{ row, caller, argv, want string }

// calls is the callers' table: every row of it has its number, several if it is called in several ways. What is delivered,
// printed and given back in each row is in testdata/script, under the same numbers.
func calls() []call {
	return slices.Concat(sendmailCalls(), mailCalls(), []call{
		{"T55", "mutt", "mutt|-s|S|-a|f1|f2|--|to@x", "mutt-compat|--subject=S|--attach=f1|--attach=f2|--|to@x"},
		{"T55", "mutt-compat", "mailx|mutt-compat|-s|S|-a|f1|f2|--|to@x", "mutt-compat|--subject=S|--attach=f1|--attach=f2|--|to@x"},
		{"T56", "mutt and git with msmtp", "msmtp|-t|--read-envelope-from", "msmtp|--read-envelope-from|-t"},
		{"T56", "with an account", "/usr/bin/msmtp|-a|acct|addr@x", "msmtp|-a|acct|--|<addr@x>"},
		{"T56", "with a file", "msmtp|-C|f|addr@x", "msmtp|-C|f|--|<addr@x>"},
		{"T56", "with all it has", "msmtp|-d|-P|-X|log|-N|failure|-R|hdrs|--host=h|--port|25|--from=a@x|--tls|addr@x",
			"msmtp|-P|-d|--host=h|--port=25|--tls=|-R|hdrs|-N|failure|-f|<a@x>|--|<addr@x>"},
		{"T57", "msmtp with an environment", "msmtp|b@y", "msmtp|--|<b@y>"},
	})
}

func sendmailCalls() []call {
	const nobody = "64 no recipients: name them, or use -t for those in the header"
	return []call{
		{"T01", "Debian cron", "sendmail|-FCronDaemon|-i|-B8BITMIME|-oem|root", "sendmail|-i|-B8BITMIME|-F|CronDaemon|--|<root>"},
		{"T02", "cronie", "sendmail|-FCronDaemon|-i|-odi|-oem|-oi|-t|-f|root", "sendmail|-t|-i|-F|CronDaemon|-f|<root>"},
		{"T03", "vixie-cron", "sendmail|-FCronDaemon|-odi|-oem|-oi|-t", "sendmail|-t|-i|-F|CronDaemon"},
		{"T03", "older vixie-cron", "sendmail|-FCronDaemon|-odi|-oem|-or0s|-oi|-t", "sendmail|-t|-i|-F|CronDaemon"},
		{"T04", "anacron", "sendmail|-FAnacron|-odi|root", "sendmail|-F|Anacron|--|<root>"},
		{"T05", "atd", "sendmail|-i|user", "sendmail|-i|--|<user>"},
		{"T06", "systemd-cron", "sendmail|-i|-B8BITMIME|mailto", "sendmail|-i|-B8BITMIME|--|<mailto>"},
		{"T07", "busybox crond", "sendmail|-ti", "sendmail|-t|-i"},
		{"T08", "mdadm", "sendmail|-t", "sendmail|-t"},
		{"T09", "mdadm with MAILFROM", "sendmail|-t|-froot@example.org", "sendmail|-t|-f|<root@example.org>"},
		{"T10", "sudo", "/usr/sbin/sendmail|-t", "sendmail|-t"},
		{"T12", "unattended-upgrades", "/usr/sbin/sendmail|-oi|-t", "sendmail|-t|-i"},
		{"T13", "apt-listchanges", "/usr/sbin/sendmail|-oi|-t", "sendmail|-t|-i"},
		{"T14", "cron-apt", "sendmail|-t|-oi", "sendmail|-t|-i"},
		{"T15", "popularity-contest", "sendmail|-oi|-f|from@x|to@a|to@b", "sendmail|-i|-f|<from@x>|--|<to@a>|<to@b>"},
		{"T16", "rkhunter", "sendmail|root@example.org", "sendmail|--|<root@example.org>"},
		{"T17", "fail2ban", "sendmail|-f|<fail2ban@h>|root", "sendmail|-f|<fail2ban@h>|--|<root>"},
		{"T17", "fail2ban without a domain", "sendmail|-f|fail2ban|root", "sendmail|-f|<fail2ban>|--|<root>"},
		{"T20", "git send-email", "sendmail|-i|a@x|b@y|c@z", "sendmail|-i|--|<a@x>|<b@y>|<c@z>"},
		{"T20", "git with a sender", "sendmail|-f|dev@x|-i|a@x", "sendmail|-i|-f|<dev@x>|--|<a@x>"},
		{"T21", "git with sendmailCmd", "mailx|sendmail|-i|a@x|b@y", "sendmail|-i|--|<a@x>|<b@y>"},
		{"T22", "git by path", "/opt/bin/mailx-sendmail|-i|a@x", "sendmail|-i|--|<a@x>"},
		{"T23", "PHP", "/usr/sbin/sendmail|-t|-i", "sendmail|-t|-i"},
		{"T25", "PHPMailer", "sendmail|-oi|-fsender@x|-t", "sendmail|-t|-i|-f|<sender@x>"},
		{"T26", "Symfony", "/usr/sbin/sendmail|-bs", "sendmail|-bs"},
		{"T27", "Symfony with -t", "sendmail|-fx@y|--|a|b", "sendmail|-f|<x@y>|--|<a>|<b>"},
		{"T27", "addresses that look like options", "sendmail|-fx@y|--|-odd@x|-t", "sendmail|-f|<x@y>|--|<-odd@x>|<-t>"},
		{"T29", "Ruby", "sendmail|-i|-f|x|--|a|b", "sendmail|-i|-f|<x>|--|<a>|<b>"},
		{"T30", "mutt", "/usr/sbin/sendmail|-oem|-oi|-f|a@x|-N|failure,delay|-R|hdrs|-B8BITMIME|--|r@x",
			"sendmail|-i|-B8BITMIME|-R|hdrs|-N|failure,delay|-f|<a@x>|--|<r@x>"},
		{"T30", "mutt by default", "/usr/sbin/sendmail|-oem|-oi|--|r@x", "sendmail|-i|--|<r@x>"},
		{"T31", "s-nail", "sendmail|-i|-f|x@y|-F|A B|--|r@x", "sendmail|-i|-F|A B|-f|<x@y>|--|<r@x>"},
		{"T31", "s-nail by default", "sendmail|-i|--|r@x", "sendmail|-i|--|<r@x>"},
		{"T32", "mailutils", "sendmail|-oi|-f|user@host|-t", "sendmail|-t|-i|-f|<user@host>"},
		{"T33", "fetchmail", "sendmail|-i|-f|from@x|--|bob", "sendmail|-i|-f|<from@x>|--|<bob>"},
		{"T35", "mblaze", "sendmail|-t", "sendmail|-t"},
		{"T36", "ppp", "sendmail|-q", "sendmail|-q"},
		{"T36", "an interval", "sendmail|-q30m", "sendmail|-q|-q30m"},
		{"T36", "an interval apart", "sendmail|-q|1h", "sendmail|-q|-q30m"},
		{"T37", "administrators", "sendmail|-bp", "sendmail|-bp"},
		{"T37", "mailq", "/usr/bin/mailq", "sendmail|-bp"},
		{"T37", "mailq as JSON", "mailq|--json", "sendmail|-bp|--json"},
		{"T38", "newaliases", "/usr/bin/newaliases", "sendmail|-bi"},
		{"T38", "packages", "sendmail|-bi", "sendmail|-bi"},
		{"T38", "older packages", "sendmail|-I", "sendmail|-bi"},
		{"T39", "an empty sender", "sendmail|-f||to@x", "sendmail|-f|<>|--|<to@x>"},
		{"T39", "nullmailer", "sendmail|-f|<>|to@x", "sendmail|-f|<>|--|<to@x>"},
		{"T39", "glued", "sendmail|-f<>|to@x", "sendmail|-f|<>|--|<to@x>"},
		{"T40", "commas", "sendmail|a@x,|b@y|c@x, d@y", "sendmail|--|<a@x>|<b@y>|<c@x>|<d@y>"},
		{"T40", "a line break", "sendmail|a@x\nb@y", "65 recipient: line break in the value"},
		{"T59", "nobody", "sendmail", nobody},
		{"T59", "options alone", "sendmail|-i|-f|a@x", nobody},
		{"T60", "nobody in the header, which is seen later", "sendmail|-t", "sendmail|-t"},
	}
}

func mailCalls() []call {
	return []call{
		{"T41", "smartd", "mail|-s|SUBJ|addr1|addr2", "send|--subject=SUBJ|--|addr1|addr2"},
		{"T42", "unattended-upgrades", "/usr/bin/mail|-r|root|-s|S|to", "send|--from=root|--subject=S|--|to"},
		{"T44", "apticron", "mailx|-a|MIME-Version: 1.0|-a|Content-type: text/plain; charset=UTF-8|-a|Content-transfer-encoding: 8bit|-a|From: F|-s|S|a",
			"send|--header=MIME-Version: 1.0|--header=Content-type: text/plain; charset=UTF-8|--header=Content-transfer-encoding: 8bit|--header=From: F|--subject=S|--|a"},
		{"T45", "fail2ban", "mail|-E|set escape|-s|[Fail2Ban] x|dest", "send|--skip-empty|--subject=[Fail2Ban] x|--|dest"},
		{"T46", "chkrootkit, aide", "mail|-s|S|root@example.org", "send|--subject=S|--|root@example.org"},
		{"T48", "icinga2 on Debian", "mail|-a|From: M|-s|S|to", "send|--header=From: M|--subject=S|--|to"},
		{"T48", "icinga2 elsewhere", "mail|-r|M|-s|S|to", "send|--from=M|--subject=S|--|to"},
		{"T50", "periodic", "mail|-s|host daily run output|root", "send|--subject=host daily run output|--|root"},
		{"T51", "mailutils", "mail|-s|S|-A|report.pdf|to", "send|--subject=S|--attach=report.pdf|--|to"},
		{"T51", "s-nail", "mail|-s|S|-a|report.pdf|to", "send|--subject=S|--attach=report.pdf|--|to"},
		{"T53", "is there mail", "mail|-e", "list|--quiet"},
		{"T53", "what mail is there", "mail|-H", "list|--summary"},
		{"T53", "under the name mailx", "mailx|-H", "list|--summary"},
	}
}

// calledAs reads a command line whole, from argv[0], and gives what its parser made of it in canonical form, or exit code
// and message.
func calledAs(argv []string) string {
	args, err := personality(argv)
	if err != nil {
		return "64 " + err.Error()
	}
	read, got := map[string]func([]string) string{
		"sendmail": parsed, "msmtp": parsedMsmtp, "mutt-compat": func(args []string) string { return muttText(strings.Join(args, "|")) },
	}[args[0]], strings.Join(args[1:], "|")
	if read != nil {
		got = read(args[1:])
	}
	if strings.HasPrefix(got, "6") {
		return got
	}
	return strings.Trim(args[0]+"|"+got, "|")
}

func TestCallers(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("report.pdf", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range calls() {
		if got := calledAs(words(c.argv)); got != c.want {
			t.Errorf("%s %s: %q:\n got %q\nwant %q", c.row, c.caller, c.argv, got, c.want)
		}
	}
}

// callerRows are the rows that there are.
const callerRows = `T01 T02 T03 T04 T05 T06 T07 T08 T09 T10 T12 T13 T14 T15 T16 T17 T20 T21 T22 T23 T25 T26 T27 T29 T30 T31 T32 T33 T35 T36
	T37 T38 T39 T40 T41 T42 T44 T45 T46 T48 T50 T51 T53 T55 T56 T57 T59 T60`

// TestCallersAreComplete: each row is in the table, and each is run by a script under a comment with its number.
func TestCallersAreComplete(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]bool{}
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, comment := range regexp.MustCompile(`(?m)^# .*`).FindAllString(string(text), -1) {
			for _, row := range regexp.MustCompile(`\bT\d\d\b`).FindAllString(comment, -1) {
				run[row] = true
			}
		}
	}
	for row := range strings.FieldsSeq(callerRows) {
		if !slices.ContainsFunc(calls(), func(c call) bool { return c.row == row }) {
			t.Errorf("%s is not in the table", row)
		}
		if !run[row] {
			t.Errorf("no script runs %s", row)
		}
	}
}
