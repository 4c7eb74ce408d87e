//go:build interop

package interop

import (
	"fmt"
	"os"
	osuser "os/user"
	"path/filepath"
	"strings"
	"testing"
)

// fetchTwice fetches from a mailbox into a Maildir, and again, when there is nothing new; then deletes there what is
// here. want gives what is to arrive.
func fetchTwice(t *testing.T, w *world, url, password string, want []string) {
	t.Helper()
	into := filepath.Join(w.home, "fetched")
	run := func(more ...string) {
		t.Helper()
		args := append([]string{"fetch", "--url", url, "--into", into, "--password-fd", "0"}, more...)
		w.mustMailx(password+"\n", args...)
	}
	for range 2 {
		run()
		checkSame(t, messages(t, into), want)
	}
	run("--delete")
	checkSame(t, messages(t, into), want)
}

func TestFetchFromMailx(t *testing.T) {
	o := newOffice(t, pop3Messages)
	secure := o.serve("serve-pop3", "--tls")
	for name, url := range map[string]string{
		"clear":        "pop3://bob@" + o.pop,
		"implicit TLS": "pop3s://bob@" + secure,
	} {
		t.Run(name, func(t *testing.T) {
			o.fill(t, pop3Messages)
			clear(t, filepath.Join(o.home, "fetched"))
			fetchTwice(t, o.world, url, secret, o.texts)
			checkSame(t, messages(t, o.mailbox("bob")), nil)
		})
	}
}

// dovecot is a POP3 or IMAP server with a mailbox of bob's.
type dovecot struct {
	addr string
	box  string
}

// startDovecot needs root, since Dovecot's processes take on users of their own.
func startDovecot(t *testing.T, w *world, proto string) *dovecot {
	t.Helper()
	program := peer(t, "dovecot")
	if os.Getuid() != 0 {
		t.Skip("dovecot has to be started by root")
	}
	if _, err := osuser.Lookup("dovenull"); err != nil {
		t.Skip("dovecot has no user dovenull here")
	}
	if _, err := os.Stat("/usr/lib/dovecot/" + proto); err != nil {
		t.Skip("dovecot-" + proto + "d is not installed")
	}
	dir := nobodysDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &dovecot{box: makeMaildir(t, filepath.Join(dir, "mail"))}
	writeFile(t, dir, "passwd", fmt.Sprintf("bob:{PLAIN}%s:%d:%d::%s::\n", secret, nobody, nobody, dir))
	giveToNobody(t, d.box)
	if err := os.Chmod(filepath.Join(dir, "passwd"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.addr = startPeer(t, nil, func(port string) []string {
		config := writeFile(t, dir, "dovecot.conf", dovecotConfig(w, proto, dir, port))
		return []string{program, "-F", "-c", config}
	})
	return d
}

func dovecotConfig(w *world, proto, dir, port string) string {
	return `base_dir = ` + dir + `/run
state_dir = ` + dir + `/state
log_path = ` + dir + `/log
protocols = ` + proto + `
listen = 127.0.0.1
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:` + dir + `/mail
ssl = yes
ssl_cert = <` + w.certFile + `
ssl_key = <` + w.keyFile + `
disable_plaintext_auth = no
mail_max_userip_connections = 0
auth_mechanisms = plain login
passdb {
  driver = passwd-file
  args = ` + dir + `/passwd
}
userdb {
  driver = passwd-file
  args = ` + dir + `/passwd
}
service ` + proto + `-login {
  inet_listener ` + proto + ` {
    port = ` + port + `
  }
  inet_listener ` + proto + `s {
    port = 0
  }
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
auth_failure_delay = 0
`
}

// put makes messages in the Maildir of Dovecot's bob, in the order of their names.
func (d *dovecot) put(t *testing.T, texts []string) {
	t.Helper()
	for i, text := range texts {
		writeFile(t, filepath.Join(d.box, "new"), fmt.Sprintf("17000%05d.M1P1.test", i), text)
	}
	giveToNobody(t, d.box)
}

func TestFetchFromDovecot(t *testing.T) {
	for name, url := range map[string]string{
		"POP3 clear": "pop3://bob@127.0.0.1:", "POP3 STLS": "pop3://bob@[::ffff:127.0.0.1]:",
		"IMAP clear": "imap://bob@127.0.0.1:", "IMAP STARTTLS": "imap://bob@[::ffff:127.0.0.1]:",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			proto, _, _ := strings.Cut(url, ":")
			d := startDovecot(t, w, proto)
			var texts []string
			for _, text := range mail(pop3Messages) {
				texts = append(texts, text+"\n") // Dovecot completes the last line
			}
			d.put(t, texts)
			fetchTwice(t, w, url+portOf(d.addr), secret, texts)
			if left, _ := filepath.Glob(filepath.Join(d.box, "*", "17000*")); len(left) != 0 {
				t.Errorf("%d messages are left there: %s", len(left), strings.Join(left, " "))
			}
		})
	}
}

// TestRoundTrip goes all the way round: composed, queued, relayed, received, collected, shown.
func TestRoundTrip(t *testing.T) {
	here := newWorld(t, "MAILX_HOSTNAME=here.example.net", "MAILX_DOMAINS=example.net")
	there := newWorld(t)
	relay, office := there.serve("serve-smtp"), there.serve("serve-pop3")
	for _, l := range outgoing() {
		t.Run(l.name, func(t *testing.T) {
			into := filepath.Join(t.TempDir(), "box")
			here.mustMailx(l.text, "send", "--envelope-from", sender, "-t", "--queue")
			here.mustMailx("", "queue", "flush", "--server", "smtp://"+relay)
			here.mustMailx(secret+"\n", "fetch", "--url", "pop3://bob@"+office, "--into", into, "--delete", "--password-fd", "0")
			path := strings.TrimSpace(here.mustMailx("", "list", "--paths", into))
			checkStored(t, here.mustMailx("", "show", "--raw", path), sender, l.text)
			checkStored(t, here.mustMailx(path+"\n", "show", "--raw", "-"), sender, l.text)
			if all := messages(t, there.mailbox("bob")); len(all) != 0 {
				t.Errorf("%d messages are left on the server", len(all))
			}
		})
	}
}
