package pop3

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

const dialogs = "../../testdata/dialogs/"

// everyKeyword is what CAPA says to all kinds of peers, in all states.
func everyKeyword(t *testing.T) []string {
	ca := mailtest.NewCA(t)
	keywords := map[string]bool{}
	for _, isRemote := range []bool{false, true} {
		for _, commands := range [][]string{{"CAPA"}, {"UTF8", "CAPA"}, {"USER alice", "CAPA"}, append(slices.Clone(login), "CAPA")} {
			srv := testServer(testSpool(t))
			srv.TLS = ca.ServerConfig("pop.example")
			srv.AllowInsecureAuth = func(net.Addr) bool { return !isRemote }
			said := talk(t, serve(t, one(srv)), append(slices.Clone(commands), "QUIT")...)
			_, block, _ := strings.Cut(said, "Capabilities follow\r\n")
			block, _, _ = strings.Cut(block, "\r\n.\r\n")
			for line := range strings.SplitSeq(block, "\r\n") {
				keyword, _, _ := strings.Cut(line, " ")
				keywords[keyword] = true
			}
		}
	}
	var all []string
	for keyword := range keywords {
		all = append(all, keyword)
	}
	return all
}

// What CAPA says has a row in the index, with its transcripts and tests; so has each mechanism of SASL.
func TestCapabilitiesHaveTranscripts(t *testing.T) {
	all := everyKeyword(t)
	if len(all) < 13 {
		t.Fatalf("CAPA says only %q", all)
	}
	for _, m := range auth.Mechanisms(auth.Channel{Secure: true, TLS: &tls.ConnectionState{Version: tls.VersionTLS13}}, withTokens{}) {
		all = append(all, "SASL "+m)
	}
	index := readIndex(t)
	for _, keyword := range all {
		if !strings.Contains(index, "\n| `"+keyword+"` | `") {
			t.Errorf("no row for %s", keyword)
		}
	}
	for _, cmd := range dialect().Commands {
		if !strings.Contains(index, "\n| "+cmd.Verb+" | `") {
			t.Errorf("no row for the command %s", cmd.Verb)
		}
	}
}

func readIndex(t *testing.T) string {
	t.Helper()
	index, err := os.ReadFile(dialogs + "pop3/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(index)
}

// testdata/dialogs/pop3/README.md says which test holds which promise. What it names has to be there, and every transcript is
// named.
func TestIndexOfPromises(t *testing.T) {
	index := readIndex(t)
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z]+[a-z/0-9]*/[^` ]+)(?: ((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+))?`").FindAllStringSubmatch(index, -1) {
		path, name := m[1], m[2]
		named[path] = true
		if name == "" {
			if _, err := os.Stat(dialogs + path); err != nil && !strings.Contains(path, "*") {
				t.Errorf("%s: %v", m[0], err)
			}
		} else if !hasTest("../../"+path, name) {
			t.Errorf("%s: there is no such test", m[0])
		}
	}
	paths, err := filepath.Glob(dialogs + "pop3/*.txt")
	if err != nil || len(paths) < 20 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		if !named["pop3/"+filepath.Base(path)] {
			t.Errorf("%s is not in the index", path)
		}
	}
}

func hasTest(dir, name string) bool {
	files, _ := filepath.Glob(dir + "/*_test.go")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// TestTenThousandRetr asks for that many messages in one write, and gets all of them, in order.
func TestTenThousandRetr(t *testing.T) {
	const n = 10_000
	mailtest.CheckLeaks(t)
	fsys := testSpool(t)
	dial := serve(t, one(testServer(fsys)))
	c, r := dialLogin(t, dial)
	var said strings.Builder
	for i := range n {
		fmt.Fprintf(&said, "RETR %d\r\n", 1+i%3)
	}
	go io.WriteString(c, said.String()+"QUIT\r\n")
	for i := range n {
		ask(t, c, r, "", "+OK")
		ask(t, c, r, "", []string{"Subject: one\r\n", "Subject: two\r\n", "Subject: three\r\n"}[i%3])
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if line == ".\r\n" {
				break
			}
		}
	}
	ask(t, c, r, "", "+OK pop.example POP3 server signing off")
	if left := fsys.OpenFiles(); len(left) != 0 {
		t.Errorf("open: %q", left)
	}
}

