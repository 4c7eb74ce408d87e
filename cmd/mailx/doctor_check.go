package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/queue"
)

// checkDirs looks at Maildirs and queues alone, wherever they are, with all that is true of them at any moment and after any
// crash: the messages, the indexes of folders, the entries of queues.
func (d *doctor) checkDirs(ctx context.Context, dirs []string) {
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return
		}
		d.checkDir(ctx, dir)
	}
}

func (d *doctor) checkDir(ctx context.Context, dir string) {
	top, err := maildir.Open(d.fs, dir)
	if err != nil {
		if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
			err = cause
		}
		d.add(finding{severity: severityError, check: "mailboxes", path: dir, code: exDataErr, text: fmt.Sprintf("%s is no Maildir: %v", dir, err)})
		return
	}
	mend := mendMessage
	if isQueue(dir) {
		mend = func(string) string { return "" } // a message that is not as it was accepted is for a person
	}
	d.problems("mailboxes", dir, maildir.Check(d.fs, dir), mend)
	if isQueue(dir) {
		d.checkQueue(ctx, dir)
		return
	}
	d.problems("index", dir, mailbox.Check(d.fs, top), mend)
	folders, _ := top.Folders() // its error was told
	for _, name := range folders {
		name = path.Join(dir, "."+name)
		if folder, err := maildir.Open(d.fs, name); err == nil {
			d.problems("index", name, mailbox.Check(d.fs, folder), mend)
		}
	}
}

func (d *doctor) problems(check, dir string, problems []maildir.Problem, mend func(string) string) {
	for _, p := range problems {
		name := path.Join(dir, p.File)
		d.add(finding{severity: severityError, check: check, path: name, code: exDataErr, text: name + ": " + p.Text, fix: mend(name)})
	}
}

// isQueue knows a queue by the directory of its side files, which no mailbox has.
func isQueue(dir string) bool { return exists(path.Join(dir, ".progress")) }

func (d *doctor) checkQueue(ctx context.Context, dir string) {
	f := finding{severity: severityError, check: "queue", path: dir, code: exDataErr}
	q, err := queue.Open(d.fs, dir, queue.Options{Hostname: d.cfg.Hostname, Now: d.e.now})
	if err != nil {
		f.text = fmt.Sprintf("%s is not complete: %s", dir, reasonOf(err))
		d.add(f)
		return
	}
	for item, err := range q.List(ctx) {
		if err == nil {
			err = item.Damaged
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.path = path.Join(dir, item.File)
			f.text = fmt.Sprintf("%s is damaged: %s", f.path, reasonOf(err))
			d.add(f)
		}
	}
}
