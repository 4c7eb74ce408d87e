// Package fetch brings mail from other servers' mailboxes into a Maildir: only what is new, each message once.
//
// # What is remembered
//
// An [Account] has a log of what it has fetched, one line for each event, in its state directory. A message is known by the
// unique-id that the server gives it. Messages are fetched in batches, and each batch goes through five steps:
//
//	1  every message is written to tmp/ of the Maildir
//	2  the data of all of them is synced, that of several at a time, while the next batch is read
//	3  for each a line "begin NAME ID" is appended to the log, and the log is synced, once for the batch
//	4  the messages are committed: each gets its name in new/, and then the directory is synced
//	5  "done TIME ID" lines are kept for the next append, with step 3 of the next batch or at the end
//
// NAME is the name that the message will have in the Maildir. So if the program is killed or the power goes at any instant,
// every message that can be in the Maildir has a "begin" that survived. The next run looks whether the name is there, in
// new/ or cur/: if it is, the message has been fetched; if not, it is fetched again. Nothing is lost, and nothing comes
// twice, unless somebody moves a message of the interrupted batch out of the Maildir before the next run. The cost is one
// sync of the log for a batch, not one for each message.
//
// A message is deleted on the server only after step 4, and the log is synced before the server is told to go through
// with it.
//
// # State file
//
// <state>/<account>.uidl, made of lines "CRC KIND ..." (CRC-32 of what follows it, in hex):
//
//	begin NAME ID    the message ID may be in the Maildir under NAME
//	done TIME ID     it is, durably; TIME in Unix seconds is when it was fetched
//	gone ID          the server has it no more
//
// The last line about an ID counts. A line that is torn or zeroed does not match its CRC and is no line. When most lines are
// out of date the file is written anew. An account with a listing that is suddenly empty forgets nothing.
// <account>.lock is for the lock that keeps overlapping runs apart.
//
// # When all ids change
//
// An IMAP server may give every message of a mailbox another id at once (a new UIDVALIDITY, RFC 9051 §2.3.1.1). So that
// not all of them come twice, the log has one more line for a message from such a server:
//
//	print PRINT ID   the size on the server and a hash of the whole header
//
// A message with a new id, and the print of one whose id has gone with the old UIDVALIDITY, has been fetched; each print
// counts as often as it is remembered. It is not recognised by less (size and date alone are shared by different messages
// of one import): a message that is taken for another would never be fetched, and might be deleted.
//
// # Other places than a Maildir
//
// A [Target] gets one message after the other, and each "done" is synced before the next. Whether the target had taken a
// message when the program was killed nobody can know, so it gets that one again: at most one duplicate for each kill.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// Defaults and bounds.
const (
	DefaultParallel = 64      // messages committed at a time
	batchMessages   = 256     // messages of a batch
	batchOctets     = 8 << 20 // octets after which a batch is full
	readBlock       = 16 << 10
	maxAccountName  = 100
)

// Item is one message on a server.
type Item struct {
	Number int       // what the Source calls it
	ID     string    // what it is called for ever: printable, one line
	Size   int64     // octets on the wire; -1 if the server doesn't say
	Date   time.Time // when it came to that server; zero if it doesn't say
	Flags  string    // as in a Maildir, sorted
}

// Source is one session with another server's mailbox. It is used by one goroutine at a time, but for Close.
type Source interface {
	// List calls each for every message. An error of each ends it.
	List(each func(Item) error) error
	// Retrieve calls each once for every item, in an order that suits the server, with the text in local form or with the reason why there is none.
	// Such a reason, and a *mail.Error of text, is about that message alone. An error of each ends it.
	Retrieve(items []Item, each func(it Item, text io.Reader, err error) error) error
	// Delete deletes, at Quit at the latest, and calls each with the outcome. An error of each ends it.
	Delete(items []Item, each func(it Item, err error) error) error
	// Quit ends the session; deletions are sure after nil only.
	Quit() error
	// Close drops the connection, at any time and from any goroutine.
	Close() error
}

// Dater is a Source that does not list dates, but can ask for them.
type Dater interface {
	// Dates calls each for every item; a date that can't be known is zero. An error of each ends it.
	Dates(items []Item, each func(it Item, date time.Time) error) error
}

