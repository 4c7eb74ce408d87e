package queue

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// onOtherDisk is a file system on which some directories are said to be of another disk, for as long as they are there.
type onOtherDisk struct {
	vfs.FS
	other map[string]fs.FileInfo
}

func (o onOtherDisk) Lstat(name string) (fs.FileInfo, error) {
	fi, err := o.FS.Lstat(name)
	if other := o.other[name]; err == nil && other != nil {
		return other, nil
	}
	return fi, err
}

func TestRestore(t *testing.T) {
	elsewhere, err := vfs.OS().Lstat("/")
	if err != nil {
		t.Fatal(err)
	}
	mkdirs := func(dirs ...string) func(*testing.T, vfs.FS) {
		return func(t *testing.T, fsys vfs.FS) {
			for _, dir := range dirs {
				if err := fsys.Mkdir(dir); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, c := range []struct {
		name   string
		other  string // what is on another disk, at the beginning
		remove string
		then   func(*testing.T, vfs.FS)
		want   string // the error; "" if mail is taken
	}{
		{name: "nothing is missing", then: mkdirs()},
		{name: "the queue", remove: "/spool/mail/q", then: mkdirs()},
		{name: "a part of it", remove: "/spool/mail/q/new", then: mkdirs()},
		{name: "held mail", remove: "/spool/mail/q/.Hold", then: mkdirs()},
		{name: "the directory above it", remove: "/spool/mail", then: mkdirs()},
		{name: "two above it", remove: "/spool", then: mkdirs(), want: "mount it"},
		{name: "the queue is a disk, the mount point is gone", other: "/spool/mail/q/.", remove: "/spool/mail/q", then: mkdirs(), want: "another disk"},
		{name: "the queue is a disk, the mount point is there", other: "/spool/mail/q/.", remove: "/spool/mail/q", then: mkdirs("/spool/mail/q"),
			want: "/spool/mail/q is not the directory that it was"},
		{name: "the spool is a disk", other: "/spool/mail/.", remove: "/spool/mail", then: mkdirs("/spool/mail"),
			want: "/spool/mail is not the directory that it was"},
		{name: "it was made by somebody else, but not all", remove: "/spool/mail/q", then: mkdirs("/spool/mail/q", "/spool/mail/q/new"),
			want: "/spool/mail/q is not the directory that it was"},
		{name: "it was made by somebody else", remove: "/spool/mail/q", then: mkdirs("/spool/mail/q", "/spool/mail/q/new", "/spool/mail/q/cur")},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := onOtherDisk{vfs.NewMem(), map[string]fs.FileInfo{}}
			if c.other != "" {
				fsys.other[c.other] = elsewhere
			}
			q, err := Create(fsys, "/spool/mail/q", Options{})
			if err != nil {
				t.Fatal(err)
			}
			if c.remove != "" {
				if err := removeAll(fsys, c.remove); err != nil {
					t.Fatal(err)
				}
			}
			clear(fsys.other)
			c.then(t, fsys)
			env := &mail.Envelope{Sender: addr("s@x"), Rcpts: rcpts("ok@y")}
			_, err = enqueue(q, env, ketchup)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !mail.StatusOf(err).IsTemporary() {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			held, err := q.EnqueueHeld(env)
			if err == nil {
				err = held.Commit()
			}
			if err := errors.Join(err, q.spool.Check()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Many messages that find no queue make one.
func TestRestoreAtOnce(t *testing.T) {
	w := newWorld(t)
	for range 3 { // and again
		if err := removeAll(w.mem, "/q"); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := enqueue(w.q, &mail.Envelope{Sender: addr("s@x"), Rcpts: rcpts("ok@y")}, ketchup); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if names, err := w.mem.ReadDirNames("/q/new"); len(names) != 20 {
			t.Errorf("%d messages, %v", len(names), err)
		}
	}
}
