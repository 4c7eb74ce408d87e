//go:build interop

package interop

import (
	"bytes"
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

	"mailx/pkg/mailtest"
)

// How much TestFetchKilled does: MAILX_FETCH_MESSAGES and MAILX_FETCH_KILLS, as `make fetch-killed` sets them.
func fetchScale(t *testing.T) (messages, kills int) {
	t.Helper()
	number := func(name string, def int) int {
		text := os.Getenv(name)
		if text == "" {
			return def
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q", name, text)
		}
		return n
	}
	return number("MAILX_FETCH_MESSAGES", 500), number("MAILX_FETCH_KILLS", 10)
}

// fuse passes connections on to a server, and calls burn once so many octets have come from it, or when the client has sent
// a word to it.
type fuse struct {
	l    net.Listener
	to   string
	left atomic.Int64
	word atomic.Pointer[string]
	burn atomic.Pointer[func()]
}

func newFuse(t *testing.T, to string) *fuse {
	f := &fuse{l: mailtest.Listen(t), to: to}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := f.l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.pass(client) })
		}
	})
	t.Cleanup(func() { f.l.Close(); wg.Wait() })
	return f
}

func (f *fuse) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer server.Close()
	go f.listen(client, server)
	block := make([]byte, 4096)
	for {
		n, err := server.Read(block)
		if _, werr := client.Write(block[:n]); err != nil || werr != nil {
			return
		}
		if left := f.left.Add(-int64(n)); left <= 0 && left+int64(n) > 0 {
			(*f.burn.Load())()
		}
	}
}

// listen passes on what the client says. The command with the word arrives; what it brings about, the client never learns.
func (f *fuse) listen(client, server net.Conn) {
	defer server.Close()
	block := make([]byte, 4096)
	for {
		n, err := client.Read(block)
		if _, werr := server.Write(block[:n]); err != nil || werr != nil {
			return
		}
		if word := f.word.Load(); *word != "" && bytes.Contains(block[:n], []byte(*word)) {
			(*f.burn.Load())()
		}
	}
}

// light makes the fuse for one run: so many octets, or a word.
func (f *fuse) light(octets int64, word string) {
	f.word.Store(&word)
	f.left.Store(octets)
}

// never is more than any run has.
const never = 1 << 60

// TestFetchKilled kills fetch again and again, wherever it is, while it collects from Dovecot. In the end every message is
// here, and into a Maildir none has come twice; a command may get one twice for each kill.
func TestFetchKilled(t *testing.T) {
	tests := []struct {
		name, proto string
		exec        bool
		del         []string // words of the commands that delete, each of them killed once more
		twice       int      // messages for each kill
	}{
		{"IMAP", "imap", false, nil, 0},
		{"IMAP delete", "imap", false, []string{"UID STORE", "UID EXPUNGE", "LOGOUT"}, 0},
		{"POP3", "pop3", false, nil, 0},
		{"POP3 delete", "pop3", false, []string{"DELE", "QUIT"}, 0},
		{"IMAP into a command", "imap", true, []string{"UID STORE"}, 1},
	}
	listed := map[string]int{"imap": 100, "pop3": 40} // octets for each message, about
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			many, kills := fetchScale(t)
			w := newWorld(t)
			d := startDovecot(t, w, test.proto)
			box := filepath.Join(w.home, "killed")
			texts := make([]string, many)
			for i := range texts {
				texts[i] = fmt.Sprintf("Subject: killed %06d\n\n%s", i, strings.Repeat("This is a line of the message.\n", 1+i%40))
			}
			d.put(t, texts)
			f := newFuse(t, d.addr)
			args := []string{"fetch", "--url", test.proto + "://bob@" + f.l.Addr().String(), "--password-fd", "0"}
			if test.del != nil {
				args = append(args, "--delete")
			}
			if test.exec {
				args = append(args, "--exec", w.bin+" deliver --to "+box)
			} else {
				args = append(args, "--into", box)
			}
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			killed := 0
			most := int64(listed[test.proto]*many + 1000*many/kills)
			for tries := 0; killed < kills && tries < 3*kills; tries++ {
				f.light(1+random.Int64N(most), "")
				killed += f.run(t, w, args)
			}
			for _, word := range test.del {
				f.light(never, word)
				killed += f.run(t, w, args)
			}
			f.light(never, "")
			start := time.Now()
			if f.run(t, w, args) != 0 {
				t.Fatal("the last run was killed")
			}
			took := time.Since(start)
			count := map[string]int{}
			for _, text := range messages(t, box) {
				subject, _, _ := strings.Cut(text, "\n\n")
				count[subject[strings.Index(subject, "Subject: "):]]++
			}
			lost, twice := 0, 0
			for i := range texts {
				n := count[fmt.Sprintf("Subject: killed %06d", i)]
				lost += max(0, 1-n)
				twice += max(0, n-1)
			}
			t.Logf("%d messages, %d runs killed: %d lost, %d twice; the last run took %v", many, killed, lost, twice, took)
			if lost > 0 || twice > test.twice*killed || len(count) != many {
				t.Errorf("%d lost, %d twice, %d different ones", lost, twice, len(count))
			}
			left, _ := filepath.Glob(filepath.Join(d.box, "*", "17000*"))
			if want := map[bool]int{false: many, true: 0}[test.del != nil]; len(left) != want {
				t.Errorf("%d are left on the server, want %d", len(left), want)
			}
		})
	}
}

// run runs fetch to its end, or to that of the fuse: then it gives 1.
func (f *fuse) run(t *testing.T, w *world, args []string) (killed int) {
	t.Helper()
	cmd := exec.Command(w.bin, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stderr = w.environ(), w.home, strings.NewReader(secret+"\n"), &stderr
	var started sync.WaitGroup
	started.Add(1)
	burn := func() {
		started.Wait()
		cmd.Process.Kill()
	}
	f.burn.Store(&burn)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started.Done()
	err := cmd.Wait()
	switch {
	case err == nil:
		return 0
	case cmd.ProcessState.ExitCode() == -1:
		return 1
	}
	t.Fatalf("fetch: %v\n%s", err, stderr.String())
	return 0
}
