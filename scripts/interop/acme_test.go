//go:build interop

package interop

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mailtest"
)

// TestPebble gets certificates from Let's Encrypt's test server, which refuses every third nonce, by both kinds of challenge.
// The programs come from go install github.com/letsencrypt/pebble/v2/cmd/{pebble,pebble-challtestsrv}@latest.
func TestPebble(t *testing.T) {
	pebble, names := peer(t, "pebble"), peer(t, "pebble-challtestsrv")
	dir := t.TempDir()
	ca := mailtest.NewCA(t)
	cert, key := mailtest.WritePEM(t, dir, "pebble", ca.Server("localhost"))
	http, alpn, dns := freeAddr(t), freeAddr(t), freeAddr(t)
	startPeer(t, nil, func(port string) []string {
		return []string{names, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", "", "-dnsserver", dns,
			"-management", "127.0.0.1:" + port}
	})
	env := append(peerEnv(dir), "PEBBLE_WFE_NONCEREJECT=33", "PEBBLE_VA_NOSLEEP=1")
	addr := startPeer(t, env, func(port string) []string {
		config, err := json.Marshal(map[string]any{"pebble": map[string]any{"listenAddress": "127.0.0.1:" + port, "certificate": cert,
			"privateKey": key, "httpPort": number(t, http), "tlsPort": number(t, alpn)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/config.json", config, 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{pebble, "-config", dir + "/config.json", "-dnsserver", dns}
	})
	for key, where := range map[string]string{"acme.listen": http, "acme.listen_tls": alpn} {
		t.Run(key, func(t *testing.T) {
			w := newWorld(t)
			p := mailtest.Command{Bin: w.bin, Ready: "ready", Env: []string{"MAILX_CONFIG=/dev/null"}, Args: []string{"serve", "--imaps", "127.0.0.1:0",
				"--hostname", "mx.example.com", "--set", "acme.enabled=yes", "--set", "acme.directory=https://localhost:" + portOf(addr) + "/dir",
				"--set", "tls.ca=" + ca.WriteCA(dir), "--set", "acme.listen=", "--set", "acme.listen_tls=", "--set", key + "=" + where}}.Start(t)
			file := filepath.Join(p.Spool, "state/acme/mx.example.com")
			for deadline := time.Now().Add(30 * time.Second); !exists(file); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("no certificate: %s", p.Stderr())
				}
			}
			nc, err := tls.Dial("tcp", p.Addrs[0], &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.com"})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if leaf := nc.ConnectionState().PeerCertificates[0]; !strings.Contains(leaf.Issuer.CommonName, "Pebble") || leaf.VerifyHostname("mx.example.com") != nil {
				t.Errorf("got a certificate of %v for %v", leaf.Issuer, leaf.DNSNames)
			}
		})
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func number(t *testing.T, addr string) int {
	t.Helper()
	n, err := strconv.Atoi(portOf(addr))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
