package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mattn/go-runewidth"
)

// progress knows how far each part of a long work is, such as a mailbox. On a terminal it draws one line on standard error, again
// and again; anywhere it tells once for each SIGUSR1.
type progress struct {
	e       *env
	live    bool   // draws
	nothing string // is told before there is anything

	mu    sync.Mutex
	names []string // in the order in which they began
	state map[string]progressCount
	drawn time.Time
	dirty bool // something is drawn
}

type progressCount struct{ done, all int }

// drawEvery keeps a fast run from spending its time on the terminal.
const drawEvery = 100 * time.Millisecond

// newProgress draws only what will end.
func (e *env) newProgress(nothing string, ends bool) *progress {
	return &progress{e: e, nothing: nothing, live: e.stderrIsTerminal() && os.Getenv("TERM") != "dumb" && ends,
		state: map[string]progressCount{}}
}

// of gives the function that a part tells its progress to.
func (p *progress) of(name string) func(done, all int) {
	return func(done, all int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, known := p.state[name]; !known {
			p.names = append(p.names, name)
		}
		p.state[name] = progressCount{done, all}
		if now := p.e.now(); p.live && now.Sub(p.drawn) >= drawEvery {
			p.drawn, p.dirty = now, true
			fmt.Fprintf(p.e.stderr, "\r\x1b[K%s", p.line(terminalWidth(p.e.stderr)-1))
		}
	}
}

// line is what fits into a terminal: a bar for all of it, and what is under way.
func (p *progress) line(width int) string {
	const cells = 20
	var done, all int
	var parts []string
	for _, name := range p.names {
		c := p.state[name]
		done, all = done+c.done, all+c.all
		if c.done < c.all || len(p.names) == 1 {
			parts = append(parts, fmt.Sprintf("%s %d/%d", name, c.done, c.all))
		}
	}
	full := 0
	if all > 0 {
		full = cells * done / all
	}
	text := "[" + strings.Repeat("#", full) + strings.Repeat(" ", cells-full) + "] " + escapeControl(strings.Join(parts, ", "))
	return runewidth.Truncate(text, width, "…")
}

// clear takes the line away, before something else is written.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dirty {
		fmt.Fprint(p.e.stderr, "\r\x1b[K")
		p.dirty = false
	}
}

// Write is for a log beside the line, which it takes away first.
func (p *progress) Write(b []byte) (int, error) {
	p.clear()
	return p.e.stderr.Write(b)
}

// start has SIGUSR1 answered until the function that it gives is called.
func (p *progress) start() (stop func()) {
	asked := make(chan os.Signal, 1)
	ended := make(chan struct{})
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-asked:
				p.tell()
			}
		}
	}()
	return func() {
		signal.Stop(asked)
		close(ended)
	}
}

// tell prints a line for each part.
func (p *progress) tell() {
	p.clear()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.names) == 0 {
		p.e.note("%s", p.nothing)
	}
	for _, name := range p.names {
		p.e.note("%s: %d of %d", name, p.state[name].done, p.state[name].all)
	}
}
