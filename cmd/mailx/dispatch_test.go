package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mail"
)

// sample is a command that says what it got.
func sample(e *env, got *string) *cli.Command {
	show := func(c *cli.Context) error {
		*got = fmt.Sprintf("to=%q s=%q i=%v max=%d args=%q", c.StringSlice("to"), c.String("subject"), c.Bool("ignore"),
			c.Int("max"), c.Args().Slice())
		return nil
	}
	return &cli.Command{
		Name: "sample",
		Subcommands: []*cli.Command{
			{Name: "leaf", Flags: someFlags(), Action: show},
			{Name: "raw", SkipFlagParsing: true, Action: show},
			{Name: "needs", Flags: []cli.Flag{&cli.StringFlag{Name: "what", Required: true}}, Action: show},
			{Name: "listen", Flags: []cli.Flag{e.keyFlag("listen", "smtp.listen", "listen on `ADDR`")}, Action: func(*cli.Context) error {
				cfg, err := e.config()
				*got = fmt.Sprintln(cfg.SMTP.Listen, cfg.Origin("smtp.listen"), cfg.Spool, e.settings)
				return err
			}},
			{Name: "exit", Action: func(*cli.Context) error { return fmt.Errorf("a: %w", cli.Exit("b", 99)) }},
			{Name: "child", Action: func(*cli.Context) error { return exec.Command("sh", "-c", "exit 3").Run() }},
			{Name: "refused", Action: func(*cli.Context) error { return mail.Permanentf(1, 1, "No such user") }},
		},
	}
}

func TestInvoke(t *testing.T) {
	for _, tt := range []struct{ args, want string }{ // words are separated by |
		{"leaf|u@x|-s|hi", `to=[] s="hi" i=false max=0 args=["u@x"]`},
		{"leaf|-ishello|u@x|help", `to=[] s="hello" i=true max=0 args=["u@x" "help"]`},
		{"leaf|--to|Doe, John <j@x>|-t|b", `to=["Doe, John <j@x>" "b"] s="" i=false max=0 args=[]`},
		{"leaf|--to|\xff,b|--to=|-t|slc", `to=["\xff,b" "" "slc"] s="" i=false max=0 args=[]`},
		{"leaf|--|-s|--help", `to=[] s="" i=false max=0 args=["-s" "--help"]`},
		{"leaf|-s|a|--subject|b", `to=[] s="b" i=false max=0 args=[]`},
		{"leaf|--max|x", `64 invalid value "x" for option --max: a whole number is wanted`},
		{"leaf|leaf", `to=[] s="" i=false max=0 args=["leaf"]`},
		{"raw|-bs|-oi|--|-x|--spool", `to=[] s="" i=false max=0 args=["-bs" "-oi" "--" "-x" "--spool"]`},
		{"needs", "64 option --what is needed"},
		{"needs|--what=1", `to=[] s="" i=false max=0 args=[]`},
		{"refused", "67 5.1.1 No such user"},
		{"child", "75 exit status 3"},
		{"exit", "75 a: b"},
	} {
		e, got := testEnv(), ""
		if err := e.invoke(sample(e, &got), nil, strings.Split(tt.args, "|")); err != nil {
			got = fmt.Sprint(exitCode(err), " ", err)
		}
		if got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.args, got, tt.want)
		}
	}
}

