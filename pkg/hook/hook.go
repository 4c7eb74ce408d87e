// Package hook asks commands of the administrator about mail: when a client connects, at MAIL and RCPT, after the data, and
// before a message is stored on this host. One contract holds everywhere; mailx-hooks(7) is its manual.
//
// A command is an array of words that starts with an absolute path. No shell looks at it, and nothing that a peer has said is
// in it: that is in the environment, which has nothing else but PATH, LANG and TZ. The message is on standard input, in
// local form. The exit code is the verdict; see verdict. What a command writes, how long it takes and how many run at once
// is bounded, and when it is over, whatever it has left running in its process group is killed.
package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/program"
)

// Event is when a command runs; it is in MAILX_EVENT.
type Event string

// The events. The two filters give a message on standard output that takes the place of the one they were given.
const (
	Connect       Event = "connect"
	Mail          Event = "mail"
	Rcpt          Event = "rcpt"
	Filter        Event = "filter"         // after the data, before milters
	Data          Event = "data"           // after the data and milters: the last word before 250
	DeliverFilter Event = "deliver_filter" // before local delivery
	Deliver       Event = "deliver"        // after deliver_filter
)

// The limits of a Set where none is given.
const (
	DefaultTimeout  = 30 * time.Second
	DefaultParallel = 20
)

const (
	// maxNotes is how much a command may write that is no message, in octets; then its pipe is closed.
	maxNotes = 1 << 20
	// keptNotes is how much of that is looked at.
	keptNotes = 4 << 10
)

// Set is the commands of a server. It is safe for concurrent use, and not changed or copied after the first one ran.
type Set struct {
	Commands map[Event][]string // by event; those without a command are not asked
	Timeout  time.Duration      // for each; 0: DefaultTimeout
	Parallel int                // at once; 0: DefaultParallel
	Hostname string
	// Note is told of the first line that a command which did not refuse has written on stderr; may be nil.
	Note func(format string, args ...any)

	once  sync.Once
	slots chan struct{}
}

// Has reports that there is a command for one of the events.
func (s *Set) Has(events ...Event) bool {
	for _, e := range events {
		if len(s.Commands[e]) > 0 {
			return true
		}
	}
	return false
}

// Run runs the command of an event and gives its verdict: nil, filter.ErrDiscard, or a *mail.Error for the peer with the cause for
// the log. in is its standard input, nil for none; it need not read it. out takes its standard output, nil for events without
// a changed message. After an error what out has got is worth nothing.
func (s *Set) Run(ctx context.Context, e Event, f Facts, in io.Reader, out io.Writer) error {
	if !s.Has(e) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.Timeout, DefaultTimeout))
	defer cancel()
	if !s.enter(ctx) {
		return mail.Temporaryf(3, 2, "Too much to do, try again later: %w", fmt.Errorf("hook %s: no free slot", e))
	}
	defer func() { <-s.slots }()
	r := newRun(ctx, s.Commands[e], f.environ(e, s.Hostname), in, out)
	text, err := r.do(ctx)
	line := firstLine(r.stderr.kept)
	if err != nil {
		return explain(e, err, text, line)
	}
	if line != "" && s.Note != nil {
		s.Note("hook %s: %s", e, line)
	}
	return nil
}

// enter waits for its turn.
func (s *Set) enter(ctx context.Context) bool {
	s.once.Do(func() { s.slots = make(chan struct{}, cmp.Or(s.Parallel, DefaultParallel)) })
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// run is one run of a command.
type run struct {
	cmd    *exec.Cmd
	filter bool  // standard output is a message
	stdout notes // else
	stderr notes
}

func newRun(ctx context.Context, argv, environ []string, in io.Reader, out io.Writer) *run {
	r := &run{cmd: program.Command(ctx, argv, environ), filter: out != nil}
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = in, out, &r.stderr
	if out == nil {
		r.cmd.Stdout = &r.stdout
	}
	return r
}

// do runs the command to its end. An error that is an *exec.ExitError has the exit code; text is what the command says to
// the peer.
func (r *run) do(ctx context.Context) (text string, err error) {
	if name := r.cmd.Args[0]; !filepath.IsAbs(name) {
		return "", fmt.Errorf("%q is no absolute path", name)
	}
	if err := r.cmd.Start(); err != nil {
		return "", err
	}
	err = r.cmd.Wait()
	program.Kill(r.cmd)
	switch {
	case err != nil && ctx.Err() != nil:
		return "", errTimeout
	case errors.Is(err, exec.ErrWaitDelay) && r.filter:
		return "", errLeftOpen
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // the exit code was 0
	}
	if text = firstLine(r.stdout.kept); text == "" {
		text = firstLine(r.stderr.kept)
	}
	return text, err
}

// errLeftOpen is about a filter whose output may not be complete.
var errLeftOpen = errors.New("something that it started still holds its standard output")

var errTimeout = errors.New("took too long and was killed")

// notes keeps the beginning of what is written, and lets go of a writer that does not end.
type notes struct {
	kept []byte
	n    int
}

var errFlood = errors.New("wrote more than 1 MiB that is no message")

func (w *notes) Write(p []byte) (int, error) {
	if w.n += len(p); w.n > maxNotes {
		return 0, errFlood
	}
	w.kept = append(w.kept, p[:min(len(p), keptNotes-len(w.kept))]...)
	return len(p), nil
}
