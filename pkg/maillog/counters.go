package maillog

import "sync/atomic"

// Counters count events by kind, for statistics. The zero value is ready; a nil one counts nothing. It is safe for
// concurrent use.
type Counters struct {
	events [kinds]atomic.Uint64
	octets [kinds]atomic.Uint64
}

// Count is the number of events of one kind and the sum of their sizes.
type Count struct {
	Kind   Kind
	Events uint64
	Octets uint64
}

// Add counts an event.
func (c *Counters) Add(e *Event) {
	if c == nil || e.Kind >= kinds {
		return
	}
	c.events[e.Kind].Add(1)
	if e.Size > 0 {
		c.octets[e.Kind].Add(uint64(e.Size))
	}
}

// Snapshot gives all kinds in their order, zeros too. Each number is right; events that happen meanwhile may be in some
// and not in others.
func (c *Counters) Snapshot() []Count {
	if c == nil {
		return nil
	}
	counts := make([]Count, kinds)
	for k := range kinds {
		counts[k] = Count{k, c.events[k].Load(), c.octets[k].Load()}
	}
	return counts
}
