package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"mailx/pkg/vfs"
)

// doomedPrefix starts the name that a mailbox has while it is removed; it can't be the name of a user.
func doomedPrefix(box string) string {
	base := path.Base(box)
	return ".removed." + base[:min(200, len(base))] + "."
}

// leftovers are the paths of mailboxes whose removal was cut short.
func leftovers(box string) []string {
	names, err := vfs.OS().ReadDirNames(path.Dir(box))
	if err != nil || box == "" {
		return nil
	}
	var found []string
	for _, name := range names {
		if strings.HasPrefix(name, doomedPrefix(box)) {
			found = append(found, path.Join(path.Dir(box), name))
		}
	}
	return found
}

// purgeMailbox makes a mailbox disappear at once, and then removes it.
func purgeMailbox(box string, isThere bool) error {
	if isThere {
		if err := hideMailbox(box); err != nil {
			return err
		}
	}
	var errs []error
	for _, doomed := range leftovers(box) {
		errs = append(errs, os.RemoveAll(doomed))
	}
	return errors.Join(errs...)
}

func hideMailbox(box string) error {
	fi, err := os.Lstat(box)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return exitWith(exCantCreate, fmt.Errorf("%s is no directory; what it leads to was left alone", box))
	}
	fsys, root := vfs.OS(), path.Dir(box)
	if err := fsys.Move(box, path.Join(root, doomedPrefix(box)+rand.Text())); err != nil {
		return err
	}
	return fsys.SyncDir(root)
}
