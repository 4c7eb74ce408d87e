package delivery

import (
	"context"
	"errors"
	"io"
	"slices"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/message"
)

// Local delivers into Maildirs on this host. It is safe for concurrent use.
type Local struct {
	Router *Router
	// Open gives the Maildir at a path that the Router named, and makes it if it is not there. It may keep Maildirs
	// open.
	Open func(path string) (*maildir.Dir, error)
	// Filter, if set, judges each message before it is stored, and may give another text for it. The envelope has the recipients
	// that the message is stored for. An error is theirs; with discard nothing is stored and that is all right. The text is
	// closed when it has been stored.
	Filter func(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) (text Text, discard bool, err error)
}

// Text is a message in local form.
type Text interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Deliver stores a message, in local form, for the recipients of env: one file, with a link for each mailbox, durable
// before it returns. An unknown name is permanent, 5.1.1. What the Router sends to other hosts, commands and files is
// temporary, 4.3.5: it is not for this transport.
func (l *Local) Deliver(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) []mail.Result {
	b := newBatch(env)
	for i, r := range env.Rcpts {
		d, err := l.Router.Route(r.Address)
		for _, t := range d.Targets {
			if t.Kind != Mailbox && t.Kind != Discard && err == nil {
				err = mail.Temporaryf(3, 5, "Recipient is not a mailbox of this host")
			}
		}
		if err != nil {
			b.add(i, mail.Result{Err: err})
			continue
		}
		for _, t := range d.Targets {
			b.box(i, t)
		}
	}
	l.store(ctx, b, msg, size)
	return b.results()
}

// batch is one message on its way to many places, and what became of it there.
type batch struct {
	env      *mail.Envelope
	outcomes [][]mail.Result // by recipient
	boxes    [][]box         // by recipient
	expanded []bool          // by recipient: several targets, not all of them here
}

// box is a Maildir, and the sender that the message has there.
type box struct {
	path   string
	sender mail.Address
}

func newBatch(env *mail.Envelope) *batch {
	n := len(env.Rcpts)
	return &batch{env: env, outcomes: make([][]mail.Result, n), boxes: make([][]box, n), expanded: make([]bool, n)}
}

func (b *batch) add(i int, r mail.Result) { b.outcomes[i] = append(b.outcomes[i], r) }

// box takes a target that is a Maildir; what is dropped needs none.
func (b *batch) box(i int, t Target) {
	if t.Kind == Mailbox {
		b.boxes[i] = append(b.boxes[i], box{t.Path, t.senderFor(b.env.Sender)})
	}
}

// senders are those of all boxes, each once. There is one, unless aliases with owners are among the recipients.
func (b *batch) senders() (senders []mail.Address) {
	for _, boxes := range b.boxes {
		for _, box := range boxes {
			if !slices.Contains(senders, box.sender) {
				senders = append(senders, box.sender)
			}
		}
	}
	return senders
}

// paths are the Maildirs of recipient i that get the message from a sender.
func (b *batch) paths(i int, sender mail.Address) (paths []string) {
	for _, box := range b.boxes[i] {
		if box.sender == sender {
			paths = append(paths, box.path)
		}
	}
	return paths
}

// failed reports that something went wrong for recipient i already.
func (b *batch) failed(i int) bool {
	return slices.ContainsFunc(b.outcomes[i], func(r mail.Result) bool { return r.Err != nil })
}

// results gives one result for each recipient: a failure if anything failed, and a temporary one before a permanent
// one, since then there is something left to do.
func (b *batch) results() []mail.Result {
	results := make([]mail.Result, len(b.outcomes))
	for i, outcomes := range b.outcomes {
		results[i] = b.result(i, outcomes)
	}
	return results
}

func (b *batch) result(i int, outcomes []mail.Result) mail.Result {
	worst := mail.Result{Recipient: b.env.Rcpts[i]}
	for n, r := range outcomes {
		if n == 0 || badness(r.Err) > badness(worst.Err) {
			worst = r
		}
	}
	notify := worst.Notify
	worst.Recipient = b.env.Rcpts[i]
	if worst.Relayed {
		worst.Notify = notify // the next host may have taken over the duty to report
	}
	if b.expanded[i] && worst.Err == nil {
		worst.Notify, worst.Relayed, worst.Expanded = b.env.Rcpts[i].Notify, false, true
	}
	return worst
}

