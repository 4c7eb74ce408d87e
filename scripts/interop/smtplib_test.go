//go:build interop

package interop

import (
	"strings"
	"testing"
)

const lmtpScript = `
import smtplib, sys
path, sender, name, options = sys.argv[1:5]
with open(name, "rb") as f:
    data = f.read()
with smtplib.LMTP(path, local_hostname="client.example.net") as s:
    s.ehlo_or_helo_if_needed()
    refused = s.sendmail(sender, sys.argv[5:], data, mail_options=options.split())
    for to in sys.argv[6:]:  # smtplib reads the reply for the first recipient only
        if to not in refused:
            code, text = s.getreply()
            if code != 250:
                refused[to] = (code, text)
    print({k: v[0] for k, v in refused.items()})
`

// TestSmtplibLMTP hands over through a unix socket, where each recipient has a reply of its own.
func TestSmtplibLMTP(t *testing.T) {
	t.Parallel()
	python, w := peer(t, "python3"), newWorld(t)
	w.mustMailx(secret+"\n", "user", "add", "carl")
	path := w.serveLMTP()
	for _, l := range letters() {
		t.Run(l.name, func(t *testing.T) {
			file := writeFile(t, t.TempDir(), "message", crlf(l.text))
			got := job{args: []string{python, "-c", lmtpScript, path, sender, file, "BODY=8BITMIME", rcpt, "carl@" + domain, "nobody@" + domain},
				dir: t.TempDir()}.run(t).must(t, 0)
			if want := "{'nobody@example.org': 550}\n"; got != want {
				t.Errorf("refused: got %swant %s", got, want)
			}
			for _, name := range []string{user, "carl"} {
				s := checkStored(t, takeOne(t, w.mailbox(name)), sender, l.text)
				if !strings.Contains(s.received, " with LMTP ") {
					t.Errorf("got %s", s.received)
				}
			}
		})
	}
	t.Run("SMTPUTF8", func(t *testing.T) {
		text := header + "Grüße\n"
		file := writeFile(t, t.TempDir(), "message", crlf(text))
		job{args: []string{python, "-c", lmtpScript, path, "żółw@example.net", file, "BODY=8BITMIME SMTPUTF8", rcpt}, dir: t.TempDir()}.run(t).must(t, 0)
		s := checkStored(t, takeOne(t, w.mailbox(user)), "żółw@example.net", text)
		if !strings.Contains(s.received, " with UTF8LMTP ") {
			t.Errorf("got %s", s.received)
		}
	})
}

const readBackScript = `
import imaplib, poplib, ssl, sys
pop, imap, user, password, ca = sys.argv[1:6]
context = ssl.create_default_context(cafile=ca)
p = poplib.POP3("localhost", int(pop), timeout=50)
p.stls(context)
p.user(user)
p.pass_(password)
count = p.stat()[0]
by_pop = [b"\r\n".join(p.retr(i + 1)[1]) + b"\r\n" for i in range(count)]
p.quit()
i = imaplib.IMAP4("localhost", int(imap), timeout=50)
i.starttls(context)
i.login(user, password)
i.select("INBOX", readonly=True)
numbers = i.search(None, "ALL")[1][0].split()
by_imap = [i.fetch(n, "(BODY.PEEK[])")[1][0][1] for n in numbers]
i.logout()
if by_pop != by_imap:
    sys.exit("POP3 and IMAP differ: %r %r" % (by_pop, by_imap))
for text in by_pop:
    sys.stdout.buffer.write(text + b"\0")
`

// TestSmtplibReadBack submits by smtplib, and poplib and imaplib collect what was submitted.
func TestSmtplibReadBack(t *testing.T) {
	t.Parallel()
	python := peer(t, "python3")
	w, starttls, implicit := newSubmission(t)
	pop, imap := w.serve("serve-pop3"), w.serve("serve-imap")
	var want []string
	for i, l := range outgoing() { // a submission server adds the header that others lack
		h := handed{addr: starttls, mech: "PLAIN", password: secret, caFile: w.caFile, text: l.text, from: sender, to: []string{rcpt}}
		if i%2 == 1 {
			h.addr, h.implicit, h.mech = implicit, true, "LOGIN"
		}
		submitBySmtplib(t, h).must(t, 0)
		want = append(want, l.text)
	}
	out := job{args: []string{python, "-c", readBackScript, portOf(pop), portOf(imap), user, secret, w.caFile}, dir: t.TempDir()}.run(t).must(t, 0)
	got := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range want {
		checkStored(t, strings.ReplaceAll(got[i], "\r\n", "\n"), sender, want[i])
	}
	for i, text := range messages(t, w.mailbox(user)) {
		diff(t, got[i], crlf(text))
	}
}
