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
	// settled is how old a change must be before the same times prove that there was no other: a directory may change
	// twice within one tick of the file system's clock.
	settled = 2 * time.Second
)

// settledStamp is how new/ and cur/ look now; "" if they may change and look the same after it.
func (d *Dir) settledStamp() string {
	now := d.now()
	var words [2]string
	for i, sub := range [...]string{"new", "cur"} {
		fi, err := d.fsys.Lstat(d.join(sub))
		if err != nil || now.Sub(fi.ModTime()) < settled || now.Sub(vfs.ChangeTime(fi)) < settled {
			return ""
		}
		words[i] = vfs.Stamp(fi)
	}
	return words[0] + " " + words[1]
}

// recall gives the kept listing if it is of directories with this stamp; nil if there is none.
func (d *Dir) recall(stamp string) []Message {
	f, err := d.fsys.Open(d.join(listName))
	if err != nil {
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
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

// remember keeps the listing of a large Maildir, made after its directories had that stamp. Nothing depends on success.
func (d *Dir) remember(list []Message, stamp string) {
	if len(list) < largeList || stamp == "" {
		return
	}
	tmp := d.join("tmp/" + unique(d.now(), d.host()))
	f, err := d.fsys.Create(tmp)
	if err != nil {
		return
	}
	_, err = f.Write(printList(list, stamp))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.fsys.Rename(tmp, d.join(listName))
	}
	if err != nil {
		d.fsys.Remove(tmp)
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
