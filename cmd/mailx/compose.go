package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"mailx/pkg/message"
)

func newCompose(e *env) *cli.Command {
	return &cli.Command{
		Name:      "compose",
		Usage:     "compose a message and print it",
		ArgsUsage: "[address ...]",
		Description: "The text is on standard input. The message goes to standard output, with its Bcc, for a pipe into other\n" +
			"programs and mailx send -t. Nothing is sent or stored.",
		Flags: e.composeFlags(),
		Action: func(c *cli.Context) error {
			opt, err := e.readComposeOptions(c)
			if err != nil {
				return err
			}
			defer opt.close()
			d, err := e.drafting(opt)
			if err != nil {
				return err
			}
			draft, err := d.draft()
			if err != nil {
				return err
			}
			return d.print(draft)
		},
	}
}

func (e *env) readComposeOptions(c *cli.Context) (*sendOptions, error) {
	if err := checkComposeFlags(c); err != nil {
		return nil, err
	}
	r, o := e.newSendReader(c), &sendOptions{}
	r.addresses(o, c.Args().Slice())
	r.content(o)
	return r.done(o)
}

// drafting prepares a message that is only printed. Nothing of the mail system is needed but what the configuration says.
func (e *env) drafting(o *sendOptions) (*drafting, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	now, random, err := e.dateAndRandom()
	return &drafting{e: e, sys: &system{cfg: cfg, env: e}, o: o, now: now, random: random}, err
}

// print writes the message to stdout once it is there as a whole: a pipe into a program that sends must get all of it or
// nothing.
func (d *drafting) print(draft *message.Draft) error {
	draft.Bcc, draft.KeepBcc = d.qualified(d.o.bcc), true
	draft.Random = d.random(draft.From[0].String(), fmt.Sprint(draft.To, draft.Cc, draft.Bcc), draft.Subject, draft.References)
	msg := &held{}
	defer msg.close()
	if err := (&letter{write: draft.Write}).bounded(d.sys.cfg.SMTP.MaxSize)(msg); err != nil {
		return err
	}
	out := bufio.NewWriterSize(d.e.stdout, 32<<10)
	if d.e.stdoutIsTerminal() {
		s := &screen{w: out}
		return cmp.Or(msg.writeTo(s), s.end(), out.Flush())
	}
	return cmp.Or(msg.writeTo(io.Writer(out)), out.Flush())
}
