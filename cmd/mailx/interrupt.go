package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
)

// A message that is stored while it comes in stands in a file that has to go if it never comes to an end: somebody presses
// Ctrl-C, a service manager has waited long enough.

// errInterrupted is 75: the caller still has the message.
func errInterrupted() error {
	return exitWith(exTempFail, errors.New("interrupted; nothing was stored"))
}

// fillUnlessInterrupted runs fill, which may wait for its input for ever. After a signal it gives an error at once, and nothing
// more is written to w.
func fillUnlessInterrupted(w io.Writer, fill func(io.Writer) error) error {
	signals := make(chan os.Signal, 1)
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // else nohup(1) has been used
		wanted = append(wanted, syscall.SIGHUP)
	}
	signal.Notify(signals, wanted...)
	defer signal.Stop(signals)
	g := &gate{w: w}
	filled := make(chan error, 1)
	go func() {
		defer func() {
			if bug := recover(); bug != nil {
				filled <- &bugError{bug, debug.Stack()}
			}
		}()
		filled <- fill(g)
	}()
	select {
	case err := <-filled:
		return err
	case <-signals:
		g.shut()
		return errInterrupted()
	}
}

// gate is a writer that can be shut while somebody else writes.
type gate struct {
	mu     sync.Mutex
	w      io.Writer
	isShut bool
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut {
		return 0, errInterrupted()
	}
	return g.w.Write(p)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = true
}
