package delivery

import (
	"io"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// Masquerade is for a server that takes mail from its own users only: what is from others goes out as if it were from one of
// them. The queue, and those who are told of failures here, know the sender as he was.
type Masquerade struct {
	As  mail.Address
	Has func(mail.Address) bool // who needs no mask; one who writes a message as author, or sends it
}

// apply gives what goes over the wire. The null reverse-path stays: nobody must answer such a message, whoever it seems to be
// from.
func (m *Masquerade) apply(env *mail.Envelope, msg io.ReaderAt, size int64) (io.ReaderAt, int64, error) {
	if !env.Sender.IsNull() && !m.Has(env.Sender) {
		env.Sender = m.As
	}
	head, body, err := message.Masquerade(io.NewSectionReader(msg, 0, size), m.As, m.Has)
	if err != nil || head == nil {
		return msg, size, err
	}
	return &spliced{head, msg, body}, int64(len(head)) + size - body, nil
}

// spliced is a message with another header; the body begins in rest at from.
type spliced struct {
	head []byte
	rest io.ReaderAt
	from int64
}

// ReadAt is part of io.ReaderAt.
func (s *spliced) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(s.head)) {
		n = copy(p, s.head[off:])
		if n == len(p) {
			return n, nil
		}
	}
	more, err := s.rest.ReadAt(p[n:], s.from+off+int64(n)-int64(len(s.head)))
	return n + more, err
}
