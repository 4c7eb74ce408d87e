package smtp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// everyCapability is what EHLO and LHLO say to all kinds of peers.
func everyCapability() map[string]bool {
	all := map[string]bool{}
	for _, srv := range []*Server{{}, {LMTP: true}, {TLS: &tls.Config{}, Auth: bobOnly{}, InsecureAuth: true, MaxHold: time.Hour}} {
		for _, peer := range []Peer{{}, {TLS: &tls.ConnectionState{}}, {User: "bob", TLS: &tls.ConnectionState{}}, {Local: true}} {
			for _, line := range (&conversation{srv: srv, peer: peer}).extensions() {
				keyword, _, _ := strings.Cut(line, " ")
				all[keyword] = true
			}
		}
	}
	return all
}

// What is advertised has transcripts of its success and of its errors, <keyword>.txt and <keyword>-errors.txt, and each
// mechanism of AUTH has its own.
func TestCapabilitiesHaveTranscripts(t *testing.T) {
	want := map[string]bool{}
	for keyword := range everyCapability() {
		name := strings.ToLower(keyword)
		want[name] = true
		want[name+"-errors"] = keyword != "HELP" // which takes anything
	}
	if len(want) < 30 {
		t.Fatalf("EHLO says only %v", want)
	}
	for _, m := range auth.Mechanisms(auth.Channel{Secure: true, TLS: &tls.ConnectionState{Version: tls.VersionTLS13}}, bobOnly{}) {
		name, _, _ := strings.Cut(strings.ToLower(m), "-")
		want["auth-"+name] = true
	}
	for name, isWanted := range want {
		path := filepath.Join("../../testdata/dialogs/smtp", name+".txt")
		if _, err := os.Stat(path); err != nil && isWanted {
			t.Errorf("a transcript is missing: %v", err)
		}
	}
}

// keysOfBob is bobOnly with keys for SCRAM.
type keysOfBob struct {
	bobOnly
	keys auth.ScramKeys
}

func (k keysOfBob) ScramKeys(name string) (auth.User, auth.ScramKeys, error) {
	if name != "bob" {
		return auth.User{}, k.keys, nil
	}
	return auth.User{Name: name}, k.keys, nil
}

