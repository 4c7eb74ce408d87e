package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/man"
)

func newMan(e *env) *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "read the manual",
		ArgsUsage: "[command | page]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "list", Usage: "print the names of the pages"},
			&cli.StringFlag{Name: "write", Usage: "write all pages into `DIR`, for man(1)"},
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("list"):
				return e.manList()
			case c.String("write") != "":
				return manWrite(c.String("write"))
			}
			return e.manPage(c.Args().Slice())
		},
	}
}

// manPage shows a page: through man(1) on a terminal, as roff in a pipe.
func (e *env) manPage(words []string) error {
	name := "mailx"
	if len(words) > 0 {
		name = words[0] // "queue flush" is in the page of queue
	}
	page, _, ok := man.Page(name)
	if !ok {
		return usagef("no manual page for %q; there are %s", name, strings.Join(man.Names(), ", "))
	}
	if e.stdoutIsTerminal() {
		if viewer := findMan(); viewer != nil {
			return e.pipeTo(viewer, page)
		}
		e.note("neither man nor mandoc is installed: this is the source of the page")
	}
	_, err := e.stdout.Write(page)
	return err
}

// findMan is the command that formats a page from stdin and shows it with MANPAGER or PAGER; nil if there is none.
func findMan() []string {
	for _, argv := range [][]string{{"man", "-l", "-"}, {"mandoc", "-l"}} {
		if _, err := exec.LookPath(argv[0]); err == nil {
			return argv
		}
	}
	return nil
}

// pipeTo runs a program on the terminal with data as its input.
func (e *env) pipeTo(argv []string, data []byte) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), e.stdout, e.stderr
	return cmd.Run()
}

func (e *env) manList() error {
	_, err := e.stdout.WriteString(strings.Join(man.Names(), "\n") + "\n")
	return err
}

// manWrite makes dir/man1, dir/man5 and dir/man7, as under /usr/share/man.
func manWrite(dir string) error {
	for _, file := range man.Names() {
		page, _, _ := man.Page(file)
		section := dir + "/man" + file[len(file)-1:]
		if err := os.MkdirAll(section, 0o755); err != nil {
			return exitWith(exCantCreate, err)
		}
		if err := os.WriteFile(section+"/"+file, page, 0o644); err != nil {
			return exitWith(exCantCreate, err)
		}
	}
	return nil
}
