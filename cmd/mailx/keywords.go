package main

import (
	"fmt"
	"strings"
	"sync"

	"mailx/pkg/mailbox"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// keywordReader gives the keywords that the indexes of Maildirs have. Several may ask at once.
type keywordReader struct {
	fsys  vfs.FS
	mu    sync.Mutex
	dirs  map[*maildir.Dir]*dirKeywords
	round int // see look
}

// dirKeywords are those of one Maildir, by the unique part of the name of a message.
type dirKeywords struct {
	once  sync.Once
	round int
	stamp string
	of    map[string][]string
}

func newKeywordReader(fsys vfs.FS) *keywordReader {
	return &keywordReader{fsys: fsys, dirs: map[*maildir.Dir]*dirKeywords{}}
}

// look has indexes read again that have changed: somebody may have set keywords while a list waited for the next path.
func (k *keywordReader) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.round++
}

// of gives the keywords of a message. It tells once of an index that can't be read, and then has no keywords.
func (k *keywordReader) of(m mailFile) ([]string, error) {
	if m.dir == nil {
		return nil, nil
	}
	k.mu.Lock()
	d := k.dirs[m.dir]
	if d == nil || d.round != k.round {
		stamp := mailbox.IndexStamp(k.fsys, m.dir)
		if d == nil || d.stamp != stamp {
			d = &dirKeywords{stamp: stamp}
			k.dirs[m.dir] = d
		}
		d.round = k.round
	}
	k.mu.Unlock()
	var err error
	d.once.Do(func() {
		if d.of, err = mailbox.KeywordsOf(k.fsys, m.dir); err != nil {
			err = keywordTrouble(m.dir, readError(err))
		}
	})
	return d.of[m.msg.Base], err
}

func keywordTrouble(d *maildir.Dir, err error) error {
	code := exitCode(err)
	if code == exTempFail {
		code = exIOErr
	}
	return exitWith(code, fmt.Errorf("the keywords in %s are not known: %w", d.Path(), err))
}

// keywordList prints in a template with blanks between the words; it can be ranged over too.
type keywordList []string

func (l keywordList) String() string { return strings.Join(l, " ") }
