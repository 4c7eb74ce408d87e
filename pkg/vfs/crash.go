package vfs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"
)

// ErrCrashed is the error of every call after the power went.
var ErrCrashed = errors.New("the power is gone")

// Call is one call in the log of Mem. Op is one of create, open, append, link, rename, move, remove, mkdir, readdir,
// lstat, chtimes, syncdir, statfs, and read, write, stat, truncate, sync, order, lock, close of a file.
type Call struct {
	Op       string
	Name, To string // To for link, rename and move
}

// request is a call with what only Mem has to know of it.
type request struct {
	Call
	octets int      // of a write
	file   *memFile // for a call on an open file
}

// String is "link tmp/a new/a".
func (c Call) String() string {
	if c.To != "" {
		return c.Op + " " + c.Name + " " + c.To
	}
	return c.Op + " " + c.Name
}

// Fault is what a call does wrong.
type Fault struct {
	Err   error
	Short bool // a write takes half of the octets before it fails
	Done  bool // the call does all of its work and fails then, as over a network when the reply is lost
}

type lastingFault struct {
	from int
	err  error
}

// Fail makes call n fail. Calls count from 1, in the log of this Mem.
func (m *Mem) Fail(n int, f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[n] = f
}

// FailFrom makes call n and all after it fail that can fail so: for ENOSPC and EDQUOT those that need space, for
// EMFILE and ENFILE those that need a descriptor, for EROFS those that change something, for others all. Heal ends it.
func (m *Mem) FailFrom(n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lasting = &lastingFault{n, err}
}

// CrashAfter lets the power go after call n (0: before the first): later calls have no effect and give ErrCrashed.
func (m *Mem) CrashAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashAt = n
}

// Heal takes all faults away. Power that is gone stays gone, see After.
func (m *Mem) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults, m.lasting = map[int]Fault{}, nil
}

// Calls gives the log.
func (m *Mem) Calls() []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// do is one counted call on the file system.
func (m *Mem) do(c Call, call func() error) error {
	return m.doRequest(request{Call: c}, func(int) error { return call() })
}

// doRequest is one counted call; part is how many of the octets of a write it takes.
func (m *Mem) doRequest(c request, call func(part int) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, c.Call)
	n := len(m.calls)
	if m.crashAt >= 0 && n > m.crashAt {
		return c.wrap(ErrCrashed)
	}
	fault, ok := m.faults[n]
	if !ok && m.lasting != nil && n >= m.lasting.from && canFail(c.Op, m.lasting.err) {
		fault, ok = Fault{Err: m.lasting.err}, true
	}
	if !ok {
		return c.wrap(call(c.octets))
	}
	if err := m.failing(c, fault, call); err != nil {
		return c.wrap(err)
	}
	return c.wrap(fault.Err)
}

// failing does what a failing call does all the same. Its error is one that the call would have had in any case.
func (m *Mem) failing(c request, fault Fault, call func(part int) error) error {
	switch {
	case fault.Done:
		return call(c.octets)
	case c.Op == "write" && fault.Short:
		return call(c.octets / 2)
	case c.Op == "close":
		return call(0)
	case c.Op == "sync", c.Op == "order":
		// The data never gets to the disk, though it can be read until the power goes.
		m.settle(func(p part) bool { return p.ofFile(c.file.n) }, false)
	}
	return nil
}

func (c Call) wrap(err error) error {
	if c.To != "" {
		return linkError(c.Op, c.Name, c.To, err)
	}
	return pathError(c.Op, c.Name, err)
}

func canFail(op string, err error) bool {
	var ops []string
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		ops = []string{"create", "append", "link", "mkdir", "rename", "move", "write", "sync", "order", "syncdir"}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		ops = []string{"create", "append", "open", "readdir", "syncdir"}
	case errors.Is(err, syscall.EROFS):
		ops = []string{"create", "append", "link", "mkdir", "rename", "move", "remove", "chtimes", "access", "write", "truncate"}
	default:
		return op != "close"
	}
	return slices.Contains(ops, op)
}

// An effect is one change that is not durable yet; its parts become durable together.
type effect struct {
	what  string
	parts []part
}

type part interface {
	inDir(*node) bool  // an entry of that directory
	ofFile(*node) bool // the data or times of that file
	apply()            // to the disk
	same(part) bool    // a later part of the same entry makes the other one moot
	moved(map[*node]*node) part
}

type entryChange struct {
	dir  *node
	name string
	to   *node
}

