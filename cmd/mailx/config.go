package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func newConfig(e *env) *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "show and check the configuration",
		Subcommands: []*cli.Command{
			{
				Name:      "show",
				Usage:     "print keys and their values",
				ArgsUsage: "[key ...]",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "origin", Usage: "say where each value comes from"},
					jsonFlag(),
				},
				Action: func(c *cli.Context) error {
					return e.configShow(c.Args().Slice(), c.Bool("origin"), c.Bool("json"))
				},
			},
			{
				Name:   "check",
				Usage:  "look for mistakes, print nothing if there are none",
				Action: func(*cli.Context) error { return e.configCheck() },
			},
		},
	}
}

// configShow prints all keys, or those that are named or below a named one ("smtp").
func (e *env) configShow(names []string, origin, asJSON bool) error {
	cfg, err := e.config()
	if err != nil {
		return err
	}
	columns := []column{{name: "key"}, {name: "value", flexible: true}}
	if origin {
		columns = append(columns, column{name: "origin"})
	}
	p := e.newPrinter(columns, asJSON)
	found := 0
	for _, entry := range cfg.Entries() {
		if !keyWanted(entry.Key, names) {
			continue
		}
		found++
		row := []any{entry.Key, strings.Join(entry.Values, ",")}
		if origin {
			row = append(row, entry.Origin)
		}
		p.row(row...)
	}
	if err := p.flush(); err != nil {
		return err
	}
	if found == 0 {
		return usagef("no key %s", strings.Join(names, ", "))
	}
	return nil
}

func keyWanted(key string, names []string) bool {
	return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool {
		return key == n || strings.HasPrefix(key, n+".")
	})
}

// configCheck reports every mistake, not only the first, and everything that can be seen without serving.
func (e *env) configCheck() error {
	cfg, err := e.config()
	if err != nil {
		return err
	}
	if errs := cfg.Check(e.now()); len(errs) > 0 {
		return errs
	}
	return nil
}
