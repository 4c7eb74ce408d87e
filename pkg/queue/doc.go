// Package queue is the spool: messages that wait to be sent on. It knows no protocol. A [Transport] carries them; the
// queue decides when, remembers what became of each recipient, and tells senders.
//
// The queue is a Maildir, and people work on it with ls, touch, mv, rm and mutt while any number of flushes run:
//
//	new/ cur/   never tried; tried, to be tried again
//	.Hold/      waits for a person
//	.Failed/    given up, or damaged; kept until removed
//	.progress/  side files: what became of recipients, under the name of the entry without its flags
//
// An entry is one file: an envelope block of header fields, the first of which says how many octets the block has, then
// the message as it was accepted. The file's modification time is the time of the next try. Who works on an entry has
// an flock on it, so two never send it at once and the killed leave no lock; and since a lock is on the file, not on its
// name, it is no hindrance to those who rename. After locking, the name is looked at again: the one who had the lock
// before may have finished the entry, or put it off.
//
// # States
//
// A recipient is pending until it is ok (never to be tried again) or fail (given up). The table has, for every step, the
// instant from which it holds against a loss of power, and what a crash before that instant costs.
//
//	step                        commitment                               a crash before it
//	Enqueue                     Commit: file ordered, linked in new/,    nothing was promised; tmp/ is swept
//	                            new/ synced
//	all are ok, none is owed    entry removed, its directory synced      they get the message again (1)
//	 a notice
//	some are ok or fail         side file synced, .progress/ synced      the ok get the message again (1)
//	the sender is owed a notice the notice's Commit                      made at the next flush, without trying again
//	 and has been told          "told" in the side file, or the entry's  a second notice
//	                            removal
//	a delay notice              "late" in the side file                  a second notice
//	its time is over, mode R    as for any recipient that failed         returned at the next flush, without a try
//	its time is over, mode N    "over" in the side file, before a try    a second notice
//	last recipient done         entry removed, directory synced; only    removed at the next flush, nothing is sent
//	                            then the side file goes
//	all are pending still       none: time of the file, new/ to cur/     the next try comes earlier
//	the first try was made      Commit, as of Enqueue; the rest: none    the second try comes at once
//	 elsewhere (CommitTried)
//	a notice itself fails       entry moved to .Failed, both synced      moved at the next flush
//	damaged                     the same                                 the same
//
// (1) is the one window in which a message goes out twice: between the answer of the other side and our durable record
// of it. SIGKILL needs no sync, so it hits the window only from the last octet that goes out until the system call after the
// answer; for a message to several recipients that holds with a [Transport] that is [Telling], else the window is as long as
// the slowest of them. A kill costs as many messages as the process has in that window: at most one for each connection, for
// the next message does not go out before that system call.
//
// Nobody waits for a removal to be synced: the next message goes on meanwhile, and one sync serves all that were removed since
// the last one (see leaving.go). So a loss of power finds, beside those in the window, at most the few hundred that wait for a sync,
// which begins at once or a millisecond after the last one. With FlushOptions.Parallel of 1 it is one.
//
// Where the disk refuses the record of a delivery (full, broken), it is tried with a new file; then this process keeps
// it in mind and tries again before the next attempt, and the entry goes to .Hold so that no other process sends it.
// Before a message is sent, its directory is asked whether the entry can be taken out of it: where the disk is read-only, or
// belongs to somebody else, nothing is sent. For a message for several recipients the side file is opened for the attempt, so
// that a full disk shows itself before and not after. A message for one needs no side file if it is delivered: on a full
// disk the queue drains.
//
// PROMISES.md, beside this file, says which test holds which of these promises.
//
// # When
//
// The schedule goes by the age of a message, not by a count of tries, so there is nothing that a lost side file, a
// moved entry or a flush out of turn could upset: see [Schedule]. The count in the side file is for people only. An
// entry whose time is further away than the lifetime was put there by a wrong clock and is due.
//
// An entry that its sender wants held until a time (RFC 4865) has that time from the start, and its age counts from then.
// It waits as long as the file says the same: an earlier time was set by a person, or by the try that followed.
// FlushOptions.All does not overrule the sender, naming the entry does. An entry with a time by which it is to be delivered
// (RFC 2852) is due at that time at the latest.
//
// A flush that finds a destination crowded, if the [Transport] can tell (see [Crowded]), puts the entry off until the
// others have had their turn: a destination that says nothing does not hold up the rest. Nor do hundreds: the turn of a message that
// takes long is lent to another one, up to a limit, and the more are lent the sooner (see turns.go). What was put off costs nothing
// until there is room for it; and what has the same domain in its name (see hint.go) is put off without being opened, as long as there
// are others to be tried.
//
// Messages that wait for their turn at the transport may have it early, behind one that goes the same way: see [Pipelining]. Then
// the server is told of the next one while it stores the last. That costs no promise: the text of a message never leaves before the
// server has taken its recipient, and each has its own result.
//
// # Order of locks and looks
//
// A flush lists new/ and cur/, and calls lstat on each name; entries that are not due cost no more. Names that vanish
// meanwhile are somebody else's work. When an entry is done and its name is gone, it is looked for by its unchanging
// part in all directories, and removed where it is.
package queue
