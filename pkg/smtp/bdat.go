package smtp

import (
	"context"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

// chunked is a message that comes in chunks. One that has failed stays, to take the chunks that are on their way already.
type chunked struct {
	in     message.Intake
	binary *message.Recoder // stands before in; nil: the message was not declared binary
	body   chunks
}

// chunks is a message that is announced piece by piece.
type chunks interface {
	text
	Next(octets int64, isLast bool)
	Refuse(err error)
}

// Write takes octets of the message as body gives them.
func (m *chunked) Write(p []byte) (int, error) {
	if m.binary != nil {
		return m.binary.Write(p)
	}
	return m.in.Write(p)
}

func (m *chunked) close() error {
	if m.binary != nil {
		if err := m.binary.Close(); err != nil {
			return err
		}
	}
	return m.in.Close()
}

// bdat is "BDAT" SP chunk-size [SP "LAST"] (RFC 3030 §2). The octets of the chunk are taken whatever the reply will be, because
// the peer has sent them already. After an error the message is lost: later chunks get the same error, so that the peer
// learns the cause from whichever reply it looks at. It is over with LAST, RSET or a new greeting.
func (s *conversation) bdat(_ context.Context, a *wire.Args) error {
	size, last, err := parseChunk(a)
	if size < 0 {
		return s.spoil(err)
	}
	if s.chunks != nil {
		s.c.GoOn(s.srv.pace())
	}
	if err == nil && s.state&(stateRcpt|stateChunks|stateFailed) == 0 {
		err = session.ErrState
	}
	if s.chunks == nil {
		s.startChunks()
	}
	if err != nil {
		s.chunks.body.Refuse(err)
	}
	s.chunks.body.Next(size, last)
	err = s.takeChunk()
	switch {
	case last:
		return s.lastChunk(err)
	case err != nil:
		return s.spoil(err)
	}
	s.state = stateChunks
	if size == 0 {
		if err := s.countErrand(); err != nil {
			return err
		}
	}
	return s.say(ok(0, 0, "%d octets taken", size))
}

func (s *conversation) startChunks() {
	s.chunks = &chunked{}
	s.c.Pace(s.srv.pace())
	if s.args != nil && s.args.Body == mail.BodyBinaryMIME {
		s.chunks.binary = message.NewRecoder(&s.chunks.in)
		s.chunks.body = &rawChunks{c: s.c, max: s.maxSize()}
	} else {
		s.chunks.body = s.c.ChunkReader(wire.DotOptions{MaxSize: s.maxSize(), Bare: s.srv.Bare})
	}
	if s.state == stateRcpt && s.tx != nil {
		s.messages++
		s.chunks.in.Reset(s.tx, s.received().Append(nil))
		s.chunks.in.DropReturnPath = true
	}
}

// takeChunk reads a chunk to its end.
func (s *conversation) takeChunk() error {
	if s.tx == nil { // refused before
		return s.chunks.body.Drain()
	}
	err := pour(s.chunks, &s.chunks.in, s.chunks.body)
	if err != nil {
		s.chunks.body.Refuse(err)
	}
	return err
}

// lastChunk ends the message.
func (s *conversation) lastChunk(err error) error {
	if s.env == nil { // there was no transaction
		s.abort()
		return err
	}
	if err == nil {
		err = s.chunks.close()
	}
	return s.commit(err)
}

// spoil ends the transaction after a chunk that is not the last. What belongs to it is refused from now on.
func (s *conversation) spoil(err error) error {
	inTransaction := s.state&(stateNew|stateIdle) == 0
	if !inTransaction {
		s.chunks = nil
		return err
	}
	if s.tx != nil {
		s.tx.Abort()
		s.tx = nil
	}
	if s.chunks == nil {
		s.startChunks()
	}
	s.chunks.body.Refuse(err)
	s.state = stateFailed
	return err
}

// parseChunk reads what stands behind BDAT. The size is -1 if it can't be known; beside an error it may be known, and so many
// octets follow.
func parseChunk(a *wire.Args) (size int64, last bool, err error) {
	a.SkipBlanks()
	n, found := a.Number(1<<63 - 1)
	rest := a.Rest()
	if !found || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return -1, false, errChunk()
	}
	switch strings.ToUpper(strings.Trim(rest, " \t")) {
	case "":
	case "LAST":
		last = true
	default:
		err = errChunk()
	}
	return int64(n), last, err
}

func errChunk() error { return mail.Permanentf(5, 4, "Syntax: BDAT octets [LAST]") }
