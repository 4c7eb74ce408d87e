package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/filter"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
)

// script writes a shell script and gives the command that runs it. Written scripts are read by sh, because a file that was
// open for writing when another test forked can't be executed.
func script(t testing.TB, text string) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hook.sh")
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{"/bin/sh", name}
}

func setOf(t testing.TB, e Event, text string) *Set {
	return &Set{Commands: map[Event][]string{e: script(t, text)}, Hostname: "mx.example.org", Timeout: time.Minute}
}

// wantVerdict compares a verdict with its status and text; "" is nil, "discard" is filter.ErrDiscard.
func wantVerdict(t testing.TB, what string, err error, want string) {
	t.Helper()
	got := ""
	switch {
	case errors.Is(err, filter.ErrDiscard):
		got = "discard"
	case err != nil:
		got = mail.StatusOf(err).String() + " " + mail.TextOf(err)
	}
	if got != want {
		t.Errorf("%s: got %q (%v), want %q", what, got, err, want)
	}
}

const (
	failed  = "4.3.0 A check failed, try again later"
	tooMuch = "4.3.2 Too much to do, try again later"
)

// TestExitCodes is the whole table.
func TestExitCodes(t *testing.T) {
	rows := map[int]string{
		65:  "5.6.0 Message refused",
		67:  "5.1.1 No such user here",
		68:  "5.1.2 No such host",
		75:  "4.7.1 Not now, try again",
		77:  "5.7.1 Refused by a policy",
		99:  "discard",
		100: "5.7.1 Refused by a policy",
		111: "4.7.1 Not now, try again",
	}
	for code := 1; code < 256; code++ {
		err := judgeExit(code, "")
		if want, ok := rows[code]; ok {
			wantVerdict(t, fmt.Sprint("exit ", code), err, want)
		} else if err != nil {
			t.Errorf("exit %d: got %v, want no row", code, err)
		}
	}
	for _, code := range []int{-1, 0, 256} {
		if err := judgeExit(code, ""); err != nil {
			t.Errorf("exit %d: got %v, want no row", code, err)
		}
	}
}

func TestRun(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"accept", "exit 0", ""},
		{"accept and talk", "echo fine; echo fine >&2", ""},
		{"refuse", "exit 77", "5.7.1 Refused by a policy"},
		{"text on stdout", "echo not you; exit 77", "5.7.1 not you"},
		{"text on stderr", "echo not you >&2; exit 77", "5.7.1 not you"},
		{"stdout is for the peer, stderr for the log", "echo secret path >&2; echo not you; exit 77", "5.7.1 not you"},
		{"status", "echo 5.7.26 no signature; exit 77", "5.7.26 no signature"},
		{"status alone", "echo 5.7.26; exit 77", "5.7.26 Refused by a policy"},
		{"status of another class", "echo 4.7.26 no signature; exit 77", "5.7.1 no signature"},
		{"success is no refusal", "echo 2.0.0 yes; exit 75", "4.7.1 yes"},
		{"later", "echo 4.2.1 later; exit 75", "4.2.1 later"},
		{"discard", "exit 99", "discard"},
		{"only the first line", `printf '\n  one \r\ntwo\n'; exit 77`, "5.7.1 one"},
		{"injection", `printf 'a\rb\033c\200\n250 ok\n'; exit 77`, "5.7.1 a?b?c?"},
		{"a long line", `printf '%01000d' 7; exit 77`, "5.7.1 " + strings.Repeat("0", maxText)},
		{"an unknown code says nothing of its inside", "echo /secret/path; exit 3", failed},
		{"unavailable", "exit 69", failed},
		{"not found", "nonsense-without-a-command", failed},
		{"killed", "kill -9 $$", failed},
		{"terminated", "kill -TERM $$", failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := setOf(t, Data, c.text).Run(t.Context(), Data, Facts{}, strings.NewReader("Subject: x\n\nhi\n"), nil)
			wantVerdict(t, c.text, err, c.want)
		})
	}
}

func TestNoCommand(t *testing.T) {
	set := &Set{Commands: map[Event][]string{Data: nil}}
	wantVerdict(t, "nothing", set.Run(t.Context(), Data, Facts{}, nil, nil), "")
	if set.slots != nil {
		t.Error("a set without commands has made its slots")
	}
}

