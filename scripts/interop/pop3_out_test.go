//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// deliver hands messages to serve-smtp over one connection, by a client that is not ours.
func deliver(t testing.TB, addr, from, to string, texts []string) {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range texts {
		if err := deliverOne(c, from, to, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
}

func deliverOne(c *smtp.Client, from, to, text string) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.Close()
}

// mail is n messages for bob, with dots and 8 bit in them, each with its number in the subject.
func mail(n int) []string {
	var texts []string
	for i := range n {
		head := fmt.Sprintf("From: Alice <alice@example.net>\nTo: bob@example.org\nSubject: number %03d\n"+
			"Date: Mon, 02 Mar 2026 08:00:00 +0000\nMessage-ID: <%d@example.net>\n\n", i, i)
		texts = append(texts, head+noise(50*(i%40))+".\n..\nGrüße \xff\n.")
	}
	return texts
}

// office is a host with serve-pop3, and a mailbox with mail in it.
type office struct {
	*world
	smtp, pop string
	texts     []string // as they are on disk, in order
}

func newOffice(t *testing.T, n int, args ...string) *office {
	t.Helper()
	w := newWorld(t, "MAILX_SMTP_MAX_MESSAGES=100000")
	o := &office{world: w, smtp: w.serve("serve-smtp"), pop: w.serve(append([]string{"serve-pop3"}, args...)...)}
	o.fill(t, n)
	return o
}

// fill replaces what is in the mailbox.
func (o *office) fill(t *testing.T, n int) {
	t.Helper()
	clear(t, o.mailbox(user))
	deliver(t, o.smtp, sender, rcpt, mail(n))
	o.texts = messages(t, o.mailbox(user))
	if len(o.texts) != n {
		t.Fatalf("%d messages were delivered, want %d", len(o.texts), n)
	}
}

// checkSame compares two mailboxes, message by message, whatever their order.
func checkSame(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	bySubject := func(a, b string) int { return strings.Compare(subject(a), subject(b)) }
	got, want = slices.SortedFunc(slices.Values(got), bySubject), slices.SortedFunc(slices.Values(want), bySubject)
	for i := range want {
		diff(t, got[i], want[i])
	}
}

func subject(text string) string {
	_, after, _ := strings.Cut(text, "\nSubject: ")
	line, _, _ := strings.Cut(after, "\n")
	return line
}

// fromOn is a message from its first own field on, for clients that change what is above it.
func fromOn(text string) string {
	if at := strings.Index(text, "From: "); at >= 0 {
		return text[at:]
	}
	return text
}

func mapped(texts []string, f func(string) string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, f(text))
	}
	return all
}

const pop3Messages = 200

func TestPOP3Curl(t *testing.T) {
	curl := peer(t, "curl")
	o := newOffice(t, 10)
	for name, args := range map[string][]string{"clear": {}, "STLS": {"--ssl-reqd", "--cacert", o.caFile}} {
		t.Run(name, func(t *testing.T) {
			ask := func(path string, more ...string) string {
				argv := append([]string{curl, "-sS", "--noproxy", "*", "--user", user + ":" + secret}, args...)
				argv = append(append(argv, more...), "pop3://"+o.pop+"/"+path)
				return job{args: argv, dir: t.TempDir()}.run(t).must(t, 0)
			}
			o.fill(t, 10)
			list, uidl := strings.Fields(ask("")), strings.Fields(ask("", "-X", "UIDL"))
			if len(list) != 20 || len(uidl) != 20 {
				t.Fatalf("LIST %q, UIDL %q", list, uidl)
			}
			for i, want := range o.texts {
				diff(t, ask(strconv.Itoa(i+1)), crlf(want))
				if size := strconv.Itoa(len(crlf(want))); list[2*i+1] != size {
					t.Errorf("message %d: LIST says %s octets, want %s", i+1, list[2*i+1], size)
				}
			}
			ask("3", "-X", "DELE", "--head")
			ask("9", "-X", "DELE", "--head") // the tenth, before
			checkSame(t, messages(t, o.mailbox(user)), append(o.texts[:2:2], o.texts[3:9]...))
			if now := strings.Fields(ask("", "-X", "UIDL")); len(now) != 16 || now[5] != uidl[7] || now[15] != uidl[17] {
				t.Errorf("UIDL changed: %q, then %q", uidl, now)
			}
		})
	}
}

