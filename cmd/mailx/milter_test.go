package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"mailx/pkg/mailtest"
)

// judge is a milter that does what the sender's name says.
type judge struct {
	gomilter.NoOpMilter
	sender string
}

func (j *judge) MailFrom(from string, _ *gomilter.Modifier) (gomilter.Response, error) {
	j.sender, _, _ = strings.Cut(from, "@")
	return gomilter.RespContinue, nil
}

func (j *judge) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	var err error
	switch j.sender {
	case "mark":
		err = m.AddHeader("X-Seen", "yes")
	case "odd":
		err = m.Quarantine("looks odd")
	case "archive":
		err = m.AddRecipient("carol@hamburger.edu")
	case "away":
		err = m.AddRecipient("x@elsewhere.example")
	case "bad":
		return gomilter.NewResponseStr('y', "550 5.7.26 no signature"), nil
	case "gone":
		return gomilter.RespDiscard, nil
	}
	return gomilter.RespContinue, err
}

// TestMilter lets the program ask a milter about messages, several over one connection.
func TestMilter(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "m.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	srv := &gomilter.Server{NewMilter: func() gomilter.Milter { return &judge{} },
		Actions: gomilter.OptAddHeader | gomilter.OptAddRcpt | gomilter.OptQuarantine}
	go srv.Serve(l)

	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}hungry\ncarol:{PLAIN}hungry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Ready: "listening", Args: []string{"serve-smtp", "--listen", "127.0.0.1:0",
		"--hostname", "hamburger.edu", "--set", "domains=hamburger.edu", "--set", "users=" + users, "--set", "milter.sockets=unix:" + socket}}.Start(t)
	nc := mailtest.DialTCP(p.Addr())(t)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	senders := []string{"plain", "mark", "bad", "gone", "odd", "archive", "away"}
	dialog := "EHLO x.example\r\n"
	for _, s := range senders {
		dialog += "MAIL FROM:<" + s + "@x.example>\r\nRCPT TO:<bob@hamburger.edu>\r\nDATA\r\nSubject: " + s + "\r\n\r\nhi\r\n.\r\n"
	}
	if _, err := io.WriteString(nc, dialog+"QUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []string
	_, rest, _ := strings.Cut(string(said), "354 ")
	for _, part := range strings.Split(rest, "354 ") {
		_, verdict, _ := strings.Cut(part, "\r\n")
		verdicts = append(verdicts, verdict[:9])
	}
	if got, want := strings.Join(verdicts, ","), "250 2.0.0,250 2.0.0,550 5.7.2,250 2.0.0,250 2.0.0,250 2.0.0,451 4.3.5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	count := func(pattern, part string) (n int) {
		names, _ := filepath.Glob(filepath.Join(p.Spool, pattern))
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), part) {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		pattern, part string
		want          int
	}{
		{"mail/bob/new/*", "Subject: ", 3}, {"mail/bob/new/*", "X-Seen: yes\n\nhi\n", 1}, {"mail/carol/new/*", "Subject: archive", 1},
		{"queue/new/*", "", 0}, {"queue/.Hold/new/*", "Subject: odd", 1},
	} {
		if got := count(c.pattern, c.part); got != c.want {
			t.Errorf("%d messages with %q in %s, want %d", got, c.part, c.pattern, c.want)
		}
	}
}
