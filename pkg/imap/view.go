package imap

import (
	"slices"
	"strconv"
	"strings"

	"mailx/pkg/mailbox"
)

// selected is the mailbox of the session as the client knows it. Sequence number n is view[n-1], until an EXPUNGE response
// says otherwise.
type selected struct {
	box      *mailbox.Box
	readOnly bool
	view     []known
	recent   map[uint32]bool // \Recent in this session
	told     uint64          // HIGHESTMODSEQ that the client has seen all of
	behind   bool            // messages are gone of which the client was not told
}

// known is one message as the client was told of it.
type known struct {
	uid    uint32
	modseq uint64
}

// leave gives the mailbox back.
func (d *dialog) leave() {
	if d.sel != nil {
		d.sel.box.Close()
		d.sel = nil
	}
	d.resume = position{}
	if d.state == stateSelected {
		d.state = stateAuth
	}
}

// sync takes in what others did; in a session that may write it also takes what is new.
func (s *selected) sync(d *dialog) error {
	if !s.box.Changed() {
		return nil
	}
	if s.readOnly {
		return s.box.Sync(d.ctx)
	}
	taken, err := s.box.TakeNew(d.ctx)
	for _, uid := range taken {
		s.recent[uid] = true
	}
	return err
}

// mayExpunge reports whether EXPUNGE responses may come with a command (RFC 3501 §7.4.1).
func mayExpunge(verb string) bool {
	switch strings.ToUpper(verb) {
	case "FETCH", "STORE", "SEARCH":
		return false
	}
	return true
}

// update tells the client what changed in the mailbox. The error says that there is no such mailbox any more.
func (d *dialog) update(verb string) error {
	s := d.sel
	if s == nil || d.state != stateSelected {
		return nil
	}
	if err := s.sync(d); err != nil {
		if isLost(err) {
			return err
		}
		d.logCause("update", err)
	}
	if s.told == s.box.HighestModSeq() && !(s.behind && mayExpunge(verb)) {
		return nil
	}
	return d.tell(mayExpunge(verb), strings.HasPrefix(strings.ToUpper(verb), "UID "))
}

// tell compares what the client knows with what is there.
func (d *dialog) tell(expunge, withUID bool) error {
	s := d.sel
	s.behind = false
	msgs := s.box.Messages()
	kept := s.view[:0]
	at := 0
	for _, k := range s.view {
		for at < len(msgs) && msgs[at].UID < k.uid {
			at++
		}
		isThere := at < len(msgs) && msgs[at].UID == k.uid
		if !isThere && expunge {
			if err := d.line("* " + strconv.Itoa(len(kept)+1) + " EXPUNGE"); err != nil {
				return err
			}
			delete(s.recent, k.uid)
			continue
		}
		kept = append(kept, k)
		s.behind = s.behind || !isThere
	}
	s.view = kept
	if err := d.tellNew(); err != nil {
		return err
	}
	s.told = s.box.HighestModSeq()
	return d.tellFlags(withUID)
}

// tellNew tells of messages behind the last one.
func (d *dialog) tellNew() error {
	s := d.sel
	grown := false
	msgs := s.box.Messages()
	for i := s.firstUnknown(); i < len(msgs); i++ {
		s.view = append(s.view, known{msgs[i].UID, msgs[i].ModSeq})
		grown = true
	}
	if !grown {
		return nil
	}
	if err := d.line("* " + strconv.Itoa(len(s.view)) + " EXISTS"); err != nil {
		return err
	}
	return d.line("* " + strconv.Itoa(s.countRecent()) + " RECENT")
}

func (s *selected) firstUnknown() int {
	last := uint32(0)
	if len(s.view) > 0 {
		last = s.view[len(s.view)-1].uid
	}
	i, _ := slices.BinarySearchFunc(s.box.Messages(), last+1, func(m mailbox.Message, uid uint32) int {
		if m.UID < uid {
			return -1
		} else if m.UID > uid {
			return 1
		}
		return 0
	})
	return i
}

