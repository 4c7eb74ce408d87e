package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"mailx/pkg/delivery"
	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/wire"
)

// letter is a message that is ready to be written, once, with its envelope.
type letter struct {
	env     mail.Envelope
	author  mail.Address          // the first of From
	bcc     []message.Mailbox     // who gets a copy that nobody sees
	account string                // it goes by; "" for none
	write   func(io.Writer) error // local form
}

// bounded is write with a limit on the octets that go over the wire. Above it the error is 5.3.4.
func (l *letter) bounded(max int64) func(io.Writer) error {
	return func(w io.Writer) error { return l.write(&boundedWriter{w: w, left: max, max: max}) }
}

type boundedWriter struct {
	w         io.Writer
	left, max int64
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	if b.left -= int64(len(p) + bytes.Count(p, []byte{'\n'})); b.left < 0 {
		return 0, mail.Permanentf(3, 4, "Message is larger than smtp.max_size, %d octets", b.max)
	}
	return b.w.Write(p)
}

// letter builds the letter that the options describe; nil if it is empty and --skip-empty was given. It waits for the
// first octet of standard input.
func (e *env) letter(sys *system, o *sendOptions) (*letter, error) {
	now, random, err := e.dateAndRandom()
	if err != nil {
		return nil, err
	}
	d := &drafting{e: e, sys: sys, o: o, now: now, random: random}
	if o.whole {
		return d.whole()
	}
	return d.compose()
}

// dateAndRandom are what a message has of its moment. With SOURCE_DATE_EPOCH (reproducible-builds.org) in the
// environment the date is that, and random then makes the same octets again for the same addresses and subject.
func (e *env) dateAndRandom() (time.Time, func(seed ...string) io.Reader, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return e.now(), func(...string) io.Reader { return nil }, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || time.Unix(seconds, 0).UTC().Year() > 9999 {
		return time.Time{}, nil, exitWith(exConfig, fmt.Errorf("SOURCE_DATE_EPOCH is a number of seconds before the year 10000, not %q", text))
	}
	return time.Unix(seconds, 0).UTC(), func(seed ...string) io.Reader {
		return &repeatable{seed: fmt.Appendf(nil, "%d %q", seconds, seed)}
	}, nil
}

// repeatable is an endless stream that depends on its seed alone.
type repeatable struct {
	seed  []byte
	block uint64
	rest  []byte
}

func (r *repeatable) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if len(r.rest) == 0 {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(r.seed[:len(r.seed):len(r.seed)], r.block))
			r.rest, r.block = sum[:], r.block+1
		}
		copied := copy(p[n:], r.rest)
		n, r.rest = n+copied, r.rest[copied:]
	}
	return len(p), nil
}

// drafting is a letter in the making.
type drafting struct {
	e      *env
	sys    *system
	o      *sendOptions
	now    time.Time
	random func(seed ...string) io.Reader
	names  *delivery.Router // made when it is needed
	author message.Mailbox  // of the whole message
}

// compose makes a letter of flags and a text.
func (d *drafting) compose() (*letter, error) {
	draft, err := d.draft()
	if err != nil || draft == nil {
		return nil, err
	}
	author := draft.From[0].Address
	l := &letter{env: d.envelope(author), author: author, bcc: d.qualified(d.o.bcc), write: draft.Write}
	if l.env.Rcpts, err = d.recipients(d.o.to, d.o.cc, d.o.bcc); err != nil {
		return nil, err
	}
	l.env.UTF8 = draft.NeedsUTF8() || needsUTF8(&l.env)
	draft.Random = d.random(draft.From[0].String(), fmt.Sprint(l.env.Rcpts), d.o.subject)
	return l, nil
}

// draft makes a message of flags and a text; nil if it is empty and --skip-empty was given.
func (d *drafting) draft() (*message.Draft, error) {
	o := d.o
	from, err := d.from()
	if err != nil {
		return nil, err
	}
	draft := &message.Draft{
		From: []message.Mailbox{from}, ReplyTo: d.qualified(o.replyTo), To: d.qualified(o.to), Cc: d.qualified(o.cc),
		Subject: o.subject, Date: d.now, Headers: o.headers, HTML: o.html, Attachments: o.attachments,
		Charset: o.charset, Locale: o.locale, Encoding: o.encoding, InReplyTo: o.inReplyTo, References: o.references,
	}
	if o.isAlert {
		draft.AutoSubmitted = "auto-generated" // RFC 3834 §5.1
	}
	text, err := bodyOrNil(d.text())
	if err != nil {
		return nil, err
	}
	if text != nil {
		draft.Text = text
	}
	if o.skipEmpty && text == nil && o.html == nil && len(o.attachments) == 0 {
		return nil, nil
	}
	return draft, nil
}

