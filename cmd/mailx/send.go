package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/mail"
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
		Flags: append(e.composeFlags(),
			&cli.StringFlag{Name: "envelope-from", Aliases: []string{"f"}, Usage: "the reverse-path is `ADDRESS`; empty or <> is the null one"},
			&cli.BoolFlag{Name: "from-header", Aliases: []string{"t"}, Usage: "the whole message is on standard input; its header names recipients too"},
			&cli.BoolFlag{Name: "skip-empty", Usage: "send nothing if there is nothing to send"},
			&cli.StringFlag{Name: "account", Usage: "send with the account `NAME`"},
			&cli.IntFlag{Name: "password-fd", Usage: "read the password for the server from the descriptor `N`"},
			e.keyFlag("server", "smarthost", "hand all remote mail to the server at `URL`"),
			&cli.BoolFlag{Name: "queue", Usage: "only store the message in the queue"},
			&cli.BoolFlag{Name: "now", Usage: "deliver now or fail; nothing is stored"},
			&cli.StringFlag{Name: "timeout", Usage: "give the attempt `TIME`", Value: config.FormatDuration(defaultAttempt)},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the message instead of sending it, the envelope on standard error"},
			&cli.BoolFlag{Name: "crlf", Usage: "with --dry-run: lines end in CRLF, as on the wire"},
			&cli.BoolFlag{Name: "trace", Usage: "show the dialog on standard error, secrets masked"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what became of each recipient"},
			jsonFlag(),
		),
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
	l, err := e.letter(sys, opt)
	if err != nil || l == nil {
		return err
	}
	if err := sys.chooseAccount(l, opt); err != nil {
		return err
	}
	switch {
	case opt.dryRun:
		return e.dryRun(l, opt.crlf, sys.cfg.SMTP.MaxSize)
	case opt.queue:
		return e.enqueueOnly(sys, l, opt)
	}
	return e.deliverNow(ctx, sys, l, opt)
}

// enqueueOnly writes the message straight into the queue. No user file is read, no name resolved.
func (e *env) enqueueOnly(sys *system, l *letter, opt *sendOptions) error {
	id, err := sys.store(&l.env, l.bounded(sys.cfg.SMTP.MaxSize))
	if err != nil {
		return err
	}
	outcomes := make([]outcome, len(l.env.Rcpts))
	for i, r := range l.env.Rcpts {
		outcomes[i] = outcome{Result: mail.Result{Recipient: r}, queueID: id}
	}
	return e.reportSent(outcomes, opt, false)
}

// deliverNow has the whole message before it begins, so that nothing half-read is ever sent.
func (e *env) deliverNow(ctx context.Context, sys *system, l *letter, opt *sendOptions) error {
	msg := &held{}
	defer msg.close()
	if err := l.bounded(sys.cfg.SMTP.MaxSize)(msg); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opt.timeout, fmt.Errorf("not done within %s", config.FormatDuration(opt.timeout)))
	defer cancel()
	p := &posting{sys: sys, env: &l.env, msg: msg, mayStore: !opt.now, trace: e.tracer(opt.trace, false)}
	outcomes, err := p.run(ctx)
	if err != nil {
		return err
	}
	isSaid := p.why != "" && p.queueID != "" && (p.isTrouble || opt.verbose || !opt.isQuiet || e.stderrIsTerminal())
	if isSaid {
		e.note("%s: queued as %s; mailx queue flush will try%s", p.why, p.queueID, mxHosts(sys, &l.env))
	}
	return e.reportSent(outcomes, opt, isSaid)
}

// mxHosts says whom a flush will try.
func mxHosts(sys *system, env *mail.Envelope) string {
	if sys.hasWay(env, env.Rcpts) {
		return ""
	}
	return " the MX hosts"
}

// dryRun prints the octets that would be sent to stdout, and the envelope as comments to stderr.
func (e *env) dryRun(l *letter, crlf bool, maxSize int64) error {
	if l.account != "" {
		fmt.Fprintf(e.stderr, "# account %s\n", l.account)
	}
	fmt.Fprintf(e.stderr, "# sender %s\n", l.env.Sender.Path())
	for _, r := range l.env.Rcpts {
		fmt.Fprintf(e.stderr, "# recipient %s\n", r.Path())
	}
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
