package mailtest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builtBinary is made at most once per process. Its path is the same for the same sources.
var builtBinary = sync.OnceValues(buildBinary)

// Binary gives the path of the mailx program: $MAILX_BINARY if that is set, else ./cmd/mailx of this module, built as
// releases are (CGO_ENABLED=0, -tags urfave_cli_no_docs) on the first call of the process.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("MAILX_BINARY"); path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return abs
	}
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// buildBinary builds into a directory that all test processes of this user share, under a name that says the content,
// so that it needs no clean-up by whoever happens to end last.
func buildBinary() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := binaryDir()
	if err != nil {
		return "", err
	}
	tmp := filepath.Join(dir, fmt.Sprintf("building-%d", os.Getpid()))
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", "urfave_cli_no_docs", "-o", tmp, "./cmd/mailx")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", build.Args, err, out)
	}
	data, err := os.ReadFile(tmp)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, fmt.Sprintf("mailx-%x", sha256.Sum256(data)))
	return path, os.Rename(tmp, path)
}

// binaryDir makes the directory, and drops from it what no running test can want any more.
func binaryDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return os.MkdirTemp("", "mailx-test-")
	}
	dir := filepath.Join(cache, "mailx-test")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > 3*time.Hour {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return dir, nil
}

// moduleRoot is the directory of go.mod, at or above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod at or above the working directory")
		}
		dir = parent
	}
}

// Env is the environment of a mailx that shares nothing with the person who runs the test: HOME and the XDG directories
// are home, MAILX_SPOOL is the directory "spool" in it, and of the outer environment only PATH and the directory for
// temporary files remain. More entries, "NAME=value", come last and win.
func Env(home string, more ...string) []string {
	env := []string{
		"HOME=" + home,
		"MAILX_SPOOL=" + filepath.Join(home, "spool"),
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
		"XDG_STATE_HOME=" + filepath.Join(home, "state"),
		"XDG_CACHE_HOME=" + filepath.Join(home, "cache"),
		"PATH=" + os.Getenv("PATH"),
		"TMPDIR=" + os.TempDir(),
		"LC_ALL=C.UTF-8",
		"TZ=UTC",
		"USER=tester",
	}
	return append(env, more...)
}

// Command is a program to start as a Process.
type Command struct {
	Bin  string
	Args []string
	Home string   // "" for a new directory that goes with the test
	Env  []string // beside and before those of Env
	// Ready is what stderr has a line with once the program serves. "" waits for nothing.
	Ready string
	// PortFile is a file that the program writes once it serves, its addresses in it, one a line. It is an alternative
	// to Ready.
	PortFile string
}

// Process is a running program. It gets SIGTERM when the test ends, and SIGKILL if it does not end then.
type Process struct {
	Home  string
	Spool string
	// Addrs are the addresses that the program had named when it was ready: the "IP:port" of each line of stderr with
	// "listening" in it, or the lines of PortFile. A program with several listeners wants a Ready that comes after all.
	Addrs []string

	t      testing.TB
	cmd    *exec.Cmd
	stdout buffer
	stderr buffer
	ended  chan struct{}
	code   int
}

// Start starts a server program with an environment of its own and waits until a line with "listening" is on its
// stderr.
func Start(t testing.TB, bin string, args ...string) *Process {
	t.Helper()
	return Command{Bin: bin, Args: args, Ready: "listening"}.Start(t)
}

// ProcessTimeout is how long a program may take to be ready, or to end. What is waited for is work, not an answer: ten processes
// that share two processors with twenty others take many times as long as they do alone. Only a program that hangs meets it.
const ProcessTimeout = 2 * time.Minute

