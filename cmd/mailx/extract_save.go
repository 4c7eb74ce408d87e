package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"mailx/pkg/message"
	"mailx/pkg/vfs"
)

// saver puts files into a directory, under names of their own. A file has its name when it is whole: it is written beside the
// others under a hidden name, which is removed if anything goes wrong, and then moved to a name that nothing has. Its octets are
// on the disk no later than that name is.
type saver struct {
	fsys vfs.FS
	dir  string
	ctx  context.Context // ends when somebody wants us to stop
	next map[string]int  // numbers that names were given last, so that a thousand files of one name cost no million tries
}

// newSaver wants a directory, which a symbolic link may lead to.
func newSaver(ctx context.Context, dir string) (*saver, error) {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, exitWith(exCantCreate, fmt.Errorf("there is no directory %s; make it with: mkdir %s", dir, dir))
	case err != nil:
		return nil, err
	case !fi.IsDir():
		return nil, exitWith(exCantCreate, fmt.Errorf("%s is no directory", dir))
	}
	return &saver{fsys: mailFS(""), dir: path.Clean(dir), ctx: ctx, next: map[string]int{}}, nil
}

// save writes a file and gives its path. Errors of the disk are exit 73 or 75.
func (s *saver) save(name string, fill func(io.Writer) error) (string, error) {
	tmp := hiddenName(s.dir)
	f, err := s.fsys.Create(tmp)
	if err != nil {
		return "", exitWith(exCantCreate, err)
	}
	w := bufio.NewWriterSize(f, 64<<10)
	err = fill(interruptible{s.ctx, w})
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Order()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		name, err = s.give(tmp, name)
	}
	if err != nil {
		s.fsys.Remove(tmp)
		return "", err
	}
	return name, nil
}

// hiddenName is for a file that is not whole yet.
func hiddenName(dir string) string {
	var random [8]byte
	rand.Read(random[:])
	return path.Join(dir, ".mailx-"+hex.EncodeToString(random[:]))
}

// interruptible is a writer that fails once its context has ended.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

// Write looks at the context first.
func (i interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, errInterrupted
	}
	return i.w.Write(p)
}

var errInterrupted = exitWith(exTempFail, errors.New("interrupted"))

// maxSameName bounds the search for a free name.
const maxSameName = 1_000_000

// give moves a file to its name, or to that with a number in front of its ending: "report-2.pdf".
func (s *saver) give(tmp, name string) (string, error) {
	ending := path.Ext(name)
	stem := strings.TrimSuffix(name, ending)
	for n := max(1, s.next[name]); n < maxSameName; n++ {
		free := path.Join(s.dir, name)
		if n > 1 {
			free = path.Join(s.dir, stem+"-"+strconv.Itoa(n)+ending)
		}
		err := s.fsys.Move(tmp, free)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		s.next[name] = n + 1
		return free, err
	}
	return "", exitWith(exCantCreate, fmt.Errorf("%s is full of files named %s", s.dir, name))
}

// sync makes the names durable.
func (s *saver) sync() error { return s.fsys.SyncDir(s.dir) }

// toDirectory saves parts and prints their paths.
func (x *extractor) toDirectory(dir string, asJSON bool) error {
	ctx, stop := x.env.untilSignal(context.Background())
	s, err := newSaver(ctx, dir)
	if err != nil {
		stop()
		return err
	}
	print, flush := x.savedPrinter(asJSON)
	x.flush = func() error {
		stop()
		return errors.Join(flush(), s.sync())
	}
	x.do = func(m mailFile, f openFile, p foundPart) error {
		content, damage := x.open(f, p)
		in := &stickyReader{r: content}
		size := int64(0)
		saved, err := s.save(p.name, func(w io.Writer) (err error) {
			size, err = io.Copy(w, in)
			return err
		})
		if err != nil {
			if in.err == nil {
				x.err = err // the next file would fare no better
				return nil
			}
			return in.err
		}
		x.err = print(m, p, saved, size)
		return damaged(m, p, damage())
	}
	return nil
}

// savedPrinter prints what was saved: the path, or an object.
func (x *extractor) savedPrinter(asJSON bool) (print func(mailFile, foundPart, string, int64) error, flush func() error) {
	if asJSON {
		p := x.env.newPrinter([]column{{name: "path"}, {name: "part"}, {name: "type"}, {name: "size"}, {name: "name"}, {name: "file"}}, true)
		return func(m mailFile, part foundPart, file string, size int64) error {
			p.row(m.path(), partNumber(part.Part), message.Printable(part.MediaType()), size, part.name, file)
			return p.err
		}, p.flush
	}
	print1, flush := x.env.fileNamePrinter(x.nul)
	return func(_ mailFile, _ foundPart, file string, _ int64) error { return print1(file) }, flush
}

// fileNamePrinter prints names of files as pathPrinter does paths.
func (e *env) fileNamePrinter(nul bool) (print func(string) error, flush func() error) {
	p := e.pathPrinter(nul)
	return func(name string) error { return p.print(&record{mailFile: mailFile{name: name}}) }, p.flush
}
