package pop3

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

func dialect() *session.Dialect[*dialog] {
	return &session.Dialect[*dialog]{
		State: func(d *dialog) session.State { return d.state },
		Greet: (*dialog).greet,
		Reply: (*dialog).reply,
		Commands: []session.Command[*dialog]{
			{Verb: "RETR", In: transaction, Do: (*dialog).retr},
			{Verb: "DELE", In: transaction, Do: (*dialog).dele},
			{Verb: "TOP", In: transaction, Do: (*dialog).top},
			{Verb: "UIDL", In: transaction, Do: (*dialog).uidl},
			{Verb: "LIST", In: transaction, Do: (*dialog).list},
			{Verb: "STAT", In: transaction, Flags: session.NoArgs, Do: (*dialog).stat},
			{Verb: "RSET", In: transaction, Flags: session.NoArgs, Do: (*dialog).rset},
			{Verb: "NOOP", In: transaction, Flags: session.NoArgs, Do: (*dialog).noop},
			{Verb: "USER", In: authorization, Do: (*dialog).userName},
			{Verb: "PASS", In: authorization, Flags: session.Secret, Do: (*dialog).pass},
			{Verb: "AUTH", In: authorization, Flags: session.Secret, Do: (*dialog).auth},
			{Verb: "STLS", In: authorization, Flags: session.NoArgs, Do: (*dialog).stls},
			{Verb: "UTF8", In: authorization, Flags: session.NoArgs, Do: (*dialog).enableUTF8},
			{Verb: "CAPA", In: session.Any, Flags: session.NoArgs, Do: (*dialog).capa},
			{Verb: "LANG", In: session.Any, Do: (*dialog).lang},
			{Verb: "QUIT", In: session.Any, Flags: session.NoArgs, Do: (*dialog).quit},
			{Verb: "APOP", In: session.Any, Flags: session.Secret, Do: refuseWith(errAPOP)},
			{Verb: "LAST", In: session.Any, Do: refuseWith(errLAST)},
		},
	}
}

func refuseWith(err error) func(*dialog, context.Context, *wire.Args) error {
	return func(*dialog, context.Context, *wire.Args) error { return err }
}

// say sets what the loop answers if the handler succeeds.
func (d *dialog) say(format string, args ...any) error {
	d.text = fmt.Sprintf(format, args...)
	return nil
}

// sayLines answers with lines, none of which ends in LF or begins with a dot.
func (d *dialog) sayLines(text string, lines ...string) error {
	d.text = text
	d.body = func(w *wire.DotWriter) error {
		_, err := w.Write([]byte(strings.Join(append(lines, ""), "\n")))
		return err
	}
	return nil
}

// capa is "CAPA" (RFC 2449 §5). What is possible before login is announced after it too, as §5 wants.
func (d *dialog) capa(context.Context, *wire.Args) error {
	caps := []string{
		"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LOGIN-DELAY 0",
		"UTF8 USER", "LANG", "IMPLEMENTATION mailx",
	}
	if d.mayUsePassword() {
		caps = append(caps, "USER")
	}
	if mechs := d.mechanisms(); len(mechs) > 0 {
		caps = append(caps, "SASL "+strings.Join(mechs, " "))
	}
	if d.srv.TLS != nil && d.c.TLS() == nil && !d.utf8 { // see stls
		caps = append(caps, "STLS")
	}
	return d.sayLines("Capabilities follow", caps...)
}

// mechanisms are those that the peer may use now.
func (d *dialog) mechanisms() []string { return auth.Mechanisms(d.channel(), d.srv.Auth) }

// channel is the connection as logins see it.
func (d *dialog) channel() auth.Channel {
	return auth.Channel{Secure: d.mayUsePassword(), TLS: d.c.TLS(), Protocol: "POP3", Remote: d.addr}
}

// mayUsePassword reports that a password may be sent as it is.
func (d *dialog) mayUsePassword() bool { return d.local || d.c.TLS() != nil }

// lang is "LANG" [SP lang-tag] (RFC 6856 §3). There is one language; "*" and "i-default" find it too.
func (d *dialog) lang(_ context.Context, a *wire.Args) error {
	tag := a.Word()
	if err := a.End(); err != nil {
		return err
	}
	switch strings.ToLower(tag) {
	case "":
		return d.sayLines("Language listing follows", "en English")
	case "en", "*", "mul", "i-default":
		return d.say("en Speaking English")
	}
	return errLanguage
}

// enableUTF8 is "UTF8" (RFC 6856 §2). Names and passwords are compared as octets in any case.
//
// QUIRK: RFC 6856 §2.1 wants messages with UTF-8 in their header rewritten or withheld from a client that has not said UTF8.
// They are sent as they are, as every server does: a client that is refused one tries for ever.
func (d *dialog) enableUTF8(context.Context, *wire.Args) error {
	d.utf8 = true
	return d.say("UTF8 enabled")
}

