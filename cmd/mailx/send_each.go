package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// each sends everybody a message of his own: with his address alone in To, a Message-ID and a place in the queue of its own.
// One that can't be handed over does not keep the others from theirs.
func (h *handover) each(ctx context.Context) error {
	all, err := h.separate()
	if err != nil {
		return err
	}
	defer all.close()
	if h.opt.skipEmpty && h.opt.merge == nil && all.isEmpty() {
		return nil
	}
	if h.opt.dryRun {
		return all.dryRun()
	}
	told, stop := h.e.untilSignal(ctx)
	defer stop()
	ctx, cancel := h.limited(told)
	defer cancel()
	var outcomes []outcome
	for opt, err := range all.each() {
		var some []outcome
		switch {
		case told.Err() != nil: // those who have theirs must not get it again, so it is said who has not
			some = []outcome{notHanded(opt, mail.Temporaryf(3, 0, "Interrupted"))}
		case err == nil:
			some, err = all.hand(ctx, opt)
		}
		if err != nil && len(outcomes) == 0 { // it is the same for the others, and nothing was sent
			return err
		}
		if err != nil {
			some = []outcome{notHanded(opt, err)}
		}
		outcomes = append(outcomes, some...)
	}
	return h.report(outcomes)
}

func notHanded(opt *sendOptions, err error) outcome {
	return outcome{Result: mail.Result{Recipient: mail.Recipient{Address: opt.to[0].Address}, Err: err}}
}

// separated is what all get, held so that it can be read for each of them.
type separated struct {
	h          *handover
	rcpts      []message.Mailbox
	text, html *held // nil: none
	files      []*held
}

func (s *separated) close() {
	for _, h := range append(s.files, s.text, s.html) {
		if h != nil {
			h.close()
		}
	}
}

func (s *separated) isEmpty() bool {
	return s.text.size == 0 && s.html == nil && len(s.files) == 0
}

func (h *handover) separate() (s *separated, err error) {
	s = &separated{h: h}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	seen := map[mail.Address]bool{}
	for _, m := range h.opt.to {
		if !seen[m.Address] {
			seen[m.Address] = true
			s.rcpts = append(s.rcpts, m)
		}
	}
	limit := h.sys.cfg.SMTP.MaxSize
	if s.text, err = holdAtMost((&drafting{e: h.e, o: h.opt}).text(), limit); err != nil {
		return s, err
	}
	if h.opt.html != nil {
		if s.html, err = holdAtMost(h.opt.html, limit); err != nil {
			return s, err
		}
	}
	for _, a := range h.opt.attachments {
		f, err := a.Open()
		if err != nil {
			return s, err
		}
		file, err := holdAtMost(f, limit)
		if err := errors.Join(err, f.Close()); err != nil {
			return s, err
		}
		s.files = append(s.files, file)
	}
	return s, nil
}

// holdAtMost reads as much as a message may have.
func holdAtMost(r io.Reader, max int64) (*held, error) {
	h := &held{}
	if _, err := io.Copy(&boundedWriter{w: h, left: max, max: max}, r); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// each gives the options for each message. All rows have been tried before, so an error is one of reading them again.
func (s *separated) each() iter.Seq2[*sendOptions, error] {
	return func(yield func(*sendOptions, error) bool) {
		if merge := s.h.opt.merge; merge != nil {
			for one := range merge.rows() {
				if !yield(merge.fill(s.common(), one)) {
					return
				}
			}
		}
		for i := range s.rcpts {
			o := s.common()
			o.to, o.skipEmpty = s.rcpts[i:i+1], false
			if !yield(&o, nil) {
				return
			}
		}
	}
}

// common are the options for what all get.
func (s *separated) common() sendOptions {
	o := *s.h.opt
	o.body = s.text.reader()
	if s.html != nil {
		o.html = s.html.reader()
	}
	o.attachments = append([]message.Attachment{}, o.attachments...)
	for n := range o.attachments {
		o.attachments[n].Open = func() (io.ReadCloser, error) { return io.NopCloser(s.files[n].reader()), nil }
	}
	return o
}

func (s *separated) hand(ctx context.Context, opt *sendOptions) ([]outcome, error) {
	l, err := s.h.letter(opt)
	if err != nil || l == nil {
		return nil, err
	}
	return s.h.one(ctx, l)
}

// dryRun prints the messages one after the other, and before each its envelope.
func (s *separated) dryRun() error {
	for opt, err := range s.each() {
		var l *letter
		if err == nil {
			l, err = s.h.letter(opt)
		}
		if l != nil && err == nil {
			err = s.h.e.dryRun(l, s.h.opt.crlf, s.h.sys.cfg.SMTP.MaxSize)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reader reads from the start.
func (h *held) reader() io.Reader {
	if h.size == 0 {
		return strings.NewReader("")
	}
	return io.NewSectionReader(h, 0, h.size)
}
