//go:build interop

package interop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dialClear opens a connection for a dialogue by hand.
func dialClear(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// readAll reads to the end, which a reset may be.
func readAll(t *testing.T, conn net.Conn) string {
	t.Helper()
	data, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection stays open after %q", data)
	}
	return string(data)
}

// checkAlive delivers a message as if nothing had happened.
func checkAlive(t *testing.T, w *world, addr string) {
	t.Helper()
	clear(t, w.mailbox(user))
	deliver(t, addr, sender, rcpt, []string{letters()[1].text})
	checkStored(t, takeOne(t, w.mailbox(user)), sender, letters()[1].text)
}

// checkNothing wants no message anywhere, and soon not even a part of one: a session may need a moment to end.
func checkNothing(t *testing.T, w *world) {
	t.Helper()
	if all := messages(t, w.mailbox(user)); len(all) != 0 {
		t.Errorf("stored: %q", all)
	}
	var left []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		left = nil
		for _, dir := range []string{filepath.Join(w.mailbox(user), "tmp"), filepath.Join(w.spool, "queue", "tmp")} {
			names, _ := filepath.Glob(filepath.Join(dir, "*"))
			left = append(left, names...)
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left: %q", left)
}

// TestFlood takes 5,000 messages over 50 connections at once, with a new connection for each and over the same.
func TestFlood(t *testing.T) {
	source := peer(t, "smtp-source")
	w := newWorld(t, "MAILX_SMTP_MAX_MESSAGES=100000", "MAILX_SMTP_MAX_PER_ADDRESS=200", "MAILX_LOG_LEVEL=error")
	addr := w.serve("serve-smtp")
	for _, mode := range [][]string{{}, {"-d"}} {
		clear(t, w.mailbox(user))
		args := append([]string{source}, mode...)
		args = append(args, "-s", "50", "-m", "5000", "-l", "2000", "-M", "client.example.net", "-f", sender, "-t", rcpt, addr)
		job{args: args, dir: t.TempDir()}.run(t).must(t, 0)
		if n := len(messages(t, w.mailbox(user))); n != 5000 {
			t.Errorf("%v: %d messages, want 5000", mode, n)
		}
	}
	checkAlive(t, w, addr)
}

// TestFloodLMTP is the same on a unix socket.
func TestFloodLMTP(t *testing.T) {
	t.Parallel()
	source, w := peer(t, "smtp-source"), newWorld(t, "MAILX_LOG_LEVEL=error")
	path := w.serveLMTP()
	job{args: []string{source, "-L", "-s", "20", "-m", "1000", "-l", "2000", "-M", "client.example.net", "-f", sender, "-t", rcpt, "unix:" + path},
		dir: t.TempDir()}.run(t).must(t, 0)
	if n := len(messages(t, w.mailbox(user))); n != 1000 {
		t.Errorf("%d messages, want 1000", n)
	}
}

// TestFloodOverLimit has more connections than one address may have: some are told to come later, and what was accepted is
// stored.
func TestFloodOverLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "MAILX_SMTP_MAX_PER_ADDRESS=10")
	addr := w.serve("serve-smtp")
	var idle []net.Conn
	for range 10 {
		conn := dialClear(t, addr)
		if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "220 ") {
			t.Fatalf("got %q %v", line, err)
		}
		idle = append(idle, conn)
	}
	r := curlClient()(t, w, submission{addr, writeFile(t, t.TempDir(), "message", crlf(letters()[0].text)), "", sender, rcpt})
	if r.code == 0 {
		t.Errorf("an eleventh connection was served:\n%v", r)
	}
	if got := readAll(t, dialClear(t, addr)); !strings.HasPrefix(got, "421 4.") {
		t.Errorf("got %q", got)
	}
	for _, conn := range idle {
		conn.Write([]byte("QUIT\r\n"))
		readAll(t, conn)
	}
	for deadline := time.Now().Add(patience); ; {
		conn := dialClear(t, addr)
		line, _ := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if strings.HasPrefix(line, "220 ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %q", line)
		}
	}
	checkAlive(t, w, addr)
}

