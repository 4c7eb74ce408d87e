package smtp

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
)

// pinOf names the certificate of a server, or the key in it.
func pinOf(t testing.TB, cfg *tls.Config, isKey bool) Pin {
	t.Helper()
	leaf, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.Raw)
	text := strings.ToUpper(hex.EncodeToString(sum[:2])) + ":" + hex.EncodeToString(sum[2:])
	if isKey {
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		text = "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
	}
	p, err := ParsePin(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParsePin(t *testing.T) {
	cfg := mailtest.NewCA(t).ServerConfig("x.example")
	for _, isKey := range []bool{false, true} {
		p := pinOf(t, cfg, isKey)
		if again, err := ParsePin(p.String()); err != nil || again != p {
			t.Errorf("%s: read as %s, %v", p, again, err)
		}
		leaf, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if whole, key := PinsOf(leaf); !isKey && whole != p || isKey && key != p {
			t.Errorf("%s: made as %s and %s", p, whole, key)
		}
	}
	for _, s := range []string{"", "abc", strings.Repeat("0", 62), strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("g", 64),
		"sha256//", "sha256//AAAA", "sha256/" + strings.Repeat("A", 43) + "=", "sha256//" + strings.Repeat("0", 64), "md5//AAAA"} {
		if p, err := ParsePin(s); err == nil {
			t.Errorf("%q was taken for %s", s, p)
		}
	}
}

// A pin that nobody set lets nobody in.
func TestNoPins(t *testing.T) {
	cfg := mailtest.NewCA(t).ServerConfig("127.0.0.1")
	leaf, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, chain := range [][]*x509.Certificate{nil, {leaf}} {
		if err := checkPins(nil)(tls.ConnectionState{PeerCertificates: chain}); err == nil {
			t.Errorf("%d certificates: no error", len(chain))
		}
	}
}

// A server may want to see who comes (RFC 8446 §4.4.2.4): it gets the certificate that was configured.
func TestClientCertificate(t *testing.T) {
	ca := mailtest.NewCA(t)
	for name, c := range map[string]struct {
		certs []tls.Certificate
		want  bool
	}{
		"shown": {[]tls.Certificate{ca.Client("client.example")}, true},
		"none":  {nil, false},
	} {
		s := mailtest.ScriptServer(t, after("250-mx\r\n250 STARTTLS", mailtest.Exchange("STARTTLS", "220 go"), mailtest.StartTLS(ca.MutualConfig("127.0.0.1")),
			mailtest.Exchange("EHLO", "250 mx"), mailtest.Expect("QUIT"))...)
		opt := testOptions()
		opt.TLS, opt.TLSConfig = TLSVerified, ca.ClientConfig("", c.certs...)
		client, err := dial(t, s.Addr, opt)
		if (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			client.Quit()
		}
	}
}

// A client that looks first and starts TLS later sees what is offered in clear and inside, and any certificate.
func TestStartTLSLater(t *testing.T) {
	ca := mailtest.NewCA(t)
	for _, c := range []struct {
		name   string
		answer []mailtest.Act
		want   string // of the status of the error
	}{
		{"started", []mailtest.Act{mailtest.Exchange("STARTTLS", "220 go"), mailtest.StartTLS(ca.ServerConfig("other.example")),
			mailtest.Exchange("EHLO", "250-mx\r\n250 SIZE"), mailtest.Expect("QUIT")}, "2.0.0"},
		{"refused", []mailtest.Act{mailtest.Exchange("STARTTLS", "454 4.7.0 no"), mailtest.Expect("QUIT")}, "4.7.0"},
		{"no handshake", []mailtest.Act{mailtest.Exchange("STARTTLS", "220 go"), mailtest.Reply("nonsense")}, "4.7.5"},
	} {
		s := mailtest.ScriptServer(t, after("250-mx\r\n250 STARTTLS", c.answer...)...)
		opt := testOptions()
		greeting := ""
		opt.TLS, opt.Greeted = TLSNone, func(text string) { greeting = text }
		client, err := dial(t, s.Addr, opt)
		if err != nil {
			t.Fatal(err)
		}
		if greeting != "mx.example ESMTP" || !client.Extensions().Has("STARTTLS") {
			t.Errorf("%s: greeting %q, offers %v", c.name, greeting, client.Extensions())
		}
		err = client.StartTLS(t.Context())
		if got := mail.StatusOf(err).String(); err != nil && got != c.want || (err == nil) != (c.want == "2.0.0") {
			t.Errorf("%s: %v, status %s, want %s", c.name, err, got, c.want)
		}
		if err == nil && (client.TLS() == nil || !client.Extensions().Has("SIZE") || client.Extensions().Has("STARTTLS")) {
			t.Errorf("%s: then offers %v", c.name, client.Extensions())
		}
		client.Quit()
	}
}
