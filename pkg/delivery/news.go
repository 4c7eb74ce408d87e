package delivery

import (
	"slices"
	"sync"

	"mailx/pkg/mail"
)

// news tells of recipients of a batch whose fate is settled while the batch goes on.
type news struct {
	batch *batch
	left  []int // by recipient: commands, files and hosts that are still to come
	tell  func([]mail.Result)
	mu    sync.Mutex // one call of tell at a time
}

func newNews(b *batch, p *trips, tell func([]mail.Result)) *news {
	n := &news{batch: b, left: make([]int, len(b.env.Rcpts)), tell: tell}
	for _, e := range p.errands {
		n.left[e.i]++
	}
	for _, now := range p.now {
		now.each(func(i int) { n.left[i]++ })
	}
	return n
}

// isNeeded reports that somebody listens, and that there is something to wait for.
func (n *news) isNeeded() bool {
	return n.tell != nil && slices.ContainsFunc(n.left, func(left int) bool { return left > 0 })
}

// whoIsDone tells of those for whom nothing is to come.
func (n *news) whoIsDone() {
	if !n.isNeeded() {
		return
	}
	var results []mail.Result
	for i, left := range n.left {
		if left == 0 {
			results = append(results, n.batch.result(i, n.batch.outcomes[i]))
		}
	}
	n.say(results)
}

// ran counts an errand, and tells of its recipient if it was the last thing for him.
func (n *news) ran(e errand) {
	n.left[e.i]--
	if n.left[e.i] == 0 && n.isNeeded() {
		n.say([]mail.Result{n.batch.result(e.i, n.batch.outcomes[e.i])})
	}
}

func (n *news) passed(a *away) { a.each(func(i int) { n.left[i]-- }) }

// of is what the Relay tells, the results of recipients of a by their index, made into news about those of the batch. While
// the Relay is at work nothing else changes.
func (n *news) of(a *away) func(index []int, rs []mail.Result) {
	if n.tell == nil {
		return nil
	}
	return func(index []int, rs []mail.Result) {
		var results []mail.Result
		for k, r := range rs {
			for _, i := range a.owners[index[k]] {
				if n.left[i] == 1 {
					results = append(results, n.batch.result(i, append(slices.Clone(n.batch.outcomes[i]), r)))
				}
			}
		}
		n.say(results)
	}
}

func (n *news) say(results []mail.Result) {
	if len(results) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(results)
}

// each calls f with the recipients of the batch, as often as they have something to get from a.
func (a *away) each(f func(i int)) {
	for _, owners := range a.owners {
		for _, i := range owners {
			f(i)
		}
	}
}