// TestHTTP has programs that speak HTTP talk to a mail server. A body that is a whole SMTP session is no message.
func TestHTTP(t *testing.T) {
	t.Parallel()
	curl, w := peer(t, "curl"), newWorld(t)
	addr := w.serve("serve-smtp")
	session := "EHLO x\r\nMAIL FROM:<" + sender + ">\r\nRCPT TO:<" + rcpt + ">\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
	for _, how := range [][]string{{"-d", session}, {"-T", writeFile(t, w.home, "session", session)}, {"-I"}, {}} {
		args := append([]string{curl, "-sS", "--noproxy", "*", "--http0.9", "--max-time", "20"}, how...)
		r := job{args: append(args, "http://"+addr+"/"), dir: t.TempDir()}.run(t)
		if strings.Contains(r.stdout, "\n250") || strings.Contains(r.stdout, "354 ") {
			t.Errorf("it went on:\n%v", r)
		}
		checkNothing(t, w)
	}
	r := job{args: []string{peer(t, "nc"), "-N", "-w", "20", "127.0.0.1", portOf(addr)}, stdin: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", dir: t.TempDir()}.run(t)
	if !strings.HasPrefix(r.stdout, "220 ") || !strings.Contains(r.stdout, "\n554 5.5.1 ") || strings.Count(r.stdout, "\n") != 2 {
		t.Errorf("got %v", r)
	}
	checkAlive(t, w, addr)
}

// TestWrongPort has TLS where SMTP is spoken, and SMTP where TLS is.
func TestWrongPort(t *testing.T) {
	t.Parallel()
	openssl, w := peer(t, "openssl"), newWorld(t)
	clearPort, tlsPort := w.serve("serve-smtp"), w.serve("serve-smtp", "--tls")
	r := job{args: []string{openssl, "s_client", "-connect", clearPort, "-CAfile", w.caFile, "-verify_return_error"}, dir: t.TempDir()}.run(t)
	if r.code == 0 {
		t.Errorf("TLS on a port without:\n%v", r)
	}
	conn := dialClear(t, tlsPort)
	conn.Write([]byte("EHLO x\r\nMAIL FROM:<" + sender + ">\r\nQUIT\r\n"))
	if got := readAll(t, conn); strings.Contains(got, "250") {
		t.Errorf("SMTP in clear on a port for TLS: %q", got)
	}
	checkAlive(t, w, clearPort)
}

// TestTLSVersions: TLS 1.0 and 1.1 are refused, and no session can be resumed, with each protocol and both ways of TLS.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	openssl, w := peer(t, "openssl"), newWorld(t)
	for _, proto := range []string{"smtp", "pop3", "imap"} {
		starttls, implicit := w.serve("serve-"+proto), w.serve("serve-"+proto, "--tls")
		for name, how := range map[string][]string{
			"STARTTLS": {"-connect", starttls, "-starttls", proto},
			"TLS":      {"-connect", implicit},
		} {
			handshake := func(t *testing.T, more ...string) result {
				args := append([]string{openssl, "s_client", "-CAfile", w.caFile, "-verify_return_error", "-verify_ip", "127.0.0.1"}, how...)
				return job{args: append(args, more...), stdin: "QUIT\r\n", dir: t.TempDir()}.run(t)
			}
			t.Run(proto+" "+name, func(t *testing.T) {
				t.Parallel()
				for _, version := range []string{"-tls1", "-tls1_1"} {
					if r := handshake(t, version, "-cipher", "ALL:@SECLEVEL=0"); r.code == 0 || !strings.Contains(r.stdout, "Cipher is (NONE)") {
						t.Errorf("%s was accepted:\n%v", version, r)
					}
				}
				for _, version := range []string{"TLSv1.2", "TLSv1.3"} {
					flag := "-" + strings.ToLower(strings.NewReplacer("TLSv", "tls", ".", "_").Replace(version))
					r := handshake(t, flag)
					if out := r.must(t, 0); !strings.Contains(out, "\nNew, "+version+", Cipher is ") || !strings.Contains(out, "Verify return code: 0 (ok)") {
						t.Errorf("want %s:\n%v", version, r)
					}
					if strings.Contains(r.stdout, "New Session Ticket") || strings.Contains(r.stdout, "TLS session ticket:") {
						t.Errorf("a session ticket:\n%v", r)
					}
				}
			})
		}
		t.Run(proto+" reconnect", func(t *testing.T) {
			t.Parallel()
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				r := job{args: []string{openssl, "s_client", "-connect", implicit, "-CAfile", w.caFile, "-reconnect", version}, stdin: "QUIT\r\n", dir: t.TempDir()}.run(t)
				if strings.Contains(r.stdout, "Reused, ") || strings.Count(r.stdout, "New, ") < 6 {
					t.Errorf("want six handshakes:\n%v", r)
				}
			}
		})
	}
}

