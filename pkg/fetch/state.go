package fetch

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Bounds of the state file.
const (
	maxState = 1 << 30 // octets
	slack    = 256     // lines out of date before it is written anew
)

// state is what an account remembers: the log in memory, and its end that is not written yet.
type state struct {
	fsys  vfs.FS
	name  string
	file  vfs.File
	ids   map[string]record
	lines int          // in the file
	tail  bytes.Buffer // lines to be appended
	added int          // lines in tail
	err   error        // of writing; sticks, since nobody knows what the file holds then
}

// record is the last line about a message.
type record struct {
	name  string // not empty: begun under that name in the Maildir
	done  int64  // Unix seconds
	print string // see printOf; empty: unknown
}

func (a *Account) openState() (*state, error) {
	s := &state{fsys: a.FS, name: a.path(".uidl"), ids: map[string]record{}}
	f, err := a.FS.OpenAppend(s.name)
	if err != nil {
		return nil, vfs.Classify(err)
	}
	s.file = f
	if err := s.load(); err != nil {
		f.Close()
		return nil, vfs.Classify(err)
	}
	if err := a.FS.SyncDir(a.State); err != nil { // for the name of a new file
		f.Close()
		return nil, vfs.Classify(err)
	}
	return s, nil
}

func (s *state) close() { s.file.Close() }

func (s *state) load() error {
	data, err := io.ReadAll(io.LimitReader(s.file, maxState+1))
	if err != nil {
		return err
	}
	if len(data) > maxState {
		return mail.Permanentf(3, 5, "State file %s is too large", s.name)
	}
	for line := range bytes.Lines(data) {
		s.lines++
		s.take(string(line))
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		s.tail.WriteByte('\n') // ends a torn line
	}
	return nil
}

// take reads one line; one that is not whole, but for its LF, says nothing.
func (s *state) take(line string) {
	sum, event, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if !ok || sum != checksum(event) {
		return
	}
	kind, rest, _ := strings.Cut(event, " ")
	first, id, _ := strings.Cut(rest, " ")
	switch kind {
	case "begin":
		s.ids[id] = record{name: first}
	case "done":
		if at, err := strconv.ParseInt(first, 10, 64); err == nil {
			s.ids[id] = record{done: at, print: s.ids[id].print}
		}
	case "print":
		if r, ok := s.ids[id]; ok {
			r.print = first
			s.ids[id] = r
		}
	case "gone":
		delete(s.ids, rest)
	}
}

func checksum(event string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(event))) }

func writeLine(b *bytes.Buffer, event string) { b.WriteString(checksum(event) + " " + event + "\n") }

func (s *state) add(event string) {
	writeLine(&s.tail, event)
	s.added++
}

func (s *state) begin(id, name string) {
	s.ids[id] = record{name: name}
	s.add("begin " + name + " " + id)
}

func (s *state) done(id string, at time.Time) {
	s.ids[id] = record{done: at.Unix(), print: s.ids[id].print}
	s.add(doneLine(id, at.Unix()))
}

func doneLine(id string, at int64) string { return "done " + strconv.FormatInt(at, 10) + " " + id }

// print is for a message that has been begun or is done.
func (s *state) print(id, print string) {
	r, ok := s.ids[id]
	if !ok || print == "" || r.print == print {
		return
	}
	r.print = print
	s.ids[id] = r
	s.add("print " + print + " " + id)
}

// dropBegun takes back whatever was begun.
func (s *state) dropBegun() {
	for id, r := range s.ids {
		if r.name != "" {
			s.drop(id)
		}
	}
}

// drop takes a begun message back: it is not in the Maildir.
func (s *state) drop(id string) {
	delete(s.ids, id)
	s.add("gone " + id)
}

func (s *state) isDone(id string) bool {
	_, ok := s.doneSince(id)
	return ok
}

func (s *state) doneSince(id string) (time.Time, bool) {
	r, ok := s.ids[id]
	return time.Unix(r.done, 0), ok && r.name == ""
}

// forgetOthers drops what the server no longer has.
func (s *state) forgetOthers(listed map[string]bool) {
	for id := range s.ids {
		if !listed[id] {
			s.drop(id)
		}
	}
}

// settle finds out about messages that a run began and did not see the end of. What is in the Maildir is made durable first.
func (s *state) settle(dir *maildir.Dir) error {
	open := map[string]string{} // name -> id
	for id, r := range s.ids {
		if r.name != "" {
			open[r.name] = id
		}
	}
	if len(open) == 0 {
		return nil
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	messages, err := dir.List()
	if err != nil {
		return vfs.Classify(err)
	}
	for _, m := range messages {
		name, _, _ := strings.Cut(m.Base, ",")
		if id, ok := open[name]; ok {
			delete(open, name)
			s.done(id, arrival(name))
		}
	}
	for _, id := range open {
		s.drop(id)
	}
	return nil
}

// arrival is when a message was fetched, from its name in the Maildir.
func arrival(name string) time.Time {
	digits, _, _ := strings.Cut(name, ".")
	sec, _ := strconv.ParseInt(digits, 10, 64)
	return time.Unix(sec, 0)
}

// sync appends what is new and makes it durable.
func (s *state) sync() error {
	if s.err != nil || s.tail.Len() == 0 {
		return s.err
	}
	_, err := s.file.Write(s.tail.Bytes())
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		s.err = vfs.Classify(err)
		return s.err
	}
	s.lines += s.added
	s.added = 0
	s.tail.Reset()
	return nil
}

// finish writes what is left, or the whole file anew if most of it is out of date.
func (s *state) finish() error {
	if s.err != nil || s.lines+s.added <= 3*len(s.ids)+slack {
		return s.sync()
	}
	var all bytes.Buffer
	for id, r := range s.ids {
		if r.name == "" {
			writeLine(&all, doneLine(id, r.done))
		} else {
			writeLine(&all, "begin "+r.name+" "+id)
		}
		if r.print != "" {
			writeLine(&all, "print "+r.print+" "+id)
		}
	}
	err := vfs.WriteFile(s.fsys, s.name, rand.Text(), all.Bytes())
	return vfs.Classify(err)
}
