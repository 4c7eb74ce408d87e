package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// testSystem is a system with a spool of its own, in which bob lives and which relays for everybody.
func testSystem(t *testing.T) *system {
	t.Helper()
	t.Setenv("MAILX_CONFIG", os.DevNull)
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}hungry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := testEnv()
	for key, value := range map[string]string{"spool": dir, "users": users, "domains": "here.example", "aliases": "", "log.level": "error",
		"hostname": "here.example"} {
		e.set(key, value, "test")
	}
	sys, err := e.system()
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

// take sends a message through the intake as a session would.
func take(t *testing.T, b smtp.Backend, to ...string) error {
	t.Helper()
	tx, err := b.Mail(t.Context(), &smtp.Peer{User: "bob"}, &mail.Envelope{ID: "X", Sender: mail.Address{Local: "bob", Domain: "here.example"}})
	if err != nil {
		return err
	}
	defer tx.Abort()
	for _, text := range to {
		a, err := mail.ParseAddress(text)
		if err == nil {
			err = tx.Rcpt(t.Context(), mail.Recipient{Address: a})
		}
		if err != nil {
			return err
		}
	}
	if _, err := tx.Write([]byte("Subject: x\n\nhello\n")); err != nil {
		return err
	}
	return tx.Commit()
}

// What breaks under a running server is temporary, and over when its cause is gone.
func TestIntakeRecovers(t *testing.T) {
	sys := testSystem(t)
	intake, err := sys.intake()
	if err != nil {
		t.Fatal(err)
	}
	queue := sys.cfg.QueueDir
	if err := os.WriteFile(queue, nil, 0o600); err != nil { // no queue can be made here
		t.Fatal(err)
	}
	for _, to := range [][]string{{"x@far.example"}, {"bob@here.example", "x@far.example"}} {
		if err := take(t, intake, to...); !mail.StatusOf(err).IsTemporary() {
			t.Errorf("to %v without a queue: %v", to, err)
		}
	}
	if err := os.Remove(queue); err != nil {
		t.Fatal(err)
	}
	if err := take(t, intake, "x@far.example"); err != nil {
		t.Errorf("the queue can be made again, but: %v", err)
	}
	if err := os.RemoveAll(queue); err != nil {
		t.Fatal(err)
	}
	if err := take(t, intake, "bob@here.example", "x@far.example"); err != nil {
		t.Errorf("the queue was removed, and can be made again, but: %v", err)
	}
	if err := errors.Join(os.Rename(queue, queue+".old"), os.Mkdir(queue, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := take(t, intake, "bob@here.example", "x@far.example"); !mail.StatusOf(err).IsTemporary() {
		t.Errorf("something else is in the place of the queue: %v", err)
	}
}

// A server that has seen no mail yet knows all the same whether the disk of the queue is there.
func TestQueueIsKnown(t *testing.T) {
	sys := testSystem(t)
	sys.knowQueue()
	if _, err := os.Lstat(sys.cfg.QueueDir); err == nil {
		t.Error("a queue was made for nothing")
	}
	if _, err := sys.queue(); err != nil {
		t.Fatal(err)
	}
	sys.knowQueue()
	intake, err := sys.intake()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(sys.cfg.QueueDir, sys.cfg.QueueDir+".old"), os.Mkdir(sys.cfg.QueueDir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := take(t, intake, "x@far.example"); !mail.StatusOf(err).IsTemporary() {
		t.Errorf("something else is in the place of the queue: %v", err)
	}
}

// A user who was removed with all mail, and added again, has a mailbox again.
func TestMailboxComesBack(t *testing.T) {
	sys := testSystem(t)
	intake, err := sys.intake()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := take(t, intake, "bob@here.example"); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(sys.cfg.MailRoot, "bob")); err != nil {
			t.Fatal(err)
		}
	}
}
