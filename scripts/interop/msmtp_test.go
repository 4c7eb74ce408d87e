//go:build interop

package interop

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
)

// newMsmtp makes a host whose msmtp is mailx, with an account of a submission server in ~/.msmtprc.
func newMsmtp(t *testing.T) (w *world, msmtp string) {
	t.Helper()
	w, starttls, implicit := newSubmission(t)
	writeFile(t, w.home, ".msmtprc", strings.Join([]string{
		"defaults", "host localhost", "tls on", "tls_trust_file " + w.caFile, "auth on", "user " + user, "passwordeval echo '" + secret + "'",
		"account first", "port " + portOf(starttls), "from " + sender,
		"account second", "port " + portOf(implicit), "tls_starttls off", "from *@example.com",
		"account pinned : first", "from pinned@example.com", "tls_trust_file system", "tls_certcheck off", "tls_fingerprint " + fingerprint(t, w.certFile),
		"account netrc : second", "from netrc@example.com", "passwordeval",
		"account wrong : first", "from wrong@example.com", "passwordeval echo wrong",
	}, "\n")+"\n")
	writeFile(t, w.home, ".netrc", "machine localhost login "+user+" password \""+secret+"\"\n")
	return w, w.linkAs("msmtp")
}

// fingerprint is that of the first certificate of a file, as openssl prints it.
func fingerprint(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no certificate in %s", file)
	}
	sum := sha256.Sum256(block.Bytes)
	return strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf("% x", sum)), " ", ":"))
}

// TestMsmtpAccounts sends by each kind of account, by name and by sender.
func TestMsmtpAccounts(t *testing.T) {
	t.Parallel()
	w, msmtp := newMsmtp(t)
	for _, account := range []string{"first", "second", "pinned", "netrc"} {
		for _, args := range [][]string{{"-a", account, "-f", sender}, {"--from", account + "@example.com", "-a", account}} {
			job{args: append(append([]string{msmtp}, args...), "--", rcpt), stdin: "Subject: " + account + "\n\n" + callerText, env: w.msmtpEnv(), dir: w.home}.run(t).must(t, 0)
			s := parseStored(t, takeOne(t, w.mailbox(user)))
			checkESMTPSA(t, s.received)
			if !strings.HasSuffix(s.rest, "\n\n"+callerText) {
				t.Errorf("%q:\n%s", args, s.rest)
			}
		}
	}
	r := job{args: []string{msmtp, "-a", "wrong", rcpt}, stdin: callerMail, env: w.msmtpEnv(), dir: w.home}.run(t)
	if r.code == 0 || strings.Contains(r.stderr, "wrong\n") || len(messages(t, w.mailbox(user))) != 0 {
		t.Errorf("a wrong password: %v", r)
	}
}

// msmtpEnv is the environment of a program that calls msmtp: of mailx it has a hostname and nothing else.
func (w *world) msmtpEnv() []string {
	return append(peerEnv(w.home), "MAILX_CONFIG="+os.DevNull, "MAILX_SPOOL="+w.home+"/own", "MAILX_HOSTNAME=client.example.net", "USER=alice")
}

// TestMsmtpMutt has mutt send through the accounts of a msmtprc, chosen by the sender.
func TestMsmtpMutt(t *testing.T) {
	t.Parallel()
	mutt := peer(t, "mutt")
	w, msmtp := newMsmtp(t)
	for _, from := range []string{sender, "carol@example.com"} {
		rc := `set sendmail="` + msmtp + ` -t --read-envelope-from" from=` + from + ` charset=utf-8 send_charset=utf-8 record="" copy=no` + "\n"
		job{args: []string{mutt, "-n", "-F", writeFile(t, w.home, "muttrc", rc), "-s", "x", "-b", "dave@example.com", "--", rcpt}, stdin: callerText,
			env: w.msmtpEnv(), dir: w.home}.run(t).must(t, 0)
		s := parseStored(t, takeOne(t, w.mailbox(user)))
		checkESMTPSA(t, s.received)
		if s.returnPath != "<"+from+">" || !strings.HasSuffix(s.rest, "\n\n"+callerText) || strings.Contains(s.rest, "dave") {
			t.Errorf("from %s:\n%s", s.returnPath, s.rest)
		}
		if ids := queued(t, w); len(ids) != 1 {
			t.Errorf("for dave: %q", ids)
		}
		w.mustMailx("", "queue", "remove", "--rcpt", "dave@example.com")
	}
}

// TestMsmtpGit has git send through an account by name. A wrong password ends git with a failure.
func TestMsmtpGit(t *testing.T) {
	t.Parallel()
	r := newRepository(t, 2)
	w, msmtp := newMsmtp(t)
	r.env = append(r.env, w.msmtpEnv()...)
	r.send(t, 2, "smtpServer="+msmtp, "smtpServerOption=-a", "smtpServerOption=second").must(t, 0)
	all := messages(t, w.mailbox(user))
	if len(all) != 3 || len(queued(t, w)) != 3 {
		t.Errorf("%d messages, and for dave %q", len(all), queued(t, w))
	}
	clear(t, w.mailbox(user))
	if out := r.send(t, 1, "smtpServer="+msmtp, "smtpServerOption=-a", "smtpServerOption=wrong"); out.code == 0 {
		t.Errorf("a wrong password, and all is well:\n%v", out)
	}
	checkSame(t, messages(t, w.mailbox(user)), nil)
}
