//go:build interop

package interop

import (
	"fmt"
	"os"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// postfix is an instance of Postfix with a configuration and a queue of its own.
type postfix struct {
	addr string // of its smtpd
	dir  string
}

// startPostfix needs root, since Postfix's processes take on users of their own. main are lines of main.cf, services of
// master.cf; "$dir" in them is the directory of the instance.
func startPostfix(t *testing.T, main, services []string) *postfix {
	t.Helper()
	program := peer(t, "postfix")
	if os.Getuid() != 0 {
		t.Skip("postfix has to be started by root")
	}
	if _, err := osuser.Lookup("postfix"); err != nil {
		t.Skip("there is no user postfix here")
	}
	p := &postfix{dir: nobodysDir(t)}
	for dir, mode := range map[string]os.FileMode{".": 0o755, "conf": 0o755, "queue": 0o755, "data": 0o755, "box": 0o777} {
		path := filepath.Join(p.dir, dir)
		if err := os.MkdirAll(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	giveTo(t, filepath.Join(p.dir, "data"), "postfix")
	conf := filepath.Join(p.dir, "conf")
	expand := func(lines []string) string { return strings.ReplaceAll(strings.Join(lines, "\n"), "$dir", p.dir) }
	p.addr = startPeer(t, nil, func(port string) []string {
		writeFile(t, conf, "main.cf", expand(append(postfixMain(), main...))+"\n")
		writeFile(t, conf, "master.cf", expand(append(postfixMaster(port), services...))+"\n")
		job{args: []string{program, "-c", conf, "check"}, dir: p.dir}.run(t).must(t, 0)
		// master wants a session of its own, which the leader of a process group can't have
		const script = `"$1" -c "$2" -d & master=$!; trap 'kill $master; wait $master' TERM; wait $master`
		return []string{"/bin/sh", "-c", script, "sh", "/usr/lib/postfix/sbin/master", conf}
	})
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(p.dir, "log")); t.Failed() && err == nil {
			t.Logf("log of Postfix:\n%s", log)
		}
	})
	return p
}

func giveTo(t *testing.T, path, name string) {
	t.Helper()
	u, err := osuser.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	var uid int
	if _, err := fmt.Sscan(u.Uid, &uid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, -1); err != nil {
		t.Fatal(err)
	}
}

func postfixMain() []string {
	return []string{
		"compatibility_level = 3.6",
		"queue_directory = $dir/queue",
		"data_directory = $dir/data",
		"command_directory = /usr/sbin",
		"daemon_directory = /usr/lib/postfix/sbin",
		"mail_owner = postfix",
		"setgid_group = postdrop",
		"maillog_file = $dir/log",
		"maillog_file_prefixes = $dir",
		"inet_interfaces = 127.0.0.1",
		"inet_protocols = ipv4",
		"myhostname = client.example.net",
		"mydestination =",
		"alias_maps =",
		"smtp_host_lookup = native", // "localhost" is in no DNS
		"smtp_dns_support_level = disabled",
	}
}

// postfixMaster has what master.cf has in every installation, without chroot.
func postfixMaster(port string) []string {
	return []string{
		"127.0.0.1:" + port + " inet n - n - - smtpd",
		"pickup unix n - n 60 1 pickup",
		"cleanup unix n - n - 0 cleanup",
		"qmgr unix n - n 300 1 qmgr",
		"tlsmgr unix - - n 1000? 1 tlsmgr",
		"rewrite unix - - n - - trivial-rewrite",
		"bounce unix - - n - 0 bounce",
		"defer unix - - n - 0 bounce",
		"trace unix - - n - 0 bounce",
		"proxymap unix - - n - - proxymap",
		"smtp unix - - n - - smtp",
		"lmtp unix - - n - - lmtp",
		"error unix - - n - - error",
		"retry unix - - n - - error",
		"virtual unix - n n - - virtual",
		"anvil unix - - n - 1 anvil",
		"scache unix - - n - 1 scache",
		"showq unix n - n - - showq",
		"postlog unix-dgram n - n - 1 postlogd",
	}
}

// idle waits until Postfix has nothing in its queue.
func (p *postfix) idle(t *testing.T) {
	t.Helper()
	postqueue := peer(t, "postqueue")
	var out string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		out = job{args: []string{postqueue, "-c", filepath.Join(p.dir, "conf"), "-p"}, dir: p.dir}.run(t).must(t, 0)
		if strings.Contains(out, "queue is empty") {
			return
		}
	}
	t.Fatalf("still in the queue of Postfix:\n%s", out)
}

