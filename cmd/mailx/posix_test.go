package main

import (
	"slices"
	"strings"
	"testing"
)

func TestPosixWords(t *testing.T) {
	isFile := func(name string) bool { return name == "report.pdf" || name == "a b" }
	for _, tt := range []struct{ args, want string }{ // words are separated by |
		{"-s|disk full|ops@example.com", "send|--subject=disk full|--|ops@example.com"},
		{"-s|SUBJ|addr1|addr2", "send|--subject=SUBJ|--|addr1|addr2"},
		{"-sSUBJ|root", "send|--subject=SUBJ|--|root"},
		{"root|-s|S", "send|--subject=S|--|root"},
		{"-r|root|-s|S|to", "send|--from=root|--subject=S|--|to"},
		{"-c|a@x|-b|b@x|to", "send|--cc=a@x|--bcc=b@x|--|to"},
		{"-a|From: M|-s|S|to", "send|--header=From: M|--subject=S|--|to"},
		{"-C|X-Job: 7|--append|X-Run: 8|-a|X-Empty:|to", "send|--header=X-Job: 7|--header=X-Run: 8|--header=X-Empty:|--|to"},
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
		{"-S|smtp=mail.example.org:587|-S|mta=/usr/sbin/sendmail|to", "send|--server=smtp://mail.example.org:587|--|to"},
		{"-S|mta=submission://me@mail.example.org|-S|from=|to", "send|--server=submission://me@mail.example.org:587|--|to"},
		{"-s|S|--|-odd@x", "send|--subject=S|--|-odd@x"},
		{"-s|S|--|-f|a@x|to", "-f is no address; options of sendmail come last, as in -s subject address -- -f sender"},
		{"-s|S|a@x b@x, c", "send|--subject=S|--|a@x, b@x, c"},
		{"-c|a@x b@x|-b|c,d e@x|J Doe <j@x>", "send|--cc=a@x, b@x|--bcc=c, d, e@x|--|J Doe <j@x>"},
		{"bob b.example|a@x\r\nb@x c@x", "send|--|bob b.example|a@x\r\nb@x, c@x"},
		{"-s|=?utf-8?q?Gr=C3=BC=C3=9Fe?=|to", "send|--subject=Grüße|--|to"},
		{"-s|a =? b|to", "send|--subject=a =? b|--|to"},
		{"-s|=?utf-8?q?x?=\n|to", "send|--subject==?utf-8?q?x?=\n|--|to"},
		{"-S|replyto=r@x|-S|reply-to=s@x|to", "send|--reply-to=r@x|--reply-to=s@x|--|to"},

		{"-s|S|/var/mail/to", "/var/mail/to is no address; mail to files and commands is for aliases, and send --save-to keeps a copy"},
		{"-s|S|+folder", "+folder is no address; mail to files and commands is for aliases, and send --save-to keeps a copy"},
		{"-s|S|+49170@sms.example|a/b@x", "send|--subject=S|--|+49170@sms.example|a/b@x"},
		{"-s|S|-V|to", "--version"},
		{"--version", "--version"},
		{"--help", "--help"},
		{"-M|text/html|to", "send|--header=Content-Type: text/html|--|to"},
		{"-s||to", "send|--subject=|--|to"},
		{"-s|S", "no recipients; to see what has come there are mail -H, mailx list and mailx show"},
		{"-s", "option -s needs a value"},
		{"-Z|to", "unknown option -Z"},
		{"--nonsense|to", "unknown option --nonsense"},
		{"--attach", "option --attach needs a value"},
	} {
		words, err := posixWords(strings.Split(tt.args, "|"), isFile)
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

// TestPosixReading has what mailx(1) does with mail that has come.
func TestPosixReading(t *testing.T) {
	const mixed = "-s is for sending, and -e, -H, -f and -u are for reading"
	for _, tt := range []struct{ args, want string }{
		{"-e", "list|--quiet"},
		{"-H", "list|--summary"},
		{"-He", "list|--quiet"},
		{"-ne", "list|--quiet"},
		{"--exist", "list|--quiet"},
		{"--headers", "list|--summary"},
		{"-f", "list|--summary"},
		{"-f|Archive", "list|--summary|--|Archive"},
		{"-ef|/var/mail/dir", "list|--quiet|--|/var/mail/dir"},
		{"-H|-f|+Archive", "list|--summary|--folder=Archive"},
		{"--file=x", "list|--summary|--|x"},
		{"-f|x|-H", "list|--summary|--|x"},
		{"-Hf|%bob", "list|--summary|--user=bob"},
		{"-f|%", "list|--summary"},
		{"-f|&", "list|--summary"},
		{"-f|maildir:///m/x", "list|--summary|--|/m/x"},
		{"-f|--|-odd", "list|--summary|--|-odd"},
		{"-u|bob", "list|--summary|--user=bob"},
		{"-ubob|-e", "list|--quiet|--user=bob"},
		{"--user=bob|-e", "list|--quiet|--user=bob"},
		{"-R|-N|-S|x=y|-:/|-H", "list|--summary"},
		{"-u|", "-u needs the name of a user"},
		{"-f|imap://host/", "-f imap://host/: mailx fetch collects mail from other hosts"},
		{"-f|a|b", "-f: one folder, not b too"},
		{"-H|bob", "bob: a mailbox is named by -f, that of a user by -u; nothing is sent with -e or -H"},
		{"-s|x|-H", mixed},
		{"-e|-s|x|bob", mixed},
	} {
		if got := posixText(tt.args, func(string) bool { return false }); got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.args, got, tt.want)
		}
	}
}

