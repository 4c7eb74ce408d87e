package auth

import (
	"errors"
	"io/fs"
)

// AnyField reports that the line of some user has one of these keys. A file that is not there has no users; other errors
// are temporary.
func (u *Users) AnyField(keys ...string) (bool, error) {
	file, err := u.load()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range file.entries {
		for _, key := range keys {
			if _, ok := e.fields[key]; ok {
				return true, nil
			}
		}
	}
	return false, nil
}