// TestFloodWithoutReading sends commands and reads no answer: the server waits, without filling its memory, gives up after some
// minutes, and gives the maildrop back as it was.
func TestFloodWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := testSpool(t)
		writeFile(t, fsys, "/mail/alice/new/1600000000.large", strings.Repeat("x", 1<<20)+"\n")
		client, server := net.Pipe()
		begin := time.Now()
		go io.WriteString(client, "USER alice\r\nPASS open sesame\r\nDELE 2\r\n"+strings.Repeat("RETR 1\r\n", 100_000)+"QUIT\r\n")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := testServer(fsys).ServeConn(t.Context(), server)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ServeConn = %v, want %v", err, os.ErrDeadlineExceeded)
		}
		if d := time.Since(begin); d < time.Minute || d > DefaultTimeout {
			t.Errorf("it was given up after %v", d)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%d octets allocated", used)
		}
		if n := len(names(t, fsys, "/mail/alice")); n != 4 {
			t.Errorf("%d messages, want 4", n)
		}
		wantFree(t, fsys)
	})
}

// TestDisconnectInRetr goes away in the middle of a message that it deleted before.
func TestDisconnectInRetr(t *testing.T) {
	mailtest.CheckLeaks(t)
	fsys := testSpool(t)
	writeFile(t, fsys, "/mail/alice/new/1600000000.large", strings.Repeat("x", 8<<20)+"\n")
	for _, behind := range []string{"", "QUIT\r\n"} {
		client, server := mailtest.Pipe(t)
		ended := make(chan error)
		go func() { ended <- testServer(fsys).ServeConn(t.Context(), server) }()
		io.WriteString(client, "USER alice\r\nPASS open sesame\r\nDELE 2\r\nRETR 1\r\n"+behind)
		io.ReadFull(client, make([]byte, 100_000))
		client.Close()
		if err := <-ended; err == nil {
			t.Errorf("ServeConn = nil")
		}
		if n := len(names(t, fsys, "/mail/alice")); n != 4 {
			t.Errorf("%d messages, want 4", n)
		}
		wantFree(t, fsys)
	}
	if left := fsys.OpenFiles(); len(left) != 0 {
		t.Errorf("open: %q", left)
	}
}

// TestSlowLine sends a line one octet a minute: it has the time of one command, not of each octet.
func TestSlowLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := testSpool(t)
		client, server := net.Pipe()
		var writer sync.WaitGroup
		go io.Copy(io.Discard, client)
		writer.Go(func() {
			io.WriteString(client, "USER alice\r\nPASS open sesame\r\nDELE 1\r\n")
			for {
				if _, err := io.WriteString(client, "x"); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		})
		begin := time.Now()
		if err := testServer(fsys).ServeConn(t.Context(), server); err != nil {
			t.Errorf("ServeConn = %v, want nil", err)
		}
		if d := time.Since(begin); d != DefaultTimeout {
			t.Errorf("it was over after %v, want %v", d, DefaultTimeout)
		}
		writer.Wait()
		if n := len(names(t, fsys, "/mail/alice")); n != 3 {
			t.Errorf("%d messages, want 3", n)
		}
	})
}

