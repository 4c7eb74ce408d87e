package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mailtest"
	"mailx/pkg/smtp"
)

// probeRecord is what scripts read.
type probeRecord struct {
	Address, Greeting, TLS, Failed, Error string
	Capabilities                          []string
	Clear                                 []string `json:"capabilities_in_clear"`
	Names                                 []string `json:"certificate_names"`
	Problems                              []string `json:"certificate_problems"`
	Fingerprint                           string
	Key                                   string `json:"key_fingerprint"`
	LoggedIn                              bool   `json:"logged_in"`
	Exit                                  int
	Seconds                               float64
}

// probeOnce runs `mailx probe --json` in a home, with a password on standard input, and gives its first record.
func probeOnce(t *testing.T, home string, args ...string) (probeRecord, int) {
	t.Helper()
	cmd := exec.Command(mailtest.Binary(t), append([]string{"probe"}, append(args, "--json")...)...)
	cmd.Env = mailtest.Env(home, "MAILX_CONFIG=/dev/null", "MAILX_HOSTNAME=client.example")
	cmd.Stdin = strings.NewReader("hungry\n")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	var r probeRecord
	if err := json.NewDecoder(&stdout).Decode(&r); err != nil {
		t.Fatalf("%v: no record: %s", args, &stderr)
	}
	return r, cmd.ProcessState.ExitCode()
}

// All steps with our own servers, in each of the protocols, with TLS at either time.
func TestProbe(t *testing.T) {
	any := "127.0.0.1:0"
	h := startHall(t, mailtest.Command{}, "--mx", any, "--submission", any, "--submissions", any, "--pop3", any, "--pop3s", any,
		"--imap", any, "--imaps", any)
	ca := "tls.ca=" + h.ca.WriteCA(h.Home)
	for _, c := range []struct {
		role, proto string
		login       bool
		has, before string
	}{
		{"mx", "smtp", false, "PIPELINING", "STARTTLS"},
		{"submission", "smtp", true, "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN", "STARTTLS"},
		{"submissions", "smtp", true, "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN", ""},
		{"pop3", "pop3", true, "UIDL", "STLS"},
		{"pop3s", "pop3", true, "UIDL", ""},
		{"imap", "imap", true, "AUTH=PLAIN", "STARTTLS"},
		{"imaps", "imap", true, "AUTH=PLAIN", ""},
	} {
		scheme, user := c.role, "bob@"
		if c.role == "mx" {
			scheme, user = "smtp", ""
		}
		args := []string{c.proto, scheme + "://" + user + h.addrs[c.role], "--set", ca, "--name", "here.example", "--password-fd", "0"}
		r, code := probeOnce(t, h.Home, args...)
		if code != 0 || r.Exit != 0 || r.Failed != "" || r.Address != h.addrs[c.role] || r.TLS != "TLS 1.3" || r.LoggedIn != c.login ||
			!slices.Contains(r.Capabilities, c.has) || c.before != "" && !slices.Contains(r.Clear, c.before) || c.before == "" && len(r.Clear) > 0 ||
			!strings.HasPrefix(r.Greeting, "here.example") || !slices.Equal(r.Names, []string{"here.example"}) || len(r.Problems) > 0 {
			t.Errorf("%s: exit code %d, %+v", c.role, code, r)
		}
		for _, pin := range []string{r.Fingerprint, r.Key} {
			if r, code := probeOnce(t, h.Home, append(args[:2:2], "--fingerprint", pin, "--password-fd", "0")...); code != 0 || r.LoggedIn != c.login {
				t.Errorf("%s pinned to %s: exit code %d, %+v", c.role, pin, code, r)
			}
		}
	}
	// The password is not sent to whom the certificate does not fit.
	r, code := probeOnce(t, h.Home, "imap", "imaps://bob@"+h.addrs["imaps"], "--set", ca, "--password-fd", "0")
	if code != exDataErr || r.Failed != "certificate" || r.LoggedIn || r.Greeting != "" {
		t.Errorf("another name: exit code %d, %+v", code, r)
	}
	r, code = probeOnce(t, h.Home, "pop3", "alice@"+h.addrs["pop3"], "--no-tls", "--password-fd", "0")
	if code != 0 || !r.LoggedIn || r.TLS != "" {
		t.Errorf("in clear on loopback: exit code %d, %+v", code, r)
	}
	if r, code = probeOnce(t, h.Home, "pop3", "carol@"+h.addrs["pop3"], "--no-tls", "--password-fd", "0"); code != exNoPerm || r.Failed != "login" {
		t.Errorf("a user who is not there: exit code %d, %+v", code, r)
	}
}

