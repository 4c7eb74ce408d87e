package main

import (
	"bufio"
	"context"
	"io"

	"mailx/pkg/fetch"
	"mailx/pkg/hook"
)

// deliverTarget gives each message to a user of this host as mailx deliver does: with the hooks of delivery, and the limits.
type deliverTarget struct {
	sys  *system
	user string
	set  *hook.Set
}

func (f *fetching) deliverTarget(user string) (fetch.Target, error) {
	t := &deliverTarget{sys: f.sys, user: user, set: hooks(f.sys.cfg, f.e.note)}
	_, err := t.open() // who is unknown is so for all messages
	return t, err
}

func (d *deliverTarget) open() (*targets, error) {
	t := &targets{cfg: d.sys.cfg, fsys: d.sys.fs, users: d.sys.users(), quotas: d.sys.quotas}
	return t, t.user(d.user)
}

// Take delivers one message. The sender that hooks are told is that of its Return-Path, which stays.
func (d *deliverTarget) Take(_ context.Context, _ fetch.Item, text io.Reader) error {
	t, err := d.open()
	if err != nil {
		return err
	}
	if !d.set.Has(hook.DeliverFilter, hook.Deliver) {
		return t.store(text, nil)
	}
	br := bufio.NewReaderSize(text, 64<<10)
	return t.storeFiltered(br, nil, deliverHooks{d.set, returnPathOf(br), []string{d.user}})
}