// Renumberer is a Source whose ids have the form "EPOCH.REST", and change all at once with the epoch.
type Renumberer interface {
	// Headers calls each for every item that is there, with its header in local form. An error of each ends it.
	Headers(items []Item, each func(it Item, header io.Reader) error) error
}

// Target is a place for mail that is no Maildir.
type Target interface {
	// Take delivers one message, in local form. After nil the target answers for it. A permanent error is about this
	// message; a temporary one may be about the target.
	Take(ctx context.Context, it Item, text io.Reader) error
}

// Account is one mailbox elsewhere and where its mail goes.
type Account struct {
	Name  string // of the state files, and in messages: letters, digits, and any of "@._+-", not a dot first
	Title string // in logs, instead of Name
	// Open starts a session with the server.
	Open func(ctx context.Context) (Source, error)

	Dir    *maildir.Dir // where mail goes; let it be on vfs.Grouped
	Target Target       // where it goes instead, if not nil
	FS     vfs.FS       // of State
	State  string       // directory of the state files; made when needed

	Delete      bool          // on the server, once a message is durable here
	DeleteAfter time.Duration // as Delete, but so long after a message was fetched; 0: never
	MaxSize     int64         // larger messages stay on the server; 0: no limit
	MaxAge      time.Duration // older messages stay on the server; 0: no limit
	KeepFlags   bool          // messages with flags go into cur/ with them
	Parallel    int           // messages committed at a time; 0: DefaultParallel. 1 does everything in a fixed order

	Now func() time.Time // time.Now if nil
	Log *slog.Logger     // each message; nil: none
	// Progress is told after each message how many of how many new ones have come; may be nil.
	Progress func(done, all int)
}

// Result is what one run did.
type Result struct {
	Listed  int   // messages on the server
	Fetched int   // and durable now
	Octets  int64 // of these, on disk
	TooBig  int   // left there because of MaxSize
	TooOld  int   // left there because of MaxAge
	Failed  int   // that the server would not give or the target not take; they are tried again next time
	Deleted int   // on the server
}

// Run fetches what is new. It may be stopped at any instant. Another run of the same account that is under way is a
// temporary error. The result is true with an error too.
func (a *Account) Run(ctx context.Context) (Result, error) {
	r := &run{Account: a}
	if err := a.checkName(); err != nil {
		return r.result, err
	}
	unlock, err := a.lock()
	if err != nil {
		return r.result, err
	}
	defer unlock()
	if r.state, err = a.openState(); err != nil {
		return r.result, err
	}
	defer r.state.close()
	if err := a.settle(r.state); err != nil {
		return r.result, err
	}
	err = r.session(ctx)
	if serr := r.state.finish(); err == nil {
		err = serr
	}
	return r.result, err
}

// settle: a Target can't tell what it has, so what was begun for a Maildir before is asked for again.
func (a *Account) settle(s *state) error {
	if a.Target != nil {
		s.dropBegun()
		return nil
	}
	return s.settle(a.Dir)
}