// Certificates that nobody should trust are shown all the same, with all that is wrong with them.
func TestProbeCertificates(t *testing.T) {
	home := t.TempDir()
	ca := mailtest.NewCA(t)
	trust := "tls.ca=" + ca.WriteCA(home)
	for _, c := range []struct {
		name string
		cert tls.Certificate
		want []string // the beginnings of the problems
	}{
		{"good", ca.Server("127.0.0.1"), nil},
		{"expired", ca.Expired("127.0.0.1"), []string{"it expired on "}},
		{"wrong name", ca.WrongName(), []string{"it is for wrong-name.invalid, not for 127.0.0.1"}},
		{"nobody's", mailtest.NewCA(t).Server("127.0.0.1"), []string{"no authority that is trusted here has signed it: CN="}},
		{"of a client", ca.Client("127.0.0.1"), []string{"certificate specifies an incompatible key usage"}},
		{"all of it", mailtest.NewCA(t).Expired("a.example", "b.example"),
			[]string{"it expired on ", "it is for a.example, b.example, not for ", "no authority that is trusted here"}},
	} {
		sink := mailtest.StartSink(t, mailtest.SinkOptions{TLS: mailtest.ServerConfig(c.cert)})
		r, code := probeOnce(t, home, "smtp", sink.Addr, "--set", trust)
		want, failed := exOK, ""
		if len(c.want) > 0 {
			want, failed = exDataErr, "certificate"
		}
		if code != want || r.Failed != failed || len(r.Problems) != len(c.want) || r.Error != strings.Join(r.Problems, "; ") {
			t.Errorf("%s: exit code %d, %+v", c.name, code, r)
			continue
		}
		for i, text := range c.want {
			if !strings.HasPrefix(r.Problems[i], text) {
				t.Errorf("%s: problem %q, want %q", c.name, r.Problems[i], text)
			}
		}
		if r, code := probeOnce(t, home, "smtp", sink.Addr, "--set", trust, "--any-certificate"); code != exOK || len(r.Problems) != len(c.want) {
			t.Errorf("%s, any taken: exit code %d, %+v", c.name, code, r)
		}
		other, _ := smtp.PinsOf(leafOf(t, ca.Server("127.0.0.1")))
		if r, code := probeOnce(t, home, "smtp", sink.Addr, "--set", trust, "--fingerprint", other.String()); code != exDataErr || !strings.Contains(r.Error, "none of the fingerprints") {
			t.Errorf("%s, another one pinned: exit code %d, %+v", c.name, code, r)
		}
	}
}

// A server sees what it would see when mail comes: an address of ours, and a certificate.
func TestProbeComesAsMail(t *testing.T) {
	home := t.TempDir()
	ca := mailtest.NewCA(t)
	sink := mailtest.StartSink(t, mailtest.SinkOptions{TLS: ca.MutualConfig("127.0.0.1")})
	cert, key := mailtest.WritePEM(t, home, "ours", ca.Client("client.example"))
	args := []string{"smtp", sink.Addr, "--set", "tls.ca=" + ca.WriteCA(home)}
	if r, code := probeOnce(t, home, args...); code == exOK {
		t.Errorf("without a certificate: %+v", r)
	}
	args = append(args, "--set", "tls.client_cert="+cert, "--set", "tls.client_key="+key)
	if r, code := probeOnce(t, home, args...); code != exOK {
		t.Errorf("exit code %d, %+v", code, r)
	}
	if r, code := probeOnce(t, home, append(args, "--set", "queue.source=127.0.0.2,::1")...); code != exOK {
		t.Errorf("from 127.0.0.2: exit code %d, %+v", code, r)
	}
	if r, code := probeOnce(t, home, append(args, "--set", "queue.source=192.0.2.1")...); code == exOK || r.Failed != "connect" {
		t.Errorf("from an address that is not ours: exit code %d, %+v", code, r)
	}
}

