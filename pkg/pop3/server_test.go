package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/mailtest"
	"mailx/pkg/session"
	"mailx/pkg/vfs"
	"mailx/pkg/wire"
)

// talk sends lines in one write and gives all that the server says until it closes.
func talk(t testing.TB, dial mailtest.Dialer, lines ...string) string {
	t.Helper()
	nc := dial(t)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(mailtest.DefaultTimeout))
	if _, err := nc.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(nc)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return string(b)
}

func one(srv *Server) func() *Server { return func() *Server { return srv } }

var login = []string{"USER alice", "PASS open sesame"}

// talkIn is talk after login.
func talkIn(t testing.TB, srv *Server, lines ...string) string {
	t.Helper()
	return talk(t, serve(t, one(srv)), append(slices.Clone(login), lines...)...)
}

func wantIn(t testing.TB, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("the server said\n%s\nwant in it: %q", got, want)
	}
}

func names(t testing.TB, fsys vfs.FS, dir string) []string {
	t.Helper()
	var all []string
	for _, sub := range []string{"new", "cur"} {
		list, err := fsys.ReadDirNames(dir + "/" + sub)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range list {
			all = append(all, sub+"/"+name)
		}
	}
	slices.Sort(all)
	return all
}

// TestWithoutQuit: a session that ends in any other way than QUIT removes nothing.
func TestWithoutQuit(t *testing.T) {
	mailtest.CheckLeaks(t)
	fsys := testSpool(t)
	before := names(t, fsys, "/mail/alice")
	srv := testServer(fsys)
	client, server := mailtest.Pipe(t)
	ended := make(chan error)
	go func() { ended <- srv.ServeConn(t.Context(), server) }()
	io.WriteString(client, "USER alice\r\nPASS open sesame\r\nDELE 1\r\nDELE 2\r\nQUI")
	client.CloseWrite()
	io.Copy(io.Discard, client)
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ServeConn = %v, want %v", err, io.ErrUnexpectedEOF)
	}
	if after := names(t, fsys, "/mail/alice"); !slices.Equal(before, after) {
		t.Errorf("messages are %q, want %q", after, before)
	}
	wantFree(t, fsys)
}

// wantFree wants nobody to hold the maildrop of alice.
func wantFree(t testing.TB, fsys vfs.FS) {
	t.Helper()
	drop, err := openMaildrop(fsys, "/mail/alice")
	if err != nil {
		t.Errorf("the maildrop is not free: %v", err)
		return
	}
	drop.close()
}

// TestFreeAtQuit: by the time that a client has the answer to QUIT the maildrop is free.
func TestFreeAtQuit(t *testing.T) {
	fsys := testSpool(t)
	nc := &watchedConn{scriptConn: scriptConn{in: strings.NewReader("USER alice\r\nPASS open sesame\r\nQUIT\r\n")}}
	nc.onWrite = func(p []byte) {
		if bytes.Contains(p, []byte("signing off")) {
			wantFree(t, fsys)
			nc.onWrite = nil
		}
	}
	if err := testServer(fsys).ServeConn(t.Context(), nc); err != nil || nc.onWrite != nil {
		t.Errorf("ServeConn = %v, it said %q", err, nc.out.String())
	}
}

// watchedConn shows what is about to be written.
type watchedConn struct {
	scriptConn
	onWrite func(p []byte)
}

func (c *watchedConn) Write(p []byte) (int, error) {
	if c.onWrite != nil {
		c.onWrite(p)
	}
	return c.scriptConn.Write(p)
}

// TestIdle: RFC 1939 §3, no response and no removal after ten minutes.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := testSpool(t)
		client, server := net.Pipe()
		begin := time.Now()
		go func() { io.WriteString(client, "USER alice\r\nPASS open sesame\r\nDELE 1\r\n") }()
		said := make(chan string)
		go func() { b, _ := io.ReadAll(client); said <- string(b) }()
		if err := testServer(fsys).ServeConn(t.Context(), server); err != nil {
			t.Errorf("ServeConn = %v, want nil", err)
		}
		if idle := time.Since(begin); idle != DefaultTimeout {
			t.Errorf("it was over after %v, want %v", idle, DefaultTimeout)
		}
		if s := <-said; !strings.HasSuffix(s, "+OK Message 1 deleted\r\n") {
			t.Errorf("the server said %q, want nothing after the last reply", s)
		}
		if n := len(names(t, fsys, "/mail/alice")); n != 3 {
			t.Errorf("%d messages, want 3", n)
		}
	})
}