func TestCommandThatDoesNotStart(t *testing.T) {
	for _, argv := range [][]string{{"/no/such/command"}, {"/etc/passwd"}, {"/"}, {"true"}, {""}} {
		set := &Set{Commands: map[Event][]string{Mail: argv}}
		err := set.Run(t.Context(), Mail, Facts{}, nil, nil)
		wantVerdict(t, argv[0], err, failed)
		if !strings.Contains(fmt.Sprint(err), "hook mail") {
			t.Errorf("%q: the log does not learn which: %v", argv[0], err)
		}
	}
}

// A command that hangs is killed with all that it has started.
func TestTimeout(t *testing.T) {
	dir := t.TempDir()
	set := setOf(t, Data, "sleep 1000 & echo $! >"+dir+"/child; trap '' TERM; while :; do sleep 1000; done")
	// The limit starts before the shell does; so long that the child is there, on a busy machine too.
	set.Timeout = time.Second
	began := time.Now()
	err := set.Run(t.Context(), Data, Facts{}, strings.NewReader("x\n"), nil)
	wantVerdict(t, "hanging", err, failed)
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
	if !strings.Contains(fmt.Sprint(err), "took too long") {
		t.Errorf("the log does not learn why: %v", err)
	}
	wantDead(t, filepath.Join(dir, "child"))
}

// wantDead waits until the process whose number is in a file is gone; a zombie is, too.
func wantDead(t testing.TB, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(b))
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %s still runs", pid)
}

// A child that holds the pipes does not hold the message up; and it does not live on.
func TestChildHoldsPipes(t *testing.T) {
	for _, c := range []struct {
		event  Event
		filter bool
		want   string
	}{{Data, false, ""}, {Filter, true, failed}} {
		t.Run(string(c.event), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			set := setOf(t, c.event, "sleep 1000 & echo $! >"+dir+"/child; exit 0")
			var out io.Writer
			if c.filter {
				out = io.Discard
			}
			err := set.Run(t.Context(), c.event, Facts{}, strings.NewReader("x\n"), out)
			wantVerdict(t, "a child holds the pipes", err, c.want)
			wantDead(t, filepath.Join(dir, "child"))
		})
	}
}

// A verdict before the end of the input is one. The message is larger than a pipe.
func TestInputNotRead(t *testing.T) {
	msg := strings.Repeat("0123456789abcde\n", 10<<16) // 10 MiB
	for text, want := range map[string]string{
		"exit 0":                                   "",
		"exec 0<&-; exit 77":                       "5.7.1 Refused by a policy",
		"read line; echo $line; exit 77":           "5.7.1 0123456789abcde",
		"n=$(wc -c); echo $((n)); exit 77":         "5.7.1 10485760",
		"head -c 70000 >/dev/null; exit 99":        "discard",
		"exec 0<&- 1>&- 2>&-; exit 75":             "4.7.1 Not now, try again",
		"cat >/dev/null; cat >/dev/null; exit 100": "5.7.1 Refused by a policy",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			err := setOf(t, Data, text).Run(t.Context(), Data, Facts{}, strings.NewReader(msg), nil)
			wantVerdict(t, text, err, want)
		})
	}
}

// The command does not inherit that a server ignores SIGPIPE, or a flood would not end.
func TestFlood(t *testing.T) {
	for _, text := range []string{"yes", "yes >&2", "cat /dev/zero"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			set := setOf(t, Connect, text)
			err := set.Run(t.Context(), Connect, Facts{}, nil, nil)
			wantVerdict(t, text, err, failed)
		})
	}
}

func TestSIGPIPEIsNotIgnored(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE) // as servers do
	defer signal.Reset(syscall.SIGPIPE)
	set := setOf(t, Data, `mask=$(sed -n 's/^SigIgn:.*\(....\)$/\1/p' /proc/self/status); echo $mask; case $mask in [13579bdf]*) exit 65;; esac; exit 77`)
	wantVerdict(t, "SigIgn", set.Run(t.Context(), Data, Facts{}, nil, nil), "5.7.1 0000")
}

func TestAtMostSoManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/started", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/go", 0o600); err != nil {
		t.Fatal(err)
	}
	set := setOf(t, Data, "echo >"+dir+"/started; read x <"+dir+"/go; exit 0")
	set.Parallel = 1
	first := make(chan error)
	go func() { first <- set.Run(t.Context(), Data, Facts{}, nil, nil) }()
	if _, err := os.ReadFile(dir + "/started"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if set.enter(ctx) {
		t.Error("two at once")
	}
	if err := os.WriteFile(dir+"/go", []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantVerdict(t, "the first", <-first, "")
	go os.WriteFile(dir+"/go", []byte("\n"), 0o600)
	go os.ReadFile(dir + "/started")
	wantVerdict(t, "the second", set.Run(t.Context(), Data, Facts{}, nil, nil), "")
}

func TestBusy(t *testing.T) {
	set := setOf(t, Data, "exit 0")
	set.Parallel, set.Timeout = 1, time.Nanosecond
	set.enter(context.Background())
	wantVerdict(t, "no slot", set.Run(t.Context(), Data, Facts{}, nil, nil), tooMuch)
}

// A shutdown of the server lets commands finish, as it does commands of the peer.
func TestShutdownWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantVerdict(t, "canceled", setOf(t, Data, "exit 77").Run(ctx, Data, Facts{}, nil, nil), "5.7.1 Refused by a policy")
}

func TestNote(t *testing.T) {
	var notes []string
	set := setOf(t, Data, "echo look at this >&2; echo and not at this >&2")
	set.Note = func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	wantVerdict(t, "noted", set.Run(t.Context(), Data, Facts{}, nil, nil), "")
	if want := []string{"hook data: look at this"}; !slices.Equal(notes, want) {
		t.Errorf("got %q, want %q", notes, want)
	}
}

