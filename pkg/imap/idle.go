package imap

import (
	"cmp"
	"context"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

var errDone = mail.Permanentf(5, 2, "Syntax: DONE expected")

// idle is RFC 2177: until the client says DONE it is told of changes as they happen. Nobody tells us of changes, so the
// directories are looked at twice a second; three lstat calls tell whether anything happened.
func (d *dialog) idle(ctx context.Context, _ *wire.Args) error {
	if err := d.line("+ Idling"); err != nil {
		return err
	}
	if err := d.update("IDLE"); err != nil {
		return err
	}
	if err := d.c.Flush(); err != nil {
		return err
	}
	d.c.Within(cmp.Or(d.srv.Timeout, DefaultTimeout))
	type input struct {
		line string
		err  error
	}
	in := make(chan input, 1) // the reader never waits for us
	go func() {
		line, err := d.c.ReadLine()
		in <- input{line, err}
	}()
	ticker := time.NewTicker(cmp.Or(d.srv.Poll, DefaultPoll))
	defer ticker.Stop()
	var broken error
	for {
		select {
		case got := <-in:
			return doneWith(got.line, firstOf(got.err, broken))
		case <-ctx.Done():
			d.c.Interrupt()
			ctx = context.WithoutCancel(ctx)
		case <-ticker.C:
			if broken == nil {
				broken = d.poll()
			}
			if broken != nil {
				d.c.Interrupt()
			}
		}
	}
}

// poll tells of changes at once.
func (d *dialog) poll() error {
	if err := d.update("IDLE"); err != nil {
		return err
	}
	return d.c.Flush()
}

func doneWith(line string, err error) error {
	switch {
	case err != nil:
		return err
	case !strings.EqualFold(line, "DONE"):
		return errDone
	}
	return nil
}
