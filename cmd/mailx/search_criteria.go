package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/message"
)

// criteriaFlags say which messages are wanted.
func criteriaFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "from", Usage: "those with `TEXT` in From"},
		&cli.StringSliceFlag{Name: "to", Usage: "those with `TEXT` in To"},
		&cli.StringSliceFlag{Name: "cc", Usage: "those with `TEXT` in Cc"},
		&cli.StringSliceFlag{Name: "subject", Usage: "those with `TEXT` in the subject"},
		&cli.StringSliceFlag{Name: "header", Usage: "those with a text in a header field: `NAME:TEXT`; NAME alone: with that field"},
		&cli.StringSliceFlag{Name: "body", Usage: "those with `TEXT` in the text"},
		&cli.StringSliceFlag{Name: "text", Usage: "those with `TEXT` anywhere, any header field included"},
		&cli.StringFlag{Name: "message-id", Usage: "the one with this `ID`"},
		&cli.StringFlag{Name: "since", Usage: "those delivered at `WHEN` or later: a date, or an age such as 3d"},
		&cli.StringFlag{Name: "before", Usage: "those delivered before `WHEN`"},
		&cli.StringFlag{Name: "larger", Usage: "those of more than `SIZE`, such as 2M"},
		&cli.StringFlag{Name: "smaller", Usage: "those of less than `SIZE`"},
		&cli.StringSliceFlag{Name: "flag", Usage: "those with the flag `NAME`: seen, replied, flagged, draft, passed, trashed, new; unseen: without it"},
		&cli.BoolFlag{Name: "new", Usage: "the same as --flag new"},
		&cli.BoolFlag{Name: "unseen", Usage: "the same as --flag unseen"},
		&cli.BoolFlag{Name: "flagged", Usage: "the same as --flag flagged"},
		&cli.StringSliceFlag{Name: "keyword", Usage: "those with the keyword `NAME` of IMAP"},
		&cli.BoolFlag{Name: "has-attachment", Usage: "those with a file"},
		&cli.BoolFlag{Name: "regexp", Aliases: []string{"E"}, Usage: "each TEXT is a regular expression, for one line"},
		&cli.BoolFlag{Name: "invert", Usage: "those that all this is not true of"},
	}
}

// criteria are what was asked for. All have to fit.
type criteria struct {
	with, without string // letters of flags
	isNew, isOld  bool
	keywords      []string

	since, before   time.Time
	larger, smaller int64 // negative: any size

	fields    []fieldPattern
	messageID string

	words, bodies, anywhere []*message.Pattern
	hasAttachment           bool
	invert                  bool
}

// fieldPattern is a text in a field of that name.
type fieldPattern struct {
	name string
	*message.Pattern
}

// looksInside reports that more than the header has to be read.
func (s *criteria) looksInside() bool {
	return len(s.words)+len(s.bodies)+len(s.anywhere) > 0 || s.hasAttachment
}

func (s *criteria) looksAtHeader() bool { return len(s.fields) > 0 || s.messageID != "" }

func (s *criteria) looksAtFile() bool {
	return !s.since.IsZero() || !s.before.IsZero() || s.larger >= 0 || s.smaller >= 0
}

func (s *criteria) looksAtName() bool {
	return s.with+s.without != "" || s.isNew || s.isOld || len(s.keywords) > 0
}

func (s *criteria) isEmpty() bool {
	return !s.looksAtName() && !s.looksAtFile() && !s.looksAtHeader() && !s.looksInside()
}

// newSearch reads criteriaFlags.
func (e *env) newSearch(c *cli.Context, words []string) (*search, error) {
	s := &search{criteria: criteria{larger: -1, smaller: -1, invert: c.Bool("invert"), hasAttachment: c.Bool("has-attachment"),
		keywords: c.StringSlice("keyword")}}
	p := patternReader{charset: localeCharset(os.Getenv), isRegexp: c.Bool("regexp")}
	for _, name := range []string{"from", "to", "cc", "subject"} {
		for _, pattern := range p.all(name, c.StringSlice(name)) {
			s.fields = append(s.fields, fieldPattern{name, pattern})
		}
	}
	for _, text := range c.StringSlice("header") {
		name, text, _ := strings.Cut(text, ":")
		if name = strings.TrimSpace(name); name == "" {
			return nil, usagef("--header wants NAME:TEXT")
		}
		s.fields = append(s.fields, fieldPattern{name, p.one("header", strings.TrimLeft(text, " "))})
	}
	s.words, s.bodies, s.anywhere = p.all("", words), p.all("body", c.StringSlice("body")), p.all("text", c.StringSlice("text"))
	if p.err != nil {
		return nil, p.err
	}
	return s, s.readRest(c, e.now())
}

