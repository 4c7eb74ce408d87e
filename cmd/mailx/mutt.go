package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// newMutt is for scripts that send with mutt(1) in a pipe. Its command line becomes one of send.
func newMutt(e *env) *cli.Command {
	return &cli.Command{
		Name:            "mutt-compat",
		Usage:           "send a text as mutt(1) does in a pipe",
		ArgsUsage:       "[address ...]",
		SkipFlagParsing: true,
		HideHelp:        true,
		Description: "The text is on standard input, or with -i in a file. -s is the subject, -c and -b are copies, -a FILE ... --\n" +
			"attaches files. Of -e, 'my_hdr' and 'set from', 'realname', 'content_type' and 'use_envelope_from' count.\n" +
			"More: mailx man mutt-compat.",
		Action: func(c *cli.Context) error {
			if c.Args().Len() == 1 && slices.Contains([]string{"-h", "--help"}, c.Args().First()) {
				return cli.ShowSubcommandHelp(c)
			}
			words, err := muttWords(c.Args().Slice())
			if err != nil {
				return err
			}
			return e.invoke(newSend(e), nil, words)
		},
	}
}

// muttLine is a command line of mutt(1) in send mode, on its way to one of send.
type muttLine struct {
	options        []string
	words          []string
	from, realname string
	isHTML, isFile bool
}

// muttWords gives the words behind "send" for those behind "mutt".
func muttWords(args []string) ([]string, error) {
	l := &muttLine{}
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			l.words, args = append(l.words, args[1:]...), nil
			continue
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			l.words, args = append(l.words, arg), args[1:]
			continue
		}
		used, err := l.option(args)
		if err != nil {
			return nil, err
		}
		args = args[used:]
	}
	return l.send()
}

// option reads a word of options, and says how many words it used.
func (l *muttLine) option(args []string) (used int, err error) {
	letters := args[0][1:]
	for i := range len(letters) {
		letter := letters[i]
		switch {
		case strings.IndexByte("nx", letter) >= 0:
			continue
		case strings.IndexByte("abcdeFims", letter) < 0:
			return 0, usagef("-%s: mutt sends with -a, -b, -c, -e, -i and -s, and all else it does is not here", printable(letters[i:i+1]))
		}
		value, used, err := posixValue(letters[i+1:], args)
		if err != nil {
			return 0, usagef("option -%c needs a value", letter)
		}
		if letter == 'a' {
			return used + l.attach(value, args[used:]), nil
		}
		l.value(letter, value)
		return used, nil
	}
	return 1, nil
}

// attach takes all files up to "--" or an option; without a "--" further on it is one file, as mutt had it once.
func (l *muttLine) attach(first string, next []string) (used int) {
	l.options = append(l.options, "--attach="+first)
	if !slices.Contains(next, "--") {
		return 0
	}
	for used < len(next) && !strings.HasPrefix(next[used], "-") {
		l.options = append(l.options, "--attach="+next[used])
		used++
	}
	return used
}

func (l *muttLine) value(letter byte, value string) {
	switch letter {
	case 's':
		l.options = append(l.options, "--subject="+value)
	case 'c':
		l.options = append(l.options, "--cc="+value)
	case 'b':
		l.options = append(l.options, "--bcc="+value)
	case 'i':
		l.options = append(l.options, "--body-file="+value)
		l.isFile = true
	case 'e':
		l.commands(value)
	}
}

// commands reads those of -e that say something about the message; all others are for people at a screen.
func (l *muttLine) commands(text string) {
	for command := range strings.SplitSeq(text, ";") {
		name, rest, _ := strings.Cut(strings.TrimSpace(command), " ")
		rest = strings.TrimSpace(rest)
		switch name {
		case "my_hdr":
			l.options = append(l.options, "--header="+muttUnquote(rest))
		case "set":
			variable, value, _ := strings.Cut(rest, "=")
			l.set(strings.TrimSpace(variable), muttUnquote(strings.TrimSpace(value)))
		}
	}
}

func (l *muttLine) set(variable, value string) {
	switch variable {
	case "from":
		l.from = value
	case "realname":
		l.realname = value
	case "content_type":
		l.isHTML = strings.EqualFold(value, "text/html")
	case "envelope_from_address":
		l.options = append(l.options, "--envelope-from="+value)
	}
}

func muttUnquote(s string) string {
	for _, quote := range []string{`"`, `'`} {
		if inner, ok := strings.CutPrefix(s, quote); ok && strings.HasSuffix(inner, quote) {
			return strings.ReplaceAll(strings.TrimSuffix(inner, quote), `\`+quote, quote)
		}
	}
	return s
}

// send is the command line of send.
func (l *muttLine) send() ([]string, error) {
	if len(l.words) == 0 && !slices.ContainsFunc(l.options, func(o string) bool { return strings.HasPrefix(o, "--cc=") || strings.HasPrefix(o, "--bcc=") }) {
		return nil, usagef("no recipients")
	}
	switch {
	case l.from != "" && l.realname != "" && !strings.Contains(l.from, "<"):
		l.options = append(l.options, "--from="+quotedName(l.realname)+" <"+l.from+">")
	case l.from != "":
		l.options = append(l.options, "--from="+l.from)
	}
	if l.isHTML {
		for i, o := range l.options {
			if file, ok := strings.CutPrefix(o, "--body-file="); ok {
				l.options[i] = "--html=" + file
			}
		}
		if !l.isFile {
			l.options = append(l.options, "--html=/dev/stdin")
		}
		l.options = append(l.options, "--body=")
	}
	return slices.Concat(l.options, []string{"--"}, l.words), nil
}
