package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// imapSession is a client that knows one thing: what the server says up to the reply to a command.
type imapSession struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dialIMAP(t *testing.T, addr string) *imapSession {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := &imapSession{t, c, bufio.NewReader(c)}
	if line, err := s.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* OK") {
		t.Fatalf("greeting %q, %v", line, err)
	}
	return s
}

// say gives the untagged lines of the answer.
func (s *imapSession) say(command string) string {
	s.t.Helper()
	fmt.Fprintf(s.c, "x %s\r\n", command)
	var all strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %q, %v", command, line, err)
		}
		if reply, ok := strings.CutPrefix(line, "x "); ok {
			if !strings.HasPrefix(reply, "OK") {
				s.t.Fatalf("%s: %s", command, reply)
			}
			return all.String()
		}
		all.WriteString(line)
	}
}

// moverWorld is a home with a user, an IMAP server, and the program.
type moverWorld struct {
	t    *testing.T
	home string
	addr string
}

func newMoverWorld(t *testing.T) *moverWorld {
	home := t.TempDir()
	users := filepath.Join(home, "users")
	if err := os.WriteFile(users, []byte("bob:{PLAIN}b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Ready: "listening", Args: []string{"serve-imap",
		"--listen", "127.0.0.1:0", "--hostname", "imap.test", "--set", "users=" + users, "--log-level", "error"}}.Start(t)
	return &moverWorld{t, home, server.Addr()}
}

func (w *moverWorld) command(stdin string, args ...string) *exec.Cmd {
	cmd := exec.Command(mailtest.Binary(w.t), args...)
	cmd.Dir, cmd.Env, cmd.Stdin = w.home, mailtest.Env(w.home), strings.NewReader(stdin)
	return cmd
}

func (w *moverWorld) mailx(stdin string, args ...string) string {
	w.t.Helper()
	cmd := w.command(stdin, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		w.t.Fatalf("mailx %q: %v: %s", args, err, &stderr)
	}
	return string(out)
}

// TestChangesAreSeenByIMAP has a session in each of two folders while the verbs change mail.
func TestChangesAreSeenByIMAP(t *testing.T) {
	w := newMoverWorld(t)
	s := dialIMAP(t, w.addr)
	s.say("LOGIN bob b")
	s.say("CREATE Done")
	for i := range 4 {
		s.say(fmt.Sprintf("APPEND INBOX (\\Seen Work) {15+}\r\nSubject: m%d\r\n\r\n", i))
	}
	s.say("SELECT INBOX")
	other := dialIMAP(t, w.addr)
	other.say("LOGIN bob b")
	other.say("SELECT Done")
	paths := strings.Fields(w.mailx("", "list", "--user", "bob", "--paths"))

	w.mailx("", "flag", "--flagged", "--unseen", "--keyword", "Soon", paths[1])
	if got := s.say("NOOP"); !strings.Contains(got, "* 2 FETCH (FLAGS (\\Flagged Soon Work))") {
		t.Errorf("flag: %q", got)
	}
	moved := w.mailx(paths[0]+"\n"+paths[1]+"\n", "move", "--to", "Done", "-")
	if got := s.say("NOOP"); strings.Count(got, "* 1 EXPUNGE") != 2 {
		t.Errorf("move: %q", got)
	}
	if got := other.say("NOOP"); !strings.Contains(got, "* 2 EXISTS") {
		t.Errorf("move: %q", got)
	}
	if got := other.say("UID FETCH 1:* FLAGS"); !strings.Contains(got, "UID 1 FLAGS (\\Seen Work)") || !strings.Contains(got, "UID 2 FLAGS (\\Flagged Soon Work)") {
		t.Errorf("move: %q", got)
	}
	w.mailx("", "copy", "--to", "INBOX", strings.Fields(moved)[1])
	w.mailx("", "remove", paths[2])
	if got := s.say("NOOP"); !strings.Contains(got, "* 1 EXPUNGE") || !strings.Contains(got, "* 2 EXISTS") {
		t.Errorf("copy and remove: %q", got)
	}
	// What stays keeps its UID, and what came has one that nobody had.
	got := s.say("UID FETCH 1:* FLAGS")
	if !strings.Contains(got, "* 1 FETCH (UID 4 FLAGS (\\Seen Work))") || !strings.Contains(got, "* 2 FETCH (UID 5 ") ||
		!strings.Contains(got, "\\Flagged Soon Work))") {
		t.Errorf("UIDs: %q", got)
	}
	w.mailx(moved, "move", "--to", "INBOX", "-")
	w.mailx("", "folder", "delete", "--user", "bob", "Done")
	if got := s.say("LIST \"\" *"); strings.Contains(got, "Done") || !strings.Contains(got, "* 4 EXISTS") {
		t.Errorf("folder: %q", got)
	}
	if got := s.say("UID FETCH 6:7 FLAGS"); strings.Count(got, "Work") != 2 {
		t.Errorf("moved back: %q", got)
	}
	for _, p := range maildir.Check(vfs.OS(), filepath.Join(w.home, "spool/mail/bob")) {
		t.Error(p)
	}
}

const (
	moverKills   = 6
	killMovables = 400 // messages
)

func (w *moverWorld) makeMailbox(user string) string {
	w.t.Helper()
	box := filepath.Join(w.home, "spool/mail", user)
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(box, sub), 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	return box
}

