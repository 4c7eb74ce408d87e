package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// survey is what a walk through all files has found, by paths.
type survey struct {
	owners   []string // directories that belong to somebody else, or have files that do; not those below one of them
	writable []string // directories that others may write to
	open     []string // mailboxes and queue, where others may read
	closed   []string // this user can't look there
	old      []string // in tmp/
	future   []string
	newest   time.Time // of these
}

// leftAge is how old a file in tmp/ is that nobody writes any more (cr.yp.to/proto/maildir.html).
const leftAge = 36 * time.Hour

// clockSlack is how far in the future a file may be: hosts that share a spool need not agree to the second.
const clockSlack = 5 * time.Minute

func (d *doctor) files(ctx context.Context) {
	var s survey
	for _, root := range d.roots() {
		filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return filepath.SkipAll
			}
			return d.look(&s, name, entry, err)
		})
	}
	owner := nameOfUser(d.uid)
	wrong := finding{severity: severityError, check: "files", code: exNoPerm}
	d.each(s.owners, wrong, func(name string) string {
		if whose := ownerOf(name); whose != owner {
			return fmt.Sprintf("%s belongs to %s, not to %s", name, whose, owner)
		}
		return fmt.Sprintf("%s has files that do not belong to %s", name, owner)
	}, func(name string) string { return "chown -R " + shellWord(owner) + ": " + shellWord(name) })
	d.each(s.writable, wrong, func(name string) string { return "others may write to " + name },
		func(name string) string { return "chmod go-w " + shellWord(name) })
	d.each(s.closed, wrong, func(name string) string { return "can't look into " + name },
		func(string) string { return "sudo " + d.command("doctor") })
	wrong.severity = severityWarning
	d.each(s.open, wrong, func(name string) string { return "others may read " + name },
		func(name string) string { return "chmod go= " + shellWord(name) })
	d.leftInTmp(s.old)
	d.fromTheFuture(&s)
}

// roots are where mail is, each once.
func (d *doctor) roots() []string {
	var roots []string
	for _, name := range []string{d.cfg.Spool, d.cfg.MailRoot, d.cfg.QueueDir} {
		if real := realPath(name); exists(real) && !slices.ContainsFunc(roots, func(r string) bool { return isBelow(real, r) }) {
			roots = append(roots, real)
		}
	}
	return roots
}

// realPath is a path without symbolic links.
func realPath(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	return path.Clean(name)
}

func isBelow(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// look is for every file and directory.
func (d *doctor) look(s *survey, name string, entry fs.DirEntry, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		s.closed = append(s.closed, name)
		return nil
	}
	if err != nil || entry == nil {
		return nil // it has gone meanwhile
	}
	fi, err := entry.Info()
	if err != nil {
		return nil
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != d.uid {
		s.foreign(name, fi.IsDir())
	}
	mode := fi.Mode().Perm()
	isRoot := path.Dir(name) == realPath(d.cfg.MailRoot) || name == realPath(d.cfg.QueueDir)
	switch {
	case fi.IsDir() && mode&0o022 != 0 && name != realPath(d.cfg.Spool): // config.Check has told of the spool
		s.writable = append(s.writable, name)
	case fi.IsDir() && mode&0o055 != 0 && isRoot:
		s.open = append(s.open, name)
	}
	if fi.Mode().IsRegular() {
		d.dates(s, name, fi)
	}
	return nil
}

// foreign remembers where somebody else's things are.
func (s *survey) foreign(name string, isDir bool) {
	if !isDir {
		name = path.Dir(name)
	}
	if !slices.ContainsFunc(s.owners, func(known string) bool { return isBelow(name, known) }) {
		s.owners = append(s.owners, name)
	}
}

// dates looks at the time of a file: for messages the one in the name, since the time of the file is that of the next try, or
// what an IMAP client has said.
func (d *doctor) dates(s *survey, name string, fi fs.FileInfo) {
	at := fi.ModTime()
	switch path.Base(path.Dir(name)) {
	case "tmp":
		if fi.Name()[0] != '.' && at.Before(d.now.Add(-leftAge)) && vfs.AccessTime(fi).Before(d.now.Add(-leftAge)) {
			s.old = append(s.old, name)
		}
	case "new", "cur":
		digits, _, _ := strings.Cut(maildir.ParseName(fi.Name()).Base, ".")
		sec, err := strconv.ParseInt(digits, 10, 40)
		if err != nil {
			return
		}
		at = time.Unix(sec, 0)
	}
	if at.After(d.now.Add(clockSlack)) {
		s.future = append(s.future, name)
		if at.After(s.newest) {
			s.newest = at
		}
	}
}

func ownerOf(name string) string {
	if fi, err := os.Lstat(name); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return nameOfUser(int(st.Uid))
		}
	}
	return "somebody else"
}

// leftInTmp tells of files that crashes left, by directory. Those of the queue go with the next flush.
func (d *doctor) leftInTmp(files []string) {
	counts := map[string]int{}
	var dirs []string
	for _, name := range files {
		dir := path.Dir(name)
		if counts[dir] == 0 {
			dirs = append(dirs, dir)
		}
		counts[dir]++
	}
	d.each(dirs, finding{severity: severityWarning, check: "leftovers", code: exTempFail},
		func(dir string) string {
			return fmt.Sprintf("left by something that was killed: %s in %s", counted(counts[dir], "file"), dir)
		},
		func(dir string) string {
			if path.Dir(dir) == realPath(d.cfg.QueueDir) {
				return d.command("queue", "flush")
			}
			return "find " + shellWord(dir) + " -type f -mmin +2160 -delete"
		})
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
