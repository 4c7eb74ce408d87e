package main

import (
	"context"
	"errors"
	"io"

	mailfilter "mailx/pkg/filter"
	"mailx/pkg/hook"
	"mailx/pkg/mail"
)

// deliverHooks are the commands that are asked before a message is stored, and what they are told besides.
type deliverHooks struct {
	set    *hook.Set
	sender mail.Address
	users  []string
}

// storeFiltered is store, with the hooks asked first. They see the message as it would be stored.
func (t *targets) storeFiltered(from io.Reader, trace []byte, h deliverHooks) error {
	store := textStore(t.cfg)
	text := store.NewText()
	defer text.Close()
	if err := t.fill(text, from, trace); err != nil {
		return err
	}
	m := mailfilter.NewMessage(store, &mail.Envelope{Sender: h.sender}, text)
	defer m.Close()
	err := h.set.DeliverTo(context.Background(), m, h.users)
	switch {
	case errors.Is(err, mailfilter.ErrDiscard):
		return nil
	case err != nil:
		return refusedByHook(err)
	}
	return t.deliver(func(w io.Writer) error {
		_, err := io.Copy(w, m.Text.Reader())
		return err
	})
}

// refusedByHook makes a refusal that is for good one that the MTA which called us bounces: to it, 77 would be about rights that
// we lack.
func refusedByHook(err error) error {
	if code := exitCode(err); mail.StatusOf(err).IsPermanent() && code != exNoUser {
		return exitWith(exDataErr, err)
	}
	return err
}
