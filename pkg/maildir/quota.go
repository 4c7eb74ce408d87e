package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// The quota of a mailbox is kept as Maildir++ says, so that Dovecot and Courier agree with us about it: in the Maildir
// of the inbox is a file "maildirsize". Its first line is the quota, "1000000S,200C"; each line after it has two numbers,
// octets and messages, to be summed up. Whoever delivers or removes appends a line. It is only a sum of what the
// directories say, so it may be lost, torn or wrong: it is made anew when it can't be read, has grown to 5120 octets,
// belongs to another quota, or refuses mail and is not fresh. Everything in the inbox and its folders counts, mail that
// is marked as trashed and the folder Trash too, as it does for Dovecot; what is in tmp/ does not.
const sizeFile = "maildirsize"

const (
	maxSizeFile  = 5120             // octets; a larger file is made anew
	sizeFileLife = 15 * time.Minute // a younger file may refuse mail if it has nothing but one sum
	maxNumber    = 1 << 50          // octets or messages: more is nonsense, and no sum of a file overflows
	counts       = 3                // how often directories are read that change meanwhile
)

// Quota limits a mailbox: the inbox with all its folders. The zero value has no limit.
type Quota struct {
	Size  int64 // octets on disk; 0: any number
	Count int64 // messages; 0: any number
}

// IsZero reports that there is no limit.
func (q Quota) IsZero() bool { return q == Quota{} }

// String is the definition as it stands in maildirsize: "1000000S,200C", with what is limited only.
func (q Quota) String() string {
	var parts []string
	if q.Size > 0 {
		parts = append(parts, strconv.FormatInt(q.Size, 10)+"S")
	}
	if q.Count > 0 {
		parts = append(parts, strconv.FormatInt(q.Count, 10)+"C")
	}
	return strings.Join(parts, ",")
}

// ParseQuota reads a definition: octets with S or B, or nothing, behind them, or in units of 1024 with k, M, G or T;
// and messages with C; both with a comma between. Zero means no limit.
func ParseQuota(s string) (Quota, error) {
	var q Quota
	for part := range strings.SplitSeq(s, ",") {
		if err := q.parse(strings.TrimSpace(part)); err != nil {
			return Quota{}, fmt.Errorf("quota %q: %w", s, err)
		}
	}
	return q, nil
}

var errQuota = errors.New("not a number with S, C, k, M, G or T behind it")

func (q *Quota) parse(part string) error {
	digits := strings.TrimRight(part, "SCBkKMGTsc")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || digits == "" || digits[0] == '+' || digits[0] == '-' || len(part) > len(digits)+1 {
		return errQuota
	}
	switch part[len(digits):] {
	case "C":
		q.Count = n
		return checkNumber(n)
	case "", "S", "B":
	case "k", "K":
		n = shifted(n, 10)
	case "M":
		n = shifted(n, 20)
	case "G":
		n = shifted(n, 30)
	case "T":
		n = shifted(n, 40)
	default:
		return errQuota
	}
	q.Size = n
	return checkNumber(n)
}

// shifted is n<<bits, or a number that is too large.
func shifted(n int64, bits uint) int64 {
	if n > maxNumber>>bits {
		return maxNumber + 1
	}
	return n << bits
}

func checkNumber(n int64) error {
	if n > maxNumber {
		return errors.New("number is too large")
	}
	return nil
}

// Usage is what a mailbox has: octets on disk, and messages.
type Usage struct{ Size, Count int64 }

// fits reports that there is room for more.
func (q Quota) fits(u Usage, more Usage) bool {
	return (q.Size == 0 || u.Size+more.Size <= q.Size) && (q.Count == 0 || u.Count+more.Count <= q.Count)
}

// over says why not: for ever, 5.2.3, if the message is larger than the whole quota; else until something is removed,
// 4.2.2. Temporary, because the user may make room before the sender gives up.
func (q Quota) over(u Usage, size int64) error {
	if q.Size > 0 && size > q.Size {
		return mail.Permanentf(2, 3, "Message is larger than the mailbox may be")
	}
	cause := fmt.Errorf("%d octets in %d messages, %d more, quota %s", u.Size, u.Count, size, q)
	return mail.Temporaryf(2, 2, "Mailbox is full: %w", cause)
}

// sums is a maildirsize file.
type sums struct {
	quota string // the first line
	used  Usage
	lines int // with numbers
}