// Each step that fails has its name and exit code.
func TestProbeStages(t *testing.T) {
	home := t.TempDir()
	nobody := mailtest.Listen(t)
	closed := nobody.Addr().String()
	nobody.Close()
	for _, c := range []struct {
		name, proto string
		script      []mailtest.Act
		args        []string
		failed      string
		code        int
	}{
		{"babble", "smtp", []mailtest.Act{mailtest.Send("hello there\r\n")}, nil, "greeting", exProtocol},
		{"hangs up", "smtp", []mailtest.Act{mailtest.HangUp()}, nil, "greeting", exTempFail},
		{"refuses", "smtp", []mailtest.Act{mailtest.Reply("554 go away")}, nil, "greeting", exUnavailable},
		{"not now", "smtp", []mailtest.Act{mailtest.Reply("421 later")}, nil, "greeting", exTempFail},
		{"silent", "smtp", []mailtest.Act{mailtest.Silence()}, []string{"--timeout", "500ms"}, "greeting", exTempFail},
		{"no EHLO", "smtp", []mailtest.Act{mailtest.Reply("220 x"), mailtest.Exchange("EHLO", "500 what?"), mailtest.Exchange("HELO", "550 no")}, nil,
			"capabilities", exUnavailable},
		{"no STARTTLS", "smtp", []mailtest.Act{mailtest.Reply("220 x"), mailtest.Exchange("EHLO", "250 x")}, []string{"--starttls"}, "tls", exProtocol},
		{"STARTTLS refused", "smtp", []mailtest.Act{mailtest.Reply("220 x"), mailtest.Exchange("EHLO", "250-x", "250 STARTTLS"),
			mailtest.Exchange("STARTTLS", "454 no")}, nil, "tls", exTempFail},
		{"no handshake", "smtp", []mailtest.Act{mailtest.Reply("220 x"), mailtest.Exchange("EHLO", "250-x", "250 STARTTLS"),
			mailtest.Exchange("STARTTLS", "220 go"), mailtest.HangUp()}, nil, "tls", exProtocol},
		{"clear in TLS", "smtp", []mailtest.Act{mailtest.Reply("220 x")}, []string{"--tls"}, "tls", exProtocol},
		{"POP3 refuses", "pop3", []mailtest.Act{mailtest.Send("-ERR [SYS/PERM] closed\r\n")}, nil, "greeting", exUnavailable},
		{"POP3 is busy", "pop3", []mailtest.Act{mailtest.Send("-ERR busy\r\n")}, nil, "greeting", exTempFail},
		{"no POP3", "pop3", []mailtest.Act{mailtest.Send("220 x\r\n")}, nil, "greeting", exProtocol},
		{"no STLS", "pop3", []mailtest.Act{mailtest.Send("+OK\r\n"), mailtest.Expect("CAPA"), mailtest.Send("-ERR what?\r\n")}, []string{"--starttls"}, "tls", exProtocol},
		{"BYE", "imap", []mailtest.Act{mailtest.Send("* BYE full\r\n")}, nil, "greeting", exTempFail},
		{"no IMAP", "imap", []mailtest.Act{mailtest.Send("+OK\r\n")}, nil, "greeting", exProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.ScriptServer(t, c.script...)
			start := time.Now()
			r, code := probeOnce(t, home, append([]string{c.proto, server.Addr}, c.args...)...)
			if code != c.code || r.Exit != c.code || r.Failed != c.failed || r.Error == "" {
				t.Errorf("exit code %d, want %d at %s, %+v", code, c.code, c.failed, r)
			}
			if took := time.Since(start); took > mailtest.DefaultTimeout {
				t.Errorf("took %s", took)
			}
		})
	}
	if r, code := probeOnce(t, home, "imap", closed); code != exUnavailable || r.Failed != "connect" {
		t.Errorf("nobody listens: exit code %d, %+v", code, r)
	}
}

func leafOf(t *testing.T, cert tls.Certificate) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
