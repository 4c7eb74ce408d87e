package imap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/mailbox"
	"mailx/pkg/session"
)

// no is a refusal with a response code (RFC 5530).
type no struct {
	code string
	text string
	err  error
}

func (e *no) Error() string { return "[" + e.code + "] " + e.text }

// Unwrap gives the cause.
func (e *no) Unwrap() error { return e.err }

// MailStatus keeps a refusal from counting as a mistake.
func (e *no) MailStatus() mail.Status { return mail.Status{Class: mail.Permanent} }

// MailText is what the client may see.
func (e *no) MailText() string { return e.text }

// isBad reports that the client broke the protocol: BAD rather than NO.
func isBad(err error) bool {
	s := mail.StatusOf(err)
	return s.Class == mail.Permanent && s.Subject == 5
}

// codeOf gives the response code of a refusal, "" for none.
func codeOf(err error) string {
	var n *no
	s := mail.StatusOf(err)
	switch {
	case errors.As(err, &n):
		return n.code
	case errors.Is(err, mailbox.ErrNoFolder):
		return "NONEXISTENT"
	case errors.Is(err, mailbox.ErrFolderExists):
		return "ALREADYEXISTS"
	case errors.Is(err, mailbox.ErrFolderName), errors.Is(err, mailbox.ErrInbox), s.Class == mail.Permanent && s.Subject == 1:
		return "CANNOT"
	case errors.Is(err, mailbox.ErrKeywords):
		return "LIMIT"
	case s.Class == mail.Permanent && s.Subject == 7 && s.Detail == 8:
		return "AUTHENTICATIONFAILED"
	case s.Subject == 2 && s.Detail == 2:
		return "OVERQUOTA"
	case s.Class == mail.Temporary && s.Subject == 2:
		return "INUSE"
	case s.Class == mail.Temporary:
		return "UNAVAILABLE"
	}
	return ""
}

// reply is the dialect's: the changes in the mailbox, and then what became of the command.
func (d *dialog) reply(tag, verb string, err error) error {
	said := d.said
	d.said = ""
	var closing *session.ClosingError
	switch {
	case errors.As(err, &closing):
		return d.bye(tag, err)
	case tag == "":
		return d.line("* BAD " + mail.TextOf(err))
	}
	if uerr := d.update(verb); uerr != nil {
		d.line("* BYE [UNAVAILABLE] The mailbox was replaced or removed")
		return uerr
	}
	switch {
	case isBad(err):
		return d.line(tag + " BAD " + mail.TextOf(err))
	case err != nil:
		d.logCause(verb, err)
		return d.line(tag + " NO " + withCode(codeOf(err), mail.TextOf(err)))
	case said != "":
		return d.line(tag + " OK " + said)
	}
	return d.line(tag + " OK " + strings.ToUpper(verb) + " completed")
}

func withCode(code, text string) string {
	if code == "" {
		return text
	}
	return "[" + code + "] " + text
}

// bye ends the session; a command that asked for it is answered as well.
func (d *dialog) bye(tag string, err error) error {
	if tag != "" && isBad(err) {
		d.line(tag + " BAD " + mail.TextOf(err))
	}
	text := mail.TextOf(err)
	if !isBad(err) && errors.Is(err, session.ErrShutdown) {
		text = withCode("UNAVAILABLE", text)
	}
	return d.line("* BYE " + text)
}

func (d *dialog) logCause(verb string, err error) {
	if mail.StatusOf(err).Class == mail.Temporary {
		d.log.Error("imap: "+strings.ToLower(verb), slog.String("user", d.user), slog.Any("error", err))
	}
}

// say sets what a success has to tell beside OK.
func (d *dialog) say(code, format string, args ...any) error {
	d.said = withCode(code, fmt.Sprintf(format, args...))
	return nil
}

// line sends one response.
func (d *dialog) line(s string) error { return d.c.WriteLine(s) }

// send sends a response that may have literals in it, with its CRLF.
func (d *dialog) send(b []byte) error {
	d.c.Trace(true, strings.ReplaceAll(string(b), "\r\n", " "))
	_, err := d.c.Write(append(b, '\r', '\n'))
	return err
}

// greet is RFC 3501 §7.1: OK with the capabilities.
func (d *dialog) greet(context.Context) error {
	return d.line("* OK " + withCode("CAPABILITY "+d.capabilities(), d.srv.Hostname+" IMAP4rev1 server ready"))
}

// maxQuoted is the longest string that is sent quoted.
const maxQuoted = 1000

// appendString prints a string (RFC 3501 §4.3): quoted if it can be, else as a literal without NUL.
func appendString(b []byte, s string) []byte {
	if !canQuote(s) {
		s = strings.ReplaceAll(s, "\x00", "")
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(len(s)), 10)
		return append(append(b, "}\r\n"...), s...)
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func canQuote(s string) bool {
	if len(s) > maxQuoted {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// appendNString prints NIL for the empty string.
func appendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return appendString(b, s)
}

// quoteName prints the name of a mailbox: quoted modified UTF-7, which has no control characters.
func quoteName(name string) string { return string(appendString(nil, mailbox.EncodeUTF7(name))) }
