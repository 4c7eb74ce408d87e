package main

import (
	"os"
	"path/filepath"
	"testing"
)

// Root may be led astray by whoever owns a part of a path.
func TestRootsAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	for _, name := range []string{"roots/box", "joes/box"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "roots/box"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"joes", "link"} {
		if err := os.Lchown(filepath.Join(dir, name), 1234, 1234); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"roots/box": true, "roots/new": true, "joes/box": false, "joes": false, "link": false, "joes/new": false} {
		if err := rootsAlone(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: got %v, want %t", name, err, want)
		}
	}
}
