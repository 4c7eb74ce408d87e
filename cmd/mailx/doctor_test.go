package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{"/var/spool/mailx": "/var/spool/mailx", "a,S=1:2,": "a,S=1:2,", "": "''", "a b": "'a b'",
		"$(x)": "'$(x)'", "it's": `'it'\''s'`, "a\nb": "'a\nb'", "*": "'*'", "ü": "'ü'", "~": "'~'"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
		if out, err := exec.Command("sh", "-c", "printf %s "+shellWord(word)).Output(); err != nil || string(out) != word {
			t.Errorf("%q: a shell reads %q, %v", word, out, err)
		}
	}
}

func TestCutFix(t *testing.T) {
	for text, want := range map[string][2]string{
		"spool = x: mode 0777 lets others in; fix: chmod go-w x":      {"spool = x: mode 0777 lets others in", "chmod go-w x"},
		"others may read it; make it safe with: chmod 600 x":          {"others may read it", "chmod 600 x"},
		"/var/users can be read by others: chmod 600 /var/users":      {"/var/users can be read by others", "chmod 600 /var/users"},
		"config.toml:3: hostnam: unknown key; did you mean hostname?": {"config.toml:3: hostnam: unknown key; did you mean hostname?", ""},
	} {
		if what, fix := cutFix(text); [2]string{what, fix} != want {
			t.Errorf("%s: got %q and %q", text, what, fix)
		}
	}
}

func TestIsPublic(t *testing.T) {
	for listen, want := range map[string]bool{":25": true, "0.0.0.0:25": true, "[::]:25": true, "203.0.113.1:25": true, "[2001:db8::1]:25": true,
		"127.0.0.1:25": false, "[::1]:25": false, "10.0.0.1:25": false, "192.168.1.1:25": false, "[fd00::1]:25": false, "[fe80::1]:25": false,
		"/run/lmtp.sock": false, "localhost:25": false} {
		if got := isPublic(listen); got != want {
			t.Errorf("%s: %v", listen, got)
		}
	}
}

// What a time service does gently is no jump, nor what a machine does that was suspended for a moment.
func TestClockJump(t *testing.T) {
	for _, c := range []struct{ wall, steady, want time.Duration }{
		{time.Second, time.Second, 0}, {0, 900 * time.Millisecond, 0}, {1900 * time.Millisecond, time.Second, 0},
		{time.Hour, time.Second, time.Hour - time.Second}, {-time.Hour, time.Second, -time.Hour - time.Second},
		{time.Hour, time.Hour - 2*time.Second, 0}, {0, 2 * time.Second, -2 * time.Second},
	} {
		if got := clockJump(c.wall, c.steady); got != c.want {
			t.Errorf("%s on the wall, %s in truth: got %s, want %s", c.wall, c.steady, got, c.want)
		}
	}
}