// TestVanished: a message that another program removed is an error for that message alone.
func TestVanished(t *testing.T) {
	for _, name := range []string{nameOne, nameTwo, nameThree} {
		fsys := testSpool(t)
		srv := testServer(fsys)
		c, r := dialLogin(t, serve(t, one(srv)))
		fsys.Remove("/mail/alice/" + name)
		number := slices.Index([]string{nameOne, nameTwo, nameThree}, name) + 1
		ask(t, c, r, fmt.Sprintf("RETR %d", number), "-ERR Message was removed by another program")
		ask(t, c, r, fmt.Sprintf("TOP %d 0", number), "-ERR Message was removed by another program")
		ask(t, c, r, fmt.Sprintf("UIDL %d", number), "+OK")
		ask(t, c, r, "STAT", "+OK 3 ")
		ask(t, c, r, fmt.Sprintf("LIST %d", number), "+OK")
		for n := range 3 {
			ask(t, c, r, fmt.Sprintf("DELE %d", n+1), "+OK")
		}
		ask(t, c, r, "QUIT", "+OK")
		if left := names(t, fsys, "/mail/alice"); len(left) != 0 {
			t.Errorf("after QUIT there is %q", left)
		}
	}
}

// TestMoved: flags that change and moves from new to cur neither change a unique-id nor hide a message.
func TestMoved(t *testing.T) {
	fsys := testSpool(t)
	srv := testServer(fsys)
	dial := serve(t, one(srv))
	before := talk(t, dial, append(slices.Clone(login), "UIDL", "QUIT")...)
	c, r := dialLogin(t, dial)
	for from, to := range map[string]string{
		nameOne: "cur/1700000001.M1P1.host,S=31,W=36:2,RS", nameTwo: "cur/1700000002.M2P1.host:2,", nameThree: "cur/1700000003.M3P1.host,S=15,W=16:2,",
	} {
		if err := fsys.Rename("/mail/alice/"+from, "/mail/alice/"+to); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, c, r, "DELE 2", "+OK")
	ask(t, c, r, "RETR 3", "+OK 16 octets")
	ask(t, c, r, "QUIT", "Subject: three")
	ask(t, c, r, "", ".")
	ask(t, c, r, "", "+OK")
	after := talk(t, dial, append(slices.Clone(login), "UIDL", "QUIT")...)
	before = strings.Replace(before, "2 1700000002.M2P1.host\r\n3 ", "2 ", 1)
	if b, a := cutUIDs(before), cutUIDs(after); a != b {
		t.Errorf("unique-ids were\n%s\nare\n%s", b, a)
	}
}

func cutUIDs(dialog string) string {
	_, s, _ := strings.Cut(dialog, "Unique ids follow\r\n")
	s, _, _ = strings.Cut(s, "\r\n.\r\n")
	return s
}

func dialLogin(t testing.TB, dial mailtest.Dialer) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := dial(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(mailtest.DefaultTimeout))
	r := bufio.NewReader(c)
	ask(t, c, r, "", "+OK")
	ask(t, c, r, login[0], "+OK")
	ask(t, c, r, login[1], "+OK")
	return c, r
}

// ask sends a line, if any, and wants an answer with that beginning.
func ask(t testing.TB, c net.Conn, r *bufio.Reader, line, want string) {
	t.Helper()
	if line != "" {
		io.WriteString(c, line+"\r\n")
	}
	got, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(got, want) {
		t.Fatalf("to %q the server said %q, %v; want %q", line, got, err, want)
	}
}

// TestRemovalFails: "+OK" to QUIT only if all is gone for good.
func TestRemovalFails(t *testing.T) {
	for _, op := range []string{"remove", "syncdir"} {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.EROFS} {
			fsys := testSpool(t)
			bad := &failing{FS: fsys, op: op, err: errno}
			said := talkIn(t, testServer(bad), "DELE 1", "DELE 3", "QUIT")
			if !strings.HasSuffix(said, "-ERR [SYS/TEMP] Local storage trouble\r\n") {
				t.Errorf("%s fails with %v: the server said\n%s", op, errno, said)
			}
		}
	}
}

// failing is a file system on which one kind of call fails.
type failing struct {
	vfs.FS
	op  string
	err error
}

func (f *failing) Remove(name string) error {
	if f.op == "remove" {
		return f.err
	}
	return f.FS.Remove(name)
}

func (f *failing) SyncDir(name string) error {
	if f.op == "syncdir" && !strings.HasSuffix(name, "/mail") {
		return f.err
	}
	return f.FS.SyncDir(name)
}

