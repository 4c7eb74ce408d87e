package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"sync"
	"syscall"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// buffers are shared by all deliveries: most messages fit into one and are written by one system call.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// Delivery is one message on its way into one or more Maildirs. End it with Commit or Abort. It is not safe for
// concurrent use.
type Delivery struct {
	dir    *Dir
	also   []*Dir
	notOwn bool // dir only lends its tmp/, see Leave
	isCopy bool // of a delivery that sees to the quotas
	inCur  bool
	flags  string
	mtime  time.Time

	hint string // what Hint has put into the name

	tmp  string // path of the file in tmp/
	name string // in the end; the sizes are in it from Commit on
	full bool   // they are
	file vfs.File
	buf  *[64 << 10]byte
	used int // octets in buf
	octets
	err  error
	done bool
	made []madeName
}

// madeName is a name in new/ or cur/ that Commit made.
type madeName struct {
	fsys vfs.FS
	name string
}

func (m madeName) syncDir() error { return m.fsys.SyncDir(path.Dir(m.name)) }

// octets counts a message: as it is on disk, and as it is on the wire, where every LF without a CR gets one.
type octets struct {
	size, wire int64
	cr, lf     bool // the last octet was CR, LF
}

func (o *octets) add(p []byte) {
	if len(p) == 0 {
		return
	}
	bare := bytes.Count(p, []byte{'\n'})
	if o.cr && p[0] == '\n' {
		bare--
	}
	if bytes.IndexByte(p, '\r') >= 0 {
		bare -= bytes.Count(p, []byte("\r\n"))
	}
	o.size += int64(len(p))
	o.wire += int64(len(p) + bare)
	o.cr, o.lf = p[len(p)-1] == '\r', p[len(p)-1] == '\n'
}

// isOpen reports a last line without an end.
func (o *octets) isOpen() bool { return o.size > 0 && !o.lf }

// Deliver starts a delivery: a new file in tmp/. Errors are temporary; 4.3.1 says that the disk is full, or has less
// than Reserve.
func (d *Dir) Deliver() (*Delivery, error) {
	if err := d.checkReserve(); err != nil {
		return nil, err
	}
	name := unique(d.now(), d.host())
	w := &Delivery{dir: d, name: name, tmp: d.join("tmp/" + name)}
	if err := w.create(); err != nil {
		return nil, vfs.Classify(err)
	}
	return w, nil
}

func (w *Delivery) create() (err error) {
	fsys := w.dir.fsys
	w.file, err = fsys.Create(w.tmp)
	if errors.Is(err, fs.ErrNotExist) {
		if err := w.dir.complete(nil); err != nil {
			return err
		}
		w.file, err = fsys.Create(w.tmp)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		fsys.Remove(w.tmp) // it may be there all the same, if a server's reply was lost
	}
	return err
}

func (d *Dir) checkReserve() error {
	if d.Reserve == 0 {
		return nil
	}
	free, err := d.fsys.Free(d.path)
	if err == nil && free < d.Reserve {
		err = mail.Temporaryf(3, 1, "Insufficient system storage: %w",
			fmt.Errorf("%s: %d octets free, %d are the reserve", d.path, free, d.Reserve))
	}
	return vfs.Classify(err)
}

// Write adds to the message, which is in local form. An error sticks: it comes again from every later Write and from
// Commit.
func (w *Delivery) Write(p []byte) (int, error) {
	if w.done {
		return 0, fs.ErrClosed
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.file == nil {
		return 0, fs.ErrClosed // by Finish
	}
	if w.buf == nil {
		w.buf = buffers.Get().(*[64 << 10]byte)
	}
	w.add(p)
	for rest := p; len(rest) > 0; {
		if w.used == 0 && len(rest) >= len(w.buf) {
			w.send(rest)
			rest = nil
		} else {
			n := copy(w.buf[w.used:], rest)
			w.used += n
			rest = rest[n:]
		}
		if w.used == len(w.buf) {
			w.flush()
		}
		if w.err != nil {
			return 0, w.err
		}
	}
	return len(p), nil
}

func (w *Delivery) flush() {
	if w.buf == nil {
		return
	}
	w.send(w.buf[:w.used])
	w.used = 0
}

func (w *Delivery) send(p []byte) {
	if w.err != nil || len(p) == 0 {
		return
	}
	_, err := w.file.Write(p)
	w.err = vfs.Classify(err)
}

// Also names another Maildir for the same message: it gets another link to the same file, or a copy if it is on
// another file system. Naming one twice changes nothing.
func (w *Delivery) Also(d *Dir) {
	if d.path == w.dir.path {
		return
	}
	for _, other := range w.also {
		if d.path == other.path {
			return
		}
	}
	w.also = append(w.also, d)
}

// Keep delivers into cur/ with these flags rather than into new/: the message is not news.
func (w *Delivery) Keep(flags string) { w.inCur, w.flags = true, flags }

// SetTime sets the modification time of the file, which is the internal date of the message (RFC 9051 §2.3.3).
func (w *Delivery) SetTime(t time.Time) { w.mtime = t }

// Hint puts a field of the caller's own behind the sizes in the name, ",KEY=VALUE", if there is room and the value is of ASCII letters,
// digits, "." and "-" alone: for what is to be known from a listing. HintIn reads it.
func (w *Delivery) Hint(key byte, value string) {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c|0x20 < 'a' || c|0x20 > 'z' {
			if (c < '0' || c > '9') && c != '.' && c != '-' {
				return
			}
		}
	}
	if value != "" {
		w.hint = "," + string(key) + "=" + value
	}
}

