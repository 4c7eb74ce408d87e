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
	inUse := *leaf
	inUse.Flags = nil
	for _, f := range leaf.Flags {
		values := line.valuesOf(namesOf(f)[0])
		if len(values) == 0 && !hasDefault(f) {
			continue // need not be there
		}
		inUse.Flags = append(inUse.Flags, f)
		if err := declare(set, f, values); err != nil {
			return err
		}
	}
	if err := set.Parse(append([]string{"--"}, line.words...)); err != nil {
		return err
	}
	c := cli.NewContext(e.app(), set, &cli.Context{Context: context.Background()})
	c.Command = &inUse
	return leaf.Action(c)
}

// declare puts a flag and the values that were given into a set. It knows the kinds of flags that the verbs have; a test
// holds them to these.
func declare(set *flag.FlagSet, f cli.Flag, values []string) error {
	name := namesOf(f)[0]
	switch f := f.(type) {
	case *cli.StringSliceFlag:
		list := &cli.StringSlice{}
		set.Var(list, name, "")
		if err := set.Set(name, ""); err != nil { // all that it is for is that the flag is set
			return err
		}
		*list = *cli.NewStringSlice(values...) // as they are: the framework would cut them at commas, or at what is not UTF-8
		return nil
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

func hasDefault(f cli.Flag) bool {
	switch f := f.(type) {
	case *cli.StringFlag:
		return f.Value != ""
	case *cli.IntFlag:
		return f.Value != 0
	case *cli.BoolFlag:
		return f.Value
	}
	return false
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