// poplibScript prints as JSON what it is told; its arguments are host, port, password, authority, and how.
const poplibScript = `
import json, poplib, ssl, sys
host, port, password, ca, how = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if how == "pop3s":
    p = poplib.POP3_SSL(host, int(port), context=context, timeout=50)
else:
    p = poplib.POP3(host, int(port), timeout=50)
out = {"capa": sorted(p.capa())}
if how == "stls":
    p.stls(context=context)
p.user("bob")
p.pass_(password)
text = lambda lines: (b"\n".join(lines) + b"\n").decode("latin-1")
out["stat"] = p.stat()
out["list"] = [line.decode() for line in p.list()[1]]
out["uidl"] = [line.decode() for line in p.uidl()[1]]
out["top"] = [text(p.top(i + 1, 2)[1]) for i in range(out["stat"][0])]
out["retr"] = [text(p.retr(i + 1)[1]) for i in range(out["stat"][0])]
p.dele(1)
p.dele(2)
p.rset()
for i in range(0, out["stat"][0], 2):
    p.dele(i + 1)
p.quit()
json.dump(out, sys.stdout)
`

func TestPOP3Poplib(t *testing.T) {
	python := peer(t, "python3")
	o := newOffice(t, pop3Messages)
	secure := o.serve("serve-pop3", "--tls")
	for how, addr := range map[string]string{"clear": o.pop, "stls": o.pop, "pop3s": secure} {
		t.Run(how, func(t *testing.T) {
			o.fill(t, pop3Messages)
			name, port, _ := net.SplitHostPort(addr)
			out := job{args: []string{python, "-c", poplibScript, name, port, secret, o.caFile, how}, dir: t.TempDir()}.run(t).must(t, 0)
			checkPoplib(t, o, out)
		})
	}
}

func checkPoplib(t *testing.T, o *office, out string) {
	t.Helper()
	var told struct {
		Capa, List, UIDL, Top, Retr []string
		Stat                        [2]int
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, want := range o.texts {
		size := len(crlf(want))
		total += size
		diff(t, latin1(told.Retr[i]), want)
		head, body, _ := strings.Cut(want, "\n\n")
		lines := strings.SplitAfterN(body, "\n", 3)
		diff(t, latin1(told.Top[i]), head+"\n\n"+strings.Join(lines[:min(2, len(lines))], ""))
		if line := fmt.Sprintf("%d %d", i+1, size); told.List[i] != line {
			t.Errorf("LIST has %q, want %q", told.List[i], line)
		}
	}
	if told.Stat != [2]int{len(o.texts), total} {
		t.Errorf("STAT says %v, want %d %d", told.Stat, len(o.texts), total)
	}
	slices.Sort(told.UIDL)
	if got := len(slices.Compact(told.UIDL)); got != len(o.texts) {
		t.Errorf("%d different UIDL, want %d", got, len(o.texts))
	}
	var odd []string
	for i := 1; i < len(o.texts); i += 2 {
		odd = append(odd, o.texts[i])
	}
	checkSame(t, messages(t, o.mailbox(user)), odd)
}

// latin1 gives back the octets that were packed as the first 256 characters of Unicode.
func latin1(text string) string {
	octets := make([]byte, 0, len(text))
	for _, r := range text {
		octets = append(octets, byte(r))
	}
	return string(octets)
}

func TestPOP3Mpop(t *testing.T) {
	mpop := peer(t, "mpop")
	o := newOffice(t, pop3Messages)
	for name, lines := range map[string][]string{
		"clear":  {"tls off", "auth user", "pipelining off"},
		"PLAIN":  {"tls on", "tls_starttls on", "tls_trust_file " + o.caFile, "auth plain", "pipelining on"},
		"SCRAM":  {"tls on", "tls_starttls on", "tls_trust_file " + o.caFile, "auth scram-sha-256"},
		"chosen": {"tls off", "auth user"},
	} {
		t.Run(name, func(t *testing.T) {
			o.fill(t, pop3Messages)
			host, port, _ := net.SplitHostPort(o.pop)
			dir := t.TempDir()
			box := makeMaildir(t, filepath.Join(dir, "box"))
			config := append([]string{"account default", "host " + host, "port " + port, "user " + user, `password "` + secret + `"`,
				"delivery maildir " + box, "uidls_file " + filepath.Join(dir, "uidls"), "received_header off", "keep on"}, lines...)
			file := writeFile(t, dir, "mpoprc", strings.Join(config, "\n")+"\n")
			for range 2 { // the second time there is nothing new
				job{args: []string{mpop, "-C", file, "-q"}, dir: dir}.run(t)
				checkSame(t, messages(t, box), o.texts)
			}
			job{args: []string{mpop, "-C", file, "-q", "--keep=off"}, dir: dir}.run(t)
			checkSame(t, messages(t, o.mailbox(user)), nil)
		})
	}
}

func makeMaildir(t testing.TB, dir string) string {
	t.Helper()
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPOP3Fetchmail has fetchmail hand each message to mailx deliver. It replaces Return-Path.
func TestPOP3Fetchmail(t *testing.T) {
	fetchmail := peer(t, "fetchmail")
	o := newOffice(t, pop3Messages)
	for name, ssl := range map[string]string{"clear": `sslproto ""`, "STLS": `sslproto "TLS1.2+" sslcertck sslcertfile "` + o.caFile + `"`} {
		t.Run(name, func(t *testing.T) {
			o.fill(t, pop3Messages)
			dir := t.TempDir()
			box := filepath.Join(dir, "box")
			mda := fmt.Sprintf("%s deliver --config %s --spool %s --to %s", o.bin, os.DevNull, filepath.Join(dir, "spool"), box)
			rc := fmt.Sprintf("set invisible\npoll localhost protocol pop3 port %s timeout 50\n"+
				"  user \"%s\" password \"%s\" is \"nobody\" here\n  no rewrite no mimedecode no keep %s mda \"%s\"\n",
				portOf(o.pop), user, secret, ssl, mda)
			file := writeFile(t, dir, "fetchmailrc", rc)
			job{args: []string{fetchmail, "-f", file, "-s", "--nodetach", "--nosyslog"}, dir: dir}.run(t).must(t, 0)
			checkSame(t, mapped(messages(t, box), fromOn), mapped(o.texts, fromOn))
			checkSame(t, messages(t, o.mailbox(user)), nil)
		})
	}
}

// getmailMessages are few, for getmail forks for every message, and stops with "waiting child timed out" when the child has
// ended before the parent waits for it: the more there are, the likelier that is.
const getmailMessages = 25

// untilDone runs getmail until it gets through. Messages at which it stopped are delivered twice then.
func untilDone(t *testing.T, getmail job) {
	t.Helper()
	for range 20 {
		r := getmail.run(t)
		if r.code != 0 && strings.Contains(r.stderr, "waiting child pid") {
			continue
		}
		r.must(t, 0)
		return
	}
	t.Skip("getmail does not get through on this machine")
}

// unique drops messages that are there more than once.
func unique(texts []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(texts)))
}

