//go:build interop

package interop

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/mailtest"
)

// handed is one message that a client submits with a login, over TLS.
type handed struct {
	addr     string // host:port; the certificate has to be for this host
	implicit bool   // TLS from the first octet, instead of STARTTLS
	mech     string
	password string
	caFile   string
	text     string // local form
	from     string
	to       []string
}

// file writes the message as it is on the wire, for clients that read a file.
func (h handed) file(t *testing.T) string { return writeFile(t, t.TempDir(), "message", crlf(h.text)) }

// submitter is somebody else's program that submits.
type submitter struct {
	name   string
	submit func(t *testing.T, h handed) result
	mechs  []string // that it can log in with
	names  bool     // it compares the name in the certificate
}

func submitters() []submitter {
	plain := []string{"PLAIN", "LOGIN"}
	scram := append(slices.Clip(plain), "SCRAM-SHA-256")
	return []submitter{
		{name: "curl", submit: submitByCurl, mechs: scram, names: true},
		{name: "swaks", submit: submitBySwaks, mechs: plain},
		{name: "msmtp", submit: submitByMsmtp, mechs: scram, names: true},
		{name: "smtplib", submit: submitBySmtplib, mechs: plain, names: true},
		{name: "go-smtp", submit: submitByGoSMTP, mechs: plain, names: true},
	}
}

func submitByCurl(t *testing.T, h handed) result {
	curl, dir := peer(t, "curl"), t.TempDir()
	if version := (job{args: []string{curl, "--version"}, dir: dir}).run(t).stdout; strings.HasPrefix(h.mech, "SCRAM") && !strings.Contains(version, "gsasl") {
		t.Skip("this curl is built without GSASL")
	}
	url := "smtp://" + h.addr + "/client.example.net"
	if h.implicit {
		url = "smtps://" + h.addr + "/client.example.net"
	}
	args := []string{curl, "-sS", "--noproxy", "*", "--cacert", h.caFile, "--ssl-reqd", "--user", user + ":" + h.password,
		"--login-options", "AUTH=" + h.mech, "--mail-from", h.from, "--upload-file", h.file(t)}
	for _, to := range h.to {
		args = append(args, "--mail-rcpt", to)
	}
	return job{args: append(args, url), dir: dir}.run(t)
}

func submitBySwaks(t *testing.T, h handed) result {
	swaks, dir := peer(t, "swaks"), t.TempDir()
	needSwaksTLS(t, swaks)
	how := "--tls"
	if h.implicit {
		how = "--tls-on-connect"
	}
	text := strings.TrimSuffix(h.text, "\n") + "\n.\n" // swaks takes the last dot off, and sends one of its own
	return job{args: []string{swaks, "--server", h.addr, "--helo", "client.example.net", "--from", h.from,
		"--to", strings.Join(h.to, ","), how, "--tls-verify", "--tls-ca-path", h.caFile, "--auth", h.mech,
		"--auth-user", user, "--auth-password", h.password, "--data", "@" + writeFile(t, dir, "data", text), "--timeout", "50"},
		dir: dir}.run(t)
}

func submitByMsmtp(t *testing.T, h handed) result {
	name, port, _ := net.SplitHostPort(h.addr)
	dir, starttls := t.TempDir(), "on"
	if h.implicit {
		starttls = "off"
	}
	config := []string{"defaults", "domain client.example.net", "set_date_header off", "set_msgid_header off",
		"set_from_header off", "remove_bcc_headers off", "timeout 50", "tls on", "tls_starttls " + starttls,
		"tls_trust_file " + h.caFile, "account default", "host " + name, "port " + port, "from " + h.from,
		"auth " + strings.ToLower(h.mech), "user " + user, `password "` + h.password + `"`}
	file := writeFile(t, dir, "msmtprc", strings.Join(config, "\n")+"\n")
	return job{args: append([]string{peer(t, "msmtp"), "-C", file, "--"}, h.to...), stdin: h.text, dir: dir}.run(t)
}

const submitScript = `
import smtplib, ssl, sys
how, host, port, mech, user, password, ca, sender, name = sys.argv[1:10]
context = ssl.create_default_context(cafile=ca)
kind = smtplib.SMTP_SSL if how == "tls" else smtplib.SMTP
more = {"context": context} if how == "tls" else {}
with open(name, "rb") as f:
    data = f.read()
with kind(host, int(port), local_hostname="client.example.net", timeout=50, **more) as s:
    if how != "tls":
        s.starttls(context=context)
    s.ehlo()
    s.user, s.password = user, password
    s.auth(mech, s.auth_plain if mech == "PLAIN" else s.auth_login)
    refused = s.sendmail(sender, sys.argv[10:], data, mail_options=["BODY=8BITMIME"])
    if refused:
        sys.exit(repr(refused))
`

