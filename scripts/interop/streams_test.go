//go:build interop

package interop

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestIgnoredQuit: a program that a shell puts in the background ignores SIGQUIT, though the runtime of Go would not have it so.
// The text that it reads is what the kernel says of it; other signals may be ignored, too, where the test runs.
func TestIgnoredQuit(t *testing.T) {
	w := newWorld(t)
	for before, want := range map[string]uint64{"": 0, "trap '' QUIT; ": 1 << (syscall.SIGQUIT - 1)} {
		line := "trap - HUP INT QUIT; " + before + `exec "$0" compose a@b.example </proc/self/status`
		got := job{args: []string{"sh", "-c", line, w.bin}, env: w.environ(), dir: w.home}.run(t).must(t, 0)
		_, set, _ := strings.Cut(got, "SigIgn:\t")
		set, _, _ = strings.Cut(set, "\n")
		ignored, err := strconv.ParseUint(set, 16, 64)
		if err != nil || ignored&(1<<(syscall.SIGQUIT-1)) != want {
			t.Errorf("%sgot %q, %v; want %#x in it", before, set, err, want)
		}
	}
}

// TestClosedOutput has the shell start the program without a standard output. The runtime of Go opens /dev/null in its place, so
// what is printed would be lost in silence if the program did not look before the runtime does. What was thrown away on purpose
// is no error, and neither is a descriptor that nothing is printed to.
func TestClosedOutput(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		line string
		want int
	}{
		{"--help >&-", 74},
		{"--version >&-", 74},
		{"send --help >&-", 74},
		{"man send >&-", 74},
		{"config show >&-", 74},
		{"completion bash >&-", 74},
		{"compose a@b.example >&-", 74},
		{"compose a@b.example >&- <&- 2>err", 74},
		{"compose a@b.example >/dev/null", 0},
		{"compose a@b.example 1<>/dev/null", 0}, // as the runtime opens it
		{"config check >&-", 0},
		{"compose a@b.example <&- >/dev/null 2>&-", 0},
	} {
		got := job{args: []string{"sh", "-c", `"$0" ` + tt.line, w.bin}, env: w.environ(), dir: w.home}.run(t)
		said := strings.Count(got.stderr, "\n")
		if got.code != tt.want || got.stdout != "" || said > 1 || got.code != 0 && said == 0 && !strings.Contains(tt.line, "2>") {
			t.Errorf("mailx %s: want exit %d and a line if it is not 0, got %s", tt.line, tt.want, got)
		}
	}
}
