package mailtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate authority that lives as long as its test. Its certificates are made when they are asked for, for
// P-256 keys, and end the test in which they can't be made. Not safe for concurrent use.
type CA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority that nobody but this test trusts. A second one is what "unknown authority" tests want.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, key: newKey(t)}
	template := newTemplate(t, "mailx test authority", validNow())
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	ca.cert = ca.sign(template, template, ca.key)
	return ca
}

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Server is a certificate for DNS names and IP addresses, valid for an hour around now.
func (ca *CA) Server(names ...string) tls.Certificate {
	ca.t.Helper()
	return ca.issue(names, validNow(), x509.ExtKeyUsageServerAuth)
}

// Client is a certificate for a client of that name.
func (ca *CA) Client(name string) tls.Certificate {
	ca.t.Helper()
	return ca.issue([]string{name}, validNow(), x509.ExtKeyUsageClientAuth)
}

// Expired is a server certificate that ended a day ago.
func (ca *CA) Expired(names ...string) tls.Certificate {
	ca.t.Helper()
	v := validNow()
	v.from, v.to = v.from.Add(-48*time.Hour), v.to.Add(-24*time.Hour)
	return ca.issue(names, v, x509.ExtKeyUsageServerAuth)
}

// WrongName is a valid server certificate of a host that no test connects to.
func (ca *CA) WrongName() tls.Certificate {
	ca.t.Helper()
	return ca.Server("wrong-name.invalid")
}

// ServerConfig is the server's half, with a certificate for the names. It asks for no client certificate.
func (ca *CA) ServerConfig(names ...string) *tls.Config {
	ca.t.Helper()
	return ServerConfig(ca.Server(names...))
}

// MutualConfig is ServerConfig for a server that demands a client certificate of this authority.
func (ca *CA) MutualConfig(names ...string) *tls.Config {
	ca.t.Helper()
	cfg := ca.ServerConfig(names...)
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	return cfg
}

// ClientConfig is the client's half: it trusts this authority alone and shows the certificates given, if any. An empty
// server name is for Options.TLS, which then verifies the chain without the name; crypto/tls itself refuses it.
func (ca *CA) ClientConfig(serverName string, certs ...tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		RootCAs:      ca.Pool(),
		ServerName:   serverName,
		Certificates: certs,
	}
}

// ServerConfig is the server's half with that certificate.
func ServerConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
}

// WriteCA writes the authority's certificate into dir as ca.pem and gives the path.
func (ca *CA) WriteCA(dir string) string {
	ca.t.Helper()
	return writePEM(ca.t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.cert.Raw)
}

// WritePEM writes a certificate chain and its key (PKCS #8, mode 0600) into dir as name.pem and name.key.
func WritePEM(t testing.TB, dir, name string, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile = writePEM(t, filepath.Join(dir, name+".pem"), "CERTIFICATE", cert.Certificate...)
	keyFile = writePEM(t, filepath.Join(dir, name+".key"), "PRIVATE KEY", der)
	return certFile, keyFile
}

func writePEM(t testing.TB, path, kind string, blocks ...[]byte) string {
	t.Helper()
	var out []byte
	for _, der := range blocks {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type validity struct{ from, to time.Time }

func validNow() validity {
	now := time.Now()
	return validity{now.Add(-time.Hour), now.Add(time.Hour)}
}

// issue gives a leaf; certificates carry no chain but themselves, since the authority signs them directly.
func (ca *CA) issue(names []string, v validity, use x509.ExtKeyUsage) tls.Certificate {
	ca.t.Helper()
	key := newKey(ca.t)
	template := newTemplate(ca.t, names[0], v)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{use}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	leaf := ca.sign(template, ca.cert, key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func (ca *CA) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	ca.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newTemplate(t testing.TB, name string, v validity) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    v.from,
		NotAfter:     v.to,
	}
}
