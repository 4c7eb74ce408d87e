package main

import (
	"errors"
	"iter"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/queue"
)

func newQueue(e *env) *cli.Command {
	onIDs := func(name, usage string, do func(q *queue.Queue, ids []string) error) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "[id ...]", Flags: selectionFlags(),
			Action: func(c *cli.Context) error { return e.onSelected(c, do) }}
	}
	return &cli.Command{
		Name:  "queue",
		Usage: "see, work and repair the queue",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list what waits", ArgsUsage: "[id ...]", Flags: append(selectionFlags(), jsonFlag()),
				Action: func(c *cli.Context) error { return e.queueList(c) }},
			{Name: "show", Usage: "print a message of the queue as it would be sent", ArgsUsage: "id",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "envelope", Usage: "print what the queue knows of it instead"}},
				Action: func(c *cli.Context) error { return e.queueShow(c) }},
			e.queueFlushCommand(),
			e.queueRunCommand(),
			onIDs("hold", "set entries aside", func(q *queue.Queue, ids []string) error { return q.Hold(ids...) }),
			onIDs("release", "put held and failed entries back", func(q *queue.Queue, ids []string) error { return q.Release(ids...) }),
			onIDs("retry", "make entries due now", func(q *queue.Queue, ids []string) error { return q.Retry(ids...) }),
			onIDs("remove", "delete entries, telling nobody", func(q *queue.Queue, ids []string) error { return q.Remove(ids...) }),
			{Name: "bounce", Usage: "give entries up and tell their senders", ArgsUsage: "[id ...]",
				Flags: append(selectionFlags(),
					&cli.StringFlag{Name: "reason", Usage: "say `TEXT` in the notice", Value: "Returned by the administrator"}),
				Action: func(c *cli.Context) error {
					return e.onSelected(c, func(q *queue.Queue, ids []string) error {
						return q.Bounce(c.String("reason"), ids...)
					})
				}},
			{Name: "schedule", Usage: "print when a message is tried", Flags: []cli.Flag{jsonFlag()},
				Action: func(c *cli.Context) error { return e.queueSchedule(c) }},
			e.queueStatsCommand(),
		},
	}
}

func (e *env) queueFlushCommand() *cli.Command {
	return &cli.Command{
		Name: "flush", Usage: "try what is due, once", ArgsUsage: "[id ...]",
		Description: "One pass, for cron. Any number of them may run at once. What can't be delivered now stays for a\n" +
			"later one. With ids, these entries are tried, due or not.",
		Flags: append(selectionFlags(),
			&cli.BoolFlag{Name: "all", Usage: "try what is not due too; held, failed and scheduled entries stay apart"},
			&cli.IntFlag{Name: "max", Usage: "try at most `N` messages", DefaultText: "all"},
			&cli.StringFlag{Name: "pause", Usage: "wait `TIME` between tries, such as 1s"},
			e.keyFlag("parallel", "queue.parallel", "work on `N` messages at once"),
			e.keyFlag("per-destination", "queue.per_destination", "at most `N` connections to a destination at once"),
			&cli.BoolFlag{Name: "trace", Usage: "show the dialogs on standard error, secrets masked"},
			e.keyFlag("server", "smarthost", "hand all remote mail to the server at `URL`"),
			jsonFlag(),
		),
		Action: func(c *cli.Context) error { return e.queueFlush(c) },
	}
}

// openQueue opens the queue of the configuration.
func (e *env) openQueue() (*system, *queue.Queue, error) {
	sys, err := e.system()
	if err != nil {
		return nil, nil, err
	}
	sys.logTroubleOnly()
	q, err := sys.queue()
	return sys, q, err
}

func (e *env) onEntries(ids []string, do func(q *queue.Queue, ids []string) error) error {
	if len(ids) == 0 {
		return usagef("which entries? See mailx queue list")
	}
	_, q, err := e.openQueue()
	if err != nil {
		return err
	}
	return e.noSuchEntry(do(q, ids))
}

// noSuchEntry gives an unknown id an exit code of its own.
func (e *env) noSuchEntry(err error) error {
	if errors.Is(err, queue.ErrNotFound) {
		return exitWith(exNoInput, err)
	}
	return err
}

func queueColumns() []column {
	return []column{{name: "id"}, {name: "state"}, {name: "arrived"}, {name: "next_try"}, {name: "size", right: true},
		{name: "sender", flexible: true}, {name: "recipients", flexible: true}, {name: "error", flexible: true}}
}

func (e *env) queueList(c *cli.Context) error {
	sel, err := selection(c)
	switch {
	case err != nil:
		return err
	case c.Args().Present() && !sel.IsZero():
		return usagef("either ids or a selection, not both")
	}
	_, q, err := e.openQueue()
	if err != nil {
		return err
	}
	p := e.newPrinter(queueColumns(), c.Bool("json"))
	if c.Args().Present() {
		err = e.listEntries(q, p, c.Args().Slice())
	} else {
		err = e.listQueue(q.Find(c.Context, sel), p)
	}
	return errors.Join(e.noSuchEntry(err), p.flush())
}