// transport is one way in which Postfix hands over.
type transport struct {
	name    string
	with    string // the keyword of Received (RFC 3848)
	nexthop func(mx, submission, submissions, lmtp string) string
	options string // of the service in master.cf
}

func transports() []transport {
	const (
		verified = " -o smtp_tls_security_level=secure"
		login    = verified + " -o smtp_sasl_auth_enable=yes -o smtp_sasl_mechanism_filter="
	)
	submission := func(_, submission, _, _ string) string { return submission }
	submissions := func(_, _, submissions, _ string) string { return submissions }
	return []transport{
		{"clear", "ESMTP", func(mx, _, _, _ string) string { return mx }, "smtp -o smtp_tls_security_level=none"},
		{"tls", "ESMTPS", func(mx, _, _, _ string) string { return mx }, "smtp" + verified},
		{"plain", "ESMTPSA", submission, "smtp" + login + "plain"},
		{"login", "ESMTPSA", submission, "smtp" + login + "login"},
		{"scram", "ESMTPSA", submission, "smtp" + login + "scram-sha-256"},
		{"smtps", "ESMTPSA", submissions, "smtp" + login + "plain -o smtp_tls_wrappermode=yes"},
		{"unix", "LMTP", func(_, _, _, lmtp string) string { return "unix:" + lmtp }, "lmtp"},
	}
}

