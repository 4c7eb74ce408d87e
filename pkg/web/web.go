// Package web has the few lines of HTTP/1.1 with which certificates (RFC 8555) and policies (RFC 8461) are fetched.
//
// It is small because a program that is started once for each connection pays for everything that is linked into it:
// net/http makes every start of it about a tenth longer, whether it is used or not.
package web

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxReply    = 1 << 20     // octets, with its header
	requestTime = time.Minute // for one request and its reply
)

// Client makes a connection for each request and follows no redirects. It is safe for concurrent use.
type Client struct {
	TLS  *tls.Config                                                          // roots; nil: those of the system
	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: that of a net.Dialer
}

// Request is one without fields of its own but the type of its body.
type Request struct {
	Method, URL string
	Type        string // of Body
	Body        []byte // nil: none
}

// Reply is a complete one.
type Reply struct {
	Code   int
	Header textproto.MIMEHeader
	Body   []byte
}

// Do sends a request to an https URL, or to an http URL of this host, with which servers are rehearsed. The context bounds it,
// and a minute.
func (c *Client) Do(ctx context.Context, q Request) (*Reply, error) {
	u, err := url.Parse(q.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && !isHere(u) {
		return nil, fmt.Errorf("%q is not an https URL", q.URL)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	nc, err := c.connect(ctx, u)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if _, err := nc.Write(q.print(u)); err != nil {
		return nil, err
	}
	r, err := readReply(bufio.NewReader(io.LimitReader(nc, maxReply)), q.Method)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Host, err)
	}
	return r, nil
}

// isHere is true for servers of this host.
func isHere(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func (c *Client) connect(ctx context.Context, u *url.URL) (net.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	if u.Scheme == "http" {
		return dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	}
	nc, err := dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{}
	if c.TLS != nil {
		cfg = c.TLS.Clone()
	}
	cfg.ServerName, cfg.MinVersion, cfg.NextProtos = u.Hostname(), tls.VersionTLS12, []string{"http/1.1"}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

func (q *Request) print(u *url.URL) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mailx\r\nAccept-Language: en\r\nConnection: close\r\n",
		q.Method, u.RequestURI(), u.Host)
	if q.Body != nil {
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", q.Type, len(q.Body))
	}
	b.WriteString("\r\n")
	b.Write(q.Body)
	return b.Bytes()
}

// readReply reads a reply up to its end (RFC 9112 §6.3).
func readReply(b *bufio.Reader, method string) (*Reply, error) {
	tp := textproto.NewReader(b)
	for {
		line, err := tp.ReadLine()
		if err != nil {
			return nil, noEOF(err)
		}
		version, rest, _ := strings.Cut(line, " ")
		text, _, _ := strings.Cut(rest, " ")
		code, err := strconv.Atoi(text)
		if err != nil || !strings.HasPrefix(version, "HTTP/1.") || code < 100 || code > 599 {
			return nil, fmt.Errorf("%.40q is no reply of HTTP/1.1", line)
		}
		header, err := tp.ReadMIMEHeader()
		if err != nil {
			return nil, noEOF(err)
		}
		if code < 200 { // an interim one
			continue
		}
		r := &Reply{Code: code, Header: header}
		if method != "HEAD" && code != 204 {
			r.Body, err = readBody(b, header)
		}
		return r, err
	}
}

func readBody(b *bufio.Reader, header textproto.MIMEHeader) ([]byte, error) {
	if strings.EqualFold(header.Get("Transfer-Encoding"), "chunked") {
		return readChunks(b)
	}
	text := header.Get("Content-Length")
	if text == "" {
		return io.ReadAll(b)
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > maxReply {
		return nil, fmt.Errorf("a reply of %.20q octets", text)
	}
	body := make([]byte, n)
	_, err = io.ReadFull(b, body)
	return body, noEOF(err)
}

// readChunks is RFC 9112 §7.1; what follows the last chunk is not looked at.
func readChunks(b *bufio.Reader) ([]byte, error) {
	var body []byte
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			return nil, noEOF(err)
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 32)
		if err != nil || n > maxReply {
			return nil, errors.New("a bad chunk")
		}
		if n == 0 {
			return body, nil
		}
		chunk := make([]byte, n+2) // CRLF is behind it
		if _, err := io.ReadFull(b, chunk); err != nil {
			return nil, noEOF(err)
		}
		if !bytes.HasSuffix(chunk, []byte("\r\n")) {
			return nil, errors.New("a bad chunk")
		}
		body = append(body, chunk[:n]...)
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
