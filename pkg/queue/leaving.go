package queue

import (
	"sync"
	"time"
)

// gather is how long removals are collected while one sync follows the other: it costs the disk the same for one as for a
// hundred. A removal alone is synced at once.
const gather = time.Millisecond

// maxLeaving is how many may wait for the end of a sync.
const maxLeaving = 256

// leaving are the entries that are removed while that is not durable yet. Who hands one over goes on with the next message,
// and does not wait for the disk. For a kill the removal counts as it is; a loss of power may bring back those that wait.
type leaving struct {
	pass *pass  // counts them
	tell func() // is called when some have left

	mu      sync.Mutex
	room    sync.Cond
	entries []leaver
	served  int // by the sync that runs
	isBusy  bool
	syncing sync.WaitGroup
	isLast  chan struct{} // closed when no more will come
}

// leaver is an entry with the records of the attempt that finished it. It is a copy, as the one who handed it over is not at his end.
type leaver struct {
	entry claimed
	recs  []record
}

func newLeaving(p *pass, tell func()) *leaving {
	l := &leaving{pass: p, tell: tell, isLast: make(chan struct{})}
	l.room.L = &l.mu
	return l
}

// take has an entry leave. It waits only if the disk is far behind.
func (l *leaving) take(e leaver) {
	e.entry.text = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.entries)+l.served == maxLeaving {
		l.room.Wait()
	}
	l.entries = append(l.entries, e)
	if !l.isBusy {
		l.isBusy = true
		l.syncing.Go(l.run)
	}
}

// wait returns when all have left. Nobody may hand over an entry any more.
func (l *leaving) wait() {
	close(l.isLast)
	l.syncing.Wait()
}

// run syncs as long as there are entries.
func (l *leaving) run() {
	for all := l.next(); len(all) > 0; all = l.next() {
		l.seeOff(all)
		l.tell()
		if l.isOver() {
			continue
		}
		select {
		case <-time.After(gather):
		case <-l.isLast:
		}
	}
}

// isOver takes note of the end of a sync, and reports that nobody waits for the next one.
func (l *leaving) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = 0
	l.room.Broadcast()
	return len(l.entries) == 0
}

// next gives all that wait; nothing: the next one to come has to start over.
func (l *leaving) next() []leaver {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.entries
	l.entries = nil
	l.served = len(all)
	l.isBusy = len(all) > 0
	return all
}

// seeOff makes removals durable.
func (l *leaving) seeOff(all []leaver) {
	q := l.pass.q
	synced := map[place]error{}
	for i := range all {
		at := all[i].entry.at.place
		if _, isDone := synced[at]; !isDone {
			synced[at] = q.fs.SyncDir(q.dirPath(at))
		}
	}
	for i := range all {
		e := &all[i]
		l.pass.failedWith(e.entry.base, l.pass.finished(&e.entry, e.recs, synced[e.entry.at.place]))
	}
}
