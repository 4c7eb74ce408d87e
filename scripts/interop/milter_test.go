//go:build interop

package interop

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// opendkim starts the milter with these lines of configuration and gives its address.
func opendkim(t *testing.T, lines ...string) string {
	t.Helper()
	bin, dir := peer(t, "opendkim"), t.TempDir()
	return startPeer(t, nil, func(port string) []string {
		conf := append([]string{"Socket inet:" + port + "@127.0.0.1", "Background no", "Syslog no", "RequireSafeKeys no",
			"DNSTimeout 1", "Canonicalization simple/simple"}, lines...)
		return []string{bin, "-f", "-x", writeFile(t, dir, "opendkim.conf", strings.Join(conf, "\n")+"\n")}
	})
}

// dkimKey writes a key in the two forms that opendkim reads.
func dkimKey(t *testing.T) (private, public string) {
	t.Helper()
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	private = writeFile(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	public = writeFile(t, dir, "keys", "sel._domainkey."+domain+" v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(der)+"\n")
	return private, public
}

// onlyLetter gives the text of the one message that bob has.
func (w *world) onlyLetter() string {
	w.t.Helper()
	files, _ := filepath.Glob(filepath.Join(w.spool, "mail", user, "new", "*"))
	if len(files) != 1 {
		w.t.Fatalf("bob has %d messages, want 1", len(files))
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// OpenDKIM signs a message that comes in. What is stored has a signature that another OpenDKIM finds right after one more hop,
// with canonicalizations that forgive no octet.
func TestOpenDKIM(t *testing.T) {
	private, public := dkimKey(t)
	signer := opendkim(t, "Mode s", "Domain "+domain, "Selector sel", "KeyFile "+private)
	verifier := opendkim(t, "Mode v", "AuthservID "+host, "TestPublicKeys "+public, "AlwaysAddARHeader yes")
	socket := func(addr string) string {
		h, port, _ := net.SplitHostPort(addr)
		return "MAILX_MILTER_SOCKETS=inet:" + port + "@" + h
	}
	for name, text := range map[string]string{
		"plain":      "From: Alice <alice@" + domain + ">\nTo: " + rcpt + "\nDate: Mon, 23 Nov 2026 04:10:40 +0000\nSubject:x  y\n\nhi\n\n.dot\n\n\n",
		"folded":     "From: Alice\n\t<alice@" + domain + ">\nSubject: a\n  b\n\tc\nDate: Mon, 23 Nov 2026 04:10:40 +0000\n\nhi\n",
		"large":      "From: alice@" + domain + "\nDate: Mon, 23 Nov 2026 04:10:40 +0000\n\n" + strings.Repeat("0123456789 0123456789 \n", 50_000),
		"empty body": "From: alice@" + domain + "\nDate: Mon, 23 Nov 2026 04:10:40 +0000\n\n",
		"8 bit":      "From: alice@" + domain + "\nSubject: \u00fc\nDate: Mon, 23 Nov 2026 04:10:40 +0000\n\n\u00fc\xff\n",
	} {
		t.Run(name, func(t *testing.T) {
			first := newWorld(t, socket(signer))
			post(t, first.serve("serve-smtp"), text)
			_, signed, _ := strings.Cut(first.onlyLetter(), "\n") // without Return-Path
			if !strings.HasPrefix(signed, "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d="+domain) {
				t.Fatalf("no signature in\n%.2000s", signed)
			}
			second := newWorld(t, socket(verifier))
			post(t, second.serve("serve-smtp"), signed)
			if got := second.onlyLetter(); !strings.Contains("\n"+got, "\nAuthentication-Results: "+host) || !strings.Contains(got, "dkim=pass") {
				t.Errorf("the signature does not hold:\n%.3000s", got)
			}
			third := newWorld(t, socket(verifier))
			post(t, third.serve("serve-smtp"), strings.Replace(signed, "From: ", "From:  ", 1))
			if got := third.onlyLetter(); !strings.Contains(got, "dkim=fail") {
				t.Errorf("a signature that is wrong is taken for right:\n%.3000s", got)
			}
		})
	}
}

// post sends a message to bob.
func post(t *testing.T, addr, text string) {
	t.Helper()
	c, err := netsmtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, err := range []error{c.Hello("client.example.net"), c.Mail(sender), c.Rcpt(rcpt)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c.Quit()
}
