package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

func newReply(e *env) *cli.Command {
	return &cli.Command{
		Name:      "reply",
		Usage:     "compose an answer to a message and print it",
		ArgsUsage: "path | -",
		Description: "The answer quotes the text of the message. It goes to standard output, for an editor and mailx send -t. Nothing is\n" +
			"sent or stored. \"-\" is the message on standard input, or its path there.",
		Flags: append(e.composeFlags(),
			&cli.BoolFlag{Name: "all", Usage: "answer all who got the message, oneself apart"},
			&cli.BoolFlag{Name: "list", Usage: "answer the mailing list that it came from"},
			&cli.BoolFlag{Name: "no-quote", Usage: "leave the text of the message out"},
			&cli.BoolFlag{Name: "mark", Usage: "mark the message as answered"},
		),
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			switch {
			case c.Bool("all") && c.Bool("list"):
				return usagef("either --all or --list")
			case len(words) > 1:
				return usagef("one path, please; whom to write to besides is for --to, --cc and --bcc")
			case len(words) != 1:
				return usagef("which message? Give its path, or - for standard input")
			}
			return e.answer(c, words[0], nil, (*answering).reply)
		},
	}
}

// answering is the making of a message about another one.
type answering struct {
	*drafting
	c    *cli.Context
	m    mailFile
	f    openFile
	root *message.Part

	ownList []message.Mailbox // once it is needed
}

// answer opens the message that word names, lets fill change the options by it, and prints what they say then.
func (e *env) answer(c *cli.Context, word string, rcpts []string, fill func(*answering) error) error {
	opt, err := e.readAnswerOptions(c, word, rcpts)
	if err != nil {
		return err
	}
	defer opt.close()
	d, err := e.drafting(opt)
	if err != nil {
		return err
	}
	a := &answering{drafting: d, c: c}
	if a.m, a.f, err = e.openOne(word); err != nil {
		return readError(err)
	}
	defer a.f.Close()
	if a.root, err = message.Parse(a.f); err != nil {
		return readError(err)
	}
	if err := fill(a); err != nil {
		return err
	}
	draft, err := d.draft()
	if err != nil {
		return err
	}
	if err := d.print(draft); err != nil {
		return err
	}
	return a.mark(c.Bool("mark"))
}

// readAnswerOptions reads the command line. Standard input is the text only where that was asked for: it may belong to the
// loop that this runs in.
func (e *env) readAnswerOptions(c *cli.Context, word string, rcpts []string) (*sendOptions, error) {
	if err := checkComposeFlags(c); err != nil {
		return nil, err
	}
	r, o := e.newSendReader(c), &sendOptions{}
	if word == "-" {
		r.input = "the message"
	}
	r.addresses(o, rcpts)
	r.content(o)
	if o.body == nil {
		o.body = strings.NewReader("")
	}
	if o.encoding == "" {
		o.encoding = "8bit"
	}
	return r.done(o)
}

// openOne opens the message at a path. "-" is standard input with the message in it, or with nothing but its path, as mailx
// list prints it.
func (e *env) openOne(word string) (mailFile, openFile, error) {
	if word != "-" {
		m := newPathFinder().find(word).locate()
		f, err := m.openMessage()
		return m, f, err
	}
	br := bufio.NewReaderSize(e.input(), maxPath)
	start, err := br.Peek(maxPath)
	if err == io.EOF {
		if name := strings.TrimRight(string(start), "\n\x00"); name != "" && !strings.ContainsAny(name, "\n\x00") {
			m := newPathFinder().find(name).locate()
			if _, err := os.Lstat(m.path()); err == nil {
				f, err := m.openMessage()
				return m, f, err
			}
		}
	} else if err != nil {
		return mailFile{}, nil, err
	}
	f, err := copyAside(br, maxMessage)
	if err != nil {
		return mailFile{}, nil, err
	}
	only, err := messageOnly(f)
	return mailFile{name: "standard input"}, only, err
}