func (c entryChange) inDir(n *node) bool { return c.dir == n }
func (c entryChange) ofFile(*node) bool  { return false }
func (c entryChange) same(p part) bool {
	e, ok := p.(entryChange)
	return ok && e.dir == c.dir && e.name == c.name
}
func (c entryChange) apply() {
	if c.to == nil {
		delete(c.dir.onDisk.entries, c.name)
		return
	}
	c.dir.onDisk.entries[c.name] = c.to
}
func (c entryChange) moved(to map[*node]*node) part { return entryChange{to[c.dir], c.name, to[c.to]} }

type dataChange struct {
	n    *node
	off  int64
	data []byte
}

func (c dataChange) inDir(*node) bool              { return false }
func (c dataChange) ofFile(n *node) bool           { return c.n == n }
func (c dataChange) same(part) bool                { return false }
func (c dataChange) apply()                        { c.n.onDisk.data = c.on(c.n.onDisk.data) }
func (c dataChange) moved(to map[*node]*node) part { return dataChange{to[c.n], c.off, c.data} }
func (c dataChange) on(data []byte) []byte {
	if end := c.off + int64(len(c.data)); end > int64(len(data)) {
		data = resized(data, end)
	}
	copy(data[c.off:], c.data)
	return data
}

type sizeChange struct {
	n    *node
	size int64
}

func (c sizeChange) inDir(*node) bool              { return false }
func (c sizeChange) ofFile(n *node) bool           { return c.n == n }
func (c sizeChange) same(part) bool                { return false }
func (c sizeChange) apply()                        { c.n.onDisk.data = c.on(c.n.onDisk.data) }
func (c sizeChange) moved(to map[*node]*node) part { return sizeChange{to[c.n], c.size} }
func (c sizeChange) on(data []byte) []byte         { return resized(data, c.size) }

// resized cuts data, or lengthens it with zeros.
func resized(data []byte, size int64) []byte {
	if old := int64(len(data)); size > old {
		return append(data, make([]byte, size-old)...)
	}
	return data[:size]
}

type timeChange struct {
	n     *node
	mtime time.Time
}

func (c timeChange) inDir(*node) bool              { return false }
func (c timeChange) ofFile(n *node) bool           { return c.n == n }
func (c timeChange) same(part) bool                { return false }
func (c timeChange) apply()                        { c.n.onDisk.mtime = c.mtime }
func (c timeChange) moved(to map[*node]*node) part { return timeChange{to[c.n], c.mtime} }

// orderedChange is a change of a file that goes with a name of it. It comes again, and alone it is one of the file's own.
type orderedChange struct{ part }

func (c orderedChange) ofFile(*node) bool             { return false }
func (c orderedChange) moved(to map[*node]*node) part { return orderedChange{c.part.moved(to)} }
func (c orderedChange) same(p part) bool {
	switch own := c.part.(type) {
	case dataChange:
		p, ok := p.(dataChange)
		return ok && p.n == own.n && p.off == own.off && len(p.data) == len(own.data)
	case sizeChange:
		return p == part(own)
	case timeChange:
		p, ok := p.(timeChange)
		return ok && p.n == own.n
	}
	return false
}

func (m *Mem) push(what string, parts ...part) {
	for _, p := range parts {
		if e, ok := p.(entryChange); ok && e.to != nil {
			parts = append(slices.Clone(e.to.ordered), parts...)
		}
	}
	m.pending = append(m.pending, &effect{what, parts})
}

// settle takes the effects that belong out of the pending ones, and makes them durable or forgets them.
func (m *Mem) settle(belongs func(part) bool, durable bool) {
	for i, e := range m.pending {
		if e == nil || !slices.ContainsFunc(e.parts, belongs) {
			continue
		}
		m.pending[i] = nil
		if durable {
			m.makeDurable(e, i)
		}
	}
	m.pending = slices.DeleteFunc(m.pending, func(e *effect) bool { return e == nil || len(e.parts) == 0 })
}

// makeDurable applies e, and makes moot what older effects wanted with the same entries.
func (m *Mem) makeDurable(e *effect, i int) {
	for _, p := range e.parts {
		p.apply()
		for _, old := range m.pending[:i] {
			if old != nil {
				old.parts = slices.DeleteFunc(old.parts, p.same)
			}
		}
	}
}

// Fate is what the loss of power does to an unsynced change.
type Fate uint8

// The fates. Torn and Zeroed are for writes; other changes are Kept then.
const (
	Dropped Fate = iota
	Kept
	Torn   // the first half of the octets
	Zeroed // the length without the data
)

func (f Fate) String() string { return [...]string{"dropped", "kept", "torn", "zeroed"}[f&3] }

