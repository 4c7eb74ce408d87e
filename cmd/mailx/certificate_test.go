package main

import (
	"crypto/x509"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailx/pkg/config"
	"mailx/pkg/mailtest"
)

// What keeps a new certificate from being read may be gone while its file does not seem to change: a mode, or a want of
// descriptors. It is told once, and not the end of it.
func TestCertificateIsTriedAgain(t *testing.T) {
	home, ca := t.TempDir(), mailtest.NewCA(t)
	certFile, keyFile := mailtest.WritePEM(t, home, "server", ca.Server("old.example"))
	reports := 0
	c := &certificate{certFile: certFile, keyFile: keyFile, report: func(error) { reports++ }}
	isFor := func(name string) bool {
		t.Helper()
		cert, err := c.get()
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.VerifyHostname(name) == nil
	}
	if !isFor("old.example") {
		t.Fatal("not the certificate of the file")
	}
	mailtest.WritePEM(t, home, "server", ca.Server("new.example"))
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	moment := time.Now().Truncate(time.Second)
	write := func(data []byte) { // as if nothing had happened to the file
		t.Helper()
		if err := os.WriteFile(keyFile, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(keyFile, moment, moment); err != nil {
			t.Fatal(err)
		}
	}
	write(make([]byte, len(key)))
	for range 3 {
		c.tried = c.tried.Add(-time.Minute)
		if !isFor("old.example") {
			t.Error("a certificate without a key")
		}
	}
	write(key)
	c.tried = time.Now()
	if !isFor("old.example") {
		t.Error("tried again at once: that is the time for reading it at each connection")
	}
	c.tried = c.tried.Add(-time.Minute)
	for range 2 {
		if !isFor("new.example") {
			t.Error("not tried again")
		}
	}
	if reports != 1 {
		t.Errorf("told %d times", reports)
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if !isFor("new.example") || reports != 2 {
		t.Errorf("without its file: told %d times", reports)
	}
}

// Who stays for the queue says when it begins that the certificate of a route is missing, and does begin.
func TestRouteCertificateIsMissed(t *testing.T) {
	home, ca := t.TempDir(), mailtest.NewCA(t)
	cert, key := mailtest.WritePEM(t, home, "route", ca.Client("client.example"))
	hidden := cert + ".hidden"
	if err := os.Rename(cert, hidden); err != nil {
		t.Fatal(err)
	}
	sys := testSystem(t)
	sys.cfg.Routes = map[string]*config.Route{"own.example": {ClientCert: cert, ClientKey: key}}
	want := "route.own.example.client_cert = " + cert + ": .*no such file or directory; mail that needs it waits\n$"
	said := captured(t, func(e *env) {
		sys.env = e
		if err := sys.readSecrets(); err != nil {
			t.Error(err)
		}
	})
	if !regexp.MustCompile(want).MatchString(said) {
		t.Errorf("got %q, want %q", said, want)
	}
	if err := os.Rename(hidden, cert); err != nil {
		t.Fatal(err)
	}
	route := sys.routes.byDomain["own.example"]
	if _, err := route.Certificate(); err != nil {
		t.Errorf("the file is there, but: %v", err)
	}
}

// A password that can't be had keeps only the mail of its route, and all the rest if it is that of the smarthost.
func TestPasswordIsMissed(t *testing.T) {
	missing := config.Secret{Env: "MAILX_TEST_NOBODY"}
	via := []config.Server{{Scheme: "smtps", User: "me", Host: "mx.example", Port: 465}}
	sys := testSystem(t)
	sys.cfg.Routes = map[string]*config.Route{"own.example": {Via: via, Password: missing}}
	said := captured(t, func(e *env) {
		sys.env = e
		if err := sys.readSecrets(); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(said, "MAILX_TEST_NOBODY") || !strings.HasSuffix(said, "; mail that needs it waits\n") {
		t.Errorf("got %q", said)
	}
	sys = testSystem(t)
	sys.cfg.Smarthost, sys.cfg.Password = via, missing
	if err := sys.readSecrets(); exitCode(err) != exConfig {
		t.Errorf("got %v", err)
	}
}
