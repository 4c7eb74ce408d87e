package main

import (
	"context"
	"errors"
	"io"
	"path"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	mailfilter "mailx/pkg/filter"
	"mailx/pkg/hook"
	"mailx/pkg/mail"
	"mailx/pkg/milter"
	"mailx/pkg/smtp"
)

// hooks are the commands of the configuration.
func hooks(cfg *config.Config, note func(string, ...any)) *hook.Set {
	h := cfg.Hooks
	return &hook.Set{
		Commands: map[hook.Event][]string{hook.Connect: h.Connect, hook.Mail: h.Mail, hook.Rcpt: h.Rcpt, hook.Filter: h.Filter,
			hook.Data: h.Data, hook.DeliverFilter: h.DeliverFilter, hook.Deliver: h.Deliver},
		Timeout: h.Timeout, Parallel: h.Parallel, Hostname: cfg.Hostname, Note: note,
	}
}

// textStore is where filters put messages that are too large for memory.
func textStore(cfg *config.Config) mailfilter.Store {
	return mailfilter.Store{Dir: path.Join(cfg.Spool, "state"), MaxSize: cfg.SMTP.MaxSize}
}

// quarantine stores messages in the queue, where a person has to release them.
func (s *system) quarantine() func(*mail.Envelope) (mailfilter.Spooled, error) {
	return func(env *mail.Envelope) (mailfilter.Spooled, error) {
		q, err := s.opened.get(s)
		if err != nil {
			return nil, err
		}
		entry, err := q.EnqueueHeld(env)
		if err != nil {
			return nil, err
		}
		return entry, nil
	}
}

// filtered is what a server does at each connection so that hooks and milters are asked; nil without any. What is taken
// goes to intake; outer, if not nil, is put in front, so that filters see what it makes of messages.
func (s *system) filtered(intake *delivery.Intake, outer func(smtp.Backend) smtp.Backend) (func(context.Context, *smtp.Peer) (smtp.Backend, error), error) {
	chain, err := s.chain(intake)
	if chain == nil || err != nil {
		return nil, err
	}
	return func(ctx context.Context, p *smtp.Peer) (smtp.Backend, error) {
		conn, err := chain.Connect(ctx, p, intake)
		if err != nil {
			return nil, err
		}
		if outer == nil {
			return conn, nil
		}
		return outer(conn), nil
	}, nil
}

// chain has the filters in their order: commands that change a message, milters, of which the last may sign it, and the
// command that has the last word.
func (s *system) chain(intake *delivery.Intake) (*mailfilter.Chain, error) {
	set := hooks(s.cfg, s.env.note)
	c := &mailfilter.Chain{Store: textStore(s.cfg), Log: s.log, Stores: intake.Stores, Quarantine: s.quarantine()}
	if set.Has(hook.Connect, hook.Mail, hook.Rcpt, hook.Filter) {
		c.Filters = append(c.Filters, set.First())
	}
	for _, socket := range s.cfg.Milter.Sockets {
		m, err := s.milter(socket)
		if err != nil {
			return nil, exitWith(exConfig, err)
		}
		c.Filters = append(c.Filters, m)
	}
	if set.Has(hook.Data) {
		c.Filters = append(c.Filters, set.Last())
	}
	if set.Has(hook.DeliverFilter, hook.Deliver) {
		c.Deliver = set.Deliver
	}
	if len(c.Filters) == 0 && c.Deliver == nil {
		return nil, nil
	}
	return c, nil
}

func (s *system) milter(socket string) (*milter.Filter, error) {
	network, address, err := milter.ParseSocket(socket)
	if err != nil {
		return nil, err
	}
	m := &milter.Filter{Network: network, Address: address, Timeout: s.cfg.Milter.Timeout, Hostname: s.cfg.Hostname,
		MaxSize: s.cfg.SMTP.MaxSize}
	switch s.cfg.Milter.Default {
	case "accept":
		m.Default = milter.Accept
	case "reject":
		m.Default = milter.Reject
	}
	return m, nil
}

// localFilter has the hooks judge what the queue is about to store on this host; nil without any.
func (s *system) localFilter() func(context.Context, *mail.Envelope, io.ReaderAt, int64) (delivery.Text, bool, error) {
	set := hooks(s.cfg, s.env.note)
	if !set.Has(hook.DeliverFilter, hook.Deliver) {
		return nil
	}
	return func(ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) (delivery.Text, bool, error) {
		m := mailfilter.NewMessage(textStore(s.cfg), env, mailfilter.TextOf(msg, size))
		err := set.Deliver(ctx, m)
		if errors.Is(err, mailfilter.ErrDiscard) {
			m.Close()
			return nil, true, nil
		}
		if err != nil {
			m.Close()
			return nil, false, err
		}
		return filteredText{m.Text, m}, false, nil
	}
}

// filteredText is a text that is closed with its message.
type filteredText struct {
	*mailfilter.Text
	m *mailfilter.Message
}

func (t filteredText) Close() error {
	t.m.Close()
	return nil
}
