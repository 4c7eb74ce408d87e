package main

import (
	"io"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// tellOfSuccess queues the notice for which a sender has asked (NOTIFY=SUCCESS, RFC 3461) about what was delivered, or went
// to a server that sends none. What the queue will deliver later is its own matter. Without a queue there is no notice:
// the exit code says it all.
func (p *posting) tellOfSuccess(results []mail.Result) error {
	if !p.mayStore || p.env.Sender.IsNull() {
		return nil
	}
	report := message.Report{
		ReportingMTA: p.sys.cfg.Hostname, Sender: p.env.Sender, OrigEnvID: p.env.EnvID, QueueID: p.env.ID, Arrived: p.env.Arrived,
		Original: io.NewSectionReader(p.msg, 0, p.msg.size), Ret: mail.RetHeaders, Now: time.Now(),
	}
	for _, r := range results {
		if r.Err == nil && r.Notify.Wants(mail.NotifySuccess) {
			report.Outcomes = append(report.Outcomes, successOf(r, report.Now))
		}
	}
	if len(report.Outcomes) == 0 {
		return nil
	}
	env := &mail.Envelope{Rcpts: []mail.Recipient{{Address: p.env.Sender, Notify: mail.NotifyNever}}, Arrived: report.Now,
		UTF8: report.NeedsUTF8(), RequireTLS: p.env.RequireTLS, Account: p.env.Account}
	if env.UTF8 {
		env.Body = mail.Body8BitMIME
	}
	_, err := p.sys.store(env, report.Write)
	return err
}

func successOf(r mail.Result, at time.Time) message.Outcome {
	o := message.Outcome{Result: r, LastAttempt: at}
	if r.Expanded {
		o.Action = message.Expanded
	}
	return o
}
