//go:build interop

package interop

import (
	"regexp"
	"strings"
	"testing"
)

// TestInetdPipe is the shortest session, by hand, with shell tools alone.
func TestInetdPipe(t *testing.T) {
	w := newWorld(t)
	script := `printf 'EHLO x\r\nQUIT\r\n' | "$1" serve-smtp --inetd; printf 'USER bob\r\nPASS %s\r\nSTAT\r\nQUIT\r\n' "$2" | "$1" serve-pop3 --inetd`
	out := job{args: []string{"/bin/sh", "-c", script, "sh", w.bin, secret}, env: w.environ(), dir: w.home}.run(t).must(t, 0)
	for _, line := range strings.SplitAfter(strings.TrimSuffix(out, "\r\n"), "\r\n") {
		if strings.Contains(strings.TrimSuffix(line, "\r\n"), "\n") {
			t.Errorf("a line without CRLF: %q", line)
		}
	}
	want := regexp.MustCompile(`^220 mx\.example\.org .*\r\n(250-.*\r\n)+250 .*\r\n221 .*\r\n\+OK.*\r\n\+OK.*\r\n\+OK.*\r\n\+OK 0 0\r\n\+OK.*\r\n$`)
	if !want.MatchString(out) {
		t.Errorf("got  %q\nwant %s", out, want)
	}
}

// TestInetdPipeDelivers hands over a message in one write, as a script does that does not wait for replies.
func TestInetdPipeDelivers(t *testing.T) {
	w := newWorld(t)
	text := header + "..dots\nGrüße\n"
	r := w.mailx("EHLO x\r\nMAIL FROM:<"+sender+">\r\nRCPT TO:<"+rcpt+">\r\nDATA\r\n"+
		strings.ReplaceAll(crlf(text), "\n.", "\n..")+".\r\nQUIT\r\n", "serve-smtp", "--inetd")
	if out := r.must(t, 0); !regexp.MustCompile(`(?s)\r\n354 .*\r\n250 .*\r\n221 [^\n]*\r\n$`).MatchString(out) {
		t.Errorf("got %q", out)
	}
	checkStored(t, takeOne(t, w.mailbox(user)), sender, text)
}

// TestInetdCut loses the connection at every octet of a session: then nothing of the message may be there.
func TestInetdCut(t *testing.T) {
	w := newWorld(t)
	session := "EHLO x\r\nMAIL FROM:<" + sender + ">\r\nRCPT TO:<" + rcpt + ">\r\nDATA\r\nSubject: x\r\n\r\nfoo\r\n.\r\n"
	for n := len(session) - 20; n < len(session); n++ {
		w.mailx(session[:n], "serve-smtp", "--inetd")
		if all := messages(t, w.mailbox(user)); len(all) != 0 {
			t.Fatalf("after %q the mailbox has %q", session[:n], all)
		}
	}
	w.mailx(session, "serve-smtp", "--inetd") // the end of the input is no QUIT, but the message was whole
	takeOne(t, w.mailbox(user))
}
