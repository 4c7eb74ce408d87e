package maildir

import (
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"mailx/pkg/vfs"
)

// A large Maildir takes the kernel longer to list than all else that a login does, so the last listing is kept in a file
// beside new/ and cur/. It holds while neither directory has changed: neither its time of modification nor that of its last
// change, which tells of backups that were put back with the times they had. It is never synced and may be removed at any
// time: what is not whole, or about other directories, is not believed. The file is replaced, never written to, so that copies
// of a Maildir may share it.
//
// A directory may change twice within one tick of the file system's clock, and then its times don't tell. So a listing is kept
// only if that clock had gone on when it began: any change that it does not show has other times.
//
// The file begins with a header of listHead octets, "mailx-list 1 NEW CUR COUNT OCTETS CRC" and blanks, where NEW and CUR
// are the stamps of the directories and CRC is the CRC-32C of what follows: in OCTETS octets the paths of COUNT messages in
// the order of List, each with a NUL behind it.
const (
	listName   = "mailx-list"
	listFormat = "mailx-list 1 %s %d %d %08x"
	listHead   = 192
)

const (
	// largeList is the number of messages from which a listing is kept.
	largeList = 1000
	// maxListFile is how many octets of a kept listing are read.
	maxListFile = 256 << 20
	// settled is how old a change must be before this host's clock is proof enough that the file system's has gone on: no
	// tick is longer, that of FAT included, and no two hosts that share a file system should be further apart.
	settled = 2 * time.Second
	// quiet is how old a change must be by the file system's own clock. A tick would do, but where one message comes after
	// the other nothing is gained by a listing that is out of date at once.
	quiet = 200 * time.Millisecond
	// oneBlock is the size of a directory with few names, in octets, nearly everywhere.
	oneBlock = 4096
)

// look is what new/ and cur/ look like.
type look struct {
	stamp   string    // "" if they can't be looked at
	changed time.Time // the last of their times
	octets  int64     // of the larger one, as a directory
}

func (d *Dir) look() (l look) {
	var words [2]string
	for i, sub := range [...]string{"new", "cur"} {
		fi, err := d.fsys.Lstat(d.join(sub))
		if err != nil {
			return look{}
		}
		words[i] = vfs.Stamp(fi)
		for _, at := range [...]time.Time{fi.ModTime(), vfs.ChangeTime(fi)} {
			if at.After(l.changed) {
				l.changed = at
			}
		}
		l.octets = max(l.octets, fi.Size())
	}
	l.stamp = words[0] + " " + words[1]
	return l
}

// recall gives the kept listing if it is of directories with this stamp; nil if there is none. One from the future is of a time
// before the clock was set back, and what has changed since may come to have the same times.
func (d *Dir) recall(stamp string) []Message {
	f, err := d.fsys.Open(d.join(listName))
	if err != nil {
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.ModTime().After(d.now()) {
		return nil
	}
	return readList(f, fi.Size(), stamp)
}

// readList reads a listing from a file of so many octets.
func readList(r io.Reader, size int64, stamp string) []Message {
	var head [listHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil
	}
	var newStamp, curStamp string
	var count, octets int
	var sum uint32
	n, err := fmt.Sscanf(string(head[:]), "mailx-list 1 %s %s %d %d %08x", &newStamp, &curStamp, &count, &octets, &sum)
	if n != 5 || err != nil || newStamp+" "+curStamp != stamp || octets < 0 || octets > maxListFile || int64(listHead+octets) != size {
		return nil
	}
	var text strings.Builder
	text.Grow(octets)
	check := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	got, err := io.Copy(io.MultiWriter(&text, check), io.LimitReader(r, int64(octets)))
	if err != nil || got != int64(octets) || check.Sum32() != sum {
		return nil
	}
	return splitList(text.String(), count)
}

// splitList gives the messages of a listing, and nil if one of them is none.
func splitList(text string, count int) []Message {
	if count < 1 || count > len(text)/len("new/x\x00") {
		return nil
	}
	list := make([]Message, 0, count)
	for text != "" {
		file, rest, whole := strings.Cut(text, "\x00")
		if !whole || len(file) <= len("new/") || file[:4] != "new/" && file[:4] != "cur/" || file[4] == '.' || strings.Contains(file[4:], "/") {
			return nil
		}
		list, text = append(list, newMessage(file)), rest
	}
	if len(list) != count {
		return nil
	}
	return list
}

// keeper keeps a listing that is about to be made; nil keeps none.
type keeper struct {
	d     *Dir
	stamp string
	tmp   string
	file  vfs.File // nil: not made yet
}

// newKeeper decides whether a listing that begins now may be kept. Where this host's clock does not settle that, a new file
// tells the time of the file system, which for a directory with few names is not worth the while.
func (d *Dir) newKeeper(l look) *keeper {
	age := d.now().Sub(l.changed)
	k := &keeper{d: d, stamp: l.stamp}
	switch {
	case l.stamp == "", age < quiet, age < settled && l.octets <= oneBlock:
		return nil
	case age >= settled:
		return k
	}
	if k.create() != nil {
		return nil
	}
	fi, err := k.file.Stat()
	if err != nil || fi.ModTime().Sub(l.changed) < quiet {
		k.drop()
		return nil
	}
	return k
}

func (k *keeper) create() (err error) {
	k.tmp = k.d.join("tmp/" + unique(k.d.now(), k.d.host()))
	k.file, err = k.d.fsys.Create(k.tmp)
	return err
}

// keep keeps the listing if it is a long one. Nothing depends on success.
func (k *keeper) keep(list []Message) {
	switch {
	case k == nil:
		return
	case len(list) < largeList, k.file == nil && k.create() != nil:
		k.drop()
		return
	}
	_, err := k.file.Write(printList(list, k.stamp))
	if cerr := k.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = k.d.fsys.Rename(k.tmp, k.d.join(listName))
	}
	if err != nil {
		k.d.fsys.Remove(k.tmp)
	}
}

// drop keeps nothing.
func (k *keeper) drop() {
	if k != nil && k.file != nil {
		k.file.Close()
		k.d.fsys.Remove(k.tmp)
	}
}

func printList(list []Message, stamp string) []byte {
	size := listHead
	for i := range list {
		size += len(list[i].File) + 1
	}
	b := make([]byte, listHead, size)
	for i := range list {
		b = append(append(b, list[i].File...), 0)
	}
	body := b[listHead:]
	head := fmt.Sprintf(listFormat, stamp, len(list), len(body), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	copy(b, fmt.Sprintf("%-*s\n", listHead-1, head))
	return b
}
