package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

const (
	killQuits    = 6
	killMessages = 120 // every second one is deleted
)

// TestKilledQuit kills serve-pop3 in the middle of QUIT, when so many of the deleted messages are gone. No other message is touched,
// all are gone if the client was told so, and the next session has the maildrop at once.
func TestKilledQuit(t *testing.T) {
	random := rand.New(rand.NewPCG(killSeed(t), 1))
	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Ready: "listening", Args: []string{"serve-pop3",
		"--listen", "127.0.0.1:0", "--hostname", "pop.test", "--set", "users=" + users, "--log-level", "error"}}
	box := filepath.Join(home, "spool/mail/bob")
	cut := 0
	for range killQuits {
		fillKilled(t, box)
		isDone := quitAndKill(t, command.Start(t), box, 1+2*random.IntN(killMessages/2))
		left := 0
		for n := 1; n <= killMessages; n++ {
			isThere := isFile(killedName(box, n))
			if n%2 == 0 && !isThere {
				t.Errorf("message %d, which nobody deleted, is gone", n)
			}
			if n%2 == 1 && isThere {
				left++
			}
		}
		if isDone && left > 0 {
			t.Errorf("%d messages are left of those that were acknowledged as removed", left)
		}
		if left > 0 {
			cut++
		}
	}
	t.Logf("%d of %d were killed with messages left to remove", cut, killQuits)
}

func killedName(box string, n int) string {
	return filepath.Join(box, "cur", fmt.Sprintf("17000%05d.M1P1.test,S=2,W=3:2,S", n))
}

func isFile(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

func fillKilled(t *testing.T, box string) {
	t.Helper()
	for _, sub := range []string{"", "tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(box, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; n <= killMessages; n++ {
		if err := os.WriteFile(killedName(box, n), []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// quitAndKill deletes every second message, says QUIT, and kills the server when the message with that number is gone. It reports
// whether QUIT was answered with success.
func quitAndKill(t *testing.T, server *mailtest.Process, box string, number int) bool {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	expect := func(lines int) {
		t.Helper()
		for range lines {
			if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
				t.Fatalf("the server said %q, %v", line, err)
			}
		}
	}
	fmt.Fprintf(conn, "USER bob\r\nPASS b\r\n")
	expect(3)
	var said strings.Builder
	for n := 1; n <= killMessages; n += 2 {
		fmt.Fprintf(&said, "DELE %d\r\n", n)
	}
	fmt.Fprint(conn, said.String())
	expect(killMessages / 2)
	fmt.Fprint(conn, "QUIT\r\n")
	for isFile(killedName(box, number)) {
	}
	server.Kill()
	line, err := r.ReadString('\n')
	return err == nil && strings.HasPrefix(line, "+OK")
}
