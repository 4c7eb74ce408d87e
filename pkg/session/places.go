package session

import (
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Places are what processes of one connection each count their connections in: one empty file, and locks on octets far
// beyond its end. A place is an octet, whoever has it locked is there, and the kernel gives it back when the process ends,
// however it ends. So nothing is ever left over, and nothing is written.
//
// Every kind of place has 2^20 octets that its name leads to. Two names share them with a probability of 2^-43; then they
// share a limit.
type Places struct {
	fd   int
	path string
}

// maxPlaces is the largest limit.
const maxPlaces = 1 << 20

// OpenPlaces opens the file, and makes it and its directory if they are not there.
func OpenPlaces(path string) (*Places, error) {
	fd, err := openShared(path)
	if err != nil {
		return nil, err
	}
	return &Places{fd, path}, nil
}

// openShared opens a file of all processes for reading and writing, and makes it if it is not there. By the plain system
// call: a process of one connection has no time for more.
func openShared(path string) (int, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_NONBLOCK
	fd, err := unix.Open(path, flags, 0o600)
	if err == unix.ENOENT {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return -1, err
		}
		fd, err = unix.Open(path, flags, 0o600)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Take takes one of max places of a name; false if none is free. What has been taken is held until Close, or the end of the
// process.
func (p *Places) Take(name string, max int) (bool, error) {
	max = min(max, maxPlaces)
	start, first := placeOf(name), os.Getpid()%max // not the first one: that is where all others have begun to look
	for i := range max {
		taken, err := p.lock(start + int64((first+i)%max))
		if taken || err != nil {
			return taken, err
		}
	}
	return false, nil
}

// lock takes one octet.
func (p *Places) lock(offset int64) (bool, error) {
	err := lockOctet(p.fd, offset, unix.F_OFD_SETLK)
	switch {
	case err == nil:
		return true, nil
	case err == unix.EAGAIN, err == unix.EACCES:
		return false, nil
	}
	return false, &fs.PathError{Op: "lock", Path: p.path, Err: err}
}

// lockOctet locks for the open file, not for the process: F_OFD_SETLK, or F_OFD_SETLKW to wait for it.
func lockOctet(fd int, offset int64, command int) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: offset, Len: 1}
	for {
		if err := unix.FcntlFlock(uintptr(fd), command, &lock); err != unix.EINTR {
			return err
		}
	}
}

// placeOf is where the octets of a name begin.
func placeOf(name string) int64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return int64(mix(h.Sum64())>>21) * maxPlaces
}

// mix spreads a hash over all of its bits, the upper ones too.
func mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Close gives all places back.
func (p *Places) Close() error { return unix.Close(p.fd) }