// Name gives the name of the message without flags. From Commit on it has the sizes.
func (w *Delivery) Name() string { return w.name }

// Message gives the message as it stands in the Maildir (the first one, if there are several) after Commit, or, after the last
// Write, as it will stand there.
func (w *Delivery) Message() Message { return newMessage(w.final()) }

// final is the path of the message in each Maildir.
func (w *Delivery) final() string {
	if !w.inCur {
		return "new/" + w.withSizes()
	}
	return "cur/" + ParseName(w.withSizes()).withFlags(w.flags).String()
}

// Flush writes what there is to the file, and gives the memory back that a delivery takes while it is written to: for callers
// who have many of them. An error sticks.
func (w *Delivery) Flush() error {
	w.flush()
	w.release()
	return w.err
}

// Text gives what was written so far, to be read before Finish, Commit or Abort.
func (w *Delivery) Text() (io.ReaderAt, error) {
	if w.flush(); w.err != nil {
		return nil, w.err
	}
	if w.file == nil {
		return nil, fs.ErrClosed
	}
	return w.file, nil
}

// Finish makes the text durable, and leaves little more to Commit than to give it its names: for callers who commit many
// messages together. Nothing can be written after it. An error sticks, as that of Write does.
func (w *Delivery) Finish() error {
	if w.done {
		return fs.ErrClosed
	}
	w.Flush()
	w.err = w.finishFile()
	return w.err
}

// Commit makes the message durable and visible in every Maildir. After nil it survives the loss of power. After an
// error (temporary, unless it is that of an earlier Write, or 5.2.3) nothing of it is left in any Maildir, as far as the
// file system lets us remove it. A mailbox over its quota is 4.2.2, and then no Maildir gets the message: see Leave.
func (w *Delivery) Commit() error {
	if err := w.commitNames(); err != nil {
		return err
	}
	return w.commitDirs(madeName.syncDir)
}

// CommitAll is Commit for many messages, which get their names one after the other and then share the syncs of directories. It
// gives the error of each. Those that are not finished are, one by one.
func CommitAll(all []*Delivery) []error {
	errs := make([]error, len(all))
	for i, w := range all {
		errs[i] = w.commitNames()
	}
	synced := map[string]error{}
	once := func(m madeName) error {
		dir := path.Dir(m.name)
		err, known := synced[dir]
		if !known {
			err = m.syncDir()
			synced[dir] = err
		}
		return err
	}
	for i, w := range all {
		if errs[i] == nil {
			errs[i] = w.commitDirs(once)
		}
	}
	return errs
}

// commitNames is Commit but for the directories.
func (w *Delivery) commitNames() error {
	if w.done {
		return fs.ErrClosed
	}
	if !wellFormed(w.flags) && w.err == nil {
		w.err = fmt.Errorf("bad flags %q", w.flags)
	}
	w.Flush() // others write while we wait for the disk
	if w.err == nil {
		w.err = w.room()
	}
	w.name, w.full = w.withSizes(), true
	if err := w.finishFile(); err != nil {
		w.Abort()
		return err
	}
	w.done = true
	if err := w.publish(); err != nil {
		w.retract()
		return vfs.Classify(err)
	}
	w.account(1)
	return nil
}

