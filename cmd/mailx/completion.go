package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func newCompletion(e *env) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell",
		ArgsUsage: "bash | zsh | fish",
		Action: func(c *cli.Context) error {
			script, err := completionScript(e, c.Args().Slice())
			if err != nil {
				return err
			}
			_, err = e.stdout.WriteString(script)
			return err
		},
	}
}

func completionScript(e *env, words []string) (string, error) {
	if len(words) == 1 {
		switch words[0] {
		case "bash":
			return bashScript(completions(e), ""), nil
		case "zsh":
			return bashScript(completions(e), "autoload -Uz bashcompinit && bashcompinit\n"), nil
		case "fish":
			return fishScript(completions(e)), nil
		}
	}
	return "", usagef("which shell: bash, zsh or fish?")
}

// completionRow is one command: its words ("queue list"), what may follow as a word, and its options.
type completionRow struct {
	path    string
	words   []string
	options []string // "--json", "-j"
}

// completions walks all commands; this is the one place that builds every verb.
func completions(e *env) []completionRow {
	top := completionRow{options: optionNames(append(globalFlags(), cli.HelpFlag))}
	rows := []completionRow{}
	for _, v := range verbs() {
		top.words = append(top.words, v.name)
		rows = append(rows, commandRows(v.name, v.build(e))...)
	}
	return append([]completionRow{top}, rows...)
}

func commandRows(path string, c *cli.Command) []completionRow {
	row := completionRow{path: path, words: commandNames(c)}
	if !c.SkipFlagParsing {
		row.options = optionNames(append(append(c.Flags, globalFlags()...), cli.HelpFlag))
	}
	rows := []completionRow{row}
	for _, sub := range c.Subcommands {
		rows = append(rows, commandRows(path+" "+sub.Name, sub)...)
	}
	return rows
}

func optionNames(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		for _, n := range f.Names() {
			names = append(names, dashed(n))
		}
	}
	return names
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func bashScript(rows []completionRow, prologue string) string {
	var b strings.Builder
	b.WriteString("# Completion of mailx, made by `mailx completion`.\n" + prologue + `_mailx() {
  local cur=${COMP_WORDS[COMP_CWORD]} path="" w i words options
  for ((i = 1; i < COMP_CWORD; i++)); do
    w=${COMP_WORDS[i]}
    case "$path $w" in
`)
	for _, r := range rows[1:] {
		fmt.Fprintf(&b, "      %q) path=%q ;;\n", " "+r.path, " "+r.path)
	}
	b.WriteString("    esac\n  done\n  case \"$path\" in\n")
	for _, r := range rows {
		path := ""
		if r.path != "" {
			path = " " + r.path
		}
		fmt.Fprintf(&b, "    %q) words=%q options=%q ;;\n", path, strings.Join(r.words, " "), strings.Join(r.options, " "))
	}
	b.WriteString(`  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _mailx mailx
`)
	return b.String()
}

func fishScript(rows []completionRow) string {
	var b strings.Builder
	b.WriteString("# Completion of mailx, made by `mailx completion`.\ncomplete -c mailx -f -n __fish_use_subcommand\n")
	for _, v := range verbs() {
		fmt.Fprintf(&b, "complete -c mailx -n __fish_use_subcommand -a %s -d '%s'\n", v.name, v.summary)
	}
	for _, r := range rows[1:] {
		words := strings.Fields(r.path)
		seen := "__fish_seen_subcommand_from " + words[0]
		if len(words) > 1 {
			seen += "; and __fish_seen_subcommand_from " + words[1]
		}
		for _, w := range r.words {
			fmt.Fprintf(&b, "complete -c mailx -f -n '%s' -a %s\n", seen, w)
		}
		for _, o := range r.options {
			if long, ok := strings.CutPrefix(o, "--"); ok {
				fmt.Fprintf(&b, "complete -c mailx -n '%s' -l %s\n", seen, long)
			} else {
				fmt.Fprintf(&b, "complete -c mailx -n '%s' -s %s\n", seen, o[1:])
			}
		}
	}
	return b.String()
}
