package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"mailx/pkg/queue"
)

// overdue is how long after its time a message may be tried before it looks as if nobody does.
const overdue = 15 * time.Minute

// backlog is what the queue looks like.
type backlog struct {
	alive           map[string]bool // by the part of a name that side files have
	held, failed    []string        // IDs
	count, due      int
	firstDue        time.Time // of what is due
	oldest, lastTry time.Time
}

func (d *doctor) queue(ctx context.Context) {
	q, err := queue.Open(d.fs, d.cfg.QueueDir, queue.Options{Hostname: d.cfg.Hostname, Now: d.e.now,
		Schedule: queue.Schedule{Step: d.cfg.Queue.Step, Lifetime: d.cfg.Queue.Lifetime}})
	if errors.Is(err, fs.ErrNotExist) && !exists(d.cfg.QueueDir) {
		return // nothing was ever queued
	}
	if err != nil {
		d.add(finding{severity: severityWarning, check: "queue", path: d.cfg.QueueDir, code: exDataErr,
			text: fmt.Sprintf("%s is not complete: %s", d.cfg.QueueDir, reasonOf(err)), fix: d.command("queue", "list")})
		return
	}
	w := backlog{alive: map[string]bool{}}
	for item, err := range q.List(ctx) {
		if err != nil {
			d.add(finding{severity: severityError, check: "queue", path: path.Join(d.cfg.QueueDir, item.File), code: exIOErr,
				text: fmt.Sprintf("%s %s", item.ID, reasonOf(err))})
			continue
		}
		d.entry(&w, &item)
	}
	d.kept(&w)
	d.age(&w)
	d.runner(&w)
	d.sideFiles(&w)
}

func (d *doctor) entry(w *backlog, item *queue.Item) {
	base, _, _ := strings.Cut(path.Base(item.File), ":2,")
	w.alive[base] = true
	switch {
	case item.Damaged != nil:
		d.add(finding{severity: severityError, check: "queue", path: path.Join(d.cfg.QueueDir, item.File), code: exDataErr,
			text: fmt.Sprintf("%s is damaged: %v", item.ID, item.Damaged), fix: d.command("queue", "show", item.ID)})
		return
	case item.State == queue.StateHeld:
		w.held = append(w.held, item.ID)
		return
	case item.State == queue.StateFailed:
		w.failed = append(w.failed, item.ID)
		return
	}
	w.count++
	if item.LastTry.After(w.lastTry) {
		w.lastTry = item.LastTry
	}
	if !item.HoldUntil(d.now).IsZero() {
		return // its sender wants it to wait
	}
	if w.oldest.IsZero() || item.Arrived.Before(w.oldest) {
		w.oldest = item.Arrived
	}
	if item.NextTry.Before(d.now) {
		w.due++
		if w.firstDue.IsZero() || item.NextTry.Before(w.firstDue) {
			w.firstDue = item.NextTry
		}
	}
}

// kept is what waits for a person. Who has held something knows that.
func (d *doctor) kept(w *backlog) {
	if len(w.failed) > 0 {
		d.add(finding{severity: severityWarning, check: "leftovers", path: path.Join(d.cfg.QueueDir, ".Failed"), code: exTempFail,
			text: counted(len(w.failed), "message") + " given up, with nobody to tell: notices that failed, and the like",
			fix:  d.onSome("show", w.failed) + "  # then release or remove"})
	}
	if len(w.held) > 0 {
		d.add(finding{severity: severityNote, check: "leftovers", path: path.Join(d.cfg.QueueDir, ".Hold"),
			text: counted(len(w.held), "message") + " on hold", fix: d.onSome("release", w.held)})
	}
}

// onSome is a verb of queue about a few entries, or the list for many.
func (d *doctor) onSome(verb string, ids []string) string {
	if len(ids) > shown {
		return d.command("queue", "list")
	}
	if verb == "show" {
		ids = ids[:1]
	}
	return d.command(append([]string{"queue", verb}, ids...)...)
}

// age looks at the oldest message.
func (d *doctor) age(w *backlog) {
	lifetime := d.cfg.Queue.Lifetime
	age := d.now.Sub(w.oldest)
	f := finding{severity: severityWarning, check: "queue", path: d.cfg.QueueDir, code: exTempFail,
		text: fmt.Sprintf("the oldest of %s has waited for %s", counted(w.count, "message"), shortDuration(age))}
	switch {
	case w.oldest.IsZero() || age < lifetime/2:
		return
	case age > lifetime+overdue:
		f.severity, f.fix = severityError, d.command("queue", "flush")
		f.text += ", and nobody gives it up"
	default:
		f.fix = d.command("queue", "list", "--older", fmt.Sprintf("%dh", int(lifetime.Hours()/2)))
	}
	d.add(f)
}

// runner tells when nobody seems to work on the queue: something is long due, and nothing has been tried lately.
func (d *doctor) runner(w *backlog) {
	late := d.now.Sub(w.firstDue)
	if w.due == 0 || late < overdue || d.now.Sub(w.lastTry) < overdue {
		return
	}
	d.add(finding{severity: severityError, check: "queue", path: d.cfg.QueueDir, code: exTempFail,
		text: fmt.Sprintf("%s due, the first for %s, and nothing has been tried: neither cron nor a server works on the queue",
			counted(w.due, "message"), shortDuration(late)),
		fix: d.command("queue", "flush") + "  # from cron: */5 * * * *; or mailx serve"})
}

// sideFiles tells of those whose entry is gone. A flush removes them when they are old.
func (d *doctor) sideFiles(w *backlog) {
	dir := path.Join(d.cfg.QueueDir, ".progress")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	lost := 0
	for _, entry := range entries {
		fi, err := entry.Info()
		if err == nil && !w.alive[entry.Name()] && d.now.Sub(fi.ModTime()) > leftAge {
			lost++
		}
	}
	if lost > 0 {
		d.add(finding{severity: severityWarning, check: "leftovers", path: dir, code: exTempFail,
			text: counted(lost, "side file") + " without a message in " + dir, fix: d.command("queue", "flush")})
	}
}
