package delivery

import (
	"bytes"
	"cmp"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// A sender who asked for a notice of success (NOTIFY=SUCCESS, RFC 3461 §4.1) gets one for what is delivered here at the
// moment of DATA, and for aliases that are expanded here.
//
// The notice is written into the queue before the message is committed, so that a disk that is full refuses both, and
// committed right after it, so that it never claims what did not happen. What can go wrong:
//
//	the notice can't be written       the message is refused for now; nothing was stored
//	the message can't be committed    the notice is dropped
//	the power goes between the two    the peer has no 250 and sends again; the sender hears of that delivery
//	the notice can't be committed     the message is delivered and 250 is said, for to refuse it now would make a second
//	                                  copy; the log says which notice is lost

// maxHead is how much of a message is kept for a notice, which gives back the header.
const maxHead = 64 << 10

// wantsNotice reports that this recipient's sender is to hear of a success here. One that goes to one address elsewhere
// is the next host's matter.
func (tx *intakeTx) wantsNotice(t *taker) bool {
	return t.rcpt.Notify.Wants(mail.NotifySuccess) && (!t.away || t.isMany) &&
		!tx.env.Sender.IsNull() && tx.in.Enqueue != nil
}

// keepHead remembers the header while it passes, if it will be needed.
func (tx *intakeTx) keepHead(p []byte) {
	if !tx.notes || tx.headEnded {
		return
	}
	from := max(len(tx.head)-1, 0)
	tx.head = append(tx.head, p[:min(len(p), maxHead-len(tx.head))]...)
	if i := bytes.Index(tx.head[from:], []byte("\n\n")); i >= 0 {
		tx.head = tx.head[:from+i+2]
		tx.headEnded = true
	}
	tx.headEnded = tx.headEnded || len(tx.head) == maxHead
}

// openNotice writes the notice for those takers with whom all is well so far, as ok says. One that can never be written
// is no reason to refuse the message.
func (tx *intakeTx) openNotice(ok func(*taker) bool) error {
	if !tx.notes {
		return nil
	}
	err := tx.writeNotice(ok)
	if mail.StatusOf(err).IsPermanent() {
		tx.dropNotice()
		tx.noticeIsLost(err)
		return nil
	}
	return err
}

func (tx *intakeTx) writeNotice(ok func(*taker) bool) error {
	report := tx.report(ok)
	if len(report.Outcomes) == 0 {
		return nil
	}
	env := &mail.Envelope{
		Rcpts:      []mail.Recipient{{Address: tx.env.Sender, Notify: mail.NotifyNever}},
		UTF8:       report.NeedsUTF8(),
		Arrived:    report.Now,
		RequireTLS: tx.env.RequireTLS, // RFC 8689 §5
	}
	if env.UTF8 {
		env.Body = mail.Body8BitMIME
	}
	notice, err := tx.in.Enqueue(env)
	if err != nil {
		return err
	}
	tx.notice = notice
	return report.Write(notice)
}

func (tx *intakeTx) report(ok func(*taker) bool) message.Report {
	now := time.Now()
	report := message.Report{
		ReportingMTA: cmp.Or(tx.in.Hostname, "localhost"),
		Sender:       tx.env.Sender,
		OrigEnvID:    tx.env.EnvID,
		QueueID:      tx.env.ID,
		Arrived:      tx.env.Arrived,
		Original:     bytes.NewReader(tx.head),
		Ret:          mail.RetHeaders,
		Now:          now,
	}
	for i := range tx.takers {
		t := &tx.takers[i]
		if !tx.wantsNotice(t) || !ok(t) {
			continue
		}
		o := message.Outcome{Result: mail.Result{Recipient: t.rcpt}, Action: message.Delivered, LastAttempt: now}
		if t.away {
			o.Action = message.Expanded
		}
		report.Outcomes = append(report.Outcomes, o)
	}
	return report
}

// commitNotice is the end of it, after which there is no way back.
func (tx *intakeTx) commitNotice() {
	if tx.notice == nil {
		return
	}
	if err := tx.notice.Commit(); err != nil {
		tx.noticeIsLost(err)
	}
}

// commitNoticeOf is commitNotice after something went wrong with some of the takers.
func (tx *intakeTx) commitNoticeOf(ok func(*taker) bool) {
	tx.dropNotice()
	if err := tx.openNotice(ok); err != nil {
		tx.noticeIsLost(err)
		return
	}
	tx.commitNotice()
}

func (tx *intakeTx) dropNotice() {
	if tx.notice != nil {
		tx.notice.Abort()
		tx.notice = nil
	}
}

func (tx *intakeTx) noticeIsLost(err error) {
	tx.in.Log.Slog().Error("notice of success is lost: the message was delivered", "id", tx.env.ID,
		"sender", tx.env.Sender.Path(), "error", err)
}
