package pop3

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mailx/pkg/vfs"
)

// TestUnfinishedLastLine: RETR ends a last line that has no end, and LIST counts that end, unless a name says otherwise that
// somebody else made.
func TestUnfinishedLastLine(t *testing.T) {
	for text, want := range map[string]int{"": 0, "x": 3, "x\n": 3, "x\r\n": 3, "x\r": 4, "a\n.": 6, "a\n\n": 5} {
		fsys := vfs.NewMem()
		writeFile(t, fsys, "/users", userFile)
		fill(t, fsys, "/mail/alice", map[string]string{"new/1.a": text, "cur/2.a,S=" + fmt.Sprint(len(text)) + ":2,S": text})
		said := talkIn(t, testServer(fsys), "LIST", "STAT", "RETR 1", "QUIT")
		wantIn(t, said, fmt.Sprintf("\r\n1 %d\r\n2 %d\r\n.\r\n+OK 2 %d\r\n", want, want, 2*want))
		_, body, _ := strings.Cut(said, fmt.Sprintf("\r\n+OK %d octets\r\n", want))
		body, _, _ = strings.Cut("\r\n"+body, "\r\n.\r\n+OK")
		body = strings.TrimPrefix(strings.ReplaceAll(body+"\r\n", "\r\n..", "\r\n."), "\r\n")
		if len(body) != want {
			t.Errorf("%q: RETR gave %q, %d octets; LIST says %d", text, body, len(body), want)
		}
	}
}

// TestSizesBeyondAll: whatever names say, no sum is negative.
func TestSizesBeyondAll(t *testing.T) {
	fsys := vfs.NewMem()
	writeFile(t, fsys, "/users", userFile)
	files := map[string]string{}
	for i, w := range []string{"9223372036854775807", "9223372036854775807", "2147483648", "9223372036854775808", "-1"} {
		files[fmt.Sprintf("new/%d.a,W=%s", i, w)] = "x\n"
	}
	fill(t, fsys, "/mail/alice", files)
	said := talkIn(t, testServer(fsys), "STAT", "LIST", "RETR 1", "QUIT")
	wantIn(t, said, fmt.Sprintf("\r\n+OK 5 %d\r\n+OK 5 messages (%[1]d octets)\r\n1 %[1]d\r\n2 %[1]d\r\n3 2147483648\r\n4 3\r\n5 3\r\n.\r\n+OK %[1]d octets\r\nx\r\n.\r\n",
		math.MaxInt64))
}

// TestPlanted: what is no message is listed, as the listing opens nothing, and has no octets; to ask for it is a mistake that no
// second try cures. Nothing waits for it, nothing outside is read or removed.
func TestPlanted(t *testing.T) {
	root := t.TempDir()
	fsys := vfs.OS()
	writeFile(t, fsys, filepath.Join(root, "users"), userFile)
	box := filepath.Join(root, "alice")
	fill(t, fsys, box, map[string]string{"new/1.message": "Subject: x\n"})
	outside := filepath.Join(root, "outside")
	writeFile(t, fsys, outside, "secret\n")
	for name, plant := range map[string]func(string) error{
		"2.link":     func(p string) error { return os.Symlink(outside, p) },
		"3.dangling": func(p string) error { return os.Symlink("/nonexistent", p) },
		"4.fifo":     func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"5.dir":      func(p string) error { return os.MkdirAll(p+"/x", 0o700) },
		"6.socket":   func(p string) error { return syscall.Mknod(p, syscall.S_IFSOCK|0o600, 0) },
	} {
		if err := plant(filepath.Join(box, "new", name)); err != nil {
			t.Fatal(err)
		}
	}
	srv := testServer(fsys)
	srv.Auth = testServer(testSpool(t)).Auth
	srv.Mailbox = mailboxAt(box)
	commands := []string{"STAT"}
	for i := range 6 {
		commands = append(commands, fmt.Sprintf("RETR %d", i+1), fmt.Sprintf("TOP %d 1", i+1), fmt.Sprintf("LIST %d", i+1))
	}
	said := talkIn(t, srv, append(commands, "QUIT")...)
	wantIn(t, said, "\r\n+OK 6 12\r\n")
	if n := strings.Count(said, "-ERR Not a message\r\n"); n != 10 || strings.Contains(said, "secret") {
		t.Errorf("%d refusals, want 10:\n%s", n, said)
	}
	said = talkIn(t, srv, "DELE 1", "DELE 2", "DELE 3", "DELE 4", "DELE 5", "DELE 6", "QUIT")
	wantIn(t, said, "\r\n-ERR [SYS/TEMP] ") // the directory is not empty
	if left := names(t, fsys, box); fmt.Sprint(left) != "[new/5.dir]" {
		t.Errorf("left: %q", left)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

// TestPlantedLock: a lock that nobody can take is no lock, and no reason to hang.
func TestPlantedLock(t *testing.T) {
	for name, plant := range map[string]func(string) error{
		"link":      func(p string) error { return os.Symlink(filepath.Join(filepath.Dir(p), "new"), p) },
		"fifo":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		box := filepath.Join(t.TempDir(), "alice")
		fill(t, vfs.OS(), box, nil)
		if err := plant(filepath.Join(box, lockName)); err != nil {
			t.Fatal(err)
		}
		srv := testServer(testSpool(t))
		srv.FS, srv.Mailbox = vfs.OS(), mailboxAt(box)
		if said := talkIn(t, srv, "QUIT"); !strings.Contains(said, "\r\n-ERR [SYS/TEMP] Local storage trouble\r\n") {
			t.Errorf("%s: the server said\n%s", name, said)
		}
	}
}

// TestNamesLie: a message is sent whole, whatever its name says, and however large it is beside the blocks it is read in.
func TestNamesLie(t *testing.T) {
	for _, octets := range []int{0, 1, 2, smallBlock - 1, smallBlock, smallBlock + 1, largeBlock - 1, largeBlock, largeBlock + 1, 3*largeBlock + 7} {
		text := strings.Repeat("x", max(octets-1, 0)) + "\n"
		text = text[len(text)-octets:]
		fsys := vfs.NewMem()
		writeFile(t, fsys, "/users", userFile)
		files, commands := map[string]string{}, []string{}
		for i, says := range []int{octets, 0, 1, octets - 1, octets + 1, smallBlock, largeBlock, 1 << 40} {
			files[fmt.Sprintf("cur/%d.a,S=%d,W=%d:2,", i, says, octets%5000)] = text
			commands = append(commands, fmt.Sprintf("RETR %d", i+1))
		}
		fill(t, fsys, "/mail/alice", files)
		said := talkIn(t, testServer(fsys), append(commands, "QUIT")...)
		if n := strings.Count(said, " octets\r\n"+strings.ReplaceAll(text, "\n", "\r\n")+".\r\n"); n != len(files) {
			t.Errorf("%d octets: %d of %d messages are whole", octets, n, len(files))
		}
	}
}
