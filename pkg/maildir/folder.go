package maildir

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// Folders are Maildir++: the folder Archive/2026 is the Maildir ".Archive.2026" in the inbox, whatever its depth. A
// folder is given by the elements of its name, outermost first; none means the inbox itself. Folders exist one by one:
// "Archive" need not exist for "Archive", "2026" to do.

// maxFolder is the longest name of a directory.
const maxFolder = 255

// folderName checks the elements and gives the name of the directory. What could climb out of the Maildir ("..", "/",
// NUL), break its order ("." and empty elements), or mislead a terminal (control characters) is refused, 5.1.3.
func folderName(elems []string) (string, error) {
	name := "." + strings.Join(elems, ".")
	if len(elems) == 0 || len(name) > maxFolder {
		return "", mail.Permanentf(1, 3, "Folder name is empty or too long")
	}
	for _, e := range elems {
		if !isElement(e) {
			return "", mail.Permanentf(1, 3, "Bad folder name")
		}
	}
	return name, nil
}

func isElement(e string) bool {
	if e == "" || !utf8.ValidString(e) || strings.ContainsAny(e, "./") {
		return false
	}
	return strings.IndexFunc(e, unicode.IsControl) < 0
}

// folder gives the Dir of a directory of d, with the settings of d.
func (d *Dir) folder(dirName string) *Dir {
	return &Dir{Host: d.Host, Reserve: d.Reserve, Now: d.Now, Quota: d.Quota, fsys: d.fsys, path: d.join(dirName), inbox: d.top()}
}

// Folders gives the names of the folders, elements joined by ".", sorted; without the inbox.
func (d *Dir) Folders() ([]string, error) {
	names, err := d.fsys.ReadDirNames(d.path)
	if err != nil {
		return nil, vfs.Classify(err)
	}
	var folders []string
	for _, name := range names {
		if !isFolderDir(name) {
			continue
		}
		if err := d.checkFolder(name); err == nil {
			folders = append(folders, strings.Clone(name[1:]))
		}
	}
	slices.Sort(folders)
	return folders, nil
}

func isFolderDir(name string) bool {
	if name[0] != '.' {
		return false
	}
	_, err := folderName(strings.Split(name[1:], "."))
	return err == nil
}

// checkFolder wants a Maildir that is no symbolic link.
func (d *Dir) checkFolder(dirName string) error {
	fi, err := d.fsys.Lstat(d.join(dirName))
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return &fs.PathError{Op: "open", Path: d.join(dirName), Err: fs.ErrNotExist}
	}
	return d.folder(dirName).check()
}

// Folder opens a folder. The error wraps fs.ErrNotExist if there is none, and is 5.1.3 for a name that can't be.
func (d *Dir) Folder(elems ...string) (*Dir, error) {
	if len(elems) == 0 {
		return d, nil
	}
	name, err := folderName(elems)
	if err != nil {
		return nil, err
	}
	if err := d.checkFolder(name); err != nil {
		return nil, vfs.Classify(err)
	}
	return d.folder(name), nil
}

// CreateFolder makes a folder, durably, and opens it. One that is there already is opened.
func (d *Dir) CreateFolder(elems ...string) (*Dir, error) {
	name, err := folderName(elems)
	if err != nil {
		return nil, err
	}
	if fi, err := d.fsys.Lstat(d.join(name)); err == nil && !fi.IsDir() {
		return nil, vfs.Classify(&fs.PathError{Op: "mkdir", Path: d.join(name), Err: syscall.ENOTDIR})
	}
	// Programs that deliver into folders know by this file that the inbox is one directory up.
	if _, err := create(d.fsys, d.join(name), []string{"maildirfolder"}); err != nil {
		return nil, err
	}
	return d.Folder(elems...)
}

// RenameFolder renames a folder and all below it, durably; it need not exist itself, if there are some below it. The new names
// must be free, and not below the old one: one that is taken is fs.ErrExist, and nothing is renamed. Each directory is renamed
// by itself: a loss of power may leave some under the old name.
func (d *Dir) RenameFolder(old, new []string) error {
	from, err := folderName(old)
	if err != nil {
		return err
	}
	to, err := folderName(new)
	if err != nil {
		return err
	}
	if strings.HasPrefix(to+".", from+".") {
		return mail.Permanentf(1, 3, "A folder can't move into itself")
	}
	below, err := d.below(from)
	isFolder := func(ending string) bool { return d.checkFolder(from+ending) == nil }
	if err == nil && !slices.ContainsFunc(below, isFolder) {
		err = &fs.PathError{Op: "rename", Path: d.join(from), Err: fs.ErrNotExist}
	}
	if err != nil {
		return vfs.Classify(err)
	}
	if err := d.moveFolders(below, from, to); err != nil {
		// Back with whatever went. Move replaces nothing, so what did not go is safe.
		d.moveFolders(below, to, from)
		return vfs.Classify(err)
	}
	return nil
}

