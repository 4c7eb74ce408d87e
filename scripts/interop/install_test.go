//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// staging is a root into which make installs.
type staging struct {
	t   *testing.T
	dir string
}

func newStaging(t *testing.T) *staging {
	t.Helper()
	peer(t, "make")
	return &staging{t, t.TempDir()}
}

// make runs a target of the Makefile. The binary is the one that is tested.
func (s *staging) make(target string) result {
	s.t.Helper()
	args := []string{"make", "-C", filepath.Join("..", ".."), target, "DESTDIR=" + s.dir, "PREFIX=/usr/local"}
	wd, err := os.Getwd()
	if err != nil {
		s.t.Fatal(err)
	}
	return job{args: args, dir: wd}.run(s.t)
}

// leads follows the links of a name inside the root.
func (s *staging) leads(name string) string {
	s.t.Helper()
	for range 10 {
		to, err := os.Readlink(filepath.Join(s.dir, name))
		switch {
		case err != nil:
			if _, err := os.Lstat(filepath.Join(s.dir, name)); err != nil {
				return "nothing"
			}
			return name
		case filepath.IsAbs(to):
			name = to
		default:
			name = filepath.Join(filepath.Dir(name), to)
		}
	}
	return "a loop"
}

func (s *staging) check(want string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		if got := s.leads(name); got != want {
			s.t.Errorf("%s leads to %s, want %s", name, got, want)
		}
	}
}

// file makes a program of a package that is not ours.
func (s *staging) file(name string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// alternatives runs update-alternatives on the root.
func (s *staging) alternatives(args ...string) result {
	s.t.Helper()
	all := []string{peer(s.t, "update-alternatives"), "--root", s.dir}
	return job{args: append(all, args...), dir: s.dir}.run(s.t)
}

const installed = "/usr/local/bin/mailx"

func TestInstallLinks(t *testing.T) {
	s := newStaging(t)
	s.make("install-links").must(t, 0)
	s.check(installed, "/usr/local/bin/mailx", "/usr/local/bin/mail", "/usr/local/bin/mailq", "/usr/local/bin/newaliases", "/usr/local/sbin/sendmail")
	s.check("/usr/local/share/man/man1/mailx-sendmail.1", "/usr/local/share/man/man8/sendmail.8", "/usr/local/share/man/man1/mailq.1",
		"/usr/local/share/man/man1/newaliases.1")
	s.check("/usr/local/share/man/man1/mailx.1", "/usr/local/share/man/man1/mail.1")
	env := append(peerEnv(s.dir), "MAILX_CONFIG="+os.DevNull, "MAILX_SPOOL="+filepath.Join(s.dir, "spool"))
	r := job{args: []string{filepath.Join(s.dir, "usr/local/bin/mailq")}, env: env, dir: s.dir}.run(t)
	if out := r.must(t, 0); out != "Mail queue is empty\n" {
		t.Errorf("mailq: %q", out)
	}
	s.make("install-links").must(t, 0) // over what is there
}

// TestInstallAlternatives: all names lead to mailx, beside another mailx, and to that again when ours is removed.
func TestInstallAlternatives(t *testing.T) {
	s := newStaging(t)
	peer(t, "update-alternatives")
	s.file("usr/bin/bsd-mailx")
	for _, dir := range []string{"etc/alternatives", "var/lib/dpkg/alternatives", "var/log", "usr/share/man/man1"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.alternatives("--install", "/usr/bin/mailx", "mailx", "/usr/bin/bsd-mailx", "50", "--slave", "/usr/bin/mail", "mail", "/usr/bin/bsd-mailx",
		"--slave", "/usr/bin/Mail", "Mail", "/usr/bin/bsd-mailx").must(t, 0)
	names := []string{"/usr/bin/mailx", "/usr/bin/mail", "/usr/bin/Mail"}
	mta := []string{"/usr/sbin/sendmail", "/usr/bin/mailq", "/usr/bin/newaliases", "/usr/lib/sendmail"}
	s.check("/usr/bin/bsd-mailx", names...)

	for range 2 { // as often as one likes
		s.make("install-alternatives").must(t, 0)
		s.check(installed, names...)
		s.check(installed, mta...)
	}
	if os.Getuid() == 0 { // a static binary needs nothing else in its root
		if err := os.MkdirAll(filepath.Join(s.dir, "tmp"), 0o777); err != nil {
			t.Fatal(err)
		}
		env := []string{"MAILX_SPOOL=/spool", "HOME=/", "USER=alice", "MAILX_HOSTNAME=" + host}
		if r := (job{args: []string{peer(t, "chroot"), s.dir, "/usr/lib/sendmail", "-bp"}, env: env, dir: s.dir}).run(t); r.must(t, 0) != "Mail queue is empty\n" {
			t.Errorf("sendmail -bp: %v", r)
		}
		job{args: []string{peer(t, "chroot"), s.dir, "/usr/bin/mail", "-e"}, env: env, dir: s.dir}.run(t).must(t, 1)
	}

	for range 2 {
		s.make("remove-alternatives").must(t, 0)
		s.check("/usr/bin/bsd-mailx", names...)
		s.check("nothing", mta...)
	}
	s.check(installed, "/usr/local/sbin/sendmail")
}

// TestInstallAlternativesBesideMTA: what a package has is not touched, and the way out is said.
func TestInstallAlternativesBesideMTA(t *testing.T) {
	s := newStaging(t)
	peer(t, "update-alternatives")
	s.file("usr/sbin/sendmail")
	r := s.make("install-alternatives")
	if r.code == 0 || !strings.Contains(r.stderr, "/usr/sbin/sendmail is there, and no alternative") || !strings.Contains(r.stderr, "dpkg-divert") {
		t.Errorf("%v", r)
	}
	s.check("/usr/sbin/sendmail", "/usr/sbin/sendmail")
	s.check("nothing", "/usr/bin/mailq")
	s.check(installed, "/usr/bin/mailx")
}
