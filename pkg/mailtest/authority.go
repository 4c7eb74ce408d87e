package mailtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Authority is a small ACME server (RFC 8555) on loopback: one account, one order at a time, one challenge an order. It checks
// signatures, nonces and URLs, and asks for the answer to a challenge as soon as it knows where.
type Authority struct {
	Directory string // URL
	CA        *CA

	// Set these before the first request.
	Kind      string        // of the challenges: "http-01" or "tls-alpn-01"
	BadNonces int           // so many requests are refused as stale first
	Refuse    bool          // no challenge is believed
	Chunked   bool          // replies come in chunks
	Life      time.Duration // of certificates, an hour of it in the past; 0 is 90 days

	t      testing.TB
	server *httptest.Server

	mu      sync.Mutex
	address string // where answers are
	nonces  map[string]bool
	key     *ecdsa.PublicKey
	domain  string
	token   string
	asked   bool   // the challenge is ready to be looked at
	status  string // of the authorization
	chain   []byte
	orders  int
}

// NewAuthority starts one that ends with the test.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{CA: NewCA(t), Kind: "http-01", t: t, nonces: map[string]bool{}}
	a.mu.Lock() // the first request waits for the URL
	defer a.mu.Unlock()
	a.server = httptest.NewServer(a)
	t.Cleanup(a.server.Close)
	a.Directory = a.server.URL + "/directory"
	return a
}

// AskAt says at which "IP:port" challenges are answered. Before that, orders stay pending.
func (a *Authority) AskAt(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.address = address
}

// Orders is how many there were.
func (a *Authority) Orders() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.orders
}

// ServeHTTP is one request.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	nonce := rand.Text()
	a.nonces[nonce] = true
	w.Header().Set("Replay-Nonce", nonce)
	w.Header().Set("Retry-After", "0")
	switch {
	case r.Method == "GET" && r.URL.Path == "/directory":
		a.print(w, 200, map[string]string{"newNonce": a.url("/nonce"), "newAccount": a.url("/account"), "newOrder": a.url("/order")})
		return
	case r.Method == "HEAD" && r.URL.Path == "/nonce":
		return
	case r.Method != "POST":
		a.problem(w, 405, "malformed", r.Method+" "+r.URL.Path)
		return
	}
	payload, err := a.open(r)
	switch {
	case err == errNonce:
		a.problem(w, 400, "badNonce", "stale")
	case err != nil:
		a.problem(w, 400, "malformed", err.Error())
	default:
		a.act(w, r.URL.Path, payload)
	}
}

func (a *Authority) url(path string) string { return a.server.URL + path }

// act is a request whose signature is good.
func (a *Authority) act(w http.ResponseWriter, path string, payload []byte) {
	switch path {
	case "/account":
		w.Header().Set("Location", a.url("/account/1"))
		a.print(w, 201, map[string]string{"status": "valid"})
	case "/order":
		var o struct {
			Identifiers []struct{ Type, Value string }
		}
		if json.Unmarshal(payload, &o) != nil || len(o.Identifiers) != 1 || o.Identifiers[0].Type != "dns" {
			a.problem(w, 400, "malformed", string(payload))
			return
		}
		a.domain, a.token, a.asked, a.status, a.chain = o.Identifiers[0].Value, rand.Text(), false, "pending", nil
		a.orders++
		w.Header().Set("Location", a.url("/order/1"))
		a.printOrder(w, 201)
	case "/order/1":
		a.printOrder(w, 200)
	case "/authz":
		a.validate()
		a.printAuthorization(w)
	case "/challenge":
		a.asked = string(payload) == "{}"
		a.print(w, 200, a.challenge())
	case "/finalize":
		a.finalize(w, payload)
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(a.chain)
	default:
		a.problem(w, 404, "malformed", path)
	}
}

func (a *Authority) challenge() map[string]any {
	c := map[string]any{"type": a.Kind, "url": a.url("/challenge"), "token": a.token, "status": a.status}
	if a.status == "invalid" {
		c["error"] = map[string]any{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "that is not the answer"}
	}
	return c
}

func (a *Authority) printAuthorization(w http.ResponseWriter) {
	a.print(w, 200, map[string]any{"status": a.status, "identifier": map[string]string{"type": "dns", "value": a.domain},
		"challenges": []any{map[string]string{"type": "dns-01", "url": a.url("/dns"), "token": "x"}, a.challenge()}})
}

func (a *Authority) printOrder(w http.ResponseWriter, code int) {
	status := map[string]string{"pending": "pending", "valid": "ready", "invalid": "invalid"}[a.status]
	o := map[string]any{"status": status, "authorizations": []string{a.url("/authz")}, "finalize": a.url("/finalize")}
	if a.chain != nil {
		o["status"], o["certificate"] = "valid", a.url("/cert")
	}
	a.print(w, code, o)
}

