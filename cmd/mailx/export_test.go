package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestAppendWaits: an mbox that somebody else has locked, or taken away, is not written to.
func TestAppendWaits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mbox")
	f, err := openLocked(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	soon, cancel := context.WithTimeout(context.Background(), 1)
	defer cancel()
	if again, err := openLocked(soon, name); !errors.Is(err, errInterrupted) {
		t.Errorf("got %v, %v; want to wait", again, err)
	}
	if err := os.Rename(name, name+".taken"); err != nil {
		t.Fatal(err)
	}
	if isStillThere(f, name) {
		t.Error("it has another name now")
	}
}