// startRelay starts a Postfix that hands over to mailx what is for a user with the name of a transport behind the plus,
// in that way, and all other mail as an unknown client on the port for everybody.
func startRelay(t *testing.T, w *world) *postfix {
	t.Helper()
	w.mustMailx(secret+"\n", "user", "add", "carl")
	mx := "[localhost]:" + portOf(w.serve("serve-smtp"))
	submission := "[localhost]:" + portOf(w.serve("serve-smtp", "--auth-required", "true"))
	submissions := "[localhost]:" + portOf(w.serve("serve-smtp", "--auth-required", "true", "--tls"))
	lmtp := w.serveLMTP()
	conf := nobodysDir(t)
	if err := os.Chmod(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	var routes, services []string
	for _, tr := range transports() {
		routes = append(routes, fmt.Sprintf(`/\+%s@/ x%s:%s`, tr.name, tr.name, tr.nexthop(mx, submission, submissions, lmtp)))
		services = append(services, "x"+tr.name+" unix - - n - - "+tr.options)
	}
	main := []string{
		"relayhost = " + mx,
		"mynetworks = 127.0.0.0/8",
		"transport_maps = regexp:" + writeFile(t, conf, "transport", strings.Join(routes, "\n")+"\n"),
		"smtp_tls_CAfile = " + writeFile(t, conf, "ca.pem", read(t, w.caFile)),
		"smtp_sasl_password_maps = texthash:" + writeFile(t, conf, "passwords",
			submission+" "+user+":"+secret+"\n"+submissions+" "+user+":"+secret+"\n"),
		"smtp_sasl_security_options = noanonymous",
		"header_size_limit = 1024000",
	}
	for _, name := range []string{"transport", "ca.pem", "passwords"} {
		if err := os.Chmod(filepath.Join(conf, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return startPostfix(t, main, services)
}

// serveLMTP listens on a socket that other users can reach, and gives its path.
func (w *world) serveLMTP() string {
	w.t.Helper()
	dir := nobodysDir(w.t)
	if err := os.Chmod(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(dir, "lmtp")
	w.start("serve-lmtp", "--listen", path)
	if err := os.Chmod(path, 0o777); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPostfixRelays has Postfix relay letters to mailx in all its ways.
func TestPostfixRelays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "MAILX_SMTP_MAX_MESSAGES=100000")
	p := startRelay(t, w)
	for _, tr := range transports() {
		t.Run(tr.name, func(t *testing.T) {
			clear(t, w.mailbox(user))
			want := make(map[string]string)
			for i, l := range letters() {
				if !strings.Contains(l.text, "\n\n") {
					continue // Postfix would add a header, or an end of it
				}
				subject := fmt.Sprintf("Subject: %s %d", tr.name, i)
				want[subject] = strings.Replace(l.text, "Subject: interop", subject, 1)
				deliver(t, p.addr, sender, user+"+"+tr.name+"@"+domain, []string{want[subject]})
			}
			p.idle(t)
			all := messages(t, w.mailbox(user))
			if len(all) != len(want) {
				t.Errorf("%d messages, want %d", len(all), len(want))
			}
			for _, text := range all {
				checkRelayed(t, text, tr.with, want)
			}
		})
	}
}

// checkRelayed compares a stored message with the one of the same subject, below the trace of Postfix.
func checkRelayed(t *testing.T, text, with string, want map[string]string) {
	t.Helper()
	s := parseStored(t, text)
	if s.returnPath != "<"+sender+">" {
		t.Errorf("got Return-Path %s", s.returnPath)
	}
	keyword := strings.NewReplacer("UTF8SMTP", "ESMTP", "UTF8LMTP", "LMTP").Replace(s.received)
	if with = " with " + with + " "; !strings.Contains(keyword, with) {
		t.Errorf("got %s, want%s", s.received, with)
	}
	rest, ok := withoutReceived(s.rest)
	at := strings.Index(rest, "Subject: ")
	if !ok || at < 0 {
		t.Fatalf("no trace of Postfix, or no subject, in %.500q", s.rest)
	}
	subject, _, _ := strings.Cut(rest[at:], "\n")
	diff(t, rest, want[subject])
}

// withoutReceived takes off the first field, if it is Received.
func withoutReceived(text string) (rest string, ok bool) {
	if !strings.HasPrefix(text, "Received: ") {
		return text, false
	}
	_, rest, _ = strings.Cut(text, "\n")
	for strings.HasPrefix(rest, "\t") || strings.HasPrefix(rest, " ") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	return rest, true
}

// TestPostfixRecipients has one message for several users, one of whom does not exist: the others get it, and the sender
// is told by Postfix what mailx said.
func TestPostfixRecipients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := startRelay(t, w)
	for _, tr := range transports() {
		t.Run(tr.name, func(t *testing.T) {
			clear(t, w.mailbox(user))
			clear(t, w.mailbox("carl"))
			at := "+" + tr.name + "@" + domain
			deliverTo(t, p.addr, "carl@"+domain, []string{user + at, "carl" + at, "nobody" + at, user + "+more" + at}, letters()[1].text)
			p.idle(t)
			if all := messages(t, w.mailbox(user)); len(all) == 0 {
				t.Error("bob got nothing")
			} else if rest, _ := withoutReceived(parseStored(t, all[0]).rest); rest != letters()[1].text {
				diff(t, rest, letters()[1].text)
			}
			var bounces []string
			for _, text := range messages(t, w.mailbox("carl")) {
				if strings.HasPrefix(text, "Return-Path: <>\n") {
					bounces = append(bounces, text)
				}
			}
			if len(bounces) != 1 || len(messages(t, w.mailbox("carl"))) != 2 {
				t.Fatalf("%d bounces, want one, and the message: %q", len(bounces), messages(t, w.mailbox("carl")))
			}
			for _, want := range []string{"\nFinal-Recipient: rfc822; nobody" + at + "\n", "\nAction: failed\n", "\nStatus: 5.1.1\n",
				"\nDiagnostic-Code: smtp; 550 5.1.1 "} {
				if !strings.Contains(bounces[0], want) {
					t.Errorf("no %q in\n%s", want, bounces[0])
				}
			}
		})
	}
}

// deliverTo hands over one message for several recipients.
func deliverTo(t *testing.T, addr, from string, to []string, text string) {
	t.Helper()
	h := handed{addr: addr, text: text, from: from, to: to}
	if err := goSMTPClear(h); err != nil {
		t.Fatal(err)
	}
}

// TestPostfixWrongPassword: Postfix keeps what it may not submit, and nothing arrives.
func TestPostfixWrongPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := startRelay(t, w)
	w.mustMailx("another password\n", "user", "passwd", user)
	deliver(t, p.addr, sender, user+"+plain@"+domain, []string{letters()[0].text})
	log := filepath.Join(p.dir, "log")
	for deadline := time.Now().Add(patience); !strings.Contains(read(t, log), "status=deferred"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not deferred")
		}
	}
	if text := read(t, log); !strings.Contains(text, "SASL authentication failed") || !strings.Contains(text, "535 5.7.8") {
		t.Error("not for the password")
	}
	if all := messages(t, w.mailbox(user)); len(all) != 0 {
		t.Errorf("stored: %q", all)
	}
}

// TestRelayToPostfix is the other direction: the queue of mailx hands over to Postfix, which stores, or refuses.
func TestRelayToPostfix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "MAILX_TLS_POLICY=required")
	box := nobodysDir(t)
	for _, name := range []string{"server.pem", "server.key"} {
		writeFile(t, box, name, read(t, filepath.Join(w.home, name)))
	}
	p := startPostfix(t, []string{
		"smtpd_tls_security_level = encrypt",
		"smtpd_tls_cert_file = " + box + "/server.pem",
		"smtpd_tls_key_file = " + box + "/server.key",
		"virtual_mailbox_domains = example.com",
		"virtual_mailbox_base = " + box,
		"virtual_mailbox_maps = inline:{ " + away + "=carol/ dave@example.com=dave/ }",
		"virtual_uid_maps = static:65534",
		"virtual_gid_maps = static:65534",
		"mynetworks =",
	}, nil)
	giveToNobody(t, box)
	server := "smtp://localhost:" + portOf(p.addr)
	for _, l := range outgoing() {
		t.Run(l.name, func(t *testing.T) {
			w.mustMailx(toAway(l), sendRaw("--queue")...)
			w.mustMailx("", "queue", "flush", "--server", server)
			if ids := queued(t, w); len(ids) != 0 {
				t.Fatalf("in the queue: %q", ids)
			}
			p.idle(t)
			checkAtPostfix(t, takeOne(t, filepath.Join(box, "carol")), toAway(l))
		})
	}
	t.Run("several recipients", func(t *testing.T) {
		text := strings.Replace(letters()[0].text, "To: Bob <bob@example.org>", "To: "+away+", dave@example.com, nobody@example.com", 1)
		w.mustMailx(text, sendRaw("--queue")...)
		w.mailx("", "queue", "flush", "--server", server)
		w.mailx("", "queue", "flush", "--server", server) // the notice may need a turn of its own
		p.idle(t)
		for _, name := range []string{"carol", "dave"} {
			checkAtPostfix(t, takeOne(t, filepath.Join(box, name)), text)
		}
		notice := takeOne(t, w.mailbox(user))
		if !strings.Contains(notice, "\nFinal-Recipient: rfc822; nobody@example.com\n") || !strings.Contains(notice, "\nStatus: 5.1.1\n") ||
			strings.Count(notice, "Final-Recipient:") != 1 {
			t.Errorf("got %s", notice)
		}
	})
}