// Start starts the program and waits until it is ready.
func (c Command) Start(t testing.TB) *Process {
	t.Helper()
	if c.Home == "" {
		c.Home = t.TempDir()
	}
	p := &Process{Home: c.Home, Spool: filepath.Join(c.Home, "spool"), t: t, ended: make(chan struct{})}
	p.stderr.changed, p.stdout.changed = make(chan struct{}, 1), make(chan struct{}, 1)
	p.cmd = exec.Command(c.Bin, c.Args...)
	p.cmd.Env, p.cmd.Dir = Env(c.Home, c.Env...), c.Home
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = ProcessTimeout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.wait()
	t.Cleanup(p.cleanup)
	if err := p.awaitReady(c); err != nil {
		t.Fatalf("%s: %v", strings.Join(p.cmd.Args, " "), err)
	}
	return p
}

// Addr is the first of Addrs; the test fails if there is none.
func (p *Process) Addr() string {
	p.t.Helper()
	if len(p.Addrs) == 0 {
		p.t.Fatalf("%s has not said where it listens", strings.Join(p.cmd.Args, " "))
	}
	return p.Addrs[0]
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Stdout is what the program has written to its standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what the program has written to its standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Signal sends a signal; to a process that has ended it does nothing.
func (p *Process) Signal(sig os.Signal) { p.cmd.Process.Signal(sig) }

// Kill ends the process as a power cut would, and waits until it is gone.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// Wait waits for the end of the process and gives its exit code, -1 for a signal. After ProcessTimeout it fails the test.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.code
	case <-time.After(ProcessTimeout):
		p.t.Fatalf("%s did not end in time", strings.Join(p.cmd.Args, " "))
		return -1
	}
}

// Stop ends the process with SIGTERM and gives its exit code.
func (p *Process) Stop() int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait()
}

func (p *Process) wait() {
	p.cmd.Wait()
	p.code = p.cmd.ProcessState.ExitCode()
	close(p.ended)
}

func (p *Process) cleanup() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(ProcessTimeout):
		p.t.Errorf("%s did not end on SIGTERM", strings.Join(p.cmd.Args, " "))
		p.Kill()
	}
	if p.t.Failed() {
		p.t.Logf("stderr of %s:\n%s", strings.Join(p.cmd.Args, " "), p.Stderr())
	}
}

// awaitReady returns once the program serves, has ended, or has taken too long.
func (p *Process) awaitReady(c Command) error {
	if c.Ready == "" && c.PortFile == "" {
		return nil
	}
	timeout := time.After(ProcessTimeout)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		if addrs, ok := p.ready(c); ok {
			p.Addrs = addrs
			return nil
		}
		select {
		case <-p.ended:
			if addrs, ok := p.ready(c); ok {
				p.Addrs = addrs
				return nil
			}
			return fmt.Errorf("ended with exit code %d before it was ready", p.code)
		case <-timeout:
			return errors.New("is not ready in time")
		case <-p.stderr.changed:
		case <-poll.C:
		}
	}
}

// ready reports that the program serves, and where. A port file counts once it ends in a line end.
func (p *Process) ready(c Command) ([]string, bool) {
	if c.PortFile != "" {
		data, err := os.ReadFile(c.PortFile)
		return strings.Fields(string(data)), err == nil && bytes.HasSuffix(data, []byte("\n"))
	}
	lines := strings.Split(p.Stderr(), "\n")
	whole := lines[:len(lines)-1]
	at := slices.IndexFunc(whole, func(line string) bool { return strings.Contains(line, c.Ready) })
	if at < 0 {
		return nil, false
	}
	var addrs []string
	for _, line := range whole {
		if addr := addressIn(line); strings.Contains(line, "listening") && addr != "" {
			addrs = append(addrs, addr)
		}
	}
	return addrs, true
}

// addressIn gives the first "IP:port" of a log line, also one in name=value form.
func addressIn(line string) string {
	for _, word := range strings.Fields(line) {
		_, value, ok := strings.Cut(word, "=")
		if !ok {
			value = word
		}
		value = strings.Trim(value, `"',;()`)
		if _, err := netip.ParseAddrPort(value); err == nil {
			return value
		}
	}
	return ""
}

// buffer collects output and says when there is more of it. Safe for concurrent use.
type buffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

var _ io.Writer = (*buffer)(nil)

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
