package message

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"mailx/pkg/mail"
)

// Action is what a report says about a recipient (RFC 3464 §2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"
	Expanded  Action = "expanded"
)

// Outcome is one recipient of a report.
type Outcome struct {
	mail.Result
	Action      Action    // empty: by the result
	LastAttempt time.Time // zero: not said
	RetryUntil  time.Time // for Delayed; zero: not said
}

// action is Action, or what the result says by itself.
func (o Outcome) action() Action {
	switch {
	case o.Action != "":
		return o.Action
	case o.Err == nil && o.Relayed:
		return Relayed
	case o.Err == nil:
		return Delivered
	case mail.StatusOf(o.Err).IsPermanent():
		return Failed
	}
	return Delayed
}

// status is the code of the result, in the class that fits the action: what has failed for good after many temporary
// errors keeps its 4 (RFC 3464 §2.3.4 wants the last one known).
func (o Outcome) status() mail.Status {
	s := mail.StatusOf(o.Err)
	if o.action() == Failed && s.Class == mail.Success {
		return mail.Status{Class: mail.Permanent}
	}
	return s
}

// Report is a delivery status notification (RFC 3461 to 3464, 6522, 6533). The caller decides whether it may be sent: to
// the sender of the envelope, from <>, never about a message from <>, and as NOTIFY says.
type Report struct {
	ReportingMTA string       // our host name
	From         Mailbox      // the author for people; an empty address becomes MAILER-DAEMON@ReportingMTA
	Sender       mail.Address // the sender of the message: the report goes to this address
	OrigEnvID    string       // ENVID, decoded; empty: not given
	QueueID      string       // our id of the message, for people; may be empty
	Arrived      time.Time
	Outcomes     []Outcome
	Original     io.ReadSeeker // the message in local form; nil: not returned
	Ret          mail.Ret      // how much of it is returned; RetUnset is the header only
	Now          time.Time
	Random       io.Reader // for boundary and id; nil: crypto/rand
}

// Write writes the report in local form. All of it is 7 bit, unless addresses are UTF-8: then it is a global report
// (RFC 6533), which has to be sent with SMTPUTF8. An original message that is 8 bit is returned as message/global in
// base64 (RFC 6532 §3.7). The original is read twice.
func (r Report) Write(w io.Writer) error {
	head, err := r.header()
	if err != nil {
		return err
	}
	boundary, err := newBoundary(r.Random)
	if err != nil {
		return err
	}
	parts, err := r.parts()
	if err != nil {
		return err
	}
	kind := "delivery-status"
	if r.global() {
		kind = "global-delivery-status"
	}
	root, err := newGroup("multipart/report", boundary, parts, "report-type", kind)
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(w)
	bw.Write(head)
	bw.WriteString("MIME-Version: 1.0\n")
	if err := root.write(bw); err != nil {
		return err
	}
	return bw.Flush()
}

// NeedsUTF8 says that the report can only be sent with SMTPUTF8.
func (r Report) NeedsUTF8() bool { return r.global() }

func (r Report) global() bool {
	if !r.Sender.IsASCII() {
		return true
	}
	for _, o := range r.Outcomes {
		if !o.Address.IsASCII() || !isASCII(o.Orig) {
			return true
		}
	}
	return false
}

func (r Report) header() ([]byte, error) {
	d := Draft{
		From: []Mailbox{r.From}, To: []Mailbox{{Address: r.Sender}}, Subject: r.subject(), Date: r.Now,
		AutoSubmitted: "auto-replied", Random: r.Random,
	}
	if r.From.Address.IsNull() {
		d.From[0] = Mailbox{"Mail Delivery System", mail.Address{Local: "MAILER-DAEMON", Domain: r.ReportingMTA}}
	}
	if r.Original != nil {
		h, err := r.originalHeader()
		if err != nil {
			return nil, err
		}
		if id := h.Get("Message-ID"); validMsgID(id) {
			d.InReplyTo, d.References = id, id
		}
	}
	return d.fields()
}

