package main

import (
	"testing"

	"mailx/pkg/config"
	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// Whether there is room for a message is asked with a reserve always, and without one for large messages.
func TestSpace(t *testing.T) {
	const size = largeMessage
	for _, c := range []struct {
		reserve, size int64
		free          uint64
		isDir, isFull bool
	}{
		{0, size, size, true, false}, {0, size, size - 1, true, true}, {0, size - 1, 1, true, false}, {0, 0, 1, true, false},
		{0, size, 0, true, false}, // which some file systems say of themselves whatever they hold
		{0, size, 1, false, false},
		{1, size, size + 1, true, false}, {1, size, size, true, true}, {1, 0, 1, true, false}, {1, 0, 0, true, true},
		{1, size, 0, false, false},
	} {
		mem := vfs.NewMem()
		if err := mem.Mkdir("/spool"); err != nil {
			t.Fatal(err)
		}
		s := &system{cfg: &config.Config{Spool: "/spool", Reserve: c.reserve}, fs: mem}
		if mem.Space = c.free; !c.isDir {
			s.cfg.Spool = "/elsewhere"
		}
		err := s.space()(c.size)
		if (err != nil) != c.isFull || c.isFull && mail.StatusOf(err) != (mail.Status{Class: mail.Temporary, Subject: 3, Detail: 1}) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}