func TestMendMessage(t *testing.T) {
	for name, want := range map[string]string{
		"/m/new/1.M2P3.h,S=1,W=2":       "mv /m/new/1.M2P3.h,S=1,W=2 /m/new/1.M2P3.h",
		"/m/cur/1.M2P3.h,S=1,W=2:2,FS":  "mv /m/cur/1.M2P3.h,S=1,W=2:2,FS /m/cur/1.M2P3.h:2,FS",
		"/m/cur/1.M2P3.h:2,S":           "",
		"/it's here/cur/1.h,S=1,W=2:2,": `mv '/it'\''s here/cur/1.h,S=1,W=2:2,' '/it'\''s here/cur/1.h:2,'`,
	} {
		if got := mendMessage(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// The file system of doctor refuses every change.
func TestUnchanged(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "here")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u := unchanged{vfs.OS()}
	_, err1 := u.Create(filepath.Join(dir, "new"))
	_, err2 := u.OpenAppend(name)
	for what, err := range map[string]error{"create": err1, "append": err2, "link": u.Link(name, name+"2"), "rename": u.Rename(name, name+"2"),
		"move": u.Move(name, name+"2"), "remove": u.Remove(name), "mkdir": u.Mkdir(dir + "/sub"), "chtimes": u.Chtimes(name, time.Unix(0, 0))} {
		var refused *fs.PathError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("now there is %v, %v", entries, err)
	}
}

// examine runs `mailx doctor --json` and gives "severity check" of each finding.
func examine(t *testing.T, home string, env []string, args ...string) (findings []string, texts string, code int) {
	t.Helper()
	cmd := exec.Command(mailtest.Binary(t), append([]string{"doctor", "--json"}, args...)...)
	cmd.Env = mailtest.Env(home, append([]string{"MAILX_CONFIG=/dev/null", "MAILX_HOSTNAME=here.example", "MAILX_ALIASES=/dev/null"}, env...)...)
	out, err := cmd.Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var f struct{ Severity, Check, Text string }
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		findings = append(findings, f.Severity+" "+f.Check)
	}
	return findings, string(out), cmd.ProcessState.ExitCode()
}

// Certificates of servers that nobody would take, or soon nobody will.
func TestDoctorCertificates(t *testing.T) {
	ca := mailtest.NewCA(t)
	home := t.TempDir()
	pem := func(name string, names ...string) (cert, key string) {
		return mailtest.WritePEM(t, home, name, ca.Server(names...))
	}
	good, goodKey := pem("good", "here.example")
	other, otherKey := pem("other", "there.example")
	expired, expiredKey := mailtest.WritePEM(t, home, "expired", ca.Expired("here.example"))
	for _, c := range []struct {
		name, cert, key string
		want, text      string
	}{
		{"good", good, goodKey, "", ""},
		{"another name", other, otherKey, "warning certificates", "no certificate is good for the name of this host, here.example"},
		{"expired", expired, expiredKey, "error certificates", "expired on "},
		{"another key", good, otherKey, "error certificates", "private key does not match public key"},
		{"no file", good + "x", goodKey, "error certificates", "no such file"},
	} {
		got, texts, code := examine(t, home, []string{"MAILX_TLS_CERT=" + c.cert, "MAILX_TLS_KEY=" + c.key})
		var found []string
		for _, f := range got {
			if strings.HasSuffix(f, "certificates") {
				found = append(found, f)
			}
		}
		want := exOK
		if c.want != "" {
			want = exConfig
		}
		if strings.Join(found, ", ") != c.want || !strings.Contains(texts, c.text) || code != want {
			t.Errorf("%s: exit code %d, got %s", c.name, code, texts)
		}
	}
	if err := os.Chmod(goodKey, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, texts, code := examine(t, home, []string{"MAILX_TLS_CERT=" + good, "MAILX_TLS_KEY=" + goodKey}); code != exNoPerm || !strings.Contains(texts, "everybody may use the key") {
		t.Errorf("open key: exit code %d, got %s", code, texts)
	}
}

// What belongs to somebody else is told once for a directory.
func TestDoctorOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	home := t.TempDir()
	spool := filepath.Join(home, "spool")
	for _, dir := range []string{"mail/bob/new", "mail/bob/cur", "mail/bob/tmp", "mail/carol/new", "mail/carol/cur", "mail/carol/tmp"} {
		if err := os.MkdirAll(filepath.Join(spool, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"mail/bob/new/1.M1P1.h", "mail/bob/new/2.M1P1.h"} {
		if err := os.WriteFile(filepath.Join(spool, name), []byte("Subject: x\n\nx\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(spool, func(name string, _ fs.DirEntry, err error) error {
		if err == nil && !strings.Contains(name, "carol") && !strings.HasSuffix(name, ".h") {
			err = os.Chown(name, 1234, 1234)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, texts, code := examine(t, home, []string{"MAILX_SPOOL=" + spool})
	for _, want := range []string{"mail/bob/new has files that do not belong to 1234", "mail/carol belongs to root, not to 1234", "chown -R 1234: " + spool + "/mail/carol\""} {
		if strings.Count(texts, want) != 1 {
			t.Errorf("%q is not there once", want)
		}
	}
	if strings.Count(texts, `"check":"files"`) != 2 || code != exNoPerm {
		t.Errorf("exit code %d, got %s", code, texts)
	}
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, texts, _ := examine(t, home, []string{"MAILX_SPOOL=" + spool, "MAILX_USERS=" + users}); !strings.Contains(texts, "chown 1234: "+users) {
		t.Errorf("a user file elsewhere: %s", texts)
	}
	if err := os.Symlink(spool, filepath.Join(home, "link")); err != nil {
		t.Fatal(err)
	}
	if _, texts, _ := examine(t, home, []string{"MAILX_SPOOL=" + filepath.Join(home, "link")}); strings.Count(texts, `"check":"files"`) != 2 {
		t.Errorf("by a link: %s", texts)
	}
	if _, texts, code := examine(t, home, []string{"MAILX_SPOOL=" + spool}, "--set", "run_as=daemon"); code != exNoPerm || !strings.Contains(texts, "servers run as daemon") {
		t.Errorf("run_as: exit code %d, got %s", code, texts)
	}
}
