package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Check holds what is true of every index, at any moment and after any crash, against that of a Maildir, if it has one: all its
// lines can be read, UIDs are given once and in order, and no two messages have one name. A line without
// its end is what a crash leaves, and no problem. The Maildir is not looked at: it may be ahead.
func Check(fsys vfs.FS, dir *maildir.Dir) []maildir.Problem {
	f, err := fsys.Open(dir.Path() + "/" + logName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []maildir.Problem{{File: logName, Text: err.Error()}}
	}
	defer f.Close()
	data, err := readFrom(f, 0)
	if err != nil {
		return []maildir.Problem{{File: logName, Text: err.Error()}}
	}
	c := indexCheck{}
	c.file(data)
	return c.problems
}

type indexCheck struct {
	state
	line     int
	problems []maildir.Problem
}

func (c *indexCheck) add(format string, args ...any) {
	text := fmt.Sprintf("line %d: ", c.line) + fmt.Sprintf(format, args...)
	c.problems = append(c.problems, maildir.Problem{File: logName, Text: text})
}

func (c *indexCheck) file(data []byte) {
	c.line = 1
	used, ok := c.readFirst(data)
	if !ok {
		c.add("is not the first of an index")
		return
	}
	for line := range bytes.Lines(data[used:]) {
		c.line++
		if whole, ok := bytes.CutSuffix(line, []byte{'\n'}); ok {
			c.record(whole)
		}
	}
	c.names()
}

func (c *indexCheck) record(line []byte) {
	r, ok := parseRecord(line)
	if !ok {
		c.add("can't be read")
		return
	}
	given := len(c.msgs)
	c.apply(r)
	switch {
	case r.kind == 'U' && len(c.msgs) == given:
		c.add("UID %d is given again, or to no message", r.uid)
	case r.kind != 'U' && r.kind != 'N' && c.find(r.uid) == nil:
		c.add("is about UID %d, which was not given", r.uid)
	}
}

// names looks at the messages that are there in the end.
func (c *indexCheck) names() {
	c.dropGone()
	uids := make(map[string]uint32, len(c.msgs))
	for i := range c.msgs {
		m := &c.msgs[i]
		if other := uids[m.Base]; other != 0 {
			c.problems = append(c.problems, maildir.Problem{File: logName, Text: fmt.Sprintf("UIDs %d and %d are one message: %s", other, m.UID, m.Base)})
		}
		uids[m.Base] = m.UID
	}
}
