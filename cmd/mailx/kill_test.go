package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/queue"
	"mailx/pkg/vfs"
)

// The kill tests take the power from the real program, as far as SIGKILL does that, at any moment: after the n-th thing
// that happened on the wire, n by chance. Nothing in them depends on time, so a slow machine kills no earlier or later.

// killSeed makes the messages and the moments. It is another one in each run, and printed; MAILX_KILL_SEED gives one again,
// as far as the scheduler lets it.
func killSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MAILX_KILL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	return seed
}

const (
	killRounds  = 50
	killClients = 10
	killEvents  = 1000 // at most, in a round
	killSize    = 200 << 10
)

// TestKilledServer kills serve-smtp again and again while clients deliver. What it has acknowledged has to be there,
// whole, and nothing may be there that is not whole.
func TestKilledServer(t *testing.T) {
	seed := killSeed(t)
	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}b\ncarol:{PLAIN}c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Ready: "listening", Args: []string{"serve-smtp",
		"--listen", "127.0.0.1:0", "--hostname", "mx.test", "--set", "domains=mx.test", "--set", "users=" + users,
		"--set", "smtp.max_messages=1000000", "--log-level", "error"}}
	random := rand.New(rand.NewPCG(seed, 0))
	said := acknowledged{}
	for number := range killRounds {
		round := &killRound{seed: seed, number: number, fuse: int64(1 + random.IntN(killEvents))}
		server := command.Start(t)
		killUnderLoad(round, server, said)
		if round.burnt.Load() < round.fuse {
			t.Fatalf("round %d: the clients were sent away after %d events: %s", number, round.burnt.Load(), server.Stderr())
		}
	}
	bob := killedMailbox(t, filepath.Join(home, "spool/mail/bob"))
	carol := killedMailbox(t, filepath.Join(home, "spool/mail/carol"))
	said.check(t, "bob", bob, func(string) bool { return true })
	said.check(t, "carol", carol, isForBoth)
	t.Logf("%d acknowledged, %d and %d in the mailboxes", len(said), len(bob), len(carol))
}

// acknowledged are the ids of the messages that got a 250.
type acknowledged map[string]bool

// check holds a mailbox against what was acknowledged for it.
func (a acknowledged) check(t *testing.T, who string, got map[string]int, theirs func(id string) bool) {
	t.Helper()
	for id := range a {
		if theirs(id) && got[id] == 0 {
			t.Errorf("%s has lost %s, which was acknowledged", who, id)
		}
	}
	for id, n := range got {
		if n != 1 || !theirs(id) {
			t.Errorf("%s has %s %d times", who, id, n)
		}
	}
}

// killRound is one life of the server.
type killRound struct {
	seed   uint64
	number int
	fuse   int64 // events until it is killed
	burnt  atomic.Int64
	kill   func()
}

// event is something that happened on the wire.
func (r *killRound) event() {
	if r.burnt.Add(1) == r.fuse {
		r.kill()
	}
}

// killUnderLoad lets the clients deliver until the server is dead, and notes what it acknowledged.
func killUnderLoad(r *killRound, server *mailtest.Process, said acknowledged) {
	var (
		mu      sync.Mutex
		clients sync.WaitGroup
	)
	addr := server.Addr()
	r.kill = sync.OnceFunc(server.Kill)
	for number := range killClients {
		clients.Go(func() {
			ids := deliverUntilCut(r, addr, number)
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				said[id] = true
			}
		})
	}
	clients.Wait()
	r.kill()
}

// deliverUntilCut hands over message after message, until the connection breaks, and gives the ids of those that the
// server took.
func deliverUntilCut(r *killRound, addr string, number int) (taken []string) {
	random := rand.New(rand.NewPCG(r.seed, uint64(1+r.number*killClients+number)))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	defer conn.Close()
	c := &killClient{conn: conn, in: bufio.NewReader(conn), round: r}
	if c.expect("220") != nil || c.say("EHLO client.test", "250") != nil {
		return nil
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("r%d-c%d-m%d", r.number, number, i)
		if err := c.deliver(id, killMessage(id, random)); err != nil {
			return taken
		}
		taken = append(taken, id)
	}
}

// isForBoth says which messages go to two mailboxes: one in four.
func isForBoth(id string) bool { return sha256.Sum256([]byte(id))[0] < 64 }