// parseSums reads a maildirsize file; false for one that is not whole, or makes no sense.
func parseSums(data string) (s sums, ok bool) {
	first, rest, ok := strings.Cut(data, "\n")
	if !ok || strings.TrimSpace(first) == "" || rest != "" && rest[len(rest)-1] != '\n' {
		return s, false
	}
	s.quota = strings.TrimSpace(first)
	for line := range strings.Lines(rest) {
		words := strings.Fields(line)
		if len(words) != 2 {
			return s, false
		}
		size, err1 := strconv.ParseInt(words[0], 10, 64)
		count, err2 := strconv.ParseInt(words[1], 10, 64)
		if err1 != nil || err2 != nil || max(size, -size, count, -count) > maxNumber || min(size, count) < -maxNumber {
			return s, false
		}
		s.used.Size, s.used.Count, s.lines = s.used.Size+size, s.used.Count+count, s.lines+1
	}
	return s, s.lines > 0 && s.used.Size >= 0 && s.used.Count >= 0
}

// quota is the limit that is in force now.
func (d *Dir) quota() Quota {
	if d.Quota == nil {
		return Quota{}
	}
	return d.Quota()
}

// top is the path of the inbox.
func (d *Dir) top() string {
	if d.inbox != "" {
		return d.inbox
	}
	return d.path
}

func (d *Dir) sizePath() string { return d.top() + "/" + sizeFile }

// Room reports whether a message of that many octets may come in: nil, or 4.2.2, or 5.2.3 for one that is larger than
// the whole quota. A size of 0 stands for one that nobody knows. Without a quota it costs nothing.
func (d *Dir) Room(size int64) error {
	q := d.quota()
	if q.IsZero() {
		return nil
	}
	u, fresh, err := d.usage(q)
	if err == nil && !fresh && !q.fits(u, Usage{size, 1}) {
		u, err = d.recount(q)
	}
	switch {
	case err != nil:
		return vfs.Classify(err)
	case !q.fits(u, Usage{size, 1}):
		return q.over(u, size)
	}
	return nil
}

// Usage gives what the mailbox has, from maildirsize if that is of use, else by counting.
func (d *Dir) Usage() (Usage, error) {
	u, _, err := d.usage(d.quota())
	return u, vfs.Classify(err)
}

// usage is fresh when it was counted a moment ago.
func (d *Dir) usage(q Quota) (u Usage, fresh bool, err error) {
	s, mtime, err := d.readSums()
	if err == nil && (q.IsZero() || s.quota == q.String()) {
		age := d.now().Sub(mtime)
		return s.used, s.lines == 1 && age >= 0 && age < sizeFileLife, nil
	}
	u, err = d.recount(q)
	return u, true, err
}

var errSums = errors.New("maildirsize is of no use")

// readSums is errSums for a file that is to be made anew. Whatever keeps it from being read, the directories can tell.
func (d *Dir) readSums() (sums, time.Time, error) {
	f, err := d.fsys.Open(d.sizePath())
	if err != nil {
		return sums{}, time.Time{}, errSums
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() >= maxSizeFile {
		return sums{}, time.Time{}, errSums
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSizeFile))
	if err != nil {
		return sums{}, time.Time{}, errSums
	}
	s, ok := parseSums(string(data))
	if !ok {
		return sums{}, time.Time{}, errSums
	}
	return s, fi.ModTime(), nil
}

// recount counts, and writes down the sum if there is a quota. That it can't be written (a full disk) does no harm. Mail
// that comes in between is counted twice rather than not at all, if it is counted wrong.
func (d *Dir) recount(q Quota) (Usage, error) {
	u, err := d.count()
	if err != nil || q.IsZero() {
		return u, err
	}
	d.writeSums(q, u)
	return u, nil
}

// writeSums replaces maildirsize. It is not synced: what a loss of power leaves of it is no sum, and counted anew.
func (d *Dir) writeSums(q Quota, u Usage) error {
	tmp := d.top() + "/tmp/" + unique(d.now(), d.host())
	f, err := d.fsys.Create(tmp)
	if err != nil {
		d.fsys.Remove(tmp) // as in Delivery.create
		return err
	}
	_, err = io.WriteString(f, q.String()+"\n"+sumLine(u))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.fsys.Rename(tmp, d.sizePath())
	}
	if err != nil {
		d.fsys.Remove(tmp)
	}
	return err
}

// sumLine is one line, as wide as those of other programs.
func sumLine(u Usage) string { return fmt.Sprintf("%d %d\n", u.Size, u.Count) }

// account appends to maildirsize, if there is one. What can't be appended makes the file wrong, so it goes, and whoever
// needs the sum counts anew.
func (d *Dir) account(change Usage) {
	if change == (Usage{}) {
		return
	}
	_, err := d.fsys.Lstat(d.sizePath())
	if err == nil {
		err = d.appendSum(change)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.fsys.Remove(d.sizePath())
	}
}