// withSizes is the whole name.
func (w *Delivery) withSizes() string {
	if w.full {
		return w.name
	}
	name := w.name + ",S=" + strconv.FormatInt(w.size, 10)
	if !w.isOpen() { // else IMAP, which gives the octets, and POP3, which ends the line, count differently
		name += ",W=" + strconv.FormatInt(w.wire, 10)
	}
	if len(name)+len(w.hint) <= maxBase {
		name += w.hint
	}
	return name
}

// commitDirs makes the names durable.
func (w *Delivery) commitDirs(sync func(madeName) error) error {
	for _, m := range w.made {
		if err := sync(m); err != nil {
			w.retract()
			w.account(-1)
			return vfs.Classify(err)
		}
	}
	return nil
}

// finishFile makes the data as durable as any name that the file is given from now on, with its time, and closes it.
func (w *Delivery) finishFile() error {
	if w.err != nil || w.file == nil {
		return w.err
	}
	if !w.mtime.IsZero() {
		if err := w.dir.fsys.Chtimes(w.tmp, w.mtime); err != nil {
			return vfs.Classify(err)
		}
	}
	err := w.file.Order()
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	w.file = nil
	return vfs.Classify(err)
}

// publish gives the file its names. Its own Maildir is last, because that takes the name in tmp/ away.
func (w *Delivery) publish() error {
	for _, d := range w.also {
		if err := w.linkInto(d); err != nil {
			return err
		}
	}
	return w.endOwn()
}

func (w *Delivery) linkInto(d *Dir) error {
	name := d.join(w.final())
	err := d.fsys.Link(w.tmp, name)
	switch {
	case cannotLink(err):
		return w.copyInto(d)
	case errors.Is(err, fs.ErrExist) && w.isOurs(name):
		return nil // two paths lead to one Maildir
	}
	w.note(d, name, err)
	return err
}

// endOwn takes the name in tmp/ away.
func (w *Delivery) endOwn() error {
	if w.notOwn {
		return w.dir.fsys.Remove(w.tmp)
	}
	return w.moveIntoOwn()
}

func (w *Delivery) moveIntoOwn() error {
	name := w.dir.join(w.final())
	err := w.dir.fsys.Move(w.tmp, name)
	if errors.Is(err, fs.ErrExist) && w.isOurs(name) {
		return w.dir.fsys.Remove(w.tmp)
	}
	w.note(w.dir, name, err)
	return err
}

// note keeps a name for retract, even if the call that made it says that it did not: a server on a network may have
// done it, and the reply was lost. A name that was there before is not ours.
func (w *Delivery) note(d *Dir, name string, err error) {
	if !errors.Is(err, fs.ErrExist) {
		w.made = append(w.made, madeName{d.fsys, name})
	}
}

// cannotLink reports another file system, one without links, or too many of them.
func cannotLink(err error) bool {
	for _, errno := range [...]syscall.Errno{syscall.EXDEV, syscall.EPERM, syscall.EMLINK, syscall.EOPNOTSUPP} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (w *Delivery) isOurs(name string) bool {
	a, err := w.dir.fsys.Lstat(w.tmp)
	if err != nil {
		return false
	}
	b, err := w.dir.fsys.Lstat(name)
	return err == nil && vfs.SameFile(a, b)
}

// copyInto delivers the message to d as a file of its own.
func (w *Delivery) copyInto(d *Dir) error {
	from, err := w.dir.fsys.Open(w.tmp)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := d.Deliver()
	if err != nil {
		return err
	}
	to.inCur, to.flags, to.mtime, to.isCopy = w.inCur, w.flags, w.mtime, true
	if _, err := io.Copy(to, from); err != nil {
		to.Abort()
		return err
	}
	if err := to.Commit(); err != nil {
		return err
	}
	w.made = append(w.made, to.made...)
	return nil
}

// retract removes every name that there may be. The caller has an error to report; that of a removal adds nothing.
func (w *Delivery) retract() {
	for _, m := range w.made {
		m.fsys.Remove(m.name)
	}
	w.dir.fsys.Remove(w.tmp)
}

// Abort drops the message. It may be called again, and after Commit it does nothing.
func (w *Delivery) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	w.release()
	if w.file != nil {
		w.file.Close() // what was not written is of no interest
		w.file = nil
	}
	err := w.dir.fsys.Remove(w.tmp)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return vfs.Classify(err)
}

func (w *Delivery) release() {
	if w.buf != nil {
		buffers.Put(w.buf)
		w.buf = nil
	}
}