// TestInjectionBeforeTLS: commands that come in clear behind STLS are never obeyed, neither before nor after the handshake.
func TestInjectionBeforeTLS(t *testing.T) {
	ca := mailtest.NewCA(t)
	srv := testServer(testSpool(t))
	srv.TLS = ca.ServerConfig("pop.example")
	client, server := mailtest.Pipe(t)
	ended := make(chan error)
	go func() { ended <- srv.ServeConn(t.Context(), server) }()
	client.SetDeadline(time.Now().Add(mailtest.DefaultTimeout))
	go io.WriteString(client, "USER alice\r\nSTLS\r\nUSER bob\r\nPASS hungry\r\nDELE 1\r\nQUIT\r\n")
	var clear strings.Builder
	for !strings.HasSuffix(clear.String(), "Begin TLS\r\n") {
		octet := make([]byte, 1)
		if _, err := client.Read(octet); err != nil {
			t.Fatalf("%v after %q", err, clear.String())
		}
		clear.Write(octet)
	}
	inside := tls.Client(client, ca.ClientConfig("pop.example"))
	r := bufio.NewReader(inside)
	ask(t, inside, r, "PASS open sesame", "-ERR USER comes first") // of the name in clear nothing is left
	ask(t, inside, r, "STAT", "-ERR Command not possible now")
	ask(t, inside, r, "QUIT", "+OK")
	if rest, err := r.ReadString('\n'); err == nil {
		t.Errorf("after QUIT the server said %q", rest)
	}
	<-ended
}

// TestLinesWithoutEnd: a line without end costs no memory, and in the end the connection.
func TestLinesWithoutEnd(t *testing.T) {
	for _, before := range []string{"", "USER alice\r\nPASS open sesame\r\n", "AUTH PLAIN\r\n", "AUTH LOGIN YWxpY2U=\r\n"} {
		var stats [2]runtime.MemStats
		nc := &scriptConn{in: io.MultiReader(strings.NewReader(before), endless{})}
		srv := testServer(testSpool(t))
		runtime.ReadMemStats(&stats[0])
		srv.ServeConn(t.Context(), nc)
		runtime.ReadMemStats(&stats[1])
		if used := stats[1].TotalAlloc - stats[0].TotalAlloc; used > 1<<20 || nc.out.Len() > 1000 {
			t.Errorf("%q: %d octets allocated, heard %.500q", before, used, nc.out.String())
		}
	}
}

// endless gives x for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestRepliesDoNotEcho: nothing that a client sends comes back, so no terminal is driven by it and no reply forged; and each reply
// has its length (RFC 2449 §4).
func TestRepliesDoNotEcho(t *testing.T) {
	const mark = "echo\x1b[2J\xc3\xa4\x9b\x00"
	for _, verb := range []string{"", "USER ", "PASS ", "AUTH ", "AUTH PLAIN ", "STLS ", "CAPA ", "NOOP ", "STAT ", "LIST ", "UIDL ", "RETR ", "TOP ", "TOP 1 ", "DELE ", "RSET ",
		"QUIT ", "UTF8 ", "LANG ", "APOP ", "LAST "} {
		for _, word := range []string{mark, "echo", strings.Repeat("echo", 1000), strings.Repeat("echo ", 4000)} {
			for _, before := range []string{"", "USER alice\r\nPASS open sesame\r\n"} {
				nc := &scriptConn{in: strings.NewReader(before + verb + word + "\r\nNOOP\r\n")}
				testServer(testSpool(t)).ServeConn(t.Context(), nc)
				for line := range strings.SplitSeq(nc.out.String(), "\r\n") {
					if strings.Contains(line, "echo") || len(line) > 510 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
						t.Errorf("%q: heard %q", verb+word[:4], line)
					}
				}
			}
		}
	}
}

// TestBareLineEnds: lines of commands end in CRLF: all others are refused as a whole, and the session goes on.
func TestBareLineEnds(t *testing.T) {
	for _, bad := range []string{"DELE 1\n", "DELE 1\r\r\n", "DELE 1\rNOOP\r\n", "\nDELE 1\n", "DELE 1\x00\r\n", "DELE\x00 1\r\n", "\x00DELE 1\r\n"} {
		fsys := testSpool(t)
		nc := &scriptConn{in: strings.NewReader("USER alice\r\nPASS open sesame\r\n" + bad + "STAT\r\nQUIT\r\n")}
		if err := testServer(fsys).ServeConn(t.Context(), nc); err != nil {
			t.Errorf("%q: %v", bad, err)
		}
		if n := len(names(t, fsys, "/mail/alice")); n != 3 || !strings.Contains(nc.out.String(), "\r\n-ERR ") || !strings.Contains(nc.out.String(), "\r\n+OK 3 92\r\n") {
			t.Errorf("%q: %d messages, heard %q", bad, n, nc.out.String())
		}
	}
}

