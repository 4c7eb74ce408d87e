//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSendToPostfix: what send promises beside the message, where Postfix is the smarthost: a message for each, Bcc that
// nobody sees, notices that were asked for and none that were not, and two accounts with servers of their own.
func TestSendToPostfix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	home, work := startCollector(t), startCollector(t)
	writeFile(t, w.home, "config.toml", `
[account.home]
smarthost = "smtp://`+home.addr+`"
from = "me@home.example"
[account.work]
smarthost = "smtp://`+work.addr+`"
from = ["me@work.example", "*@work.example"]
rewrite_from = true
`)
	w.env = append(w.env, "MAILX_CONFIG="+filepath.Join(w.home, "config.toml"))

	w.mustMailx("text\n", "send", "--now", "--each", "--from", "me@home.example", "-s", "each", "--notify", "never", "ann@x.example", "bob@x.example")
	w.mustMailx("text\n", "send", "--now", "--from", "me@work.example", "-s", "hidden", "--bcc", "secret@x.example", "--notify", "never", "ann@x.example")
	w.mustMailx("text\n", "send", "--now", "--account", "work", "--from", "Stranger <stranger@y.example>", "-s", "stranger", "ann@x.example")
	w.mustMailx("text\n", "send", "--queue", "--from", "me@home.example", "-s", "told", "--notify", "success", "--envid", "QQ314159", "--ret", "hdrs",
		"ann@x.example")
	w.mustMailx("", "queue", "flush")
	home.idle(t)
	work.idle(t)

	atHome, atWork := home.got(t), work.got(t)
	if n := len(atHome); n != 4 { // two of --each, the last one, and the notice about it
		t.Errorf("%d messages at home, want 4: %q", n, atHome)
	}
	if n := len(atWork); n != 3 {
		t.Errorf("%d messages at work, want 3: %q", n, atWork)
	}
	for what, want := range map[string][]string{
		"To: ann@x.example\nSubject: each\n": {"Return-Path: <me@home.example>", "Delivered-To: ann@x.example"},
		"To: bob@x.example\nSubject: each\n": {"Delivered-To: bob@x.example"},
		"Content-Type: message/delivery-status": {"Original-Envelope-Id: QQ314159", "Action: delivered", "Return-Path: <>",
			"Delivered-To: me@home.example"},
	} {
		one(t, atHome, what, want...)
	}
	for _, m := range atWork {
		if strings.Contains(m, "Bcc") || strings.Contains(m, "secret") && !strings.Contains(m, "Delivered-To: secret@x.example\n") {
			t.Errorf("Bcc has leaked:\n%s", m)
		}
	}
	one(t, atWork, "Subject: stranger", "Return-Path: <me@work.example>", "From: Stranger <me@work.example>", "Reply-To: Stranger <stranger@y.example>")
}

// collector is a Postfix that keeps what it takes, whoever it is for.
type collector struct{ *postfix }

func startCollector(t *testing.T) collector {
	t.Helper()
	return collector{startPostfix(t, []string{"virtual_mailbox_domains = x.example home.example", "virtual_mailbox_base = $dir",
		"virtual_mailbox_maps = static:box/all/", "virtual_uid_maps = static:65534", "virtual_gid_maps = static:65534",
		"mynetworks = 127.0.0.0/8"}, nil)}
}

func (c collector) got(t *testing.T) (all []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(c.dir, "box/all/new/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	return all
}

// one wants a single message that has what, and all of the lines in it.
func one(t *testing.T, all []string, what string, lines ...string) {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(all), func(m string) bool { return !strings.Contains(m, what) })
	if len(found) != 1 {
		t.Errorf("%d messages have %q, want 1: %q", len(found), what, all)
		return
	}
	for _, line := range lines {
		if !strings.Contains(found[0], line+"\n") {
			t.Errorf("no %q in:\n%s", line, found[0])
		}
	}
}
