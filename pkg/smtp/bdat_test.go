package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/wire"
)

// converse plays one side of a connection: everything that the client says, in cuts of that many octets; it gives the replies.
func converse(srv *Server, text string, cut int) string {
	sent := &strings.Builder{}
	srv.ServeConn(context.Background(), script{readOnly{r: mailtest.ChunkReader(strings.NewReader(text), cut)}, sent})
	return sent.String()
}

// script is a connection whose client has said all in advance.
type script struct {
	readOnly
	out io.Writer
}

func (c script) Write(p []byte) (int, error) { return c.out.Write(p) }
func (script) Close() error                  { return nil }
func (script) RemoteAddr() net.Addr          { return nil }

const beginBob = "EHLO x.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<bob@x.example>\r\n"

func frozen(store *memory) *Server {
	return &Server{Hostname: "h.example", Backend: store, MaxSize: 400, Now: func() time.Time { return time.Unix(1700000000, 0).UTC() }}
}

// stored gives the text without what is different for each message: its id.
func stored(store *memory) string {
	if len(store.kept) != 1 {
		return fmt.Sprintf("%d messages", len(store.kept))
	}
	return strings.ReplaceAll(store.kept[0].text, store.kept[0].env.ID, "ID")
}

// A message in chunks, cut anywhere, is stored as it is when it comes by DATA, or refused with the same status; and
// nothing in it becomes a command.
func FuzzChunking(f *testing.F) {
	f.Add("Subject: x\r\n\r\n.\r\nQUIT\r\n", uint16(3), uint16(14), uint8(1))
	f.Add("Do you like ketchup?\r\n", uint16(0), uint16(21), uint8(7))
	f.Add("a\r\n\r\nb\rc\nd\r\n", uint16(5), uint16(5), uint8(2))
	f.Add(strings.Repeat("Received: x\r\n", 51), uint16(300), uint16(300), uint8(90))
	f.Fuzz(func(t *testing.T, text string, first, second uint16, cut uint8) {
		whole := text
		if !strings.HasSuffix(text, "\r\n") {
			whole += "\r\n" // what DATA can't say
		}
		dots := strings.ReplaceAll("\r\n"+whole, "\r\n.", "\r\n..")[2:]
		data, chunks := &memory{}, &memory{}
		said := converse(frozen(data), beginBob+"DATA\r\n"+dots+".\r\nNOOP\r\nQUIT\r\n", int(cut)+1)
		a := min(int(first), len(whole))
		b := min(a+int(second), len(whole))
		in := beginBob + bdat(whole[:a], "") + bdat(whole[a:b], "") + bdat(whole[b:], " LAST") + "NOOP\r\nQUIT\r\n"
		heard := converse(frozen(chunks), in, int(cut)+1)
		if stored(data) != stored(chunks) {
			t.Fatalf("%q cut at %d and %d: DATA stored %q, BDAT %q", text, a, b, stored(data), stored(chunks))
		}
		want, got := strings.Split(said, "\r\n"), strings.Split(heard, "\r\n")
		// DATA has 354 and one verdict, BDAT three replies; then NOOP, QUIT and the end.
		if len(got) != len(want)+1 || !strings.HasSuffix(heard, "\r\n250 2.0.0 Ok\r\n221 2.0.0 h.example closing connection\r\n") {
			t.Fatalf("%q: out of step:\n%s\nand\n%s", text, said, heard)
		}
		if w, g := want[len(want)-4], got[len(got)-4]; w[:9] != g[:9] && !(strings.HasPrefix(w, "550 5.6.11") || hasTwoFaults(whole)) {
			t.Fatalf("%q: DATA got %q, BDAT %q", text, w, g)
		}
		if whole == text || text == "" {
			return
		}
		bare := &memory{}
		converse(frozen(bare), beginBob+bdat(text, " LAST")+"QUIT\r\n", int(cut)+1)
		if !strings.HasSuffix(text, "\r") && len(whole) < 400 && stored(bare) != stored(chunks) {
			t.Fatalf("%q: stored %q without the last line end, %q with it", text, stored(bare), stored(chunks))
		}
	})
}