// killMessage is a message that can be checked by itself: the last line is the sum of all that is before it.
func killMessage(id string, random *rand.Rand) []byte {
	size := random.IntN(4 << 10)
	if random.IntN(10) == 0 {
		size = random.IntN(killSize)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "X-Id: %s\n\n", id)
	for b.Len() < size {
		b.WriteString([]string{"", ".", "..", "é"}[random.IntN(4)])
		fmt.Fprintf(&b, "%016x%s\n", random.Uint64(), strings.Repeat("=", random.IntN(60)))
	}
	fmt.Fprintf(&b, "%x\n", sha256.Sum256(b.Bytes()))
	return b.Bytes()
}

// killID gives the id of a stored message, or an error if it is not what was sent.
func killID(stored []byte) (string, error) {
	at := bytes.Index(stored, []byte("X-Id: "))
	if at < 0 || len(stored) < at+65 {
		return "", errors.New("has no id, or no sum")
	}
	text := stored[at:]
	body, sum := text[:len(text)-65], text[len(text)-65:]
	if want := fmt.Sprintf("%x\n", sha256.Sum256(body)); want != string(sum) {
		return "", fmt.Errorf("ends in %q, want %q", sum, want)
	}
	id, _, _ := strings.Cut(string(text[len("X-Id: "):]), "\n")
	return id, nil
}

// killClient is an SMTP client that does no more than is needed here.
type killClient struct {
	conn  net.Conn
	in    *bufio.Reader
	round *killRound
}

func (c *killClient) deliver(id string, text []byte) error {
	steps := []string{"MAIL FROM:<alice@client.test>", "RCPT TO:<bob@mx.test>"}
	if isForBoth(id) {
		steps = append(steps, "RCPT TO:<carol@mx.test>")
	}
	for _, line := range steps {
		if err := c.say(line, "250"); err != nil {
			return err
		}
	}
	if err := c.say("DATA", "354"); err != nil {
		return err
	}
	stuffed := bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\n."), []byte("\n..")), []byte("\n"), []byte("\r\n"))
	for chunk := range slices.Chunk(append(stuffed, ".\r\n"...), 8<<10) {
		if _, err := c.conn.Write(chunk); err != nil {
			return err
		}
		c.round.event()
	}
	return c.expect("250")
}

func (c *killClient) say(line, code string) error {
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", line); err != nil {
		return err
	}
	c.round.event()
	return c.expect(code)
}

// expect reads a reply to its last line.
func (c *killClient) expect(code string) error {
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) {
			return fmt.Errorf("got %q, want %s", line, code)
		}
		if line[3] == ' ' {
			c.round.event()
			return nil
		}
	}
}

// killedMailbox reads a Maildir and gives how often it has each id. All that is in it has to be whole.
func killedMailbox(t *testing.T, dir string) map[string]int {
	t.Helper()
	for _, p := range maildir.Check(vfs.OS(), dir) {
		t.Errorf("%s: %v", dir, p)
	}
	ids := map[string]int{}
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			stored, err := os.ReadFile(filepath.Join(dir, sub, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			id, err := killID(stored)
			if err != nil {
				t.Errorf("%s/%s of %d octets: %v", sub, e.Name(), len(stored), err)
			}
			ids[id]++
		}
	}
	return ids
}

const (
	flushKills    = 50
	flushMessages = 500
	flushers      = 3
	allFlushers   = 10
	allMessages   = 2000
)

// TestKilledFlush kills queue flush again and again while it works on a queue beside others. Nothing may be lost, and each kill
// may cost one message that goes out twice: the one that the other side has or is about to acknowledge, and that is not yet
// crossed off. A process with several connections may have one for each in that state.
func TestKilledFlush(t *testing.T) {
	t.Run("one at a time", func(t *testing.T) { testKilledFlush(t, 1) })
	t.Run("four", func(t *testing.T) { testKilledFlush(t, 4) })
}

func testKilledFlush(t *testing.T, parallel int) {
	seed := killSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	sink := mailtest.StartSink(t, mailtest.SinkOptions{Hide: []string{"CHUNKING"}}) // so that messages follow each other
	home := t.TempDir()
	q := fillQueue(t, filepath.Join(home, "spool/queue"), flushMessages, random)
	flush := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Args: []string{"queue", "flush", "--parallel", strconv.Itoa(parallel),
		"--server", "smtp://" + sink.Addr, "--log-level", "error"}}
	var running []*mailtest.Process
	for range flushers {
		running = append(running, flush.Start(t))
	}
	for range flushKills {
		n := random.IntN(flushers)
		awaitCommands(running[n], sink, sink.CommandCount()+random.IntN(4*flushMessages/flushKills))
		running[n].Kill()
		running[n] = flush.Start(t)
	}
	for _, p := range append(running, flush.Start(t)) {
		p.Wait()
	}
	last := flush.Start(t)
	if code := last.Wait(); code != 0 {
		t.Fatalf("the last flush ended with exit code %d: %s", code, last.Stderr())
	}
	checkFlushed(t, sink, flushMessages, flushKills*parallel)
	for item, err := range q.List(t.Context()) {
		t.Errorf("left in the queue: %+v, %v", item, err)
	}
}

