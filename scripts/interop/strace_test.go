//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// call is a system call of a trace. It began and ended at these lines.
type call struct {
	text       string // without the number of the thread
	begin, end int
	failed     bool
}

// strace runs a program under strace and gives its calls.
func strace(t *testing.T, j job) []call {
	t.Helper()
	program, file := peer(t, "strace"), filepath.Join(t.TempDir(), "trace")
	const calls = "openat,write,writev,pwrite64,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,link,linkat,close,sendto,unlink,unlinkat"
	if r := (job{args: []string{program, "-o", os.DevNull, "true"}, dir: t.TempDir()}).run(t); r.code != 0 {
		t.Skipf("strace does not work here: %s", r.stderr)
	}
	j.args = append([]string{program, "-f", "-y", "-s", "64", "-o", file, "-e", "trace=" + calls}, j.args...)
	j.run(t).must(t, 0)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parseTrace(string(data))
}

// parseTrace reads the lines of strace -f, where a call that others interrupt stands on two.
func parseTrace(text string) []call {
	var calls []call
	open := map[string]int{} // by thread
	for n, line := range strings.Split(text, "\n") {
		thread, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch resumed := regexp.MustCompile(`^<\.\.\. \w+ resumed>`).FindString(rest); {
		case resumed != "":
			c := &calls[open[thread]]
			c.text, c.end = c.text+rest[len(resumed):], n
		case strings.HasSuffix(rest, " <unfinished ...>"):
			open[thread] = len(calls)
			calls = append(calls, call{text: strings.TrimSuffix(rest, " <unfinished ...>"), begin: n, end: n})
		default:
			calls = append(calls, call{text: rest, begin: n, end: n})
		}
	}
	for i := range calls {
		calls[i].failed = strings.Contains(calls[i].text, " = -1 ")
	}
	return calls
}

// checkOrder wants calls that match, each beginning after the one before has ended. It takes the first match of the first,
// the next one after that of the second, and so on; nothing that matches the last may come before.
func checkOrder(t *testing.T, calls []call, patterns ...string) {
	t.Helper()
	after := -1
	for i, pattern := range patterns {
		re := regexp.MustCompile(pattern)
		at := slices.IndexFunc(calls, func(c call) bool { return !c.failed && c.begin > after && re.MatchString(c.text) })
		if at < 0 {
			t.Errorf("no %s after line %d", pattern, after+1)
			break
		}
		after = calls[at].end
		if i == len(patterns)-1 && slices.IndexFunc(calls, func(c call) bool { return re.MatchString(c.text) }) != at {
			t.Errorf("%s comes earlier too", pattern)
		}
	}
	if t.Failed() {
		for _, c := range calls {
			t.Logf("%d-%d %s", c.begin+1, c.end+1, c.text)
		}
	}
}

// durable is the order that makes a message in a Maildir durable, and then a last call.
func durable(dir, last string) []string {
	dir = regexp.QuoteMeta(dir)
	return []string{
		`^openat\(.*` + dir + `/tmp/[^"]*", O_RDWR\|O_CREAT\|O_EXCL.*O_NOFOLLOW.*0600\)`,
		`^write\(\d+<` + dir + `/tmp/.*for the disk`,
		`^f(data)?sync\(\d+<` + dir + `/tmp/`,
		`^close\(\d+<` + dir + `/tmp/`,
		`^(renameat2|linkat)\(.*` + dir + `/tmp/.*` + dir + `/new/[^"]*"`,
		`^fsync\(\d+<` + dir + `/new>`,
		last,
	}
}

// TestStraceDelivery: data synced, linked, directory synced, and only then 250.
func TestStraceDelivery(t *testing.T) {
	const reply = `^(write\(1<.*, |sendto\(.*, )"250 2\.\d\.\d .*accepted`
	for name, to := range map[string]string{"mail/bob": rcpt, "queue": "carol@example.com"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "MAILX_SMTP_RELAY_NETWORKS=192.0.2.0/24", "TCPREMOTEIP=192.0.2.1")
			session := "EHLO x\r\nMAIL FROM:<" + sender + ">\r\nRCPT TO:<" + to + ">\r\nDATA\r\n" +
				"for the disk\r\n" + strings.Repeat("more\r\n", 10) + ".\r\nQUIT\r\n"
			calls := strace(t, job{args: []string{w.bin, "serve-smtp", "--inetd"}, stdin: session, env: w.environ(), dir: w.home})
			pattern := durable(filepath.Join(w.spool, name), reply)
			pattern[1] = strings.Replace(pattern[1], ".*for the disk", "", 1) // the trace fields come first
			checkOrder(t, calls, pattern...)
			for _, c := range calls { // nothing is written after the sync
				if strings.HasPrefix(c.text, "write(") && strings.Contains(c.text, "/new/") {
					t.Errorf("written in new/: %s", c.text)
				}
			}
		})
	}
}