// mark sets the flag R, which mail programs show.
func (a *answering) mark(wanted bool) error {
	if !wanted || a.m.dir == nil {
		return nil
	}
	if _, err := a.m.dir.ChangeFlags(a.m.msg, a.markFlag(), ""); err != nil {
		return err
	}
	return a.m.dir.Sync()
}

// markFlag is that of Maildirs: R for replied, P for passed on.
func (a *answering) markFlag() string {
	if a.c.Command.Name == "forward" {
		return "P"
	}
	return "R"
}

// reply fills in whom the answer is for and what it quotes.
func (a *answering) reply() error {
	o, audience := a.o, message.ToAuthor
	switch {
	case a.c.Bool("all"):
		audience = message.ToAll
	case a.c.Bool("list"):
		audience = message.ToList
	}
	answer := message.NewAnswer(a.root.Header, audience, a.isOwn)
	for _, entry := range answer.Unread {
		a.e.note("left out, because it is no address: %s", entry)
	}
	switch {
	case len(answer.To)+len(o.to) > 0:
	case a.c.Bool("list"):
		return exitWith(exDataErr, fmt.Errorf("the message names no mailing list that can be written to; try --all"))
	default:
		return exitWith(exDataErr, fmt.Errorf("the message names nobody who can be answered; use --to"))
	}
	o.to, o.cc = append(answer.To, o.to...), append(answer.Cc, o.cc...)
	if o.from == nil {
		o.from = a.addressed()
	}
	a.thread(answer)
	if a.c.Bool("no-quote") {
		return nil
	}
	return a.quote()
}

// thread fills in the subject and what the message belongs to. What was given stands.
func (a *answering) thread(answer message.Answer) {
	if !a.c.IsSet("subject") {
		a.o.subject = answer.Subject
	}
	a.o.inReplyTo, a.o.references = answer.InReplyTo, answer.References
}

// isOwn reports an address of who runs this, with a detail or without: mail for ann+lists is ann's.
func (a *answering) isOwn(address mail.Address) bool {
	return slices.ContainsFunc(a.own(), func(m message.Mailbox) bool { return a.isSame(m, address) })
}

func (a *answering) isSame(own message.Mailbox, address mail.Address) bool {
	plain := address.Local
	if i := strings.IndexAny(plain, a.sys.cfg.Delimiter); i > 0 && a.sys.cfg.Delimiter != "none" {
		plain = plain[:i]
	}
	isLocal := strings.EqualFold(own.Address.Local, address.Local) || strings.EqualFold(own.Address.Local, plain)
	return isLocal && own.Address.Domain == address.Domain
}

// own are the addresses of who runs this.
func (a *answering) own() []message.Mailbox {
	if a.ownList != nil {
		return a.ownList
	}
	cfg := a.sys.cfg
	var all []message.Mailbox
	for _, text := range slices.Concat([]string{cfg.From}, cfg.Addresses, cfg.AccountAddresses()) {
		if m, err := message.ParseMailbox(text); err == nil {
			all = append(all, m)
		}
	}
	if name := loginName(); name != "" {
		for _, domain := range append([]string{cfg.Hostname}, cfg.Domains...) {
			all = append(all, message.Mailbox{Address: mail.Address{Local: name, Domain: domain}})
		}
	}
	if a.o.from != nil {
		all = append(all, *a.o.from)
	}
	a.ownList = a.qualified(append(all, a.deliveredTo()...))
	return a.ownList
}

// deliveredTo are the addresses that the message was delivered to and that an account has by a pattern. Elsewhere a pattern such
// as *@example.org says nothing: it fits colleagues, too.
func (a *answering) deliveredTo() []message.Mailbox {
	list := a.named(deliveredFields()...)
	return slices.DeleteFunc(list, func(m message.Mailbox) bool { return a.sys.cfg.AccountOf(m.Address.String()) == "" })
}

// named are the mailboxes in the fields with these names.
func (a *answering) named(fields ...string) (all []message.Mailbox) {
	for _, name := range fields {
		for _, value := range a.root.Header.Values(name) {
			list, _ := message.ParseMailboxesLoosely(value)
			all = append(all, list...)
		}
	}
	return all
}

