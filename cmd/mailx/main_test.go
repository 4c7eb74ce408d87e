package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"mailx/pkg/mailtest"
)

// Scripts run the real program as `mailx`, and under the names of others, in a directory of their own with an empty home, spool and
// configuration. A new script is a new file in testdata/script; `exits N` before a command asserts its exit code:
//
//	exits 64 mailx nonsense
func TestMain(m *testing.M) {
	program := func() { os.Exit(run(os.Args, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})) }
	testscript.Main(m, map[string]func(){"mailx": program, "mail": program, "sendmail": program, "mailq": program,
		"newaliases": program, "msmtp": program, "mailx-sendmail": program})
}

func TestScripts(t *testing.T) { runScripts(t, "script") }

// TestComplaints has a script for each thing that users of other programs that send mail complain about, named for where they do.
func TestComplaints(t *testing.T) { runScripts(t, "complaint") }

func runScripts(t *testing.T, dir string) {
	dontInheritIgnored(t, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", dir),
		RequireExplicitExec: true,
		UpdateScripts:       mailtest.Updating(),
		Setup:               isolate,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "sink": sinkCommand(t), "received": receivedCommand,
			"certificate": certificateCommand(t)},
	})
}

// dontInheritIgnored has the programs that a test starts begin with the usual effect of signals, though the test itself was
// started with nohup(1) or in the background.
func dontInheritIgnored(t *testing.T, signals ...os.Signal) {
	heard := make(chan os.Signal, 1)
	for _, s := range signals {
		if signal.Ignored(s) {
			signal.Notify(heard, s)
		}
	}
	t.Cleanup(func() { signal.Stop(heard) })
}

// isolate gives a script a home of its own. The variables that configure mailx are not inherited.
func isolate(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, "home")
	for name, value := range map[string]string{
		"HOME":            home,
		"XDG_CONFIG_HOME": filepath.Join(home, "config"),
		"XDG_STATE_HOME":  filepath.Join(home, "state"),
		"MAILX_SPOOL":     filepath.Join(e.WorkDir, "spool"),
		"MAILX_CONFIG":    os.DevNull, // not what this host has in /etc/mailx
		"TZ":              "UTC",
		"TERM":            "dumb",
		"GORACE":          "atexit_sleep_ms=0", // else every process of a race build ends a second late
	} {
		e.Setenv(name, value)
	}
	e.Values[sinkKey{}] = map[string]*mailtest.Sink{}
	return os.MkdirAll(home, 0o700)
}

// exits runs a command and asserts its exit code: exits N command [args...]. Its output is there for stdout and stderr
// as after exec.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command [args...]")
	}
	err := ts.Exec("sh", append([]string{"-c", `want=$1; shift; "$@"; got=$?
if [ $got != $want ]; then echo "exit code $got, want $want" >&2; exit 1; fi`, "exits"}, args...)...)
	if err != nil {
		ts.Fatalf("%s %v: %v", args[1], args[2:], err)
	}
}
