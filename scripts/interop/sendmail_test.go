//go:build interop

package interop

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// linkAs makes the binary known by another name, and gives the path.
func (w *world) linkAs(name string) string {
	w.t.Helper()
	path := filepath.Join(w.home, name)
	if err := os.Symlink(w.bin, path); err != nil && !os.IsExist(err) {
		w.t.Fatal(err)
	}
	return path
}

// caller is a program that hands over mail through sendmail(8), for bob and, unseen, for dave, who is elsewhere.
type caller struct {
	name    string
	program string
	args    func(w *world, sendmail string) []string
	stdin   string
	from    string // the reverse-path
	wants   []string
	text    string   // what the message ends in; "" for callerText
	needs   string   // a command that is 0 where all that the program needs is installed
	env     []string // more of the environment
}

const callerText = "Grüße\n.\n..two\nFrom the start\n"

// callerMail is for callers that take a whole message.
const callerMail = "From: Alice <" + sender + ">\nTo: " + rcpt + "\nBcc: dave@example.com\nSubject: by hand\n\n" + callerText

func callers() []caller {
	seen := []string{"\nDate: ", "\nMessage-I", "\nFrom: ", "\nSubject: "}
	return []caller{
		{
			name: "mutt", program: "mutt", stdin: callerText, from: sender,
			args: func(w *world, sendmail string) []string {
				return []string{"-n", "-F", writeFile(w.t, w.home, "muttrc", `set sendmail="`+sendmail+` -oem -oi" from=`+sender+
					` charset=utf-8 send_charset=utf-8 use_envelope_from=yes use_8bitmime=yes dsn_notify="failure,delay" dsn_return=hdrs record="" copy=no`+"\n"),
					"-s", "by mutt", "-b", "dave@example.com", "--", rcpt}
			},
			wants: seen,
		},
		{
			name: "s-nail", program: "s-nail", stdin: callerText, from: sender,
			args: func(w *world, sendmail string) []string {
				return []string{"-:/", "-S", "v15-compat", "-S", "ttycharset=utf-8", "-S", "sendcharsets=utf-8", "-S", "mime-encoding=8b", "-S", "mta=" + sendmail, "-r", sender, "-s", "by s-nail",
					"-b", "dave@example.com", rcpt}
			},
			wants: append(slices.Clip(seen), "User-Agent: s-nail"),
		},
		{
			name: "Perl", program: "perl", stdin: callerMail, from: sender,
			args: func(_ *world, sendmail string) []string {
				return []string{"-e", `open(my $mail, "|-", "` + sendmail + ` -t -oi -f` + strings.ReplaceAll(sender, "@", `\@`) + `") or die; print $mail $_ while <STDIN>; close($mail) or die "$?"`}
			},
			wants: seen,
		},
		{
			name: "Python", program: "python3", stdin: callerMail, from: "<>",
			args: func(_ *world, sendmail string) []string {
				return []string{"-c", "import subprocess, sys\nsubprocess.run(['" + sendmail + "', '-t', '-oi', '-f', ''], input=sys.stdin.buffer.read(), check=True)"}
			},
			wants: seen,
		},
		{
			name: "PHP", program: "php", from: sender,
			args: func(_ *world, sendmail string) []string {
				return []string{"-d", "sendmail_path=" + sendmail + " -t -i", "-r", `exit(mail("` + rcpt +
					`", "by PHP", "Grüße\n.\n..two\nFrom the start", "From: ` + sender + `\r\nBcc: dave@example.com", "-f` + sender + `") ? 0 : 1);`}
			},
			wants: seen,
		},
	}
}

func TestSendmailCallers(t *testing.T) {
	for _, c := range callers() {
		t.Run(c.name, func(t *testing.T) {
			c.run(t)
		})
	}
}

func (c caller) run(t *testing.T) {
	t.Helper()
	program := peer(t, c.program)
	w := newWorld(t)
	if c.needs != "" {
		if r := (job{args: []string{"sh", "-c", c.needs}, dir: w.home}).run(t); r.code != 0 {
			t.Skipf("%s: not all of it is installed: %s", c.name, r.stderr)
		}
	}
	args := append([]string{program}, c.args(w, w.linkAs("sendmail"))...)
	job{args: args, stdin: c.stdin, env: append(w.environ(), c.env...), dir: w.home}.run(t).must(t, 0)
	checkCalled(t, w, c)
}

