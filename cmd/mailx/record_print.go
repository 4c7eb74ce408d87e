package main

import (
	"bufio"
	"io"
	"strings"
	"text/template"
	"time"

	"github.com/urfave/cli/v2"
)

// recordPrinter prints the records of a list in the form that was asked for.
type recordPrinter struct {
	need  need // what print wants to know of a record
	words bool // it wants the keywords too
	print func(*record) error
	flush func() error

	nothing func(where string) error // instead, where no record has to be exit 1
}

// newRecordPrinter reads --paths, --null, --format, --summary, --quiet and --json.
func (e *env) newRecordPrinter(c *cli.Context) (recordPrinter, error) {
	paths, forms := c.Bool("paths") || c.Bool("null"), 0
	for _, is := range []bool{paths, c.Bool("json"), c.IsSet("format"), c.Bool("summary"), c.Bool("quiet")} {
		if is {
			forms++
		}
	}
	switch {
	case forms > 1:
		return recordPrinter{}, usagef("one of --paths, --format, --summary, --quiet and --json")
	case c.Bool("quiet"):
		return quietPrinter(), nil
	case c.Bool("summary"):
		return e.summaryPrinter(), nil
	case paths:
		return e.pathPrinter(c.Bool("null")), nil
	case c.IsSet("format"):
		return e.formatPrinter(c.String("format"))
	case c.Bool("json"):
		return e.jsonRecords(), nil
	}
	return e.columnRecords(), nil
}

// pathPrinter prints paths as they are, so that programs can use them; on a terminal they are escaped.
func (e *env) pathPrinter(nul bool) recordPrinter {
	w := bufio.NewWriterSize(e.stdout, 32<<10)
	shown, end := func(s string) string { return s }, "\n"
	if e.stdoutIsTerminal() {
		shown = escapeControl
	}
	if nul {
		end = "\x00"
	}
	return recordPrinter{flush: w.Flush, print: func(r *record) error {
		w.WriteString(shown(r.path()))
		_, err := w.WriteString(end)
		return err
	}}
}

func (e *env) columnRecords() recordPrinter {
	if e.stdoutIsTerminal() {
		p := e.newPrinter([]column{{name: "flags", color: "1"}, {name: "date", right: true}, {name: "from", flexible: true},
			{name: "subject", flexible: true}}, false)
		return recordPrinter{need: needHeader, print: func(r *record) error {
			p.row(r.letters(), r.date(), r.From, r.Subject)
			return p.err
		}, flush: p.flush}
	}
	p := e.newPrinter([]column{{name: "path"}, {name: "flags"}, {name: "date"}, {name: "from"}, {name: "subject"}}, false)
	return recordPrinter{need: needHeader, print: func(r *record) error {
		p.row(r.path(), r.letters(), r.date(), r.From, r.Subject)
		return p.err
	}, flush: p.flush}
}

func (e *env) jsonRecords() recordPrinter {
	p := e.newPrinter(recordColumns(), true)
	return recordPrinter{need: needHeader, words: true, print: func(r *record) error {
		p.row(r.values()...)
		return p.err
	}, flush: p.flush}
}

// recordColumns are the keys that list and show have in common.
func recordColumns() []column {
	return []column{{name: "path"}, {name: "flags"}, {name: "date"}, {name: "from"}, {name: "to"}, {name: "subject"},
		{name: "size"}, {name: "message_id"}, {name: "keywords"}}
}

// values are those of recordColumns.
func (r *record) values() []any {
	return []any{r.path(), r.flagWords(), r.date(), r.From, r.To, r.Subject, r.size, r.MessageID, append([]string{}, r.keywords...)}
}

// templateRecord is what a template sees. Texts are one line each, without control characters.
type templateRecord struct {
	Path, Flags, From, To, Subject, MessageID string
	Date                                      templateDate
	Size                                      int64
	Keywords                                  keywordList
}

// templateDate prints as RFC 3339 in UTC, and has the methods of time.Time: {{.Date.Format "Jan 2"}}.
type templateDate struct{ time.Time }

func (d templateDate) String() string { return d.UTC().Format(time.RFC3339) }

// formatPrinter prints by a template of text/template, with a line end behind each record.
func (e *env) formatPrinter(format string) (recordPrinter, error) {
	t, err := template.New("format").Option("missingkey=error").Parse(unescapeFormat(format))
	if err == nil {
		err = t.Execute(io.Discard, templateRecord{})
	}
	if err != nil {
		return recordPrinter{}, usagef("--format: %s", strings.TrimPrefix(err.Error(), "template: "))
	}
	w := bufio.NewWriterSize(e.stdout, 32<<10)
	asked := strings.Contains(format, ".Keywords")
	return recordPrinter{need: needHeader, words: asked, flush: w.Flush, print: func(r *record) error {
		if err := t.Execute(w, r.forTemplate()); err != nil {
			return err
		}
		return w.WriteByte('\n')
	}}, nil
}

func (r *record) forTemplate() templateRecord {
	words := make(keywordList, len(r.keywords))
	for i, word := range r.keywords {
		words[i] = escapeControl(word)
	}
	return templateRecord{
		Path: escapeControl(r.path()), Flags: escapeControl(r.letters()), From: escapeControl(r.From), To: escapeControl(r.To),
		Subject: escapeControl(r.Subject), MessageID: escapeControl(r.MessageID), Date: templateDate{r.date()}, Size: r.size,
		Keywords: words,
	}
}

// unescapeFormat makes \t, \n, \0 and \\ outside of actions what they stand for: shells don't do it in quotes.
func unescapeFormat(format string) string {
	replacer := strings.NewReplacer(`\t`, "\t", `\n`, "\n", `\0`, "\x00", `\\`, `\`)
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(format, "{{")
		b.WriteString(replacer.Replace(text))
		if !found {
			return b.String()
		}
		action, after, _ := strings.Cut(rest, "}}")
		b.WriteString("{{" + action)
		if len(action) < len(rest) {
			b.WriteString("}}")
		}
		format = after
	}
}
