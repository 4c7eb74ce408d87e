package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/vfs"
)

func newDoctor(e *env) *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "look for what is wrong here, and say how to mend it",
		Description: "Configuration, users and aliases, certificates, the spool with its owners, the queue, leftovers and the\n" +
			"clock; or with --check one Maildir or queue alone, to the last octet. Nothing is changed.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "check", Usage: "look at the Maildir or queue `DIR` alone, with its index"},
			&cli.BoolFlag{Name: "dns", Usage: "ask the DNS about this host and its domains, too"},
			&cli.BoolFlag{Name: "messages", Usage: "read every message, and compare it with its name"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return e.doctor(c) },
	}
}

// severity of a finding: notes are no trouble.
type severity uint8

const (
	severityNote severity = iota
	severityWarning
	severityError
)

func (s severity) String() string { return [...]string{"note", "warning", "error"}[s] }

// finding is one thing that somebody should know.
type finding struct {
	severity  severity
	check     string // which of the checks has found it
	path      string // the file that it is about; "" for none
	text, fix string // fix is a command, or else what to do; "" for nothing
	code      int    // exit code, for those that are no notes
}

// doctor looks and collects.
type doctor struct {
	e    *env
	sys  *system
	cfg  *config.Config
	fs   vfs.FS // that changes nothing
	now  time.Time
	uid  int // owner of the spool, who everything there should belong to
	gid  int
	find []finding

	readsMessages bool
	asksDNS       bool
}

func (e *env) doctor(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%q is not needed here", c.Args().First())
	}
	if c.IsSet("check") && (c.Bool("dns") || c.Bool("messages")) {
		return usagef("--check looks at directories alone, with all their messages: --dns and --messages are not for it")
	}
	if slices.Contains(c.StringSlice("check"), "") {
		return usagef("--check: which directory?")
	}
	d := &doctor{e: e, now: e.now(), readsMessages: c.Bool("messages"), asksDNS: c.Bool("dns")}
	cfg, err := e.config()
	var wrong config.Errors
	switch {
	case errors.As(err, &wrong):
		d.configErrors(wrong)
	case err != nil:
		return err
	default:
		d.cfg, d.sys, d.fs = cfg, e.newSystem(cfg), unchanged{vfs.OS()}
		d.uid, d.gid = d.sys.spoolOwner()
		if dirs := c.StringSlice("check"); len(dirs) > 0 {
			d.checkDirs(c.Context, dirs)
			break
		}
		d.all(c.Context)
	}
	return d.report(c.Bool("json"))
}

// all checks what there is, in the order in which things depend on each other.
func (d *doctor) all(ctx context.Context) {
	began := time.Now()
	d.configErrors(d.cfg.Check(d.now))
	d.people()
	d.certificates()
	if d.spool() {
		d.files(ctx)
		d.mailboxes(ctx)
		d.queue(ctx)
	}
	if d.asksDNS {
		d.names(ctx)
	}
	d.clock(began)
}

func (d *doctor) add(f finding) { d.find = append(d.find, f) }

// report prints what was found, the worst first, whose exit code is that of the command. Nothing is said of what is well.
func (d *doctor) report(asJSON bool) error {
	slices.SortStableFunc(d.find, func(a, b finding) int { return int(b.severity) - int(a.severity) })
	p := d.e.newPrinter([]column{{name: "severity"}, {name: "check"}, {name: "text"}, {name: "fix"}, {name: "path"}}, asJSON)
	for _, f := range d.find {
		switch p.form {
		case formTerminal:
			p.write(fmt.Sprintf("%s: %s: %s\n", f.severity, f.check, escapeControl(f.text)))
			if f.fix != "" {
				p.write("    fix: " + escapeControl(f.fix) + "\n")
			}
		case formPipe:
			p.write(strings.Join([]string{f.severity.String(), f.check, escapeControl(f.text), escapeControl(f.fix)}, "\t") + "\n")
		default:
			p.row(f.severity.String(), f.check, f.text, f.fix, f.path)
		}
	}
	err := p.flush()
	if len(d.find) > 0 && d.find[0].severity > severityNote {
		err = errors.Join(exitWith(d.find[0].code, nil), err)
	}
	return err
}

// command is one of ours, for the spool and configuration that this one was told of.
func (d *doctor) command(words ...string) string {
	all := append([]string{"mailx"}, words...)
	if d.e.configFile != "" {
		all = append(all, "--config", shellWord(d.e.configFile))
	}
	for _, s := range d.e.settings {
		if s.Origin == "--spool" {
			all = append(all, "--spool", shellWord(s.Values[len(s.Values)-1]))
		}
	}
	return strings.Join(all, " ")
}

// shellWord quotes what a shell would not leave alone.
func shellWord(s string) string {
	isSafe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+@%,:=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !isSafe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shown is how many things of a kind are told one by one.
const shown = 5

// each adds a finding for each of the first paths, and one for the rest.
func (d *doctor) each(paths []string, f finding, text func(path string) string, fix func(path string) string) {
	for _, name := range paths[:min(len(paths), shown)] {
		f.path, f.text, f.fix = name, text(name), fix(name)
		d.add(f)
	}
	if more := len(paths) - shown; more > 0 {
		f.path, f.text, f.fix = "", fmt.Sprintf("the same with %d more", more), ""
		d.add(f)
	}
}
