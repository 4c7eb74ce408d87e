package delivery

import (
	"context"
	"errors"
	"io"

	"mailx/pkg/mail"
)

// trips are where a batch goes beside the mailboxes of this host.
type trips struct {
	now, later senders
	errands    []errand
}

// senders are the parts of a batch by their sender; mostly there is one.
type senders []*away

// from gives the part that has a sender; before is that of the batch.
func (s *senders) from(sender, before mail.Address) *away {
	for _, a := range *s {
		if a.sender == sender {
			return a
		}
	}
	a := &away{sender: sender, isNew: sender != before}
	*s = append(*s, a)
	return a
}

// errand is a command or a file that is to get the message of recipient i.
type errand struct {
	i      int
	rcpt   mail.Recipient
	target Target
}

var errNoErrands = errors.New("commands and files of aliases are left to the queue")

// runErrands runs commands and writes files, one after the other, for recipients of whom nothing has failed.
func (t *Transport) runErrands(ctx context.Context, b *batch, errands []errand, msg *io.SectionReader, n *news) {
	for _, e := range errands {
		if !b.failed(e.i) {
			b.add(e.i, mail.Result{Err: t.errand(ctx, b.env.Sender, e, io.NewSectionReader(msg, 0, msg.Size()))})
		}
		n.ran(e)
	}
}

func (t *Transport) errand(ctx context.Context, sender mail.Address, e errand, msg io.Reader) error {
	sender = e.target.senderFor(sender)
	switch {
	case e.target.Kind == Command && t.Commands != nil:
		return t.Commands.run(ctx, command{e.target.Command, e.target.fileOwner, sender, e.rcpt}, msg)
	case e.target.Kind == File && t.Files != nil:
		return t.Files.deliver(e.target.Path, sender, msg)
	}
	return misconfigured(errNoErrands)
}