func (e *env) listEntries(q *queue.Queue, p *printer, ids []string) error {
	var all []error
	for _, id := range ids {
		item, err := q.Get(id)
		if err != nil {
			all = append(all, err)
			continue
		}
		printEntry(p, item)
	}
	return errors.Join(all...)
}

func (e *env) listQueue(items iter.Seq2[queue.Item, error], p *printer) error {
	for item, err := range items {
		switch {
		case err != nil && item.ID == "":
			return err
		case err != nil:
			e.note("%s: %v", item.ID, err)
		default:
			printEntry(p, item)
		}
	}
	return nil
}

func printEntry(p *printer, item queue.Item) {
	p.row(item.ID, stateOf(&item), item.Arrived, item.NextTry, item.Size, item.Sender.Path(), remaining(item), troubleOf(item))
}

// remaining are the recipients who have not got the message.
func remaining(item queue.Item) []string {
	var rcpts []string
	for _, r := range item.Rcpts {
		if r.State == queue.RcptPending || item.State == queue.StateFailed && r.State == queue.RcptFailed {
			rcpts = append(rcpts, r.Address.String())
		}
	}
	return rcpts
}

func troubleOf(item queue.Item) string {
	if item.Damaged != nil {
		return "damaged: " + item.Damaged.Error()
	}
	return item.Error
}

func (e *env) queueSchedule(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%q is not needed here", c.Args().First())
	}
	_, q, err := e.openQueue()
	if err != nil {
		return err
	}
	p := e.newPrinter([]column{{name: "try", right: true}, {name: "age"}}, c.Bool("json"))
	for i, age := range q.Schedule().Planned() {
		p.row(i+1, age)
	}
	return p.flush()
}

func (e *env) queueFlush(c *cli.Context) error {
	opt, err := flushOptions(c)
	if err != nil {
		return err
	}
	sys, err := e.system()
	if err != nil {
		return err
	}
	sys.logTroubleOnly()
	progress := e.newProgress("nothing has been tried yet", !c.Bool("trace"))
	if progress.live {
		sys.log = e.logger(sys.cfg, progress)
	}
	q, err := sys.queue()
	if err != nil {
		return err
	}
	opt.AtOnce = messagesAtOnce(openFiles(), sys.cfg.Queue.Parallel)
	opt.Parallel, opt.Progress = sys.cfg.Queue.Parallel, scaled(progress.of("messages"))
	transport, err := sys.transport(q)
	if err != nil {
		return err
	}
	defer transport.Relay.Close()
	transport.Relay.Trace = e.tracer(c.Bool("trace"), false)
	ctx, stop := e.untilSignal(c.Context)
	defer stop()
	defer progress.start()()
	stats, err := q.Flush(ctx, transport, opt)
	progress.clear()
	if c.Bool("json") || e.stdoutIsTerminal() {
		p := e.newPrinter(statsColumns(), c.Bool("json"))
		p.row(stats.Tried, stats.Delivered, stats.Deferred, stats.Failed, stats.Notices, stats.Left(), stats.Next)
		err = errors.Join(err, p.flush())
	}
	return e.noSuchEntry(err)
}

// So many messages are worth more processors, and so many keep a flush busy for long enough that it should do without what
// it does not need any more.
const (
	severalMessages = 100
	manyMessages    = 3000
)

// scaled tells of the progress, and at the beginning makes the process as large or small as the work ahead wants it.
func scaled(tell func(done, due int)) func(done, due int) {
	return func(done, due int) {
		if done == 0 && due >= severalMessages {
			moreProcessors()
		}
		if done == 0 && due >= manyMessages {
			giveBackStartUp()
		}
		if tell != nil {
			tell(done, due)
		}
	}
}

func statsColumns() []column {
	return []column{{name: "tried", right: true}, {name: "delivered", right: true}, {name: "deferred", right: true},
		{name: "failed", right: true}, {name: "notices", right: true}, {name: "left", right: true}, {name: "next_try"}}
}

func flushOptions(c *cli.Context) (queue.FlushOptions, error) {
	sel, err := selection(c)
	opt := queue.FlushOptions{All: c.Bool("all"), IDs: c.Args().Slice(), Domain: sel.Domain, Sender: sel.Sender, Rcpt: sel.Rcpt,
		Older: sel.Older, Max: c.Int("max")}
	if err != nil {
		return opt, err
	}
	if c.IsSet("max") && opt.Max < 1 {
		return opt, usagef("--max %d: a number from 1 on is needed", opt.Max)
	}
	if text := c.String("pause"); text != "" {
		pause, err := config.ParseDuration(text)
		if err != nil {
			return opt, usagef("--pause: %v", err)
		}
		opt.Pause = pause
	}
	return opt, nil
}
