// Package acme gets certificates from an authority by RFC 8555, and answers its challenges http-01 and tls-alpn-01.
//
// It is small and stands on package web, not on net/http as other clients do, because a program that is started once for each
// connection pays for everything that is linked into it.
//
// A [Keeper] writes what it gets into a directory; whoever serves TLS reads the files there, and reads them again when they
// change. So any number of processes share certificates, and one of them gets them. The files are those of autocert.DirCache
// (golang.org/x/crypto/acme/autocert), key first and then the chain, under the name of the domain.
package acme

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"mailx/pkg/vfs"
	"mailx/pkg/web"
)

// Keeper keeps the certificates of some domains fresh. Set its fields before the first call.
type Keeper struct {
	FS            vfs.FS
	Dir           string // of the certificates and the account's key; it is made if it is not there
	Domains       []string
	Email         string      // "" for none
	Directory     string      // URL of the authority
	TLS           *tls.Config // roots for the authority; nil: those of the system
	HTTP, TLSALPN bool        // which challenges can be answered: somebody calls ServeHTTP, ServeTLS
	Report        func(error) // of a certificate that could not be got; may be nil
	Now           func() time.Time

	answers answers
}

// How often a Keeper looks, and tries again.
const (
	lookEvery  = time.Hour
	retryFirst = 2 * time.Minute // authorities count failures: Let's Encrypt takes five an hour
	retryMost  = 12 * time.Hour
	oneOrder   = 10 * time.Minute // for a certificate, from order to file
)

const (
	accountFile = "acme_account+key"
	maxFile     = 1 << 20
)

// Run gets certificates that are missing or have less than a third of their time left, now and then each hour, until ctx ends.
// After a failure it waits for two minutes, and each time twice as long.
func (k *Keeper) Run(ctx context.Context) {
	retry := retryFirst
	for ctx.Err() == nil {
		wait := lookEvery
		if err := k.Refresh(ctx); err != nil && ctx.Err() == nil {
			if k.Report != nil {
				k.Report(fmt.Errorf("%w; trying again in %v", err, retry))
			}
			wait, retry = retry, min(2*retry, retryMost)
		} else {
			retry = retryFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Refresh gets what is missing or due, once. Trouble with one domain does not stop the others.
func (k *Keeper) Refresh(ctx context.Context) error {
	var errs []error
	for _, domain := range k.Domains {
		if k.isFresh(domain) {
			continue
		}
		if err := k.get(ctx, domain); err != nil {
			errs = append(errs, fmt.Errorf("no certificate for %s: %w", domain, err))
		}
	}
	return errors.Join(errs...)
}

// isFresh is false for a file that is missing or no certificate.
func (k *Keeper) isFresh(domain string) bool {
	data, err := vfs.ReadFile(k.FS, k.path(domain), maxFile)
	if err != nil {
		return false
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil || pair.Leaf == nil || pair.Leaf.VerifyHostname(domain) != nil {
		return false
	}
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	return pair.Leaf.NotAfter.Sub(k.now()) > life/3
}

// get is one order, from the account to the file.
func (k *Keeper) get(ctx context.Context, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, oneOrder)
	defer cancel()
	if err := vfs.MkdirAll(k.FS, k.Dir); err != nil {
		return err
	}
	account, err := k.accountKey()
	if err != nil {
		return err
	}
	c := &client{http: requester{web.Client{TLS: k.TLS}}, key: account}
	if err := c.open(ctx, k.Directory, k.Email); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	chain, err := k.order(ctx, c, domain, key)
	if err != nil {
		return err
	}
	data, err := printKey(key)
	if err != nil {
		return err
	}
	data = append(data, chain...)
	if _, err := tls.X509KeyPair(data, data); err != nil {
		return fmt.Errorf("the authority sent a certificate that is not for our key: %w", err)
	}
	return k.write(domain, data)
}

// accountKey is the key that the authority knows us by. It is made once.
func (k *Keeper) accountKey() (*ecdsa.PrivateKey, error) {
	data, err := vfs.ReadFile(k.FS, k.path(accountFile), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return k.newAccountKey()
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s has no key", k.path(accountFile))
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err == nil && key.Curve != elliptic.P256() {
		err = errors.New("not a P-256 key")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.path(accountFile), err)
	}
	return key, nil
}

func (k *Keeper) newAccountKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	data, err := printKey(key)
	if err != nil {
		return nil, err
	}
	return key, k.write(accountFile, data)
}

func printKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = pem.Encode(&b, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return b.Bytes(), err
}

func (k *Keeper) path(name string) string { return k.Dir + "/" + name }

func (k *Keeper) write(name string, data []byte) error {
	return vfs.WriteFile(k.FS, k.path(name), rand.Text(), data)
}

func (k *Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

// answers are those to the challenges of orders under way.
type answers struct {
	mu    sync.Mutex
	http  map[string]string           // by token
	certs map[string]*tls.Certificate // by domain
}
