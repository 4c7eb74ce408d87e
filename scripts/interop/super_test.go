//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// superServer is somebody else's program that accepts connections for mailx.
type superServer struct {
	name string
	// start runs a verb of mailx behind a free port.
	start func(t *testing.T, w *world, verb string) (addr string, pid int)
	stays bool // one mailx serves all connections
}

func superServers() []superServer {
	return []superServer{
		{name: "tcpserver", start: startTCPServer},
		{name: "tcpsvd", start: startTCPSvd},
		{name: "systemd-socket-activate", start: startActivate(nil, nil), stays: true},
		{name: "systemd-socket-activate --accept --inetd", start: startActivate([]string{"--accept", "--inetd"}, []string{"--inetd"})},
		{name: "systemd-socket-activate --accept", start: startActivate([]string{"--accept"}, []string{"--inetd"})},
		{name: "systemd-socket-activate --fdname", start: startActivateByName, stays: true},
		{name: "inetd", start: startInetd("inetd", "-d")},
		{name: "inetutils-inetd", start: startInetd("inetutils-inetd", "-d", "--pidfile=$dir/pid")},
		{name: "xinetd", start: startXinetd},
	}
}

func startTCPServer(t *testing.T, w *world, verb string) (string, int) {
	program := peer(t, "tcpserver")
	return startPeerProcess(t, w.environ(), func(port string) []string {
		return []string{program, "-HRl0", "127.0.0.1", port, w.bin, verb, "--inetd"}
	})
}

func startTCPSvd(t *testing.T, w *world, verb string) (string, int) {
	program := peer(t, "tcpsvd")
	return startPeerProcess(t, w.environ(), func(port string) []string {
		return []string{program, "-c", "100", "-l", "localhost", "127.0.0.1", port, w.bin, verb, "--inetd"}
	})
}

// startActivate gives socket activation with options of it, and of mailx.
func startActivate(before, after []string) func(*testing.T, *world, string) (string, int) {
	return func(t *testing.T, w *world, verb string) (string, int) {
		program := peer(t, "systemd-socket-activate")
		return startPeerProcess(t, w.environ(), func(port string) []string {
			args := append([]string{program, "--listen", "127.0.0.1:" + port}, before...)
			for _, entry := range w.environ() {
				args = append(args, "--setenv="+entry)
			}
			return append(append(args, w.bin, verb), after...)
		})
	}
}

// startActivateByName passes a socket with the name of its role to the process for all roles.
func startActivateByName(t *testing.T, w *world, verb string) (string, int) {
	program := peer(t, "systemd-socket-activate")
	return startPeerProcess(t, w.environ(), func(port string) []string {
		args := []string{program, "--listen", "127.0.0.1:" + port, "--fdname", strings.TrimPrefix(verb, "serve-")}
		for _, entry := range w.environ() {
			args = append(args, "--setenv="+entry)
		}
		return append(args, w.bin, "serve")
	})
}

