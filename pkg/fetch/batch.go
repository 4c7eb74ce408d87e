package fetch

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"syscall"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
)

// written is one message that is in tmp/, whole.
type written struct {
	item     Item
	delivery *maildir.Delivery
	octets   int64
	print    string
	err      error // of Finish, then of Commit
}

// batch is what is committed together.
type batch struct {
	messages []*written
	octets   int64
}

// fetch brings the items over, batch by batch. While a batch is committed the next one is being read.
func (r *run) fetch(ctx context.Context, items []Item) error {
	if len(items) == 0 {
		return nil
	}
	f := &fetcher{run: r, ctx: ctx, all: len(items), most: batchMost(openFiles()), batch: new(batch), block: make([]byte, readBlock)}
	_, f.prints = r.source.(Renumberer)
	f.startCommitter()
	err := r.source.Retrieve(items, func(it Item, text io.Reader, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return f.receive(it, text, err)
	})
	if herr := f.handOver(); err == nil {
		err = herr
	}
	if cerr := f.wait(); cerr != nil {
		return cerr // our own trouble explains more than the session that it cut short
	}
	return err
}

// fetcher is the state of run.fetch. Of its fields and those of run, state and result.Fetched are the committer's while it
// runs, the rest is the reader's.
type fetcher struct {
	*run
	ctx    context.Context
	all    int
	seen   int
	prints bool // of the messages are wanted
	puts   int  // temporary failures of the Target in a row
	most   int  // messages of a batch
	batch  *batch
	block  []byte // for reading

	batches chan *batch // nil: all is done by the reader itself
	ended   chan struct{}
	mu      sync.Mutex
	err     error // the first of the committer
}

// batchMost is how many messages a batch has where a process may have so many open files. Each message is one until its batch is
// finished, and each account has two batches.
func batchMost(files uint64) int { return int(max(16, min(files/32, batchMessages))) }

func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}

// receive writes one message into tmp/.
func (f *fetcher) receive(it Item, text io.Reader, err error) error {
	f.seen++
	if f.Progress != nil {
		defer f.Progress(f.seen, f.all)
	}
	switch {
	case err != nil:
	case f.Target != nil:
		err = f.take(it, text)
	default:
		err = f.write(it, text)
	}
	var about *messageError
	switch {
	case err == nil:
	case errors.As(err, &about), isRefusal(err) && text == nil:
		f.result.Failed++
		f.log(slog.LevelWarn, "fetch: message not fetched", it, err)
	default:
		return err
	}
	if len(f.batch.messages) < f.most && f.batch.octets < batchOctets {
		return nil
	}
	return f.handOver()
}

// isRefusal reports an answer of the server, which has a status; a broken connection has none.
func isRefusal(err error) bool {
	var status interface{ MailStatus() mail.Status }
	return errors.As(err, &status)
}

// messageError is what is wrong with one message; the next one may be good.
type messageError struct{ err error }

func (e *messageError) Error() string { return e.err.Error() }
func (e *messageError) Unwrap() error { return e.err }

func (f *fetcher) write(it Item, text io.Reader) error {
	w, err := f.Dir.Deliver()
	if err != nil {
		return err
	}
	f.mark(w, it)
	head := new(headerPrint)
	to := io.Writer(w)
	if f.prints {
		to = io.MultiWriter(w, head)
	}
	n, err := f.copyMessage(to, text, mostOf(it))
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		w.Abort()
		return err
	}
	m := &written{item: it, delivery: w, octets: n}
	if f.prints {
		m.print = head.of(it)
	}
	f.batch.messages = append(f.batch.messages, m)
	f.batch.octets += n
	return nil
}

// mark gives a message the time and the flags that it has on the server.
func (f *fetcher) mark(w *maildir.Delivery, it Item) {
	if !it.Date.IsZero() {
		w.SetTime(it.Date)
	}
	if f.KeepFlags && it.Flags != "" {
		w.Keep(it.Flags)
	}
}