// finalize signs what the order is for, and nothing else.
func (a *Authority) finalize(w http.ResponseWriter, payload []byte) {
	var f struct{ CSR string }
	json.Unmarshal(payload, &f)
	der, err := base64.RawURLEncoding.DecodeString(f.CSR)
	if err != nil || a.status != "valid" {
		a.problem(w, 403, "orderNotReady", a.status)
		return
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil || len(csr.DNSNames) != 1 || csr.DNSNames[0] != a.domain {
		a.problem(w, 400, "badCSR", fmt.Sprint(err))
		return
	}
	a.chain = a.CA.signFor(csr.PublicKey, a.domain, a.Life)
	a.printOrder(w, 200)
}

// signFor is a certificate for somebody else's key, with that of the authority behind it, in PEM.
func (ca *CA) signFor(key any, domain string, life time.Duration) []byte {
	now := time.Now()
	if life == 0 {
		life = 90 * 24 * time.Hour
	}
	template := newTemplate(ca.t, domain, validity{now.Add(-time.Hour), now.Add(life - time.Hour)})
	template.DNSNames, template.ExtKeyUsage = []string{domain}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
	if err != nil {
		ca.t.Error(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})...)
}

// validate asks for the answer, once it is said to be there.
func (a *Authority) validate() {
	if !a.asked || a.status != "pending" || a.address == "" {
		return
	}
	proof := a.token + "." + thumbprint(a.key)
	err := a.askHTTP(proof)
	if a.Kind == "tls-alpn-01" {
		err = a.askALPN(proof)
	}
	a.status = "valid"
	if err != nil || a.Refuse {
		a.t.Logf("authority: %v", err)
		a.status = "invalid"
	}
}

func (a *Authority) askHTTP(proof string) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + a.address + "/.well-known/acme-challenge/" + a.token)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || string(body) != proof {
		return fmt.Errorf("answer %d %q, %v", r.StatusCode, body, err)
	}
	return nil
}

func (a *Authority) askALPN(proof string) error {
	nc, err := tls.Dial("tcp", a.address, &tls.Config{ServerName: a.domain, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer nc.Close()
	sum := sha256.Sum256([]byte(proof))
	want, _ := asn1.Marshal(sum[:])
	for _, ext := range nc.ConnectionState().PeerCertificates[0].Extensions {
		if ext.Id.String() == "1.3.6.1.5.5.7.1.31" && ext.Critical && bytes.Equal(ext.Value, want) {
			return nil
		}
	}
	return fmt.Errorf("no proof in the certificate")
}

var errNonce = fmt.Errorf("bad nonce")

// open checks a JWS and gives its payload.
func (a *Authority) open(r *http.Request) ([]byte, error) {
	var jws struct{ Protected, Payload, Signature string }
	if r.Header.Get("Content-Type") != "application/jose+json" {
		return nil, fmt.Errorf("content type %q", r.Header.Get("Content-Type"))
	}
	if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(jws.Protected)
	if err != nil {
		return nil, err
	}
	var head struct {
		Alg, Kid, Nonce, URL string
		JWK                  *struct{ Crv, Kty, X, Y string }
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, err
	}
	if head.JWK != nil && r.URL.Path == "/account" {
		if a.key, err = parseKey(head.JWK.X, head.JWK.Y); err != nil {
			return nil, err
		}
	} else if head.JWK != nil || head.Kid != a.url("/account/1") {
		return nil, fmt.Errorf("key %q", head.Kid)
	}
	if head.URL != a.url(r.URL.Path) || head.Alg != "ES256" {
		return nil, fmt.Errorf("signed %s for %s", head.Alg, head.URL)
	}
	if !a.nonces[head.Nonce] || a.BadNonces > 0 {
		a.BadNonces--
		return nil, errNonce
	}
	delete(a.nonces, head.Nonce)
	sig, err := base64.RawURLEncoding.DecodeString(jws.Signature)
	digest := sha256.Sum256([]byte(jws.Protected + "." + jws.Payload))
	if err != nil || len(sig) != 64 ||
		!ecdsa.Verify(a.key, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return nil, fmt.Errorf("bad signature")
	}
	return base64.RawURLEncoding.DecodeString(jws.Payload)
}

func parseKey(x, y string) (*ecdsa.PublicKey, error) {
	bx, err := base64.RawURLEncoding.DecodeString(x)
	if err != nil {
		return nil, err
	}
	by, err := base64.RawURLEncoding.DecodeString(y)
	if err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, bx...), by...))
}

// thumbprint is RFC 7638, written down a second time on purpose: the client's is checked with it.
func thumbprint(key *ecdsa.PublicKey) string {
	point, _ := key.Bytes()
	e := base64.RawURLEncoding.EncodeToString
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + e(point[1:33]) + `","y":"` + e(point[33:65]) + `"}`))
	return e(sum[:])
}

func (a *Authority) print(w http.ResponseWriter, code int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		a.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if !a.Chunked {
		w.Write(body)
		return
	}
	for piece := range strings.SplitAfterSeq(string(body), ",") {
		io.WriteString(w, piece)
		w.(http.Flusher).Flush()
	}
}

func (a *Authority) problem(w http.ResponseWriter, code int, kind, detail string) {
	a.print(w, code, map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": code})
}