// fill makes a mailbox with numbered messages, every tenth with a keyword, and gives their paths.
func (w *moverWorld) fill(size int) []string {
	w.t.Helper()
	box := w.makeMailbox("bob")
	var paths, tenth []string
	for n := range size {
		name := filepath.Join(box, "cur", fmt.Sprintf("17000%05d.M1P1.test:2,S", n))
		if err := os.WriteFile(name, fmt.Appendf(nil, "%d\n", n), 0o600); err != nil {
			w.t.Fatal(err)
		}
		if paths = append(paths, name); n%10 == 0 {
			tenth = append(tenth, name)
		}
	}
	w.mailx(strings.Join(tenth, "\n"), "flag", "-q", "--keyword", "tenth", "-")
	return paths
}

// numbers are the messages in a Maildir, sorted; each is there once.
func numbers(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, p := range maildir.Check(vfs.OS(), dir) {
		t.Error(p)
	}
	files, err := filepath.Glob(filepath.Join(dir, "[cn][ue][rw]", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	slices.Sort(all)
	return all
}

// TestMoversAtOnce: of several programs that move the same messages one moves each, within a mailbox and out of it.
func TestMoversAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		size int
		to   []string
	}{
		"within": {1000, []string{"--to", "Done", "--create"}},
		"out":    {150, []string{"--to", "INBOX", "--user", "ann", "--set", "quota=1G"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newMoverWorld(t)
			w.makeMailbox("ann")
			paths := w.fill(tt.size)
			backwards := slices.Clone(paths)
			slices.Reverse(backwards)
			var wg sync.WaitGroup
			var said [2]string
			for i, list := range [][]string{paths, backwards} {
				wg.Go(func() {
					cmd := w.command(strings.Join(list, "\n"), append([]string{"move", "-"}, tt.to...)...)
					var errs bytes.Buffer
					cmd.Stderr = &errs
					out, _ := cmd.Output()
					said[i] = string(out)
					checkLoser(t, cmd.ProcessState.ExitCode(), errs.String())
				})
			}
			wg.Wait()
			all := strings.Fields(said[0] + said[1])
			slices.Sort(all)
			if n := len(all); n != tt.size || len(slices.Compact(all)) != n {
				t.Fatalf("%d paths were printed, %d and %d", n, strings.Count(said[0], "\n"), strings.Count(said[1], "\n"))
			}
			there := numbers(t, filepath.Dir(filepath.Dir(all[0])))
			if n := len(there); n != tt.size || len(slices.Compact(there)) != n {
				t.Errorf("%d messages are there", n)
			}
			if left := numbers(t, filepath.Join(w.home, "spool/mail/bob")); len(left) > 0 {
				t.Errorf("%d are left", len(left))
			}
		})
	}
}

// checkLoser wants who came second told so, of each message.
func checkLoser(t *testing.T, code int, errs string) {
	for line := range strings.Lines(errs) {
		if !strings.Contains(line, "it is gone: another program has just moved or removed it") &&
			!strings.Contains(line, "there is no such message") && !strings.Contains(line, "messages were moved") {
			t.Errorf("the loser was told %q", line)
		}
	}
	if code != 0 && code != exNoInput || (code == 0) != (errs == "") {
		t.Errorf("exit %d with %q", code, errs)
	}
}

// TestKilledMove kills move when so many messages are there. None is lost; within a mailbox none is there twice, and none has
// lost its keyword.
func TestKilledMove(t *testing.T) {
	random := rand.New(rand.NewPCG(killSeed(t), 2))
	w := newMoverWorld(t)
	w.fill(killMovables)
	inbox := filepath.Join(w.home, "spool/mail/bob")
	for round := range moverKills {
		far := round%2 == 1
		args, target := []string{"move", "-", "--to", "Done", "--create"}, filepath.Join(inbox, ".Done")
		if far {
			target = filepath.Join(w.home, "spool/mail/ann")
			args = []string{"move", "-", "--to", target, "--create", "--set", "quota=1G"}
		}
		cmd := w.command(w.mailx("", "list", "--user", "bob", "--paths"), args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		wanted := 1 + random.IntN(killMovables/2)
		for countFiles(target) < wanted && len(ended) == 0 {
		}
		cmd.Process.Kill()
		<-ended
		left, there := numbers(t, inbox), numbers(t, target)
		all := append(slices.Clone(left), there...)
		slices.Sort(all)
		distinct := slices.Compact(slices.Clone(all))
		if len(distinct) != killMovables || !far && len(all) != killMovables {
			t.Fatalf("round %d: %d left, %d there, %d different ones", round, len(left), len(there), len(distinct))
		}
		t.Logf("round %d: %d left, %d there", round, len(left), len(there))
		// Back, without the second copies.
		w.mailx(w.mailx("", "list", target+"/", "--paths"), "move", "-q", "-", "--to", inbox)
		w.dropCopies(inbox)
	}
	s := dialIMAP(t, w.addr)
	s.say("LOGIN bob b")
	s.say("SELECT INBOX")
	if got := strings.Fields(s.say("SEARCH KEYWORD tenth")); len(got) != 2+killMovables/10 {
		t.Errorf("%d messages have their keyword", len(got)-2)
	}
}

func countFiles(dir string) int {
	names, _ := os.ReadDir(filepath.Join(dir, "cur"))
	return len(names)
}

// dropCopies removes all but the first of each text.
func (w *moverWorld) dropCopies(box string) {
	w.t.Helper()
	seen := map[string]bool{}
	for path := range strings.Lines(w.mailx("", "list", box+"/", "--paths")) {
		path = strings.TrimSuffix(path, "\n")
		text, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		if seen[string(text)] {
			w.mailx("", "remove", path)
		}
		seen[string(text)] = true
	}
}
