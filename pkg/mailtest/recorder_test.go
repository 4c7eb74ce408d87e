package mailtest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// recorder stands in for a test that is expected to fail.
type recorder struct {
	testing.TB // of the real test, for what the recorder does not replace
	mu         sync.Mutex
	failures   []string
	cleanups   []func()
}

// record runs f with a recorder, with its cleanups, and gives what it reported; "" is a test that passed.
func record(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.cleanUp()
		f(r)
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.failures, "\n")
}

func (r *recorder) cleanUp() {
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		f()
	}
}

func (r *recorder) report(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *recorder) Helper()                    {}
func (r *recorder) Cleanup(f func())           { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(a ...any)             { r.report(fmt.Sprint(a...)) }
func (r *recorder) Errorf(f string, a ...any)  { r.report(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(a ...any)             { r.report(fmt.Sprint(a...)); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any)  { r.report(fmt.Sprintf(f, a...)); runtime.Goexit() }
func (r *recorder) Logf(f string, args ...any) { r.TB.Logf(f, args...) }
func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}
