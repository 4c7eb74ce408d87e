package fetch

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/pop3"
)

// POP3 is how to reach a POP3 mailbox; Open is for Account.Open.
type POP3 struct {
	Server
	Options pop3.ClientOptions
}

// errNoUIDL is a server from which nothing can be fetched once only.
var errNoUIDL = mail.Permanentf(5, 1, "The POP3 server has no UIDL, so new messages can't be told from old ones")

// Open connects and logs in.
func (p *POP3) Open(ctx context.Context) (Source, error) {
	nc, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	c, err := pop3.NewClient(nc, p.Options)
	if err != nil {
		return nil, err
	}
	if err := p.begin(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return &popSource{c: c}, nil
}

func (p *POP3) begin(ctx context.Context, c *pop3.Client) error {
	if p.Security == STLS {
		if err := c.StartTLS(ctx, p.config()); err != nil {
			return err
		}
	}
	caps, err := c.Capa()
	if err != nil {
		return err
	}
	if err := p.LogInPOP3(ctx, c, caps); err != nil {
		return err
	}
	_, err = c.Capa() // some servers say what they can do only now
	return err
}

// LogInPOP3 logs in over a connection that is there, which the caller has made as secure as it should be; caps are what the
// server says it can do on it.
func (s *Server) LogInPOP3(ctx context.Context, c *pop3.Client, caps pop3.Caps) error {
	return s.logIn(ctx, login{offered: caps["SASL"], state: c.TLS(), command: "USER", plain: c.Login, mechanism: c.Authenticate})
}

// popSource is a session of POP3.
type popSource struct{ c *pop3.Client }

// List is UIDL, and LIST for the sizes.
func (s *popSource) List(each func(Item) error) error {
	items, err := s.uids()
	if err != nil || len(items) == 0 {
		return err
	}
	err = s.c.List(func(number int, octets int64) error {
		if i, ok := slices.BinarySearchFunc(items, number, byNumber); ok {
			items[i].Size = octets
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, it := range items {
		if err := each(it); err != nil {
			return err
		}
	}
	return nil
}

func byNumber(it Item, number int) int { return cmp.Compare(it.Number, number) }

// uids gives the messages in order; numbers need not be without gaps.
func (s *popSource) uids() ([]Item, error) {
	var items []Item
	err := s.c.UIDL(func(number int, uid string) error {
		if n := len(items); n > 0 && items[n-1].Number >= number {
			return mail.Temporaryf(5, 0, "The POP3 server lists messages out of order")
		}
		items = append(items, Item{Number: number, ID: uid, Size: -1})
		return nil
	})
	var refused *pop3.ReplyError
	if errors.As(err, &refused) && refused.Code == "" {
		return nil, errNoUIDL
	}
	return items, err
}

func (s *popSource) Retrieve(items []Item, each func(it Item, text io.Reader, err error) error) error {
	i := 0
	var flood error
	err := s.c.Retrieve(numbersOf(items), func(_ int, text io.Reader, err error) error {
		it := items[i]
		i++
		err = each(it, text, err)
		if errors.Is(err, errFlood) {
			flood = err
			s.c.Close() // or the client would read to an end that never comes
		}
		return err
	})
	return cmp.Or(flood, err)
}

// Dates are those of the topmost Received field, else of Date.
func (s *popSource) Dates(items []Item, each func(it Item, date time.Time) error) error {
	i := 0
	return s.c.Top(numbersOf(items), func(_ int, header io.Reader, err error) error {
		it := items[i]
		i++
		if err != nil {
			return each(it, time.Time{}) // a server without TOP, or a message that is gone: Retrieve will tell
		}
		return each(it, dateOf(header))
	})
}

// dateOf is zero if the header has no date that can be read.
func dateOf(header io.Reader) time.Time {
	h, err := message.ReadHeader(bufio.NewReader(header), message.Limits{})
	if err != nil {
		return time.Time{}
	}
	if trace := h.Get("Received"); trace != "" {
		if i := strings.LastIndexByte(trace, ';'); i >= 0 {
			if t, err := message.ParseDate(strings.TrimSpace(trace[i+1:])); err == nil {
				return t
			}
		}
	}
	t, _ := message.ParseDate(h.Get("Date"))
	return t
}

func (s *popSource) Delete(items []Item, each func(it Item, err error) error) error {
	i := 0
	return s.c.Delete(numbersOf(items), func(_ int, err error) error {
		it := items[i]
		i++
		return each(it, err)
	})
}

func (s *popSource) Quit() error  { return s.c.Quit() }
func (s *popSource) Close() error { return s.c.Close() }

func numbersOf(items []Item) []int {
	numbers := make([]int, len(items))
	for i, it := range items {
		numbers[i] = it.Number
	}
	return numbers
}
