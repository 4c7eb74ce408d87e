package mailbox

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Inbox is the name of the inbox, in any letter case.
const Inbox = "INBOX"

// What can be wrong with the name of a folder.
var (
	ErrNoFolder     = mail.Permanentf(1, 1, "There is no such folder")
	ErrFolderExists = mail.Permanentf(2, 0, "The folder is there already")
	ErrFolderName   = mail.Permanentf(1, 3, "That can't be the name of a folder")
	ErrInbox        = mail.Permanentf(2, 0, "Not possible with the inbox")
)

// Store is the mail of one user: the inbox and the Maildir++ folders in it. Names are UTF-8 with "/" between the levels. On
// disk a folder is named in UTF-8; one that another server has named in modified UTF-7 is found too. It is safe for
// concurrent use.
type Store struct {
	fsys  vfs.FS
	inbox *maildir.Dir
}

// OpenStore opens the Maildir of a user, making it if need be.
func OpenStore(fsys vfs.FS, path string) (*Store, error) {
	inbox, err := maildir.Create(fsys, path)
	if err != nil {
		return nil, err
	}
	return NewStore(fsys, inbox), nil
}

// NewStore is OpenStore for a Maildir that is open; the folders have its settings.
func NewStore(fsys vfs.FS, inbox *maildir.Dir) *Store { return &Store{fsys, inbox} }

// SplitName checks a name and gives its elements; none for the inbox. Nothing in them can climb: no empty or dotted
// elements, no control characters. The error is ErrFolderName.
func SplitName(name string) ([]string, error) {
	if strings.EqualFold(name, Inbox) {
		return nil, nil
	}
	if !utf8.ValidString(name) || len(name) > 240 || strings.ContainsFunc(name, unicode.IsControl) {
		return nil, ErrFolderName
	}
	elems := strings.Split(name, "/")
	for _, e := range elems {
		if e == "" || strings.ContainsAny(e, ".") {
			return nil, ErrFolderName
		}
	}
	return elems, nil
}

