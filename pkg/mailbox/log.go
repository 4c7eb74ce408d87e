package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// The index is a log: changes are appended and synced, so that one new message among 100,000 costs one short line. When
// most lines are history, the file is replaced by one with the state alone. A line is
//
//	<crc32 of the rest, 8 hex digits> SP <kind> SP <uid> SP <modseq> [SP <text>] LF
//
//	V  first line: UIDVALIDITY, version of the format, "own" or the file that the UIDs were taken over from
//	N  UIDNEXT, HIGHESTMODSEQ
//	U  a message gets this UID: its flags ("-" for none), the unique part of its name, with "%", LF and CR escaped
//	F  it has these flags now
//	K  it has these keywords now
//	X  it is gone
//
// Lines that can't be read are passed over. UIDNEXT moves on by as many UIDs as they may have held, so none of those
// is given out again. Without a good first line the index is lost, see create.
const (
	logName  = "mailx-uids"
	lockName = "mailx-uids.lock"
	tmpPart  = "next" // of the name of a file that will replace another; only under its lock
	version  = 1
)

// Bounds of an index.
const (
	maxUID      = 1<<32 - 2
	maxLog      = 4 << 30 // octets
	minRecord   = 15      // octets of a line; no line is shorter
	maxKeywords = 64      // of one message
)

// record is one line.
type record struct {
	kind   byte
	uid    uint32
	modseq uint64
	text   string
}

func (r record) append(b []byte) []byte {
	start := len(b)
	b = append(b, "00000000 "...)
	b = append(b, r.kind, ' ')
	b = strconv.AppendUint(b, uint64(r.uid), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.modseq, 10)
	if r.text != "" {
		b = append(append(b, ' '), r.text...)
	}
	sum := fmt.Sprintf("%08x", crc32.ChecksumIEEE(b[start+9:]))
	copy(b[start:], sum)
	return append(b, '\n')
}

// parseRecord takes a line without its LF.
func parseRecord(line []byte) (r record, ok bool) {
	if len(line) < minRecord-1 || line[8] != ' ' || line[10] != ' ' {
		return r, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(line[9:]) {
		return r, false
	}
	r.kind = line[9]
	uid, rest, _ := strings.Cut(string(line[11:]), " ")
	modseq, text, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil || n == 0 || n > maxUID+1 {
		return r, false
	}
	r.uid, r.text = uint32(n), text
	r.modseq, err = strconv.ParseUint(modseq, 10, 63)
	return r, err == nil
}

// state is what the records come to.
type state struct {
	validity uint32
	origin   string
	next     uint32
	modseq   uint64
	msgs     []Message // by UID; in reading, those without a Base are gone
}

func (s *state) find(uid uint32) *Message {
	i, ok := slices.BinarySearchFunc(s.msgs, uid, func(m Message, uid uint32) int { return compareUID(m.UID, uid) })
	if !ok {
		return nil
	}
	return &s.msgs[i]
}

func compareUID(a, b uint32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// apply takes one record; one that makes no sense changes nothing.
func (s *state) apply(r record) {
	s.modseq = max(s.modseq, r.modseq)
	if r.kind == 'N' {
		s.next = max(s.next, r.uid)
		return
	}
	if r.kind == 'U' {
		s.assign(r)
		return
	}
	m := s.find(r.uid)
	if m == nil || m.Base == "" {
		return
	}
	m.ModSeq = r.modseq
	switch r.kind {
	case 'F':
		m.Flags = strings.Trim(r.text, "-")
	case 'K':
		m.Keywords = strings.Fields(r.text)
	case 'X':
		m.Base = ""
	}
}

func (s *state) assign(r record) {
	flags, base, ok := strings.Cut(r.text, " ")
	base = unescape(base)
	if !ok || base == "" || r.uid > maxUID || len(s.msgs) > 0 && s.msgs[len(s.msgs)-1].UID >= r.uid {
		return
	}
	m := Message{UID: r.uid, ModSeq: r.modseq}
	m.Name = maildir.ParseName(base)
	m.Flags = strings.Trim(flags, "-")
	m.File = "cur/" + base // until a listing says better
	s.msgs = append(s.msgs, m)
	s.next = max(s.next, r.uid+1)
}

// dropGone takes out those that are gone.
func (s *state) dropGone() {
	s.msgs = slices.DeleteFunc(s.msgs, func(m Message) bool { return m.Base == "" })
}

// read applies whole lines. It gives the octets that were lines, the number of lines, and the octets among them that
// could not be read.
func (s *state) read(data []byte) (used, lines, bad int) {
	for {
		i := bytes.IndexByte(data[used:], '\n')
		if i < 0 {
			return used, lines, bad
		}
		r, ok := parseRecord(data[used : used+i])
		if ok {
			s.apply(r)
		} else {
			bad += i + 1
		}
		used += i + 1
		lines++
	}
}

// skip passes over the UIDs that unreadable octets may have held.
func (s *state) skip(bad int) {
	if bad > 0 {
		s.next = uint32(min(uint64(s.next)+uint64(bad/minRecord)+1, maxUID+1))
	}
}

// readFirst reads the first line.
func (s *state) readFirst(data []byte) (used int, ok bool) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return 0, false
	}
	r, ok := parseRecord(data[:i])
	if !ok || r.kind != 'V' || r.modseq != version {
		return 0, false
	}
	s.validity, s.origin, s.next = r.uid, r.text, 1
	return i + 1, true
}

