//go:build interop

package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	powerRounds  = 6
	powerClients = 8
)

// TestPowerCut takes the power from a real ext4 while clients deliver: its shutdown without a flush of the log forgets at
// that instant what no commit of the journal has written, as the loss of power does. When the journal has been replayed,
// what was acknowledged has to be there, whole, and nothing may be in new/ that is not whole.
func TestPowerCut(t *testing.T) {
	d := newDisk(t)
	for round := range powerRounds {
		d.mount(t)
		w := newWorld(t, "MAILX_MAIL_ROOT="+d.at("mail"), "MAILX_SMTP_MAX_PER_ADDRESS=1000")
		server := w.start("serve-smtp", "--listen", "127.0.0.1:0")
		acknowledged := deliverUntilCut(t, server.Addr(), round, d.cut)
		server.Kill()
		d.unmount(t)
		d.mount(t)
		found := wholeMessages(t, d.at("mail/"+user+"/new"))
		for _, id := range acknowledged {
			if !found[id] {
				t.Errorf("round %d: %s was acknowledged and is lost", round, id)
			}
		}
		t.Logf("round %d: %d acknowledged, %d found", round, len(acknowledged), len(found))
		if len(acknowledged) == 0 {
			t.Errorf("round %d: nothing was acknowledged", round)
		}
		d.unmount(t)
	}
}

// disk is an ext4 with a journal, in a file.
type disk struct{ image, dir string }

func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts file systems")
	}
	mkfs := peer(t, "mkfs.ext4")
	d := &disk{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 64<<20); err != nil {
		t.Fatal(err)
	}
	run(t, mkfs, "-q", "-F", d.image)
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("no loop devices here: %s", out)
	}
	t.Cleanup(func() { exec.Command("umount", d.dir).Run() })
	if err := os.Mkdir(d.at("mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.unmount(t)
	return d
}

func (d *disk) at(name string) string { return filepath.Join(d.dir, name) }

func (d *disk) mount(t *testing.T) {
	t.Helper()
	run(t, "mount", "-o", "loop", d.image, d.dir)
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	run(t, "umount", d.dir)
}

// cut is the ioctl EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
func (d *disk) cut() error {
	const shutdown, noLogFlush = 0x8004587D, 2
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, noLogFlush)
}

func run(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// deliverUntilCut has all clients deliver, cuts the power at a message by chance, and gives the names of the messages that
// were acknowledged. A name says how many lines the message has.
func deliverUntilCut(t *testing.T, addr string, round int, cut func() error) []string {
	t.Helper()
	var (
		mu           sync.Mutex
		acknowledged []string
		wg           sync.WaitGroup
		at           = int64(50 + rand.IntN(300))
		n            atomic.Int64
		failed       = make(chan error, 1)
	)
	for client := range powerClients {
		wg.Go(func() {
			deliverAll(addr, func(i int) string {
				if n.Add(1) == at {
					failed <- cut()
				}
				return fmt.Sprintf("m%d-%d-%d-%d", round, client, i, rand.IntN(400))
			}, func(name string) {
				mu.Lock()
				defer mu.Unlock()
				acknowledged = append(acknowledged, name)
			})
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		if err != nil {
			t.Skipf("this kernel does not shut an ext4 down: %v", err)
		}
	default:
		t.Fatal("all clients have ended before the power went")
	}
	return acknowledged
}

// deliverAll delivers over one connection until the server takes nothing more.
func deliverAll(addr string, name func(i int) string, accepted func(string)) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(nc)
	say := func(text, want string) bool {
		if text != "" {
			if _, err := nc.Write([]byte(text)); err != nil {
				return false
			}
		}
		line, err := in.ReadString('\n')
		return err == nil && strings.HasPrefix(line, want)
	}
	if !say("", "220") || !say("HELO x.example\r\n", "250") {
		return
	}
	for i := range 90 { // what a connection may bring is bounded
		id := name(i)
		ok := say("MAIL FROM:<"+sender+">\r\n", "250") && say("RCPT TO:<"+rcpt+">\r\n", "250") && say("DATA\r\n", "354") &&
			say(textOf(id)+".\r\n", "250")
		if !ok {
			return
		}
		accepted(id)
	}
}

func textOf(id string) string {
	lines, _ := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
	return "Subject: " + id + "\r\n\r\n" + strings.Repeat("all of it has to come through the night\r\n", lines) + "end of " + id + "\r\n"
}

// wholeMessages gives the names of the messages in a directory, and fails the test for those of which a part is missing.
func wholeMessages(t *testing.T, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nSubject: ")
		id, _, _ := strings.Cut(rest, "\n")
		want := strings.ReplaceAll(textOf(id), "\r\n", "\n")
		if !strings.HasSuffix(string(b), want) {
			t.Errorf("%s has %d octets and is not whole", e.Name(), len(b))
		}
		found[id] = true
	}
	return found
}
