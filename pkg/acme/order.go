package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// Orders, authorizations and challenges as the authority shows them (RFC 8555 §7.1); other fields are ignored.
type (
	order struct {
		Status         string
		Authorizations []string
		Finalize       string
		Certificate    string
		Error          *problem
	}
	authorization struct {
		Status     string
		Identifier identifier
		Challenges []challenge
	}
	challenge struct {
		Type, URL, Token, Status string
		Error                    *problem
	}
	identifier struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
)

// order gets a certificate chain, in PEM, for a key (RFC 8555 §7.4).
func (k *Keeper) order(ctx context.Context, c *client, domain string, key *ecdsa.PrivateKey) ([]byte, error) {
	var o order
	url, err := c.post(ctx, c.dir.NewOrder, map[string]any{"identifiers": []identifier{{"dns", domain}}}, &o)
	if err != nil {
		return nil, err
	}
	for _, authz := range o.Authorizations {
		if err := k.authorize(ctx, c, authz); err != nil {
			return nil, err
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{domain}}, key)
	if err != nil {
		return nil, err
	}
	if _, err := c.post(ctx, o.Finalize, map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)}, &o); err != nil {
		return nil, err
	}
	err = c.await(ctx, url, &o, func() (bool, error) {
		if o.Status == "invalid" {
			return false, o.Error.orText("the order failed")
		}
		return o.Status == "valid", nil
	})
	if err != nil {
		return nil, err
	}
	r, err := c.send(ctx, o.Certificate, nil)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

// authorize shows that a domain is ours, if that is not known yet (RFC 8555 §7.5).
func (k *Keeper) authorize(ctx context.Context, c *client, url string) error {
	var a authorization
	if _, err := c.post(ctx, url, nil, &a); err != nil {
		return err
	}
	if a.Status == "valid" {
		return nil
	}
	ch, err := k.choose(&a)
	if err != nil {
		return err
	}
	forget, err := k.answer(c, a.Identifier.Value, ch)
	if err != nil {
		return err
	}
	defer forget()
	if _, err := c.post(ctx, ch.URL, struct{}{}, nil); err != nil { // "{}" says that the answer is there, §7.5.1
		return err
	}
	return c.await(ctx, url, &a, func() (bool, error) {
		switch a.Status {
		case "valid":
			return true, nil
		case "pending", "processing":
			return false, nil
		}
		for _, ch := range a.Challenges {
			if ch.Error != nil {
				return false, ch.Error
			}
		}
		return false, errors.New("the authority does not believe that the domain is ours")
	})
}

// choose takes a challenge that can be answered here.
func (k *Keeper) choose(a *authorization) (challenge, error) {
	for _, ch := range a.Challenges {
		if ch.Type == "http-01" && k.HTTP || ch.Type == "tls-alpn-01" && k.TLSALPN {
			return ch, nil
		}
	}
	return challenge{}, errors.New("the authority offers no challenge that can be answered here; see acme.listen and acme.listen_tls")
}

// answer makes the answer known to ServeHTTP or ServeTLS, until forget is called.
func (k *Keeper) answer(c *client, domain string, ch challenge) (forget func(), err error) {
	proof := ch.Token + "." + thumbprint(&c.key.PublicKey) // RFC 8555 §8.1
	if ch.Type == "http-01" {
		return k.answers.add(ch.Token, proof), nil
	}
	cert, err := alpnCertificate(domain, proof, k.now())
	if err != nil {
		return nil, err
	}
	return k.answers.addCert(domain, cert), nil
}

// await asks for a resource until done says so or gives an error (RFC 8555 §7.5.1).
func (c *client) await(ctx context.Context, url string, into any, done func() (bool, error)) error {
	for {
		r, err := c.send(ctx, url, nil)
		if err != nil {
			return err
		}
		if err := r.decode(into); err != nil {
			return err
		}
		if ok, err := done(); ok || err != nil {
			return err
		}
		timer := time.NewTimer(r.retryAfter())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waiting for the authority: %w", ctx.Err())
		}
	}
}
