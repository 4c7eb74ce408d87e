// Package milter lets milters (mail filters that speak Sendmail's protocol, such as rspamd and OpenDKIM) judge and change
// messages. It speaks their protocol with the client of emersion/go-milter, and keeps what that client trusts within
// bounds: a milter that hangs, floods, talks nonsense or makes the client panic costs one message its verdict.
//
// A milter is connected at the first MAIL of an SMTP connection, told of the client and of its HELO then, and used for all
// messages of the connection. After trouble it is connected anew at the next MAIL.
package milter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"

	"mailx/pkg/filter"
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// Default is what becomes of a message whose milter can't be asked.
type Default uint8

// The defaults.
const (
	TempFail Default = iota // the peer tries again
	Accept                  // as if there were no milter
	Reject
)

// DefaultTimeout is how long a milter may take for one answer.
const DefaultTimeout = 60 * time.Second

const (
	// answers bounds the time for all that follows the data of a message: so many times the timeout of one answer.
	answers = 3
	// maxAnswers bounds what a milter sends about a command or message besides a new body, in octets.
	maxAnswers = 4 << 20
)

// Filter is one milter. Its fields are not changed while it is used.
type Filter struct {
	Network, Address string // as net.Dial takes them
	Default          Default
	Timeout          time.Duration // 0: DefaultTimeout
	Hostname         string        // macro j
	MaxSize          int64         // of a body that takes the place of the message's; 0: 50 MiB
}

// ParseSocket reads the address of a milter: "unix:/path" or "/path", "inet:port@host" and "inet6:port@host" as milters
// themselves write it, "host:port" or "tcp:host:port".
func ParseSocket(s string) (network, address string, err error) {
	scheme, rest, found := strings.Cut(s, ":")
	switch {
	case strings.HasPrefix(s, "/"):
		return "unix", s, nil
	case found && (scheme == "unix" || scheme == "local") && strings.HasPrefix(rest, "/"):
		return "unix", rest, nil
	case found && (scheme == "inet" || scheme == "inet6") && strings.Contains(rest, "@"):
		port, host, _ := strings.Cut(rest, "@")
		return tcp(net.JoinHostPort(strings.Trim(host, "[]"), port))
	case found && (scheme == "inet" || scheme == "inet6" || scheme == "tcp"):
		return tcp(rest)
	}
	return tcp(s)
}

var errSocket = errors.New("a milter is unix:/path, inet:port@host or host:port")

func tcp(address string) (string, string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || strings.Trim(port, "0123456789") != "" {
		return "", "", errSocket
	}
	return "tcp", address, nil
}

// Holds is true: a milter sees messages.
func (f *Filter) Holds() bool { return true }

// Connect gives the side of one connection. Nothing happens before the first MAIL.
func (f *Filter) Connect(_ context.Context, p *smtp.Peer) (filter.Session, error) {
	return &session{f: f}, nil
}

func (f *Filter) timeout() time.Duration { return cmp.Or(f.Timeout, DefaultTimeout) }

func (f *Filter) maxRead() int64 { return maxAnswers + 2*cmp.Or(f.MaxSize, 50<<20) }

// What we can do for a milter. A milter that skips the rest of a body (SMFIP_SKIP), or adds a recipient with parameters, is
// beyond the client library, so neither is offered.
const (
	actions2 = gomilter.OptAddHeader | gomilter.OptChangeBody | gomilter.OptAddRcpt | gomilter.OptRemoveRcpt |
		gomilter.OptChangeHeader | gomilter.OptQuarantine
	actions6 = actions2 | gomilter.OptChangeFrom

	protocol2 = gomilter.OptNoConnect | gomilter.OptNoHelo | gomilter.OptNoMailFrom | gomilter.OptNoRcptTo |
		gomilter.OptNoBody | gomilter.OptNoHeaders | gomilter.OptNoEOH
	protocol6 = protocol2 | gomilter.OptNoUnknown | gomilter.OptNoData | gomilter.OptNoHeaderReply |
		gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoMailReply | gomilter.OptNoRcptReply |
		gomilter.OptNoDataReply | gomilter.OptNoUnknownReply | gomilter.OptNoEOHReply | gomilter.OptNoBodyReply |
		gomilter.OptHeaderLeadingSpace
)

// dial connects and negotiates: version 6, or what version 2 has of it with a milter that is older.
func (f *Filter) dial() (*gomilter.ClientSession, *conn, error) {
	s, c, err := f.negotiate(actions6, protocol6)
	if errors.Is(err, gomilter.ErrUnsupportedMilterVersion) {
		s, c, err = f.negotiate(actions2, protocol2)
	}
	return s, c, err
}

func (f *Filter) negotiate(a gomilter.OptAction, p gomilter.OptProtocol) (*gomilter.ClientSession, *conn, error) {
	d := &dialer{timeout: f.timeout(), max: f.maxRead(), whole: answers * f.timeout()}
	client := gomilter.NewClientWithOptions(f.Network, f.Address, gomilter.ClientOptions{
		Dialer: d, ReadTimeout: f.timeout(), WriteTimeout: f.timeout(), ActionMask: a, ProtocolMask: p,
	})
	s, err := client.Session()
	if err != nil && d.conn != nil {
		d.conn.Close() // which the library forgets
	}
	return s, d.conn, err
}

// failure makes trouble with the milter the verdict that the configuration wants; nil: go on without it.
func (f *Filter) failure(err error) error {
	err = fmt.Errorf("milter %s: %w", f.Address, err)
	switch f.Default {
	case Accept:
		return nil
	case Reject:
		return mail.Permanentf(7, 1, "Message can't be checked: %w", err)
	}
	return mail.Temporaryf(7, 1, "Message can't be checked now, try again later: %w", err)
}

// dialer remembers the connection that it made.
type dialer struct {
	timeout, whole time.Duration
	max            int64
	conn           *conn
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	nc, err := net.DialTimeout(network, address, d.timeout)
	if err != nil {
		return nil, err
	}
	d.conn = &conn{Conn: nc, max: d.max, whole: d.whole}
	d.conn.begin()
	return d.conn, nil
}

// conn bounds what a milter may send about one command of the peer, or one message, and for how long: the library waits anew
// for every packet, and keeps them all.
type conn struct {
	net.Conn
	max   int64
	whole time.Duration

	left int64
	end  time.Time
}

var errTooMuch = errors.New("milter sends more than a message can need")

// begin starts the count anew. What the peer takes between its commands is not the milter's time.
func (c *conn) begin() { c.left, c.end = c.max, time.Now().Add(c.whole) }

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// SetReadDeadline never goes beyond the end of the message's time.
func (c *conn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.earlier(t)) }

// SetWriteDeadline never goes beyond the end of the message's time.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.earlier(t)) }

func (c *conn) earlier(t time.Time) time.Time {
	if t.IsZero() || t.After(c.end) {
		return c.end
	}
	return t
}
