package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCheckMilter(t *testing.T) {
	for in, ok := range map[string]bool{
		"/run/m.sock": true, "unix:/run/m.sock": true, "local:/run/m.sock": true, "inet:8891@localhost": true, "inet6:8891@::1": true,
		"localhost:8891": true, "[::1]:8891": true, "tcp:localhost:8891": true, "inet:localhost:8891": true,
		"": false, "unix:m.sock": false, "localhost": false, ":8891": false, "inet:8891@": false, "inet:@localhost": false, "inet:8891": false,
	} {
		if err := checkMilter(in); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", in, err, ok)
		}
	}
}

// A command starts with an absolute path, and is there.
func TestHooks(t *testing.T) {
	dir := t.TempDir()
	program, text := filepath.Join(dir, "program"), filepath.Join(dir, "text")
	for name, mode := range map[string]os.FileMode{program: 0o700, text: 0o600} {
		if err := os.WriteFile(name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		argv  []string
		wrong int
	}{{[]string{program, "-v"}, 0}, {[]string{text}, 1}, {[]string{dir}, 1}, {[]string{dir + "/none"}, 1}, {nil, 0}} {
		h := Hooks{Data: c.argv}
		found := 0
		h.check(func(key, value, _ string) {
			if found++; key != "hooks.data" || value != c.argv[0] {
				t.Errorf("%q: complaint about %s %s", c.argv, key, value)
			}
		})
		if found != c.wrong {
			t.Errorf("%q: %d complaints, want %d", c.argv, found, c.wrong)
		}
	}
	for _, k := range new(Hooks).keys() {
		if k.split != nil && k.set([]string{"check"}) == nil {
			t.Errorf("%s takes a command without its path", k.Name)
		}
	}
}