func (s *selected) countRecent() int {
	n := 0
	for _, k := range s.view {
		if s.isRecent(s.box.Find(k.uid), k.uid) {
			n++
		}
	}
	return n
}

// isRecent is for a message that may be gone (nil).
func (s *selected) isRecent(m *mailbox.Message, uid uint32) bool {
	return s.recent[uid] || s.readOnly && m != nil && m.New
}

// tellFlags tells of changed flags.
func (d *dialog) tellFlags(withUID bool) error {
	s := d.sel
	for i := range s.view {
		k := &s.view[i]
		m := s.box.Find(k.uid)
		if m == nil || m.ModSeq <= k.modseq {
			continue
		}
		k.modseq = m.ModSeq
		if err := d.sendFlags(i+1, m, withUID); err != nil {
			return err
		}
	}
	return nil
}

func (d *dialog) sendFlags(seq int, m *mailbox.Message, withUID bool) error {
	line := "* " + strconv.Itoa(seq) + " FETCH ("
	if withUID {
		line += "UID " + strconv.FormatUint(uint64(m.UID), 10) + " "
	}
	return d.line(line + "FLAGS " + d.sel.flags(m) + ")")
}

// flags prints the flags of a message.
func (s *selected) flags(m *mailbox.Message) string {
	var names []string
	if s.isRecent(m, m.UID) {
		names = append(names, `\Recent`)
	}
	for _, f := range flagLetters {
		if m.Has(f.letter) {
			names = append(names, f.name)
		}
	}
	return "(" + strings.Join(append(names, m.Keywords...), " ") + ")"
}

// target is one message that a command is about.
type target struct {
	seq int
	uid uint32
}

// targets gives the messages of a set, of sequence numbers or of UIDs. A sequence number that there is not is an error
// (RFC 3501 §9, seq-number); a UID that there is not is passed over (§6.4.8).
func (s *selected) targets(set numSet, isUID bool) ([]target, error) {
	last := uint32(len(s.view))
	if isUID && last > 0 {
		last = s.view[last-1].uid
	}
	resolved := set.resolve(last)
	if !isUID && len(resolved) > 0 && (resolved[0].lo == 0 || resolved[len(resolved)-1].hi > last) {
		return nil, badSyntax("sequence number of a message")
	}
	var list []target
	for _, r := range resolved {
		from, to := int(r.lo)-1, int(r.hi)
		if isUID {
			from = s.indexOf(r.lo)
			to = s.indexOf(r.hi)
			if to < len(s.view) && s.view[to].uid == r.hi {
				to++
			}
		}
		for i := max(from, 0); i < to; i++ {
			list = append(list, target{i + 1, s.view[i].uid})
		}
	}
	return list, nil
}

// indexOf gives where in the view a UID is or would be.
func (s *selected) indexOf(uid uint32) int {
	i, _ := slices.BinarySearchFunc(s.view, uid, func(k known, uid uint32) int {
		if k.uid < uid {
			return -1
		} else if k.uid > uid {
			return 1
		}
		return 0
	})
	return i
}

// uidsOf gives the UIDs of those that are still there, and whether some are not.
func (s *selected) uidsOf(list []target) (uids []uint32, missing bool) {
	for _, t := range list {
		if s.box.Find(t.uid) == nil {
			missing = true
			continue
		}
		uids = append(uids, t.uid)
	}
	return uids, missing
}

// printSet prints UIDs, in their order, as a set with ranges.
func printSet(uids []uint32) string {
	var b []byte
	for i := 0; i < len(uids); {
		j := i
		for j+1 < len(uids) && uids[j+1] == uids[j]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(uids[i]), 10)
		if j > i {
			b = strconv.AppendUint(append(b, ':'), uint64(uids[j]), 10)
		}
		i = j + 1
	}
	return string(b)
}
