package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/message"
)

func newExtract(e *env) *cli.Command {
	return &cli.Command{
		Name:      "extract",
		Usage:     "list, print and save the parts of messages",
		ArgsUsage: "path | - ...",
		Description: "Lists the parts of messages, writes one to standard output, or saves files into a directory, never over another\n" +
			"file. \"-\" reads paths from standard input, for example from mailx search --paths.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "list", Usage: "list the parts and do nothing else; this is what is done if nothing is asked for"},
			&cli.StringFlag{Name: "part", Usage: "only part `N`, such as 2 or 1.2; without --to it goes to standard output"},
			&cli.StringFlag{Name: "to", Usage: "save into the directory `DIR`, and print the paths"},
			&cli.BoolFlag{Name: "all", Usage: "save all parts, not only files that were attached"},
			&cli.StringSliceFlag{Name: "type", Usage: "only those with a type that matches `GLOB`: image/*"},
			&cli.StringSliceFlag{Name: "name", Usage: "only those with a name that matches `GLOB`: *.pdf"},
			&cli.BoolFlag{Name: "raw", Usage: "the octets as they stand, not decoded"},
			&cli.StringFlag{Name: "charset", Usage: "give texts in this `CHARSET`, such as utf-8"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths, printed and on standard input, end in NUL"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			x, err := e.newExtractor(c)
			if err != nil {
				return err
			}
			return x.run(c.Args().Slice())
		},
	}
}

// extractor is one run of extract.
type extractor struct {
	env     *env
	finder  *pathFinder
	failed  failures
	part    string // "": all that the globs let through
	types   []string
	names   []string
	all     bool
	raw     bool
	charset string
	nul     bool
	do      func(m mailFile, f openFile, p foundPart) error
	flush   func() error
	err     error // of the output
}

// foundPart is a part that is wanted.
type foundPart struct {
	*message.Part
	name string // safe as a file name, never empty
}

func (e *env) newExtractor(c *cli.Context) (*extractor, error) {
	x := &extractor{env: e, finder: newPathFinder(), failed: failures{env: e}, part: c.String("part"), types: lower(c.StringSlice("type")),
		names: lower(c.StringSlice("name")), all: c.Bool("all"), raw: c.Bool("raw"), charset: c.String("charset"), nul: c.Bool("null")}
	for _, glob := range append(x.types, x.names...) {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, usagef("bad pattern %q", glob)
		}
	}
	toOutput := c.IsSet("part") && !c.IsSet("to")
	switch {
	case c.Args().Len() == 0:
		return nil, usagef("which messages? Give their paths, or - to read them from standard input")
	case c.IsSet("part") && x.part == "":
		return nil, usagef("--part wants a number such as 2 or 1.2")
	case c.IsSet("to") && c.Bool("list"):
		return nil, usagef("one of --list and --to")
	case x.charset != "" && !message.KnownCharset(x.charset):
		return nil, usagef("unknown charset %q", x.charset)
	case x.charset != "" && x.raw:
		return nil, usagef("one of --raw and --charset")
	case toOutput && c.Bool("json") && !c.Bool("list"):
		return nil, usagef("--json is for --list and --to; part %s goes to standard output as it is", x.part)
	case toOutput && !c.Bool("list"):
		x.toOutput()
		return x, nil
	case c.IsSet("to"):
		return x, x.toDirectory(c.String("to"), c.Bool("json"))
	}
	x.all = true
	x.lister(c.Bool("json"))
	return x, nil
}

func lower(words []string) (all []string) {
	for _, w := range words {
		all = append(all, strings.ToLower(w))
	}
	return all
}

func (x *extractor) run(words []string) error {
	err := x.env.eachPath(words, x.nul, func(name string) {
		if x.err == nil {
			x.failed.add(readError(x.message(name)))
		}
	})
	if ferr := x.flush(); x.err == nil {
		x.err = ferr
	}
	if x.err != nil {
		return x.err
	}
	x.failed.add(readError(err))
	return x.failed.err()
}

// message does what is to be done with the parts of one message that are wanted.
func (x *extractor) message(name string) error {
	m := x.finder.find(name).locate()
	f, err := m.openMessage()
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := message.Parse(f)
	if err != nil {
		return err
	}
	found, err := x.find(root)
	if err != nil {
		return fmt.Errorf("%s: %w", m.path(), err)
	}
	for _, p := range found {
		if err := x.do(m, f, p); err != nil {
			return err
		}
		if x.err != nil {
			return nil
		}
	}
	return nil
}

