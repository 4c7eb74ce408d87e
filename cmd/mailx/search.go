package main

import (
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

func newSearch(e *env) *cli.Command {
	return &cli.Command{
		Name:      "search",
		Usage:     "find messages by what is in them",
		ArgsUsage: "[text | path | - ...]",
		Description: "Prints the messages that have each TEXT in From, To, Cc, the subject, the text or the name of a file, decoded,\n" +
			"in any letter case; and what the options ask for. A word is a text, but for \"-\", which reads paths from standard\n" +
			"input, and the path of a message or of a Maildir, such as list prints. Without a place it is the inbox.",
		Flags: append(append(placeFlags(), criteriaFlags()...),
			&cli.IntFlag{Name: "limit", Usage: "at most `N` messages", DefaultText: "all"},
			&cli.BoolFlag{Name: "reverse", Usage: "the latest first"},
			&cli.BoolFlag{Name: "paths", Usage: "print paths and nothing else"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths, on standard input too, end in NUL"},
			&cli.StringFlag{Name: "format", Usage: "print each message by the Go `TEMPLATE`"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing; the exit status says whether there is such a message"},
			jsonFlag(),
		),
		Action: func(c *cli.Context) error {
			l, err := e.newLister(c)
			if err != nil {
				return err
			}
			return l.runSearch(c)
		},
	}
}

// placeFlags say where messages are looked for.
func placeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "user", Usage: "the mailbox of user `NAME`"},
		&cli.StringFlag{Name: "folder", Usage: "its folder `NAME`"},
		&cli.StringSliceFlag{Name: "in", Usage: "`WHERE`, as a word of list: a folder, a Maildir, a message; may be repeated"},
		&cli.BoolFlag{Name: "all", Usage: "the folders of each Maildir too"},
	}
}

// runSearch looks in the places that were named; without one that matches it is exit 1.
func (l *lister) runSearch(c *cli.Context) error {
	places, texts := l.sortWords(c.Args().Slice())
	places = append(places, c.StringSlice("in")...)
	s, err := l.env.newSearch(c, texts)
	if err != nil {
		return err
	}
	if s.isEmpty() {
		return usagef("search for what? Give a text, or an option such as --from; mailx list lists all")
	}
	l.searchFor(c, s)
	l.out.nothing = func(string) error { return errNoMatch() }
	l.mustMatch = true
	return l.run(places)
}

// searchFor has only what is found listed.
func (l *lister) searchFor(c *cli.Context, s *search) {
	s.index = l.words
	l.search, l.filter, l.withFolders = s, filter{}, c.Bool("all")
}

// sortWords tells places from texts.
func (l *lister) sortWords(words []string) (places, texts []string) {
	for _, word := range words {
		if l.isPlace(word) {
			places = append(places, word)
		} else {
			texts = append(texts, word)
		}
	}
	return places, texts
}

// isPlace: "-" is one, and a path that says so, as "./x" does, or leads somewhere. "and/or" is a text.
func (l *lister) isPlace(word string) bool {
	if word == "-" || strings.HasPrefix(word, "/") || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") {
		return true
	}
	if !strings.Contains(word, "/") {
		return false
	}
	_, err := os.Stat(word)
	return err == nil || l.finder.find(word).dir != nil
}
