//go:build interop

package interop

import (
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// submission is one message that a client has to hand over.
type submission struct {
	addr string
	file string // with CRLF
	text string // local form
	from string
	to   string
}

// client is somebody else's program in one of its modes.
type client struct {
	name string
	with string // the protocol that Received has to name (RFC 3848)
	send func(t *testing.T, w *world, s submission) result
	all  bool // all letters; otherwise two of them, since the mode changes the way and not the message
	adds bool // changes letters that lack a header or a body before it sends them
}

func curlClient(args ...string) func(*testing.T, *world, submission) result {
	return func(t *testing.T, w *world, s submission) result {
		argv := []string{peer(t, "curl"), "-sS", "--noproxy", "*", "--mail-from", s.from, "--mail-rcpt", s.to,
			"--upload-file", s.file, "--cacert", w.caFile}
		return job{args: append(append(argv, args...), "smtp://"+s.addr+"/client.example.net"), dir: t.TempDir()}.run(t)
	}
}

func swaksClient(args ...string) func(*testing.T, *world, submission) result {
	return func(t *testing.T, w *world, s submission) result {
		swaks, dir := peer(t, "swaks"), t.TempDir()
		if slices.Contains(args, "--tls") {
			needSwaksTLS(t, swaks)
		}
		text := strings.TrimSuffix(s.text, "\n") + "\n.\n" // swaks takes the last dot off, and sends one of its own
		argv := []string{swaks, "--server", s.addr, "--helo", "client.example.net", "--from", s.from, "--to", s.to,
			"--data", "@" + writeFile(t, dir, "data", text), "--timeout", "50"}
		return job{args: append(argv, args...), dir: dir}.run(t)
	}
}

func swaksVerifying() func(*testing.T, *world, submission) result {
	return func(t *testing.T, w *world, s submission) result {
		return swaksClient("--tls", "--tls-verify", "--tls-ca-path", w.caFile)(t, w, s)
	}
}

// needSwaksTLS skips the test where swaks lacks the library for TLS, which is a package of its own.
func needSwaksTLS(t *testing.T, swaks string) {
	t.Helper()
	if out := (job{args: []string{swaks, "--support"}, dir: t.TempDir()}).run(t).stdout; strings.Contains(out, "TLS not available") {
		t.Skip("swaks has no TLS: libnet-ssleay-perl is not installed")
	}
}

func msmtpClient(lines ...string) func(*testing.T, *world, submission) result {
	return func(t *testing.T, w *world, s submission) result {
		name, port, _ := net.SplitHostPort(s.addr)
		dir := t.TempDir()
		config := []string{"defaults", "domain client.example.net", "set_date_header off", "set_msgid_header off",
			"set_from_header off", "remove_bcc_headers off", "timeout 50", "tls_trust_file " + w.caFile,
			"account default", "host " + name, "port " + port, "from " + s.from}
		file := writeFile(t, dir, "msmtprc", strings.Join(append(config, lines...), "\n")+"\n")
		return job{args: []string{peer(t, "msmtp"), "-C", file, "--", s.to}, stdin: s.text, dir: dir}.run(t)
	}
}

// smtplibScript sends a file; its arguments are host, port, from, to, file, and words that say how.
const smtplibScript = `
import smtplib, ssl, sys
host, port, sender, to, name, ca, password = sys.argv[1:8]
how = sys.argv[8:]
with open(name, "rb") as f:
    data = f.read()
with smtplib.SMTP(host, int(port), local_hostname="client.example.net", timeout=50) as s:
    if "starttls" in how:
        s.starttls(context=ssl.create_default_context(cafile=ca))
    if "login" in how:
        s.login("bob", password)
    options = ["BODY=8BITMIME"]
    if "utf8" in how:
        options.append("SMTPUTF8")
    s.sendmail(sender, [to], data, mail_options=options)
`

func smtplibClient(how ...string) func(*testing.T, *world, submission) result {
	return func(t *testing.T, w *world, s submission) result {
		name, port, _ := net.SplitHostPort(s.addr)
		argv := []string{peer(t, "python3"), "-c", smtplibScript, name, port, s.from, s.to, s.file, w.caFile, secret}
		return job{args: append(argv, how...), dir: t.TempDir()}.run(t)
	}
}

func clients() []client {
	auth := func(mech string) []string {
		return []string{"--tls", "--auth", mech, "--auth-user", user, "--auth-password", secret}
	}
	authLines := []string{"tls on", "tls_starttls on", "user " + user, `password "` + secret + `"`}
	curlTLS := []string{"--ssl-reqd", "--user", user + ":" + secret, "--login-options"}
	return []client{
		{name: "curl", with: "ESMTP", send: curlClient(), all: true},
		{name: "curl STARTTLS AUTH PLAIN", with: "ESMTPSA", send: curlClient(append(curlTLS, "AUTH=PLAIN")...)},
		{name: "curl STARTTLS AUTH LOGIN", with: "ESMTPSA", send: curlClient(append(curlTLS, "AUTH=LOGIN")...)},
		{name: "swaks", with: "ESMTP", send: swaksClient(), all: true, adds: true},
		{name: "swaks HELO", with: "SMTP", send: swaksClient("--protocol", "SMTP")},
		{name: "swaks pipelining", with: "ESMTP", send: swaksClient("--pipeline")},
		{name: "swaks TLS", with: "ESMTPS", send: swaksVerifying()},
		{name: "swaks AUTH PLAIN", with: "ESMTPSA", send: swaksClient(auth("PLAIN")...)},
		{name: "swaks AUTH LOGIN", with: "ESMTPSA", send: swaksClient(auth("LOGIN")...)},
		{name: "smtplib", with: "ESMTP", send: smtplibClient(), all: true},
		{name: "smtplib STARTTLS", with: "ESMTPS", send: smtplibClient("starttls")},
		{name: "smtplib login", with: "ESMTPSA", send: smtplibClient("starttls", "login")},
		{name: "smtplib SMTPUTF8", with: "UTF8SMTP", send: smtplibClient("utf8")},
		{name: "msmtp", with: "ESMTP", send: msmtpClient("tls off", "auth off"), all: true},
		{name: "msmtp TLS", with: "ESMTPS", send: msmtpClient("tls on", "tls_starttls on", "auth off")},
		{name: "msmtp AUTH", with: "ESMTPSA", send: msmtpClient(append(authLines, "auth on")...)},
		{name: "msmtp SCRAM-SHA-256", with: "ESMTPSA", send: msmtpClient(append(authLines, "auth scram-sha-256")...)},
	}
}

// TestSMTPClients lets other people's clients hand over letters, and compares what is in the Maildir then.
func TestSMTPClients(t *testing.T) {
	w := newWorld(t, "MAILX_SMTP_MAX_MESSAGES=100000")
	addr := w.serve("serve-smtp")
	for _, c := range clients() {
		for i, l := range letters() {
			if !c.all && i != 1 && i != 8 || c.adds && !strings.Contains(l.text, "\n\n") {
				continue
			}
			t.Run(c.name+"/"+l.name, func(t *testing.T) {
				handOver(t, w, addr, c, l)
			})
		}
	}
}

func handOver(t *testing.T, w *world, addr string, c client, l letter) {
	clear(t, w.mailbox(user))
	file := writeFile(t, t.TempDir(), "message", crlf(l.text))
	c.send(t, w, submission{addr, file, l.text, sender, rcpt}).must(t, 0)
	got := checkStored(t, takeOne(t, w.mailbox(user)), sender, l.text)
	shape := regexp.MustCompile(`^Received: from client\.example\.net \(\[127\.0\.0\.1\]\) by ` + regexp.QuoteMeta(host) + ` with ` +
		c.with + ` (\(using TLS 1\.[23] \S+\) )?id \S+ for <` + regexp.QuoteMeta(rcpt) + `>; \w{3}, \d+ \w{3} \d{4} [\d:]{8} [+-]\d{4}$`)
	if !shape.MatchString(got.received) {
		t.Errorf("got  %s\nwant %s", got.received, shape)
	}
}

// TestSMTPEnds has the letters at whose end clients differ: nothing at all, and no line end at the end.
func TestSMTPEnds(t *testing.T) {
	w := newWorld(t)
	addr := w.serve("serve-smtp")
	for _, c := range clients() {
		if !c.all {
			continue
		}
		t.Run(c.name+"/no line end", func(t *testing.T) {
			text := header + "The last line has no end"
			file := writeFile(t, t.TempDir(), "message", crlf(text))
			c.send(t, w, submission{addr, file, text, sender, rcpt}).must(t, 0)
			checkStored(t, takeOne(t, w.mailbox(user)), sender, text+"\n")
		})
		if c.adds {
			continue
		}
		t.Run(c.name+"/empty", func(t *testing.T) {
			file := writeFile(t, t.TempDir(), "message", "")
			c.send(t, w, submission{addr, file, "", "", rcpt}).must(t, 0)
			s := parseStored(t, takeOne(t, w.mailbox(user)))
			if s.returnPath != "<>" || strings.Trim(s.rest, "\n") != "" {
				t.Errorf("got Return-Path %s and %q, want <> and blank lines", s.returnPath, s.rest)
			}
		})
	}
}

// TestSMTPUTF8 sends from an address that is not ASCII.
func TestSMTPUTF8(t *testing.T) {
	w := newWorld(t)
	addr := w.serve("serve-smtp")
	text := header + "Grüße\n"
	file := writeFile(t, t.TempDir(), "message", crlf(text))
	smtplibClient("utf8")(t, w, submission{addr, file, text, "żółw@example.net", rcpt}).must(t, 0)
	checkStored(t, takeOne(t, w.mailbox(user)), "żółw@example.net", text)
}

// TestSMTPSource takes 200 messages over 10 connections at once.
func TestSMTPSource(t *testing.T) {
	source := peer(t, "smtp-source")
	w := newWorld(t)
	addr := w.serve("serve-smtp")
	for _, mode := range [][]string{{}, {"-d"}} { // a connection for each message, and all over the same
		clear(t, w.mailbox(user))
		args := append([]string{source}, mode...)
		args = append(args, "-s", "10", "-m", "200", "-l", "3000", "-M", "client.example.net", "-f", sender, "-t", rcpt, addr)
		job{args: args, dir: t.TempDir()}.run(t).must(t, 0)
		all := messages(t, w.mailbox(user))
		if len(all) != 200 {
			t.Fatalf("%v: %d messages, want 200", mode, len(all))
		}
		for _, text := range all {
			s := parseStored(t, text)
			_, body, ok := strings.Cut(s.rest, "\n\n")
			if len(crlf(body)) < 3000 || !ok || strings.Trim(body, "0123456789X\n") != "" {
				t.Fatalf("not what smtp-source sends: %q", text)
			}
		}
	}
}

// TestSMTPRefuses shows clients the refusals that they have to understand.
func TestSMTPRefuses(t *testing.T) {
	w := newWorld(t, "MAILX_SMTP_MAX_SIZE=10000")
	addr := w.serve("serve-smtp")
	small := writeFile(t, t.TempDir(), "small", crlf(header+"Hello.\n"))
	big := writeFile(t, t.TempDir(), "big", crlf(header+noise(20000)))
	for _, tt := range []struct {
		name string
		r    result
		code int
		says string
	}{
		{"no such user", curlClient()(t, w, submission{addr, small, "", sender, "nobody@" + domain}), 55, "550"},
		{"relaying", curlClient()(t, w, submission{addr, small, "", sender, "bob@example.com"}), 55, "550"},
		{"too big", curlClient()(t, w, submission{addr, big, "", sender, rcpt}), 55, "552"},
		{"wrong password", curlClient("--ssl-reqd", "--user", user+":wrong")(t, w, submission{addr, small, "", sender, rcpt}), 67, "Login denied"},
	} {
		if tt.r.code != tt.code || !strings.Contains(tt.r.stderr, tt.says) {
			t.Errorf("%s: want exit code %d and %q:\n%v", tt.name, tt.code, tt.says, tt.r)
		}
	}
	if all := messages(t, w.mailbox(user)); len(all) != 0 {
		t.Errorf("%d messages were stored: %q", len(all), all)
	}
	if left, _ := filepath.Glob(filepath.Join(w.mailbox(user), "tmp", "*")); len(left) != 0 {
		t.Errorf("left in tmp/: %v", left)
	}
}
