package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// client speaks to one authority for one account.
type client struct {
	http  requester
	key   *ecdsa.PrivateKey
	kid   string // URL of the account; "" until it is known
	nonce string // for the next request; "" if none is left
	dir   directory
}

// directory is RFC 8555 §7.1.1.
type directory struct{ NewNonce, NewAccount, NewOrder string }

// problem is why an authority refuses (RFC 8555 §6.7, RFC 7807).
type problem struct {
	Type, Detail string
	Status       int
}

func (p *problem) Error() string {
	return strings.TrimPrefix(p.Type, "urn:ietf:params:acme:error:") + ": " + p.Detail
}

// orText is the problem, or where there is none an error with a text.
func (p *problem) orText(text string) error {
	if p == nil {
		return errors.New(text)
	}
	return p
}

// open reads the directory and finds or makes the account (RFC 8555 §7.3).
func (c *client) open(ctx context.Context, url, email string) error {
	r, err := c.http.do(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	if err := r.decode(&c.dir); err != nil {
		return err
	}
	if c.dir.NewNonce == "" || c.dir.NewAccount == "" || c.dir.NewOrder == "" {
		return fmt.Errorf("%s is no ACME directory", url)
	}
	account := map[string]any{"termsOfServiceAgreed": true}
	if email != "" {
		account["contact"] = []string{"mailto:" + email}
	}
	c.kid, err = c.post(ctx, c.dir.NewAccount, account, nil)
	if err == nil && c.kid == "" {
		err = errors.New("the authority did not name the account")
	}
	return err
}

// post sends a payload (nil: POST-as-GET, RFC 8555 §6.3), reads the answer into a struct unless that is nil, and gives the
// Location of what was made.
func (c *client) post(ctx context.Context, url string, payload, into any) (location string, err error) {
	r, err := c.send(ctx, url, payload)
	if err != nil {
		return "", err
	}
	if into != nil {
		err = r.decode(into)
	}
	return r.Header.Get("Location"), err
}

// maxNonces is how many nonces may turn out to be stale one after the other (RFC 8555 §6.5).
const maxNonces = 5

func (c *client) send(ctx context.Context, url string, payload any) (*reply, error) {
	for try := 1; ; try++ {
		if err := c.needNonce(ctx); err != nil {
			return nil, err
		}
		body, err := c.sign(url, payload)
		if err != nil {
			return nil, err
		}
		c.nonce = ""
		r, err := c.http.do(ctx, "POST", url, body)
		if r != nil {
			c.nonce = r.Header.Get("Replay-Nonce")
		}
		var p *problem
		if errors.As(err, &p) && strings.HasSuffix(p.Type, ":badNonce") && try < maxNonces {
			continue
		}
		return r, err
	}
}

func (c *client) needNonce(ctx context.Context) error {
	if c.nonce != "" {
		return nil
	}
	r, err := c.http.do(ctx, "HEAD", c.dir.NewNonce, nil)
	if err != nil {
		return err
	}
	if c.nonce = r.Header.Get("Replay-Nonce"); c.nonce == "" {
		return errors.New("the authority gave no nonce")
	}
	return nil
}

// sign is a JWS in flattened JSON (RFC 7515 §7.2.2) with ES256 (RFC 7518 §3.4), as RFC 8555 §6.2 wants it.
func (c *client) sign(url string, payload any) ([]byte, error) {
	head := map[string]any{"alg": "ES256", "nonce": c.nonce, "url": url}
	if c.kid != "" {
		head["kid"] = c.kid
	} else {
		head["jwk"] = json.RawMessage(jwk(&c.key.PublicKey))
	}
	protected, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	text := []byte{}
	if payload != nil {
		if text, err = json.Marshal(payload); err != nil {
			return nil, err
		}
	}
	p, t := encode(protected), encode(text)
	digest := sha256.Sum256([]byte(p + "." + t))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, digest[:])
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"protected": p, "payload": t, "signature": encode(append(number(r), number(s)...))})
}

// number is 32 octets, big end first.
func number(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk is a key in the one form that has a thumbprint (RFC 7638 §3).
func jwk(key *ecdsa.PublicKey) []byte {
	point, err := key.Bytes() // 4, x, y
	if err != nil {
		return nil
	}
	return fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, encode(point[1:33]), encode(point[33:]))
}

func thumbprint(key *ecdsa.PublicKey) string {
	sum := sha256.Sum256(jwk(key))
	return encode(sum[:])
}
