//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// away is a recipient that is not of this host.
const away = "carol@example.com"

// sink is Postfix's smtp-sink, which takes everything, and writes down what it took.
type sink struct {
	addr string
	dir  string
}

// startSink starts one. The options tell it where to fail.
func startSink(t *testing.T, options ...string) *sink {
	t.Helper()
	program, dir := peer(t, "smtp-sink"), nobodysDir(t)
	args := append([]string{program, "-d", filepath.Join(dir, "dump.")}, options...)
	if os.Getuid() == 0 { // it insists on another user then
		giveToNobody(t, dir)
		args = append(args, "-u", "nobody")
	}
	s := &sink{dir: dir}
	s.addr = startPeer(t, nil, func(port string) []string { return append(slices.Clip(args), "127.0.0.1:"+port, "100") })
	return s
}

// dumped is a message as smtp-sink writes it down.
type dumped struct {
	from  string
	rcpts []string
	text  string
}

var dumpHead = regexp.MustCompile(`\A((?:X-[\w-]+: .*\n)+)Received: .*\n(?:\t.*\n)+`)

// taken gives what the sink has taken, whole messages only.
func (s *sink) taken(t *testing.T) []dumped {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, "dump.*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []dumped
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head := dumpHead.FindStringSubmatch(string(data))
		if head == nil {
			t.Fatalf("not a dump of smtp-sink: %.300q", data)
		}
		d := dumped{text: strings.TrimSuffix(string(data[len(head[0]):]), "\n")} // the sink adds a blank line
		for line := range strings.Lines(head[1]) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			path, _, _ := strings.Cut(value, " ")
			switch name {
			case "X-Mail-Args":
				d.from = strings.Trim(path, "<>")
			case "X-Rcpt-Args":
				d.rcpts = append(d.rcpts, strings.Trim(path, "<>"))
			}
		}
		all = append(all, d)
	}
	return all
}

// checkTaken wants just one message, and that one.
func (s *sink) checkTaken(t *testing.T, want string) {
	t.Helper()
	all := s.taken(t)
	if len(all) != 1 {
		t.Fatalf("smtp-sink has %d messages, want 1", len(all))
	}
	if all[0].from != rcpt || !slices.Equal(all[0].rcpts, []string{away}) {
		t.Errorf("from %q to %q, want %q and %q", all[0].from, all[0].rcpts, rcpt, away)
	}
	diff(t, all[0].text, want)
}

// outgoing are the letters that mailx send takes as they are: those with a whole header.
func outgoing() []letter {
	return slices.DeleteFunc(letters(), func(l letter) bool { return !strings.Contains(l.text, "\n\n") })
}

// sendRaw is the command that hands over a message as it is, from bob, to a recipient elsewhere. The recipient of the
// header is bob's own, so it is left out.
func sendRaw(how ...string) []string {
	return append([]string{"send", "--envelope-from", rcpt, "-t"}, how...)
}

// toAway is a letter whose header has the recipient away.
func toAway(l letter) string {
	return strings.Replace(l.text, "To: Bob <bob@example.org>", "To: <"+away+">", 1)
}

// queued gives the ids of what waits.
func queued(t *testing.T, w *world) []string {
	t.Helper()
	var ids []string
	for line := range strings.Lines(w.mustMailx("", "queue", "list")) {
		id, _, _ := strings.Cut(line, "\t")
		ids = append(ids, id)
	}
	return ids
}

func TestSendNow(t *testing.T) {
	for _, l := range outgoing() {
		t.Run(l.name, func(t *testing.T) {
			s, w := startSink(t), newWorld(t)
			w.mustMailx(toAway(l), sendRaw("--now", "--server", "smtp://"+s.addr)...)
			s.checkTaken(t, toAway(l))
			if ids := queued(t, w); len(ids) != 0 {
				t.Errorf("in the queue: %q", ids)
			}
		})
	}
}

func TestSendQueueFlush(t *testing.T) {
	for _, l := range outgoing() {
		t.Run(l.name, func(t *testing.T) {
			s, w := startSink(t), newWorld(t)
			w.mustMailx(toAway(l), sendRaw("--queue")...)
			ids := queued(t, w)
			if len(ids) != 1 || len(s.taken(t)) != 0 {
				t.Fatalf("in the queue: %q, taken: %d", ids, len(s.taken(t)))
			}
			diff(t, w.mustMailx("", "queue", "show", ids[0]), toAway(l))
			w.mustMailx("", "queue", "flush", "--server", "smtp://"+s.addr)
			s.checkTaken(t, toAway(l))
			if ids := queued(t, w); len(ids) != 0 {
				t.Errorf("in the queue after the flush: %q", ids)
			}
		})
	}
}