func submitBySmtplib(t *testing.T, h handed) result {
	name, port, _ := net.SplitHostPort(h.addr)
	how := "starttls"
	if h.implicit {
		how = "tls"
	}
	args := []string{peer(t, "python3"), "-c", submitScript, how, name, port, h.mech, user, h.password, h.caFile, h.from, h.file(t)}
	return job{args: append(args, h.to...), dir: t.TempDir()}.run(t)
}

// submitByGoSMTP makes a result of what the library says, as if it were a program.
func submitByGoSMTP(t *testing.T, h handed) result {
	r := result{args: []string{"go-smtp"}}
	if err := goSMTP(t, h); err != nil {
		r.code, r.stderr = 1, err.Error()
	}
	return r
}

// goSMTPClear sends without TLS and login.
func goSMTPClear(h handed) error {
	c, err := gosmtp.Dial(h.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello("client.example.net"); err != nil {
		return err
	}
	return goSMTPMail(c, h)
}

func goSMTP(t *testing.T, h handed) error {
	c, err := dialGoSMTP(t, h)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(loginOf(h.mech, h.password)); err != nil {
		return err
	}
	return goSMTPMail(c, h)
}

func goSMTPMail(c *gosmtp.Client, h handed) error {
	if err := c.Mail(h.from, &gosmtp.MailOptions{Body: gosmtp.Body8BitMIME, Size: int64(len(crlf(h.text)))}); err != nil {
		return err
	}
	for _, to := range h.to {
		if err := c.Rcpt(to, nil); err != nil {
			return err
		}
	}
	return goSMTPData(c, h.text)
}

// loginOf is bob's login for go-smtp.
func loginOf(mech, password string) sasl.Client {
	if mech == "LOGIN" {
		return sasl.NewLoginClient(user, password)
	}
	return sasl.NewPlainClient("", user, password)
}

// goSMTPData sends the message and leaves.
func goSMTPData(c *gosmtp.Client, text string) error {
	data, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := data.Write([]byte(crlf(text))); err != nil {
		return err
	}
	if err := data.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// dialGoSMTP connects, with TLS either way.
func dialGoSMTP(t *testing.T, h handed) (*gosmtp.Client, error) {
	t.Helper()
	name, _, _ := net.SplitHostPort(h.addr)
	pem, err := os.ReadFile(h.caFile)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{ServerName: name, RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(pem)
	var c *gosmtp.Client
	if h.implicit {
		c, err = gosmtp.DialTLS(h.addr, config)
	} else {
		c, err = gosmtp.DialStartTLS(h.addr, config)
	}
	if err != nil {
		return nil, err
	}
	return c, c.Hello("client.example.net")
}

// parcel is a letter and whom it goes to.
type parcel struct {
	letter
	to []string
}

// parcels are what every client has to submit in each way it has.
func parcels() []parcel {
	byName := make(map[string]letter)
	for _, l := range letters() {
		byName[l.name] = l
	}
	utf8 := letter{"UTF-8 header", strings.Replace(header, "Subject: interop", "Subject: Grüße, 日本 \U0001f427", 1) + "Grüße\n"}
	many := []string{rcpt, "carl@" + domain}
	for i := range 98 {
		many = append(many, fmt.Sprintf("r%02d@example.com", i))
	}
	only := []string{rcpt}
	return []parcel{{byName["plain"], only}, {byName["1 MiB"], only}, {byName["dots"], only}, {byName["eight bit"], only},
		{utf8, only}, {letter{"many recipients", header + "To a hundred.\n"}, many}}
}

// newSubmission makes a host with two submission servers, where carl lives beside bob.
func newSubmission(t *testing.T, settings ...string) (w *world, starttls, implicit string) {
	t.Helper()
	w = newWorld(t, settings...)
	w.mustMailx(secret+"\n", "user", "add", "carl")
	starttls = w.serve("serve-smtp", "--auth-required", "true")
	implicit = w.serve("serve-smtp", "--auth-required", "true", "--tls")
	return w, "localhost:" + portOf(starttls), "localhost:" + portOf(implicit)
}

// TestSubmit is the table of clients, ways in, and messages: what is stored is what was sent, for those it was sent to.
func TestSubmit(t *testing.T) {
	for _, s := range submitters() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w, starttls, implicit := newSubmission(t)
			for _, mech := range s.mechs {
				for way, addr := range map[string]string{"STARTTLS": starttls, "TLS": implicit} {
					for _, p := range parcels() {
						t.Run(way+" "+mech+"/"+p.name, func(t *testing.T) {
							checkSubmits(t, w, s, p, handed{addr: addr, implicit: way == "TLS", mech: mech})
						})
					}
				}
			}
		})
	}
}