// TestSnapshot: mail that arrives meanwhile is not seen, and its number is nobody's.
func TestSnapshot(t *testing.T) {
	fsys := testSpool(t)
	c, r := dialLogin(t, serve(t, one(testServer(fsys))))
	writeFile(t, fsys, "/mail/alice/new/1600000000.M1P1.earlier,S=2,W=3", "x\n")
	writeFile(t, fsys, "/mail/alice/new/1800000000.M1P1.later,S=2,W=3", "x\n")
	ask(t, c, r, "STAT", "+OK 3 92\r\n")
	ask(t, c, r, "UIDL 1", "+OK 1 1700000001.M1P1.host\r\n")
	ask(t, c, r, "RETR 4", "-ERR No such message\r\n")
	ask(t, c, r, "RSET", "+OK 3 messages\r\n")
	for n := range 3 {
		ask(t, c, r, fmt.Sprintf("DELE %d", n+1), "+OK")
	}
	ask(t, c, r, "QUIT", "+OK")
	if left := names(t, fsys, "/mail/alice"); len(left) != 2 {
		t.Errorf("left: %q", left)
	}
}

// TestListingOpensNothing: STAT, LIST and UIDL of messages whose names say it read no message.
func TestListingOpensNothing(t *testing.T) {
	fsys := vfs.NewMem()
	writeFile(t, fsys, "/users", userFile)
	fill(t, fsys, "/mail/alice", map[string]string{nameOne: "x\n", nameThree: "x\n"})
	srv := testServer(&failing{FS: fsys, op: "open", err: os.ErrPermission})
	srv.Auth = testServer(testSpool(t)).Auth
	said := talkIn(t, srv, "STAT", "LIST", "UIDL", "LIST 2", "DELE 1", "QUIT")
	wantIn(t, said, "\r\n+OK 2 52\r\n+OK 2 messages (52 octets)\r\n1 36\r\n2 16\r\n.\r\n+OK Unique ids follow\r\n1 1700000001.M1P1.host\r\n2 1700000003.M3P1.host\r\n.\r\n+OK 2 16\r\n+OK")
}

// TestHandshake: who does not shake hands, or sends something else, is gone within a minute, and hears nothing in clear.
func TestHandshake(t *testing.T) {
	ca := mailtest.NewCA(t)
	for _, isImplicit := range []bool{true, false} {
		for _, said := range []string{"", "USER alice\r\nPASS open sesame\r\nQUIT\r\n", "\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\n\r\n"} {
			synctest.Test(t, func(t *testing.T) {
				srv := testServer(testSpool(t))
				srv.TLS, srv.Implicit = ca.ServerConfig("pop.example"), isImplicit
				client, server := net.Pipe()
				var heard []byte
				var peer sync.WaitGroup
				peer.Go(func() {
					if !isImplicit {
						r := bufio.NewReader(client)
						ask(t, client, r, "", "+OK pop.example")
						ask(t, client, r, "STLS", "+OK Begin TLS")
					}
					go io.WriteString(client, said)
					heard, _ = io.ReadAll(client)
				})
				begin := time.Now()
				if err := srv.ServeConn(t.Context(), server); err == nil {
					t.Errorf("%q: ServeConn = nil", said)
				}
				peer.Wait()
				if d := time.Since(begin); d > handshakeTime {
					t.Errorf("%q: it was over after %v", said, d)
				}
				if strings.Contains(string(heard), "OK") || strings.Contains(string(heard), "ERR") {
					t.Errorf("%q: heard %q", said, heard)
				}
			})
		}
	}
}
