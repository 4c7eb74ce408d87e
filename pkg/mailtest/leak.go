package mailtest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// CheckLeaks fails the test if, once everything else of it is cleaned up, goroutines or descriptors are left that were
// not there when it was called. It polls for up to 5 s, so that what is still ending may end. Call it first, and not
// from parallel tests: those share a process.
func CheckLeaks(t testing.TB) {
	t.Helper()
	checkLeaks(t, 5*time.Second)
}

func checkLeaks(t testing.TB, patience time.Duration) {
	t.Helper()
	stacks, files := goroutines(), descriptors()
	t.Cleanup(func() {
		var left []string
		deadline := time.Now().Add(patience)
		for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
			left = append(added(stacks, goroutines()), added(files, descriptors())...)
			if len(left) == 0 || time.Now().After(deadline) {
				break
			}
			time.Sleep(wait)
		}
		if len(left) > 0 {
			t.Errorf("%d leaked:\n%s", len(left), strings.Join(left, "\n"))
		}
	})
}

// added gives the texts of what is in now and was not in before, sorted by key.
func added(before, now map[string]string) []string {
	var keys []string
	for key := range now {
		if _, ok := before[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for i, key := range keys {
		keys[i] = now[key]
	}
	return keys
}

// goroutines gives the stacks of all goroutines but those that the runtime and package testing own, by "goroutine N".
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		id, _, ok := strings.Cut(stack, " [")
		if ok && !isOwned(stack) {
			all[id] = stack
		}
	}
	return all
}

func isOwned(stack string) bool {
	owners := []string{"os/signal.signal_recv", "os/signal.loop", "testing.(*T).Run(", "testing.(*M).", "testing.runFuzz"}
	return slices.ContainsFunc(owners, func(owner string) bool { return strings.Contains(stack, owner) })
}

// descriptors gives the open descriptors and what they are, by "fd N to target", without those that the runtime opens
// once and keeps. It is empty on systems without /proc.
func descriptors() map[string]string {
	const dir = "/proc/self/fd"
	all := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return all
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue // the descriptor of the listing itself, or the runtime's poller
		}
		key := fmt.Sprintf("descriptor %s: %s", e.Name(), target)
		all[key] = key
	}
	return all
}
