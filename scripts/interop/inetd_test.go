//go:build interop

package interop

import (
	"net"
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

// TestTCPServer runs one process for each connection.
func TestTCPServer(t *testing.T) {
	tcpserver := peer(t, "tcpserver")
	checkInetd(t, newWorld(t), func(w *world, verb string) (addr string) {
		return startPeer(t, w.environ(), func(port string) []string {
			return []string{tcpserver, "-HRl0", "127.0.0.1", port, w.bin, verb, "--inetd"}
		})
	})
}

// TestSocketActivate has the sockets passed: the listening one to a process that stays, or each connection as standard
// input and output.
func TestSocketActivate(t *testing.T) {
	activate := peer(t, "systemd-socket-activate")
	for name, how := range map[string]struct{ before, after []string }{
		"listening socket": {},
		"connection":       {before: []string{"--accept", "--inetd"}, after: []string{"--inetd"}},
	} {
		t.Run(name, func(t *testing.T) {
			checkInetd(t, newWorld(t), func(w *world, verb string) (addr string) {
				return startPeer(t, w.environ(), func(port string) []string {
					args := append([]string{activate, "--listen", "127.0.0.1:" + port}, how.before...)
					for _, entry := range w.environ() {
						args = append(args, "--setenv="+entry)
					}
					return append(append(args, w.bin, verb), how.after...)
				})
			})
		})
	}
}

// checkInetd delivers by two clients and collects by one.
func checkInetd(t *testing.T, w *world, start func(w *world, verb string) (addr string)) {
	t.Helper()
	curl := peer(t, "curl")
	addr := start(w, "serve-smtp")
	for _, send := range []client{
		{name: "curl", with: "ESMTP", send: curlClient()},
		{name: "curl STARTTLS AUTH", with: "ESMTPSA", send: curlClient("--ssl-reqd", "--user", user+":"+secret)},
		{name: "swaks", with: "ESMTP", send: swaksClient(), adds: true},
	} {
		t.Run(send.name, func(t *testing.T) { handOver(t, w, addr, send, letters()[1]) })
	}
	deliver(t, addr, sender, rcpt, mail(3))
	want := messages(t, w.mailbox(user))
	pop := start(w, "serve-pop3")
	for i, text := range want {
		url := "pop3://" + pop + "/" + string(rune('1'+i))
		got := job{args: []string{curl, "-sS", "--noproxy", "*", "--user", user + ":" + secret, url}, dir: t.TempDir()}.run(t).must(t, 0)
		diff(t, got, crlf(text))
	}
	if conn, err := net.Dial("tcp", addr); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
}
