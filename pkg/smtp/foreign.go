package smtp

import (
	"context"

	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// http is what methods of HTTP get. A page in somebody's browser can post whatever it likes to a port of his host or of
// his network, and a body full of SMTP commands would be a message from there. So the first line of the request is the
// end, as with Postfix (smtpd_forbidden_commands).
func (s *conversation) http(context.Context, *wire.Args) error {
	s.abort()
	s.say(reply(221, mail.Status{Class: 2, Subject: 7}, "This is not HTTP"))
	return session.Quit()
}
