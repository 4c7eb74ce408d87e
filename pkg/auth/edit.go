package auth

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// How long an edit waits for another one.
const (
	lockTries = 250
	lockPause = 20 * time.Millisecond
)

// The two ways in which a name can be the wrong one to edit.
var (
	ErrNoUser = errors.New("no such user")
	ErrExists = errors.New("user exists already")
)

// Add makes a user, and the file if there is none; the name may be Wildcard. It gives ErrExists, or an error about the
// name or the password. When an edit returns nil it is durable, and after any other end the file is as it was or as it
// should be, whole.
func (u *Users) Add(name, password string) error {
	if err := CheckPassword(password); err != nil {
		return err
	}
	return u.add(name, func() entry { return newEntry(password, entry{}) })
}

// AddWithoutSecret makes a user, or Wildcard, whose password only Checker knows. The rest is as with Add.
func (u *Users) AddWithoutSecret(name string) error {
	return u.add(name, func() entry { return entry{} })
}

func (u *Users) add(name string, entry func() entry) error {
	return u.edit(name, func(data []byte, name string) ([]byte, error) {
		if hasLine(data, name) {
			return nil, fmt.Errorf("%s: %w", name, ErrExists)
		}
		return replaceLine(data, name, printLine(name, entry())), nil
	})
}

// SetPassword gives a user another password; other fields of the line stay. It gives ErrNoUser, or an error about the
// password.
func (u *Users) SetPassword(name, password string) error {
	if err := CheckPassword(password); err != nil {
		return err
	}
	return u.edit(name, func(data []byte, name string) ([]byte, error) {
		for line := range bytes.Lines(data) {
			if nameOf(line) != name {
				continue
			}
			old := parseLine(line)
			if errors.Is(old.err, errFields) || errors.Is(old.err, errRule) {
				return nil, fmt.Errorf("%s: %w", name, old.err)
			}
			return replaceLine(data, name, printLine(name, newEntry(password, old))), nil
		}
		return nil, fmt.Errorf("%s: %w", name, ErrNoUser)
	})
}

// Remove takes a user out of the file; it gives ErrNoUser. The user's mail stays where it is.
func (u *Users) Remove(name string) error {
	return u.edit(name, func(data []byte, name string) ([]byte, error) {
		if !hasLine(data, name) {
			return nil, fmt.Errorf("%s: %w", name, ErrNoUser)
		}
		return replaceLine(data, name, ""), nil
	})
}

// List gives the names in the file in the order of their lines, Wildcard among them.
func (u *Users) List() ([]string, error) {
	data, _, err := u.readRaw()
	if err != nil {
		return nil, err
	}
	var names []string
	seen := map[string]bool{}
	for line := range bytes.Lines(data) {
		if name := nameOf(line); name != "" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}

// newEntry is old with another password.
func newEntry(password string, old entry) entry {
	keys := NewScramKeys(password)
	return entry{secret: NewSecret(password), scram: &keys, passwd: old.passwd, fields: old.fields}
}

func hasLine(data []byte, name string) bool {
	return slices.ContainsFunc(slices.Collect(bytes.Lines(data)), func(line []byte) bool { return nameOf(line) == name })
}

// edit replaces the file by what change makes of it, while nobody else edits it.
func (u *Users) edit(name string, change func(data []byte, name string) ([]byte, error)) error {
	canonical, err := CanonicalName(name)
	if err != nil && name != Wildcard {
		return fmt.Errorf("%q: %w", name, err)
	}
	if name == Wildcard {
		canonical = name
	}
	lock, err := u.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	data, _, err := u.readRaw()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if data, err = change(data, canonical); err != nil {
		return err
	}
	if int64(len(data)) > u.limit {
		return fmt.Errorf("%s would be larger than %d octets", u.path, u.limit)
	}
	u.sweep()
	return vfs.WriteFile(u.fsys, u.path, rand.Text(), data)
}

// lock takes the lock file beside the user file: the user file itself is replaced, so a lock on it would not hold.
func (u *Users) lock() (vfs.File, error) {
	f, err := u.fsys.OpenAppend(u.path + ".lock")
	if err != nil {
		return nil, err
	}
	for range lockTries {
		if err = f.Lock(); !errors.Is(err, vfs.ErrLocked) {
			break
		}
		u.sleep(lockPause)
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, vfs.ErrLocked) {
		return nil, mail.Temporaryf(3, 0, "User file is being changed by somebody else: %w", err)
	}
	return nil, err
}

// sweep removes what killed edits left: they have secrets in them. Under the lock nobody else has such a file in use.
func (u *Users) sweep() {
	dir, base := path.Split(u.path)
	if dir == "" {
		dir = "."
	}
	names, err := u.fsys.ReadDirNames(dir)
	if err != nil {
		return
	}
	for _, name := range names {
		if strings.HasPrefix(name, base+".") && strings.HasSuffix(name, ".tmp") {
			u.fsys.Remove(path.Join(dir, name))
		}
	}
}
