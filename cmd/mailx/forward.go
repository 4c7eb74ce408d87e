package main

import (
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/message"
)

func newForward(e *env) *cli.Command {
	return &cli.Command{
		Name:      "forward",
		Usage:     "compose a message that sends another one on, and print it",
		ArgsUsage: "path | - [address ...]",
		Description: "The text of the message stands in the new one, with its main fields above, and what was attached is attached\n" +
			"again; one that is signed or encrypted is attached whole. It goes to standard output, for an editor and mailx send -t.\n" +
			"Nothing is sent or stored. \"-\" is the message on standard input, or its path there.",
		Flags: append(e.composeFlags(),
			&cli.BoolFlag{Name: "as-attachment", Usage: "attach the message whole, octet for octet"},
			&cli.BoolFlag{Name: "as-text", Usage: "put its text in, even if it is signed or encrypted"},
			&cli.BoolFlag{Name: "mark", Usage: "mark the message as passed on"},
		),
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			switch {
			case c.Bool("as-attachment") && c.Bool("as-text"):
				return usagef("either --as-attachment or --as-text")
			case len(words) == 0:
				return usagef("which message? Give its path, or - for standard input")
			}
			return e.answer(c, words[0], words[1:], (*answering).forward)
		},
	}
}

// forward fills in the message that is sent on.
func (a *answering) forward() error {
	a.thread(message.NewForward(a.root.Header))
	if a.c.Bool("as-attachment") || !a.c.Bool("as-text") && isSealed(a.root) {
		return a.attachWhole()
	}
	texts, files := a.root.Content()
	var b strings.Builder
	b.WriteString(a.forwardedFields())
	for _, p := range texts {
		text, cut, err := p.Text(a.f, maxText)
		if err != nil {
			return readError(err)
		}
		flowed, delSp := p.IsFlowed()
		b.WriteString("\n" + message.FixText(text, flowed, delSp))
		if !strings.HasSuffix(text, "\n") {
			b.WriteByte('\n')
		}
		if p.Subtype == "html" || cut { // nothing of it must be lost
			files = append(files, message.Attached{Part: p, Name: nameOfText(p)})
		}
	}
	var again []message.Attachment
	for _, f := range files {
		again = append(again, f.Again(a.f))
	}
	a.o.attachments = append(again, a.o.attachments...)
	return a.after(b.String())
}

// isSealed reports a message that is signed or encrypted, as a whole or in a part that a mailing list has put beside others: taken
// apart it could be neither checked nor read any more. What is in a message inside of it stays together anyway.
func isSealed(p *message.Part) bool {
	switch p.MediaType() {
	case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return p.Type == "multipart" && slices.ContainsFunc(p.Parts, isSealed)
}

func nameOfText(p *message.Part) string {
	if p.Subtype == "html" {
		return "message.html"
	}
	return "message.txt"
}

// forwardedFields are the fields that people look at, decoded.
func (a *answering) forwardedFields() string {
	h := a.root.Header
	var b strings.Builder
	b.WriteString("---------- Forwarded message ----------\n")
	field := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + value + "\n")
		}
	}
	field("From", message.DisplayAddresses(h.Get("From")))
	field("Date", message.DecodeText(h.Get("Date")))
	field("Subject", message.DecodeText(h.Get("Subject")))
	field("To", message.DisplayAddresses(strings.Join(h.Values("To"), ", ")))
	field("Cc", message.DisplayAddresses(strings.Join(h.Values("Cc"), ", ")))
	return b.String()
}

// attachWhole attaches the message as it is stored.
func (a *answering) attachWhole() error {
	info, err := a.f.Stat()
	if err != nil {
		return readError(err)
	}
	name := message.SafeName(strings.ReplaceAll(message.DecodeText(a.root.Header.Get("Subject")), "/", "-"))
	if name == "" {
		name = "message"
	}
	whole := message.Attachment{Name: name + ".eml", Type: "message/rfc822", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(inputReader{io.NewSectionReader(a.f, 0, info.Size()), a.m.path()}), nil
	}}
	a.o.attachments = append([]message.Attachment{whole}, a.o.attachments...)
	return nil
}
