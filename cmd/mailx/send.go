package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"
)

// defaultAttempt is how long a person at a prompt may be kept waiting before the queue takes over.
const defaultAttempt = 30 * time.Second

func newSend(e *env) *cli.Command {
	return &cli.Command{
		Name:      "send",
		Usage:     "compose a message and send it, or queue it",
		ArgsUsage: "[address ...]",
		Description: "The text is on standard input. The message is delivered now; what has to be tried again goes durably\n" +
			"into the queue. Exit 0 only if every recipient has the message, or the queue has it.",
		Flags:  append(e.composeFlags(), e.handoverFlags()...),
		Action: func(c *cli.Context) error { return e.send(c) },
	}
}

// send reads the command line whole, builds the letter, and hands it over. Nothing is stored or sent before all flags
// and files have been looked at.
func (e *env) send(c *cli.Context) error {
	opt, err := e.readSendOptions(c)
	if err != nil {
		return err
	}
	defer opt.close()
	return e.post(c.Context, opt)
}

// post builds the letter that the options describe and hands it over.
func (e *env) post(ctx context.Context, opt *sendOptions) error {
	sys, err := e.system()
	if err != nil {
		return err
	}
	if !sys.cfg.IsSet("log.level") {
		sys.log = nil // a log is for programs that nobody watches
	}
	if err := sys.useAccount(opt); err != nil {
		return err
	}
	h := &handover{e: e, sys: sys, opt: opt}
	defer h.close()
	if opt.each {
		return h.each(ctx)
	}
	l, err := h.letter(opt)
	if err != nil || l == nil {
		return err
	}
	if opt.dryRun {
		return e.dryRun(l, opt.crlf, sys.cfg.SMTP.MaxSize)
	}
	ctx, cancel := h.limited(ctx)
	defer cancel()
	outcomes, err := h.one(ctx, l)
	if err != nil {
		return err
	}
	return h.report(outcomes)
}

// dryRun prints the octets that would be sent to stdout, and the envelope as comments to stderr.
func (e *env) dryRun(l *letter, crlf bool, maxSize int64) error {
	e.showEnvelope(l)
	out := bufio.NewWriterSize(e.stdout, 32<<10)
	write := l.bounded(maxSize)
	if e.stdoutIsTerminal() {
		s := &screen{w: out}
		return errors.Join(write(s), s.end(), out.Flush())
	}
	var w io.Writer = out
	if crlf {
		w = crlfWriter{out}
	}
	return errors.Join(write(w), out.Flush())
}

// showEnvelope prints what is not in the message as comments to stderr.
func (e *env) showEnvelope(l *letter) {
	if l.account != "" {
		fmt.Fprintf(e.stderr, "# account %s\n", l.account)
	}
	fmt.Fprintf(e.stderr, "# sender %s%s\n", l.env.Sender.Path(), senderParams(&l.env))
	for _, r := range l.env.Rcpts {
		fmt.Fprintf(e.stderr, "# recipient %s", r.Path())
		if r.Notify != 0 {
			fmt.Fprintf(e.stderr, " NOTIFY=%s", notifyText(r.Notify))
		}
		fmt.Fprintln(e.stderr)
	}
}
