package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	gomessage "github.com/emersion/go-message"

	"mailx/pkg/mail"
)

func result(local, domain string, err error) mail.Result {
	return mail.Result{Recipient: mail.Recipient{Address: mail.Address{Local: local, Domain: domain}}, Err: err}
}

func bounce() Report {
	refused := result("nobody", "example.net", mail.Permanentf(1, 1, "No such user"))
	refused.RemoteMTA, refused.Reply = "mx.example.net", "550 5.1.1 <nobody@example.net>: \x1b[2J no such user "+strings.Repeat("here ", 30)
	refused.Orig = "rfc822;Nobody@example.com"
	expired := Outcome{Result: result("slow", "example.org", mail.Temporaryf(4, 1, "Connection refused: %w", errors.New("secret"))),
		Action: Failed, LastAttempt: day}
	relayed := result("ok", "example.org", nil)
	relayed.Relayed = true
	return Report{
		ReportingMTA: "host.example", Sender: mail.Address{Local: "jm", Domain: "example.org"}, OrigEnvID: "QQ314", QueueID: "1vQ.7",
		Arrived: day, Now: day.Add(time.Hour), Random: seeded(),
		Outcomes: []Outcome{{Result: refused}, expired, {Result: relayed},
			{Result: result("later", "example.org", mail.Temporaryf(4, 1, "Connection timed out")), RetryUntil: day.Add(96 * time.Hour)}},
		Original: strings.NewReader("Received: x\n\ty\nSubject: Hello\nMessage-ID: <7@example.org>\n\nbody\n"),
	}
}

func report(t *testing.T, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReportGolden(t *testing.T) {
	got := report(t, bounce())
	for line := range strings.Lines(got) {
		if len(line) > 79 || !isASCII(line) || strings.Contains(line, "\r") {
			t.Errorf("bad line %q", line)
		}
	}
	if strings.Contains(got, "secret") {
		t.Error("the cause of an error is in the report")
	}
	golden(t, "bounce.eml", got)
}

// TestReportInGoMessage reads a report with an independent parser.
func TestReportInGoMessage(t *testing.T) {
	utf8Rcpt := bounce()
	utf8Rcpt.Outcomes = utf8Rcpt.Outcomes[:1]
	utf8Rcpt.Outcomes[0].Address.Local = "jörg"
	full := bounce()
	full.Ret = mail.RetFull
	eight := full
	eight.Original = strings.NewReader("Subject: ü\n\nbödy\n")
	for _, c := range []struct {
		name                 string
		r                    Report
		kind, status, orig   string
		originalMustContain  string
		recipientMustContain string
	}{
		{"headers", bounce(), "delivery-status", "message/delivery-status", "text/rfc822-headers", "Subject: Hello\r\n", "rfc822; nobody@example.net"},
		{"full", full, "delivery-status", "message/delivery-status", "message/rfc822", "\r\nbody\r\n", "rfc822; nobody@example.net"},
		{"8 bit", eight, "delivery-status", "message/delivery-status", "message/global", "bödy\r\n", "rfc822; nobody@example.net"},
		{"utf-8", utf8Rcpt, "global-delivery-status", "message/global-delivery-status", "text/rfc822-headers", "Subject: Hello\r\n", "utf-8; jörg@example.net"},
	} {
		wire := strings.ReplaceAll(report(t, c.r), "\n", "\r\n")
		e, err := gomessage.Read(strings.NewReader(wire))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		mediaType, params, _ := e.Header.ContentType()
		if mediaType != "multipart/report" || params["report-type"] != c.kind || e.Header.Get("Auto-Submitted") != "auto-replied" {
			t.Errorf("%s: got %s %v", c.name, mediaType, params)
		}
		var types, bodies []string
		mr := e.MultipartReader()
		for {
			p, err := mr.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			partType, _, _ := p.Header.ContentType()
			b, err := io.ReadAll(p.Body)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			types, bodies = append(types, partType), append(bodies, string(b))
		}
		if got := strings.Join(types, " "); got != "text/plain "+c.status+" "+c.orig {
			t.Errorf("%s: got parts %s", c.name, got)
			continue
		}
		original := strings.ReplaceAll(strings.ReplaceAll(bodies[2], "\r\n", "\n"), "\n", "\r\n")
		if !strings.Contains(bodies[1], "Final-Recipient: "+c.recipientMustContain+"\r\n") || !strings.Contains(original, c.originalMustContain) {
			t.Errorf("%s: got status\n%s\noriginal\n%s", c.name, bodies[1], bodies[2])
		}
	}
}

// Only a failure brings the whole message back (RFC 3461 §4.3).
func TestReportFullOnlyOfFailures(t *testing.T) {
	for action, isWhole := range map[Action]bool{Failed: true, Delayed: false, Delivered: false, Relayed: false, Expanded: false} {
		r := bounce()
		r.Ret = mail.RetFull
		r.Outcomes = []Outcome{{Result: result("a", "b", nil), Action: action}}
		if got := report(t, r); strings.Contains(got, "\nbody\n") != isWhole || !strings.Contains(got, "Subject: Hello") {
			t.Errorf("%s: is the body in it? want %v\n%s", action, isWhole, got)
		}
	}
}

func TestReportActions(t *testing.T) {
	relayed := result("a", "b", nil)
	relayed.Relayed = true
	for _, c := range []struct {
		o      Outcome
		action Action
		status string
	}{
		{Outcome{Result: result("a", "b", nil)}, Delivered, "2.0.0"},
		{Outcome{Result: relayed}, Relayed, "2.0.0"},
		{Outcome{Result: result("a", "b", errors.New("unknown"))}, Delayed, "4.0.0"},
		{Outcome{Result: result("a", "b", errors.New("unknown")), Action: Failed}, Failed, "4.0.0"},
		{Outcome{Result: result("a", "b", mail.Permanentf(1, 1, "x"))}, Failed, "5.1.1"},
		{Outcome{Result: result("a", "b", nil), Action: Expanded}, Expanded, "2.0.0"},
		{Outcome{Result: result("a", "b", nil), Action: Failed}, Failed, "5.0.0"},
	} {
		if a, s := c.o.action(), c.o.status().String(); a != c.action || s != c.status {
			t.Errorf("%+v: got %s %s, want %s %s", c.o, a, s, c.action, c.status)
		}
	}
}

// A server that has no name but its address stands as a literal, and what comes back of a message that has arrived was not
// undelivered.
func TestReportNames(t *testing.T) {
	for name, want := range map[string]string{
		"mx.example.org": "dns; mx.example.org", "192.0.2.1": "dns; [192.0.2.1]", "2001:db8::1": "dns; [IPv6:2001:db8::1]",
	} {
		r := bounce()
		relayed := mail.Result{Recipient: mail.Recipient{Address: mail.Address{Local: "a", Domain: "x.example"}}, RemoteMTA: name, Reply: "250 ok", Relayed: true}
		r.Outcomes = []Outcome{{Result: relayed}}
		got := report(t, r)
		if !strings.Contains(got, "\nRemote-MTA: "+want+"\n") || !strings.Contains(got, "\nContent-Description: Message header\n") {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}
