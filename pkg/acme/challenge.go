package acme

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// Bounds of a connection that asks for an answer.
const (
	askTime   = 10 * time.Second
	maxAsking = 16 << 10
)

const (
	wellKnown    = "/.well-known/acme-challenge/" // RFC 8555 §8.3
	alpnProtocol = "acme-tls/1"                   // RFC 8737 §6.2
)

func (a *answers) add(token, proof string) (forget func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.http == nil {
		a.http = map[string]string{}
	}
	a.http[token] = proof
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.http, token)
	}
}

func (a *answers) addCert(domain string, cert *tls.Certificate) (forget func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.certs == nil {
		a.certs = map[string]*tls.Certificate{}
	}
	a.certs[domain] = cert
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.certs, domain)
	}
}

// ServeHTTP answers one request for http-01 and closes the connection. All other requests are answered with 404.
func (k *Keeper) ServeHTTP(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	nc.SetDeadline(time.Now().Add(askTime))
	tp := textproto.NewReader(bufio.NewReader(io.LimitReader(nc, maxAsking)))
	line, err := tp.ReadLine()
	if err != nil {
		return
	}
	if _, err := tp.ReadMIMEHeader(); err != nil {
		return
	}
	status, body := "404 Not Found", "There is nothing here but answers to ACME challenges.\n"
	if proof := k.answers.proof(line); proof != "" {
		status, body = "200 OK", proof
	}
	fmt.Fprintf(nc, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
}

// proof is for a request line: GET /.well-known/acme-challenge/TOKEN HTTP/1.1
func (a *answers) proof(line string) string {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	token, ok := strings.CutPrefix(target, wellKnown)
	if method != "GET" || !ok || !strings.HasPrefix(version, "HTTP/1.") {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.http[token]
}

// ServeTLS answers tls-alpn-01, which is done with the handshake (RFC 8737 §3), and closes the connection.
func (k *Keeper) ServeTLS(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	tls.Server(nc, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{alpnProtocol}, SessionTicketsDisabled: true,
		GetCertificate: k.answers.certificate}).HandshakeContext(ctx)
}

func (a *answers) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == alpnProtocol {
		if cert := a.certs[strings.ToLower(hello.ServerName)]; cert != nil {
			return cert, nil
		}
	}
	return nil, errors.New("nothing is served here but answers to ACME challenges")
}

// alpnCertificate has the proof in the extension id-pe-acmeIdentifier (RFC 8737 §3).
func alpnCertificate(domain, proof string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(proof))
	value, err := asn1.Marshal(sum[:])
	if err != nil {
		return nil, err
	}
	draft := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, draft, draft, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