func uidText(m *Message) string { return flagText(m.Flags) + " " + escape(m.Base) }

func flagText(flags string) string {
	if flags == "" {
		return "-"
	}
	return strings.ReplaceAll(flags, " ", "")
}

func escape(base string) string {
	if !strings.ContainsAny(base, "%\n\r") {
		return base
	}
	return strings.NewReplacer("%", "%25", "\n", "%0A", "\r", "%0D").Replace(base)
}

func unescape(base string) string {
	if !strings.Contains(base, "%") {
		return base
	}
	return strings.NewReplacer("%25", "%", "%0A", "\n", "%0D", "\r").Replace(base)
}

// record makes a change pending.
func (b *Box) record(kind byte, uid uint32, modseq uint64, text string) {
	if kind == 'F' {
		text = flagText(text)
	}
	b.pending = record{kind, uid, modseq, text}.append(b.pending)
}

func (b *Box) path(name string) string { return b.dir.Path() + "/" + name }

// logIsCurrent reports that the file is the one that was read, and no longer than it was.
func (b *Box) logIsCurrent() bool {
	if b.log == nil {
		return false
	}
	named, err := b.fsys.Lstat(b.path(logName))
	if err != nil {
		return false
	}
	open, err := b.log.Stat()
	return err == nil && vfs.SameFile(named, open) && named.Size() == b.at
}

// load reads what others wrote into the index, all of it if it was replaced, and makes one if there is none. It reports
// whether there was something new.
func (b *Box) load() (grown bool, err error) {
	if b.logIsCurrent() {
		return false, nil
	}
	if b.log != nil && b.isReplaced() {
		b.forget()
	}
	if b.log == nil {
		return true, b.loadAll()
	}
	if err := b.log.Sync(); err != nil { // whoever wrote it may have been killed before he could
		return false, err
	}
	data, err := readFrom(b.log, b.at)
	if err != nil {
		return false, err
	}
	used, lines, bad := b.st.read(data)
	b.st.dropGone()
	b.st.skip(bad)
	b.at, b.lines, b.since = b.at+int64(used), b.lines+lines, b.st.next
	b.torn, b.whole = used < len(data), b.whole || bad > 0
	return true, nil
}

// openAppend opens a file that is there also when the disk is full, then for reading.
func openAppend(fsys vfs.FS, name string) (vfs.File, error) {
	f, err := fsys.OpenAppend(name)
	if isFull(err) {
		if r, rerr := fsys.Open(name); rerr == nil {
			return r, nil
		}
	}
	return f, err
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// isReplaced reports that the name leads to another file now, or that it became shorter.
func (b *Box) isReplaced() bool {
	named, err := b.fsys.Lstat(b.path(logName))
	if err != nil {
		return true
	}
	open, err := b.log.Stat()
	return err != nil || !vfs.SameFile(named, open) || named.Size() < b.at
}

// forget closes the file; the next load reads it from the start. What is known of messages stays until then.
func (b *Box) forget() {
	if b.log != nil {
		b.log.Close()
		b.log = nil
	}
	b.pending, b.whole, b.torn, b.seen = nil, false, false, listing{}
}

// loadAll reads the whole file.
func (b *Box) loadAll() error {
	if _, err := b.fsys.Lstat(b.path(logName)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return b.create()
		}
		return err
	}
	f, err := openAppend(b.fsys, b.path(logName))
	if err != nil {
		return err
	}
	var r reading
	if err = b.syncLog(f); err == nil {
		r, err = readLog(f)
	}
	if err != nil || r.st.validity == 0 {
		f.Close()
		if err == nil {
			err = b.create()
		}
		return err
	}
	if b.st.validity != 0 && b.st.validity != r.st.validity {
		f.Close()
		return ErrReset
	}
	keepPlaces(&r.st, &b.st)
	b.st, b.log, b.at, b.lines, b.since = r.st, f, r.used, r.lines, r.st.next
	b.torn, b.whole, b.distrust = r.used < r.size, r.bad > 0 || b.distrust, false
	return nil
}

