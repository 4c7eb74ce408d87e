package vfs

import (
	"fmt"
	"iter"
	"syscall"
)

// Trial is one run of an operation that met a failing call or a loss of power, and what was found afterwards.
type Trial struct {
	Mem     *Mem   // afterwards: every call works again
	Err     error  // what the operation gave; with Crashed, nobody heard it unless it is nil
	Crashed bool   // the process or the power went, during the operation or right after it
	Killed  bool   // only the process went: what it did is there, but not all of it is durable
	Lasting bool   // the fault stayed until the operation gave up, so that it could clean nothing up
	Failed  Call   // the call that failed, or after which the power went
	What    string // which call, how it failed, what survived
}

// String is for the message of a failed check.
func (t Trial) String() string {
	return fmt.Sprintf("%s; the operation gave: %v; then there was:\n%s", t.What, t.Err, t.Mem.Tree())
}

// errnos are what disks do to programs (RELIABILITY R5).
func errnos() []syscall.Errno {
	return []syscall.Errno{
		syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.EACCES, syscall.EROFS,
	}
}

// Trials runs op on copies of base, once for each call that op makes and each thing that can go wrong with it: the
// call fails with each errno; a write falls short; a call does its work and fails all the same; it and all later calls
// fail; the process is killed, or the power goes, before the first or after each call, with each choice of what
// survives. After a fault that op outlived the power goes too: an operation that said nil must be durable even if it
// passed over a failure. In a trial with Killed, Mem still has unsynced changes: let the next process do its work on it,
// and look at what Choices and After make of that.
//
//	for trial := range vfs.Trials(base, func(fsys vfs.FS) error { return deliver(fsys) }) {
//		if trial.Err == nil && !delivered(trial.Mem) {
//			t.Errorf("%s", trial)
//		}
//	}
//
// Op is to make the same calls in the same order in every run. Base stays as it is; let it be durable (SyncAll).
func Trials(base *Mem, op func(FS) error) iter.Seq[Trial] {
	return func(yield func(Trial) bool) {
		plan := base.Clone()
		err := op(plan)
		t := trials{base: base, op: op, yield: yield}
		if !t.afterwards(plan, Trial{Err: err, What: "no fault"}, true) || !t.crash(0, Call{Op: "start"}) {
			return
		}
		for i, c := range plan.Calls() {
			if !t.crash(i+1, c) || !t.fail(i+1, c) {
				return
			}
		}
	}
}

type trials struct {
	base       *Mem
	op         func(FS) error
	yield      func(Trial) bool
	allChoices bool // after a fault
}

// crash is the loss of power after call n, or before the first.
func (t *trials) crash(n int, c Call) bool {
	m := t.base.Clone()
	m.CrashAfter(n)
	trial := Trial{Err: t.op(m), Failed: c, Crashed: true, Killed: true}
	trial.Mem, trial.What = m.Clone(), fmt.Sprintf("killed after call %d (%s)", n, c)
	if !t.yield(trial) {
		return false
	}
	trial.Killed, trial.What = false, fmt.Sprintf("power lost after call %d (%s)", n, c)
	return t.powerLoss(m, trial, m.Choices())
}

func (t *trials) powerLoss(m *Mem, trial Trial, choices []Choice) bool {
	trial.Crashed = true
	what := trial.What
	for _, choice := range choices {
		trial.Mem, trial.What = m.After(choice), what+", "+choice.String()
		if !t.yield(trial) {
			return false
		}
	}
	return true
}

func (t *trials) fail(n int, c Call) bool {
	for _, errno := range errnos() {
		// What op passes over it will pass over whatever the errno: one is enough for all the choices.
		t.allChoices = errno == syscall.EIO
		once := func(m *Mem) { m.Fail(n, Fault{Err: errno}) }
		if !t.faulty(once, Trial{Failed: c, What: describe(n, c, errno.Error())}) {
			return false
		}
	}
	t.allChoices = false
	for _, errno := range [...]syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} { // see canFail
		lasting := func(m *Mem) { m.FailFrom(n, errno) }
		if !t.faulty(lasting, Trial{Failed: c, Lasting: true, What: describe(n, c, errno.Error()+" from then on")}) {
			return false
		}
	}
	t.allChoices = true
	short := func(m *Mem) { m.Fail(n, Fault{Err: syscall.ENOSPC, Short: true}) }
	done := func(m *Mem) { m.Fail(n, Fault{Err: syscall.EIO, Done: true}) }
	return (c.Op != "write" || t.faulty(short, Trial{Failed: c, What: describe(n, c, "short write")})) &&
		t.faulty(done, Trial{Failed: c, What: describe(n, c, "done, but told as EIO")})
}

func describe(n int, c Call, how string) string { return fmt.Sprintf("call %d (%s): %s", n, c, how) }

func (t *trials) faulty(prepare func(*Mem), trial Trial) bool {
	m := t.base.Clone()
	prepare(m)
	trial.Err = t.op(m)
	m.Heal()
	return t.afterwards(m, trial, t.allChoices && trial.Err == nil)
}

// afterwards shows the running system, then what a loss of power makes of it: everything that was not synced is gone,
// and the other choices, if they are wanted.
func (t *trials) afterwards(m *Mem, trial Trial, allChoices bool) bool {
	lost, choices := m.Clone(), m.Choices() // before yield, which may work on m
	if !allChoices {
		choices = choices[:1]
	}
	trial.Mem = m
	if !t.yield(trial) {
		return false
	}
	trial.What += ", then the power was lost"
	return t.powerLoss(lost, trial, choices)
}
