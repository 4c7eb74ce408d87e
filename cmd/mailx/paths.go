package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"syscall"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/mbox"
	"mailx/pkg/vfs"
)

// Paths of messages are what commands give each other: `mailx list --paths | xargs mailx show`. Between the two
// another program may mark a message or move it from new/ to cur/, which changes its path and not the rest of its name;
// a path is therefore looked for in its Maildir once more when nothing is there.

// pathFinder opens what paths lead to. It remembers the Maildirs, so that a thousand paths cost one look.
type pathFinder struct {
	fsys vfs.FS
	dirs map[string]*maildir.Dir
}

func newPathFinder() *pathFinder {
	return &pathFinder{fsys: mailFS(""), dirs: map[string]*maildir.Dir{}}
}

// mailFile is a message: one in a Maildir, or any other file.
type mailFile struct {
	dir  *maildir.Dir // nil: any other file
	msg  maildir.Message
	name string // of any other file
}

// path is where the message was when it was last seen.
func (m mailFile) path() string {
	if m.dir == nil {
		return m.name
	}
	return path.Join(m.dir.Path(), m.msg.File)
}

// maildir opens a Maildir. The error wraps fs.ErrNotExist if there is none.
func (p *pathFinder) maildir(dir string) (*maildir.Dir, error) {
	dir = path.Clean(dir)
	if d := p.dirs[dir]; d != nil {
		return d, nil
	}
	d, err := maildir.Open(p.fsys, dir)
	if err == nil {
		p.dirs[dir] = d
	}
	return d, err
}

// find says what a path leads to, without looking whether it is there.
func (p *pathFinder) find(name string) mailFile {
	sub := path.Base(path.Dir(name))
	if sub == "." && !path.IsAbs(name) { // "1700000000.M1P2.host" inside of cur/
		if wd, err := os.Getwd(); err == nil {
			return p.findIn(path.Join(wd, name), name)
		}
	}
	return p.findIn(name, name)
}

func (p *pathFinder) findIn(full, name string) mailFile {
	sub, base := path.Base(path.Dir(full)), path.Base(full)
	if sub != "new" && sub != "cur" {
		return mailFile{name: name}
	}
	d, err := p.maildir(path.Dir(path.Dir(full)))
	if err != nil {
		return mailFile{name: name}
	}
	return mailFile{dir: d, msg: maildir.Message{Name: maildir.ParseName(base), File: sub + "/" + base, New: sub == "new"}}
}

// locate gives a message as it is now, if its path is an old one. One that is not there stays as it was.
func (m mailFile) locate() mailFile {
	if m.dir == nil {
		return m
	}
	if _, err := os.Lstat(m.path()); !errors.Is(err, fs.ErrNotExist) {
		return m
	}
	messages, err := m.dir.List()
	if err != nil {
		return m
	}
	for _, now := range messages {
		if now.Base == m.msg.Base {
			m.msg = now
		}
	}
	return m
}

// openFile is a message that is open for reading.
type openFile interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// open opens the message, wherever it is by now. What can't be read twice (a pipe) is read into memory that the file
// system has.
func (m mailFile) open() (openFile, error) {
	if m.dir != nil {
		return m.dir.OpenMessage(m.msg)
	}
	f, err := os.Open(m.name)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
		f.Close()
		return nil, err
	case fi.IsDir():
		f.Close()
		return nil, exitWith(exNoInput,
			fmt.Errorf("%s is a directory; mailx list --paths %s names the messages in it", m.name, m.name))
	case fi.Mode().IsRegular():
		return f, nil
	}
	defer f.Close()
	return copyAside(f, anySize)
}

// openMessage opens the message without what may stand above its header: see mbox.Above. Programs save messages like that, and
// pipe them.
func (m mailFile) openMessage() (openFile, error) {
	f, err := m.open()
	if err != nil {
		return nil, err
	}
	return messageOnly(f)
}

func messageOnly(f openFile) (openFile, error) {
	head := make([]byte, mbox.MaxAbove)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	if above := int64(mbox.Above(head[:n])); above > 0 {
		return &messageFile{f, io.NewSectionReader(f, above, math.MaxInt64-above)}, nil
	}
	return f, nil
}

// messageFile is the message in a file with something above it.
type messageFile struct {
	openFile
	below *io.SectionReader
}

func (m *messageFile) Read(p []byte) (int, error)             { return m.below.Read(p) }
func (m *messageFile) ReadAt(p []byte, at int64) (int, error) { return m.below.ReadAt(p, at) }

// What is read from a stream at most: a message, for a stream may never end, or an archive of them, which may be of any size.
const (
	maxMessage = 1 << 30
	anySize    = math.MaxInt64 - 1
)

// copyAside copies a stream of at most so many octets into a file that has no name.
func copyAside(r io.Reader, most int64) (*os.File, error) {
	f, err := os.CreateTemp("", "mailx-*")
	if err != nil {
		return nil, exitWith(exTempFail, err)
	}
	os.Remove(f.Name())
	n, err := io.Copy(f, io.LimitReader(r, most+1))
	if n > most {
		err = exitWith(exDataErr, fmt.Errorf("a message of more than %d octets", most))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// eachPath calls do with the words, and in the place of "-" with the paths on stdin: one a line, or ended by NUL.
func (e *env) eachPath(words []string, nul bool, do func(path string)) error {
	for _, word := range words {
		if word != "-" {
			do(word)
			continue
		}
		if err := eachLine(e.stdin, nul, do); err != nil {
			return err
		}
	}
	return nil
}

// maxPath is more than a path can have on Linux (PATH_MAX).
const maxPath = 64 << 10

func eachLine(r io.Reader, nul bool, do func(string)) error {
	end := byte('\n')
	if nul {
		end = 0
	}
	br := bufio.NewReaderSize(r, maxPath)
	for {
		line, err := br.ReadSlice(end)
		if errors.Is(err, bufio.ErrBufferFull) {
			return exitWith(exDataErr, fmt.Errorf("a path on standard input is longer than %d octets", maxPath))
		}
		if name := strings.TrimSuffix(string(line), string(end)); name != "" {
			do(name)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// readError is for verbs that read mail: it drops the mail status of an error and says what the file system said, so
// that a message that is not there is exit 66 and one that may not be read 77.
func readError(err error) error {
	var (
		status *mail.Error
		chosen *codeError
	)
	switch {
	case err == nil, errors.As(err, &chosen):
		return err
	case errors.As(err, &status) && status.Err != nil && !status.Status.IsPermanent():
		err = status.Err
	}
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ELOOP) {
		return exitWith(exNoInput, err)
	}
	return err
}

// failures lets a verb go on when one of many things goes wrong. The first one decides about the exit code.
type failures struct {
	env  *env
	code int
}

// add reports an error at once; nil is none.
func (f *failures) add(err error) {
	if err == nil {
		return
	}
	if code := f.env.report(err); f.code == exOK {
		f.code = code
	}
}

// err is the outcome of the verb; all has been said.
func (f *failures) err() error {
	if f.code == exOK {
		return nil
	}
	return exitWith(f.code, nil)
}