// deliveredFields say what address a message was delivered to: Postfix, qmail and Dovecot write the first, Exim the last.
func deliveredFields() []string { return []string{"Delivered-To", "X-Original-To", "Envelope-To"} }

// addressed is the own address that the message came to, or from which oneself wrote it, so that the answer comes from there;
// nil if that is not clear.
func (a *answering) addressed() *message.Mailbox {
	for _, m := range a.named(append([]string{"To", "Cc", "From"}, deliveredFields()...)...) {
		if a.isOwn(m.Address) {
			return a.signed(m)
		}
	}
	return nil
}

// signed gives an own address the name that its owner uses there, never the one that others give him: one may be somebody else
// in another account.
func (a *answering) signed(m message.Mailbox) *message.Mailbox {
	account := a.sys.cfg.AccountOf(m.Address.String())
	m.Name = ""
	for _, own := range a.own() {
		switch {
		case own.Name == "":
		case a.isSame(own, m.Address):
			m.Name = own.Name
			return &m
		case m.Name == "" && a.sys.cfg.AccountOf(own.Address.String()) == account:
			m.Name = own.Name
		}
	}
	return &m
}

// quote puts the text of the message, marked, before that of the answer.
func (a *answering) quote() error {
	texts, _ := a.root.Content()
	var b strings.Builder
	for _, p := range texts {
		text, cut, err := p.Text(a.f, maxText)
		if err != nil {
			return readError(err)
		}
		if cut {
			a.e.note("the text is longer than %d octets; its end is not quoted", maxText)
		}
		flowed, delSp := p.IsFlowed()
		if quoted := message.QuoteText(text, flowed, delSp); quoted != "" {
			if b.Len() > 0 {
				b.WriteString(">\n")
			}
			b.WriteString(quoted)
		}
	}
	if b.Len() > 0 {
		return a.before(a.attribution() + b.String())
	}
	return nil
}

// attribution says who wrote what is quoted.
func (a *answering) attribution() string {
	h := a.root.Header
	from, _ := message.ParseMailboxesLoosely(h.Get("From"))
	who := "Somebody"
	if len(from) > 0 {
		if who = from[0].Name; who == "" {
			who = from[0].Address.String()
		}
	}
	if date, err := message.ParseDate(h.Get("Date")); err == nil {
		return "On " + message.FormatDate(date) + ", " + who + " wrote:\n"
	}
	return who + " wrote:\n"
}

// before puts text before that of the command line, with an empty line between them.
func (a *answering) before(text string) error {
	return a.join(text, func(given io.Reader) io.Reader {
		return io.MultiReader(strings.NewReader(text+"\n"), given)
	})
}

// after puts text behind that of the command line.
func (a *answering) after(text string) error {
	return a.join(text, func(given io.Reader) io.Reader {
		return io.MultiReader(given, strings.NewReader("\n"+text))
	})
}

// join puts text, which is UTF-8, together with that of the command line, which may be in any charset, if there is one.
func (a *answering) join(text string, both func(given io.Reader) io.Reader) error {
	o := a.o
	given, err := bodyOrNil(o.body)
	if err != nil {
		return err
	}
	if given == nil {
		o.body = strings.NewReader(text)
	} else if given, err = message.ToUTF8(given, o.charset, o.locale); err == nil {
		o.body = both(&endingReader{r: given})
	}
	if err == nil && o.html != nil && o.charset != "" {
		o.html, err = message.ToUTF8(o.html, o.charset, "")
	}
	o.charset = ""
	return err
}

// endingReader ends in LF.
type endingReader struct {
	r    io.Reader
	last byte
}

func (e *endingReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if n > 0 {
		e.last = p[n-1]
	}
	if n == 0 && err == io.EOF && e.last != 0 && e.last != '\n' && len(p) > 0 {
		p[0], e.last = '\n', '\n'
		return 1, nil
	}
	return n, err
}
