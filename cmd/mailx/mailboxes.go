package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strings"

	"mailx/pkg/auth"
	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
)

// loginName is the name of who runs this: $USER, $LOGNAME, or what the system has for the user id; "" if nobody knows.
func loginName() string {
	for _, variable := range []string{"USER", "LOGNAME"} {
		if name := os.Getenv(variable); name != "" {
			return name
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// homeMaildir is ~/Maildir; "" without a home.
func homeMaildir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		u, err := user.Current()
		if err != nil || u.HomeDir == "" {
			return ""
		}
		home = u.HomeDir
	}
	return path.Join(home, "Maildir")
}

// inbox opens the mailbox that is meant: that of the user who is named; else the one in the mail root for the login
// name; else ~/Maildir.
func (e *env) inbox(p *pathFinder, name string) (*maildir.Dir, error) {
	cfg, err := e.store()
	if err != nil {
		return nil, err
	}
	if name != "" {
		return userInbox(p, cfg.MailRoot, name)
	}
	if login, err := auth.CanonicalName(loginName()); err == nil {
		d, err := p.maildir(path.Join(cfg.MailRoot, login))
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return d, err
		}
	}
	home := homeMaildir()
	d, err := p.maildir(home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitWith(exNoInput, fmt.Errorf("no mailbox: neither %s nor %s is a Maildir; name one, or use --user",
			path.Join(cfg.MailRoot, loginName()), home))
	}
	return d, err
}

func userInbox(p *pathFinder, root, name string) (*maildir.Dir, error) {
	canonical, err := auth.CanonicalName(name)
	if err != nil {
		return nil, exitWith(exDataErr, fmt.Errorf("%q: %w", name, err))
	}
	d, err := p.maildir(path.Join(root, canonical))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitWith(exNoUser, fmt.Errorf("%s has no mailbox: there is no %s", canonical, path.Join(root, canonical)))
	}
	return d, err
}

// folderElements takes the name of a folder apart: "Archive/2026" and "Archive.2026" are the same. "" and INBOX, in any
// letter case, are no elements: the inbox itself.
func folderElements(name string) []string {
	name = strings.ReplaceAll(strings.TrimSuffix(name, "/"), "/", ".")
	if name == "" || strings.EqualFold(name, "INBOX") {
		return nil
	}
	return strings.Split(name, ".")
}

// folder opens a folder of an inbox; one that is not there is exit 66.
func folderOf(inbox *maildir.Dir, name string) (*maildir.Dir, error) {
	d, err := inbox.Folder(folderElements(name)...)
	if elems := folderElements(name); errors.Is(err, fs.ErrNotExist) { // in modified UTF-7, from another server?
		if there, ferr := mailbox.NewStore(mailFS(""), inbox).Folder(strings.Join(elems, "/")); ferr == nil {
			return there, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitWith(exNoInput, fmt.Errorf("there is no folder %s in %s", name, inbox.Path()))
	}
	if err != nil {
		return nil, fmt.Errorf("folder %q: %w", name, err)
	}
	return d, nil
}
