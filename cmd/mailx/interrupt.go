package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
)

// endings are the signals that end the program: SIGTERM, and SIGINT and the others that are given, but for those that it was
// started to ignore, by nohup(1), or by a shell that put it in the background: Ctrl-C is meant for the script around it. SIGTERM,
// with which a service manager ends what it did not start itself, is never left out.
func endings(others ...os.Signal) []os.Signal {
	others = append(others, os.Interrupt)
	return append(slices.DeleteFunc(others, signal.Ignored), syscall.SIGTERM)
}

// A message that is stored while it comes in stands in a file that has to go if it never comes to an end: somebody presses
// Ctrl-C, a service manager has waited long enough. So a small one is kept in memory until it is whole, which costs nothing,
// and signals are watched for only while a large one comes in.

// stored is a place for a message: an entry of the queue, or a delivery into Maildirs.
type stored interface {
	io.Writer
	Abort() error
}

// storeWhole opens a place when fill has written a whole message, or more than is kept in memory, and gives the place with all
// of the message in it, to be committed. After an error nothing of it is left.
func storeWhole[S stored](e *env, open func() (S, error), fill func(io.Writer) error) (S, error) {
	l := &lateStore{e: e, open: func() (stored, error) { return open() }}
	err := fill(l)
	if err == nil {
		err = l.start(false)
	}
	l.end(err)
	if err != nil {
		var none S
		return none, err
	}
	return l.s.(S), nil
}

// lateStore keeps what is written until it is too much.
type lateStore struct {
	e    *env
	open func() (stored, error)
	kept []byte

	mu      sync.Mutex // of what a signal ends
	s       stored     // nil: not opened yet
	signals chan os.Signal
}

func (l *lateStore) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.s == nil && len(l.kept)+len(p) <= maxHeld {
		l.kept = append(l.kept, p...)
		return len(p), nil
	}
	if err := l.start(true); err != nil {
		return 0, err
	}
	return l.s.Write(p)
}

// start opens the place, if it is not open yet, and writes what was kept; more says that this is not all.
func (l *lateStore) start(more bool) (err error) {
	if l.s != nil {
		return nil
	}
	if more {
		l.watch() // before there is anything to be taken away
	}
	if l.s, err = l.open(); err != nil {
		l.s = nil // not a nil of another type
		return err
	}
	_, err = l.s.Write(l.kept)
	l.kept = nil
	return err
}

// watch ends the program at a signal, with an exit code that says that the caller still has the message.
func (l *lateStore) watch() {
	l.signals = make(chan os.Signal, 1)
	signal.Notify(l.signals, endings(syscall.SIGHUP)...)
	go func() {
		if _, isSignal := <-l.signals; isSignal {
			l.mu.Lock() // for ever: nobody writes or commits any more
			if l.s != nil {
				l.s.Abort()
			}
			os.Exit(l.e.report(exitWith(exTempFail, errors.New("interrupted; nothing was stored"))))
		}
	}()
}

// end is for a message that is whole, or that failed.
func (l *lateStore) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.signals != nil {
		signal.Stop(l.signals)
		close(l.signals)
	}
	if err != nil && l.s != nil {
		l.s.Abort()
	}
}
