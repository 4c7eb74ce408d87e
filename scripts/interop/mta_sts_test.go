//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

const pythonServes = `
import http.server, ssl, sys
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
import os
os.chdir(sys.argv[4])
server.serve_forever()
`

// A domain whose policy is on somebody else's web server and whose mail goes to Postfix: it goes there as long as Postfix is in
// the policy, shows a certificate for that name and offers TLS.
func TestMTASTS(t *testing.T) {
	ca, dir := mailtest.NewCA(t), t.TempDir()
	python := peer(t, "python3")
	certFile, keyFile := mailtest.WritePEM(t, dir, "all", ca.Server("mta-sts.example.com", "mx.example.com"))
	root := filepath.Join(dir, "www/.well-known")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	web := startPeer(t, nil, func(port string) []string {
		return []string{python, "-c", pythonServes, port, certFile, keyFile, filepath.Join(dir, "www")}
	})
	tls := []string{"smtpd_tls_cert_file = " + certFile, "smtpd_tls_key_file = " + keyFile, "smtpd_tls_security_level = may"}
	withTLS, without := startPostfix(t, tls, nil), startPostfix(t, nil, nil)
	zone := "mx.example.com. A 127.0.0.1\nother.example.com. A 127.0.0.1\nmta-sts.example.com. A 127.0.0.1\n" +
		"_mta-sts.example.com. TXT \"v=STSv1; id=1;\"\nexample.com. MX 10 "
	for name, c := range map[string]struct {
		mx, policy string
		at         *postfix
		why        string // empty: it goes
	}{
		"as the policy says": {"mx.example.com", "mx.example.com", withTLS, ""},
		"another host":       {"mx.example.com", "*.mail.example.com", withTLS, "not in the MTA-STS policy"},
		"another name":       {"other.example.com", "*.example.com", withTLS, "Certificate is not for other.example.com"},
		"no TLS":             {"mx.example.com", "mx.example.com", without, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			writeFile(t, root, "mta-sts.txt", "version: STSv1\r\nmode: enforce\r\nmx: "+c.policy+"\r\nmax_age: 86400\r\n")
			w := newWorld(t, "MAILX_TLS_CA="+ca.WriteCA(dir), "MAILX_ZONE="+writeFile(t, t.TempDir(), "zone", zone+c.mx+".\n"),
				"MAILX_MX_PORT="+portOf(c.at.addr), "MAILX_MTA_STS_PORT="+portOf(web))
			w.mustMailx("text\n", "send", "--queue", "-s", name, "--from", sender, "carol@example.com")
			w.mailx("", "queue", "flush")
			left := w.mustMailx("", "queue", "list")
			if c.why != "" && !strings.Contains(left, c.why) || c.why == "" && left != "" {
				t.Errorf("want %q, have %q", c.why, left)
			}
		})
	}
}
