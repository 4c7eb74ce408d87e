package main

import (
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/queue"
)

func (e *env) queueStatsCommand() *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "count what waits, by domain and age",
		Description: "A line for each domain that has mail waiting, the one with most first, and one for all. M5 are\n" +
			"messages of at most 5 minutes, M10 older ones of at most 10, and so on.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "by-sender", Usage: "by the domains of senders, not of recipients"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return e.queueStats(c) },
	}
}

func (e *env) queueStats(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%q is not needed here", c.Args().First())
	}
	_, q, err := e.openQueue()
	if err != nil {
		return err
	}
	rows, total, err := q.Shape(c.Context, c.Bool("by-sender"))
	if err != nil {
		return err
	}
	p := e.newPrinter(shapeColumns(), c.Bool("json"))
	total.Domain = "TOTAL"
	printShape(p, total)
	for _, row := range rows {
		printShape(p, row)
	}
	return p.flush()
}

func shapeColumns() []column {
	columns := []column{{name: "domain", flexible: true}, {name: "total", right: true}}
	for _, age := range queue.ShapeAges() {
		columns = append(columns, column{name: "m" + strconv.Itoa(int(age/time.Minute)), right: true})
	}
	return append(columns, column{name: "older", right: true})
}

func printShape(p *printer, row queue.ShapeRow) {
	values := []any{row.Domain, row.Total}
	for _, n := range row.Counts {
		values = append(values, n)
	}
	p.row(values...)
}
