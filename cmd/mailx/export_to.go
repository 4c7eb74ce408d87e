package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/mbox"
	"mailx/pkg/message"
)

// addTo has messages added to an mbox.
func (x *exporter) addTo(w *mbox.Writer) {
	x.isMbox = true
	x.add = func(r *record, f openFile) error {
		st := mbox.State{Flags: r.msg.Flags, New: r.isNew}
		if r.dir == nil {
			st.New = true
		}
		words, err := x.list.words.of(r.mailFile)
		x.list.failed.add(readError(err))
		st.Keywords = words
		sender := returnPathOf(bufio.NewReaderSize(io.NewSectionReader(f, 0, r.size), 1<<10))
		name := sender.String()
		if sender.IsNull() {
			name = ""
		}
		return w.Add(f, r.size, name, r.stored, st)
	}
}

// toMbox writes a new file, which has its name when it is whole and on the disk. One that is there is not touched.
func (x *exporter) toMbox(name string) error {
	fsys := x.list.finder.fsys
	if _, err := fsys.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return taken(name)
	}
	tmp := hiddenName(path.Dir(name))
	f, err := fsys.Create(tmp)
	if err != nil {
		return exitWith(exCantCreate, err)
	}
	w := mbox.NewWriter(interruptible{x.ctx, f})
	x.addTo(w)
	x.drop = func() {
		f.Close()
		fsys.Remove(tmp)
	}
	x.finish = func() error {
		err := w.Flush()
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			x.drop()
			return err
		}
		if err = f.Close(); err == nil {
			err = fsys.Move(tmp, name)
		}
		if err != nil {
			fsys.Remove(tmp)
			if errors.Is(err, fs.ErrExist) {
				return taken(name)
			}
			return err
		}
		return fsys.SyncDir(path.Dir(name))
	}
	return nil
}

func taken(name string) error {
	return exitWith(exCantCreate, fmt.Errorf("%s is there already; nothing is written over", name))
}

// toFiles saves each message in a file that is named for its time and its subject, with the time of the message.
func (x *exporter) toFiles(dir string, nul, quiet bool) error {
	s, err := newSaver(x.ctx, dir)
	if err != nil {
		return err
	}
	print, flush := x.env.fileNamePrinter(nul)
	if quiet {
		print = func(string) error { return nil }
	}
	x.list.out.need = needHeader
	x.add = func(r *record, f openFile) error {
		name, err := s.save(emlName(r), func(w io.Writer) error {
			_, err := io.Copy(w, io.NewSectionReader(f, 0, r.size))
			return err
		})
		if err == nil {
			err = s.fsys.Chtimes(name, r.stored)
		}
		if err != nil {
			return err
		}
		return print(name)
	}
	x.finish = func() error { return errors.Join(flush(), s.sync()) }
	x.drop = func() { x.finish() }
	return nil
}

// emlName is like 20231114T221320Z-disk full.eml.
func emlName(r *record) string {
	subject := strings.Map(func(c rune) rune {
		if c == '/' || c == '\\' {
			return '_'
		}
		return c
	}, r.Subject)
	name := r.stored.UTC().Format("20060102T150405Z")
	if subject = message.SafeName(subject); subject != "" {
		name += "-" + strings.TrimSpace(strings.ToValidUTF8(subject[:min(len(subject), 100)], ""))
	}
	return name + ".eml"
}

// exportBatch is how many messages share the syncs of directories.
const exportBatch = 100

// toMaildir copies messages into a Maildir, as copy does; those that are in none come in as new.
func (x *exporter) toMaildir(c *cli.Context) error {
	sys, err := x.env.system()
	if err != nil {
		return err
	}
	word := c.String("maildir")
	if !strings.Contains(word, "/") {
		word = "./" + word
	}
	ch, to, err := x.env.openTarget(c, sys, word, "", "exported")
	if err != nil {
		return err
	}
	carrier := mailbox.NewCarrier(ch.fileSystem())
	var parcels []*mailbox.Parcel
	send := func() error {
		carrier.Copy(context.WithoutCancel(x.ctx), parcels)
		for _, p := range parcels {
			switch {
			case isGone(p.Err):
			case isAbout(p.Err, p.From):
				x.list.failed.add(readError(p.Err))
			case p.Err != nil:
				return p.Err
			default:
				if err := ch.print(&change{nowIn: to, now: p.Now}); err != nil {
					return err
				}
			}
		}
		parcels = nil
		return nil
	}
	x.add = func(r *record, f openFile) error {
		if r.dir == nil {
			return x.deliverFile(r, f, to, ch)
		}
		parcels = append(parcels, &mailbox.Parcel{From: r.dir, To: to, Message: r.msg})
		if len(parcels) < exportBatch {
			return nil
		}
		return send()
	}
	x.finish = func() error {
		defer carrier.Close()
		return errors.Join(send(), ch.flush())
	}
	x.drop = func() { x.finish() }
	return nil
}

// isAbout reports that a message in d could not be read, rather than written elsewhere.
func isAbout(err error, d *maildir.Dir) bool {
	var where *fs.PathError
	return errors.As(err, &where) &&
		(strings.HasPrefix(where.Path, d.Path()+"/cur/") || strings.HasPrefix(where.Path, d.Path()+"/new/"))
}

func (x *exporter) deliverFile(r *record, f openFile, to *maildir.Dir, ch *changer) error {
	w, err := to.Deliver()
	if err != nil {
		return err
	}
	w.SetTime(r.stored)
	if _, err := io.Copy(w, io.NewSectionReader(f, 0, r.size)); err != nil {
		w.Abort()
		return err
	}
	if err := w.Commit(); err != nil {
		return err
	}
	return ch.print(&change{nowIn: to, now: w.Message()})
}

// openTarget opens the Maildir that messages come into: a folder of the inbox, or of the user's, or a path.
func (e *env) openTarget(c *cli.Context, sys *system, word, user, past string) (*changer, *maildir.Dir, error) {
	ch := e.newChanger(c, past)
	ch.adopt = sys.configure
	t := ch.target(word, c.Bool("create"))
	if err := t.prepare(user); err != nil {
		return nil, nil, readError(err)
	}
	switch {
	case t.fixed != nil:
		return ch, t.fixed, nil
	case strings.Contains(word, "/"):
		if there, err := ch.finder.maildir(word); err == nil {
			p, err := ch.part(there)
			return ch, p.dir, err
		}
	}
	inbox := t.inbox
	if inbox == nil {
		var err error
		if inbox, err = e.inbox(ch.finder, user); err != nil {
			return nil, nil, readError(err)
		}
		ch.settle(inbox)
	}
	d, err := t.dir(inbox)
	return ch, d, readError(err)
}
