package main

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/mail"
	"mailx/pkg/queue"
)

// selectionFlags are those with which the verbs of the queue name entries by what they are.
func selectionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "sender", Usage: "only messages from `ADDRESS`, or @DOMAIN; <> for notices"},
		&cli.StringFlag{Name: "rcpt", Usage: "only messages still to do for `ADDRESS`, or @DOMAIN"},
		&cli.StringFlag{Name: "domain", Usage: "only messages still to do for recipients at `DOMAIN`"},
		&cli.StringFlag{Name: "older", Usage: "only messages that arrived longer than `TIME` ago, such as 2h or 3d"},
	}
}

// selection reads those flags.
func selection(c *cli.Context) (queue.Selection, error) {
	sel := queue.Selection{Sender: c.String("sender"), Rcpt: c.String("rcpt"), Domain: strings.ToLower(c.String("domain"))}
	if sel.Sender != "<>" {
		if err := checkPattern("sender", sel.Sender); err != nil {
			return sel, err
		}
	}
	if err := checkPattern("rcpt", sel.Rcpt); err != nil {
		return sel, err
	}
	if text := c.String("older"); text != "" {
		age, err := config.ParseDuration(text)
		if err != nil {
			return sel, usagef("--older: %v", err)
		}
		sel.Older = age
	}
	return sel, nil
}

// checkPattern takes an address, one in angle brackets, and @DOMAIN. What nobody can have as an address is a mistake that
// would otherwise just find nothing.
func checkPattern(flag, pattern string) error {
	if pattern == "" {
		return nil
	}
	address := strings.TrimSuffix(strings.TrimPrefix(pattern, "<"), ">")
	if strings.HasPrefix(pattern, "@") {
		address = "x" + pattern
	}
	if _, err := mail.ParseAddress(address); err != nil {
		return usagef("--%s: %s", flag, mail.TextOf(err))
	}
	return nil
}

// onSelected is a verb about entries, named by id or by a selection. Where a selection finds nothing there is nothing to do.
func (e *env) onSelected(c *cli.Context, do func(q *queue.Queue, ids []string) error) error {
	sel, err := selection(c)
	ids := c.Args().Slice()
	switch {
	case err != nil:
		return err
	case len(ids) == 0 && sel.IsZero():
		return usagef("which entries? See mailx queue list")
	case len(ids) > 0 && !sel.IsZero():
		return usagef("either ids or a selection, not both")
	case len(ids) > 0:
		return e.onEntries(ids, do)
	}
	_, q, err := e.openQueue()
	if err != nil {
		return err
	}
	ids, trouble := findEntries(c.Context, q, sel)
	if len(ids) > 0 {
		trouble = cmp.Or(trouble, withoutGone(do(q, ids)))
	}
	return trouble
}

func findEntries(ctx context.Context, q *queue.Queue, sel queue.Selection) (ids []string, trouble error) {
	for item, err := range q.Find(ctx, sel) {
		if err != nil {
			trouble = cmp.Or(trouble, err)
			continue
		}
		ids = append(ids, item.ID)
	}
	return ids, trouble
}

// withoutGone drops errors about entries that were finished since they were found.
func withoutGone(err error) error {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if errors.Is(err, queue.ErrNotFound) {
			return nil
		}
		return err
	}
	var left []error
	for _, err := range many.Unwrap() {
		left = append(left, withoutGone(err))
	}
	return errors.Join(left...)
}