func checkSubmits(t *testing.T, w *world, s submitter, p parcel, h handed) {
	h.password, h.caFile, h.text, h.from, h.to = secret, w.caFile, p.text, sender, p.to
	s.submit(t, h).must(t, 0)
	var remote []string
	for _, to := range p.to {
		name, host, _ := strings.Cut(to, "@")
		if host != domain {
			remote = append(remote, to)
			continue
		}
		checkESMTPSA(t, checkStored(t, takeOne(t, w.mailbox(name)), sender, p.text).received)
	}
	checkEnvelopes(t, w, sender, remote, p.text)
}

// checkESMTPSA wants the keyword of a submission with TLS and AUTH, and the TLS of it: RFC 3848.
func checkESMTPSA(t *testing.T, received string) {
	t.Helper()
	shape := regexp.MustCompile(`^Received: from client\.example\.net \(\[127\.0\.0\.1\]\) by ` + regexp.QuoteMeta(host) +
		` with (UTF8SMTPSA|ESMTPSA) \(using TLS 1\.[23] \S+\) id \S+`)
	if !shape.MatchString(received) {
		t.Errorf("got  %s\nwant %s", received, shape)
	}
}

// envelope is a line of mailx queue list --json.
type envelope struct {
	ID         string
	Sender     string
	Recipients []string
}

// checkEnvelopes wants just one message in the queue, for these recipients in this order, and removes it; or none, where
// there are no recipients.
func checkEnvelopes(t *testing.T, w *world, from string, to []string, text string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(w.mustMailx("", "queue", "list", "--json"), "\n"), "\n")
	if lines[0] == "" && len(to) == 0 {
		return
	}
	var e envelope
	if err := json.Unmarshal([]byte(lines[0]), &e); err != nil || len(lines) != 1 {
		t.Fatalf("queue: %v %q", err, lines)
	}
	if e.Sender != "<"+from+">" || !slices.Equal(e.Recipients, to) {
		t.Errorf("queued from %s to %q, want <%s> and %q", e.Sender, e.Recipients, from, to)
	}
	received, rest, _ := strings.Cut(w.mustMailx("", "queue", "show", e.ID), "\nFrom: ")
	if strings.Count(received, "Received: ") != 1 {
		t.Errorf("trace of the queued message: %q", received)
	}
	diff(t, "From: "+rest, text)
	w.mustMailx("", "queue", "remove", e.ID)
}

// TestSubmitRefused: a client that may not, or should not, says so by its exit code, and nothing is stored.
func TestSubmitRefused(t *testing.T) {
	for _, s := range submitters() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w, starttls, implicit := newSubmission(t)
			other := mailtest.NewCA(t).WriteCA(t.TempDir())
			for way, addr := range map[string]string{"STARTTLS": starttls, "TLS": implicit} {
				h := handed{addr: addr, implicit: way == "TLS", password: secret, caFile: w.caFile,
					text: letters()[0].text, from: sender, to: []string{rcpt, away}}
				for _, mech := range s.mechs {
					wrong := h
					wrong.mech, wrong.password = mech, secret+"!"
					t.Run(way+" "+mech+"/wrong password", func(t *testing.T) { checkRefused(t, w, s, wrong) })
				}
				h.mech, h.caFile = "PLAIN", other
				t.Run(way+"/unknown authority", func(t *testing.T) { checkRefused(t, w, s, h) })
			}
		})
		t.Run(s.name+"/wrong name", func(t *testing.T) {
			t.Parallel()
			if !s.names {
				t.Skip(s.name + " compares no names")
			}
			dir := t.TempDir()
			ca := mailtest.NewCA(t)
			cert, key := mailtest.WritePEM(t, dir, "wrong", ca.WrongName())
			w, starttls, implicit := newSubmission(t, "MAILX_TLS_CERT="+cert, "MAILX_TLS_KEY="+key)
			h := handed{addr: starttls, mech: "PLAIN", password: secret, caFile: ca.WriteCA(dir), text: letters()[0].text,
				from: sender, to: []string{rcpt}}
			checkRefused(t, w, s, h)
			h.addr, h.implicit = implicit, true
			checkRefused(t, w, s, h)
		})
	}
}

func checkRefused(t *testing.T, w *world, s submitter, h handed) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(w.spool, "state", "throttle")); err != nil { // or each would wait for longer
		t.Fatal(err)
	}
	if r := s.submit(t, h); r.code == 0 || r.stderr+r.stdout == "" {
		t.Errorf("want a failure, and a word about it:\n%v", r)
	}
	checkNothing(t, w)
	checkEnvelopes(t, w, "", nil, "")
}
