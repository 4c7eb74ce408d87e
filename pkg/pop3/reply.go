package pop3

import (
	"context"
	"errors"
	"log/slog"

	"mailx/pkg/mail"
	"mailx/pkg/session"
)

// Response codes (RFC 2449 §8, RFC 3206 §4-5).
const (
	codeInUse   = "IN-USE"
	codeAuth    = "AUTH"
	codeSysTemp = "SYS/TEMP"
	codeSysPerm = "SYS/PERM"
)

// What the handlers find wrong.
var (
	errSyntax      = mail.Permanentf(5, 4, "Bad arguments")
	errNoMessage   = mail.Permanentf(2, 0, "No such message")
	errDeleted     = mail.Permanentf(2, 0, "Message is deleted")
	errVanished    = mail.Permanentf(2, 0, "Message was removed by another program")
	errNotMessage  = mail.Permanentf(2, 0, "Not a message")
	errInUse       = mail.Temporaryf(2, 0, "Mailbox is in use by another session")
	errNoUser      = mail.Permanentf(5, 1, "USER comes first")
	errEncryption  = mail.Permanentf(7, 11, "Encryption required, use STLS first")
	errMechanism   = mail.Permanentf(5, 4, "Mechanism not available")
	errNoTLS       = mail.Permanentf(5, 1, "TLS is not available")
	errHasTLS      = mail.Permanentf(5, 1, "TLS is active already")
	errTLSAfterAll = mail.Permanentf(5, 1, "STLS must come before UTF8")
	errAPOP        = mail.Permanentf(5, 1, "No APOP: it needs passwords in clear on the server; use AUTH or STLS")
	errLAST        = mail.Permanentf(5, 1, "No LAST: RFC 1725 removed it; use UIDL")
	errLanguage    = mail.Permanentf(5, 4, "Language is not available")
)

// greet is the one line before all commands. It has no timestamp, since there is no APOP.
func (d *dialog) greet(context.Context) error {
	return d.c.WriteLine("+OK " + d.srv.Hostname + " POP3 server ready")
}

// reply is the dialect's: what the loop has to say about a command.
func (d *dialog) reply(_, verb string, err error) error {
	text, body := d.text, d.body
	d.text, d.body = "", nil
	if err != nil {
		return d.refuse(verb, err)
	}
	line := "+OK"
	if text != "" {
		line += " " + text
	}
	err = d.c.WriteLine(line)
	if body == nil {
		return err
	}
	w := d.c.DotWriter()
	w.KeepCR = true
	if err := body(w); err != nil {
		return err // without a final dot: half a message must not look like a whole one
	}
	return w.Close()
}

func (d *dialog) refuse(verb string, err error) error {
	if errors.Is(err, session.ErrTimeout) {
		return nil // RFC 1939 §3: no response
	}
	d.logTrouble(verb, err)
	line := "-ERR "
	if code := responseCode(err); code != "" {
		line += "[" + code + "] "
	}
	return d.c.WriteLine(line + mail.TextOf(err))
}

// logTrouble records causes that the peer is not told.
func (d *dialog) logTrouble(verb string, err error) {
	cause, isMail := err, false
	var e *mail.Error
	if errors.As(err, &e) {
		cause, isMail = e.Err, true
	}
	if isMail && cause == nil {
		return
	}
	d.log.Error("pop3: command failed", slog.String("verb", verb), slog.String("user", d.user),
		slog.String("peer", session.NameOf(d.addr)), slog.Any("error", err))
}

// responseCode tells a client whether the same thing can work later (RFC 3206): SYS/TEMP and SYS/PERM are about this
// server, AUTH is about the name or the password.
func responseCode(err error) string {
	s := mail.StatusOf(err)
	switch {
	case errors.Is(err, errInUse):
		return codeInUse
	case s == mail.Status{Class: mail.Permanent, Subject: 7, Detail: 8}:
		return codeAuth
	case s.IsTemporary():
		return codeSysTemp
	case s.Subject == 3, s.Subject == 4:
		return codeSysPerm
	}
	return ""
}