func (a *Account) checkName() error {
	ok := a.Name != "" && len(a.Name) <= maxAccountName && a.Name[0] != '.'
	for i := 0; ok && i < len(a.Name); i++ {
		c := a.Name[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '@' || c == '.' || c == '_' ||
			c == '+' || c == '-'
	}
	if !ok {
		return mail.Permanentf(3, 5, "Account name %q can't be used: letters, digits and @._+- only", a.Name)
	}
	return nil
}

func (a *Account) lock() (unlock func(), err error) { return Lock(a.FS, a.State, a.Name) }

// Lock keeps other runs of an account away until unlock. While another one has it, that is a temporary error. What is one
// account to people, and several here, such as the folders of an IMAP account, takes one more.
func Lock(fsys vfs.FS, state, name string) (unlock func(), err error) {
	if err := vfs.MkdirAll(fsys, state); err != nil {
		return nil, vfs.Classify(err)
	}
	f, err := fsys.OpenAppend(state + "/" + name + ".lock")
	if err != nil {
		return nil, vfs.Classify(err)
	}
	if err := f.Lock(); err != nil {
		f.Close()
		if errors.Is(err, vfs.ErrLocked) {
			return nil, mail.Temporaryf(2, 0, "Another fetch of account %s is running", name)
		}
		return nil, vfs.Classify(err)
	}
	return func() { f.Close() }, nil
}

func (a *Account) path(ending string) string { return a.State + "/" + a.Name + ending }

func (a *Account) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

// run is one call of Run.
type run struct {
	*Account
	state  *state
	source Source
	result Result
}

// session talks to the server. When something has gone wrong but the server is still there, what is durable is deleted
// all the same.
func (r *run) session(ctx context.Context) error {
	source, err := r.Open(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	stop := context.AfterFunc(ctx, func() { source.Close() })
	defer stop()
	r.source = source
	wanted, known, err := r.list()
	if err == nil {
		err = r.fetch(ctx, wanted)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if derr := r.deleteDurable(append(known, wanted...)); err == nil {
		err = derr
	}
	if serr := r.state.sync(); serr != nil {
		return serr // without QUIT nothing is deleted
	}
	if qerr := source.Quit(); err == nil {
		err = qerr
	}
	return err
}

// list asks for all messages and sorts them out.
func (r *run) list() (wanted, known []Item, err error) {
	copies := map[string]int{}
	listed := map[string]bool{}
	err = r.source.List(func(it Item) error {
		it.ID = distinct(it.ID, copies)
		listed[it.ID] = true
		switch {
		case r.state.isDone(it.ID):
			known = append(known, it)
		case r.MaxSize > 0 && it.Size > r.MaxSize:
			r.result.TooBig++
		default:
			wanted = append(wanted, it)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	r.result.Listed = len(listed)
	if len(listed) == 0 {
		return nil, nil, nil
	}
	wanted, again, err := r.recognise(wanted, listed)
	if err != nil {
		return nil, nil, err
	}
	r.state.forgetOthers(listed)
	wanted, err = r.young(wanted)
	return wanted, append(known, again...), err
}

// young leaves out what is older than MaxAge.
func (r *run) young(items []Item) ([]Item, error) {
	if r.MaxAge == 0 {
		return items, nil
	}
	oldest := r.now().Add(-r.MaxAge)
	var kept, undated []Item
	sort := func(it Item, date time.Time) error {
		if !date.IsZero() && date.Before(oldest) {
			r.result.TooOld++
		} else {
			kept = append(kept, it)
		}
		return nil
	}
	dater, canAsk := r.source.(Dater)
	for _, it := range items {
		if canAsk && it.Date.IsZero() {
			undated = append(undated, it)
		} else {
			sort(it, it.Date)
		}
	}
	if len(undated) == 0 {
		return kept, nil
	}
	err := dater.Dates(undated, sort)
	return kept, err
}

// distinct tells messages with one unique-id apart by counting them: RFC 1939 §7 lets identical copies have the same one.
// A blank can't be in an id of a server.
func distinct(id string, copies map[string]int) string {
	copies[id]++
	if n := copies[id]; n > 1 {
		return fmt.Sprintf("%s %d", id, n)
	}
	return id
}

// deleteDurable deletes on the server what this account need not keep there.
func (r *run) deleteDurable(items []Item) error {
	if !r.Delete && r.DeleteAfter == 0 {
		return nil
	}
	var due []Item
	for _, it := range items {
		since, ok := r.state.doneSince(it.ID)
		if ok && (r.Delete || r.now().Sub(since) >= r.DeleteAfter) {
			due = append(due, it)
		}
	}
	return r.source.Delete(due, func(it Item, err error) error {
		if err == nil {
			r.result.Deleted++
			return nil
		}
		r.log(slog.LevelWarn, "fetch: not deleted", it, err)
		return nil
	})
}

func (r *run) log(level slog.Level, msg string, it Item, err error) {
	if r.Log == nil {
		return
	}
	attrs := []slog.Attr{slog.String("account", cmp.Or(r.Title, r.Name)), slog.String("id", it.ID)}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	r.Log.LogAttrs(context.Background(), level, msg, attrs...)
}