// syncLog makes durable what somebody else has written: he may have been killed before he could.
func (b *Box) syncLog(f vfs.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return b.fsys.SyncDir(b.dir.Path())
}

// reading is what came of a whole file; sizes are in octets.
type reading struct {
	st         state
	used, size int64
	lines, bad int
}

// readLog gives the zero state for a file that can't be used.
func readLog(f vfs.File) (r reading, err error) {
	data, err := readFrom(f, 0)
	if err != nil {
		return r, err
	}
	first, ok := r.st.readFirst(data)
	if !ok {
		return reading{}, nil
	}
	used, lines, bad := r.st.read(data[first:])
	r.st.dropGone()
	r.st.skip(bad)
	r.used, r.size, r.lines, r.bad = int64(first+used), int64(len(data)), lines+1, bad
	return r, nil
}

// keepPlaces saves looking for files that have not moved.
func keepPlaces(st, old *state) {
	for i := range st.msgs {
		if m := old.find(st.msgs[i].UID); m != nil && m.Base == st.msgs[i].Base {
			flags := st.msgs[i].Flags
			st.msgs[i].Message = m.Message
			st.msgs[i].Flags = flags
		}
	}
}

func readFrom(f vfs.File, at int64) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxLog {
		return nil, fmt.Errorf("index of %d octets", fi.Size())
	}
	data := make([]byte, fi.Size()-at)
	n, err := f.ReadAt(data, at)
	if err == io.EOF {
		err = nil
	}
	return data[:n], err
}

// commit makes what is pending durable. If it can't, the messages that got UIDs in this round are unseen again, and the next
// round starts from what the file says.
func (b *Box) commit() error {
	if len(b.pending) == 0 && !b.whole {
		return nil
	}
	var err error
	if b.whole || b.log == nil || b.lines > 4096+4*len(b.st.msgs) {
		err = b.rewrite()
	} else {
		err = b.extend()
	}
	if err != nil {
		b.undo()
		return vfs.Classify(err)
	}
	b.lines += bytes.Count(b.pending, []byte{'\n'})
	b.pending, b.whole, b.since = b.pending[:0], false, b.st.next
	if cap(b.pending) > 64<<10 {
		b.pending = nil
	}
	return nil
}

// extend appends to the file. What is there after a failure was never promised; it is cut off if possible.
func (b *Box) extend() error {
	if b.torn {
		if err := b.log.Truncate(b.at); err != nil {
			return err
		}
		b.torn = false
	}
	_, err := b.log.Write(b.pending)
	if err == nil {
		err = b.log.Sync()
	}
	if err != nil {
		b.log.Truncate(b.at)
		return err
	}
	b.at += int64(len(b.pending))
	return nil
}

// rewrite replaces the file by the state alone.
func (b *Box) rewrite() error {
	name := b.path(logName)
	b.fsys.Remove(name + "." + tmpPart + ".tmp") // of somebody who was killed
	data := b.st.print()
	if err := vfs.WriteFile(b.fsys, name, tmpPart, data); err != nil {
		return err
	}
	f, err := b.fsys.OpenAppend(name)
	if err != nil {
		return err
	}
	if b.log != nil {
		b.log.Close()
	}
	b.log, b.at, b.torn = f, int64(len(data)), false
	b.lines, b.pending = bytes.Count(data, []byte{'\n'}), nil
	return nil
}

// print gives the file that has this state and no history.
func (s *state) print() []byte {
	b := make([]byte, 0, 128+len(s.msgs)*96)
	b = record{'V', s.validity, version, s.origin}.append(b)
	b = record{'N', s.next, s.modseq, ""}.append(b)
	for i := range s.msgs {
		m := &s.msgs[i]
		b = record{'U', m.UID, m.ModSeq, uidText(m)}.append(b)
		if len(m.Keywords) > 0 {
			b = record{'K', m.UID, m.ModSeq, strings.Join(m.Keywords, " ")}.append(b)
		}
	}
	return b
}

// undo hides the messages whose UIDs are not durable.
func (b *Box) undo() {
	if b.since == 0 {
		b.st = state{}
		b.forget()
		return
	}
	b.st.msgs = slices.DeleteFunc(b.st.msgs, func(m Message) bool { return m.UID >= b.since })
	b.st.next = b.since
	b.forget()
	b.distrust = true
}
