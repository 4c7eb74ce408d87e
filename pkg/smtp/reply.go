package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// MaxReplyLine is the limit of a reply line with its CRLF (RFC 5321 §4.5.3.1.5).
const MaxReplyLine = 512

// Reply is one SMTP reply (RFC 5321 §4.2) with its enhanced status (RFC 2034). It is an error too: what a server answers with
// 4xx or 5xx is what a client returns, unchanged.
type Reply struct {
	Code   int
	Status mail.Status // zero if the peer sent none, or for replies that never have one (220, 221 to HELO, 354)
	Lines  []string    // at least one, without code, status and CRLF; printable

	isUTF8 bool // the peer has said that this reply may be UTF-8
}

// Error is the reply on one line.
func (r *Reply) Error() string {
	s := strconv.Itoa(r.Code) + " "
	if !r.Status.IsZero() {
		s += r.Status.String() + " "
	}
	return s + strings.Join(r.Lines, " ")
}

// MailStatus is the enhanced status, or the class of the code alone.
func (r *Reply) MailStatus() mail.Status {
	if !r.Status.IsZero() {
		return r.Status
	}
	if class := uint16(r.Code / 100); class == mail.Success || class == mail.Permanent {
		return mail.Status{Class: class}
	}
	return mail.Status{Class: mail.Temporary}
}

// MailText is the text without code and status.
func (r *Reply) MailText() string { return strings.Join(r.Lines, " ") }

// reply makes a Reply of one line.
func reply(code int, status mail.Status, format string, args ...any) *Reply {
	return &Reply{Code: code, Status: status, Lines: []string{fmt.Sprintf(format, args...)}}
}

// ok makes a positive completion.
func ok(subject, detail uint16, format string, args ...any) *Reply {
	return reply(250, mail.Status{Class: mail.Success, Subject: subject, Detail: detail}, format, args...)
}

// codes gives the basic code for an enhanced status (RFC 5321 §4.2.2, RFC 5248): the first row that matches wins. A zero
// subject or detail in a row matches all.
var codes = []struct {
	class, subject, detail uint16
	code                   int
}{
	{5, 1, 3, 501},  // bad address syntax
	{5, 1, 10, 556}, // null MX, RFC 7505 §4
	{5, 1, 0, 550},
	{5, 2, 2, 552}, // mailbox full
	{5, 2, 3, 552}, // message larger than the mailbox may be
	{5, 2, 0, 550},
	{5, 3, 4, 552}, // message too big, RFC 1870 §6.2
	{5, 4, 0, 554},
	{5, 5, 1, 503},
	{5, 5, 0, 501},
	{5, 6, 11, 550}, // bare CR or LF
	{5, 7, 8, 535},  // RFC 4954 §6
	{5, 7, 0, 550},
	{4, 2, 2, 452},
	{4, 3, 1, 452}, // no space
	{4, 5, 3, 452}, // too many recipients, RFC 5321 §4.5.3.1.10
	{5, 0, 0, 554},
}

// replyTo renders any error as a reply.
func replyTo(err error) *Reply {
	var r *Reply
	var closing *session.ClosingError
	if errors.As(err, &r) && !errors.As(err, &closing) {
		return r
	}
	s := mail.StatusOf(err)
	if s.Class == mail.Success {
		s = mail.Status{Class: mail.Temporary}
	}
	return reply(codeOf(err, s), s, "%s", mail.TextOf(err))
}

func codeOf(err error, s mail.Status) int {
	var closing *session.ClosingError
	switch {
	case errors.As(err, &closing) && s.Class == mail.Permanent:
		return 554 // RFC 5321 §3.1: no service at all
	case errors.As(err, &closing):
		return 421
	case err == session.ErrUnknown, err == wire.ErrLineTooLong, err == wire.ErrBareLF, err == wire.ErrBareCR, err == wire.ErrTextTooLong,
		err == message.ErrTextLine:
		return 500
	}
	for _, row := range codes {
		if row.class == s.Class && (row.subject == 0 || row.subject == s.Subject) && (row.detail == 0 || row.detail == s.Detail) {
			return row.code
		}
	}
	return 451
}

// write sends the reply, each line cut to MaxReplyLine and cleaned of what is not printable: of all that is not ASCII (UTF-8 is the
// peer's own address in most cases, and a client that did not ask for SMTPUTF8 must not see it), unless isUTF8.
func (r *Reply) write(c *wire.Conn) error {
	for i, text := range r.Lines {
		sep := " "
		if i < len(r.Lines)-1 {
			sep = "-"
		}
		line := strconv.Itoa(r.Code) + sep
		if !r.Status.IsZero() {
			line += r.Status.String() + " "
		}
		if err := c.WriteLine(cut(line+clean(text, r.isUTF8), MaxReplyLine-2)); err != nil {
			return err
		}
	}
	return nil
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

func printable(s string) string { return clean(s, false) }

// clean puts a question mark for each rune that is no printable ASCII, or no printable UTF-8.
func clean(s string, isUTF8 bool) string {
	return strings.Map(func(r rune) rune {
		if r >= ' ' && r < 0x7f || isUTF8 && r > 0x7f && r != utf8.RuneError && unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
