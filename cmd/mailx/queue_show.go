package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/queue"
)

func (e *env) queueShow(c *cli.Context) error {
	ids := c.Args().Slice()
	if len(ids) != 1 {
		return usagef("one id, please. See mailx queue list")
	}
	_, q, err := e.openQueue()
	if err != nil {
		return err
	}
	m, err := q.OpenMessage(ids[0])
	if err != nil {
		return e.noSuchEntry(err)
	}
	defer m.Close()
	if c.Bool("envelope") {
		return showEnvelope(e.stdout, &m.Item)
	}
	if e.stdoutIsTerminal() {
		out := bufio.NewWriter(e.stdout)
		return cmp.Or(escapeLines(out, m), out.Flush())
	}
	_, err = io.Copy(e.stdout, m)
	return err
}

// showEnvelope prints what the queue knows of an entry besides the message: a field a line, and one for each recipient.
func showEnvelope(w io.Writer, item *queue.Item) error {
	b := bufio.NewWriter(w)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s: %s\n", name, escapeControl(value))
		}
	}
	moment := func(name string, t time.Time) {
		if !t.IsZero() {
			field(name, t.UTC().Format(time.RFC3339))
		}
	}
	field("Id", item.ID)
	field("File", item.File)
	field("State", stateOf(item))
	if item.Damaged != nil {
		field("Damaged", item.Damaged.Error())
		return b.Flush()
	}
	field("Message-Id-Here", item.Envelope.ID)
	moment("Arrived", item.Arrived)
	moment("Next-Try", item.NextTry)
	moment("Last-Try", item.LastTry)
	field("Tries", fmt.Sprint(item.Attempts))
	moment("Hold-Until", item.Envelope.HoldUntil)
	field("Deliver-By", deliverBy(item))
	if item.Envelope.RequireTLS {
		field("Require-TLS", "yes")
	}
	field("Envelope-Id", item.Envelope.EnvID)
	field("Sender", item.Sender.Path())
	for _, r := range item.Rcpts {
		field("Recipient", recipientLine(r))
	}
	return b.Flush()
}

// deliverBy says what is to be done when.
func deliverBy(item *queue.Item) string {
	by := item.Envelope.By
	if !by.IsSet() {
		return ""
	}
	s := by.At.UTC().Format(time.RFC3339) + ", else return"
	if by.Notify {
		s = by.At.UTC().Format(time.RFC3339) + ", else tell"
	}
	if by.Trace {
		s += ", tell of relays"
	}
	return s
}

func recipientLine(r queue.RcptStatus) string {
	words := []string{r.Path(), string(r.State)}
	if !r.Status.IsZero() {
		words = append(words, r.Status.String())
	}
	if r.MTA != "" {
		words = append(words, r.MTA)
	}
	if trouble := r.Trouble(); trouble != "" {
		words = append(words, trouble)
	}
	return strings.Join(words, " ")
}

// stateOf is the state, and "scheduled" for what its sender wants held until a time.
func stateOf(item *queue.Item) string {
	if !item.HoldUntil(time.Now()).IsZero() && (item.State == queue.StateNew || item.State == queue.StateTried) {
		return "scheduled"
	}
	return string(item.State)
}
