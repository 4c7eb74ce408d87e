package message

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"time"

	"mailx/pkg/mail"
)

// HeaderField is a field that the caller adds: one line of text, not folded and not encoded.
type HeaderField struct{ Name, Value string }

// Draft is a message to be written, once: its readers are used up. Only From is needed.
type Draft struct {
	From, ReplyTo []Mailbox
	Sender        *Mailbox
	To, Cc        []Mailbox
	Bcc           []Mailbox // not written: recipients belong to the envelope
	Subject       string
	Date          time.Time // zero: now
	MessageID     string    // with its angle brackets; empty: a new one at the domain of From
	InReplyTo     string    // message ids with their angle brackets, separated by spaces
	References    string
	AutoSubmitted string // "auto-generated", "auto-replied" (RFC 3834 §5); empty: not automatic

	// Headers are written after the rest. A name that Draft has too replaces it. Content-Type gives the type of Text ("text/html")
	// with its parameters, and the charset that it is in; MIME-Version and Content-Transfer-Encoding are ignored, because
	// they are ours to say. Bcc is refused.
	Headers []HeaderField

	Text, HTML  io.Reader // nil: none. Anything is taken
	Charset     string    // that both are in; empty: by a byte order mark, else UTF-8 if they are that
	Locale      string    // the charset of what is not UTF-8 and has none of its own; empty: such octets stay as they are
	Encoding    string    // of both, "8bit", "quoted-printable" or "base64", if that can be; empty: by the content
	Attachments []Attachment

	KeepBcc bool // Bcc is written after all: for a program that takes the recipients out of the header

	Random io.Reader // for boundaries and ids; nil: crypto/rand
}

// Write writes the message in local form, all of it 7 bit in lines of at most 76 octets. What stays as it is: a URL or an
// address that is longer, addresses that are UTF-8 themselves (RFC 6532), messages that are attached, and texts in 8bit.
// It stops at the first error: a *FieldError for a value that can't go into a header (then nothing has been written), or
// the one of a reader or of w.
func (d *Draft) Write(w io.Writer) error {
	d2 := *d
	d2.Headers = slices.Clone(d.Headers)
	fields, err := d2.fields()
	if err != nil {
		return err
	}
	root, err := d2.tree()
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(w)
	bw.Write(fields)
	bw.WriteString("MIME-Version: 1.0\n")
	if err := root.write(bw); err != nil {
		return err
	}
	return bw.Flush()
}

// NeedsUTF8 says that an address in the header is UTF-8, so that the message can only be sent with SMTPUTF8. One whose domain
// alone is not ASCII has that in A-label form there, which all programs take.
func (d *Draft) NeedsUTF8() bool {
	lists := slices.Concat(d.From, d.ReplyTo, d.To, d.Cc)
	if d.Sender != nil {
		lists = append(lists, *d.Sender)
	}
	return slices.ContainsFunc(lists, func(m Mailbox) bool { _, ok := m.Address.ToASCII(); return !ok })
}

// fields prints all fields but those of MIME.
func (d *Draft) fields() ([]byte, error) {
	if err := d.fillIn(); err != nil {
		return nil, err
	}
	p := fieldPrinter{over: d.Headers}
	p.text("Date", FormatDate(d.Date))
	p.mailboxes("From", d.From)
	if d.Sender != nil {
		p.mailboxes("Sender", []Mailbox{*d.Sender})
	}
	p.mailboxes("Reply-To", d.ReplyTo)
	if len(d.To) == 0 && len(d.Cc) == 0 && !p.overrides("Cc") && !d.KeepBcc {
		p.raw("To", []string{" undisclosed-recipients:;"}) // RFC 5322 §3.6.3 needs none, some receivers do
	}
	p.mailboxes("To", d.To)
	p.mailboxes("Cc", d.Cc)
	if d.KeepBcc {
		p.mailboxes("Bcc", d.Bcc)
	} else {
		p.check("Bcc", d.Bcc)
	}
	if d.Subject != "" {
		p.text("Subject", d.Subject)
	}
	p.ids("Message-ID", d.MessageID, validMsgID)
	p.ids("In-Reply-To", d.InReplyTo, isMsgID)
	p.ids("References", d.References, isMsgID)
	if d.AutoSubmitted != "" {
		p.text("Auto-Submitted", d.AutoSubmitted)
	}
	for _, h := range d.Headers {
		p.extra(h)
	}
	return p.b, p.err
}

