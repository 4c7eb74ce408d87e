package smtp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/wire"
)

// Each limit of the server at n-1, n and n+1. say is a conversation with n of something, up to the command that meets the
// limit; what counts is the reply to that one, the last that is heard.
func TestLimits(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	text := func(n int) string { // n octets on the wire, in lines of at most 62
		return strings.Repeat(x(60)+"\r\n", (n-2)/62) + x((n-2)%62) + "\r\n"
	}
	data := func(body string) string { return beginBob + "DATA\r\n" + body + ".\r\n" }
	message1 := beginBob[len("EHLO x.example\r\n"):] + "DATA\r\n.\r\n"
	srv := &Server{Hostname: "h.example", MaxSize: 10_000, MaxRcpts: 7, MaxMessages: 5, Mistakes: 9, MaxErrands: 30, Auth: bobOnly{}, InsecureAuth: true,
		MaxHold: time.Hour, Now: func() time.Time { return time.Unix(1700000000, 0) }}
	for _, c := range []struct {
		name        string
		limit       int
		say         func(n int) string
		ok, refused string
	}{
		{"message size, DATA", 10_000, func(n int) string { return data(text(n)) }, "250 2.0.0", "552 5.3.4"},
		{"message size, dots do not count", 10_000, func(n int) string { return data(strings.Repeat("..\r\n", 100) + text(n-300)) }, "250 2.0.0", "552 5.3.4"},
		{"message size, BDAT", 10_000, func(n int) string { return beginBob + bdat(text(100), "") + bdat(text(n-100), " LAST") }, "250 2.0.0", "552 5.3.4"},
		{"message size, BINARYMIME", 10_000, func(n int) string { return beginBinary + bdat(text(100), "") + bdat(text(n-100), " LAST") }, "250 2.0.0", "552 5.3.4"},
		{"message size, announced", 10_000, func(n int) string { return fmt.Sprintf("EHLO x\r\nMAIL FROM:<a@x.example> SIZE=%d\r\n", n) }, "250 2.1.0", "552 5.3.4"},
		{"digits of SIZE", 20, func(n int) string {
			return "EHLO x\r\nMAIL FROM:<a@x.example> SIZE=" + strings.Repeat("0", n-1) + "1\r\n"
		}, "250 2.1.0", "501 5.5.4"},
		{"command line", wire.DefaultMaxLine, func(n int) string { return "NOOP " + x(n-7) + "\r\n" }, "250 2.0.0", "500 5.5.6"},
		{"text line, DATA", wire.DefaultMaxText, func(n int) string { return data(x(n-2) + "\r\n") }, "250 2.0.0", "500 5.6.0"},
		{"text line, BDAT", wire.DefaultMaxText, func(n int) string { return beginBob + bdat(x(n-2)+"\r\n", " LAST") }, "250 2.0.0", "500 5.6.0"},
		{"text line, BINARYMIME", message.MaxTextLine, func(n int) string { return beginBinary + bdat(x(n-2)+"\r\n", " LAST") }, "250 2.0.0", "500 5.6.0"},
		{"recipients", 7, func(n int) string {
			return "EHLO x\r\nMAIL FROM:<a@x.example>\r\n" + strings.Repeat("RCPT TO:<bob@x.example>\r\n", n)
		}, "250 2.1.5", "452 4.5.3"},
		{"messages of a connection", 5, func(n int) string {
			return "EHLO x\r\n" + strings.Repeat(message1, n-1) + message1[:len("MAIL FROM:<a@x.example>\r\n")]
		}, "250 2.1.0", "421 4.7.0"},
		{"mistakes before the last", 8, func(n int) string { return strings.Repeat("FROB\r\n", n) }, "500 5.5.1", "421 4.7.0"},
		{"mistakes in a row", 8, func(n int) string { return strings.Repeat("FROB\r\n", 8) + "NOOP\r\n" + strings.Repeat("FROB\r\n", n) }, "500 5.5.1", "421 4.7.0"},
		{"unknown recipients", 9, func(n int) string {
			return "EHLO x\r\nMAIL FROM:<a@x.example>\r\n" + strings.Repeat("RCPT TO:<who@x.example>\r\n", n)
		}, "550 5.1.1", "421 4.7.0"},
		{"recipients that are too many", maxWaiting * 7, func(n int) string {
			return "EHLO x\r\nMAIL FROM:<a@x.example>\r\n" + strings.Repeat("RCPT TO:<bob@x.example>\r\n", 7+n)
		}, "452 4.5.3", "421 4.7.0"},
		{"commands without a message", 30, func(n int) string { return "EHLO x\r\n" + strings.Repeat("NOOP\r\n", n-1) }, "250 2.0.0", "421 4.7.0"},
		{"commands since a message", 30, func(n int) string { return beginBob + "DATA\r\n.\r\n" + strings.Repeat("NOOP\r\n", n) }, "250 2.0.0", "421 4.7.0"},
		{"chunks without octets", 30, func(n int) string { return beginBob + strings.Repeat("BDAT 0\r\n", n-2) }, "250 2.0.0", "421 4.7.0"},
		{"passwords guessed before the last", 4, func(n int) string { return "EHLO x\r\n" + strings.Repeat("AUTH PLAIN AGJvYgB3cm9uZw==\r\n", n) }, "535 5.7.8", "421 4.7.0"},
		{"Received fields", message.MaxReceived, func(n int) string { return data(strings.Repeat("Received: x\r\n", n)) }, "250 2.0.0", "554 5.4.6"},
		{"hostname in EHLO", mail.MaxDomain, func(n int) string { return "HELO " + x(n) + "\r\n" }, "250 h.examp", "501 5.5.2"},
		{"local part", mail.MaxLocal, func(n int) string { return "EHLO x\r\nMAIL FROM:<" + x(n) + "@x.example>\r\n" }, "250 2.1.0", "501 5.1.3"},
		{"path with its route", maxPath, func(n int) string {
			return "EHLO x\r\nMAIL FROM:<" + "@" + strings.Repeat("x.", n/2)[:n-len("@xx:a@x.example")] + "xx:a@x.example>\r\n"
		}, "250 2.1.0", "501 5.1.3"},
		{"ENVID", maxEnvID, func(n int) string { return "EHLO x\r\nMAIL FROM:<a@x.example> ENVID=" + x(n) + "\r\n" }, "250 2.1.0", "501 5.5.4"},
		{"ORCPT", maxOrig, func(n int) string {
			return "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@x.example> ORCPT=rfc822;" + x(n-7) + "\r\n"
		}, "250 2.1.5", "501 5.5.4"},
		{"parameter", maxParam, func(n int) string { return "EHLO x\r\nMAIL FROM:<a@x.example> AUTH=" + x(n) + "\r\n" }, "250 2.1.0", "501 5.5.2"},
		{"HOLDFOR", 3600, func(n int) string { return fmt.Sprintf("EHLO x\r\nMAIL FROM:<a@x.example> HOLDFOR=%d\r\n", n) }, "250 2.1.0", "501 5.5.4"},
		{"digits of BY", maxDigit, func(n int) string { return "EHLO x\r\nMAIL FROM:<a@x.example> BY=" + strings.Repeat("9", n) + ";R\r\n" }, "250 2.1.0", "501 5.5.4"},
		{"header to convert", message.DefaultHeaderOctets - 256, func(n int) string { // in local form
			fields := strings.Repeat("A: "+x(996)+"\r\n", n/1000)
			return strings.Replace(beginBinary, "BODY", "SIZE=1 BODY", 1) + bdat(fields+"B: "+x(n%1000-4)+"\r\n", " LAST")
		}, "250 2.0.0", "552 5.3.4"},
	} {
		for n := c.limit - 1; n <= c.limit+1; n++ {
			want := c.ok
			if n > c.limit {
				want = c.refused
			}
			one := *srv
			one.Backend = &memory{}
			if c.name == "header to convert" {
				one.MaxSize = 0
			}
			said := c.say(n)
			for _, cut := range []int{len(said), 1} {
				heard := converse(&one, said, cut)
				lines := strings.Split(strings.TrimSuffix(heard, "\r\n"), "\r\n")
				if last := lines[len(lines)-1]; !strings.HasPrefix(last, want) {
					t.Errorf("%s, %d of %d, in pieces of %d: got %q, want %s", c.name, n, c.limit, cut, last, want)
				}
			}
		}
	}
}

