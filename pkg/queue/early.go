package queue

import (
	"slices"

	"mailx/pkg/mail"
)

// early writes down who has got the message while the attempt goes on for others, who may take minutes: a crash meanwhile
// must not send it to the first ones again.
type early struct {
	pass  *pass
	entry *claimed
	done  map[mail.Address]bool
}

// tell takes the deliveries among these results. What can't be written down now is written down at the end, with the rest.
func (y *early) tell(results []mail.Result) {
	ok := slices.DeleteFunc(slices.Clone(results), func(r mail.Result) bool { return r.Err != nil || y.done[r.Address] })
	if len(ok) == 0 {
		return
	}
	recs := y.pass.judge(y.entry, ok, false)
	if y.pass.q.record(y.entry.base, y.entry.prog, recs) != nil {
		return
	}
	y.pass.tell(y.entry, recs)
	if y.done == nil {
		y.done = map[mail.Address]bool{}
	}
	for _, r := range ok {
		y.done[r.Address] = true
	}
}

// without are those of todo of whom nothing has been written down.
func (y *early) without(todo []mail.Recipient) []mail.Recipient {
	if len(y.done) == 0 {
		return todo
	}
	return slices.DeleteFunc(slices.Clone(todo), func(r mail.Recipient) bool { return y.done[r.Address] })
}
