package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"mailx/pkg/vfs"
)

// State is where an entry stands. It is the directory it lies in, so `mv` changes it.
type State string

// The states, by directory. In .Hold and .Failed, new/ and cur/ count alike.
const (
	StateNew    State = "new"      // new/: never tried
	StateTried  State = "deferred" // cur/: tried, to be tried again
	StateHeld   State = "held"     // .Hold/: waits for a person
	StateFailed State = "failed"   // .Failed/: given up, or damaged; kept until removed
)

const (
	holdDir     = ".Hold"
	failedDir   = ".Failed"
	progressDir = ".progress"
)

// place is a directory that has entries.
type place uint8

const (
	inNew place = iota
	inCur
	inHoldNew
	inHoldCur
	inFailedNew
	inFailedCur
)

// spool are the places a flush looks at, everywhere are all.
func spool() []place { return []place{inNew, inCur} }
func everywhere() []place {
	return []place{inNew, inCur, inHoldNew, inHoldCur, inFailedNew, inFailedCur}
}

// dir is relative to the queue.
func (p place) dir() string {
	return [...]string{"new", "cur", holdDir + "/new", holdDir + "/cur", failedDir + "/new", failedDir + "/cur"}[p]
}

func (p place) state() State {
	return [...]State{StateNew, StateTried, StateHeld, StateHeld, StateFailed, StateFailed}[p]
}

// spot is one entry by name. It may be gone, or elsewhere, at any moment.
type spot struct {
	place
	name string
}

func (q *Queue) dirPath(p place) string { return q.dir + "/" + p.dir() }
func (q *Queue) path(s spot) string     { return q.dir + "/" + s.dir() + "/" + s.name }

// baseOf is the part of a file name that no program changes: all before the flags.
func baseOf(name string) string {
	base, _, _ := strings.Cut(name, ":2,")
	return base
}

// idLen characters of 5 bits: among 100,000 entries two have the same ID about once in 200,000 queues.
const idLen = 10

// idOf is the ID of an entry: ten characters without look-alikes (no i, l, o, u), made of the unique part of the file
// name. So it needs no look into the file, stays the same through all states, and is as good for names that other
// programs made.
func idOf(name string) string {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	unique, _, _ := strings.Cut(baseOf(name), ",")
	hash := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(unique); i++ {
		hash = (hash ^ uint64(unique[i])) * 1099511628211
	}
	hash ^= hash >> 32
	hash *= 0xd6e8feb86659fd93
	hash ^= hash >> 32
	var id [idLen]byte
	for i := range id {
		id[i] = alphabet[hash>>59]
		hash <<= 5
	}
	return string(id[:])
}

// list gives the entries of some places, each base once, in no order. What is hidden is not an entry.
func (q *Queue) list(in []place) ([]spot, error) {
	if err := q.spool.Check(); err != nil {
		return nil, err
	}
	var spots []spot
	for _, p := range in {
		names, err := q.fs.ReadDirNames(q.dirPath(p))
		if err != nil {
			return nil, vfs.Classify(err)
		}
		spots = slices.Grow(spots, len(names))
		for _, name := range names {
			if name[0] != '.' {
				spots = append(spots, spot{p, name})
			}
		}
	}
	return spots, nil
}

// ErrNotFound and ErrAmbiguous are about an ID that a person gave.
var (
	ErrNotFound  = errors.New("no such message in the queue")
	ErrAmbiguous = errors.New("more than one message in the queue has an ID that begins so")
)

// Select finds entries by ID, by a beginning of an ID that no other has, or by file name. It gives what it found, and
// one joined error for what it did not.
func (q *Queue) Select(ids ...string) ([]string, error) {
	spots, err := q.selectSpots(ids)
	found := make([]string, len(spots))
	for i, s := range spots {
		found[i] = idOf(s.name)
	}
	return found, err
}

func (q *Queue) selectSpots(ids []string) ([]spot, error) {
	spots, err := q.list(everywhere())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(spots, func(a, b spot) int { return strings.Compare(idOf(a.name), idOf(b.name)) })
	var found []spot
	var errs []error
	for _, id := range ids {
		s, err := byID(spots, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, err))
			continue
		}
		found = append(found, s)
	}
	return found, errors.Join(errs...)
}

// byID finds one of the spots, which are sorted by ID.
func byID(spots []spot, id string) (spot, error) {
	i, _ := slices.BinarySearchFunc(spots, id, func(s spot, id string) int { return strings.Compare(idOf(s.name), id) })
	hits := 0
	for n := i; n < len(spots) && id != "" && strings.HasPrefix(idOf(spots[n].name), id); n++ {
		if n == i || baseOf(spots[n].name) != baseOf(spots[i].name) {
			hits++
		}
	}
	switch {
	case hits == 1:
		return spots[i], nil
	case hits > 1:
		return spot{}, ErrAmbiguous
	}
	for _, s := range spots {
		if id != "" && (s.name == id || baseOf(s.name) == id) {
			return s, nil
		}
	}
	return spot{}, ErrNotFound
}

// locate finds the names that lead to a file, wherever another program moved it. A rename can hide from one look into
// the directories, not from three.
func (q *Queue) locate(base string, info fs.FileInfo) (found []spot, err error) {
	for try := 0; try < 3 && len(found) == 0; try++ {
		spots, err := q.list(everywhere())
		if err != nil {
			return nil, err
		}
		for _, s := range spots {
			if baseOf(s.name) != base {
				continue
			}
			if fi, err := q.fs.Lstat(q.path(s)); err == nil && vfs.SameFile(fi, info) {
				found = append(found, s)
			}
		}
	}
	return found, nil
}
