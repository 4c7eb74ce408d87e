package smtp

import (
	"context"
	"io"

	"mailx/pkg/mail"
)

// With PIPELINING, MAIL, RCPT and DATA of the next message may stand behind the text of the last one (RFC 2920 §3.1): while
// the server stores the one it looks at the envelope of the other. That leaves one round trip of the two that DATA costs.
// Nothing is at stake for the message that follows: its own text is not sent before the server has asked for it.

// SendEach sends first, and then what next gives, until that is nil, each as Send does. Where the server has PIPELINING it
// asks for the next message as soon as the text of the one before is written. It does not ask when the connection is of no
// more use, in LMTP, and where messages go out in one round trip as it is, by BDAT; then it ends after the first.
//
// When the connection ends before the server has said a word about a message, then that is given back with the reason; its
// Done has not been called. Another connection may do.
func (c *Client) SendEach(
	ctx context.Context, first *mail.Delivery, next func() *mail.Delivery,
) (left *mail.Delivery, lost error) {
	if c.broken {
		return first, errClosed()
	}
	stop := context.AfterFunc(ctx, func() { c.part(ctx) })
	defer func() {
		if !stop() {
			c.Close()
		}
	}()
	var behind *onItsWay
	for m := c.beginDelivery(first); m != nil; m = behind {
		behind = nil
		if c.canFollow() {
			m.follow = func() {
				if d := next(); d != nil {
					behind = c.beginDelivery(d)
				}
			}
		}
		err := c.reasonOf(ctx, m.finish())
		if m.isStale {
			c.deaf = c.silent && m.delivery != first
			return m.delivery, err
		}
		m.settle(err)
		switch {
		case behind == nil || !c.broken:
		case c.silent: // it has waited long enough
			behind.settle(err)
			return nil, nil
		case err == nil: // the last verdict of a server that hung up
			return behind.delivery, c.reasonOf(ctx, errClosed())
		default:
			return behind.delivery, err
		}
	}
	return nil, nil
}

// onItsWay is a delivery of SendEach.
type onItsWay struct {
	*transaction
	delivery *mail.Delivery
	err      error // why it could not be begun
}

func (c *Client) beginDelivery(d *mail.Delivery) *onItsWay {
	m := &onItsWay{transaction: newTransaction(c, d.Env), delivery: d}
	m.err = m.begin(io.NewSectionReader(d.Msg, 0, d.Size), d.Size)
	return m
}

func (m *onItsWay) finish() error {
	if m.err != nil {
		return m.err
	}
	return m.end()
}

// settle tells what became of it; err is for those recipients who have not been decided.
func (m *onItsWay) settle(err error) {
	if err != nil {
		m.fail(err)
	}
	m.delivery.Done(m.results)
}

// canFollow reports that the commands of one message may be sent behind the text of another.
func (c *Client) canFollow() bool {
	isChunked := c.opt.Chunk && c.ext.Has("CHUNKING")
	return c.ext.Has("PIPELINING") && !c.opt.LMTP && !isChunked
}
