package main

import (
	"io"
	"strings"
	"testing"
)

// A stream that does not end is given up.
func TestCopyAside(t *testing.T) {
	for most, want := range map[int64]int{3: exDataErr, 4: exOK, 5: exOK, anySize: exOK} {
		f, err := copyAside(strings.NewReader("abcd"), most)
		if exitCode(err) != want {
			t.Fatalf("at most %d: %v", most, err)
		}
		if err != nil {
			continue
		}
		if text, err := io.ReadAll(f); string(text) != "abcd" || err != nil {
			t.Errorf("at most %d: %q, %v", most, text, err)
		}
		f.Close()
	}
}