func (f *failing) Open(name string) (vfs.File, error) {
	if f.op == "open" {
		return nil, f.err
	}
	file, err := f.FS.Open(name)
	if f.op == "read" && err == nil {
		return &failingFile{file, f.err}, nil
	}
	return file, err
}

func (f *failing) ReadDirNames(name string) ([]string, error) {
	if f.op == "readdir" {
		return nil, f.err
	}
	return f.FS.ReadDirNames(name)
}

// failingFile gives one octet and then the error.
type failingFile struct {
	vfs.File
	err error
}

func (f *failingFile) Read(p []byte) (int, error) {
	if n, err := f.File.ReadAt(p[:1], 0); err != nil {
		return n, err
	}
	p[0] = 'S'
	return 1, f.err
}

// TestStorageTrouble: what a client hears, and that half a message never ends in a dot.
func TestStorageTrouble(t *testing.T) {
	tests := []struct{ op, command, want string }{
		{"readdir", "STAT", "-ERR [SYS/TEMP] Local storage trouble\r\n"},
		{"open", "RETR 1", "-ERR [SYS/TEMP] Local storage trouble\r\n"},
		{"open", "TOP 1 0", "-ERR [SYS/TEMP] Local storage trouble\r\n"},
		{"open", "STAT", "-ERR [SYS/TEMP] Local storage trouble\r\n"},
		{"open", "LIST", "-ERR [SYS/TEMP] Local storage trouble\r\n"},
		{"open", "LIST 2", "-ERR [SYS/TEMP] Local storage trouble\r\n"},
		{"open", "UIDL 2", "+OK 2 1700000002.M2P1.host\r\n"},
		{"read", "RETR 1", "+OK 36 octets\r\nS"},
	}
	for _, test := range tests {
		fsys := &failing{FS: testSpool(t), op: test.op, err: syscall.EIO}
		srv := testServer(fsys)
		srv.Auth = testServer(testSpool(t)).Auth
		said := talkIn(t, srv, test.command, "QUIT")
		wantIn(t, said, test.want)
		if test.op == "read" && !strings.HasSuffix(said, test.want) {
			t.Errorf("%s with a failing disk: %q goes on after half a message", test.command, said)
		}
	}
}

// TestRemovalIsDurable walks QUIT through every failing call and every loss of power.
func TestRemovalIsDurable(t *testing.T) {
	base := testSpool(t)
	quit := func(fsys vfs.FS) error {
		drop, err := openMaildrop(fsys, "/mail/alice")
		if err != nil {
			return err
		}
		defer drop.close()
		drop.deleted[0], drop.deleted[1] = true, true
		_, err = drop.removeDeleted()
		return err
	}
	for trial := range vfs.Trials(base, quit) {
		left := names(t, trial.Mem, "/mail/alice")
		if !slices.Contains(left, nameThree) {
			t.Fatalf("a message that was not deleted is gone: %s", trial)
		}
		if trial.Err == nil && len(left) != 1 {
			t.Fatalf("a deleted message is still there: %s", trial)
		}
	}
}

func TestUID(t *testing.T) {
	long := strings.Repeat("x", 71)
	tests := []struct {
		bases []string
		want  []string
	}{
		{[]string{"1.a.h,S=1,W=2"}, []string{"1.a.h"}},
		{[]string{"1.a.h"}, []string{"1.a.h"}},
		{[]string{"1.a.h,S=1,x"}, []string{"1.a.h,S=1,x"}},
		{[]string{long[:70], long}, []string{long[:70], hashUID(long)}},
		{[]string{long[:70] + ",S=1"}, []string{long[:70]}},
		{[]string{"1 2", "jürgen"}, []string{hashUID("1 2"), hashUID("jürgen")}},
		{[]string{",S=1"}, []string{hashUID("")}},
		{[]string{"a,S=1", "a,S=2", "b"}, []string{hashUID("a,S=1"), hashUID("a,S=2"), "b"}},
	}
	for _, test := range tests {
		fsys := vfs.NewMem()
		files := map[string]string{}
		for _, base := range test.bases {
			files["new/"+base] = "x\n"
		}
		fill(t, fsys, "/m", files)
		drop, err := openMaildrop(fsys, "/m")
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range test.want {
			if got := drop.uid(i); got != want || len(got) > maxUID {
				t.Errorf("%q: unique-id %d is %q, want %q", test.bases, i, got, want)
			}
		}
		drop.close()
	}
}

