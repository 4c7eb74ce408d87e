package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/maildir"
	"mailx/pkg/message"
)

// A copy of what is sent (Fcc) is written before anything is sent, so that a full disk is found out in time, and appears in its
// folder when the message is safe with anybody. It is marked as read, and has the Bcc that the message has not.

// startCopy writes the copy of a letter; nil if none is wanted.
func (h *handover) startCopy(l *letter, msg *held) (*maildir.Delivery, error) {
	if h.opt.saveTo == "" {
		return nil, nil
	}
	if h.folder == nil {
		d, err := h.sys.openFolder(h.opt.saveTo)
		if err != nil {
			return nil, h.noCopy(err)
		}
		h.folder = d
	}
	saved, err := h.folder.Deliver()
	if err != nil {
		return nil, h.noCopy(err)
	}
	saved.Keep("S")
	bcc, err := message.BccField(l.bcc)
	if err == nil {
		_, err = saved.Write(bcc)
	}
	if err == nil {
		err = msg.writeTo(saved)
	}
	if err != nil {
		saved.Abort()
		return nil, h.noCopy(err)
	}
	return saved, nil
}

// noCopy says that the place is wrong where it is: what a Maildir calls trouble that may pass can be a wrong path here.
func (h *handover) noCopy(err error) error {
	err = fmt.Errorf("--save-to %s: %w", h.opt.saveTo, err)
	if code := exitOfFile(err); code == exCantCreate || code == exNoPerm {
		return exitWith(code, err)
	}
	return err
}

// endCopy keeps the copy of what anybody has or will get.
func (h *handover) endCopy(saved *maildir.Delivery, outcomes []outcome) {
	switch {
	case saved == nil:
	case !slices.ContainsFunc(outcomes, func(o outcome) bool { return !o.isFailed() }):
		saved.Abort()
	default:
		if err := saved.Commit(); err != nil {
			h.unsaved = fmt.Errorf("the copy for %s could not be kept: %w", h.opt.saveTo, err)
		}
	}
}

// openFolder opens a folder of the one who sends, or with a slash in its name the Maildir at that path, and makes it if it is
// not there.
func (s *system) openFolder(name string) (*maildir.Dir, error) {
	if strings.Contains(name, "/") {
		full, err := filepath.Abs(name)
		if err == nil {
			err = refuseOther(full)
		}
		if err != nil {
			return nil, err
		}
		return s.mailbox(full)
	}
	box := homeMaildir()
	if login, err := auth.CanonicalName(loginName()); err == nil && isMaildir(path.Join(s.cfg.MailRoot, login)) {
		box = path.Join(s.cfg.MailRoot, login)
	}
	if box == "" {
		return nil, usagef("whose folder? There is no HOME; name the path of a Maildir")
	}
	inbox, err := s.mailbox(box)
	if err != nil {
		return nil, err
	}
	if elements := folderElements(name); len(elements) > 0 {
		return inbox.CreateFolder(elements...)
	}
	return inbox, nil
}

// refuseOther refuses a directory that has something else in it, such as a home: nobody wants it made a Maildir. One that is half
// made is none of these.
func refuseOther(dir string) error {
	f, err := os.Open(dir)
	if err != nil { // it will be made, or not
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	isOwn := func(name string) bool { return slices.Contains([]string{"new", "cur", "tmp", "maildirfolder"}, name) }
	if len(names) == 0 || slices.ContainsFunc(names, isOwn) {
		return nil
	}
	return exitWith(exCantCreate, errors.New("there is something else in this directory, and it is no Maildir"))
}
