package acme

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
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
	maxReply    = 1 << 20
	requestTime = time.Minute // for one request and its reply
	leastWait   = 100 * time.Millisecond
)

// requester does HTTP/1.1 (RFC 9112) with a connection for each request.
type requester struct{ roots *tls.Config }

// reply is a complete one.
type reply struct {
	code   int
	header textproto.MIMEHeader
	body   []byte
}

// do sends a request; body is a JWS or nil. A status that is no success is an error, a *problem if the server says why; the
// reply is there all the same.
func (q *requester) do(ctx context.Context, method, address string, body []byte) (*reply, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && !isHere(u) {
		return nil, fmt.Errorf("%q is not an https URL", address)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	nc, err := q.dial(ctx, u)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if _, err := nc.Write(printRequest(method, u, body)); err != nil {
		return nil, err
	}
	r, err := readReply(bufio.NewReader(io.LimitReader(nc, maxReply)), method)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Host, err)
	}
	return r, r.check()
}

// isHere is true for servers of this host, which rehearsals use without TLS.
func isHere(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func (q *requester) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	if u.Scheme == "http" {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	}
	cfg := &tls.Config{}
	if q.roots != nil {
		cfg = q.roots.Clone()
	}
	cfg.ServerName, cfg.MinVersion, cfg.NextProtos = u.Hostname(), tls.VersionTLS12, []string{"http/1.1"}
	d := tls.Dialer{Config: cfg}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
}

func printRequest(method string, u *url.URL, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mailx\r\nAccept-Language: en\r\nConnection: close\r\n", method, u.RequestURI(), u.Host)
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: application/jose+json\r\nContent-Length: %d\r\n", len(body)) // RFC 8555 §6.2
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// readReply reads a reply up to its end (RFC 9112 §6.3).
func readReply(b *bufio.Reader, method string) (*reply, error) {
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
		r := &reply{code: code, header: header}
		if method != "HEAD" && code != 204 {
			r.body, err = readBody(b, header)
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

// check makes an error of a status that is no success.
func (r *reply) check() error {
	if r.code/100 == 2 {
		return nil
	}
	p := &problem{}
	if json.Unmarshal(r.body, p) == nil && p.Type != "" {
		return p
	}
	return fmt.Errorf("the authority answers %d", r.code)
}

func (r *reply) decode(into any) error {
	if err := json.Unmarshal(r.body, into); err != nil {
		return fmt.Errorf("the authority's answer: %w", err)
	}
	return nil
}

// retryAfter is how long to wait before asking again: what the server says in seconds, within bounds.
func (r *reply) retryAfter() time.Duration {
	n, err := strconv.Atoi(r.header.Get("Retry-After"))
	if err != nil || n < 0 {
		return time.Second
	}
	return min(max(time.Duration(n)*time.Second, leastWait), time.Minute)
}
