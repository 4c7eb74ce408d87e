package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// newSendmail is what other programs call as sendmail(8), mailq(1) and newaliases(1). Its options are not those of a
// framework: parseSendmail reads them.
func newSendmail(e *env) *cli.Command {
	return &cli.Command{
		Name:            "sendmail",
		Usage:           "take a message as sendmail(8) does",
		ArgsUsage:       "[address ...]",
		SkipFlagParsing: true,
		HideHelp:        true,
		Description: "A message with its header is on standard input. It is for the addresses in the arguments and, with -t, for\n" +
			"those in its header. -f ADDRESS is the reverse-path, -F NAME the name in a From that is made; -odq only puts the\n" +
			"message into the queue. -bs is an SMTP session, -bp (mailq) prints the queue, -q works it once, -bv says where\n" +
			"addresses lead, -bi (newaliases) has nothing to do. More: mailx man sendmail.",
		Action: func(c *cli.Context) error { return e.sendmail(c) },
	}
}

func (e *env) sendmail(c *cli.Context) error {
	line, err := parseSendmail(c.Args().Slice())
	if err != nil {
		return err
	}
	switch line.mode {
	case sendmailHelp:
		return cli.ShowSubcommandHelp(c)
	case sendmailSMTP:
		return e.sendmailSMTP(c.Context)
	case sendmailList:
		return e.sendmailList(c.Context, line)
	case sendmailFlush:
		return e.sendmailFlush(c.Context, line)
	case sendmailVerify:
		return e.sendmailVerify(c.Context, line.rcpts)
	case sendmailAliases: // the file is read when it is needed
		return nil
	}
	return e.post(c.Context, e.submission(line))
}

// submission says in the terms of send what sendmail was asked for: a whole message whose sender is -f, or who runs this.
func (e *env) submission(line *sendmailLine) *sendOptions {
	o := &sendOptions{
		whole: true, asUser: true, fromHeader: line.fromHeader, to: line.rcpts,
		sender: line.sender, fullName: line.fullName,
		notify: line.notify, ret: line.ret, envID: line.envID, kind: line.kind,
		queue: line.queueOnly, timeout: defaultAttempt, json: line.json, verbose: line.verbose, isQuiet: true,
	}
	if line.sender != nil && !line.sender.IsNull() {
		o.from = &message.Mailbox{Name: line.fullName, Address: *line.sender}
	}
	if e.stdinIsTerminal() {
		o.body = e.typed(line.ignoreDots)
	}
	return o
}

// typed is a message that a person types, who is told how to end it.
func (e *env) typed(ignoreDots bool) io.Reader {
	end := "a line with a dot alone, or Ctrl-D, ends it"
	if ignoreDots {
		end = "Ctrl-D ends it"
	}
	if e.stderrIsTerminal() {
		e.note("header and text, please; %s", end)
	}
	in := inputReader{e.input(), "standard input"}
	if ignoreDots {
		return in
	}
	return &untilDot{br: bufio.NewReader(in)}
}

// untilDot ends where a line has a dot alone, or where its source does.
type untilDot struct {
	br   *bufio.Reader
	rest []byte // of the line under way; it aliases the buffer of br
	cut  bool   // the line before was longer than the buffer, and goes on
	err  error
}

func (u *untilDot) Read(p []byte) (int, error) {
	for len(u.rest) == 0 && u.err == nil {
		u.next()
	}
	if len(u.rest) == 0 {
		return 0, u.err
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

func (u *untilDot) next() {
	line, err := u.br.ReadSlice('\n')
	wasCut := u.cut
	u.cut = errors.Is(err, bufio.ErrBufferFull)
	if err != nil && !u.cut {
		u.err = err
	}
	if text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")); !wasCut && string(text) == "." {
		u.err = io.EOF
		return
	}
	u.rest = line
}

// sendmailVerify is explain.
func (e *env) sendmailVerify(ctx context.Context, list []message.Mailbox) error {
	addresses := make([]mail.Address, len(list))
	for i, m := range list {
		addresses[i] = m.Address
	}
	return e.explain(ctx, addresses, false)
}
