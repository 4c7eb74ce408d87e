package smtp

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// helo is "HELO" SP Domain (RFC 5321 §4.1.1.1).
func (s *conversation) helo(_ context.Context, a *wire.Args) error {
	name, err := parseHello(a)
	if err != nil {
		return err
	}
	s.introduce(name, false)
	return s.say(reply(250, mail.Status{}, "%s", s.srv.Hostname))
}

// ehlo is "EHLO" SP ( Domain / address-literal ) (RFC 5321 §4.1.1.1).
func (s *conversation) ehlo(_ context.Context, a *wire.Args) error {
	name, err := parseHello(a)
	if err != nil {
		return err
	}
	s.introduce(name, true)
	return s.say(&Reply{Code: 250, Lines: append([]string{s.srv.Hostname}, s.extensions()...)})
}

// introduce drops a transaction under way, as RSET does (RFC 5321 §4.1.4).
func (s *conversation) introduce(name string, esmtp bool) {
	s.abort()
	s.peer.Helo, s.peer.ESMTP, s.state = name, esmtp, stateIdle
}

// extensions is what works now, and nothing else.
func (s *conversation) extensions() []string {
	ext := []string{
		"PIPELINING", // RFC 2920
		"SIZE " + strconv.FormatInt(s.maxSize(), 10), // RFC 1870
		"8BITMIME",            // RFC 6152
		"SMTPUTF8",            // RFC 6531
		"ENHANCEDSTATUSCODES", // RFC 2034
		"CHUNKING",            // RFC 3030
		"BINARYMIME",          // RFC 3030
		"DSN",                 // RFC 3461
		"DELIVERBY",           // RFC 2852, without a minimum
	}
	if s.mayHold() {
		ext = append(ext, "FUTURERELEASE "+s.maxHold()) // RFC 4865
	}
	if l := s.limits(); l != "" {
		ext = append(ext, "LIMITS"+l) // RFC 9422
	}
	if s.mayStartTLS() {
		ext = append(ext, "STARTTLS") // RFC 3207
	}
	if s.srv.TLS != nil && s.peer.TLS != nil {
		ext = append(ext, "REQUIRETLS") // RFC 8689 §2: inside TLS only
	}
	if m := s.mechanisms(); len(m) > 0 && s.peer.User == "" {
		ext = append(ext, "AUTH "+strings.Join(m, " ")) // RFC 4954
	}
	if s.isFront {
		ext = append(ext, xclientOffer)
	}
	return append(ext, "HELP")
}

func (s *conversation) mayStartTLS() bool { return s.srv.TLS != nil && s.peer.TLS == nil }

// limits are those of RFC 9422 that hold for this peer. A value has at most six digits there; a larger one is no limit that
// anybody meets.
func (s *conversation) limits() string {
	var b strings.Builder
	add := func(name string, n int) {
		if n > 0 && n <= 999_999 {
			b.WriteString(" " + name + "=" + strconv.Itoa(n))
		}
	}
	add("RCPTMAX", s.maxRcpts())
	if s.peer.User == "" {
		add("MAILMAX", s.maxMessages())
	}
	return b.String()
}

// mayHold says who may have messages released later: FUTURERELEASE is for submission (RFC 4865 §1), so it is for those who have
// authenticated, for all of a server that takes nothing from others, and for the programs of this host behind a pipe.
// A client need not say EHLO again after AUTH to use it.
func (s *conversation) mayHold() bool {
	isSubmission := s.peer.User != "" || s.srv.AuthRequired || !s.peer.Addr.IsValid()
	return s.srv.MaxHold > 0 && isSubmission && !s.srv.LMTP
}

// maxHold is max-future-release-interval SP max-future-release-date-time.
func (s *conversation) maxHold() string {
	seconds := min(int64(s.srv.MaxHold/time.Second), 999_999_999)
	return strconv.FormatInt(seconds, 10) + " " + s.srv.now().Add(s.srv.MaxHold).UTC().Format(time.RFC3339)
}

func (s *conversation) maxRcpts() int { return cmp.Or(s.srv.MaxRcpts, DefaultMaxRcpts) }

func (s *conversation) maxMessages() int { return cmp.Or(s.srv.MaxMessages, DefaultMaxMessages) }

func (s *conversation) maxSize() int64 { return cmp.Or(s.srv.MaxSize, DefaultMaxSize) }

// startTLS is "STARTTLS" (RFC 3207 §4). All that the peer said in clear is forgotten.
func (s *conversation) startTLS(context.Context, *wire.Args) error {
	switch {
	case s.srv.TLS == nil:
		return reply(502, mail.Status{Class: 5, Subject: 5, Detail: 1}, "No TLS here")
	case s.peer.TLS != nil:
		return session.ErrState
	}
	s.say(reply(220, mail.Status{Class: 2}, "Ready to start TLS"))
	return session.Then(func(ctx context.Context) error {
		s.c.Within(cmp.Or(s.srv.Timeout, DefaultTimeout))
		if err := s.c.StartTLS(ctx, s.srv.TLS, true); err != nil {
			return err
		}
		s.abort()
		s.state = stateNew
		s.peer.Helo, s.peer.ESMTP, s.peer.User, s.peer.TLS = "", false, "", s.c.TLS()
		return nil
	})
}
