//go:build interop

package interop

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// repository is a git repository with a commit for each patch that tests send.
type repository struct {
	git string
	dir string
	env []string
}

func newRepository(t *testing.T, patches int) *repository {
	t.Helper()
	r := &repository{git: peer(t, "git"), dir: t.TempDir()}
	r.env = append(peerEnv(r.dir), "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL="+sender,
		"GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL="+sender)
	r.run(t, "init", "-q", ".").must(t, 0)
	for i := range patches + 1 {
		writeFile(t, r.dir, "file", fmt.Sprintf("%d\n.\n..\nGrüße\n", i))
		r.run(t, "add", "file").must(t, 0)
		r.run(t, "commit", "-q", "-m", fmt.Sprintf("change %d", i)).must(t, 0)
	}
	return r
}

func (r *repository) run(t *testing.T, args ...string) result {
	t.Helper()
	return job{args: append([]string{r.git}, args...), env: r.env, dir: r.dir}.run(t)
}

// send hands over the last patches by SMTP, with a cover letter. Settings are those below "sendemail.".
func (r *repository) send(t *testing.T, patches int, settings ...string) result {
	t.Helper()
	var args []string
	for _, s := range settings {
		args = append(args, "-c", "sendemail."+s)
	}
	args = append(args, "send-email", "--to", rcpt, "--cc", "carl@"+domain, "--bcc", "dave@example.com", "--from", sender,
		"--envelope-sender", sender, "--confirm", "never", "--suppress-cc", "all", "--8bit-encoding", "UTF-8",
		"--transfer-encoding", "8bit", "--quiet", "--force", "--cover-letter", "--subject-prefix", "PATCH v2", fmt.Sprintf("-%d", patches))
	out := r.run(t, append([]string{"-c", "format.coverLetter=true", "-c", "core.editor=true", "-c", "sendemail.annotate=false"}, args...)...)
	if strings.Contains(out.stderr, "is not a git command") || strings.Contains(out.stderr, "Perl module") ||
		strings.Contains(out.stderr, "Can't locate") {
		t.Skipf("git send-email is not installed, or its Perl modules are not: %s", out.stderr)
	}
	return out
}

// TestGitSubmits sends a series in each way: all arrive, in their order, in one thread.
func TestGitSubmits(t *testing.T) {
	t.Parallel()
	const patches = 4
	r := newRepository(t, patches)
	w, starttls, implicit := newSubmission(t)
	for _, way := range []struct{ name, addr, encryption, auth string }{
		{"STARTTLS PLAIN", starttls, "tls", "PLAIN"},
		{"STARTTLS LOGIN", starttls, "tls", "LOGIN"},
		{"TLS PLAIN", implicit, "ssl", "PLAIN"},
		{"TLS LOGIN", implicit, "ssl", "LOGIN"},
	} {
		t.Run(way.name, func(t *testing.T) {
			clear(t, w.mailbox(user))
			clear(t, w.mailbox("carl"))
			clear(t, filepath.Join(w.spool, "queue"))
			r.send(t, patches, gitSettings(w, way.addr, way.encryption, way.auth, secret)...).must(t, 0)
			checkSeries(t, messages(t, w.mailbox(user)), patches)
			checkSeries(t, messages(t, w.mailbox("carl")), patches)
			if ids := queued(t, w); len(ids) != patches+1 {
				t.Errorf("for dave: %q", ids)
			}
		})
	}
}

func gitSettings(w *world, addr, encryption, auth, password string) []string {
	return []string{"smtpServer=localhost", "smtpServerPort=" + portOf(addr), "smtpEncryption=" + encryption, "smtpUser=" + user,
		"smtpPass=" + password, "smtpAuth=" + auth, "smtpSSLCertPath=" + w.caFile, "smtpDomain=client.example.net"}
}

var messageID = regexp.MustCompile(`(?mi)^Message-ID: (<[^>]+>)$`)

// checkSeries wants the cover letter and the patches, those in reply to that.
func checkSeries(t *testing.T, all []string, patches int) {
	t.Helper()
	if len(all) != patches+1 {
		t.Fatalf("%d messages, want %d", len(all), patches+1)
	}
	var cover string
	for i, text := range all {
		s := parseStored(t, text)
		checkESMTPSA(t, s.received)
		if want := fmt.Sprintf("\nSubject: [PATCH v2 %d/%d] ", i, patches); !strings.Contains(text, want) || s.returnPath != "<"+sender+">" {
			t.Errorf("message %d from %s, want %q in\n%s", i, s.returnPath, want, text)
		}
		if strings.Contains(text, "dave") {
			t.Errorf("a blind copy is not:\n%s", text)
		}
		if i == 0 {
			if m := messageID.FindStringSubmatch(text); m != nil {
				cover = m[1]
			}
			continue
		}
		change := fmt.Sprintf("\n-%d\n+%d\n .\n ..\n Grüße\n", i-1, i)
		if cover == "" || !strings.Contains(text, "\nIn-Reply-To: "+cover+"\n") || !strings.Contains(text, change) {
			t.Errorf("message %d is not in reply to %q, or has not %q:\n%s", i, cover, change, text)
		}
	}
}

// TestGitRefused: a wrong password, or a certificate that nobody vouches for, ends git with a failure.
func TestGitRefused(t *testing.T) {
	t.Parallel()
	r := newRepository(t, 1)
	w, starttls, implicit := newSubmission(t)
	stranger := newWorld(t)
	for name, settings := range map[string][]string{
		"wrong password, STARTTLS":    gitSettings(w, starttls, "tls", "PLAIN", "wrong"),
		"wrong password, TLS":         gitSettings(w, implicit, "ssl", "PLAIN", "wrong"),
		"unknown authority, STARTTLS": gitSettings(stranger, starttls, "tls", "PLAIN", secret),
		"unknown authority, TLS":      gitSettings(stranger, implicit, "ssl", "PLAIN", secret),
	} {
		t.Run(name, func(t *testing.T) {
			if out := r.send(t, 1, settings...); out.code == 0 {
				t.Errorf("want a failure:\n%v", out)
			}
			if all := messages(t, w.mailbox(user)); len(all) != 0 || len(queued(t, w)) != 0 {
				t.Errorf("stored: %q", all)
			}
		})
	}
}