// TestSendComposed lets mailx write the header, and Python's email package read it.
func TestSendComposed(t *testing.T) {
	python := peer(t, "python3")
	s, w := startSink(t), newWorld(t)
	file := writeFile(t, w.home, "größe.bin", "\x00\x01\xff\r\n.\r\n")
	w.mustMailx("Grüße\n.\n..\nFrom here\n", "send", "--from", "Bób <"+rcpt+">", "--to", away, "--bcc", "dave@example.com",
		"--subject", "Größe 日本", "--attach", file, "--now", "--server", "smtp://"+s.addr)
	all := s.taken(t)
	if len(all) != 1 || !slices.Equal(slices.Sorted(slices.Values(all[0].rcpts)), []string{away, "dave@example.com"}) {
		t.Fatalf("taken: %+v", all)
	}
	const script = `
import email, email.policy, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
a, = m.iter_attachments()
body = m.get_body().get_content()
print([m["From"], m["To"], m["Bcc"], m["Subject"], bool(m["Date"]), bool(m["Message-ID"]), body, a.get_filename(), a.get_content(),
    [str(d) for part in m.walk() for d in part.defects]])
`
	got := job{args: []string{python, "-c", script}, stdin: all[0].text, dir: t.TempDir()}.run(t).must(t, 0)
	want := `['Bób <bob@example.org>', 'carol@example.com', None, 'Größe 日本', True, True, 'Grüße\n.\n..\nFrom here\n', 'größe.bin', b'\x00\x01\xff\r\n.\r\n', []]` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

// failure is a way in which smtp-sink can fail at a stage.
type failure struct {
	name    string
	options []string
	outcome string // "delivered", "queued", "bounced"
}

func failures() []failure {
	all := []failure{
		{"EHLO refused, HELO not", []string{"-f", "EHLO"}, "delivered"},
		{"gone at QUIT", []string{"-q", "QUIT"}, "delivered"},
		{"421 at QUIT", []string{"-Q", "QUIT"}, "delivered"},
		{"no pipelining", []string{"-p"}, "delivered"},
		{"no ESMTP", []string{"-e"}, "delivered"},
		{"550 instead of 354", []string{"-A", "0"}, "bounced"},
	}
	for _, stage := range []string{"CONNECT", "MAIL", "RCPT", "DATA", "."} {
		all = append(all,
			failure{"4xx at " + stage, []string{"-r", stage}, "queued"},
			failure{"gone at " + stage, []string{"-q", stage}, "queued"},
			failure{"421 at " + stage, []string{"-Q", stage}, "queued"})
		if stage != "CONNECT" { // a host that refuses everybody says nothing about the message
			all = append(all, failure{"5xx at " + stage, []string{"-f", stage}, "bounced"})
		}
	}
	return append(all,
		failure{"gone at EHLO", []string{"-q", "EHLO"}, "queued"},
		failure{"421 at EHLO", []string{"-Q", "EHLO"}, "queued"},
		failure{"4xx at EHLO and HELO", []string{"-r", "EHLO,HELO"}, "queued"})
}

// TestFlushFailures: whatever the receiver does, a message is delivered, or waits, or its sender is told.
func TestFlushFailures(t *testing.T) {
	l := letters()[1]
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			s, w := startSink(t, f.options...), newWorld(t)
			w.mustMailx(toAway(l), sendRaw("--queue")...)
			w.mailx("", "queue", "flush", "--server", "smtp://"+s.addr)
			switch f.outcome {
			case "delivered":
				diff(t, s.taken(t)[0].text, toAway(l))
			case "queued":
				checkWaits(t, w, l)
			case "bounced":
				checkBounced(t, w, s)
			}
			if ids := queued(t, w); len(ids) != 0 {
				t.Errorf("in the queue: %q", ids)
			}
		})
	}
}

