// Package pkg_test holds the rule that arrows between rooms point down only.
package pkg_test

import (
	"go/build"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed says which rooms a room may import. A room that needs another arrow is in the wrong place.
var allowed = map[string]string{
	"mail":     "",
	"wire":     "mail",
	"vfs":      "mail",
	"config":   "mail",
	"maillog":  "mail",
	"program":  "",
	"dns":      "message mail",
	"auth":     "vfs mail program",
	"maildir":  "vfs mail",
	"message":  "wire mail",
	"mbox":     "wire",
	"session":  "wire mail maillog",
	"mailbox":  "maildir message mail vfs",
	"imap":     "session wire auth mail message mailbox",
	"pop3":     "session wire auth mail maildir mailbox vfs",
	"smtp":     "session wire auth mail message",
	"filter":   "smtp mail maillog vfs",
	"hook":     "filter smtp mail message program",
	"milter":   "filter smtp mail message",
	"mtasts":   "dns vfs web",
	"queue":    "maildir message mail vfs maillog",
	"fetch":    "pop3 imap auth maildir vfs message mail maillog",
	"web":      "",
	"acme":     "vfs web",
	"delivery": "smtp maildir dns mtasts auth message mail maillog mbox vfs program",
	"mailtest": "mail",
}

// plain rooms import the standard library and golang.org/x only, besides other rooms.
var plain = []string{"mail", "wire", "vfs", "maillog", "dns", "maildir", "session", "queue", "mailbox", "mbox", "program", "web", "mtasts"}

func TestArrowsPointDown(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		seen++
		room := e.Name()
		may, known := allowed[room]
		if !known {
			t.Errorf("room %s is not in the plan: add it to DESIGN and to this table", room)
			continue
		}
		p, err := build.ImportDir(room, 0)
		if _, empty := err.(*build.NoGoError); empty {
			t.Errorf("room %s is empty", room)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", room, err)
			continue
		}
		checkRoom(t, room, strings.Fields(may), p.Imports)
	}
	if seen != len(allowed) {
		t.Errorf("%d rooms on disk, %d in the plan", seen, len(allowed))
	}
}

func checkRoom(t *testing.T, room string, may, imports []string) {
	for _, imp := range imports {
		target, ours := strings.CutPrefix(imp, "mailx/pkg/")
		target, _, _ = strings.Cut(target, "/")
		switch {
		case ours && target != room && !slices.Contains(may, target):
			t.Errorf("%s imports %s: that arrow points up", room, imp)
		case !ours && slices.Contains(plain, room) && isForeign(imp):
			t.Errorf("%s imports %s: only the standard library and golang.org/x here", room, imp)
		}
	}
}

func isForeign(imp string) bool {
	host, _, _ := strings.Cut(imp, "/")
	return strings.Contains(host, ".") && host != "golang.org"
}

// A program that imports the test kit would carry it to its users.
func TestOnlyTestsImportMailtest(t *testing.T) {
	for _, dir := range []string{".", "../cmd"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			p, err := build.ImportDir(path, 0)
			if err != nil {
				return nil // no Go files here
			}
			if slices.Contains(p.Imports, "mailx/pkg/mailtest") {
				t.Errorf("%s imports mailtest outside of its tests", path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