// checkCalled wants the message in bob's mailbox, and waiting for dave.
func checkCalled(t *testing.T, w *world, c caller) {
	t.Helper()
	text, end := takeOne(t, w.mailbox(user)), cmp.Or(c.text, callerText)
	wants := append([]string{"Return-Path: <" + strings.Trim(c.from, "<>") + ">\n"}, c.wants...)
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if !strings.HasSuffix(strings.TrimRight(text, "\n"), "\n\n"+strings.TrimRight(end, "\n")) {
		t.Errorf("got %q\nwant it to end in %q", text, end)
	}
	if strings.Contains(text, "dave") {
		t.Errorf("bob can see that dave has it too:\n%s", text)
	}
	list := job{args: []string{w.linkAs("mailq")}, env: w.environ(), dir: w.home}.run(t).must(t, 0)
	if !strings.Contains(list, "\n    dave@example.com\n") {
		t.Errorf("mailq: %s", list)
	}
}

// TestSendmailGit sends a series of two patches.
func TestSendmailGit(t *testing.T) {
	git := peer(t, "git")
	w := newWorld(t)
	env := append(w.environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL="+sender,
		"GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL="+sender)
	run := func(args ...string) result {
		return job{args: append([]string{git, "-c", "sendemail.smtpServer=" + w.linkAs("sendmail")}, args...), env: env, dir: w.home}.run(t)
	}
	run("init", "-q", ".").must(t, 0)
	for _, name := range []string{"zero", "first", "second"} {
		writeFile(t, w.home, name, name+"\nGrüße\n")
		run("add", name).must(t, 0)
		run("commit", "-q", "-m", name+" patch").must(t, 0)
	}
	r := run("send-email", "--to", rcpt, "--bcc", "dave@example.com", "--from", sender, "--envelope-sender", sender,
		"--confirm", "never", "--suppress-cc", "all", "--8bit-encoding", "UTF-8", "--transfer-encoding", "8bit", "--quiet", "-2")
	if strings.Contains(r.stderr, "is not a git command") || strings.Contains(r.stderr, "Perl module") {
		t.Skip("git send-email is not installed, or its Perl modules are not")
	}
	r.must(t, 0)
	all := messages(t, w.mailbox(user))
	if len(all) != 2 {
		t.Fatalf("%d messages, want 2", len(all))
	}
	for i, want := range []string{"first patch", "second patch"} {
		if !strings.Contains(all[i], want) || !strings.Contains(all[i], "\n+Grüße\n") || strings.Contains(all[i], "dave") ||
			!strings.HasPrefix(all[i], "Return-Path: <"+sender+">\n") {
			t.Errorf("want %q in\n%s", want, all[i])
		}
	}
	if ids := queued(t, w); len(ids) != 2 {
		t.Errorf("for dave: %q", ids)
	}
	if r := run("send-email", "--to", "nobody@"+domain, "--from", sender, "--confirm", "never", "--suppress-cc", "all",
		"--8bit-encoding", "UTF-8", "--quiet", "-1"); r.code == 0 {
		t.Errorf("nobody took it, and all is well:\n%v", r)
	}
}

// TestSendmailFetchmail has fetchmail hand over to sendmail: where that fails, a message stays where it is.
func TestSendmailFetchmail(t *testing.T) {
	fetchmail := peer(t, "fetchmail")
	o := newOffice(t, 3)
	w := newWorld(t)
	mda := func(before string) result {
		rc := fmt.Sprintf("set invisible\nset no bouncemail\npoll localhost protocol pop3 port %s timeout 50\n"+
			"  user \"%s\" password \"%s\" is \"%s\" here\n  no rewrite no mimedecode no keep sslproto \"\" mda \"%s%s -i -f %%F -- %%T\"\n",
			portOf(o.pop), user, secret, user, before, w.linkAs("sendmail"))
		file := writeFile(t, w.home, "fetchmailrc", rc)
		return job{args: []string{fetchmail, "-f", file, "-s", "--nodetach", "--nosyslog"}, env: w.environ(), dir: w.home}.run(t)
	}
	if r := mda("env MAILX_SPOOL=" + w.certFile + "/none "); !strings.Contains(r.stderr, "MDA returned nonzero status") {
		t.Errorf("nothing can be stored, and fetchmail does not know:\n%v", r)
	}
	checkSame(t, messages(t, o.mailbox(user)), o.texts)
	mda("").must(t, 0)
	checkSame(t, mapped(messages(t, w.mailbox(user)), fromOn), mapped(o.texts, fromOn))
	checkSame(t, messages(t, o.mailbox(user)), nil)
}
