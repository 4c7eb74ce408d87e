package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	attachments []message.Attachment
	html, body  io.Reader // nil: none; standard input

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
	timeout      time.Duration
	queue, now   bool // how to hand over; neither: now, then the queue
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
}

// readSendOptions reads the flags. A wrong command line is exit 64, a bad value 65, a file that is not there 66.
func readSendOptions(c *cli.Context) (*sendOptions, error) {
	if err := checkSendFlags(c); err != nil {
		return nil, err
	}
	r := &sendReader{c: c}
	o := &sendOptions{
		to: append(r.mailboxes("to"), r.arguments()...), cc: r.mailboxes("cc"), bcc: r.mailboxes("bcc"),
		from: r.mailbox("from"), sender: r.sender("envelope-from"), replyTo: r.mailboxes("reply-to"),
		subject: r.text("subject"), account: r.text("account"), timeout: r.duration("timeout"),
		whole: c.Bool("from-header"), fromHeader: c.Bool("from-header"), skipEmpty: c.Bool("skip-empty"),
		queue: c.Bool("queue"), now: c.Bool("now"), dryRun: c.Bool("dry-run"), crlf: c.Bool("crlf"), trace: c.Bool("trace"),
		json: c.Bool("json"), verbose: c.Bool("verbose"),
	}
	r.headers(o)
	if r.err == nil && !o.fromHeader && len(o.to)+len(o.cc)+len(o.bcc) == 0 {
		r.err = usagef("no recipients")
	}
	r.content(o)
	if r.err != nil {
		o.close()
		return nil, r.err
	}
	return o, nil
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
	if set := given("queue", "now", "dry-run"); len(set) > 1 {
		return usagef("either %s or %s", set[0], set[1])
	}
	if set := given("body", "body-file"); len(set) > 1 {
		return usagef("either --body or --body-file")
	}
	composing := given("to", "cc", "subject", "reply-to", "header", "attach", "html", "body", "body-file")
	switch {
	case c.Bool("from-header") && len(composing) > 0:
		return usagef("with --from-header the whole message is on standard input: leave out %s", composing[0])
	case c.Bool("crlf") && !c.Bool("dry-run"):
		return usagef("--crlf is for --dry-run")
	case c.Bool("json") && c.Bool("dry-run"):
		return usagef("either --json or --dry-run")
	}
	return nil
}

// sendReader reads values; the first error sticks.
type sendReader struct {
	c   *cli.Context
	err error
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
	value := r.c.String(name)
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

func (r *sendReader) arguments() []message.Mailbox {
	var all []message.Mailbox
	for _, value := range r.c.Args().Slice() {
		all = append(all, r.parse("recipient", value)...)
	}
	return all
}

func (r *sendReader) parse(flag, value string) []message.Mailbox {
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

// headers reads the fields that were given as such. From is --from, if that is not there, because the envelope depends
// on it; Bcc is --bcc, because it must never be written.
func (r *sendReader) headers(o *sendOptions) {
	for _, line := range r.c.StringSlice("header") {
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
		default:
			o.headers = append(o.headers, message.HeaderField{Name: name, Value: value})
		}
	}
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

// content opens the files.
func (r *sendReader) content(o *sendOptions) {
	for _, name := range r.c.StringSlice("attach") {
		r.attach(o, name)
	}
	if r.c.IsSet("html") {
		o.html = r.reader(o, "html")
	}
	switch {
	case r.c.IsSet("body"):
		text := r.c.String("body")
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		o.body = strings.NewReader(text)
	case r.c.IsSet("body-file") && r.c.String("body-file") != "-":
		o.body = r.reader(o, "body-file")
	}
}

func (r *sendReader) reader(o *sendOptions, flag string) io.Reader {
	if f := r.open(o, flag, r.c.String(flag)); f != nil {
		return inputReader{f, r.c.String(flag)}
	}
	return nil
}

// open opens a file for reading. A directory is no file.
func (r *sendReader) open(o *sendOptions, flag, name string) *os.File {
	if r.err != nil {
		return nil
	}
	f, err := os.Open(name)
	if err == nil {
		o.files = append(o.files, f)
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			err = exitWith(exNoInput, &os.PathError{Op: "read", Path: name, Err: syscall.EISDIR})
		}
	}
	if err != nil {
		r.err = fmt.Errorf("--%s: %w", flag, err)
		return nil
	}
	return f
}

// attach opens an attachment. One that can't be read twice (a pipe) is never taken for a message, which is looked
// at first.
func (r *sendReader) attach(o *sendOptions, name string) {
	if name == "-" {
		r.err = errors.Join(r.err, usagef("--attach -: standard input is the text; name a file"))
		return
	}
	if !r.clean("--attach", name) {
		return
	}
	f := r.open(o, "attach", name)
	if f == nil {
		return
	}
	a := message.Attachment{Name: filepath.Base(name)}
	if _, err := f.Seek(0, io.SeekStart); err != nil && strings.EqualFold(filepath.Ext(name), ".eml") {
		a.Type = "application/octet-stream"
	}
	opened := false
	a.Open = func() (io.ReadCloser, error) {
		if opened {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return nil, exitWith(exIOErr, err)
			}
		}
		opened = true
		return io.NopCloser(inputReader{f, name}), nil
	}
	o.attachments = append(o.attachments, a)
}

// inputReader gives a failure to read what goes into the message an exit code, so that nobody takes it for one to write.
type inputReader struct {
	r    io.Reader
	name string
}

func (i inputReader) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	code := exIOErr
	if errors.Is(err, syscall.EISDIR) {
		code = exNoInput
	}
	return n, exitWith(code, fmt.Errorf("%s: %w", i.name, unwrapPath(err)))
}

// unwrapPath takes the name of the file off, which stands in front already.
func unwrapPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// bodyOrNil gives a reader of the same octets, or nil if there are none.
func bodyOrNil(r io.Reader) (io.Reader, error) {
	br := bufio.NewReader(r)
	switch _, err := br.Peek(1); err {
	case nil:
		return br, nil
	case io.EOF:
		return nil, nil
	default:
		return nil, err
	}
}