func (r Report) originalHeader() (*Header, error) {
	if _, err := r.Original.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	h, err := ReadHeader(bufio.NewReader(r.Original), Limits{})
	var limit *mail.Error
	if errors.As(err, &limit) { // what was read will do
		err = nil
	}
	return h, err
}

func (r Report) has(a Action) bool {
	for _, o := range r.Outcomes {
		if o.action() == a {
			return true
		}
	}
	return false
}

func (r Report) subject() string {
	switch {
	case r.has(Failed):
		return "Undelivered mail returned to sender"
	case r.has(Delayed):
		return "Delayed mail (still being retried)"
	}
	return "Successful mail delivery report"
}

func (r Report) parts() ([]*part, error) {
	text, err := textPart("text/plain", nil, strings.NewReader(r.text()), textOptions{})
	if err != nil {
		return nil, err
	}
	text.fields = append(text.fields, "Content-Description: Notification\n"...)
	parts := []*part{text, r.statusPart()}
	if r.Original == nil {
		return parts, nil
	}
	original, err := r.originalPart()
	return append(parts, original), err
}

// text tells a person what happened.
func (r Report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system at host %s.\n", Printable(r.ReportingMTA))
	for _, s := range []struct {
		action Action
		intro  string
	}{
		{Failed, "Your message could not be delivered to the recipients below.\nIt will not be tried again."},
		{Delayed, "Your message has not been delivered to the recipients below yet.\n" +
			"It will be tried again; you need not send it again."},
		{Delivered, "Your message has been delivered to:"},
		{Relayed, "Your message has been passed on to a mail system that sends no\nfurther reports, for:"},
		{Expanded, "Your message has been passed on to the members of:"},
	} {
		r.section(&b, s.action, s.intro)
	}
	if !r.Arrived.IsZero() {
		fmt.Fprintf(&b, "\nThe message arrived here on\n%s.\n", FormatDate(r.Arrived))
	}
	if r.QueueID != "" {
		fmt.Fprintf(&b, "Its id here is %s.\n", Printable(r.QueueID))
	}
	return b.String()
}

func (r Report) section(b *strings.Builder, action Action, intro string) {
	for _, o := range r.Outcomes {
		if o.action() != action {
			continue
		}
		if intro != "" {
			b.WriteString("\n" + intro + "\n")
			intro = ""
		}
		fmt.Fprintf(b, "\n%s\n", o.Address.Path())
		if !o.RetryUntil.IsZero() {
			fmt.Fprintf(b, "    Tries go on until %s.\n", FormatDate(o.RetryUntil))
		}
		switch {
		case o.Err == nil:
		case o.Reply != "" && o.RemoteMTA != "":
			indent(b, "The server "+o.RemoteMTA+" said:")
			indent(b, o.Reply)
		default:
			indent(b, mail.TextOf(o.Err)+" ("+o.status().String()+")")
		}
	}
}

// indent writes what a peer said as an indented paragraph, in ASCII.
func indent(b *strings.Builder, s string) {
	const margin, width = "   ", 72
	col := 0
	for word := range strings.FieldsSeq(asciiOnly(Printable(s))) {
		if col == 0 || col+1+len(word) > width {
			if col > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(margin)
			col = len(margin)
		}
		b.WriteString(" " + word)
		col += 1 + len(word)
	}
	b.WriteByte('\n')
}

// statusPart is for programs (RFC 3464 §2, RFC 6533 §4).
func (r Report) statusPart() *part {
	mediaType := "message/delivery-status"
	if r.global() {
		mediaType = "message/global-delivery-status"
	}
	p := &part{body: func(w io.Writer) error {
		_, err := w.Write(r.status())
		return err
	}}
	p.fields = append(p.fields, "Content-Type: "+mediaType+"\nContent-Description: Delivery report\n"...)
	if r.global() { // base64 or quoted-printable are allowed here, but 8bit is what readers expect
		p.fields = append(p.fields, "Content-Transfer-Encoding: 8bit\n"...)
	}
	return p
}

