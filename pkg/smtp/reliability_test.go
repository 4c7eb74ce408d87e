package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/wire"
)

// Whatever a client says, in whatever pieces: the replies are the same, each is well-formed, and the session ends when the client
// has ended.
func FuzzServer(f *testing.F) {
	f.Add(beginBob+"DATA\r\n.\r\nQUIT\r\n", uint8(1), false)
	f.Add(beginBinary+bdat("Content-Transfer-Encoding: binary\r\n\r\n\n", " LAST")+"HELP\r\n", uint8(7), false)
	f.Add("LHLO x\r\nMAIL FROM:<> RET=FULL ENVID=x\r\nRCPT TO:<bob@x.example> NOTIFY=NEVER ORCPT=utf-8;x\r\nBDAT 1 LAST\r\nx", uint8(2), true)
	f.Add("EHLO x\r\nAUTH LOGIN\r\nYQ==\r\n*\r\nMAIL FROM:<a@b.example> HOLDFOR=1 BY=1;N REQUIRETLS\r\nRSET\r\nVRFY x\r\nEXPN\r\nSTARTTLS\r\n", uint8(3), false)
	id := regexp.MustCompile(`id [A-Z0-9]{13}\r`)
	reply := regexp.MustCompile(`^[2-5][0-9][0-9][ -][ -~]*$`)
	f.Fuzz(func(t *testing.T, said string, cut uint8, lmtp bool) {
		heard := [2]string{}
		for i, n := range []int{len(said) + 1, int(cut) + 1} {
			srv := frozen(&memory{})
			srv.LMTP, srv.MaxHold = lmtp, time.Hour
			if !lmtp {
				srv.Auth, srv.InsecureAuth = bobOnly{}, true
			}
			heard[i] = id.ReplaceAllString(converse(srv, said, n), "id\r")
		}
		if heard[0] != heard[1] {
			t.Fatalf("%q: heard\n%s\nin pieces of %d\n%s", said, heard[0], int(cut)+1, heard[1])
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(heard[0], "\r\n"), "\r\n") {
			if !reply.MatchString(line) || len(line) > MaxReplyLine-2 {
				t.Fatalf("%q: heard %q", said, line)
			}
		}
	})
}