// posixText is the command line that another one becomes, or the error; words are separated by |.
func posixText(args string, isFile func(string) bool) string {
	words, err := posixWords(words(args), isFile)
	if err != nil {
		return err.Error()
	}
	return strings.Join(words, "|")
}

// TestPosixSender has the options of sendmail behind the recipients.
func TestPosixSender(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-s|S|to@x|--|-f|me@x", "send|--subject=S|--envelope-from=me@x|--from=me@x|--|to@x"},
		{"to@x|--|-fme@x|-F|Me, \"I\"|-oi", `send|--envelope-from=me@x|--from="Me, \"I\"" <me@x>|--|to@x`},
		{"to@x|--|-F|Me", "send|--|to@x"},
		{"to@x|--|-r|<>", "send|--envelope-from=<>|--|to@x"},
		{"-r|a@x|to@x|--|-f|b@x", "send|--from=a@x|--envelope-from=b@x|--|to@x"},
		{"-a|From: a@x|to@x|--|-f|b@x", "send|--header=From: a@x|--envelope-from=b@x|--|to@x"},
		{"to@x|--|cc@x|-odd@x", "send|--|to@x|cc@x|-odd@x"},
		{"--|-f|x", "-f is no address; options of sendmail come last, as in -s subject address -- -f sender"},
		{"to@x|--|-f", "option -f behind -- needs a value"},
		{"to@x|--|-Z", "option -Z behind --: of those of sendmail there are -f, -F and -r; an address goes in front"},
	} {
		if got := posixText(tt.args, func(string) bool { return false }); got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.args, got, tt.want)
		}
	}
}

// TestPosixServer has the variables that say where mail goes.
func TestPosixServer(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-S|smtp=smtp://h.example:587|-S|smtp-use-starttls|-S|smtp-auth=login|-S|smtp-auth-user=me@x|to@x",
			"send|--server=submission://me%40x@h.example:587|--|to@x"},
		{"-S|smtp=smtps://h.example|-S|smtp-use-starttls|-S|user=me|to@x", "send|--server=smtps://me@h.example:465|--|to@x"},
		{"-S|smtp=h.example|-S|smtp-auth=none|-S|user=me|to@x", "send|--server=smtp://h.example:25|--|to@x"},
		{"-S|ttycharset=iso-8859-1|-S|sendcharsets=utf-8|-S|mime-encoding=8b|to@x", "send|--charset=iso-8859-1|--encoding=8bit|--|to@x"},
		{"-S|ttycharset=klingon|-S|encoding=base64|-S|encoding=x|to@x", "send|--encoding=base64|--|to@x"},
		{"-S|mta=test://x|-S|smtp=|to@x", "send|--|to@x"},
		{"-S|mta=smtp://a:b@h.example|to@x", "send|--server=smtp://a:b@h.example|--|to@x"},
		{"-S|smtp-auth-password=x|to@x",
			"-S smtp-auth-password: everybody on this host can read a command line; put the password into password_command or password_file"},
	} {
		if got := posixText(tt.args, func(string) bool { return false }); got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.args, got, tt.want)
		}
	}
}

// FuzzPosixWords: no command line is a crash, every error is a wrong command line, and what comes out is a command line of
// send or list whose options the framework can't misread.
func FuzzPosixWords(f *testing.F) {
	for _, seed := range []string{"-s|S|a@x", "-a|X: y|-A|file|-E|set x|a", "-Hf|+x", "-u|b|-e", "a|--|-f|b|-Fx", "-S|smtp=h|a", "--append=X: y|a", "-\xff"} {
		f.Add(seed)
	}
	send, list := newSend(testEnv()), newList(testEnv())
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "|")
		words, err := posixWords(args, func(name string) bool { return strings.HasPrefix(name, "f") })
		if err != nil {
			if code := exitCode(err); code != exUsage || strings.ContainsAny(strings.ReplaceAll(err.Error(), "|", ""), "\x00") {
				t.Fatalf("%q: exit code %d, %q", args, code, err)
			}
			return
		}
		flags := send.Flags
		if words[0] == "list" {
			flags = list.Flags
		}
		if line, err := permute(words[1:], optionsOf(flags)); err != nil || words[0] == "send" && len(line.words) == 0 && !line.has("from-header") {
			t.Fatalf("%q becomes %q: %v", args, words, err)
		}
	})
}