// TestSlow has clients that are slower than they may be, in commands, in the data, and in TLS.
func TestSlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "MAILX_SMTP_TIMEOUT=1s", "MAILX_SMTP_DATA_TIMEOUT=1s")
	addr, secure := w.serve("serve-smtp"), w.serve("serve-smtp", "--tls")
	begin := "EHLO x\r\nMAIL FROM:<" + sender + ">\r\nRCPT TO:<" + rcpt + ">\r\nDATA\r\n"
	for name, tt := range map[string]struct{ addr, say string }{
		"silence":            {addr, ""},
		"half a command":     {addr, "EHLO x\r\nMAIL FR"},
		"no data":            {addr, begin},
		"half a message":     {addr, begin + "Subject: x\r\n\r\nhalf a li"},
		"all but the dot":    {addr, begin + "Subject: x\r\n\r\nx\r\n"},
		"no TLS":             {secure, ""},
		"half a ClientHello": {secure, "\x16\x03\x01\x02\x00\x01"},
		"half a chunk":       {addr, strings.Replace(begin, "DATA\r\n", "BDAT 1000 LAST\r\n", 1) + "Subject: x\r\n\r\nx\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialClear(t, tt.addr)
			conn.Write([]byte(tt.say))
			got := readAll(t, conn)
			if last := got[strings.LastIndex(strings.TrimSuffix(got, "\r\n"), "\n")+1:]; tt.addr == addr && !strings.HasPrefix(last, "421 4.4.2 ") {
				t.Errorf("got %q", got)
			}
		})
	}
	t.Cleanup(func() { checkNothing(t, w) })
}

// TestDeaf has clients that say much and never listen: others are served meanwhile.
func TestDeaf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr := w.serve("serve-smtp")
	noise := []byte(strings.Repeat("EHLO x\r\nNOOP\r\n", 1000))
	for range 5 {
		conn := dialClear(t, addr)
		for { // until the buffers between us are full
			conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := conn.Write(noise); err != nil {
				break
			}
		}
	}
	checkAlive(t, w, addr)
}

// TestEndlessLine sends lines without end over several connections: the memory of the server stays as it was.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start("serve-smtp", "--listen", "127.0.0.1:0")
	begin := "EHLO x\r\nMAIL FROM:<" + sender + ">\r\nRCPT TO:<" + rcpt + ">\r\nDATA\r\nSubject: x\r\n\r\n"
	chunk := []byte(strings.Repeat("x", 1<<20))
	done := make(chan bool)
	for i := range 10 {
		conn := dialClear(t, p.Addr())
		go func() {
			defer func() { done <- true }()
			if i%2 == 0 {
				conn.Write([]byte(begin))
			}
			for range 20 {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
			conn.Close()
		}()
	}
	for range 10 {
		<-done
	}
	checkNothing(t, w)
	checkAlive(t, w, p.Addr())
	if peak := peakMemory(t, p.Pid()); peak > 64<<20 {
		t.Errorf("the server grew to %d octets", peak)
	}
}

// peakMemory is the most that a process has had in memory.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("there is no /proc")
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	fields := strings.Fields(rest)
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