// testdata/dialogs/README.md says which test holds which promise. What it names has to be there: "smtp/x.txt" is a transcript,
// "pkg/x TestY" a test.
func TestIndexOfPromises(t *testing.T) {
	const dialogs = "../../testdata/dialogs/"
	index, err := os.ReadFile(dialogs + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range regexp.MustCompile("`([a-z]+/[^` ]+)(?: ((?:Test|Fuzz)[A-Za-z0-9]+))?`").FindAllStringSubmatch(string(index), -1) {
		found++
		path, name := m[1], m[2]
		if name == "" {
			if _, err := os.Stat(dialogs + path); err != nil && !strings.Contains(path, "*") {
				t.Errorf("%s: %v", m[0], err)
			}
		} else if !hasTest("../../"+path, name) {
			t.Errorf("%s: there is no such test", m[0])
		}
	}
	if found < 60 {
		t.Errorf("only %d names found", found)
	}
	for clause := range strings.SplitSeq(clauses, "\n") {
		if !strings.Contains(string(index), "| "+clause+" |") {
			t.Errorf("no row for %q", clause)
		}
	}
}

// clauses are the failures that respected servers had.
const clauses = `end-of-data smuggling by any line end but CRLF.CRLF
bare CR or LF in commands and HELO
commands injected before STARTTLS
transaction state kept across STARTTLS
dot-stuffing wrong at buffer edges
a text line without end filling memory
NUL
BDAT out of step
null reverse-path refused
bounce of a bounce
backscatter instead of 550 at RCPT
loops
nine forms of open relay
shell characters in addresses
20,000 recipients
reply text that echoes the peer
slow senders
AUTH in clear
AUTH timing
AUTH after AUTH
over-long base64`

func hasTest(dir, name string) bool {
	files, _ := filepath.Glob(dir + "/*_test.go")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// Whatever stands in for CRLF around a dot, nothing behind it becomes a command (CVE-2023-51764, -51765, -51766, CVE-2023-52354),
// not even where bare line ends are repaired.
func TestSmuggling(t *testing.T) {
	ends := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\r", "\r\n\r", "\x00\r\n", "\r\x00\n", "\v", "\x85", "\u2028"}
	const evil = "MAIL FROM:<evil@x.example>\r\nRCPT TO:<bob@x.example>\r\nDATA\r\nsmuggled\r\n.\r\n"
	for _, bare := range []wire.Bare{wire.RefuseBare, wire.RepairBare} {
		for _, before := range ends {
			for _, after := range ends {
				if strings.HasSuffix(before, "\r\n") && after == "\r\n" {
					continue // the end of data, in the open
				}
				for _, cut := range []int{1, 1000} {
					store := &memory{}
					srv := &Server{Hostname: "h.example", Backend: store, Bare: bare}
					heard := converse(srv, beginBob+"DATA\r\nx"+before+"."+after+evil+"NOOP\r\nQUIT\r\n", cut)
					for _, k := range store.kept {
						if k.env.Sender.Local == "evil" {
							t.Fatalf("%q.%q, bare %d: smuggled\n%s", before, after, bare, heard)
						}
					}
					if !strings.HasSuffix(heard, "\r\n250 2.0.0 Ok\r\n221 2.0.0 h.example closing connection\r\n") {
						t.Fatalf("%q.%q, bare %d: out of step\n%s", before, after, bare, heard)
					}
				}
			}
		}
	}
}

// Lines of commands end in CRLF: all others are refused as a whole.
func TestBareLineEndsInCommands(t *testing.T) {
	for _, bad := range []string{"\n", "\r\r\n", "\rNOOP\r\n", "\nNOOP\r\n", "\n\r\n"} {
		for _, verb := range []string{"HELO x.example", "EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<bob@x.example>", "DATA", "BDAT 0 LAST",
			"RSET", "NOOP", "VRFY x", "QUIT", "AUTH PLAIN AGJvYgBodW5ncnk=", "STARTTLS"} {
			store := &memory{}
			heard := converse(frozen(store), beginBob+verb+bad, 1)
			behind := strings.Split(strings.TrimSuffix(heard, "\r\n"), "\r\n")
			at := len(behind) - strings.Count(bad, "\n")
			if !strings.HasPrefix(behind[at], "500 5.5.2 ") || len(store.kept) != 0 {
				t.Errorf("%q: heard\n%s", verb+bad, heard)
			}
		}
	}
}

// Commands that come in clear behind STARTTLS are never obeyed, neither before nor after the handshake (CVE-2011-0411).
func TestInjectionBeforeTLS(t *testing.T) {
	ca := mailtest.NewCA(t)
	store := &memory{}
	srv := &Server{Hostname: "h.example", Backend: store, TLS: ca.ServerConfig("h.example")}
	client, server := mailtest.Pipe(t)
	done := make(chan struct{})
	go func() { defer close(done); srv.ServeConn(t.Context(), server) }()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	go io.WriteString(client, "EHLO x\r\nMAIL FROM:<a@x.example>\r\nSTARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<bob@x.example>\r\n")
	heard := readUntil(t, client, "\r\n220 2.0.0 Ready to start TLS\r\n")
	if strings.Count(heard, "\r\n220 ") != 1 || !strings.HasSuffix(heard, "\r\n220 2.0.0 Ready to start TLS\r\n") {
		t.Fatalf("in clear:\n%s", heard)
	}
	inside := tls.Client(client, ca.ClientConfig("h.example"))
	got := say(t, inside, "RCPT TO:<bob@x.example>\r\nEHLO y\r\nRCPT TO:<bob@x.example>\r\nQUIT\r\n")
	if !strings.HasPrefix(got, "503 5.5.1 ") || strings.Count(got, "503 5.5.1 ") != 2 || strings.Count(got, "\r\n221 ") != 1 || strings.Contains(got, "2.1.") {
		t.Errorf("inside TLS:\n%s", got)
	}
	<-done
}

func readUntil(t *testing.T, r io.Reader, end string) string {
	t.Helper()
	var b strings.Builder
	octet := make([]byte, 1)
	for !strings.HasSuffix(b.String(), end) {
		if _, err := r.Read(octet); err != nil {
			t.Fatalf("%v after %q", err, b.String())
		}
		b.Write(octet)
	}
	return b.String()
}

// Dots at the start of lines come out as they went in, wherever the edges of buffers and packets fall.
func TestDotsAtBufferEdges(t *testing.T) {
	const lines = "..\r\n...\r\n..x\r\n\r\n..\r\n" // stuffed
	want := ".\n..\n.x\n\n.\n"
	for _, edge := range []int{4096, 32 << 10, 64 << 10} {
		for at := edge - len(lines) - 12; at < edge+12; at++ {
			filler := strings.Repeat(strings.Repeat("x", 1022)+"\r\n", at/1024) + strings.Repeat("y", at%1024) + "\r\n"
			store := &memory{}
			srv := frozen(store)
			srv.MaxSize = 0
			converse(srv, beginBob+"DATA\r\n"+filler+lines+".\r\nQUIT\r\n", []int{edge, 1 << 20}[at%2])
			if len(store.kept) != 1 || !strings.HasSuffix(store.kept[0].text, "\n"+strings.ReplaceAll(filler, "\r\n", "\n")+want) {
				t.Fatalf("%d octets before the dots: %d messages", at, len(store.kept))
			}
		}
	}
}

// endless gives x for ever, up to a number of octets.
func endless(octets int64) io.Reader { return io.LimitReader(letters{}, octets) }

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// A line without end costs neither memory nor the session, until it is far beyond anything; then the connection goes.
func TestLinesWithoutEnd(t *testing.T) {
	for name, c := range map[string]struct {
		before string
		octets int64
		after  string
		want   string
	}{
		"text":         {beginBob + "DATA\r\n", 64 << 20, "\r\n.\r\nQUIT\r\n", "\r\n500 5.6.0 Text line too long\r\n221 "},
		"text, BDAT":   {beginBob + "BDAT 67108864 LAST\r\n", 64 << 20, "QUIT\r\n", "\r\n500 5.6.0 Text line too long\r\n221 "},
		"text, binary": {beginBinary + "BDAT 67108864 LAST\r\n", 64 << 20, "QUIT\r\n", "\r\n500 5.6.0 Text line too long\r\n221 "},
		"command":      {"EHLO x\r\n", 1 << 20, "\r\nQUIT\r\n", "\r\n500 5.5.6 Line too long\r\n221 "},
		"all too long": {"EHLO x\r\n", 1 << 40, "", "250 HELP\r\n"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		sent := &strings.Builder{}
		srv := frozen(&memory{})
		srv.MaxSize = 128 << 20
		in := io.MultiReader(strings.NewReader(c.before), endless(c.octets), strings.NewReader(c.after))
		srv.ServeConn(context.Background(), script{readOnly{r: in}, sent})
		runtime.ReadMemStats(&after)
		if got := sent.String(); !strings.Contains(got, c.want) || c.after == "" && !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: heard\n%s", name, got)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d octets allocated", name, used)
		}
	}
}

// NUL is no part of any command, and stays what it is in a message.
func TestNUL(t *testing.T) {
	for _, line := range []string{"HELO a\x00b", "EHLO \x00", "MAIL FROM:<a\x00@x.example>", "MAIL FROM:<a@x\x00.example>", "MAIL FROM:<a@x.example>\x00",
		"MAIL FROM:<a@x.example> SIZE=1\x00", "NOOP\x00", "\x00", "QUIT\x00"} {
		heard := converse(frozen(&memory{}), "EHLO x\r\n"+line+"\r\nNOOP\r\n", 3)
		lines := strings.Split(heard, "\r\n")
		if n := len(lines); lines[n-3][0] != '5' || lines[n-2] != "250 2.0.0 Ok" {
			t.Errorf("%q: heard\n%s", line, heard)
		}
	}
	store := &memory{}
	converse(frozen(store), beginBob+"DATA\r\nA: \x00b\r\n\r\n\x00.\r\n\x00\x00\r\n.\r\n", 2)
	if got := stored(store); !strings.HasSuffix(got, "\nA: \x00b\n\n\x00.\n\x00\x00\n") {
		t.Errorf("stored %q", got)
	}
}

// 20,000 recipients: as many are taken as the limit says, the others hear that they may come again, and the message goes out.
func TestTwentyThousandRecipients(t *testing.T) {
	store := &memory{}
	srv := &Server{Hostname: "h.example", Backend: store}
	var b strings.Builder
	b.WriteString("EHLO x\r\nMAIL FROM:<a@x.example>\r\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "RCPT TO:<bob@x%d.example>\r\n", i)
	}
	b.WriteString("DATA\r\n.\r\nQUIT\r\n")
	heard := converse(srv, b.String(), 1<<20)
	taken, later := strings.Count(heard, "\r\n250 2.1.5 "), strings.Count(heard, "\r\n452 4.5.3 ")
	if taken != DefaultMaxRcpts || later != 20_000-DefaultMaxRcpts || len(store.kept) != 1 || len(store.kept[0].env.Rcpts) != DefaultMaxRcpts {
		t.Errorf("%d taken, %d put off, %d messages", taken, later, len(store.kept))
	}
}

// Replies say nothing of what the peer said: no terminal is driven and no log is forged by it, and each line has its length.
func TestRepliesDoNotEcho(t *testing.T) {
	const mark = "echo\x1b[2J\xc3\xa4\x9b"
	long := strings.Repeat("echo", 1000)
	for _, form := range []string{"%s", "HELO %s", "EHLO %s", "MAIL FROM:<%s@x.example>", "MAIL FROM:<a@%s>", "MAIL FROM:%s", "MAIL FROM:<a@x.example> %s", "MAIL FROM:<a@x.example> %s=1",
		"MAIL FROM:<a@x.example> SIZE=%s", "MAIL FROM:<a@x.example> BODY=%s", "MAIL FROM:<a@x.example> BY=%s", "MAIL FROM:<a@x.example> HOLDFOR=%s", "MAIL FROM:<a@x.example> SMTPUTF8=%s",
		"RCPT TO:<%s@x.example>", "RCPT TO:<bob@x.example> ORCPT=%s", "RCPT TO:<bob@x.example> NOTIFY=%s", "DATA %s", "BDAT %s", "BDAT 0 %s", "RSET %s",
		"NOOP %s", "VRFY %s", "EXPN %s", "HELP %s", "STARTTLS %s", "AUTH %s", "AUTH PLAIN %s", "QUIT %s"} {
		for _, word := range []string{mark, "echo", long, strings.Repeat("echo ", 2000)} {
			srv := frozen(&memory{})
			srv.Auth, srv.InsecureAuth, srv.MaxHold = bobOnly{}, true, time.Hour
			for _, before := range []string{"", "EHLO x\r\n", "EHLO x\r\nMAIL FROM:<a@x.example> SMTPUTF8\r\n"} {
				heard := converse(srv, before+fmt.Sprintf(form, word)+"\r\n", 1000)
				if strings.Contains(heard, "echo") {
					t.Errorf("%.90q: heard\n%s", fmt.Sprintf(form, word), heard)
				}
				for line := range strings.SplitSeq(heard, "\r\n") {
					if len(line) > MaxReplyLine-2 || line != printable(line) {
						t.Errorf("%.90q: heard %q", fmt.Sprintf(form, word), line)
					}
				}
			}
		}
	}
}

// What a Backend's error says of the peer is cut and cleaned on its way out.
func TestRepliesAreClean(t *testing.T) {
	r := replyTo(mail.Permanentf(1, 1, "No such user: %s", "\x1b[2J\r\n250 ok \xc3\xa4"+strings.Repeat("x", 1000)))
	sent := &strings.Builder{}
	c := wire.NewConn(script{out: sent})
	if err := r.write(c); err != nil || c.Flush() != nil {
		t.Fatal(err)
	}
	if got := sent.String(); len(got) != MaxReplyLine || strings.Count(got, "\r\n") != 1 || !strings.HasPrefix(got, "550 5.1.1 No such user: ?[2J??250 ok ?") {
		t.Errorf("%d octets: %q", len(got), got)
	}
}

// Who says a command letter by letter has one time for all of it; who stops within a message is waited for once more.
func TestSlowSenders(t *testing.T) {
	for name, c := range map[string]struct {
		said  string
		drip  string // then one octet each second
		after time.Duration
	}{
		"silent after the greeting": {"", "", DefaultTimeout},
		"dripping a command":        {"", strings.Repeat("x", 2000), DefaultTimeout},
		"silent within a command":   {"EHLO x\r\nNO", "", DefaultTimeout},
		"silent within a message":   {beginBob + "DATA\r\nSubject: x\r\n", "", DefaultDataTimeout},
		"silent within a chunk":     {beginBob + "BDAT 100\r\nSubject: x\r\n", "", DefaultDataTimeout},
		"silent in binary":          {beginBinary + "BDAT 100\r\nSubject: x\r\n", "", DefaultDataTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			store := &memory{}
			start := time.Now()
			var ended time.Duration
			var both sync.WaitGroup
			both.Go(func() {
				(&Server{Hostname: "h.example", Backend: store}).ServeConn(context.Background(), far)
				ended = time.Since(start)
			})
			both.Go(func() {
				if c.said != "" {
					io.WriteString(near, c.said)
				}
				for _, b := range []byte(c.drip) {
					time.Sleep(time.Second)
					if _, err := near.Write([]byte{b}); err != nil {
						return
					}
				}
			})
			heard, err := io.ReadAll(near)
			both.Wait()
			if err != nil || !strings.HasSuffix(string(heard), "\r\n421 4.4.2 Waited too long for input, closing connection\r\n") || ended != c.after || len(store.kept) != 0 {
				t.Errorf("%s: ended after %v, want %v, %v:\n%s", name, ended, c.after, err, heard)
			}
		})
	}
}