// TestTopWriter compares with the plain way of doing it, whatever the cut.
func TestTopWriter(t *testing.T) {
	texts := []string{
		"", "\n", "\n\n", "a", "a\n", "a\n\n", "a\n\nb", "a\n\nb\nc\nd\n", "a\r\n\r\nb\r\nc\r\n", "\nb\n\n\nc\n", "a\n b\n\n\n\nx\n",
	}
	for _, text := range texts {
		for lines := range uint64(5) {
			for size := 1; size <= len(text)+1; size++ {
				var got bytes.Buffer
				w := &topWriter{w: &got, left: lines}
				for rest := text; rest != ""; {
					n := min(size, len(rest))
					if _, err := w.Write([]byte(rest[:n])); err == io.EOF {
						break
					}
					rest = rest[n:]
				}
				if want := plainTop(text, lines); got.String() != want {
					t.Errorf("top %d of %q in blocks of %d = %q, want %q", lines, text, size, got.String(), want)
				}
			}
		}
	}
}

func plainTop(text string, lines uint64) string {
	out, inBody := "", false
	for _, line := range strings.SplitAfter(text, "\n") {
		if inBody && lines == 0 {
			return out
		}
		out += line
		if inBody {
			lines--
		} else if line == "\n" || line == "\r\n" {
			inBody = true
		}
	}
	return out
}

// TestRetrievedOctets: what RETR gives is what is on disk, and as many octets as LIST says.
func TestRetrievedOctets(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	fsys := testSpool(t)
	fill(t, fsys, "/mail/jürgen", nil)
	var texts []string
	for i := range 40 {
		text := randomText(rnd, []int{0, 10, 4095, 4096, 65535, 65536, 65537, 200_000}[i%8])
		texts = append(texts, text)
		writeFile(t, fsys, fmt.Sprintf("/mail/jürgen/new/%010d.a", i), text)
	}
	c, err := NewClient(serve(t, one(testServer(fsys)))(t), ClientOptions{})
	if err == nil {
		err = c.Login("jürgen", "grün")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sizes := map[int]int64{}
	if err := c.List(func(n int, octets int64) error { sizes[n] = octets; return nil }); err != nil {
		t.Fatal(err)
	}
	err = c.Retrieve(upTo(len(texts)), func(n int, r io.Reader, err error) error {
		b, rerr := io.ReadAll(r)
		if err != nil || rerr != nil || string(b) != texts[n-1] {
			t.Errorf("message %d: %v, %v, %d octets, want %d", n, err, rerr, len(b), len(texts[n-1]))
		}
		if wire := r.(*wire.DotReader).Size(); wire != sizes[n] {
			t.Errorf("message %d has %d octets, LIST says %d", n, wire, sizes[n])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// randomText has lines of all lengths, many with dots, and ends in LF if it is not empty.
func randomText(rnd *rand.Rand, octets int) string {
	b := make([]byte, octets)
	for i := range b {
		b[i] = "abc...\n\n"[rnd.IntN(8)]
	}
	if octets > 0 {
		b[octets-1] = '\n'
	}
	return string(b)
}

func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i + 1
	}
	return numbers
}

// TestShutdown: a session between commands is told; a command under way is finished first.
func TestShutdown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, server := mailtest.Pipe(t)
	ended := make(chan error)
	go func() { ended <- testServer(testSpool(t)).ServeConn(ctx, server) }()
	r := bufio.NewReader(client)
	ask(t, client, r, "NOOP", "+OK")
	ask(t, client, r, "", "-ERR")
	cancel()
	ask(t, client, r, "", "-ERR [SYS/TEMP] Server is shutting down")
	if err := <-ended; err != nil {
		t.Errorf("ServeConn = %v, want nil", err)
	}
}

// throttle counts calls and says how long to wait.
type throttle struct {
	calls   []string
	refused error
	wait    time.Duration
}

func (th *throttle) Check(netip.Addr) (time.Duration, error) {
	th.calls = append(th.calls, "check")
	return th.wait, th.refused
}

func (th *throttle) Failed(_ netip.Addr, user string) (time.Duration, error) {
	th.calls = append(th.calls, "failed "+user)
	return 2 * th.wait, nil
}

func (th *throttle) Succeeded(_ netip.Addr, user string) error {
	th.calls = append(th.calls, "succeeded "+user)
	return nil
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &throttle{wait: time.Second}
		srv := testServer(testSpool(t))
		srv.Throttle = th
		client, server := net.Pipe()
		begin := time.Now()
		go io.WriteString(client, "USER alice\r\nPASS x\r\nAUTH PLAIN AGFsaWNlAHdyb25n\r\nAUTH PLAIN =\r\nUSER alice\r\nPASS open sesame\r\nQUIT\r\n")
		go io.Copy(io.Discard, client)
		if err := srv.ServeConn(t.Context(), server); err != nil {
			t.Error(err)
		}
		want := []string{"check", "failed alice", "check", "failed alice", "check", "check", "succeeded alice"}
		if !slices.Equal(th.calls, want) {
			t.Errorf("calls %q, want %q", th.calls, want)
		}
		if d := time.Since(begin); d != 8*time.Second {
			t.Errorf("it took %v, want 8s", d)
		}
	})
	srv := testServer(testSpool(t))
	srv.Throttle = &throttle{refused: session.ErrGuessing}
	wantIn(t, talkIn(t, srv, "QUIT"), "-ERR [SYS/TEMP] Too many authentication failures")
}

