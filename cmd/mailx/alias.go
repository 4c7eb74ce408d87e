package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"mailx/pkg/delivery"
)

func newAlias(e *env) *cli.Command {
	return &cli.Command{
		Name:  "alias",
		Usage: "check the files of aliases",
		Subcommands: []*cli.Command{
			{Name: "check", Usage: "tell all that is wrong with the files of aliases", ArgsUsage: "[file]",
				Flags: []cli.Flag{&cli.BoolFlag{Name: "virtual", Usage: "the file has virtual aliases"}, jsonFlag()},
				Action: func(c *cli.Context) error {
					return e.aliasCheck(c.Args().Slice(), c.Bool("virtual"), c.Bool("json"))
				}},
		},
	}
}

// aliasCheck prints a problem a line: those of the configured files, or of one that may take the place of one of them.
func (e *env) aliasCheck(words []string, isVirtual, asJSON bool) error {
	sys, err := e.system()
	if err != nil {
		return err
	}
	router := sys.names(sys.localUsers())
	switch {
	case len(words) > 1:
		return usagef("one file at a time")
	case len(words) == 0 && isVirtual:
		return usagef("--virtual says what is in a file: which one?")
	case len(words) == 1 && !exists(words[0]):
		return exitWith(exNoInput, fmt.Errorf("%s: there is no such file", words[0]))
	case isVirtual:
		router.Virtual = delivery.NewVirtual(words[0])
	case len(words) == 1:
		router.Aliases = delivery.NewAliases(words[0])
		router.Aliases.Owner, _ = sys.spoolOwner()
	}
	var problems []delivery.Problem
	if !isVirtual {
		problems = router.CheckAliases()
	}
	if isVirtual || len(words) == 0 {
		problems = append(problems, router.CheckVirtual()...)
	}
	return e.printProblems(problems, asJSON)
}

func (e *env) printProblems(problems []delivery.Problem, asJSON bool) error {
	p := e.newPrinter([]column{{name: "file"}, {name: "line", right: true}, {name: "text", flexible: true}}, asJSON)
	for _, problem := range problems {
		if asJSON {
			p.row(problem.File, problem.Line, problem.Text)
		} else {
			p.write(escapeControl(problem.String()) + "\n")
		}
	}
	if err := p.flush(); err != nil || len(problems) == 0 {
		return err
	}
	return exitWith(exDataErr, nil)
}
