//go:build interop

package interop

import (
	"fmt"
	"os"
	osuser "os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Other people's servers as the next hop of the queue, and as the one between two hosts with mailx.

// startExim needs root, for Exim does not trust the configuration of anybody else.
func startExim(t *testing.T, chunkingHosts string) (addr, box string) {
	t.Helper()
	program := peer(t, "exim4")
	if os.Getuid() != 0 {
		t.Skip("exim has to be started by root")
	}
	const owner = "Debian-exim" // is compiled in
	if _, err := osuser.Lookup(owner); err != nil {
		t.Skipf("there is no user %s here", owner)
	}
	dir := nobodysDir(t)
	for _, sub := range []string{".", "spool", "log", "box"} {
		path := filepath.Join(dir, sub)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		giveTo(t, path, owner)
	}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, "log/mainlog")); t.Failed() && err == nil {
			t.Logf("log of Exim:\n%s", log)
		}
	})
	addr = startPeer(t, nil, func(port string) []string {
		conf := strings.NewReplacer("$dir", dir, "$port", port, "$program", program, "$chunking", chunkingHosts).Replace(eximConf)
		return []string{program, "-C", writeFile(t, dir, "exim.conf", conf), "-bdf", "-q1h"}
	})
	return addr, filepath.Join(dir, "box/all")
}

const eximConf = `exim_path = $program
spool_directory = $dir/spool
log_file_path = $dir/log/%slog
pid_file_path = $dir/pid
primary_hostname = exim.example.net
local_interfaces = 127.0.0.1
daemon_smtp_ports = $port
domainlist local_domains = example.com
acl_smtp_rcpt = rcpt
chunking_advertise_hosts = $chunking
dsn_advertise_hosts = *
deliver_drop_privilege = true
keep_environment =
begin acl
rcpt:
  deny local_parts = nobody
       message = no such user
  defer local_parts = later
  accept domains = +local_domains
begin routers
box:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = $dir/box/all
  maildir_format
  create_directory
  return_path_add
  user = Debian-exim
`

// TestRelayToExim: Exim is the one that checks every BDAT, and the TLS of GnuTLS is not that of anybody else here.
func TestRelayToExim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "MAILX_TLS_POLICY=required")
	addr, box := startExim(t, "*")
	server := "smtp://" + addr
	for _, l := range outgoing() {
		t.Run(l.name, func(t *testing.T) {
			w.mustMailx(toAway(l), sendRaw("--queue")...)
			w.mustMailx("", "queue", "flush", "--server", server)
			if ids := queued(t, w); len(ids) != 0 {
				t.Fatalf("in the queue: %q", ids)
			}
			_, rest, _ := strings.Cut(await(t, box), "\nFrom: ")
			diff(t, "From: "+rest, toAway(l))
		})
	}
	t.Run("several recipients", func(t *testing.T) {
		text := strings.Replace(letters()[0].text, "To: Bob <bob@example.org>", "To: "+away+", nobody@example.com, later@example.com", 1)
		w.mustMailx(text, sendRaw("--queue")...)
		w.mailx("", "queue", "flush", "--server", server)
		await(t, box)
		w.mailx("", "queue", "flush", "--server", server) // the notice
		if notice := takeOne(t, w.mailbox(user)); !strings.Contains(notice, "\nFinal-Recipient: rfc822; nobody@example.com\n") || strings.Count(notice, "Final-Recipient:") != 1 {
			t.Errorf("got %s", notice)
		}
		if list := w.mustMailx("", "queue", "list"); strings.Count(list, "\n") != 1 || !strings.Contains(list, "\tlater@example.com\t") {
			t.Errorf("in the queue: %s", list)
		}
	})
}

// await gives the first message of a Maildir that is not ours, and removes it.
func await(t *testing.T, dir string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		names, _ := filepath.Glob(filepath.Join(dir, "new", "*"))
		if len(names) > 0 {
			text := read(t, names[0])
			if err := os.Remove(names[0]); err != nil {
				t.Fatal(err)
			}
			return text
		}
	}
	t.Fatalf("nothing came to %s", dir)
	return ""
}