func (d *Draft) fillIn() (err error) {
	if len(d.From) == 0 && !slices.ContainsFunc(d.Headers, isNamed("From")) {
		return &FieldError{Field: "From", Reason: "missing"}
	}
	if d.Date.IsZero() {
		d.Date = time.Now()
	}
	if d.MessageID == "" {
		host := ""
		if len(d.From) > 0 {
			host = d.From[0].Address.Domain
		}
		d.MessageID, err = NewMessageID(host, d.Date, d.Random)
	}
	return err
}

func isNamed(name string) func(HeaderField) bool {
	return func(h HeaderField) bool { return strings.EqualFold(h.Name, name) }
}

// fieldPrinter prints fields; the first error sticks.
type fieldPrinter struct {
	b    []byte
	over []HeaderField // replace what has the same name
	err  error
}

func (p *fieldPrinter) overrides(name string) bool { return slices.ContainsFunc(p.over, isNamed(name)) }

func (p *fieldPrinter) raw(name string, tokens []string) {
	if p.err != nil || p.overrides(name) {
		return
	}
	p.keep(appendField(p.b, name, tokens))
}

func (p *fieldPrinter) keep(b []byte, err error) {
	if err != nil && p.err == nil {
		p.err = err
		return
	}
	if p.err == nil {
		p.b = b
	}
}

func (p *fieldPrinter) text(name, value string) {
	if p.err == nil && !p.overrides(name) {
		p.keep(appendText(p.b, name, value))
	}
}

// check refuses mailboxes that can't be written.
func (p *fieldPrinter) check(name string, list []Mailbox) {
	for _, m := range list {
		if reason := checkMailbox(m); reason != "" && p.err == nil {
			p.err = &FieldError{Field: name, Reason: reason}
		}
	}
}

// checkMailbox gives the reason why a mailbox can't be written, "" if it can.
func checkMailbox(m Mailbox) string {
	reason := badControl(m.Name, false)
	if reason == "" {
		reason = badControl(m.Address.Local+m.Address.Domain, false)
	}
	if reason == "" {
		if back, err := mail.ParseAddress(m.Address.String()); err != nil || back != m.Address {
			reason = "bad address"
		}
	}
	return reason
}

func (p *fieldPrinter) mailboxes(name string, list []Mailbox) {
	if p.check(name, list); len(list) > 0 {
		p.raw(name, mailboxTokens(list))
	}
}

// ids prints message ids. Those of others are taken as they are, if they are in one piece.
func (p *fieldPrinter) ids(name, value string, valid func(string) bool) {
	if p.err != nil || value == "" {
		return
	}
	if reason := badControl(value, false); reason != "" {
		p.err = &FieldError{Field: name, Reason: reason}
		return
	}
	var tokens []string
	for id := range strings.FieldsSeq(value) {
		if !valid(id) {
			p.err = &FieldError{Field: name, Reason: "bad message id"}
			return
		}
		tokens = append(tokens, " "+id)
	}
	p.raw(name, tokens)
}

// extra prints a field of the caller: addresses and ids as such, everything else as text.
func (p *fieldPrinter) extra(h HeaderField) {
	over := p.over
	p.over = nil
	defer func() { p.over = over }()
	switch strings.ToLower(h.Name) {
	case "mime-version", "content-type", "content-transfer-encoding":
		if reason := badControl(h.Value, true); reason != "" && p.err == nil {
			p.err = &FieldError{Field: h.Name, Reason: reason}
		}
	case "bcc", "resent-bcc":
		if p.err == nil {
			p.err = &FieldError{Field: h.Name, Reason: "is never written; give recipients instead"}
		}
	case "from", "sender", "reply-to", "to", "cc":
		p.extraMailboxes(h)
	case "message-id":
		p.ids(h.Name, h.Value, validMsgID)
	case "in-reply-to", "references":
		p.ids(h.Name, h.Value, isMsgID)
	case "list-unsubscribe", "list-subscribe", "list-post", "list-help", "list-owner", "list-archive":
		p.urls(h)
	default:
		p.text(h.Name, h.Value)
	}
}

// urls prints a list of URLs (RFC 2369 §2), which no reader looks for in encoded words however long they are.
func (p *fieldPrinter) urls(h HeaderField) {
	if badControl(h.Value, true) != "" || !plainText(h.Value) {
		p.text(h.Name, h.Value)
		return
	}
	p.raw(h.Name, wordTokens(h.Value))
}

func (p *fieldPrinter) extraMailboxes(h HeaderField) {
	list, err := ParseMailboxes(h.Value)
	switch {
	case p.err != nil:
	case badControl(h.Value, true) != "":
		p.err = &FieldError{Field: h.Name, Reason: badControl(h.Value, true)}
	case err != nil:
		p.err = &FieldError{Field: h.Name, Reason: mail.TextOf(err)}
	default:
		p.mailboxes(h.Name, list)
	}
}
