package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
	"mailx/pkg/pop3"
)

// Security is when TLS starts.
type Security uint8

// The values of Security.
const (
	TLSFirst Security = iota // from the first octet, port 995 (RFC 8314 §3.2)
	STLS                     // after STLS, port 110; a server without it is refused
	Clear                    // never
)

// POP3 is how to reach a POP3 mailbox; Open is for Account.Open.
type POP3 struct {
	Address  string      // host:port
	Security Security    // a password goes in clear only where Clear says so
	TLS      *tls.Config // nil: the host's name and the system's authorities

	User     string
	Password func(ctx context.Context) (string, error)
	// Mechanism picks a SASL mechanism by the names that the server offers; nil: USER and PASS, or PLAIN.
	Mechanism func(offered []string) (sasl.Client, error)

	Options pop3.ClientOptions
	// Dial connects; net.Dialer if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// errNoUIDL is a server from which nothing can be fetched once only.
var errNoUIDL = mail.Permanentf(5, 1, "The POP3 server has no UIDL, so new messages can't be told from old ones")

// Open connects and logs in.
func (p *POP3) Open(ctx context.Context) (Source, error) {
	dial := p.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(ctx, "tcp", p.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	nc, err := p.secure(ctx, raw)
	if err != nil {
		return nil, err
	}
	c, err := pop3.NewClient(nc, p.Options)
	if err != nil {
		return nil, err
	}
	if err := p.login(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return &popSource{c: c}, nil
}

// secure starts TLS if it comes first.
func (p *POP3) secure(ctx context.Context, nc net.Conn) (net.Conn, error) {
	if p.Security != TLSFirst {
		return nc, nil
	}
	t := tls.Client(nc, p.config())
	if err := t.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return t, nil
}

func (p *POP3) config() *tls.Config {
	cfg := new(tls.Config)
	if p.TLS != nil {
		cfg = p.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(p.Address)
	}
	return cfg
}

func (p *POP3) login(ctx context.Context, c *pop3.Client) error {
	if p.Security == STLS {
		if err := c.StartTLS(ctx, p.config()); err != nil {
			return err
		}
	}
	caps, err := c.Capa()
	if err != nil {
		return err
	}
	if err := p.authenticate(ctx, c, caps); err != nil {
		return err
	}
	_, err = c.Capa() // some servers say what they can do only now
	return err
}

func (p *POP3) authenticate(ctx context.Context, c *pop3.Client, caps pop3.Caps) error {
	if p.Mechanism != nil {
		mechanism, err := p.Mechanism(caps["SASL"])
		if err != nil {
			return err
		}
		return c.Authenticate(mechanism)
	}
	password, err := p.Password(ctx)
	if err != nil {
		return err
	}
	return c.Login(p.User, password)
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
	return s.c.Retrieve(numbersOf(items), func(_ int, text io.Reader, err error) error {
		it := items[i]
		i++
		return each(it, text, err)
	})
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