// startOpenSMTPD relays what comes to a server. Its directories are compiled in, so there can be only one.
func startOpenSMTPD(t *testing.T, next string) (addr string) {
	t.Helper()
	program := peer(t, "smtpd")
	if os.Getuid() != 0 {
		t.Skip("OpenSMTPD has to be started by root")
	}
	for _, name := range []string{"opensmtpd", "opensmtpq"} {
		if _, err := osuser.Lookup(name); err != nil {
			t.Skipf("there is no user %s here", name)
		}
	}
	for dir, mode := range map[string]os.FileMode{"/var/lib/opensmtpd/empty": 0o755, "/var/spool/smtpd": 0o711} {
		if err := os.MkdirAll(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	return startPeer(t, nil, func(port string) []string {
		conf := fmt.Sprintf("listen on 127.0.0.1 port %s hostname relay.example.net\naction \"on\" relay host \"smtp://%s\"\nmatch from any for domain \"example.com\" action \"on\"\n", port, next)
		return []string{program, "-d", "-f", writeFile(t, t.TempDir(), "smtpd.conf", conf)}
	})
}

// TestTwoHops: mailx hands over to another program, which hands over to mailx, which stores what the first one took.
func TestTwoHops(t *testing.T) {
	t.Parallel()
	there := newWorld(t, "MAILX_DOMAINS=example.com", "MAILX_SMTP_MAX_MESSAGES=100000")
	there.mustMailx(secret+"\n", "user", "add", "carol")
	next := there.serve("serve-smtp")
	for name, start := range map[string]func(t *testing.T) string{
		"Postfix": func(t *testing.T) string {
			return startPostfix(t, []string{"relayhost = [127.0.0.1]:" + portOf(next), "mynetworks = 127.0.0.0/8", "smtp_tls_security_level = may"}, nil).addr
		},
		"OpenSMTPD": func(t *testing.T) string { return startOpenSMTPD(t, next) },
	} {
		t.Run(name, func(t *testing.T) {
			addr := start(t)
			here := newWorld(t)
			for _, l := range outgoing() {
				clear(t, there.mailbox("carol"))
				here.mustMailx(toAway(l), sendRaw("--queue")...)
				here.mustMailx("", "queue", "flush", "--server", "smtp://"+addr)
				if ids := queued(t, here); len(ids) != 0 {
					t.Fatalf("%s: in the queue: %q", l.name, ids)
				}
				trace, rest, _ := strings.Cut(await(t, there.mailbox("carol")), "\nFrom: ")
				if !strings.HasPrefix(trace, "Return-Path: <"+rcpt+">\n") || strings.Count(trace, "Received: ") != 2 {
					t.Errorf("%s: trace %s", l.name, trace)
				}
				diff(t, "From: "+rest, toAway(l))
			}
		})
	}
}

// TestQueueReaders: the queue is a Maildir, and the programs that read those read it, and say nothing of what is not there.
func TestQueueReaders(t *testing.T) {
	w := newWorld(t)
	for _, l := range outgoing()[:2] {
		w.mustMailx(toAway(l), sendRaw("--queue")...)
	}
	queue := filepath.Join(w.spool, "queue")
	t.Run("mutt", func(t *testing.T) {
		mutt, script := peer(t, "mutt"), peer(t, "script")
		dir := t.TempDir()
		box := makeMaildir(t, filepath.Join(dir, "box"))
		rc := writeFile(t, dir, "muttrc", "set mbox_type=Maildir confirmappend=no confirmcreate=no quit=yes wait_key=no folder="+dir+
			"\npush \"<tag-pattern>~A<enter><tag-prefix><copy-message>"+box+"<enter><quit>\"\n")
		job{args: []string{"sh", "-c", script + " -qec '" + mutt + " -n -F " + rc + " -R -f " + queue + "' /dev/null </dev/null"}, dir: dir,
			env: append(peerEnv(dir), "TERM=xterm")}.run(t).must(t, 0)
		all := messages(t, box)
		if len(all) != 2 || !strings.Contains(all[0]+all[1], "\nX-Mailx-Recipient: <"+away+">\n") {
			t.Errorf("mutt saw %q", all)
		}
	})
	t.Run("mblaze", func(t *testing.T) {
		mlist, mhdr := peer(t, "mlist"), peer(t, "mhdr")
		list := job{args: []string{mlist, queue}, dir: w.home}.run(t).must(t, 0)
		if strings.Count(list, "\n") != 2 {
			t.Fatalf("mlist: %q", list)
		}
		for path := range strings.Lines(list) {
			got := job{args: []string{mhdr, "-h", "to:x-mailx-recipient", strings.TrimSpace(path)}, dir: w.home}.run(t).must(t, 0)
			if !strings.Contains(got, away) {
				t.Errorf("mhdr: %q", got)
			}
		}
	})
	if ids := queued(t, w); len(ids) != 2 {
		t.Errorf("afterwards the queue has %q", ids)
	}
}

// TestQueueCopied: what is copied from the queue of another host is an entry here.
func TestQueueCopied(t *testing.T) {
	here, there := newWorld(t), newWorld(t)
	l := letters()[1]
	there.mustMailx(toAway(l), sendRaw("--queue")...)
	here.mustMailx("", "queue", "list")
	names, err := filepath.Glob(filepath.Join(there.spool, "queue/new/*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	job{args: []string{"cp", names[0], filepath.Join(here.spool, "queue/new")}, dir: here.home}.run(t).must(t, 0)
	s := startSink(t)
	here.mustMailx("", "queue", "flush", "--server", "smtp://"+s.addr)
	s.checkTaken(t, toAway(l))
}
