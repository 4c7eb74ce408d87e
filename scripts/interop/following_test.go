//go:build interop

package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A flush sends the commands of one message behind the text of another (RFC 2920). What do the servers of others make of that?

const followers = 40

// queueMany queues so many letters, the n-th of which says so in its subject.
func queueMany(t *testing.T, w *world, n int) {
	t.Helper()
	for i := range n {
		w.mustMailx(fmt.Sprintf("From: %s\nTo: %s\nSubject: Letter %03d.\n\nHello.\n", rcpt, away, i), sendRaw("--queue")...)
	}
}

// flushFollowing flushes, and counts the messages that began while the one before was still on its way.
func flushFollowing(t *testing.T, w *world, addr string) int {
	t.Helper()
	r := w.mailx("", "queue", "flush", "--trace", "--parallel", "2", "--server", "smtp://"+addr)
	count, isOut := 0, map[string]bool{}
	for line := range strings.Lines(r.stderr) {
		name, said, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(said, "MAIL FROM:<"+rcpt+">") && isOut[name] {
			count++
		}
		isOut[name] = strings.HasSuffix(strings.TrimSpace(line), " .")
	}
	return count
}

// checkEach wants each letter of queueMany once.
func checkEach(t *testing.T, texts []string, n int) {
	t.Helper()
	for i := range n {
		mark, got := fmt.Sprintf("Subject: Letter %03d.\n", i), 0
		for _, text := range texts {
			got += strings.Count(text, mark)
		}
		if got != 1 {
			t.Errorf("%q arrived %d times", mark, got)
		}
	}
}

func TestFollowing(t *testing.T) {
	t.Parallel()
	there := newWorld(t, "MAILX_DOMAINS=example.com", "MAILX_SMTP_MAX_MESSAGES=100000")
	there.mustMailx(secret+"\n", "user", "add", "carol")
	next := there.serve("serve-smtp")
	servers := map[string]func(t *testing.T) (addr, box string){
		"Postfix": func(t *testing.T) (string, string) {
			p := startPostfix(t, []string{"virtual_mailbox_domains = example.com", "virtual_mailbox_base = $dir",
				"virtual_mailbox_maps = static:box/all/", "virtual_uid_maps = static:65534", "virtual_gid_maps = static:65534",
				"mynetworks =", "smtpd_discard_ehlo_keywords = chunking", "smtpd_forbid_unauth_pipelining = yes",
				"smtpd_data_restrictions = reject_unauth_pipelining"}, nil)
			return p.addr, filepath.Join(p.dir, "box/all")
		},
		"Exim":      func(t *testing.T) (string, string) { return startExim(t, "") },
		"OpenSMTPD": func(t *testing.T) (string, string) { return startOpenSMTPD(t, next), there.mailbox("carol") },
	}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			addr, box := start(t)
			w := newWorld(t, "MAILX_TLS_POLICY=none")
			queueMany(t, w, followers)
			if n := flushFollowing(t, w, addr); n == 0 {
				t.Error("no message followed another")
			}
			if ids := queued(t, w); len(ids) != 0 {
				t.Fatalf("in the queue: %q", ids)
			}
			checkEach(t, awaitMany(t, box, followers), followers)
		})
	}
}

// awaitMany gives what is in a Maildir that is not ours, when so many are there.
func awaitMany(t *testing.T, box string, n int) (texts []string) {
	t.Helper()
	var names []string
	for deadline := time.Now().Add(patience); len(names) < n && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		names, _ = filepath.Glob(filepath.Join(box, "new", "*"))
	}
	for _, name := range names {
		texts = append(texts, read(t, name))
	}
	return texts
}

// TestFollowingFailures: whatever the receiver does, and whenever, each of many messages is delivered, or waits, or comes back.
func TestFollowingFailures(t *testing.T) {
	t.Parallel()
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s, w := startSink(t, f.options...), newWorld(t)
			const n = 8
			queueMany(t, w, n)
			flushFollowing(t, w, s.addr)
			var got []string
			switch f.outcome {
			case "delivered":
				for _, d := range s.taken(t) {
					got = append(got, d.text)
				}
			case "queued":
				if ids := queued(t, w); len(ids) != n {
					t.Fatalf("%d in the queue", len(ids))
				}
				better := startSink(t)
				w.mustMailx("", "queue", "flush", "--all", "--server", "smtp://"+better.addr)
				for _, d := range better.taken(t) {
					got = append(got, d.text)
				}
			case "bounced":
				w.mailx("", "queue", "flush", "--server", "smtp://"+s.addr) // the notices
				got = messages(t, w.mailbox(user))
			}
			checkEach(t, got, n)
			if ids := queued(t, w); len(ids) != 0 {
				t.Errorf("in the queue: %q", ids)
			}
		})
	}
}