func TestKeyFlag(t *testing.T) {
	t.Setenv("MAILX_CONFIG", "/dev/null")
	e, got := testEnv(), ""
	err := e.invoke(sample(e, &got), []string{"--spool=/s"}, []string{"listen", "--listen", ":1", "--listen=:2"})
	if want := "[:1 :2] --listen /s [{spool [/s] --spool} {smtp.listen [:1 :2] --listen}]\n"; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// TestVerbs holds the table to its rules: every verb builds, has the name of its row, reads no environment behind the
// back of the configuration, and no option is defined twice.
func TestVerbs(t *testing.T) {
	for _, v := range verbs() {
		c := v.build(testEnv())
		if c.Name != v.name || c.Usage == "" {
			t.Errorf("%s: the command is called %q, usage %q", v.name, c.Name, c.Usage)
		}
		checkFlags(t, v.name, c)
	}
}

func checkFlags(t *testing.T, path string, c *cli.Command) {
	t.Helper()
	if len(c.Subcommands) > 0 && len(c.Flags) > 0 {
		t.Errorf("mailx %s: a command with subcommands has no flags of its own", path)
	}
	names := optionNames(append(append([]cli.Flag{}, c.Flags...), append(globalFlags(), cli.HelpFlag)...))
	slices.Sort(names)
	for i := range names[1:] {
		if names[i] == names[i+1] {
			t.Errorf("mailx %s: %s is defined twice", path, names[i])
		}
	}
	for _, f := range c.Flags {
		if d, ok := f.(cli.DocGenerationFlag); ok && len(d.GetEnvVars()) > 0 {
			t.Errorf("mailx %s: --%s reads a variable; make it a key of the configuration", path, f.Names()[0])
		}
		if len(f.Names()[0]) == 1 {
			t.Errorf("mailx %s: the first name of -%s must be the long one", path, f.Names()[0])
		}
	}
	for _, sub := range c.Subcommands {
		checkFlags(t, path+" "+sub.Name, sub)
	}
}

// TestBugIsReported: a panic is exit 70 and says what and where.
func TestBugIsReported(t *testing.T) {
	got := captured(t, func(e *env) {
		err := &bugError{"index out of range", []byte("goroutine 1\nmain.go:1\n")}
		if code := e.report(err); code != exSoftware {
			t.Errorf("exit code %d", code)
		}
	})
	if want := "mailx: bug: index out of range\nmailx: goroutine 1\nmailx: main.go:1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUntilSignal(t *testing.T) {
	ctx, stop := untilSignalOf(context.Background(), time.Hour)
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("got %v", ctx.Err())
	}
	// timeout(1) sends it twice, and that does not kill.
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got := captured(t, func(e *env) { e.report(errors.Join(errors.New("m1: trouble"), ctx.Err())) })
	if want := "mailx: m1: trouble\nmailx: interrupted\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStoreLooksAtTheSpool(t *testing.T) {
	t.Setenv("MAILX_CONFIG", "/dev/null")
	e := testEnv()
	e.set("spool", "/dev/null", "--spool")
	if _, err := e.store(); exitCode(err) != exConfig {
		t.Errorf("got %v", err)
	}
}

// TestNobodyIsAsked: a prompt needs two terminals, and a test has none.
func TestNobodyIsAsked(t *testing.T) {
	captured(t, func(e *env) {
		e.stdin = e.stderr
		if e.mayPrompt() || e.stdinIsTerminal() || e.stderrIsTerminal() {
			t.Error("a file is taken for a terminal")
		}
	})
}

func TestInitTemplate(t *testing.T) {
	text := configTemplate()
	_, table, _ := strings.Cut(text, "\n[smtp]\n")
	table, _, _ = strings.Cut(table, "\n[")
	if n := strings.Count(table, "\n#max_size"); n != 1 || strings.Contains(text, "\n#smtp.") {
		t.Errorf("smtp.max_size is there %d times, in its table\n%s", n, text)
	}
}

// declare must know every kind of flag that there is, or it would drop a value.
func TestFlagKinds(t *testing.T) {
	var check func(c *cli.Command)
	check = func(c *cli.Command) {
		for _, f := range c.Flags {
			switch f.(type) {
			case *cli.StringFlag, *cli.StringSliceFlag, *cli.IntFlag, *cli.BoolFlag:
			default:
				t.Errorf("%s --%s is a %T: teach declare and namesOf about it", c.Name, f.Names()[0], f)
			}
			if s, ok := f.(*cli.StringSliceFlag); ok && s.Value != nil {
				t.Errorf("%s --%s: a list with a default", c.Name, s.Name)
			}
		}
		for _, sub := range c.Subcommands {
			check(sub)
		}
	}
	for _, v := range verbs() {
		check(v.build(testEnv()))
	}
}
