package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailbox"
	"mailx/pkg/wire"
)

// How a message has to come: it may fall behind its rate, in octets a second, for literalTime.
const (
	literalTime = 10 * time.Minute
	literalRate = 100
)

var (
	errTooBig    = &no{code: "TOOBIG", text: "Message too big"}
	errReadOnly  = &no{code: "READ-ONLY", text: "Mailbox is selected read-only"}
	errVanished  = &no{code: "EXPUNGEISSUED", text: "Some of the messages no longer exist"}
	errOneAtOnce = mail.Permanentf(5, 4, "One message at a time")
)

// appendArgs are "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal (RFC 3501 §6.3.11).
type appendArgs struct {
	folder  string
	flags   flagSet
	date    time.Time
	size    int64
	unasked bool // it comes without being asked for
}

func parseAppend(text string) (args appendArgs, err error) {
	p := &parser{s: text}
	args.folder = p.folder()
	p.sp()
	if p.at('(') {
		args.flags = p.flagList()
		p.sp()
	}
	if p.at('"') {
		args.date = p.dateTime()
		p.sp()
	}
	size, unasked, ok := literalAtEnd(p.s)
	if _, headOK := p.literalHead(); !ok || !headOK || p.s != "" {
		p.fail("literal")
	}
	args.size, args.unasked = size, unasked
	return args, p.end()
}

// append takes the message from the wire right to the disk.
func (d *dialog) append(ctx context.Context, _ *wire.Args) error {
	text, last, err := d.appendLine()
	if err != nil {
		return err
	}
	args, err := parseAppend(text)
	if err != nil {
		return d.refuse(last, err)
	}
	if args.size > d.srv.maxSize() {
		return d.refuse(last, errTooBig)
	}
	box, err := d.target(ctx, args.folder)
	if err != nil {
		return d.refuse(last, err)
	}
	defer box.Close()
	in, err := box.Receive(mailbox.Attributes{Flags: args.flags.letters, Keywords: args.flags.keywords, Date: args.date})
	if err != nil {
		return d.refuse(last, err)
	}
	defer in.Abort()
	if err := d.receive(in, args); err != nil {
		return err
	}
	uids, err := box.Adopt(ctx, in)
	if err != nil {
		return err
	}
	if uids[0] == 0 { // somebody removed it at once
		return d.say("", "APPEND completed")
	}
	return d.say(fmt.Sprintf("APPENDUID %d %d", box.UIDValidity(), uids[0]), "APPEND completed")
}

// appendLine gives the command up to the size of the message, with the name of the mailbox if that is a literal, and its
// last line.
func (d *dialog) appendLine() (text, last string, err error) {
	text = d.text
	n, unasked, ok := literalAtEnd(text)
	if len(text) == 0 || text[0] != '{' || !ok {
		return text, text, nil
	}
	if n > literalsBeforeLogin {
		return "", "", d.refuseLiteral(n, unasked, errLiteral)
	}
	b := []byte(text)
	last, err = d.takeLiteral(&b, n, unasked)
	return string(b), last, err
}

// receive reads the message. The literal is read to its end whatever happens to the message.
//
// QUIRK: a bare CR or LF counts as a line end; clients that copy from a Unix mailbox send them.
func (d *dialog) receive(in io.Writer, args appendArgs) error {
	if err := d.invite(args.unasked); err != nil {
		return err
	}
	d.c.Pace(literalTime, literalRate)
	literal := d.c.Literal(args.size)
	_, werr := io.Copy(in, wire.LocalForm(literal))
	if _, err := io.Copy(io.Discard, literal); err != nil {
		return err
	}
	line, err := d.c.ReadLine()
	switch {
	case err != nil:
		return err
	case line != "":
		return d.refuse(line, errOneAtOnce)
	}
	return werr
}

// target opens the mailbox that messages go to, to be closed.
func (d *dialog) target(ctx context.Context, name string) (*mailbox.Box, error) {
	box, err := d.store.Open(ctx, name)
	if errors.Is(err, mailbox.ErrNoFolder) {
		if _, nerr := mailbox.SplitName(name); nerr == nil {
			return nil, &no{code: "TRYCREATE", text: "There is no such mailbox", err: err}
		}
	}
	return box, err
}
