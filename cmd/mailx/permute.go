package main

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// A command line is put into one canonical form before the parser of the framework sees it: every option as --name or
// --name=value with its first name, then "--", then the arguments. So options may stand anywhere, "-shello" and "-it"
// work, and nothing behind "--" is ever taken for an option.

// option is what the command line needs to know about a flag.
type option struct {
	name       string // the first, longest name of the flag
	takesValue bool
}

// optionSet finds options by any of their names, without dashes.
type optionSet map[string]option

func optionsOf(flags []cli.Flag) optionSet {
	set := optionSet{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		names := namesOf(f)
		for _, n := range names {
			set[n] = option{name: names[0], takesValue: !isBool}
		}
	}
	return set
}

// commandLine is a command line taken apart.
type commandLine struct {
	options []string // canonical: "--name" or "--name=value", in order
	words   []string // arguments
	rest    []string // what was not looked at, when cut at the first word
}

// has reports that an option was given.
func (c commandLine) has(name string) bool {
	return slices.ContainsFunc(c.options, func(o string) bool { return o == "--"+name || strings.HasPrefix(o, "--"+name+"=") })
}

// permute takes a whole command line apart. Errors are usage errors.
func permute(args []string, known optionSet) (commandLine, error) { return scan(args, known, false) }

// cutAtWord takes the options in front of the first word apart; rest starts with that word.
func cutAtWord(args []string, known optionSet) (commandLine, error) { return scan(args, known, true) }

func scan(args []string, known optionSet, stop bool) (commandLine, error) {
	var c commandLine
	for len(args) > 0 {
		arg := args[0]
		isWord := arg == "-" || !strings.HasPrefix(arg, "-")
		switch {
		case stop && (isWord || arg == "--"):
			c.rest = args
			return c, nil
		case arg == "--":
			c.words = append(c.words, args[1:]...)
			return c, nil
		case isWord:
			c.words = append(c.words, arg)
			args = args[1:]
			continue
		}
		options, used, err := readOption(args, known)
		if err != nil {
			return c, err
		}
		c.options = append(c.options, options...)
		args = args[used:]
	}
	return c, nil
}

// readOption reads args[0] and, where it takes a value that is not glued to it, args[1]. It says how many it used.
func readOption(args []string, known optionSet) (options []string, used int, err error) {
	long, isLong := strings.CutPrefix(args[0], "--")
	if !isLong {
		return readCluster(args, known)
	}
	name, _, hasValue := strings.Cut(long, "=")
	opt, ok := known[name]
	switch {
	case !ok || len(name) == 1:
		return nil, 0, unknownOption(name, known)
	case hasValue:
		return []string{"--" + opt.name + long[len(name):]}, 1, nil
	case !opt.takesValue:
		return []string{"--" + opt.name}, 1, nil
	case len(args) < 2:
		return nil, 0, usagef("option --%s needs a value", name)
	}
	return []string{"--" + opt.name + "=" + args[1]}, 2, nil
}

// readCluster reads "-it", "-shello", "-s hello", "-its hello".
func readCluster(args []string, known optionSet) (options []string, used int, err error) {
	letters := args[0][1:]
	for i := 0; i < len(letters); {
		_, n := utf8.DecodeRuneInString(letters[i:])
		letter := letters[i : i+n]
		i += n
		opt, ok := known[letter]
		switch glued := letters[i:]; {
		case !ok:
			return nil, 0, unknownLetter(letter, letters, known)
		case !opt.takesValue:
			options = append(options, "--"+opt.name)
		case glued != "":
			return append(options, "--"+opt.name+"="+glued), 1, nil
		case len(args) < 2:
			return nil, 0, usagef("option -%s needs a value", letter)
		default:
			return append(options, "--"+opt.name+"="+args[1]), 2, nil
		}
	}
	return options, 1, nil
}

func unknownLetter(letter, letters string, known optionSet) error {
	name, _, _ := strings.Cut(letters, "=")
	if _, ok := known[name]; ok && len(name) > 1 {
		return usagef("unknown option -%s; did you mean --%s?", name, name)
	}
	if name := meantByMail(letter); known[name].name != "" {
		return usagef("unknown option -%s; did you mean --%s?", letter, name)
	}
	return usagef("unknown option -%s", letter)
}

// meantByMail is what a letter stands for in mailx(1).
func meantByMail(letter string) string {
	switch letter {
	case "a", "A":
		return "attach"
	case "b":
		return "bcc"
	case "c":
		return "cc"
	case "r":
		return "from"
	}
	return ""
}

// unknownOption looks for one that may have been meant: in another letter case, with one letter wrong, abbreviated, or longer.
func unknownOption(name string, known optionSet) error {
	typed, names := strings.ToLower(name), slices.Sorted(maps.Keys(known))
	for _, isNear := range []func(other, typed string) bool{strings.EqualFold, distanceOne, strings.HasPrefix,
		func(other, typed string) bool { return strings.HasPrefix(typed, other) }} {
		for _, other := range names {
			if len(other) > 1 && len(typed) > 1 && isNear(other, typed) {
				return usagef("unknown option --%s; did you mean --%s?", name, other)
			}
		}
	}
	return usagef("unknown option --%s", name)
}