func (d *Dir) appendSum(change Usage) error {
	f, err := d.fsys.OpenAppend(d.sizePath())
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, sumLine(change))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// count adds up the inbox and its folders. Directories that change meanwhile are read again, a few times.
func (d *Dir) count() (u Usage, err error) {
	for range counts {
		var before, after string
		if before, err = d.stamp(); err != nil {
			return Usage{}, err
		}
		if u, err = d.countOnce(); err != nil {
			return Usage{}, err
		}
		if after, err = d.stamp(); err != nil || before == after {
			break
		}
	}
	return u, err
}

// mailDirs are the paths of all directories with messages.
func (d *Dir) mailDirs() ([]string, error) {
	names, err := d.fsys.ReadDirNames(d.top())
	if err != nil {
		return nil, err
	}
	dirs := []string{d.top() + "/new", d.top() + "/cur"}
	for _, name := range names {
		if isFolderDir(name) {
			dirs = append(dirs, d.top()+"/"+name+"/new", d.top()+"/"+name+"/cur")
		}
	}
	return dirs, nil
}

// stamp changes when one of the directories does.
func (d *Dir) stamp() (string, error) {
	dirs, err := d.mailDirs()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, dir := range dirs {
		if fi, err := d.fsys.Lstat(dir); err == nil {
			fmt.Fprintln(&b, dir, vfs.Stamp(fi))
		}
	}
	return b.String(), nil
}

func (d *Dir) countOnce() (u Usage, err error) {
	dirs, err := d.mailDirs()
	if err != nil {
		return u, err
	}
	for _, dir := range dirs {
		if err := d.countDir(dir, &u); err != nil {
			return u, err
		}
	}
	return u, nil
}

// countDir passes over what is no Maildir, or goes away meanwhile.
func (d *Dir) countDir(dir string, u *Usage) error {
	if fi, err := d.fsys.Lstat(dir); err != nil || !fi.IsDir() {
		return ignoreGone(err)
	}
	names, err := d.fsys.ReadDirNames(dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, name := range names {
		if name[0] == '.' {
			continue
		}
		size := ParseName(name).Size
		if size < 0 {
			fi, err := d.fsys.Lstat(dir + "/" + name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			size = fi.Size()
		}
		u.Size, u.Count = u.Size+size, u.Count+1
	}
	return nil
}

// sizeOf is what a message counts for that is about to be removed. One of unknown size is looked at only if that is
// written down somewhere.
func (d *Dir) sizeOf(m Message) int64 {
	if m.Size >= 0 {
		return m.Size
	}
	if _, err := d.fsys.Lstat(d.sizePath()); err != nil {
		return 0
	}
	fi, err := d.fsys.Lstat(d.join(m.File))
	if err != nil {
		return 0
	}
	return fi.Size()
}

// forget keeps in mind what was removed until Sync writes it down: one line for all.
func (d *Dir) forget(size int64) {
	d.mu.Lock()
	d.removed.Size, d.removed.Count = d.removed.Size-size, d.removed.Count-1
	d.mu.Unlock()
}

// settle writes down what was removed.
func (d *Dir) settle() {
	d.mu.Lock()
	removed := d.removed
	d.removed = Usage{}
	d.mu.Unlock()
	d.account(removed)
}

// room is Room for all Maildirs of a delivery.
func (w *Delivery) room() error {
	if w.isCopy {
		return nil
	}
	for _, d := range w.dirs() {
		if err := d.Room(w.size); err != nil {
			return err
		}
	}
	return nil
}

// account writes down the delivery where there is a quota: 1, or -1 if it has failed after all.
func (w *Delivery) account(sign int64) {
	if w.isCopy {
		return
	}
	for _, d := range w.dirs() {
		if !d.quota().IsZero() {
			d.account(Usage{sign * w.size, sign})
		}
	}
}

// dirs are the Maildirs that get the message.
func (w *Delivery) dirs() []*Dir {
	if w.notOwn {
		return w.also
	}
	return append([]*Dir{w.dir}, w.also...)
}

// Size gives the octets that were written so far.
func (w *Delivery) Size() int64 { return w.size }

// Leave takes a Maildir out of a delivery that has been begun, because its owner may not have the message after all. It
// reports whether any other is left; if not, only Abort can follow.
func (w *Delivery) Leave(d *Dir) bool {
	for i, other := range w.also {
		if other.path == d.path {
			w.also = append(w.also[:i:i], w.also[i+1:]...)
			break
		}
	}
	if w.dir.path == d.path {
		w.notOwn = true
	}
	return len(w.dirs()) > 0
}
