package mailtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestMain plays the server program of these tests when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "fake-server" {
		os.Exit(fakeServer(os.Args[2]))
	}
	os.Exit(m.Run())
}

func fakeServer(behaviour string) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 70
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println("HOME=" + os.Getenv("HOME") + " MAILX_SPOOL=" + os.Getenv("MAILX_SPOOL") + " EXTRA=" + os.Getenv("EXTRA"))
	switch behaviour {
	case "fails":
		fmt.Fprintln(os.Stderr, "mailx fake: no certificate")
		return 78
	case "port-file":
		os.WriteFile("port", []byte(l.Addr().String()+"\n"), 0o600)
	case "json":
		fmt.Fprintf(os.Stderr, "level=INFO msg=listening proto=smtp addr=%q\n", l.Addr())
	default:
		fmt.Fprintf(os.Stderr, "mailx fake: starting\nmailx fake: listening on %s, loopback only\n", l.Addr())
	}
	<-term
	return 3
}

func TestStart(t *testing.T) {
	CheckLeaks(t)
	for _, behaviour := range []string{"text", "json", "port-file"} {
		home := t.TempDir()
		c := Command{Bin: os.Args[0], Args: []string{"fake-server", behaviour}, Home: home, Env: []string{"EXTRA=1"}, Ready: "listening"}
		if behaviour == "port-file" {
			c.Ready, c.PortFile = "", filepath.Join(home, "port")
		}
		p := c.Start(t)
		DialTCP(p.Addr())(t).Close()
		if code := p.Stop(); code != 3 {
			t.Errorf("%s: exit code %d, want 3", behaviour, code)
		}
		if want := "HOME=" + home + " MAILX_SPOOL=" + p.Spool + " EXTRA=1\n"; p.Stdout() != want {
			t.Errorf("%s: stdout %q, want %q", behaviour, p.Stdout(), want)
		}
	}
	if p := Start(t, os.Args[0], "fake-server", "text"); !strings.Contains(p.Stderr(), "listening on 127.0.0.1:") {
		t.Errorf("stderr %q", p.Stderr())
	}
	p := Start(t, os.Args[0], "fake-server", "text")
	if p.Kill(); p.Wait() != -1 {
		t.Errorf("exit code %d after SIGKILL", p.Wait())
	}
}

func TestStartFailureShows(t *testing.T) {
	got := record(t, func(t testing.TB) { Start(t, os.Args[0], "fake-server", "fails") })
	if !strings.Contains(got, "fake-server fails: ended with exit code 78 before it was ready") {
		t.Errorf("the test says %q", got)
	}
	got = record(t, func(t testing.TB) {
		Command{Bin: os.Args[0], Args: []string{"fake-server", "text"}}.Start(t).Addr()
	})
	if !strings.Contains(got, "has not said where it listens") {
		t.Errorf("the test says %q", got)
	}
}

func TestAddressIn(t *testing.T) {
	for line, want := range map[string]string{
		"listening on 127.0.0.1:25":        "127.0.0.1:25",
		"smtp: listening on [::1]:25, tls": "[::1]:25",
		`msg=listening addr="[::1]:25"`:    "[::1]:25",
		"listening on 127.0.0.1":           "",
		"at 10:25 listening":               "",
		"":                                 "",
	} {
		if got := addressIn(line); got != want {
			t.Errorf("addressIn(%q) = %q, want %q", line, got, want)
		}
	}
}

func TestEnvIsolates(t *testing.T) {
	t.Setenv("MAILX_CONFIG", "/etc/passwd")
	env := Env("/h", "TZ=Europe/Rome")
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "MAILX_CONFIG") }) ||
		!slices.Contains(env, "MAILX_SPOOL=/h/spool") || env[len(env)-1] != "TZ=Europe/Rome" {
		t.Errorf("environment %q", env)
	}
}

func TestBinaryFromEnvironment(t *testing.T) {
	t.Setenv("MAILX_BINARY", "some/mailx")
	if got := Binary(t); !filepath.IsAbs(got) || !strings.HasSuffix(got, "/some/mailx") {
		t.Errorf("Binary = %q", got)
	}
}

// The build is tried on a module of its own, so that this test does not depend on the state of cmd/mailx.
func TestBuildBinary(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	if out, err := exec.Command("go", "env", "GOCACHE").Output(); err == nil {
		t.Setenv("GOCACHE", strings.TrimSpace(string(out)))
	}
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("GOFLAGS", "")
	program := "package main\n\nfunc main() { println(\"tiny\") }\n"
	must(t, os.MkdirAll(filepath.Join(dir, "cmd", "mailx"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module tiny\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "cmd", "mailx", "main.go"), []byte(program), 0o600))
	t.Chdir(filepath.Join(dir, "cmd"))
	one, err := buildBinary()
	must(t, err)
	two, err := buildBinary()
	must(t, err)
	out, err := exec.Command(one).CombinedOutput()
	if string(out) != "tiny\n" || err != nil || one != two {
		t.Errorf("%s and %s say %q, %v", one, two, out, err)
	}
	files, _ := filepath.Glob(filepath.Join(cache, "mailx-test", "*"))
	if len(files) != 1 {
		t.Errorf("left in the cache: %q", files)
	}
	must(t, os.WriteFile("mailx/main.go", []byte("package main\n\nfunc main() { oops }\n"), 0o600))
	if _, err := buildBinary(); err == nil || !strings.Contains(err.Error(), "undefined: oops") {
		t.Errorf("a program that does not compile: %v", err)
	}
}
