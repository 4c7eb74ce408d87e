package main

import (
	"context"
	"flag"
	"strings"

	"github.com/urfave/cli/v2"
)

// runAction calls the action of a leaf with the context that the framework would give it. The command line is canonical
// already, so all that is left to do is to store values; the framework would run a regular expression over the name of each
// flag it knows, compare each with each, and sort them, which a program that is started for every message feels.
func (e *env) runAction(leaf *cli.Command, line commandLine) error {
	set := flag.NewFlagSet(leaf.Name, flag.ContinueOnError)
	for _, f := range leaf.Flags {
		if err := declare(set, f, line.valuesOf(namesOf(f)[0])); err != nil {
			return err
		}
	}
	if err := set.Parse(append([]string{"--"}, line.words...)); err != nil {
		return err
	}
	c := cli.NewContext(e.app(), set, &cli.Context{Context: context.Background()})
	c.Command = leaf
	return leaf.Action(c)
}

// declare puts a flag and the values that were given into a set. It knows the kinds of flags that the verbs have; a test
// holds them to these. A flag without values and without default need not be there.
func declare(set *flag.FlagSet, f cli.Flag, values []string) error {
	name := namesOf(f)[0]
	switch f := f.(type) {
	case *cli.StringSliceFlag:
		if len(values) == 0 {
			return nil
		}
		set.Var(&cli.StringSlice{}, name, "")
		return set.Set(name, cli.NewStringSlice(values...).Serialize())
	case *cli.StringFlag:
		set.String(name, f.Value, "")
	case *cli.IntFlag:
		set.Int(name, f.Value, "")
	case *cli.BoolFlag:
		set.Bool(name, f.Value, "")
	}
	for _, v := range values {
		if err := set.Set(name, v); err != nil {
			return usagef("invalid value %q for option --%s: %s", v, name, wantedOf(f))
		}
	}
	return nil
}

func wantedOf(f cli.Flag) string {
	if _, isInt := f.(*cli.IntFlag); isInt {
		return "a whole number is wanted"
	}
	return "true or false is wanted"
}

// valuesOf gives what was said for an option, in order: "true" for one that was named without a value.
func (c commandLine) valuesOf(name string) []string {
	var values []string
	for _, o := range c.options {
		if given, value, hasValue := strings.Cut(strings.TrimPrefix(o, "--"), "="); given == name {
			if !hasValue {
				value = "true"
			}
			values = append(values, value)
		}
	}
	return values
}
