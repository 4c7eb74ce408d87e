package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mailx/pkg/mailbox"
	"mailx/pkg/wire"
)

// storeSeq is "STORE" SP sequence-set SP store-att-flags (RFC 3501 §6.4.6).
func (d *dialog) storeSeq(ctx context.Context, _ *wire.Args) error {
	return d.storeFlags(ctx, false)
}

// storeUID is "UID STORE" (RFC 3501 §6.4.8).
func (d *dialog) storeUID(ctx context.Context, _ *wire.Args) error { return d.storeFlags(ctx, true) }

// storeArgs is ["+" / "-"] "FLAGS" [".SILENT"] SP flags.
type storeArgs struct {
	sign   byte // '+', '-' or 0
	silent bool
	flags  flagSet
}

func (p *parser) storeArgs() (s storeArgs) {
	for _, sign := range []byte{'+', '-'} {
		if p.take(sign) {
			s.sign = sign
			break
		}
	}
	if !p.keyword("FLAGS") {
		p.fail("FLAGS")
	}
	s.silent = p.keyword(".SILENT")
	p.sp()
	if p.at('(') {
		s.flags = p.flagList()
		return s
	}
	p.flag(&s.flags)
	for n := 1; p.err == nil && p.take(' '); n++ {
		if n > maxFlags {
			p.fail("fewer flags")
		}
		p.flag(&s.flags)
	}
	return s
}

func (s storeArgs) change() mailbox.Change {
	switch s.sign {
	case '+':
		return mailbox.Change{Add: s.flags.letters, AddKeywords: s.flags.keywords}
	case '-':
		return mailbox.Change{Remove: s.flags.letters, RemoveKeywords: s.flags.keywords}
	}
	return mailbox.Change{Add: s.flags.letters, AddKeywords: s.flags.keywords, Replace: true}
}

func (d *dialog) storeFlags(ctx context.Context, isUID bool) error {
	p := d.args()
	set := p.numSet()
	p.sp()
	args := p.storeArgs()
	if err := p.end(); err != nil {
		return err
	}
	list, err := d.sel.targets(set, isUID)
	switch {
	case err != nil:
		return err
	case d.sel.readOnly:
		return errReadOnly
	}
	uids, missing := d.sel.uidsOf(list)
	if err := d.sel.box.Change(ctx, uids, args.change()); err != nil {
		return err
	}
	for _, t := range list {
		if err := d.confirm(t, args, isUID); err != nil {
			return err
		}
	}
	if missing {
		return errVanished
	}
	return nil
}

// confirm tells of the flags of a message after STORE, unless they are the ones that the client can expect.
func (d *dialog) confirm(t target, args storeArgs, isUID bool) error {
	m := d.sel.box.Find(t.uid)
	if m == nil {
		return nil
	}
	if args.silent && args.isDone(m) {
		d.sel.view[t.seq-1].modseq = m.ModSeq
		return nil
	}
	d.sel.view[t.seq-1].modseq = m.ModSeq
	return d.sendFlags(t.seq, m, isUID)
}

// isDone reports that the message has what was asked for; if not, somebody else changed it meanwhile.
func (s storeArgs) isDone(m *mailbox.Message) bool {
	for i := range len(s.flags.letters) {
		if m.Has(s.flags.letters[i]) == (s.sign == '-') {
			return false
		}
	}
	return !slices.ContainsFunc(s.flags.keywords, func(k string) bool { return m.HasKeyword(k) == (s.sign == '-') })
}

// expunge is RFC 3501 §6.4.3. The responses come with the reply.
func (d *dialog) expunge(ctx context.Context, _ *wire.Args) error {
	if d.sel.readOnly {
		return errReadOnly
	}
	_, err := d.sel.box.Expunge(ctx, d.sel.isDeleted)
	return err
}

// uidExpunge is "UID EXPUNGE" SP sequence-set (RFC 4315 §2.1).
func (d *dialog) uidExpunge(ctx context.Context, _ *wire.Args) error {
	p := d.args()
	set := p.numSet()
	if err := p.end(); err != nil {
		return err
	}
	if d.sel.readOnly {
		return errReadOnly
	}
	list, err := d.sel.targets(set, true)
	if err != nil {
		return err
	}
	wanted := make(map[uint32]bool, len(list))
	for _, t := range list {
		wanted[t.uid] = true
	}
	_, err = d.sel.box.Expunge(ctx, func(m *mailbox.Message) bool { return wanted[m.UID] && m.Has('T') })
	return err
}

// copySeq is "COPY" SP sequence-set SP mailbox (RFC 3501 §6.4.7).
func (d *dialog) copySeq(ctx context.Context, _ *wire.Args) error {
	return d.transfer(ctx, transfer{})
}

// copyUID is "UID COPY" (RFC 3501 §6.4.8).
func (d *dialog) copyUID(ctx context.Context, _ *wire.Args) error {
	return d.transfer(ctx, transfer{isUID: true})
}

// moveSeq is "MOVE" SP sequence-set SP mailbox (RFC 6851 §3.1).
func (d *dialog) moveSeq(ctx context.Context, _ *wire.Args) error {
	return d.transfer(ctx, transfer{move: true})
}

// moveUID is "UID MOVE" (RFC 6851 §3.2).
func (d *dialog) moveUID(ctx context.Context, _ *wire.Args) error {
	return d.transfer(ctx, transfer{move: true, isUID: true})
}

type transfer struct{ move, isUID bool }

func (d *dialog) transfer(ctx context.Context, kind transfer) error {
	p := d.args()
	set := p.numSet()
	p.sp()
	name := p.folder()
	if err := p.end(); err != nil {
		return err
	}
	list, err := d.sel.targets(set, kind.isUID)
	if err != nil {
		return err
	}
	if kind.move && d.sel.readOnly {
		return errReadOnly
	}
	box, err := d.target(ctx, name)
	if err != nil {
		return err
	}
	defer box.Close()
	uids, missing := d.sel.uidsOf(list)
	if missing && !kind.isUID {
		return errVanished
	}
	if kind.move {
		done, err := d.sel.box.Move(ctx, box, uids...)
		return errors.Join(d.sayMoved(copyUID(box, done)), err)
	}
	done, err := d.sel.box.Copy(ctx, box, uids...)
	if code := copyUID(box, done); err == nil && code != "" {
		return d.say(code, "Copied")
	}
	return err
}

// copyUID says where copies are (RFC 4315 §3); "" if there is none.
func copyUID(box *mailbox.Box, done mailbox.Copied) string {
	if len(done.From) == 0 || slices.Contains(done.To, 0) {
		return ""
	}
	return fmt.Sprintf("COPYUID %d %s %s", box.UIDValidity(), printSet(done.From), printSet(done.To))
}

// sayMoved comes before the EXPUNGE responses, and also when not all could be moved (RFC 6851 §4.3).
func (d *dialog) sayMoved(code string) error {
	if code == "" {
		return nil
	}
	return d.line("* OK [" + code + "] Moved")
}
