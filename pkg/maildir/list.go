package maildir

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"mailx/pkg/vfs"
)

// Message is one message as it was seen in a Maildir.
type Message struct {
	Name
	File string // path in the Maildir: "new/..." or "cur/..."
	New  bool   // in new/: no program that reads mail has seen it
}

func newMessage(file string) Message {
	return Message{Name: ParseName(file[len("new/"):]), File: file, New: file[0] == 'n'}
}

// List gives all messages in order of delivery: by the time in the name, then by the rest of it, so that the order is
// the same for everybody. It opens no message and looks at none. A message that another program moves from new/ to
// cur/ or marks meanwhile appears once.
func (d *Dir) List() ([]Message, error) {
	list, _, err := d.list()
	return list, err
}

// list also gives the stamp (see look) that the directories have for as long as the listing is right; "" where none tells.
func (d *Dir) list() (list []Message, stamp string, err error) {
	before := d.look()
	if list := d.recall(before.stamp); list != nil {
		return list, before.stamp, nil
	}
	k := d.newKeeper(before)
	if list, err = d.scanBoth(); err != nil {
		k.drop()
		return nil, "", vfs.Classify(err)
	}
	list = sorted(list)
	if k != nil {
		stamp = k.stamp
	}
	k.keep(list)
	return list, stamp, nil
}

// scanBoth reads first new/, then cur/: a message on its way is seen twice rather than not at all.
func (d *Dir) scanBoth() ([]Message, error) {
	list, err := d.scan(nil, "new")
	if err != nil {
		return nil, err
	}
	return d.scanStable(list, "cur")
}

func (d *Dir) scan(list []Message, sub string) ([]Message, error) {
	names, err := d.fsys.ReadDirNames(d.join(sub))
	if err != nil {
		return nil, err
	}
	list = slices.Grow(list, len(names))
	for _, file := range below(sub, names) {
		if file[len("new/")] != '.' {
			list = append(list, newMessage(file))
		}
	}
	return list, nil
}

// below puts "new/" or "cur/" before each name. All of them share one string, as a hundred thousand would cost too much.
func below(sub string, names []string) []string {
	size := 0
	for _, name := range names {
		size += len(sub) + 1 + len(name)
	}
	var b strings.Builder
	b.Grow(size)
	for _, name := range names {
		b.WriteString(sub)
		b.WriteByte('/')
		b.WriteString(name)
	}
	all, files := b.String(), make([]string, len(names))
	for i, name := range names {
		n := len(sub) + 1 + len(name)
		files[i], all = all[:n], all[n:]
	}
	return files
}

// scanStable reads a directory once more if it changed while it was read: an entry that is renamed during that time may
// be seen under both names or under none.
func (d *Dir) scanStable(list []Message, sub string) ([]Message, error) {
	before, err := d.fsys.Lstat(d.join(sub))
	if err != nil {
		return nil, err
	}
	if list, err = d.scan(list, sub); err != nil {
		return nil, err
	}
	after, err := d.fsys.Lstat(d.join(sub))
	if err != nil {
		return nil, err
	}
	if after.ModTime().Equal(before.ModTime()) {
		return list, nil
	}
	return d.scan(list, sub)
}

// sorted puts messages in order and drops all but the last sighting of each.
func sorted(list []Message) []Message {
	type key struct {
		rough uint64
		at    int // index in list
	}
	keys := make([]key, len(list))
	for i := range list {
		keys[i] = key{arrivalOf(list[i].Base).rough(), i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.rough != b.rough {
			return cmp.Compare(a.rough, b.rough)
		}
		return cmp.Or(compareArrival(list[a.at].Base, list[b.at].Base), cmp.Compare(a.at, b.at))
	})
	messages := make([]Message, 0, len(list))
	for i, k := range keys {
		if i+1 < len(keys) && keys[i+1].rough == k.rough && list[keys[i+1].at].Base == list[k.at].Base {
			continue
		}
		messages = append(messages, list[k.at])
	}
	return messages
}

// searches bounds how often a message is looked for that others keep renaming.
const searches = 4

// at calls do with the message where it was, and where it is now if it is not there. The error wraps fs.ErrNotExist if
// it is gone.
func (d *Dir) at(m Message, do func(Message) error) error {
	err := do(m)
	if errors.Is(err, fs.ErrNotExist) {
		if again, ok := d.remembered(m); ok {
			err = do(again)
		}
	}
	for i := 0; errors.Is(err, fs.ErrNotExist) && i < searches; i++ {
		found, ok, serr := d.search(m)
		if serr != nil {
			return vfs.Classify(serr)
		}
		if !ok {
			break
		}
		err = do(found)
	}
	return vfs.Classify(err)
}

// remembered is where the last search saw the message, if that is another place.
func (d *Dir) remembered(m Message) (Message, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	again, ok := d.moved[m.Base]
	return again, ok && again.File != m.File
}

// search reads the Maildir, and remembers all of it: when one message is not where it was, many may not be. It is not read
// again while it is sure not to have changed: a thousand messages that are gone cost one listing.
func (d *Dir) search(m Message) (found Message, ok bool, err error) {
	if now := d.look(); now.stamp != "" {
		d.mu.Lock()
		known := d.searched == now.stamp
		found, ok = d.moved[m.Base]
		d.mu.Unlock()
		if known {
			return found, ok, nil
		}
	}
	list, stamp, err := d.list()
	if err != nil {
		return Message{}, false, err
	}
	moved := make(map[string]Message, len(list))
	for _, seen := range list {
		moved[seen.Base] = seen
	}
	found, ok = moved[m.Base]
	d.mu.Lock()
	d.moved, d.searched = moved, stamp
	d.mu.Unlock()
	return found, ok, nil
}

// OpenMessage opens a message for reading, also if another program has moved or marked it. The error wraps
// fs.ErrNotExist if it was removed.
func (d *Dir) OpenMessage(m Message) (f vfs.File, err error) {
	err = d.at(m, func(m Message) (err error) {
		f, err = d.fsys.Open(d.join(m.File))
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Sizes gives the octets of a message on disk and on the wire, from its name if that says, else by reading it. A last line that
// has no end gets one on the wire, as in all protocols that send lines.
func (d *Dir) Sizes(m Message) (size, wire int64, err error) {
	if m.Size >= 0 && m.Wire >= 0 {
		return m.Size, m.Wire, nil
	}
	f, err := d.OpenMessage(m)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	o, err := measure(f)
	if o.isOpen() {
		o.wire += int64(len("\r\n"))
	}
	return o.size, o.wire, vfs.Classify(err)
}

func measure(r io.Reader) (o octets, err error) {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		o.add(buf[:n])
		if err == io.EOF {
			return o, nil
		}
		if err != nil {
			return o, err
		}
	}
}