// TestPOP3Getmail runs getmail as nobody, since it does not deliver as root.
func TestPOP3Getmail(t *testing.T) {
	getmail := peer(t, "getmail")
	o := newOffice(t, getmailMessages)
	secure := o.serve("serve-pop3", "--tls")
	authority, err := os.ReadFile(o.caFile)
	if err != nil {
		t.Fatal(err)
	}
	for kind, addr := range map[string]string{"SimplePOP3Retriever": o.pop, "SimplePOP3SSLRetriever": secure} {
		t.Run(kind, func(t *testing.T) {
			o.fill(t, getmailMessages)
			host, port, _ := net.SplitHostPort(addr)
			dir := nobodysDir(t)
			box := makeMaildir(t, filepath.Join(dir, "box"))
			rc := fmt.Sprintf("[retriever]\ntype = %s\nserver = %s\nport = %s\nusername = %s\npassword = %s\ntimeout = 5\n",
				kind, host, port, user, secret)
			if addr == secure {
				rc += "ca_certs = " + writeFile(t, dir, "ca.pem", string(authority)) + "\n"
			}
			rc += "[destination]\ntype = Maildir\npath = " + box + "/\n" +
				"[options]\nread_all = false\ndelete = false\ndelivered_to = false\nreceived = false\nverbose = 0\n"
			file := writeFile(t, dir, "getmailrc", rc)
			for _, more := range [][]string{nil, nil, {"--delete", "--all"}} { // the second time there is nothing new
				if more != nil {
					clear(t, box)
				}
				argv := append([]string{getmail, "--getmaildir", dir, "--rcfile", file}, more...)
				untilDone(t, job{args: argv, dir: dir, nobody: true})
				checkSame(t, unique(mapped(messages(t, box), fromOn)), mapped(o.texts, fromOn))
			}
			checkSame(t, messages(t, o.mailbox(user)), nil)
		})
	}
}
