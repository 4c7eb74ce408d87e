//go:build interop

package interop

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// probed is what `mailx probe --json` says of one server.
type probed struct {
	Greeting, TLS, Failed, Error string
	Capabilities                 []string
	Clear                        []string `json:"capabilities_in_clear"`
	Names                        []string `json:"certificate_names"`
	Key                          string   `json:"key_fingerprint"`
	LoggedIn                     bool     `json:"logged_in"`
}

func (w *world) probe(code int, args ...string) (p probed) {
	w.t.Helper()
	r := w.mailx(secret+"\n", append([]string{"probe", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.must(w.t, code)), &p); err != nil {
		w.t.Fatalf("%v\n%v", err, r)
	}
	return p
}

// checkProbed wants a server with our certificate that was good in all steps.
func checkProbed(t *testing.T, p probed, greeting, has, before string) {
	t.Helper()
	if p.Failed != "" || !strings.Contains(p.Greeting, greeting) || !slices.Contains(p.Capabilities, has) || !slices.Contains(p.Clear, before) ||
		slices.Contains(p.Capabilities, before) || !slices.Contains(p.Names, host) || !strings.HasPrefix(p.TLS, "TLS 1.") {
		t.Errorf("%+v", p)
	}
}

// probe and the servers of others: the same certificate, and words that we did not write.
func TestProbePostfix(t *testing.T) {
	w := newWorld(t)
	p := startPostfix(t, []string{"smtpd_tls_cert_file = " + w.certFile, "smtpd_tls_key_file = " + w.keyFile, "smtpd_tls_security_level = may"}, nil)
	got := w.probe(0, "smtp", p.addr)
	checkProbed(t, got, "client.example.net ESMTP Postfix", "CHUNKING", "STARTTLS")
	w.probe(0, "smtp", "--fingerprint", got.Key, "--set", "tls.ca=", p.addr)
	if got := w.probe(65, "smtp", "--name", "other.example", p.addr); got.Failed != "certificate" || !strings.Contains(got.Error, "not for other.example") {
		t.Errorf("another name: %+v", got)
	}
	if got := w.probe(76, "smtp", "--tls", p.addr); got.Failed != "tls" {
		t.Errorf("TLS first: %+v", got)
	}
	if got := w.probe(76, "pop3", p.addr); got.Failed != "greeting" {
		t.Errorf("as POP3: %+v", got)
	}
}

func TestProbeDovecot(t *testing.T) {
	for proto, c := range map[string][2]string{"imap": {"IDLE", "STARTTLS"}, "pop3": {"UIDL", "STLS"}} {
		t.Run(proto, func(t *testing.T) {
			w := newWorld(t)
			d := startDovecot(t, w, proto)
			got := w.probe(0, proto, d.addr, "--user", user, "--password-fd", "0")
			checkProbed(t, got, "Dovecot", c[0], c[1])
			if !got.LoggedIn {
				t.Errorf("not logged in: %+v", got)
			}
			if got := w.probe(77, proto, d.addr, "--user", "mallory", "--password-fd", "0"); got.Failed != "login" || got.LoggedIn {
				t.Errorf("a user who is not there: %+v", got)
			}
			if got := w.probe(65, proto, d.addr, "--set", "tls.ca="); got.Failed != "certificate" || !strings.Contains(got.Error, "no authority") {
				t.Errorf("no authority: %+v", got)
			}
		})
	}
}