// The one line limit is meant to have room for every extension's addition to the 512 octets of RFC 5321 §4.5.3.1.4.
func TestCommandLineHasRoomForExtensions(t *testing.T) {
	need := 512 + // MAIL and RCPT themselves
		26 + // SIZE, RFC 1870 §3
		17 + // BODY, RFC 6152 §2, RFC 3030 §3
		10 + // SMTPUTF8, RFC 6531 §3.1
		504 + // DSN, RFC 3461 §4
		500 + // AUTH, RFC 4954 §3
		34 + // FUTURERELEASE, RFC 4865 §3
		17 + // DELIVERBY, RFC 2852 §2
		11 // REQUIRETLS, RFC 8689 §2
	if wire.DefaultMaxLine < need || wire.DefaultMaxLine < 12288 { // RFC 4954 §4
		t.Errorf("%d octets, %d are needed", wire.DefaultMaxLine, need)
	}
	line := "MAIL FROM:<" + strings.Repeat("x", 64) + "@" + strings.Repeat("x.", 126) + "xxx> SIZE=00000000000000000001 BODY=BINARYMIME SMTPUTF8 RET=HDRS" +
		" ENVID=" + strings.Repeat("x", 100) + " AUTH=" + strings.Repeat("x", 500) + " HOLDFOR=000003600 BY=+000009999;RT"
	srv := frozen(&memory{})
	srv.MaxHold, srv.Auth = time.Hour, bobOnly{}
	if heard := converse(srv, "EHLO x\r\n"+line+"\r\n", 7); !strings.HasSuffix(heard, "\r\n250 2.1.0 Sender ok\r\n") {
		t.Errorf("%s:\n%s", line, heard)
	}
}

