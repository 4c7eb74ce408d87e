//go:build interop

package interop

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBesideDovecot: Dovecot and mailx mark and move the same messages of one Maildir at the same time. None is lost, and neither
// of them meets an error. One may be there twice: Dovecot's MOVE makes a second link and removes the first, and if mailx has
// renamed that in between, both stay.
func TestBesideDovecot(t *testing.T) {
	const size, rounds = 60, 12
	w := newWorld(t)
	d := startDovecot(t, w, "imap")
	var texts []string
	for i := range size {
		texts = append(texts, fmt.Sprintf("Subject: n%02d\n\nbody\n", i))
	}
	d.put(t, texts)
	c := dialDovecot(t, d.addr)
	c.say(t, "CREATE A")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.shuffle(t, rand.New(rand.NewPCG(1, 1)), size, 10*rounds)
	}()
	random := rand.New(rand.NewPCG(2, 2))
	for range rounds {
		from, to := d.box+"/", d.box+"/.A"
		if random.IntN(2) == 0 {
			from, to = to+"/", d.box
		}
		chosen := someLines(random, w.mustMailx("", "list", "--paths", from))
		marked := w.mailx(chosen, "flag", "--flagged", "--keyword", "Seen-by-mailx", "-")
		moved := w.mailx(marked.stdout, "move", "-q", "--to", to, "-")
		for _, r := range []result{marked, moved} {
			if r.code != 0 && !strings.Contains(r.stderr, "it is gone:") && !strings.Contains(r.stderr, "there is no such message") {
				t.Errorf("%v", r)
			}
		}
	}
	<-ended
	count := map[string]int{}
	files, _ := filepath.Glob(filepath.Join(d.box, "*", "*,*"))
	inA, _ := filepath.Glob(filepath.Join(d.box, ".A", "*", "*"))
	for _, name := range append(files, inA...) {
		if text, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(text), "Subject: n") {
			count[string(text)]++
		}
	}
	for _, text := range texts {
		if n := count[text]; n < 1 || n > 2 {
			t.Errorf("%q is there %d times", text, n)
		}
	}
}

// someLines gives a third of the lines.
func someLines(random *rand.Rand, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if random.IntN(3) == 0 {
			b.WriteString(line)
		}
	}
	return b.String()
}

// dovecotClient waits for the reply to each command.
type dovecotClient struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialDovecot(t *testing.T, addr string) *dovecotClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &dovecotClient{conn, bufio.NewReader(conn)}
	c.say(t, fmt.Sprintf("LOGIN bob %q", secret))
	return c
}

// say gives the whole answer.
func (c *dovecotClient) say(t *testing.T, command string) string {
	fmt.Fprintf(c.conn, "x %s\r\n", command)
	var all strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			t.Errorf("%s: %q, %v", command, all.String(), err)
			return all.String()
		}
		all.WriteString(line)
		if strings.HasPrefix(line, "x BAD") {
			t.Errorf("%s: %s", command, line)
		}
		if strings.HasPrefix(line, "x ") {
			return all.String()
		}
	}
}

// shuffle marks and moves messages between INBOX and A. That one has gone meanwhile is no error.
func (c *dovecotClient) shuffle(t *testing.T, random *rand.Rand, size, steps int) {
	for step := range steps {
		from, to := "INBOX", "A"
		if step%2 == 1 {
			from, to = to, from
		}
		c.say(t, "SELECT "+from)
		found := c.say(t, fmt.Sprintf("UID SEARCH SUBJECT n%02d", random.IntN(size)))
		uids := strings.Fields(strings.TrimPrefix(strings.SplitN(found, "\r\n", 2)[0], "* SEARCH"))
		if len(uids) == 0 {
			continue
		}
		c.say(t, "UID STORE "+uids[0]+` +FLAGS (\Answered kw)`)
		c.say(t, "UID MOVE "+uids[0]+" "+to)
	}
}
