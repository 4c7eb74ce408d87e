package queue

import (
	"cmp"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/maillog"
	"mailx/pkg/vfs"
)

// Options are what a queue is opened with. The zero value is good.
type Options struct {
	Schedule Schedule
	Hostname string          // this host in notices (Reporting-MTA, From); "localhost" if empty
	Reserve  uint64          // octets that must be free on the disk for Enqueue; 0: any number will do
	Log      *maillog.Logger // nothing is logged if nil
	Counters *maillog.Counters
	Now      func() time.Time // time.Now if nil
	Random   func() float64   // in [0,1), for the jitter; math/rand if nil
}

// Queue is safe for concurrent use, and any number of them, in any number of processes, work on one directory.
type Queue struct {
	fs    vfs.FS
	dir   string
	spool *maildir.Dir
	opt   Options

	restoring sync.Mutex
	home      home // guarded by restoring

	mu   sync.Mutex
	kept map[string]*progress // by base: what could not be written down; see keep
}

// Open opens the queue in dir, which Create has made. Folders that somebody removed are made again. A symbolic link may lead to
// dir, but none to what is in it.
func Open(fsys vfs.FS, dir string, opt Options) (*Queue, error) {
	d, err := maildir.Open(fsys, dir)
	if err != nil {
		return nil, vfs.Classify(err)
	}
	return newQueue(fsys, dir, d, opt)
}

// Create makes the queue in dir, with what is missing above it, and opens it. It is no error if it is there.
func Create(fsys vfs.FS, dir string, opt Options) (*Queue, error) {
	d, err := maildir.Create(fsys, dir)
	if err != nil {
		return nil, vfs.Classify(err)
	}
	return newQueue(fsys, dir, d, opt)
}

func newQueue(fsys vfs.FS, dir string, d *maildir.Dir, opt Options) (*Queue, error) {
	if opt.Hostname == "" {
		opt.Hostname = "localhost"
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Random == nil {
		opt.Random = rand.Float64
	}
	opt.Schedule = opt.Schedule.withDefaults()
	d.Host, d.Now, d.Reserve = opt.Hostname, opt.Now, opt.Reserve
	q := &Queue{fs: vfs.Grouped(fsys), dir: dir, spool: d, opt: opt, kept: map[string]*progress{}}
	q.home = homeOf(q.fs, dir)
	return q, vfs.Classify(q.makeFolders())
}

func (q *Queue) makeFolders() error {
	for _, folder := range []string{holdDir, failedDir} {
		dir := q.dir + "/" + folder
		if err := ignore(maildir.IsDir(q.fs, dir), fs.ErrNotExist); err != nil {
			return err
		}
		_, err := maildir.Open(q.fs, dir)
		if errors.Is(err, fs.ErrNotExist) {
			_, err = maildir.Create(q.fs, dir)
		}
		if err != nil {
			return err
		}
	}
	err := maildir.IsDir(q.fs, q.dir+"/"+progressDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = vfs.MkdirAll(q.fs, q.dir+"/"+progressDir)
	}
	return err
}

// Schedule gives the retry schedule with its defaults filled in.
func (q *Queue) Schedule() Schedule { return q.opt.Schedule }

// Entry is a message on its way into the queue. Write takes the message with LF line ends, octet for octet; then either
// Commit or Abort ends it. Like an smtp.Tx it belongs to one goroutine.
type Entry struct {
	q       *Queue
	event   maillog.Event
	block   []byte // the envelope, until it is written
	head    []byte // the beginning of the message, until it shows whether it has a header
	started bool
	d       *maildir.Delivery
	err     error
}

// Enqueue begins a message for everybody in env, which is not kept. A message with HoldUntil is due then and not before
// (RFC 4865). Errors: 5.1.3, 5.1.7 and 5.5.4 for an envelope that
// nobody can deliver, 4.5.3 for more recipients than an entry holds, 4.3.x for trouble with the disk.
func (q *Queue) Enqueue(env *mail.Envelope) (*Entry, error) { return q.enqueue(q.spool, env) }

// EnqueueHeld is Enqueue into .Hold: the message waits for a person, and no flush sees it before.
func (q *Queue) EnqueueHeld(env *mail.Envelope) (*Entry, error) {
	held, err := q.spool.Folder(strings.TrimPrefix(holdDir, "."))
	if errors.Is(err, fs.ErrNotExist) {
		if err = q.restore(); err == nil {
			held, err = q.spool.Folder(strings.TrimPrefix(holdDir, "."))
		}
	}
	if err != nil {
		return nil, vfs.Classify(err)
	}
	return q.enqueue(held, env)
}

func (q *Queue) enqueue(into *maildir.Dir, env *mail.Envelope) (*Entry, error) {
	if err := checkEnvelope(env); err != nil {
		return nil, err
	}
	whole := *env
	if whole.Arrived.IsZero() {
		whole.Arrived = q.opt.Now()
	}
	block, err := printBlock(&whole)
	if err != nil {
		return nil, err
	}
	err = into.Check()
	if errors.Is(err, fs.ErrNotExist) { // what is missing is made
		err = q.restore()
	}
	if err != nil {
		return nil, vfs.Classify(err)
	}
	d, err := into.Deliver()
	if err != nil {
		return nil, vfs.Classify(err)
	}
	if whole.HoldUntil.After(q.opt.Now()) {
		d.SetTime(whole.HoldUntil)
	}
	hintDomain(d, env.Rcpts)
	e := &Entry{q: q, block: block, d: d}
	id := e.ID()
	e.event = maillog.Event{Kind: maillog.Queued, ID: cmp.Or(env.ID, id), Queue: id, From: env.Sender.Path()}
	if len(env.Rcpts) == 1 {
		e.event.To = env.Rcpts[0].Path()
	}
	return e, nil
}

// Write adds to the message. An error sticks: Commit will give it too.
func (e *Entry) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	e.event.Size += int64(len(p))
	if e.started {
		n, err := e.d.Write(p)
		e.err = vfs.Classify(err)
		return n, e.err
	}
	e.head = append(e.head, p...)
	if header, known := startsWithHeader(e.head); known {
		e.start(header)
	}
	if e.err != nil {
		return 0, e.err
	}
	return len(p), nil
}

// start writes the envelope block and what has come of the message.
func (e *Entry) start(header bool) {
	if !header {
		e.block = closeBlock(e.block)
	}
	_, err := e.d.Write(append(e.block, e.head...))
	e.started, e.block, e.head, e.err = true, nil, nil, vfs.Classify(err)
}

// Commit makes the message durable and visible: when it returns nil, the message survives a loss of power.
func (e *Entry) Commit() error {
	if e.err == nil && !e.started {
		e.start(false)
	}
	if e.err != nil {
		e.d.Abort()
		return e.err
	}
	if err := e.d.Commit(); err != nil {
		return vfs.Classify(err)
	}
	e.q.log(&e.event)
	return nil
}

// Abort leaves nothing behind. After Commit it does nothing.
func (e *Entry) Abort() error { return vfs.Classify(e.d.Abort()) }

// log counts and writes an event.
func (q *Queue) log(e *maillog.Event) {
	q.opt.Counters.Add(e)
	q.opt.Log.Log(e)
}

// ID is the ID that the message has in this queue.
func (e *Entry) ID() string { return idOf(e.d.Name()) }