// Chunks of an octet each, as late as a command may come, are slow all the same; chunks that keep the pace take as long as they like.
func TestSlowChunks(t *testing.T) {
	for _, c := range []struct {
		octets int
		every  time.Duration
		isSlow bool
	}{{1, DefaultTimeout - time.Second, true}, {1, time.Second, true}, {30_000, DefaultTimeout - time.Second, false}} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			var both sync.WaitGroup
			both.Go(func() { (&Server{Hostname: "h.example", Backend: &memory{}}).ServeConn(context.Background(), far) })
			start := time.Now()
			both.Go(func() {
				defer near.Close()
				io.WriteString(near, beginBob)
				for time.Since(start) < 3*time.Hour {
					time.Sleep(c.every)
					if _, err := fmt.Fprintf(near, "BDAT %d\r\n%s", c.octets, strings.Repeat("x\r\n", c.octets)[:c.octets]); err != nil {
						return
					}
				}
			})
			heard, _ := io.ReadAll(near)
			after := time.Since(start)
			both.Wait()
			isCut := strings.HasSuffix(string(heard), "\r\n421 4.4.2 Waited too long for input, closing connection\r\n")
			if isCut != c.isSlow || isCut && after > DefaultTimeout+DefaultDataTimeout+DefaultTimeout {
				t.Errorf("%+v: after %v heard\n%s", c, after, heard)
			}
		})
	}
}

// A chunk has its time also when the one before had no size that could be understood.
func TestChunkAfterBadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var both sync.WaitGroup
		both.Go(func() { (&Server{Hostname: "h.example", Backend: &memory{}}).ServeConn(context.Background(), far) })
		both.Go(func() {
			for _, piece := range []string{beginBob + "BDAT x\r\n", "BDAT 5\r\n", "he", "llo", "BDAT 1 LAST\r\n", "x", "QUIT\r\n"} {
				time.Sleep(time.Second)
				io.WriteString(near, piece)
			}
		})
		heard, _ := io.ReadAll(near)
		both.Wait()
		if got := string(heard); strings.Count(got, "501 5.5.4 Syntax: BDAT octets [LAST]\r\n") != 3 || !strings.Contains(got, "\r\n221 ") {
			t.Errorf("heard\n%s", got)
		}
	})
}
