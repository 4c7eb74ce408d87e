package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/queue"
	"mailx/pkg/vfs"
)

// TestCrashHandover fails every call of a message that goes into the queue with a copy kept, and loses the power after each.
// Success is both of them, durably; a copy that could not be kept is said to be missing, and then the queue has the message;
// any other failure leaves nothing, as far as the disk lets anything be removed.
func TestCrashHandover(t *testing.T) {
	mem := vfs.NewMem()
	for _, dir := range []string{"/spool", "/copies"} {
		if err := mem.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	base := testSystem(t)
	base.cfg.Spool, base.cfg.QueueDir = "/spool", "/spool/queue"
	text := "From: a@x.example\n\n" + strings.Repeat("a line\n", 3)
	unsaved := errors.New("the copy is missing")
	op := func(fsys vfs.FS) error {
		sys := &system{cfg: base.cfg, env: base.env, fs: fsys, log: nil, boxes: map[string]*maildir.Dir{}, quotas: base.quotas}
		h := &handover{e: base.env, sys: sys, opt: &sendOptions{queue: true, saveTo: "/copies/box"}}
		l := &letter{env: mail.Envelope{Sender: mail.Address{Local: "a", Domain: "x.example"},
			Rcpts: []mail.Recipient{{Address: mail.Address{Local: "b", Domain: "y.example"}}}},
			write: func(w io.Writer) error { _, err := io.WriteString(w, text); return err }}
		outcomes, err := h.one(t.Context(), l)
		if err == nil && exitOfOutcomes(outcomes) == exOK && h.unsaved != nil {
			return unsaved
		}
		return err
	}
	mem.SyncAll()
	n := 0
	for trial := range vfs.Trials(mem, op) {
		n++
		queued, copies := queuedIn(t, trial.Mem), copiesIn(trial.Mem)
		switch {
		case trial.Err == nil && (queued != 1 || copies != 1):
			t.Errorf("%s\nsuccess, but %d queued and %d copies", trial, queued, copies)
		case errors.Is(trial.Err, unsaved) && queued != 1:
			t.Errorf("%s\nonly the copy was said to be missing, but %d queued", trial, queued)
		case trial.Err != nil && !errors.Is(trial.Err, unsaved) && !trial.Crashed && !trial.Lasting && queued+copies != 0:
			t.Errorf("%s\nfailure, but %d queued and %d copies", trial, queued, copies)
		}
	}
	if n < 100 {
		t.Errorf("only %d trials", n)
	}
}

func queuedIn(t *testing.T, fsys vfs.FS) (n int) {
	q, err := queue.Open(fsys, "/spool/queue", queue.Options{})
	if err != nil {
		return 0
	}
	for item, err := range q.List(t.Context()) {
		if err == nil && item.State == queue.StateNew {
			n++
		}
	}
	return n
}

func copiesIn(fsys vfs.FS) int {
	d, err := maildir.Open(fsys, "/copies/box")
	if err != nil {
		return 0
	}
	list, err := d.List()
	if err != nil {
		return 0
	}
	return len(list)
}