// checkWaits wants the message in the queue, whole, nobody told of it, and delivered by the next flush that finds a
// better server.
func checkWaits(t *testing.T, w *world, l letter) {
	t.Helper()
	ids := queued(t, w)
	if len(ids) != 1 {
		t.Fatalf("in the queue: %q, want one message", ids)
	}
	if all := messages(t, w.mailbox(user)); len(all) != 0 {
		t.Errorf("the sender got %q", all)
	}
	better := startSink(t)
	w.mustMailx("", "queue", "flush", "--server", "smtp://"+better.addr)
	if all := better.taken(t); len(all) != 0 {
		t.Error("it was tried again before its time")
	}
	w.mustMailx("", "queue", "flush", "--all", "--server", "smtp://"+better.addr)
	better.checkTaken(t, toAway(l))
}

// checkBounced wants the notice in the sender's mailbox.
func checkBounced(t *testing.T, w *world, s *sink) {
	t.Helper()
	w.mailx("", "queue", "flush", "--server", "smtp://"+s.addr) // it may need a turn of its own
	text := takeOne(t, w.mailbox(user))
	for _, want := range []string{"Return-Path: <>\n", "\nContent-Type: multipart/report;", "\nAction: failed\n", "\nStatus: 5.",
		"\nFinal-Recipient: rfc822; " + away + "\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the notice:\n%s", want, text)
		}
	}
}

// TestSendNowFailures: nothing is stored, and the exit code says whether to try again.
func TestSendNowFailures(t *testing.T) {
	l := letters()[0]
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			s, w := startSink(t, f.options...), newWorld(t)
			r := w.mailx(toAway(l), sendRaw("--now", "--server", "smtp://"+s.addr)...)
			switch temporary := r.code == 75; {
			case f.outcome == "delivered":
				r.must(t, 0)
				diff(t, s.taken(t)[0].text, toAway(l))
			case r.code == 0 || temporary != (f.outcome == "queued"):
				t.Errorf("want %s:\n%v", f.outcome, r)
			case strings.Count(r.stderr, "\n") != 1 || r.stdout != "":
				t.Errorf("want one line on stderr:\n%v", r)
			}
			if ids := queued(t, w); len(ids) != 0 {
				t.Errorf("in the queue: %q", ids)
			}
		})
	}
}

// TestReceiverAway: send without a choice, and a flush, leave the message in the queue; the next flush delivers it.
func TestReceiverAway(t *testing.T) {
	w := newWorld(t)
	l := letters()[2]
	nobody := "smtp://" + freeAddr(t)
	w.mustMailx(toAway(l), sendRaw("--server", nobody)...)
	w.mailx("", "queue", "flush", "--all", "--server", nobody)
	checkWaits(t, w, l)
}

// TestFlushOverTLS relays to a mailx that demands TLS and a login, by a certificate that is verified.
func TestFlushOverTLS(t *testing.T) {
	there := newWorld(t)
	here := newWorld(t, "MAILX_HOSTNAME=here.example.net", "MAILX_DOMAINS=example.net", "MAILX_TLS_CA="+there.caFile)
	secretFile := writeFile(t, here.home, "password", secret+"\n")
	for name, server := range map[string]struct{ scheme, addr string }{
		"STARTTLS": {"submission", there.serve("serve-smtp", "--auth-required", "true")},
		"TLS":      {"smtps", there.serve("serve-smtp", "--tls", "--auth-required", "true")},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.scheme + "://" + user + "@" + server.addr
			here.mustMailx(letters()[1].text, "send", "--envelope-from", sender, "-t", "--queue")
			here.mustMailx("", "queue", "flush", "--server", url, "--set", "password_file="+secretFile)
			s := checkStored(t, takeOne(t, there.mailbox(user)), sender, letters()[1].text)
			if !strings.Contains(s.received, " with ESMTPSA ") {
				t.Errorf("got %s", s.received)
			}
		})
	}
}

// TestFlushByHostsFile finds the smarthost in /etc/hosts, where "localhost" is on every system.
func TestFlushByHostsFile(t *testing.T) {
	s, w := startSink(t), newWorld(t)
	l := letters()[0]
	w.mustMailx(toAway(l), sendRaw("--queue")...)
	w.mustMailx("", "queue", "flush", "--server", "smtp://localhost:"+portOf(s.addr))
	s.checkTaken(t, toAway(l))
}