// Folders gives all names but the inbox, sorted.
func (s *Store) Folders() ([]string, error) {
	onDisk, err := s.inbox.Folders()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(onDisk))
	for _, d := range onDisk {
		name := strings.ReplaceAll(fromDisk(d), ".", "/")
		if elems, err := SplitName(name); err == nil && len(elems) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// fromDisk decodes modified UTF-7, if that is what it is and there is no other form of it.
func fromDisk(name string) string {
	if text, ok := DecodeUTF7(name); ok {
		return text
	}
	return name
}

// spellings gives the elements that a name may have on disk: ours, and those of other servers if they are not the same.
func spellings(elems []string) [][]string {
	foreign := strings.Split(EncodeUTF7(strings.Join(elems, "/")), "/")
	if strings.Contains(strings.Join(foreign, "."), "&") && len(foreign) == len(elems) {
		return [][]string{elems, foreign}
	}
	return [][]string{elems}
}

// onDisk gives the elements by which a folder is found.
func (s *Store) onDisk(elems []string) (found []string, err error) {
	for _, try := range spellings(elems) {
		_, err := s.inbox.Folder(try...)
		if err == nil {
			return try, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, ErrNoFolder
}

// Folder gives the Maildir of a folder, or the inbox. The error is ErrNoFolder if there is none.
func (s *Store) Folder(name string) (*maildir.Dir, error) { return s.dir(name) }

func (s *Store) dir(name string) (*maildir.Dir, error) {
	elems, err := SplitName(name)
	if err != nil {
		return nil, ErrNoFolder
	}
	if len(elems) == 0 {
		return s.inbox, nil
	}
	found, err := s.onDisk(elems)
	if err != nil {
		return nil, err
	}
	return s.inbox.Folder(found...)
}

// Open opens the index of a folder. The error is ErrNoFolder if there is none.
func (s *Store) Open(ctx context.Context, name string) (*Box, error) {
	dir, err := s.dir(name)
	if err != nil {
		return nil, err
	}
	return Open(ctx, s.fsys, dir)
}

// Exists reports a folder.
func (s *Store) Exists(name string) (bool, error) {
	_, err := s.dir(name)
	if errors.Is(err, ErrNoFolder) {
		return false, nil
	}
	return err == nil, err
}

// Create makes a folder, durably.
func (s *Store) Create(name string) error {
	elems, err := s.vacant(name)
	if err != nil {
		return err
	}
	_, err = s.inbox.CreateFolder(elems...)
	return err
}

// vacant gives the elements of a name that is free.
func (s *Store) vacant(name string) ([]string, error) {
	elems, err := SplitName(name)
	switch {
	case err != nil:
		return nil, err
	case len(elems) == 0:
		return nil, ErrFolderExists
	case strings.EqualFold(elems[0], Inbox): // Folders are beside the inbox, not in it.
		return nil, ErrFolderName
	}
	if _, err := s.onDisk(elems); !errors.Is(err, ErrNoFolder) {
		if err == nil {
			err = ErrFolderExists
		}
		return nil, err
	}
	return elems, nil
}

// Delete removes a folder with its mail, durably; not those below it.
func (s *Store) Delete(name string) error {
	found, err := s.existing(name)
	if err != nil {
		return err
	}
	return s.inbox.RemoveFolder(found...)
}

// DeleteEmpty is Delete for a folder without messages; else it is maildir.ErrNotEmpty. No mail that comes in meanwhile is lost.
func (s *Store) DeleteEmpty(name string) error {
	found, err := s.existing(name)
	if err != nil {
		return err
	}
	return s.inbox.RemoveEmptyFolder(found...)
}

func (s *Store) existing(name string) ([]string, error) {
	elems, err := SplitName(name)
	if err != nil {
		return nil, ErrNoFolder
	}
	if len(elems) == 0 {
		return nil, ErrInbox
	}
	return s.onDisk(elems)
}

// Rename renames a folder and those below it, durably, with their UIDs. One that is there only in the names of those below it is
// renamed with them. Renaming the inbox moves its mail to a new folder (RFC 3501 §6.3.5).
func (s *Store) Rename(ctx context.Context, old, new string) error {
	to, err := s.vacant(new)
	if err != nil {
		return err
	}
	if strings.EqualFold(old, Inbox) {
		return s.emptyInbox(ctx, new)
	}
	elems, err := SplitName(old)
	if err != nil {
		return ErrNoFolder
	}
	found := false
	for _, from := range spellings(elems) {
		err := s.inbox.RenameFolder(from, to)
		switch {
		case errors.Is(err, fs.ErrExist):
			return ErrFolderExists
		case err == nil:
			found = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if !found {
		return ErrNoFolder
	}
	return nil
}

func (s *Store) emptyInbox(ctx context.Context, new string) error {
	if err := s.Create(new); err != nil {
		return err
	}
	from, err := s.Open(ctx, Inbox)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := s.Open(ctx, new)
	if err != nil {
		return err
	}
	defer to.Close()
	uids := make([]uint32, 0, len(from.Messages()))
	for _, m := range from.Messages() {
		uids = append(uids, m.UID)
	}
	_, err = from.Move(ctx, to, uids...)
	return err
}

const (
	subsName     = "mailx-subscriptions"
	subsLockName = "mailx-subscriptions.lock"
	maxSubs      = 10_000
)

// Subscribed gives the names that were subscribed to, sorted; the folders need not exist.
func (s *Store) Subscribed() ([]string, error) {
	data, err := vfs.ReadFile(s.fsys, s.inbox.Path()+"/"+subsName, 4<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, vfs.Classify(err)
	}
	return parseSubscriptions(string(data)), nil
}

func parseSubscriptions(data string) []string {
	var names []string
	for line := range strings.Lines(data) {
		name := strings.TrimSuffix(line, "\n")
		elems, err := SplitName(name)
		if err != nil || len(names) == maxSubs {
			continue
		}
		if len(elems) == 0 {
			name = Inbox
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Subscribe adds a name to the subscriptions or takes it away, durably.
func (s *Store) Subscribe(ctx context.Context, name string, on bool) error {
	elems, err := SplitName(name)
	if err != nil {
		return err
	}
	if len(elems) == 0 {
		name = Inbox
	}
	path := s.inbox.Path() + "/" + subsName
	f, err := lock(ctx, s.fsys, s.inbox.Path()+"/"+subsLockName)
	if err != nil {
		return vfs.Classify(err)
	}
	defer f.Close()
	names, err := s.Subscribed()
	if err != nil {
		return err
	}
	i, there := slices.BinarySearch(names, name)
	switch {
	case there == on:
		return nil
	case on && len(names) >= maxSubs:
		return mail.Permanentf(2, 2, "Too many subscriptions")
	case on:
		names = slices.Insert(names, i, name)
	default:
		names = slices.Delete(names, i, i+1)
	}
	s.fsys.Remove(path + "." + tmpPart + ".tmp")
	data := ""
	if len(names) > 0 {
		data = strings.Join(names, "\n") + "\n"
	}
	return vfs.Classify(vfs.WriteFile(s.fsys, path, tmpPart, []byte(data)))
}