// wrapper is a script that runs a verb of mailx in its environment, for programs that have too little room for that.
func (w *world) wrapper(t *testing.T, verb string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	for _, entry := range w.environ() {
		name, value, _ := strings.Cut(entry, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	fmt.Fprintf(&b, "exec '%s' %s --inetd\n", w.bin, verb)
	path := writeFile(t, t.TempDir(), "mailx", b.String())
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// ownName is the user who runs the tests, as the configuration of inetd wants it.
func ownName(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("inetd has to be started by root")
	}
	return "root"
}

// startInetd gives an inetd that stays in the foreground by its options. "$dir" in them is a directory of its own.
func startInetd(name string, options ...string) func(*testing.T, *world, string) (string, int) {
	return func(t *testing.T, w *world, verb string) (string, int) {
		program, owner, dir, script := peer(t, name), ownName(t), t.TempDir(), w.wrapper(t, verb)
		return startPeerProcess(t, nil, func(port string) []string {
			line := fmt.Sprintf("127.0.0.1:%s stream tcp nowait.100000 %s %s mailx\n", port, owner, script)
			args := []string{program}
			for _, option := range options {
				args = append(args, strings.ReplaceAll(option, "$dir", dir))
			}
			return append(args, writeFile(t, dir, "inetd.conf", line))
		})
	}
}

func startXinetd(t *testing.T, w *world, verb string) (string, int) {
	program, owner, dir, script := peer(t, "xinetd"), ownName(t), t.TempDir(), w.wrapper(t, verb)
	return startPeerProcess(t, nil, func(port string) []string {
		config := fmt.Sprintf(`defaults
{
	instances = UNLIMITED
	per_source = UNLIMITED
	cps = 10000 1
}
service mailx
{
	type = UNLISTED
	socket_type = stream
	protocol = tcp
	wait = no
	bind = 127.0.0.1
	port = %s
	user = %s
	server = %s
}
`, port, owner, script)
		return []string{program, "-dontfork", "-stayalive", "-pidfile", filepath.Join(dir, "pid"), "-filelog", filepath.Join(dir, "log"),
			"-f", writeFile(t, dir, "xinetd.conf", config)}
	})
}

// TestSuperServers delivers by three clients and collects by POP3 and IMAP, through each of them; then has them carry some
// load.
func TestSuperServers(t *testing.T) {
	for _, s := range superServers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "MAILX_SMTP_MAX_MESSAGES=100000")
			addr, pid := s.start(t, w, "serve-smtp")
			for _, c := range []client{
				{name: "curl", with: "ESMTP", send: curlClient()},
				{name: "curl STARTTLS AUTH", with: "ESMTPSA", send: curlClient("--ssl-reqd", "--user", user+":"+secret)},
				{name: "swaks", with: "ESMTP", send: swaksClient(), adds: true},
			} {
				t.Run(c.name, func(t *testing.T) { handOver(t, w, addr, c, letters()[1]) })
			}
			checkLoad(t, w, addr)
			if !s.stays {
				waitChildless(t, pid)
			}
			clear(t, w.mailbox(user))
			deliver(t, addr, sender, rcpt, mail(3))
			checkCollect(t, w, s)
		})
	}
}

// checkLoad sends 200 messages, each over a connection of its own, ten at once.
func checkLoad(t *testing.T, w *world, addr string) {
	t.Helper()
	source := peer(t, "smtp-source")
	clear(t, w.mailbox(user))
	job{args: []string{source, "-s", "10", "-m", "200", "-l", "1000", "-M", "client.example.net", "-f", sender, "-t", rcpt, addr},
		dir: t.TempDir()}.run(t).must(t, 0)
	if n := len(messages(t, w.mailbox(user))); n != 200 {
		t.Errorf("%d messages, want 200", n)
	}
}

// checkCollect reads all mail by POP3 and by IMAP, with TLS.
func checkCollect(t *testing.T, w *world, s superServer) {
	t.Helper()
	curl := peer(t, "curl")
	pop, _ := s.start(t, w, "serve-pop3")
	imap, _ := s.start(t, w, "serve-imap")
	for i, text := range messages(t, w.mailbox(user)) {
		for _, url := range []string{"pop3://" + pop + "/" + strconv.Itoa(i+1), "imap://" + imap + "/INBOX;MAILINDEX=" + strconv.Itoa(i+1)} {
			got := job{args: []string{curl, "-sS", "--noproxy", "*", "--ssl-reqd", "--cacert", w.caFile, "--user", user + ":" + secret, url},
				dir: t.TempDir()}.run(t).must(t, 0)
			diff(t, got, crlf(text))
		}
	}
}

// waitChildless waits until a super-server has no processes any more, neither running nor dead.
func waitChildless(t *testing.T, pid int) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = children(t, pid); len(left) == 0 {
			return
		}
	}
	t.Errorf("processes left: %q", left)
}

// children are the processes of a process, as their lines of /proc/PID/stat.
func children(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		t.Skip("there is no /proc")
	}
	var all []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:]) // state, parent, …: proc(5)
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(pid) {
			all = append(all, string(data))
		}
	}
	return all
}

// TestActivateUnix passes a unix socket to serve-lmtp.
func TestActivateUnix(t *testing.T) {
	t.Parallel()
	program, w := peer(t, "systemd-socket-activate"), newWorld(t)
	path := filepath.Join(nobodysDir(t), "lmtp")
	// startPeer waits for a port, so there is one besides
	startPeer(t, w.environ(), func(port string) []string {
		args := []string{program, "--listen", path, "--listen", "127.0.0.1:" + port}
		for _, entry := range w.environ() {
			args = append(args, "--setenv="+entry)
		}
		return append(args, w.bin, "serve-lmtp")
	})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sendLMTP(conn, letters()[1].text, rcpt); err != nil {
		t.Fatal(err)
	}
	checkStored(t, takeOne(t, w.mailbox(user)), sender, letters()[1].text)
}
