package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// sendOptions is the command line of send, checked. Its files are open: what can't be read is known before anything is
// written. close closes them.
type sendOptions struct {
	from        *message.Mailbox // nil: the default
	sender      *mail.Address    // of the envelope; nil: that of From
	to, cc, bcc []message.Mailbox
	replyTo     []message.Mailbox
	subject     string
	headers     []message.HeaderField
	inReplyTo   string // message ids
	references  string
	attachments []message.Attachment
	html, body  io.Reader // nil: none; standard input
	charset     string    // of both; empty: found out
	locale      string    // the charset of what is not UTF-8
	encoding    string    // asked for
	isAlert     bool      // no person wrote it

	whole      bool   // standard input is a message with its header
	fromHeader bool   // whole: its To, Cc and Bcc are recipients too
	asUser     bool   // whole: who runs this is the sender, whatever its From says
	fullName   string // the name of the sender in a From that is made; "" for none
	skipEmpty  bool   // send nothing if there is nothing

	notify mail.Notify // what the sender wants to be told of each recipient (RFC 3461)
	ret    mail.Ret
	envID  string
	kind   mail.Body // as it was declared

	account      string
	accountFrom  string // its address, for a message without a From; "" if none was named
	passwordFD   *int   // where the password for the server is; nil: where the configuration says
	timeout      time.Duration
	each         bool   // everybody gets a message of his own
	merge        *merge // each: to the rows of a table; nil: to those of to
	saveTo       string // a copy goes into this folder or Maildir; "" for none
	queue, now   bool   // how to hand over; neither: now, then the queue
	dryRun, crlf bool
	trace        bool
	json         bool // print what became of each recipient
	verbose      bool // tell it
	isQuiet      bool // only a person is told what was to be expected

	files []*os.File
}

func (o *sendOptions) close() {
	for _, f := range o.files {
		f.Close()
	}
	if o.merge != nil {
		o.merge.table.close()
	}
}

// readSendOptions reads the flags. A wrong command line is exit 64, a bad value 65, a file that is not there 66.
func (e *env) readSendOptions(c *cli.Context) (*sendOptions, error) {
	if err := checkSendFlags(c); err != nil {
		return nil, err
	}
	r := e.newSendReader(c)
	o := &sendOptions{}
	r.handover(o)
	r.addresses(o, c.Args().Slice())
	r.recipientFiles(o)
	r.merge(o)
	if r.err == nil && !o.fromHeader && o.merge == nil && len(o.to)+len(o.cc)+len(o.bcc) == 0 {
		r.err = usagef("no recipients")
	}
	r.content(o)
	r.mergeTexts(o)
	r.checkRows(o)
	return r.done(o)
}

func (e *env) newSendReader(c *cli.Context) *sendReader {
	return &sendReader{e: e, c: c, locale: localeCharset(os.Getenv)}
}

// done gives the options, unless something was wrong with one.
func (r *sendReader) done(o *sendOptions) (*sendOptions, error) {
	if r.err != nil {
		o.close()
		return nil, r.err
	}
	return o, nil
}

// addresses reads who and what the message is for; words are recipients.
func (r *sendReader) addresses(o *sendOptions, words []string) {
	o.to, o.cc, o.bcc = append(r.mailboxes("to"), r.arguments(words)...), r.mailboxes("cc"), r.mailboxes("bcc")
	o.from, o.replyTo, o.subject = r.mailbox("from"), r.mailboxes("reply-to"), r.text("subject")
	r.headers(o)
	r.lists(o)
}

// checkSendFlags refuses what makes no sense together.
func checkSendFlags(c *cli.Context) error {
	given := func(names ...string) (set []string) {
		for _, name := range names {
			if c.IsSet(name) {
				set = append(set, "--"+name)
			}
		}
		return set
	}
	if err := checkHandoverFlags(c, given); err != nil {
		return err
	}
	if c.Bool("from-header") {
		composing := given(slices.DeleteFunc(composeFlagNames(), func(name string) bool { return name == "from" || name == "bcc" })...)
		if len(composing) > 0 {
			return usagef("with --from-header the whole message is on standard input: leave out %s", composing[0])
		}
	}
	return checkComposeFlags(c)
}

// sendReader reads values; the first error sticks.
type sendReader struct {
	e      *env
	c      *cli.Context
	locale string // the charset that values are typed in; empty: UTF-8
	input  string // what standard input is for, if not for the text; "" for nothing else
	err    error
}

// bad refuses the value of a flag, or of what is called like that: exit 65.
func (r *sendReader) bad(flag, reason string) {
	if r.err == nil {
		r.err = exitWith(exDataErr, fmt.Errorf("%s: %s", flag, reason))
	}
}

// clean refuses what could break out of a header field or a command. Nothing is ever taken out of a value instead.
func (r *sendReader) clean(flag, value string) bool {
	reason := ""
	switch i := strings.IndexFunc(value, isControlOctet); {
	case i < 0:
		return true
	case value[i] == '\r' || value[i] == '\n':
		reason = "line break in the value"
	case value[i] == 0:
		reason = "NUL in the value"
	default:
		reason = "control character in the value"
	}
	r.bad(flag, reason)
	return false
}

