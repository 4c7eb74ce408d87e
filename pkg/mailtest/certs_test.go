package mailtest

import (
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"
)

func TestCertificates(t *testing.T) {
	ca := NewCA(t)
	mutual := ca.MutualConfig("127.0.0.1")
	for _, c := range []struct {
		name           string
		server, client *tls.Config
		want           string // part of either side's error; "" is success
	}{
		{"by name", ca.ServerConfig("mx.test", "127.0.0.1"), ca.ClientConfig("mx.test"), ""},
		{"by address", ca.ServerConfig("mx.test", "127.0.0.1"), ca.ClientConfig("127.0.0.1"), ""},
		{"other authority", ca.ServerConfig("mx.test"), NewCA(t).ClientConfig("mx.test"), "unknown authority"},
		{"wrong name", ServerConfig(ca.WrongName()), ca.ClientConfig("mx.test"), "wrong-name.invalid, not mx.test"},
		{"expired", ServerConfig(ca.Expired("mx.test")), ca.ClientConfig("mx.test"), "expired"},
		{"client certificate", mutual, ca.ClientConfig("127.0.0.1", ca.Client("bob")), ""},
		{"no client certificate", mutual, ca.ClientConfig("127.0.0.1"), "didn't provide a certificate"},
		{"foreign client certificate", mutual, ca.ClientConfig("127.0.0.1", NewCA(t).Client("bob")), "unknown authority"},
		{"server as client", mutual, ca.ClientConfig("127.0.0.1", ca.Server("bob")), "incompatible key usage"},
	} {
		got := handshake(t, c.server, c.client)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// handshake gives the errors of both sides.
func handshake(t *testing.T, server, client *tls.Config) string {
	t.Helper()
	c, s := Pipe(t)
	result := make(chan error, 1)
	go func() { result <- finishHandshake(s, tls.Server(s, server)) }()
	var text string
	if err := finishHandshake(c, tls.Client(c, client)); err != nil {
		text = err.Error()
	}
	if err := <-result; err != nil {
		text += " / " + err.Error()
	}
	return text
}

func finishHandshake(raw net.Conn, conn *tls.Conn) error {
	defer raw.Close()
	return conn.Handshake()
}

func TestPEMFiles(t *testing.T) {
	ca, dir := NewCA(t), t.TempDir()
	certFile, keyFile := WritePEM(t, dir, "server", ca.Server("mx.test"))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca.WriteCA(dir))
	if err != nil {
		t.Fatal(err)
	}
	client := ca.ClientConfig("mx.test")
	if client.RootCAs = client.RootCAs.Clone(); !client.RootCAs.AppendCertsFromPEM(pem) {
		t.Error("ca.pem has no certificate")
	}
	if got := handshake(t, ServerConfig(pair), client); got != "" {
		t.Error(got)
	}
	if fi, err := os.Stat(keyFile); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", fi.Mode(), err)
	}
}