func (r Report) status() []byte {
	var f dsnFields
	f.add("Reporting-MTA", "dns; "+r.ReportingMTA)
	if r.OrigEnvID != "" {
		f.add("Original-Envelope-Id", r.OrigEnvID)
	}
	if r.QueueID != "" {
		f.add("X-Queue-ID", r.QueueID)
	}
	f.date("Arrival-Date", r.Arrived)
	for _, o := range r.Outcomes {
		f.b = append(f.b, '\n')
		f.recipient(o)
	}
	return f.b
}

// dsnFields prints fields of a status part. Values that came from a peer are made printable, and cut at 900 octets.
type dsnFields struct{ b []byte }

func (f *dsnFields) add(name, value string) {
	value = strings.Join(strings.Fields(strings.ReplaceAll(Printable(value), "\ufffd", "?")), " ")
	if len(value) > 900 {
		value = strings.ToValidUTF8(value[:900], "")
	}
	if b, err := appendField(f.b, name, wordTokens(value)); err == nil {
		f.b = b
	}
}

func (f *dsnFields) date(name string, t time.Time) {
	if !t.IsZero() {
		f.add(name, FormatDate(t))
	}
}

// mtaName is the name of an MTA as type dns wants it: an address is a literal (RFC 3464 §9.3, RFC 5321 §4.1.3).
func mtaName(name string) string {
	ip, err := netip.ParseAddr(name)
	switch {
	case err != nil:
		return name
	case ip.Is4():
		return "[" + name + "]"
	}
	return "[IPv6:" + name + "]"
}

func (f *dsnFields) recipient(o Outcome) {
	if o.Orig != "" {
		f.add("Original-Recipient", typedAddress(o.Orig))
	}
	kind := "rfc822"
	if !o.Address.IsASCII() {
		kind = "utf-8"
	}
	f.add("Final-Recipient", kind+"; "+o.Address.String())
	f.add("Action", string(o.action()))
	f.add("Status", o.status().String())
	if o.RemoteMTA != "" {
		f.add("Remote-MTA", "dns; "+mtaName(o.RemoteMTA))
	}
	switch {
	case o.Reply != "":
		f.add("Diagnostic-Code", "smtp; "+asciiOnly(o.Reply))
	case o.Err != nil:
		f.add("Diagnostic-Code", "X-mailx; "+asciiOnly(mail.TextOf(o.Err)))
	}
	f.date("Last-Attempt-Date", o.LastAttempt)
	if o.action() == Delayed {
		f.date("Will-Retry-Until", o.RetryUntil)
	}
}

// typedAddress writes "rfc822;a@x" as "rfc822; a@x".
func typedAddress(orig string) string {
	kind, address, ok := strings.Cut(orig, ";")
	if !ok {
		return "rfc822; " + orig
	}
	return strings.TrimSpace(kind) + "; " + strings.TrimSpace(address)
}

func asciiOnly(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}

// originalPart gives back the message or its header (RFC 3462 §2). A message that nobody is without has not to come back,
// whatever RET says (RFC 3461 §4.3).
func (r Report) originalPart() (*part, error) {
	if r.Ret != mail.RetFull || !r.has(Failed) {
		return r.originalHeaders()
	}
	a := Attachment{Open: func() (io.ReadCloser, error) {
		_, err := r.Original.Seek(0, io.SeekStart)
		return io.NopCloser(r.Original), err
	}}
	mediaType, encoding, err := a.embedded()
	if err != nil {
		return nil, err
	}
	p := &part{body: a.copy}
	if encoding == encBase64 {
		p.body = a.write
	}
	p.fields = fmt.Appendf(nil, "Content-Type: %s\nContent-Description: Undelivered message\n"+
		"Content-Transfer-Encoding: %s\n", mediaType, encoding)
	return p, nil
}

// originalName says what comes back.
func (r Report) originalName() string {
	if r.has(Failed) {
		return "Undelivered message"
	}
	return "Message"
}

func (r Report) originalHeaders() (*part, error) {
	h, err := r.originalHeader()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	h.WriteTo(&b)
	p, err := textPart("text/rfc822-headers", nil, bytes.NewReader(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), textOptions{})
	if err == nil {
		p.fields = append(p.fields, "Content-Description: "+r.originalName()+" header\n"...)
	}
	return p, err
}