// moveFolders moves directories, which are named as they are below from, to names below to, and syncs.
func (d *Dir) moveFolders(names []string, from, to string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, d.fsys.Move(d.join(from+name), d.join(to+name)))
	}
	return errors.Join(append(errs, d.fsys.SyncDir(d.path))...)
}

// below gives the endings of the names of a folder ("") and of those in it.
func (d *Dir) below(dirName string) ([]string, error) {
	names, err := d.fsys.ReadDirNames(d.path)
	if err != nil {
		return nil, err
	}
	var endings []string
	for _, name := range names {
		if ending, ok := strings.CutPrefix(name, dirName); ok && (ending == "" || ending[0] == '.') {
			endings = append(endings, ending)
		}
	}
	slices.Sort(endings)
	return endings, nil
}

// removedPrefix starts the name of a folder that is being removed. No folder can have it.
const removedPrefix = "..removed."

// RemoveFolder removes a folder with all messages in it, durably; not those below it. It disappears at once; Sweep
// removes what a crash leaves of it.
func (d *Dir) RemoveFolder(elems ...string) error {
	name, err := folderName(elems)
	if err != nil {
		return err
	}
	if err := d.checkFolder(name); err != nil {
		return vfs.Classify(err)
	}
	return vfs.Classify(d.removeFolder(name))
}

func (d *Dir) removeFolder(name string) error {
	has := d.folderUsage(name)
	removed := removedPrefix + unique(d.now(), d.host())
	err := d.fsys.Move(d.join(name), d.join(removed))
	if err == nil {
		err = d.fsys.SyncDir(d.path)
	}
	if err != nil {
		d.fsys.Move(d.join(removed), d.join(name)) // if it went there
		return err
	}
	d.account(Usage{-has.Size, -has.Count})
	d.purge(d.join(removed), 1) // Sweep tells of trouble
	return nil
}

// ErrNotEmpty says that a folder has messages in it.
var ErrNotEmpty = errors.New("there are messages in the folder")

// RemoveEmptyFolder is RemoveFolder for one without messages; else it is ErrNotEmpty, and the folder stays. A message that
// comes in at that moment is either refused or found, for new/ and cur/ go first, and only as long as nothing is in them. A
// crash in between leaves a directory that CreateFolder completes.
func (d *Dir) RemoveEmptyFolder(elems ...string) error {
	name, err := folderName(elems)
	if err != nil {
		return err
	}
	if err := d.checkFolder(name); err != nil {
		return vfs.Classify(err)
	}
	f := d.folder(name)
	err = f.removeParts("new", "cur")
	if err == nil {
		err = d.removeFolder(name)
	}
	if err != nil {
		f.mkdir("cur")
		f.mkdir("new")
		d.fsys.SyncDir(f.path)
	}
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return ErrNotEmpty
	}
	return vfs.Classify(err)
}

// removeParts removes directories that are empty.
func (d *Dir) removeParts(parts ...string) error {
	for _, part := range parts {
		names, err := d.fsys.ReadDirNames(d.join(part)) // before anything changes
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return syscall.ENOTEMPTY
		}
	}
	for _, part := range parts {
		if err := d.fsys.Remove(d.join(part)); err != nil {
			return err
		}
	}
	return nil
}

// folderUsage is what a folder counts for, if that is written down somewhere.
func (d *Dir) folderUsage(dirName string) (u Usage) {
	if _, err := d.fsys.Lstat(d.sizePath()); err != nil {
		return u
	}
	d.countDir(d.join(dirName+"/new"), &u)
	d.countDir(d.join(dirName+"/cur"), &u)
	return u
}

// sweepFolders ends all removals under way; that another process may be at it does no harm.
func (d *Dir) sweepFolders() (swept int, err error) {
	names, err := d.fsys.ReadDirNames(d.path)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, name := range names {
		if !strings.HasPrefix(name, removedPrefix) {
			continue
		}
		if err := d.purge(d.join(name), 1); err != nil {
			errs = append(errs, err)
			continue
		}
		swept++
	}
	return swept, errors.Join(errs...)
}

// purge removes a directory with its files, and directories down to a depth. Symbolic links are removed, not followed.
func (d *Dir) purge(name string, depth int) error {
	names, err := d.fsys.ReadDirNames(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range names {
		errs = append(errs, d.purgeEntry(name+"/"+entry, depth))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return ignoreGone(d.fsys.Remove(name))
}

func (d *Dir) purgeEntry(name string, depth int) error {
	fi, err := d.fsys.Lstat(name)
	if err != nil {
		return ignoreGone(err)
	}
	if fi.IsDir() && depth > 0 {
		return d.purge(name, depth-1)
	}
	return ignoreGone(d.fsys.Remove(name))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
