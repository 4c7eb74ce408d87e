package smtp

import (
	"context"
	"slices"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// expn is "EXPN" SP String [SP "SMTPUTF8"] (RFC 5321 §3.5, §4.1.1.7, RFC 6531 §3.7.4.2). Who is not told hears neither yes nor no
// (RFC 5321 §7.3), and so does everybody about a list that is longer than a message may have recipients, or has addresses in
// UTF-8 and the peer did not say that it can take them.
func (s *conversation) expn(_ context.Context, a *wire.Args) error {
	if s.srv.Expand == nil {
		return reply(502, mail.Status{Class: 5, Subject: 5, Detail: 1}, "Lists are not expanded here")
	}
	if a.SkipBlanks(); a.Empty() {
		return mail.Permanentf(5, 4, "Syntax: EXPN list")
	}
	list, err := parsePath(a, false)
	if err != nil {
		return err
	}
	a.SkipBlanks()
	isUTF8 := a.Keyword("SMTPUTF8")
	if err := a.End(); err != nil {
		return err
	}
	if !list.IsASCII() && !isUTF8 {
		return errNeedsUTF8
	}
	members, err := s.srv.Expand(&s.peer, list)
	if err != nil {
		return s.countRefused(err)
	}
	isHidden := func(m mail.Address) bool { return !isUTF8 && !m.IsASCII() }
	if len(members) == 0 || len(members) > s.maxRcpts() || slices.ContainsFunc(members, isHidden) {
		return s.say(reply(252, mail.Status{Class: 2, Subject: 1, Detail: 5}, "Send the mail and see"))
	}
	r := ok(1, 5, "%s", members[0].Path())
	r.isUTF8 = isUTF8
	for _, m := range members[1:] {
		r.Lines = append(r.Lines, m.Path())
	}
	return s.say(r)
}