// checkAtPostfix compares below the trace of virtual(8) and smtpd(8).
func checkAtPostfix(t *testing.T, text, want string) {
	t.Helper()
	trace, rest, ok := strings.Cut(text, "\nFrom: ")
	if !ok || !strings.Contains(trace, " with ESMTPS id ") || !strings.HasPrefix(trace, "Return-Path: <"+rcpt+">\n") {
		t.Errorf("trace: %s", trace)
	}
	diff(t, "From: "+rest, want)
}

// TestRelayToPostfixAtOnce flushes by three processes at the same time: each message arrives once.
func TestRelayToPostfixAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := startPostfix(t, []string{"virtual_mailbox_domains = example.com", "virtual_mailbox_base = $dir",
		"virtual_mailbox_maps = static:box/all/", "virtual_uid_maps = static:65534", "virtual_gid_maps = static:65534", "mynetworks ="}, nil)
	const n = 50
	for i := range n {
		w.mustMailx(strings.Replace(toAway(letters()[0]), "Hello.", fmt.Sprintf("Hello %03d.", i), 1), sendRaw("--queue")...)
	}
	done := make(chan result)
	for range 3 {
		go func() {
			done <- w.mailx("", "queue", "flush", "--server", "smtp://localhost:"+portOf(p.addr))
		}()
	}
	for range 3 {
		(<-done).must(t, 0)
	}
	p.idle(t)
	var bodies []string
	for _, text := range messages(t, filepath.Join(p.dir, "box", "all")) {
		bodies = append(bodies, text[len(text)-len("Hello 000.\n"):])
	}
	slices.Sort(bodies)
	if len(bodies) != n || len(slices.Compact(bodies)) != n {
		t.Errorf("%d messages, %d of them different, want %d", len(bodies), len(slices.Compact(bodies)), n)
	}
}