// hasTwoFaults: which of several is told is not fixed.
func hasTwoFaults(text string) bool {
	return len(text) > 400 || strings.Count(text, "Received") > 50
}

func bdat(chunk, last string) string { return fmt.Sprintf("BDAT %d%s\r\n%s", len(chunk), last, chunk) }

// Bare line ends in chunks, where the server is set to repair them.
func TestChunkingRepairs(t *testing.T) {
	store := &memory{}
	srv := frozen(store)
	srv.Bare = wire.RepairBare
	converse(srv, beginBob+bdat("Subject: x\n\r", "")+bdat("\n.\rb\r", " LAST")+"QUIT\r\n", 1)
	if got := stored(store); !strings.HasSuffix(got, "Subject: x\n\n.\nb\n") {
		t.Errorf("stored %q", got)
	}
}

// The trace field, the loop check and the store's trouble are those of DATA; what fails once fails to the end.
func TestChunkingTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		store *memory
		text  string
		want  string // of each chunk
	}{
		"loop":   {&memory{}, strings.Repeat("Received: x\r\n", 51), "554 5.4.6 554 5.4.6 554 5.4.6"},
		"write":  {&memory{fault: mail.Temporaryf(3, 1, "Insufficient system storage")}, "a\r\n\r\n", "452 4.3.1 452 4.3.1 452 4.3.1"},
		"commit": {&memory{commit: errors.New("surprise")}, "a\r\n\r\n", "250 2.0.0 250 2.0.0 451 4.0.0"},
	} {
		srv := frozen(c.store)
		srv.MaxSize = 0
		heard := converse(srv, beginBob+bdat(c.text, "")+bdat("b\r\n", "")+bdat("", " LAST")+beginBob[16:]+"QUIT\r\n", 5)
		lines := strings.Split(heard, "\r\n")
		at := len(lines) - 7
		got := lines[at][:9] + " " + lines[at+1][:9] + " " + lines[at+2][:9]
		if got != c.want || !strings.HasPrefix(lines[at+4], "250 2.1.5") || strings.Contains(heard, "surprise") {
			t.Errorf("%s: got %s, want %s:\n%s", name, got, c.want, heard)
		}
	}
}

// A peer that goes away within a chunk, or after some, has sent no message.
func TestChunkingBroken(t *testing.T) {
	for _, rest := range []string{"BDAT 10 LAST\r\nshort", "BDAT 3\r\na\r\n", "BDAT 3\r\na\r\nBDAT 9 LAST\r\n"} {
		store := &memory{}
		converse(frozen(store), beginBob+rest, 3)
		if len(store.kept) != 0 {
			t.Errorf("%q: stored %q", rest, store.kept[0].text)
		}
	}
}

func TestLimitsAreHonest(t *testing.T) {
	for want, srv := range map[string]*Server{
		"250-LIMITS RCPTMAX=1000 MAILMAX=100\r\n": {},
		"250-LIMITS RCPTMAX=5 MAILMAX=7\r\n":      {MaxRcpts: 5, MaxMessages: 7},
		"250-LIMITS MAILMAX=999999\r\n":           {MaxRcpts: 1_000_000, MaxMessages: 999_999},
	} {
		srv.Hostname, srv.Backend = "h.example", &memory{}
		if got := converse(srv, "EHLO x\r\nQUIT\r\n", 100); !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}

// A message that comes with a Return-Path loses it: the one that final delivery writes is the only one (RFC 5321 §4.4), and says
// who has sent the message here.
func TestReturnPathOfOthers(t *testing.T) {
	const text = "Return-Path: <evil@x.example>\r\nSubject: x\r\nRETURN-PATH: <evil@x.example>\r\n\r\nReturn-Path: <body>\r\n"
	for _, said := range []string{beginBob + "DATA\r\n" + text + ".\r\n", beginBob + bdat(text[:20], "") + bdat(text[20:], " LAST"),
		beginBinary + bdat(text, " LAST")} {
		store := &memory{}
		converse(frozen(store), said, 7)
		if got := stored(store); !strings.HasSuffix(got, "\nSubject: x\n\nReturn-Path: <body>\n") || strings.Contains(got, "evil") {
			t.Errorf("%q: stored\n%s", said, got)
		}
	}
}