// Whole exchanges of every mechanism that has a password, right ones and wrong ones, between our client and our server.
func TestMechanismsMeetServer(t *testing.T) {
	users := keysOfBob{keys: auth.NewScramKeys("hungry")}
	for _, mech := range []string{auth.MechPlain, auth.MechLogin, auth.MechScramSHA256} {
		for cred, want := range map[auth.Credentials]string{
			{User: "bob", Password: "hungry"}: "2.0.0", {User: "bob", Password: "thirsty"}: "5.7.8", {User: "eve", Password: "hungry"}: "5.7.8",
		} {
			near, far := net.Pipe()
			srv := &Server{Hostname: "mx.example", Backend: &shelf{}, Auth: users, InsecureAuth: true, AuthRequired: true}
			var both sync.WaitGroup
			both.Go(func() { srv.ServeConn(t.Context(), far) })
			opt := testOptions()
			opt.Server, opt.TLS, opt.AuthInClear = "mx.example", TLSNone, true
			c, err := NewClient(t.Context(), near, opt)
			if err != nil {
				t.Fatal(err)
			}
			sasl, err := auth.NewClient(cred, auth.Choice{Offered: []string{mech}, Secure: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Auth(t.Context(), sasl); (err == nil) != (want == "2.0.0") || err != nil && mail.StatusOf(err).String() != want {
				t.Errorf("%s as %s: %v, want %s", mech, cred.User, err, want)
			}
			sent := statuses(sendText(t, c, envelope(t, "bob@x.example", "a@y.example"), "Subject: x\n"))
			if isIn := sent == "2.0.0"; isIn != (want == "2.0.0") {
				t.Errorf("%s as %s: sending gave %s", mech, cred.User, sent)
			}
			c.Quit()
			both.Wait()
		}
	}
}

// FUTURERELEASE is for submission: for each kind of peer, what EHLO says is what MAIL takes.
func TestFutureReleaseIsForSubmission(t *testing.T) {
	remote := netip.MustParseAddr("192.0.2.1")
	for name, c := range map[string]struct {
		srv  Server
		peer Peer
		want bool
	}{
		"stranger":            {Server{MaxHold: time.Hour}, Peer{Addr: remote}, false},
		"stranger inside TLS": {Server{MaxHold: time.Hour}, Peer{Addr: remote, TLS: &tls.ConnectionState{}}, false},
		"this host by TCP":    {Server{MaxHold: time.Hour}, Peer{Addr: netip.MustParseAddr("127.0.0.1"), Local: true}, false},
		"authenticated":       {Server{MaxHold: time.Hour}, Peer{Addr: remote, User: "bob"}, true},
		"submission server":   {Server{MaxHold: time.Hour, AuthRequired: true}, Peer{Addr: remote}, true},
		"pipe":                {Server{MaxHold: time.Hour}, Peer{Local: true}, true},
		"not configured":      {Server{}, Peer{User: "bob"}, false},
		"LMTP":                {Server{MaxHold: time.Hour, LMTP: true}, Peer{Local: true}, false},
	} {
		s := &conversation{srv: &c.srv, peer: c.peer}
		said := strings.Contains(strings.Join(s.extensions(), "\n"), "FUTURERELEASE 3600 ")
		now := time.Now()
		err := s.mayWait(&mail.Envelope{Arrived: now, HoldUntil: now.Add(time.Minute)})
		if said != c.want || (err == nil) != c.want {
			t.Errorf("%s: advertised %v, taken %v; want %v", name, said, err, c.want)
		}
	}
}

// A submission server says first that it wants AUTH.
func TestAuthComesBeforeAll(t *testing.T) {
	srv := frozen(&memory{})
	srv.AuthRequired, srv.Auth, srv.MaxHold = true, bobOnly{}, time.Hour
	if got := converse(srv, "EHLO x\r\nMAIL FROM:<a@x.example> HOLDFOR=60 BY=60;R\r\n", 100); !strings.Contains(got, "\r\n530 5.7.0 ") {
		t.Errorf("heard\n%s", got)
	}
}

// A server without TLS has no REQUIRETLS at all, and one without AUTH no AUTH parameter.
func TestNeverOffered(t *testing.T) {
	for _, param := range []string{"REQUIRETLS", "AUTH=<>", "HOLDFOR=1"} {
		srv := frozen(&memory{})
		srv.LMTP = true
		got := converse(srv, "LHLO x\r\nMAIL FROM:<a@x.example> "+param+"\r\n", 100)
		if !strings.HasSuffix(got, "\r\n555 5.5.4 Parameter not recognized\r\n") {
			t.Errorf("%s: heard\n%s", param, got)
		}
	}
	for _, said := range []string{"STARTTLS", "AUTH PLAIN"} {
		if got := converse(frozen(&memory{}), "EHLO x\r\n"+said+"\r\n", 100); !strings.Contains(got, "\r\n502 5.5.1 ") {
			t.Errorf("%s: heard\n%s", said, got)
		}
	}
}

// The envelope that the backend gets says what MAIL and RCPT said, in times of this host.
func TestExtensionsReachTheBackend(t *testing.T) {
	srv := frozen(nil)
	now := srv.now()
	for in, want := range map[string]mail.Envelope{
		"":                    {},
		"RET=HDRS ENVID=a+3D": {Ret: mail.RetHeaders, EnvID: "a="},
		"BODY=8BITMIME":       {Body: mail.Body8BitMIME},
		"BODY=BINARYMIME":     {Body: mail.Body8BitMIME}, // as which it is stored
		"HOLDFOR=90":          {HoldUntil: now.Add(90 * time.Second)},
		"HOLDUNTIL=" + now.Add(time.Hour).Format(time.RFC3339): {HoldUntil: now.Add(time.Hour)},
		"BY=60;R":  {By: mail.DeliverBy{At: now.Add(time.Minute)}},
		"BY=-9;NT": {By: mail.DeliverBy{At: now.Add(-9 * time.Second), Notify: true, Trace: true}},
	} {
		store := &memory{}
		srv.Backend, srv.MaxHold = store, time.Hour
		heard := converse(srv, "EHLO x\r\nMAIL FROM:<a@x.example> "+in+"\r\nRCPT TO:<bob@x.example> NOTIFY=NEVER ORCPT=rfc822;b@y.example\r\n"+
			bdat("\r\n", " LAST")+"QUIT\r\n", 100)
		if len(store.kept) != 1 {
			t.Errorf("%s: heard\n%s", in, heard)
			continue
		}
		got := store.kept[0].env
		if len(got.Rcpts) != 1 || got.Rcpts[0].Notify != mail.NotifyNever || got.Rcpts[0].Orig != "rfc822;b@y.example" {
			t.Errorf("%s: recipients %+v", in, got.Rcpts)
		}
		want.ID, want.Sender, want.Arrived = got.ID, got.Sender, now
		got.Rcpts = nil
		if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
			t.Errorf("%s:\ngot  %s\nwant %s", in, a, b)
		}
	}
}

const beginBinary = "EHLO x.example\r\nMAIL FROM:<a@x.example> BODY=BINARYMIME\r\nRCPT TO:<bob@x.example>\r\n"

// A binary message in chunks, cut anywhere, is stored as the Recoder gives it, or refused with its status; and nothing in it
// becomes a command.
func FuzzBinaryChunking(f *testing.F) {
	f.Add("Content-Transfer-Encoding: binary\r\n\r\n\n.\r\r\nQUIT\r\n", uint16(3), uint16(14), uint8(1))
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\n--b--", uint16(60), uint16(9), uint8(7))
	f.Add("Subject: x\r\n\r\na\nb", uint16(0), uint16(5), uint8(2))
	f.Add(strings.Repeat("x", 401), uint16(400), uint16(1), uint8(90))
	f.Fuzz(func(t *testing.T, text string, first, second uint16, cut uint8) {
		a := min(int(first), len(text))
		b := min(a+int(second), len(text))
		store := &memory{}
		srv := frozen(store)
		heard := converse(srv, beginBinary+bdat(text[:a], "")+bdat(text[a:b], "")+bdat(text[b:], " LAST")+"NOOP\r\nQUIT\r\n", int(cut)+1)
		if !strings.HasSuffix(heard, "\r\n250 2.0.0 Ok\r\n221 2.0.0 h.example closing connection\r\n") || strings.Count(heard, "\r\n221 ") != 1 {
			t.Fatalf("%q cut at %d and %d: out of step:\n%s", text, a, b, heard)
		}
		var out strings.Builder
		var in message.Intake
		in.Reset(&out, []byte("Received: x\n"))
		r := message.NewRecoder(&in)
		_, err := io.WriteString(r, text)
		if err == nil {
			err = errors.Join(r.Close(), in.Close())
		}
		isLoop := strings.Count(strings.ToLower(text), "received") > 50
		if (err != nil || len(text) > 400) != (len(store.kept) == 0) && !isLoop {
			t.Fatalf("%q: %d stored; the Recoder says %v:\n%s", text, len(store.kept), err, heard)
		}
		if len(store.kept) == 0 {
			return
		}
		want := strings.TrimPrefix(out.String(), "Received: x\n")
		if got := store.kept[0].text; !strings.HasSuffix(got, "\n"+want) || strings.Contains(got, "\r") {
			t.Fatalf("%q: stored %q, want %q at its end", text, got, want)
		}
	})
}

// A message that is refused while it comes leaves the dialog in step, and what was stored of it is dropped.
func TestBinaryTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		store *memory
		text  string
		want  string // of each chunk
	}{
		"bare LF":   {&memory{}, "a\nb\r\n", "550 5.6.11 550 5.6.11 550 5.6.11"},
		"long line": {&memory{}, strings.Repeat("x", 5000), "500 5.6.0 500 5.6.0 500 5.6.0"},
		"loop":      {&memory{}, strings.Repeat("Received: x\r\n", 51) + "\r\n", "554 5.4.6 554 5.4.6 554 5.4.6 "},
		"write":     {&memory{fault: mail.Temporaryf(3, 1, "Insufficient system storage")}, "a\r\n\r\n", "452 4.3.1 452 4.3.1 452 4.3.1 "},
		"depth":     {&memory{}, strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 101), "554 5.6.5 554 5.6.5 554 5.6.5 "},
	} {
		srv := frozen(c.store)
		srv.MaxSize = 0
		heard := converse(srv, beginBinary+bdat(c.text, "")+bdat("QUIT\r\n", "")+bdat("", " LAST")+"NOOP\r\nQUIT\r\n", 5)
		lines := strings.Split(heard, "\r\n")
		got := ""
		for _, line := range lines[len(lines)-6 : len(lines)-3] {
			got += strings.Join(strings.Fields(line)[:2], " ") + " "
		}
		if strings.TrimSpace(got) != strings.TrimSpace(c.want) || len(c.store.kept) != 0 {
			t.Errorf("%s: got %s, want %s:\n%s", name, got, c.want, heard)
		}
	}
}

// A peer that goes away within a binary chunk, or announces one that never ends, has sent no message.
func TestBinaryBroken(t *testing.T) {
	for _, rest := range []string{"BDAT 10 LAST\r\nshort", "BDAT 3\r\na\r\n", "BDAT 9223372036854775807 LAST\r\n" + strings.Repeat("x", 1000)} {
		store := &memory{}
		converse(frozen(store), beginBinary+rest, 3)
		if len(store.kept) != 0 {
			t.Errorf("%q: stored %q", rest, store.kept[0].text)
		}
	}
}