// Choice is one combination of fates: change One (an index, -1 for none) has its own, all others share Rest.
type Choice struct {
	Rest Fate
	One  int
	Fate Fate
	what string
}

// String is "all dropped" or "all kept but write tmp/a 0+12 torn".
func (c Choice) String() string {
	if c.One < 0 {
		return "all " + c.Rest.String()
	}
	return fmt.Sprintf("all %s but %s %s", c.Rest, c.what, c.Fate)
}

// Choices gives what may become of the unsynced changes if the power goes now: all dropped, all kept, each one alone
// kept, dropped, torn, zeroed.
func (m *Mem) Choices() []Choice {
	m.mu.Lock()
	defer m.mu.Unlock()
	choices := []Choice{{Rest: Dropped, One: -1}}
	if len(m.pending) == 0 {
		return choices
	}
	choices = append(choices, Choice{Rest: Kept, One: -1})
	for i, e := range m.pending {
		if len(m.pending) > 1 {
			choices = append(choices, Choice{Dropped, i, Kept, e.what}, Choice{Kept, i, Dropped, e.what})
		}
		if _, ok := e.parts[0].(dataChange); ok {
			choices = append(choices, Choice{Kept, i, Torn, e.what}, Choice{Kept, i, Zeroed, e.what})
		}
	}
	return choices
}

// After gives the file system as it is found when the power has gone now and come back. m stays as it is, and the two
// share nothing. Locks and open files are gone, the log is empty.
func (m *Mem) After(c Choice) *Mem {
	found := m.Clone()
	for i, e := range found.pending {
		fate := c.Rest
		if i == c.One {
			fate = c.Fate
		}
		for _, p := range e.parts {
			survive(p, fate)
		}
	}
	found.pending = nil
	found.root.restore(map[*node]bool{})
	return found
}

func survive(p part, fate Fate) {
	w, isWrite := p.(dataChange)
	switch {
	case fate == Dropped:
		return
	case isWrite && fate == Torn:
		w.data = w.data[:len(w.data)/2]
		p = w
	case isWrite && fate == Zeroed:
		w.data = make([]byte, len(w.data))
		p = w
	}
	p.apply()
}

// restore makes what is on the disk what programs see.
func (n *node) restore(seen map[*node]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	n.modified(n.onDisk.mtime)
	n.data = slices.Clone(n.onDisk.data)
	if n.entries == nil {
		return
	}
	n.entries = maps.Clone(n.onDisk.entries)
	for _, child := range n.entries {
		if !seen[child] {
			child.links = 0
		}
		child.restore(seen)
		child.links++
	}
}

// Clone gives an independent copy, with the same unsynced changes, no open files, no locks, no faults, power on and
// an empty log.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	c.Now, c.Space, c.SplitRenames, c.lastIno = m.Now, m.Space, m.SplitRenames, m.lastIno
	to := map[*node]*node{}
	c.root = m.root.clone(to)
	for _, e := range m.pending {
		parts := make([]part, len(e.parts))
		for i, p := range e.parts {
			cloneNodes(p, to)
			parts[i] = p.moved(to)
		}
		c.pending = append(c.pending, &effect{e.what, parts})
	}
	return c
}

// cloneNodes copies the nodes of p that no name leads to any more.
func cloneNodes(p part, to map[*node]*node) {
	switch p := p.(type) {
	case entryChange:
		p.dir.clone(to)
		p.to.clone(to)
	case dataChange:
		p.n.clone(to)
	case sizeChange:
		p.n.clone(to)
	case timeChange:
		p.n.clone(to)
	case orderedChange:
		cloneNodes(p.part, to)
	}
}

func (n *node) clone(to map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := to[n]; c != nil {
		return c
	}
	c := *n
	to[n] = &c
	c.holder, c.ordered = nil, nil
	c.data, c.onDisk.data = slices.Clone(n.data), slices.Clone(n.onDisk.data)
	c.entries, c.onDisk.entries = cloneEntries(n.entries, to), cloneEntries(n.onDisk.entries, to)
	return &c
}

func cloneEntries(entries map[string]*node, to map[*node]*node) map[string]*node {
	if entries == nil {
		return nil
	}
	c := make(map[string]*node, len(entries))
	for name, n := range entries {
		c[name] = n.clone(to)
	}
	return c
}

// SyncAll makes everything durable, as sync(1) does. It is not counted: for the setup of a test.
func (m *Mem) SyncAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle(func(part) bool { return true }, true)
	m.root.settleTimes(map[*node]bool{})
}

func (n *node) settleTimes(seen map[*node]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	n.onDisk.mtime = n.mtime
	for _, child := range n.entries {
		child.settleTimes(seen)
	}
}