// text is the body: never that of a person at a terminal who has given HTML already. Others at a terminal are told that they
// are waited for.
func (d *drafting) text() io.Reader {
	switch {
	case d.o.body != nil:
		return d.o.body
	case d.o.html != nil && d.e.stdinIsTerminal():
		return bytes.NewReader(nil)
	case d.e.mayPrompt() && d.o.whole:
		d.e.note("header and text, please; Ctrl-D ends it")
	case d.e.mayPrompt():
		d.e.note("the text, please; Ctrl-D ends it")
	}
	return inputReader{d.e.input(), "standard input"}
}

// from is --from, else the configured address, else the login name at this host.
func (d *drafting) from() (message.Mailbox, error) {
	if d.o.from != nil {
		return d.qualified([]message.Mailbox{*d.o.from})[0], nil
	}
	text, what := cmp.Or(d.o.accountFrom, d.sys.cfg.From), "from"
	if text == "" {
		text, what = mail.Address{Local: loginName()}.String(), "login name"
	}
	if text == "" {
		return message.Mailbox{}, exitWith(exConfig, errors.New("who sends this? Set from or EMAIL, or use --from"))
	}
	m, err := message.ParseMailbox(message.DecodeInput(d.o.locale, text))
	if err != nil {
		return m, exitWith(exConfig, fmt.Errorf("%s: %s", what, mail.TextOf(err)))
	}
	if d.o.fullName != "" {
		m.Name = d.o.fullName
	}
	return d.qualified([]message.Mailbox{m})[0], nil
}

// envelope has no recipients yet.
func (d *drafting) envelope(from mail.Address) mail.Envelope {
	if d.o.sender != nil {
		from = *d.o.sender
	}
	return mail.Envelope{Sender: d.qualify(from), Ret: d.o.ret, EnvID: d.o.envID, Body: d.o.kind, Arrived: d.e.now()}
}

// qualify completes a name without a domain with that of this host; the null address stays.
func (d *drafting) qualify(a mail.Address) mail.Address {
	if a.Domain == "" && a.Local != "" {
		a.Domain = d.sys.cfg.Hostname
	}
	return a
}

// qualified is for header fields, where every address has a domain (RFC 5322 §3.4.1).
func (d *drafting) qualified(list []message.Mailbox) []message.Mailbox {
	list = slices.Clone(list)
	for i := range list {
		list[i].Address = d.qualify(list[i].Address)
	}
	return list
}

// recipients are those of the envelope, each once. A name without a domain stays as it is if it is known here; else
// it is completed, and may belong to somebody elsewhere.
func (d *drafting) recipients(lists ...[]message.Mailbox) ([]mail.Recipient, error) {
	var rcpts []mail.Recipient
	seen := map[mail.Address]bool{}
	for _, m := range slices.Concat(lists...) {
		a := m.Address
		if a.Domain == "" && !d.isKnown(a) {
			a = d.qualify(a)
		}
		if !seen[a] {
			seen[a] = true
			rcpts = append(rcpts, mail.Recipient{Address: a, Notify: d.o.notify})
		}
	}
	switch {
	case len(rcpts) == 0 && d.o.fromHeader:
		return nil, usagef("no recipients: no address is in To, Cc or Bcc of the message, or on the command line")
	case len(rcpts) == 0:
		return nil, usagef("no recipients")
	}
	return rcpts, nil
}

// isKnown is true when in doubt, too: then the queue finds out.
func (d *drafting) isKnown(a mail.Address) bool {
	if d.names == nil {
		d.names = d.sys.names(d.sys.localUsers())
	}
	_, err := d.names.Route(a)
	return !mail.StatusOf(err).IsPermanent()
}

func needsUTF8(env *mail.Envelope) bool {
	needs := func(a mail.Address) bool { _, ok := a.ToASCII(); return !ok }
	return needs(env.Sender) || slices.ContainsFunc(env.Rcpts, func(r mail.Recipient) bool { return needs(r.Address) })
}