func badness(err error) int {
	switch {
	case err == nil:
		return 0
	case mail.StatusOf(err).IsPermanent():
		return 1
	}
	return 2
}

// store delivers to the mailboxes of a batch. A recipient gets the message in all of its mailboxes or in none, so
// that trying again gives nobody a second copy; and one whose mailbox is in trouble does not keep the others waiting.
func (l *Local) store(ctx context.Context, b *batch, msg io.ReaderAt, size int64) {
	text, refused, err := l.filter(ctx, b, msg, size)
	if text != nil {
		defer text.Close()
		msg, size = text, text.Size()
	}
	if refused {
		for i := range b.boxes {
			if len(b.boxes[i]) > 0 && !b.failed(i) {
				b.add(i, mail.Result{Err: err})
			}
		}
		return
	}
	for _, sender := range b.senders() {
		l.storeFrom(ctx, b, &storing{sender: sender, msg: msg, size: size, dirs: map[string]*maildir.Dir{}, done: map[string]bool{}})
	}
}

// storeFrom is store for the mailboxes that get the message from one sender.
func (l *Local) storeFrom(ctx context.Context, b *batch, s *storing) {
	var ready []int
	var all []string
	for i := range b.boxes {
		paths := b.paths(i, s.sender)
		if len(paths) == 0 || b.failed(i) {
			continue
		}
		if err := s.open(l, paths); err != nil {
			b.add(i, mail.Result{Err: storageError(err)})
			continue
		}
		ready, all = append(ready, i), append(all, paths...)
	}
	err := s.write(ctx, all)
	for _, i := range ready {
		if err != nil && len(ready) > 1 {
			b.add(i, mail.Result{Err: storageError(s.write(ctx, b.paths(i, s.sender)))})
			continue
		}
		b.add(i, mail.Result{Err: storageError(err)})
	}
}

// filter asks Filter about a batch. When nothing is to be stored, err is the fate of all that would have got it.
func (l *Local) filter(ctx context.Context, b *batch, msg io.ReaderAt, size int64) (text Text, refused bool, err error) {
	if l.Filter == nil {
		return nil, false, nil
	}
	env := *b.env
	env.Rcpts = nil
	for i, r := range b.env.Rcpts {
		if len(b.boxes[i]) > 0 {
			env.Rcpts = append(env.Rcpts, r)
		}
	}
	if len(env.Rcpts) == 0 {
		return nil, false, nil
	}
	text, discard, err := l.Filter(ctx, &env, msg, size)
	return text, discard || err != nil, err
}

// storing is one message on its way into Maildirs.
type storing struct {
	sender mail.Address
	msg    io.ReaderAt
	size   int64
	dirs   map[string]*maildir.Dir
	done   map[string]bool // paths that have the message
}

func (s *storing) open(l *Local, paths []string) error {
	for _, path := range paths {
		if s.dirs[path] != nil {
			continue
		}
		dir, err := l.Open(path)
		if err != nil {
			return err
		}
		s.dirs[path] = dir
	}
	return nil
}

// write delivers to those of the paths that do not have the message yet, all or none.
func (s *storing) write(ctx context.Context, paths []string) error {
	var d *maildir.Delivery
	var err error
	for _, path := range paths {
		switch {
		case s.done[path]:
		case d == nil:
			if d, err = s.dirs[path].Deliver(); err != nil {
				return err
			}
		default:
			d.Also(s.dirs[path])
		}
	}
	if d == nil {
		return nil
	}
	err = fill(ctx, d, s.sender, io.NewSectionReader(s.msg, 0, s.size))
	if err == nil {
		err = d.Commit()
	}
	if err != nil {
		d.Abort()
		return err
	}
	for _, path := range paths {
		s.done[path] = true
	}
	return nil
}

// fill writes the message with its Return-Path (RFC 5321 §4.4).
func fill(ctx context.Context, d *maildir.Delivery, sender mail.Address, msg io.Reader) error {
	var in message.Intake
	in.Reset(d, message.AppendReturnPath(nil, sender))
	in.DropReturnPath = true
	if _, err := io.Copy(&in, msg); err != nil {
		return err
	}
	if err := in.Close(); err != nil {
		return err
	}
	return ctx.Err()
}

// storageError makes an unclassified error of a mailbox a temporary one with a text.
func storageError(err error) error {
	var known *mail.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return mail.Temporaryf(2, 0, "Mailbox can't be written: %w", err)
}
