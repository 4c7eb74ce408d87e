package mailtest

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestCheckLeaks(t *testing.T) {
	for _, c := range []struct {
		name string
		leak func(release <-chan struct{})
		want string
	}{
		{"nothing", func(<-chan struct{}) {}, ""},
		{"goroutine", func(release <-chan struct{}) { go waitFor(release) }, "mailtest.TestCheckLeaks"},
		{"file", openUntil, "/dev/null"},
		{"ending goroutine", func(<-chan struct{}) { go waitFor(time.After(5 * time.Millisecond)) }, ""},
	} {
		release := make(chan struct{})
		patience := 50 * time.Millisecond
		if c.want == "" { // all will be well, however busy others keep the processors
			patience = time.Minute
		}
		got := record(t, func(t testing.TB) {
			checkLeaks(t, patience)
			c.leak(release)
		})
		close(release)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func waitFor[T any](c <-chan T) { <-c }

func openUntil(release <-chan struct{}) {
	f, err := os.Open("/dev/null")
	if err != nil {
		return
	}
	go func() { <-release; f.Close() }()
}