// TestFlushersAtOnce has ten processes work on one queue: each message goes out exactly once.
func TestFlushersAtOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(killSeed(t), 0))
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	home := t.TempDir()
	q := fillQueue(t, filepath.Join(home, "spool/queue"), allMessages, random)
	flush := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Args: []string{"queue", "flush", "--server", "smtp://" + sink.Addr, "--log-level", "error"}}
	var running []*mailtest.Process
	for range allFlushers {
		running = append(running, flush.Start(t))
	}
	for _, p := range running {
		if code := p.Wait(); code != 0 {
			t.Errorf("a flush ended with exit code %d: %s", code, p.Stderr())
		}
	}
	checkFlushed(t, sink, allMessages, 0)
	for item, err := range q.List(t.Context()) {
		t.Errorf("left in the queue: %+v, %v", item, err)
	}
}

// fillQueue enqueues n messages, many at once, so that they share their syncs.
func fillQueue(t *testing.T, dir string, n int, random *rand.Rand) *queue.Queue {
	t.Helper()
	q, err := queue.Create(vfs.OS(), dir, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	submit := submitTo(q)
	var all sync.WaitGroup
	places := make(chan struct{}, 50)
	for i := range n {
		id := fmt.Sprintf("m%d", i)
		text := killMessage(id, random)
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			env := &mail.Envelope{ID: id, Sender: mail.Address{Local: "alice", Domain: "client.test"}, Body: mail.Body8BitMIME,
				Rcpts:   []mail.Recipient{{Address: mail.Address{Local: "bob", Domain: "remote.test"}}},
				Arrived: time.Now()}
			if err := submit(t.Context(), env, bytes.NewReader(text)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return q
}

// awaitCommands waits until the sink has been told so many commands, or the program has ended.
func awaitCommands(p *mailtest.Process, sink *mailtest.Sink, commands int) {
	for sink.CommandCount() < commands && syscall.Kill(p.Pid(), 0) == nil {
		time.Sleep(50 * time.Microsecond)
	}
}

// checkFlushed wants each of n messages, whole, and as many of them again as there may be.
func checkFlushed(t *testing.T, sink *mailtest.Sink, n, mayRepeat int) {
	t.Helper()
	times := map[string]int{}
	for _, m := range sink.Messages() {
		id, err := killID([]byte(strings.ReplaceAll(m.Data, "\r\n", "\n")))
		if err != nil {
			t.Errorf("a message of %d octets: %v", len(m.Data), err)
		}
		times[id]++
	}
	twice := 0
	for i := range n {
		got := times[fmt.Sprintf("m%d", i)]
		if got == 0 {
			t.Errorf("m%d was lost", i)
		}
		twice += max(0, got-1)
	}
	if twice > mayRepeat {
		t.Errorf("%d messages too many, at most %d may be", twice, mayRepeat)
	}
	t.Logf("%d messages went out twice", twice)
}

// TestFlushTells: SIGUSR1 has a flush say how far it is, and does not end it.
func TestFlushTells(t *testing.T) {
	sink := mailtest.StartSink(t, mailtest.SinkOptions{Hide: []string{"CHUNKING"}, Replies: map[string]string{"MAIL": mailtest.SinkSilence}})
	home := t.TempDir()
	fillQueue(t, filepath.Join(home, "spool/queue"), 3, rand.New(rand.NewPCG(1, 2)))
	flush := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Args: []string{"queue", "flush", "--server", "smtp://" + sink.Addr}}.Start(t)
	awaitCommands(flush, sink, 2)
	flush.Signal(syscall.SIGUSR1)
	await(t, "a line of progress", func() bool { return strings.Contains(flush.Stderr(), "mailx queue flush: messages: 0 of 3\n") })
	if code := flush.Stop(); code == -1 {
		t.Errorf("ended by a signal: %s", flush.Stderr())
	}
}