// mostOf is what a server may send for a message, in octets: it may have been wrong about the size, but not that wrong.
func mostOf(it Item) int64 {
	if it.Size < 0 {
		return 1 << 30
	}
	return 2*min(it.Size, 1<<40) + 1<<20
}

// errFlood ends a run: a server that sends without end would fill the disk.
var errFlood = errors.New("the server sends far more than the size that it announced")

// copyMessage tells trouble with the message from trouble with the disk, which ends the run, and with the connection.
func (f *fetcher) copyMessage(w io.Writer, text io.Reader, most int64) (octets int64, err error) {
	for {
		n, err := text.Read(f.block)
		if n > 0 {
			if octets += int64(n); octets > most {
				return octets, errFlood
			}
			if _, werr := w.Write(f.block[:n]); werr != nil {
				return octets, werr
			}
		}
		var bad *mail.Error
		switch {
		case err == io.EOF:
			return octets, nil
		case errors.As(err, &bad):
			return octets, &messageError{err}
		case err != nil:
			return octets, err
		}
	}
}

// startCommitter commits in the background, unless one thing is to be done after the other.
func (f *fetcher) startCommitter() {
	if f.parallel() == 1 {
		return
	}
	f.batches = make(chan *batch)
	f.ended = make(chan struct{})
	go func() {
		defer close(f.ended)
		for b := range f.batches {
			f.commit(b)
		}
	}()
}

func (a *Account) parallel() int {
	if a.Parallel == 0 {
		return DefaultParallel
	}
	return a.Parallel
}

// handOver gives the batch to the committer, waiting until it has done the one before. Its error is of any batch so far.
func (f *fetcher) handOver() error {
	b := f.batch
	f.batch = new(batch)
	switch {
	case len(b.messages) == 0:
	case f.batches == nil:
		f.commit(b)
	default:
		f.batches <- b
	}
	return f.failure()
}

// wait ends the committer.
func (f *fetcher) wait() error {
	if f.batches != nil {
		close(f.batches)
		<-f.ended
	}
	return f.failure()
}

func (f *fetcher) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *fetcher) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// commit makes a batch durable: steps 3 to 5 of the package comment. After an error batches are dropped.
func (f *fetcher) commit(b *batch) {
	if f.failure() != nil {
		b.abort()
		return
	}
	b.finish(f.parallel())
	for _, m := range b.messages {
		if m.err == nil {
			f.state.begin(m.item.ID, m.delivery.Name())
			f.state.print(m.item.ID, m.print)
		}
	}
	if err := f.state.sync(); err != nil {
		b.abort()
		f.fail(err)
		return
	}
	b.commit()
	for _, m := range b.messages {
		if m.err != nil { // its "begin" stays: whether the name is in the Maildir all the same, the next run sees
			f.fail(m.err)
			continue
		}
		f.state.done(m.item.ID, f.now())
		f.result.Fetched++
		f.result.Octets += m.octets
		f.log(slog.LevelInfo, "fetch: message fetched", m.item, nil)
	}
}

// finish makes the data of all messages durable, several at a time: one transaction of the file system serves many.
func (b *batch) finish(parallel int) {
	var wg sync.WaitGroup
	next := make(chan *written, len(b.messages))
	for _, m := range b.messages {
		next <- m
	}
	close(next)
	work := func() {
		for m := range next {
			m.err = m.delivery.Finish()
		}
	}
	for range min(parallel, len(b.messages)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// commit gives all messages their names. Those that are not finished have none.
func (b *batch) commit() {
	all := make([]*maildir.Delivery, len(b.messages))
	for i, m := range b.messages {
		all[i] = m.delivery
	}
	for i, err := range maildir.CommitAll(all) {
		b.messages[i].err = err
	}
}

func (b *batch) abort() {
	for _, m := range b.messages {
		m.delivery.Abort()
	}
}