// stls is "STLS" (RFC 2595 §4). RFC 6856 §2.1: not after UTF8.
func (d *dialog) stls(context.Context, *wire.Args) error {
	switch {
	case d.srv.TLS == nil:
		return errNoTLS
	case d.c.TLS() != nil:
		return errHasTLS
	case d.utf8:
		return errTLSAfterAll
	}
	d.name, d.hasName = "", false
	d.say("Begin TLS")
	return session.Then(func(ctx context.Context) error {
		d.c.Within(handshakeTime)
		return d.c.StartTLS(ctx, d.srv.TLS, true)
	})
}

func (d *dialog) noop(context.Context, *wire.Args) error { return nil }

// stat is "STAT" (RFC 1939 §5): what is not deleted, in octets on the wire.
func (d *dialog) stat(ctx context.Context, _ *wire.Args) error {
	if err := d.drop.findSizes(ctx); err != nil {
		return err
	}
	count, octets := d.drop.total()
	return d.say("%d %d", count, octets)
}

// list is "LIST" [SP msg] (RFC 1939 §5).
func (d *dialog) list(ctx context.Context, a *wire.Args) error {
	if !a.Empty() {
		return d.listOne(a)
	}
	if err := d.drop.findSizes(ctx); err != nil {
		return err
	}
	count, octets := d.drop.total()
	d.sayEach(func(b []byte, i int) []byte { return strconv.AppendInt(b, d.drop.size(i), 10) })
	return d.say("%d messages (%d octets)", count, octets)
}

func (d *dialog) listOne(a *wire.Args) error {
	i, err := d.onlyMessage(a)
	if err != nil {
		return err
	}
	if err := d.drop.findSize(i); err != nil {
		return err
	}
	return d.say("%d %d", i+1, d.drop.size(i))
}

// uidl is "UIDL" [SP msg] (RFC 1939 §7).
func (d *dialog) uidl(_ context.Context, a *wire.Args) error {
	if a.Empty() {
		d.sayEach(func(b []byte, i int) []byte { return append(b, d.drop.uid(i)...) })
		return d.say("Unique ids follow")
	}
	i, err := d.onlyMessage(a)
	if err != nil {
		return err
	}
	return d.say("%d %s", i+1, d.drop.uid(i))
}

// sayEach answers with one line for each message that is not deleted: its number, and what add appends.
func (d *dialog) sayEach(add func(b []byte, i int) []byte) {
	d.body = func(w *wire.DotWriter) error {
		b := make([]byte, 0, 4<<10)
		for i := range d.drop.messages {
			if d.drop.deleted[i] {
				continue
			}
			b = append(add(append(strconv.AppendInt(b, int64(i)+1, 10), ' '), i), '\n')
			if len(b) < 3<<10 {
				continue
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		_, err := w.Write(b)
		return err
	}
}

// dele is "DELE" SP msg (RFC 1939 §5).
func (d *dialog) dele(_ context.Context, a *wire.Args) error {
	i, err := d.onlyMessage(a)
	if err != nil {
		return err
	}
	d.drop.deleted[i] = true
	return d.say("Message %d deleted", i+1)
}

// rset is "RSET" (RFC 1939 §5).
func (d *dialog) rset(context.Context, *wire.Args) error {
	clear(d.drop.deleted)
	return d.say("%d messages", len(d.drop.messages))
}

// quit is "QUIT" (RFC 1939 §4 and §6). The lock is given back before the answer, so that a client may come again at once.
func (d *dialog) quit(context.Context, *wire.Args) error {
	if d.drop == nil {
		d.say("%s POP3 server signing off", d.srv.Hostname)
		return session.Quit()
	}
	removed, err := d.drop.removeDeleted()
	d.release()
	d.log.Info("pop3: session over", slog.String("user", d.user), slog.Int("removed", removed))
	if err != nil {
		return &session.ClosingError{Err: err}
	}
	d.say("%s POP3 server signing off", d.srv.Hostname)
	return session.Quit()
}

// message reads a message number and gives the index of a message that is there and not deleted.
func (d *dialog) message(a *wire.Args) (int, error) {
	n, err := number(a)
	switch {
	case err != nil:
		return 0, err
	case n == 0, n > uint64(len(d.drop.messages)):
		return 0, errNoMessage
	case d.drop.deleted[n-1]:
		return 0, errDeleted
	}
	return int(n - 1), nil
}

// number reads digits and the blanks around them; what is larger than 2^64-1 is that.
func number(a *wire.Args) (uint64, error) {
	a.SkipBlanks()
	digits := a.While(func(b byte) bool { return b >= '0' && b <= '9' })
	if digits == "" || !a.Empty() && !a.Octet(' ') {
		return 0, errSyntax
	}
	a.SkipBlanks()
	n, _ := strconv.ParseUint(digits, 10, 64) // it gives the largest when it is out of range
	return n, nil
}

// onlyMessage is message for commands that take nothing else.
func (d *dialog) onlyMessage(a *wire.Args) (int, error) {
	i, err := d.message(a)
	if err == nil {
		err = a.End()
	}
	return i, err
}
