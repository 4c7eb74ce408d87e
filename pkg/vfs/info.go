package vfs

import (
	"io/fs"
	"strconv"
	"time"
)

// info is what both file systems know about a file. Sys gives nil; SameFile, AccessTime, ChangeTime and Links say the rest.
type info struct {
	name         string
	size         int64
	mode         fs.FileMode
	mtime, atime time.Time
	ctime        time.Time
	dev, ino     uint64
	links        uint64
	uid, gid     uint32
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.size }
func (i *info) Mode() fs.FileMode  { return i.mode }
func (i *info) ModTime() time.Time { return i.mtime }
func (i *info) IsDir() bool        { return i.mode.IsDir() }
func (i *info) Sys() any           { return nil }

// SameFile reports that two answers of Lstat or Stat are about one file, under whatever names. It is how to find out,
// once a lock is held, that the name still leads to the file that was locked.
func SameFile(a, b fs.FileInfo) bool {
	x, ok := a.(*info)
	y, ok2 := b.(*info)
	return ok && ok2 && x.dev == y.dev && x.ino == y.ino
}

// SameDevice reports that two answers of Lstat or Stat are about files of one file system.
func SameDevice(a, b fs.FileInfo) bool {
	x, ok := a.(*info)
	y, ok2 := b.(*info)
	return ok && ok2 && x.dev == y.dev
}

// SameOwner reports that two answers of Lstat or Stat are about files of one user and one group.
func SameOwner(a, b fs.FileInfo) bool {
	x, ok := a.(*info)
	y, ok2 := b.(*info)
	return ok && ok2 && x.uid == y.uid && x.gid == y.gid
}

// Stamp gives a word that is another one when the name leads to another file, or when that was changed in between, as far as
// the clock of the file system tells moments apart. It counts as a change when somebody set the times of the file back.
func Stamp(fi fs.FileInfo) string {
	dev, ino := uint64(0), uint64(0)
	if i, ok := fi.(*info); ok {
		dev, ino = i.dev, i.ino
	}
	b := strconv.AppendUint(nil, dev, 16)
	b = strconv.AppendUint(append(b, '.'), ino, 16)
	b = strconv.AppendInt(append(b, '.'), fi.ModTime().UnixNano(), 16)
	return string(strconv.AppendInt(append(b, '.'), ChangeTime(fi).UnixNano(), 16))
}

// ChangeTime gives the time when anything about a file was changed last. Unlike the modification time, no program can set it.
// It is the modification time for a FileInfo that did not come from this package.
func ChangeTime(fi fs.FileInfo) time.Time {
	if i, ok := fi.(*info); ok {
		return i.ctime
	}
	return fi.ModTime()
}

// AccessTime gives the time of the last read, as far as the file system keeps it; the modification time for a FileInfo
// that did not come from this package.
func AccessTime(fi fs.FileInfo) time.Time {
	if i, ok := fi.(*info); ok {
		return i.atime
	}
	return fi.ModTime()
}

// Links gives the number of names of a file; 1 for a FileInfo that did not come from this package.
func Links(fi fs.FileInfo) uint64 {
	if i, ok := fi.(*info); ok {
		return i.links
	}
	return 1
}
