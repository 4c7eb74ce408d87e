package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// run is the whole program: it gives the exit code.
func run(args []string, s streams) (code int) {
	e := newEnv(s)
	defer func() {
		if bug := recover(); bug != nil {
			code = e.report(&bugError{bug, debug.Stack()})
		}
	}()
	return e.report(e.dispatch(args))
}

// dispatch finds the command in argv and runs it.
func (e *env) dispatch(argv []string) error {
	args, err := personality(argv)
	if err != nil {
		return err
	}
	line, err := cutAtWord(args, leadingOptions())
	switch {
	case err != nil:
		return err
	case line.has("version"):
		_, err := fmt.Fprintln(e.stdout, "mailx", version())
		return err
	case len(line.rest) == 0 && line.has("help"), len(line.rest) == 1 && line.rest[0] == "help":
		return e.overview()
	case len(line.rest) == 0 || line.rest[0] == "--":
		return usagef("which command?")
	}
	v, ok := findVerb(line.rest[0])
	if !ok {
		return unknownVerb(line.rest[0])
	}
	e.verb = v.name
	return e.invoke(v.build(e), line.options, line.rest[1:])
}

func findVerb(name string) (verb, bool) {
	all := verbs()
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == name })
	if i < 0 {
		return verb{}, false
	}
	return all[i], true
}

func unknownVerb(name string) error {
	for _, v := range verbs() {
		if len(name) > 2 && (strings.HasPrefix(v.name, name) || distanceOne(v.name, name)) {
			return usagef("unknown command %q; did you mean %s?", name, v.name)
		}
	}
	return usagef("unknown command %q", name)
}

// distanceOne reports that one letter is missing, added, wrong, or changed places with its neighbour.
func distanceOne(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	swapped := len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
	return swapped || len(a) <= 1 && len(b) <= 1
}

// invoke walks down the subcommands and runs the leaf. options are those that stood in front of the verb.
func (e *env) invoke(top *cli.Command, options, args []string) error {
	harden(top)
	leaf, path := top, []string{top.Name}
	for len(leaf.Subcommands) > 0 {
		line, err := cutAtWord(args, leadingOptions())
		switch {
		case err != nil:
			return err
		case len(line.rest) == 0 && (line.has("help") || slices.Contains(options, "--help")):
			return e.runApp(top, append(path, "--help"))
		case len(line.rest) == 0:
			return usagef("which of %s?", strings.Join(commandNames(leaf), ", "))
		}
		sub := leaf.Command(line.rest[0])
		if sub == nil {
			return usagef("unknown command %q; there are %s", line.rest[0], strings.Join(commandNames(leaf), ", "))
		}
		options, args = append(options, line.options...), line.rest[1:]
		leaf, path = sub, append(path, sub.Name)
		e.verb += " " + sub.Name
	}
	if leaf.SkipFlagParsing {
		if err := e.takeSettings(options); err != nil {
			return err
		}
		return e.runApp(top, append(path, args...))
	}
	return e.runLeaf(top, leaf, path, append(slices.Clone(options), args...))
}

func commandNames(c *cli.Command) []string {
	var names []string
	for _, sub := range c.Subcommands {
		names = append(names, sub.Name)
	}
	return names
}

// runLeaf gives the framework a command line that it cannot misread.
func (e *env) runLeaf(top, leaf *cli.Command, path, args []string) error {
	leaf.Flags = append(leaf.Flags, globalFlags()...)
	line, err := permute(args, optionsOf(append(leaf.Flags, cli.HelpFlag)))
	switch {
	case err != nil:
		return err
	case line.has("help"):
		return e.runApp(top, append(path, "--help"))
	}
	if err := checkRequired(leaf, line); err != nil {
		return err
	}
	if err := e.takeSettings(line.options); err != nil {
		return err
	}
	return e.runAction(leaf, line)
}

// namesOf gives the name of a flag and its aliases, without the regular expression that f.Names runs.
func namesOf(f cli.Flag) []string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.StringSliceFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.IntFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.BoolFlag:
		return append([]string{f.Name}, f.Aliases...)
	}
	return f.Names()
}

// checkRequired does what the framework would do by printing the whole help.
func checkRequired(leaf *cli.Command, line commandLine) error {
	for _, f := range leaf.Flags {
		if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() && !line.has(namesOf(f)[0]) {
			return usagef("option --%s is needed", namesOf(f)[0])
		}
	}
	return nil
}

// harden sets on a command and all below it what keeps the framework from surprising people: no "help" argument that
// is taken for a command, no help text on usage errors, no "(default: false)" behind every switch.
func harden(c *cli.Command) {
	c.HideHelpCommand = true
	for _, f := range c.Flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true
		}
	}
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return &usageError{err.Error()} }
	for _, sub := range c.Subcommands {
		harden(sub)
	}
}

// runApp runs the framework. It neither prints errors nor exits: report does.
func (e *env) runApp(top *cli.Command, args []string) error {
	app, out := e.app(), &stickyWriter{w: e.stdout}
	app.Commands, app.Writer = []*cli.Command{top}, out
	return cmp.Or(app.RunContext(context.Background(), append([]string{"mailx"}, args...)), out.err)
}

// app is the framework, hardened, without commands.
func (e *env) app() *cli.App {
	return &cli.App{
		Name:                      "mailx",
		Usage:                     "mail on the command line",
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Reader:                    e.stdin,
		ErrWriter:                 e.stderr,
		Compiled:                  e.now(),
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return &usageError{err.Error()} },
	}
}

// overview is `mailx --help`: made from the table, without building any command.
func (e *env) overview() error {
	var b strings.Builder
	b.WriteString("mailx: mail on the command line\n\nUsage: mailx [options] command [options] [arguments]\n")
	b.WriteString("       mailx -s subject [options] address ... < body\n\nCommands:\n")
	for _, v := range verbs() {
		fmt.Fprintf(&b, "  %-14s %s\n", v.name, v.summary)
	}
	b.WriteString("\nOptions of every command:\n")
	for _, f := range append(globalFlags(), cli.HelpFlag) {
		names, usage, _ := strings.Cut(f.String(), "\t")
		fmt.Fprintf(&b, "  %-36s %s\n", names, usage)
	}
	fmt.Fprintf(&b, "  %-36s %s\n", "--version", "print the version")
	b.WriteString("\nMore: mailx COMMAND --help, mailx man, mailx man COMMAND\n")
	_, err := e.stdout.WriteString(b.String())
	return err
}