// whole takes the message as it is on standard input, and with -t the recipients in its header: To, Cc and Bcc, or if it
// is sent on, those of its Resent- fields (RFC 5322 §3.6.6). Only Bcc is taken out, and only what a message must have and
// has not is added.
func (d *drafting) whole() (*letter, error) {
	in, err := bodyOrNil(wire.LocalForm(d.text()))
	if err != nil {
		return nil, err
	}
	if in == nil && d.o.skipEmpty {
		return nil, nil
	}
	if in == nil {
		in = bytes.NewReader(nil)
	}
	br := bufio.NewReader(in)
	if err := dropEnvelopeLines(br, false); err != nil {
		return nil, err
	}
	var read bytes.Buffer // what was looked at, and is sent unchanged
	h, err := message.ReadHeader(bufio.NewReader(io.TeeReader(br, &read)), message.Limits{})
	if err != nil {
		return nil, err
	}
	l := &letter{}
	if err := d.address(l, h); err != nil {
		return nil, err
	}
	missing := &message.Header{}
	if !h.Has("From") || !h.Has("Date") || !h.Has("Message-ID") {
		if missing, err = d.missing(l); err != nil {
			return nil, err
		}
	}
	l.write = func(w io.Writer) error { return fillMissing(w, io.MultiReader(&read, br), missing) }
	return l, nil
}

// address makes the envelope of a message with a header.
func (d *drafting) address(l *letter, h *message.Header) error {
	prefix := ""
	if h.Has("Resent-To") || h.Has("Resent-Cc") || h.Has("Resent-Bcc") {
		prefix = "Resent-"
	}
	lists := [][]message.Mailbox{d.o.to, d.o.bcc}
	l.bcc = d.qualified(d.o.bcc)
	isUTF8 := false
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, value := range h.Values(prefix + name) {
			list, err := message.ParseMailboxes(value)
			switch {
			case !d.o.fromHeader: // then it is for people
			case err != nil:
				return exitWith(exDataErr, fmt.Errorf("%s in the header: %s", prefix+name, mail.TextOf(err)))
			default:
				lists = append(lists, list)
				if name == "Bcc" {
					l.bcc = append(l.bcc, d.qualified(list)...)
				}
			}
			isUTF8 = isUTF8 || hasUTF8(list)
		}
	}
	list, err := message.ParseMailboxes(h.Get(prefix + "From"))
	isUTF8 = isUTF8 || hasUTF8(list)
	if d.o.from == nil && !d.o.asUser && err == nil && len(list) > 0 {
		d.author = d.qualified(list)[0]
	} else if d.author, err = d.from(); err != nil {
		return err
	}
	l.env, l.author = d.envelope(d.author.Address), d.author.Address
	if len(list) > 0 {
		l.author = d.qualify(list[0].Address)
	}
	l.env.Rcpts, err = d.recipients(lists...)
	l.env.UTF8 = isUTF8 || needsUTF8(&l.env)
	return err
}

func hasUTF8(list []message.Mailbox) bool {
	return slices.ContainsFunc(list, func(m message.Mailbox) bool { return !m.Address.IsASCII() })
}

// missing gives From, Date and Message-ID for a message that lacks them, as an empty draft would have them.
func (d *drafting) missing(l *letter) (*message.Header, error) {
	draft := message.Draft{
		From: []message.Mailbox{d.author}, Date: d.now, Random: d.random(d.author.String(), fmt.Sprint(l.env.Rcpts)),
	}
	var b bytes.Buffer
	if err := draft.Write(&b); err != nil {
		return nil, err
	}
	return message.ReadHeader(bufio.NewReader(&b), message.Limits{})
}

// fillMissing writes a message with the fields that it lacks and without Bcc.
func fillMissing(w io.Writer, msg io.Reader, fields *message.Header) error {
	var in message.Intake
	in.Reset(w, nil)
	in.DropBcc, in.Missing = true, missingOf(fields)
	if _, err := io.Copy(&in, msg); err != nil {
		return err
	}
	return in.Close()
}

// missingOf gives those of the fields that a message lacks.
func missingOf(fields *message.Header) func(*message.Intake) []byte {
	return func(in *message.Intake) []byte {
		var b []byte
		for _, f := range fields.Fields() {
			ours := f.Is("From") && !in.HasFrom || f.Is("Date") && !in.HasDate && !in.HasResent ||
				f.Is("Message-ID") && !in.HasMessageID && !in.HasResent
			if ours {
				b = append(b, f.Raw()...)
			}
		}
		return b
	}
}
