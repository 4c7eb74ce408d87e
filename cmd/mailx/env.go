package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/session"
)

// streams are the three descriptors that a process is born with.
type streams struct{ in, out, err *os.File }

// env is what every command gets. Data goes to stdout, notes and errors to stderr; the outcome is the returned error.
//
// A write to a stdout or stderr that nobody reads ends the process with SIGPIPE, as everywhere in Unix.
type env struct {
	stdin, stdout, stderr *os.File
	verb                  string // "queue list", for messages
	now                   func() time.Time

	configFile string            // --config
	settings   []config.Setting  // keys set by flags
	keyFlags   map[string]string // flag name to configuration key
	cfg        *config.Config
}

func newEnv(s streams) *env {
	return &env{stdin: s.in, stdout: s.out, stderr: s.err, now: time.Now}
}

// The three streams are asked one by one: `mailx list | less` has a terminal behind stderr and stdin only.

func (e *env) stdinIsTerminal() bool  { return isatty.IsTerminal(e.stdin.Fd()) }
func (e *env) stdoutIsTerminal() bool { return isatty.IsTerminal(e.stdout.Fd()) }
func (e *env) stderrIsTerminal() bool { return isatty.IsTerminal(e.stderr.Fd()) }

// input is stdin, which ends once: a terminal would take Ctrl-D for an end each time it is read.
func (e *env) input() io.Reader { return &onceEnded{r: e.stdin} }

type onceEnded struct {
	r   io.Reader
	err error
}

func (o *onceEnded) Read(p []byte) (n int, err error) {
	if o.err != nil {
		return 0, o.err
	}
	n, o.err = o.r.Read(p)
	return n, o.err
}

// mayPrompt reports that there is a person to be asked: both stdin and stderr are terminals.
func (e *env) mayPrompt() bool { return e.stdinIsTerminal() && e.stderrIsTerminal() }

// note tells people something on stderr: "mailx send: text". Control characters are escaped.
func (e *env) note(format string, args ...any) {
	fmt.Fprintf(e.stderr, "%s: %s\n", e.prefix(), escapeControl(fmt.Sprintf(format, args...)))
}

func (e *env) prefix() string {
	if e.verb == "" {
		return "mailx"
	}
	return "mailx " + e.verb
}

// report prints an error, a line of stderr for each of its lines, and gives the exit code for it.
func (e *env) report(err error) int {
	code := exitCode(err)
	if err == nil || isSilent(err) {
		return code
	}
	text := strings.Trim(err.Error(), "\n") // errors without a text may be joined with others
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	if code == exUsage {
		text = strings.TrimSuffix(text, ".") + ". Try '" + e.prefix() + " --help'"
		text = strings.Replace(text, "?. Try", "? Try", 1)
	}
	for line := range strings.SplitSeq(text, "\n") {
		e.note("%s", line)
	}
	return code
}

// config gives the configuration of this run, read once. Errors are config.Errors.
func (e *env) config() (*config.Config, error) {
	if e.cfg != nil {
		return e.cfg, nil
	}
	if err := session.CheckDescriptors(); err != nil { // before the first file is opened: see there
		return nil, err
	}
	cfg, err := config.Load(e.sources())
	if err != nil {
		return cfg, err
	}
	e.cfg = cfg
	return cfg, nil
}

func (e *env) sources() config.Sources {
	src := config.Standard()
	src.Flags = e.settings
	if e.configFile != "" {
		src.File = e.configFile
	}
	return src
}

// store gives the configuration after looking at the spool: what a command wants that reads or writes mail.
func (e *env) store() (*config.Config, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	return cfg, cfg.CheckSpool()
}

// sameSignal is how long after a signal another one is taken for the same: timeout(1) sends its signal to the process and then to
// its group, and a terminal sends Ctrl-C to a process and to the script around it, which may pass it on.
const sameSignal = 300 * time.Millisecond

// untilSignal gives a context that ends at the first SIGINT or SIGTERM, see endings; the second one kills. For commands that have
// something to finish first. All others die at the first one, which the spool survives.
func (e *env) untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	return untilSignalOf(parent, sameSignal)
}

// untilSignalOf is untilSignal where the first signal may come again for so long.
func untilSignalOf(parent context.Context, long time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, endings()...)
	context.AfterFunc(ctx, func() { time.AfterFunc(long, stop) })
	return ctx, stop
}

// version is that of the module, or the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// globalCategory is the heading of the flags that every command takes.
const globalCategory = "Options of every command:"

// globalFlags stand before or after the verb.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "read `FILE` instead of the usual configuration", Category: globalCategory},
		&cli.StringFlag{Name: "spool", Usage: "use the mail and queue under `DIR`", Category: globalCategory},
		&cli.StringSliceFlag{Name: "set", Usage: "set a configuration key: `KEY=VALUE`", Category: globalCategory},
		&cli.StringFlag{Name: "log-level", Usage: "log from `LEVEL` up: debug, info, warn or error", Category: globalCategory},
	}
}

// leadingOptions are the options that may stand in front of a verb.
func leadingOptions() optionSet {
	set := optionsOf(append(globalFlags(), cli.HelpFlag, jsonFlag()))
	set["version"] = option{name: "version"}
	return set
}

// jsonFlag is for every verb that prints records.
func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print a JSON object a line"}
}

// keyFlag is a flag that sets a configuration key, with nothing to do in the verb: e.config() has it. It takes what
// --set takes, and may be repeated where the key is a list.
func (e *env) keyFlag(name, key, usage string) cli.Flag {
	if e.keyFlags == nil {
		e.keyFlags = map[string]string{}
	}
	e.keyFlags[name] = key
	return &cli.StringFlag{Name: name, Usage: usage}
}

// takeSettings collects the configuration that was given by canonical options. A key that is given several times by
// the same option collects its values, for lists.
func (e *env) takeSettings(options []string) error {
	for _, o := range options {
		name, value, _ := strings.Cut(strings.TrimPrefix(o, "--"), "=")
		switch key := e.keyFlags[name]; {
		case key != "":
			e.set(key, value, "--"+name)
		case name == "config":
			e.configFile = value
		case name == "spool":
			e.set("spool", value, "--spool")
		case name == "log-level":
			e.set("log.level", value, "--log-level")
		case name == "set":
			key, value, ok := strings.Cut(value, "=")
			if !ok {
				return usagef("--set wants KEY=VALUE, not %q", key)
			}
			e.set(key, value, "--set")
		}
	}
	return nil
}

func (e *env) set(key, value, origin string) {
	for i, s := range e.settings {
		if s.Key == key && s.Origin == origin {
			e.settings[i].Values = append(s.Values, value)
			return
		}
	}
	e.settings = append(e.settings, config.Setting{Key: key, Values: []string{value}, Origin: origin})
}
