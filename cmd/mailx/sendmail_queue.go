package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mailx/pkg/queue"
)

// sendmailList prints the queue as mailq(1) does; as JSON it is mailx queue list.
func (e *env) sendmailList(ctx context.Context, line *sendmailLine) error {
	_, q, err := e.openQueue()
	if err != nil {
		return err
	}
	if line.json {
		p := e.newPrinter(queueColumns(), true)
		err := e.eachSelected(ctx, q, line, func(item queue.Item) { printEntry(p, item) })
		return errors.Join(err, p.flush())
	}
	l := &mailq{w: bufio.NewWriter(e.stdout)}
	err = e.eachSelected(ctx, q, line, l.entry)
	l.end()
	return errors.Join(err, l.w.Flush())
}

// eachSelected goes through the entries that -qI, -qS and -qR ask for, or all. One that can't be read is told of.
func (e *env) eachSelected(ctx context.Context, q *queue.Queue, line *sendmailLine, do func(queue.Item)) error {
	for item, err := range q.List(ctx) {
		switch {
		case err != nil && item.ID == "":
			return err
		case err != nil:
			e.note("%s: %v", item.ID, err)
		case line.selects(item):
			do(item)
		}
	}
	return nil
}

// selects reports that each kind of selection that was made has a part of what the entry has.
func (l *sendmailLine) selects(item queue.Item) bool {
	part := func(wanted []string, of ...string) bool {
		return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool {
			return slices.ContainsFunc(of, func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(w)) })
		})
	}
	var rcpts []string
	for _, r := range item.Rcpts {
		rcpts = append(rcpts, r.Address.String())
	}
	return part(l.ids, item.ID) && part(l.senders, item.Sender.Path()) && part(l.toWhom, rcpts...)
}

func (l *sendmailLine) hasSelection() bool { return len(l.ids)+len(l.senders)+len(l.toWhom) > 0 }

// mailq prints entries in the form that people and scripts know from sendmail and Postfix: the id with "!" behind it if
// the entry waits for a person, size, arrival and sender, then the trouble in parentheses and the recipients.
type mailq struct {
	w       *bufio.Writer
	entries int
	octets  int64
}

const mailqIndent = 4

func (l *mailq) entry(item queue.Item) {
	if l.entries == 0 {
		io.WriteString(l.w, "-Queue ID- --Size-- ----Arrival Time---- -Sender/Recipient-------\n")
	} else {
		io.WriteString(l.w, "\n")
	}
	l.entries++
	l.octets += item.Size
	mark := " "
	if item.State == queue.StateHeld || item.State == queue.StateFailed {
		mark = "!"
	}
	arrived := item.Arrived.Local().Format("Mon Jan _2 15:04:05")
	fmt.Fprintf(l.w, "%s%s %d %s %s\n", item.ID, mark, item.Size, arrived, escapeControl(senderName(item)))
	if trouble := troubleOf(item); trouble != "" {
		fmt.Fprintf(l.w, "%*s(%s)\n", mailqIndent, "", escapeControl(trouble))
	}
	for _, rcpt := range remaining(item) {
		fmt.Fprintf(l.w, "%*s%s\n", mailqIndent, "", escapeControl(rcpt))
	}
}

func senderName(item queue.Item) string {
	if item.Sender.IsNull() {
		return "MAILER-DAEMON"
	}
	return item.Sender.String()
}

func (l *mailq) end() {
	if l.entries == 0 {
		io.WriteString(l.w, "Mail queue is empty\n")
		return
	}
	requests := "Requests"
	if l.entries == 1 {
		requests = "Request"
	}
	fmt.Fprintf(l.w, "\n-- %d Kbytes in %d %s.\n", (l.octets+1023)/1024, l.entries, requests)
}

// sendmailFlush makes one pass over the queue: all of it, or with an interval what is due. A pass that could not look
// at everything is 75; what stays in the queue is no failure.
func (e *env) sendmailFlush(ctx context.Context, line *sendmailLine) error {
	sys, err := e.system()
	if err != nil {
		return err
	}
	if !line.verbose && !sys.cfg.IsSet("log.level") {
		sys.log = nil // hooks of networks and cron want to hear nothing of what went well
	}
	q, err := sys.queue()
	if err != nil {
		return err
	}
	opt := queue.FlushOptions{All: !line.onlyDue, Parallel: sys.cfg.Queue.Parallel, AtOnce: messagesAtOnce(openFiles(), sys.cfg.Queue.Parallel)}
	if line.hasSelection() {
		if opt.IDs, err = e.selectedIDs(ctx, q, line); err != nil || len(opt.IDs) == 0 {
			return err
		}
	}
	transport, err := sys.transport(q)
	if err != nil {
		return err
	}
	defer transport.Relay.Close()
	ctx, stop := e.untilSignal(ctx)
	defer stop()
	if _, err := q.Flush(ctx, transport, opt); err != nil {
		return exitWith(exTempFail, err)
	}
	return nil
}

// selectedIDs leaves out what waits for a person, and unless it is named, what its sender wants held.
func (e *env) selectedIDs(ctx context.Context, q *queue.Queue, line *sendmailLine) ([]string, error) {
	var ids []string
	err := e.eachSelected(ctx, q, line, func(item queue.Item) {
		mayGo := len(line.ids) > 0 || item.HoldUntil(time.Now()).IsZero()
		if mayGo && (item.State == queue.StateNew || item.State == queue.StateTried) {
			ids = append(ids, item.ID)
		}
	})
	return ids, err
}