func isControlOctet(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

func (r *sendReader) text(name string) string {
	value := message.DecodeInput(r.locale, r.c.String(name))
	r.clean("--"+name, value)
	return value
}

func (r *sendReader) mailboxes(name string) []message.Mailbox {
	var all []message.Mailbox
	for _, value := range r.c.StringSlice(name) {
		all = append(all, r.parse("--"+name, value)...)
	}
	return all
}

func (r *sendReader) arguments(words []string) []message.Mailbox {
	var all []message.Mailbox
	for _, value := range words {
		all = append(all, r.parse("recipient", value)...)
	}
	return all
}

func (r *sendReader) parse(flag, value string) []message.Mailbox {
	value = message.DecodeInput(r.locale, value)
	if !r.clean(flag, value) {
		return nil
	}
	list, err := message.ParseMailboxes(value)
	switch i := bareBeforeNamed(list); {
	case err != nil:
		r.bad(flag, mail.TextOf(err))
	case i >= 0:
		r.bad(flag, fmt.Sprintf(`a comma separates addresses: is it "%s, %s" %s, in quotes, or two of them?`,
			list[i].Address, list[i+1].Name, list[i+1].Address.Path()))
	}
	return list
}

// bareBeforeNamed finds what may be a name with a comma and without its quotes, "Doe, John <j@x>". Taking it for one
// address could lose the recipient Doe, taking it for two could invent him.
func bareBeforeNamed(list []message.Mailbox) int {
	for i := range max(len(list)-1, 0) {
		if list[i].Name == "" && list[i].Address.Domain == "" && list[i+1].Name != "" {
			return i
		}
	}
	return -1
}

func (r *sendReader) mailbox(name string) *message.Mailbox {
	if !r.c.IsSet(name) {
		return nil
	}
	list := r.parse("--"+name, r.c.String(name))
	if len(list) != 1 {
		r.bad("--"+name, "one address is needed")
		return nil
	}
	return &list[0]
}

// sender is the reverse-path of a flag; nil if it was not given.
func (r *sendReader) sender(name string) *mail.Address {
	if !r.c.IsSet(name) {
		return nil
	}
	return r.reversePath("--"+name, r.c.String(name))
}

// reversePath reads a reverse-path, with or without its angle brackets; empty is the null one.
func (r *sendReader) reversePath(flag, value string) *mail.Address {
	if !r.clean(flag, value) {
		return nil
	}
	if inner, ok := strings.CutPrefix(value, "<"); ok {
		value = strings.TrimSuffix(inner, ">")
	}
	if value == "" {
		return &mail.Address{}
	}
	a, err := mail.ParseAddress(value)
	if err != nil {
		r.bad(flag, fmt.Sprintf("%s: %q", mail.TextOf(err), value))
	}
	return &a
}

func (r *sendReader) duration(name string) time.Duration {
	d, err := config.ParseDuration(r.c.String(name))
	if err == nil && d <= 0 {
		err = errors.New("must be more than 0")
	}
	if err != nil && r.err == nil {
		r.err = usagef("--%s: %v", name, err)
	}
	return d
}

// descriptor is nil if there is none.
func (r *sendReader) descriptor(name string) *int {
	if !r.c.IsSet(name) {
		return nil
	}
	fd := r.c.Int(name)
	if fd < 0 && r.err == nil {
		r.err = usagef("--%s wants a descriptor, not %d", name, fd)
	}
	return &fd
}

// headers reads the fields that were given as such. From is --from, if that is not there, because the envelope depends
// on it; Bcc is --bcc, because it must never be written.
func (r *sendReader) headers(o *sendOptions) {
	for _, line := range r.c.StringSlice("header") {
		line = message.DecodeInput(r.locale, line)
		name, value, ok := strings.Cut(line, ":")
		if !r.clean("--header", line) {
			return
		}
		value = strings.Trim(value, " \t")
		switch {
		case !ok:
			r.bad("--header", fmt.Sprintf("a field is 'Name: value', not %q", line))
		case strings.EqualFold(name, "Bcc"):
			o.bcc = append(o.bcc, r.parse("--header Bcc", value)...)
		case strings.EqualFold(name, "From") && o.from == nil:
			o.from = r.author(o, value)
		case strings.EqualFold(name, "Date") && !r.isTemplate(value):
			o.headers = append(o.headers, message.HeaderField{Name: name, Value: r.date(value)})
		default:
			o.headers = append(o.headers, message.HeaderField{Name: name, Value: decodedWords(value)})
		}
	}
}

// decodedWords is the text of a value that has been encoded for a header already (RFC 2047), so that it is not encoded twice.
func decodedWords(value string) string {
	isOther := func(c rune) bool { return c < ' ' || c >= 0x7f }
	if !strings.Contains(value, "=?") || strings.ContainsFunc(value, isOther) {
		return value
	}
	return message.DecodeText(value)
}

// isTemplate reports a value that is made for each row of a table.
func (r *sendReader) isTemplate(value string) bool {
	return r.c.IsSet("merge") && strings.Contains(value, "{{")
}

// date writes a date as mail has it: scripts give what date(1) prints.
func (r *sendReader) date(value string) string {
	date, err := message.ParseDate(value)
	if err != nil {
		r.bad("--header Date", fmt.Sprintf("%q is no date; date -R prints one", value))
	}
	return message.FormatDate(date)
}

// author reads a From field. One with several authors is kept as it is, and the first is the sender.
func (r *sendReader) author(o *sendOptions, value string) *message.Mailbox {
	list := r.parse("--header From", value)
	if len(list) == 0 {
		r.bad("--header From", "an address is needed")
		return nil
	}
	if len(list) > 1 {
		o.headers = append(o.headers, message.HeaderField{Name: "From", Value: value})
	}
	return &list[0]
}
