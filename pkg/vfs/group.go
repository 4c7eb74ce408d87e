package vfs

import (
	"errors"
	"sync"
)

// Grouped gives fsys with a SyncDir that callers share (group commit). A call returns only after a sync that started
// after the call was made, so what the caller did before it is durable; but at most one sync of a directory runs at a
// time, and the next one serves everybody who came meanwhile. A caller alone waits for nobody. An error goes to every
// caller of the sync that had it. Directories are told apart by name; one Grouped is to be shared by a whole process.
func Grouped(fsys FS) FS {
	return &grouped{FS: fsys, dirs: map[string]*dirSyncs{}}
}

type grouped struct {
	FS
	mu   sync.Mutex
	dirs map[string]*dirSyncs // only directories with a sync under way
}

// dirSyncs are the sync of one directory that runs and the one that waits for its end. The caller who made waiting
// runs it; whoever comes before it starts is served by it.
type dirSyncs struct{ running, waiting *syncRun }

type syncRun struct {
	done chan struct{} // closed at the end
	err  error         // to be read after that
}

var errSyncCutShort = errors.New("the sync did not come to its end")

func newSyncRun() *syncRun { return &syncRun{done: make(chan struct{}), err: errSyncCutShort} }

func (g *grouped) SyncDir(name string) error {
	g.mu.Lock()
	d := g.dirs[name]
	if d == nil {
		d = &dirSyncs{running: newSyncRun()}
		g.dirs[name] = d
		g.mu.Unlock()
		return g.run(name, d, d.running)
	}
	if r := d.waiting; r != nil {
		g.mu.Unlock()
		<-r.done
		return r.err
	}
	r, before := newSyncRun(), d.running
	d.waiting = r
	g.mu.Unlock()
	<-before.done
	g.mu.Lock()
	d.running, d.waiting = r, nil
	g.mu.Unlock()
	return g.run(name, d, r)
}

// run syncs for everybody who waits for r. The entry of the directory goes when nobody waits for the next one.
func (g *grouped) run(name string, d *dirSyncs, r *syncRun) error {
	defer func() {
		g.mu.Lock()
		if d.waiting == nil {
			delete(g.dirs, name)
		}
		g.mu.Unlock()
		close(r.done)
	}()
	r.err = g.FS.SyncDir(name)
	return r.err
}
