package smtp

import (
	"context"
	"slices"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// expn is "EXPN" SP String (RFC 5321 §3.5, §4.1.1.7). Who is not told hears neither yes nor no (§7.3), and so does everybody
// about a list that is longer than a message may have recipients, or has addresses that a reply can't show (RFC 6531
// §3.7.4.2).
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
	if err := a.End(); err != nil {
		return err
	}
	members, err := s.srv.Expand(&s.peer, list)
	if err != nil {
		return s.countRefused(err)
	}
	isHidden := func(m mail.Address) bool { return !m.IsASCII() }
	if len(members) == 0 || len(members) > s.maxRcpts() || slices.ContainsFunc(members, isHidden) {
		return s.say(reply(252, mail.Status{Class: 2, Subject: 1, Detail: 5}, "Send the mail and see"))
	}
	r := ok(1, 5, "%s", members[0].Path())
	for _, m := range members[1:] {
		r.Lines = append(r.Lines, m.Path())
	}
	return s.say(r)
}
