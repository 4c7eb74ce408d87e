package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNetrc(t *testing.T) {
	const file = `# of several programs
machine ftp.example login anonymous password me@x
machine smtp.example login me password secret
machine SMTP.example
	login other
	password "two words \"\\\t#"
	account x
machine any.example password for-everybody # a comment
machine half.example login me
machine macro.example login me password m macdef init
machine smtp.example login hidden password wrong

machine hash.example login me password #hash
default login me password last
`
	for _, tt := range []struct{ host, user, want string }{
		{"smtp.example", "me", "secret"},
		{"Smtp.Example", "me", "secret"},
		{"smtp.example", "other", "two words \"\\\t#"},
		{"smtp.example", "hidden", ""},
		{"any.example", "whoever", "for-everybody"},
		{"half.example", "me", "last"},
		{"macro.example", "me", "m"},
		{"hash.example", "me", "#hash"},
		{"none.example", "me", "last"},
		{"none.example", "you", ""},
		{"smtp.example", "ME", ""},
	} {
		if got := findNetrc(file, tt.host, tt.user); got != tt.want {
			t.Errorf("%s at %s: got %q, want %q", tt.user, tt.host, got, tt.want)
		}
	}
}

func TestNetrcFile(t *testing.T) {
	dir := world(t, map[string]string{"netrc": "machine h login u password secret\n", "big": strings.Repeat("#", maxNetrc+1)})
	name := filepath.Join(dir, "netrc")
	if got, err := NetrcPassword(name, "h", "u"); got != "secret" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, none := range []string{"", filepath.Join(dir, "none")} {
		if got, err := NetrcPassword(none, "h", "u"); got != "" || err != nil {
			t.Errorf("%q: got %q, %v", none, got, err)
		}
	}
	if _, err := NetrcPassword(filepath.Join(dir, "big"), "h", "u"); err == nil {
		t.Error("a file of more than 1 MiB was read")
	}
	if _, err := NetrcPassword(dir, "h", "u"); err == nil {
		t.Error("a directory was read")
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := NetrcPassword(name, "h", "u")
	if err == nil || !strings.Contains(err.Error(), "chmod 600 "+name) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a file that others can read: %v", err)
	}
	if got, err := NetrcPassword(name, "other", "u"); got != "" || err != nil {
		t.Errorf("nothing of ours in it: %q, %v", got, err)
	}
	if got := NetrcFile(variables("HOME", "/h")); got != "/h/.netrc" {
		t.Errorf("got %q", got)
	}
	if got := NetrcFile(variables("HOME", "/h", "NETRC", "/n")); got != "/n" {
		t.Errorf("got %q", got)
	}
}

// FuzzNetrc: whatever the file has, its words are found in it, and an entry that is put in front is the one that counts.
func FuzzNetrc(f *testing.F) {
	f.Add("machine a login b password c")
	f.Add("default password \"x\\\"\nmacdef m\nmachine z\n\nlogin q")
	f.Add("machine \"\\")
	f.Fuzz(func(t *testing.T, data string) {
		for _, e := range parseNetrc(data) {
			if len(e.host)+len(e.login)+len(e.password) > len(data) {
				t.Errorf("%q: %+v is longer than the file", data, e)
			}
		}
		if got := findNetrc("machine h.example login u password first\n"+data, "h.example", "u"); got != "first" {
			// only a further password or login of the same entry may say otherwise
			if e := parseNetrc(data); len(e) > 0 && strings.HasPrefix(strings.TrimSpace(data)+" ", "machine ") {
				t.Errorf("%q: got %q", data, got)
			}
		}
	})
}