// readRest reads what is no text.
func (s *criteria) readRest(c *cli.Context, now time.Time) (err error) {
	for name, t := range map[string]*time.Time{"since": &s.since, "before": &s.before} {
		if c.IsSet(name) && err == nil {
			*t, err = parseMoment(name, c.String(name), now)
		}
	}
	for name, n := range map[string]*int64{"larger": &s.larger, "smaller": &s.smaller} {
		if !c.IsSet(name) || err != nil {
			continue
		}
		if *n, err = config.ParseSize(c.String(name)); err != nil {
			err = usagef("--%s %q: %v", name, c.String(name), err)
		}
	}
	if s.messageID = strings.Trim(c.String("message-id"), "<> "); c.IsSet("message-id") && s.messageID == "" && err == nil {
		err = usagef("--message-id wants an id")
	}
	flags := c.StringSlice("flag")
	for _, name := range []string{"new", "unseen", "flagged"} {
		if c.Bool(name) {
			flags = append(flags, name)
		}
	}
	for _, name := range flags {
		if err == nil {
			err = s.flag(name)
		}
	}
	return err
}

// flag reads the name of a flag, in our words or in those of IMAP, "un" in front of it, or its letter.
func (s *criteria) flag(name string) error {
	word := strings.ToLower(strings.TrimLeft(name, `\$`))
	word, not := strings.CutPrefix(word, "un")
	letter := flagLetter(word)
	if len(name) == 1 && name[0] > ' ' && name[0] < 0x7f {
		letter = name[0]
	}
	switch {
	case word == "new" && not:
		s.isOld = true
	case word == "new":
		s.isNew = true
	case letter == 0:
		return usagef("--flag %q is none of seen, replied, flagged, draft, passed, trashed, new, of these with \"un\" in front, and a letter", name)
	case not:
		s.without += string(letter)
	default:
		s.with += string(letter)
	}
	return nil
}

// flagLetter is that of a flag by name; 0 for none.
func flagLetter(word string) byte {
	switch word {
	case "answered":
		return 'R'
	case "deleted":
		return 'T'
	case "forwarded":
		return 'P'
	}
	for _, letter := range "SRFDPT" {
		if flagWord(letter) == word {
			return byte(letter)
		}
	}
	return 0
}

// fits decides by the name of the file.
func (s *criteria) fits(m mailFile) bool {
	has := func(letter rune) bool { return m.msg.Has(byte(letter)) }
	return (!s.isNew || m.msg.New) && (!s.isOld || !m.msg.New) && !strings.ContainsFunc(s.without, has) &&
		!strings.ContainsFunc(s.with, func(letter rune) bool { return !has(letter) })
}

// fitsFile decides by the size and the time of the file.
func (s *criteria) fitsFile(r *record) bool {
	return (s.since.IsZero() || !r.stored.Before(s.since)) && (s.before.IsZero() || r.stored.Before(s.before)) &&
		(s.larger < 0 || r.size > s.larger) && (s.smaller < 0 || r.size < s.smaller)
}

// fitsHeader decides by the header.
func (s *criteria) fitsHeader(h *message.Header) bool {
	if s.messageID != "" && strings.Trim(h.Get("Message-ID"), "<> ") != s.messageID {
		return false
	}
	return !slices.ContainsFunc(s.fields, func(f fieldPattern) bool { return !f.InField(h, f.name) })
}

// patternReader makes patterns of what was typed. Errors stick.
type patternReader struct {
	charset  string
	isRegexp bool
	err      error
}

func (p *patternReader) all(option string, texts []string) (patterns []*message.Pattern) {
	for _, text := range texts {
		patterns = append(patterns, p.one(option, text))
	}
	return patterns
}

// one: QUIRK: what is typed where the locale is not UTF-8 is taken for what it shows there.
func (p *patternReader) one(option, text string) *message.Pattern {
	if !utf8.ValidString(text) {
		text = message.DecodeInput(p.charset, text)
	}
	if !p.isRegexp {
		return message.Containing(text)
	}
	re, err := regexp.Compile("(?i)" + text)
	if err != nil && p.err == nil {
		if option != "" {
			option = "--" + option + ": "
		}
		p.err = usagef("%s%v", option, strings.Replace(err.Error(), "(?i)", "", 1))
	}
	if err != nil {
		return nil
	}
	return message.Matching(re.MatchString)
}