// find gives the parts that are wanted. A part that was asked for by its number has to be there.
func (x *extractor) find(root *message.Part) (found []foundPart, err error) {
	if x.part != "" {
		p := findPart(root, x.part)
		if p == nil {
			return nil, exitWith(exNoInput, fmt.Errorf("there is no part %s", escapeControl(x.part)))
		}
		return []foundPart{{p, p.FileName()}}, nil
	}
	if x.all {
		found = leaves(root)
	} else {
		for _, a := range root.Attachments() {
			found = append(found, foundPart{a.Part, a.Part.FileName()})
		}
	}
	wanted := found[:0]
	for _, p := range found {
		if matchesAny(x.types, p.MediaType()) && matchesAny(x.names, p.name) {
			wanted = append(wanted, p)
		}
	}
	return wanted, nil
}

// leaves gives all parts that are no multipart, the messages in the message among them.
func leaves(root *message.Part) (found []foundPart) {
	root.Walk(func(p *message.Part) bool {
		if p.Type == "multipart" && len(p.Parts) > 0 {
			return true
		}
		found = append(found, foundPart{p, p.FileName()})
		for _, inner := range p.Parts { // RFC 9051 §6.4.5: what is no multipart is part 1 of its message
			if inner.Type != "multipart" {
				inner.Path = partNumber(p) + ".1"
			}
		}
		return true
	})
	return found
}

// matchesAny is true without a pattern.
func matchesAny(globs []string, text string) bool {
	for _, glob := range globs {
		if ok, _ := path.Match(glob, strings.ToLower(text)); ok {
			return true
		}
	}
	return len(globs) == 0
}

// open gives the content of a part in the form that was asked for, and what is wrong with it once it has been read.
func (x *extractor) open(f openFile, p foundPart) (content io.Reader, damage func() string) {
	if x.raw {
		return io.NewSectionReader(f, p.BodyAt, p.Size()), func() string { return "" }
	}
	decoded := p.Decode(f)
	if x.charset != "" && p.Type == "text" {
		if text, ok := p.InCharset(decoded, x.charset); ok {
			return text, decoded.Damage
		}
	}
	return decoded, decoded.Damage
}

// damaged is the error about a part of which not all could be had.
func damaged(m mailFile, p foundPart, what string) error {
	if what == "" {
		return nil
	}
	return exitWith(exDataErr, fmt.Errorf("%s: part %s is damaged: %s", m.path(), partNumber(p.Part), what))
}

// lister prints a line for each part.
func (x *extractor) lister(asJSON bool) {
	columns := []column{{name: "path"}, {name: "part"}, {name: "type"}, {name: "size", right: true}, {name: "name"}}
	switch {
	case asJSON:
		columns = append(columns, column{name: "disposition"}, column{name: "charset"}, column{name: "encoding"}, column{name: "damage"})
	case x.env.stdoutIsTerminal():
		columns[0].flexible, columns[4].flexible = true, true
	}
	p := x.env.newPrinter(columns, asJSON)
	x.flush = p.flush
	x.do = func(m mailFile, f openFile, part foundPart) error {
		content, damage := x.open(f, part)
		in := &stickyReader{r: content}
		size, _ := io.Copy(io.Discard, in)
		if in.err != nil {
			return in.err
		}
		values := []any{m.path(), partNumber(part.Part), message.Printable(part.MediaType()), size, part.name}
		if asJSON {
			values = append(values, message.Printable(part.Disposition), message.Printable(part.Params["charset"]),
				message.Printable(part.Encoding), damage())
		}
		p.row(values...)
		x.err = p.err
		return nil
	}
}

// toOutput writes the part to standard output: on a terminal without control characters.
func (x *extractor) toOutput() {
	s := &shower{env: x.env}
	s.choosePlain()
	x.flush = s.flush
	x.do = func(m mailFile, f openFile, p foundPart) error {
		content, damage := x.open(f, p)
		if err := s.copy(content); err != nil {
			return err
		}
		x.err = s.err
		if what := damage(); what != "" {
			x.err = errors.Join(s.err, s.w.Flush())
			return damaged(m, p, what)
		}
		return nil
	}
}