// hostile has what a shell would fall for, as far as an address can have it.
func hostile() []mail.Recipient {
	var list []mail.Recipient
	for _, local := range []string{"a;touch${IFS}pwned", "$(touch pwned)", "`id`", "-f", "|cat", "a b", `"`, `\`, "'", "ü"} {
		list = append(list, mail.Recipient{Address: mail.Address{Local: local, Domain: "example.org"}})
	}
	return list
}

// TestEnvironment: a command sees its variables and no others, and gets every address as it is.
func TestEnvironment(t *testing.T) {
	t.Setenv("TZ", "UTC")
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("PATH", "/usr/bin:/bin")
	t.Setenv("MAILX_PASSWORD", "hungry")
	t.Setenv("LD_PRELOAD_NOT", "x")
	set := &Set{Commands: map[Event][]string{Data: {"/usr/bin/env", "-0"}}, Hostname: "mx.example.org"}
	var out bytes.Buffer
	facts := Facts{
		Peer: &smtp.Peer{Addr: netip.MustParseAddr("::ffff:192.0.2.7"), Helo: "evil\x1b[2J\nMAILX_USER=root\xff", User: "bob"},
		Env:  &mail.Envelope{ID: "ID1", Sender: mail.Address{Local: "$(id)", Domain: "example.net"}, Rcpts: hostile()},
		Size: 42,
	}
	if err := set.Run(t.Context(), Data, facts, nil, &out); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(out.String(), "\x00"), "\x00")
	want := []string{
		"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "TZ=UTC",
		"MAILX_EVENT=data", "MAILX_HOSTNAME=mx.example.org", "MAILX_CLIENT_ADDR=192.0.2.7", "TCPREMOTEIP=192.0.2.7",
		"MAILX_CLIENT_HELO=evil?[2J?MAILX_USER=root?", "MAILX_CLIENT_TLS=", "MAILX_USER=bob", "MAILX_ID=ID1",
		"MAILX_SENDER=$(id)@example.net", "MAILX_RECIPIENT=", "MAILX_SIZE=42", "MAILX_RECIPIENTS_COUNT=10",
		"MAILX_RECIPIENTS=\"a;touch${IFS}pwned\"@example.org\n\"$(touch pwned)\"@example.org\n`id`@example.org\n-f@example.org\n" +
			"|cat@example.org\n\"a b\"@example.org\n\"\\\"\"@example.org\n\"\\\\\"@example.org\n'@example.org\nü@example.org",
	}
	if want[11] = "MAILX_SENDER=\"$(id)\"@example.net"; !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

// The longest list that fits is there, one recipient more leaves the number; the kernel takes both.
func TestManyRecipients(t *testing.T) {
	one := mail.Recipient{Address: mail.Address{Local: "u", Domain: strings.Repeat("d", 57) + ".org"}} // 63 octets and a LF
	for n, has := range map[int]bool{0: true, 1: true, maxVariable / 64: true, maxVariable/64 + 1: false, 20000: false} {
		f := Facts{Env: &mail.Envelope{Rcpts: slices.Repeat([]mail.Recipient{one}, n)}}
		set := setOf(t, Data, `[ "$MAILX_RECIPIENTS_COUNT" = `+fmt.Sprint(n)+` ] || exit 65
if [ "${MAILX_RECIPIENTS+set}" ]; then exit 99; fi; exit 77`)
		want := "discard"
		if !has {
			want = "5.7.1 Refused by a policy"
		}
		wantVerdict(t, fmt.Sprint(n, " recipients"), set.Run(t.Context(), Data, f, nil, nil), want)
	}
}

// delivered runs the events of the data on a message and gives its text.
func delivered(t *testing.T, set *Set, text string, s filter.Store) (string, error) {
	t.Helper()
	m := filter.NewMessage(s, &mail.Envelope{}, filter.TextOf(strings.NewReader(text), int64(len(text))))
	defer m.Close()
	err := set.Deliver(t.Context(), m)
	b, rerr := io.ReadAll(m.Text.Reader())
	if rerr != nil {
		t.Fatal(rerr)
	}
	return string(b), err
}

func TestChangedMessage(t *testing.T) {
	const letter = "Subject: x\n\nhi\n"
	for _, c := range []struct{ name, text, want, verdict string }{
		{"nothing", "exit 0", letter, ""},
		{"the same", "cat", letter, ""},
		{"a field more", "echo X-Seen: yes; cat", "X-Seen: yes\n" + letter, ""},
		{"another text", `printf 'A: b\n\nc'`, "A: b\n\nc\n", ""},
		{"CRLF", `printf 'A: b\r\n\r\nc\r\n'`, "A: b\n\nc\n", ""},
		{"a header alone", `printf 'A: b'`, "A: b\n", ""},
		{"CRLF in two writes", `printf 'A: b\r'; sleep 0.1; printf '\n\nc\n'`, "A: b\n\nc\n", ""},
		{"bare CR", `printf 'A: b\rc\n\n'`, letter, failed},
		{"bare CR at a cut", `printf 'A: b\r'; sleep 0.1; printf 'c\n\n'`, letter, failed},
		{"bare CR at the end", `printf 'A: b\n\nc\r'`, letter, failed},
		{"what the server takes: NUL, 8 bit", `printf 'A: b\0c\n\n\377\n'`, "A: b\x00c\n\n\xff\n", ""},
		{"no header", `echo Traceback; cat`, letter, failed},
		{"refused in the middle", "echo A: b; echo no >&2; exit 77", letter, "5.7.1 no"},
		{"dead in the middle", "echo A: b; kill -9 $$", letter, failed},
		{"discarded", "cat; exit 99", letter, "discard"},
		{"too large", "echo A: b; echo; cat /dev/zero | tr '\\0' x", letter, "4.3.0 A filter made the message larger than 10000 octets"},
		{"as large as may be", "printf A:; head -c 9997 /dev/zero | tr '\\0' A", "A:" + strings.Repeat("A", 9997) + "\n", ""},
		{"an octet too large", "printf A:; head -c 9998 /dev/zero | tr '\\0' A", "", "4.3.0 A filter made the message larger than 10000 octets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := delivered(t, setOf(t, DeliverFilter, c.text), letter, filter.Store{MaxSize: 10000})
			wantVerdict(t, c.text, err, c.verdict)
			if err == nil && got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A message without a header may stay one.
func TestNoHeaderBefore(t *testing.T) {
	got, err := delivered(t, setOf(t, DeliverFilter, "cat; echo there"), "hi\n", filter.Store{})
	if err != nil || got != "hi\nthere\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// The command that judges sees what the one before it made of the message, and its size.
func TestFilterThenJudge(t *testing.T) {
	set := setOf(t, DeliverFilter, "echo X-Seen: yes; cat")
	set.Commands[Deliver] = script(t, `[ "$MAILX_SIZE" = 27 ] && read line && [ "$line" = "X-Seen: yes" ] || exit 65; exit 77`)
	_, err := delivered(t, set, "Subject: x\n\nhi\n", filter.Store{})
	wantVerdict(t, "judge", err, "5.7.1 Refused by a policy")
}

// A message that does not fit into memory goes through files, of which nothing is left.
func TestLargeMessage(t *testing.T) {
	dir := t.TempDir()
	letter := "Subject: x\n\n" + strings.Repeat("0123456789abcde\n", 10<<16)
	got, err := delivered(t, setOf(t, DeliverFilter, "echo X-Seen: yes; cat"), letter, filter.Store{Dir: dir})
	if err != nil || got != "X-Seen: yes\n"+letter {
		t.Errorf("got %d octets, %v, want %d", len(got), err, len(letter)+12)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestSession walks the events of a connection.
func TestSession(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	say := script(t, `echo "$MAILX_EVENT $MAILX_CLIENT_ADDR $MAILX_CLIENT_HELO $MAILX_SENDER $MAILX_RECIPIENT $MAILX_RECIPIENTS_COUNT" >>`+log+`
case $MAILX_RECIPIENT in bad@*) exit 67;; esac; exit 0`)
	set := &Set{Commands: map[Event][]string{}}
	for _, e := range []Event{Connect, Mail, Rcpt, Filter, Data} {
		set.Commands[e] = say
	}
	first, last := set.First(), set.Last()
	if !first.Holds() || !last.Holds() {
		t.Error("a set with filter and data does not hold messages")
	}
	p := &smtp.Peer{Addr: netip.MustParseAddr("192.0.2.1")}
	var sessions []filter.Session
	for _, f := range []filter.Filter{first, last} {
		s, err := f.Connect(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	p.Helo = "there"
	env := &mail.Envelope{Sender: mail.Address{Local: "a", Domain: "b"}}
	ok, bad := mail.Recipient{Address: mail.Address{Local: "ok", Domain: "here"}}, mail.Recipient{Address: mail.Address{Local: "bad", Domain: "here"}}
	text := "A: b\n\n"
	m := filter.NewMessage(filter.Store{}, env, filter.TextOf(strings.NewReader(text), int64(len(text))))
	m.Peer, m.Env.Rcpts = p, []mail.Recipient{ok}
	for _, s := range sessions {
		wantVerdict(t, "mail", s.Mail(t.Context(), p, env), "")
		wantVerdict(t, "rcpt", s.Rcpt(t.Context(), ok), "")
	}
	wantVerdict(t, "bad rcpt", sessions[0].Rcpt(t.Context(), bad), "5.1.1 No such user here")
	for _, s := range sessions {
		wantVerdict(t, "data", s.Message(t.Context(), m), "")
		s.Abort()
		s.Close()
	}
	got, _ := os.ReadFile(log)
	want := "connect 192.0.2.1    0\nmail 192.0.2.1 there a@b  0\nrcpt 192.0.2.1 there a@b ok@here 0\nrcpt 192.0.2.1 there a@b bad@here 0\n" +
		"filter 192.0.2.1 there a@b  1\ndata 192.0.2.1 there a@b  1\n"
	if string(got) != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestNothingLeaks(t *testing.T) {
	mailtest.CheckLeaks(t)
	set := setOf(t, Data, "cat >/dev/null; exit 0")
	for range 3 {
		wantVerdict(t, "run", set.Run(t.Context(), Data, Facts{}, strings.NewReader("x\n"), nil), "")
	}
}

// FuzzLocalForm: whatever a command writes, in whatever cuts, is refused or becomes text in local form, the same for all cuts.
func FuzzLocalForm(f *testing.F) {
	for _, s := range []string{"", "A: b\n\n", "A: b\r\n\r\nc", "a\rb", "\r", "\r\r\n", "a\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, err := throughLocalForm(in, len(in)+1)
		single, err1 := throughLocalForm(in, 1)
		if (err == nil) != (err1 == nil) || err == nil && whole != single {
			t.Fatalf("%q: whole %q, %v; octet by octet %q, %v", in, whole, err, single, err1)
		}
		if err == nil && (strings.Contains(whole, "\r") || whole != "" && !strings.HasSuffix(whole, "\n")) {
			t.Fatalf("%q became %q", in, whole)
		}
	})
}

func throughLocalForm(in []byte, step int) (string, error) {
	var out strings.Builder
	l := &localForm{event: Filter, to: &out}
	for chunk := range slices.Chunk(in, step) {
		if _, err := l.Write(chunk); err != nil {
			return "", err
		}
	}
	err := l.close()
	return out.String(), err
}

// FuzzFirstLine: what goes to a peer is one printable line that is not too long.
func FuzzFirstLine(f *testing.F) {
	for _, s := range []string{"", "5.7.1 no\n250 ok", "\r\n\r\n x", "\xff\x00", "ü", "5.7.1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		err := judgeExit(77, firstLine(in))
		text, status := mail.TextOf(err), mail.StatusOf(err)
		if text == "" || len(text) > maxText || printable(text) != text || !status.IsPermanent() {
			t.Fatalf("%q: got %v %q", in, status, text)
		}
	})
}
