package mailbox

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// ownOrigin stands in the first line of an index that started without UIDs.
const ownOrigin = "own"

// foreign are the files of other IMAP servers that have UIDs. courierpop3dsizelist is not among them: its UIDs are those
// of POP3 alone.
var foreign = [...]struct {
	name  string
	parse func([]byte) (state, bool)
}{
	{"dovecot-uidlist", parseDovecot},
	{"courierimapuiddb", parseCourier},
}

const maxForeign = 1 << 30

// create makes an index where there is none, in memory; commit writes it. It takes UIDs over if another server left some
// and this is the first time.
func (b *Box) create() error {
	if b.st.validity != 0 {
		return ErrReset
	}
	st, found, err := b.takeOver()
	if err != nil {
		return err
	}
	validity, err := b.newValidity(st.validity)
	if err != nil {
		return err
	}
	if !found {
		st = state{origin: ownOrigin, next: 1}
	}
	st.validity = validity
	st.modseq = max(st.modseq, 1)
	b.st, b.whole, b.since = st, true, 0
	return nil
}

// startOver makes a new index because the UIDs are used up.
func (b *Box) startOver() error {
	validity, err := b.newValidity(0)
	if err != nil {
		return err
	}
	fresh := &Box{fsys: b.fsys, dir: b.dir, whole: true}
	fresh.st = state{validity: validity, origin: ownOrigin, next: 1, modseq: b.st.modseq}
	if err := fresh.compare(); err != nil {
		return err
	}
	err = fresh.commit()
	fresh.forget()
	if err != nil {
		return err
	}
	if b.since == 0 { // nobody has seen the old ones
		b.forget()
		b.st = state{}
		_, err := b.load()
		return err
	}
	return ErrReset
}

func (b *Box) takeOver() (st state, found bool, err error) {
	if b.wasMade() {
		return st, false, nil
	}
	for _, other := range foreign {
		data, err := vfs.ReadFile(b.fsys, b.path(other.name), maxForeign)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return st, false, err
		}
		if st, ok := other.parse(data); ok {
			st.origin = other.name
			return st, true, nil
		}
	}
	return st, false, nil
}

// parseDovecot reads dovecot-uidlist: "3 V<uidvalidity> N<next uid> ..." or "1 <uidvalidity> <next uid>", then
// "<uid> <fields> :<file name>" or "<uid> <file name>".
func parseDovecot(data []byte) (state, bool) {
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	head := strings.Fields(string(first))
	if len(head) == 3 && head[0] == "1" {
		return parseUIDList(head[1], head[2], rest, fileAfterBlank)
	}
	if len(head) < 3 || head[0] != "3" {
		return state{}, false
	}
	var validity, next string
	for _, field := range head[1:] {
		switch field[0] {
		case 'V':
			validity = field[1:]
		case 'N':
			next = field[1:]
		}
	}
	return parseUIDList(validity, next, rest, fileAfterColon)
}

// parseCourier reads courierimapuiddb: "1 <uidvalidity> <next uid>", then "<uid> <file name>".
func parseCourier(data []byte) (state, bool) {
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	head := strings.Fields(string(first))
	if len(head) != 3 || head[0] != "1" {
		return state{}, false
	}
	return parseUIDList(head[1], head[2], rest, fileAfterBlank)
}

func fileAfterBlank(fields string) (string, bool) { return fields, true }

func fileAfterColon(fields string) (string, bool) {
	if name, ok := strings.CutPrefix(fields, ":"); ok {
		return name, true
	}
	_, name, ok := strings.Cut(fields, " :")
	return name, ok
}

// maxForeignUID leaves room for more.
const maxForeignUID = 1 << 31

// parseUIDList reads the lines behind the first; those that make no sense are passed over.
func parseUIDList(validity, next string, lines []byte, file func(string) (string, bool)) (st state, ok bool) {
	v, verr := strconv.ParseUint(validity, 10, 32)
	n, nerr := strconv.ParseUint(next, 10, 32)
	if verr != nil || nerr != nil || v == 0 || v >= maxValidity || n > maxForeignUID {
		return state{}, false
	}
	st = state{validity: uint32(v), next: max(uint32(n), 1), modseq: 1}
	seen := map[string]bool{}
	for line := range bytes.Lines(lines) {
		number, fields, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		uid, err := strconv.ParseUint(number, 10, 32)
		name, ok := file(fields)
		if err != nil || !ok || uid == 0 || uid >= maxForeignUID {
			continue
		}
		m := Message{UID: uint32(uid), ModSeq: 1, Message: maildir.Message{Name: maildir.ParseName(name)}}
		if m.Base == "" || seen[m.Base] {
			continue
		}
		seen[m.Base] = true
		m.File = "cur/" + name
		st.msgs = append(st.msgs, m)
		st.next = max(st.next, m.UID+1)
	}
	slices.SortStableFunc(st.msgs, func(a, b Message) int { return cmp.Compare(a.UID, b.UID) })
	st.msgs = slices.CompactFunc(st.msgs, func(a, b Message) bool { return a.UID == b.UID })
	return st, true
}