// Text lines have one limit, whichever way they come.
func TestTextLineLimitsAgree(t *testing.T) {
	if message.MaxTextLine != wire.DefaultMaxText {
		t.Errorf("message has %d, wire %d", message.MaxTextLine, wire.DefaultMaxText)
	}
}

// Every command that brings no message nearer counts, whatever it is mixed with; what brings one does not.
func TestErrands(t *testing.T) {
	for _, c := range []struct {
		say   string
		count int // errands in it
	}{
		{"NOOP\r\n", 1}, {"RSET\r\n", 1}, {"HELO x\r\n", 1}, {"EHLO x\r\n", 1}, {"VRFY bob\r\n", 1}, {"HELP\r\n", 1}, {"MAIL FROM:<>\r\nRSET\r\n", 2},
		{"AUTH PLAIN\r\n*\r\nNOOP\r\n", 2}, {"MAIL FROM:<>\r\nRCPT TO:<bob@x.example>\r\nEHLO x\r\n", 2}, {"FROB\r\nNOOP\r\n", 1},
		{"MAIL FROM:<>\r\nRCPT TO:<bob@x.example>\r\nDATA\r\n.\r\n", 0},
	} {
		srv := frozen(&memory{})
		srv.Auth, srv.InsecureAuth, srv.MaxErrands, srv.MaxMessages = bobOnly{}, true, 21, 1000
		heard := converse(srv, "EHLO x\r\n"+strings.Repeat(c.say, 100), 1000)
		closed := strings.Contains(heard, "421 4.7.0 Too many commands without a message, closing connection\r\n")
		if said := strings.Count(heard, "\r\n250") - strings.Count(heard, "\r\n250-"); closed != (c.count > 0) || closed && said > 1+40 {
			t.Errorf("%q again and again: heard\n%s", c.say, heard)
		}
		srv.MaxErrands = -1
		if heard := converse(srv, "EHLO x\r\n"+strings.Repeat(c.say, 100), 1000); strings.Contains(heard, "\r\n421 ") {
			t.Errorf("%q with any number of errands: heard\n%s", c.say, heard)
		}
	}
}
