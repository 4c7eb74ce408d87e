package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestServeValues(t *testing.T) {
	for _, c := range []struct {
		key, value string
		ok         bool
	}{
		{"smtp.role", "mx", true},
		{"smtp.role", "submissions", true},
		{"smtp.role", "relay", false},
		{"serve.mx", ":25,[::1]:25", true},
		{"serve.mx", "25", false},
		{"serve.lmtp", "/run/mailx/lmtp.sock", true},
		{"serve.socket_mode", "0660", true},
		{"serve.socket_mode", "777", true},
		{"serve.socket_mode", "1777", false},
		{"serve.socket_mode", "u+w", false},
		{"serve.queue", "no", true},
		{"tls.more", "a.pem:a.key,b.pem:b.key", true},
		{"tls.more", "a.pem", false},
		{"tls.more", ":a.key", false},
		{"tls.more", "a:b:c", false},
		{"acme.directory", "https://acme.example/directory", true},
		{"acme.directory", "http://127.0.0.1:14000/dir", true},
		{"acme.directory", "http://acme.example/directory", false},
		{"acme.directory", "https:///directory", false},
		{"acme.directory", "ftp://127.0.0.1/", false},
		{"acme.domains", "a.example,b.example", true},
		{"acme.domains", "a/../b", false},
	} {
		_, err := Load(Sources{Flags: []Setting{{Key: c.key, Values: []string{c.value}, Origin: "--set"}}})
		if (err == nil) != c.ok {
			t.Errorf("%s = %s: %v", c.key, c.value, err)
		}
	}
}

// ACME is for the hostname, unless names are given, and those turn it on.
func TestACMEDomains(t *testing.T) {
	for _, c := range []struct {
		enabled, domains string
		want             []string
	}{
		{"no", "", nil},
		{"yes", "", []string{"mx.example"}},
		{"no", "A.example", []string{"a.example"}},
		{"yes", "a.example,b.example", []string{"a.example", "b.example"}},
	} {
		cfg, err := Load(Sources{Flags: []Setting{{Key: "hostname", Values: []string{"mx.example"}},
			{Key: "acme.enabled", Values: []string{c.enabled}}, {Key: "acme.domains", Values: []string{c.domains}}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.ACME.Domains; !slices.Equal(got, c.want) || cfg.ACME.IsOn() != (len(c.want) > 0) {
			t.Errorf("enabled %s, domains %q: got %q", c.enabled, c.domains, got)
		}
	}
}

func TestCredential(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(string) string { return dir }
	for name, want := range map[string]string{"key.pem": dir + "/key.pem", "./key.pem": "./key.pem", "other.pem": "other.pem", "": ""} {
		if got := Credential(name, env); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	if got := Credential("key.pem", func(string) string { return "" }); got != "key.pem" {
		t.Errorf("without the variable: %q", got)
	}
}
