package smtp

import (
	"context"
	"errors"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

// picky is a Backend with a verdict for each recipient: alice's mailbox is full.
type picky struct{ memory }

type pickyTx struct {
	memoryTx
	short bool // forgets the last verdict
}

func (p *picky) Mail(_ context.Context, _ *Peer, env *mail.Envelope) (Tx, error) {
	return &pickyTx{memoryTx: memoryTx{m: &p.memory, env: env}, short: env.Sender.Local == "short"}, nil
}

func (tx *pickyTx) CommitEach() []error {
	var errs []error
	for _, r := range tx.env.Rcpts {
		var err error
		if r.Local == "alice" {
			err = mail.Temporaryf(2, 2, "Mailbox full")
		}
		errs = append(errs, err)
	}
	if tx.short {
		return errs[1:]
	}
	return errs
}

func TestLMTPDialogs(t *testing.T) {
	ca := mailtest.NewCA(t)
	server := func(implicit bool) *Server {
		return &Server{Hostname: "hamburger.edu", Backend: &picky{}, LMTP: true, TLS: ca.ServerConfig("hamburger.edu"), Implicit: implicit}
	}
	opt := mailtest.Options{TLS: ca.ClientConfig("hamburger.edu"), DialTLS: startServer(t, server(true))}
	mailtest.RunTranscripts(t, "../../testdata/dialogs/lmtp/*.txt", startServer(t, server(false)), opt)
}

const lmtpTwo = "RCPT TO:<bob@x.example>\r\nRCPT TO:<postmaster@x.example>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n"

// A backend that has one verdict has it for all; one that gives too few never makes a success of it.
func TestLMTPVerdicts(t *testing.T) {
	full := &memory{commit: mail.Temporaryf(3, 1, "Insufficient system storage")}
	for name, c := range map[string]struct {
		store        Backend
		sender, want string
	}{
		"one for all":     {&memory{}, "a", "250 2.0.0 250 2.0.0"},
		"trouble for all": {full, "a", "452 4.3.1 452 4.3.1"},
		"unclassified":    {&memory{commit: errors.New("surprise")}, "a", "451 4.0.0 451 4.0.0"},
		"too few":         {&picky{}, "short", "250 2.0.0 451 4.3.0"},
	} {
		srv := &Server{Hostname: "h.example", Backend: c.store, LMTP: true}
		heard := converse(srv, "LHLO x\r\nMAIL FROM:<"+c.sender+"@x.example>\r\n"+lmtpTwo, 100)
		lines := strings.Split(heard, "\r\n")
		at := len(lines) - 4
		if got := lines[at][:9] + " " + lines[at+1][:9]; got != c.want || strings.Contains(heard, "surprise") {
			t.Errorf("%s: got %s, want %s:\n%s", name, got, c.want, heard)
		}
	}
}

// SMTP has one verdict, also from a backend that could give more.
func TestSMTPDoesNotAskForEach(t *testing.T) {
	heard := converse(&Server{Hostname: "h.example", Backend: &picky{}}, beginBob+"DATA\r\nhello\r\n.\r\nQUIT\r\n", 100)
	if strings.Count(heard, "Message accepted") != 1 {
		t.Errorf("heard\n%s", heard)
	}
}

// The trace field says LMTP (RFC 3848).
func TestLMTPTrace(t *testing.T) {
	for params, want := range map[string]string{"": " with LMTP id ", " SMTPUTF8": " with UTF8LMTP id "} {
		store := &memory{}
		converse(&Server{Hostname: "h.example", Backend: store, LMTP: true},
			"LHLO x\r\nMAIL FROM:<a@x.example>"+params+"\r\n"+lmtpTwo, 100)
		if len(store.kept) != 1 || !strings.Contains(store.kept[0].text, want) {
			t.Errorf("want %q in %+v", want, store.kept)
		}
	}
}
