package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/urfave/cli/v2"

	"mailx/pkg/queue"
)

func (e *env) queueRunCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "try what is due, and stay",
		Description: "New messages are tried at once, others when they are due, until SIGTERM or SIGINT. Flushes and other runners\n" +
			"may work on the queue meanwhile.",
		Flags: []cli.Flag{
			e.keyFlag("parallel", "queue.parallel", "work on `N` messages to one destination at once, and on five times as many in all"),
			&cli.BoolFlag{Name: "trace", Usage: "show the dialogs on standard error, secrets masked"},
			e.keyFlag("server", "smarthost", "hand all remote mail to the server at `URL`"),
			e.keyFlag("run-as", "run_as", "started by root: go on as `USER`"),
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return e.queueRun(c) },
	}
}

func (e *env) queueRun(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%q is not needed here", c.Args().First())
	}
	sys, err := e.system()
	if err != nil {
		return err
	}
	sys.logTroubleOnly()
	sys.clientTrace = e.tracer(c.Bool("trace"), false)
	if err := sys.readSecrets(); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE)
	h := &house{e: e, sys: sys}
	var stats queue.Stats
	h.chores = append(h.chores, func(ctx context.Context) (err error) {
		stats, err = sys.runQueue(ctx)
		return err
	})
	err = h.run(c.Context)
	if err == nil && (c.Bool("json") || e.stdoutIsTerminal()) {
		p := e.newPrinter(statsColumns()[:5], c.Bool("json"))
		p.row(stats.Tried, stats.Delivered, stats.Deferred, stats.Failed, stats.Notices)
		err = p.flush()
	}
	return err
}

// runQueue works on the queue until ctx ends.
func (s *system) runQueue(ctx context.Context) (queue.Stats, error) {
	q, err := s.queue()
	if err != nil {
		return queue.Stats{}, err
	}
	transport, err := s.transport(q)
	if err != nil {
		return queue.Stats{}, err
	}
	defer transport.Relay.Close()
	transport.Relay.Trace = s.clientTrace
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	runner := &queue.Runner{Queue: q, Transport: transport, Parallel: s.cfg.Queue.Parallel, AtOnce: messagesAtOnce(openFiles(), s.cfg.Queue.Parallel),
		Report: func(err error) { s.env.note("%v", err) }, Asked: asked, Tell: s.tellOfQueue}
	changed, stop, err := watchQueue(s.cfg.QueueDir)
	if err != nil {
		s.env.note("the queue can't be watched (%v); new messages wait for up to a minute", err)
	} else {
		defer stop()
		runner.Changed = changed
	}
	return runner.Run(ctx), nil
}

// tellOfQueue answers SIGUSR1.
func (s *system) tellOfQueue(stats queue.Stats, inHand int) {
	s.env.note("%d tries so far: %d recipients have the message, %d wait, %d were refused; %d messages in hand", stats.Tried,
		stats.Delivered, stats.Deferred, stats.Failed, inHand)
}

// watchQueue tells of entries that were made, moved or touched; see queue.Runner. stop ends it.
func watchQueue(dir string) (changed <-chan string, stop func(), err error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, nil, err
	}
	if err := addWatches(w, dir); err != nil {
		w.Close()
		return nil, nil, err
	}
	names := make(chan string)
	done := make(chan struct{})
	go followQueue(w, dir, names, done)
	return names, func() { close(done); w.Close() }, nil
}

func addWatches(w *fsnotify.Watcher, dir string) error {
	for _, sub := range []string{"new", "cur"} {
		if err := w.Add(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

// The directories are watched themselves, and not their names: one that was removed, moved away or unmounted is looked for.
const (
	watchAgain = time.Second // if it is known to be gone
	watchCheck = time.Minute // else
)

// followQueue passes names on. When some were lost, because they came too fast or the directories were not there, it says that
// with "".
func followQueue(w *fsnotify.Watcher, dir string, names chan<- string, done <-chan struct{}) {
	isLost := false
	again := time.NewTimer(watchCheck)
	defer again.Stop()
	for {
		name := ""
		select {
		case event := <-w.Events:
			isGone := event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename)
			if isGone && !isLost && filepath.Dir(event.Name) == filepath.Clean(dir) {
				isLost = true
				again.Reset(watchAgain)
			}
			if !event.Has(fsnotify.Create) && !event.Has(fsnotify.Chmod) {
				continue
			}
			name = filepath.Base(filepath.Dir(event.Name)) + "/" + filepath.Base(event.Name)
		case <-again.C:
			wasLost := isLost
			if isLost = addWatches(w, dir) != nil; isLost {
				again.Reset(watchAgain)
				continue
			}
			again.Reset(watchCheck)
			if !wasLost {
				continue
			}
		case <-w.Errors:
		case <-done:
			return
		}
		select {
		case names <- name:
		case <-done:
			return
		}
	}
}
