package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"mailx/pkg/vfs"
)

// Problem is something in a Maildir that should not be.
type Problem struct {
	File string // path below the Maildir that was checked; "" for the Maildir itself
	Text string
}

// String is "new/xyz: what is wrong".
func (p Problem) String() string {
	if p.File == "" {
		return p.Text
	}
	return p.File + ": " + p.Text
}

// Check holds what is true of every Maildir and its folders, at any moment and after any crash, against the one at
// path: it is one; nobody else may write to it; in new/ and cur/ are only messages, each once, as long as its name says.
// Leftovers in tmp/ are no problem. It reads every message whose name has a size. A message that disappears while it
// is read is no problem either.
func Check(fsys vfs.FS, name string) []Problem {
	d, err := Open(fsys, name)
	if err != nil {
		return []Problem{{"", err.Error()}}
	}
	c := checker{d: d}
	c.maildir()
	folders, err := d.Folders()
	c.report("", err)
	for _, folder := range folders {
		sub := checker{d: d.folder("." + folder), prefix: "." + folder + "/"}
		sub.maildir()
		c.problems = append(c.problems, sub.problems...)
	}
	return c.problems
}

type checker struct {
	d        *Dir
	prefix   string
	problems []Problem
}

func (c *checker) add(file, format string, args ...any) {
	c.problems = append(c.problems, Problem{c.prefix + file, fmt.Sprintf(format, args...)})
}

func (c *checker) report(file string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.add(file, "%v", err)
	}
}

func (c *checker) maildir() {
	for _, sub := range [...]string{"", "tmp", "new", "cur"} {
		fi, err := c.d.fsys.Lstat(c.d.join(sub + "/."))
		c.report(sub, err)
		if err == nil && fi.Mode().Perm()&0o022 != 0 {
			c.add(sub, "others may write to it: mode %04o", fi.Mode().Perm())
		}
	}
	seen := map[string]string{}
	for _, sub := range [...]string{"new", "cur"} {
		names, err := c.d.fsys.ReadDirNames(c.d.join(sub))
		c.report(sub, err)
		slices.Sort(names)
		for _, name := range names {
			c.message(sub+"/"+name, seen)
		}
	}
}

func (c *checker) message(file string, seen map[string]string) {
	fi, err := c.d.fsys.Lstat(c.d.join(file))
	if err != nil {
		c.report(file, err)
		return
	}
	m := newMessage(file)
	switch {
	case !fi.Mode().IsRegular():
		c.add(file, "not a regular file")
		return
	case !isMessageName(m.Name):
		c.add(file, "not the name of a message")
		return
	case seen[m.Base] != "":
		c.add(file, "the same message as %s", seen[m.Base])
	}
	seen[m.Base] = file
	c.sizes(m)
}

// isMessageName wants a name that starts with a time, as the names of every program do that delivers.
func isMessageName(n Name) bool {
	file := n.String()
	return arrivalOf(n.Base).sec != noArrival &&
		strings.IndexFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

func (c *checker) sizes(m Message) {
	if m.Size < 0 && m.Wire < 0 {
		return
	}
	f, err := c.d.fsys.Open(c.d.join(m.File))
	if err != nil {
		c.report(m.File, err)
		return
	}
	defer f.Close()
	o, err := measure(f)
	c.report(m.File, err)
	if m.Size >= 0 && o.size != m.Size {
		c.add(m.File, "has %d octets, the name says %d", o.size, m.Size)
	}
	if m.Wire >= 0 && o.wire != m.Wire {
		c.add(m.File, "has %d octets on the wire, the name says %d", o.wire, m.Wire)
	}
}
