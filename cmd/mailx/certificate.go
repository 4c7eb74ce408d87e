package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"mailx/pkg/config"
)

// serverTLS is for all servers of this process: the certificates of the configuration, each read again when its file
// changes; nil without any. Session tickets are off: some senders cannot deliver to Go servers that hand them out
// (golang/go#70232).
func (s *system) serverTLS() (*tls.Config, error) {
	certs, err := s.certificates()
	if err != nil || len(certs.all) == 0 {
		return nil, err
	}
	return &tls.Config{GetCertificate: certs.get, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}, nil
}

// certificates gives those of tls.cert, tls.more and the ACME cache, in this order. A file that can't be read is an error now;
// later it is a note, and the certificate stays what it was. What ACME has not got yet is no error.
func (s *system) certificates() (*certificates, error) {
	if s.certs != nil {
		return s.certs, nil
	}
	var all []*certificate
	t := s.cfg.TLS
	if t.Cert != "" || t.Key != "" {
		all = append(all, &certificate{key: "tls.cert", certFile: t.Cert, keyFile: t.Key})
	}
	for _, pair := range t.More {
		cert, key, _ := strings.Cut(pair, ":")
		all = append(all, &certificate{key: "tls.more", certFile: cert, keyFile: key})
	}
	for _, c := range all {
		c.certFile, c.keyFile = config.Credential(c.certFile, os.Getenv), config.Credential(c.keyFile, os.Getenv)
		if _, err := c.get(); err != nil {
			return nil, exitWith(exConfig, fmt.Errorf("%s: %w", c.key, err))
		}
	}
	for _, domain := range s.acmeDomains() {
		file := path.Join(s.acmeCache(), domain)
		all = append(all, &certificate{key: "acme", certFile: file, keyFile: file})
	}
	for _, c := range all {
		c.report = func(err error) { s.env.note("%s: %v; going on with the certificate that was read before", c.key, err) }
	}
	s.certs = &certificates{all: all, hostname: s.cfg.Hostname}
	return s.certs, nil
}

// certificates are those of a process.
type certificates struct {
	all      []*certificate
	hostname string
	makeshift
}

// get gives the first certificate that is good for what the client asked for, by name and kind of key; else the first that
// there is. While the only ones are still to come from ACME, it is one that we signed ourselves: mail servers, which look at
// no names, go on delivering, and people are warned.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var first *tls.Certificate
	var errs []error
	for _, one := range c.all {
		cert, err := one.get()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(c.all) == 1 || hello.SupportsCertificate(cert) == nil {
			return cert, nil
		}
		if first == nil {
			first = cert
		}
	}
	if first != nil {
		return first, nil
	}
	cert, err := c.makeshift.get(c.hostname)
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	return cert, nil
}

// certificate follows two PEM files, which may be one.
type certificate struct {
	key               string // of the configuration
	certFile, keyFile string
	report            func(error) // of a change that can't be used; may be nil

	mu     sync.Mutex
	stamp  string // of what was read last, with success or without
	tried  time.Time
	loaded *tls.Certificate
	err    error // of the last try
}

// againAfter is how long a file that can't be used rests while it does not seem to change: what was wrong may lie elsewhere, in
// its mode, or in a want of descriptors.
const againAfter = 10 * time.Second

// get gives the certificate as it is on disk; when that can't be used, as it was. It costs two calls of stat(2); the files are
// read once for each change, or until they can be used, and trouble with them is told once.
func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := stampOf(c.certFile, c.keyFile)
	if err != nil {
		stamp = err.Error()
	}
	isNew := stamp != c.stamp || c.loaded == nil && c.err == nil
	if isNew || c.err != nil && time.Since(c.tried) > againAfter {
		before := c.err
		c.stamp, c.tried, c.err = stamp, time.Now(), err
		if err == nil {
			c.err = c.load()
		}
		isNews := isNew || before == nil || c.err != nil && before.Error() != c.err.Error()
		if c.err != nil && c.loaded != nil && c.report != nil && isNews {
			c.report(c.err)
		}
	}
	if c.loaded != nil {
		return c.loaded, nil
	}
	return nil, c.err
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err == nil {
		c.loaded = &pair
	}
	return err
}

// stampOf changes when one of the files does.
func stampOf(names ...string) (string, error) {
	var b strings.Builder
	for _, name := range names {
		fi, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&b, fi.ModTime().UnixNano(), fi.Size())
	}
	return b.String(), nil
}

// makeshift is a certificate of our own making, made when it is first needed and good for a week.
type makeshift struct {
	mu   sync.Mutex
	cert *tls.Certificate
}

func (m *makeshift) get(hostname string) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cert != nil && time.Now().Before(m.cert.Leaf.NotAfter) {
		return m.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	draft := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(7 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, draft, draft, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	m.cert = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return m.cert, nil
}
