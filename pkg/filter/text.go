package filter

import (
	"io"
	"os"
	"slices"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

// maxInMemory is how much of a text is kept in memory, in octets.
const maxInMemory = 256 << 10

// Store is where texts go.
type Store struct {
	Dir     string // for what is too large for memory; it is made if it is not there
	MaxSize int64  // octets of a message as filters may leave it; 0: no limit
}

// NewText starts a message that comes from a peer, whose size the server has limited.
func (s Store) NewText() *Text { return &Text{dir: s.Dir} }

// Text is a message in local form: written first, then read, as often as one likes. An error of Write sticks.
type Text struct {
	dir  string
	max  int64 // 0: none
	mem  []byte
	file *os.File
	at   io.ReaderAt // of somebody else
	size int64
	err  error
}

// TextOf is a text that is stored already. It can't be written.
func TextOf(at io.ReaderAt, size int64) *Text { return &Text{at: at, size: size} }

// Size is the number of octets.
func (t *Text) Size() int64 { return t.size }

// Err is the error of Write.
func (t *Text) Err() error { return t.err }

// Reader reads the text from its beginning, independently of other readers.
func (t *Text) Reader() *io.SectionReader { return io.NewSectionReader(t, 0, t.size) }

// ReadAt reads what has been written.
func (t *Text) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case t.at != nil:
		return t.at.ReadAt(p, off)
	case t.file != nil:
		return t.file.ReadAt(p, off)
	case off >= int64(len(t.mem)):
		return 0, io.EOF
	}
	n := copy(p, t.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write adds to the text. Errors have a status: 4.3.1 for a full disk, 4.3.0 for a text that is too large, which only one
// of a filter can be.
func (t *Text) Write(p []byte) (int, error) {
	if t.err == nil {
		t.err = t.write(p)
	}
	if t.err != nil {
		return 0, t.err
	}
	return len(p), nil
}

func (t *Text) write(p []byte) error {
	if t.max > 0 && t.size+int64(len(p)) > t.max {
		return mail.Temporaryf(3, 0, "A filter made the message larger than %d octets", t.max)
	}
	if t.file == nil && len(t.mem)+len(p) <= maxInMemory {
		t.mem = append(t.mem, p...)
		t.size += int64(len(p))
		return nil
	}
	if err := t.toFile(); err != nil {
		return vfs.Classify(err)
	}
	n, err := t.file.Write(p)
	t.size += int64(n)
	return vfs.Classify(err)
}

// toFile moves the text into a file without a name, of which nothing is left whatever happens to this process.
func (t *Text) toFile() error {
	if t.file != nil {
		return nil
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(t.dir, "held-*")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	t.file = f
	_, err = f.Write(t.mem)
	t.mem = nil
	return err
}

// Close frees what the text takes.
func (t *Text) Close() error {
	t.mem = nil
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// Message is what filters judge and change.
type Message struct {
	Peer *smtp.Peer // nil: it did not come over a connection
	// Env is the envelope of the message as it will be delivered. A filter may change Sender and Rcpts; the slice is its own.
	Env  mail.Envelope
	Text *Text
	// Quarantine says why a person should look at the message before it goes anywhere; empty: no need.
	Quarantine string

	store  Store
	edited *[]*Text // to be closed
	before *Text    // the text before Deliver changed it; nil if it did not
}

// NewMessage makes a message for filters. Close it when it is delivered.
func NewMessage(s Store, env *mail.Envelope, text *Text) *Message {
	m := &Message{Env: *env, Text: text, store: s, edited: new([]*Text)}
	m.Env.Rcpts = slices.Clone(env.Rcpts)
	return m
}

// NewText starts a text that may take the place of the message's: set Text when it is complete.
func (m *Message) NewText() *Text {
	t := m.store.NewText()
	t.max = m.store.MaxSize
	*m.edited = append(*m.edited, t)
	return t
}

// Close frees the texts that NewText made.
func (m *Message) Close() {
	for _, t := range *m.edited {
		t.Close()
	}
	*m.edited = nil
}

// part is the message for some of its recipients.
func (m *Message) part(rcpts []mail.Recipient) *Message {
	p := *m
	p.Env.Rcpts = rcpts
	return &p
}