// TestLineLength at the limit and beside it.
func TestLineLength(t *testing.T) {
	const most = wire.DefaultMaxLine - len("USER \r\n")
	for n, want := range map[int]string{most - 1: "+OK", most: "+OK", most + 1: "-ERR Line too long"} {
		said := talk(t, serve(t, one(testServer(testSpool(t)))), "USER "+strings.Repeat("x", n), "NOOP", "QUIT")
		wantIn(t, said, "ready\r\n"+want+"\r\n-ERR Command not possible now\r\n+OK pop.example POP3 server signing off\r\n")
	}
}

func TestRefuse(t *testing.T) {
	client, server := mailtest.Pipe(t)
	testServer(nil).Refuse(server)
	server.Close()
	said, _ := io.ReadAll(client)
	if want := "-ERR [SYS/TEMP] Too many connections, try again later\r\n"; string(said) != want {
		t.Errorf("Refuse said %q, want %q", said, want)
	}
}

// FuzzSession sends anything to a session, before login or after it. It must end, say whole lines only, and remove
// nothing without QUIT.
func FuzzSession(f *testing.F) {
	f.Add(true, "LIST\r\nRETR 1\r\nTOP 1 1\r\nDELE 2\r\nRSET\r\nUIDL 3\r\n")
	f.Add(true, "RETR 18446744073709551617\r\nTOP 1 \r\nDELE  1\r\nLANG\ten\r\n\r\n \r\n")
	f.Add(false, "AUTH PLAIN =\r\nUSER \r\nPASS\r\nSTLS\r\nCAPA\r\n\x00\r\nQUIT\r\nNOOP\r\n")
	f.Add(false, "AUTH LOGIN\r\nYQ==\r\n*\r\nAUTH SCRAM-SHA-256 biwsbj1hLHI9Yg==\r\nUTF8\r\nPASS x\r\n")
	f.Fuzz(func(t *testing.T, loggedIn bool, input string) {
		fsys := vfs.NewMem()
		fill(t, fsys, "/mail/alice", aliceMail())
		nc := &scriptConn{in: strings.NewReader(input)}
		if loggedIn {
			nc.in = strings.NewReader("USER alice\r\nPASS x\r\n" + input)
		}
		srv := testServer(fsys)
		srv.Auth = everybody{}
		srv.ServeConn(t.Context(), nc)
		for line := range strings.SplitSeq(strings.TrimSuffix(nc.out.String(), "\r\n"), "\r\n") {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Errorf("input %q: line %q", input, line)
			}
		}
		if n := len(names(t, fsys, "/mail/alice")); n < 3 && !strings.Contains(strings.ToUpper(input), "QUIT") {
			t.Errorf("input %q: %d messages are left without QUIT", input, n)
		}
	})
}

// everybody is let in as alice.
type everybody struct{}

func (everybody) Authenticate(context.Context, string, string) (auth.User, error) {
	return auth.User{Name: "alice"}, nil
}

func (everybody) ScramKeys(string) (auth.User, auth.ScramKeys, error) {
	return auth.User{Name: "alice"}, auth.ScramKeys{}, nil
}

// scriptConn is a connection whose input is known beforehand.
type scriptConn struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (c *scriptConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *scriptConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) RemoteAddr() net.Addr             { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// What somebody else puts into a Maildir does not take away the other messages.
func TestForeignThingsInTheMaildir(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"mail/alice/new/1.dir", "mail/alice/cur", "mail/alice/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	box := filepath.Join(dir, "mail/alice/new")
	if err := os.Symlink("/nonexistent", filepath.Join(box, "2.link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(box, "3.msg"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := openMaildrop(vfs.OS(), filepath.Join(dir, "mail/alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if err := m.findSizes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, octets := m.total(); n != 3 || octets != 7 {
		t.Errorf("%d messages, %d octets", n, octets)
	}
}
